#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A user of node and login node against the daemon, the hooks and other users' jobs, on the stand-in or a real Torque. Speaks TAP.

Each row is an attack; after it nothing is left, and the node takes the next job.
"""

import contextlib
import glob
import os
import signal
import subprocess
import sys

import fuse
import jobs
from bed import HERE, equal, lib, wait_for
from lib import run_tests
from vtorque import on_bed

BED = VT = None


def users_processes():
    return [process.pid for process in lib.processes() if lib.read_status(process.pid).get("Uid", "0").split()[0] == str(BED.user.uid)]


def kill_users():
    """All that the user runs here: with a file system's server, who waits for it is let go."""
    for pid in users_processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not users_processes(), "the end of the user's processes")


def machines():
    return [process.pid for process in lib.processes() if process.name.startswith("qemu-system")]


def file_servers():
    return [process.pid for process in lib.processes() if process.name == "virtiofsd"]


def is_hanging(pid):
    for path in glob.glob(f"/proc/{pid}/task/*/wchan"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(path, encoding="ascii") as file:
            if file.read().startswith("request_wait_answer"):
                return True
    return False


# Descriptors


def fuse_device():
    """As everybody has it on most nodes."""
    path = f"{BED.folder}/fuse"
    if not os.path.exists(path):
        os.mknod(path, 0o20666, os.makedev(10, 229))
        os.chmod(path, 0o666)
    return path


def folder(name):
    path = f"{BED.folder}/{name}"
    os.mkdir(path)
    os.chown(path, BED.user.uid, BED.user.gid)
    return path


def hanging_output():
    """an output file of a file system of the owner's own that never answers: the engine takes none, and the guest ends with its job"""
    path, said = BED.script(jobs.envelope(f"touch {BED.folder}/ran\nwhile :; do echo x; sleep 0.1; done\n")), f"{BED.folder}/said"
    words = f"{HERE}/fuse.py {fuse_device()} {folder('mnt')} {VT.site.bin}/vtorque-run {path}"
    job_id = jobs.submit_plain(f"setsid /usr/bin/python3 {words} 2>{said} &\necho up\nsleep 100\n")
    try:
        jobs.wait_output(job_id, b"up\n")
        wait_for(lambda: os.path.exists(f"{BED.folder}/ran"), "the script in the guest")
        BED.run("qdel", job_id)
        BED.wait(job_id)
        wait_for(lambda: not machines() and not jobs.run_folder(job_id), "the guest's end")
    finally:
        BED.root("qdel", job_id)
        kill_users()
    with open(said, encoding="utf-8") as file:
        assert file.read() in ("", "vtorque-run: the job was ended\n")  # nothing of the file system's; vtorque-run may say so before its end
    equal(VT.left(), [])


@contextlib.contextmanager
def hanging_folder(name, hanging):
    """A directory that is a mount of the owner's; what programs of a certain name ask of it is never answered."""
    path = folder(name)
    device = fuse.mount(path, BED.user.uid, BED.user.gid)
    server = subprocess.Popen([*BED.user.prefix(), "/usr/bin/python3", "-c", f"import sys; sys.path.insert(0, {HERE!r}); import fuse; fuse.serve({device}, {hanging!r})"],
                              pass_fds=[device], cwd="/")
    os.close(device)
    try:
        yield path
    finally:
        server.kill()
        server.wait()
        subprocess.run(["umount", "-l", path], check=True)
        os.rmdir(path)


def hanging_share():
    """a submit directory never answers, so that the job's engine cannot die: the next job does not wait for it"""
    with hanging_folder("share", ("virtiofsd", "pool")) as path:
        job_id = jobs.submit_plain(jobs.envelope("echo up; cat out\n"), words=("-d", path, "-o", BED.user.home, "-e", BED.user.home))
        wait_for(lambda: any(map(is_hanging, file_servers())), "the file server's hanging")
        BED.root("qdel", job_id)
        BED.wait(job_id, seconds=150)  # half of $prologalarm, and the ends that do not help
        jobs.forget_spool(job_id)
        assert [name for kind, name in VT.take() - VT.before if kind == "run folder"], "the engine is dead"
        next_id = jobs.submit("echo ran\n")
        job = BED.wait(next_id)
        equal((job["exit_status"], BED.output(job)), ("0", "ran\n"))
    wait_for(lambda: not file_servers(), "the end of the file servers")
    equal(jobs.finish("echo ran\n")[:2], (0, "ran\n"))


@contextlib.contextmanager
def site_hook(name, text):
    BED.hook(f"{name}.orig", text)
    try:
        yield
    finally:
        os.unlink(f"{BED.home}/mom_priv/{name}.orig")


def hooks_are_over():
    return not [process for process in lib.processes() if process.name == "prologue"]


def deleted_in_site_prologue():
    """qdel while the site's own prologue runs, which goes on behind the job's epilogue: no guest is started"""
    go, came, over = (f"{BED.folder}/{name}" for name in ("go", "came", "over"))
    wait = "until [ -e {} ]; do sleep 0.1; done"
    with site_hook("prologue", f"touch {came}; {wait.format(go)}"), site_hook("epilogue", f"touch {go}; {wait.format(over)}"):
        job_id = jobs.submit("echo never\n")
        wait_for(lambda: os.path.exists(came), "the site's prologue")
        BED.run("qdel", job_id)
        wait_for(lambda: os.path.exists(go) and hooks_are_over(), "the prologue's end")
        with open(over, "x", encoding="utf-8"):
            pass
        BED.wait(job_id)
    equal((VT.left(), jobs.run_folder(job_id), os.listdir("/run/vtorque/starting")), ([], None, []))


def hanging_reason():
    """the submit directory, where the reason of a failure goes, never answers: the prologue does not wait for it, and the job is not requeued"""
    with hanging_folder("reason", "prologue") as path:
        job_id = jobs.submit_plain("echo bare\n", "img=none-such", words=("-d", path))
        equal(BED.wait(job_id)["exit_status"], "-2")
        jobs.forget_spool(job_id)
    equal(VT.left(), [])


def switched_off():
    """VTORQUE_ENABLED=false: a request by plain qsub is refused with the site's message"""
    with jobs.other_settings(VTORQUE_ENABLED="false", VTORQUE_DISABLED_MESSAGE="'back on Monday'"):
        status, said = jobs.refused_text(jobs.submit_plain("echo bare\n"))
    equal(status, "-2")
    assert "back on Monday" in said, said


def daemon_ends():
    """TERM to the daemon: its sockets and its lock are gone, and the next one starts"""
    daemon = VT.daemons[-1]
    daemon.terminate()
    equal(daemon.wait(lib.DEADLINE), 0)
    names = ("hook.sock", "user.sock", "daemon.lock")
    left = [name for name in names if os.path.exists(f"/run/vtorque/{name}")]
    VT.start_daemon()
    equal(left, [])
    assert all(os.path.exists(f"/run/vtorque/{name}") for name in names)


CROWD = """
import os, socket, sys
held = []
for uid in range(200000, 200080):
    os.seteuid(uid)
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect(sys.argv[1])
    os.seteuid(0)
print(flush=True)
input()
"""


def many_ids():
    """eighty ids of one attacker hold connections: the owner of a job is answered"""
    with jobs.running(f"echo up\nuntil [ -e {BED.folder}/many ]; do sleep 0.1; done\n") as job_id:
        crowd = subprocess.Popen([sys.executable, "-c", CROWD, jobs.USER_SOCKET], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        crowd.stdout.readline()
        kind, _ = jobs.ask_as(BED.user, 193, 0, job_id)
        crowd.communicate(b"\n")
        with open(f"{BED.folder}/many", "x", encoding="utf-8"):
            pass
        equal((kind, jobs.result(job_id)[0]), (132, 0))


TESTS = (many_ids, deleted_in_site_prologue, hanging_reason, switched_off, daemon_ends, hanging_output, hanging_share,)

if __name__ == "__main__":
    with on_bed(config=jobs.CONFIG) as (BED, VT):
        jobs.BED, jobs.VT = BED, VT
        run_tests(TESTS, jobs=1)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs in virtual machines under Torque, from the submission to the last file removed, on the stand-in or a real Torque. Speaks TAP.

Each row ends with nothing left: no process, run folder, cgroup or spool file of the job.
"""

import base64
import contextlib
import glob
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time

from bed import TemporaryUser, equal, lib, wait_for
from lib import run_tests
from vtorque import on_bed

BED = VT = None
CONFIG = "$check_poll_time 1\n$prologalarm 120\n$jobstartblocktime 1\n"
TINY, HOST = "img=tiny,ram=128M,vcpus=1", "img=host,ram=512M,vcpus=1"
HOOK_SOCKET, USER_SOCKET = "/run/vtorque/hook.sock", "/run/vtorque/user.sock"
CLOSED = "the connection's end"


# Submission by hand (doc/contracts/envelope.md, request.md): for what vsub would refuse, and for plain qsub


def word(text):
    data = text if isinstance(text, bytes) else f"v=1\nvm={text}\n".encode()
    return "vtorque:" + base64.urlsafe_b64encode(data).decode().rstrip("=")


def envelope(script):
    data = script.encode()
    run = f"{VT.site.bin}/vtorque-run"
    return (f"#!/bin/sh\neval '(exit $?0)' && eval 'exec {run} \"$0\" ${{1+\"$@\"}}'\neval 'exec {run} \"$0\" $argv:q'\nexit 127\n"
            f"#vtorque-envelope 1 sha256={hashlib.sha256(data).hexdigest()} bytes={len(data)}\n{script}")


def submit(script, *words, vm=TINY):
    """A job's id."""
    done = BED.run(f"{VT.site.bin}/vsub", "-vm", vm, *words, BED.script(script))
    equal((done.status, done.err), (0, b""), f"vsub {words}")
    return done.out.decode().strip()


def submit_plain(script, vm=TINY, words=()):
    """By qsub, with a request that nobody has looked at."""
    return BED.qsub(script, "-l", f"gres={word(vm)}", *words)


def result(job_id, seconds=lib.DEADLINE):
    """Exit status, output, error output, once it is over and nothing is left."""
    job = BED.wait(job_id, seconds=seconds)
    equal(VT.left(), [], "left behind")
    return int(job["exit_status"]), BED.output(job), BED.output(job, "Error")


def forget_spool(job_id):
    """Torque delivers nothing of a job whose prologue failed: its files stay on the node (facts 1.4)."""
    for kind in ("OU", "ER"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{BED.home}/spool/{job_id}.{kind}")


def finish(script, *words, vm=TINY):
    return result(submit(script, *words, vm=vm))


def has_grouped_jobs():
    """Whether this Torque keeps a cgroup for each job."""
    return BED.has_cgroups and any(os.path.isdir(f"/sys/fs/cgroup/{name}torque") for name in ("", "memory/"))


# The jobs that run


def several():
    """two machines in one job: cores raised, node file and counts theirs, and nothing left of either"""
    script = 'cat "$PBS_NODEFILE"; echo $PBS_NP $PBS_NUM_PPN $PBS_NUM_NODES $PBS_VMS_PN\nnc -w 20 $(tail -n 1 "$PBS_NODEFILE") 9 </dev/null 2>&1\n'
    done = BED.run(f"{VT.site.bin}/vsub", "-vm", TINY + ",vms_per_node=2", BED.script(script))
    equal((done.status, done.err), (0, b"vsub: note: the job asks for nodes=1:ppn=2 (2 vCPUs, 0 for the node)\n"))
    status, out, err = result(done.out.decode().strip())
    equal(status, 1, err)  # nc's
    first, second, counts, refused = out.splitlines()
    equal((first != second, counts), (True, "2 1 2 2"))
    assert "refused" in refused, out


def spooled(job_id, kind="OU"):
    try:
        with open(f"{BED.home}/spool/{job_id}.{kind}", "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def wait_output(job_id, text):
    wait_for(lambda: text in spooled(job_id), f"{text!r} of {job_id}")


def run_folder(job_id):
    """(path, pids by name) of a job's run folder."""
    for path in glob.glob("/run/vtorque/jobs/*"):  # not there before the first job
        try:
            with open(f"{path}/job", encoding="utf-8") as file:
                fields = dict(re.findall(r"(\w+)=(.*)", file.read()))
            with open(f"{path}/engine", encoding="utf-8") as file:
                engine = int(re.search(r"pid=(\d+)", file.read())[1])
        except (FileNotFoundError, NotADirectoryError):
            continue
        if fields["id"] == job_id:
            return path, {"keeper": int(fields["keeper"]), "engine": engine}
    return None


def machine(engine):
    return next(process.pid for process in lib.processes() if process.parent == engine and process.name.startswith("qemu-system"))


@contextlib.contextmanager
def running(script, *words, vm=TINY):
    """A job whose script has said `up`; its id. Deleted if the row fails."""
    job_id = submit(script, *words, vm=vm)
    try:
        wait_output(job_id, b"up\n")
        yield job_id
    except BaseException:
        BED.root("qdel", job_id)
        raise


@contextlib.contextmanager
def without_daemon(node=None):
    daemon = VT.daemons[-1]
    daemon.kill()
    daemon.wait()
    try:
        yield
    finally:
        VT.start_daemon(node)


# A job


def tiny():
    """img=tiny: status, both outputs, words of the job, node file, counts, limits"""
    script = "echo out $1 \"$2\"; echo err >&2; cat $PBS_NODEFILE; echo $PBS_NP $PBS_NUM_PPN $PBS_NUM_NODES $PBS_JOBID $PBS_ENVIRONMENT; ulimit -n; exit 7\n"
    for nodes in ("1:ppn=2", f"{BED.nodes[0].name}:ppn=2"):  # also by name
        job_id = submit(script, "-F", "a 'b  c'", "-l", f"nodes={nodes}")
        status, out, err = result(job_id)
        lines = out.splitlines()
        equal((status, err, lines[0], lines[2]), (7, "err\n", "out a b  c", f"1 1 1 {job_id} PBS_BATCH"))
        assert re.fullmatch(r"v\S*-\d+", lines[1]) and int(lines[3]) > 0, out


def host():
    """img=host: the user's own login on the node's software, home and submit directory the host's"""
    status, out, err = finish("#!/bin/bash\nid -un; pwd; echo from the guest > made; cat /proc/sys/kernel/hostname; python3 -c 'print(6 * 7)'\n", vm=HOST)
    lines = out.splitlines()
    equal((status, err, lines[0], lines[1], lines[3]), (0, "", BED.user.name, BED.user.home, "42"))
    assert lines[2] != socket.gethostname(), lines
    with open(f"{BED.user.home}/made", encoding="utf-8") as file:
        equal(file.read(), "from the guest\n")
    equal(os.stat(f"{BED.user.home}/made").st_uid, BED.user.uid)


def statuses():
    """a script's status is the job's: 0, 255, death by a signal as a login shell says it"""
    equal([finish(f"{line}\n")[0] for line in ("true", "exit 255", "kill -KILL $$")], [0, 255, 137])


def from_stdin():
    """a script on vsub's standard input: named STDIN, as qsub has it"""
    done = BED.run(f"{VT.site.bin}/vsub", "-vm", TINY, input="echo $PBS_JOBNAME\nexit 2\n")
    equal((done.status, done.err), (0, b""))
    equal(result(done.out.decode().strip()), (2, "STDIN\n", ""))


def directives():
    """-vm and -S on #PBS lines; words of the job after -F"""
    script = "#!/bin/sh\n#PBS -N named -vm img=tiny,ram=128M\n#PBS -vm vcpus=1\n#PBS -S /bin/sh\necho $PBS_JOBNAME $0 $#\n"
    done = BED.run(f"{VT.site.bin}/vsub", "-F", "a b", BED.script(script))
    equal((done.status, done.err), (0, b""))
    equal(result(done.out.decode().strip()), (0, "named /run/vtorque/script 2\n", ""))


def array():
    """an array: a guest for each job, its own index, id and files"""
    number, _, server = submit("echo $PBS_ARRAYID $PBS_JOBID\n", "-t", "0-1").partition("[].")
    for index in range(2):
        job_id = f"{number}[{index}].{server}"
        equal(result(job_id)[:2], (0, f"{index} {job_id}\n"))


def depends():
    """-W depend=afterok: the second runs after the first"""
    first = submit(f"sleep 1; echo first >> {BED.folder}/order\n", "-d", BED.folder)
    second = submit(f"echo second >> {BED.folder}/order\n", "-d", BED.folder, "-W", f"depend=afterok:{first}")
    equal([BED.wait(job_id)["exit_status"] for job_id in (first, second)], ["0", "0"])
    equal(VT.left(), [])
    with open(f"{BED.folder}/order", encoding="utf-8") as file:
        equal(file.read(), "first\nsecond\n")


def large():
    """a script of 200,000 bytes, which this qsub would cut: whole, and its file is gone"""
    script = "".join(f": {n:0100}\n" for n in range(2000)) + "wc -c < $0; exit 6\n"
    job_id = submit(script)
    assert os.listdir(f"{BED.user.home}/.vtorque/scripts"), "no file"
    equal(result(job_id), (6, f"{len(script)}\n", ""))
    equal(os.listdir(f"{BED.user.home}/.vtorque/scripts"), [])


def two_users():
    """jobs of two users at once: each its own files and nobody else's"""
    with TemporaryUser() as other:
        second = BED.run("qsub", "-l", f"gres={word(TINY)}", input=envelope("id -u; sleep 1; id -u\n"), user=other, cwd=other.home)
        equal((second.status, second.err), (0, b""))
        first = submit("id -u; sleep 1; id -u\n")
        equal(result(first)[:2], (0, f"{BED.user.uid}\n" * 2))
        job = BED.wait(second.out.decode().strip())
        equal((job["exit_status"], BED.output(job)), ("0", f"{other.uid}\n" * 2))


def bare_metal():
    """a job without a request: the site's hooks as ever, nothing of ours asked"""
    with without_daemon():
        with VT.script("prologue", "echo site $5; exit 0"):
            status, out, err = BED.finish("echo bare; hostname\n")
        with VT.script("prologue", "exit 1"):
            job_id = BED.qsub("echo never\n")
            aborted = BED.wait(job_id)
            forget_spool(job_id)
    assert re.fullmatch(rf"site .*nodes=.*\nbare\n{socket.gethostname()}\n", out), out
    equal((status, err, aborted["exit_status"]), (0, "", "-2"))


# Its end


def deleted_running():
    """qdel: the script's trap prints in its grace, and that is delivered"""
    script = "trap 'echo caught; sleep 1; echo last; exit 3' TERM\necho up\nwhile :; do sleep 0.1; done\n"
    with running(script) as job_id:
        BED.run("qdel", job_id)
        status, out, _ = result(job_id)
    equal((status, out), (271, "up\ncaught\nlast\n"))


def deleted_in_prologue():
    """qdel while the guest boots: no script, nothing left"""
    job_id = submit("echo never\n", vm=HOST)
    wait_for(lambda: run_folder(job_id), "the run folder")
    BED.run("qdel", job_id)
    job = BED.wait(job_id)
    if job["exit_status"] == "-2":  # Torque has heard of the prologue's failure before it has sent TERM
        forget_spool(job_id)
    equal(VT.left(), [], "left behind")
    assert "never" not in (BED.output(job) or ""), BED.output(job)


def failing_precancel():
    """the site's own precancel fails: pbs_mom hears it of a bare-metal job alone, for it would take the node down"""
    with VT.script("epilogue.precancel", "exit 7"):
        asked = {"PBS_RESOURCE_GRES": word(TINY)}, {}
        hook = f"{BED.home}/mom_priv/epilogue.precancel"
        equal([BED.run(hook, "none", env={**BED.user.environment(), **gres}).status for gres in asked], [0, 7])


def walltime():
    """walltime over: the batch system's own line and status"""
    status, out, err = finish("echo up\nsleep 100\n", "-l", "walltime=0:00:02")
    equal((status, out), (-11, "up\n"))
    assert "walltime" in err, err


def cput():
    """processor time over: Torque sees none of it, the engine ends the job; a Torque with cgroups sees it, and does so itself"""
    status, out, err = finish("echo up\nwhile :; do :; done\n", "-l", "cput=2")
    if has_grouped_jobs() and status == -12:  # JOB_EXEC_OVERLIMIT_CPUT
        return
    equal((status, out), (143, "up\n"))
    assert err.endswith("vtorque-run: the processor time (cput) is used up\n"), err


def signals():
    """qsig USR1: once, though Torque sends it four times; twice if it is sent twice (where the login shell does not die of it)"""
    BED.configure(f"{CONFIG}$exec_with_exec true\n")
    script = "trap 'echo usr1' USR1\ntrap 'echo bye; exit 4' USR2\necho up\nwhile :; do sleep 0.1; done\n"
    with running(script) as job_id:
        for _ in range(2):
            time.sleep(0.5)  # two within a tenth of a second are one
            seen = spooled(job_id).count(b"usr1")
            BED.run("qsig", "-s", "SIGUSR1", job_id)
            wait_for(lambda: spooled(job_id).count(b"usr1") > seen, "USR1")  # noqa: B023
        BED.run("qsig", "-s", "SIGUSR2", job_id)
        status, out, _ = result(job_id)
    BED.configure(CONFIG)
    equal((status, out), (4, "up\nusr1\nusr1\nbye\n"))


def stopped():
    """vtorque-run stopped: the guest stands still, CONT: it goes on, and its clock is right; qdel ends one that stands still"""
    script = "echo up\nfor i in $(seq 100); do echo $i; sleep 0.2; done &\nuntil [ -e go ]; do sleep 0.1; done\ndate +%s\nkill $!\n"

    def client():
        return next(process.pid for process in lib.processes() if process.name == "vtorque-run")

    def phase():
        return [job["phase"] for job in json.loads(BED.root(f"{VT.site.bin}/vmgr", "list", "--json").out)]

    def stop(job_id):
        os.kill(client(), signal.SIGSTOP)
        wait_for(lambda: phase() == ["paused"], "the pause")
        before = spooled(job_id)
        time.sleep(3)
        equal(spooled(job_id), before, "what a guest that stands still prints")

    with running(f"cd {BED.folder}\n{script}") as job_id:
        stop(job_id)
        with open(f"{BED.folder}/go", "x", encoding="ascii"):
            pass
        woken = time.time()
        os.kill(client(), signal.SIGCONT)
        status, out, _ = result(job_id)
        equal(status, 0)
        # It has stood still for six seconds at least.
        assert woken - 2 < max(map(int, out.splitlines()[1:])) < time.time() + 2, (woken, out)
    os.unlink(f"{BED.folder}/go")
    with running(f"cd {BED.folder}\n{script}") as job_id:
        stop(job_id)
        BED.run("qdel", job_id)
        result(job_id)


def requeued():
    """qrerun: the job runs again in a new guest, and appends to what it has printed"""
    script = f"echo up >> {BED.folder}/runs; echo up; n=0; while [ $n -lt 40 ]; do n=$((n + 1)); sleep 0.1; done\n"
    with VT.script("epilogue", "sleep 3"):  # Torque's delayed KILL would hit the next run (facts 2)
        with running(script) as job_id:
            BED.root("qrerun", job_id)
            status, out, _ = result(job_id)
    with open(f"{BED.folder}/runs", encoding="utf-8") as file:
        equal((status, out, file.read()), (0, "up\nup\n", "up\nup\n"))


def mom_restarted():
    """pbs_mom killed and started again while the job runs: the job goes on"""
    script = "echo up\nuntil [ -e go ]; do sleep 0.1; done\necho went on\n"
    with running(f"cd {BED.folder}\n{script}") as job_id:
        BED.kill_mom()
        BED.start_mom()
        with open(f"{BED.folder}/go", "x", encoding="utf-8"):
            pass
        _, out, _ = result(job_id)
    os.unlink(f"{BED.folder}/go")
    equal(out, "up\nwent on\n")


def set_up_again():
    """vTorque is taken out of the node and put in again while a job runs: the job goes on, and the site's epilogue is run at its end"""
    script = "echo up\nuntil [ -e go ]; do sleep 0.1; done\necho went on\n"
    with VT.script("epilogue", "echo epilogue"), running(f"cd {BED.folder}\n{script}") as job_id:
        VT.setup("uninstall")
        equal([os.path.basename(path) for path in VT.hooks()], ["epilogue"])
        VT.setup("install")
        with open(f"{BED.folder}/go", "x", encoding="utf-8"):
            pass
        status, out, _ = result(job_id)
    os.unlink(f"{BED.folder}/go")
    equal((status, out), (0, "up\nwent on\nepilogue\n"))


# Faults of ours


def dies(name, how):
    def row():
        with running("echo up\nwhile :; do sleep 0.1; done\n") as job_id:
            _, pids = run_folder(job_id)
            os.kill({**pids, "qemu": machine(pids["engine"])}[name], signal.SIGKILL)
            status, out, err = result(job_id)
        equal((status, out), (125, "up\n"))
        assert re.search(how, err), err
    row.__name__, row.__doc__ = f"{name}_killed", f"{name} killed: status 125, the reason in .e, nothing left"
    return row


@contextlib.contextmanager
def other_settings(**rows):
    """Some of the site's settings are others meanwhile."""
    with open(VT.conf, encoding="utf-8") as file:
        before = file.read()
    kept = "".join(line for line in before.splitlines(True) if line.partition("=")[0] not in rows)
    BED.write(VT.conf, kept + "".join(f"{name}={value}\n" for name, value in rows.items()))
    try:
        yield
    finally:
        BED.write(VT.conf, before)


def left_running(exclusive, kills, beside=False):
    """What becomes of a process of the user's when a job ends: True if it lives on."""
    flag = f"{BED.folder}/flag"
    wait = f"until [ -e {flag} ]; do sleep 0.1; done\n"
    with running(f"echo up\n{wait}") as job_id:
        other = BED.qsub(f"{wait}sleep 3\n") if beside else None
        if other:
            BED.wait(other, "R")
        processes = [subprocess.Popen([*prefix, "sleep", "300"]) for prefix in (BED.user.prefix(), ())]
        with other_settings(PBS_EXCLUSIVE_NODE_ALLOC=exclusive, KILL_USER_PROCESSES_AFTER_JOB=kills):
            with open(flag, "x", encoding="ascii"):
                pass
            BED.wait(job_id)
            lives = [process.poll() is None for process in processes]
        for process in processes:
            process.kill()
            process.wait()
        if other:
            BED.wait(other)
    os.unlink(flag)
    equal((lives[1], result(job_id)[0]), (True, 0), "root's process, and the job")
    return lives[0]


def user_killed():
    """KILL_USER_PROCESSES_AFTER_JOB: what the user has left running goes with the job, where the node was the job's alone"""
    equal(left_running("true", "true"), False, "on a node of its own")
    equal([left_running("true", "false"), left_running("false", "true"), left_running("true", "true", beside=True)], [True] * 3)


def daemon_restarted():
    """the daemon killed and started again while a job counts: no line is lost or doubled"""
    script = "echo up\nn=0; while [ $n -lt 30 ]; do n=$((n + 1)); echo $n; sleep 0.1; done\n"
    with running(script) as job_id:
        for _ in range(2):
            with without_daemon():
                pass
        status, out, _ = result(job_id)
    equal((status, out), (0, "up\n" + "".join(f"{n}\n" for n in range(1, 31))))


def daemon_late():
    """no daemon at the prologue, but some seconds later: the job runs"""
    with without_daemon():
        job_id = submit("echo ran\n")
        wait_for(lambda: BED.job(job_id).get("job_state") == "R", "the prologue")
    equal(result(job_id)[:2], (0, "ran\n"))


def refused_text(job_id):
    """What the user finds of a job whose prologue failed; its exit status."""
    job = BED.wait(job_id)
    forget_spool(job_id)
    equal(VT.left(), [], "left behind")
    path = f"{BED.folder}/{job['Job_Name']}.e{job_id.partition('.')[0]}"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    equal(os.stat(path).st_uid, BED.user.uid)
    os.unlink(path)
    return job["exit_status"], text


def no_daemon():
    """no daemon: the job fails with a reason, and its script never runs on the host"""
    with without_daemon():
        status, text = refused_text(submit(f"touch {BED.folder}/ran-on-the-host\n"))
    equal(status, "-2")
    assert "daemon" in text, text
    assert not os.path.exists(f"{BED.folder}/ran-on-the-host")


def answered_at_once():
    """a daemon that answers and leaves before the prologue has said all: the answer counts"""
    text = b"no, and that at once"
    frame = struct.pack("<IBBHH", len(text) + 2, 132, 12, 0, len(text)) + text
    environment = {"PBS_RESOURCE_GRES": word(TINY), "PBS_RESOURCE_NODES": "1", "PBS_NP": "1", "PBS_NODEFILE": f"{BED.folder}/nodes", "PBS_O_WORKDIR": "/",
                   "PATH": "/usr/bin:/bin"}
    with open(environment["PBS_NODEFILE"], "w", encoding="ascii") as file:
        file.write("node\n")
    words = [f"{BED.home}/mom_priv/prologue", "99.head", BED.user.name, "x", "name", "nodes=1", "batch", "", "/none"]
    with without_daemon():
        os.unlink(HOOK_SOCKET)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(HOOK_SOCKET)
            door.listen(8)
            for wait in (0, 0.001) * 5:
                hook = subprocess.Popen(words, env=environment, cwd=f"{BED.home}/mom_priv", stderr=subprocess.PIPE)
                connection = door.accept()[0]
                time.sleep(wait)
                connection.send(frame)
                connection.close()
                said = hook.communicate(timeout=lib.DEADLINE)[1]
                equal((hook.returncode, said), (1, b"vTorque: the job was not run: " + text + b"\n"), wait)
    os.unlink(environment["PBS_NODEFILE"])


def bad_settings():
    """settings that cannot be read: bare jobs as ever, the others fail with file and line"""
    with other_settings(NO_SUCH_KEY="1"):
        status, text = refused_text(submit_plain(envelope("echo never\n")))
        bare = BED.finish("echo bare\n")
    equal((status, bare), ("-2", (0, "bare\n", "")))
    assert re.search(r"vtorque\.conf:\d+.*NO_SUCH_KEY", text), text


def run_missing():
    """vtorque-run is not there (a prefix that is not mounted): 126 or 127, never the script on the host"""
    os.rename(f"{VT.site.bin}/vtorque-run", f"{VT.site.bin}/away")
    try:
        status, _, _ = result(submit_plain(envelope(f"touch {BED.folder}/ran-on-the-host\n")))
    finally:
        os.rename(f"{VT.site.bin}/away", f"{VT.site.bin}/vtorque-run")
    assert status in (126, 127) and not os.path.exists(f"{BED.folder}/ran-on-the-host"), status


def site_prologue(text, status, what):
    def row():
        with VT.script("prologue", text):
            job_id = submit("echo ran\n")
            job = BED.wait(job_id)
        if status != "0":
            forget_spool(job_id)
        equal((job["exit_status"], VT.left()), (status, []))
        if status == "0":
            equal(BED.output(job), "site\nran\n")
    row.__name__, row.__doc__ = f"site_prologue_{status}", f"the site's own prologue {what}"
    return row


# Hostile


FORGED = (
    ("v=1\nvm=img=tiny,ram=99T\n", r"ram"), ("v=1\nvm=img=tiny,vcpus=99\n", r"vcpus"), ("v=1\nvm=img=../../etc/passwd\n", r"img"),
    ("v=1\nvm=img=none-such\n", r"none-such"), ("v=1\nvm=colour=red\n", r"colour"), ("v=2\nvm=img=tiny\n", r"request"), ("", r"request|word|order"),
    ("v=1\nvm=img=tiny\nuid=0\n", r"request"), (b"\xff\x00\x01", r"request"),
)


def forged(number, text, pattern):
    def row():
        data = text if isinstance(text, bytes) else text.encode()
        status, said = refused_text(submit_plain("echo bare\n", data))
        equal(status, "-2")
        assert re.search(pattern, said) and said.count("\n") == 1, said
    row.__name__, row.__doc__ = f"forged_{number}", f"a request by plain qsub is checked like any: {text!r}"
    return row


def forged_good():
    """a good request by plain qsub: the script stays a bare-metal job, and the guest ends with it"""
    status, out, _ = result(submit_plain("hostname\n"))
    equal((status, out), (0, f"{socket.gethostname()}\n"))


def nobody_came():
    """a guest for which nobody comes ends after RUN_WAIT"""
    with other_settings(RUN_WAIT="1"):
        job_id = submit_plain("echo up; sleep 100\n")
        try:
            wait_output(job_id, b"up\n")
            wait_for(lambda: not run_folder(job_id), "the guest's end")
        finally:
            BED.root("qdel", job_id)
    BED.wait(job_id)
    equal(VT.left(), [])


def of_another():
    """another user asks for a job's run connection, its end, its control: there is no such job"""
    with running("echo up\nuntil [ -e go ]; do sleep 0.1; done\necho end\n", "-d", BED.folder) as job_id, TemporaryUser() as other:
        path = f"{other.home}/env"
        with open(path, "w", encoding="utf-8") as file:
            file.write(envelope("echo mine\n"))
        os.chmod(path, 0o755)
        run = subprocess.run([*other.prefix(), f"{VT.site.bin}/vtorque-run", path], env={**other.environment(), "PBS_JOBID": job_id},
                             capture_output=True, check=False, timeout=lib.DEADLINE)
        equal((run.returncode, run.stdout), (125, b""))
        assert b"no virtual machine of this job" in run.stderr, run.stderr
        for kind in (194, 195):  # END, CONTROL
            equal(ask_as(other, kind, 1, job_id)[0], 161)
        equal(ask_as(other, 193, 0, job_id)[0], 132)
        with open(f"{BED.folder}/go", "x", encoding="utf-8"):
            pass
        equal(result(job_id)[:2], (0, "up\nend\n"))
    os.unlink(f"{BED.folder}/go")


def managed():
    """vmgr of the owner lists, shows and ends the job, root's does too, another user's sees nothing of it"""
    vmgr = f"{VT.site.bin}/vmgr"
    with running("trap 'echo grace; exit 3' TERM\necho up\nwhile :; do sleep 0.1; done\n", "-N", "managed") as job_id, TemporaryUser() as other:
        for listing in (BED.run(vmgr, "list", "--json").out, BED.root(vmgr, "list", "--json").out):
            (job,) = (job for job in json.loads(listing) if job["id"] == job_id)
            equal((job["user"], job["name"], job["phase"], job["vcpus"], job["ram_mib"]), (BED.user.name, "managed", "running", 1, 128))
        equal(BED.run(vmgr, "list", "--json", user=other, cwd="/").out, b"[]\n")
        refused = (2, b"", f"vmgr: no job '{job_id}' lives here, and other nodes are not asked: PEER_PORT is not set in '{VT.conf}'\n".encode())
        for verb in ("end", "console"):
            equal(BED.run(vmgr, verb, job_id, user=other, cwd="/"), refused)
        equal(BED.run(vmgr, "console", job_id.partition(".")[0]), (0, b"", b""))
        equal(BED.run(vmgr, "end", job_id), (0, b"", b""))
        status, out, err = result(job_id)
        equal((status, out), (125, "up\ngrace\n"))
        assert err.endswith("vtorque-run: the job was ended\n"), err


def entered():
    """vmgr shell, cp, console and log while the job floods its output: the owner and root may, another may not, the job is undisturbed"""
    vmgr, script = f"{VT.site.bin}/vmgr", 'echo up\nn=0\nuntil [ -e go ]; do n=$((n+1)); echo "line $n"; done\necho "last $n"\n'
    with running(script, "-d", BED.folder, "-N", "entered") as job_id, TemporaryUser() as other:
        theirs = f"{BED.user.uid}\n{job_id}\n{BED.user.home}\n".encode()
        asked = ("shell", job_id, "--", "sh", "-c", "id -u; echo $PBS_JOBID; pwd")
        for ask in (BED.run, BED.root):
            equal(ask(vmgr, *asked), (0, theirs, b""), ask.__name__)
            equal(ask(vmgr, "shell", job_id, "--", "sh", "-c", "exit 3").status, 3)
            equal(ask(vmgr, "console", job_id), (0, b"", b""))
            assert b" running\n" in ask(vmgr, "log", job_id).out
            equal(ask(vmgr, "console", f"{job_id}/9").status, 125)
        equal(BED.run(vmgr, "shell", job_id, "cp", "/proc/sys/kernel/hostname", "/tmp/name").status, 0)
        equal(BED.run(vmgr, "cp", f"{job_id}:/tmp/name", "copied"), (0, b"", b""))
        equal(os.stat(f"{BED.folder}/copied").st_uid, BED.user.uid)
        equal(BED.run(vmgr, "cp", "copied", f"{job_id}:/tmp/again"), (0, b"", b""))
        refused = (2, b"", f"vmgr: no job '{job_id}' lives here, and other nodes are not asked: PEER_PORT is not set in '{VT.conf}'\n".encode())
        for words in (asked, ("console", job_id), ("log", job_id), ("cp", f"{job_id}:/tmp/name", "/tmp"), ("end", job_id)):
            equal(BED.run(vmgr, *words, user=other, cwd="/"), refused, words[0])
        with open(f"{BED.folder}/go", "x", encoding="utf-8"):
            pass
        status, out, _ = result(job_id)
        lines = out.splitlines()
        count = int(lines[-1].split()[1])
        equal((status, lines == ["up", *(f"line {n}" for n in range(1, count + 1)), f"last {count}"]), (0, True))
    os.unlink(f"{BED.folder}/go")
    os.unlink(f"{BED.folder}/copied")


def second_run():
    """the owner asks for a run connection again: the first one stays"""
    with running("echo up\nuntil [ -e go ]; do sleep 0.1; done\necho end\n", "-d", BED.folder) as job_id:
        kind, text = ask_as(BED.user, 193, 0, job_id)
        equal(kind, 132)
        assert b"started already" in text, text
        with open(f"{BED.folder}/go", "x", encoding="utf-8"):
            pass
        equal(result(job_id)[:2], (0, "up\nend\n"))
    os.unlink(f"{BED.folder}/go")


ASK = r"""
import socket, struct, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])
data = sys.stdin.buffer.read()
try:
    s.sendall(data); answer = b""
    while len(answer) < 8 or len(answer) < 8 + struct.unpack("<I", answer[:4])[0]:
        piece = s.recv(65536)
        if not piece: break
        answer += piece
except (ConnectionResetError, BrokenPipeError): answer = b""
sys.stdout.buffer.write(answer)
"""


def ask_as(user, kind, aux, text, path=USER_SOCKET, payload=None):
    """(type, payload) of the first frame that is answered; (CLOSED, b"") for none."""
    if payload is None:
        payload = struct.pack("<H", len(text)) + text.encode()
    frame = struct.pack("<IBBH", len(payload), kind, aux, 0) + payload
    return ask_bytes(user, frame, path)


def ask_bytes(user, data, path=USER_SOCKET):
    done = subprocess.run([*user.prefix(), sys.executable, "-c", ASK, path], input=data, capture_output=True, check=False, timeout=lib.DEADLINE)
    if done.returncode:
        return done.stderr.decode().strip().splitlines()[-1], b""
    return (done.stdout[4], done.stdout[8:]) if len(done.stdout) >= 8 else (CLOSED, b"")


def garbage():
    """garbage at the users' door: closed without a word, and the next one is served"""
    for data in (b"GET / HTTP/1.0\r\n\r\n", b"\0" * 8, b"\xff" * 64, struct.pack("<IBBH", 5, 200, 0, 0) + b"hello", struct.pack("<IBBH", 65536, 193, 0, 0) + b"x" * 65536,
                 struct.pack("<IBBH", 4, 193, 0, 7) + b"\2\0ab"):
        kind, _ = ask_bytes(BED.user, data)
        assert kind in (CLOSED, 132), (data[:20], kind)
    equal(ask_as(BED.user, 193, 0, "no.such")[0], 132)
    equal(ask_as(BED.user, 193, 0, "../1")[0], 132)


def root_door():
    """the hooks' door is root's alone"""
    kind, _ = ask_as(BED.user, 192, 0, "x", path=HOOK_SOCKET)
    assert "PermissionError" in str(kind), kind


def crowded():
    """the owner's eight connections are taken, by some that say nothing: the job's own comes when they are over"""
    script = f"import socket; s = [socket.socket(socket.AF_UNIX) for _ in range(8)]; [each.connect({USER_SOCKET!r}) for each in s]; print(flush=True); input()"
    holder = subprocess.Popen([*BED.user.prefix(), sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        job_id = submit("echo ran\n")
        holder.stdout.readline()
        BED.wait(job_id)
    finally:
        holder.communicate(b"\n")
    equal(result(job_id)[:2], (0, "ran\n"))


def thousand():
    """1,000 connections that say nothing: the others are served meanwhile, a user has eight at most"""
    script = f"""
import socket
held = []
for _ in range(1000):
    s = socket.socket(socket.AF_UNIX); s.connect({USER_SOCKET!r}); held.append(s)
open_ones = 0
for s in held:
    s.settimeout(0.002)
    try: open_ones += s.recv(1) != b""
    except TimeoutError: open_ones += 1
    except ConnectionResetError: pass
print(open_ones, flush=True)
input()
"""
    holder = subprocess.Popen([*BED.user.prefix(), sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert int(holder.stdout.readline()) <= 8
    with TemporaryUser() as other:
        equal(ask_as(other, 193, 0, "no.such")[0], 132)
    holder.communicate(b"\n")


TESTS = (
    tiny, several, host, statuses, from_stdin, directives, array, depends, large, two_users, bare_metal,
    deleted_running, deleted_in_prologue, failing_precancel, walltime, cput, signals, stopped, requeued, mom_restarted, set_up_again,
    dies("keeper", "engine was killed"), dies("engine", "engine was killed"), dies("qemu", "QEMU died"),
    user_killed, daemon_restarted, daemon_late, no_daemon, answered_at_once, bad_settings, run_missing,
    site_prologue("echo site", "0", "prints, then the job's"), site_prologue("exit 1", "-2", "fails: no guest"),
    site_prologue("kill -KILL $$", "-2", "dies by a signal: that is no success"),
    *(forged(number, text, pattern) for number, (text, pattern) in enumerate(FORGED)), forged_good, nobody_came,
    of_another, managed, entered, second_run, garbage, root_door, crowded, thousand,
)

if __name__ == "__main__":
    with on_bed(config=CONFIG) as (BED, VT):
        run_tests(TESTS, jobs=1)

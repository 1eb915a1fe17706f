#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of a job under Torque that is deleted at each point of its life, or to which something happens. Speaks TAP.

Each row: Torque's final state and status, what the user reads, and that nothing is left. More such rows, of what jobs.py
needs to be shown anyway, stand there.
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess

import jobs
from bed import equal, lib, wait_for
from faults import SCRATCH_MIB, Pool
from jobs import (CONFIG, machine, other_settings, refused_text, result, run_folder, running, spooled, submit, wait_output, without_daemon)
from lib import CTL_FAULT, FAULT_PANIC, run_tests
from vtorque import on_bed

FOREVER = "echo up\nwhile :; do sleep 0.1; done\n"


@contextlib.contextmanager
def held_hook(name):
    """A site's hook that waits: yields the file that it makes when it has begun; it goes on when that is removed, or the row is over."""
    mark = f"{jobs.BED.user.home}/held-{name}"
    jobs.BED.hook(f"{name}.orig" if name in ("prologue", "epilogue") else name, f"echo > {mark}; while [ -e {mark} ]; do sleep 0.05; done")
    path = f"{jobs.BED.home}/mom_priv/{name}.orig" if name in ("prologue", "epilogue") else f"{jobs.BED.home}/mom_priv/{name}"
    try:
        yield mark
    finally:
        os.unlink(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(mark)


def wait_mark(mark):
    wait_for(lambda: os.path.exists(mark), mark)


def over(job_id):
    """Exit status and both outputs of a job that is over, with nothing left; None for what was not delivered."""
    job = jobs.BED.wait(job_id)
    equal(jobs.VT.left(), [], "left behind")
    return job.get("exit_status"), jobs.BED.output(job), jobs.BED.output(job, "Error")


# qdel


def deleted_queued():
    """qdel of a job that is queued: no status, no file"""
    first = jobs.BED.qsub("echo up; sleep 1000\n", "-l", "nodes=1:ppn=4")
    job_id = submit("echo never\n")
    equal(jobs.BED.job(job_id)["job_state"], "Q")
    jobs.BED.run("qdel", job_id)
    equal(jobs.BED.job(job_id)["job_state"], "C")
    jobs.BED.run("qdel", first)
    jobs.BED.wait(first)
    equal(over(job_id), (None, None, None))


def deleted_held():
    """qdel of a job that is held, by its user or by what it depends on"""
    job_id = submit("echo never\n", "-h")
    second = submit("echo never\n", "-W", f"depend=afterok:{job_id}")
    jobs.BED.run("qdel", second)
    jobs.BED.run("qdel", job_id)
    equal((over(job_id), over(second)), ((None, None, None), (None, None, None)))


def deleted_in_site_prologue():
    """qdel in the site's own prologue, which goes on: no guest is started for a job that is gone"""
    with held_hook("prologue") as mark:
        job_id = submit(FOREVER)
        wait_mark(mark)
        jobs.BED.run("qdel", job_id)
        job = jobs.BED.wait(job_id)
        equal(job["exit_status"], "0")
        os.unlink(mark)
        gone = [process for process in lib.processes() if process.name == "prologue"]
        wait_for(lambda: not any(lib.is_same(process) for process in gone), "the hook's end")
        equal(run_folder(job_id), None)
        equal(over(job_id), ("0", "", ""))


def deleted_prologue_behind_epilogue():
    """the same, where the site's prologue ends while the site's epilogue still runs"""
    with held_hook("prologue") as mark, held_hook("epilogue") as last:
        job_id = submit(FOREVER)
        wait_mark(mark)
        hooks = [process for process in lib.processes() if process.name == "prologue"]
        jobs.BED.run("qdel", job_id)
        wait_mark(last)
        os.unlink(mark)
        wait_for(lambda: not any(lib.is_same(process) for process in hooks), "the hook's end")
        os.unlink(last)
        text = "vTorque: the job was not run: the job was ended before its virtual machine was started\n"
        equal(over(job_id), ("0", "", text))


def deleted_at_start(name, place, script):
    def row():
        with held_hook(place) if place else contextlib.nullcontext(f"{jobs.BED.user.home}/held-profile") as mark:
            if not place:
                with open(f"{jobs.BED.user.home}/.profile", "w", encoding="ascii") as file:
                    file.write(f"[ -e /run/vtorque/user.sock ] || return 0\necho > {mark}; while [ -e {mark} ]; do sleep 0.05; done\n")
            try:
                job_id = submit(script)
                wait_mark(mark)
                assert run_folder(job_id), "no guest"
                jobs.BED.run("qdel", job_id)
                if place:
                    jobs.BED.wait(job_id)
                    os.unlink(mark)
                status, out, _ = over(job_id)
            finally:
                if not place:
                    os.unlink(f"{jobs.BED.user.home}/.profile")
                    os.unlink(mark)
        equal((status, out), ("0" if place else "271", ""))
    row.__name__ = name
    row.__doc__ = f"qdel when the guest is ready and nobody has come: {'prologue.user' if place else 'the login shell'} takes its time"
    return row


def deleted_running():
    """qdel of a script that knows of no TERM; again, while it ends"""
    with running(FOREVER) as job_id:
        for _ in range(2):
            jobs.BED.run("qdel", job_id)
        equal(over(job_id)[:2], ("271", "up\n"))


def deleted_trapping():
    """qdel of a script that traps TERM and takes its time; again, meanwhile: what it prints is delivered, once"""
    with running("trap 'echo caught; sleep 2; echo last; exit 3' TERM\n" + FOREVER) as job_id:
        jobs.BED.run("qdel", job_id)
        wait_output(job_id, b"caught\n")
        jobs.BED.run("qdel", job_id)
        equal(over(job_id)[:2], ("271", "up\ncaught\nlast\n"))


def deleted_at_end():
    """qdel at the very moment of the script's end: its status or the order's, its output whole"""
    with running("echo up\nuntil [ -e go ]; do sleep 0.05; done\necho last\nexit 4\n", "-d", jobs.BED.folder) as job_id:
        with open(f"{jobs.BED.folder}/go", "x", encoding="ascii"):
            pass
        wait_output(job_id, b"last\n")
        jobs.BED.run("qdel", job_id)
        status, out, _ = over(job_id)
    os.unlink(f"{jobs.BED.folder}/go")
    assert status in ("4", "271"), status
    equal(out, "up\nlast\n")


def deleted_in_epilogue():
    """qdel while the site's epilogue runs: the script's status stands"""
    with held_hook("epilogue") as mark:
        job_id = submit("echo ran\nexit 4\n")
        wait_mark(mark)
        equal(run_folder(job_id), None)
        jobs.BED.run("qdel", job_id)
        os.unlink(mark)
        equal(over(job_id), ("4", "ran\n", ""))


def deleted_element():
    """qdel of one of an array: the other goes on"""
    number, _, server = submit("echo up\nuntil [ -e go ]; do sleep 0.05; done\necho last\n", "-t", "0-1", "-d", jobs.BED.folder).partition("[].")
    first, second = (f"{number}[{index}].{server}" for index in range(2))
    for index in range(2):
        wait_for(lambda index=index: b"up\n" in spooled(f"{number}-{index}.{server}"), "up")
    jobs.BED.run("qdel", second)
    job = jobs.BED.wait(second)
    equal((job["exit_status"], jobs.BED.output(job)), ("271", "up\n"))
    with open(f"{jobs.BED.folder}/go", "x", encoding="ascii"):
        pass
    equal(result(first)[:2], (0, "up\nlast\n"))
    os.unlink(f"{jobs.BED.folder}/go")


# What happens to guest, host and node


def panic():
    """the guest's kernel panics: the reason is in .e"""
    with running(FOREVER) as job_id, socket.socket(socket.AF_UNIX) as control:
        control.connect(f"{run_folder(job_id)[0]}/control")
        control.sendall(struct.pack("<IBBH", 0, CTL_FAULT, FAULT_PANIC, 0))
        status, out, err = over(job_id)
    equal((status, out), ("125", "up\n"))
    assert err.startswith("vtorque-run: the guest's kernel panicked: sysrq"), err


def prologue_too_slow():
    """PROLOGUE_TIMEOUT is over before the guest is ready: no job, and the reason"""
    with other_settings(PROLOGUE_TIMEOUT="1"):
        status, text = refused_text(submit("echo never\n"))
    equal((status, text), ("-2", "vTorque: the job was not run: the guest was not ready after 1 s (boot_timeout)\n"))


def alarm_too_near():
    """pbs_mom's own limit is nearly over when the site's prologue has ended: no job, and the reason"""
    jobs.BED.configure(CONFIG.replace("$prologalarm 120", "$prologalarm 21"))
    jobs.BED.hook("prologue.orig", "sleep 2")
    try:
        status, text = refused_text(submit("echo never\n"))
    finally:
        os.unlink(f"{jobs.BED.home}/mom_priv/prologue.orig")
        jobs.BED.configure(CONFIG)
    equal((status, text), ("-2", "vTorque: the job was not run: the guest was not ready within the batch system's time for prologues\n"))


def set_shell(path):
    subprocess.run(["usermod", "--shell", path, jobs.BED.user.name], check=True)


def scratch_full():
    """the file system of scratch disks is full, before and while the job runs: the reason, at each"""
    place = f"{jobs.VT.site.folder}/scratch"
    os.mkdir(place)
    small = "img=small,ram=128M,vcpus=1,fs_type=sharedfs"
    with Pool() as pool, contextlib.ExitStack() as stack:
        set_shell("/bin/sh")  # the image has no other
        stack.callback(set_shell, "/bin/bash")
        for size, wanted, text in ((4, "-2", "its file system has 4 MiB left"), (SCRATCH_MIB, "125", "for what the guest writes to its disk")):
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=1777,size={size}m", "scratch", place], check=True)
            try:
                with other_settings(VM_IMG_DIR=pool, WS_DIR=place):
                    job_id = submit("#!/bin/sh\necho up; cat /dev/zero > /var/tmp/full; sync\n", vm=small)
                    if wanted == "-2":
                        status, err = refused_text(job_id)
                    else:
                        status, _, err = over(job_id)
            finally:
                subprocess.run(["umount", place], check=True)
            equal(status, wanted)
            assert text in err, err
    os.rmdir(place)


def node_restarted():
    """the node goes down with the job and comes up: no run folder, no process; the batch system's epilogue ends the record"""
    with running(FOREVER) as job_id:
        _, pids = run_folder(job_id)
        session = next(process.session for process in lib.processes() if process.name == "vtorque-run")
        victims = [lib.read_process(pid) for pid in (jobs.BED.nodes[0].mom(), machine(pids["engine"]), *pids.values())]
        victims += [process for process in lib.processes() if process.session == session]
        with without_daemon():
            for process in victims:  # all at once, and nobody has a word left
                os.kill(process.pid, signal.SIGSTOP)
            for process in reversed(victims):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            for process in victims:
                wait_for(lambda process=process: not lib.is_same(process), "the end of all")
            remove_leaves()  # by the run folders' place
            for name in os.listdir("/run/vtorque"):
                shutil.rmtree(f"/run/vtorque/{name}") if os.path.isdir(f"/run/vtorque/{name}") else os.unlink(f"/run/vtorque/{name}")
        jobs.BED.start_mom()
        status, out, _ = over(job_id)
    equal((status, out), ("0", "up\n"))  # facts 2: a mom that was killed does not know the status
    equal(result(submit("echo again\n"))[:2], (0, "again\n"))


def remove_leaves():
    """A machine that comes up has no cgroup of before."""
    for place in [name for kind, name in jobs.VT.take() - jobs.VT.before if kind == "cgroup"]:
        with contextlib.suppress(OSError):
            os.rmdir(place)


TESTS = (
    deleted_queued, deleted_held, deleted_in_site_prologue, deleted_prologue_behind_epilogue,
    deleted_at_start("deleted_before_user_prologue", "prologue.user", FOREVER),
    deleted_at_start("deleted_before_run", None, FOREVER), deleted_running, deleted_trapping, deleted_at_end, deleted_in_epilogue, deleted_element,
    panic, prologue_too_slow, alarm_too_near, scratch_full, node_restarted,
)

if __name__ == "__main__":
    with on_bed(config=CONFIG) as (jobs.BED, jobs.VT):
        run_tests(TESTS, jobs=1)

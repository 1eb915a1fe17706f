#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Faults that only root can make: the guest's clock jumps, an ordinary user's limit of processes. Speaks TAP."""

import os
import shutil

import faults
import guest
import lib
from faults import FOREVER, GuestFolder, Row, row
from lib import TemporaryUser, run_tests

USER = None
YEAR = 365 * 24 * 3600
PROCESSES_MAX = 40  # more than a job has, threads counted


def jump(seconds):
    """For a guest's script: the clock goes by that much."""
    return f"date -s @$(($(date +%s) + {seconds})) > /dev/null\n"


def clock_jumps(seconds):
    with Row() as this:
        script = f"{jump(seconds)}date +%Y; sleep 1; echo right; exit 3\n"
        result = this.run(script=script)
        year, _, rest = result.out.partition(b"\n")
        assert int(year) != int(lib.time.strftime("%Y")), f"the clock did not jump: {year}"
        this.judge_right(result._replace(out=rest))


def walltime_after_jump(seconds):
    """The walltime is the engine's, by the host's monotonic clock."""
    with Row() as this, this.start(jump(seconds) + FOREVER, "-l", "walltime=4") as job:
        job.wait_text(b"up\n")
        this.judge(job.finish(), 143, "walltime", "the walltime is over", out=b"up\n")


def grace_after_jump():
    """the guest's clock jumps in the grace of vmgr end: TERM, the grace, KILL"""
    with Row() as this, this.start(f"exec 2>/dev/null\ntrap '{jump(-YEAR).strip()}; echo jumped' TERM\n{FOREVER}") as job:
        job.wait_text(b"up\n")
        lib.equal(this.site.vmgr("end", job.job()["id"]), (0, "", ""))
        this.judge(job.finish(), 125, "ended", "the job was ended", out=b"up\njumped\n")


CLOCKS = (
    ("forward by a year", YEAR),
    ("back by a year", -YEAR),
)


def few_processes():
    """a user with a hard limit of 64 processes: the job runs"""
    with Row(user=USER) as this:
        this.judge_right(this.run(through=("prlimit", "--nproc=64:64")))


def too_few_processes():
    """a user with a hard limit of 1, 2, 3 ... processes: what cannot be forked is said, until there are enough"""
    with GuestFolder(kernel=b"") as folder:
        shutil.copyfile(os.path.realpath(f"{folder}/initramfs-tiny"), f"{folder}/copy")
        os.replace(f"{folder}/copy", f"{folder}/initramfs-tiny")
        for limit in range(1, PROCESSES_MAX):
            with Row(folder, user=USER) as this:
                result = this.run(through=("prlimit", f"--nproc={limit}:{limit}"))
                is_alive = faults.ALIVE in result.err
                this.judge(result, 125, ("host", "qemu", "share", None), "QEMU died" if is_alive else
                           "cannot (fork|make namespaces|make a user namespace|start the file server)|QEMU died|file server of the guest died")
            if is_alive:
                return
    raise AssertionError(f"{PROCESSES_MAX} processes are not enough")


def no_user_namespaces():
    """a user who may make no user namespace: refused, with the settings that say so"""
    with Row(user=USER) as this:
        for file in (faults.__file__, guest.__file__, lib.__file__):
            shutil.copy(file, this.site.bin)
        through = ("/usr/bin/python3", f"{this.site.bin}/faults.py", "--mounts", "userns=0", "--")
        this.judge(this.run(through=through), 125, "host", "cannot make a user namespace .user.max_user_namespaces, .*: No space left")


def tests():
    for index, (what, seconds) in enumerate(CLOCKS):
        yield row(f"clock_jumps_{index}", f"the guest's clock jumps {what}: the job runs", lambda seconds=seconds: clock_jumps(seconds))
        yield row(f"walltime_after_jump_{index}", f"the guest's clock jumps {what}: the walltime is as it was",
                  lambda seconds=seconds: walltime_after_jump(seconds))
    yield from (grace_after_jump, few_processes, too_few_processes, no_user_namespaces)


if __name__ == "__main__":
    with TemporaryUser() as USER:
        run_tests(tuple(tests()))

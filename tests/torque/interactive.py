#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs at a terminal under Torque, in the tiny guest, on the stand-in or a real Torque. Speaks TAP.

Each row ends with nothing left: no process, run folder, cgroup, spool file or envelope of the job."""

import os
import re
import signal
import stat

from bed import equal, lib, wait_for
from lib import run_tests
from terminal import Terminal, ask_ready, use
from vtorque import on_bed

BED = VT = None
CONFIG = "$check_poll_time 1\n$prologalarm 120\n$jobstartblocktime 1\n"
TINY = ("-vm", "img=tiny,ram=128M,vcpus=1")
KILLED = "265"  # the job's exit status, whatever came of it (facts 8.3)


class Session(Terminal):
    """vsub -I, from the job's number on."""

    def __init__(self, *words, vm=TINY, **options):
        super().__init__(VT.site, "-I", *vm, *words, **options)
        self.id = re.search(r"job (\S+) to start", self.wait_text(r"qsub: waiting for job \S+ to start")).group(1)
        self.wait_text(f"qsub: job {re.escape(self.id)} ready")

    def finish(self, wanted=KILLED):
        """The job's end, with nothing left; its attributes."""
        self.leader.kill()
        job = BED.wait(self.id)
        equal(VT.left(), [], "left behind")
        equal(job["exit_status"], wanted)
        return job


def at_terminal():
    """size, Control-C, Control-Z and fg, vi, exit"""
    with Session() as terminal:
        use(terminal, can_resize=False)
        equal(terminal.ask("echo $PBS_ENVIRONMENT-$PBS_NP-$PBS_JOBNAME-$PBS_JOBID", r"PBS_INTERACTIVE-\S+"), f"PBS_INTERACTIVE-1-STDIN-{terminal.id}")
        terminal.type("exit 3\r")
        equal(terminal.wait_status(), 0)  # qsub's
        terminal.check_sane()
        terminal.finish()


def command():
    """-x: a command in the guest, with -F; its name is the job's"""
    with Session("-x", "sh", "-F", "-c 'tty; uname -n; echo got \"$1\"' sh 'two  words'") as terminal:
        terminal.wait_text(r"/dev/pts/0\r\nv\S+\r\ngot two  words\r")
        equal(terminal.wait_status(), 0)
        terminal.check_sane()
        equal(terminal.finish()["Job_Name"], "sh")


def directives():
    """of a script the directives count alone, also its -vm and its -I"""
    path = BED.script("#PBS -I -N called\n#PBS -v WORD='a b'\n#PBS -vm img=tiny\n#PBS -vm ram=128M,vcpus=1\necho never\n", "ignored.sh")
    for words in ((path,), ("-N", "other", path)):
        with Session(*words, vm=()) as terminal:
            terminal.ask('echo "word=$WORD on=$(uname -n)"', r"word=a b on=v\S+-0\r")
            terminal.type("exit\r")
            equal(terminal.wait_status(), 0)
            assert b"never" not in terminal.text
            equal(terminal.finish()["Job_Name"], "called" if len(words) == 1 else "other")


def envelope():
    """the envelope is the owner's file, and gone when the job has begun"""
    folder = f"{BED.user.home}/.vtorque/scripts"
    BED.hook("prologue.user", f"ls -l {folder} >{BED.user.home}/seen")
    try:
        with Session() as terminal:
            ask_ready(terminal)
            equal(os.listdir(folder), [])
            equal(stat.S_IMODE(os.stat(folder).st_mode), 0o700)
            terminal.type("exit\r")
            equal(terminal.wait_status(), 0)
            terminal.finish()
    finally:
        for node in BED.nodes:
            os.unlink(f"{node.home}/mom_priv/prologue.user")
    with open(f"{BED.user.home}/seen", encoding="ascii") as file:
        assert re.search(r"^-rwx------ ", file.read(), re.MULTILINE)


def ends():
    """qdel; qsub hung up, killed: the guest's shell hears of it, and nothing is left"""
    for how in ("qdel", "hang-up", "kill"):
        with Session() as terminal:
            ask_ready(terminal)
            program = terminal.program()
            if how == "qdel":
                equal(BED.run("qdel", terminal.id).status, 0)
                equal(terminal.wait_status(), 0)
                terminal.check_sane()
                terminal.finish()
                continue
            if how == "hang-up":
                terminal.hang_up()
            else:
                os.kill(program.pid, signal.SIGKILL)
            wait_for(lambda: not lib.is_same(program), "qsub's end")
            terminal.finish("0")


def refused():
    """without a terminal, with what cannot be; nothing is submitted"""
    rows = ((("-I",), b"vsub: -I: standard input and output must be a terminal\n"),
            (("-I", "-X"), b"vsub: command line: option '-X' needs X11 in the guest, which is not built yet\n"),
            (("-I", "-x"), b"vsub: command line: option '-x' needs a command\n"),
            (("-x", "true"), b"vsub: command line: option '-x' needs '-I' before it\n"),
            (("-I", "-x", "true", "-F", "'a"), b"vsub: command line: -F: quote ' is not closed\n"))
    for words, line in rows:
        done = BED.run(f"{VT.site.bin}/vsub", *TINY, *words)
        equal((done.status, done.out, done.err), (2, b"", line), words)
    equal(VT.left(), [])


def plain():
    """without -vm it is qsub's own: the terminal is the node's"""
    with Session(vm=()) as terminal:
        equal(terminal.ask("echo on=$((1+1)).$(uname -n)", r"on=2\.\S+"), f"on=2.{os.uname().nodename}")
        terminal.type("exit\r")
        equal(terminal.wait_status(), 0)
        terminal.finish()


def main():
    global BED, VT
    with on_bed(config=CONFIG) as (BED, VT):
        run_tests([at_terminal, command, directives, envelope, ends, refused, plain], jobs=1)


if __name__ == "__main__":
    main()

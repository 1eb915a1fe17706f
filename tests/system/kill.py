#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The kill table: each process of a job is killed, or stopped and the job ended, at each step of its life
(doc/contracts/job-life.md). Afterwards nothing of the job may be left, and the next job must run. Speaks TAP.

Theory of operation. A row starts a job with a gate, holds it at its step, strikes, opens the gate, ends the job if it was
not to end by itself, and looks for what is left. A column is a list of rows under one roof: as root, as an ordinary user,
below a process 1 that never reaps. Two lanes of columns run at a time, each a process of its own: a column below another
process 1 has to be born there.

  kill.py [WORD...]                only rows with one of these words in their name
  VTORQUE_VMS=N kill.py            with N machines in each job
  kill.py --column NAME SITE       internal: runs one column, in a folder made by the first process
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import lib
from lib import (TINY, CTL_FAULT, DEADLINE, FAULT_EXIT, FAULT_HANG, PHASES, Gate, Inventory, Site, TemporaryUser, User, attempt, equal,
                 find_job, is_same, print_result, processes, strike, wait_for)

STEPS = tuple(phase for phase in PHASES if phase != "booted")
# The first step at which a victim is there.
VICTIMS = {"vsub": "locked", "keeper": "locked", "engine": "born", "QEMU": "starting", "file server": "prepared", "agent": "ready"}
ROLES = {"QEMU": "qemu", "file server": "server"}

# Process 1: starts what it is given, waits for that alone, and leaves all orphans as zombies.
NEVER_REAPS = "import os, sys\npid = os.fork()\nif pid == 0:\n  os.execv(sys.argv[1], sys.argv[1:])\n" \
              "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
MANY = f"vsub: note: {lib.VMS} virtual machines "  # with VTORQUE_VMS: more than there are cores
SELF = os.path.abspath(__file__)


class Row:
    def __init__(self, victim, step, how):
        self.victim, self.step, self.how = victim, step, how
        self.is_stop = how in ("SIGSTOP", "hangs")

    def name(self):
        if self.victim == "agent":
            return f"the agent {self.how} at {self.step}"
        return f"{'stop' if self.is_stop else 'kill'} {self.victim} at {self.step} {self.how}"

    def status(self):
        """What vsub must end with."""
        if self.victim == "vsub" and not self.is_stop:
            return -signal.SIGKILL
        # The script has ended: what befalls any but those who have to tell it, and who has to write what it mapped, makes
        # that not undone.
        is_teller = self.victim == "engine" or self.victim in ("keeper", "file server") and not self.is_stop
        if self.step == "ending" and not is_teller:
            return 0
        return 130 if self.is_ended_by_interrupt() else 125

    def is_ended_by_interrupt(self):
        """A job that is not there yet for vmgr, whose vsub lives, is ended as a user at a terminal does."""
        return self.is_stop and self.victim in ("keeper", "engine") and self.step in ("locked", "born")

    def strike(self, site, process, keeper):
        if self.victim != "agent":
            strike(process, signal.SIGSTOP if self.is_stop else signal.SIGKILL)
            return None
        return site.control(site.find(keeper)["slot"], CTL_FAULT, FAULT_HANG if self.is_stop else FAULT_EXIT)


def rows(hows):
    for how in hows:
        for victim, first in VICTIMS.items():
            for step in STEPS[STEPS.index(first):]:
                word = how if victim != "agent" else "hangs" if how == "SIGSTOP" else "exits"
                yield Row(victim, step, word)


class Column:
    """Where rows run. `lane`: those of one run one after another."""

    def __init__(self, name, lane, hows, user, through=()):
        self.name, self.lane, self.user, self.through = name, lane, user, through
        self.rows = list(rows(hows))
        self.title = f" ({name})" if name else ""


class ColumnSite(Site):
    """The folder of a column, made by the first process, as the column's own process finds it."""

    def __init__(self, folder):
        self.user, self.folder, self.bin = User(), folder, f"{folder}/bin"
        self.runtime, self.work = f"{folder}/runtime", f"{folder}/work"


def end_job(site, row, vsub, keeper):
    """Ends a job of which something is stopped."""
    if row.is_ended_by_interrupt():
        for _ in range(2):
            vsub.send_signal(signal.SIGINT)
            wait_for(lambda: not is_pending(vsub.pid, signal.SIGINT), "the signal's arrival")
        return
    words = () if row.victim == "agent" else ("--now",)
    result = site.vmgr("end", *words, site.find(keeper)["id"])
    equal((result.status, result.err), (0, ""), "vmgr end")


def is_pending(pid, number):
    """True while a signal waits for a process to take it (vsub takes them all from a descriptor)."""
    try:
        with open(f"/proc/{pid}/status") as file:
            fields = dict(line.split(":\t", 1) for line in file)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "ShdPnd" in fields and int(fields["ShdPnd"], 16) >> (number - 1) & 1


def is_gone(keeper, everyone):
    """No process of the job lives: none of those seen, none that came later (all are of the keeper's session)."""
    return not any(is_same(process) for process in everyone) and \
        not any(process.session == keeper.pid for process in processes())


def run_row(site, row):
    inventory = Inventory(site)
    script = "exit 0\n" if row.step == "ending" else "while :; do sleep 1; done\n"
    with Gate() as gate:
        vsub = site.start(*TINY, stdin=subprocess.PIPE, **gate.options())
        try:
            vsub.stdin.write(script.encode())
            vsub.stdin.close()
            gate.wait(row.step)
            # A phase is reached when a process is forked, a moment before it is what it will be.
            role = ROLES.get(row.victim, row.victim)
            wait_for(lambda: row.victim == "agent" or role in find_job(vsub.pid)[0], f"the {row.victim}")
            roles, everyone = find_job(vsub.pid)
            victim = roles.get(role)
            connection = row.strike(site, victim, roles["keeper"].pid)
            gate.open()
            if row.is_stop and row.step != "ending" or row.is_stop and row.victim in ("keeper", "engine"):
                end_job(site, row, vsub, roles["keeper"].pid)
            if row.victim == "vsub" and row.is_stop:
                wait_for(lambda: not is_same(roles["keeper"]), "the keeper's end")
                vsub.send_signal(signal.SIGCONT)
            status = vsub.wait(DEADLINE)
            if connection:
                connection.close()
        finally:
            vsub.kill()
            out, err = vsub.stdout.read(), vsub.stderr.read()
            vsub.wait()
    equal((status, out), (row.status(), b""), f"with stderr {err!r},")
    said = [line for line in err.decode().splitlines() if not line.startswith(("  | ", MANY))]
    equal(len(said), 1 if status == 125 else 0, f"lines in {err!r}:")
    if status == 125 and row.victim in ("QEMU", "file server", "agent") and said[0] != "vsub: the job was ended":
        lib.check_named(said[0])
    wait_for(lambda: is_gone(roles["keeper"], everyone), "the end of all processes")
    if row.victim == "keeper":
        site.jobs()  # the next program sweeps
    inventory.check()
    if row.step == "ending":
        equal(next_job(site)[:2], (3, b"right\n"), "the next job")


def next_job(site):
    return site.vsub(*TINY, input="echo right; exit 3")


def run_column(column, site):
    """In a process of its own: a line for each row's problem, or an empty one."""
    for row in column.rows:
        print(json.dumps(attempt(lambda row=row: run_row(site, row))), flush=True)


def columns(user):
    """All columns for whoever runs this; `user` is an ordinary user, if root could make one."""
    pid_1 = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-current-user"]), "--pid", "--fork", "--mount-proc",
             sys.executable, "-c", NEVER_REAPS]
    me = User()
    found = [Column("", 0, ("SIGKILL", "SIGSTOP"), me), Column("below a process 1 that never reaps", 0, ("SIGKILL",), me, pid_1)]
    if user:
        found.append(Column("as a user", 1, ("SIGKILL",), user))
    return found


class Lane(threading.Thread):
    """Runs columns one after another and keeps each row's problem, by column and number of the row."""

    def __init__(self, lane, results, ready):
        super().__init__()
        self.lane, self.results, self.ready = lane, results, ready

    def run(self):
        for column in self.lane:
            with Site("KILL_GRACE=1", user=column.user) as site:
                self.run_in(column, site)

    def run_in(self, column, site):
        # The checkout may lie where the user may not look.
        program = shutil.copy(SELF, f"{site.folder}/bin")
        shutil.copy(lib.__file__, f"{site.folder}/bin")
        words = [*column.user.prefix(), *column.through, program, "--column", column.name, site.folder, *sys.argv[1:]]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=site.environment()) as process:
            for row in column.rows:
                line = process.stdout.readline()
                with self.ready:
                    self.results[column, row] = json.loads(line) if line else "the column ended early"
                    self.ready.notify()


def select(column):
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    column.rows = [row for row in column.rows if not words or any(word in row.name() + column.title for word in words)]
    return column


def run_all(user):
    table = [select(column) for column in columns(user)]
    results, ready = {}, threading.Condition()
    lanes = [Lane([column for column in table if column.lane == lane], results, ready) for lane in (0, 1)]
    for lane in lanes:
        lane.start()
    print(f"1..{sum(len(column.rows) for column in table)}", flush=True)
    number, failed = 0, 0
    for column in table:
        for row in column.rows:
            with ready:
                ready.wait_for(lambda: (column, row) in results)
            number += 1
            failed += bool(results[column, row])
            print_result(number, row.name() + column.title, results[column, row])
    for lane in lanes:
        lane.join()
    return 1 if failed else 0


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in order: the user and the folders go
    if sys.argv[1:2] == ["--column"]:
        name, folder = sys.argv[2:4]
        del sys.argv[1:4]
        column = next(column for column in columns(User()) if column.name == name)
        run_column(select(column), ColumnSite(folder))
        return 0
    if os.getuid() != 0:
        return run_all(None)
    with TemporaryUser() as user:
        return run_all(user)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""As many jobs at once as there is memory for, and many in a row. VTORQUE_PAIRS=COUNT: jobs of two machines (4);
VTORQUE_IN_A_ROW=COUNT: so many (8). Speaks TAP.

Unlike other tests it takes all processors, for a minute and more: it runs with nothing beside it.
"""

import contextlib
import os
import subprocess

from faults import WORDS, Row
from lib import DEADLINE, equal, run_tests


def free_mib():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("MemAvailable"))


PAIRS = int(os.environ.get("VTORQUE_PAIRS", "4"))
IN_A_ROW = int(os.environ.get("VTORQUE_IN_A_ROW", "8"))


def all_at_once(count, *words, script="uname -n\nread line\nexit 3\n"):
    """`count` jobs that are all there before the first of them ends; each has said a line of its own."""
    with Row() as this, contextlib.ExitStack() as stack:
        path = f"{this.site.work}/script.sh"
        with open(path, "w") as file:
            file.write(script)
        jobs = [this.site.start(*WORDS, "-vm", "ram=96M", *words, path, stdin=subprocess.PIPE) for _ in range(count)]
        for job in jobs:
            stack.callback(job.kill)
        lines = [job.stdout.readline().decode().strip() for job in jobs]
        failed = [job.stderr.read() for job, line in zip(jobs, lines) if not line]
        equal((len(set(lines)), failed), (count, []), f"of {lines} different and failed")
        for job in jobs:
            job.stdin.close()
        equal({job.wait(10 * DEADLINE) for job in jobs}, {3})
        errors = {job.stderr.read() for job in jobs}
        this.check_left()
    return lines, errors


def fifty_at_once():
    """50 jobs started at once (as many as memory is there for): all run at the same time, each with a slot of its own"""
    equal(all_at_once(max(2, min(50, free_mib() // 2 // 200)))[1], {b""})


def pairs():
    """jobs of two machines at once: each finds its own other one"""
    # A guest that has no turn for 3 s is unreachable to the other one's kernel.
    ask = 'nc -w 100 $(tail -n 1 "$PBS_NODEFILE") 9 </dev/null 2>&1 | grep -o refused'
    script = f"for try in 1 2 3 4 5 6 7 8 9 10; do said=$({ask}) && break; done\necho $(uname -n) $said\nread line\nexit 3\n"
    lines, _ = all_at_once(PAIRS, "-vm", "vms_per_node=2", script=script)
    assert all(line.endswith(" refused") for line in lines), lines


def in_a_row():
    """jobs one after the other: each right, nothing left"""
    with Row() as this:
        for number in range(IN_A_ROW):
            result = this.run(script=f"echo {number}; exit 5\n")
            equal((result.status, result.out, result.err), (5, f"{number}\n".encode(), b""))
        this.check_left()


if __name__ == "__main__":
    run_tests((fifty_at_once, pairs, in_a_row), jobs=1)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""As many jobs at once as there is memory for. Speaks TAP.

Unlike other tests it takes all processors, for a minute and more: it runs with nothing beside it.
"""

import contextlib
import subprocess

from faults import WORDS, Row
from lib import DEADLINE, equal, run_tests


def free_mib():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("MemAvailable"))


def fifty_at_once():
    """50 jobs started at once (as many as memory is there for): all run at the same time, each with a slot of its own"""
    count = max(2, min(50, free_mib() // 2 // 200))
    script = "uname -n\nread line\nexit 3\n"
    with Row() as this, contextlib.ExitStack() as stack:
        path = f"{this.site.work}/script.sh"
        with open(path, "w") as file:
            file.write(script)
        jobs = [this.site.start(*WORDS, "-vm", "ram=96M", path, stdin=subprocess.PIPE) for _ in range(count)]
        for job in jobs:
            stack.callback(job.kill)
        names = [job.stdout.readline().decode().strip() for job in jobs]
        failed = [job.stderr.read() for job, name in zip(jobs, names) if not name]
        equal((len(set(names)), failed), (count, []), f"of {names} different and failed")
        for job in jobs:
            job.stdin.close()
        results = [(job.wait(10 * DEADLINE), job.stderr.read()) for job in jobs]
        equal(set(results), {(3, b"")})
        this.check_left()


if __name__ == "__main__":
    run_tests((fifty_at_once,))

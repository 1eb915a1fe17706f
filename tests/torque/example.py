#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The example of the documents, by `cluster`: what its user sees, on bare metal and in a virtual machine. Speaks TAP."""

import os
import re
import subprocess
import sys

from bed import HERE, equal, lib
from lib import SOURCE, run_tests

WORDS = "-l nodes=1:ppn=2,walltime=0:10:00".split()
BOTH = r"I am \S+, in /\S+/home, job 1\.\S+"


def cluster(*command):
    """Exit status and standard output; of standard error the lines that `cluster` says of the jobs."""
    done = subprocess.run([sys.executable, f"{HERE}/cluster", "-n", "1", "--", *command, "examples/hello.sh"],
                          cwd=SOURCE, capture_output=True, text=True, check=False, timeout=lib.DEADLINE * 3)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("vtorqued: ")]
    return done.returncode, done.stdout, "\n".join(lines)


def row(name, text, command, output):
    def test():
        status, out, told = cluster(*command)
        equal((status, out), (0, f"1.{os.uname().nodename}\n"))
        wanted = rf"job 1\.\S+: state C, exit_status 0, hello\n  hello\.o1:\n    {output}\n  hello\.e1:\nleft: nothing"
        assert re.fullmatch(wanted, told), told
    test.__name__, test.__doc__ = name, text
    return test


def lines(host, memory):
    return rf"Hello from {host}, Linux \S+\n    {BOTH}\n    This machine has {memory} MiB of memory"


GUEST = lines(r"v\S+-\d+", r"1 CPU and 4\d\d")
TESTS = (
    row("bare", "qsub: bare metal", ["qsub", *WORDS], lines(re.escape(os.uname().nodename), r"\d+ CPU and \d+")),
    row("host", "vsub, img=host", ["vsub", *WORDS, "-vm", "vcpus=1,ram=512M,img=host"], GUEST),
    row("image", "vsub, the demo image", ["vsub", *WORDS, "-vm", "vcpus=1,ram=512M,img=debian"], GUEST),
)

if __name__ == "__main__":
    run_tests(TESTS, jobs=1)

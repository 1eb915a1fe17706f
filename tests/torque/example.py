#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The examples of the documents, by `cluster`: what its user sees, on bare metal and in a virtual machine. Speaks TAP."""

import os
import re
import subprocess
import sys

from bed import HERE, equal, lib
from lib import SOURCE, run_tests

WORDS = "-l nodes=1:ppn=2,walltime=0:10:00".split()
BOTH = r"I am \S+, in /\S+/home, job NUMBER\.\S+"  # as qsub has said it


def cluster(*command):
    """Exit status and standard output; of standard error the lines that `cluster` says of the jobs."""
    done = subprocess.run([sys.executable, f"{HERE}/cluster", "-n", "1", "--", *command],
                          cwd=SOURCE, capture_output=True, text=True, check=False, timeout=lib.DEADLINE * 3)
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("vtorqued: ", "vsub: note: "))]
    return done.returncode, done.stdout, "\n".join(lines)


def row(name, text, command, output, example="hello"):
    def test():
        status, out, told = cluster(*command, f"examples/{example}.sh")
        number, _, server = out.partition(".")
        equal((status, server, number.isdigit()), (0, f"{os.uname().nodename}\n", True))
        wanted = rf"job NUMBER\.\S+: state C, exit_status 0, NAME\n  NAME\.oNUMBER:\n    {output}\n  NAME\.eNUMBER:\nleft: nothing"
        assert re.search(rf"(^|\n){wanted}$".replace("NUMBER", number).replace("NAME", example), told), told
    test.__name__, test.__doc__ = name, text
    return test


def lines(host, memory):
    return rf"Hello from {host}, Linux \S+\n    {BOTH}\n    This machine has {memory} MiB of memory"


GUEST = lines(r"v\S+-\d+", r"1 CPU and 4\d\d")
RANKS = "|".join(r"rank {0} of 2 on v\S+-{0}\n    rank {1} of 2 on v\S+-{1}".format(*order) for order in ((0, 1), (1, 0)))
TESTS = (
    row("bare", "qsub: bare metal", ["qsub", *WORDS], lines(re.escape(os.uname().nodename), r"\d+ CPU and \d+")),
    row("host", "vsub, img=host", ["vsub", *WORDS, "-vm", "vcpus=1,ram=512M,img=host"], GUEST),
    row("image", "vsub, the demo image", ["vsub", *WORDS, "-vm", "vcpus=1,ram=512M,img=debian"], GUEST),
    row("mpi", "vsub, a rank in each of two machines", ["vsub", *WORDS, "-vm", "vms_per_node=2,vcpus=1,ram=512M,img=debian,boot_timeout=600"],
        f"(?:{RANKS})", "mpi-hello"),
)

if __name__ == "__main__":
    run_tests(TESTS, jobs=1)

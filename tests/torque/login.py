#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmgr from a login node: jobs on the stand-in's nodes, seen and steered from another. Speaks TAP.

The login node is the third node: it has qstat, munged and the site's file, and no daemon. Each row ends with nothing left
on any node. doc/contracts/peer.md ("Users from other nodes") says what is looked at here.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import jobs
import peers
from bed import TemporaryUser, User, address, equal, lib, wait_for
from jobs import CONFIG, submit
from lib import run_tests
from peers import FOREVER, PORT, REFUSED, TAKEN, Caller, Munged
from vtorque import on_bed

USER = 212  # frame of a user's credential
LOGIN = 2   # number of the login node


def words_of(*words, user=None, node=LOGIN):
    return [*jobs.BED.nodes[node].prefix(), *(user or jobs.BED.user).prefix(), f"{jobs.VT.site.bin}/vmgr", *words]


def options_of(user=None):
    user = user or jobs.BED.user
    environment = {**user.environment(), "PATH": f"{jobs.BED.prefix}/bin:{user.environment()['PATH']}"}
    return {"env": environment, "cwd": "/", "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def vmgr(*words, user=None, node=LOGIN, input=b""):
    """vmgr to its end: status, output, error output."""
    done = subprocess.run(words_of(*words, user=user, node=node), input=input, timeout=lib.DEADLINE, check=False, **options_of(user))
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@contextlib.contextmanager
def running(script=FOREVER, *words):
    """A job on the first node whose script has said `up`: its id."""
    job_id = submit(script, "-l", "nodes=node1", *words)
    try:
        wait_for(lambda: peers.has_said_up(job_id), f"`up` of {job_id}")
        yield job_id
    finally:
        jobs.BED.root("qdel", job_id)
        jobs.BED.wait(job_id)
        equal(jobs.VT.left(), [], "left behind")


def seen():
    """list and shell from the login node"""
    with running() as job_id:
        status, out, err = vmgr("list")
        equal((status, err), (0, ""))
        assert re.search(rf"^{re.escape(job_id)} .* running .* node1$", out, re.MULTILINE), out
        equal(vmgr("shell", job_id, "--", "sh", "-c", "echo hello; echo there >&2; exit 7"), (7, "hello\n", "there\n"))


TESTS = [seen]

if __name__ == "__main__":
    with Munged() as peers.MUNGED:
        SETTINGS = (f"MUNGE_SOCKET={peers.MUNGED.socket}", f"PEER_PORT={PORT}", "NET_TRANSPORT=vxlan")
        with on_bed(SETTINGS, nodes=3, config=CONFIG) as (jobs.BED, jobs.VT):
            jobs.VT.daemons[LOGIN].terminate()
            jobs.VT.daemons[LOGIN].wait(lib.DEADLINE)
            run_tests(TESTS, jobs=1)

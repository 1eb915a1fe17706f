#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ssh and MPI between a job's virtual machines, with img=host and the demo image. VTORQUE_MPI=COUNT: exchanges (100). Speaks TAP."""

import contextlib
import os
import re
import shutil
import subprocess

from lib import SOURCE, Inventory, Site, TemporaryUser, User, equal, run_tests

COUNT = os.environ.get("VTORQUE_MPI", "100")
EXAMPLE = f"{SOURCE}/examples/mpi-hello.sh"
PATIENCE = 900  # s; emulated

# From the first machine to the last: as the owner, without the key, as root, as another user, and back.
TABLE = """
host=$(tail -n 1 "$PBS_NODEFILE") first=$(uname -n)
ssh "$host" 'echo in $(uname -n) $(id -u) $(stat -c %a /run/vtorque/ssh/id)'
ssh "$host" ssh "$first" uname -n
ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no "$host" true; echo without $?
ssh "root@$host" true; echo root $?
ssh "daemon@$host" true; echo daemon $?
ssh -o PreferredAuthentications=password "$host" true; echo password $?
ssh "$host" exit 7; echo status $?
"""


def run(site, image, script, shape="vms_per_node=2,vcpus=1", **options):
    words = ("--local", "-S", "/bin/sh", "-vm", f"img={image},ram=512M,boot_timeout=600,{shape}")
    return site.vsub(*words, input=script, timeout=PATIENCE, **options)


def ssh(site, image):
    """the owner's key opens every machine of the job, and nothing else does"""
    inventory = Inventory(site)
    result = run(site, image, TABLE)
    lines = result.out.decode().splitlines()
    assert re.fullmatch(rf"in v\S+ {site.user.uid} 400", lines[0]), result
    assert lines[1] != lines[0].split()[1] and lines[1].startswith("v"), result
    equal(lines[2:], ["without 255", "root 255", "daemon 255", "password 255", "status 7"])
    inventory.check()


def hello(site, image):
    """mpirun without arguments has a rank for each processor of each machine"""
    with open(EXAMPLE, encoding="ascii") as file:
        result = run(site, image, file.read(), "vms_per_node=2,vcpus=2")
    equal(result.status, 0, result.err)
    found = [re.fullmatch(r"rank (\d) of 4 on (\S+)", line).groups() for line in sorted(result.out.decode().splitlines())]
    equal([rank for rank, _ in found], ["0", "1", "2", "3"])
    equal(sorted([name for _, name in found].count(name) for name in {name for _, name in found}), [2, 2])


def own_choice(site, image):
    """-np and --hostfile of the user's own count"""
    result = run(site, image, 'tail -n 1 "$PBS_NODEFILE" >hosts; mpirun -np 1 --hostfile hosts uname -n; cat hosts')
    equal(result.status, 0, result.err)
    equal(len(set(result.out.split())), 1)


def exchange(site, image):
    """what ranks send each other arrives as it was sent"""
    subprocess.run(["mpicc", "-O2", "-o", f"{site.work}/exchange", f"{SOURCE}/tests/system/exchange.c"], check=True)
    os.chmod(f"{site.work}/exchange", 0o755)
    result = run(site, image, f"mpirun ./exchange {COUNT}", "vms_per_node=2,vcpus=2")
    equal((result.status, result.out), (0, f"4 ranks, {COUNT} exchanges, 0 bytes wrong\n".encode()), result.err)


def row(test, site, image):
    def run_row():
        test(site, image)
    run_row.__name__, run_row.__doc__ = f"{test.__name__}_{image}", f"img={image}: {test.__doc__}"
    return run_row


def main():
    with contextlib.ExitStack() as stack:
        user = stack.enter_context(TemporaryUser()) if os.getuid() == 0 else User()  # MPI refuses root
        site = stack.enter_context(Site("KILL_GRACE=1", user))
        images = ["host"] if shutil.which("sshd", path="/usr/sbin") and shutil.which("mpirun") else []
        rows = [row(test, site, "debian") for test in (ssh, hello, own_choice, exchange)]
        run_tests(rows + [row(test, site, image) for image in images for test in (ssh, hello, exchange)], jobs=1)


if __name__ == "__main__":
    main()

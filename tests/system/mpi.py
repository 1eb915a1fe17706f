#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ssh and MPI between a job's virtual machines, with img=host and the demo image. VTORQUE_MPI=COUNT: exchanges (100). Speaks TAP."""

import contextlib
import os
import re
import shutil
import subprocess

from lib import BUILD, SOURCE, Inventory, Site, TemporaryUser, User, equal, run_tests

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


DSH = """
./vtorque-dsh sh -c 'echo "$PWD|$PBS_JOBID|$0|$1"' "it's  a" '$x' | sort -u
./vtorque-dsh uname -n | sort >names; uniq "$PBS_NODEFILE" | sort | cmp - names && echo each once
./vtorque-dsh sh -c 'read line; echo "$?"' | sort -u
./vtorque-dsh sh -c 'case $(uname -n) in $(head -n 1 $PBS_NODEFILE)) exit 0;; esac; exit 9'; echo $?
./vtorque-dsh; echo $?
env -u PBS_NODEFILE ./vtorque-dsh true; echo $?
"""


def dsh(site, image):
    """vtorque-dsh runs a command on each machine, its words as they are"""
    shutil.copy(f"{BUILD}/bin/vtorque-dsh", site.work)
    result = run(site, image, DSH, "vms_per_node=2,vcpus=2")
    lines = result.out.decode().splitlines()
    equal((lines[0].split("|")[0], lines[0].split("|")[2:]), (site.work, ["it's  a", "$x"]), result)
    assert lines[0].split("|")[1], result
    equal(lines[1:], ["each once", "1", "9", "2", "2"], result)
    alone = run(site, image, "./vtorque-dsh sh -c 'echo one $(uname -n); exit 4'", "vcpus=1")
    equal((alone.status, alone.out.split()[0]), (4, b"one"), alone)


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


def exchange(site, image, kind="openmpi"):
    """what ranks send each other arrives as it was sent"""
    subprocess.run([f"mpicc.{kind}", "-O2", "-o", f"{site.work}/exchange", f"{SOURCE}/tests/system/exchange.c"], check=True)
    os.chmod(f"{site.work}/exchange", 0o755)
    result = run(site, image, f"mpirun.{kind} ./exchange {COUNT}", "vms_per_node=2,vcpus=2")
    equal((result.status, result.out), (0, f"4 ranks, {COUNT} exchanges, 0 bytes wrong\n".encode()), result.err)


def mpich(site, image):
    """MPICH does, too, and -n and -f of the user's own count"""
    exchange(site, image, "mpich")
    script = 'tail -n 1 "$PBS_NODEFILE" >hosts; mpirun.mpich -n 2 -f hosts sh -c \'echo "$PMI_RANK $(uname -n)"\' | sort; cat hosts'
    result = run(site, image, script)
    host = result.out.decode().split()[-1]
    equal((result.status, result.out.decode()), (0, f"0 {host}\n1 {host}\n{host}\n"), result.err)


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
        rows = [row(test, site, "debian") for test in (ssh, dsh, hello, own_choice, exchange)]
        tests = (ssh, dsh, hello, exchange, *((mpich,) if shutil.which("mpirun.mpich") else ()))
        run_tests(rows + [row(test, site, image) for image in images for test in tests], jobs=1)


if __name__ == "__main__":
    main()

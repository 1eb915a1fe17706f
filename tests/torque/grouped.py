#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs in virtual machines below the cgroup that Torque keeps for each job (facts 8.4). Speaks TAP."""

import contextlib
import os
import re
import signal

import jobs
from bed import PREFIX, equal, wait_for
from lib import run_tests
from vtorque import on_bed, read

BED = VT = None
V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices")
STAY = "echo up; while ! [ -e flag ]; do sleep 0.2; done; echo down\n"
IS_V1 = os.path.isdir("/sys/fs/cgroup/memory")


def places(pid):
    """The cgroup of a process by controller; "" is version 2."""
    rows = (line.split(":", 2) for line in read(f"/proc/{pid}/cgroup").splitlines())
    return {name: path for _, names, path in rows for name in names.split(",")}


def let_go():
    open(f"{BED.folder}/flag", "w", encoding="ascii").close()


@contextlib.contextmanager
def running(*words):
    """A job whose script has said `up`: its id and its processes' ids by name."""
    job_id = jobs.submit(f"cd {BED.folder}; {STAY}", *words)
    jobs.wait_output(job_id, b"up\n")
    _, pids = jobs.run_folder(job_id)
    yield job_id, {**pids, "qemu": jobs.machine(pids["engine"])}
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{BED.folder}/flag")


def lives_below():
    """engine and QEMU are in `Rvt` below the job's cgroup, or where there is none in that itself; the keeper is outside; it is charged"""
    with running("-l", "nodes=1:ppn=1,mem=700mb") as (job_id, pids):
        top = f"/torque/{job_id}"
        wanted = dict.fromkeys(V1, top) | {"memory": f"{top}/Rvt", "cpuacct": f"{top}/Rvt"} if IS_V1 else {"": f"{top}/Rvt"}
        for name in ("engine", "qemu"):
            found = places(pids[name])
            equal({key: found[key] for key in wanted}, wanted, name)
        assert not any("/torque/" in place for place in places(pids["keeper"]).values()), places(pids["keeper"])
        if IS_V1:
            cores = re.search(r"Cpus_allowed_list:\s*(\S+)", read(f"/proc/{pids['qemu']}/status"))[1]
            equal(cores, read(f"/sys/fs/cgroup/cpuset{top}/cpuset.cpus").strip(), "cores of the job")
            assert int(read(f"/sys/fs/cgroup/memory{top}/memory.usage_in_bytes")) > 64 << 20
        let_go()
        status, out, _ = jobs.result(job_id)
    equal((status, out), (0, "up\ndown\n"))
    used = BED.job(job_id)
    assert int(used["resources_used.mem"].removesuffix("kb")) > 64 << 10, used
    assert used["resources_used.cput"] > "00:00:00", used


def ends(name, act):
    """A row: the job's cgroup is gone after that end, and the next job runs."""

    def row():
        with running() as (job_id, pids):
            act(job_id, pids)
            jobs.result(job_id)
        wait_for(lambda: not os.path.exists(f"/sys/fs/cgroup/{'memory/' if IS_V1 else ''}torque/{job_id}"), "the end of the cgroup")
        equal(jobs.finish("echo next\n")[:2], (0, "next\n"))

    row.__doc__ = f"{name}: nothing of the job's cgroup stays, and the next job runs"
    return row


def kill(name):
    return lambda job_id, pids: os.kill(pids[name], signal.SIGKILL)


TESTS = (lives_below, ends("qdel", lambda job_id, pids: BED.run("qdel", job_id)), ends("keeper killed", kill("keeper")), ends("engine killed", kill("engine")))

if __name__ == "__main__":
    if PREFIX and not os.path.isdir(f"/sys/fs/cgroup/{'memory/' if IS_V1 else ''}torque"):
        print("1..0 # SKIP this Torque keeps no cgroups")
        raise SystemExit
    with on_bed(("HOST_OS_RAM_MB=0",), config=jobs.CONFIG, cgroups=True) as (BED, VT):
        jobs.BED, jobs.VT = BED, VT
        run_tests(TESTS, jobs=1)

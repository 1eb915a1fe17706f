#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A job in its cgroups, as root: the leaf and its limits from birth on, who is killed for memory and what is said of it, leaves
below a cgroup of somebody else's. Speaks TAP.

Which rows there are depends on the machine: those of version 1 where its memory and pids controllers are mounted, those of
version 2 where it is. Version 2 with memory and pids is always tried: in a guest, whose cgroups are the test's own (`inside`),
with a stub in QEMU's place.
"""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile

import lib
from lib import (BUILD, DEADLINE, GUEST, MIB, SOURCE, TOKEN, Gate, Inventory, Running, Served, Site, Stub, TemporaryUser, attempt, equal, find_job,
                 is_same, read_status, run_tests, strike, wait_for)

SITE = None
SHAPE = ("--local", "-vm", "img=tiny,ram=256M,vcpus=1")
STAY = "echo up; while :; do sleep 1; done"
CTL_PHASE, CTL_OUTCOME = 128, 132


# Hierarchies


def find_mounts():
    """Where each controller of version 1 is mounted, and version 2 under an empty name."""
    found = {}
    with open("/proc/self/mountinfo") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            kind, _, options = right.split(" ", 2)
            place = left.split()[4]
            if kind == "cgroup2":
                found.setdefault("", place)
            elif kind == "cgroup":
                for option in options.strip().split(","):
                    found.setdefault(option, place)
    return found


MOUNTS = find_mounts()


def own_path(controller):
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controllers == controller or controller and controller in controllers.split(","):
                return "" if path == "/" else path
    return ""


def own_folder(controller):
    return MOUNTS[controller] + own_path(controller)


def read(*path):
    with open(os.path.join(*path)) as file:
        return file.read().strip()


def write(text, *path):
    with open(os.path.join(*path), "w") as file:
        file.write(str(text))


def is_usable(controller):
    """True if a cgroup can be made here."""
    if controller not in MOUNTS:
        return False
    path = f"{own_folder(controller)}/vtt-{TOKEN}"
    try:
        os.mkdir(path)
    except OSError:
        return False
    os.rmdir(path)
    return True


LEAVES = ("vtorque-", "Rvt")  # the second: below a named cgroup


class Group:
    """A cgroup of the test's own in some hierarchies, with a process in it; gone with the `with`."""

    def __init__(self, *controllers, name=None):
        self.controllers = controllers
        self.name = name or f"vtt-{TOKEN}"
        self.beside = None

    def folder(self, controller):
        return f"{own_folder(controller)}/{self.name}"

    def path(self):
        """As a starter names it: below each hierarchy's mount. All have to be the same there."""
        paths = {f"{own_path(controller)}/{self.name}" for controller in self.controllers}
        equal(len(paths), 1)
        return paths.pop()

    def enter(self):
        """In a child: this process joins."""
        for controller in self.controllers:
            write(os.getpid(), self.folder(controller), "cgroup.procs")

    def leaf(self, controller):
        """The one leaf of ours below it."""
        return f"{self.folder(controller)}/{next(name for name in os.listdir(self.folder(controller)) if name.startswith(LEAVES))}"

    def leaves(self):
        return [f"{self.folder(controller)}/{name}" for controller in self.controllers
                for name in os.listdir(self.folder(controller)) if name.startswith(LEAVES)]

    def __enter__(self):
        for controller in self.controllers:
            os.mkdir(self.folder(controller))
            if controller == "cpuset":
                for name in ("cpuset.cpus", "cpuset.mems"):
                    write(read(own_folder(controller), name), self.folder(controller), name)
        self.beside = subprocess.Popen(["sleep", "100000"], preexec_fn=self.enter)
        return self

    def __exit__(self, *_):
        self.beside.kill()
        self.beside.wait()
        for controller in self.controllers:
            def is_removed(path=self.folder(controller)):
                try:
                    os.rmdir(path)
                except OSError:
                    return False
                return True
            wait_for(is_removed, f"the removal of {self.folder(controller)}")


def leaf_of(pid, controller):
    """The folder of a process's cgroup; None if the process is gone."""
    try:
        lines = read(f"/proc/{pid}/cgroup").splitlines()
    except FileNotFoundError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == controller or controller and controller in controllers.split(","):
            return MOUNTS[controller] + path
    return None


def new_script(text):
    handle, path = tempfile.mkstemp(prefix="script-", dir=SITE.work)
    with open(handle, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
    return path


def plan():
    """MiB and tasks of the job that these tests run."""
    text = SITE.vsub(*SHAPE, "--dry-run", input="true").out.decode()
    return int(re.search(r"^memory: (\d+) MiB", text, re.M)[1]), int(re.search(r"^tasks: (\d+)", text, re.M)[1])


@contextlib.contextmanager
def started(*words, **options):
    """A job's vsub under way; ended and reaped with the `with`."""
    process = SITE.start(*SHAPE, *words, new_script(STAY), **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=2 * DEADLINE)


def report_of(name):
    with open(f"{SITE.work}/{name}") as file:
        report = json.load(file)
    os.unlink(f"{SITE.work}/{name}")
    return report


def run_stub(mode, *words, **options):
    """A job with a stub in QEMU's place to its end: vsub's status, its report."""
    stub = Stub(SITE, mode)
    process = SITE.start(*SHAPE, "--report", "report", *words, new_script("true"), **stub.options(), **options)
    try:
        _, err = process.communicate(timeout=2 * DEADLINE)
    finally:
        process.kill()
    return process.returncode, report_of("report"), err.decode()


def check_memory_reason(status, report, err, limit):
    equal((status, report["reason"], report["outcome"], report["exit_status"]), (125, "memory", "failed", 125), report["message"])
    text = f"the job used more than its {limit} MiB of memory: 256 MiB of RAM for the guest and {limit - 256} MiB for QEMU"
    assert report["message"].startswith(text) and f"vsub: {text}" in err, (report["message"], err)


def check_next_job():
    equal(SITE.tiny("echo next"), (0, b"next\n", b""))


# Version 1 on this machine


def v1_limits_before_birth():
    """v1: memory, swap, tasks and who is killed are set in the leaf before anything is born there"""
    memory, tasks = plan()
    with Gate() as gate, started(**gate.options()) as process:
        gate.wait("born")
        found, _ = find_job(process.pid)
        leaf = leaf_of(found["engine"].pid, "memory")
        assert leaf in {path for path, _ in lib.leaves(SITE.run_root(), 0)}, leaf
        equal(int(read(leaf, "memory.limit_in_bytes")), memory * MIB)
        if os.path.exists(f"{leaf}/memory.memsw.limit_in_bytes"):
            equal(int(read(leaf, "memory.memsw.limit_in_bytes")), memory * MIB)
        assert "oom_kill_disable 0" in read(leaf, "memory.oom_control")
        pids = leaf_of(found["engine"].pid, "pids")
        equal((read(pids, "pids.max"), read(pids, "cgroup.procs")), (str(tasks), str(found["engine"].pid)))
        equal(read(leaf, "cgroup.procs"), str(found["engine"].pid))
        gate.open()


def v1_charged():
    """v1: all of a job but its keeper is in the leaf, its memory is charged there, and nothing is left"""
    inventory = Inventory(SITE)
    with Running(SITE, STAY) as job:
        job.wait_text(b"up")
        found, _ = find_job(job.vsub.pid)
        leaf = leaf_of(found["engine"].pid, "memory")
        members = set(map(int, read(leaf, "cgroup.procs").split()))
        assert {found[role].pid for role in ("engine", "qemu", "server")} <= members, (found, members)
        assert found["keeper"].pid not in members
        used = int(read(leaf, "memory.usage_in_bytes"))
        limit = int(read(leaf, "memory.limit_in_bytes"))
        assert 100 * MIB < used < limit, (used, limit)
        equal(read(leaf, "memory.failcnt"), "0")
        os.kill(found["engine"].pid, signal.SIGKILL)
        wait_for(lambda: not os.path.exists(leaf), "the leaf's end")
    inventory.check()


def v1_over_memory():
    """v1: a QEMU that takes more than the job's memory is killed, the reason is memory, and the machine lives"""
    inventory = Inventory(SITE)
    memory, _ = plan()
    check_memory_reason(*run_stub("eat"), memory)
    inventory.check()
    check_next_job()


def v1_real_guest():
    """v1: a real guest that touches more than its leaf holds is killed for memory, and its engine says so"""
    script = "while read go; do dd if=/dev/zero of=/tmp/big bs=1M count=120; done < /dev/stdin"
    process = SITE.start(*SHAPE, "--report", "report", new_script(f"echo up\n{script}\n"), stdin=subprocess.PIPE)
    assert os.read(process.stdout.fileno(), 3) == b"up\n"
    found, _ = find_job(process.pid)
    leaf = leaf_of(found["engine"].pid, "memory")
    tight = int(read(leaf, "memory.usage_in_bytes")) + 30 * MIB
    write(tight, leaf, "memory.limit_in_bytes")
    process.stdin.write(b"go\n")
    process.stdin.close()
    equal(process.wait(2 * DEADLINE), 125)
    process.stdout.close()
    process.stderr.close()
    equal(report_of("report")["reason"], "memory")


def v1_server_over_memory():
    """v1: a file server that takes more than the job's memory ends the job for the same reason"""
    stub = Stub(SITE, "eat", Stub.SERVER)
    process = SITE.start(*SHAPE, "--report", "report", new_script("true"), **stub.options())
    process.communicate(timeout=2 * DEADLINE)
    report = report_of("report")
    equal((process.returncode, report["reason"]), (125, "memory"), report["message"])


def v1_tasks():
    """v1: a QEMU that multiplies has the tasks of its leaf and no more"""
    _, tasks = plan()
    _, report, _ = run_stub("multiply")
    match = re.search(r"qemu: (\d+) children, then Resource temporarily unavailable", report["message"])
    assert match and tasks - 16 <= int(match[1]) < tasks, (tasks, report["message"])


def v1_kills_disabled():
    """v1: below a cgroup that does not kill for memory the job's leaf does"""
    with Group("memory") as group:
        write(1, group.folder("memory"), "memory.oom_control")
        memory, _ = plan()
        check_memory_reason(*run_stub("eat", preexec_fn=group.enter), memory)


def v1_parents_limit():
    """v1: a cgroup above the leaf with less memory is named as what it is"""
    with Group("memory") as group:
        def enter():
            group.enter()
        process = SITE.start(*SHAPE, "--report", "report", new_script("true"), **Stub(SITE, "eat").options(), preexec_fn=enter)
        found = wait_for(lambda: find_job(process.pid)[0].get("engine"), "the engine")
        write(200 * MIB, group.folder("memory"), "memory.limit_in_bytes")
        process.communicate(timeout=2 * DEADLINE)
        report = report_of("report")
        equal((process.returncode, report["reason"]), (125, "memory"), report["message"])
        wait_for(lambda: not is_same(found), "the engine's end")
        equal(group.leaves(), [])


def foreign(controllers, victim):
    """A job started in a cgroup with a process beside: its leaf lies below, is charged, and is gone when its keeper is."""
    with Group(*controllers) as group:
        with Running(SITE, STAY, preexec_fn=group.enter) as job:
            job.wait_text(b"up")
            found, everyone = find_job(job.vsub.pid)
            equal(len(group.leaves()), len(controllers))
            for controller in controllers:
                equal(leaf_of(found["engine"].pid, controller), group.leaf(controller))
            if "memory" in controllers:
                assert int(read(group.leaf("memory"), "memory.usage_in_bytes")) > 100 * MIB
            keeper = os.pidfd_open(found["keeper"].pid)
            if victim:
                strike(found[victim], signal.SIGKILL)
            else:
                job.signal(signal.SIGTERM)
            select.select([keeper], [], [], DEADLINE)
            # The keeper has ended: by itself only after its leaves.
            if victim != "keeper":
                equal(group.leaves(), [], "leaves at the keeper's end")
            os.close(keeper)
            job.finish()
            equal(group.leaves(), [], "leaves at vsub's end")
            for process in everyone:
                wait_for(lambda process=process: not is_same(process), f"the end of {process}")
        equal(group.beside.poll(), None)
        if "memory" in controllers:
            assert int(read(group.folder("memory"), "memory.usage_in_bytes")) < 50 * MIB


V1 = ("memory", "pids", "cpuacct")


def v1_foreign():
    """v1: a job below a foreign cgroup: its leaf is charged, and gone before the keeper ends"""
    foreign([controller for controller in V1 if controller in MOUNTS], None)


def v1_foreign_engine():
    """v1: a job below a foreign cgroup whose engine is killed: the same"""
    foreign([controller for controller in V1 if controller in MOUNTS], "engine")


def v1_foreign_keeper():
    """v1: a job below a foreign cgroup whose keeper is killed: its leaves are gone when vsub has ended"""
    foreign([controller for controller in V1 if controller in MOUNTS], "keeper")


def v1_memory_seen():
    """v1: a cgroup's memory limit counts before anything starts"""
    with Group("memory") as group:
        write(600 * MIB, group.folder("memory"), "memory.limit_in_bytes")
        result = SITE.vsub("--local", "-vm", "img=tiny,vcpus=1,ram=590M", input="true", preexec_fn=group.enter)
        equal(result.status, 2)
        assert re.fullmatch(rb"vsub: command line: -vm ram '590M': with \d+M for QEMU and file servers the job takes \d+M, and the cgroup "
                            rb"allows 600M\n", result.err), result.err
        equal(group.leaves(), [])


def v1_quota_seen():
    """v1: a cgroup that gives the time of one core is told of, where more vCPUs are asked for"""
    with Group("cpu") as group:
        write(100000, group.folder("cpu"), "cpu.cfs_period_us")
        write(50000, group.folder("cpu"), "cpu.cfs_quota_us")
        asked = SITE.vsub("--local", "--dry-run", "-vm", "img=tiny,vcpus=2", input="true", preexec_fn=group.enter)
        assert b"vcpus '2' will share the time of 1 cores" in asked.err, asked.err
        default = SITE.vsub("--local", "--dry-run", "-vm", "img=tiny", input="true", preexec_fn=group.enter)
        assert b"\nvcpus: 1\n" in default.out, default.out


# Cgroups that a starter names (vt_launch_start()), as root's daemon does for a batch system's job


class Launch:
    """A keeper, started as vt_launch_start() does it."""

    def __init__(self, cgroup, memory=700, tasks=150):
        with open(f"{SOURCE}/tests/golden/jobs/tiny.json") as file:
            job = json.load(file)
        job.update(id=f"{os.getpid()}.named", user="root", group="root", uid=0, gid=0, groups=[], group_names=[], home="/root",
                   shell="/bin/sh", kernel_dir=SITE.guest, submit_dir=SITE.work)
        document = os.memfd_create("vtorque-job", os.MFD_ALLOW_SEALING)
        os.write(document, json.dumps(job).encode())
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(2 * DEADLINE)
        engine = os.open(f"{SITE.bin}/vtorque-engine", os.O_RDONLY)
        null = os.open("/dev/null", os.O_RDWR)

        def place():
            lifted = [os.dup2(fd, 100 + i) for i, fd in enumerate((document, theirs.fileno(), engine, null))]
            for i, fd in enumerate(lifted):
                os.dup2(fd, 3 + i)

        self.keeper = subprocess.Popen([f"{SITE.bin}/vtorque-keeper", "/run/vtorque/jobs", job["id"], "named", str(job["uid"]), "1", str(memory), str(tasks), cgroup],
                                       preexec_fn=place, close_fds=False, env={})
        theirs.close()
        for fd in (document, engine, null):
            os.close(fd)

    def frame(self):
        """The next frame of the run connection: type, aux, payload; None at its end."""
        head = self.receive(8)
        if not head:
            return None
        size, kind, aux, _ = struct.unpack("<IBBH", head)
        return kind, aux, self.receive(size)

    def receive(self, size):
        data = b""
        while len(data) < size and (more := self.ours.recv(size - len(data))):
            data += more
        return data

    def wait(self, phase):
        while frame := self.frame():
            assert frame[0] != CTL_OUTCOME, frame
            if frame[:2] == (CTL_PHASE, lib.PHASES.index(phase)):
                return
        raise AssertionError(f"not {phase}")

    def outcome(self):
        while frame := self.frame():
            if frame[0] == CTL_OUTCOME:
                return frame[2][2:].decode()
        return None

    def engine(self):
        return lib.children(self.keeper.pid)[0].pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ours.close()
        self.keeper.wait(2 * DEADLINE)


def named_leaf():
    """v1: below a named cgroup the leaf is made in every hierarchy that knows it, with limits, and charged"""
    controllers = [controller for controller in V1 if controller in MOUNTS]
    with Group(*controllers, name=f"vtt-named-{TOKEN}") as group:
        groups = {controller: group for controller in controllers if own_path(controller) == own_path("memory")}
        with Launch(f"{own_path('memory')}/{group.name}") as launch:
            launch.wait("ready")
            engine = launch.engine()
            leaf = leaf_of(engine, "memory")
            equal((leaf, os.path.basename(leaf)), (group.leaf("memory"), "Rvt"))
            equal(int(read(leaf, "memory.limit_in_bytes")), 700 * MIB)
            assert int(read(leaf, "memory.usage_in_bytes")) > 100 * MIB
            for controller in groups:
                equal(os.path.dirname(leaf_of(engine, controller)), group.folder(controller))
        equal(group.leaves(), [])


def named_served():
    """v1: another user's job below a named cgroup: its engine, QEMU and file server are in the leaf, which is gone before the keeper"""
    name = f"vtt-served-{TOKEN}"
    with TemporaryUser() as owner, Group("memory", name=name) as group:
        with Served(SITE, owner, STAY, "--cgroup", f"{own_path('memory')}/{name}") as job:
            job.wait_text(b"up")
            keeper = next(process for process in lib.children(job.starter.pid) if process.name == "vtorque-keeper")
            engine = lib.children(keeper.pid)[0]
            leaf = group.leaf("memory")
            members = {int(pid) for pid in read(leaf, "cgroup.procs").split()}
            inside = {engine.pid, *(process.pid for process in lib.children(engine.pid))}
            equal((inside - members, members - inside), (set(), set()), "members of the leaf")
            assert owner.uid in {int(read_status(pid)["Uid"].split()[1]) for pid in members}
            assert int(read(leaf, "memory.usage_in_bytes")) > 100 * MIB
            watch = os.pidfd_open(keeper.pid)
            os.kill(engine.pid, signal.SIGKILL)
            select.select([watch], [], [], DEADLINE)
            equal(group.leaves(), [], "leaves at the keeper's end")
            os.close(watch)


def named_cpuset():
    """v1: a named cgroup's cpuset holds the job, which lives in it without a leaf"""
    core = min(os.sched_getaffinity(0))
    name = f"vtt-cpuset-{TOKEN}"
    with Group("cpuset", name=name) as group, Group("memory", name=name):
        write(core, group.folder("cpuset"), "cpuset.cpus")
        path = f"{own_path('memory')}/{name}"
        # The same path below every mount: where this test is not in the same cgroup everywhere, a second one is made.
        place = f"{MOUNTS['cpuset']}{path}"
        made = not os.path.exists(place)
        if made:
            parents = [f"{MOUNTS['cpuset']}/{'/'.join(path.strip('/').split('/')[:i + 1])}" for i in range(len(path.strip("/").split("/")))]
            parents = [parent for parent in parents if not os.path.exists(parent)]
            for parent in parents:
                os.mkdir(parent)
                write(core, parent, "cpuset.cpus")
                write(read(MOUNTS["cpuset"], "cpuset.mems"), parent, "cpuset.mems")
        try:
            with Launch(path) as launch:
                launch.wait("starting")
                equal(read_status(launch.engine())["Cpus_allowed_list"], str(core))
                equal(leaf_of(launch.engine(), "cpuset"), place)
        finally:
            for parent in reversed(parents if made else []):
                wait_for(lambda parent=parent: os.rmdir(parent) is None, "the cpuset's removal")


def named_missing():
    """a named cgroup that is not there: no job, and a reason"""
    with Launch("/vtorque-no-such-cgroup") as launch:
        equal(launch.outcome(), "cannot make the job's leaf below the cgroup '/vtorque-no-such-cgroup': No such file or directory")
        equal(launch.keeper.wait(DEADLINE), 125)


def named_outside():
    """a named cgroup that leads out of its hierarchy is refused"""
    with Launch("/../../../tmp") as launch:
        equal(launch.outcome(), "cannot make the job's leaf below the cgroup '/../../../tmp': Invalid argument")


# Version 2 on this machine, whatever controllers it has


def v2_life():
    """v2: the engine is born in its leaf, the leaf is empty at its end, and is removed"""
    with Gate() as gate, started(**gate.options()) as process:
        gate.wait("born")
        found, _ = find_job(process.pid)
        leaf = leaf_of(found["engine"].pid, "")
        assert leaf in {path for path, _ in lib.leaves(SITE.run_root(), 0)}, leaf
        equal(read(leaf, "cgroup.procs"), str(found["engine"].pid))
        assert "populated 1" in read(leaf, "cgroup.events")
        keeper = found["keeper"]
        strike(keeper, signal.SIGSTOP)
        strike(found["engine"], signal.SIGKILL)
        wait_for(lambda: "populated 0" in read(leaf, "cgroup.events"), "the leaf's emptiness")
        gate.open()
        os.kill(keeper.pid, signal.SIGCONT)
        wait_for(lambda: not os.path.exists(leaf), "the leaf's removal")


def v2_foreign():
    """v2: a job below a foreign cgroup with a process beside: its leaf is gone before the keeper ends"""
    foreign([""], None)


def v2_foreign_engine():
    """v2: the same when its engine is killed"""
    foreign([""], "engine")


# Version 2 with memory and pids, in a guest


def inside_limits():
    """v2 in a guest: the leaf has the job's memory, no swap and the job's tasks before anything is born there"""
    memory, tasks = plan()
    with Gate() as gate, started(**gate.options()) as process:
        gate.wait("born")
        found, _ = find_job(process.pid)
        leaf = leaf_of(found["engine"].pid, "")
        equal([read(leaf, name) for name in ("memory.max", "memory.oom.group", "pids.max", "cgroup.procs")],
              [str(memory * MIB), "0", str(tasks), str(found["engine"].pid)])
        if os.path.exists(f"{leaf}/memory.swap.max"):
            equal(read(leaf, "memory.swap.max"), "0")
        gate.open()


def inside_born():
    """v2 in a guest: engine, file server and QEMU are in the leaf, their memory is charged there, and nothing is left"""
    inventory = Inventory(SITE)
    with started(**Stub(SITE, "idle").options()) as process:
        def is_complete():
            found, _ = find_job(process.pid)
            return found if {"engine", "server", "qemu"} <= set(found) else None
        found = wait_for(is_complete, "the stub in QEMU's place")
        leaf = leaf_of(found["engine"].pid, "")
        members = set(map(int, read(leaf, "cgroup.procs").split()))
        assert {found[role].pid for role in ("engine", "qemu", "server")} <= members, (found, members)
        assert found["keeper"].pid not in members
        assert int(read(leaf, "memory.current")) > 0
    inventory.check()


def inside_over_memory():
    """v2 in a guest: a QEMU that takes more than the job's memory is killed, and the reason is memory"""
    memory, _ = plan()
    inventory = Inventory(SITE)
    check_memory_reason(*run_stub("eat"), memory)
    inventory.check()


def inside_tasks():
    """v2 in a guest: a QEMU that multiplies has the tasks of its leaf and no more"""
    _, tasks = plan()
    _, report, _ = run_stub("multiply")
    match = re.search(r"qemu: (\d+) children, then Resource temporarily unavailable", report["message"])
    assert match and tasks - 16 <= int(match[1]) < tasks, (tasks, report["message"])


def inside_foreign():
    """v2 in a guest: below a foreign cgroup with a process beside there is a leaf without limits, which --verbose says"""
    # What the group has, it could hand on; a group with processes must not be made to.
    write("+memory +pids", MOUNTS[""], "cgroup.subtree_control")
    with Group("") as group:
        process = SITE.start(*SHAPE, "--verbose", new_script("true"), **Stub(SITE, "idle").options(), preexec_fn=group.enter)
        found = wait_for(lambda: find_job(process.pid)[0].get("qemu"), "the stub in QEMU's place")
        equal(leaf_of(found.pid, ""), group.leaf(""))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=2 * DEADLINE)
        assert b"MiB by nobody: no cgroup with that controller can be made here" in err, err
        equal(group.leaves(), [])
        equal((group.beside.poll(), read(group.folder(""), "cgroup.subtree_control"), read(group.folder(""), "cgroup.type")),
              (None, "", "domain"))


def inside_named():
    """v2 in a guest: below a named cgroup that hands its controllers on the leaf has limits"""
    name = f"vtt-handing-{TOKEN}"
    folder = f"{MOUNTS['']}/{name}"
    write("+memory +pids", MOUNTS[""], "cgroup.subtree_control")
    os.mkdir(folder)
    write("+memory +pids", folder, "cgroup.subtree_control")
    try:
        with Launch(f"/{name}", 650, 123) as launch:
            launch.wait("born")
            leaf = leaf_of(launch.engine(), "")
            equal((os.path.dirname(leaf), read(leaf, "memory.max"), read(leaf, "pids.max")), (folder, str(650 * MIB), "123"))
        equal([name for name in os.listdir(folder) if name.startswith(LEAVES)], [])
    finally:
        os.rmdir(folder)


INSIDE = (inside_limits, inside_born, inside_over_memory, inside_tasks, inside_foreign, inside_named)


class InsideSite(Site):
    """The programs that the machine's side has put into the shared folder, as the guest's side finds them."""

    def __init__(self, folder):
        self.user, self.folder, self.bin, self.guest = lib.User(), folder, f"{folder}/bin", f"{folder}/guest"
        self.runtime, self.work = f"{folder}/runtime", f"{folder}/work"

    def __exit__(self, *_):
        pass


def run_inside(folder):
    """In the guest: all rows, each a line of JSON with what went wrong."""
    global SITE, MOUNTS
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], check=True)
    MOUNTS = find_mounts()
    SITE = InsideSite(folder)
    for test in INSIDE:
        print(json.dumps([test.__name__, attempt(test)]), flush=True)


class Guest:
    """Runs the rows of INSIDE in one guest, once; a row of the table waits for its own result."""

    def __init__(self):
        self.results = None

    def run(self):
        with tempfile.TemporaryDirectory(prefix="vtt-inside-") as folder:
            for name in ("bin", "etc", "guest", "runtime", "work", "source/tests/system", "source/tests/golden/jobs", "build/tests/system"):
                os.makedirs(f"{folder}/{name}")
            for name in os.listdir(SITE.bin):
                shutil.copy(f"{SITE.bin}/{name}", f"{folder}/bin/{name}")
            for name in ("vmlinux", "vmlinuz", "initramfs", "initramfs-tiny"):
                if os.path.exists(f"{GUEST}/{name}"):
                    shutil.copy(f"{GUEST}/{name}", f"{folder}/guest/{name}")
            for name in ("lib.py", "cgroups.py"):
                shutil.copy(f"{SOURCE}/tests/system/{name}", f"{folder}/source/tests/system/{name}")
            shutil.copy(f"{SOURCE}/tests/golden/jobs/tiny.json", f"{folder}/source/tests/golden/jobs/tiny.json")
            shutil.copy(f"{BUILD}/tests/system/qemu-stub", f"{folder}/build/tests/system/qemu-stub")
            write(f"GUEST_KERNEL={folder}/guest\n", f"{folder}/etc/vtorque.conf")
            write(f"export VTORQUE_SOURCE={folder}/source VTORQUE_BUILD={folder}/build\n"
                  f"exec /usr/bin/python3 {folder}/source/tests/system/cgroups.py --inside {folder}\n", f"{folder}/job.sh")
            job = subprocess.run([f"{SITE.bin}/vsub", "--local", "-S", "/bin/sh", "-vm", "img=host,ram=1500M,vcpus=1,boot_timeout=600",
                                  f"{folder}/job.sh"], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=1000)
        lines = [json.loads(line) for line in job.stdout.decode().splitlines() if line.startswith("[")]
        self.results = dict(lines)
        self.story = f"status {job.returncode}, stdout {job.stdout[-500:]!r}, stderr {job.stderr[-1500:]!r}"

    def check(self, test):
        if self.results is None:
            self.run()
        assert test.__name__ in self.results, self.story
        assert not self.results[test.__name__], self.results[test.__name__]


def in_guest(guest, test):
    def row():
        guest.check(test)
    row.__doc__, row.__name__ = test.__doc__, test.__name__
    return row


V1_TESTS = (v1_limits_before_birth, v1_charged, v1_over_memory, v1_real_guest, v1_server_over_memory, v1_tasks, v1_kills_disabled,
            v1_parents_limit, v1_foreign, v1_foreign_engine, v1_foreign_keeper, v1_memory_seen, named_leaf, named_served)
V2_TESTS = (v2_life, v2_foreign, v2_foreign_engine)


def main():
    global SITE
    if sys.argv[1:2] == ["--inside"]:
        run_inside(sys.argv[2])
        return
    guest = Guest()
    has_v1 = is_usable("memory") and is_usable("pids")
    tests = [*(V1_TESTS if has_v1 else ()), *([v1_quota_seen] if is_usable("cpu") else ()),
             *([named_cpuset] if has_v1 and is_usable("cpuset") else ()), *(V2_TESTS if is_usable("") else ()),
             named_missing, named_outside, *(in_guest(guest, test) for test in INSIDE)]
    with Site() as SITE:
        run_tests(tests, jobs=1)


if __name__ == "__main__":
    main()

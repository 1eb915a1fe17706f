#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The attack table: who tries what against a job, and what the kernel answers (SECURITY.md names these rows). Speaks TAP.

Theory of operation. A row is an attacker, an act and the errno that it must get. The acts of one attacker against one job
are done together, by acts.py as that user, by stub-qemu.c in QEMU's place, or by guest-root.c in the guest; each row then
judges its own. The last rows of a job look that nothing has changed: it still runs, holds what the plan names, and ends by
itself.

As root (suite root) the job is another user's, started by root's stand-in for the daemon; `attack.py --own` (suite guest) runs
the rows that make sense for an ordinary user's own local job.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading

import acts
import lib
from squash import Squash
from lib import (BUILD, DEADLINE, GUEST, Gate, Inventory, Result, Running, Served, Site, TemporaryUser, User, children, document, equal, find_job,
                 is_same, named_sockets, processes, read_process, run_tests, wait_for)

ACTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "acts.py")
STUB, GUEST_ROOT = f"{BUILD}/tests/system/stub-qemu", f"{BUILD}/tests/system/guest-root"
CTL_CONSOLE = 145
SECRET = "vtorque-attack-secret"
DIGEST = f"sha256-{'a' * 64}"


class Once:
    """A value that is made when it is first asked for, whoever asks."""

    def __init__(self, make):
        self.make, self.lock, self.made, self.failure = make, threading.Lock(), [], None

    def __call__(self):
        with self.lock:
            if self.failure:
                raise AssertionError("the attack could not be made") from self.failure
            if not self.made:
                try:
                    self.made.append(self.make())
                except BaseException as error:
                    self.failure = error
                    raise
            return self.made[0]


class Row:
    """A test: `check` is called and must not fail. Its name is the check's line of documentation, if none is given."""

    def __init__(self, name, check):
        self.__doc__, self.__name__, self.check = name, name, check

    def __call__(self):
        self.check()


# The folder that the guest's root attacks


def prepare_folder(user, is_root):
    """A folder of the owner's. Where root prepares it, with things of others; else with what stands for them."""
    folder = tempfile.mkdtemp(prefix="vtt-attack-", dir=user.home)
    os.chmod(folder, 0o755)
    os.makedirs(f"{folder}/roots")
    os.makedirs(f"{folder}/others")
    os.makedirs(f"{folder}/sticky")
    for name, mode in (("secret", 0o600), ("sticky/file", 0o644), ("others/file", 0o644), ("own", 0o644)):
        with open(f"{folder}/{name}", "w", encoding="ascii") as file:
            file.write(SECRET)
        os.chmod(f"{folder}/{name}", mode)
    os.symlink("/etc/shadow", f"{folder}/out")
    os.chmod(f"{folder}/sticky", 0o1777)
    os.chmod(f"{folder}/others", 0o700)
    if is_root:
        for name in ("others", "others/file"):
            os.chown(f"{folder}/{name}", 12345, 12345)
        for name in ("", "/own"):
            os.chown(folder + name, user.uid, user.gid)
    return folder


def snapshot(folder):
    """Every entry with owner, mode, size and text: what an attack must not change."""
    found = {}
    for top, folders, files in os.walk(folder):
        for name in folders + files:
            path = f"{top}/{name}"
            status = os.lstat(path)
            found[path] = (stat.S_IFMT(status.st_mode), status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), status.st_size)
    return found


# The guest whose root is hostile


def cpio(files):
    parts = []
    for number, (name, mode, data) in enumerate([*files, ("TRAILER!!!", 0, b"")], 1):
        raw = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + raw
        parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]
    return b"".join(parts)


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def hostile_guest(folder):
    """A kernel folder whose /init is guest-root.c."""
    os.mkdir(folder)
    for name in ("vmlinux", "vmlinuz"):
        if os.path.exists(f"{GUEST}/{name}"):
            shutil.copyfile(f"{GUEST}/{name}", f"{folder}/{name}")
    extra = cpio([("init", stat.S_IFREG | 0o755, read_file(GUEST_ROOT)), ("agent", stat.S_IFREG | 0o755, read_file(f"{BUILD}/bin/vtorque-agent"))])
    for name in ("initramfs", "initramfs-tiny"):
        data = read_file(f"{GUEST}/{name}")
        with open(f"{folder}/{name}", "wb") as file:
            file.write(data + bytes(-len(data) % 4) + extra)
    return folder


def attack_script(folder):
    return f"""mkdir /tmp/attack
echo '{folder}' > /tmp/attack/next
mv /tmp/attack/next /tmp/attack/go
while [ ! -e /tmp/attack/results ]; do sleep 0.1; done
cat /tmp/attack/results
echo end
read line
echo after > after || exit 9
exit 5
"""


def parse(text):
    """The lines NAME: RESULT of an attacker."""
    return dict(line.rsplit(": ", 1) for line in text.splitlines() if ": " in line)


class Victim:
    """A job in which the guest's root attacks a folder, and which then waits for a line."""

    def __init__(self, job, folder, before):
        self.job, self.folder, self.before = job, folder, before
        job.wait_text(b"end\n", 5 * DEADLINE)
        self.results = parse(job.out.data.decode())
        self.roles, self.everyone = find_job(job.starter.pid)
        self.servers = [process for process in self.everyone if process.name.startswith("virtiofsd")]
        self.slot = job.job()["slot"] if hasattr(job, "vsub") else served_slot(job)

    def end(self):
        """Lets it end: the script's own status."""
        self.job.starter.stdin.write(b"go\n")
        self.job.starter.stdin.close()
        return self.job.finish(5 * DEADLINE)


def served_slot(job):
    """Of root's run folders, the one whose keeper this is."""
    keeper = children(job.starter.pid)[0].pid
    for slot in os.listdir("/run/vtorque/jobs"):
        try:
            if f"keeper={keeper}\n" in read_file(f"/run/vtorque/jobs/{slot}/job").decode():
                return int(slot)
        except FileNotFoundError:
            continue
    raise AssertionError("no run folder")


# Where everything is


class Place:
    """The site, the users, and the jobs that are attacked."""

    def __init__(self, user, is_own):
        self.owner, self.is_own = user, is_own
        self.site = Site(user=user if is_own else None)
        self.guest = hostile_guest(f"{self.site.folder}/hostile")
        self.closers, self.folders = [], []
        self.victim = Once(lambda: self.start_victim("tiny"))
        self.host_victim = Once(lambda: self.start_victim("host"))
        self.stub = Once(self.run_stub)

    def start_victim(self, image):
        folder = prepare_folder(self.owner, os.getuid() == 0)
        self.folders.append(folder)
        before = snapshot(folder)
        environment = {"VTORQUE_ATTACK_SECRET": SECRET}
        # What a careless starter leaves open must not come further than to the starter's own program.
        own = os.open(f"{folder}/own", os.O_RDONLY)
        left_open = fcntl.fcntl(own, fcntl.F_DUPFD_CLOEXEC, 100)  # no number that is given to something else
        os.close(own)
        if self.is_own:
            with open(f"{self.site.folder}/etc/vtorque.conf", "w", encoding="ascii") as file:
                file.write(f"GUEST_KERNEL={self.guest}\n")
            words = ("-d", folder, "-vm", f"img={image},ram={256 if image == 'tiny' else 512}M")
            job = Running(self.site, attack_script(folder), *words, stdin=subprocess.PIPE, environment=environment, pass_fds=[left_open])
        else:
            job = Served(self.site, self.owner, attack_script(folder), image=image, ram_mib=256 if image == "tiny" else 512,
                         kernel_dir=self.guest, submit_dir=folder, options={"stdin": subprocess.PIPE, "environment": environment, "pass_fds": [left_open]})
        os.close(left_open)
        self.closers.append(job)
        return Victim(job, folder, before)

    def run_stub(self):
        """What stub-qemu.c says in QEMU's place."""
        swap = ("sh", "-c", f"mount --bind '{self.site.bin}/stub-qemu' /usr/bin/qemu-system-x86_64 && exec \"$@\"", "sh")
        shutil.copy(STUB, self.site.bin)
        if self.is_own:
            # Back to the own ids, so that vsub finds itself an ordinary user.
            through = ("unshare", "--user", "--map-root-user", "--mount", *swap, "unshare", "--user", f"--map-user={self.owner.uid}",
                       f"--map-group={self.owner.gid}")
            job = Running(self.site, "true\n", through=through, stdin=subprocess.PIPE)
        else:
            job = Served(self.site, self.owner, "true\n", through=("unshare", "--mount", *swap), options={"stdin": subprocess.PIPE})
        with job:
            keeper = wait_for(lambda: next((p for p in processes() if p.name == "vtorque-keeper" and is_below(p, job.starter.pid)), None), "keeper")
            root = self.site.run_root() if not self.is_own else f"{self.site.runtime}/vtorque"
            slot = wait_for(lambda: find_slot(root, keeper.pid), "the run folder")
            text = wait_for(lambda: (lambda text: text if "end\n" in text else None)(console(f"{root}/{slot}/control")), "the stub's end")
            engine = children(keeper.pid)[0]
            return parse(text), read_process(engine.pid), keeper.pid

    def act(self, user, acts):
        """What came of [ACT, TARGET]... done as a user."""
        shutil.copy(ACTS, self.site.bin)
        result = subprocess.run([*user.prefix(), "/usr/bin/python3", f"{self.site.bin}/acts.py"], input=json.dumps(acts).encode(),
                                capture_output=True, check=True, cwd="/", timeout=DEADLINE)
        return json.loads(result.stdout)

    def close(self):
        for job in self.closers:
            job.__exit__()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
        self.site.__exit__()


def is_below(process, pid):
    while process and process.pid != pid and process.parent > 1:
        process = read_process(process.parent)
    return bool(process) and process.pid == pid


def find_slot(root, keeper):
    for slot in os.listdir(root) if os.path.isdir(root) else ():
        path = f"{root}/{slot}/job"
        if os.path.exists(path) and f"keeper={keeper}\n" in read_file(path).decode():
            return slot
    return None


def console(path):
    """The guest's serial line, as the engine has it; empty where it does not answer yet."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.settimeout(DEADLINE)
            connection.connect(path)
            connection.sendall(struct.pack("<IBBH", 0, CTL_CONSOLE, 0, 0))
            head = connection.recv(8, socket.MSG_WAITALL)
            size = struct.unpack("<IBBH", head)[0]
            return connection.recv(size, socket.MSG_WAITALL).decode() if size else ""
        except (FileNotFoundError, ConnectionError, struct.error):
            return ""


# Rows: on the host against processes

PTRACE = ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "get_robust_list", "setns user", "setns mnt",
          "setns pid", "setns net", "setns ipc", "setns uts", "limit of core files")
PROC = ("read mem", "write mem", "read environ", "read maps", "read smaps", "read auxv", "read pagemap", "read syscall", "read stack",
        "read fd/3", "write oom_score_adj", "list fd", "list fdinfo", "list root", "list cwd", "list map_files", "follow exe",
        "open ns/user", "open ns/mnt", "open ns/pid", "open ns/net")
SIGNALS = ("signal KILL", "signal STOP", "signal TERM", "signal ABRT")


def judge(results, act, wanted):
    equal({role: result for (role, tried), result in results.items() if tried == act},
          {role: wanted for (role, tried) in results if tried == act}, act)


def process_rows(place, attacker, user, roles):
    """Rows of a user on the host against the processes of the job."""
    def run():
        victim = place.victim()
        targets = {role: victim.roles[role].pid for role in ("keeper", "engine", "qemu")}
        targets.update({f"server {number}": server.pid for number, server in enumerate(victim.servers)})
        targets = {role: pid for role, pid in targets.items() if role.split()[0] in roles}
        pairs = [(role, act) for act in (*PTRACE, *PROC, *SIGNALS) for role in targets
                 if not (act in SIGNALS and role.startswith("server") and user is place.owner)]
        return dict(zip(pairs, place.act(user, [(act, targets[role]) for role, act in pairs])))

    results = Once(run)
    for act in (*PTRACE, *PROC, *SIGNALS):
        wanted = "EACCES" if act in PROC else "EPERM"
        what = ", ".join(roles) if act not in SIGNALS or user is not place.owner else ", ".join(role for role in roles if role != "server")
        yield Row(f"{attacker}: {act} of {what}: {wanted}", lambda act=act, wanted=wanted: judge(results(), act, wanted))


# Rows: on the host against files and sockets


def path_rows(place, attacker, user):
    def run():
        victim = place.victim()
        folder = f"/run/vtorque/jobs/{victim.slot}"
        acts = {
            "list the run folders": ("list", "/run/vtorque/jobs"),
            "list the run folder": ("list", folder),
            "make a run folder": ("make a folder in", "/run/vtorque/jobs"),
            "read the lock": ("read", f"{folder}/lock"),
            "take the lock": ("lock", f"{folder}/lock"),
            "read the job's file": ("read", f"{folder}/job"),
            "replace the job's file by a link": ("replace by a link", f"{folder}/job"),
            "put a link beside the job's file": ("put a link beside", f"{folder}/job"),
            "replace the control socket by a link": ("replace by a link", f"{folder}/control"),
            "rename the run folder": ("rename away", folder),
            "connect to the control socket": ("connect", f"{folder}/control"),
            "lead the leaf's file elsewhere": ("replace by a link", f"{folder}/leaf"),
            "write the engine's file": ("write", f"{folder}/engine"),
        }
        return dict(zip(acts, place.act(user, list(acts.values()))))

    results = Once(run)
    for name in ("list the run folders", "list the run folder", "make a run folder", "read the lock", "take the lock",
                 "read the job's file", "replace the job's file by a link", "put a link beside the job's file",
                 "replace the control socket by a link", "rename the run folder", "connect to the control socket",
                 "lead the leaf's file elsewhere", "write the engine's file"):
        yield Row(f"{attacker}: {name}: EACCES", lambda name=name: equal(results()[name], "EACCES"))


def server_sockets(place):
    """Names of sockets in the job's own network namespace"""
    with open(f"/proc/{place.victim().servers[0].pid}/net/unix", encoding="utf-8") as file:
        return [line.split()[7] for line in file.readlines()[1:] if len(line.split()) > 7]


def no_abstract_socket(place):
    """no name of a file server's socket is one of the host's"""
    names = {name for name in server_sockets(place) if name.startswith("@")}
    equal(names & {name for _, name in named_sockets()}, set())
    for name in names:
        equal(place.act(place.owner, [("connect", name)]), ["ECONNREFUSED"])


# Rows: what the processes are and hold


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file)


def descriptors(pid):
    """Kinds of what a process holds, each with its count: a path is itself."""
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{number}")
        except FileNotFoundError:
            continue
        kind = re.sub(r":?\[?\d+\]?$", "", target) if target.startswith(("socket", "pipe")) else target
        kind = re.sub(r"^/proc/\d+/", "/proc/N/", kind)
        found[kind] = found.get(kind, 0) + 1
    return found


def run_folder(place):
    """every file of the run folder is 0600 in a folder that is 0700, and the lock names the keeper"""
    victim = place.victim()
    root = f"{place.site.runtime}/vtorque" if place.is_own else "/run/vtorque/jobs"
    folder = f"{root}/{victim.slot}"
    for path in (root, folder):
        equal(stat.S_IMODE(os.stat(path).st_mode), 0o700, path)
    for name in os.listdir(folder):
        status = os.stat(f"{folder}/{name}")
        equal((status.st_uid, stat.S_IMODE(status.st_mode)), (place.owner.uid if place.is_own else 0, 0o600), name)
    with open(f"{folder}/lock", "r+b") as file:
        found = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0))
    equal(struct.unpack("hhqqi", found[:struct.calcsize("hhqqi")])[4], victim.roles["keeper"].pid)


def can_write(pid, paths):
    """Whether any of these files is open for writing."""
    for number in os.listdir(f"/proc/{pid}/fd"):
        if os.readlink(f"/proc/{pid}/fd/{number}") in paths:
            flags = next(line for line in read_file(f"/proc/{pid}/fdinfo/{number}").decode().splitlines() if line.startswith("flags"))
            if int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY:
                return True
    return False


EVENTS = {"anon_inode:[eventfd]", "anon_inode:[eventpoll]", "anon_inode:[signalfd]", "anon_inode:[timerfd]"}


def keeper_holds(place):
    """the keeper holds what the plan names: null, lifeline, run folders, lock, leaf"""
    victim = place.victim()
    held = descriptors(victim.roles["keeper"].pid)
    root = f"{place.site.runtime}/vtorque" if place.is_own else "/run/vtorque/jobs"
    leaf = {kind: held.pop(kind) for kind in list(held) if kind.startswith("/sys/fs/cgroup/")}
    assert sum(leaf.values()) <= 1, leaf
    equal(held, {"/dev/null": 3, "pipe": 1, root: 1, f"{root}/{victim.slot}": 1, f"{root}/{victim.slot}/lock": 1})


def engine_holds(place):
    """the engine holds what the plan names: run and control connection, QEMU's lines, lifeline, logs"""
    victim = place.victim()
    held = descriptors(victim.roles["engine"].pid)
    counters = [kind for kind in held if kind.endswith(("/memory.events", "/memory.oom_control"))]
    assert len(counters) <= 1 and not can_write(victim.roles["engine"].pid, counters), counters
    # Run connection, control, monitor, serial line, agent; lifeline, QEMU's log and each server's.
    equal({kind: count for kind, count in held.items() if kind not in EVENTS and kind not in counters},
          {"/dev/null": 4, "socket": 5, "pipe": 2 + len(victim.servers)})


def qemu_holds(place):
    """QEMU holds what the plan names: its lines, the file servers, its memory"""
    victim = place.victim()
    held = descriptors(victim.roles["qemu"].pid)
    memory = [kind for kind in held if kind.startswith("/memfd:")]
    equal([kind for kind in held if kind not in EVENTS and kind not in memory and kind not in ("/dev/null", "socket", "pipe")], [])
    equal((held["/dev/null"], held["pipe"], len(memory)), (2, 1, 1))
    # Monitor, serial line, agent; two for each file server.
    equal(held["socket"], 3 + 2 * len(victim.servers))


def server_holds(place):
    """a file server holds what the plan names: QEMU's connection, its log, its /proc, the shared tree"""
    victim = place.victim()
    for server in victim.servers:
        held = descriptors(server.pid)
        shared = [kind for kind in held if kind == "/tmp" or kind.startswith("/tmp/")]
        preload = [kind for kind in held if kind.startswith("/memfd:vtorque-preload")]
        assert sum(held[kind] for kind in preload) <= 1, held
        known = {*preload, "/proc/N/fd", "/proc/N/task", "/dev/null", "pipe", "socket", *EVENTS, *shared}
        equal(set(held) - known, set())
        equal((held["pipe"], held["socket"], held["/proc/N/fd"]), (1, 2, 1))


def everyone(place):
    victim = place.victim()
    return {**{role: victim.roles[role].pid for role in ("keeper", "engine", "qemu")},
            **{f"server {number}": server.pid for number, server in enumerate(victim.servers)}}


def ids(place):
    """engine and QEMU have the slot's id and no groups, the file server the owner's"""
    victim, owner = place.victim(), place.owner
    slot_id = str(1900000000 + victim.slot)
    for role, pid in everyone(place).items():
        status = status_of(pid)
        uid, gid = ("0", "0") if role == "keeper" else (str(owner.uid), str(owner.gid)) if role.startswith("server") else (slot_id, slot_id)
        equal((set(status["Uid"].split()), set(status["Gid"].split())), ({uid}, {gid}), role)
        if role in ("engine", "qemu"):
            equal(status["Groups"].split(), [], role)


def no_capabilities(place):
    """engine and QEMU have no capability in any set; they and the file servers have no_new_privs and filters"""
    for role, pid in everyone(place).items():
        status = status_of(pid)
        if role in ("engine", "qemu"):
            equal({status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}, {"0" * 16}, role)
        if role != "keeper":
            equal((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"), role)
            equal(int(status["Seccomp_filters"]), 1 if role == "engine" else 2, f"filters of {role}")


def no_core_files(place):
    """no process of a job can leave a core file: hard limit 1, for which the kernel asks no program either"""
    for role, pid in everyone(place).items():
        with open(f"/proc/{pid}/limits", encoding="utf-8") as file:
            line = next(line for line in file if line.startswith("Max core file size"))
        equal(line.split()[4:6], ["1", "1"], role)


def proc_is_roots(place):
    """nobody's ids open the /proc of engine and file servers: neither can be traced or dumped"""
    for role, pid in everyone(place).items():
        if role == "engine" or role.startswith("server") and not place.is_own:
            equal((os.stat(f"/proc/{pid}/fd").st_uid, os.stat(f"/proc/{pid}/environ").st_uid), (0, 0), role)


def namespaces(place):
    """engine and QEMU share namespaces that are none of the host's; a file server has mounts of its own"""
    victim = place.victim()
    for kind in ("mnt", "pid", "net", "ipc", "uts"):
        names = {role: os.readlink(f"/proc/{pid}/ns/{kind}") for role, pid in everyone(place).items()}
        assert names["engine"] == names["qemu"] != os.readlink(f"/proc/self/ns/{kind}"), (kind, names)
        for server in victim.servers:
            name = os.readlink(f"/proc/{server.pid}/ns/{kind}")
            equal(name == names["engine"], kind != "mnt", f"{kind} of the file server")


def user_namespace_is_roots(place):
    """the file server's user namespace is owned by root and maps the owner's ids alone"""
    for server in place.victim().servers:
        equal(owner_of_namespace(server.pid), 0)
        lines = read_file(f"/proc/{server.pid}/uid_map").decode().split()
        equal(lines, [str(place.owner.uid), str(place.owner.uid), "1"])
        equal(read_file(f"/proc/{server.pid}/setgroups"), b"deny\n")


def owner_of_namespace(pid):
    with open(f"/proc/{pid}/ns/user", "rb") as file:
        buffer = bytearray(4)
        fcntl.ioctl(file, 0xb704, buffer)  # NS_GET_OWNER_UID
        return struct.unpack("I", buffer)[0]


def environments(place):
    """nothing of the starter's environment is in a process of the job"""
    for role, pid in everyone(place).items():
        words = [word.split(b"=")[0] for word in read_file(f"/proc/{pid}/environ").split(b"\0") if b"=" in word]
        assert set(words) <= {b"PATH", b"LC_ALL", *([b"LD_PRELOAD"] if role.startswith("server") else [])}, (role, words)


def arguments(place):
    """nobody's secrets and no path of the owner's is on a command line"""
    for role, pid in everyone(place).items():
        text = read_file(f"/proc/{pid}/cmdline").decode()
        assert SECRET not in text and place.owner.home not in text, (role, text)


def cage_mounts(place):
    """the cage holds nothing that can be written but /dev/null, and nothing of the owner's"""
    with open(f"/proc/{place.victim().roles['qemu'].pid}/mountinfo", encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            assert place.owner.home not in line and fields[4] not in ("/proc", "/sys", "/run"), line
            if fields[4] != "/dev/null":
                assert {"ro", "nosuid", "nodev"} <= set(fields[5].split(",")), line


def is_unchanged(place):
    """The job lives, with all its processes."""
    victim = place.victim()
    for process in victim.everyone:
        assert is_same(process) and read_process(process.pid).state in "SRD", process


def folder_is_unchanged(victim):
    now = snapshot(victim.folder)
    now.pop(f"{victim.folder}/after", None)
    own = f"{victim.folder}/own"
    # The owner's own file may have been made setuid, to the owner: on the host that is theirs to do.
    assert now[own][:3] == victim.before[own][:3] and now[own][3] & 0o777 in (0o644, 0o755), now[own]
    now.pop(own)
    equal(now, {path: entry for path, entry in victim.before.items() if path != own})


def stop_server(place):
    """STOP of the file server by its owner is undone, and the job goes on"""
    victim = place.victim()
    for server in victim.servers:
        equal(place.act(place.owner, [("signal STOP", server.pid)]), ["done"])
        wait_for(lambda server=server: read_process(server.pid).state in "SRD", "the server to go on")
    is_unchanged(place)


def ends_well(place, get):
    victim = get()
    with subprocess.Popen([*place.owner.prefix(), "sleep", "1000"]) as other:
        result = victim.end()
        equal((result.status, other.poll()), (5, None), "status of the job, and of another process of its owner;")
        other.kill()
    folder_is_unchanged(victim)
    equal(read_file(f"{victim.folder}/after"), b"after\n")


# Rows: root in the guest

GUEST_ROOT_ROWS = {
    "read root's file": "EACCES", "write root's file": "EACCES", "truncate root's file": "EACCES", "chmod root's file": "EPERM",
    "chown root's file": "EINVAL", "times of root's file": "EPERM", "attribute of root's file": "EACCES", "link to root's file": "EPERM",
    "create as root": "EINVAL", "mkdir as root": "EINVAL", "symlink as root": "EINVAL", "give a file to root": "EINVAL",
    "give a file to another": "EINVAL", "give a file to root's group": "EINVAL", "give a file to another group": "EINVAL",
    "character device": "EINVAL", "block device": "EINVAL", "file capabilities": "EINVAL", "trusted attribute": "EPERM",
    "security attribute": "EPERM", "create in root's folder": "EINVAL", "mkdir in root's folder": "EINVAL",
    "rename into root's folder": "EACCES", "remove from a sticky folder": "EPERM", "rename over in a sticky folder": "EPERM",
    "look into another's folder": "EACCES", "read in another's folder": "EACCES", "follow a link out": "ENOENT",
    "setuid on the owner's file": "done", "character device as the owner": "EPERM", "read root's file as the owner": "EACCES",
    "link to root's file as the owner": "EPERM", "create in root's folder as the owner": "EACCES",
    "vtorque: create at its top": "EINVAL", "vtorque: mkdir at its top": "EINVAL", "vtorque: rename at its top": "EROFS",
    "vtorque: forged file handles": "ESTALE",
}
HOST_ROOT_ROWS = {
    "vtorque-root: create at its top": "EINVAL", "vtorque-root: mkdir at its top": "EINVAL", "vtorque-root: rename at its top": "EROFS",
    "root: read /etc/shadow": "EACCES", "root: write /etc/passwd": "EACCES",
    "root: create in /etc": "EINVAL", "root: create in /var/tmp": "EINVAL", "root: chmod /etc/passwd": "EROFS",
    "root: remove /usr/bin/env": "EROFS", "root: link to /etc/shadow": "EROFS", "root: device node": "EINVAL", "root: attribute": "EROFS",
    "root: the server's /proc": "ENOENT", "root: the host's run folders": ("EACCES", "ENOENT"), "root: the host's /sys": "ENOENT", "root: the host's /dev": "ENOENT",
}


def guest_rows(get, table):
    for name, wanted in table.items():
        yield Row(f"guest's root: {name}: {words(wanted)}", lambda name=name, wanted=wanted: equal_one(get().results.get(name), wanted))


def words(wanted):
    return " or ".join(wanted) if isinstance(wanted, tuple) else wanted


def equal_one(got, wanted):
    assert got in (wanted if isinstance(wanted, tuple) else (wanted,)), f"got {got!r}, not {wanted!r}"


# Rows: in QEMU's place

CAGE_EPERM = (
    "a user namespace", "a mount namespace", "a network namespace", "a cgroup namespace", "setns", "clone into a user namespace", "mount",
    "umount", "remount writable", "chroot", "pivot_root", "ptrace the engine", "ptrace the file server", "be traced",
    "read the engine's memory", "write the engine's memory", "compare with the engine", "limits of the engine", "core files again",
    "capabilities", "bpf", "perf_event_open", "add_key", "keyctl", "open_by_handle_at", "io_uring", "userfaultfd", "load a module", "kexec",
    "the kernel's log", "reboot", "the clock", "the host name", "socket unix", "socket inet", "socket inet6", "socket netlink",
    "socket packet", "socket vsock", "uid 0", "gid 0", "groups", "fsuid 0", "take the engine's descriptors")
CAGE_ENOENT = ("/proc", "the engine's /proc", "/etc/passwd", "out by dots", "run folders", "homes", "/tmp", "/dev/kvm", "/dev/mem",
               "/dev/net/tun", "/sys", "a shell")
CAGE_EROFS = ("a new file", "a new file in /dev", "a new file in /boot", "chmod the kernel",
              "remove the kernel", "rename the kernel", "a device node", "a link")
CAGE_STATE = {"clone3": "ENOSYS", "new rights by exec": "EINVAL", "descriptors above the planned": "0", "capabilities": "0", "variables": "1",
              "death signal": "9", "no new privs": "1", "groups": "0"}


def stub_rows(place):
    table = {**dict.fromkeys(CAGE_EPERM, "EPERM"), **dict.fromkeys(CAGE_ENOENT, "ENOENT"), **dict.fromkeys(CAGE_EROFS, "EROFS"), **CAGE_STATE}
    # Whether the mode or the mount says no depends on whose file it is; a kernel may have no iopl().
    table.update({"write the kernel": ("EROFS", "EACCES"), "write QEMU": "EACCES", "io ports": ("EPERM", "ENOSYS")})
    if place.is_own:  # a user namespace that knows the own ids alone, in which groups can't be given up
        table.update({"uid 0": "EINVAL", "gid 0": "EINVAL", "fsuid 0": "EINVAL", "groups": str(len(os.getgrouplist(place.owner.name, place.owner.gid)))})
    if not place.is_own:
        table["kill the file server"] = "EPERM"
    for name, wanted in table.items():
        yield Row(f"in QEMU's place: {name}: {words(wanted)}", lambda name=name, wanted=wanted: equal_one(place.stub()[0].get(name), wanted))
    yield Row("in QEMU's place: signals to the engine have no effect", lambda: equal(place.stub()[1].state in "SRD", True))


# Rows: what a job document may not lead root to


def refused(place, wanted, status=125, prepare=None, **changes):
    """A document that ends the job before a guest starts, with `wanted` in its message."""
    def check():
        if prepare:
            prepare()
        inventory = Inventory(place.site)
        with Served(place.site, place.owner, "echo never\n", **changes) as job:
            result = job.finish(5 * DEADLINE)
            text = job.err.data.decode()
        equal((result.status, result.out), (status, b""), text)
        assert wanted in text, text
        inventory.check()
    return check


FORGED = {"a path": "../x", "a slash": "a/b", "256 bytes": "x" * 256, "nothing": "", "a dot": ".", "two dots": "..", "a line": "a\nb",
          "a blank": "a b", "8-bit bytes": "a\u00e4"}


def tell_keeper(place, text):
    """Starts keeper and engine as the daemon would, with a document that it would not have taken. The outcome's text."""
    ours, theirs = socket.socketpair()
    memory = os.memfd_create("document")
    os.write(memory, text.encode())
    engine = os.open(f"{place.site.bin}/vtorque-engine", os.O_RDONLY)
    null = os.open("/dev/null", os.O_RDWR)
    given = [os.dup(fd) for fd in (memory, theirs.fileno(), engine, null)]

    def place_descriptors():
        for number, fd in enumerate([os.dup(fd) for fd in [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in given]], 3):
            os.dup2(fd, number, inheritable=True)

    words = [f"{place.site.bin}/vtorque-keeper", "/run/vtorque/jobs", "1.forged", "forged", str(place.owner.uid), "1", "0", "0", ""]
    keeper = subprocess.Popen(words, preexec_fn=place_descriptors, close_fds=False, env={})
    theirs.close()
    for fd in (memory, engine, null, *given):
        os.close(fd)
    ours.settimeout(DEADLINE)
    data = b""
    while more := ours.recv(65536):
        data += more
    ours.close()
    equal(keeper.wait(DEADLINE), 125)
    return data.decode(errors="replace")


def forged_rows(place):
    for name, text in FORGED.items():
        yield Row(f"owner: a job id that is {name} is refused by who starts the job",
                  refused(place, "bad value of 'id'", status=2, id=text))
        yield Row(f"owner: a job id that is {name} is refused by the engine", lambda text=text: in_text(
            "bad value of 'id'", tell_keeper(place, document(place.site, place.owner, id=text))))


def in_text(wanted, text):
    assert wanted in text, text


def write_file(path, data, user=None, mode=0o644):
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)
    if user:
        os.chown(path, user.uid, user.gid)


def kernel_folder(place, name, initramfs=None):
    """A kernel folder in the owner's home. `initramfs` makes the file."""
    folder = f"{place.owner.home}/{name}"
    os.mkdir(folder)
    os.chown(folder, place.owner.uid, place.owner.gid)
    for file in ("vmlinux", "vmlinuz", "initramfs-tiny"):
        if file == "initramfs-tiny" and initramfs:
            initramfs(f"{folder}/{file}")
        elif os.path.exists(f"{GUEST}/{file}"):
            shutil.copyfile(f"{GUEST}/{file}", f"{folder}/{file}")
            os.chown(f"{folder}/{file}", place.owner.uid, place.owner.gid)
    return folder


def roots_file(place, mode=0o600):
    path = f"{place.site.folder}/roots-{mode:o}"
    write_file(path, SECRET.encode() * 1000, mode=mode)
    return path


def kernel_link(place):
    """owner: a kernel folder whose initramfs is a link to root's file is refused: EACCES"""
    folder = kernel_folder(place, "kernel-link", lambda path: os.symlink(roots_file(place), path))
    refused(place, "Permission denied", kernel_dir=folder)()


def kernel_fifo(place):
    """owner: a kernel folder whose initramfs is a fifo is refused at once"""
    refused(place, "it is no file", kernel_dir=kernel_folder(place, "kernel-fifo", os.mkfifo))()


def kernel_folder_link(place):
    """owner: a kernel folder that is a link into root's home is refused: EACCES"""
    os.mkdir(f"{place.site.folder}/roots", 0o700)
    os.symlink(f"{place.site.folder}/roots", f"{place.owner.home}/kernel-out")
    refused(place, "Permission denied", kernel_dir=f"{place.owner.home}/kernel-out")()


def kernel_private(place):
    """owner: a kernel that others may not read is refused, for QEMU runs as nobody"""
    folder = kernel_folder(place, "kernel-private")
    os.chmod(f"{folder}/initramfs-tiny", 0o600)
    refused(place, "readable by all", kernel_dir=folder)()


def kernel_swapped(place):
    """owner: a kernel folder that is exchanged after it was opened changes nothing"""
    folder = kernel_folder(place, "kernel-swapped")
    with Gate() as gate:
        words = ("--gate", str(gate.theirs.fileno()))
        with Served(place.site, place.owner, "echo right\n", *words, kernel_dir=folder, options={"pass_fds": [gate.theirs.fileno()]}) as job:
            gate.wait("prepared")
            os.rename(folder, f"{folder}.away")
            os.mkdir(folder)
            os.symlink(roots_file(place), f"{folder}/initramfs-tiny")
            gate.open()
            result = job.finish(5 * DEADLINE)
            equal((result.status, result.out), (0, b"right\n"), result)
    shutil.rmtree(f"{folder}.away")


def share_swapped(place):
    """owner: a submit directory that becomes a link to root's folder before it is opened is refused: EACCES"""
    os.mkdir(f"{place.site.folder}/roots-share", 0o700)
    private = f"{place.site.folder}/roots-share/inner"
    os.mkdir(private)
    submit = f"{place.owner.home}/submit"
    os.mkdir(submit)
    os.chown(submit, place.owner.uid, place.owner.gid)
    with Gate() as gate:
        words = ("--gate", str(gate.theirs.fileno()))
        with Served(place.site, place.owner, "echo never\n", *words, home=f"{place.owner.home}/submit", submit_dir=submit,
                    options={"pass_fds": [gate.theirs.fileno()]}) as job:
            gate.wait("born")
            os.rmdir(submit)
            os.symlink(private, submit)
            gate.open()
            result = job.finish(5 * DEADLINE)
    equal((result.status, result.out), (125, b""), result)
    in_text(b"cannot share", result.err)
    in_text(b"Permission denied", result.err)


def share_proc(place):
    """owner: a submit directory that is a link to /proc is refused: behind it would be the file server itself"""
    os.symlink("/proc", f"{place.owner.home}/proc")
    refused(place, "cannot share", submit_dir=f"{place.owner.home}/proc", home="/")()


def share_others(place):
    """owner: a mount in another user's 0700 folder is refused: EACCES"""
    folder = f"{place.site.folder}/others"
    os.mkdir(folder, 0o700)
    os.chown(folder, 12345, 12345)
    os.mkdir(f"{folder}/inner")
    refused(place, "Permission denied", mounts=[f"{folder}/inner"])()


def squashed(place):
    """a submit directory that is root-squashed (FUSE without allow_other): root may not look into it, the job reads and writes"""
    folder = f"{place.owner.home}/squashed"
    os.mkdir(folder)
    os.chown(folder, place.owner.uid, place.owner.gid)
    with Squash(folder, place.owner) as squash:
        squash.files[b"in"] = [2, b"here\n"]
        equal(acts.attempt("list", folder), "EACCES", "root's look")
        with Served(place.site, place.owner, "cat in; echo out > out\n", submit_dir=folder, home=folder) as job:
            result = job.finish(5 * DEADLINE)
        equal(result, Result(0, b"here\n", b""))
        equal(squash.files[b"out"][1], b"out\n")


def relative_paths(place):
    """owner: a path with dots in a job document is refused by who starts the job"""
    refused(place, "bad value of 'submit_dir'", status=2, submit_dir=f"{place.owner.home}/../../root")()


def site_kernel(place):
    """owner: a site's guest takes no kernel of the owner's"""
    folder = kernel_folder(place, "kernel-site")
    refused(place, f"the guest's kernel must be the site's: '{place.owner.home}' belongs to uid {place.owner.uid}",
            kernel_dir=folder, **site_image(place))()


def pool_link(place):
    """owner: a site's guest takes no image of the owner's, be it by a link in root's pool"""
    fields = site_image(place)
    disk = f"{fields['image_dir']}/{DIGEST}"
    os.rename(disk, f"{place.owner.home}/disk")
    os.symlink(f"{place.owner.home}/disk", disk)
    refused(place, "is a link: must be a file", **fields)()


def pool_owners(place):
    """owner: a pool of the owner's is refused"""
    fields = site_image(place)
    os.chown(fields["image_dir"], place.owner.uid, -1)
    refused(place, f"belongs to uid {place.owner.uid}: must belong to root", **fields)()


def site_image(place):
    """Fields of a job document for an image of 1 MiB of nothing, in a pool of root's."""
    pool = tempfile.mkdtemp(prefix="pool-", dir=place.site.folder)
    os.chmod(pool, 0o755)
    record = {"version": 1, "name": "x", "family": "debian", "arch": "x86_64", "format": "raw", "size": 1 << 20, "digest": DIGEST,
              "root": "/dev/vda", "filesystem": "ext4", "init": ["agent"], "description": "nothing"}
    write_file(f"{pool}/x.json", json.dumps(record).encode())
    write_file(f"{pool}/{DIGEST}", bytes(1 << 20))
    return {"image": "disk", "image_name": "x", "image_dir": pool, "scratch_mib": 64, "fs_type": "ramdisk"}


def kill_server(place):
    """owner: KILL of the file server ends the job, which says why"""
    end_by_server(place, signal.SIGKILL)


def abort_server(place):
    """owner: ABRT of the file server leaves no core file, whatever limit the owner sets"""
    before = set(os.listdir("/")) | set(os.listdir(place.owner.home))
    status = end_by_server(place, signal.SIGABRT)
    in_text("(signal 6)", status)
    equal({name for name in set(os.listdir("/")) | set(os.listdir(place.owner.home)) if "core" in name} - before, set())


def end_by_server(place, number):
    act = {signal.SIGKILL: "signal KILL", signal.SIGABRT: "signal ABRT"}[number]
    with Served(place.site, place.owner, "echo up; read x\n", options={"stdin": subprocess.PIPE}) as job:
        job.wait_text(b"up\n", 5 * DEADLINE)
        server = find_job(job.starter.pid)[0]["server"]
        equal(place.act(place.owner, [("limit of core files", server.pid), (act, server.pid)]), ["EPERM", "done"])
        result = job.finish(5 * DEADLINE)
    equal(result.status, 125)
    in_text(b"share: the file server of the guest died", result.err)
    return result.err.decode()


def many_groups(place):
    """300 groups: those that have no place are told, and what they alone allow is refused"""
    groups = list(range(70000, 70600, 2))
    folder = f"{place.owner.home}/last-group"
    os.mkdir(folder)
    for number in (0, -1):
        write_file(f"{folder}/file{number}", b"theirs\n", mode=0o640)
        os.chown(f"{folder}/file{number}", 0, groups[number])
    with Served(place.site, place.owner, f"id -G | wc -w; cat {folder}/file0; cat 2>&1 {folder}/file-1 | grep -c denied", groups=groups) as job:
        result = job.finish(5 * DEADLINE)
    equal((result.status, result.out.split()), (0, [b"301", b"theirs", b"1"]), result)
    equal(result.err.decode().split(": ")[:2], ["serve", "note"])
    in_text(b" of your 301 groups have no place", result.err)


def looked_up(place):
    """an owner who is known by uid alone has the user database's names and groups"""
    with Served(place.site, place.owner, "id\n", "--look-up", user="forged", group="forged", groups=[0, 4], home="/root") as job:
        result = job.finish(5 * DEADLINE)
    wanted = subprocess.run([*place.owner.prefix(), "id"], capture_output=True, check=True).stdout
    equal((result.status, result.out.split()[:2]), (0, wanted.split()[:2]), result)
    assert b"forged" not in result.out and b"root" not in result.out, result


REFUSALS = (kernel_link, kernel_fifo, kernel_folder_link, kernel_private, kernel_swapped, share_swapped, share_proc, share_others, squashed,
            relative_paths, site_kernel, pool_link, pool_owners, many_groups, looked_up, kill_server, abort_server)


# Rows: an ordinary user's own run folders


def hostile_root(place, prepare, wanted):
    """A user without XDG_RUNTIME_DIR whose /tmp/vtorque-UID somebody else has made."""
    path = f"/tmp/vtorque-{place.owner.uid}"
    aside = f"{path}.aside-{os.getpid()}"
    is_there = os.path.lexists(path)  # of the user's own jobs
    if is_there:
        os.rename(path, aside)
    try:
        prepare(path)
        result = place.site.tiny("echo never", environment={"XDG_RUNTIME_DIR": ""})
        equal((result.status, result.out), (125, b""), result)
        in_text(b"cannot use the folder of run folders", result.err)
        in_text(wanted, result.err)
    finally:
        os.unlink(path) if os.path.islink(path) else os.rmdir(path)
        if is_there:
            os.rename(aside, path)


def script_swapped(place):
    """owner: a script that becomes another after it was submitted changes nothing"""
    path = f"{place.site.work}/script"
    write_file(path, b"echo right\n", place.owner)
    with Gate() as gate:
        process = place.site.start(*lib.TINY, path, **gate.options())
        gate.wait("locked")
        os.unlink(path)
        os.symlink("/etc/passwd", path)
        gate.open()
        out, err = process.communicate(timeout=5 * DEADLINE)
    equal((process.returncode, out), (0, b"right\n"), err)


def make_owned(path, mode, uid, gid):
    os.mkdir(path)
    os.chmod(path, mode)
    if os.getuid() == 0:
        os.chown(path, uid, gid)


def run_folder_rows(place):
    owner = place.owner
    yield Row("other user: /tmp/vtorque-UID as a link is refused: ELOOP or ENOTDIR",
              lambda: hostile_root(place, lambda path: os.symlink(place.site.runtime, path), b"irectory"))
    yield Row("other user: /tmp/vtorque-UID that others may enter is refused: EPERM",
              lambda: hostile_root(place, lambda path: make_owned(path, 0o777, owner.uid, owner.gid), b"not permitted"))
    yield Row(script_swapped.__doc__, lambda: script_swapped(place))
    if os.getuid() == 0:
        yield Row("other user: /tmp/vtorque-UID of another's is refused", lambda: hostile_root(
            place, lambda path: make_owned(path, 0o700, 12345, 12345), b"ermi"))


# The table

STATE = (run_folder, keeper_holds, engine_holds, qemu_holds, server_holds, no_capabilities, no_core_files, proc_is_roots, namespaces, environments,
         arguments, cage_mounts)


def document_rows(place, functions):
    for function in functions:
        yield Row(function.__doc__, lambda function=function: function(place))


# What an ordinary user who runs the tests has no eyes for, or has no file of root's to be kept from.
NEEDS_ROOT = {engine_holds.__doc__, environments.__doc__, "in QEMU's place: write QEMU: EACCES"}


def own_rows(place):
    is_root = os.getuid() == 0
    first = [*document_rows(place, STATE), *stub_rows(place)]
    yield from first if is_root else (row for row in first if row.__doc__ not in NEEDS_ROOT)
    if is_root:
        yield from guest_rows(place.victim, GUEST_ROOT_ROWS)
        yield Row("nothing has changed: the job's processes live", lambda: is_unchanged(place))
        yield Row("nothing has changed: the job ends with its script's status, the folder is as it was, no other process is dead",
                  lambda: ends_well(place, place.victim))
    yield from guest_rows(place.host_victim, HOST_ROOT_ROWS)
    if is_root:
        yield Row("nothing has changed: the job of img=host ends with its script's status", lambda: ends_well(place, place.host_victim))


def table(place, other):
    yield from process_rows(place, "owner", place.owner, ("keeper", "engine", "qemu", "server"))
    yield from process_rows(place, "other user", other, ("keeper", "engine", "qemu", "server"))
    yield from path_rows(place, "owner", place.owner)
    yield from path_rows(place, "other user", other)
    yield from document_rows(place, (ids, user_namespace_is_roots, no_abstract_socket, stop_server))
    yield from own_rows(place)
    yield from forged_rows(place)
    yield from document_rows(place, REFUSALS)


def run(is_own):
    with contextlib.ExitStack() as stack:
        users = [stack.enter_context(TemporaryUser()) if os.getuid() == 0 else User() for _ in range(2)]
        place = Place(users[0], is_own)
        stack.callback(place.close)
        run_tests([*own_rows(place), *run_folder_rows(place)] if is_own else list(table(place, users[1])), jobs=1)


if __name__ == "__main__":
    run(is_own=False)

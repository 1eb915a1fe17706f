# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: TAP, vsub and vmgr, gates, control requests, process tables, what a machine holds."""

import collections
import concurrent.futures
import glob
import grp
import itertools
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

SOURCE = os.environ.get("VTORQUE_SOURCE") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("VTORQUE_BUILD") or os.path.join(SOURCE, "build")
GUEST = os.environ.get("VTORQUE_GUEST") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vtorque", "guest")
IMAGES = os.environ.get("VTORQUE_IMAGES") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vtorque", "images")
PROGRAMS = ("bin/vsub", "bin/vmgr", "bin/vtorque-keeper", "bin/vtorque-engine", "tests/system/serve")
DEADLINE = 180  # seconds that anything may take here; none of them is a measurement
VMS = os.environ.get("VTORQUE_VMS", "1")  # machines in each job, for the tables of kills and faults
WITH_VMS = f",vms_per_node={VMS}" if VMS != "1" else ""
TINY = ("--local", "-vm", f"img=tiny,ram=256M,vcpus=1{WITH_VMS}")
MIB = 1 << 20
TOKEN = secrets.token_hex(4)  # of this program: a process id may be another program's, too (apart)
PHASES = ("locked", "born", "prepared", "caged", "starting", "booted", "ready", "running", "ending")


def check_named(line):
    """Where there are several machines, a line about one of them names it."""
    assert VMS == "1" or re.match(r"(vsub: )?v\S+-\d+: ", line), f"{line!r} names no machine"


def is_sanitized():
    """Whether this build is that of the sanitizers, which is slow and takes more memory."""
    with open(f"{BUILD}/bin/vsub", "rb") as file:
        return b"__asan_init" in file.read()


def equal(got, wanted, what=""):
    assert got == wanted, f"{what or 'got'} {got!r}, not {wanted!r}"


def wait_for(condition, what, seconds=DEADLINE):
    """The first true value of `condition`, asked again and again."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.02)
    return value


# TAP


def print_result(number, name, problem):
    print(f"{'not ok' if problem else 'ok'} {number} - {name}")
    for line in problem.splitlines():
        print(f"# {line}")
    sys.stdout.flush()


def attempt(function):
    """What went wrong, or an empty text."""
    try:
        function()
    except Exception:  # whatever it is, it is the test's result
        return traceback.format_exc()
    return ""


def take_default_signals():
    """What the tests' starter ignores (nohup, a shell's background) or blocks, vsub would ignore and block too.
    Python ignores PIPE and XFSZ for itself alone."""
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def row(test, site, who):
    """`test` on the site of `who`, with a name and a description of its own."""
    def run():
        test(site)
    run.__name__, run.__doc__ = f"{test.__name__}_{who}", f"{who}: {test.__doc__}"
    return run


def run_tests(tests, alone=(), jobs=2):
    """Runs functions named by their first line of documentation, `jobs` at a time, then those of `alone` one by one.
    Arguments of the program select tests by a part of their function's name."""
    take_default_signals()
    chosen = [test for test in (*tests, *alone) if not sys.argv[1:] or any(word in test.__name__ for word in sys.argv[1:])]
    print(f"1..{len(chosen)}", flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = [(test, pool.submit(attempt, test)) for test in chosen if test not in alone]
        for number, (test, future) in enumerate(futures, 1):
            problem = future.result()
            failed += bool(problem)
            print_result(number, test.__doc__, problem)
    for number, test in enumerate((test for test in chosen if test in alone), len(futures) + 1):
        problem = attempt(test)
        failed += bool(problem)
        print_result(number, test.__doc__, problem)
    sys.exit(1 if failed else 0)


# Programs


Result = collections.namedtuple("Result", "status out err")


class User:
    """Whom programs run as. Root may make one that is not root, for the length of a `with`."""

    def __init__(self, uid=None, name=None, home=None):
        entry = pwd.getpwuid(os.getuid() if uid is None else uid)
        self.uid, self.gid, self.name, self.home = entry.pw_uid, entry.pw_gid, entry.pw_name, home or entry.pw_dir

    def prefix(self):
        if self.uid == os.getuid():
            return []
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups"]

    def environment(self):
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": "/bin/sh", "LANG": "C.UTF-8",
                "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}


class TemporaryUser(User):
    numbers = itertools.count()

    def __init__(self):
        self.name = f"vtt{TOKEN}-{next(self.numbers)}"
        self.folder = tempfile.mkdtemp(prefix="vtt-home-")
        os.chmod(self.folder, 0o755)
        subprocess.run(["useradd", "--create-home", "--home-dir", f"{self.folder}/home", "--shell", "/bin/bash", self.name],
                       check=True, stderr=subprocess.DEVNULL)
        super().__init__(pwd.getpwnam(self.name).pw_uid)
        os.chmod(self.home, 0o700)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["userdel", self.name], check=True)
        shutil.rmtree(self.folder)


class Site:
    """A copy of the programs with a configuration of its own, readable for everybody, and a folder to submit from."""

    def __init__(self, conf="", user=None, guest=None):
        self.user = user or User()
        self.folder = tempfile.mkdtemp(prefix="vtt-site-")
        os.chmod(self.folder, 0o755)
        for name in ("bin", "etc", "guest", "images"):
            os.mkdir(f"{self.folder}/{name}")
        for name in PROGRAMS:
            shutil.copy(f"{BUILD}/{name}", f"{self.folder}/bin")
        self.bin = f"{self.folder}/bin"
        self.guest = guest or (f"{self.folder}/guest" if self.user.uid != os.getuid() else GUEST)
        if not guest and self.guest != GUEST:
            for name in ("vmlinux", "vmlinuz", "initramfs", "initramfs-tiny"):
                if os.path.exists(f"{GUEST}/{name}"):
                    shutil.copyfile(f"{GUEST}/{name}", f"{self.guest}/{name}")
        # Images are root's or the user's: links to them are as good as they are.
        for name in os.listdir(IMAGES) if os.path.isdir(IMAGES) else ():
            if not name.startswith("."):
                os.link(f"{IMAGES}/{name}", f"{self.folder}/images/{name}")
        self.runtime = self.make_folder("runtime")
        self.work = self.make_folder("work")
        with open(f"{self.folder}/etc/vtorque.conf", "w") as file:
            file.write(f"GUEST_KERNEL={self.guest}\n")
            file.write(f"{conf}\n")
            file.write("" if "VM_IMG_DIR=" in conf else f"VM_IMG_DIR={self.folder}/images\n")
            # Emulated: with KVM or without, and what is said of it, is accel.py's.
            file.write("" if "ACCEL=" in conf else "ACCEL=tcg\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_folder(self, name):
        path = f"{self.folder}/{name}"
        os.mkdir(path, 0o700)
        os.chown(path, self.user.uid, self.user.gid)
        return path

    def environment(self, **more):
        return {**os.environ, **self.user.environment(), "XDG_RUNTIME_DIR": self.runtime, **more}

    def run_root(self):
        """Where the user's run folders are (doc/contracts/run-folder.md)."""
        return "/run/vtorque/jobs" if self.user.uid == 0 else f"{self.runtime}/vtorque"

    def start(self, *words, program="vsub", through=(), environment=None, **options):
        """A program under way: a Popen. `through` goes before its path."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.work, **options}
        return subprocess.Popen([*self.user.prefix(), *through, f"{self.bin}/{program}", *words],
                                env=self.environment(**(environment or {})), **options)

    def vsub(self, *words, input=b"", timeout=DEADLINE * 2, **options):
        """vsub to its end."""
        process = self.start(*words, stdin=subprocess.PIPE, **options)
        try:
            out, err = process.communicate(input.encode() if isinstance(input, str) else input, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"vsub {words} did not end; stdout {out[-500:]!r}, stderr {err[-500:]!r}") from None
        return Result(process.returncode, out, err)

    def tiny(self, script, *words, **options):
        """A script on standard input, in the tiny guest."""
        return self.vsub(*TINY, *words, input=script, **options)

    def vmgr(self, *words):
        process = self.start(*words, program="vmgr")
        out, err = process.communicate(timeout=DEADLINE * 2)
        return Result(process.returncode, out.decode(), err.decode())

    def jobs(self):
        result = self.vmgr("list", "--json")
        equal((result.status, result.err), (0, ""), "vmgr list")
        return json.loads(result.out)

    def find(self, keeper):
        """What vmgr list says of the job of a keeper: there may be others on this machine."""
        return wait_for(lambda: next((job for job in self.jobs() if job["keeper"] == keeper), None), "the job in vmgr list")

    def control(self, slot, kind, aux=0, payload=b""):
        """A control request (src/ctl/control.h), not waited for: a connection, open."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(f"{self.run_root()}/{slot}/control")
        connection.sendall(struct.pack("<IBBH", len(payload), kind, aux, 0) + payload)
        return connection


CTL_FAULT = 146
FAULT_EXIT, FAULT_HANG, FAULT_PANIC, FAULT_POWEROFF = range(4)


class Gate:
    """Holds a job at a phase (src/ctl/gate.h)."""

    def __init__(self):
        self.ours, self.theirs = socket.socketpair()
        self.ours.settimeout(DEADLINE)

    def options(self):
        """For Site.start()."""
        return {"pass_fds": [self.theirs.fileno()], "environment": {"VTORQUE_GATE_FD": str(self.theirs.fileno())}}

    def wait(self, phase):
        """Opens all gates before `phase`, and returns with the job held there."""
        if self.theirs:
            self.theirs.close()
            self.theirs = None
        while True:
            byte = self.ours.recv(1)
            assert byte, f"the job ended before it was {phase}"
            if byte[0] == PHASES.index(phase):
                return
            self.ours.sendall(byte)

    def open(self):
        self.ours.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ours.close()
        if self.theirs:
            self.theirs.close()


class Stub:
    """In the place of a program, QEMU's or another, for the jobs that are started with `options`: does what `mode` says
    (tests/system/qemu-stub.c). Nobody else sees it: it is bound in a mount namespace of those jobs' own."""

    QEMU, SERVER = "/usr/bin/qemu-system-x86_64", "/usr/lib/qemu/virtiofsd"

    def __init__(self, site, mode, place=QEMU):
        with open(f"{BUILD}/tests/system/qemu-stub", "rb") as file:
            data = file.read()
        word = b"MODE:" + mode.encode()
        at = data.index(b"MODE:" + b" " * 32)
        self.path, self.place, self.is_root = f"{site.folder}/stub-{mode}", place, site.user.uid == 0
        with open(self.path, "wb") as file:
            file.write(data[:at] + word + data[at + len(word):])
        os.chmod(self.path, 0o755)

    def options(self):
        """For Site.start()."""
        own = () if self.is_root else ("--user", "--map-current-user", "--keep-caps")
        return {"through": ["unshare", "--mount", *own, "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', self.path, self.place]}


class Reader(threading.Thread):
    """Reads a stream of a process into memory; `wait_text` waits for what is to come."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream, self.data = stream, b""
        self.start()

    def run(self):
        while data := os.read(self.stream.fileno(), MIB):
            self.data += data

    def wait_text(self, text, seconds=DEADLINE):
        wait_for(lambda: text in self.data or not self.is_alive(), f"{text!r} (there is {self.data!r})", seconds)
        assert text in self.data, f"no {text!r} in {self.data!r}"


class Job:
    """A job under way; `starter` is the program that streams it. Ends with the `with`."""

    def __init__(self, site, starter):
        self.site, self.starter = site, starter
        self.out, self.err = Reader(starter.stdout), Reader(starter.stderr)

    def wait_text(self, text, seconds=DEADLINE):
        self.out.wait_text(text, seconds)
        return self

    def signal(self, number):
        self.starter.send_signal(number)

    def finish(self, seconds=DEADLINE):
        status = self.starter.wait(seconds)
        self.out.join(seconds)
        self.err.join(seconds)
        return Result(status, self.out.data, self.err.data)

    def job(self):
        """What vmgr says of it."""
        return self.site.find(children(self.starter.pid)[0].pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.starter.poll() is None:
            self.starter.kill()
            self.starter.wait()
        self.out.join(DEADLINE)
        self.err.join(DEADLINE)
        self.starter.stdout.close()
        self.starter.stderr.close()


class Running(Job):
    """A job of vsub's under way, in the tiny guest or as `vm` says; its script is a file."""

    def __init__(self, site, script, *words, vm=TINY, **options):
        handle, self.path = tempfile.mkstemp(prefix="script-", dir=site.work)
        with open(handle, "wb") as file:
            file.write(script.encode() if isinstance(script, str) else script)
        os.chmod(self.path, 0o644)
        super().__init__(site, site.start(*vm, *words, self.path, **options))
        self.vsub = self.starter

    def __exit__(self, *_):
        super().__exit__()
        os.unlink(self.path)


def group_name(gid):
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"g{gid}"


def document(site, owner, **changes):
    """A job document (doc/contracts/request.md) for a job of `owner`, as a daemon would make it."""
    groups = sorted(set(os.getgrouplist(owner.name, owner.gid)) - {owner.gid})
    groups = changes.pop("groups", groups)
    fields = {
        "version": 1, "id": "1.served", "name": "served", "host": "node", "user": owner.name, "group": group_name(owner.gid),
        "uid": owner.uid, "gid": owner.gid, "groups": groups, "group_names": [group_name(gid) for gid in groups],
        "home": owner.home, "shell": "/bin/sh", "image": "tiny", "image_name": "", "image_dir": "", "init": "agent",
        "fs_type": "sharedfs", "scratch_dir": "", "scratch_mib": 0, "accel": "tcg", "locks": "local", "file_server": "qemu",
        "vms": 1, "net": "none", "has_uplink": 0, "mac_prefix": 0x525400, "domain": "", "name_servers": [], "search_domains": [], "time_servers": [], "ram_mib": 256, "vcpus": 1, "boot_timeout_s": 300, "walltime_s": 0, "cput_s": 0, "kill_grace_s": 5, "kernel_dir": site.guest,
        "submit_dir": owner.home, "mounts": [], "tmp_mib": 64, "run_wait_s": 0, "node_file": "",
        "node": 0, "nodes": 1, "addresses": [], "transport": "none", "vni": 0, "net_mtu": 0, "peer_key": "", **changes}
    return json.dumps(fields)


class Served(Job):
    """A job that root's stand-in for the daemon (serve.c) runs for `owner`. `words` are serve's options, `changes` the
    document's; `through` goes before the program."""

    def __init__(self, site, owner, script, *words, through=(), options=None, **changes):
        handle, self.path = tempfile.mkstemp(prefix="document-", dir=site.work)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(document(site, owner, **changes))
        with open(f"{self.path}.sh", "wb") as file:
            file.write(script.encode() if isinstance(script, str) else script)
        self.owner = owner
        super().__init__(site, site.start(*words, self.path, f"{self.path}.sh", program="serve", through=through,
                                          **(options or {})))

    def __exit__(self, *_):
        super().__exit__()
        os.unlink(self.path)
        os.unlink(f"{self.path}.sh")

    def finish(self, seconds=DEADLINE):
        """The result, without serve's first line."""
        result = super().finish(seconds)
        return result._replace(err=result.err.partition(b"\n")[2])


# Processes


Process = collections.namedtuple("Process", "pid name state parent session start")


def read_process(pid):
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return Process(int(pid), name, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def processes():
    """All that live: a zombie whom nobody reaps holds nothing."""
    found = (read_process(name) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process and process.state not in "ZX"]


def children(pid, table=None):
    return [process for process in (table or processes()) if process.parent == pid]


def read_status(pid):
    """The fields of /proc/PID/status as they are written there; {} if there is no such process."""
    try:
        with open(f"/proc/{pid}/status", errors="replace") as file:
            return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
    except (FileNotFoundError, ProcessLookupError):
        return {}


def is_same(process):
    """True while that very process lives."""
    now = read_process(process.pid)
    return bool(now) and now.start == process.start and now.state not in "ZX"


def find_job(vsub):
    """The processes of a job by role, those that are there, and the list of all. `vsub` is a pid."""
    table = processes()
    found = {"vsub": next((process for process in table if process.pid == vsub), None)}
    found["keeper"] = next(iter(children(vsub, table)), None)
    found["engine"] = next(iter(children(found["keeper"].pid, table)), None) if found["keeper"] else None
    for process in children(found["engine"].pid, table) if found["engine"] else ():
        role = "server" if process.name.startswith("virtiofsd") else "qemu" if process.name.startswith("qemu") else None
        if role:
            found[role] = process
    everyone = [process for process in table if process.pid == vsub or
                (found["keeper"] and process.session == found["keeper"].pid)]
    return {role: process for role, process in found.items() if process}, everyone


# What a machine holds


def mounts():
    with open("/proc/self/mountinfo") as file:
        return {line.rstrip("\n") for line in file}


def named_sockets():
    """Sockets with a name that somebody listens on: inode and name."""
    with open("/proc/net/unix") as file:
        lines = [line.split() for line in file.readlines()[1:]]
    return {(line[6], line[7]) for line in lines if len(line) > 7 and int(line[3], 16) & 0x10000}


def folders(pattern):
    """Folders by path and inode number: the next job's of the same name are others."""
    found = set()
    for path in glob.glob(pattern, recursive=True):
        try:
            found.add((path, os.stat(path).st_ino))
        except FileNotFoundError:
            continue
    return found


def leaves(run_root, uid="*"):
    """Those of the jobs whose run folders are there (src/keeper/leaf.h)."""
    try:
        place = os.stat(run_root)
    except FileNotFoundError:
        return set()
    return folders(f"/sys/fs/cgroup/**/vtorque-{uid}-*-{place.st_dev:x}.{place.st_ino:x}")


def litter(uid):
    """The user's files where programs leave some, named as ours and QEMU's name theirs; the tests' own begin with vtt."""
    found = set()
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/virtiofsd", "/run/user"):
        for entry in os.scandir(folder) if os.path.isdir(folder) else ():
            try:
                is_ours = entry.stat(follow_symlinks=False).st_uid == uid
            except FileNotFoundError:
                continue
            words = ("vtorque", "qemu", "virtiofs")
            if is_ours and any(word in entry.name for word in words):
                found.add(entry.path)
    return found


class Inventory:
    """All that a job could leave on a machine. Taken before it; `check` says what came to stay."""

    def __init__(self, site):
        self.site = site
        self.before = self.take()

    def take(self):
        uid = self.site.user.uid
        return {"mount": mounts(), "socket": named_sockets(), "leaf": leaves(self.site.run_root(), uid),
                "device": set(socket.if_nameindex()), "file": litter(uid), "run folder": folders(f"{self.site.run_root()}/*")}

    def check(self):
        """Waits until what is new is gone; what others make meanwhile, and remove, does not count, however long they run."""
        now = self.take()
        new = {kind: now[kind] - self.before[kind] for kind in now}

        def is_gone():
            now = self.take()
            return not any(new[kind] & now[kind] for kind in new)

        try:
            wait_for(is_gone, "", 2 * DEADLINE)
        except AssertionError:
            now = self.take()
            raise AssertionError(f"left behind: { {kind: names & now[kind] for kind, names in new.items()} }") from None


def is_stopped(process):
    now = read_process(process.pid)
    return not now or now.state in "TtZX"


def strike(process, number):
    """Sends a signal and waits until it has had its effect."""
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return
    if number == signal.SIGKILL:
        wait_for(lambda: not is_same(process), f"the death of {process}")
    elif number == signal.SIGSTOP:
        wait_for(lambda: is_stopped(process), f"the stop of {process}")

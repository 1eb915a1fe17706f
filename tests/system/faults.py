#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The table of faults: what breaks below a job, beside it or around it, and what its owner sees then. Speaks TAP.

Theory of operation. A row has a site of its own, breaks one thing, runs a job and checks four things: vsub's exit status, the one
line on its stderr (with what is quoted below it), the reason in the report, and that nothing is left: no process, run folder,
leaf, mount, socket or file. A job may run as if nothing were; but no fault may hang, nor let a job look right that is not.

The rows named `... fails` make each call of one kind fail, one after the other, in one program (inject.c). Their guest has no
kernel, so that a job that lives through its fault ends quickly, at QEMU, with QEMU's own words.

  faults.py [WORD...]                      only rows with one of these words in their function's name
  VTORQUE_VMS=N faults.py                  with N machines in each job
  faults.py --mounts MOUNT... -- PROGRAM   internal: runs PROGRAM in a mount namespace of its own; see enter_mounts()
"""

import contextlib
import ctypes
import errno
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

import lib
from lib import (BUILD, CTL_FAULT, DEADLINE, FAULT_PANIC, GUEST, MIB, Gate, Inventory, Running, Site, User, equal, find_job,
                 read_process, run_tests, strike, wait_for)

SELF = os.path.abspath(__file__)
TOOLS = f"{BUILD}/tests/system"
PATIENT = "boot_timeout=600"  # on a busy machine a guest takes its time; no row waits for this
WORDS = ("--local", "-vm", f"img=tiny,ram=128M,vcpus=1{lib.WITH_VMS},{PATIENT}")
SCRIPT = "echo right; exit 3\n"
RIGHT = (3, b"right\n")
FOREVER = "echo up\nwhile :; do sleep 1; done\n"
QUOTE = "  | "
SANITIZED = lib.is_sanitized()  # reserves terabytes of address space, and is slow
OF_A_MACHINE = ("qemu", "share", "disk", "boot-timeout", "guest-panic", "guest-plan", "guest-protocol")
ASIDES = ("vsub: note: ", "vsub: warning: ")
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18


# Mounts of a row's own


def call(function, *arguments):
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(arguments))


def map_own_ids(uid, gid):
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def enter_mounts(words):
    """MOUNT is SOURCE=TARGET, a bind; tmpfs:OPTIONS=TARGET; ro=TARGET, for what is a mount already; userns=0: there shall be no
    further user namespace. An ordinary user gets a user namespace for it, with their own ids, and no right is left when PROGRAM is
    executed."""
    libc = ctypes.CDLL(None, use_errno=True)
    mount = libc.mount
    mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
    at = words.index("--")
    uid, gid = os.getuid(), os.getgid()
    call(libc.unshare, CLONE_NEWNS | (CLONE_NEWUSER if uid else 0))
    if uid:
        map_own_ids(uid, gid)
    call(mount, None, b"/", None, MS_REC | MS_PRIVATE, None)
    for word in words[:at]:
        source, _, target = (part.encode() for part in word.rpartition("="))
        if source.startswith(b"tmpfs:"):
            call(mount, b"tmpfs", target, b"tmpfs", 0, b"uid=%d,gid=%d,%s" % (uid, gid, source[6:]))
        elif source == b"userns":
            with open("/proc/sys/user/max_user_namespaces", "w") as file:
                file.write(target.decode())
        elif source == b"ro":
            call(mount, None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY, None)
        else:
            call(mount, source, target, None, MS_BIND, None)
    os.execv(words[at + 1], words[at + 1:])


def mounted(*mounts):
    """Before a program: it runs among these."""
    return ("/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable, SELF, "--mounts", *mounts, "--")


# Rows


def owned_processes(site):
    """Those that execute a program of this site."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.readlink(f"/proc/{name}/exe").startswith(site.folder):
                found.append(read_process(name))
        except OSError:
            continue
    return [process for process in found if process and process.state not in "ZX"]


class Row:
    """A site of its own, a job in it, and the judgement."""

    def __init__(self, guest_folder=None, conf="", user=None):
        self.site = Site(f"KILL_GRACE=1\n{conf}", guest=guest_folder, user=user)
        self.report_path = f"{self.site.work}/report"
        self.inventory = None
        self.report = None

    def __enter__(self):
        self.inventory = Inventory(self.site)
        return self

    def __exit__(self, *_):
        self.site.__exit__()

    def words(self):
        return ("--report", self.report_path)

    def run(self, *words, script=SCRIPT, **options):
        """A job to its end."""
        return self.site.vsub(*WORDS, *self.words(), *words, input=script, timeout=10 * DEADLINE, **options)

    def begin(self, script, **options):
        """A job under way, whose streams are the row's to read: a Popen."""
        vsub = self.site.start(*WORDS, *self.words(), stdin=subprocess.PIPE, **options)
        vsub.stdin.write(script.encode())
        vsub.stdin.close()
        return vsub

    def start(self, script, *words, **options):
        """A job under way, whose streams are read."""
        return Running(self.site, script, "-vm", PATIENT, *self.words(), *words, **options)

    def take_report(self):
        if not os.path.exists(self.report_path):
            return None
        with open(self.report_path) as file:
            report = json.load(file)
        os.unlink(self.report_path)
        return report

    def check_left(self):
        wait_for(lambda: not owned_processes(self.site), f"the end of {owned_processes(self.site)}")
        self.inventory.check()

    def judge(self, result, status, reason=None, says="", quotes="", out=b""):
        """`says`: a part of the one line, or an expression; `quotes`: of what is quoted below. Without `reason` there is no
        report: nothing was started."""
        lines = result.err.decode(errors="replace").splitlines()
        said = [line for line in lines if not line.startswith((QUOTE, *ASIDES))]
        equal((result.status, result.out), (status, out), f"with stderr {result.err!r},")
        equal(len(said), 1 if says else 0, f"lines in {result.err!r}:")
        if says:
            assert said[0].startswith("vsub: ") and re.search(says, said[0]), f"{said[0]!r} does not say {says!r}"
        quoted = "\n".join(line for line in lines if line.startswith(QUOTE))
        assert quotes in quoted, f"{quoted!r} does not quote {quotes!r}"
        self.report = self.take_report()
        reasons = reason if isinstance(reason, tuple) else (reason,)
        assert (self.report and self.report["reason"]) in reasons, f"{self.report}: not of {reasons}"
        if self.report:
            equal(self.report["exit_status"], status)
            assert not says or re.search(says, self.report["message"]), self.report
            if self.report["reason"] in OF_A_MACHINE:
                lib.check_named(self.report["message"])
        self.check_left()

    def judge_right(self, result):
        """The job ran as if nothing were."""
        self.judge(result, RIGHT[0], "done", out=RIGHT[1])


def row(name, title, function):
    """A function as run_tests() wants it."""
    function.__name__, function.__doc__ = name, title
    return function


def rows_of(title, table, run):
    """One row for each entry of a table: what is broken, then the arguments of `run`."""
    return [row(f"{run.__name__}_{index}", f"{title}{what}", lambda arguments=arguments: run(*arguments))
            for index, (what, *arguments) in enumerate(table)]


# The guest's kernel and initramfs


def read_file(path, size=-1):
    with open(path, "rb") as file:
        return file.read(size)


def archive(*files):
    """(name, data, mode)... as a cpio archive of its own, or to be unpacked over another (newc)."""
    def entry(name, data, mode):
        fields = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return b"".join(entry(*file) for file in (*files, (b"TRAILER!!!", b"", 0)))


def kernel_name():
    return "vmlinux" if os.path.exists(f"{GUEST}/vmlinux") else "vmlinuz"


def change_initramfs(init):
    """The tiny guest with another first process."""
    tiny = read_file(f"{GUEST}/initramfs-tiny")
    return tiny + bytes(-len(tiny) % 4) + archive((b"init", init, 0o100755))


class GuestFolder(tempfile.TemporaryDirectory):
    """GUEST_KERNEL with the given bytes as kernel and initramfs; None: without; otherwise the real ones."""

    def __init__(self, kernel=True, initramfs=True):
        super().__init__(prefix="vtt-guest-")
        os.chmod(self.name, 0o755)
        for name, data in ((kernel_name(), kernel), ("initramfs-tiny", initramfs)):
            if data is True:
                os.symlink(os.path.realpath(f"{GUEST}/{name}"), f"{self.name}/{name}")
            elif data is not None:
                with open(f"{self.name}/{name}", "wb") as file:
                    file.write(data)


def boot(kernel, initramfs, words, *judgement):
    """A job whose guest has such a kernel and initramfs; functions of no argument make them."""
    make = [data() if callable(data) else data for data in (kernel, initramfs)]
    with GuestFolder(*make) as folder, Row(folder) as this:
        this.judge(this.run(*words), *judgement)


def init_that_says(*hello):
    """A first process that opens the agent's port, and says something else."""
    octal = "".join(f"\\{byte:03o}" for byte in b"".join(hello))
    return f"""#!/bin/sh
export PATH=/bin:/sbin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
until [ -e /dev/vport*p1 ]; do sleep 0.1; done
printf '{octal}' > $(echo /dev/vport*p1)
exec sleep 100000
""".encode()


def frame(kind, payload):
    return len(payload).to_bytes(4, "little") + bytes((kind, 0, 0, 0)) + payload


HELLO_99 = frame(1, b"vtWx" + (99).to_bytes(2, "little") * 2 + b"\3\0old")
HELLO_OTHER = frame(1, b"else" + (1).to_bytes(2, "little") * 2 + b"\3\0old")

BOOTS = (
    ("no kernel", None, True, (), 125, None, "no guest kernel in '.*': run 'make run' or set GUEST_KERNEL"),
    ("no initramfs", True, None, (), 125, None, "no guest kernel in '.*': run 'make run' or set GUEST_KERNEL"),
    ("an empty kernel", b"", True, (), 125, "qemu", r"QEMU died \(status 1\)", "could not load kernel"),
    ("a kernel of other bytes", lambda: os.urandom(MIB), True, (), 125, "qemu", r"QEMU died \(status 1\)", ""),
    ("a truncated kernel", lambda: read_file(f"{GUEST}/{kernel_name()}", 3 * MIB), True, ("-vm", "boot_timeout=20"), 125,
     "qemu", r"QEMU died", ""),
    ("an initramfs of other bytes", True, lambda: os.urandom(MIB), (), 125, "guest-panic", "kernel panicked: VFS: Unable to mount root"),
    ("an empty initramfs", True, b"", (), 125, "guest-panic", "kernel panicked: VFS: Unable to mount root"),
    ("a truncated initramfs", True, lambda: read_file(f"{GUEST}/initramfs-tiny", 60000), (), 125, "guest-panic", "kernel panicked"),
    ("init missing", True, lambda: archive((b"dev", b"", 0o40755)), (), 125, "guest-panic", "kernel panicked"),
    ("init that ends at once (an early panic)", True, lambda: change_initramfs(b"#!/bin/sh\nexit 7\n"), (), 125, "guest-panic",
     "Attempted to kill init! exitcode=0x00000700"),
    # The kernel then starts the first shell that it finds.
    ("init that cannot be executed", True, lambda: change_initramfs(b"#!/no/such/shell\n"), ("-vm", "boot_timeout=8"), 125,
     "boot-timeout", "was not ready after 8 s"),
    ("an agent that says nothing", True, lambda: change_initramfs(init_that_says()), ("-vm", "boot_timeout=8"), 125, "boot-timeout",
     r"the guest was not ready after 8 s \(boot_timeout\)"),
    ("another program for an agent", True, lambda: change_initramfs(init_that_says(b"SSH-2.0-OpenSSH_9.2p1\r\n")), (), 125,
     "guest-protocol", "the guest's agent"),
    ("an agent of another kind", True, lambda: change_initramfs(init_that_says(HELLO_OTHER)), (), 125, "guest-protocol",
     "the guest's agent did not introduce itself"),
    ("an agent of another version", True, lambda: change_initramfs(init_that_says(HELLO_99)), (), 125, "guest-protocol",
     "speaks versions 99 to 99 of the protocol, this vTorque 1 to 1: rebuild the guest"),
)


def kernel_vanishes():
    """the kernel is removed after vsub has looked at it"""
    with GuestFolder() as folder, Row(folder) as this, Gate() as gate:
        vsub = this.begin(SCRIPT, **gate.options())
        gate.wait("born")
        os.unlink(f"{folder}/{kernel_name()}")
        gate.open()
        result = lib.Result(vsub.wait(DEADLINE), vsub.stdout.read(), vsub.stderr.read())
        this.judge(result, 125, "host", "cannot use '.*vmlinu.*': No such file or directory")


def panics_late():
    """the guest's kernel panics under the script"""
    with Row() as this, this.start(FOREVER) as job:
        job.wait_text(b"up\n")
        with this.site.control(job.job()["slot"], CTL_FAULT, FAULT_PANIC):
            this.judge(job.finish(), 125, "guest-panic", "the guest's kernel panicked: sysrq", out=b"up\n")


def guest_without_memory():
    """the guest has no memory left: the script's process dies of it, the job ends in order"""
    with Row() as this:
        result = this.run("-vm", "ram=96M", script="tail /dev/zero\necho $?\nexit 3\n")
        equal(result.out, b"137\n")
        # The shell of the script says "Killed", as on bare metal.
        this.judge(result._replace(err=b""), 3, "done", out=b"137\n")


# Says why it could not go on.
FILL = "cat /dev/zero > PLACE/full 2>why; grep -o 'No space left on device' why; rm PLACE/full; exit 3\n"
FILLED = b"No space left on device\n"


def guest_disk_full():
    """the guest's /tmp is full: the script gets ENOSPC, the job ends in order"""
    with Row() as this:
        this.judge(this.run("-vm", "ram=256M", script=FILL.replace("PLACE", "/tmp")), 3, "done", out=FILLED)


# QEMU and the file server


QEMU, SERVER = "/usr/bin/qemu-system-x86_64", "/usr/lib/qemu/virtiofsd"


class Stub:
    """A program in another's place (stub.c)."""

    def __init__(self, mode):
        handle, self.path = tempfile.mkstemp(prefix="vtt-stub-")
        program = read_file(f"{TOOLS}/stub")
        old = b"STUB:MODE............"
        assert program.count(old) == 1
        with open(handle, "wb") as file:
            file.write(program.replace(old, b"STUB:" + mode.encode().ljust(len(old) - 5, b"\0")))
        os.chmod(self.path, 0o755)

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        os.unlink(self.path)


def stand_in(mode, place, words, *judgement):
    """A job with such a program in QEMU's or the file server's place."""
    with Stub(mode) as stub, Row() as this:
        if mode == "plain":
            os.chmod(stub, 0o644)
        this.judge(this.run(*words, through=mounted(f"{stub}={place}")), *judgement)


def missing(folder, *judgement):
    """A job with nothing in the folder of QEMU or the file server."""
    with tempfile.TemporaryDirectory(prefix="vtt-empty-") as empty, Row() as this:
        os.chmod(empty, 0o755)
        this.judge(this.run(through=mounted(f"{empty}={folder}")), *judgement)


SHORT = ("-vm", "boot_timeout=4")
STAND_INS = (
    ("QEMU of another version", "old", QEMU, (), 125, "qemu", r"QEMU died \(status 1\)", "unrecognized option '-nodefaults'"),
    ("QEMU crashes at once", "crash", QEMU, (), 125, "qemu", r"QEMU died \(signal 6\)"),
    ("QEMU ends at once, content", "leave", QEMU, (), 125, "qemu", r"QEMU died \(status 0\)"),
    ("QEMU says nothing", "mute", QEMU, SHORT, 125, "boot-timeout", "was not ready after 4 s"),
    ("QEMU's monitor talks nonsense", "noise", QEMU, (), 125, "qemu", "monitor"),
    ("QEMU may not be executed", "plain", QEMU, (), 125, "qemu", "QEMU died", "cannot execute /usr/bin/qemu-system-x86_64: Permission denied"),
    ("the file server of another version", "old", SERVER, (), 125, "share", r"the file server of the guest died \(status 1\)",
     "unrecognized option '--fd=3'"),
    ("the file server crashes at once", "crash", SERVER, (), 125, "share", r"the file server of the guest died \(signal 6\)"),
    ("the file server ends at once, content", "leave", SERVER, (), 125, "qemu", r"QEMU died \(status 1\)", "qemu: "),
    ("the file server says nothing", "mute", SERVER, SHORT, 125, "boot-timeout", "was not ready after 4 s"),
    ("the file server may not be executed", "plain", SERVER, (), 125, "host",
     "cannot start the file server: cannot execute '/usr/lib/qemu/virtiofsd': Permission denied"),
)
MISSING = (
    ("QEMU is missing", "/usr/bin", 125, "host", "cannot open '/usr/bin/qemu-system-x86_64': No such file or directory"),
    ("the file server is missing", "/usr/lib/qemu", 125, None, "VIRTIOFSD 'qemu' is not installed: there is no '/usr/lib/qemu/virtiofsd'"),
)


def server_dies():
    """the file server dies under a script that writes"""
    with Row() as this, this.start("echo up\nwhile :; do head -c 1000000 /dev/zero > file; done\n") as job:
        job.wait_text(b"up\n")
        strike(find_job(job.vsub.pid)[0]["server"], signal.SIGKILL)
        this.judge(job.finish(), 125, "share", r"the file server of the guest died \(signal 9\)", out=b"up\n")


# Guests with a disk


DISK_MIB = 96
SCRATCH_MIB = 66  # a little over what a scratch disk is refused below


def initramfs_files():
    """(name, mode, data) of all that is in the tiny guest's initramfs."""
    data, at = read_file(f"{GUEST}/initramfs-tiny"), 0
    while data[at:at + 6] == b"070701":
        fields = [int(data[at + 6 + 8 * index:at + 14 + 8 * index], 16) for index in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = data[at + 110:at + 110 + length - 1].decode()
        start = at + (110 + length + 3 & ~3)
        yield name, mode, data[start:start + size]
        at = start + (size + 3 & ~3)


def make_disk(path):
    """A file system with the tiny guest's programs."""
    with tempfile.TemporaryDirectory(prefix="vtt-tree-") as tree:
        for name in ("proc", "sys", "dev", "run", "tmp", "var/tmp", "etc", "home", "root"):
            os.makedirs(f"{tree}/{name}", exist_ok=True)
        os.chmod(f"{tree}/var/tmp", 0o1777)
        for name, mode, data in initramfs_files():
            target = f"{tree}/{name}"
            if name == "." or name.split("/")[0] not in ("bin", "sbin", "usr"):
                continue
            if stat.S_ISDIR(mode):
                os.makedirs(target, exist_ok=True)
            elif stat.S_ISLNK(mode):
                os.symlink(data.decode(), target)
            elif stat.S_ISREG(mode):
                with open(target, "wb") as file:
                    file.write(data)
                os.chmod(target, mode & 0o777)
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-m", "0", "-O", "^has_journal", "-d", tree, path, f"{DISK_MIB}M"],
                       check=True, stdout=subprocess.DEVNULL)


class Pool(tempfile.TemporaryDirectory):
    """A pool with one image, `small`, after `spoil` has had its file."""

    def __init__(self, spoil=lambda path: None):
        super().__init__(prefix="vtt-pool-", dir="/var/tmp")
        os.chmod(self.name, 0o755)
        digest = "sha256-" + "5" * 64
        path = f"{self.name}/{digest}"
        make_disk(path)
        spoil(path)
        record = {"version": 1, "name": "small", "family": "debian", "arch": "x86_64", "format": "raw", "root": "/dev/vda",
                  "filesystem": "ext4", "init": ["agent"], "description": "", "digest": digest, "size": DISK_MIB * MIB}
        with open(f"{self.name}/small.json", "w") as file:
            json.dump(record, file)
        for name in os.listdir(self.name):
            os.chmod(f"{self.name}/{name}", 0o444)


def truncate_half(path):
    os.truncate(path, DISK_MIB * MIB // 2)


def fill_with_zeros(path):
    os.truncate(path, 0)
    os.truncate(path, DISK_MIB * MIB)


def break_file_system(path):
    """The superblock is right, what it leads to is not."""
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(2 * MIB))


def with_disk(spoil, script, words, *judgement):
    with Pool(spoil) as pool, Row(conf=f"VM_IMG_DIR={pool}") as this:
        this.judge(this.run("-S", "/bin/sh", "-vm", "img=small,ram=256M", *words, script=script), *judgement)


DISKS = (
    ("a small image runs", lambda path: None, SCRIPT, (), 3, "done", "", "", RIGHT[1]),
    ("the image's file is missing", os.unlink, SCRIPT, (), 125, None, "cannot use image 'small' of pool .*: file 'sha256-5+' is not there"),
    ("the image is truncated", truncate_half, SCRIPT, (), 125, None, "cannot use image 'small' of pool"),
    ("the image is empty of any file system", fill_with_zeros, SCRIPT, (), 125, "guest-plan", "the guest could not be prepared: step .*: Invalid"),
    ("the root file system is broken", break_file_system, SCRIPT, (), 125, "guest-plan", "the guest could not be prepared: step"),
    ("the disk is full in the guest: the script gets ENOSPC", lambda path: None, FILL.replace("PLACE", "/var/tmp"), (), 3, "done",
     "", "", FILLED),
)


def scratch(size_mib, *judgement):
    """A job whose scratch disk lies on a file system of that size, and would take more."""
    with Pool() as pool, Row(conf=f"VM_IMG_DIR={pool}") as this:
        place = this.site.make_folder("scratch")
        with open(f"{this.site.folder}/etc/vtorque.conf", "a") as file:
            file.write(f"WS_DIR={place}\n")
        result = this.run("-S", "/bin/sh", "-vm", "img=small,ram=256M,fs_type=sharedfs", script="cat /dev/zero > /var/tmp/full; sync\n",
                          through=mounted(f"tmpfs:size={size_mib}m={place}"))
        this.judge(result, *judgement)


SCRATCHES = (
    ("no room for a scratch disk on the host", 4, 125, "host", "cannot make a guest's disk in '.*': its file system has 4 MiB left"),
    ("the scratch disk's file system gets full", SCRATCH_MIB, 125, "disk", "no space is left in '.*' for what the guest writes to its disk"),
)


# Limits and room on the host


def limited(limits, *judgement):
    with Row() as this:
        result = this.run(through=("prlimit", *limits))
        if judgement:
            this.judge(result, *judgement)
        else:
            this.judge_right(result)


LIMITS = (
    ("64 open files (soft)", ("--nofile=64:",)),
    ("64 open files (hard)", ("--nofile=64:64",), 125, None, r"the hard limit of open files \(ulimit -Hn\) must be at least 256"),
    ("files of 64 KiB (soft)", ("--fsize=65536:",)),
    ("files of 64 KiB (hard)", ("--fsize=65536:65536",), 125, None,
     r"the hard limit of file sizes \(ulimit -Hf\) must be at least .* MiB"),
    ("2 s of processor time (hard)", ("--cpu=2:2",), 125, "qemu", r"QEMU died \(signal (9|24)\)"),
    ("nothing may be locked in memory", ("--memlock=0:0",)),
)
LIMITS_OF_SPACE = (
    ("200 MiB of address space (soft)", ("--as=209715200:",)),
    ("200 MiB of address space (hard)", ("--as=209715200:209715200",), 125, None,
     r"the hard limit of address space \(ulimit -Hv\) must be at least .* MiB"),
)


def run_folder(mounts, *judgement):
    """A job whose run folder is on such a mount. Root's has a fixed place."""
    with Row() as this:
        place = this.site.runtime
        if os.getuid() == 0:
            place = "/run/vtorque"
            os.makedirs(place, exist_ok=True)
        this.judge(this.run(through=mounted(*(f"{mount}={place}" for mount in mounts))), *judgement)


RUN_FOLDERS = (
    ("no space in the run folder", ("tmpfs:size=4k",), 125, "host", "cannot write the run folder: No space left on device"),
    ("no inodes in the run folder", ("tmpfs:nr_inodes=3",), 125, "host", "cannot take a slot in '.*': No space left on device"),
    ("the run folder is read-only", ("tmpfs:size=1m", "ro"), 125, "host", "Read-only file system"),
)


def output_full():
    """stdout is a full disk: what is lost is no success"""
    with Row() as this, open("/dev/full", "wb") as full:
        result = this.run(stdout=full)
        this.judge(result._replace(out=b""), 125, "host", "cannot write stdout: No space left on device")
        equal(this.report["script"], {"status": 3})


def output_limited():
    """-o over the limit of file sizes: what is lost is no success"""
    with Row() as this:
        result = this.run("-o", "out", script="head -c 100000 /dev/zero; exit 0\n", through=("prlimit", "--fsize=65536:"))
        this.judge(result, 125, "host", "cannot write stdout: File too large")


def report_full():
    """no space for the report"""
    with Row() as this:
        folder = this.site.make_folder("full")
        filler = f"head -c 4096 /dev/zero > {folder}/filler; exec \"$0\" \"$@\""
        result = this.run("--report", f"{folder}/report", through=(*mounted(f"tmpfs:size=4k={folder}"), "/bin/sh", "-c", filler))
        this.judge(result, 125, None, "cannot write the report: .*No space left on device", out=RIGHT[1])


# Streams


def reader_waits():
    """a reader that takes nothing: the script waits, the engine does not grow, and nothing is lost"""
    pieces, size = 400, 65536
    script = f"i=0; while [ $i -lt {pieces} ]; do head -c {size} /dev/zero; i=$((i+1)); echo $i > progress; done; exit 3\n"
    with Row() as this:
        path = f"{this.site.work}/progress"
        vsub = this.begin(script)
        wait_for(lambda: os.path.exists(path) and os.path.getsize(path) > 0, "the script's first piece", 10 * DEADLINE)
        engine = find_job(vsub.pid)[0]["engine"]
        before = memory_of(engine)
        progress = wait_until_still(lambda: read_file(path))
        assert int(progress) < 2 * MIB // size, f"the script wrote {progress} pieces that nobody read"
        assert memory_of(engine) - before < 4 * MIB, f"the engine grew from {before} to {memory_of(engine)} bytes"
        taken = 0
        while data := os.read(vsub.stdout.fileno(), MIB):
            taken += len(data)
        equal(taken, pieces * size)
        this.judge(lib.Result(vsub.wait(DEADLINE), b"", vsub.stderr.read()), 3, "done")


def memory_of(process):
    with open(f"/proc/{process.pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def wait_until_still(look, seconds=3):
    """What `look` gives once it has been the same for a while."""
    value, since = look(), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.1)
        if look() != value:
            value, since = look(), time.monotonic()
    return value


def reader_waits_after_end():
    """a reader that takes nothing after the script's end: the guest and the engine go, vsub keeps what is not read"""
    with Row() as this:
        vsub = this.begin("head -c 400000 /dev/zero; exit 3\n")
        wait_for(lambda: find_job(vsub.pid)[0].get("keeper"), "the keeper")
        keeper = find_job(vsub.pid)[0]["keeper"]
        # It ended long before the engine's patience is over, which is 60 s.
        wait_for(lambda: not lib.is_same(keeper), "the keeper's end", 10 * DEADLINE)
        equal(vsub.poll(), None)
        out = vsub.stdout.read()
        equal(len(out), 400000)
        this.judge(lib.Result(vsub.wait(DEADLINE), b"", vsub.stderr.read()), 3, "done")


def vsub_stopped_at_end():
    """vsub is stopped and takes nothing for more than 60 s after the script's end: all goes, and vsub says so"""
    script = "echo up\nwhile ! [ -e go ]; do sleep 0.2; done\nhead -c 400000 /dev/zero\n: > written\nexit 3\n"
    with Row() as this, this.start(script) as job:
        job.wait_text(b"up\n")
        keeper = find_job(job.vsub.pid)[0]["keeper"]
        os.kill(job.vsub.pid, signal.SIGSTOP)
        open(f"{this.site.work}/go", "w").close()
        wait_for(lambda: os.path.exists(f"{this.site.work}/written"), "the script's end")
        written = time.monotonic()
        wait_for(lambda: not lib.is_same(keeper) or read_process(keeper.pid).state == "Z", "the keeper's end", 3 * DEADLINE)
        assert time.monotonic() - written > 50, "the engine had no patience"
        os.kill(job.vsub.pid, signal.SIGCONT)
        result = job.finish()
        assert len(result.out) < 400000
        this.judge(result._replace(out=b""), 125, "ended", "took nothing of the job's output for too long after the script's end")


def reader_leaves():
    """vsub | head -1: SIGPIPE ends the script, as on bare metal"""
    with Row() as this:
        vsub = this.begin("exec yes\n")
        head = subprocess.run(["head", "-1"], stdin=vsub.stdout, stdout=subprocess.PIPE)
        vsub.stdout.close()
        equal(head.stdout, b"y\n")
        this.judge(lib.Result(vsub.wait(DEADLINE), b"", vsub.stderr.read()), 128 + signal.SIGPIPE, "done")


def reader_leaves_a_script_that_cares():
    """vsub | head -1: a script that ignores SIGPIPE gets EPIPE, and ends as it likes"""
    with Row() as this:
        vsub = this.begin("trap '' PIPE\nwhile echo y 2>/dev/null; do :; done\nexit 9\n")
        subprocess.run(["head", "-1"], stdin=vsub.stdout, stdout=subprocess.DEVNULL)
        vsub.stdout.close()
        this.judge(lib.Result(vsub.wait(DEADLINE), b"", vsub.stderr.read()), 9, "done")


# Time and signals


def everyone(vsub):
    """The processes of a job from the outermost inwards."""
    roles = find_job(vsub.pid)[0]
    return [roles[role] for role in ("vsub", "keeper", "engine", "qemu", "server")]


def sleep_of_the_host(vsub, seconds):
    all_of_it = everyone(vsub)
    for process in all_of_it:
        strike(process, signal.SIGSTOP)
    time.sleep(seconds)
    for process in reversed(all_of_it):
        os.kill(process.pid, signal.SIGCONT)


def host_sleeps():
    """the host sleeps (STOP to all): the job goes on"""
    with Row() as this, this.start("echo up\nread line\necho $line\nexit 3\n", stdin=subprocess.PIPE) as job:
        job.wait_text(b"up\n")
        sleep_of_the_host(job.vsub, 3)
        job.vsub.stdin.write(b"again\n")
        job.vsub.stdin.close()
        this.judge(job.finish(), 3, "done", out=b"up\nagain\n")


def host_sleeps_over_walltime():
    """the host sleeps over the walltime's end: the job ends by it on waking"""
    with Row() as this, this.start(FOREVER, "-l", "walltime=4") as job:
        job.wait_text(b"up\n")
        sleep_of_the_host(job.vsub, 6)
        this.judge(job.finish(), 143, "walltime", "the walltime is over", out=b"up\n")


STORM = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGWINCH, signal.SIGALRM, signal.SIGPIPE)


def send_many(process, signals):
    """2,000 signals, until it is dead."""
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(process.pid)
        try:
            for index in range(2000):
                signal.pidfd_send_signal(pidfd, signals[index % len(signals)])
        finally:
            os.close(pidfd)


def storm(role, signals):
    """2,000 signals to one process of a job. The script's shell has words of its own for what is killed below it."""
    script = "exec 2>/dev/null\ntrap : USR1 USR2 HUP TERM\necho up\nuntil [ -e go ]; do sleep 0.2; done\necho calm\nexit 3\n"
    with Row() as this, this.start(script) as job:
        job.wait_text(b"up\n")
        send_many(find_job(job.vsub.pid)[0][role], signals)
        open(f"{this.site.work}/go", "w").close()
        this.judge(job.finish(5 * DEADLINE), 3, "done", out=b"up\ncalm\n")


STORMS = (
    ("vsub", "vsub", (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM)),
    ("keeper", "keeper", tuple(set(STORM) - {signal.SIGTERM})),
    ("engine", "engine", STORM),
    ("QEMU", "qemu", (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM, signal.SIGINT)),
    ("file server", "server", (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE)),
)


def storm_ends_keeper():
    """2,000 TERM to the keeper: the job ends, nothing is left"""
    with Row() as this, this.start(FOREVER) as job:
        job.wait_text(b"up\n")
        send_many(find_job(job.vsub.pid)[0]["keeper"], (signal.SIGTERM,))
        this.judge(job.finish(), 125, "internal", "the job's engine was killed", out=b"up\n")


# System calls that fail


# Role, call, errno, what is said, and how many of them a job lives through (None: it depends on the machine). Of openat, what
# the dynamic loader opens does not count.
CALLS = (
    ("vsub", "memfd_create", "EMFILE", "cannot make memory file", 0),
    ("vsub", "socketpair", "EMFILE", "cannot make the run connection", 0),
    ("vsub", "vfork", "EAGAIN", "cannot fork the keeper", 0),
    ("vsub", "pidfd_open", "EMFILE", "cannot watch the keeper", 0),
    ("vsub", "signalfd4", "EMFILE", "cannot watch for signals", 0),
    ("vsub-child", "fcntl", "EMFILE", "cannot place the keeper's descriptors", 0),
    ("vsub-child", "dup2", "EBUSY", "cannot place the keeper's descriptors", 0),
    ("vsub-child", "execveat", "ENOMEM", "cannot execute the keeper", 0),
    ("vtorque-keeper", "openat", "EMFILE", "cannot (start the keeper|use the folder|take a slot|write the run folder|map ids)", None),
    ("vtorque-keeper", "open", "EMFILE", "cannot (start the keeper|use the folder|take a slot|write the run folder|map ids)", None),
    ("vtorque-keeper", "mkdirat", "ENOSPC", "cannot take a slot", 0),
    # Its C library asks once more for close-on-exec, and does not care.
    ("vtorque-keeper", "fcntl", "ENOLCK", "cannot (start the keeper|take a slot|use the run folder)", None),
    ("vtorque-keeper", "dup2", "EMFILE", "cannot start the keeper", 0),
    ("vtorque-keeper", "close_range", "ENOSYS", "cannot start the keeper", 0),
    ("vtorque-keeper", "write", "ENOSPC", "cannot (write the run folder|release the job's engine|map ids)", None),
    ("vtorque-keeper", "renameat", "ENOSPC", "cannot write the run folder", 0),
    ("vtorque-keeper", "socketpair", "EMFILE", "cannot make the engine's pipes", 0),
    ("vtorque-keeper", "pipe2", "EMFILE", "cannot make the engine's pipes", 0),
    ("vtorque-keeper", "clone3", "EAGAIN", "cannot make (namespaces|a user namespace)", None),
    ("vtorque-keeper-child", "write", "EIO", "cannot (answer the keeper|move the job into its cgroup)", None),
    ("vtorque-keeper-child", "read", "EIO", "cannot wait for the keeper", 0),
    ("vtorque-keeper-child", "dup2", "EMFILE", "cannot place the engine's descriptors", 0),
    ("vtorque-keeper-child", "execveat", "ENOMEM", "cannot execute the engine", 0),
    ("vtorque-engine", "openat", "EMFILE", "cannot (open|make|write|use|look at) '|cannot make the tap device", None),
    ("vtorque-engine", "mount", "EPERM", "cannot (detach the mounts|mount|bind|make mount)", 1),
    ("vtorque-engine", "mkdir", "ENOSPC", "cannot (make|copy link) '", None),
    ("vtorque-engine", "unshare", "ENOSPC", "cannot make the job's network namespace", 0),
    ("vtorque-engine", "socket", "EMFILE", "cannot make the (control|file server's) socket|cannot make the bridge", 0),
    ("vtorque-engine", "bind", "EADDRINUSE", "cannot make the (control|file server's) socket", 0),
    ("vtorque-engine", "listen", "EADDRINUSE", "cannot make the (control|file server's) socket", 0),
    ("vtorque-engine", "connect", "ECONNREFUSED", "cannot make the file server's socket", 0),
    ("vtorque-engine", "pipe2", "EMFILE", "cannot make the (file server's pipes|pipe of QEMU's log)", 0),
    ("vtorque-engine", "socketpair", "EMFILE", "cannot make (the file server's pipes|QEMU's socket pairs)", 0),
    ("vtorque-engine", "clone", "EAGAIN", "cannot fork the file server", 0),
    ("vtorque-engine", "vfork", "EAGAIN", "cannot fork QEMU", 0),
    ("vtorque-engine", "pivot_root", "EINVAL", "cannot change the root", 0),
    ("vtorque-engine", "umount2", "EBUSY", "cannot detach the old root", 0),
    ("vtorque-engine", "capset", "EPERM", "cannot give up capabilities", 0),
    ("vtorque-engine", "seccomp", "EINVAL", "cannot load the system call filter", None),
    ("vtorque-engine", "signalfd4", "EMFILE", "cannot watch the job's processes", 0),
    ("vtorque-engine-child", "unshare", "ENOSPC", "cannot start the file server: cannot make the file server's mounts", 0),
    ("vtorque-engine-child", "mount", "EPERM", "cannot start the file server: cannot (make|mount|share|keep)", 0),
    ("vtorque-engine-child", "openat", "EMFILE", "cannot start the file server: cannot (share|place|read)", 0),
    ("vtorque-engine-child", "mkdir", "ENOSPC", "cannot start the file server: cannot make", 0),
    ("vtorque-engine-child", "capset", "EPERM", "cannot start the file server: cannot set the file server's capabilities", 0),
    ("vtorque-engine-child", "dup2", "EBUSY", r"cannot place the file server's descriptors|QEMU died \(status 125\)", 0),
    ("vtorque-engine-child", "execve", "ENOMEM", r"cannot execute '/usr/lib/qemu/virtiofsd'|QEMU died \(status 125\)", 0),
)
# Only root has these to give up.
CALLS_OF_ROOT = (
    # Once after a look with the owner's groups, and for good at the drop, which counts.
    ("vtorque-engine", "setgroups", "EPERM", "cannot take ids", 1),
    ("vtorque-engine", "setresgid", "EPERM", "cannot take ids", 0),
    ("vtorque-engine", "setresuid", "EAGAIN", "cannot take ids", 0),
)
CALLS_MAX = 200
ALIVE = b"could not load kernel"


def fail_call(this, role, name, number, error, *words):
    """A job with such a failure; and whether there was one."""
    log = f"{this.site.work}/log"
    tool = (f"{TOOLS}/inject", role, name, str(number), str(getattr(errno, error)), log)
    return this.run(*words, through=tool), os.path.exists(log)


def sweep(role, name, error, says, most):
    """Makes one call after the other fail, until there is none left."""
    hits = lived = 0
    with GuestFolder(kernel=b"") as folder, Row(folder) as this:
        for number in range(1, CALLS_MAX):
            result, is_hit = fail_call(this, role, name, number, error)
            is_alive = ALIVE in result.err
            try:
                this.judge(result, 125, ("host", "qemu", None), "QEMU died" if is_alive else says)
            except AssertionError as problem:
                raise AssertionError(f"call {number}: {problem}") from None
            if not is_hit:
                break
            os.unlink(f"{this.site.work}/log")
            hits += 1
            lived += is_alive
    assert is_alive, f"without a failure: {result}"
    assert hits > 0, f"{role} makes no call of {name}"
    # Of several machines another one may be the first to die.
    assert most is None or lib.VMS != "1" or lived <= most, f"{lived} of {hits} failures were lived through, not {most}"


def lives_through():
    """/proc cannot be mounted (as in a container): the job runs right"""
    with Row() as this:
        result, is_hit = fail_call(this, "vtorque-engine", "mount", 2, "EPERM")
        assert is_hit
        this.judge_right(result)


def rows_of_calls():
    if SANITIZED:
        return ()  # what looks for leaks refuses to be traced
    calls = CALLS if os.getuid() else CALLS + CALLS_OF_ROOT
    table = [(f"{name} of {role} fails ({error})", role, name, error, *rest) for role, name, error, *rest in calls]
    return (*rows_of("", table, sweep), lives_through)


LONG = (vsub_stopped_at_end,)  # first, so that others run beside it
TABLE = (*LONG, *rows_of("guest: ", BOOTS, boot), kernel_vanishes, panics_late, guest_without_memory, guest_disk_full,
         *rows_of("", STAND_INS, stand_in), *rows_of("", MISSING, missing), server_dies, *rows_of("disk: ", DISKS, with_disk),
         *rows_of("disk: ", SCRATCHES, scratch),
         *rows_of("limits: ", LIMITS if SANITIZED else LIMITS + LIMITS_OF_SPACE, limited), *rows_of("", RUN_FOLDERS, run_folder), output_full, output_limited, report_full,
         reader_waits, reader_waits_after_end, reader_leaves, reader_leaves_a_script_that_cares, host_sleeps, host_sleeps_over_walltime,
         *rows_of("2,000 signals while the script runs: ", STORMS, storm), storm_ends_keeper, *rows_of_calls())

if __name__ == "__main__":
    if sys.argv[1:2] == ["--mounts"]:
        enter_mounts(sys.argv[2:])
    run_tests(TABLE)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an attacker on the host tries against a process or a path, as whoever runs this.

Reads a list of [ACT, TARGET] as JSON, writes what came of each: "done" or the name of an errno. Uses nothing of the project:
it runs as users who may not enter the checkout.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE, PTRACE_ATTACH = 0x4206, 16
SYS = {"process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "pidfd_open": 434, "pidfd_getfd": 438, "setns": 308,
       "get_robust_list": 274, "process_madvise": 440}
NAMESPACES = {"cgroup": 0x02000000, "ipc": 0x08000000, "mnt": 0x00020000, "net": 0x40000000, "pid": 0x20000000,
              "user": 0x10000000, "uts": 0x04000000}


def check(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def call(name, *words):
    return check(LIBC.syscall(SYS[name], *(ctypes.c_long(word) if isinstance(word, int) else word for word in words)))


def ptrace(pid):
    check(LIBC.ptrace(PTRACE_SEIZE, pid, None, None))


def memory(name):
    def act(pid):
        buffer = ctypes.create_string_buffer(8)
        vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
        call(name, pid, vector, 1, vector, 1, 0)
    return act


def take_descriptor(pid):
    for number in range(16):
        try:
            return call("pidfd_getfd", call("pidfd_open", pid, 0), number, 0)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
    raise OSError(errno.EBADF, "none")


def enter(name):
    return lambda pid: call("setns", call("pidfd_open", pid, 0), NAMESPACES[name])


def enter_by_path(name):
    return lambda pid: call("setns", os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), 0)


def opened(name, flags=os.O_RDONLY):
    return lambda pid: os.close(os.open(f"/proc/{pid}/{name}", flags))


def read(name):
    def act(pid):
        with open(f"/proc/{pid}/{name}", "rb") as file:
            file.read(1)
    return act


def listed(name):
    return lambda pid: os.listdir(f"/proc/{pid}/{name}")


def prlimit(kind):
    return lambda pid: resource.prlimit(pid, kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def connect(path):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path.replace("@", "\0", 1) if path.startswith("@") else path)


def lock(path):
    descriptor = os.open(path, os.O_RDWR)
    os.lockf(descriptor, os.F_TLOCK, 0)


def replace(path):
    os.unlink(path)
    os.symlink("/etc/passwd", path)


def put_beside(path):
    os.symlink("/etc/passwd", f"{os.path.dirname(path)}/.job")


ACTS = {
    "ptrace": ptrace,
    "process_vm_readv": memory("process_vm_readv"),
    "process_vm_writev": memory("process_vm_writev"),
    "pidfd_getfd": take_descriptor,
    "kcmp": lambda pid: call("kcmp", pid, os.getpid(), 0, 0, 0),
    "get_robust_list": lambda pid: call("get_robust_list", pid, (ctypes.c_void_p * 1)(), (ctypes.c_size_t * 1)()),
    **{f"setns {name}": enter(name) for name in NAMESPACES},
    **{f"open ns/{name}": enter_by_path(name) for name in NAMESPACES},
    "read mem": opened("mem"),
    "write mem": opened("mem", os.O_RDWR),
    **{f"read {name}": read(name) for name in ("environ", "maps", "smaps", "auxv", "pagemap", "syscall", "stack", "fd/3")},
    "write oom_score_adj": opened("oom_score_adj", os.O_WRONLY),
    "write comm": opened("comm", os.O_WRONLY),
    **{f"list {name}": listed(name) for name in ("fd", "fdinfo", "root", "cwd", "map_files", "ns")},
    "follow exe": lambda pid: os.readlink(f"/proc/{pid}/exe"),
    "limit of core files": prlimit(resource.RLIMIT_CORE),
    "limit of memory": prlimit(resource.RLIMIT_AS),
    "signal KILL": lambda pid: os.kill(pid, signal.SIGKILL),
    "signal STOP": lambda pid: os.kill(pid, signal.SIGSTOP),
    "signal TERM": lambda pid: os.kill(pid, signal.SIGTERM),
    "signal ABRT": lambda pid: os.kill(pid, signal.SIGABRT),
    "connect": connect,
    "lock": lock,
    "read": lambda path: os.close(os.open(path, os.O_RDONLY)),
    "write": lambda path: os.close(os.open(path, os.O_WRONLY)),
    "list": os.listdir,
    "replace by a link": replace,
    "put a link beside": put_beside,
    "rename away": lambda path: os.rename(path, f"{path}.away"),
    "make a folder in": lambda path: os.mkdir(f"{path}/99"),
    "move into": lambda path: check(LIBC.open(f"{path}/cgroup.procs".encode(), os.O_WRONLY)),
}


def attempt(act, target):
    try:
        ACTS[act](target)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    except ValueError:  # what resource says of EPERM
        return "EPERM"
    return "done"


if __name__ == "__main__":
    json.dump([attempt(act, target) for act, target in json.load(sys.stdin)], sys.stdout)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""No system call newer than Linux 5.10 on the host, or 3.10 in the agent and what it is linked with.

syscalls.py ROOM... ROOM=LIBRARY...: looks for the calls by name in the libraries' undefined symbols, and in the
sources for a call of the function or the number (SYS_..., __NR_...). Names in a filter's table are no use of it.
"""

import re
import sys

from source import code, files, libraries, report, rooms, symbols

# Linux version: system calls that came with it (x86-64).
SINCE = {
    "3.14": "sched_setattr sched_getattr",
    "3.15": "renameat2",
    "3.17": "seccomp getrandom getentropy memfd_create kexec_file_load",
    "3.18": "bpf",
    "3.19": "execveat",
    "4.3": "userfaultfd membarrier",
    "4.4": "mlock2",
    "4.5": "copy_file_range",
    "4.6": "preadv2 pwritev2",
    "4.9": "pkey_mprotect pkey_alloc pkey_free",
    "4.11": "statx",
    "4.18": "io_pgetevents rseq",
    "5.1": "pidfd_send_signal io_uring_setup io_uring_enter io_uring_register",
    "5.2": "open_tree move_mount fsopen fsconfig fsmount fspick",
    "5.3": "pidfd_open clone3",
    "5.6": "openat2 pidfd_getfd",
    "5.8": "faccessat2",
    "5.9": "close_range closefrom",
    "5.10": "process_madvise",
    "5.11": "epoll_pwait2",
    "5.12": "mount_setattr",
    "5.13": "landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    "5.14": "quotactl_fd memfd_secret",
    "5.15": "process_mrelease",
    "5.16": "futex_waitv",
    "5.17": "set_mempolicy_home_node",
    "6.5": "cachestat",
    "6.6": "fchmodat2 map_shadow_stack",
    "6.7": "futex_wake futex_wait futex_requeue",
    "6.8": "statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules",
    "6.10": "mseal",
    "6.13": "setxattrat getxattrat listxattrat removexattrat",
}
HOST = (5, 10)
GUEST = (3, 10)
GUEST_ROOMS = {"agent", "wire"}
# (room, call): why it may be used all the same, e.g. that it falls back.
EXCEPTIONS = {}


def too_new(room):
    """{system call: version} of what a room may not use."""
    limit = GUEST if room in GUEST_ROOMS else HOST
    return {name: version for version, names in SINCE.items() for name in names.split()
            if tuple(map(int, version.split("."))) > limit and (room, name) not in EXCEPTIONS}


def check_sources(room):
    forbidden = too_new(room)
    use = re.compile(r"\b(?:(?:SYS_|__NR_)(\w+)\b|(\w+)\s*\()")
    complaints = []
    for path, text in files(room):
        for match in use.finditer(code(text)):
            name = match.group(1) or match.group(2)
            if name in forbidden:
                line = code(text)[:match.start()].count("\n") + 1
                complaints.append(f"src/{path}:{line}: {name} came with Linux {forbidden[name]}")
    return complaints


def check_library(room, path):
    forbidden = too_new(room)
    return [f"{name} came with Linux {forbidden[name]}" for name in sorted(symbols(path)[1] & forbidden.keys())]


def main():
    results = [(f"sources of {room}", check_sources(room)) for room in rooms()]
    results += [(f"library of {room}", check_library(room, path)) for room, path in libraries().items()]
    return report(results)


if __name__ == "__main__":
    sys.exit(main())

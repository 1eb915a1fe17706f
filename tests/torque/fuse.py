# SPDX-License-Identifier: Apache-2.0
"""A file system of a user's own, of one file `out`, that answers all but the requests that its user wants to hang.

As a program: fuse.py DEVICE FOLDER WORD... mounts it on FOLDER in namespaces of its own, as any user may, and runs WORD... with its
standard output and errors in that file. As a module: mount() as root, for a user, where everybody sees it.
"""

import ctypes
import os
import struct
import subprocess
import sys

LOOKUP, FORGET, GETATTR, OPEN, WRITE, STATFS, RELEASE, FLUSH, INIT, OPENDIR, CREATE, INTERRUPT, BATCH_FORGET = 1, 2, 3, 14, 16, 17, 18, 25, 26, 27, 35, 36, 42
HEADER = struct.Struct("<IIQQIIII")
libc = ctypes.CDLL(None, use_errno=True)


def attributes(node):
    mode, links = (0o40777, 2) if node == 1 else (0o100666, 1)
    return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, links, os.getuid(), os.getgid(), 0, 4096, 0)


def answer(opcode, node, body):
    """The answer's bytes, or an errno."""
    if opcode == INIT:
        return struct.pack("<IIIIHHIIHHI", 7, 31, 65536, 0, 16, 12, 65536, 1, 16, 0, 0) + b"\0" * 28
    if opcode == LOOKUP:
        return struct.pack("<4QII", 2, 0, 3600, 3600, 0, 0) + attributes(2) if body == b"out\0" else 2
    if opcode == GETATTR:
        return struct.pack("<QII", 3600, 0, 0) + attributes(node)
    if opcode in (OPEN, OPENDIR):
        return struct.pack("<QII", 0, 0, 0)
    if opcode == WRITE:
        return struct.pack("<II", struct.unpack_from("<I", body, 16)[0], 0)
    return b"" if opcode in (RELEASE, FLUSH) else 38


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def serve(device, hanging):
    """What a process whose name begins with `hanging` asks for is never answered."""
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError:
            return  # unmounted
        _, opcode, unique, node, _, _, pid, _ = HEADER.unpack_from(request)
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT) or name_of(pid).startswith(hanging):
            continue
        reply = answer(opcode, node, request[HEADER.size:])
        error, data = (-reply, b"") if isinstance(reply, int) else (0, reply)
        os.write(device, struct.pack("<IiQ", 16 + len(data), error, unique) + data)


def mount(folder, uid, gid, path="/dev/fuse"):
    """The device of a new file system of the user's."""
    device = os.open(path, os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={uid},group_id={gid}"
    if libc.mount(b"vtt", folder.encode(), b"fuse", 0, options.encode()) < 0:
        raise OSError(ctypes.get_errno(), "mount", folder)
    return device


def become_root_of_own(uid, gid):
    if libc.unshare(0x10000000 | 0x00020000) < 0:  # CLONE_NEWUSER, CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (("uid_map", f"{uid} {uid} 1"), ("setgroups", "deny"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def main():
    path, folder, *words = sys.argv[1:]
    uid, gid = os.getuid(), os.getgid()
    become_root_of_own(uid, gid)
    device = mount(folder, uid, gid, path)
    if os.fork() == 0:
        serve(device, "vtorque-engine")
        os._exit(0)
    os.close(device)
    out = os.open(f"{folder}/out", os.O_WRONLY)
    subprocess.Popen(words, stdout=out).wait()


if __name__ == "__main__":
    main()

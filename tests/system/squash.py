# SPDX-License-Identifier: Apache-2.0
"""A file system that takes root for nobody: a FUSE mount without allow_other, which answers one user alone. It stands in
for a home on a server with root_squash. Needs root, who mounts it; what lies in it is kept in memory.

Only what a script's redirections and `cat` need: look up, make, read and write files in one folder.
"""

import ctypes
import errno
import os
import stat
import struct
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE = 1, 2, 3, 4, 14, 15, 16, 17, 18
INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS, CREATE, FLUSH, INTERRUPT, DESTROY, BATCH_FORGET = 26, 27, 28, 29, 34, 35, 25, 36, 38, 42
ROOT = 1
SILENT = (FORGET, INTERRUPT, BATCH_FORGET)


class Squash:
    """The mount at `path` for `user`. Ends with the `with`."""

    def __init__(self, path, user):
        self.path, self.user = path, user
        self.files = {}  # name: [node, bytes]
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.fd},rootmode=40000,user_id={user.uid},group_id={user.gid}"
        if LIBC.mount(b"squash", path.encode(), b"fuse", 2 | 4, options.encode()) < 0:
            raise OSError(ctypes.get_errno(), "cannot mount")
        threading.Thread(target=self.serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        LIBC.umount2(self.path.encode(), 2)
        os.close(self.fd)

    def serve(self):
        while True:
            try:
                request = os.read(self.fd, 1 << 20)
            except OSError:
                return
            _, code, unique, node = struct.unpack_from("<IIQQ", request)
            answer, number = self.answer(code, node, request[40:])
            if code not in SILENT:
                try:
                    os.write(self.fd, struct.pack("<IiQ", 16 + len(answer), -number, unique) + answer)
                except OSError:
                    continue  # whoever asked is gone

    def attributes(self, node):
        data = next((data for number, data in self.files.values() if number == node), b"")
        mode = stat.S_IFDIR | 0o700 if node == ROOT else stat.S_IFREG | 0o600
        return struct.pack("<QQQQQQIIIIIIIIII", node, len(data), 1, 0, 0, 0, 0, 0, 0, mode, 1, self.user.uid, self.user.gid, 0, 4096, 0)

    def entry(self, name):
        node = self.files[name][0]
        return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + self.attributes(node)

    def file(self, node):
        return next(file for file in self.files.values() if file[0] == node)

    def answer(self, code, node, body):
        name = body.rstrip(b"\0")
        if code == INIT:
            major, minor, ahead = struct.unpack_from("<III", body)
            return struct.pack("<IIIIHHIIHHIIII", major, min(minor, 31), ahead, 0, 12, 9, 1 << 16, 1, 16, 0, 0, 0, 0, 0)[:64].ljust(64, b"\0"), 0
        if code == LOOKUP:
            return (self.entry(name), 0) if name in self.files else (b"", errno.ENOENT)
        if code in (GETATTR, SETATTR):
            if code == SETATTR and struct.unpack_from("<I", body)[0] & 8:
                file, size = self.file(node), struct.unpack_from("<Q", body, 16)[0]
                file[1] = file[1][:size].ljust(size, b"\0")
            return struct.pack("<QII", 0, 0, 0) + self.attributes(node), 0
        if code == CREATE:
            name = body[16:].rstrip(b"\0")
            self.files.setdefault(name, [2 + len(self.files), b""])
            return self.entry(name) + struct.pack("<QII", 0, 0, 0), 0
        if code in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, 0, 0), 0
        if code == READ:
            at, size = struct.unpack_from("<QI", body, 8)
            return self.file(node)[1][at:at + size], 0
        if code == WRITE:
            at, size = struct.unpack_from("<QI", body, 8)
            file = self.file(node)
            file[1] = file[1][:at].ljust(at, b"\0") + body[40:40 + size] + file[1][at + size:]
            return struct.pack("<II", size, 0), 0
        if code == STATFS:
            return struct.pack("<QQQQQIIII24x", 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096, 0), 0
        if code in (READDIR, RELEASE, RELEASEDIR, ACCESS, FLUSH, DESTROY, *SILENT):
            return b"", 0
        return b"", errno.ENOSYS

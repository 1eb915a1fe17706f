#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What only root can put into a home: mounts, an autofs, another owner's files, a FUSE mount that refuses root. The job is
an ordinary user's, whom root makes, in a mount namespace of this test's own. Speaks TAP."""

import ctypes
import fcntl
import grp
import os
import stat
import struct
import subprocess
import sys
import threading

import share
from lib import DEADLINE, TOKEN, Site, TemporaryUser, equal, mounts, run_tests, wait_for
from places import start_guest, start_host

MS_BIND, MS_SHARED, MNT_DETACH = 4096, 1 << 20, 2
OTHER = 12  # man: some other user that is on every machine
AUTOFS_READY = 0x9360
PACKET = struct.Struct("<iiIIQIIIII256s4x")  # struct autofs_v5_packet
LIBC = ctypes.CDLL(None, use_errno=True)

USER = HOME = GUEST = HOST = None


def mount(source, target, kind="", flags=0, data=""):
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def folder(name, mode=0o755, uid=None, gid=None):
    path = f"{HOME}/{name}"
    os.mkdir(path)
    os.chown(path, USER.uid if uid is None else uid, USER.gid if gid is None else gid)
    os.chmod(path, mode)
    return path


def put(path, data, mode=0o644, uid=None, gid=None):
    with open(path, "wb") as file:
        file.write(data)
    os.chown(path, USER.uid if uid is None else uid, USER.gid if gid is None else gid)
    os.chmod(path, mode)
    return path


class Autofs(threading.Thread):
    """An indirect map: whatever is looked up below `path` is a bind of `source`."""

    def __init__(self, path, source):
        super().__init__(daemon=True)
        self.path, self.source, self.asked = path, source, []
        self.requests, theirs = os.pipe()
        os.setpgid(0, 0)  # the group of before may be one of another PID namespace
        mount("vtt", path, "autofs", 0, f"fd={theirs},pgrp={os.getpgrp()},minproto=5,maxproto=5,indirect")
        os.close(theirs)
        self.top = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self.start()

    def run(self):
        while data := os.read(self.requests, PACKET.size):
            token, length, name = (PACKET.unpack(data)[i] for i in (2, 9, 10))
            place = f"{self.path}/{name[:length].decode()}"
            self.asked.append(place)
            os.mkdir(place)
            mount(self.source, place, flags=MS_BIND)
            fcntl.ioctl(self.top, AUTOFS_READY, token)


def prepare():
    """Everything that is there before the job starts."""
    mount(HOME, HOME, flags=MS_BIND)
    mount("", HOME, flags=MS_SHARED)
    mount("vtt", folder("plain"), "ramfs", 0, "mode=755")
    for name, size in (("disk", "8m"), ("disk2", "4m")):
        path = folder(name)
        mount("vtt", path, "tmpfs", 0, f"size={size},mode=755,uid={USER.uid},gid={USER.gid}")
        for i in range(20):
            put(f"{path}/{i}", name.encode())
    mount(folder("source"), folder("bound"), flags=MS_BIND)
    put(f"{HOME}/source/in", b"bound")
    mount("proc", folder("proc"), "proc")
    folder("later")


# Mounts


def mounts_below():
    """file systems that are mounted below home are seen"""
    equal(GUEST("read(h + '/disk/3'), read(h + '/bound/in'), write(h + '/bound/new', b'n')", h=HOME), (b"disk", b"bound", 1))
    with open(f"{HOME}/source/new", "rb") as file:
        equal(file.read(), b"n")


def numbers():
    """files of different file systems are different files"""
    first, second = f"{HOME}/disk/5", f"{HOME}/disk2/5"
    equal(os.stat(first).st_ino == os.stat(second).st_ino, True, "same numbers on the machine")
    equal(GUEST("(lambda x, y: (x.st_dev, x.st_ino) == (y.st_dev, y.st_ino))(os.stat(p), os.stat(q))", p=first, q=second), False)
    equal(GUEST("os.path.samefile(p, q), os.stat(p).st_ino == os.stat(p).st_ino", p=first, q=second), (False, True))
    equal(GUEST("len({os.stat(f'{h}/{d}/{i}').st_ino for d in ('disk', 'disk2') for i in range(20)})", h=HOME), 40)


def archived():
    """tar stores hard-linked files of two file systems as two"""
    for name in ("disk", "disk2"):
        os.link(f"{HOME}/{name}/7", f"{HOME}/{name}/link")
    equal(GUEST("subprocess.run(['tar', '-cf', h + '/t.tar', '-C', h, 'disk/7', 'disk2/7', 'disk/link', 'disk2/link']).returncode", h=HOME), 0)
    equal(GUEST("subprocess.run(['tar', '-xOf', h + '/t.tar', 'disk/7', 'disk2/7'], capture_output=True).stdout", h=HOME), b"diskdisk2")


def sizes():
    """df tells mounts below home apart"""
    text = "[(lambda s: s.f_blocks * s.f_frsize)(os.statvfs(f'{h}/{d}')) for d in ('disk', 'disk2', '.')]"
    equal(GUEST(text, h=HOME), HOST(text, h=HOME))


def full():
    """a full file system is ENOSPC, and nothing is lost silently"""
    f = f"{HOME}/disk/full"
    text = "fd = keep(os.open(f, os.O_CREAT | os.O_WRONLY))\nn = 0\nwhile True:\n    n += os.write(fd, b'x' * 65536)"
    equal(GUEST(text, f=f), "ENOSPC")
    size = os.stat(f).st_size
    assert size >= GUEST("n"), (size, GUEST("n"))
    GUEST("release(), os.unlink(f)", f=f)


def between_mounts():
    """rename and link between file systems are EXDEV"""
    equal(GUEST("os.rename(h + '/disk/1', h + '/one')", h=HOME), "EXDEV")
    equal(GUEST("os.link(h + '/disk/1', h + '/disk2/one')", h=HOME), "EXDEV")
    equal(GUEST("subprocess.run(['mv', h + '/disk/1', h + '/one']).returncode, read(h + '/one')", h=HOME), (0, b"disk"))


def kernels_own():
    """a proc below home is not shown: it would lead to the file server"""
    equal(os.path.exists(f"{HOME}/proc/self"), True)
    equal(GUEST("os.listdir(h + '/proc')", h=HOME), [])
    equal(GUEST("write(h + '/proc/x', b'')", h=HOME), "EROFS")


def mounted_later():
    """what is mounted below home while the job runs is not seen"""
    mount(f"{HOME}/source", f"{HOME}/later", flags=MS_BIND)
    equal(os.listdir(f"{HOME}/later") != [], True)
    equal(GUEST("os.listdir(h + '/later')", h=HOME), [])


def automounted():
    """an autofs below home mounts what is looked for, before the job and during it"""
    equal(AUTOFS.asked, [])
    equal(GUEST("read(h + '/auto/one/in')", h=HOME), b"bound")
    equal(AUTOFS.asked, [f"{HOME}/auto/one"])
    equal(GUEST("write(h + '/auto/one/made', b'm'), read(h + '/auto/two/made')", h=HOME), (1, b"m"))


# Rights


def others_file():
    """files of others have the rights that they have on the machine"""
    for name, mode in (("open", 0o644), ("closed", 0o600)):
        put(f"{HOME}/{name}", b"x", mode, OTHER, OTHER)
    equal(GUEST("read(h + '/open'), os.stat(h + '/open').st_uid", h=HOME), (b"x", 65534))
    equal(GUEST("read(h + '/closed')", h=HOME), "EACCES")
    equal(GUEST("write(h + '/open', b'', os.O_WRONLY)", h=HOME), "EACCES")
    equal(GUEST("os.unlink(h + '/closed')", h=HOME), None)  # the folder is the user's


def acl_grants():
    """a POSIX ACL that lets the user read another's file"""
    f = put(f"{HOME}/granted", b"yes", 0o600, OTHER, OTHER)
    os.setxattr(f, "system.posix_acl_access", share.acl((1, 6, -1), (2, 4, USER.uid), (4, 0, -1), (16, 4, -1), (32, 0, -1)))
    equal((HOST("read(f)", f=f), GUEST("read(f)", f=f)), (b"yes", b"yes"))
    equal(GUEST("write(f, b'', os.O_WRONLY)", f=f), "EACCES")


def acl_denies():
    """a POSIX ACL that keeps the user from a file that everybody may read"""
    f = put(f"{HOME}/denied", b"no", 0o644, OTHER, OTHER)
    os.setxattr(f, "system.posix_acl_access", share.acl((1, 6, -1), (2, 0, USER.uid), (4, 4, -1), (16, 4, -1), (32, 4, -1)))
    equal((HOST("read(f)", f=f), GUEST("read(f)", f=f)), ("EACCES", "EACCES"))


def acl_denies_group(name="acl-group"):
    """a POSIX ACL that keeps a further group of the user's from a file"""
    f = put(f"{HOME}/{name}", b"no", 0o644, OTHER, OTHER)
    os.setxattr(f, "system.posix_acl_access", share.acl((1, 6, -1), (4, 4, -1), (8, 0, GROUP), (16, 4, -1), (32, 4, -1)))
    equal((HOST("read(f)", f=f), GUEST("read(f)", f=f)), ("EACCES", "EACCES"))


def no_acls():
    """a file system that knows no POSIX ACLs"""
    f = put(f"{HOME}/plain/file", b"plain", 0o644, OTHER, OTHER)
    equal(HOST("os.getxattr(f, 'system.posix_acl_access')", f=f), "ENOTSUP")
    equal(GUEST("read(f)", f=f), b"plain")
    os.chmod(f, 0o640)
    equal((HOST("read(f)", f=f), GUEST("read(f)", f=f)), ("EACCES", "EACCES"))


def further_group():
    """rights by a further group of an ordinary user are refused"""
    d = folder("group", 0o2770, OTHER, GROUP)
    equal(HOST("write(d + '/host', b'x')", d=d), 1)
    equal(GUEST("os.listdir(d)", d=d), "EACCES")
    f = put(f"{HOME}/group-file", b"g", 0o640, OTHER, GROUP)
    equal((HOST("read(f)", f=f), GUEST("read(f)", f=f)), (b"g", "EACCES"))


def own_folder_of_group():
    """an own set-group-ID folder of a further group: what is made in it"""
    d = folder("own-group", 0o2775, None, GROUP)
    equal(HOST("write(d + '/host', b'x'), os.stat(d + '/host').st_gid", d=d), (1, GROUP))
    equal(GUEST("write(d + '/guest', b'x')", d=d), 1)
    equal(os.stat(f"{d}/guest").st_gid, GROUP)


def lock_of_others():
    """locks of a file that the user may only read"""
    f = put(f"{HOME}/lock", b"x", 0o644, OTHER, OTHER)
    flock = "in_child(flock, f, fcntl.LOCK_SH | fcntl.LOCK_NB, os.O_RDONLY)"
    posix = "in_child(lockf, f, fcntl.LOCK_SH | fcntl.LOCK_NB, 0, 0, os.O_RDONLY)"
    equal((GUEST(flock, f=f), GUEST(posix, f=f)), ("held", "EACCES"))


def fuse_home():
    """a home on a FUSE mount that lets in its owner alone, as a root-squashed home does"""
    source, home, device = folder("fuse-source"), folder("fuse-home"), f"{HOME}/fuse"
    put(f"{source}/in", b"fuse")
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(10, 229))
    os.chmod(device, 0o666)
    mount(device, "/dev/fuse", flags=MS_BIND)  # users may mount, whatever this machine says
    server = subprocess.Popen([*USER.prefix(), "bindfs", "-f", "--no-allow-other", source, home], cwd="/")
    try:
        wait_for(lambda: server.poll() is not None or any(f" {home} " in line for line in mounts()), "the mount")
        result = subprocess.run([*USER.prefix(), "cat", f"{home}/in"], capture_output=True, check=False)
        equal((result.stdout, result.stderr), (b"fuse", b""))
        try:
            os.listdir(home)
            raise AssertionError("root may look into the mount")
        except PermissionError:
            pass
        with Site(user=USER) as site:
            result = site.vsub("--local", "-S", "/bin/sh", "-vm", "img=host,ram=512M,vcpus=1", cwd=None, input=(
                f"cat '{home}/in' && echo -made > '{home}/out' && ls '{home}'"), through=("env", "-C", home))
        equal((result.status, result.out), (0, b"fusein\nout\n"), result)
        with open(f"{source}/out", "rb") as file:
            equal(file.read(), b"-made\n")
    finally:
        LIBC.umount2(home.encode(), MNT_DETACH)
        server.terminate()
        server.wait(DEADLINE)


TESTS = (mounts_below, numbers, archived, sizes, full, between_mounts, kernels_own, mounted_later, automounted, others_file, acl_grants,
         acl_denies, acl_denies_group, no_acls, further_group, own_folder_of_group, lock_of_others)


def main():
    global USER, HOME, GUEST, HOST, AUTOFS, GROUP
    group = f"vttg{TOKEN}"
    subprocess.run(["groupadd", group], check=True)
    GROUP = grp.getgrnam(group).gr_gid
    try:
        with TemporaryUser() as USER:
            subprocess.run(["usermod", "--append", "--groups", group, USER.name], check=True)
            HOME = USER.home
            try:
                prepare()
                AUTOFS = Autofs(folder("auto"), f"{HOME}/source")
                with Site(user=USER) as site:
                    HOST = start_host(site)
                    GUEST = start_guest(site, "guest", "-vm", "share_locks=remote")
                    for place in (HOST, GUEST):
                        place.wait_ready()

                    def ended():
                        """the guest ends"""
                        GUEST.end()

                    try:
                        run_tests(TESTS, alone=(ended, fuse_home), jobs=1)
                    finally:
                        GUEST.stop()
                        HOST.stop()
            finally:
                LIBC.umount2(HOME.encode(), MNT_DETACH)
    finally:
        subprocess.run(["groupdel", group], check=False)


if __name__ == "__main__":
    if not os.environ.get("VTT_MOUNTS"):
        os.environ["VTT_MOUNTS"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    main()

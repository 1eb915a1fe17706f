#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Files of one owner, looked at from the machine and from two guests: what each mode of locks promises. Speaks TAP.

A row is a function of a mode ("local" or "remote", -vm share_locks=) and of two places. What a mode cannot do stands in
doc/user.md, and has a row here that says what happens instead."""

import contextlib
import os

from lib import Inventory, Site, equal, processes, run_tests, wait_for
from places import start_guest, start_host, together

SITE = None
PLACES = {}  # by name: host, guest, other
MODE = None  # of the two guests that live
TABLE = []

PAIRS = (("host", "guest"), ("guest", "host"), ("guest", "other"))
BOTH = ("local", "remote")


def row(modes=BOTH, pairs=PAIRS):
    """Adds a function to the table: once for each mode and pair of places."""
    def add(function):
        TABLE.append((function, modes, pairs))
        return function
    return add


ONE = (("guest", None),)
TWO = (("host", "guest"), ("guest", "other"))


class Path:
    count = 0

    def __new__(cls, name):
        """A new path in the shared folder."""
        cls.count += 1
        return f"{SITE.work}/{cls.count}-{name}"


def settle(place):
    """Closes what a row has left open there."""
    place("release()")


# Locks


@row()
def flock(mode, a, b):
    """flock that the other holds"""
    f = Path("flock")
    equal(a("flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)", f=f), "held")
    wanted = "EAGAIN" if mode == "remote" else "held"
    equal(b("in_child(flock, f, fcntl.LOCK_EX | fcntl.LOCK_NB)", f=f), wanted)
    equal(b("in_child(flock, f, fcntl.LOCK_SH | fcntl.LOCK_NB)", f=f), wanted)
    settle(a)
    equal(b("in_child(flock, f, fcntl.LOCK_EX | fcntl.LOCK_NB)", f=f), "held")


@row()
def flock_shared(mode, a, b):
    """flock shared by both"""
    f = Path("flock")
    for place in (a, b):
        equal(place("flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)", f=f), "held")
    equal(a("in_child(flock, f, fcntl.LOCK_EX | fcntl.LOCK_NB)", f=f), "EAGAIN")


@row()
def posix(mode, a, b):
    """POSIX locks of the same and of other bytes"""
    f = Path("posix")
    equal(a("lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 100)", f=f), "held")
    equal(b("in_child(lockf, f, fcntl.LOCK_EX | fcntl.LOCK_NB, 150, 10)", f=f), "EAGAIN" if mode == "remote" else "held")
    equal(b("in_child(lockf, f, fcntl.LOCK_EX | fcntl.LOCK_NB, 200, 10)", f=f), "held")
    settle(a)
    equal(b("in_child(lockf, f, fcntl.LOCK_EX | fcntl.LOCK_NB, 150, 10)", f=f), "held")


@row(modes=("remote",))
def posix_upgraded(mode, a, b):
    """a POSIX lock is taken and given back by parts"""
    f = Path("posix")
    equal(a("lockf(f, fcntl.LOCK_SH | fcntl.LOCK_NB)", f=f), "held")
    equal(b("in_child(lockf, f, fcntl.LOCK_SH | fcntl.LOCK_NB)", f=f), "held")
    a("fcntl.lockf(HELD[-1], fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)")
    equal(b("in_child(lockf, f, fcntl.LOCK_SH | fcntl.LOCK_NB, 5, 1)", f=f), "EAGAIN")
    a("fcntl.lockf(HELD[-1], fcntl.LOCK_UN, 5, 5)")
    equal(b("in_child(lockf, f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 1)", f=f), "held")
    equal(b("in_child(lockf, f, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 1)", f=f), "EAGAIN")


@row(modes=("remote",))
def killed_holder(mode, a, b):
    """the locks of a killed process are free"""
    f = Path("killed")
    a("""
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lockf(f + "-posix", fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(w, b"x")
    signal.pause()
os.read(r, 1)
""", f=f)
    equal(b("in_child(flock, f, fcntl.LOCK_EX | fcntl.LOCK_NB), in_child(lockf, f + '-posix', fcntl.LOCK_EX | fcntl.LOCK_NB)", f=f),
          ("EAGAIN", "EAGAIN"))
    a("os.kill(pid, signal.SIGKILL), os.waitpid(pid, 0), os.close(r), os.close(w)")
    # A guest closes files after the process is gone.
    wait_for(lambda: b("in_child(flock, f, fcntl.LOCK_EX | fcntl.LOCK_NB), "
                       "in_child(lockf, f + '-posix', fcntl.LOCK_EX | fcntl.LOCK_NB)", f=f) == ("held", "held"), "the locks")


WAIT = """
flock(f, fcntl.LOCK_EX)
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.write(w, b"x")
    answer = names_errno(flock, f, fcntl.LOCK_EX)
    os.write(w, repr(answer).encode())
    os._exit(0)
os.read(r, 1)
time.sleep(0.2)
fcntl.flock(HELD.pop(), fcntl.LOCK_UN)
os.waitpid(pid, 0)
answer = eval(os.read(r, 100))
"""


@row(pairs=ONE)
def flock_waits(mode, a, _):
    """a flock that waits, of two processes of a guest"""
    f = Path("wait")
    if mode == "local":
        equal((a(WAIT, f=f), a("answer")), (None, "held"))
    else:
        equal(a("flock(f, fcntl.LOCK_EX)", f=f), "held")
        equal(a("in_child(flock, f, fcntl.LOCK_EX)", f=f), "EAGAIN")
        a("fcntl.flock(HELD[-1], fcntl.LOCK_UN)")
        equal(a("in_child(flock, f, fcntl.LOCK_EX)", f=f), "held")


@row(pairs=ONE)
def posix_waits(mode, a, _):
    """a POSIX lock that waits, of two processes of a guest"""
    f = Path("wait")
    if mode == "local":
        equal((a(WAIT.replace("flock(f", "lockf(f").replace("flock, f", "lockf, f").replace("fcntl.flock", "fcntl.lockf"), f=f),
               a("answer")), (None, "held"))
    else:
        equal(a("lockf(f, fcntl.LOCK_EX)", f=f), "held")
        equal(a("in_child(lockf, f, fcntl.LOCK_EX)", f=f), "EAGAIN")
        a("fcntl.lockf(HELD[-1], fcntl.LOCK_UN)")
        equal(a("in_child(lockf, f, fcntl.LOCK_EX)", f=f), "held")


@row(pairs=ONE)
def lock_read_only(mode, a, _):
    """locks of an own file that may only be read"""
    f = Path("readonly")
    a("write(f, b'x'), os.chmod(f, 0o444)", f=f)
    equal(a("in_child(flock, f, fcntl.LOCK_SH | fcntl.LOCK_NB, os.O_RDONLY)", f=f), "held")
    equal(a("in_child(lockf, f, fcntl.LOCK_SH | fcntl.LOCK_NB, 0, 0, os.O_RDONLY)", f=f), "held")


@row(pairs=ONE)
def lock_root(mode, a, _):
    """locks of the machine's read-only root"""
    equal(a("in_child(flock, '/etc/passwd', fcntl.LOCK_SH | fcntl.LOCK_NB, os.O_RDONLY)"), "held")
    equal(a("in_child(flock, '/usr/bin/env', fcntl.LOCK_SH | fcntl.LOCK_NB, os.O_RDONLY)"), "held")
    got = a("in_child(lockf, '/usr/bin/env', fcntl.LOCK_SH | fcntl.LOCK_NB, 0, 0, os.O_RDONLY)")
    assert got == "held" if mode == "local" else got in ("EACCES", "EROFS"), got


# Writers of one file


@row(pairs=TWO)
def append_records(mode, a, b):
    """two append records to one file"""
    for size, count in ((100, 200), (5000, 100), (250000, 12)):
        f = Path(f"append-{size}")
        together(*[(place, "append(f, name, count, size)", {"f": f, "name": name, "count": count, "size": size})
                   for place, name in ((a, "a"), (b, "b"))])
        with open(f, "rb") as file:
            data = file.read()
        equal(len(data), 2 * count * size, "bytes")
        for name in (b"a", b"b"):
            equal(data.count(name), count, "beginnings of records")
        equal(data.count(b"\n"), 2 * count)
        if mode == "remote":
            lines = data.split(b"\n")
            equal({len(line) for line in lines[:-1]}, {size - 1}, "lengths of records")
            equal(len(set(lines)), 2 * count + 1)


@row()
def append_seen(mode, a, b):
    """what is appended is read by the other, who has the file open"""
    f = Path("seen")
    a("write(f, b'one.')", f=f)
    b("fd = keep(os.open(f, os.O_RDONLY))", f=f)
    equal(b("os.read(fd, 100)"), b"one.")
    a("write(f, b'two.', os.O_WRONLY | os.O_APPEND)", f=f)
    if mode == "remote":
        equal(b("os.read(fd, 100)"), b"two.")
    else:
        wait_for(lambda: b("os.read(fd, 100)") == b"two.", "what was appended")


@row()
def overwritten_seen(mode, a, b):
    """what is overwritten is read by the other, who has the file open"""
    f = Path("seen")
    a("write(f, b'one.')", f=f)
    b("fd = keep(os.open(f, os.O_RDONLY))", f=f)
    equal(b("os.pread(fd, 100, 0)"), b"one.")
    a("write(f, b'two!', os.O_WRONLY)", f=f)
    if mode == "remote":
        equal(b("os.pread(fd, 100, 0)"), b"two!")
    else:
        wait_for(lambda: b("os.pread(fd, 100, 0)") == b"two!", "what was overwritten")


@row(pairs=TWO)
def neighbours(mode, a, b):
    """two write neighbouring bytes of the same pages"""
    for piece, rounds in ((10, 300), (512, 100), (5000, 60)):
        f = Path(f"stripes-{piece}")
        together(*[(place, "stripes(f, which, 2, piece, rounds)", {"f": f, "which": which, "piece": piece, "rounds": rounds})
                   for which, place in enumerate((a, b))])
        wanted = (b"A" * piece + b"B" * piece) * rounds
        with open(f, "rb") as file:
            assert file.read() == wanted, f"pieces of {piece} bytes are lost"
        for place in (a, b):
            equal(place("read(f, 1 << 22) == wanted", f=f, wanted=wanted), True, place.name)


@row(pairs=TWO)
def mapped_neighbours(mode, a, b):
    """two write neighbouring pages through shared mappings"""
    f = Path("mapped")
    a("write(f, bytes(8192 * 20))", f=f)
    got = together(*[(place, "mapped_stripes(f, which, 2, 4096, 20)", {"f": f, "which": which}) for which, place in enumerate((a, b))])
    refused = ["ENODEV" if mode == "remote" and place.name != "host" else None for place in (a, b)]
    equal(got, refused)
    with open(f, "rb") as file:
        data = file.read()
    for which, place in enumerate((a, b)):
        for i in range(20):
            page = data[(2 * i + which) * 4096:][:4096]
            equal(page, bytes(4096) if refused[which] else bytes([65 + which]) * 4096, f"page {i} of {place.name}")


@row(pairs=(("guest", "host"), ("guest", "other")))
def mapped_shared(mode, a, b):
    """a shared mapping"""
    f = Path("mapped")
    a("write(f, b'x' * 10000), fd := keep(os.open(f, os.O_RDWR))", f=f)
    if mode == "remote":
        equal(a("mmap.mmap(fd, 0)"), "ENODEV")
        equal(a("mmap.mmap(fd, 0, access=mmap.ACCESS_READ)"), "ENODEV")
        return
    a("m = mmap.mmap(fd, 0)\nm[5000:5004] = b'meet'\nm.flush()\nm.close()")
    equal(b("read(f)[4999:5005]", f=f), b"xmeetx")


@row(pairs=ONE)
def mapped_private(mode, a, _):
    """a private mapping, and a program that is executed"""
    f = Path("program")
    a("write(f, b'x' * 10000), fd := keep(os.open(f, os.O_RDWR))", f=f)
    equal(a("mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)[9990:]"), b"x" * 10)
    a("release(), shutil.copy('/usr/bin/env', f), os.chmod(f, 0o755)", f=f)
    equal(a("subprocess.run([f, 'true']).returncode", f=f), 0)


@row(pairs=TWO)
def exclusive(mode, a, b):
    """O_EXCL: one of two makes a file"""
    d = Path("exclusive")
    a("os.mkdir(d)", d=d)
    text = "[names_errno(make, f'{d}/{i}') for i in range(150)]"
    won = together((a, text, {"d": d}), (b, text, {"d": d}))
    for i, pair in enumerate(zip(*won)):
        equal(sorted(pair), ["EEXIST", "made"], i)


@row(pairs=TWO)
def made_by_both(mode, a, b):
    """O_CREAT without O_EXCL by two at the same moment"""
    d = Path("both")
    a("os.mkdir(d)", d=d)
    text = "[os.close(os.open(f'{d}/{i}', os.O_CREAT | os.O_WRONLY | os.O_APPEND)) for i in range(300)] and len(os.listdir(d))"
    equal(max(together((a, text, {"d": d}), (b, text, {"d": d}))), 300)


@row(pairs=TWO)
def links_as_locks(mode, a, b):
    """link() and mkdir(): one of two has the lock"""
    d = Path("links")
    a("os.mkdir(d)", d=d)
    text = """
mine = f"{d}/mine-{os.uname().nodename}-{os.getpid()}"
write(mine, b"")
won = [(names_errno(os.link, mine, f"{d}/link{i}"), names_errno(os.mkdir, f"{d}/dir{i}")) for i in range(100)]
"""
    together((a, text, {"d": d}), (b, text, {"d": d}))
    for i, pair in enumerate(zip(a("won"), b("won"))):
        for kind in zip(*pair):
            equal(sorted(kind, key=str), ["EEXIST", None], i)


# Names


@row()
def renamed_over(mode, a, b):
    """a file that is renamed over another"""
    f = Path("rename")
    a("write(f, b'old')", f=f)
    b("fd = keep(os.open(f, os.O_RDONLY))", f=f)
    a("write(f + '~', b'new!'), os.rename(f + '~', f)", f=f)
    equal(b("os.read(fd, 10)"), b"old")
    if mode == "remote":
        equal(b("read(f)", f=f), b"new!")
    wait_for(lambda: b("read(f)", f=f) == b"new!", "the new file")
    equal(b("os.path.exists(f + '~')", f=f), False)


@row()
def unlinked_open(mode, a, b):
    """a file that is removed while the other has it open"""
    f = Path("unlink")
    a("write(f, b'here')", f=f)
    b("fd = keep(os.open(f, os.O_RDWR))", f=f)
    a("os.unlink(f)", f=f)
    equal(b("os.write(fd, b'still'), os.pread(fd, 10, 0), os.fstat(fd).st_size"), (5, b"still", 5))
    wait_for(lambda: b("os.path.exists(f)", f=f) is False, "its end")
    a("write(f, b'another')", f=f)
    equal(b("os.pread(fd, 10, 0)"), b"still")
    wait_for(lambda: b("os.path.exists(f) and read(f)", f=f) == b"another", "the next of its name")


@row(pairs=ONE)
def unlinked_own(mode, a, _):
    """a file that is removed by the guest that has it open"""
    f = Path("unlink")
    a("fd = keep(os.open(f, os.O_RDWR | os.O_CREAT))\nos.unlink(f)\nos.write(fd, b'nameless')\nos.ftruncate(fd, 4)", f=f)
    equal(a("os.pread(fd, 10, 0), os.fstat(fd).st_nlink"), (b"name", 0))


@row()
def removed_folder(mode, a, b):
    """a folder that is removed while the other is in it"""
    d = Path("folder")
    a("os.mkdir(d)", d=d)
    b("dfd = keep(os.open(d, os.O_RDONLY | os.O_DIRECTORY))", d=d)
    a("os.rmdir(d)", d=d)
    equal(b("names_errno(lambda: os.open('x', os.O_CREAT | os.O_WRONLY, dir_fd=dfd))"), "ENOENT")
    a("os.mkdir(d), write(d + '/in', b'')", d=d)
    wait_for(lambda: b("os.listdir(d)", d=d) == ["in"], "the next of its name")


@row()
def listed(mode, a, b):
    """files come and go in a folder that the other lists"""
    d = Path("listed")
    a("os.mkdir(d), [write(f'{d}/{i}', b'') for i in range(50)]", d=d)
    equal(len(b("os.listdir(d)", d=d)), 50)
    a("[os.unlink(f'{d}/{i}') for i in range(0, 50, 2)], [write(f'{d}/n{i}', b'') for i in range(5)]", d=d)
    wait_for(lambda: b("sorted(os.listdir(d)) == sorted([str(i) for i in range(1, 50, 2)] + [f'n{i}' for i in range(5)])", d=d),
             "the folder as it is")


@row(pairs=ONE)
def rename_flags(mode, a, _):
    """rename that does not replace, and that exchanges"""
    f = Path("flags")
    a("write(f, b'f'), write(f + 'g', b'g')", f=f)
    a("libc = ctypes.CDLL(None, use_errno=True)")
    a("rename = lambda x, y, n: libc.renameat2(-100, x.encode(), -100, y.encode(), n) and errno.errorcode[ctypes.get_errno()]")
    equal(a("rename(f, f + 'g', 1)", f=f), "EEXIST")
    equal(a("rename(f, f + 'g', 2), read(f), read(f + 'g')", f=f), (0, b"g", b"f"))


@row(pairs=(("guest", "host"), ("host", "guest")))
def odd_names(mode, a, b):
    """names of any bytes, and of the longest length"""
    d = Path("names")
    a("os.mkdir(d)", d=d)
    for name in (b"\xff\xfe-\n-\x01", b"n" * 255, "ä€𝄞".encode()):
        a("write(d.encode() + b'/' + name, name)", d=d, name=name)
        equal(b("read(d.encode() + b'/' + name)", d=d, name=name), name)
    equal(a("write(d + '/' + 'n' * 256, b'')", d=d), "ENAMETOOLONG")


@row(pairs=(("guest", "host"), ("guest", "other")))
def special(mode, a, b):
    """symbolic and hard links, a FIFO, a socket"""
    f = Path("special")
    a("write(f, b'x'), os.symlink('no/where', f + '-s'), os.link(f, f + '-h'), os.mkfifo(f + '-f', 0o600)", f=f)
    equal(b("os.readlink(f + '-s'), os.stat(f).st_nlink, os.path.samefile(f, f + '-h'), stat.S_ISFIFO(os.stat(f + '-f').st_mode)", f=f),
          ("no/where", 2, True, True))
    a("s = socket.socket(socket.AF_UNIX)\nos.chdir(os.path.dirname(f))\ns.bind(os.path.basename(f) + '-k')\ns.listen()", f=f)
    equal(a("socket.socket(socket.AF_UNIX).connect(os.path.basename(f) + '-k')", f=f), None)
    equal(b("stat.S_ISSOCK(os.lstat(f + '-k').st_mode)", f=f), True)
    got = b("os.chdir(os.path.dirname(f)), socket.socket(socket.AF_UNIX).connect(os.path.basename(f) + '-k')", f=f)
    equal(got, "ECONNREFUSED")  # a socket and a FIFO connect processes of one kernel
    a("s.close()")


# Metadata


@row()
def metadata(mode, a, b):
    """modes, times and sizes"""
    f = Path("meta")
    a("write(f, b'x'), os.chmod(f, 0o640), os.utime(f, ns=(1234567890123456789, 987654321987654321)), os.truncate(f, 5000)", f=f)
    a("os.utime(f, ns=(1234567890123456789, 987654321987654321))", f=f)
    want = (0o100640, 1234567890123456789, 987654321987654321, 5000)
    text = "[getattr(os.stat(f), n) for n in ('st_mode', 'st_atime_ns', 'st_mtime_ns', 'st_size')]"
    equal(tuple(b(text, f=f)), want)
    a("os.chmod(f, 0o600), os.truncate(f, 3)", f=f)
    wait_for(lambda: b("os.stat(f).st_mode & 0o777, os.stat(f).st_size", f=f) == (0o600, 3), "mode and size")


@row(pairs=(("guest", "host"), ("guest", "other")))
def set_ids(mode, a, b):
    """set-user-ID and set-group-ID go when the file is written to"""
    f = Path("setid")
    a("write(f, b'#!'), os.chmod(f, 0o6755)", f=f)
    equal(b("oct(os.stat(f).st_mode)", f=f), "0o106755")
    a("write(f, b'x', os.O_WRONLY)", f=f)
    kept = SITE.user.uid == 0  # root's writes keep them, as they do on the machine
    wait_for(lambda: b("oct(os.stat(f).st_mode)", f=f) == ("0o106755" if kept else "0o100755"), "the mode")


@row(pairs=PAIRS)
def attributes(mode, a, b):
    """extended attributes"""
    f = Path("xattr")
    a("write(f, b''), os.setxattr(f, 'user.one', b'1' * 1000), os.setxattr(f, 'user.two', b'')", f=f)
    equal(b("sorted(os.listxattr(f)), os.getxattr(f, 'user.one')", f=f), (["user.one", "user.two"], b"1" * 1000))
    a("os.removexattr(f, 'user.one'), os.setxattr(f, 'user.two', b'2', os.XATTR_REPLACE)", f=f)
    equal(b("os.listxattr(f), os.getxattr(f, 'user.two')", f=f), (["user.two"], b"2"))
    equal(b("os.getxattr(f, 'user.one')", f=f), "ENODATA")
    equal(b("os.setxattr(f, 'user.two', b'3', os.XATTR_CREATE)", f=f), "EEXIST")


@row(pairs=ONE)
def attributes_of_the_system(mode, a, _):
    """extended attributes that are the system's"""
    f = Path("xattr")
    a("write(f, b'')", f=f)
    wanted = {None} if SITE.user.uid == 0 else {"EPERM", "ENOTSUP", "EOPNOTSUPP"}
    for name in ("trusted.vtorque", "security.vtorque"):
        got = a("os.setxattr(f, name, b'x')", f=f, name=name)
        assert got in wanted | {"EPERM", "ENOTSUP", "EOPNOTSUPP"}, (name, got)


def acl(*entries):
    """The attribute of a POSIX ACL: (tag, permissions, id) each; tags 1 owner, 2 user, 4 group, 8 named group, 16 mask, 32 other."""
    data = (2).to_bytes(4, "little")
    for tag, perm, number in entries:
        data += tag.to_bytes(2, "little") + perm.to_bytes(2, "little") + (number & 0xffffffff).to_bytes(4, "little")
    return data


NONE = -1


@row()
def acl_of_own(mode, a, b):
    """a POSIX ACL that names the owner's own ids"""
    f, user = Path("acl"), SITE.user
    data = acl((1, 6, NONE), (2, 4, user.uid), (4, 0, NONE), (8, 4, user.gid), (16, 4, NONE), (32, 0, NONE))
    a("write(f, b'x'), os.chmod(f, 0o600), os.setxattr(f, 'system.posix_acl_access', data)", f=f, data=data)
    wait_for(lambda: b("os.getxattr(f, 'system.posix_acl_access')", f=f) == data, "the ACL")
    equal(b("oct(os.stat(f).st_mode)", f=f), "0o100640")


@row(pairs=(("guest", "host"),))
def acl_default(mode, a, b):
    """the default ACL of a folder is given to what is made in it"""
    d, user = Path("acl"), SITE.user
    data = acl((1, 7, NONE), (2, 6, user.uid), (4, 5, NONE), (16, 7, NONE), (32, 0, NONE))
    a("os.mkdir(d), os.setxattr(d, 'system.posix_acl_default', data), os.umask(0o022), write(d + '/f', b'', mode=0o666), os.mkdir(d + '/d')",
      d=d, data=data)
    equal(b("oct(os.stat(d + '/f').st_mode), os.getxattr(d + '/d', 'system.posix_acl_default') == data", d=d, data=data), ("0o100660", True))
    got = b("os.getxattr(d + '/f', 'system.posix_acl_access')", d=d)
    equal(got, acl((1, 6, NONE), (2, 6, user.uid), (4, 5, NONE), (16, 6, NONE), (32, 0, NONE)))


@row(pairs=ONE)
def acl_of_others(mode, a, _):
    """a POSIX ACL that names others"""
    f = Path("acl")
    data = acl((1, 6, NONE), (2, 6, 54321), (4, 4, NONE), (16, 6, NONE), (32, 0, NONE))
    a("write(f, b'x')", f=f)
    equal(a("os.setxattr(f, 'system.posix_acl_access', data)", f=f, data=data), None if SITE.user.uid == 0 else "EINVAL")
    PLACES["host"]("os.setxattr(f, 'system.posix_acl_access', data)", f=f, data=data)
    equal(a("read(f)", f=f), b"x")


@row(pairs=(("guest", "host"), ("guest", "other")))
def set_group_folder(mode, a, b):
    """a set-group-ID folder gives its group to what is made in it"""
    d = Path("setgid")
    a("os.mkdir(d), os.chmod(d, 0o2770), write(d + '/f', b''), os.mkdir(d + '/sub')", d=d)
    equal(b("os.stat(d + '/f').st_gid == os.stat(d).st_gid, bool(os.stat(d + '/sub').st_mode & 0o2000)", d=d), (True, True))


@row(pairs=ONE)
def refused(mode, a, _):
    """device nodes, others' ids, and files without a name"""
    f = Path("refused")
    a("write(f, b'')", f=f)
    equal(a("names_errno(os.open, os.path.dirname(f), os.O_TMPFILE | os.O_WRONLY)", f=f), "ENOTSUP")
    if SITE.user.uid != 0:
        equal(a("os.mknod(f + 'n', 0o666 | stat.S_IFBLK, os.makedev(8, 0))", f=f), "EPERM")
        equal(a("os.chown(f, 0, 0)", f=f), "EPERM")
    PLACES["host"]("os.chmod(f, 0)", f=f)
    wait_for(lambda: a("names_errno(read, f)", f=f) == (b"" if SITE.user.uid == 0 else "EACCES"), "the mode")


# Data


@row(pairs=PAIRS)
def direct(mode, a, b):
    """O_DIRECT"""
    f = Path("direct")
    text = "m = mmap.mmap(-1, 8192)\nm[:] = b'd' * 8192\nfd = os.open(f, os.O_CREAT | os.O_RDWR | os.O_DIRECT)\nn = os.pwrite(fd, m, 4096)\nos.close(fd)"
    equal((a(text, f=f), a("n")), (None, 8192))
    equal(b("len(read(f)), read(f)[4096:] == b'd' * 8192", f=f), (12288, True))
    text = "m = mmap.mmap(-1, 8192)\nfd = os.open(f, os.O_RDONLY | os.O_DIRECT)\nn = os.preadv(fd, [m], 4096), m[:] == b'd' * 8192\nos.close(fd)"
    equal((b(text, f=f), b("n")), (None, (8192, True)))


@row(pairs=PAIRS)
def sparse(mode, a, b):
    """sparse files"""
    f = Path("sparse")
    a("fd = os.open(f, os.O_RDWR | os.O_CREAT)\nos.ftruncate(fd, 20 << 30)\nos.pwrite(fd, b'x' * 4096, 10 << 30)\nos.fsync(fd)\nos.close(fd)", f=f)
    equal(b("os.stat(f).st_size, os.stat(f).st_blocks <= 64", f=f), (20 << 30, True))
    b("fd = keep(os.open(f, os.O_RDWR))", f=f)
    equal(b("os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 10 << 30, os.SEEK_HOLE)"), (10 << 30, (10 << 30) + 4096))
    equal(b("os.pread(fd, 2, (10 << 30) - 1)"), b"\0x")
    # Punched by one, seen by the other.
    libc = "libc = ctypes.CDLL(None, use_errno=True)\nlibc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]\n"
    b(libc + "answer = libc.fallocate(fd, 3, 10 << 30, 4096)")
    equal((b("answer"), a("read_at", read_at=0)), (0, 0))
    wait_for(lambda: a("os.stat(f).st_blocks", f=f) == 0, "the hole")


@row(pairs=ONE)
def copies(mode, a, _):
    """copy_file_range, sendfile, preallocation and sync"""
    f = Path("copy")
    a("write(f, b'0123456789' * 1000), fd := keep(os.open(f, os.O_RDWR)), to := keep(os.open(f + '2', os.O_RDWR | os.O_CREAT))", f=f)
    equal(a("os.copy_file_range(fd, to, 10000, 0, 0), os.lseek(to, 10000, 0), os.sendfile(to, fd, 5000, 5000), "
            "read(f + '2') == b'0123456789' * 1500", f=f), (10000, 10000, 5000, True))
    equal(a("os.posix_fallocate(to, 0, 1 << 20), os.fstat(to).st_size, os.fsync(to), os.fdatasync(to), os.sync()"),
          (None, 1 << 20, None, None, None))
    equal(a("os.fsync(keep(os.open(os.path.dirname(f), os.O_RDONLY)))", f=f), None)


@row(pairs=ONE)
def many_files(mode, a, _):
    """100,000 files in a folder"""
    d = f"{SITE.work}/many"
    PLACES["host"]("os.makedirs(d, exist_ok=True), [os.mknod(f'{d}/{i}', 0o644) for i in range(len(os.listdir(d)), 100000)] and None", d=d)
    equal(a("len(set(os.listdir(d)))", d=d), 100000)
    # More than a server may have descriptors, where that is few: names are to be forgotten again.
    looked = 25000 if mode == "local" else 2000
    equal(a("sum(os.stat(f'{d}/{i}').st_size == 0 for i in range(looked))", d=d, looked=looked), looked)


def rooms():
    """Descriptors that each file server may still have, of those that may be looked at."""
    found = []
    for process in processes():
        with contextlib.suppress(OSError):
            if process.name.startswith("virtiofsd"):
                with open(f"/proc/{process.pid}/limits", encoding="ascii") as file:
                    most = int(next(line for line in file if line.startswith("Max open files")).split()[3])
                found.append(most - len(os.listdir(f"/proc/{process.pid}/fd")))
    return found


@row(pairs=ONE)
def many_open(mode, a, _):
    """5,000 open files"""
    d = Path("open")
    PLACES["host"]("os.mkdir(d), [os.mknod(f'{d}/{i}', 0o644) for i in range(5000)] and None", d=d)
    a("resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)")
    # A server forgets beside what it is asked: it may still have names of the row before.
    wait_for(lambda: all(room > 10100 for room in rooms()), "a descriptor for each name and each file, in every server")
    equal(a("len([keep(os.open(f'{d}/{i}', os.O_RDWR)) for i in range(5000)])", d=d), 5000, f"with {rooms()} descriptors free now: got")
    equal(a("sum(os.write(fd, b'x') for fd in HELD[-5000::50])"), 100)


@row(pairs=ONE)
def free_space(mode, a, _):
    """df says what it says on the machine"""
    text = "(lambda s: (s.f_blocks * s.f_frsize, s.f_files, s.f_namemax))(os.statvfs(p))"
    for path in (SITE.work, SITE.user.home, "/usr"):
        equal(a(text, p=path), PLACES["host"](text, p=path), path)


# Databases


COUNT = 60


def make_database(f, journal):
    PLACES["host"]("make_counter(f, journal)", f=f, journal=journal)


def read_counter(f):
    return PLACES["host"]("read_counter(f)", f=f)


@row(modes=("remote",), pairs=TWO)
def database(mode, a, b):
    """two count up in one sqlite database"""
    f = Path("db")
    make_database(f, "delete")
    together((a, "count_up(f, n, 60)", {"f": f, "n": COUNT}), (b, "count_up(f, n, 60)", {"f": f, "n": COUNT}))
    equal(read_counter(f), (2 * COUNT, "ok"))


@row(pairs=ONE)
def database_of_one(mode, a, _):
    """two processes of a guest count up in one sqlite database"""
    f = Path("db")
    make_database(f, "delete")
    a("pid = os.fork()\nif pid == 0:\n    count_up(f, n, 60)\n    os._exit(0)\ncount_up(f, n, 60)\nstatus = os.waitpid(pid, 0)[1]", f=f, n=COUNT)
    equal((a("status"), read_counter(f)), (0, (2 * COUNT, "ok")))


@row(pairs=ONE)
def database_wal(mode, a, _):
    """a sqlite database with a write-ahead log, whose index is a shared mapping"""
    f = Path("db")
    make_database(f, "wal")
    if mode == "local":
        equal(a("count_up(f, 5, 60)", f=f), 0)
        equal(read_counter(f), (5, "ok"))
    else:
        a("try:\n    got = count_up(f, 5, 60)\nexcept sqlite3.OperationalError as problem:\n    got = str(problem)", f=f)
        got = a("got")
        assert isinstance(got, str), got
        equal(read_counter(f), (0, "ok"))


CHUNKS = """
def chunks(path, which, rounds):
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(rounds):
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.001)
        count, = struct.unpack("<q", os.pread(fd, 8, 0).ljust(8, bytes(1)))
        os.pwrite(fd, bytes([65 + which]) * 1000, 64 + count * 1000)
        os.pwrite(fd, struct.pack("<q", count + 1), 0)
        fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)
"""


@row(modes=("remote",), pairs=TWO)
def chunked(mode, a, b):
    """two add chunks to a file with a header, as HDF5 does, under flock without waiting"""
    f = Path("h5")
    for place in (a, b):
        place(CHUNKS)
    together((a, "chunks(f, 0, 60)", {"f": f}), (b, "chunks(f, 1, 60)", {"f": f}))
    with open(f, "rb") as file:
        data = file.read()
    equal((int.from_bytes(data[:8], "little"), len(data)), (120, 64 + 120000))
    kinds = [data[64 + i * 1000:][:1000] for i in range(120)]
    equal(sorted(set(kinds)), [b"A" * 1000, b"B" * 1000])
    equal(kinds.count(b"A" * 1000), 60)


# The table is run: all rows of a mode with the same two guests


def stop_guests():
    global MODE
    for name in ("guest", "other"):
        if name in PLACES:
            PLACES.pop(name).end()
    MODE = None


def start_guests(mode):
    """Two jobs of one owner."""
    global MODE
    if MODE == mode:
        return
    stop_guests()
    for name in ("guest", "other"):
        PLACES[name] = start_guest(SITE, name, "-vm", f"share_locks={mode}")
    for name in ("guest", "other"):
        PLACES[name].wait_ready()
    MODE = mode


def bind(function, mode, pair):
    def test():
        start_guests(mode)
        places = [PLACES[name] if name else None for name in pair]
        try:
            function(mode, *places)
        finally:
            for place in places:
                if place and place.process.poll() is None:
                    settle(place)
    names = " and ".join(name for name in pair if name)
    test.__doc__ = f"{function.__doc__}: {names}, locks {mode}"
    test.__name__ = f"{mode}_{function.__name__}_{names.replace(' and ', '_')}"
    return test


def refused_by_name():
    """locks on the machine by a server that has none are refused before anything starts"""
    with Site("VIRTIOFSD=rust", user=SITE.user) as site:
        inventory = Inventory(site)
        result = site.vsub("--local", "-vm", "img=tiny,share_locks=remote", input="true")
        equal((result.status, result.out), (2, b""))
        assert b"VIRTIOFSD 'rust' cannot hold locks where the host sees them" in result.err, result
        inventory.check()


def not_installed():
    """a server that is not installed is one line, and nothing starts"""
    with Site("VIRTIOFSD=rust", user=SITE.user) as site:
        if any(os.path.exists(path) for path in ("/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")):
            return  # it would be started
        inventory = Inventory(site)
        result = site.vsub("--local", "-vm", "img=tiny", input="true")
        equal((result.status, result.out, result.err.count(b"\n")), (125, b"", 1))
        assert b"VIRTIOFSD 'rust' is not installed" in result.err, result
        inventory.check()


def guests_end():
    """the guests end as jobs do"""
    stop_guests()


def run(user=None, table=TABLE):
    global SITE
    tests = [bind(function, mode, pair) for mode in BOTH for function, modes, pairs in table if mode in modes for pair in pairs]
    with Site(user=user) as SITE:
        PLACES["host"] = start_host(SITE)
        PLACES["host"].wait_ready()
        try:
            run_tests([refused_by_name, not_installed, *tests, guests_end], jobs=1)
        finally:
            for place in PLACES.values():
                place.stop()


if __name__ == "__main__":
    run()

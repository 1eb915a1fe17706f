#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmgr setup --node on a Torque's home that nobody runs: installed, interrupted at each step, taken out, refused, checked.
Needs root. Speaks TAP.

After each step whatever comes of it is asked as Torque would ask it: each hook that is there may be run by its rules, and a job
without a virtual machine gets from it what the site's script says, or nothing. What is looked at in files is all of them: bytes,
owner, mode, time, and that it is the same file.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

from lib import BUILD, DEADLINE, SOURCE, Result, Site, TemporaryUser, equal, run_tests, wait_for

sys.path.insert(0, f"{SOURCE}/tests/torque")
from process import may_run

ORDER = ("epilogue", "epilogue.parallel", "epilogue.precancel", "prologue.parallel", "prologue")
MARK = b"vtorque-hook (vTorque) "
NOBODY = 65534
SITE = USER = None


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data, mode=0o755, uid=0, when=1234567890123456789):
    with open(path, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
    os.chown(path, uid, uid)
    os.chmod(path, mode)
    os.utime(path, ns=(when, when))


def other_version():
    """A hook of a version that there is not yet."""
    return re.sub(re.escape(MARK) + b"[0-9]", MARK + b"9", read(f"{SITE.bin}/vtorque-hook"))


def other_version_text():
    return re.search(rb"\(vTorque\) ([0-9.]+)", other_version())[1].decode()


class Node:
    """A TORQUE_HOME."""

    def __init__(self, scripts=()):
        self.home = tempfile.mkdtemp(prefix="vtt-setup-")
        self.folder = f"{self.home}/mom_priv"
        os.chmod(self.home, 0o755)
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o751)
        write(f"{self.folder}/config", "$prologalarm 200\n", 0o644)
        for number, name in enumerate(scripts):
            self.script(name, mode=(0o755, 0o555, 0o705, 0o755, 0o700)[number % 5] | (0o5 if "precancel" in name else 0), when=10**18 + number)
        self.before = self.files()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.home)

    def path(self, name):
        return f"{self.folder}/{name}"

    def script(self, name, suffix="", **options):
        write(self.path(name + suffix), f"#!/bin/sh\necho the site has $# for {name}\nexit {3 + ORDER.index(name)}\n", **options)

    def files(self):
        """{name: all that there is of it}"""
        found = {}
        for name in os.listdir(self.folder):
            path = self.path(name)
            st = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(st.st_mode) else None if stat.S_ISDIR(st.st_mode) else (len(data := read(path)), hashlib.sha256(data).hexdigest())
            found[name] = (what, oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, st.st_ino)
        return found

    def setup(self, act, *words, through=(), **options):
        return vmgr("setup", act, "--node", "--torque-home", self.home, *words, through=through, **options)

    def do(self, act, *words, **options):
        """What it says, of a call that must go well."""
        result = self.setup(act, *words, **options)
        equal((result.status, result.err), (0, ""), act)
        return result.out

    def check_bare(self, scripts):
        """What a job without a virtual machine finds."""
        for name in ORDER:
            path = self.path(name)
            expected = (3 + ORDER.index(name), f"the site has 2 for {name}\n") if name in scripts else (0, "")
            if not os.path.exists(path):
                assert name not in scripts, f"{name} is missing"
                continue
            assert may_run(path, 0, for_all="precancel" in name), f"{name}: {self.files()[name]}"
            done = subprocess.run([path, "1.head", "ann"], cwd=self.folder, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
            equal((done.returncode, done.stdout, done.stderr), (*expected, ""), name)

    def check_installed(self, scripts):
        program = hashlib.sha256(read(f"{SITE.bin}/vtorque-hook")).hexdigest()
        now = self.files()
        equal(set(now), {"config", *ORDER, *(f"{name}.orig" for name in scripts)})
        for name in ORDER:
            equal((now[name][0][1], *now[name][1:4]), (program, "0o100755", 0, 0), name)
        for name in scripts:
            equal(now[f"{name}.orig"], self.before[name])
        self.check_bare(scripts)


def vmgr(*words, through=(), user=None, program=None, **options):
    prefix = user.prefix() if user else []
    done = subprocess.run([*through, *prefix, program or f"{SITE.bin}/vmgr", *words], capture_output="stdout" not in options, text=True, check=False,
                          timeout=DEADLINE, cwd="/", env=(user or SITE.user).environment(), **options)
    return Result(done.returncode, done.stdout, done.stderr)


def one_line(result, status, pattern):
    """It failed with one line that says this."""
    equal(result.status, status, f"{result}: status")
    assert re.fullmatch(r"vmgr: [^\n]+\n", result.err) and re.search(pattern, result.err), result


def lines(text):
    """[(what, word)]"""
    return [tuple(line.split()[:2]) for line in text.splitlines()]


INSTALLED = [(name, "install") for name in ORDER]
KEPT = [(name, word) for name in ORDER for word in ("keep", "install")]


# Install and back


def empty_node():
    """no script of the site's: five hooks, then nothing to do, then nothing left"""
    with Node() as node:
        equal(lines(node.do("install")), INSTALLED)
        node.check_installed(())
        installed = node.files()
        equal(node.do("install"), f"nothing to do in {node.folder}\n")
        equal(node.files(), installed)
        equal(lines(node.do("uninstall")), [(name, "remove") for name in reversed(ORDER)])
        equal(node.files(), node.before)
        equal(node.do("uninstall"), f"nothing to do in {node.folder}\n")


def full_node():
    """the site has all five: they are NAME.orig, run with what they print and return, and come back as they were"""
    with Node(ORDER) as node:
        node.check_bare(ORDER)
        equal(lines(node.do("install")), KEPT)
        node.check_installed(ORDER)
        equal(node.do("install"), f"nothing to do in {node.folder}\n")
        equal(lines(node.do("uninstall")), [(name, "restore") for name in reversed(ORDER)])
        equal(node.files(), node.before)


def dry_run():
    """--dry-run says the same lines and touches nothing, for root and for a user"""
    with Node(ORDER[3:]) as node:
        folder = os.stat(node.folder)
        for user in (None, USER):
            program = f"{SITE.bin}/vmgr" if user else None
            told = node.do("install", "--dry-run", user=user, program=program)
            equal((node.files(), os.stat(node.folder).st_mtime_ns), (node.before, folder.st_mtime_ns))
            assert told.endswith("nothing was done: this was a dry run\n"), told
        equal(node.do("install"), told.replace("nothing was done: this was a dry run\n", ""))
        now = node.files()
        equal(lines(node.do("uninstall", "--dry-run"))[:5], [(name, "restore" if name in ORDER[3:] else "remove") for name in reversed(ORDER)])
        equal(node.files(), now)


def another_version():
    """another version is replaced, and the site's own stays; uninstall knows any version, also without a hook to compare with"""
    with Node(ORDER) as node, Prefix() as prefix:
        prefix.write("vtorque-hook", other_version())
        assert "vTorque's hook\n" in node.do("install", "--prefix", prefix.folder)
        told = node.do("install")
        equal(lines(told), INSTALLED)
        equal(told.count(f"in place of that of version {other_version_text()}\n"), 5)
        node.check_installed(ORDER)
        node.do("install", "--prefix", prefix.folder)
        shutil.copy(f"{SITE.bin}/vmgr", f"{prefix.folder}/bin")
        os.unlink(f"{prefix.folder}/bin/vtorque-hook")
        equal(lines(node.do("uninstall", program=f"{prefix.folder}/bin/vmgr")), [(name, "restore") for name in reversed(ORDER)])
        equal(node.files(), node.before)


def mended():
    """ours with another owner, mode, or as a link is put right"""
    def link(path):
        os.unlink(path)
        os.symlink(f"{SITE.bin}/vtorque-hook", path)

    with Node() as node:
        node.do("install")
        for spoil in (lambda path: os.chmod(path, 0o775), lambda path: os.chmod(path, 0o700), lambda path: os.chown(path, NOBODY, 0), link):
            spoil(node.path("prologue"))
            equal(lines(node.do("install")), [("prologue", "install")])
            node.check_installed(())
        link(node.path("prologue"))
        equal(("prologue", "remove") in lines(node.do("uninstall")), True)
        equal((node.files(), os.path.exists(f"{SITE.bin}/vtorque-hook")), (node.before, True))


def linked_script():
    """a site's script that is a link to root's file stays one, and comes back"""
    with Node() as node:
        os.mkdir(f"{node.home}/site")
        write(f"{node.home}/site/real", "#!/bin/sh\nexit 7\n")
        os.symlink("../site/real", node.path("prologue"))
        os.symlink("no/such", node.path("epilogue"))
        before = node.files()
        node.do("install")
        equal(os.readlink(node.path("prologue.orig")), "../site/real")
        equal([subprocess.run([node.path(name), "1", "ann"], check=False).returncode for name in ("prologue", "epilogue")], [7, 0])
        node.do("uninstall")
        equal(node.files(), before)


def hard_linked():
    """one file that is two scripts of the site's: both come back"""
    with Node(["prologue"]) as node:
        os.link(node.path("prologue"), node.path("prologue.parallel"))
        before = node.files()
        node.do("install")
        equal(node.files()["prologue.parallel.orig"], before["prologue"])
        node.do("uninstall")
        equal(node.files(), before)


# Interrupted


def step_by_hand(node, name, word, hook):
    if word == "keep":
        os.link(node.path(name), node.path(f"{name}.orig"), follow_symlinks=False)
    elif word == "install":
        write(node.path("by-hand"), hook)
        os.rename(node.path("by-hand"), node.path(name))
    elif word == "restore":
        os.rename(node.path(f"{name}.orig"), node.path(name))
    else:
        os.unlink(node.path(name))


def from_each_state(scripts, act, then):
    """What an interruption of `act` leaves after each of its steps, with and without half a hook on the way: jobs run, and `then`
    makes a whole thing of it."""
    with Node(scripts) as node:
        if act == "uninstall":
            node.do("install")
        steps = lines(node.do(act, "--dry-run"))[:-1]
    assert len(steps) >= len(ORDER), steps
    hook = read(f"{SITE.bin}/vtorque-hook")
    for done in range(len(steps) + 1):
        for has_half in (False, True):
            with Node(scripts) as node:
                if act == "uninstall":
                    node.do("install")
                for name, word in steps[:done]:
                    step_by_hand(node, name, word, hook)
                if has_half:
                    write(node.path(".vtorque-hook.prologue"), hook[:1000], 0o600)
                node.check_bare(scripts)
                node.do(then)
                if then == "install":
                    node.check_installed(scripts)
                else:
                    equal(node.files(), node.before, f"after {done} steps")


def interrupted(scripts, act, then, what):
    def row():
        from_each_state(scripts, act, then)
    row.__name__, row.__doc__ = f"interrupted_{act}_{then}_{len(scripts)}", f"{act} interrupted after each step, {what}: {then} makes a whole thing of it"
    return row


def killed(act, scripts):
    """Nobody reads what it says: it is killed when it has told one step, again and again."""
    def row():
        with Node(scripts) as node:
            if act == "uninstall":
                node.do("install")
            for calls in range(20):
                reader, writer = os.pipe()
                os.close(reader)
                result = node.setup(act, stdout=writer, stderr=subprocess.DEVNULL)
                os.close(writer)
                equal(result.status, -signal.SIGPIPE)
                node.check_bare(scripts)
                if "nothing to do" in node.do(act, "--dry-run"):
                    break
            assert calls >= len(ORDER) - 1, calls
            if act == "install":
                node.check_installed(scripts)
            else:
                equal(node.files(), node.before)
    row.__name__, row.__doc__ = f"killed_{act}_{len(scripts)}", f"{act} killed after each step, {len(scripts)} scripts of the site's: a further call goes on"
    return row


def changed_meanwhile(scripts):
    with Node(scripts) as node:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"." * 65536)
        os.set_blocking(writer, True)  # and so vmgr waits in telling its first step
        words = (f"{SITE.bin}/vmgr", "setup", "install", "--node", "--torque-home", node.home)
        with subprocess.Popen(words, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
            os.close(writer)
            wait_for(lambda: os.path.exists(node.path("epilogue")), "the first step")
            write(node.path("another"), "#!/bin/sh\necho the site has 2 for prologue\nexit 7\n", when=7)
            os.rename(node.path("another"), node.path("prologue"))
            while os.read(reader, 65536):
                pass
            os.close(reader)
            one_line(Result(process.wait(DEADLINE), "", process.stderr.read()), 125, r"prologue': somebody else has changed it meanwhile")
        equal((node.files()["prologue"][4], "prologue.orig" in node.files()), (7, False))
        node.do("install")
        equal(node.files()["prologue.orig"][4], 7)
        node.check_bare(["prologue"])


def replaced_meanwhile():
    """somebody else replaces a script under way: it is neither overwritten nor taken for what it was, and a second call takes it in"""
    changed_meanwhile(["prologue"])


def added_meanwhile():
    """the same of a script where there was none"""
    changed_meanwhile([])


# What it changes with, how that may fail, and how often it is made with three scripts of the site's: for five copies, three second
# names, and the folder after each. None: it is made for other ends, too.
CALLS = (
    ("install", "vmgr", "linkat", "EPERM", 3), ("install", "vmgr", "renameat", "EIO", 5), ("install", "vmgr", "fsync", "EIO", 5 + 8), ("install", "vmgr", "write", "ENOSPC", None),
    ("install", "vmgr", "fchmod", "EPERM", 5), ("install", "vmgr", "fchown", "EPERM", 5), ("install", "vmgr", "flock", "EIO", 1), ("install", "vmgr", "openat", "EMFILE", None),
    ("install", "vmgr", "newfstatat", "EIO", None), ("install", "vmgr-child", "execveat", "EACCES", 5), ("uninstall", "vmgr", "renameat", "EIO", 3),
    ("uninstall", "vmgr", "unlinkat", "EIO", 2), ("uninstall", "vmgr", "fsync", "EIO", 5),
)


def fails(act, role, call, error, calls):
    scripts = ORDER[2:]

    def row():
        hits = 0
        for number in range(1, 300):
            with Node(scripts) as node:
                if act == "uninstall":
                    node.do("install")
                before, log = node.files(), f"{node.home}/log"
                tool = (f"{BUILD}/tests/system/inject", role, call, str(number), str(getattr(errno, error)), log)
                result = node.setup(act, through=tool)
                node.check_bare(scripts)
                if not os.path.exists(log):
                    equal(result.status, 0)
                    break
                hits += 1
                # A line that could not be printed, a file that only some look for.
                if result.status == 0:
                    assert call in ("write", "openat", "newfstatat"), (number, result)
                else:
                    assert result.status in (125, 2, 127) or call == "openat", (number, result)
                    assert call in ("openat", "newfstatat") or re.fullmatch(r"vmgr: [^\n]+\n", result.err), (number, result)
                assert not [name for name in node.files() if name.startswith(".")], node.files()
                if before == node.files() and act == "install":
                    assert result.status, result
                node.do(act)
                if act == "install":
                    node.check_installed(scripts)
                node.do("uninstall")
                equal(node.files(), node.before, f"call {number}")
        assert hits == calls if calls else 1 <= hits < 290, hits
    row.__name__, row.__doc__ = f"fails_{act}_{call}", f"{act}: each {call} fails with {error}: a line, jobs run, nothing half is left, a second call does the rest"
    return row


# What is left alone, and what is refused


def foreign():
    """hooks that somebody else has replaced, removed or added to: uninstall leaves them and says so; install refuses and changes nothing"""
    with Node(ORDER) as node:
        node.do("install")
        node.script("prologue", when=5)
        os.unlink(node.path("epilogue"))
        write(node.path("epilogue.parallel"), b"#!/bin/sh\n# instead of vtorque-hook (vTorque) 0.1.0\n")
        os.unlink(node.path("epilogue.parallel.orig"))
        now = node.files()
        one_line(node.setup("install"), 125, r"epilogue\.orig' is there without a script to which it belongs")
        equal(node.files(), now)
        os.unlink(node.path("epilogue.orig"))
        one_line(node.setup("install"), 125, r"prologue\.orig' is in the way of the site's script")
        now = node.files()
        told = node.do("uninstall")
        equal(lines(told), [("prologue", "leave"), ("prologue.parallel", "restore"), ("epilogue.precancel", "restore"), ("epilogue.parallel", "leave")])
        assert "prologue             leave    not vTorque's, and prologue.orig is another file\n" in told, told
        after = node.files()
        for name in ("prologue", "prologue.orig", "epilogue.parallel", "config"):
            equal(after.pop(name), now[name])
        equal(after, {name: node.before[name] for name in ("prologue.parallel", "epilogue.precancel")})


def ours_as_orig():
    """a copy of ours as NAME.orig would run itself: refused, and taken out"""
    with Node() as node:
        shutil.copy(f"{SITE.bin}/vtorque-hook", node.path("prologue.orig"))
        for name in (None, "prologue"):
            if name:
                shutil.copy(f"{SITE.bin}/vtorque-hook", node.path(name))
            now = node.files()
            one_line(node.setup("install"), 125, r"prologue\.orig' is a copy of vtorque-hook")
            equal(node.files(), now)
        node.do("uninstall")
        equal(node.files(), node.before)


def link_to(target):
    def spoil(node):
        write(f"{node.home}/real", "#!/bin/sh\n")
        os.mkdir(f"{node.home}/open")
        write(f"{node.home}/open/real", "#!/bin/sh\n")
        os.chmod(f"{node.home}/open", 0o777)
        os.symlink("real", f"{node.home}/link")
        os.unlink(node.path("prologue"))
        os.symlink(target, node.path("prologue"))
    return spoil


def move_home(node):
    """mom_priv is a link of a user's."""
    os.rename(node.folder, f"{node.home}/real")
    os.symlink("real", node.folder)
    os.chown(node.folder, USER.uid, USER.gid, follow_symlinks=False)


def make_folder(node):
    os.unlink(node.path("prologue"))
    os.mkdir(node.path("prologue"))


def orig_of(spoil):
    def both(node):
        node.do("install")
        spoil(node.path("prologue.orig"))
    return both


UNSAFE = (
    ("mom_priv writable by its group", lambda node: os.chmod(node.folder, 0o771), r"mom_priv' has mode 0771"),
    ("mom_priv of a user", lambda node: os.chown(node.folder, USER.uid, 0), r"mom_priv' belongs to uid \d+"),
    ("TORQUE_HOME writable by all", lambda node: os.chmod(node.home, 0o757), r"' has mode 0757"),
    ("TORQUE_HOME of a user", lambda node: os.chown(node.home, USER.uid, 0), r"' belongs to uid \d+"),
    ("mom_priv is a user's link", move_home, r"mom_priv' belongs to uid \d+"),
    ("no mom_priv", lambda node: os.rename(node.folder, f"{node.home}/gone"), r"no directory '.*/mom_priv'"),
    ("a script writable by its group", lambda node: os.chmod(node.path("prologue"), 0o775), r"prologue' has mode 0775: must not be writable"),
    ("a script of a user", lambda node: os.chown(node.path("prologue"), USER.uid, 0), r"prologue' belongs to uid \d+"),
    ("a script that is not executable", lambda node: os.chmod(node.path("prologue"), 0o644), r"prologue' has mode 0644: must be executable by root"),
    ("precancel not for users", lambda node: node.script("epilogue.precancel", mode=0o700), r"precancel' has mode 0700: must be executable by everybody"),
    ("a script that is a folder", make_folder, r"prologue' is no file"),
    ("a link below what all may write to", link_to("../open/real"), r"prologue' is a link: '.*/open' has mode 0777"),
    ("a link to a link", link_to("../link"), r"prologue' is a link: 'link' is a link"),
    ("the site's own, installed, then writable", orig_of(lambda path: os.chmod(path, 0o757)), r"prologue\.orig' has mode 0757"),
    ("the site's own, installed, then a user's", orig_of(lambda path: os.chown(path, USER.uid, 0)), r"prologue\.orig' belongs to uid"),
)


def unsafe(number, what, spoil, pattern):
    def row():
        with Node(["prologue"]) as node:
            spoil(node)
            there = os.path.isdir(node.folder)
            now = node.files() if there else None
            for words in ((), ("--dry-run",)):
                one_line(node.setup("install", *words), 125, pattern)
            equal(node.files() if there else None, now)
    row.__name__, row.__doc__ = f"unsafe_{number}", f"install refuses: {what}"
    return row


class Prefix:
    """An installation of one's own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="vtt-prefix-")
        os.chmod(self.folder, 0o755)
        os.mkdir(f"{self.folder}/bin")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def write(self, name, data, **options):
        write(f"{self.folder}/bin/{name}", data, **options)


HOOKS = (
    ("not there", lambda prefix, hook: None, r"cannot find 'vtorque-hook' below"),
    ("a user's", lambda prefix, hook: prefix.write("vtorque-hook", hook, uid=NOBODY), r"belongs to uid 65534"),
    ("writable by all", lambda prefix, hook: prefix.write("vtorque-hook", hook, mode=0o757), r"has mode 0757"),
    ("in a folder that all may write to", lambda prefix, hook: (prefix.write("vtorque-hook", hook), os.chmod(f"{prefix.folder}/bin", 0o777)), r"bin' has mode 0777"),
    ("another program", lambda prefix, hook: prefix.write("vtorque-hook", read("/usr/bin/true")), r"is not vTorque's hook"),
    ("a script with its mark", lambda prefix, hook: prefix.write("vtorque-hook", b"#!/bin/sh\n# " + MARK), r"is not vTorque's hook"),
    ("cut", lambda prefix, hook: prefix.write("vtorque-hook", hook[:hook.index(MARK) + 40]), r"cannot be executed here"),
    ("of another machine", lambda prefix, hook: prefix.write("vtorque-hook", hook[:18] + b"\xf3\0" + hook[20:]), r"cannot be executed here"),
)


def bad_hook(number, what, make, pattern):
    def row():
        with Node(["prologue"]) as node, Prefix() as prefix:
            make(prefix, read(f"{SITE.bin}/vtorque-hook"))
            one_line(node.setup("install", "--prefix", prefix.folder), 125, pattern)
            equal(node.files(), node.before)
    row.__name__, row.__doc__ = f"bad_hook_{number}", f"install refuses a vtorque-hook that is {what}"
    return row


def noexec():
    """mom_priv mounted with noexec: refused, nothing changed; check says it"""
    with Node(["prologue"]) as node:
        mount = ("unshare", "--mount", "sh", "-c", f"mount --bind {node.folder} {node.folder} && mount -o remount,bind,noexec {node.folder} && exec \"$@\"", "sh")
        one_line(node.setup("install", through=mount), 125, "mounted with noexec")
        equal(node.files(), node.before)
        assert ("mom_priv", "wrong") in lines(node.setup("check", through=mount).out)


def locked():
    """another vmgr setup is at work: refused; a dry run is not"""
    with Node() as node:
        folder = os.open(node.folder, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        for act in ("install", "uninstall"):
            one_line(node.setup(act), 125, "another vmgr setup is at work")
        node.do("install", "--dry-run")
        equal(node.files(), node.before)
        os.close(folder)


def as_user():
    """an ordinary user may look, and nothing else"""
    with Node(["prologue"]) as node:
        for act in ("install", "uninstall"):
            one_line(node.setup(act, user=USER), 2, "must be run by root, or with --dry-run")
        equal(node.files(), node.before)
        node.do("install")
        told = dict(lines(node.setup("check", user=USER).out))
        equal([told[name] for name in ORDER], ["ok"] * 4 + ["ok"])
        os.chmod(node.path("prologue"), 0o700)
        equal(dict(lines(node.setup("check", user=USER).out))["prologue"], "unseen")
        equal(node.setup("check", user=USER).status, 1)


WRONG = (
    ((), "usage: vmgr setup install"), (("--node",), "usage: vmgr setup"), (("remove", "--node"), "usage: vmgr setup"), (("install",), "say --node"),
    (("check",), "say --node"), (("install", "uninstall", "--node"), "usage: vmgr setup"), (("install", "--node", "--torque-home", "here"), "must be an absolute path"),
    (("check", "--node", "--prefix", "../x"), "must be an absolute path"), (("install", "--node", "--torque-home"), "usage"), (("install", "--nodes"), "--nodes"),
    (("install", "--node", "--torque-home", ""), "must be an absolute path"),
)


def command_line():
    """mistakes in the command line: status 2 and one line"""
    for words, pattern in WRONG:
        one_line(vmgr("setup", *words), 2, pattern)


# Check


class Machine:
    """A mount namespace with a /run/vtorque, and an /etc/vtorque, of its own. The other tests change /etc at the same time."""

    def __init__(self):
        steps = ("mount -t tmpfs -o mode=755 etc /mnt && cp -p /etc/ld.so.cache /etc/passwd /etc/group /etc/nsswitch.conf /mnt && mkdir /mnt/vtorque && mount --bind /mnt /etc && mkdir -p /run/vtorque && "
                 "mount -t tmpfs -o mode=755 vtorque /run/vtorque && echo up && exec cat")
        self.holder = subprocess.Popen(["unshare", "--mount", "sh", "-c", steps], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        equal(self.holder.stdout.readline(), b"up\n", "the start of the machine")
        self.through = ("nsenter", "-t", str(self.holder.pid), "-m")
        self.daemon = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop_daemon()
        self.holder.communicate()

    def settings(self, text, mode=0o644):
        write(f"/proc/{self.holder.pid}/root/etc/vtorque/vtorque.conf", text, mode)

    def no_settings(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"/proc/{self.holder.pid}/root/etc/vtorque/vtorque.conf")

    def start_daemon(self):
        self.daemon = subprocess.Popen([*self.through, f"{BUILD}/bin/vtorqued"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(f"/proc/{self.holder.pid}/root/run/vtorque/hook.sock"), "vtorqued's socket")

    def replace_daemon(self):
        """Something else answers, and not as a daemon does."""
        self.stop_daemon()
        text = ("import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind('/run/vtorque/user.sock')\ns.listen()\nprint('up', flush=True)\n"
                "c, _ = s.accept()\nc.recv(100)\nc.sendall(bytes((0, 0, 0, 0, 128, 0, 0, 0)))\nc.recv(100)\n")
        self.daemon = subprocess.Popen([*self.through, sys.executable, "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        equal(self.daemon.stdout.readline(), b"up\n")

    def stop_daemon(self):
        if self.daemon:
            self.daemon.send_signal(signal.SIGCONT)
            self.daemon.terminate()
            self.daemon.wait(DEADLINE)
        self.daemon = None


DIGEST = f"sha256-{0:064}"


def make_pool(folder, *names):
    """Images with one disk of 512 bytes."""
    os.makedirs(folder, 0o755)
    write(f"{folder}/{DIGEST}", bytes(512), 0o644)
    for name in names:
        record = {"version": 1, "name": name, "family": "debian", "arch": "x86_64", "format": "raw", "root": "/dev/vda", "filesystem": "ext4",
                  "init": ["agent"], "description": "", "digest": DIGEST, "size": 512}
        write(f"{folder}/{name}.json", json.dumps(record), 0o644)


def make_node(node):
    """What its jobs need beside hooks and daemon."""
    for name in ("vmlinux", "initramfs"):
        write(f"{node.home}/{name}", b"x", 0o644)
    make_pool(f"{node.home}/pool", "one", "two")
    os.mkdir(f"{node.home}/disks")
    os.chmod(f"{node.home}/disks", 0o1777)


def settings_without(*names, more=""):
    """The node's settings without these, and with `more`, where HOME is the node's."""
    return lambda node, machine, prefix: machine.settings(
        "".join(f"{line}\n" for line in good_settings(node).splitlines() if line.partition("=")[0] not in names) + more.replace("HOME/", f"{node.home}/"))


def change(path, act, *words):
    """`act` on a path of the node's."""
    return lambda node, machine, prefix: act(f"{node.home}/{path}", *words)


def unfit_disks(node, machine, prefix):
    """A file system without nameless files."""
    subprocess.run([*machine.through, "mount", "-t", "proc", "proc", f"{node.home}/disks"], check=True)


def full_disks(node, machine, prefix):
    subprocess.run([*machine.through, "mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "full", f"{node.home}/disks"], check=True)


def good_settings(node):
    return (f"TORQUE_HOME={node.home}\nGUEST_KERNEL={node.home}\nACCEL=tcg\nVM_IMG_DIR={node.home}/pool\nIMG_DEFAULT=one\n"
            f"FILESYSTEM_TYPE_DEFAULT=sharedfs\nWS_DIR={node.home}/disks\n")


def add_setting(line):
    return lambda node, machine, prefix: machine.settings(good_settings(node) + line + "\n")


def unsafe_kernel(node, machine, prefix):
    os.mkdir(f"{node.home}/guest")
    for name in ("vmlinux", "initramfs"):
        shutil.copy(f"{node.home}/{name}", f"{node.home}/guest")
    os.chmod(f"{node.home}/guest", 0o775)
    settings_without("GUEST_KERNEL", more="GUEST_KERNEL=HOME/guest\n")(node, machine, prefix)


def open_pool(node, machine, prefix):
    os.mkdir(f"{node.home}/empty")
    os.chmod(f"{node.home}/empty", 0o777)
    settings_without("VM_IMG_DIR", "IMG_DEFAULT", more="VM_IMG_DIR=HOME/empty\n")(node, machine, prefix)


# What is spoilt, the one line that is not ok, its state, its text
SPOILT = (
    ("nothing", lambda *_: None, None, None, None),
    ("no settings' file", lambda node, machine, prefix: machine.no_settings(), "settings", "missing", "vtorque.conf"),
    ("settings with an error", add_setting("NO_SUCH=1"), "settings", "wrong", r"vtorque.conf:\d+: unknown parameter"),
    ("settings that all may write", lambda node, machine, prefix: machine.settings(good_settings(node), 0o666), "settings", "wrong", "root's"),
    ("a program that is not there", lambda node, machine, prefix: os.unlink(f"{prefix.folder}/bin/vtorque-run"), "programs", "missing", "vtorque-run"),
    ("a program of a user", lambda node, machine, prefix: os.chown(f"{prefix.folder}/bin/vtorque-engine", NOBODY, 0), "programs", "wrong", "belongs to uid"),
    ("mom_priv closed to users", lambda node, machine, prefix: os.chmod(node.folder, 0o750), "mom_priv", "wrong", "mode 0750"),
    ("a hook that is gone", lambda node, machine, prefix: os.unlink(node.path("epilogue")), "epilogue", "missing", "not installed"),
    ("a hook that was replaced", lambda node, machine, prefix: node.script("epilogue.parallel"), "epilogue.parallel", "wrong", "not vTorque's"),
    ("a hook's mode", lambda node, machine, prefix: os.chmod(node.path("prologue"), 0o700), "prologue", "wrong", "0700"),
    ("a hook that is a link", lambda node, machine, prefix: (os.unlink(node.path("prologue.parallel")), os.symlink(f"{SITE.bin}/vtorque-hook", node.path("prologue.parallel"))),
     "prologue.parallel", "wrong", "is a link"),
    ("a hook of another version", lambda node, machine, prefix: write(node.path("epilogue.precancel"), other_version()),
     "epilogue.precancel", "wrong", r"9\..*, which is not"),
    ("the site's own, not executable", lambda node, machine, prefix: os.chmod(node.path("prologue.orig"), 0o600), "prologue", "wrong", r"prologue\.orig has mode 0600"),
    ("too short a $prologalarm", lambda node, machine, prefix: write(node.path("config"), "$prologalarm 100\n"), "prologalarm", "wrong", "140 or more for TIMEOUT"),
    ("PROLOGUE_TIMEOUT beyond it", add_setting("PROLOGUE_TIMEOUT=300"), "prologalarm", "wrong", "320 or more for PROLOGUE_TIMEOUT"),
    ("too short a RUN_WAIT", lambda node, machine, prefix: write(node.path("config"), "$prologalarm 301\n"), "prologalarm", "wrong", "RUN_WAIT must be 662"),
    ("no daemon", lambda node, machine, prefix: machine.stop_daemon(), "daemon", "missing", "does not run"),
    ("a daemon that does not answer", lambda node, machine, prefix: machine.daemon.send_signal(signal.SIGSTOP), "daemon", "wrong", "does not answer"),
    ("something else in the daemon's place", lambda node, machine, prefix: machine.replace_daemon(), "daemon", "wrong", "says something else"),
    ("no guest's kernel", change("initramfs", os.unlink), "guest-kernel", "missing", "no guest kernel.*set GUEST_KERNEL"),
    ("a kernel's directory that a group may write to", unsafe_kernel, "guest-kernel", "wrong", "GUEST_KERNEL: .*/guest' has mode 0775"),
    ("no pool", change("pool", shutil.rmtree), "images", "missing", "IMG_DEFAULT: no image 'one' in pool"),
    ("no default image", change("pool/one.json", os.unlink), "images", "missing", "IMG_DEFAULT: no image 'one' in pool '.*/pool'; there are two"),
    ("a default image whose disk is gone", change(f"pool/{DIGEST}", os.unlink), "images", "wrong", "IMG_DEFAULT: cannot use image 'one'.*is not there"),
    ("a default image whose disk was changed", change(f"pool/{DIGEST}", write, bytes(1024), 0o644), "images", "wrong", "IMG_DEFAULT: .* has 1024 bytes"),
    ("another image with a broken record", change("pool/two.json", write, "{}", 0o644), "images", "wrong", "VM_IMG_DIR: .*two"),
    ("an image's record of a user", change("pool/two.json", os.chown, NOBODY, 0), "images", "wrong", "VM_IMG_DIR: cannot use image 'two' .*belongs to uid"),
    ("a pool that a group may write to", change("pool", os.chmod, 0o775), "images", "wrong", "'.*/pool' has mode 0775"),
    ("an empty pool that all may write to", open_pool, "images", "wrong", "VM_IMG_DIR: '.*/empty' has mode 0777"),
    ("no images and no img=host", settings_without("VM_IMG_DIR", "IMG_DEFAULT", more="VM_IMG_DIR=HOME/none\n"),
     "images", "missing", "no images in '.*/none': set VM_IMG_DIR, or HOST_IMAGE"),
    ("nothing: no images, but img=host", settings_without("VM_IMG_DIR", "IMG_DEFAULT", more="VM_IMG_DIR=HOME/none\nHOST_IMAGE=true\n"),
     None, None, None),
    ("no directory for disks", change("disks", os.rmdir), "disks", "missing", "WS_DIR: .*/disks': No such file or directory"),
    ("nothing: no such directory, and disks are kept in memory", settings_without("FILESYSTEM_TYPE_DEFAULT", "WS_DIR"), None, None, None),
    ("WS_DIR, which is not the default, without a directory", settings_without("FILESYSTEM_TYPE_DEFAULT", "WS_DIR", more="WS_DIR=HOME/none\n"), "disks", "missing", "WS_DIR: "),
    ("RAMDISK_DIR without a directory", settings_without("FILESYSTEM_TYPE_DEFAULT", more="RAMDISK_DIR=HOME/none\n"),
     "disks", "missing", "RAMDISK_DIR: .*/none'"),
    ("a directory for disks that is its owner's", change("disks", os.chmod, 0o755), "disks", "wrong", "WS_DIR: '.*' has mode 0755: jobs' owners must"),
    ("a directory for disks without nameless files", unfit_disks, "disks", "wrong", r"WS_DIR: .*\(O_TMPFILE\): name another"),
    ("a directory for disks that is full", full_disks, "disks", "wrong", "WS_DIR: .* MiB left"),
    ("an interrupted installation", lambda node, machine, prefix: (os.unlink(node.path("prologue")), os.link(node.path("prologue.orig"), node.path("prologue"))),
     "prologue", "wrong", "interrupted"),
)


def spoilt(number, what, spoil, thing, state, pattern):
    def row():
        with Node(["prologue"]) as node, Machine() as machine, Prefix() as prefix:
            for name in ("vtorqued", "vtorque-keeper", "vtorque-engine", "vtorque-engine-nodes", "vtorque-reach", "vtorque-run", "vtorque-hook", "vmgr"):
                shutil.copy(f"{BUILD}/bin/{name}", f"{prefix.folder}/bin")
            make_node(node)
            machine.settings(good_settings(node))
            machine.start_daemon()
            node.do("install")
            spoil(node, machine, prefix)
            now = node.files()
            words = ("--torque-home", node.home) if thing == "settings" else ()
            result = vmgr("setup", "check", "--node", *words, through=machine.through, program=f"{prefix.folder}/bin/vmgr")
            equal(node.files(), now, "files")
            found = {line.split()[0]: line.split(None, 2)[1:] for line in result.out.splitlines()}
            equal(list(found), ["settings", "programs", "mom_priv", *ORDER, "prologalarm", "daemon", "qemu", "uplink", "guest-kernel", "accel", "images", "disks"])
            for name, (word, text) in found.items():
                # Without its settings a node has root's kernel and images and KVM, or not.
                if name == thing or thing == "settings" and name in ("guest-kernel", "accel", "images"):
                    continue
                equal(word, "ok", f"{name}: {text}")
            equal((result.status, result.err), (1 if thing else 0, ""))
            if thing:
                equal(found[thing][0], state)
                assert re.search(pattern, found[thing][1]), found[thing]
    row.__name__, row.__doc__ = f"check_{number}", f"check: {what}: " + (f"{thing} is {state}" if thing else "all is well, status 0")
    return row


def accel():
    """check: ACCEL=kvm says whether KVM works here"""
    with Node() as node, Machine() as machine:
        machine.settings(good_settings(node).replace("tcg", "kvm"))
        word, text = next(line.split(None, 2)[1:] for line in vmgr("setup", "check", "--node", through=machine.through).out.splitlines() if line.startswith("accel "))
        assert (word, text) == ("ok", "kvm") or word == "wrong" and "/dev/kvm" in text, (word, text)


def home_of_settings():
    """TORQUE_HOME of the settings, for root; --torque-home is stronger; settings that cannot be read hinder nobody who does not need them"""
    with Node() as node, Node() as other, Machine() as machine:
        machine.settings(good_settings(node))
        result = vmgr("setup", "install", "--node", through=machine.through)
        equal((result.status, lines(result.out)), (0, INSTALLED))
        equal(lines(other.do("install", through=machine.through)), INSTALLED)
        machine.settings("NO_SUCH=1\n")
        one_line(vmgr("setup", "uninstall", "--node", through=machine.through), 2, "NO_SUCH")
        equal(len(lines(node.do("uninstall", through=machine.through))), 5)


def main():
    global SITE, USER
    rows = [empty_node, full_node, dry_run, another_version, mended, linked_script, hard_linked]
    rows += [interrupted(scripts, act, then, what) for scripts, what in ((ORDER, "all scripts the site's"), ((), "none"), (ORDER[3:], "prologues the site's"))
             for act, then in (("install", "install"), ("install", "uninstall"), ("uninstall", "uninstall"), ("uninstall", "install"))]
    rows += [killed(act, scripts) for act, scripts in (("install", ()), ("install", ORDER), ("uninstall", ()))]
    rows += [replaced_meanwhile, added_meanwhile, *(fails(*row) for row in CALLS)]
    rows += [foreign, ours_as_orig, *(unsafe(number, *row) for number, row in enumerate(UNSAFE)), *(bad_hook(number, *row) for number, row in enumerate(HOOKS))]
    rows += [noexec, locked, as_user, command_line]
    rows += [*(spoilt(number, *row) for number, row in enumerate(SPOILT)), accel, home_of_settings]
    with Site() as SITE, TemporaryUser() as USER:
        shutil.copy(f"{BUILD}/bin/vtorque-hook", SITE.bin)
        run_tests(rows)


if __name__ == "__main__":
    main()

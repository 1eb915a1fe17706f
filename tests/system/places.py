# SPDX-License-Identifier: Apache-2.0
"""Places from which the same files are looked at: this machine, and long-lived guests of the same owner. Each runs WORKER, a
Python program that evaluates what it is told, line by line, so that a row of a table costs no boot."""

import ast
import resource
import select
import subprocess

from lib import DEADLINE, Reader

ANSWER = 600  # seconds that a worker may take; none of them is a measurement
FILES = 20000  # less than the names that a row looks at

WORKER = r'''#!/usr/bin/python3
import ctypes, errno, fcntl, mmap, os, resource, shutil, signal, socket, sqlite3, stat, struct, subprocess, time

HELD = []  # what a row opens, until it is released


def keep(fd):
    HELD.append(fd)
    return fd


def release():
    while HELD:
        try:
            os.close(HELD.pop())
        except OSError:
            pass


def write(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


def read(path, size=1 << 20):
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def names_errno(function, *args):
    """The result of a call, or the name of its errno."""
    try:
        return function(*args)
    except OSError as problem:
        return errno.errorcode[problem.errno]


def in_child(function, *args):
    """The same in a process of its own: its locks are not this process's."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(w, repr(names_errno(function, *args)).encode())
        finally:
            os._exit(0)
    os.close(w)
    data = b""
    while more := os.read(r, 65536):
        data += more
    os.close(r)
    os.waitpid(pid, 0)
    return eval(data)


def flock(path, how, flags=os.O_RDWR | os.O_CREAT):
    fd = keep(os.open(path, flags, 0o644))
    fcntl.flock(fd, how)
    return "held"


def lockf(path, how, start=0, length=0, flags=os.O_RDWR | os.O_CREAT):
    fd = keep(os.open(path, flags, 0o644))
    fcntl.lockf(fd, how, length, start)
    return "held"


def make(path):
    """A file that was not there."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    return "made"


def append(path, name, count, size):
    """`count` records of `size` bytes, each by one write."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for i in range(count):
        record = f"{name}{i:06}".encode().ljust(size - 1, b".") + b"\n"
        assert os.write(fd, record) == size
    os.close(fd)


def stripes(path, which, of, piece, rounds):
    """Writes every `of`-th piece of a file, as an MPI rank writes its part of a shared file."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for i in range(rounds):
        assert os.pwrite(fd, bytes([65 + which]) * piece, (i * of + which) * piece) == piece
    os.close(fd)


def mapped_stripes(path, which, of, piece, rounds):
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, 0) as m:
        for i in range(rounds):
            m[(i * of + which) * piece:(i * of + which + 1) * piece] = bytes([65 + which]) * piece
        m.flush()
    os.close(fd)


def count_up(path, count, timeout):
    """Increments a counter of a database; returns how often it was refused."""
    refused = 0
    db = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    for _ in range(count):
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                (value,) = db.execute("SELECT value FROM counter").fetchone()
                db.execute("UPDATE counter SET value = ?", (value + 1,))
                db.execute("COMMIT")
                break
            except sqlite3.OperationalError as problem:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                if "locked" not in str(problem):
                    raise
                refused += 1
    db.close()
    return refused


def make_counter(path, journal):
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA journal_mode={journal}")
    db.execute("CREATE TABLE counter (value)")
    db.execute("INSERT INTO counter VALUES (0)")
    db.close()


def read_counter(path):
    """The counter, and what the database says of itself."""
    db = sqlite3.connect(path)
    (value,), (state,) = db.execute("SELECT value FROM counter").fetchone(), db.execute("PRAGMA integrity_check").fetchone()
    db.close()
    return value, state


def answer_to(text):
    """What is told: an expression has a value, statements have none. Both end early with the name of an errno."""
    try:
        try:
            code = compile(f"({text}\n)", "row", "eval")
        except SyntaxError:
            exec(compile(text, "row", "exec"), globals())
            return "value", None
        return "value", eval(code, globals())
    except OSError as problem:
        return "errno", errno.errorcode.get(problem.errno, str(problem))
    except BaseException as problem:
        return "fault", repr(problem) + getattr(problem, "sqlite_errorname", "")


def serve():
    out = os.dup(1)
    os.dup2(2, 1)
    os.write(out, b"ready\n")
    for line in open(0, "r", closefd=False):
        text, names = eval(line)
        globals().update(names)
        os.write(out, repr(answer_to(text)).encode() + b"\n")


serve()
'''


class Place:
    """One worker. `name` stands in messages."""

    def __init__(self, name, process):
        self.name, self.process = name, process
        self.err = Reader(process.stderr)

    def wait_ready(self):
        line = self.process.stdout.readline()
        assert line == b"ready\n", f"{self.name}: {line!r} {self.err.data!r}"

    def start(self, text, **names):
        """Has something evaluated; answer() has what came of it."""
        self.process.stdin.write(repr((text, names)).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self):
        ready, _, _ = select.select([self.process.stdout], [], [], ANSWER)  # at most one line is on its way
        assert ready, f"{self.name} does not answer"
        line = self.process.stdout.readline()
        assert line, f"{self.name} ended: {self.err.data[-2000:]!r}"
        return ast.literal_eval(line.decode())

    def judge(self, kind, value):
        assert kind != "fault", f"{self.name}: {value}"
        return value

    def __call__(self, text, **names):
        """The value of a Python expression there, or the name of the errno (also of statements)."""
        self.start(text, **names)
        return self.judge(*self.answer())

    def stop(self):
        """The end, if it has not come yet."""
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(DEADLINE)

    def end(self):
        """Its end, which is a success."""
        self.process.stdin.close()
        status = self.process.wait(DEADLINE)
        self.process.stdout.close()
        assert status == 0, f"{self.name} ended with {status}: {self.err.data[-2000:]!r}"


def start_host(site):
    """This machine, as the site's owner."""
    process = subprocess.Popen([*site.user.prefix(), "/usr/bin/python3", "-c", WORKER], cwd=site.work, env=site.environment(),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return Place("host", process)


def start_guest(site, name, *words, ram="512M"):
    """A job with the machine's own software, and few open files: on each machine the same."""
    path = f"{site.folder}/worker-{name}"  # its own: the vsub of the guest before may not have read another yet
    with open(path, "w", encoding="ascii") as file:
        file.write(WORKER)
    files = min(FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    process = site.start("--local", "-S", "/usr/bin/python3", "-vm", f"img=host,ram={ram},vcpus=1", *words, path,
                         stdin=subprocess.PIPE, through=("prlimit", f"--nofile={files}:{files}"))
    return Place(name, process)


def together(*tasks):
    """Runs (place, text, names) in several places at the same time; their values."""
    for place, text, names in tasks:
        place.start(text, **names)
    answers = [place.answer() for place, _, _ in tasks]
    return [place.judge(*answer) for (place, _, _), answer in zip(tasks, answers)]

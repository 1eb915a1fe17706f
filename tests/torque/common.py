# SPDX-License-Identifier: Apache-2.0
"""What server, moms and clients of the stand-in for Torque share: places, messages, an event loop, times and sizes.

"facts N" in this folder is the section of the page of measured facts about Torque that a line reproduces. What is not
on that page, and was chosen, says so.
"""

import heapq
import itertools
import json
import os
import selectors
import socket
import time

MIB = 1 << 20
SCRIPT_LIMIT = 65536  # facts 8.5: longer scripts are cut


class Place:
    """Where a stand-in's files are. `home` is TORQUE_HOME; a node has one of its own bound there."""

    def __init__(self, base):
        self.base = base
        self.home = f"{base}/torque"
        self.server = f"{base}/server"
        self.socket = f"{base}/server.sock"
        self.alive = f"{base}/alive.sock"

    @staticmethod
    def of(program):
        """The place of the program that is BASE/bin/NAME or BASE/sbin/NAME."""
        return Place(os.path.dirname(os.path.dirname(os.path.abspath(program))))


class Loop:
    """Callbacks for readable descriptors and for times."""

    def __init__(self):
        self.selector, self.timers, self.numbers = selectors.DefaultSelector(), [], itertools.count()

    def watch(self, file, callback):
        self.selector.register(file, selectors.EVENT_READ, callback)

    def unwatch(self, file):
        self.selector.unregister(file)

    def after(self, seconds, callback, *words):
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self.numbers), callback, words))

    def watch_process(self, pid, callback):
        """Calls back once when the process has ended; it need not be a child."""
        handle = os.pidfd_open(pid)

        def ended():
            self.unwatch(handle)
            os.close(handle)
            callback()
        self.watch(handle, ended)

    def run(self):
        while True:
            wait = max(0, self.timers[0][0] - time.monotonic()) if self.timers else None
            for key, _ in self.selector.select(wait):
                if self.selector.get_map().get(key.fileobj) is key:  # an earlier callback may have taken it out
                    key.data()
            while self.timers and self.timers[0][0] <= time.monotonic():
                _, _, callback, words = heapq.heappop(self.timers)
                callback(*words)


class Peer:
    """One end of a connection that carries one JSON object a line."""

    def __init__(self, loop, connection, on_message, on_end):
        self.loop, self.connection, self.on_message, self.on_end, self.data = loop, connection, on_message, on_end, b""
        loop.watch(connection, self.read)

    def read(self):
        try:
            data = self.connection.recv(MIB)
        except OSError:
            data = b""
        if not data:
            self.close()
            self.on_end(self)
            return
        *lines, self.data = (self.data + data).split(b"\n")
        for line in lines:
            self.on_message(self, json.loads(line))

    def send(self, **message):
        try:
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # its end is read, too

    def close(self):
        self.loop.unwatch(self.connection)
        self.connection.close()


def listen(path, mode):
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    os.chmod(path, mode)
    server.listen(200)
    return server


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    return client


def end_with(loop, place, end):
    """Calls `end` when whoever started the stand-in has ended, however it did."""
    connection = connect(place.alive)
    loop.watch(connection, end)


def write_file(path, data, mode, owner=(0, 0)):
    """A file as a whole, aside and renamed."""
    with open(f"{path}.new", "wb") as file:
        os.fchmod(file.fileno(), mode)
        os.fchown(file.fileno(), *owner)
        file.write(data.encode() if isinstance(data, str) else data)
    os.rename(f"{path}.new", path)


def daemonize(pid_file, log):
    """The rest of the program in the background. The caller returns when `ready()` is called; its pid is in `pid_file`."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.close(reader)
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
    write_file(pid_file, f"{os.getpid()}\n", 0o644)

    def ready():
        os.write(writer, b"x")
        os.close(writer)
    return ready


# Times and sizes


def parse_time(text):
    """[[HH:]MM:]SS in seconds."""
    seconds = 0
    for part in str(text).split(":"):
        seconds = seconds * 60 + int(part)
    return seconds


def format_time(seconds):
    return f"{int(seconds) // 3600:02}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


def parse_size(text):
    """Bytes of 512mb, 2gb, 100kb, 7b, 8 (bytes), with w for words of eight bytes."""
    digits = text.rstrip("kKmMgGtTbBwW")
    unit = text[len(digits):].lower()
    return int(digits) * (8 if unit.endswith("w") else 1) * 1024 ** "_kmgt".index(unit[0] if unit[:1] in tuple("kmgt") else "_")

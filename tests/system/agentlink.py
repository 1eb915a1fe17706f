# SPDX-License-Identifier: Apache-2.0
"""A host for the agent, for tests only: starts the tiny guest in QEMU and speaks wire/wire.h with its agent.

No engine, keeper or cage takes part: what fails here is the agent's or the wire's.
"""

import os
import select
import socket
import struct
import subprocess
import tempfile
import time

HEADER = struct.Struct("<IBBH")
MAGIC, VERSION = 0x78577476, 1
PAYLOAD_MAX = 65536
NO_LIMIT = (1 << 64) - 1

TYPES = {
    "HELLO": 1, "STEP": 2, "PLAN_END": 3, "READY": 4, "STEP_FAIL": 5, "OPEN": 16, "GROUPS": 17, "WORD": 18, "LIMIT": 19,
    "START": 20, "SIGNAL": 21, "WINSIZE": 22, "STARTED": 32, "EXIT": 33, "ENDED": 34, "DATA": 48, "CREDIT": 49,
    "CLOSE": 50, "PING": 64, "PONG": 65, "REST": 66, "RESTED": 67, "RESUME": 68, "SHUTDOWN": 69, "BYE": 70, "FAULT": 71,
    "ERROR": 72,
}
NAMES = {number: name for name, number in TYPES.items()}
STEPS = {
    "MKDIR": 1, "FILE": 2, "APPEND": 3, "SYMLINK": 4, "MOUNT": 5, "BIND": 6, "ROOT": 7, "HOSTNAME": 8, "CLOCK": 9,
    "RANDOM": 10, "LINK_UP": 11, "COPY": 12, "ADDRESS": 13,
}
STDIN, STDOUT, STDERR = 0, 1, 2
EXITS = ("status", "signal", "failed")


class Lost(Exception):
    """The guest went away, or said nothing in time."""


def string(text):
    data = text.encode()
    return struct.pack("<H", len(data)) + data


def take_string(data, at):
    size = struct.unpack_from("<H", data, at)[0]
    return data[at + 2:at + 2 + size].decode()


class Frame:
    def __init__(self, kind, aux, session, payload):
        self.kind, self.aux, self.session, self.payload = NAMES.get(kind, kind), aux, session, payload

    def __repr__(self):
        return f"{self.kind}({self.aux}, {self.session}, {self.payload[:60]!r})"

    def number(self):
        return struct.unpack_from("<I", self.payload)[0]


class Guest:
    """One QEMU with one agent. `greet=False` leaves the HELLO to the test."""

    def __init__(self, folder, greet=True, memory=256, append="", port="org.vtorque.agent"):
        self.work = tempfile.TemporaryDirectory(prefix="vtt-agent-")
        self.console_path = os.path.join(self.work.name, "console")
        self.link, theirs = socket.socketpair()
        for end in (self.link, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.buffer = bytearray()
        self.started = time.monotonic()
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "q35,accel=tcg", "-cpu", "qemu64", "-m", str(memory),
             "-display", "none", "-no-reboot", "-kernel", f"{folder}/vmlinux", "-initrd", f"{folder}/initramfs-tiny",
             "-append", f"console=ttyS0 quiet panic=-1 cryptomgr.notests {append}", "-serial", f"file:{self.console_path}",
             "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={theirs.fileno()}",
             "-device", f"virtserialport,chardev=agent,name={port}", "-device", "virtio-rng-pci"],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self.hello = None
        if greet:
            try:
                self.greet()
            except BaseException:
                self.kill()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        self.qemu.kill()
        self.qemu.wait()
        self.link.close()
        self.work.cleanup()

    def console(self):
        with open(self.console_path, errors="replace") as file:
            return file.read()

    def wait_off(self, timeout=20):
        """Waits until QEMU ended by itself; its status."""
        return self.qemu.wait(timeout)

    # Frames

    def send(self, kind, aux=0, session=0, payload=b""):
        self.link.sendall(HEADER.pack(len(payload), TYPES[kind], aux, session) + payload)

    def is_readable(self, timeout):
        return bool(select.select([self.link], [], [], timeout)[0])

    def receive(self, timeout=30):
        """The next frame."""
        deadline = time.monotonic() + timeout
        while True:
            if len(self.buffer) >= HEADER.size:
                size, kind, aux, session = HEADER.unpack_from(self.buffer)
                if len(self.buffer) >= HEADER.size + size:
                    payload = bytes(self.buffer[HEADER.size:HEADER.size + size])
                    del self.buffer[:HEADER.size + size]
                    return Frame(kind, aux, session, payload)
            if not self.is_readable(max(0, deadline - time.monotonic())):
                raise Lost(f"no frame within {timeout} s; console: {self.console()[-500:]}")
            data = self.link.recv(1 << 18)
            if not data:
                raise Lost(f"the port closed; console: {self.console()[-500:]}")
            self.buffer += data

    def expect(self, kind, timeout=30):
        frame = self.receive(timeout)
        assert frame.kind == kind, f"expected {kind}, got {frame}"
        return frame

    def greet(self, lowest=VERSION, highest=VERSION):
        self.hello = self.expect("HELLO", 60)
        self.send("HELLO", payload=struct.pack("<IHH", MAGIC, lowest, highest))

    # Plan

    def step(self, kind, payload):
        self.send("STEP", STEPS[kind], payload=payload)

    def mkdir(self, path, mode=0o755, uid=0, gid=0):
        self.step("MKDIR", struct.pack("<III", uid, gid, mode) + string(path))

    def file(self, path, data, mode=0o644, uid=0, gid=0):
        self.step("FILE", struct.pack("<III", uid, gid, mode) + string(path))
        for at in range(0, len(data), PAYLOAD_MAX):
            self.step("APPEND", data[at:at + PAYLOAD_MAX])

    def mount(self, kind, source, target, data="", flags=0):
        self.step("MOUNT", struct.pack("<Q", flags) + string(kind) + string(source) + string(target) + string(data))

    def bind(self, source, target, flags=0):
        self.step("BIND", struct.pack("<Q", flags) + string(source) + string(target))

    def end_plan(self):
        self.send("PLAN_END")
        return self.receive()

    def plan(self):
        """The least plan: none."""
        frame = self.end_plan()
        assert frame.kind == "READY", frame
        return self

    def start(self, argv, session=0, uid=0, gid=0, groups=(), environment=None, cwd="/", umask=0o022, terminal=False, limits=None,
              program=None, credit=1 << 30, size=(24, 80)):
        self.send("OPEN", int(terminal), session, struct.pack("<IIIHH", uid, gid, umask, *size) + string(cwd))
        if groups:
            self.send("GROUPS", 0, session, struct.pack(f"<{len(groups)}I", *groups))
        for word in argv:
            self.send("WORD", 0, session, word if isinstance(word, bytes) else word.encode())
        for name, value in (environment or {"PATH": "/bin"}).items():
            self.send("WORD", 1, session, f"{name}={value}".encode())
        if program:
            self.send("WORD", 2, session, program.encode())
        for number, (soft, hard) in (limits or {}).items():
            self.send("LIMIT", number, session, struct.pack("<QQ", soft, hard))
        self.send("START", 0, session)
        for stream in (STDOUT, STDERR) if credit else ():
            self.credit(stream, credit, session)
        return Session(self, session)

    def credit(self, stream, amount, session=0):
        self.send("CREDIT", stream, session, struct.pack("<I", amount))

    def run(self, argv, **options):
        """A session with nothing on stdin, to its end."""
        session = self.start(argv, **options)
        session.close(STDIN)
        return session.finish()

    def shell(self, script, **options):
        return self.run(["/bin/sh", "-c", script], **options)


class Session:
    """What a session said so far. `order` holds the kinds of its frames, repeated DATA and CREDIT left out."""

    def __init__(self, guest, number):
        self.guest, self.number = guest, number
        self.output = {STDOUT: bytearray(), STDERR: bytearray()}
        self.credit = 0
        self.closed = {}
        self.order = []
        self.pid = self.exit = self.what = None
        self.is_over = False

    def take(self, frame):
        assert frame.session == self.number and not self.is_over, f"out of place: {frame}"
        name = frame.kind if frame.kind not in ("DATA", "CLOSE", "CREDIT") else f"{frame.kind}{frame.aux}"
        if name not in self.order:
            self.order.append(name)
        if frame.kind == "DATA":
            self.output[frame.aux] += frame.payload
        elif frame.kind == "CREDIT":
            self.credit += frame.number()
        elif frame.kind == "CLOSE":
            assert frame.aux not in self.closed, "closed twice"
            self.closed[frame.aux] = frame.payload[0]
        elif frame.kind == "STARTED":
            self.pid = frame.number()
        elif frame.kind == "EXIT":
            self.exit, self.what = (EXITS[frame.aux], frame.number()), take_string(frame.payload, 4)
        elif frame.kind == "ENDED":
            self.is_over = True
        else:
            raise AssertionError(f"unexpected {frame}")

    def finish(self, timeout=60):
        while not self.is_over:
            self.take(self.guest.receive(timeout))
        return self

    def wait(self, condition, timeout=30):
        while not condition(self):
            self.take(self.guest.receive(timeout))
        return self

    def wait_output(self, text, stream=STDOUT):
        return self.wait(lambda session: text in session.output[stream])

    def write(self, data):
        """All of `data` to its stdin, as its credit allows."""
        at = 0
        while at < len(data):
            while self.credit <= 0 or self.guest.is_readable(0):
                self.take(self.guest.receive())
                if STDIN in self.closed:
                    return
            size = min(self.credit, PAYLOAD_MAX, len(data) - at)
            self.guest.send("DATA", STDIN, self.number, data[at:at + size])
            self.credit -= size
            at += size

    def close(self, stream):
        self.guest.send("CLOSE", stream, self.number, b"\0")

    def signal(self, number):
        self.guest.send("SIGNAL", number, self.number)

    def text(self, stream=STDOUT):
        return self.output[stream].decode(errors="replace")

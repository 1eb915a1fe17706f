#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs in a guest, as root: two jobs of three nodes each, with one network between their guests over WireGuard. Speaks TAP.

A node is a network namespace on one bridge, an engine is wireguard-node in it, a guest is a namespace on the engine's bridge. All
that the engines make is what net/ makes for real ones.
"""

import ctypes
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
FINIT_MODULE = 313
ETH_P_ALL = 3
ETH_P_ARP = 0x0806
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
NODES, JOBS, MTU, PORT = 3, 2, 1440, 5000
SILENCE = 2  # seconds after which nothing more is on its way; what goes through takes some milliseconds
PATIENCE = 20  # seconds for what must come


def check(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), what)


def load_modules(folder):
    for line in open(f"{folder}/order", encoding="ascii"):
        with open(f"{folder}/{line.split()[0]}", "rb") as file:
            if LIBC.syscall(FINIT_MODULE, file.fileno(), b"", 0) < 0 and ctypes.get_errno() != 17:  # EEXIST
                check(-1, line.strip())


def enter(pid):
    with open(f"/proc/{pid}/ns/net", "rb") as file:
        check(LIBC.setns(file.fileno(), CLONE_NEWNET), "setns")


def hold():
    """A process that holds a network namespace of its own: its number."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        check(LIBC.prctl(1, signal.SIGKILL), "prctl")
        check(LIBC.unshare(CLONE_NEWNET), "unshare")
        os.write(theirs, b"x")
        while True:
            signal.pause()
    os.read(ours, 1)
    os.close(ours)
    os.close(theirs)
    return pid


def inside(pid, function, *arguments):
    """What the function returns, a text, in the namespace of a process."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            enter(pid)
            os.write(theirs, b"=" + str(function(*arguments)).encode())
        except BaseException:  # told to whoever asked
            os.write(theirs, b"!" + traceback.format_exc().encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as file:
        said = file.read().decode()
    os.waitpid(child, 0)
    assert said[:1] == "=", said[1:]
    return said[1:]


def ip(pid, *lines):
    """Commands of ip(8) in the namespace of a process."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines).encode(), check=True, preexec_fn=(lambda: enter(pid)) if pid else None)


class Engine:
    """What an engine does, on a node."""

    def __init__(self, node, number, addresses):
        self.process = subprocess.Popen(["./wireguard-node", str(number), *addresses], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        preexec_fn=lambda: enter(node))
        self.own = self.line()

    def line(self):
        return self.process.stdout.readline().decode().strip()

    def connect(self, peers):
        self.process.stdin.write("".join(f"{peer}\n" for peer in peers).encode())
        self.process.stdin.flush()
        said = self.line()
        assert said == "connected", said

    @property
    def port(self):
        return int(self.own.split()[0])

    def end(self):
        self.process.kill()
        self.process.wait()


def add_guest(engine, address):
    """A namespace on the bridge of an engine's taps."""
    guest = hold()
    ip(engine.process.pid, f"link add v{guest} type veth peer name eth0 netns {guest}", f"link set v{guest} mtu {MTU} master guests up")
    ip(guest, f"link set eth0 mtu {MTU} up", f"address add {address}/16 dev eth0", "link set lo up")
    return guest


# What guests do


def ping(address, size=56):
    """A packet of `size` bytes, whole, and its echo."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as out:
        out.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        body = struct.pack("!HH", os.getpid() & 0xffff, 1) + bytes(size - 28)
        total = 8 << 8
        for i in range(0, len(body) - 1, 2):
            total += body[i] << 8 | body[i + 1]
        while total > 0xffff:
            total = (total & 0xffff) + (total >> 16)
        packet = struct.pack("!BBH", 8, 0, ~total & 0xffff) + body
        out.sendto(packet, (address, 0))
        deadline = time.monotonic() + PATIENCE
        while select.select([out], [], [], max(deadline - time.monotonic(), 0))[0]:
            answer = out.recv(65536)
            if answer[20] == 0 and answer[24:26] == packet[4:6]:
                return len(answer)
    return "nothing"


def datagram(source, target, text):
    """IPv4 and UDP, with whatever sender."""
    udp = struct.pack("!HHHH", PORT, PORT, 8 + len(text), 0) + text
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target)) + udp


def send(source, target, *texts):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as out:
        for text in texts:
            out.sendto(datagram(source, target, text), (target, 0))


def claim(target, *addresses):
    """Asks for a neighbour, in the name of whatever address."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("eth0", ETH_P_ARP))
        for address in addresses:
            own = out.getsockname()[4]
            out.send(b"\xff" * 6 + own + struct.pack("!HHHBBH6s4s6s4s", ETH_P_ARP, 1, 0x800, 6, 4, 1, own, socket.inet_aton(address), bytes(6), socket.inet_aton(target)))


def throw(address, port, *texts):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for text in texts:
            out.sendto(text, (address, port))


class Ear:
    """Listens in a namespace; what came until nothing more does."""

    def __init__(self, guest):
        self.read, ready = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            enter(guest)
            ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ear.bind(("", PORT))
            os.write(ready, b"+")
            while select.select([ear], [], [], SILENCE)[0]:
                os.write(ready, ear.recv(2048))
            os._exit(0)
        os.close(ready)
        assert os.read(self.read, 1) == b"+"

    def heard(self):
        said = b""
        while more := os.read(self.read, 65536):
            said += more
        os.waitpid(self.child, 0)
        return said


def watch(node, seconds):
    """What crosses a node's own network meanwhile."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        enter(node)
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        wire.bind(("eth0", 0))
        os.write(theirs, b"+")
        deadline = time.monotonic() + seconds
        while select.select([wire], [], [], max(deadline - time.monotonic(), 0))[0]:
            os.write(theirs, wire.recv(65536))
        os._exit(0)
    os.close(theirs)
    assert os.read(ours, 1) == b"+"
    return ours


# The rows


def make_world():
    """two jobs of three nodes are connected"""
    load_modules("modules-tests")
    ip(None, "link add lan type bridge", "link set lan up")
    for number in range(NODES + 1):
        node = hold()
        WORLD.nodes.append(node)
        ip(None, f"link add n{number} type veth peer name eth0 netns {node}", f"link set n{number} master lan up")
        ip(node, f"address add 10.0.0.{number + 1}/24 dev eth0", "link set eth0 up", "link set lo up")
    for _ in range(JOBS):
        engines = [Engine(WORLD.nodes[number], number, ADDRESSES) for number in range(NODES)]
        for engine in engines:
            engine.connect([other.own for other in engines])
        WORLD.engines.append(engines)
        WORLD.guests.append([add_guest(engine, f"10.77.{number}.1") for number, engine in enumerate(engines)])


def everybody_answers():
    """each guest reaches each other of its job"""
    for guests in WORLD.guests:
        for guest in guests:
            for number in range(NODES):
                equal(inside(guest, ping, f"10.77.{number}.1"), "56")


def two_guests_of_a_node():
    """two guests of one node reach each other, and both another node's"""
    guest = add_guest(WORLD.engines[0][0], "10.77.0.2")
    for address in ("10.77.0.1", "10.77.2.1"):
        equal(inside(guest, ping, address), "56")
    equal(inside(WORLD.guests[0][2], ping, "10.77.0.2"), "56")


def tcp():
    """a connection over TCP between guests of two nodes"""
    def serve():
        with socket.create_server(("", PORT)) as server:
            server.settimeout(PATIENCE)
            server.accept()[0].sendall(b"hello")
    child = os.fork()
    if child == 0:
        try:
            enter(WORLD.guests[0][1])
            serve()
        finally:
            os._exit(0)

    def ask():
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with socket.create_connection(("10.77.1.1", PORT), PATIENCE) as peer:
                    return peer.recv(5).decode()
            except ConnectionRefusedError:  # it does not listen yet
                assert time.monotonic() < deadline
                time.sleep(0.05)
    equal(inside(WORLD.guests[0][0], ask), "hello")
    os.waitpid(child, 0)


def whole_packets():
    """packets of full size pass, and larger ones never leave"""
    equal(inside(WORLD.guests[0][0], ping, "10.77.2.1", MTU), str(MTU))
    try:
        inside(WORLD.guests[0][0], ping, "10.77.2.1", MTU + 1)
    except AssertionError as error:
        assert "Message too long" in str(error), error
        return
    raise AssertionError("it passed")


def jobs_do_not_meet():
    """two jobs with the same addresses do not meet"""
    ears = [Ear(guests[1]) for guests in WORLD.guests]
    for number, guests in enumerate(WORLD.guests):
        inside(guests[0], send, "10.77.0.1", "10.77.1.1", str(number).encode())
    equal([ear.heard() for ear in ears], [b"0", b"1"])


def nothing_in_clear():
    """what guests say is not to be read on the nodes' network"""
    wire = watch(WORLD.nodes[1], SILENCE)
    ear = Ear(WORLD.guests[0][1])
    inside(WORLD.guests[0][0], send, "10.77.0.1", "10.77.1.1", b"a secret of the job")
    equal(ear.heard(), b"a secret of the job")
    seen = b""
    while more := os.read(wire, 65536):
        seen += more
    assert struct.pack("!H", WORLD.engines[0][1].port) in seen and b"a secret" not in seen and b"\x0a\x4d\x01\x01" not in seen, seen


def garbage_is_ignored():
    """garbage on the port changes nothing"""
    target = WORLD.engines[0][0]
    ear = Ear(WORLD.guests[0][0])
    garbage = [os.urandom(size) for size in (0, 1, 16, 64, 92, 148, 1400)]
    garbage += [bytes([kind, 0, 0, 0]) + os.urandom(size - 4) for kind, size in ((1, 148), (2, 92), (3, 64), (4, 32), (4, 1200))]
    garbage += [datagram("10.77.1.1", "10.77.0.1", b"!"), struct.pack("!I", 4 << 24) + bytes(12) + datagram("10.77.1.1", "10.77.0.1", b"!")]
    for node in (WORLD.nodes[1], WORLD.nodes[NODES], WORLD.nodes[0]):
        inside(node, throw, "10.0.0.1", target.port, *garbage * 5)
    equal(ear.heard(), b"")
    equal(inside(WORLD.guests[0][1], ping, "10.77.0.1"), "56")


def stranger_is_ignored():
    """who knows key and port of a node, and has another node's address in the job, says nothing in it"""
    stranger = Engine(WORLD.nodes[NODES], 0, ["10.0.0.4", *ADDRESSES[1:]])
    stranger.connect([stranger.own, *(engine.own for engine in WORLD.engines[0][1:])])
    guest = add_guest(stranger, "10.77.0.1")
    ear = Ear(WORLD.guests[0][1])
    inside(guest, send, "10.77.0.1", "10.77.1.1", b"stranger")
    equal(ear.heard(), b"")
    stranger.end()


def forged_sender():
    """a node speaks for its own guests alone, and so do the guests"""
    ear = Ear(WORLD.guests[0][1])
    engine = WORLD.engines[0][2].process.pid
    for source, text in (("10.77.0.1", b"forged"), ("10.77.1.7", b"forged"), ("10.0.0.1", b"forged"), ("10.77.2.9", b"own")):
        inside(engine, send, source, "10.77.1.1", text)
    for source, text in (("10.77.0.1", b"forged"), ("192.0.2.1", b"forged"), ("10.77.2.1", b" guest's")):
        inside(WORLD.guests[0][2], send, source, "10.77.1.1", text)
    equal(ear.heard(), b"own guest's")


def addresses_of_nobody():
    """a guest that claims addresses of no machine leaves nothing in the table of neighbours, which is the whole node's"""
    def look():
        found = subprocess.run(["ip", "-4", "neigh", "show", "dev", "guests"], capture_output=True, check=True).stdout.decode()
        return sorted(line.split()[0] for line in found.splitlines() if line.startswith("10.77."))
    inside(WORLD.guests[0][0], claim, "10.77.1.1", "10.77.0.1", *(f"10.77.0.{number}" for number in range(100, 200)), "10.77.2.9", "192.0.2.1")
    equal(inside(WORLD.guests[0][0], ping, "10.77.1.1"), "56")
    equal(inside(WORLD.engines[0][0].process.pid, look), str(["10.77.0.1", "10.77.0.2"]))


def nothing_else_is_there():
    """an engine's namespace has its bridge, its device, no address and no open port; the node's has one more port"""
    def look():
        links = subprocess.run(["ip", "-brief", "address"], capture_output=True, check=True).stdout.decode()
        return sorted(line.split()[0].split("@")[0] for line in links.splitlines() if line[0] != "v"), [
            word for line in links.splitlines() for word in line.split()[2:] if "." in word or ":" in word], ports()
    equal(inside(WORLD.engines[1][0].process.pid, look), str((["guests", "lo", "nodes"], [], [])))
    equal(eval(inside(WORLD.nodes[1], ports)), sorted(engines[1].port for engines in WORLD.engines))


def ports():
    """Those of UDP over IPv4 that are open in this namespace."""
    with open("/proc/thread-self/net/udp", encoding="ascii") as file:
        return sorted(int(line.split()[1].split(":")[1], 16) for line in list(file)[1:])


def gone_with_the_engine():
    """an engine is killed: its device and port are gone, and the other job's stay"""
    WORLD.engines[0][0].end()
    deadline = time.monotonic() + PATIENCE
    while (left := eval(inside(WORLD.nodes[0], ports))) != [WORLD.engines[1][0].port]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    equal(inside(WORLD.guests[1][0], ping, "10.77.2.1"), "56")


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, not {wanted!r}"


class World:
    """What the rows share."""

    def __init__(self):
        self.nodes, self.engines, self.guests = [], [], []


WORLD = World()
ADDRESSES = [f"10.0.0.{number + 1}" for number in range(NODES)]
ROWS = (make_world, everybody_answers, two_guests_of_a_node, tcp, whole_packets, jobs_do_not_meet, nothing_in_clear, garbage_is_ignored,
        stranger_is_ignored, forged_sender, addresses_of_nobody, nothing_else_is_there, gone_with_the_engine)


def main():
    failed = 0
    print(f"1..{len(ROWS)}", flush=True)
    for number, row in enumerate(ROWS, 1):
        started = time.monotonic()
        try:
            row()
        except Exception:  # the row's result
            failed += 1
            print(f"not ok {number} - {row.__doc__}")
            print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="", flush=True)
            if row == make_world:
                break
        else:
            print(f"ok {number} - {row.__doc__} # {time.monotonic() - started:.1f} s", flush=True)
    sys.stdout.flush()
    os._exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The way out of a guest, with img=host: what it reaches and what not, as root and as an ordinary user. Needs root: the machine gets a
network whose other end is a namespace that plays the rest of the world. Speaks TAP."""

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading

import lib
from lib import Inventory, Running, Site, TemporaryUser, children, equal, row, run_tests, wait_for

HERE, WORLD, CLOCK, PORT = "192.0.2.1", "192.0.2.2", "192.0.2.3", 7777
HEARD = None  # what the world says
GATEWAY, GUEST = "100.127.77.1", "100.127.77.2"
HOST = ("--local", "-vm", "img=host,ram=512M,vcpus=1")
USER = ("-vm", "net=user")

# The world: says who has come, on TCP; answers each lookup with its own address; says who asked for the time, at an address that
# no lookup gives, and does not answer.
WORLD_PROGRAM = f"""
import socket, threading
def talk():
    server = socket.create_server(("{WORLD}", {PORT}))
    while True:
        peer, who = server.accept()
        peer.sendall(("you are " + who[0] + chr(10)).encode())
        peer.close()
def times():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("{CLOCK}", 123))
    while True:
        print("time", server.recvfrom(512)[1][0], flush=True)
def names():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("{WORLD}", 53))
    print("ready", flush=True)
    while True:
        asked, who = server.recvfrom(512)
        end = asked.index(0, 12) + 5
        is_ipv4 = asked[end - 4:end - 2] == bytes([0, 1])
        answer = bytes([192, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 2]) if is_ipv4 else b""
        server.sendto(asked[:2] + bytes([129, 128]) + asked[4:6] + bytes([0, is_ipv4, 0, 0, 0, 0]) + asked[12:end] + answer, who)
for each in talk, times:
    threading.Thread(target=each, daemon=True).start()
names()
"""


@contextlib.contextmanager
def world():
    """This machine's network: one cable."""
    def run(*words):
        subprocess.run(words, check=True)
    run("ip", "link", "add", "out0", "type", "veth", "peer", "name", "world0")
    program = f"ip link set lo up && ip addr add {WORLD}/24 dev world0 && ip addr add {CLOCK}/24 dev world0 && ip link set world0 up && exec python3 -c '{WORLD_PROGRAM}'"
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", f"read go; {program}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        own = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != own, "the world's namespace")
        run("ip", "link", "set", "world0", "netns", str(process.pid))
        run("ip", "addr", "add", f"{HERE}/24", "dev", "out0")
        run("ip", "link", "set", "out0", "up")
        process.stdin.write(b"\n")
        process.stdin.close()
        equal(process.stdout.readline(), b"ready\n")
        yield process.stdout
    finally:
        process.kill()
        process.wait()
        subprocess.run(["ip", "link", "del", "out0"], check=False)


@contextlib.contextmanager
def over(path, text):
    """Another file at `path`, in this program's mounts alone."""
    place = f"/run/vtorque/{os.path.basename(path)}"
    with open(place, "w", encoding="ascii") as file:
        file.write(text)
    subprocess.run(["mount", "--bind", place, path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)
        os.unlink(place)


class Listener:
    """Takes note of who connects or sends to `address`, as long as the `with`."""

    def __init__(self, address, port):
        self.seen, self.stop = [], socket.socketpair()
        self.tcp, self.udp = socket.create_server((address, port)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((address, port))
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def listen(self):
        while True:
            ready, _, _ = select.select([self.tcp, self.udp, self.stop[1]], [], [])
            if self.stop[1] in ready:
                return
            if self.udp in ready:
                self.seen.append(("udp", self.udp.recvfrom(100)))
            if self.tcp in ready:
                peer, who = self.tcp.accept()
                self.seen.append(("tcp", who))
                peer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop[0].close()
        self.thread.join()
        for end in (self.tcp, self.udp, self.stop[1]):
            end.close()


def reach(address, port=PORT):
    return f"timeout 20 bash -c 'cat < /dev/tcp/{address}/{port}' 2>&1 || echo failed\n"


def out(site):
    """it reaches what the machine reaches, as the machine; names are asked where the machine asks"""
    with over("/etc/resolv.conf", f"nameserver {WORLD}\nsearch some.example\n"):
        result = site.vsub(*HOST, *USER, input=reach(WORLD) + "getent ahostsv4 far.example | head -n 1\ncat /etc/resolv.conf\nip -o -4 addr\n")
    lines = result.out.decode().splitlines()
    equal((result.status, lines[0]), (0, f"you are {HERE}"), result)
    equal(lines[1].split()[0], WORLD, result)
    equal(lines[2:4], [f"nameserver {WORLD}", "search some.example"])
    assert f"{GUEST}/29" in lines[5], result


def loopback(site):
    """what listens on the machine's loopback is not reached, not even for names"""
    with Listener("127.0.0.1", 53) as names, Listener("127.0.0.1", PORT) as other, over("/etc/resolv.conf", "nameserver 127.0.0.1\n"):
        result = site.vsub(*HOST, *USER, input="cat /etc/resolv.conf\n" + reach(GATEWAY) + reach(HERE) + reach(GATEWAY, 53))
    equal((result.out.decode().splitlines()[0], result.out.decode().count("failed")), ("# This guest asks nobody for names.", 3), result)
    equal((names.seen, other.seen), ([], []))


# As root in the guest: frames that no kernel would send, to the gateway's hardware address.
FRAMES = f"""
import re, socket, struct, subprocess, time
def sum16(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def packet(target, port):
    source, target = socket.inet_aton("{GUEST}"), socket.inet_aton(target)
    def ip(protocol, data):
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 1, 0x4000, 64, protocol, 0) + source + target
        return head[:10] + struct.pack("!H", sum16(head)) + head[12:] + data
    def fill(protocol, data, at):
        return ip(protocol, data[:at] + struct.pack("!H", sum16(source + target + struct.pack("!BBH", 0, protocol, len(data)) + data)) + data[at + 2:])
    yield fill(6, struct.pack("!HHIIBBHHH", port, {PORT}, 1, 0, 0x50, 2, 65000, 0, 0), 16)
    yield fill(17, struct.pack("!HHHH", port, {PORT}, 12, 0) + b"here", 6)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("{WORLD}", 9))
while not (found := re.search("lladdr ([0-9a-f:]+)", subprocess.check_output(["ip", "neigh", "show", "{GATEWAY}"], text=True))):
    time.sleep(0.1)
gateway = bytes.fromhex(found[1].replace(":", ""))
interface = re.search("dev ([a-z0-9]+)", subprocess.check_output(["ip", "route", "show", "default"], text=True))[1]
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((interface, 0))
own = wire.getsockname()[4]
for number, target in enumerate(("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.0.0.1", "{HERE}")):
    for data in packet(target, 40000 + number):
        wire.send(gateway + own + bytes([8, 0]) + data)
        wire.send(gateway + own + bytes([0x81, 0, 0, 1, 8, 0]) + data)
"""


def frames(site):
    """frames of a hostile guest to the machine's loopback do not arrive; those to its address do"""
    with Listener("127.0.0.1", PORT) as inside, Listener(HERE, PORT) as outside, \
         Running(site, f"python3 - <<'END' && echo sent && sleep 60\n{FRAMES}\nEND\n", *USER, vm=HOST) as job:
        job.wait_text(b"sent")
        wait_for(lambda: len(outside.seen) >= 2, f"frames to the machine's address, {job.err.data!r}")
        job.signal(15)
        job.finish()
    equal(inside.seen, [])


# One answer comes; then what nobody has asked for is waited for.
SPEAKS = f"""
import socket
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.bind(("", 40404))
end.settimeout(60)
end.sendto(bytes([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 97, 0, 0, 1, 0, 1]), ("{WORLD}", 53))
print("answer from", end.recvfrom(512)[1][0], flush=True)
end.settimeout(4)
try:
    print("got", end.recvfrom(512), flush=True)
except TimeoutError:
    print("nothing more", flush=True)
"""


def unasked(site):
    """UDP to a port that the guest has sent from comes from whom it has spoken to alone, though passt holds the machine's"""
    with Running(site, f"python3 - <<'END'\n{SPEAKS}\nEND\n", *USER, vm=HOST) as job:
        job.wait_text(f"answer from {WORLD}\n".encode())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger, open("/proc/net/udp", encoding="ascii") as ports:
            assert f":{40404:04X} " in ports.read(), "passt holds the port"
            for address in (HERE, "127.0.0.1", HERE):
                stranger.sendto(b"stranger", (address, 40404))
        result = job.finish()
    equal((result.status, result.out.decode().splitlines()[1:]), (0, ["nothing more"]), result)


def several(site):
    """with net=private each has one of its own"""
    script = f"""for host in $(uniq "$PBS_NODEFILE"); do ssh $host "uname -n; timeout 20 bash -c 'cat < /dev/tcp/{WORLD}/{PORT}'"; done"""
    result = site.vsub(*HOST, "-vm", "vms_per_node=2", input=script)
    lines = result.out.decode().splitlines()
    equal((result.status, lines[1::2]), (0, [f"you are {HERE}"] * 2), result)
    equal(len(set(lines)), 3)


def own_network(job):
    """What of a job's engine is in this machine's network namespace, by name."""
    engine = children(children(job.starter.pid)[0].pid)[0]
    return [child for child in children(engine.pid) if os.readlink(f"/proc/{child.pid}/ns/net") == os.readlink("/proc/self/ns/net")]


def dies(site):
    """passt is started when it is needed, as the owner, without rights; where it dies the job is told so, and goes on"""
    before = Inventory(site)
    script = f"echo up\nread line\n{reach(WORLD)}read line\necho over\n"
    with Running(site, script, *USER, vm=HOST, stdin=subprocess.PIPE) as job:
        job.wait_text(b"up")
        (waiting,) = own_network(job)
        status = lib.read_status(waiting.pid)
        assert not waiting.name.startswith("passt"), waiting
        equal(({int(word) for word in status["Uid"].split()}, status["NoNewPrivs"]), ({site.user.uid}, "1"))
        job.starter.stdin.write(b"\n")
        job.starter.stdin.flush()
        job.wait_text(b"you are")
        (passt,) = own_network(job)
        status = lib.read_status(passt.pid)
        assert passt.name.startswith("passt") and passt.pid == waiting.pid, passt
        equal({int(word) for word in status["Uid"].split()}, {site.user.uid or 65534})
        equal((int(status["CapEff"], 16), status["NoNewPrivs"], status["Seccomp"]), (0, "1", "2"))
        equal(sorted(os.listdir(f"/proc/{passt.pid}/root")), [])
        os.kill(passt.pid, 9)
        job.err.wait_text(b"its way out of the job (passt) has ended")
        job.starter.stdin.write(b"\n")
        job.starter.stdin.close()
        result = job.finish()
        equal((result.status, result.out), (0, f"up\nyou are {HERE}\nover\n".encode()))
    before.check()


def missing(site):
    """without passt, or without a network: who asked for a way out is told so, and who did not has none"""
    with over("/usr/bin/passt", ""):
        refused = site.tiny("true", *USER)
        equal((refused.status, refused.err), (125, b"vsub: command line: net 'user': /usr/bin/passt is not installed\n"))
        equal(site.tiny("ls /sys/class/net"), (0, b"lo\n", b""))
        equal(site.tiny("ls /sys/class/net; cat /etc/resolv.conf", "-vm", "net=private"), (0, b"eth0\nlo\n# This guest asks nobody for names.\n", b""))
    subprocess.run(["ip", "link", "set", "out0", "down"], check=True)
    refused = site.tiny("true", *USER)
    subprocess.run(["ip", "link", "set", "out0", "up"], check=True)
    equal((refused.status, refused.err), (125, b"vsub: command line: net 'user': the machine has no network (IPv4)\n"))


@contextlib.contextmanager
def configured(site, *lines):
    """The site says so, too, as long as the `with`."""
    conf = f"{site.folder}/etc/vtorque.conf"
    with open(conf, encoding="utf-8") as file:
        before = file.read()
    with open(conf, "a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
    try:
        yield
    finally:
        with open(conf, "w", encoding="utf-8") as file:
            file.write(before)


def settings(site):
    """names and addresses as the site says"""
    with configured(site, "NET_DEFAULT=user", "MAC_PREFIX=0a:0b:0C", "DOMAIN=hpc.example", "NAME_SERVER=( 192.0.2.2 2001:db8::1 )",
                    "SEARCH_DOMAIN=( a.example b.example )"):
        result = site.tiny("cat /etc/resolv.conf /sys/class/net/eth0/address; grep 127.0.1.1 /etc/hosts; uname -n")
    lines = result.out.decode().splitlines()
    equal((result.status, lines[:3]), (0, ["nameserver 192.0.2.2", "nameserver 2001:db8::1", "search a.example b.example"]), result)
    equal(lines[3][:15], "0a:0b:0c:00:01:")  # prefix, node, card
    equal(lines[4], f"127.0.1.1 {lines[5]}.hpc.example {lines[5]}")


def time_server(site):
    """a guest's own system asks the site's time server"""
    words = ("--local", "-S", "/bin/sh", "-vm", "img=debian,init=system,ram=512M,boot_timeout=600,net=user")
    with configured(site, f"NTP_SERVER_1={CLOCK}"), Running(site, "echo up; read line", vm=words, stdin=subprocess.PIPE) as job:
        job.wait_text(b"up")
        wait_for(lambda: select.select([HEARD], [], [], 0)[0], "the question for the time")
        equal(HEARD.readline(), f"time {HERE}\n".encode())
        job.starter.stdin.close()
        equal(job.finish().status, 1)


ROWS = {"root": (out, loopback, frames, unasked, several, dies, missing, settings, time_server), "user": (out, loopback, several, dies, missing, settings)}


def main():
    if os.getuid():
        sys.exit("uplink.py: makes networks, which takes root")
    global HEARD
    with contextlib.ExitStack() as stack:
        HEARD = stack.enter_context(world())
        sites = {"root": stack.enter_context(Site("KILL_GRACE=1")), "user": stack.enter_context(Site("KILL_GRACE=1", stack.enter_context(TemporaryUser())))}
        run_tests([row(test, sites[who], who) for who, tests in ROWS.items() for test in tests], jobs=1)


if __name__ == "__main__":
    main()

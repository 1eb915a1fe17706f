#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs of several nodes in virtual machines, on the stand-in's nodes, which share one munged. Speaks TAP.

Each row ends with nothing left on any node. doc/contracts/peer.md says what is looked at here.
"""

import contextlib
import glob
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time

import jobs
from bed import PREFIX, TemporaryUser, address, equal, lib, wait_for
from jobs import CONFIG, TINY, submit
from lib import IMAGES, run_tests
from munged import Munged
from vtorque import on_bed

PORT, VXLAN = 15077, 4789
GREETING, ORDER, TAKEN, REFUSED = 208, 209, 210, 211
COUNT = "echo up\nn=0; while [ $n -lt 40 ]; do n=$((n + 1)); echo $n; sleep 0.1; done\n"
FOREVER = "echo up\nwhile :; do sleep 0.1; done\n"
# What a guest of BusyBox reaches: a port that nobody listens to answers at once, a host that is not there does not.
REACH = 'for host in $(sort -u "$PBS_NODEFILE"); do nc -w 30 $host 9 </dev/null 2>&1 | grep -c refused; done\n'
MUNGED = None


# A node's part of a job


def part_of(job_id, node):
    """{"keeper": pid, "engine": pid} on that node, or None."""
    for path in glob.glob(f"{node.root()}/run/vtorque/jobs/*"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, TypeError):
            with open(f"{path}/job", encoding="utf-8") as file:
                fields = dict(re.findall(r"(\w+)=(.*)", file.read()))
            with open(f"{path}/engine", encoding="utf-8") as file:
                engine = int(re.search(r"pid=(\d+)", file.read())[1])
            if fields["id"] == job_id:
                return {"keeper": int(fields["keeper"]), "engine": engine}
    return None


def registrations():
    return [path for node in jobs.BED.nodes for path in glob.glob(f"{node.root()}/run/vtorque/registered/*")]


def over(job_id):
    """Exit status and both outputs, once it is over and nothing is left on any node."""
    job = jobs.BED.wait(job_id)
    equal(jobs.VT.left(), [], "left behind")
    equal(registrations(), [], "registrations left behind")
    status = job.get("exit_status")
    return None if status is None else int(status), jobs.BED.output(job), jobs.BED.output(job, "Error")


def finish(script, *words, vm=TINY):
    return over(submit(script, *words, vm=vm))


def forget(job_id, *names):
    """What Torque leaves of a job that did not start: spool files, or `names`, and no epilogue of a further node (facts 0, 1.4)."""
    for node in jobs.BED.nodes:
        for name in names or ("spool/{}.OU", "spool/{}.ER"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{node.home}/{name.format(job_id)}")
    for registration in registrations():
        os.unlink(registration)


def refused(*words, vm=TINY):
    """What the user reads of a job that was not run."""
    job_id = submit("echo never\n", "-N", "refused", "-d", jobs.BED.folder, "-l", "nodes=2", *words, vm=vm)
    jobs.BED.wait(job_id)
    forget(job_id)
    equal(over(job_id)[1], None)
    path = f"{jobs.BED.folder}/refused.e{job_id.split('.')[0]}"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    os.unlink(path)
    return text


def spooled(job_id):
    with contextlib.suppress(FileNotFoundError), open(f"{jobs.BED.nodes[0].home}/spool/{job_id}.OU", "rb") as file:
        return file.read()
    return b""


@contextlib.contextmanager
def running(script=FOREVER, *words):
    """A job of two nodes whose script has said `up`: its id, and the parts of both nodes."""
    job_id = submit(script, *(words or ("-l", "nodes=2")))
    try:
        wait_for(lambda: spooled(job_id).startswith(b"up\n"), f"`up` of {job_id}")
        yield job_id, [part_of(job_id, node) for node in jobs.BED.nodes[:2]]
    except BaseException:
        jobs.BED.root("qdel", job_id)
        raise


def machine_of(engine):
    return next(process.pid for process in lib.processes() if process.parent == engine and process.name.startswith("qemu-system"))


# What runs


def two():
    """two nodes: one node file, counts and hosts of both, each reaches the other; status, nothing left"""
    script = 'cat "$PBS_NODEFILE"; echo $PBS_NP $PBS_NUM_PPN $PBS_NUM_NODES $PBS_VMS_PN; grep -c 10.77 /etc/hosts\n' + REACH + "exit 5\n"
    status, out, err = finish(script, "-l", "nodes=2")
    equal((status, err), (5, ""))
    equal(out.split("\n"), ["vnode1-0", "vnode2-0", "2 1 2 1", "2", "1", "1", ""])


def shapes():
    """three nodes; an uneven grant; two machines on each; nodes by name; a host that is granted twice"""
    show = 'sort "$PBS_NODEFILE" | uniq -c | while read n name; do echo $n $name; done\n'
    equal(finish(show, "-l", "nodes=3")[:2], (0, "1 vnode1-0\n1 vnode2-0\n1 vnode3-0\n"))
    equal(finish(show, "-l", "nodes=1:ppn=2+2:ppn=1", vm="img=tiny,ram=128M")[:2], (0, "2 vnode1-0\n1 vnode2-0\n1 vnode3-0\n"))
    equal(finish(show + REACH, "-l", "nodes=2:ppn=2", vm=TINY + ",vms_per_node=2")[:2],
          (0, "1 vnode1-0\n1 vnode1-1\n1 vnode2-0\n1 vnode2-1\n" + "1\n" * 4))
    equal(finish(show, "-l", "nodes=node2:ppn=2+node3", vm="img=tiny,ram=128M")[:2], (0, "2 vnode2-0\n1 vnode3-0\n"))
    if not PREFIX:  # a real one's mom waits for itself for ever then, before any hook
        equal(finish(show, "-l", "nodes=node1:ppn=1+node1:ppn=1", vm="img=tiny,ram=128M")[:2], (0, "2 vnode1-0\n"))


def mpi():
    """MPI over two nodes with two machines each: each rank where the node file says"""
    with open(f"{os.environ['VTORQUE_SOURCE']}/examples/mpi-hello.sh", encoding="utf-8") as file:
        script = file.read()
    status, out, err = finish(script, "-l", "nodes=2:ppn=2", vm="img=debian,vcpus=1,vms_per_node=2,ram=384M")
    equal((status, sorted(out.splitlines())), (0, [f"rank {n} of 4 on {name}" for n, name in enumerate(("vnode1-0", "vnode1-1", "vnode2-0", "vnode2-1"))]), err)


def no_network():
    """net=none: the machines have no network, and the job runs on both nodes"""
    status, out, err = finish('cat "$PBS_NODEFILE"; ls /sys/class/net\n', "-l", "nodes=2", vm=TINY + ",net=none")
    equal((status, out, err), (0, "vnode1-0\nvnode2-0\nlo\n", ""))


def two_jobs():
    """two jobs of two users over the same nodes: none is reached from the other's machines, all have their own names"""
    with TemporaryUser() as other:
        script = 'cat "$PBS_NODEFILE"; sleep 3\n' + REACH + "for last in 1 2 3; do nc -w 3 10.77.1.$last 9 </dev/null 2>&1 | grep -c refused; done\n"
        second = jobs.BED.run("qsub", "-l", f"nodes=2,gres={jobs.word(TINY)}", input=jobs.envelope(script), user=other, cwd=other.home)
        equal((second.status, second.err), (0, b""))
        first = submit(script, "-l", "nodes=2")
        outputs = []
        for job_id in (first, second.out.decode().strip()):
            job = jobs.BED.wait(job_id)
            equal(job["exit_status"], "1")
            outputs.append(jobs.BED.output(job).splitlines())
        equal([lines[2:] for lines in outputs], [["1", "1", "1", "0", "0"]] * 2)
        equal(len({name for lines in outputs for name in lines[:2]}), 4, outputs)


def restarted():
    """daemons of all nodes killed and started while the script counts: no line lost or doubled"""
    with running(COUNT) as (job_id, _):
        for daemon, node in list(zip(jobs.VT.daemons, jobs.BED.nodes)):
            daemon.kill()
            daemon.wait()
            jobs.VT.start_daemon(node)
        del jobs.VT.daemons[:len(jobs.BED.nodes)]
        equal(over(job_id)[:2], (0, "up\n" + "".join(f"{n}\n" for n in range(1, 41))))


# What ends


def deleted():
    """qdel of a running job: TERM reaches the script, which has its grace, though the other node is gone before"""
    trap = "trap 'echo told; sleep 1; echo last; exit 4' TERM\necho up\nwhile :; do sleep 0.1; done\n"
    with running(trap) as (job_id, _):
        jobs.BED.run("qdel", job_id)
        status, out, err = over(job_id)
        equal((status, out), (271, "up\ntold\nlast\n"), err)


def walltime():
    """walltime over at ten points: long before and after the script's end, and near it: the script's status, or the batch system's own and its words"""
    for tenths in (0, 10, 16, 20, 22, 24, 26, 28, 500, 600):
        trap = "trap 'echo term; sleep 0.5; exit 4' TERM\n" if tenths == 600 else ""
        status, out, err = over(submit(f"{trap}echo up\nsleep {tenths / 10} & wait\nexit 3\n", "-l", "nodes=2,walltime=2"))
        is_over = "walltime" in err
        equal((status, out), (-11, "up\nterm\n" if trap else "up\n") if is_over else (3, "up\n"), f"{tenths / 10} s: {err}")
        assert is_over if tenths >= 500 else not is_over if tenths < 20 else True, f"{tenths / 10} s: {err}"


def killed_follower():
    """of the other node the engine, the keeper or QEMU is killed: the reason names the node, or its machine"""
    for what, said in (("engine", "node 10.117.0.2: its engine is gone"), ("keeper", "node 10.117.0.2: its engine is gone"), ("machine", "vnode2-0: QEMU died")):
        with running() as (job_id, parts):
            os.kill(machine_of(parts[1]["engine"]) if what == "machine" else parts[1][what], signal.SIGKILL)
            status, out, err = over(job_id)
            equal((status, out), (125, "up\n"), what)
            assert said in err, f"{what}: {err}"


def killed_leader():
    """of the first node the engine or the keeper is killed: no node keeps anything"""
    for what in ("engine", "keeper"):
        with running() as (job_id, parts):
            os.kill(parts[0][what], signal.SIGKILL)
            status, out, err = over(job_id)
            equal((status, out), (125, "up\n"), what)
            assert "vtorque-run" in err or "vTorque" in err, f"{what}: {err}"


def cut():
    """the link to the other node is cut: for 5 s nothing happens, for good the job fails within 60 s, and names it"""
    link = f"{jobs.BED.bridge}n2"
    with running() as (job_id, parts):
        subprocess.run(["ip", "link", "set", link, "down"], check=True)
        time.sleep(5)
        subprocess.run(["ip", "link", "set", link, "up"], check=True)
        time.sleep(3)
        equal(jobs.BED.job(job_id)["job_state"], "R")
        subprocess.run(["ip", "link", "set", link, "down"], check=True)
        try:
            wait_for(lambda: not part_of(job_id, jobs.BED.nodes[0]) and not part_of(job_id, jobs.BED.nodes[1]), "both nodes' end", 60)
        finally:
            subprocess.run(["ip", "link", "set", link, "up"], check=True)
        status, _, err = over(job_id)
        equal(status, 125)
        assert "node 10.117.0.2: nothing was heard of its engine for 15 s" in err, err


# What is refused


@contextlib.contextmanager
def without_daemon(number):
    daemon, node = jobs.VT.daemons[number], jobs.BED.nodes[number]
    daemon.kill()
    daemon.wait()
    try:
        yield
    finally:
        jobs.VT.start_daemon(node)
        jobs.VT.daemons[number] = jobs.VT.daemons.pop()


def no_daemon():
    """no daemon on the other node: a line that names it"""
    with without_daemon(1):
        text = refused()
    assert "node node2: vTorque's daemon there cannot be reached (10.117.0.2, port 15077)" in text, text


def no_munged():
    """munged is dead: a line that says so"""
    MUNGED.stop()
    try:
        text = refused()
    finally:
        MUNGED.start()
    assert "node node2: munged does not answer on this node" in text, text


def has_wireguard():
    """Whether this kernel has it."""
    made = subprocess.run(["ip", "link", "add", "vtt-probe", "type", "wireguard"], capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["ip", "link", "delete", "vtt-probe"], check=True)
    return made


def no_wireguard():
    """the kernel has no WireGuard, and the site does not say vxlan: a line that says what there is to do; where it has, a job over it"""
    with open(jobs.VT.conf, encoding="utf-8") as file:
        before = file.read()
    try:
        with open(jobs.VT.conf, "w", encoding="utf-8") as file:
            file.write(before.replace("NET_TRANSPORT=vxlan", "NET_TRANSPORT=auto"))
        if has_wireguard():
            two()
            return
        text = refused()
    finally:
        with open(jobs.VT.conf, "w", encoding="utf-8") as file:
            file.write(before)
    assert re.search(r"no private network between nodes \(.*NET_TRANSPORT\): the kernel of '\S+' has no WireGuard; .* may set vxlan; "
                     "-vm net=none and net=user go without", text), text


def no_registration():
    """the other node's batch daemon has announced nothing: a line that names node and cause"""
    path = f"{jobs.BED.nodes[1].home}/mom_priv/prologue.parallel"
    os.rename(path, f"{path}.away")
    try:
        text = refused()
    finally:
        os.rename(f"{path}.away", path)
    assert "node node2: this node's batch daemon has not announced the job" in text, text


def mapped():
    """a user's own list of hosts, which Torque writes over the node file, is none: of two slots it could make two of one node"""
    for hosts in ("node1:node1", "node1:node3", "node1:node2"):
        text = refused("-v", f"BEOWULF_JOB_MAP={hosts}")
        assert "the job's variable BEOWULF_JOB_MAP puts other nodes in the place of what the batch system granted" in text, text


def twice():
    """a second prologue.parallel while the job runs changes nothing"""
    node = jobs.BED.nodes[1]
    with running(COUNT) as (job_id, _):
        environment = {"PBS_RESOURCE_GRES": jobs.word(TINY), "PBS_MSHOST": "node1", "PBS_NODENUM": "1", "PBS_RESOURCE_NODES": "2", "PBS_NP": "2",
                       "PBS_O_WORKDIR": jobs.BED.folder, "PATH": "/usr/bin:/bin"}
        words = [*node.prefix(), f"{node.home}/mom_priv/prologue.parallel", job_id, jobs.BED.user.name, "x", "name", "nodes=2", "batch", "", "/none"]
        equal(subprocess.run(words, env=environment, check=False).returncode, 0)
        equal(over(job_id)[0], 0)


def deleted_anywhen():
    """qdel at ten points from the submission on: nothing is left on any node, whatever it came to"""
    for tenths in range(0, 40, 4):
        job_id = submit(FOREVER, "-l", "nodes=2")
        time.sleep(tenths / 10)
        jobs.BED.run("qdel", job_id)
        jobs.BED.wait(job_id)
        wait_for(lambda: not any(part_of(job_id, node) for node in jobs.BED.nodes), "the end on all nodes")
        forget(job_id)
        equal(jobs.VT.left(), [], f"left behind, deleted after {tenths / 10} s")


@contextlib.contextmanager
def bound(node, source, target):
    """On that node another file or folder in a place."""
    subprocess.run([*node.prefix(), "mount", "--bind", source, target], check=True)
    try:
        yield
    finally:
        subprocess.run([*node.prefix(), "umount", target], check=True)


def other_settings():
    """the other node has other settings: what those refuse is said with the node's name"""
    with open(jobs.VT.conf, encoding="utf-8") as file:
        text = file.read()
    for change, said in (("VTORQUE_ENABLED=false", "takes no new jobs"), ("NET_TRANSPORT=auto", "NET_TRANSPORT"), ("NONSENSE=1", "settings cannot be read")):
        key = change.partition("=")[0]
        with tempfile.NamedTemporaryFile("w", dir="/run", suffix=".conf") as other:
            other.write(re.sub(f"(?m)^{key}=.*\n", "", text) + change + "\n")
            other.flush()
            with bound(jobs.BED.nodes[1], other.name, jobs.VT.conf):
                words = refused()
        assert "node node2: " in words and said in words, words


def no_image():
    """the image is missing on the other node: a line that names node and image"""
    with tempfile.TemporaryDirectory(dir="/run") as empty:
        with bound(jobs.BED.nodes[1], empty, f"{jobs.VT.site.folder}/images"):
            words = refused(vm="img=debian,vcpus=1,ram=384M")
    assert "node2" in words and "debian" in words, words


def rebooted():
    """what a node's batch daemon announced before the node was started again is void"""
    with registered(), tempfile.NamedTemporaryFile("w", dir="/run") as other:
        other.write("01234567-89ab-cdef-0123-456789abcdef\n")
        other.flush()
        with bound(jobs.BED.nodes[1], other.name, "/proc/sys/kernel/random/boot_id"):
            assert "has not announced the job" in ask(lambda nonce: MUNGED.seal(order(nonce)))
        equal(registrations(), [])


def mom_killed():
    """pbs_mom of either node is killed and started again while the script counts: no line is lost. A further node's forgets the job (facts 2)"""
    for node in jobs.BED.nodes[1::-1]:
        with running(COUNT) as (job_id, _):
            jobs.BED.kill_mom(node=node)
            jobs.BED.start_mom(node)
            jobs.BED.wait(job_id)
            if node is jobs.BED.nodes[1]:
                forget(job_id, "mom_priv/jobs/{}.JB")
            equal(over(job_id)[1], "up\n" + "".join(f"{n}\n" for n in range(1, 41)), node.name)


def exchange():
    """MPI over three nodes with two ranks each: every byte is right"""
    subprocess.run(["mpicc.openmpi", "-O2", "-o", f"{jobs.BED.folder}/exchange", f"{os.environ['VTORQUE_SOURCE']}/tests/system/exchange.c"], check=True)
    os.chmod(f"{jobs.BED.folder}/exchange", 0o755)
    job_id = submit("mpirun.openmpi ./exchange 23\n", "-l", "nodes=3:ppn=2", "-d", jobs.BED.folder, vm="img=debian,vcpus=2,ram=384M")
    jobs.BED.wait(job_id, seconds=4 * lib.DEADLINE)
    status, out, err = over(job_id)
    equal((status, out), (0, "6 ranks, 23 exchanges, 0 bytes wrong\n"), err)


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def storm():
    """jobs in a row of which something is killed at random: nothing is left, and the daemons are as before. VTORQUE_STORM_PEERS: how many (6)"""
    finish("exit 0\n", "-l", "nodes=2")
    before = [(descriptors(daemon), lib.read_status(daemon.pid)["VmRSS"]) for daemon in jobs.VT.daemons]
    generator = random.Random(int(os.environ.get("VTORQUE_SEED", "1")))
    for _ in range(int(os.environ.get("VTORQUE_STORM_PEERS", "6"))):
        node, what, delay = generator.randrange(2), generator.choice(("engine", "keeper", "machine", "qdel")), generator.uniform(0, 4)
        job_id = submit(FOREVER, "-l", "nodes=2")
        time.sleep(delay)
        part = part_of(job_id, jobs.BED.nodes[node])
        with contextlib.suppress(ProcessLookupError, StopIteration, TypeError):
            if what != "qdel":
                os.kill(machine_of(part["engine"]) if what == "machine" else part[what], signal.SIGKILL)
        if what == "qdel" or not part:
            jobs.BED.run("qdel", job_id)
        jobs.BED.wait(job_id)
        wait_for(lambda job_id=job_id: not any(part_of(job_id, node) for node in jobs.BED.nodes), "the end on all nodes")
        forget(job_id)
        equal(jobs.VT.left(), [], f"{what} of node {node + 1} after {delay:.1f} s")
    after = [(descriptors(daemon), lib.read_status(daemon.pid)["VmRSS"]) for daemon in jobs.VT.daemons]
    equal([found for found, _ in after], [found for found, _ in before], "descriptors of the daemons")
    for (_, small), (_, large) in zip(before, after):
        assert int(large.split()[0]) < int(small.split()[0]) + 256, f"memory of the daemons: {before}, {after}"


# Strangers


class Caller:
    """A connection to a node's door for other nodes, from a node's network."""

    def __init__(self, source, target):
        relay = ("import os, socket, sys, threading\ns = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)\n"
                 "def up():\n    while (data := os.read(0, 65536)):\n        s.sendall(data)\n    s.shutdown(1)\n"
                 "threading.Thread(target=up, daemon=True).start()\n"
                 "while (data := s.recv(65536)):\n    os.write(1, data)\n")
        self.process = subprocess.Popen([*source.prefix(), sys.executable, "-c", relay, target, str(PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)

    def frame(self):
        """(type, payload), or None at the end."""
        head = self.process.stdout.read(8)
        if len(head) < 8:
            return None
        length, kind = struct.unpack("<IB", head[:5])
        return kind, self.process.stdout.read(length)

    def send(self, kind, payload):
        self.process.stdin.write(struct.pack("<IBBH", len(payload), kind, 0, 0) + payload)
        self.process.stdin.flush()

    def greeting(self):
        kind, payload = self.frame()
        equal(kind, GREETING)
        return payload[6:].decode()

    def answer(self):
        """What comes of an order: "" of one that nobody explains."""
        found = self.frame()
        text = found[1][2:].decode() if found else ""
        equal(found and found[0], REFUSED, "the answer")
        equal(self.frame(), None)
        return text

    def end(self):
        """Nothing more is said; what is answered can still be read."""
        self.process.stdin.close()
        self.process.stdin = None

    def close(self):
        self.process.kill()
        self.process.communicate()


def order(greeted, **changes):
    rows = {"version": "1", "id": "77.head", "user": jobs.BED.user.name, "request": jobs.word(TINY), "cores": "1", "node": "1", "nodes": "2", "host": "node2",
            "receiver": address(2), "run": "0" * 32, "nonce": greeted, "key": "0" * 64, "addresses": f"{address(1)},{address(2)}", **changes}
    return "".join(f"{key}={value}\n" for key, value in rows.items() if value)


@contextlib.contextmanager
def registered(**changes):
    """A registration on the second node for the job of order()."""
    rows = {"PBS_RESOURCE_GRES": jobs.word(TINY), "PBS_MSHOST": "node1", "PBS_NODENUM": "1", "PBS_RESOURCE_NODES": "2", "PBS_NP": "2",
            "PBS_O_WORKDIR": jobs.BED.folder, "PATH": "/usr/bin:/bin", **changes}
    node = jobs.BED.nodes[1]
    words = ["77.head", jobs.BED.user.name, "x", "name", "nodes=2", "batch", "", "/none"]
    subprocess.run([*node.prefix(), f"{node.home}/mom_priv/prologue.parallel", *words], env=rows, check=True)
    try:
        yield
    finally:
        subprocess.run([*node.prefix(), f"{node.home}/mom_priv/epilogue.parallel", *words], env=rows, check=True)


def ask(credential_of, source=0, target=2):
    """The answer to one order; `credential_of` makes the credential, for a nonce."""
    caller = Caller(jobs.BED.nodes[source], address(target))
    try:
        caller.send(ORDER, credential_of(caller.greeting()))
        return caller.answer()
    finally:
        caller.close()


def forged():
    """credentials of another key, of a user, replayed, for another connection, node or job; another leader; a row beyond the grant: refused"""
    with registered(), Munged() as other:
        sealed = []

        def keep(nonce):
            sealed.append(MUNGED.seal(order(nonce, cores="9")))
            return sealed[-1]
        mute = "the order is refused"
        equal(ask(lambda nonce: other.seal(order(nonce))), mute, "another key")
        equal(ask(lambda nonce: MUNGED.seal(order(nonce), jobs.BED.user)), mute, "a user's")
        equal(ask(lambda nonce: b"garbage"), mute)
        assert "asks for 9 cores here" in ask(keep)
        equal(ask(lambda nonce: sealed[0]), mute, "replayed")
        for changes, said in (({"nonce": "1" * 32}, "another connection or node"), ({"receiver": address(3), "addresses": f"{address(1)},{address(3)}"}, "another connection or node"),
                              ({"id": "78.head"}, "has not announced the job"), ({"user": "root"}, "another user"), ({"request": jobs.word("img=tiny")}, "another request"),
                              ({"nodes": "3", "addresses": f"{address(1)},{address(2)},{address(3)}"}, "another number of nodes"),
                              ({"addresses": f"{address(3)},{address(2)}"}, "the order comes from 10.117.0.1")):
            answer = ask(lambda nonce, changes=changes: MUNGED.seal(order(nonce, **changes)))
            assert said in answer, f"{changes}: {answer}"
        answer = ask(lambda nonce: MUNGED.seal(order(nonce)), source=2)
        assert "the job's first node is 'node1', and the order comes from 10.117.0.3" in answer, answer
    equal(jobs.VT.left(), [])


def garbage():
    """whoever says anything else, or nothing, at the door is let go; the door stays open, and answers others meanwhile"""
    idle = []
    try:
        for _ in range(8):
            idle.append(Caller(jobs.BED.nodes[2], address(2)))
            idle[-1].greeting()
        idle.append(Caller(jobs.BED.nodes[2], address(2)))
        equal(idle[-1].frame(), None, "the ninth of one address")
        for kind, payload in ((ORDER, b""), (ORDER, b"\0" * 65536), (TAKEN, b""), (0, b"x"), (255, b"\xff" * 100)):
            caller = Caller(jobs.BED.nodes[0], address(2))
            caller.greeting()
            caller.send(kind, payload)
            equal(caller.answer(), "the order is refused")
            caller.close()
        equal(finish("exit 3\n", "-l", "nodes=2")[0], 3)
    finally:
        for caller in idle:
            caller.close()


SEND = ("import socket, struct, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nhead = struct.pack('>II', 0x08000000, int(sys.argv[2]) << 8)\n"
        "if len(sys.argv) > 3:\n    s.bind((sys.argv[3], 0))\nframe = bytes.fromhex('ffffffffffff' '525400ff0009' '0806' '0001080006040001' '525400ff0009' '0a4d0063' '000000000000' '0a4d0001')\n"
        "try:\n    s.sendto(head + frame, (sys.argv[1], 4789))\n    print('sent')\nexcept PermissionError:\n    print('refused')\n")


def vxlan():
    """into the job's network a user of its node cannot send, and what other nodes send does not arrive; its filter goes with the job"""
    reader, writer = f"{jobs.BED.folder}/go", f"{jobs.BED.folder}/seen"
    script = f"echo up\nwhile [ ! -e {reader} ]; do sleep 0.1; done\n(grep -c 10.77.0.99 /proc/net/arp; grep -c 10.77.0.98 /proc/net/arp) > {writer}\n"
    first, second, third = jobs.BED.nodes
    tables = [*first.prefix(), "nft", "list", "tables"]
    with running(script) as (job_id, _):
        table = subprocess.run(tables, capture_output=True, text=True, check=True).stdout
        number = re.search(r"vtorque-(\d+)", table)[1]
        user = jobs.BED.user.prefix()
        for node, prefix, said in ((first, user, "refused"), (second, [], "refused"), (third, user, "sent"), (third, [], "sent")):
            done = subprocess.run([*node.prefix(), *prefix, sys.executable, "-c", SEND, address(1), number], capture_output=True, text=True, check=True)
            equal(done.stdout, f"{said}\n", f"{node.name} {prefix}: {done.stderr}")
        # Root elsewhere that forges a sender gets in (SECURITY.md): so the row looks at what can be seen.
        forge = [*third.prefix(), "ip", "address", "add", f"{address(2)}/32", "dev", "lo"]
        subprocess.run(forge, check=True)
        subprocess.run([*third.prefix(), sys.executable, "-c", SEND.replace("0a4d0063", "0a4d0062"), address(1), number, address(2)], check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run(["delete" if word == "add" else word for word in forge], check=True)
        time.sleep(0.5)  # what was sent is on its way to the guest
        with open(reader, "x", encoding="utf-8"):
            pass
        equal(over(job_id)[0], 0)
        with open(writer, encoding="utf-8") as file:
            equal(file.read(), "0\n1\n")
    equal(subprocess.run(tables, capture_output=True, text=True, check=True).stdout, "")
    os.unlink(reader)


def left_alone():
    """a first node that goes away behind its order, or in its time: what the order has started ends by itself"""
    second = jobs.BED.nodes[1]
    with registered():
        for is_early in (True, False):
            caller = Caller(jobs.BED.nodes[0], address(2))
            caller.send(ORDER, MUNGED.seal(order(caller.greeting(), transport="vxlan", vni="77", mtu="1400")))
            if is_early:
                caller.end()
            while caller.frame()[0] != TAKEN:  # phases come before it
                pass
            if not is_early:
                assert part_of("77.head", second), "nothing was started"
            caller.close()
            wait_for(lambda: not part_of("77.head", second), "the end of what was ordered")
    equal(jobs.VT.left(), [])


def second_run():
    """a run connection at a further node: there is none to be had"""
    ask_run = ("import socket, struct, sys\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(20)\ns.connect('/run/vtorque/user.sock')\nname = sys.argv[1].encode()\n"
               "s.sendall(struct.pack('<IBBHH', len(name) + 2, 193, 0, 0, len(name)) + name)\nhead = s.recv(8, socket.MSG_WAITALL)\nprint(head[4], s.recv(4096))\n")
    with running(COUNT) as (job_id, _):
        words = [*jobs.BED.nodes[1].prefix(), *jobs.BED.user.prefix(), sys.executable, "-c", ask_run, job_id]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=lib.DEADLINE)
        assert done.stdout.startswith("132 "), done.stdout  # CTL_OUTCOME
        equal(over(job_id)[0], 0)


TESTS = [two, shapes, no_network, two_jobs, restarted, deleted, walltime, killed_follower, killed_leader, cut, left_alone, second_run, no_daemon, no_munged, no_wireguard,
         no_registration, mapped, other_settings, rebooted, mom_killed, twice, deleted_anywhen, storm, forged, garbage, vxlan]
if os.path.exists(f"{IMAGES}/debian.json"):
    TESTS += [no_image, mpi, exchange]

if __name__ == "__main__":
    with Munged() as MUNGED:
        SETTINGS = (f"MUNGE_SOCKET={MUNGED.socket}", f"PEER_PORT={PORT}", "NET_TRANSPORT=vxlan")
        with on_bed(SETTINGS, nodes=3, config=CONFIG + "$job_exit_wait_time 20\n") as (jobs.BED, jobs.VT):
            run_tests(TESTS, jobs=1)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmgr from a login node: jobs on nodes of the stand-in, or of a real Torque, seen and steered from another. Speaks TAP.

The login node is the third node: it has qstat, munged and the site's file, and no daemon. Each row ends with nothing left
on any node. doc/contracts/peer.md ("Users from other nodes") says what is looked at here.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import jobs
import peers
from bed import PREFIX, TemporaryUser, User, address, equal, lib, wait_for
from jobs import CONFIG, submit
from lib import run_tests
from munged import Munged
from peers import FOREVER, PORT, REFUSED, TAKEN, Caller
from terminal import CONTROL_C, Terminal
from vtorque import on_bed

USER = 212  # frame of a user's credential
LOGIN = 2   # number of the login node


def prefix_of(node):
    """Of a node's programs. A real Torque's clients work on the server's machine alone, where its trqauthd is: that is the login node then."""
    return [] if PREFIX and node == LOGIN else jobs.BED.nodes[node].prefix()


def words_of(*words, user=None, node=LOGIN):
    return [*prefix_of(node), *(user or jobs.BED.user).prefix(), f"{jobs.VT.site.bin}/vmgr", *words]


def options_of(user=None):
    user = user or jobs.BED.user
    environment = {**user.environment(), "PATH": f"{jobs.BED.prefix}/bin:{user.environment()['PATH']}"}
    return {"env": environment, "cwd": "/", "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def vmgr(*words, user=None, node=LOGIN, input=b""):
    """vmgr to its end: status, output, error output."""
    done = subprocess.run(words_of(*words, user=user, node=node), input=input, timeout=lib.DEADLINE, check=False, **options_of(user))
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def start(*words):
    """vmgr under way, its input open."""
    return subprocess.Popen(words_of(*words), stdin=subprocess.PIPE, **options_of())


@contextlib.contextmanager
def job_on(host, nodes=None):
    """A job whose script has said `up`: its id. `host` is its first node."""
    job_id = submit(FOREVER, "-l", f"nodes={nodes or host}")
    try:
        wait_for(lambda: has_said_up(job_id, host), f"`up` of {job_id}")
        yield job_id
    finally:
        end(job_id)


@contextlib.contextmanager
def running():
    """The same on the first node, and in the end nothing is left of anything."""
    with job_on("node1") as job_id:
        yield job_id
    equal((jobs.VT.left(), reaches(), peers.registrations()), ([], [], []), "left behind")


def has_said_up(job_id, host):
    node = next(node for node in jobs.BED.nodes if node.name == host)
    with contextlib.suppress(FileNotFoundError):
        with open(f"{node.home}/spool/{job_id}.OU", "rb") as file:
            return file.read().startswith(b"up\n")
    return False


def end(job_id):
    jobs.BED.root("qdel", job_id)
    jobs.BED.wait(job_id)


@contextlib.contextmanager
def another():
    """A job of another user's on the first node: that user, the job's id."""
    with TemporaryUser() as other:
        done = jobs.BED.run(f"{jobs.VT.site.bin}/vsub", "-vm", jobs.TINY, "-l", "nodes=node1", user=other, cwd=other.home, input=FOREVER)
        equal((done.status, done.err), (0, b""), "vsub of another user")
        job_id = done.out.decode().strip()
        try:
            wait_for(lambda: has_said_up(job_id, "node1"), f"`up` of {job_id}")
            yield other, job_id
        finally:
            end(job_id)


@contextlib.contextmanager
def lying(user, job_id):
    """A job of a user's whose variable would be all of another job, in any of qstat's ways to say it."""
    text = f"x\n\nJob Id: {job_id}\n    job_state = Q\n    exec_host = node2/0\n</Variable_List></Job><Job><Job_Id>{job_id}</Job_Id><job_state>Q</job_state>"
    result = jobs.BED.run("qsub", "-h", "-v", f"A={text}", input=b"true\n", user=user, cwd=user.home)
    equal((result.status, result.err), (0, b""))
    lie = result.out.decode().strip()
    try:
        yield
    finally:
        jobs.BED.root("qdel", lie)


def reaches():
    """pids of all programs on the way between vmgr and a job."""
    found = []
    for process in lib.processes():
        with contextlib.suppress(OSError):
            if os.path.basename(os.readlink(f"/proc/{process.pid}/exe")) == "vtorque-reach":
                found.append(process.pid)
    return found


@contextlib.contextmanager
def open_shell(job_id):
    """vmgr in a shell that has said `in`."""
    shell = start("shell", job_id, "--", "sh", "-c", "echo in; cat")
    try:
        equal(shell.stdout.readline(), b"in\n")
        yield shell
    finally:
        shell.kill()
        shell.communicate()


def serving():
    """The pid of the one program at the job's end of a connection: vtorqued's child."""
    daemons = [daemon.pid for daemon in jobs.VT.daemons]
    found = [pid for pid in reaches() if lib.read_process(pid).parent in daemons]
    equal(len(found), 1, "programs at the job's end")
    return found[0]


# What works


def seen():
    """list, as a table and as JSON, from a node without a daemon and from another with one; the job's own node needs no way"""
    with running() as job_id:
        for node in (LOGIN,) if PREFIX else (LOGIN, 1):
            status, out, err = vmgr("list", node=node)
            equal((status, err), (0, ""))
            assert re.search(rf"^{re.escape(job_id)} .* running .* node1$", out, re.MULTILINE), out
        found = json.loads(vmgr("list", "--json")[1])
        equal([(job["id"], job["node"], job["phase"], job["user"]) for job in found], [(job_id, "node1", "running", jobs.BED.user.name)])
        if PREFIX:
            return
        peers.MUNGED.stop()
        try:
            status, out, err = vmgr("list", node=0)
            equal((status, err, "NODE" in out, job_id in out), (0, "", False, True))
            equal(vmgr("shell", job_id, "echo", "here", node=0), (0, "here\n", ""))
        finally:
            peers.MUNGED.start()


def entered():
    """shell: streams, status, signals, bytes both ways as they were; named without the server's name"""
    data = os.urandom(1 << 20) * 8
    with running() as job_id:
        equal(vmgr("shell", job_id, "--", "sh", "-c", "echo hello; echo there >&2; exit 7"), (7, "hello\n", "there\n"))
        equal(vmgr("shell", job_id.split(".")[0], "--", "sh", "-c", "echo $PBS_JOBID"), (0, f"{job_id}\n", ""))
        done = subprocess.run(words_of("shell", job_id, "cat"), input=data, timeout=lib.DEADLINE, check=False, **options_of())
        equal((done.returncode, done.stdout == data, done.stderr), (0, True, b""))
        with open_shell(job_id) as shell:
            shell.send_signal(signal.SIGTERM)
            equal(shell.wait(lib.DEADLINE), 128 + signal.SIGTERM)


class AtLogin:
    """What a Terminal starts its program by."""

    @staticmethod
    def start(*words, program, through, environment, **options):
        options = {**options_of(), **options}
        options["env"] = {**options["env"], **environment}
        return subprocess.Popen([*prefix_of(LOGIN), *jobs.BED.user.prefix(), *through, f"{jobs.VT.site.bin}/{program}", *words], **options)


def typed():
    """shell at a terminal: Control-C is the guest's, the window's size follows, the terminal is put back"""
    with running() as job_id, Terminal(AtLogin, "shell", job_id, program="vmgr") as terminal:
        terminal.ask("echo $((6 * 7))-x", "42-x")
        terminal.type("sleep 100\r")
        time.sleep(1)
        terminal.type(CONTROL_C)
        terminal.ask("echo went=$?", r"went=130")
        terminal.resize(31, 99)
        terminal.ask("stty size", "31 99")
        terminal.type("exit 5\r")
        equal(terminal.wait_status(), 5)
        terminal.check_sane()


def told():
    """log and console"""
    with running() as job_id:
        status, out, err = vmgr("log", job_id)
        equal((status, err), (0, ""))
        assert " ready" in out and " running" in out, out
        status, out, err = vmgr("console", "--once", job_id)
        equal((status, err), (0, ""))


def copied():
    """cp in and out"""
    here = f"{jobs.BED.folder}/copy"
    with open(here, "wb") as file:
        file.write(os.urandom(300000))
    os.chmod(here, 0o644)
    with running() as job_id:
        equal(vmgr("cp", here, f"{job_id}:/tmp/there"), (0, "", ""))
        equal(vmgr("cp", f"{job_id}:/tmp/there", f"{jobs.BED.folder}/back"), (0, "", ""))
    with open(here, "rb") as one, open(f"{jobs.BED.folder}/back", "rb") as two:
        assert one.read() == two.read(), "the copy is another"


def ended():
    """end and end --now: the job is gone when vmgr is; what is open to it ends too"""
    for words in ((), ("--now",)):
        with running() as job_id:
            with open_shell(job_id) as shell:
                equal(vmgr("end", *words, job_id), (0, "", ""))
                equal(peers.part_of(job_id, jobs.BED.nodes[0]), None)
                equal(shell.wait(lib.DEADLINE), 125)
                assert b"ended" in shell.stderr.read()


def several():
    """a job of two nodes is at its first; jobs on two nodes are listed together"""
    with running() as job_id, job_on("node2", "node2+node1") as two:
        found = json.loads(vmgr("list", "--json")[1])
        equal(sorted((job["id"], job["node"]) for job in found), sorted([(job_id, "node1"), (two, "node2")]))
        equal(vmgr("end", two), (0, "", ""))
        equal([job["id"] for job in json.loads(vmgr("list", "--json")[1])], [job_id])


# What is refused


def strangers():
    """another user's job is neither listed nor entered nor ended; root; a plain job, one that waits, one that is not there"""
    with running() as job_id:
        with TemporaryUser() as nobody:
            equal(vmgr("list", user=nobody), (0, "", ""))
            for words in (("shell", job_id, "id"), ("log", job_id), ("end", job_id), ("console", job_id)):
                equal(vmgr(*words, user=nobody), (2, "", f"vmgr: job '{job_id}' is not yours\n"))
            # Who does not ask the batch system, but the node.
            equal(ask(lambda nonce: peers.MUNGED.seal(claim(nonce), nobody)), (REFUSED, "no job of yours runs here"))
        with another() as (other, others), lying(other, job_id):
            equal([(job["id"], job["node"]) for job in json.loads(vmgr("list", "--json")[1])], [(job_id, "node1")])
            equal([job["id"] for job in json.loads(vmgr("list", "--json", user=other)[1])], [others])
            for words in (("shell", others, "id"), ("end", others)):
                equal(vmgr(*words), (2, "", f"vmgr: job '{others}' is not yours\n"))
            lines = speak(195, others)
            assert lines[1].startswith("(161, ") and "no virtual machine of this job" in lines[1], lines
        equal(vmgr("shell", job_id, "id", user=User(0)),
              (2, "", f"vmgr: no job '{job_id}' lives here (see 'vmgr list')\n"))
        equal(vmgr("list", user=User(0)), (0, "", ""))
        equal(jobs.BED.job(job_id)["job_state"], "R")
    plain = jobs.BED.qsub("sleep 60\n", "-l", "nodes=node1")
    waiting = submit(FOREVER, "-h")
    try:
        equal(vmgr("shell", plain, "id"), (2, "", f"vmgr: job '{plain}' is none in virtual machines\n"))
        equal(vmgr("shell", waiting, "id"), (2, "", f"vmgr: job '{waiting}' does not run: its state is 'H'\n"))
        equal(vmgr("list"), (0, "", ""))
    finally:
        end(plain)
        end(waiting)
    status, _, err = vmgr("shell", "9999999", "id")
    assert status == 125 and "qstat' failed" in err, err
    equal(vmgr("shell", "-f", "id")[0], 2)
    equal(vmgr("log", "1;id"), (2, "", "vmgr: '1;id' is no job's id\n"))


@contextlib.contextmanager
def setting(line):
    """Another setting in the site's file, for a while."""
    name = line.split("=")[0]
    with open(jobs.VT.conf, encoding="utf-8") as file:
        text = file.read()
    jobs.BED.write(jobs.VT.conf, re.sub(rf"^{name}=.*$", line, text, flags=re.MULTILINE))
    try:
        yield
    finally:
        jobs.BED.write(jobs.VT.conf, text)


def closed():
    """no PEER_PORT, no munged, no daemon, no qstat: one line each; the other nodes' jobs are listed, and the status is 1"""
    with running() as job_id, job_on("node2") as other:
        with setting("PEER_PORT=0"):
            why = f"PEER_PORT is not set in '{jobs.VT.conf}'"
            equal(vmgr("list"), (1, "", f"vmgr: jobs on other nodes are not looked for: {why}\n"))
            equal(vmgr("shell", job_id, "id"), (2, "", f"vmgr: no job '{job_id}' lives here, and other nodes are not asked: {why}\n"))
        peers.MUNGED.stop()
        try:
            status, _, err = vmgr("shell", job_id, "id")
            assert status == 125 and err.startswith("vmgr: node 'node1': munged does not answer on this node"), err
        finally:
            peers.MUNGED.start()
        with peers.without_daemon(0):
            status, out, err = vmgr("list", "--json")
            equal((status, [job["id"] for job in json.loads(out)]), (1, [other]))
            assert re.fullmatch(r"vmgr: node 'node1': vTorque's daemon there cannot be reached \(10.117.0.1, port 15077\): .*\n", err), err
        if PREFIX:
            return
        qstat = f"{jobs.BED.prefix}/bin/qstat"
        os.rename(qstat, f"{qstat}.away")
        try:
            jobs.BED.write(qstat, "#!/bin/sh\nexit 3\n", 0o755)
            status, out, err = vmgr("list", node=0)
            equal((status, job_id in out, err), (1, True, f"vmgr: '{qstat}' failed (status 3)\n"))
        finally:
            os.rename(f"{qstat}.away", qstat)


# Strangers at the door


def claim(greeted, **changes):
    rows = {"version": "1", "class": "user", "receiver": address(1), "nonce": greeted, "key": "0" * 64, **changes}
    return "".join(f"{key}={value}\n" for key, value in rows.items() if value)


def ask(credential_of, kind=USER):
    """(type, text) of the answer to one frame from the login node; `credential_of` makes the credential, for a nonce."""
    caller = Caller(jobs.BED.nodes[LOGIN], address(1))
    try:
        caller.send(kind, credential_of(caller.greeting()))
        found = caller.frame()
        return found and (found[0], found[1][2:].decode())
    finally:
        caller.close()


def forged():
    """credentials of another key, class, connection, node or version, replayed, root's, and a node's as a user's: refused; none starts a program"""
    seal, user, mute = peers.MUNGED.seal, jobs.BED.user, (REFUSED, "the order is refused")
    with running() as job_id, Munged() as foreign:
        kept = []

        def keep(nonce):
            kept.append(seal(claim(nonce, receiver=address(2)), user))
            return kept[-1]
        equal(ask(lambda nonce: foreign.seal(claim(nonce), user)), mute, "another key")
        equal(ask(lambda nonce: b"garbage"), mute)
        equal(ask(lambda nonce: b""), mute)
        equal(ask(keep), mute, "another node's")
        equal(ask(lambda nonce: kept[0]), mute, "replayed")
        equal(ask(lambda nonce: seal(claim("1" * 32), user)), mute, "another connection's")
        equal(ask(lambda nonce: seal(claim(nonce))), mute, "root's")
        for changes in ({"class": None}, {"class": "node"}, {"version": "2"}, {"key": "0"}, {"key": None}, {"nonce": None}, {"id": job_id}, {"cores": "1"}):
            equal(ask(lambda nonce, changes=changes: seal(claim(nonce, **changes), user)), mute, f"{changes}")
        # One class is not the other, whoever seals it.
        for who in (user, None):
            equal(ask(lambda nonce, who=who: seal(peers.order(nonce, receiver=address(1)), who)), mute, "a node's as a user's")
            equal(ask(lambda nonce, who=who: seal(claim(nonce), who), peers.ORDER), mute, "a user's as a node's")
        equal(reaches(), [])
        caller = Caller(jobs.BED.nodes[LOGIN], address(1))
        try:
            caller.send(USER, seal(claim(caller.greeting()), user))
            equal(caller.frame(), (TAKEN, b""))
            wait_for(reaches, "the program")
            serving()
            caller.send(TAKEN, b"this is no TLS")
            while caller.frame():  # an alert
                pass
        finally:
            caller.close()
        wait_for(lambda: not reaches(), "the end of the program")
        equal(vmgr("shell", job_id, "echo", "well"), (0, "well\n", ""))


def silent():
    """who is let in and says nothing is let go after 10 s"""
    with running():
        caller = Caller(jobs.BED.nodes[LOGIN], address(1))
        try:
            caller.send(USER, peers.MUNGED.seal(claim(caller.greeting()), jobs.BED.user))
            equal(caller.frame(), (TAKEN, b""))
            begun = time.monotonic()
            equal(caller.frame(), None)
            assert 5 < time.monotonic() - begun < 30, time.monotonic() - begun
        finally:
            caller.close()


# One connection by the program itself: what is said over it is the row's.
SPEAK = """import os, socket, struct, subprocess, sys
program, port, munge, kind, job = sys.argv[1:]
ours, theirs = socket.socketpair()
ours.settimeout(30)
child = subprocess.Popen([program, "node1", port, munge], stdin=theirs)
theirs.close()
def frame():
    head = ours.recv(8, socket.MSG_WAITALL)
    return head and (head[4], ours.recv(struct.unpack("<I", head[:4])[0], socket.MSG_WAITALL))
print(frame())
name = job.encode()
payload = struct.pack("<H", len(name)) + name if name else b""
ours.sendall(struct.pack("<IBBH", len(payload), int(kind), 0, 0) + payload)
print(frame())
ours.close()
print(child.wait())
"""


def speak(kind, name):
    """The lines of one connection with that frame."""
    words = [*prefix_of(LOGIN), *jobs.BED.user.prefix(), sys.executable, "-c", SPEAK, f"{jobs.VT.site.bin}/vtorque-reach", str(PORT),
             peers.MUNGED.socket, str(kind), name]
    return subprocess.run(words, capture_output=True, text=True, timeout=lib.DEADLINE, check=True).stdout.splitlines()


def run_refused():
    """only LIST, END and CONTROL pass: a run connection, START, CLEAN and frames of others end the connection"""
    with running() as job_id:
        for kind, name, said in ((193, job_id, "b''"), (192, "", "b''"), (197, "", "b''"), (147, "", "b''"), (0, "", "b''"), (196, "", "(160, ")):
            lines = speak(kind, name)
            equal((lines[0], lines[2]), ("(160, b'')", "0"), f"{kind}")
            assert lines[1].startswith(said), f"{kind}: {lines}"
        equal(vmgr("shell", job_id, "echo", "well"), (0, "well\n", ""))


# Who serves


def rights():
    """the program at the job's end: the user's uid, no group, no capability, no new rights, two sockets; the user cannot trace it"""
    with running() as job_id, open_shell(job_id):
        pid = serving()
        status = lib.read_status(pid)
        uid = str(jobs.BED.user.uid)
        equal(status["Uid"].split(), [uid] * 4)
        equal(status["Gid"].split(), ["65534"] * 4)
        equal(status["Groups"].strip(), "")
        equal((status["CapEff"].strip(), status["CapPrm"].strip(), status["NoNewPrivs"].strip()), ("0" * 16, "0" * 16, "1"))
        equal(status["Name"].strip(), "vtorque-reach")
        links = sorted((int(name), os.readlink(f"/proc/{pid}/fd/{name}").split(":")[0]) for name in os.listdir(f"/proc/{pid}/fd"))
        equal(links, [(0, "socket"), (1, "/dev/null"), (2, "/dev/null"), (3, "socket")])
        with open(f"/proc/{pid}/environ", "rb") as file:
            equal(file.read(), b"")
        with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file:
            equal(file.read(), "0\n")
        trace = "import ctypes, sys\nprint(ctypes.CDLL(None, use_errno=True).ptrace(16, int(sys.argv[1]), 0, 0), ctypes.get_errno())"
        words = [*jobs.BED.user.prefix(), sys.executable, "-c", trace, str(pid)]
        equal(subprocess.run(words, capture_output=True, text=True, check=True).stdout, "-1 1\n")


def deaths():
    """vmgr killed, its program killed, the daemon killed, the program at the job's end killed: all of the connection goes, and the job stays"""
    def kill_vmgr(shell):
        shell.kill()

    def kill_program(shell):
        os.kill(next(pid for pid in reaches() if pid != serving()), signal.SIGKILL)

    def kill_serving(shell):
        os.kill(serving(), signal.SIGKILL)
    with running() as job_id:
        for act in (kill_vmgr, kill_program, kill_serving):
            with open_shell(job_id) as shell:
                act(shell)
                wait_for(lambda: not reaches(), f"the end of the connection: {act.__name__}")
                if act is not kill_vmgr:
                    equal(shell.wait(lib.DEADLINE), 125)
        with open_shell(job_id) as shell, peers.without_daemon(0):
            wait_for(lambda: not reaches(), "the end of the connection: the daemon")
            equal(shell.wait(lib.DEADLINE), 125)
        equal(vmgr("shell", job_id, "echo", "well"), (0, "well\n", ""))


def many():
    """of twelve connections of a user at once eight come in, and nobody else is kept out: not another user of the same login node, not another node"""
    with running() as job_id, another() as (other, others):
        shells = [start("shell", job_id, "--", "sh", "-c", "echo in; cat") for _ in range(12)]
        try:
            inside = [shell for shell in shells if shell.stdout.readline() == b"in\n"]
            equal(len(inside), 8)
            equal(sorted(shell.wait(lib.DEADLINE) for shell in shells if shell not in inside), [125] * 4)
            equal(vmgr("shell", job_id, "id"), (125, "", "vmgr: node 'node1': there are too many connections of yours, or in all\n"))
            equal(vmgr("shell", others, "echo", "well", user=other), (0, "well\n", ""))
            two = submit("exit 3\n", "-l", "nodes=node2+node1")  # the first of which orders the other
            equal(jobs.BED.wait(two)["exit_status"], "3")
            inside[0].kill()
            wait_for(lambda: len(reaches()) == 14, "the end of one")
            equal(vmgr("shell", job_id, "echo", "well"), (0, "well\n", ""))
        finally:
            for shell in shells:
                shell.kill()
                shell.communicate()


TESTS = [seen, entered, typed, told, copied, ended, several, strangers, closed, forged, silent, run_refused, rights, deaths, many]

if __name__ == "__main__":
    os.setgroups([0, 4])  # the daemons', which nobody whom they let in may have
    with Munged() as peers.MUNGED:
        SETTINGS = (f"MUNGE_SOCKET={peers.MUNGED.socket}", f"PEER_PORT={PORT}", "NET_TRANSPORT=vxlan")
        with on_bed(SETTINGS, nodes=3, config=CONFIG) as (jobs.BED, jobs.VT):
            jobs.VT.daemons[LOGIN].terminate()
            jobs.VT.daemons[LOGIN].wait(lib.DEADLINE)
            run_tests(TESTS, jobs=1)

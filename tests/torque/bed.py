# SPDX-License-Identifier: Apache-2.0
"""A bed of tests: the stand-in for Torque with its nodes, or the real Torque that is installed where VT_TORQUE_PREFIX says.

Runs as root; what users do is done by `run`. A real Torque must not run: its server, its scheduler and its moms are started, over a
copy of its home, VT_TORQUE_HOME, /var/spool/torque if that is not set.
"""

import contextlib
import fcntl
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, f"{os.path.dirname(HERE)}/system")
import lib
from common import connect
from lib import Result, Site, TemporaryUser, User, equal, wait_for

PREFIX = os.environ.get("VT_TORQUE_PREFIX")
CLIENTS = "qsub qstat qdel qsig qrerun qhold qrls qalter pbsnodes".split()
HOOKS = ["prologue", "prologue.user", "epilogue", "epilogue.user", "epilogue.precancel"]
HOOKS += [f"{name}.parallel" for name in HOOKS[:4]]
# Of a real Torque's.
SERVER, SERVER_NAME = 254, "vtserver"
QMGR = f"""create queue batch queue_type=execution,enabled=true,started=true
set server default_queue=batch,scheduling=true,scheduler_iteration=2,keep_completed=300,query_other_jobs=true,allow_node_submit=true
set server resources_default.walltime=01:00:00,resources_default.nodes=1
set server submit_hosts={socket.gethostname()}
"""


class Node:
    """A node that is this machine itself. `home` is its TORQUE_HOME as this machine sees it."""

    def __init__(self, name, home):
        self.name, self.home = name, home

    def prefix(self):
        return []

    def root(self):
        """Before a path of the node's."""
        return ""

    def mom(self):
        """The pid of its pbs_mom, or 0."""
        try:
            with open(f"{self.home}/mom_priv/mom.lock", encoding="ascii") as file:
                pid = int(file.read().strip("\n\0 ") or 0)  # a real one ends in a NUL
        except FileNotFoundError:
            return 0
        process = lib.read_process(pid)
        return pid if process and process.state not in "ZX" else 0

    def stop(self):
        pass


class Namespace(Node):
    """A node that is a network, a host name and mounts: its home is bound where this machine has its own."""

    def __init__(self, bed, number):
        super().__init__(f"node{number}", f"{bed.base}/node{number}")
        os.makedirs(self.home)
        # It holds the namespaces until its standard input ends.
        steps = f"hostname {self.name} && mount --bind {self.home} {bed.home} && mount --bind {bed.base}/hosts /etc/hosts && " \
                "mkdir -p /run/vtorque && mount -t tmpfs -o mode=755 vtorque /run/vtorque && ip link set lo up && echo up && exec cat"
        self.holder = subprocess.Popen(["unshare", "--net", "--uts", "--mount", "sh", "-c", steps], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        equal(self.holder.stdout.readline(), b"up\n", f"the start of {self.name}")
        uplink = f"{bed.bridge}n{number}"
        for words in (f"ip link add {uplink} master {bed.bridge} up type veth peer name eth0 netns {self.holder.pid}",
                      f"nsenter -t {self.holder.pid} -n ip address add {address(number)}/24 dev eth0",
                      f"nsenter -t {self.holder.pid} -n ip link set eth0 up"):
            subprocess.run(words.split(), check=True)

    def prefix(self):
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-u", "-m"]

    def root(self):
        return f"/proc/{self.holder.pid}/root"

    def stop(self):
        self.holder.communicate()


def address(number):
    return f"10.117.0.{number}"


class Bed:
    """The stand-in, from its start to its end."""

    own_hosts = ""  # lines of /etc/hosts on nodes beside the nodes' own

    def __init__(self, user, nodes=1, slots=4, config="", cgroups=False):
        self.user, self.count, self.slots, self.config, self.nodes = user, nodes, slots, config, []
        self.base = tempfile.mkdtemp(prefix="vtt-torque-", dir="/var/spool")  # facts 5: not below what all may write
        os.chmod(self.base, 0o755)
        self.home, self.prefix, self.bridge = f"{self.base}/torque", self.base, f"vtt{os.getpid() % 100000}"
        self.folder = tempfile.mkdtemp(prefix="work-", dir=user.home)
        os.chown(self.folder, user.uid, user.gid)
        self.numbers = iter(range(1, 1 << 30))
        self.has_cgroups, self.lock = cgroups, -1
        if cgroups:
            open(f"{self.base}/cgroups", "x").close()

    # Life

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        if self.has_cgroups:  # a machine has one `torque` in each hierarchy: beds of other programs wait here
            self.lock = os.open("/sys/fs/cgroup", os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self.lock, fcntl.LOCK_EX)
        for name in ("bin", "sbin", "lib", "server/jobs"):
            os.makedirs(f"{self.base}/{name}")
        for path in glob.glob(f"{HERE}/*.py"):
            shutil.copy(path, f"{self.base}/lib")
        for name in CLIENTS:
            os.symlink("../lib/client.py", f"{self.base}/bin/{name}")
        os.symlink("../lib/server.py", f"{self.base}/sbin/pbs_server")
        os.symlink("../lib/mom.py", f"{self.base}/sbin/pbs_mom")
        self.alive = socket.socket(socket.AF_UNIX)  # its end is that of server and moms
        self.alive.bind(f"{self.base}/alive.sock")
        self.alive.listen(1000)
        self.make_nodes()
        self.write(f"{self.base}/server/nodes", "".join(f"{node.name} np={self.slots} vmhost\n" for node in self.nodes))
        subprocess.run([f"{self.base}/sbin/pbs_server"], check=True)
        for node in self.nodes:
            self.start_mom(node)

    def make_nodes(self):
        self.make_home(self.home)
        numbers = range(1, self.count + 1) if self.count > 1 else ()
        self.write(f"{self.base}/hosts", "127.0.0.1 localhost\n" + self.own_hosts + "".join(f"{address(number)} node{number}\n" for number in numbers))
        if self.count == 1:
            self.nodes = [Node(socket.gethostname(), self.home)]
            return
        subprocess.run(f"ip link add {self.bridge} up type bridge".split(), check=True)
        for number in numbers:
            self.nodes.append(Namespace(self, number))
            self.make_home(self.nodes[-1].home)

    def make_home(self, home):
        for name, mode in (("mom_priv/jobs", 0o751), ("spool", 0o1777), ("undelivered", 0o1777), ("aux", 0o755), ("checkpoint", 0o700)):
            os.makedirs(f"{home}/{name}")
            os.chmod(f"{home}/{name}", mode)
        os.chmod(f"{home}/mom_priv", 0o751)
        self.write(f"{home}/server_name", f"{socket.gethostname()}\n")
        self.write(f"{home}/pbs_environment", "PATH=/usr/local/bin:/usr/bin:/bin\nLANG=C\n")
        self.write_config(self.config, home)

    def write_config(self, text, home):
        self.write(f"{home}/mom_priv/config", text)

    def stop(self):
        if hasattr(self, "alive"):
            self.alive.close()
        for node in self.nodes:
            wait_for(lambda node=node: not node.mom(), "the end of pbs_mom")
            node.stop()
        if self.count > 1:
            subprocess.run(["ip", "link", "delete", self.bridge], check=False)
        if os.path.exists(f"{self.base}/log") and os.path.getsize(f"{self.base}/log"):
            with open(f"{self.base}/log", encoding="utf-8") as file:
                print(f"# the stand-in said:\n# {file.read()}".replace("\n", "\n# "), file=sys.stderr)
        if os.path.exists(f"{self.base}/cgroups"):
            sys.path.insert(0, HERE)
            import cgroups
            cgroups.Cgroups().remove_tops()
        if self.lock >= 0:
            os.close(self.lock)
        shutil.rmtree(self.base, ignore_errors=True)

    def start_mom(self, node=None):
        node = node or self.nodes[0]
        subprocess.run([*node.prefix(), f"{self.prefix}/sbin/pbs_mom"], check=True)
        wait_for(lambda: f"{node.name}\n     state = down" not in self.root("pbsnodes").out.decode(), f"{node.name} in pbsnodes")

    def kill_mom(self, number=signal.SIGKILL, node=None):
        node = node or self.nodes[0]
        pid = wait_for(node.mom, "a pbs_mom that runs")  # a real one is on record a moment after its start; pid 0 would be ourselves
        process = lib.read_process(pid)

        def is_dead():
            if not lib.is_same(process):
                return True
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)  # again and again: a real one that is just starting forgets a TERM (seen)
            return False

        wait_for(is_dead, "the death of pbs_mom")

    def configure(self, text, node=None):
        """Another mom_priv/config, and a new mom."""
        node = node or self.nodes[0]
        self.write_config(text, node.home)
        self.kill_mom(signal.SIGTERM, node)
        self.start_mom(node)

    # Hooks

    @staticmethod
    def write(path, text, mode=0o644):
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(f"{path}.new", mode)
        os.rename(f"{path}.new", path)

    def hook(self, name, text, mode=0o755):
        """A script of the site's on every node."""
        for node in self.nodes:
            self.write(f"{node.home}/mom_priv/{name}", f"#!/bin/sh\n{text}\n", mode)

    def remove_hooks(self):
        for node in self.nodes:
            for name in HOOKS:
                for path in glob.glob(f"{node.home}/mom_priv/{name}*"):
                    os.unlink(path)

    # Users

    def run(self, program, *words, input=b"", user=None, timeout=lib.DEADLINE, **options):
        """A client, or a program of the system, as the user."""
        user = user or self.user
        path = f"{self.prefix}/bin/{program}" if program in CLIENTS else program
        options = {"cwd": self.folder, "env": {**user.environment(), "PATH": f"{self.prefix}/bin:{user.environment()['PATH']}"}, **options}
        result = subprocess.run([*user.prefix(), path, *words], input=input.encode() if isinstance(input, str) else input,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False, **options)
        return Result(result.returncode, result.stdout, result.stderr)

    def root(self, program, *words):
        return self.run(program, *words, user=User(0), cwd="/")

    def script(self, text, name=None):
        """A file of the user's; its path."""
        path = f"{self.folder}/{name or f'job{next(self.numbers)}'}"
        with open(path, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        os.chown(path, self.user.uid, self.user.gid)
        os.chmod(path, 0o755)
        return path

    def qsub(self, text, *words, **options):
        """A script's job; its id."""
        result = self.run("qsub", *words, self.script(text), **options)
        equal((result.status, result.err), (0, b""), f"qsub {words}")
        return result.out.decode().strip()

    def job(self, job_id):
        """What qstat -f says; {} of a job that is unknown. Of the server itself: tests ask again and again, and a qstat is a program more."""
        with connect(f"{self.base}/server.sock") as server, server.makefile("rw", encoding="ascii") as file:
            file.write(json.dumps({"do": "status", "ids": [job_id]}) + "\n")
            file.flush()
            jobs = json.loads(file.readline()).get("jobs", [])
        return {name: str(value) for job in jobs for name, value in job["attributes"]}

    def wait(self, job_id, state="C", seconds=lib.DEADLINE):
        """The job's attributes when it has that state."""
        wait_for(lambda: self.job(job_id).get("job_state") == state, f"{job_id} in state {state}", seconds)
        return self.job(job_id)

    def output(self, attributes, kind="Output"):
        """The text of a delivered file, or None."""
        path = attributes[f"{kind}_Path"].partition(":")[2]
        return open(path, "rb").read().decode() if os.path.exists(path) else None

    def finish(self, text, *words):
        """A job to its end: exit status, output, error output."""
        attributes = self.wait(self.qsub(text, *words))
        return int(attributes["exit_status"]), self.output(attributes), self.output(attributes, "Error")


class RealBed(Bed):
    """A Torque that is installed. Its home is where this one's is bound, as long as it lives."""

    # The server is on this machine, by a name and an address that all nodes know.
    own_hosts = f"{address(SERVER)} {SERVER_NAME} {socket.gethostname()}\n"
    DAEMONS = (("sched_priv/sched.lock", "pbs_sched"), ("server_priv/server.lock", "pbs_server"))

    def __init__(self, user, **options):
        super().__init__(user, **options)
        self.has_cgroups = True  # perhaps
        self.prefix, self.home = PREFIX, os.environ.get("VT_TORQUE_HOME", "/var/spool/torque")
        self.mounts = []

    def bind(self, source, target):
        subprocess.run(["mount", "--bind", source, target], check=True)
        self.mounts.append(target)

    def start(self):
        self.make_nodes()
        self.bind(f"{self.base}/hosts", "/etc/hosts")
        device = self.bridge if self.count > 1 else "lo"
        subprocess.run(["ip", "address", "add", f"{address(SERVER)}/24", "dev", device], check=True)
        self.authority = subprocess.Popen([f"{self.prefix}/sbin/trqauthd", "-F"], stdout=subprocess.DEVNULL)
        name = ["unshare", "--uts", "sh", "-c", f'hostname {SERVER_NAME} && exec "$@"', "sh"]
        subprocess.run([*name, f"{self.prefix}/sbin/pbs_server", "-t", "create", "-f"], check=True, stdout=subprocess.DEVNULL)
        lines = QMGR + "".join(f"create node {node.name} np={self.slots},properties=vmhost\n" for node in self.nodes)
        wait_for(lambda: subprocess.run([f"{self.prefix}/bin/qmgr"], input=lines, text=True, check=False, capture_output=True).returncode == 0, "pbs_server")
        subprocess.run([*name, f"{self.prefix}/sbin/pbs_sched"], check=True)
        for node in self.nodes:
            self.start_mom(node)

    def make_home(self, home):
        """As it was installed."""
        copy = f"{self.base}/torque" if home == self.home else home
        shutil.copytree(self.home, copy, dirs_exist_ok=True)
        if home == self.home:
            self.bind(copy, home)
        self.write(f"{home}/server_name", f"{SERVER_NAME}\n")
        self.write(f"{home}/pbs_environment", "PATH=/usr/local/bin:/usr/bin:/bin\nLANG=C\n")
        self.write_config(self.config, home)

    def write_config(self, text, home):
        self.write(f"{home}/mom_priv/config", f"{text}$usecp *:/ /\n")

    def run(self, program, *words, **options):
        return super().run(program, *(self.by_name(word) for word in words), **options)

    def by_name(self, word):
        """nodes=2:ppn=3 as node1:ppn=3+node2:ppn=3: rows know which node is the first, a scheduler takes any."""
        def names(match):
            specs = [spec.partition(":") for spec in match[1].split("+")]
            if self.count == 1 or not all(count.isdigit() for count, _, _ in specs):
                return match[0]
            counts = [int(count) for count, _, _ in specs]
            if sum(counts) > self.count:
                return match[0]
            nodes = iter(self.nodes)
            return "nodes=" + "+".join(f"{next(nodes).name}{colon}{rest}" for count, (_, colon, rest) in zip(counts, specs) for _ in range(count))
        return re.sub(r"(?<![^,])nodes=([^,]+)", names, word)

    def job(self, job_id):
        result = self.root("qstat", "-f", job_id)
        if result.status:
            return {}
        # Lines are folded with a tab.
        lines = result.out.decode().replace("\n\t", "").splitlines()
        return dict(line.strip().split(" = ", 1) for line in lines if " = " in line)

    def stop(self):
        for node in self.nodes:
            if node.mom():
                self.kill_mom(node=node)
            node.stop()
        if self.user.uid:
            subprocess.run(["pkill", "-KILL", "-U", str(self.user.uid)], check=False)  # jobs survive their mom
        for path, name in self.DAEMONS:
            with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError), open(f"{self.home}/{path}", encoding="ascii") as file:
                process = lib.read_process(int(file.read().strip("\n\0 ")))
                if process and process.name == name:
                    os.kill(process.pid, signal.SIGKILL)
        if hasattr(self, "authority"):
            self.authority.kill()
            self.authority.wait()
        words = ["link", "delete", self.bridge] if self.count > 1 else ["address", "delete", f"{address(SERVER)}/24", "dev", "lo"]
        subprocess.run(["ip", *words], check=False)
        for target in reversed(self.mounts):
            subprocess.run(["umount", "--lazy", target], check=False)
        shutil.rmtree(self.base, ignore_errors=True)


def make_bed(user, **options):
    return RealBed(user, **options) if PREFIX else Bed(user, **options)

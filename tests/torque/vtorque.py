# SPDX-License-Identifier: Apache-2.0
"""vTorque on a bed: the site's file, the hooks in mom_priv, the daemon. Of what is not built, nothing is there."""

import contextlib
import glob
import os
import shutil
import subprocess
import sys

import lib
from bed import TemporaryUser, make_bed
from lib import BUILD, Site, wait_for

PROGRAMS = ("vtorqued", "vtorque-hook", "vtorque-run", "vtorque-engine-nodes", "vtorque-reach")
RUNTIME = "/run/vtorque"


class Vtorque:
    """From the installation to the end. The bed's nodes are machines of their own but for their files."""

    def __init__(self, bed, site):
        self.bed, self.site, self.daemons = bed, site, []
        self.conf = f"{site.folder}/etc/vtorque.conf"
        self.before = self.take()

    @staticmethod
    def settings(lines=()):
        """The site's settings for lib.Site, without what names the bed."""
        rows = {"HOST_IMAGE": "true", "ACCEL": "tcg", "HOST_OS_CORE_COUNT": "0", "PBS_EXCLUSIVE_NODE_ALLOC": "false", "VM_CHANNEL": "gres",
                "BATCH": "torque"}
        rows.update(line.split("=", 1) for line in lines)
        return "".join(f"{name}={value}\n" for name, value in rows.items())

    def __enter__(self):
        with open(self.conf, encoding="utf-8") as file:
            text = file.read()
        names = {"TORQUE_HOME": self.bed.home, "PBS_QSUB_ON_FE": f"{self.bed.prefix}/bin/qsub", "PBS_QSUB_ON_NODES": f"{self.bed.prefix}/bin/qsub"}
        with open(self.conf, "a", encoding="utf-8") as file:
            file.write("".join(f"{name}={value}\n" for name, value in names.items() if f"{name}=" not in text))
        for name in PROGRAMS:
            if os.path.exists(f"{BUILD}/bin/{name}"):
                shutil.copy(f"{BUILD}/bin/{name}", self.site.bin)
        self.site_hooks = self.hooks()
        self.setup("install")
        for node in self.bed.nodes:
            self.start_daemon(node)
        return self

    def setup(self, act):
        """vmgr setup on each node; a node's files are this machine's, too."""
        for node in self.bed.nodes:
            words = (f"{self.site.bin}/vmgr", "setup", act, "--node", "--torque-home", node.home)
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=lib.DEADLINE)
            assert done.returncode == 0, f"vmgr setup {act}: {done.stderr}"

    @contextlib.contextmanager
    def script(self, name, text):
        """The site's own script, for a while, as if it had been there before vTorque."""
        self.setup("uninstall")
        self.bed.hook(name, text)
        self.setup("install")
        try:
            yield
        finally:
            self.setup("uninstall")
            for node in self.bed.nodes:
                os.unlink(f"{node.home}/mom_priv/{name}")
            self.setup("install")

    def hooks(self):
        """What Torque would run on the nodes."""
        return sorted(path for node in self.bed.nodes for path in glob.glob(f"{node.home}/mom_priv/*logue*"))

    def start_daemon(self, node=None):
        """vtorqued on a node; waits for its socket. The process."""
        node = node or self.bed.nodes[0]
        if not os.path.exists(f"{self.site.bin}/vtorqued"):
            return None
        daemon = subprocess.Popen([*node.prefix(), f"{self.site.bin}/vtorqued", "--config", self.conf], stdin=subprocess.DEVNULL)
        self.daemons.append(daemon)
        # The socket of a daemon that was killed is there, too, until the new one has read its settings.
        is_there = [*node.prefix(), sys.executable, "-c", f"import socket; socket.socket(socket.AF_UNIX).connect('{RUNTIME}/hook.sock')"]
        wait_for(lambda: daemon.poll() is not None or not subprocess.run(is_there, check=False, stderr=subprocess.DEVNULL).returncode, "vtorqued's socket")
        assert daemon.poll() is None, "vtorqued did not start"
        return daemon

    def __exit__(self, problem, *_):
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.terminate()
            daemon.wait(lib.DEADLINE)
        self.setup("uninstall")
        assert problem not in (None, SystemExit) or self.hooks() == self.site_hooks, f"uninstalled: {self.hooks()}, not {self.site_hooks}"

    # What is left

    def take(self):
        """All that jobs could leave here: (kind, name)."""
        found = set()
        for process in lib.processes():
            is_users = lib.read_status(process.pid).get("Uid", "0").split()[0] == str(self.bed.user.uid) != "0"
            if process.name == "pbs_mom":
                continue  # a real one's fork stays for ever when its job was deleted while it started (seen)
            if is_users or process.name.startswith(("vtorque-", "qemu-system", "virtiofsd")):
                found.add(("process", f"{process.pid} {process.name}"))
        homes = {node.home for node in self.bed.nodes} | {self.bed.home}
        for pattern in (f"{home}/{name}" for home in homes for name in ("spool/*", "undelivered/*", "aux/*", "mom_priv/jobs/*")):
            found |= {("file", name) for name in glob.glob(pattern) if "/rcperr." not in name}  # of a delivery that a real one has tried
        found |= {("script", name) for name in glob.glob(f"{self.bed.user.home}/.vtorque/scripts/*")}
        for place in (f"{node.root()}{RUNTIME}/jobs" for node in self.bed.nodes):
            found |= {("run folder", name) for name in glob.glob(f"{place}/[0-9]*")}
            found |= {("cgroup", name) for name, _ in lib.leaves(place)}
        if self.bed.has_cgroups:
            found |= {("cgroup", name) for pattern in ("torque/*/", "torque/*/*/") for name in glob.glob(f"/sys/fs/cgroup/**/{pattern}", recursive=True)}
        return found

    def left(self, seconds=lib.DEADLINE):
        """What is new and stays. A node cleans up after its job's end, so all of it has a moment to go."""
        new = self.take() - self.before
        try:
            wait_for(lambda: not new & self.take(), "", seconds if new else 1)
        except AssertionError:
            pass
        return sorted(new & self.take())


def read(path):
    """A file's text; empty if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


@contextlib.contextmanager
def on_bed(settings=(), **options):
    """A bed and vTorque on it, for one user: (Bed, Vtorque)."""
    with TemporaryUser() as owner, Site(user=owner, conf=Vtorque.settings(settings)) as site, make_bed(owner, **options) as bed:
        with Vtorque(bed, site) as vtorque:
            yield bed, vtorque

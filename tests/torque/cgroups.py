# SPDX-License-Identifier: Apache-2.0
"""A cgroup per job as a Torque with cgroups keeps it (facts 8.4): in the hierarchies of version 1 where this machine has them,
else one folder of version 2 (not on the page of facts)."""

import glob
import os

from common import parse_size

ROOT = "/sys/fs/cgroup"
V1 = ("cpu", "cpuacct", "cpuset", "memory", "devices")


class Cgroups:
    """Below `torque` in each hierarchy, by the job's full id."""

    def __init__(self):
        self.is_v1 = os.path.isdir(f"{ROOT}/memory")
        self.tops = [f"{ROOT}/{name}/torque" for name in V1] if self.is_v1 else [f"{ROOT}/torque"]
        for top in self.tops:
            self.make_folder(top)

    def make_folder(self, path):
        os.makedirs(path, 0o755, exist_ok=True)
        above = os.path.dirname(path)
        if "/cpuset/" in path:
            for name in ("cpuset.cpus", "cpuset.mems"):
                write(f"{path}/{name}", read(f"{above}/{name}"))
        elif not self.is_v1:
            for name in ("cpu", "cpuset", "memory"):
                write(f"{above}/cgroup.subtree_control", f"+{name}")

    def make(self, job_id, slots, resources, is_exclusive, nodes):
        for top in self.tops:
            self.make_folder(f"{top}/{job_id}")
        cpuset, memory = (f"{ROOT}/cpuset/torque/{job_id}", f"{ROOT}/memory/torque/{job_id}") if self.is_v1 else [f"{ROOT}/torque/{job_id}"] * 2
        cores = sorted(os.sched_getaffinity(0))
        if not is_exclusive:  # -n: all
            write(f"{cpuset}/cpuset.cpus", ",".join(str(cores[slot % len(cores)]) for slot in slots))
        limit = lambda names: min((parse_size(resources[name]) * (len(slots) if name[0] == "p" else 1) // (1 if name[0] == "p" else nodes)
                                   for name in names if name in resources), default=None)
        for names, v1, v2 in ((("mem", "pmem", "vmem", "pvmem"), "memory.limit_in_bytes", "memory.max"),
                              (("vmem", "pvmem"), "memory.memsw.limit_in_bytes", None)):
            size, name = limit(names), v1 if self.is_v1 else v2
            if size and name:
                write(f"{memory}/{name}", size)

    def enter(self, job_id):
        """This process. Never in `cpu`."""
        for top in self.tops:
            if not top.startswith(f"{ROOT}/cpu/"):
                write(f"{top}/{job_id}/cgroup.procs", os.getpid())

    def measure(self, job_id):
        """Seconds of processor and bytes, of all that ever was below the job's group."""
        if self.is_v1:
            cpu, memory = read(f"{ROOT}/cpuacct/torque/{job_id}/cpuacct.usage"), read(f"{ROOT}/memory/torque/{job_id}/memory.max_usage_in_bytes")
            return (int(cpu) / 1e9, int(memory)) if cpu and memory else None
        words = read(f"{ROOT}/torque/{job_id}/cpu.stat").split()
        return (int(words[1]) / 1e6, int(read(f"{ROOT}/torque/{job_id}/memory.peak") or 0)) if words else None

    def remove(self, job_id):
        """One round: folders whose name begins with R, then the job's own; no other is tried. True if nothing is left."""
        for top in self.tops:
            for path in (*glob.glob(f"{top}/{glob.escape(job_id)}/R*"), f"{top}/{job_id}"):
                try:
                    os.rmdir(path)
                except OSError:
                    pass
        return not any(os.path.exists(f"{top}/{job_id}") for top in self.tops)

    def remove_tops(self):
        for top in self.tops:
            try:
                os.rmdir(top)
            except OSError:
                pass


def read(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def write(path, value):
    """A host that has no such file, or refuses the value, does without."""
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(value))
    except OSError:
        pass

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs on three nodes, and a cgroup for each job: rows of the page of facts, for the stand-in and for a real Torque, whose nodes are namespaces. Speaks TAP."""

import contextlib
import glob
import os
import re
import time

from bed import PREFIX, Bed, TemporaryUser, equal, lib, make_bed, wait_for
from lib import run_tests

BED = None
GROUPED = None
THREE = ("-l", "nodes=3:ppn=2")


def record(name, then="", bed=None):
    """A script that appends `NODE NAME begin`, then `... end` to the order of all."""
    bed = bed or BED
    line = f"$(uname -n) {name} %s >> {bed.folder}/order"
    bed.hook(name, f"echo {line % 'begin'}\n{then}\necho {line % 'end'}\nexit ${{status:-0}}")


def order():
    with open(f"{BED.folder}/order", encoding="utf-8") as file:
        return file.read().splitlines()


def fresh(config="$check_poll_time 1\n"):
    BED.remove_hooks()
    with open(f"{BED.folder}/order", "w", encoding="utf-8"):
        pass
    os.chmod(f"{BED.folder}/order", 0o666)
    if config != fresh.config:
        for node in BED.nodes:
            BED.configure(config, node)
        fresh.config = config


fresh.config = "$check_poll_time 1\n"
ALL = ("prologue", "prologue.user", "prologue.parallel", "prologue.user.parallel", "epilogue", "epilogue.user", "epilogue.parallel", "epilogue.user.parallel")


def order_of_nodes():
    """facts 1: sisters before the first node at the start and at the end; each script on its own kind of node alone"""
    fresh()
    for name in ALL:
        record(name)
    equal(BED.finish(f"echo $(uname -n) job x >> {BED.folder}/order", *THREE)[0], 0)
    lines = [line.split() for line in order()]
    for sister in ("node2", "node3"):
        equal([name for node, name, word in lines if node == sister and word == "begin"],
              ["prologue.parallel", "prologue.user.parallel", "epilogue.user.parallel", "epilogue.parallel"])
    equal([name for node, name, word in lines if node == "node1" and word != "end"], ["prologue", "prologue.user", "job", "epilogue.user", "epilogue"])
    steps = [" ".join(line) for line in lines]
    for sister in ("node2", "node3"):
        assert steps.index(f"{sister} prologue.user.parallel end") < steps.index("node1 prologue begin"), steps
        assert steps.index(f"{sister} epilogue.parallel end") < steps.index("node1 epilogue.user begin"), steps


def sisters_overlap():
    """facts 1: the scripts of sisters run at the same time"""
    fresh()
    other = "case $(uname -n) in node2) o=node3;; *) o=node2;; esac; "
    record("prologue.parallel", then=f"{other}while ! grep -q \"$o prologue.parallel begin\" {BED.folder}/order; do sleep 0.02; done")
    equal(BED.finish("true", *THREE)[0], 0)


def what_sisters_are_given():
    """facts 1.1 to 1.3: no node file, an index, umask 0022, root; at the end no output at all, session and status 0"""
    fresh()
    # Asked before the shell opens a pipe, which would take the number of a closed descriptor.
    look = "for fd in 1 2; do [ -e /proc/$$/fd/$fd ] && text=\"$text open\" || text=\"$text closed\"; done"
    say = "$PBS_NODENUM $PBS_MSHOST $PBS_NP ${PBS_NODEFILE-none} $PBS_RESOURCE_GRES $(umask) $(/usr/bin/id -u)$text"
    for name, words in (("prologue.parallel", "$#"), ("epilogue.parallel", "$5 ${10} $#")):
        BED.hook(name, f"{look}\nexec 3>{BED.folder}/{name}.$(uname -n)\necho {words} {say} >&3")
    equal(BED.finish("exit 3", *THREE, "-l", "gres=vtorque:X")[0], 3)
    for number, node in ((1, "node2"), (2, "node3")):
        rest = f"{number} node1 6 none vtorque:X 0022 0"
        with open(f"{BED.folder}/prologue.parallel.{node}", encoding="utf-8") as file:
            equal(file.read(), f"8 {rest} open open\n")
        with open(f"{BED.folder}/epilogue.parallel.{node}", encoding="utf-8") as file:
            equal(file.read(), f"0 0 11 {rest} closed closed\n")


def node_file():
    """facts 1.3: a line for each slot, the first node first; nodes know each other by name"""
    fresh()
    _, out, _ = BED.finish("tr '\\n' ' ' < $PBS_NODEFILE; uname -n; getent hosts node3 | tr -s ' '", *THREE)
    equal(out, "node1 node1 node2 node2 node3 node3 node1\n10.117.0.3 node3\n")


def sister_fails():
    """facts 1.4, finding 3: any code of prologue.parallel is a requeue; prologue and epilogue.parallel never run, epilogue does; finding 8"""
    fresh("$check_poll_time 1\n$status_update_time 1\n")
    if PREFIX:  # the stand-in does not take the node down
        BED.root("qmgr", "-c", "set server down_on_error=false")
    for name in ("prologue", "epilogue", "epilogue.parallel"):
        record(name)
    BED.hook("prologue.parallel", f"[ $(uname -n) = node3 ] && [ ! -e {BED.folder}/again ] && touch {BED.folder}/again && exit 1; exit 0")
    job_id = BED.qsub("true", *THREE)
    wait_for(lambda: len(order()) >= 2, "the first epilogue")
    equal(order()[:2], ["node1 epilogue begin", "node1 epilogue end"])
    wait_for(lambda: "ERROR: prolog/epilog failed" in BED.root("pbsnodes").out.decode(), "the node's message")
    equal(BED.wait(job_id)["exit_status"], "0")
    equal([line for line in order()[2:] if line.startswith("node1")], [f"node1 {name} {word}" for name in ("prologue", "epilogue") for word in ("begin", "end")])
    fresh()


def first_node_fails():
    """facts, finding 3: prologue fails on the first node: no epilogue.parallel on the others"""
    fresh()
    record("epilogue")
    record("epilogue.parallel")
    BED.hook("prologue", "exit 1")
    equal(BED.wait(BED.qsub("true", *THREE))["exit_status"], "-2")
    equal(order(), ["node1 epilogue begin", "node1 epilogue end"])
    for path in glob.glob(f"{BED.nodes[0].home}/spool/*"):
        os.unlink(path)


def double_prologue():
    """facts, finding 9: a sister that is late is asked twice: prologue.parallel runs again while the job runs"""
    fresh("$check_poll_time 1\n$resend_join_job_wait_time 1\n")
    record("prologue.parallel", then="sleep 3")
    text = f"while [ $(grep -c 'parallel begin' {BED.folder}/order) -lt 2 ]; do sleep 0.05; done"
    equal(BED.finish(text, "-l", "nodes=2")[0], 0)
    assert order().count("node2 prologue.parallel begin") >= 2, order()
    fresh()


def qdel_of_three():
    """facts 2: qdel: the sisters' epilogues run at once, beside precancel, and once"""
    fresh()
    record("epilogue.precancel", then=f"while [ $(grep -c 'parallel end' {BED.folder}/order) -lt 2 ]; do sleep 0.02; done")
    record("epilogue.parallel")
    record("epilogue")
    job_id = BED.qsub(f"echo up > {BED.folder}/up; sleep 60", *THREE)
    wait_for(lambda: os.path.exists(f"{BED.folder}/up"), "the script")
    BED.run("qdel", job_id)
    equal(BED.wait(job_id)["exit_status"], "271")
    equal(sorted(line for line in order() if "end" in line),
          ["node1 epilogue end", "node1 epilogue.precancel end", "node2 epilogue.parallel end", "node3 epilogue.parallel end"])


def sister_mom_killed():
    """facts 2: a sister's mom dies: the job ends normally, the sister's epilogue never runs, its .JB stays"""
    fresh("$check_poll_time 1\n$job_exit_wait_time 1\n")
    record("epilogue.parallel")
    record("epilogue")
    job_id = BED.qsub(f"echo up > {BED.folder}/killed; while [ -e {BED.folder}/killed ]; do sleep 0.05; done", "-l", "nodes=2")
    wait_for(lambda: os.path.exists(f"{BED.folder}/killed"), "the script")
    BED.kill_mom(node=BED.nodes[1])
    os.unlink(f"{BED.folder}/killed")
    equal(BED.wait(job_id)["exit_status"], "0")
    BED.start_mom(BED.nodes[1])
    equal(order(), ["node1 epilogue begin", "node1 epilogue end"])
    left = glob.glob(f"{BED.nodes[1].home}/mom_priv/jobs/*")
    equal([os.path.basename(path) for path in left], [f"{job_id}.JB"])
    os.unlink(left[0])
    fresh()


def groups_of(bed, job_id):
    return sorted(path for path in glob.glob("/sys/fs/cgroup/**/torque/*", recursive=True) if os.path.basename(path) == job_id)


def cgroup_of_a_job():
    """facts 8.4: prologue and job are in the job's cgroup, but for `cpu`; epilogue is not; it is gone after the job"""
    bed = GROUPED
    for name in ("prologue", "epilogue"):
        bed.hook(name, f"cat /proc/$$/cgroup > {bed.folder}/{name}")
    bed.hook("first", "true")
    job_id = bed.qsub("cat /proc/$$/cgroup; grep Cpus_allowed_list /proc/self/status; ulimit -d", "-l", "nodes=1:ppn=1,mem=100mb")
    _, out, _ = (bed.wait(job_id), *[bed.output(bed.job(job_id))] * 2)
    paths = {}
    for name in ("prologue", "epilogue"):
        with open(f"{bed.folder}/{name}", encoding="utf-8") as file:
            paths[name] = dict(re.findall(r"\d+:(?:name=)?(\S*?):(\S+)", file.read()))
    paths["job"] = dict(re.findall(r"\d+:(?:name=)?(\S*?):(\S+)", out))
    names = ("cpuacct", "cpuset", "memory", "devices") if os.path.isdir("/sys/fs/cgroup/memory") else ("",)
    for name in names:
        equal([paths[who][name] == f"/torque/{job_id}" for who in ("prologue", "job", "epilogue")], [True, True, False], name)
    if len(names) > 1:
        assert "torque" not in paths["job"]["cpu"], paths
        equal(re.search(r"Cpus_allowed_list:\s+(\S+)", out).group(1), "0")
    equal(out.splitlines()[-1], "102400")
    wait_for(lambda: not groups_of(bed, job_id), "the end of the cgroup")
    bed.remove_hooks()


def folders_in_the_cgroup():
    """facts 8.4: folders whose name begins with R go with it; one in use holds up the cleaning of all later jobs"""
    bed = GROUPED
    top = "/sys/fs/cgroup/memory/torque" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup/torque"
    bed.hook("prologue", f"mkdir {top}/$1/Rvt; setsid sleep 50 </dev/null >/dev/null 2>&1 & echo $! > {top}/$1/Rvt/cgroup.procs; echo $! > {bed.folder}/pid")
    first = bed.qsub("true")
    bed.wait(first)
    bed.remove_hooks()
    second = bed.qsub("true")
    bed.wait(second)
    time.sleep(0.1)
    assert groups_of(bed, first) and groups_of(bed, second) and os.path.exists(f"{bed.home}/mom_priv/jobs/{second}.SC")
    with open(f"{bed.folder}/pid", encoding="ascii") as file:
        os.kill(int(file.read()), 9)
    wait_for(lambda: not groups_of(bed, first) and not groups_of(bed, second) and not os.path.exists(f"{bed.home}/mom_priv/jobs/{second}.SC"), "the cleaning")


TESTS = [order_of_nodes, sisters_overlap, what_sisters_are_given, node_file, sister_fails, first_node_fails, double_prologue, qdel_of_three, sister_mom_killed]

if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        user = stack.enter_context(TemporaryUser())
        BED = stack.enter_context(make_bed(user, nodes=3, config=fresh.config))
        os.chmod(BED.folder, 0o777)
        if not PREFIX:  # a real one's are looked at in grouped.py
            TESTS += [cgroup_of_a_job, folders_in_the_cgroup]
            GROUPED = stack.enter_context(Bed(user, cgroups=True))
            os.chmod(GROUPED.folder, 0o777)
        os.chmod(user.home, 0o755)
        run_tests(TESTS, jobs=1)

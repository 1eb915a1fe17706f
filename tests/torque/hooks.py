#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The scripts that pbs_mom runs around a job on one node: rows of the page of facts, for the stand-in and for a real Torque. Speaks TAP."""

import contextlib
import glob
import os
import signal
import time

from bed import PREFIX, TemporaryUser, equal, lib, make_bed, wait_for
from lib import run_tests

BED = None
SCRIPTS = ("prologue", "prologue.user", "epilogue", "epilogue.user", "epilogue.precancel")
SIGNS = ("up", "gate", "flag", "runs", "once")  # files by which the rows and their jobs tell each other
CONFIG = "$check_poll_time 1\n$prologalarm 120\n"
SHORT = "$check_poll_time 1\n$prologalarm 12\n"  # a script has 2 s
# Into $F.NAME: numbered arguments, and each thing as `key=value`.
RECORD = r"""
n=0; for word; do n=$((n + 1)); printf '%s=%s\n' $n "$word"; done
printf 'argc=%s\nid=%s\ncwd=%s\numask=%s\n' $# "$(/usr/bin/id -u):$(/usr/bin/id -g)" "$PWD" "$(umask)"
printf 'groups=%s\n' "$(/usr/bin/id -G)"
printf 'session=%s\npid=%s\n' "$(cut -d' ' -f6 /proc/$$/stat)" $$
printf 'fd0=%s\nfd1=%s\nfd2=%s\n' $in $out $err
printf 'fds=%s\n' "$(ls /proc/$$/fd | tr '\n' ' ')"
tr '\0' '\n' < /proc/$$/environ | sed 's/^/env./'
"""


def record(name, then=""):
    """A script that says what it was given, and when."""
    path = f"{BED.folder}/record.{name}"
    with open(path, "w", encoding="utf-8"):
        pass
    os.chown(path, BED.user.uid, BED.user.gid)
    os.chmod(path, 0o666)
    BED.hook(name, f"in=$(readlink /proc/$$/fd/0) out=$(readlink /proc/$$/fd/1) err=$(readlink /proc/$$/fd/2)\n{{ {RECORD} }} > {path}.$$ && cat {path}.$$ > {path}; rm -f {path}.$$\n"
                   f"echo {name} begin >> {BED.folder}/order\n{then}\necho {name} end >> {BED.folder}/order\nexit ${{status:-0}}")


def said(name):
    """{} if the script did not run."""
    with open(f"{BED.folder}/record.{name}", encoding="utf-8") as file:
        return dict(line.split("=", 1) for line in file.read().splitlines() if "=" in line)


def order():
    with open(f"{BED.folder}/order", encoding="utf-8") as file:
        return file.read().splitlines()


def add_order(word):
    return f"echo {word} >> {BED.folder}/order"


def fresh(config=CONFIG):
    """No hook, no line and no sign of what happened before, whatever came of it."""
    BED.remove_hooks()
    for name in SIGNS:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{BED.folder}/{name}")
    path = f"{BED.folder}/order"
    with open(path, "w", encoding="utf-8"):
        pass
    os.chmod(path, 0o666)
    if config != fresh.config:
        BED.configure(config)
        fresh.config = config


fresh.config = CONFIG


def order_of_scripts():
    """facts 1: prologue, prologue.user, the user's own, the job, the user's own, epilogue.user, epilogue"""
    fresh()
    for name in SCRIPTS:
        record(name)
    own = BED.script(f"#!/bin/sh\n{add_order('own $(id -u)')}\n", "own")
    job = BED.wait(BED.qsub(add_order("job"), "-l", f"prologue={own},epilogue={own}"))
    equal(job["exit_status"], "0")
    mine = f"own {BED.user.uid}"
    equal(order(), ["prologue begin", "prologue end", "prologue.user begin", "prologue.user end", mine, "job", mine,
                    "epilogue.user begin", "epilogue.user end", "epilogue begin", "epilogue end"])


def arguments():
    """facts 1.1: arguments of both families"""
    fresh()
    record("prologue")
    record("epilogue")
    job_id = BED.qsub("exit 3", "-N", "some", "-A", "account", "-l", "nodes=1:ppn=2,walltime=0:05:00,other=a;b")
    job = BED.wait(job_id)
    before, after = said("prologue"), said("epilogue")
    server = job_id.partition(".")[2]
    copy = f"{BED.home}/mom_priv/jobs/{job_id.partition('.')[0]}.{server}.SC"
    group = lib.group_name(BED.user.gid)
    equal([before[str(n)] for n in (1, 2, 3, 4, 6, 7, 8)], [job_id, BED.user.name, group, "some", "batch", "account", copy])
    equal(before["argc"], "8")
    words = set(before["5"].split(","))
    assert {"nodes=1:ppn=2", "neednodes=1:ppn=2", "other=a;b"} <= words and any(word.startswith("walltime=") for word in words), words
    equal([after[str(n)] for n in (1, 2, 3, 4, 5, 8, 9, 10, 11)],
          [job_id, BED.user.name, group, "some", job["session_id"], "batch", "account", "3", copy])
    equal((after["argc"], set(after["6"].split(","))), ("11", words))
    equal([word.partition("=")[0] for word in after["7"].split(",")], ["cput", "vmem", "walltime", "mem", "energy_used"])


def array_arguments():
    """facts 1.1, 1.3: an array's job: id with brackets, name and file with a dash"""
    fresh()
    record("prologue")
    array = BED.qsub("true", "-t", "4", "-N", "some")
    number, _, server = array.partition("[].")
    BED.wait(f"{number}[4].{server}")
    before = said("prologue")
    equal((before["1"], before["4"], os.path.basename(before["8"])), (f"{number}[4].{server}", "some-4", f"{number}-4.{server}.SC"))


def long_resources():
    """facts 1.1: what does not fit into 2048 bytes is left out of the list; 4: gres comes by the environment, counts, as long as it is"""
    fresh()
    record("prologue")
    BED.wait(BED.qsub("true", "-l", f"other={'x' * 3000},gres={'y' * 30000}"))
    before = said("prologue")
    assert "nodes=" in before["5"] and "other=" not in before["5"] and len(before["5"]) <= 2048, before["5"]
    equal(before["env.PBS_RESOURCE_GRES"], "y" * 30000)


def environment():
    """facts 1.2: all that a script has; of the user's only what Torque takes over; no job id"""
    fresh()
    for name in SCRIPTS[:4]:
        record(name)
    BED.wait(BED.qsub("true", "-l", "nodes=1:ppn=2,gres=vtorque:X", "-v", "MINE=x,PBS_SCHED_HINT=hint,MOAB_QOS=high,MOAB_OTHER=x"))
    fixed = {"PBS_RESOURCE_NODES": "1:ppn=2", "PBS_NUM_NODES": "1", "PBS_NUM_PPN": "2", "PBS_NP": "2", "PBS_NODENUM": "0", "PBS_MSHOST": BED.nodes[0].name,
             "PBS_O_WORKDIR": BED.folder, "PBS_RESOURCE_GRES": "vtorque:X", "PBS_SCHED_HINT": "hint"}
    for name in SCRIPTS[:4]:
        found = {key[4:]: value for key, value in said(name).items() if key.startswith("env.")}
        equal(found.pop("PBS_NODEFILE").replace("aux//", "aux/"), f"{BED.home}/aux/{said(name)['1']}", name)
        for key in ("PATH", "LANG", "PBS_CPUCLOCK", "TMPDIR"):
            found.pop(key, None)
        equal(found, {**fixed, **({"MOAB_QOS": "high"} if ".user" not in name else {})}, name)


def counts():
    """with a node's name there is no count of nodes; without -l nodes there are no counts at all (seen, where the site has no default)"""
    fresh()
    record("prologue")
    names = ("PBS_RESOURCE_NODES", "PBS_NUM_NODES", "PBS_NUM_PPN", "PBS_NP")
    name = BED.nodes[0].name
    rows = [(f"nodes={name}:ppn=2", [f"{name}:ppn=2", "0", "1", "2"]), ("nodes=1:ppn=2", ["1:ppn=2", "1", "2", "2"])]
    for spec, wanted in rows if PREFIX else [*rows, ("ncpus=2", [None] * 4)]:
        _, out, _ = BED.finish("echo $PBS_NUM_NODES $PBS_NP", "-l", spec)
        equal([said("prologue").get(f"env.{key}") for key in names], wanted, spec)
        equal(out, f"1 {wanted[3] or 1}\n", spec)


def identities():
    """facts 1, 1.3: who runs the scripts, where, with which umask"""
    fresh()
    for name in SCRIPTS:
        record(name)
    job_id = BED.qsub("sleep 60")
    BED.wait(job_id, "R")
    wait_for(lambda: said("prologue.user") or None, "prologue.user")
    wait_for(lambda: "session_id" in BED.job(job_id), "the job's shell")
    BED.run("qdel", job_id)
    BED.wait(job_id)
    user, root = f"{BED.user.uid}:{BED.user.gid}", "0:0"
    private = f"{BED.home}/mom_priv"
    rows = {"prologue": (root, private, "0077"), "prologue.user": (user, BED.user.home, "0077"), "epilogue.precancel": (user, BED.user.home, "0022"),
            "epilogue.user": (user, BED.user.home, "0022"), "epilogue": (root, private, "0022")}
    for name, (who, where, mask) in rows.items():
        found = said(name)
        equal((found["id"], found["cwd"], found["umask"], found["session"]), (who, where, mask, found["pid"]), name)
    assert str(BED.user.gid) in said("prologue")["groups"].split(), said("prologue")


def descriptors():
    """facts 1.3: standard input is /dev/null, output the job's files; prologue inherits more than three"""
    fresh()
    for name in SCRIPTS[:4]:
        record(name, then=f"echo text of {name}")
    job_id = BED.qsub("echo text of job; echo err >&2")
    job = BED.wait(job_id)
    for name in SCRIPTS[:4]:
        found = said(name)
        equal(found["fd0"], "/dev/null", name)
        equal([os.path.dirname(found[fd]) for fd in ("fd1", "fd2")], [f"{BED.home}/spool"] * 2, name)
    assert len(said("prologue")["fds"].split()) > 4, said("prologue")
    equal(BED.output(job), "text of prologue\ntext of prologue.user\ntext of job\ntext of epilogue.user\ntext of epilogue\n")
    equal(BED.output(job, "Error"), "err\n")


def files():
    """facts 1.3: which files there are at prologue and at epilogue; after the job none"""
    fresh()
    kinds = "for f in \"$PBS_NODEFILE\" ${S%.SC}.SC ${S%.SC}.JB ${S%.SC}.TK; do stat -c '%n %U %a' $f 2>/dev/null; done"
    user = BED.user.name
    for name, place in (("prologue", 8), ("epilogue", 11)):
        shift = f"shift {place - 1}; S=$1; "
        BED.hook(name, f"{shift}{{ {kinds}; stat -c '%U %a' {BED.home}/spool/*; cat $PBS_NODEFILE; }} > {BED.folder}/files.{name}")
    job_id = BED.qsub("true", "-l", "nodes=1:ppn=2")
    BED.wait(job_id)
    node = BED.nodes[0].name
    base = f"{BED.home}/mom_priv/jobs/{job_id}"
    rows = {"prologue": [f"{base}.SC {user} 700"], "epilogue": [f"{base}.SC {user} 700", f"{base}.JB root 644", f"{base}.TK root 600"]}
    for name, rest in rows.items():
        with open(f"{BED.folder}/files.{name}", encoding="utf-8") as file:
            lines = file.read().replace("aux//", "aux/").splitlines()
        equal(lines, [f"{BED.home}/aux/{job_id} root 644", *rest, f"{user} 600", f"{user} 600", node, node], name)
    wait_for(lambda: not glob.glob(f"{BED.home}/mom_priv/jobs/*") and not glob.glob(f"{BED.home}/spool/*"), "the end of the job's files")


def exit_one():
    """facts 1.4: 1 aborts: state C, exit_status -2, epilogues run, no output is delivered"""
    for name in ("prologue", "prologue.user"):
        fresh()
        record("epilogue")
        BED.hook(name, "echo reason >&2; exit 1")
        job = BED.wait(BED.qsub(add_order("job")))
        equal((job["exit_status"], order(), BED.output(job), BED.output(job, "Error")), ("-2", ["epilogue begin", "epilogue end"], None, None), name)
        for path in glob.glob(f"{BED.home}/spool/*"):
            os.unlink(path)


def exit_others():
    """facts 1.4: any other code is a requeue and another start, with an epilogue each time"""
    for code in (2, 255):
        fresh()
        record("epilogue")
        BED.hook("prologue", f"echo x >> {BED.folder}/tries; [ $(wc -l < {BED.folder}/tries) -gt 2 ] || exit {code}")
        job = BED.wait(BED.qsub(add_order("job")))
        ends = ["epilogue begin", "epilogue end"]
        equal((job["exit_status"], order()), ("0", [*ends, *ends, "job", *ends]), code)
        os.unlink(f"{BED.folder}/tries")


def death_of_prologue():
    """facts, finding 5: killed by a signal it counts as success"""
    fresh()
    BED.hook("prologue", "kill -9 $$")
    equal(BED.finish("echo ran")[:2], (0, "ran\n"))


def wrong_modes():
    """facts 1.4: a script that others may write is no script: requeue"""
    fresh()
    BED.hook("prologue", add_order("prologue"), mode=0o775)
    job_id = BED.qsub(add_order("job"))
    wait_for(lambda: int(BED.job(job_id).get("start_count", 0)) > 1, "another start")
    os.chmod(f"{BED.home}/mom_priv/prologue", 0o755)
    BED.wait(job_id)
    equal(order(), ["prologue", "job"])


def epilogue_codes():
    """facts 1.4: the code of an epilogue is ignored"""
    fresh()
    for name in ("epilogue", "epilogue.user"):
        record(name, then="status=1")
    equal(BED.finish("exit 4")[0], 4)
    equal(len(order()), 4)


def time_limit():
    """facts 1.5: a prologue has 10 s less than $prologalarm; its session is killed, what left it lives; then requeue"""
    fresh(SHORT)
    lock = f"{BED.folder}/tries"
    BED.hook("prologue", f"[ -e {lock} ] && exit 0; touch {lock}; setsid sleep 77.1 & sleep 77.2 & sleep 77.3; echo wrong >> {BED.folder}/order")
    BED.wait(BED.qsub(add_order("job")), seconds=90)
    equal(order(), ["job"])
    alive = [process.pid for process in lib.processes() if process.name == "sleep"]
    found = {open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")[1]: pid for pid in alive if os.path.exists(f"/proc/{pid}/cmdline")}
    equal([word in found for word in (b"77.1", b"77.2", b"77.3")], [True, False, False])
    os.kill(found[b"77.1"], signal.SIGKILL)
    fresh()


def daemons():
    """facts 1.6: what a prologue leaves behind lives on after the job"""
    fresh()
    BED.hook("prologue", f"setsid sleep 88 </dev/null >/dev/null 2>&1 & echo $! > {BED.folder}/daemon")
    BED.finish("true")
    with open(f"{BED.folder}/daemon", encoding="ascii") as file:
        pid = int(file.read())
    equal(lib.read_process(pid).name, "sleep")
    os.kill(pid, signal.SIGKILL)


def job_types():
    """facts 1.4: -T name is prologue.name, and the plain one if there is none"""
    fresh()
    BED.hook("prologue", add_order("plain"))
    BED.hook("prologue.vm", add_order("vm"))
    BED.finish("true", "-T", "vm")
    BED.finish("true", "-T", "none")
    BED.finish("true", "-W", "jobtype=vm")
    equal(order(), ["vm", "plain", "vm"])


def presetup():
    """facts 1: $presetup_prologue comes first, with the hosts behind; the script is root's yet; its code is ignored"""
    path = f"{BED.home}/mom_priv/first"
    BED.write(path, f"#!/bin/sh\necho $# $9 $(stat -c %U $8) ${{PBS_NODEFILE-none}} >> {BED.folder}/order\nexit 1\n", 0o755)
    fresh(f"{CONFIG}$presetup_prologue {path}\n")
    record("prologue")
    BED.finish("true")
    equal(order(), [f"9 {BED.nodes[0].name} root none", "prologue begin", "prologue end"])
    os.unlink(path)
    fresh()


def job_starter():
    """facts 5: $job_starter runs in the shell's place, with the shell as argument, as root if it is said"""
    path = f"{BED.folder}/starter"
    BED.script(f"#!/bin/sh\necho $(id -u) $1 >> {BED.folder}/order\nexec $1", "starter")
    for line, uid in (("", BED.user.uid), ("$job_starter_run_privileged true\n", 0)):
        fresh(f"{CONFIG}$job_starter {path}\n{line}")
        BED.finish("true")
        equal(order(), [f"{uid} /bin/bash"])
    fresh()


def latency():
    """nothing waits without need: ten jobs one after the other (no figure is judged here)"""
    fresh()
    start = time.monotonic()
    for _ in range(10):
        equal(BED.finish("true")[0], 0)
    print(f"# a job from qsub to its end as qstat sees it: {(time.monotonic() - start) * 100:.0f} ms")


TESTS = (order_of_scripts, arguments, array_arguments, long_resources, environment, counts, identities, descriptors, files, exit_one, exit_others, death_of_prologue,
         wrong_modes, epilogue_codes, time_limit, daemons, job_types, presetup, job_starter, latency)

if __name__ == "__main__":
    with TemporaryUser() as user, make_bed(user, config=CONFIG) as BED:
        os.chmod(BED.folder, 0o777)
        os.chmod(user.home, 0o755)
        run_tests(TESTS, jobs=1)

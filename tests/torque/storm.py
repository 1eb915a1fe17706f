#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs of two users, several at once, with a site's own hooks that print, fail, hang, exec and kill the user's processes. Speaks TAP.

All jobs are submitted at once; then the rows look at what came of them. VTORQUE_STORM=JOBS,AT_ONCE (10,2) chooses how many, as many at
once as the node has slots: `VTORQUE_STORM=50,5` takes about ten minutes.

The first user has jobs of every kind but those whose hooks kill all of the user's processes, as sites do: these are the second user's,
one after the other. Each kind is then run once by plain qsub, without a virtual machine: the site's hooks must have seen the same.
"""

import collections
import contextlib
import glob
import os
import re
import shutil
import sys
import tempfile
import time

from bed import PREFIX, TemporaryUser, equal, make_bed, wait_for
from lib import Site, run_tests
from vtorque import Vtorque

COUNT, AT_ONCE = map(int, os.environ.get("VTORQUE_STORM", "10,2").split(","))
LIMIT = 40 if AT_ONCE < 3 else 50  # $prologalarm: Torque ends a hook 10 s before, and a prologue of ours waits until 20 s before
# A precancel that fails takes the node down unless a check script takes its message back.
CONFIG = f"$check_poll_time 1\n$prologalarm {LIMIT}\n$jobstartblocktime 0\n$node_check_script /bin/true\n$node_check_interval 1\n"
VM = "img=tiny,ram=128M,vcpus=1"
BED = VT = SECOND = LOG = None
JOBS, BARE, ENDED = [], {}, {}  # ENDED: what qstat said at the end, by id: a server forgets it after some minutes

# What the site's hooks do in a job whose name begins so; `once` is true at a job's first run.
SAY = 'echo "site $hook $1"; echo "site $hook error $1" >&2'
HANG = "exec sleep 1000"
KILL = "pkill -KILL -u $2"
KINDS = {
    "print": {"prologue": SAY, "epilogue": SAY},
    "fail": {"prologue": f"{SAY}; exit 1", "epilogue": SAY},
    "again": {"prologue": f"{SAY}; $once && exit 3", "epilogue": f"{SAY}; exit 4"},
    "exec": {"prologue": "exec echo exec $1", "epilogue": "exec echo exec $1"},
    "gone": {"prologue": SAY, "epilogue.precancel": f"{SAY}; exit 7", "epilogue": SAY},
    "hang": {"prologue": f"$once && {HANG}", "epilogue": SAY},
    "bare": {"prologue": SAY, "epilogue": SAY},
    "lasting": {"prologue": SAY, "epilogue": f"{SAY}; {HANG}"},
    "gonehang": {"epilogue.precancel": HANG, "epilogue": SAY},
    "kill": {"prologue": f"{KILL}; {SAY}", "epilogue": f"{KILL}; {SAY}"},
    "gonekill": {"prologue": SAY, "epilogue.precancel": "pkill -KILL -u $(id -u)", "epilogue": f"{KILL}; {SAY}"},
}
KILLERS = ("kill", "gonekill")
OTHERS = [kind for kind in KINDS if kind not in KILLERS]
SLOW = ("hang", "lasting", "gonehang")  # half a minute each
SHORT = ("hang", "print", "fail", "again", "exec", "gone", "bare", "print")  # the slow one beside the others

Job = collections.namedtuple("Job", "id name kind user")


def hook_text():
    cases = "".join(f"{kind}-*:{hook}) {act} ;;\n" for kind, acts in KINDS.items() for hook, act in acts.items())
    return f"""hook=${{0##*/}}; hook=${{hook%.orig}}; n=1; while [ -e {LOG}/$1:$hook:$n ]; do n=$((n + 1)); done
[ $n = 1 ] && once=true || once=false
{{ for word; do echo "word $word"; done; umask; pwd; id; env | sort; ls -l /proc/$$/fd; }} > {LOG}/$1:$hook:$n
case $4:$hook in
{cases}esac
exit 0"""


def script(name, kind):
    lines = f"""#!/bin/sh
n=0; while [ $n -lt 40 ]; do n=$((n + 1)); echo "{name} $n"; echo "{name} error $n" >&2; done; id -u; cat $PBS_NODEFILE | wc -l
"""
    return lines + (f"trap 'echo {name} caught; exit 3' TERM; echo {name} up; while :; do sleep 0.1; done\n" if kind.startswith("gone") else "")


def printed(name, user, error=""):
    return "".join(f"{name} {error}{n}\n" for n in range(1, 41)) + ("" if error else f"{user.uid}\n1\n")


def submit(name, kind, user, *words, plain=False):
    path = f"{user.home}/{name}"
    with open(path, "w", encoding="ascii") as file:
        file.write(script(name, kind))
    os.chown(path, user.uid, user.gid)
    command = ["qsub"] if plain or kind == "bare" else [f"{VT.site.bin}/vsub", "-vm", VM]
    done = BED.run(*command, *words, path, user=user, cwd=user.home)
    os.unlink(path)
    equal((done.status, done.err), (0, b""), name)
    return Job(done.out.decode().strip(), name, kind, user)


def plan():
    """(kind, user) of each job. Two of ten are the second user's."""
    kinds = SHORT if COUNT <= len(SHORT) + 2 else OTHERS
    first = [(kinds[n % len(kinds)], BED.user) for n in range(COUNT - COUNT // 5)]
    return first, [(KILLERS[n % 2], SECOND) for n in range(COUNT // 5)]


def run_all():
    """Submits all jobs, deletes those that are to be deleted when their script is up, and waits for all."""
    first, second = plan()
    numbers = iter(range(1, COUNT + 1))
    # Held until all are submitted: their hooks would kill the qsub of the next one, too.
    words = ["-h"]
    for kind, user in second:
        JOBS.append(submit(f"{kind}-{next(numbers)}", kind, user, *words))
        words = ["-W", f"depend=afterany:{JOBS[-1].id}"]
    BED.root("qrls", JOBS[0].id)
    for kind, user in first:
        JOBS.append(submit(f"{kind}-{next(numbers)}", kind, user))
    finish(JOBS)


def finish(jobs):
    deadline = time.monotonic() + 120 + 90 * len(jobs)
    left, deleted = {job.id: job for job in jobs}, set()
    while left:
        assert time.monotonic() < deadline, f"still there: {[(job.name, BED.job(job.id).get('job_state')) for job in left.values()]}, pbs_mom {BED.nodes[0].mom()}"
        for job in list(left.values()):
            attributes = BED.job(job.id)
            if attributes.get("job_state") == "C":
                ENDED[job.id] = attributes
                del left[job.id]
            elif job.kind.startswith("gone") and job.id not in deleted and f"{job.name} up\n".encode() in spooled(job.id):
                BED.root("qdel", job.id)
                deleted.add(job.id)
        time.sleep(0.1)


def spooled(job_id):
    with contextlib.suppress(FileNotFoundError), open(f"{BED.home}/spool/{job_id}.OU", "rb") as file:
        return file.read()
    return b""


def expected(job):
    """Exit status, output, error output; None for what nobody gets."""
    def said(hook, error=""):
        return f"site {hook} {error}{job.id}\n" if SAY in KINDS[job.kind].get(hook, "") else f"exec {job.id}\n" if job.kind == "exec" and not error else ""
    if job.kind == "fail":
        return "-2", None, None
    caught = f"{job.name} up\n{job.name} caught\n" if job.kind.startswith("gone") else ""
    failed = int(ENDED[job.id]["start_count"]) - 1  # starts; what was said there stays
    out, err = ((said("prologue", error) + said("epilogue", error)) * failed + said("prologue", error) + printed(job.name, job.user, error) +
                ("" if error else caught) + said("epilogue", error) for error in ("", "error "))
    return "265" if job.kind == "gonekill" else "271" if caught else "0", out, err


def each_ended():
    """each job's exit status is the one that Torque gave before"""
    got = {job.name: ENDED[job.id].get("exit_status") for job in JOBS}
    equal(got, {job.name: expected(job)[0] for job in JOBS})


def each_output():
    """each job's files have its own lines, whole and in order, the site's text around them, and nobody else's"""
    for job in JOBS:
        attributes, (_, out, err) = ENDED[job.id], expected(job)
        if job.kind == "gonekill":  # the hook has killed what prints
            out = out.replace(f"{job.name} caught\n", "")
            text = BED.output(attributes)
            equal(text.replace(f"{job.name} caught\n", ""), out, f"{job.name}: output")
        else:
            got = BED.output(attributes, "Error")  # the shell's word on what TERM has ended beside it is not each time said
            equal((BED.output(attributes), got and re.sub("(?m)^(-bash: line 1: .*)?Terminated.*\n", "", got)), (out, err), f"{job.name}:")


def owners():
    """output is its owner's, and there is no file beside it"""
    for user in (BED.user, SECOND):
        wanted = {f"{job.name}.{kind}{job.id.partition('.')[0]}" for job in JOBS if job.user is user and job.kind != "fail" for kind in "oe"}
        folder = user.home
        found = {name for name in os.listdir(folder) if not name.startswith(".") and os.path.isfile(f"{folder}/{name}")}
        equal(found, wanted)
        equal({os.stat(f"{folder}/{name}").st_uid for name in found}, {user.uid})


def descriptors(lines):
    """Their numbers. A real pbs_mom hands on what it has open for other jobs, too: there, what they are, without pipes and sockets."""
    found = [line.rpartition(" -> ") for line in lines]
    return sorted(to for _, _, to in found if not to.startswith(("pipe:", "socket:"))) if PREFIX else [left.split()[-1] for left, _, _ in found]


def seen(job):
    """What the site's hooks were called with: {(hook, number): text} without what is each job's own."""
    found = {}
    for path in sorted(glob.glob(f"{LOG}/{glob.escape(job.id)}:*")):
        _, hook, number = os.path.basename(path).split(":")
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        words = [line for line in lines if line.startswith("word ")]
        for index in (4, 6) if hook.startswith("epilogue") else ():
            words[index] = "word ..."  # session, resources used
        files = [line for line in lines if re.match("l[rwx-]{9}", line)]
        lines = [line for line in lines if line not in files and not line.startswith(("word ", "PBS_RESOURCE_GRES=", "total "))]
        text = "\n".join(words + lines + descriptors(files)).replace(path, "LOG")
        text = re.sub(r"gres=vtorque:[\w-]*,|,gres=vtorque:[\w-]*", "", text).replace(job.id, "ID").replace(job.name, "NAME")
        found[hook, number] = re.sub(r"\b(nodes|neednodes|mem|walltime|nodect)=[^,\n]*", r"\1=", text)
    return found


def hooks():
    """the site's hooks are called as often as on bare metal, with the same words, variables, ids, umask, folder and descriptors"""
    kinds = [kind for kind in dict.fromkeys(job.kind for job in JOBS) if kind != "bare" and not (kind in SLOW and COUNT <= 10)]
    bare = [submit(f"{kind}-0", kind, SECOND if kind in KILLERS else BED.user, plain=True) for kind in kinds if kind not in KILLERS]
    finish(bare)
    for kind in KILLERS:
        if kind in kinds:
            bare.append(submit(f"{kind}-0", kind, SECOND, plain=True))
            finish(bare[-1:])
    BARE.update((job.kind, job) for job in bare)
    for job in JOBS:
        if job.kind in BARE:
            wanted, got = seen(BARE[job.kind]), seen(job)
            if COUNT > 10:  # a hook of another job that hangs holds up pbs_mom, which then starts a job again: the last run counts
                wanted, got = ({(hook, "last"): text for (hook, _), text in found.items()} for found in (wanted, got))
            equal(sorted(got), sorted(wanted), f"{job.name}: hooks")
            for key in wanted:
                equal(got[key], wanted[key], f"{job.name}: {key}")
            equal(ENDED[job.id]["exit_status"], ENDED[BARE[job.kind].id]["exit_status"], f"{job.name}: exit status")
    assert any(seen(job) for job in JOBS)


def nothing_left():
    """nothing is left"""
    for job in [*JOBS, *BARE.values()]:
        for kind in ("OU", "ER") if job.kind == "fail" else ():  # facts 1.4: they stay on the node
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{BED.home}/spool/{job.id}.{kind}")
    equal(VT.left(), [])


def storm():
    """all jobs come to their end"""
    run_all()
    equal(len(JOBS), COUNT)


if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        owner, SECOND = stack.enter_context(TemporaryUser()), stack.enter_context(TemporaryUser())
        site = stack.enter_context(Site(user=owner, conf=Vtorque.settings()))
        LOG = tempfile.mkdtemp(prefix="vtt-log-")
        os.chmod(LOG, 0o1777)
        stack.callback(shutil.rmtree, LOG)
        BED = stack.enter_context(make_bed(owner, config=CONFIG, slots=AT_ONCE))
        for name in ("prologue", "epilogue", "epilogue.precancel"):
            BED.hook(name, hook_text())
        VT = stack.enter_context(Vtorque(BED, site))
        run_tests((storm, each_ended, each_output, owners, hooks, nothing_left), jobs=1)

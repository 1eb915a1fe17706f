#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How jobs end before their time, and what a mom's death does to them: rows of the page of facts, for the stand-in and for a real
Torque. Speaks TAP."""

import os

import hooks
from bed import TemporaryUser, equal, make_bed, wait_for
from hooks import add_order, fresh, order, record
from lib import run_tests

BED = None


def running(text, *words):
    """A job whose script has said `up`; its id."""
    job_id = BED.qsub(f"echo up > {BED.folder}/up; {text}", *words)
    wait_for(lambda: os.path.exists(f"{BED.folder}/up"), "the script")
    os.unlink(f"{BED.folder}/up")
    return job_id


def held(name="prologue"):
    """A script of the mom's that waits until `let` is called."""
    os.mkfifo(f"{BED.folder}/gate", 0o666)
    os.chmod(f"{BED.folder}/gate", 0o666)
    record(name, then=f"read line < {BED.folder}/gate")
    return lambda: order() and order()[-1] == f"{name} begin"


def let():
    with open(f"{BED.folder}/gate", "w", encoding="ascii") as file:
        file.write("go\n")
    os.unlink(f"{BED.folder}/gate")


def qdel_running():
    """facts 2: precancel before TERM, then epilogue; 271; the session is dead, and its output delivered"""
    fresh()
    record("epilogue.precancel", then=f"kill -0 $(cat {BED.folder}/pid) && {add_order('alive')}")
    record("epilogue")
    job_id = running(f"echo $$ > {BED.folder}/pid; echo said; sleep 66.6 & sleep 66.7")
    equal(BED.run("qdel", job_id), (0, b"", b""))
    job = BED.wait(job_id)
    equal((job["exit_status"], BED.output(job)), ("271", "said\n"))
    equal(order(), ["epilogue.precancel begin", "alive", "epilogue.precancel end", "epilogue begin", "epilogue end"])
    equal([name for name in os.listdir("/proc") if name.isdigit() and b"66.6" in command(name)], [])


def command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def trap_hardly_helps():
    """facts 2, 8.2: the login shell dies of TERM, and then the rest is killed at once"""
    fresh()
    job_id = running(f"trap 'sleep 1; {add_order('too late')}' TERM; sleep 60 & wait; wait")
    BED.run("qdel", job_id)
    equal((BED.wait(job_id)["exit_status"], order()), ("271", []))


def exec_with_exec():
    """facts 8.2: with $exec_with_exec the script's program is the session's leader and lives until KILL, kill_delay later"""
    fresh(f"{hooks.CONFIG}$exec_with_exec true\n")
    job_id = running(f"trap '{add_order('term')}' TERM; while :; do sleep 0.1; done")
    BED.run("qdel", job_id)
    equal((BED.wait(job_id)["exit_status"], order()), ("265", ["term"]))
    fresh()


def qdel_waiting():
    """docs: a job that waits is just gone"""
    job_id = BED.qsub("true", "-h")
    equal(BED.run("qdel", job_id).status, 0)
    equal(BED.job(job_id).get("job_state", "C"), "C")


def qdel_in_prologue():
    """facts, finding 4 and section 2: epilogue runs and the job is gone, while prologue goes on, and prologue.user after it; status 0; no script"""
    fresh("$jobstartblocktime 1\n")
    has_begun = held()
    record("prologue.user")
    record("epilogue.precancel")
    record("epilogue")
    job_id = BED.qsub(add_order("job"))
    wait_for(has_begun, "prologue")
    BED.run("qdel", job_id)
    job = BED.wait(job_id)
    before = ["prologue begin", *(f"{name} {word}" for name in ("epilogue.precancel", "epilogue") for word in ("begin", "end"))]
    equal((order(), job["exit_status"]), (before, "0"))
    let()
    wait_for(lambda: order()[-1] == "prologue.user end", "prologue.user")
    equal(order(), [*before, "prologue end", "prologue.user begin", "prologue.user end"])
    fresh()


def only_the_owner():
    """docs: another user may not end or signal a job"""
    with TemporaryUser() as other:
        job_id = running("sleep 60")
        for name in ("qdel", "qsig"):
            assert BED.run(name, job_id, user=other, cwd="/").status, name
        equal(BED.job(job_id)["job_state"], "R")
        BED.run("qdel", job_id)
        BED.wait(job_id)


def qsig_four_times():
    """facts 8.2: each signal but TERM comes four times, to each process of the session"""
    # A signal of the real-time range: the kernel counts those that wait, the others it does not.
    program = "#!/usr/bin/python3\nimport signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {40})\n" \
              "open('%s/up', 'w').close()\nseen = 0\nwhile signal.sigtimedwait({40}, 60 if seen < 4 else 0.2): seen += 1\n" \
              "print(seen)\n" % BED.folder
    # The login shell would die of it: the line that it reads is the first that it has to ignore.
    fresh(f"{hooks.CONFIG}$exec_with_exec true\n")
    job_id = BED.qsub(program)
    wait_for(lambda: os.path.exists(f"{BED.folder}/up"), "the script")
    os.unlink(f"{BED.folder}/up")
    equal(BED.run("qsig", "-s", "40", job_id).status, 0)
    equal(BED.output(BED.wait(job_id)), "4\n")
    fresh()


def qsig_term():
    """facts 8.2: precancel runs before a TERM of qsig, too; 271"""
    fresh()
    record("epilogue.precancel")
    job_id = running("sleep 60")
    BED.run("qsig", "-s", "SIGTERM", job_id)
    equal((BED.wait(job_id)["exit_status"], order()), ("271", ["epilogue.precancel begin", "epilogue.precancel end"]))


def failed_precancel():
    """a precancel that fails: the node is down from the mom's next update to its next start (seen)"""
    fresh(f"{hooks.CONFIG}$status_update_time 1\n")
    record("epilogue.precancel", then="status=7")
    job_id = running("sleep 60")
    BED.run("qdel", job_id)
    equal(BED.wait(job_id)["exit_status"], "271")
    wait_for(lambda: "state = down" in BED.root("pbsnodes").out.decode(), "the node in state down")
    next_id = BED.qsub("true")
    equal(BED.job(next_id)["job_state"], "Q")
    fresh()
    equal(BED.wait(next_id)["exit_status"], "0")


def walltime():
    """facts 2: found at a poll, told in the error file; precancel; exit_status -11"""
    fresh()
    record("epilogue.precancel")
    record("epilogue")
    job = BED.wait(running("sleep 60", "-l", "walltime=1"))
    error = BED.output(job, "Error")
    assert error.startswith("=>> PBS: job killed: walltime ") and error.endswith(" exceeded limit 1\n"), error
    equal((job["exit_status"], len(order())), ("-11", 4))


def qrerun():
    """facts 2: root's alone; like qdel, then once more; the count of starts says so"""
    fresh()
    record("epilogue")
    once = f"[ -e {BED.folder}/once ] || {{ touch {BED.folder}/once; echo up > {BED.folder}/up; sleep 60; }}; echo second"
    job_id = running(once)
    assert BED.run("qrerun", job_id).status
    equal(BED.root("qrerun", job_id).status, 0)
    job = BED.wait(job_id)
    equal((job["exit_status"], order(), BED.output(job).splitlines()[-1]), ("0", ["epilogue begin", "epilogue end"] * 2, "second"))


def late_kill():
    """facts 2, qrerun: with -K the delayed KILL hits the next run, and the job is started once more"""
    runs = f"{BED.folder}/runs"
    for delay in ("8", "45"):  # the KILL finds the next run's script only if that is up by then: a busy machine may need the second
        fresh()
        job_id = running(f"echo run >> {runs}; [ $(wc -l < {runs}) -lt 3 ] || exit 7; sleep 60", "-K", delay)
        BED.root("qrerun", job_id)
        status = BED.wait(job_id)["exit_status"]
        if status == "7":
            break
    equal(status, "7")


def session_is_cleaned():
    """facts 8.2: what a script leaves in its session is killed at its end; its output ends there"""
    fresh()
    status, out, _ = BED.finish("sleep 55.5 & echo out; exit 2")
    equal((status, out), (2, "out\n"))
    equal([name for name in os.listdir("/proc") if name.isdigit() and b"55.5" in command(name)], [])


def late_writers():
    """facts 8.2: what another session writes until the epilogue's end is delivered"""
    fresh()
    BED.hook("epilogue", f"echo go > {BED.folder}/gate; cat {BED.folder}/gate > /dev/null")
    os.mkfifo(f"{BED.folder}/gate", 0o666)
    os.chmod(f"{BED.folder}/gate", 0o666)
    late = f"echo up > {BED.folder}/gate; cat {BED.folder}/gate > /dev/null; echo late; echo x > {BED.folder}/gate"
    _, out, _ = BED.finish(f"setsid sh -c '{late}' & cat {BED.folder}/gate > /dev/null; echo early")
    equal(out, "early\nlate\n")


def mom_killed():
    """facts 2: a job survives its mom; the epilogue runs after the restart, also of a job that has ended meanwhile"""
    for ends_before in (False, True):
        fresh()
        record("epilogue")
        flag = f"{BED.folder}/flag"
        job_id = running(f"while ! [ -e {flag} ]; do sleep 0.05; done; {add_order('job')}")
        BED.kill_mom()
        equal((BED.job(job_id)["job_state"], order()), ("R", []))
        for step in ("flag", "mom") if ends_before else ("mom", "flag"):
            if step == "mom":
                BED.start_mom()
            else:
                open(flag, "w").close()
                wait_for(order if ends_before else lambda: True, "the script's end")
        BED.wait(job_id)
        equal(order(), ["job", "epilogue begin", "epilogue end"])


def purged():
    """facts 2: qdel -p: the server forgets the job; the mom ends it at a later update, with epilogues"""
    fresh(f"{hooks.CONFIG}$status_update_time 1\n")
    record("epilogue")
    job_id = running("sleep 60")
    assert BED.run("qdel", "-p", job_id).status
    BED.root("qdel", "-p", job_id)
    equal(BED.job(job_id), {})
    wait_for(lambda: order() == ["epilogue begin", "epilogue end"], "the epilogue")
    fresh()


TESTS = (qdel_running, trap_hardly_helps, exec_with_exec, qdel_waiting, qdel_in_prologue, only_the_owner, qsig_four_times, qsig_term, failed_precancel, walltime, qrerun, late_kill,
         session_is_cleaned, late_writers, mom_killed, purged)

if __name__ == "__main__":
    with TemporaryUser() as user, make_bed(user, config=hooks.CONFIG) as BED:
        hooks.BED = BED
        os.chmod(BED.folder, 0o777)
        os.chmod(user.home, 0o755)
        run_tests(TESTS, jobs=1)

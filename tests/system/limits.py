#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a job may take, where no right is needed: what is refused before anything is made, what the guest gets, and that no
guest, QEMU, file server or reader makes the engine grow. Speaks TAP."""

import fnmatch
import os
import re
import tempfile

from lib import DEADLINE, MIB, TINY, Inventory, Running, Site, Stub, equal, find_job, is_sanitized, read_status, run_tests, wait_for

SITE = None
# KiB: consoles and logs are rings of 64 KiB, a stream holds 256 KiB, and a flood here is 64 MiB.
ENGINE_MAX = 24 * 1024
CORES = len(os.sched_getaffinity(0))
with open("/proc/meminfo") as meminfo:
    MEMORY = int(meminfo.readline().split()[1]) // 1024


def refused(line, *words, through=(), settings=""):
    """One line, status 2, and nothing is made."""
    with Site(settings) as site:
        inventory = Inventory(site)
        result = site.vsub("--local", *words, input="true", through=through)
        lines = result.err.decode().splitlines()
        equal((result.status, result.out, len(lines)), (2, b"", 1), lines)
        assert fnmatch.fnmatchcase(lines[0], f"vsub: {line}"), f"{lines[0]!r} is not {line!r}"
        equal(os.path.exists(f"{site.runtime}/vtorque"), False)
        inventory.check()


# Before anything starts


def ram_of_machine():
    """ram= above the machine's memory is refused"""
    refused(f"command line: -vm ram '{MEMORY + 1}M': with *M for QEMU and file servers the job takes *M, and * *M",
            "-vm", f"img=tiny,vcpus=1,ram={MEMORY + 1}M")


def ram_with_overhead():
    """ram= that the machine has no room for, with what QEMU takes, is refused"""
    refused(f"command line: -vm ram '{MEMORY - 100}M': with *M for QEMU and file servers the job takes *M, and * *M",
            "-vm", f"img=tiny,vcpus=1,ram={MEMORY - 100}M")


def ram_above_mem():
    """ram= that is as much as -l mem= is refused: QEMU needs some"""
    refused("command line: -vm ram '800M': with *M for QEMU and file servers the job takes *M, and -l mem= allows 800M",
            "-l", "mem=800mb", "-vm", "img=tiny,vcpus=1,ram=800M")


def mem_too_little():
    """-l mem= that is less than the least job takes is refused"""
    refused("the job's memory of 300M is too little: with the least guest, of 96M, a job takes *M (-l mem=)",
            "-l", "mem=300mb", "-vm", "img=tiny,vcpus=1")


def vcpus_of_machine():
    """vcpus= above the machine's cores is refused"""
    refused(f"command line: -vm vcpus '{CORES + 1}': must be at most {CORES}, the cores that a job may use here",
            "-vm", f"img=tiny,vcpus={CORES + 1}")


def vcpus_of_cpuset():
    """vcpus= above the cores that vsub may run on is refused"""
    core = min(os.sched_getaffinity(0))
    refused("command line: -vm vcpus '2': must be at most 1, the cores that a job may use here",
            "-vm", "img=tiny,vcpus=2", through=["taskset", "-c", str(core)])


def vcpus_above_ppn():
    """vcpus= above -l nodes=1:ppn= is refused"""
    line = "which -l nodes=1:ppn= allows" if CORES > 1 else "the cores that a job may use here"
    refused(f"command line: -vm vcpus '2': must be at most 1, {line}", "-l", "nodes=1:ppn=1", "-vm", "img=tiny,vcpus=2")


def plan_of(*words):
    """What --dry-run says of memory and tasks: MiB by part, and the rest of the plan."""
    text = SITE.vsub("--local", "--dry-run", *words, input="true").out.decode()
    fields = dict(line.split(": ", 1) for line in text.split("# plan\n")[1].split("\n\n")[0].splitlines())
    total, parts = re.fullmatch(r"(\d+) MiB: (.*)", fields["memory"]).groups()
    return int(total), {name: int(value) for name, value in (part.rsplit(" ", 1) for part in parts.split(", "))}, int(fields["tasks"])


def plan_adds_up():
    """--dry-run says what the job takes, part by part, and the parts add up"""
    total, parts, tasks = plan_of("-vm", "img=tiny,ram=256M,vcpus=1")
    equal(total, sum(parts.values()))
    equal(parts["RAM"], 256)
    assert parts["translation"] >= 256 and tasks > 64, (parts, tasks)
    grown, more, _ = plan_of("-vm", "img=host,ram=1G,vcpus=1")
    equal((grown, more["file servers"]), (sum(more.values()), 2 * parts["file servers"]))


def ram_cut_to_mem():
    """without ram= a guest gets what -l mem= leaves after QEMU and file servers, and runs"""
    result = SITE.vsub("--local", "-l", "mem=700mb", "-vm", "img=tiny,vcpus=1", input="grep MemTotal /proc/meminfo")
    match = re.search(rb"ram cut from 1024M to (\d+)M: with (\d+)M for QEMU and file servers that is the job's 700M", result.err)
    assert result.status == 0 and match, result
    ram, rest = int(match[1]), int(match[2])
    assert 690 <= ram + rest <= 700, match[0]
    seen = int(result.out.split()[1]) // 1024
    assert ram * 0.7 < seen < ram, (ram, seen)


# While it runs


def oom_scores():
    """the guest is the first that a machine without memory kills, its file server the next, engine and keeper the last"""
    with Running(SITE, "echo up; while :; do sleep 1; done") as job:
        job.wait_text(b"up")
        found, _ = find_job(job.vsub.pid)
        scores = {}
        for role in ("keeper", "engine", "server", "qemu"):
            with open(f"/proc/{found[role].pid}/oom_score_adj") as file:
                scores[role] = int(file.read())
        assert scores["qemu"] >= 500 > scores["server"] >= 250 > scores["engine"] >= scores["keeper"], scores


def says_who_limits():
    """--verbose says what holds the job to its memory, and vmgr list --json whether anything does"""
    total, _, tasks = plan_of(*TINY[1:])
    with Running(SITE, "echo up; while :; do sleep 1; done", "--verbose") as job:
        job.wait_text(b"up")
        held = job.job()["memory_limit_mib"]
        assert held in (0, total), held
        job.signal(15)
        err = job.finish().err.decode()
        match = re.search(r"note: memory held to (\d+) MiB by (.*); processes and threads to (\d+) by (.*)", err)
        assert match, err
        equal((int(match[1]), int(match[3])), (total, tasks))
        equal(match[2].startswith("nobody: "), held == 0, match[2])


def says_nothing():
    """without --verbose nothing is said of it"""
    equal(SITE.tiny("true"), (0, b"", b""))


def engine_peak(vsub):
    """KiB that the job's engine has taken at most so far."""
    found, _ = find_job(vsub)
    return int(read_status(found["engine"].pid)["VmHWM"].split()[0])


def check_engine(vsub):
    peak = engine_peak(vsub)
    # AddressSanitizer keeps what was freed.
    assert peak < ENGINE_MAX or is_sanitized(), f"the engine took {peak} KiB"


def wait_flooded(vsub):
    """Until the stub has written all of its flood."""
    def is_flooded():
        _, everyone = find_job(vsub)
        return any(process.name == "flooded" for process in everyone)
    wait_for(is_flooded, "the flood's end")


def flood(stub):
    """A job whose QEMU or file server writes 64 MiB where nobody asked for it: its console."""
    process = SITE.start("--local", "-vm", "img=tiny,ram=256M,vcpus=1", os.path.basename(new_script("true")), **stub.options())
    try:
        wait_flooded(process.pid)
        check_engine(process.pid)
        found, _ = find_job(process.pid)
        return SITE.vmgr("console", SITE.find(found["keeper"].pid)["id"]).out
    finally:
        process.send_signal(15)
        process.communicate(timeout=DEADLINE)


def serial_flood():
    """a serial console that is flooded stays a ring of 64 KiB"""
    console = flood(Stub(SITE, "flood-serial"))
    assert 0 < len(console) <= 65536 and set(console) <= {"x", "\n"}, (len(console), console[:100])


def qemu_log_flood():
    """a QEMU that floods its log makes the engine no larger"""
    equal(flood(Stub(SITE, "flood-log")), "")


def server_log_flood():
    """a file server that floods its log makes the engine no larger"""
    flood(Stub(SITE, "flood-log", Stub.SERVER))


def stopped_reader():
    """a script that floods a stdout that nobody reads waits, and the engine holds a window of it"""
    script = "while head -c 65536 /dev/zero; do echo >> written; done"
    process = SITE.start(*TINY, new_script(script))
    try:
        written = f"{SITE.work}/written"
        wait_for(lambda: os.path.exists(written) and os.path.getsize(written) >= 4, "the first writes")
        check_engine(process.pid)
        left = 64 * MIB
        while left > 0 and (data := os.read(process.stdout.fileno(), MIB)):
            left -= len(data)
        check_engine(process.pid)
    finally:
        process.stdout.close()
        equal(process.wait(DEADLINE), 0)
        process.stderr.close()


def new_script(text):
    """A file in the submit directory."""
    handle, path = tempfile.mkstemp(prefix="script-", dir=SITE.work)
    with open(handle, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
    return path


TESTS = (ram_of_machine, ram_with_overhead, ram_above_mem, mem_too_little, vcpus_of_machine, vcpus_of_cpuset, vcpus_above_ppn,
         plan_adds_up, ram_cut_to_mem, oom_scores, says_who_limits, says_nothing, serial_flood, qemu_log_flood, server_log_flood,
         stopped_reader)


def main():
    global SITE
    with Site() as SITE:
        run_tests(TESTS, jobs=1)


if __name__ == "__main__":
    main()

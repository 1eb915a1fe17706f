#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vsub --local and vmgr with the tiny guest: streams, scripts, surroundings, signals, ends. Speaks TAP."""

import hashlib
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import tempfile

from lib import (DEADLINE, FAULT_EXIT, FAULT_HANG, FAULT_PANIC, FAULT_POWEROFF, CTL_FAULT, GUEST, MIB, Inventory, Running, Site,
                 equal, find_job, is_sanitized, run_tests, strike, wait_for)

SITE = None
FOREVER = "echo up\nwhile :; do sleep 1; done\n"


def report_of(path):
    with open(path) as file:
        report = json.load(file)
    os.unlink(path)
    return report


def new_path(name):
    """A path in the submit directory that is not there."""
    return tempfile.mktemp(prefix=f"{name}-", dir=SITE.work)


# Streams


def status_and_streams():
    """stdout and stderr apart, exit status 7"""
    path = new_path("report")
    result = SITE.tiny("echo out; echo err >&2; exit 7", "--report", path)
    equal(result, (7, b"out\n", b"err\n"))
    report = report_of(path)
    equal((report["outcome"], report["reason"], report["exit_status"], report["script"], report["message"]),
          ("done", "done", 7, {"status": 7}, ""))
    times = [report["phases"][name] for name in ("locked", "born", "prepared", "caged", "starting", "booted", "ready", "running", "ending")]
    equal(times, sorted(times))


def death_by_signal():
    """death by a signal is 128 + N"""
    for number in (signal.SIGTERM, signal.SIGKILL):
        path = new_path("report")
        equal(SITE.tiny(f"kill -{int(number)} $$", "--report", path).status, 128 + number)
        equal(report_of(path)["script"], {"signal": int(number)})


def stdin_is_empty():
    """stdin is empty where it was the script"""
    equal(SITE.tiny("cat; echo end"), (0, b"end\n", b""))


def output_bytes(size):
    data = os.urandom(size)
    path = new_path("random")
    with open(path, "wb") as file:
        file.write(data)
    result = SITE.tiny(f"cat '{path}'; md5sum < '{path}' >&2")
    os.unlink(path)
    equal(result.status, 0)
    equal(hashlib.md5(result.out).hexdigest(), hashlib.md5(data).hexdigest(), "stdout")
    equal(result.err.split()[0].decode(), hashlib.md5(data).hexdigest(), "the file as the guest reads it")


def input_bytes(size):
    data = os.urandom(size)
    with Running(SITE, "md5sum\n", stdin=subprocess.PIPE) as job:
        job.vsub.stdin.write(data)
        job.vsub.stdin.close()
        result = job.finish(5 * DEADLINE)
    equal((result.status, result.out.split()[0].decode()), (0, hashlib.md5(data).hexdigest()))


def output_8_mib():
    """8 MiB of random bytes through stdout"""
    output_bytes(8 * MIB)


def input_8_mib():
    """8 MiB of random bytes through stdin"""
    input_bytes(8 * MIB)


def output_200_mib():
    """200 MiB of random bytes through stdout"""
    output_bytes(200 * MIB)


def input_200_mib():
    """200 MiB of random bytes through stdin"""
    input_bytes(200 * MIB)


def input_never_read():
    """a script that never reads 10 MiB of stdin"""
    path = new_path("script")
    with open(path, "w") as file:
        file.write("sleep 1; echo end")
    equal(SITE.vsub("--local", "-vm", "img=tiny", path, input=bytes(10 * MIB)), (0, b"end\n", b""))


def read_exactly(stream, size):
    data = b""
    while len(data) < size and (more := os.read(stream.fileno(), size - len(data))):
        data += more
    return data


def flood(flooded, waiting):
    """Floods one stream while nobody reads the other."""
    script = f"head -c 100000 /dev/zero >&{waiting}; head -c {8 * MIB} /dev/zero >&{flooded}; echo end >&{flooded}"
    process = SITE.start("--local", "-vm", "img=tiny", stdin=subprocess.PIPE)
    process.stdin.write(script.encode())
    process.stdin.close()
    streams = {1: process.stdout, 2: process.stderr}
    equal(len(read_exactly(streams[flooded], 8 * MIB + 4)), 8 * MIB + 4)
    equal(len(streams[waiting].read()), 100000)
    equal(process.wait(DEADLINE), 0)


def stderr_flood():
    """stderr is flooded while nobody reads stdout"""
    flood(2, 1)


def stdout_flood():
    """stdout is flooded while nobody reads stderr"""
    flood(1, 2)


def reader_gone():
    """a reader of stdout that goes away ends the script by SIGPIPE"""
    with Running(SITE, "exec yes\n", stdout=subprocess.PIPE) as job:
        job.wait_text(b"y\n")
        os.dup2(os.open(os.devnull, os.O_RDONLY), job.vsub.stdout.fileno())
        equal(job.vsub.wait(DEADLINE), 128 + signal.SIGPIPE)


def background_process():
    """a background process that holds stdout does not delay the end"""
    equal(SITE.tiny("sleep 100000 & echo end; exit 3"), (3, b"end\n", b""))


# Scripts


def script_file():
    """a script file with arguments of -F, its name and its interpreter"""
    path = f"{SITE.work}/a script"
    with open(path, "w") as file:
        file.write("#!/bin/sh\n#PBS -N ignored\nfor word; do echo \"<$word>\"; done; echo $PBS_JOBNAME")
    equal(SITE.vsub("--local", "-vm", "img=tiny", "-N", "named", "-F", "one 'two three' \"\" \\$x", path),
          (0, b"<one>\n<two three>\n<>\n<$x>\nnamed\n", b""))
    os.unlink(path)


def other_interpreter():
    """a script for another interpreter"""
    equal(SITE.tiny("#!/bin/awk -f\nBEGIN { print 6 * 7; exit 9 }\n"), (9, b"42\n", b""))


def large_script():
    """a script of 10 MiB without a final newline"""
    comment = b"#" + b"x" * 78 + b"\n"
    script = b"echo begin\n" + comment * (10 * MIB // len(comment)) + b"echo end"
    equal(SITE.tiny(script), (0, b"begin\nend\n", b""))


def crlf_script():
    """a script with CR LF"""
    result = SITE.tiny(b"#!/bin/sh\r\n#PBS -N carriage\r\necho \"$PBS_JOBNAME|\"\r\nif true\r\nthen\r\n  exit 4\r\nfi\r\n")
    equal(result[:2], (4, b"carriage|\n"))
    assert result.err.startswith(b"vsub: note: ") and result.err.count(b"\n") == 1, result.err


def bytes_in_script():
    """8-bit bytes in script, arguments and environment"""
    equal(SITE.vsub("--local", "-vm", "img=tiny", b"-F\xfc", b"-vA=\xe4", input=b"printf '%s' \"\xf6$1$A\""), (0, b"\xf6\xfc\xe4", b""))


def output_files():
    """-o, -e and -j"""
    def read(path):
        with open(path) as file:
            text = file.read()
        os.unlink(path)
        return text

    script = "echo out; echo err >&2"
    equal(SITE.tiny(script, "-o", "a.out", "-e", "a.err"), (0, b"", b""))
    equal((read(f"{SITE.work}/a.out"), read(f"{SITE.work}/a.err")), ("out\n", "err\n"))
    equal(SITE.tiny(script, "-o", "a.out", "-j", "oe"), (0, b"", b""))
    equal(read(f"{SITE.work}/a.out"), "out\nerr\n")


# Surroundings


def identity():
    """uid, gid, groups and names are the submitter's"""
    out = SITE.tiny("id -u; id -g; id -G; id -un; echo $USER $LOGNAME $HOME").out.decode().split("\n")
    equal((int(out[0]), int(out[1])), (os.getuid(), os.getgid()))
    equal(set(map(int, out[2].split())), set(os.getgroups()) | {os.getgid()})
    user = SITE.user
    equal(out[3:5], [user.name, f"{user.name} {user.name} {user.home}"])


def shares():
    """submit directory and a 0700 home: bytes, owner, group and mode"""
    handle, secret = tempfile.mkstemp(prefix=".vtorque-test-", dir=SITE.user.home)
    with open(handle, "w") as file:
        file.write("secret")
    folder = SITE.make_folder("private")
    result = SITE.vsub("--local", "-vm", "img=tiny", cwd=folder, input=f"pwd; cat '{secret}'; umask 027; mkdir d; printf 'a\\0\\377' > d/f; ln -s f d/l; rm '{secret}'")
    equal(result, (0, f"{folder}\nsecret".encode(), b""))
    assert not os.path.exists(secret)
    with open(f"{folder}/d/f", "rb") as file:
        equal(file.read(), b"a\0\xff")
    for name, mode in (("d", 0o750), ("d/f", 0o640)):
        st = os.stat(f"{folder}/{name}")
        equal((st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)), (os.getuid(), os.getgid(), mode), name)
    equal(os.readlink(f"{folder}/d/l"), "f")


def surroundings():
    """umask, limits and time zone are the submitter's"""
    shell = ("sh", "-c", 'umask 037; ulimit -n 512; ulimit -S -s 4096; ulimit -c 0; exec "$0" "$@"')
    result = SITE.tiny("umask; ulimit -n; ulimit -s; ulimit -c; date +%Z%z", through=shell, environment={"TZ": "XYZ-5:30"})
    equal(result, (0, b"0037\n512\n4096\n0\nXYZ+0530\n", b""))


def directory():
    """-d and -w change the directory"""
    folder = SITE.make_folder("other")
    for option in ("-d", "-w"):
        equal(SITE.tiny("pwd; echo $PBS_O_WORKDIR; touch here", option, folder), (0, f"{folder}\n{folder}\n".encode(), b""))
        os.unlink(f"{folder}/here")


def environment():
    """-v, -V and what is left out without them"""
    script = 'echo "$ONE|$TWO|$THREE|$LANG|$HOME"'
    given = {"ONE": "1", "TWO": "2 2", "LANG": "C.UTF-8", "HOME": "/nowhere"}
    home = SITE.user.home
    for words, line in (((), "||"), (("-v", "ONE,THREE='a,b'"), "1||a,b"), (("-V",), "1|2 2|")):
        equal(SITE.tiny(script, *words, environment=given), (0, f"{line}|C.UTF-8|{home}\n".encode(), b""))


def pbs_variables():
    """the PBS variables"""
    path = new_path("report")
    out = SITE.tiny("env; echo NODES=$(cat $PBS_NODEFILE); echo UNAME=$(uname -n)", "-N", "a-name", "-l", "walltime=1:00:00",
                    "--report", path, environment={"PATH": os.environ["PATH"]}).out.decode()
    variables = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    wanted = {"PBS_JOBID": report_of(path)["job"], "PBS_JOBNAME": "a-name", "PBS_ENVIRONMENT": "PBS_BATCH", "ENVIRONMENT": "BATCH",
              "PBS_O_WORKDIR": SITE.work, "PBS_O_PATH": os.environ["PATH"], "PBS_O_LOGNAME": SITE.user.name, "PBS_NUM_NODES": "1",
              "PBS_NUM_PPN": "1", "PBS_NP": "1", "PBS_WALLTIME": "3600", "PBS_NODENUM": "0", "PBS_TASKNUM": "1",
              "NODES": variables["UNAME"]}
    equal({name: variables.get(name) for name in wanted}, wanted)


def request():
    """the command line goes before the script's directives, which go before the defaults"""
    script = "#PBS -vm ram=300M\n#PBS -vm vcpus=2,img=tiny\n#PBS -N directive\nnproc; echo $PBS_JOBNAME; grep MemTotal /proc/meminfo\n"
    out = SITE.vsub("--local", "-vm", "vcpus=1", input=script).out.decode().split()
    equal(out[:2], ["1", "directive"])
    assert 200 * 1024 < int(out[3]) < 300 * 1024, out


# Signals and ends


def signals():
    """HUP, QUIT, USR1, USR2, INT and TERM reach the script"""
    names = ("HUP", "QUIT", "USR1", "USR2", "INT", "TERM")
    traps = "".join(f"trap 'echo {name}' {name}\n" for name in names[:-1])
    with Running(SITE, traps + "trap 'echo TERM; exit 9' TERM\n" + FOREVER) as job:
        job.wait_text(b"up\n")
        for name in names:
            job.signal(getattr(signal, f"SIG{name}"))
            job.wait_text(f"{name}\n".encode())
        equal(job.finish().status, 9)


def stop_and_continue():
    """TSTP and CONT reach the script; vsub stops with it"""
    # The shell waits by a builtin, which a trap interrupts; a CONT that came before the trap ran would take TSTP back.
    script = "trap 'echo TSTP; : > stopped' TSTP\ntrap 'echo CONT' CONT\ntrap 'exit 5' TERM\n" \
             "(trap '' TSTP; exec sleep 1000) &\necho up\nwhile :; do wait; done\n"
    with Running(SITE, script) as job:
        job.wait_text(b"up\n")
        job.signal(signal.SIGTSTP)
        equal(os.WIFSTOPPED(os.waitpid(job.vsub.pid, os.WUNTRACED)[1]), True)
        wait_for(lambda: os.path.exists(f"{SITE.work}/stopped"), "the trap of TSTP")
        job.signal(signal.SIGCONT)
        job.wait_text(b"TSTP\n").wait_text(b"CONT\n")
        job.signal(signal.SIGTERM)
        equal(job.finish().status, 5)
    os.unlink(f"{SITE.work}/stopped")


def second_interrupt():
    """a second INT ends the job with 130"""
    path = new_path("report")
    with Running(SITE, "trap 'echo first' INT\n" + FOREVER, "--report", path) as job:
        job.wait_text(b"up\n").signal(signal.SIGINT)
        job.wait_text(b"first\n").signal(signal.SIGINT)
        equal(job.finish().status, 130)
    report = report_of(path)
    equal((report["outcome"], report["exit_status"]), ("interrupted", 130))


def signal_at_boot():
    """INT while the guest boots ends the job"""
    with Running(SITE, FOREVER, "--verbose") as job:
        wait_for(lambda: "qemu" in find_job(job.vsub.pid)[0], "QEMU")
        job.signal(signal.SIGINT)
        result = job.finish()
    equal((result.status, result.out), (125, b""))
    assert b"vsub: the job was ended\n" in result.err, result.err


def walltime():
    """walltime: TERM, the grace, KILL"""
    table = (("", 143, {"signal": 15}, b"up\n"), ("trap '' TERM\n", 137, {"signal": 9}, b"up\n"),
             ("trap 'echo grace; exit 5' TERM\n", 5, {"status": 5}, b"up\ngrace\n"))
    for trap, status, script, out in table:
        path = new_path("report")
        result = SITE.tiny(trap + FOREVER, "-l", "walltime=2", "--report", path)
        equal((result.status, result.out, result.err.splitlines()[-1]), (status, out, b"vsub: the walltime is over"))
        report = report_of(path)
        equal((report["outcome"], report["reason"], report["exit_status"], report["script"]), ("walltime", "walltime", status, script))


def cput():
    """cput: a script that computes gets TERM when its processor time is used up; one that sleeps does not"""
    path = new_path("report")
    result = SITE.tiny("echo up; while :; do :; done", "-l", "cput=2", "--report", path)
    equal((result.status, result.out, result.err.splitlines()[-1]), (143, b"up\n", b"vsub: the processor time (cput) is used up"))
    report = report_of(path)
    equal((report["outcome"], report["reason"], report["script"]), ("cput", "cput", {"signal": 15}))
    assert report["script_ended"] - report["phases"]["running"] >= 1, report
    result = SITE.tiny("sleep 4; echo done", "-l", "cput=3")
    equal((result.status, result.out, result.err), (0, b"done\n", b""))


def check_failure(result, path, reason, message):
    """One of vTorque's own failures: status 125, a message, the report. Before it, a shell may have said something."""
    equal(result.status, 125)
    first = next(line for line in result.err.decode().splitlines() if line.startswith("vsub: "))
    assert message in first, result.err
    report = report_of(path)
    equal((report["outcome"], report["reason"], report["exit_status"]), ("failed", reason, 125))
    assert report["message"].startswith(first.removeprefix("vsub: ")), report


def archive(name, data, mode):
    """One file as a cpio archive that the kernel unpacks over another (newc)."""
    def entry(name, data, mode):
        fields = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return entry(name, data, mode) + entry(b"TRAILER!!!", b"", 0)


def guest_with_init(init):
    """A folder with the tiny guest, whose first process is the given script."""
    folder = SITE.make_folder(os.path.basename(new_path("guest")))
    os.chmod(folder, 0o755)
    kernel = "vmlinux" if os.path.exists(f"{GUEST}/vmlinux") else "vmlinuz"
    os.symlink(f"{GUEST}/{kernel}", f"{folder}/{kernel}")
    with open(f"{GUEST}/initramfs-tiny", "rb") as file:
        tiny = file.read()
    with open(f"{folder}/initramfs-tiny", "wb") as file:
        file.write(tiny + bytes(-len(tiny) % 4) + archive(b"init", init, 0o100755))
    return folder


def boot_timeout():
    """a guest that is not ready in time: boot-timeout, with its last words"""
    folder = guest_with_init(b"#!/bin/sh\necho last words of the guest\nexec sleep 10000\n")
    path = new_path("report")
    with Site("KILL_GRACE=1", guest=folder) as site:
        result = site.tiny("true", "-vm", "boot_timeout=20", "--report", path)
    check_failure(result, path, "boot-timeout", "was not ready after 20 s")
    assert b"  | last words of the guest\n" in result.err, result.err


def panic_at_boot():
    """a guest whose kernel panics at boot: guest-panic, with its last words"""
    folder = guest_with_init(b"#!/bin/sh\nexit 7\n")
    path = new_path("report")
    with Site("KILL_GRACE=1", guest=folder) as site:
        result = site.tiny("true", "--report", path)
    check_failure(result, path, "guest-panic", "kernel panicked: Attempted to kill init! exitcode=0x00000700")
    assert b"  | " in result.err, result.err


def fault(number, reason, message):
    path = new_path("report")
    with Running(SITE, FOREVER, "--report", path) as job:
        job.wait_text(b"up\n")
        with SITE.control(job.job()["slot"], CTL_FAULT, number):
            result = job.finish()
    check_failure(result, path, reason, message)


def agent_exits():
    """the agent exits: guest-panic"""
    fault(FAULT_EXIT, "guest-panic", "kernel panicked")


def guest_panics():
    """the guest panics under the job: guest-panic"""
    fault(FAULT_PANIC, "guest-panic", "kernel panicked")


def guest_powers_off():
    """the guest powers off under the job: guest-poweroff"""
    fault(FAULT_POWEROFF, "guest-poweroff", "switched off")


def agent_hangs():
    """the agent hangs: vmgr end ends the job"""
    path = new_path("report")
    with Running(SITE, FOREVER, "--report", path) as job:
        job.wait_text(b"up\n")
        known = job.job()
        with SITE.control(known["slot"], CTL_FAULT, FAULT_HANG):
            equal(SITE.vmgr("end", known["id"]), (0, "", ""))
        result = job.finish()
    check_failure(result, path, "ended", "the job was ended")


def killed(role, reason, message):
    path = new_path("report")
    with Running(SITE, FOREVER, "--report", path) as job:
        job.wait_text(b"up\n")
        strike(find_job(job.vsub.pid)[0][role], signal.SIGKILL)
        result = job.finish()
    check_failure(result, path, reason, message)


def qemu_killed():
    """QEMU is killed: qemu"""
    killed("qemu", "qemu", "QEMU died (signal 9)")


def server_killed():
    """the file server is killed: share"""
    killed("server", "share", "file server of the guest died (signal 9)")


# vmgr


def vmgr_end():
    """vmgr end lets the script end, vmgr end --now does not; vmgr list and console"""
    for words, out in (((), b"up\nasked\n"), (("--now",), b"up\n")):
        path = new_path("report")
        with Running(SITE, "trap 'echo asked; exit 4' TERM\n" + FOREVER, "--report", path, "-N", "end-me") as job:
            job.wait_text(b"up\n")
            known = job.job()
            equal((known["name"], known["phase"], known["ram_mib"], known["vcpus"]), ("end-me", "running", 256, 1))
            lines = [line.split()[:5] for line in SITE.vmgr("list").out.splitlines()]
            assert [known["id"], known["user"], "end-me", known["vm"], "running"] in lines, lines
            equal(SITE.vmgr("console", known["id"])[::2], (0, ""))
            equal(SITE.vmgr("end", *words, known["id"].split(".")[0]), (0, "", ""))
            result = job.finish()
            equal(result.out, out)
            assert known["id"] not in SITE.vmgr("list").out
        check_failure(result, path, "ended", "the job was ended")


def vmgr_stopped_engine():
    """vmgr list and end with an engine that is stopped, and as many connections as it has room for"""
    with Running(SITE, FOREVER) as job:
        job.wait_text(b"up\n")
        known = job.job()
        engine = find_job(job.vsub.pid)[0]["engine"]
        strike(engine, signal.SIGSTOP)
        waiting = []
        try:
            while True:
                connection = socket.socket(socket.AF_UNIX)
                waiting.append(connection)
                connection.setblocking(False)
                connection.connect(f"{SITE.run_root()}/{known['slot']}/control")
        except BlockingIOError:
            pass
        assert known["id"] in SITE.vmgr("list").out
        equal(SITE.vmgr("end", known["id"]), (0, "", ""))
        equal(job.finish().status, 125)
        for connection in waiting:
            connection.close()


def vmgr_mistakes():
    """vmgr's own mistakes: one line, status 2"""
    for words in (("end", "1.nowhere"), ("console", "1.nowhere"), ("end",), ("list", "more"), ("frobnicate",), ("show", "nothing"), ("list", "--jason")):
        result = SITE.vmgr(*words)
        equal((result.status, result.out), (2, ""), words)
        assert result.err.startswith("vmgr: ") and result.err.count("\n") == 1, result.err


def dry_run():
    """--dry-run creates nothing"""
    inventory = Inventory(SITE)
    files = set(os.listdir(SITE.work))
    result = SITE.tiny("#PBS -N dry\ntrue", "--dry-run", "--report", "never", "-o", "never.out")
    equal((result.status, result.err), (0, b""))
    for text in (b"dry", b"qemu-system-x86_64", b"hostname"):
        assert text in result.out, result.out
    equal(set(os.listdir(SITE.work)), files)
    inventory.check()


def two_jobs():
    """two jobs at once get slots and names of their own, and leave nothing"""
    inventory = Inventory(SITE)
    taken = {job["slot"] for job in SITE.jobs()}
    first_free = [slot for slot in range(8) if slot not in taken][:2]
    script = "echo $(uname -n)\necho up\nread line || exit 0\n"
    with Running(SITE, script, stdin=subprocess.PIPE) as one:
        one.wait_text(b"up\n")
        with Running(SITE, script, stdin=subprocess.PIPE) as two:
            two.wait_text(b"up\n")
            jobs = [one.job(), two.job()]
            equal([job["slot"] for job in jobs], first_free)
            for job, running in zip(jobs, (one, two)):
                assert job["vm"].endswith(f"-{job['slot']}"), job
                equal(running.out.data.split()[0].decode(), job["vm"])
                running.vsub.stdin.close()
                equal(running.finish().status, 0)
    inventory.check()


TESTS = (status_and_streams, death_by_signal, stdin_is_empty, output_8_mib, input_8_mib, input_never_read, stderr_flood, stdout_flood,
         reader_gone, background_process, script_file, other_interpreter, large_script, crlf_script, bytes_in_script, output_files,
         identity, shares, surroundings, directory, environment, pbs_variables, request, signals, stop_and_continue, second_interrupt,
         signal_at_boot, walltime, cput, boot_timeout, panic_at_boot, agent_exits, guest_panics, guest_powers_off, agent_hangs, qemu_killed,
         server_killed, vmgr_end, vmgr_stopped_engine, vmgr_mistakes)
LARGE = (output_200_mib, input_200_mib)

if __name__ == "__main__":
    with Site("KILL_GRACE=1") as SITE:
        run_tests(TESTS if is_sanitized() else TESTS + LARGE, alone=(dry_run, two_jobs))

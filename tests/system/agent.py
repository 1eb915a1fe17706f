#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The agent in the tiny guest, driven over the wire without an engine: plan, sessions, ends, faults. Speaks TAP."""

import hashlib
import os
import struct
import sys
import time
import traceback

from agentlink import MAGIC, NO_LIMIT, STDERR, STDIN, STDOUT, STEPS, Guest, Lost, string, take_string

FOLDER = os.environ.get("VTORQUE_GUEST") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vtorque", "guest")
MIB = 1 << 20
HUP, INT, QUIT, KILL, PIPE, TERM, CONT, STOP, TSTP = 1, 2, 3, 9, 13, 15, 18, 19, 20
# The others stop, continue, are ignored, or are the C library's own.
DEADLY = [number for number in range(1, 65) if number not in (17, 18, 19, 20, 21, 22, 23, 28, 32, 33)]
RDONLY, NOSUID = 1, 2


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, not {wanted!r}"


# With one guest, in this order; none may leave a session or a process behind.


def status_and_streams(guest):
    session = guest.shell("echo out; echo err >&2; exit 7")
    equal((session.text(), session.text(STDERR), session.exit), ("out\n", "err\n", ("status", 7)))
    equal(session.order[:2], ["CREDIT0", "STARTED"])
    equal(session.order[-2:], ["EXIT", "ENDED"])
    equal({STDOUT, STDERR} <= session.closed.keys(), True)


def death_by_signal(guest):
    equal(guest.shell("kill -TERM $$").exit, ("signal", TERM))
    equal(guest.shell("kill -KILL $$").exit, ("signal", KILL))


def death_by_each_signal(guest):
    """By its own hand, and by the host's."""
    for number in DEADLY:
        if number != QUIT:  # which a shell ignores
            equal(guest.shell(f"kill -{number} $$").exit, ("signal", number))
    for number in DEADLY:
        session = guest.start(["/bin/sleep", "1000"])
        session.signal(number)
        equal(session.finish().exit, ("signal", number))


def scheduling_is_usual(guest):
    equal(guest.shell("cut -d' ' -f18,19,41 /proc/self/stat; cat /proc/self/timerslack_ns").text(), "20 0 0\n50000\n")


def argv_is_kept(guest):
    words = ["printf", "%s|", "", "a b", "c\nd", "\"'$x\\", "é"]
    equal(guest.run(words, program="/bin/printf").text(), "|a b|c\nd|\"'$x\\|é|")
    equal(guest.run(["sh", "-c", "echo $0"], program="/bin/busybox").text(), "sh\n")
    equal(guest.run(["/bin/printf", b"\xff\xfe"]).output[STDOUT], b"\xff\xfe")


def many_words(guest):
    words = [f"argument-{i:06d}-{'x' * 200}" for i in range(4000)]
    session = guest.run(["/bin/echo"] + words)
    equal(session.text(), " ".join(words) + "\n")
    word = "y" * 65535
    equal(len(guest.run(["/bin/echo", word]).text()), 65536)


def environment_is_exact(guest):
    equal(guest.run(["/bin/env"], environment={"A": "1 2", "B": ""}).text(), "A=1 2\nB=\n")


def identity(guest):
    session = guest.shell("id -u; id -g; id -G; umask; pwd; cat /proc/self/status | grep -E '^(Uid|Gid|Groups|Cap(Prm|Eff|Amb)|Sig(Blk|Ign))'",
                          uid=1234, gid=2345, groups=(2345, 4000000000, 7), umask=0o027, cwd="/tmp/owned")
    lines = session.text().split("\n")
    equal(lines[:2], ["1234", "2345"])
    equal(sorted(map(int, lines[2].split())), [7, 2345, 4000000000])
    equal(lines[3:5], ["0027", "/tmp/owned"])
    fields = {name: value.split() for name, value in (line.split(":", 1) for line in lines[5:] if line)}
    equal((fields["Uid"], fields["Gid"]), (["1234"] * 4, ["2345"] * 4))
    for name in ("CapPrm", "CapEff", "CapAmb", "SigBlk", "SigIgn"):
        equal(int(fields[name][0], 16), 0)


def many_groups(guest):
    groups = list(range(5000, 6024))
    equal(len(guest.shell("id -G", uid=1, gid=5000, groups=groups).text().split()), 1024)


def limits(guest):
    script = "grep -E '^Max (cpu|core|open|stack)' /proc/self/limits"
    session = guest.shell(script, uid=1234, gid=1234,
                          limits={0: (100, 200), 4: (0, 0), 7: (512, NO_LIMIT), 3: (NO_LIMIT, NO_LIMIT)})
    fields = {line[:26].strip(): line[26:].split()[:2] for line in session.text().split("\n") if line}
    equal(fields, {"Max cpu time": ["100", "200"], "Max core file size": ["0", "0"],
                   "Max open files": ["512", str(1 << 20)], "Max stack size": ["unlimited", "unlimited"]})


def failed_starts(guest):
    table = (
        ({"cwd": "/nowhere"}, ("failed", 2), "chdir to '/nowhere'"),
        ({"cwd": "/tmp/closed", "uid": 1234, "gid": 1234}, ("failed", 13), "chdir to '/tmp/closed'"),
        ({"program": "/nowhere/program"}, ("failed", 2), "exec '/nowhere/program'"),
        ({"program": "/etc/passwd"}, ("failed", 13), "exec '/etc/passwd'"),
        ({"program": "/tmp"}, ("failed", 13), "exec '/tmp'"),
    )
    for options, exit_, what in table:
        session = guest.run(["/bin/true"], **options)
        equal((session.exit, session.what, session.pid), (exit_, what, None))
        equal(session.order[-2:], ["EXIT", "ENDED"])


def descriptors_are_clean(guest):
    idle = guest.start(["/bin/sleep", "1000"], session=3)
    idle.wait(lambda session: session.pid)
    equal(guest.shell("ls /proc/self/fd").text().split(), ["0", "1", "2", "3"])  # 3: of ls itself
    idle.signal(KILL)
    equal(idle.finish().exit, ("signal", KILL))


def output_volume(guest):
    script = "dd if=/dev/urandom of=/run/data bs=64k count=128 2>/dev/null; md5sum /run/data >&2; cat /run/data"
    session = guest.shell(script)
    equal(len(session.output[STDOUT]), 8 * MIB)
    equal(session.text(STDERR).split()[0], hashlib.md5(session.output[STDOUT]).hexdigest())


def input_volume(guest):
    data = os.urandom(8 * MIB + 12345)
    session = guest.start(["/bin/md5sum"])
    session.write(data)
    session.close(STDIN)
    equal(session.finish().text().split()[0], hashlib.md5(data).hexdigest())


def both_ways(guest):
    data = os.urandom(3 * MIB)
    session = guest.start(["/bin/cat"])
    session.write(data)
    session.close(STDIN)
    equal(session.finish().output[STDOUT] == data, True)


def slow_input_is_whole(guest):
    session = guest.start(["/bin/sh", "-c", "while read line; do echo got $line; sleep 0.02; done; echo end"])
    for i in range(10):
        session.write(f"line {i}\n".encode())
    session.close(STDIN)
    equal(session.finish().text(), "".join(f"got line {i}\n" for i in range(10)) + "end\n")


def nobody_reads_input(guest):
    """A process that never reads costs one window and delays nothing."""
    session = guest.start(["/bin/sh", "-c", "sleep 0.5; echo done"])
    session.wait(lambda session: session.credit)
    equal(session.credit, 65536)
    for _ in range(4):  # the pipe's 64 KiB come back as credit, the buffer's do not
        if session.credit > 0:
            session.write(bytes(session.credit))
    equal(session.finish().exit, ("status", 0))
    equal(session.text(), "done\n")


def input_closed_by_process(guest):
    session = guest.start(["/bin/sh", "-c", "exec <&-; sleep 0.2; echo done"])
    session.wait(lambda session: STDIN in session.closed)
    guest.send("DATA", STDIN, 0, b"late")
    equal(session.finish().text(), "done\n")


def output_closed_by_process(guest):
    session = guest.start(["/bin/sh", "-c", "exec >&-; read x; echo $x >&2"])
    session.wait(lambda session: STDOUT in session.closed)
    session.write(b"still here\n")
    equal(session.finish().text(STDERR), "still here\n")


def output_closed_by_host(guest):
    session = guest.start(["/bin/yes"])
    session.wait_output(b"y\ny\n")
    session.close(STDOUT)
    equal(session.finish().exit, ("signal", PIPE))
    equal(STDOUT in session.closed, False)


def credit_is_kept(guest):
    session = guest.start(["/bin/sh", "-c", "yes | head -c 1000000; echo end >&2"], credit=0)
    guest.credit(STDERR, 1000)
    guest.credit(STDOUT, 1000)
    session.wait(lambda session: len(session.output[STDOUT]) == 1000)
    equal(guest.is_readable(0.3), False)
    guest.credit(STDOUT, 1)
    session.wait(lambda session: len(session.output[STDOUT]) == 1001)
    guest.credit(STDOUT, 1 << 20)
    session.finish()
    equal((len(session.output[STDOUT]), session.text(STDERR)), (1000000, "end\n"))


def tail_without_credit(guest):
    """What is in the pipes at the end goes out without credit."""
    session = guest.start(["/bin/sh", "-c", "head -c 65536 /dev/zero; echo error >&2; exit 3"], credit=0)
    session.finish()
    equal((len(session.output[STDOUT]), session.text(STDERR), session.exit), (65536, "error\n", ("status", 3)))


def background_process_delays_nothing(guest):
    begun = time.monotonic()
    session = guest.shell("sleep 1000 & echo $!; exit 5")
    equal((session.exit, time.monotonic() - begun < 5), (("status", 5), True))
    guest.shell(f"kill -9 {session.text()}")


def group_signals(guest):
    """To the whole group: shell and child both see it."""
    session = guest.start(["/bin/sh", "-c", "trap 'echo parent' USR1; (trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.05; done) & wait; wait"])
    session.wait_output(b"ready\n")
    session.signal(10)
    session.finish()
    equal(sorted(session.text().split()), ["child", "parent", "ready"])
    session = guest.start(["/bin/sh", "-c", "trap 'echo term; exit 9' TERM; echo ready; while :; do sleep 0.05; done"])
    session.wait_output(b"ready\n")
    session.signal(STOP)
    session.signal(TERM)
    time.sleep(0.2)
    equal("term" in session.text(), False)
    session.signal(CONT)
    equal(session.finish().exit, ("status", 9))


def state_of(guest, other, pid):
    """Of a process, while another session speaks too."""
    session = guest.start(["/bin/cut", "-d", ")", "-f2-", f"/proc/{pid}/stat"], session=7)
    sessions = {7: session, other.number: other}
    while not session.is_over:
        frame = guest.receive()
        sessions[frame.session].take(frame)
    return session.text().rpartition(")")[2].split()[0]


def wait_for_state(guest, other, pid, wanted):
    for _ in range(1000):
        if (state := state_of(guest, other, pid)) == wanted:
            return
    raise AssertionError(f"state {state}, not {wanted}")


def stopped_by_tstp(guest):
    """Whoever has nothing against it, also one whose name looks like fields; who handles or ignores it goes on."""
    script = """trap 'echo caught' TSTP; echo $$; cp /bin/busybox '/tmp/a) S 1 2'
sh -c 'trap "" TSTP; exec sleep 1000' & echo $!
sh -c 'trap - TSTP; exec sleep 1001' & echo $!
sh -c 'exec -a sleep "/tmp/a) S 1 2" 1002' & echo $!
sleep 0.5; echo up; while :; do sleep 0.05; done"""
    session = guest.start(["/bin/sh", "-c", script])
    session.wait_output(b"up\n")
    leader, ignorer, plain, named = session.text().split()[:4]
    session.signal(TSTP)
    wait_for_state(guest, session, plain, "T")
    wait_for_state(guest, session, named, "T")
    equal([state_of(guest, session, pid) == "T" for pid in (leader, ignorer)], [False, False])
    session.signal(CONT)
    wait_for_state(guest, session, plain, "S")
    session.wait_output(b"caught\n")
    session.signal(KILL)
    equal(session.finish().exit, ("signal", KILL))


def early_signal(guest):
    """Before the program runs: kept for it."""
    for _ in range(5):
        session = guest.start(["/bin/sleep", "1000"])
        session.signal(TERM)
        equal(session.finish().exit, ("signal", TERM))


def late_frames_are_ignored(guest):
    guest.shell("exit 0")
    guest.send("SIGNAL", TERM, 0)
    guest.send("DATA", STDIN, 0, b"x")
    guest.send("CLOSE", STDOUT, 0, b"\0")
    guest.send("WINSIZE", 0, 0, struct.pack("<HH", 1, 1))
    guest.credit(STDOUT, 5)
    equal(guest.shell("echo fine").text(), "fine\n")


def terminal(guest):
    session = guest.start(["/bin/sh", "-c", "tty; stty size; read x; echo got:$x; exit 4"], terminal=True, size=(33, 101), uid=1234, gid=1234)
    session.wait_output(b"33 101\r\n")
    session.write(b"hello\n")
    session.finish()
    equal(session.text().split("\r\n")[0].startswith("/dev/pts/"), True)
    equal(session.text().split("\r\n")[2:4], ["hello", "got:hello"])  # echoed, then read
    equal((session.exit, STDERR in session.closed), (("status", 4), False))


def terminal_resize_interrupt_end(guest):
    session = guest.start(["/bin/sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"], terminal=True)
    session.wait_output(b"ready")
    guest.send("WINSIZE", 0, 0, struct.pack("<HH", 50, 60))
    session.wait_output(b"50 60")
    session.write(b"\x03")
    equal(session.finish().exit, ("signal", INT))
    session = guest.start(["/bin/cat"], terminal=True)
    session.wait(lambda session: session.pid)
    session.close(STDIN)  # its end-of-file character is typed
    equal(session.finish().exit, ("status", 0))
    session = guest.start(["/bin/sh", "-c", "echo ready; exec sleep 1000"], terminal=True)
    session.wait_output(b"ready")
    session.close(STDOUT)  # hangs up
    equal(session.finish().exit, ("signal", HUP))


def terminal_output_is_whole(guest):
    session = guest.shell("stty -onlcr; i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done", terminal=True)
    equal(session.text().replace("\r", ""), "".join(f"line {i}\n" for i in range(3000)))


def many_sessions(guest):
    sessions = [guest.start(["/bin/sh", "-c", f"read x; echo {i} $x; exit {i}"], session=i) for i in range(32)]
    for session in sessions:
        guest.send("DATA", STDIN, session.number, b"word\n")
    while not all(session.is_over for session in sessions):
        frame = guest.receive()
        sessions[frame.session].take(frame)
    equal([session.text() for session in sessions], [f"{i} word\n" for i in range(32)])
    equal([session.exit for session in sessions], [("status", i) for i in range(32)])


def resident_memory(guest):
    """Also after all buffers were used."""
    for line in guest.shell("cat /proc/1/status").text().split("\n"):
        if line.startswith("VmRSS:"):
            kib = int(line.split()[1])
            assert kib < 2048, f"{kib} KiB"
            print(f"# resident: {kib} KiB")


def orphans_are_reaped(guest):
    guest.shell("(sleep 0.1 & sleep 0.1 & ) ; true")
    time.sleep(0.5)
    text = guest.shell("grep -h State /proc/[0-9]*/status").text()
    equal("zombie" in text, False)


def ping(guest):
    guest.send("PING", payload=b"12345678")
    equal(guest.expect("PONG").payload, b"12345678")


def rest(guest):
    session = guest.start(["/bin/sh", "-c", "while :; do echo tick; sleep 0.02; done"], session=5)
    session.wait_output(b"tick")
    short = guest.start(["/bin/sh", "-c", "sleep 0.2; exit 6"], session=6)
    guest.send("REST")
    while (frame := guest.receive()).kind != "RESTED":
        (session if frame.session == 5 else short).take(frame)
    equal(guest.is_readable(0.6), False)
    guest.send("RESUME")
    while not short.is_over:
        frame = guest.receive()
        (session if frame.session == 5 else short).take(frame)
    equal(short.exit, ("status", 6))
    session.signal(KILL)
    session.finish()


# Each with a guest of its own.


def prepare(guest):
    """The plan of the shared guest; also the test of the steps that succeed."""
    guest.step("HOSTNAME", string("v1-2"))
    guest.step("CLOCK", struct.pack("<QI", 2000000000, 5))
    guest.step("RANDOM", bytes(range(256)) * 2)
    guest.step("LINK_UP", string("lo"))
    guest.mkdir("/tmp", 0o1777)
    guest.mkdir("/tmp/owned", 0o700, 1234, 2345)
    guest.mkdir("/tmp/owned", 0o777, 1, 1)  # is there: left as it is
    guest.mkdir("/tmp/private/deep/er", 0o750)
    guest.mkdir("/tmp/closed", 0o700)
    guest.file("/tmp/file", b"old")
    guest.file("/tmp/file", b"x" * 200000, 0o4751, 1234, 2345)
    guest.step("SYMLINK", string("/tmp/link") + string("owned"))
    guest.mkdir("/mnt")
    guest.mount("tmpfs", "none", "/mnt", "size=1m,mode=0711", NOSUID)
    guest.bind("/tmp/file", "/tmp/new/place/file", RDONLY | NOSUID)
    guest.bind("/tmp/owned", "/tmp/new/folder")
    equal(guest.end_plan().kind, "READY")


def steps(guest):
    script = """uname -n; date +%Y; ifconfig lo | grep -c 127.0.0.1; stat -c '%a %u %g' /tmp /tmp/owned /tmp/private /tmp/private/deep \\
/tmp/private/deep/er /tmp/file; stat -c %s /tmp/file; readlink /tmp/link; stat -c %a /mnt; grep ' /mnt ' /proc/mounts | grep -c nosuid,
(echo x >/tmp/new/place/file) 2>/dev/null || echo read-only; stat -c %u /tmp/new/folder"""
    equal(guest.shell(script).text().split("\n"), [
        "v1-2", "2033", "1", "1777 0 0", "700 1234 2345", "755 0 0", "755 0 0", "750 0 0", "4751 1234 2345", "200000", "owned", "711", "1",
        "read-only", "1234", ""])


def second_plan(guest):
    """A script that arrives late, executed at once."""
    guest.file("/run/script", b"#!/bin/sh\necho from $0\n", 0o500, 1234, 1234)
    equal(guest.end_plan().kind, "READY")
    equal(guest.run(["/run/script"], uid=1234, gid=1234).text(), "from /run/script\n")


def root_step():
    with Guest(FOLDER) as guest:
        guest.mkdir("/newroot")
        guest.mount("tmpfs", "none", "/newroot", "mode=0755")
        for name in ("dev", "proc", "sys", "run", "bin"):
            guest.mkdir(f"/newroot/{name}")
        guest.bind("/bin", "/newroot/bin")
        guest.mkdir("/run/kept")
        guest.step("ROOT", string("/newroot"))
        guest.mkdir("/tmp")
        equal(guest.end_plan().kind, "READY")
        session = guest.shell("ls / | sort; ls /run; ls /dev/pts /dev/null; cut -d' ' -f2 /proc/mounts | sort; cd /; cd ..; ls -d init")
        equal(session.text().split(), ["bin", "dev", "proc", "run", "sys", "tmp", "kept", "/dev/null", "/dev/pts:", "ptmx", "/", "/bin",
                                       "/dev", "/dev/pts", "/dev/shm", "/proc", "/run", "/sys"])
        equal(guest.shell("tty", terminal=True).text().startswith("/dev/pts/"), True)
        guest.send("SHUTDOWN", 1)
        guest.expect("BYE")
        equal(guest.wait_off(), 0)


def failed_steps():
    table = (
        ("MOUNT", struct.pack("<Q", 0) + string("virtiofs") + string("absent") + string("/home/x") + string(""), 2, "mount virtiofs on '/home/x'"),
        ("BIND", struct.pack("<Q", 0) + string("/proc/self") + string("/sys/x"), 1, "make '/sys/x' to bind '/proc/self' on"),
        ("ROOT", string("/nowhere"), 2, "move /dev to '/nowhere/dev'"),
        ("MKDIR", struct.pack("<III", 0, 0, 0o755) + string("/etc/passwd/x"), 20, "make directory '/etc/passwd/x'"),
    )
    with Guest(FOLDER) as guest:
        guest.mkdir("/ok")
        kind, payload, errno_, what = table[0]
        guest.step(kind, payload)
        guest.mkdir("/not-made")
        guest.send("PLAN_END")
        guest.send("PING", payload=bytes(8))
        failure = guest.expect("STEP_FAIL")
        equal((struct.unpack_from("<II", failure.payload), take_string(failure.payload, 8)), ((1, errno_), what))
        guest.expect("PONG")  # and no READY
    for kind, payload, errno_, what in table[1:]:
        with Guest(FOLDER) as guest:
            guest.step(kind, payload)
            failure = guest.expect("STEP_FAIL")
            equal((struct.unpack_from("<II", failure.payload), take_string(failure.payload, 8)), ((0, errno_), what))


def shutdown_kills_and_stays():
    with Guest(FOLDER) as guest:
        guest.plan()
        session = guest.start(["/bin/sh", "-c", "trap '' TERM HUP; setsid sleep 1000 & echo ready; while :; do sleep 1; done"])
        session.wait_output(b"ready\n")
        begun = time.monotonic()
        guest.send("SHUTDOWN", 0)
        guest.expect("BYE")
        assert time.monotonic() - begun < 1, "slow"
        print(f"# shutdown: {(time.monotonic() - begun) * 1000:.1f} ms")
        equal(guest.shell("ls -d /proc/[0-9]* | wc -l; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 10[0]0'").text().split("\n")[1], "0")
        guest.send("SHUTDOWN", 1)
        guest.expect("BYE")
        equal(guest.wait_off(), 0)


def ends_with(guest, code):
    """ERROR with this code, a line on the console, power off."""
    frame = guest.receive()
    while frame.kind not in ("ERROR",):
        frame = guest.receive()
    equal(frame.number(), code)
    equal(guest.wait_off(), 0)
    equal("vtorque-agent: " in guest.console(), True)


def versions():
    with Guest(FOLDER, greet=False) as guest:
        guest.greet(1, 9)  # newer, but knows ours
        guest.plan()
    with Guest(FOLDER, greet=False) as guest:
        guest.greet(2, 9)
        ends_with(guest, 2)
    with Guest(FOLDER, greet=False) as guest:  # a longer HELLO of a newer engine
        guest.expect("HELLO", 60)
        guest.send("HELLO", payload=struct.pack("<IHH", MAGIC, 1, 3) + string("more") + b"\1\2\3")
        guest.plan()


def bad_frames():
    frame, state, limit = 1, 3, 4
    table = (
        (struct.pack("<IBBH", 65537, 1, 0, 0), frame),
        (struct.pack("<IBBH", 0, 3, 0, 32), frame),
        (struct.pack("<IBBH", 0, 99, 0, 0), frame),
        (struct.pack("<IBBH", 0, 4, 0, 0), frame),
        (struct.pack("<IBBH", 0, 68, 0, 0), state),
        (struct.pack("<IBBH", 0, 20, 0, 0), state),
    )
    for data, code in table:
        with Guest(FOLDER) as guest:
            guest.link.sendall(data)
            ends_with(guest, code)
    with Guest(FOLDER) as guest:  # a session before the plan
        guest.start(["/bin/true"], credit=0)
        ends_with(guest, state)
    with Guest(FOLDER) as guest:  # more stdin than the window
        guest.plan().start(["/bin/sleep", "9"], credit=0)
        for _ in range(3):
            guest.send("DATA", STDIN, 0, bytes(65536))
        ends_with(guest, limit)


def lost_host():
    with Guest(FOLDER) as guest:
        guest.plan()
        guest.link.shutdown(2)
        equal(guest.wait_off(), 0)
        equal("the port to the host failed" in guest.console(), True)


def no_port():
    """A guest whose host opened no port says so within its deadline."""
    with Guest(FOLDER, greet=False, port="other") as guest:
        equal(guest.wait_off(30), 0)
        equal("cannot open port org.vtorque.agent: " in guest.console(), True)


def service():
    """Below another process 1: orphans of sessions are its to end, the rest of the guest is not."""
    begin = ("mount -t devtmpfs d /dev; mount -t proc p /proc; mount -t sysfs s /sys; mkdir /dev/pts; mount -t devpts p /dev/pts; "
             "for m in `cat /modules/order`; do insmod /modules/$m; done; sleep 1001 & /init --service; echo ended $?; poweroff -f")
    with Guest(FOLDER, append=f'rdinit=/bin/sh -- -c "{begin}"') as guest:
        guest.plan()
        equal(guest.shell("echo $PPID; tty", terminal=True).text().startswith("1\r\n"), False)
        session = guest.start(["/bin/sh", "-c", "trap '' HUP TERM; (setsid sleep 1002 &); (setsid setsid sleep 1003 &); sleep 0.1; echo ready; read x"])
        session.wait_output(b"ready\n")
        guest.send("SHUTDOWN", 0)
        guest.expect("BYE")
        text = guest.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").text()
        equal([f"sleep {number}" in text for number in (1001, 1002, 1003)], [True, False, False])
        guest.link.shutdown(2)
        equal(guest.wait_off(), 0)
        equal("ended 1" in guest.console(), True)


def faults():
    for fault, words in ((0, "Attempted to kill init"), (2, "sysrq triggered crash"), (3, "")):
        with Guest(FOLDER) as guest:
            guest.plan()
            guest.send("FAULT", fault)
            guest.wait_off()
            equal(words in guest.console(), True)
    with Guest(FOLDER) as guest:
        guest.plan()
        guest.send("FAULT", 1)
        guest.send("PING", payload=bytes(8))
        equal(guest.is_readable(1), False)


SHARED = (
    steps, status_and_streams, death_by_signal, death_by_each_signal, scheduling_is_usual, argv_is_kept, many_words, environment_is_exact, identity, many_groups, limits, failed_starts,
    descriptors_are_clean, output_volume, input_volume, both_ways, slow_input_is_whole, nobody_reads_input, input_closed_by_process,
    output_closed_by_process, output_closed_by_host, credit_is_kept, tail_without_credit, background_process_delays_nothing, group_signals,
    stopped_by_tstp, early_signal, late_frames_are_ignored, terminal, terminal_resize_interrupt_end, terminal_output_is_whole, many_sessions, second_plan,
    orphans_are_reaped, ping, rest, resident_memory,
)
OWN = (root_step, failed_steps, shutdown_kills_and_stays, versions, bad_frames, lost_host, no_port, faults, service)


def report(number, test, *arguments):
    begun = time.monotonic()
    try:
        test(*arguments)
        result = "ok"
    except Exception:  # whatever it is, it is this test's failure
        result = "not ok"
        print("".join(f"# {line}\n" for line in traceback.format_exc().rstrip().split("\n")), end="")
    print(f"{result} {number} - {test.__name__.replace('_', ' ')}", flush=True)
    print(f"# {time.monotonic() - begun:.2f} s", flush=True)
    return result == "ok"


def main():
    chosen = set(sys.argv[1:])
    shared = [test for test in SHARED if not chosen or test.__name__ in chosen]
    own = [test for test in OWN if not chosen or test.__name__ in chosen]
    print(f"1..{len(shared) + len(own)}")
    number = 0
    guest = None
    for test in shared:
        number += 1
        if not guest:
            guest = Guest(FOLDER)
            prepare(guest)
        if not report(number, test, guest):
            guest.kill()  # its state is unknown
            guest = None
    if guest:
        guest.kill()
    for number, test in enumerate(own, number + 1):
        report(number, test)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""At a terminal: vsub -I and vmgr shell, in the tiny guest, under a pty that these tests type into. And what else vmgr does in and with a guest
while its job floods its output. Speaks TAP."""

import contextlib
import fcntl
import os
import re
import signal
import termios

from lib import (DEADLINE, TINY, Inventory, Reader, Running, Served, Site, TemporaryUser, children, equal, is_same, processes, read_process,
                 run_tests, strike, wait_for)
from terminal import ESCAPE, Terminal, ask_ready, use, use_shell

WAITS = "echo up\nwhile :; do sleep 1; done\n"
FLOODS = "echo up\nn=0\nwhile [ ! -e stop ]; do n=$((n+1)); echo line $n; done\necho last $n\n"


def interactive(site):
    """vsub -I: size before and after a resize, Control-C, Control-Z and fg, vi, exit 3"""
    inventory = Inventory(site)
    with Terminal(site, *TINY, "-I") as terminal:
        use(terminal)
        terminal.ask("echo $PBS_ENVIRONMENT-$PBS_NP", "PBS_INTERACTIVE-1")
        terminal.type("exit 3\r")
        equal(terminal.wait_status(), 3)
        terminal.check_sane()
    inventory.check()


def of_machine(site):
    """vsub -I with the machine's own software, as a user: the login shell, vi, less, exit 3"""
    with TemporaryUser() as owner, Site(user=owner) as theirs:
        inventory = Inventory(theirs)
        with Terminal(theirs, "--local", "-vm", "img=host,ram=512M,vcpus=1", "-I") as terminal:
            use_shell(terminal)
            terminal.type("cd; vi page\r")
            terminal.wait_text(r"page.*New")
            terminal.type(f"ifirst line{ESCAPE}:wq\r")
            terminal.wait_text(r"written(.|\n)*\$ $")  # vim takes what is typed before it has ended
            terminal.ask("cat page; echo of $((1+2))", r"first line\r\n.*of 3")
            terminal.type("seq 1000 > many; less many\r")
            terminal.wait_text(r"\n39\r")
            terminal.type("G")
            terminal.wait_text(r"\n1000\r(.|\n)*END")
            terminal.type("q")
            terminal.ask("echo of $((1+2))", "of 3")
            terminal.type("exit 3\r")
            equal(terminal.wait_status(), 3)
            terminal.check_sane()
        with open(f"{owner.home}/page", encoding="ascii") as file:
            equal(file.read(), "first line\n")
        inventory.check()


def command(site):
    """vsub -I -x: a command at the terminal, its status; a script's directives alone"""
    with Terminal(site, *TINY, "-I", "-x", "sh", "-F", "-c 'tty; exit 7'") as terminal:
        terminal.wait_text("/dev/pts/0")
        equal(terminal.wait_status(), 7)
        terminal.check_sane()
    with open(f"{site.work}/ignored.sh", "w") as file:
        file.write("#PBS -N called\necho never\n")
    with Terminal(site, *TINY, "-I", "ignored.sh") as terminal:
        equal(terminal.ask("echo name=$PBS_JOBNAME", r"name=\w+"), "name=called")
        terminal.type("exit\r")
        equal(terminal.wait_status(), 0)
        assert b"never" not in terminal.text


def hang_up(site):
    """vsub -I: hang-up, TERM and ~. end the job"""
    inventory = Inventory(site)
    for how in ("hang-up", "TERM", "~."):
        with Terminal(site, *TINY, "-I") as terminal:
            ask_ready(terminal)
            program = terminal.program()
            if how == "hang-up":
                terminal.hang_up()
                wait_for(lambda: not is_same(program), "vsub's end")
                continue
            if how == "TERM":
                os.kill(program.pid, signal.SIGTERM)
            else:
                terminal.type("\r~.")
            equal(terminal.wait_status(), 125, how)
            terminal.check_sane()
    inventory.check()


def killed(site):
    """vsub -I killed: the terminal is sane, the job is gone"""
    inventory = Inventory(site)
    with Terminal(site, *TINY, "-I") as terminal:
        ask_ready(terminal)
        assert termios.tcgetattr(terminal.slave) != terminal.modes, "raw"
        program = terminal.program()
        strike(program, signal.SIGKILL)
        equal(terminal.wait_status(), 137)
        terminal.check_sane()
        # The guard too.
        wait_for(lambda: not children(terminal.leader.pid) and not any(process.session == terminal.leader.pid and process.pid != terminal.leader.pid
                                                                       for process in processes()), "the end of all at the terminal")
    inventory.check()


def stopped(site):
    """vsub -I stopped from outside: the terminal is sane meanwhile, and raw again afterwards"""
    # An interactive shell: it takes the terminal back.
    with Terminal(site, *TINY, "-I") as terminal:
        ask_ready(terminal)
        program = terminal.program()
        raw = termios.tcgetattr(terminal.slave)
        strike(program, signal.SIGTSTP)
        wait_for(lambda: read_process(program.pid).state == "T", "the stop")
        terminal.check_sane()
        os.kill(program.pid, signal.SIGCONT)
        wait_for(lambda: termios.tcgetattr(terminal.slave) == raw, "the terminal raw again")
        terminal.ask("echo on=$((1+1))", "on=2")
        terminal.type("exit\r")
        equal(terminal.wait_status(), 0)


def no_descriptor(site):
    """no terminal is open in keeper, engine, QEMU and file server"""
    with Terminal(site, *TINY, "-I") as terminal:
        ask_ready(terminal)
        device = os.fstat(terminal.slave).st_rdev
        program = terminal.program()
        below = [process for process in processes() if process.pid != program.pid and process.session != terminal.leader.pid]
        names = [process.name for process in below if has_open(process.pid, device)]
        equal([name for name in names if name.startswith(("vtorque", "qemu", "virtiofs"))], [])
        guard = [process for process in children(program.pid) if process.name == program.name]
        equal(len(guard), 1, "the guard")
        equal(sorted(os.listdir(f"/proc/{guard[0].pid}/fd")), ["3", "4"], "what the guard holds")
        terminal.type("exit\r")
        equal(terminal.wait_status(), 0)


def has_open(pid, device):
    for name in list_fds(pid):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}/fd/{name}").st_rdev == device:
                return True
    return False


def list_fds(pid):
    try:
        return os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []


class Flood(Running):
    """A job that prints without end until it is told to stop, and must not miss a line."""

    def __enter__(self):
        self.wait_text(b"up\n")
        self.id = self.job()["id"]
        return self

    def stop(self):
        """Ends it, and checks that it was not disturbed."""
        open(f"{self.site.work}/stop", "w").close()
        result = self.finish()
        os.unlink(f"{self.site.work}/stop")
        lines = result.out.decode().splitlines()
        count = int(lines[-1].split()[1])
        equal((result.status, result.err), (0, b""))
        equal(lines, ["up", *(f"line {n}" for n in range(1, count + 1)), f"last {count}"])


def shell(site):
    """vmgr shell at a terminal beside a job that floods its output"""
    with Flood(site, FLOODS) as job:
        with Terminal(site, "shell", job.id, program="vmgr") as terminal:
            use(terminal)
            equal(terminal.ask("echo id=$PBS_JOBID", r"id=\d\S*"), f"id={job.id}")
            terminal.type("exit 3\r")
            equal(terminal.wait_status(), 3)
            terminal.check_sane()
        job.stop()


def shell_ends(site):
    """vmgr shell killed, hung up, left: its session ends, the terminal is sane, the job goes on"""
    def sessions():
        result = site.vmgr("shell", job.id, "--", "ps", "-o", "args")
        equal((result.status, result.err), (0, ""))
        return len(re.findall(r"^-sh", result.out, re.MULTILINE))

    with Running(site, WAITS) as job:
        job.wait_text(b"up\n")
        job.id = job.job()["id"]
        before = sessions()
        for how in ("kill", "TERM", "~.", "hang-up"):
            with Terminal(site, "shell", job.id, program="vmgr") as terminal:
                ask_ready(terminal)
                equal(sessions(), before + 1, how)
                program = terminal.program()
                if how == "hang-up":
                    terminal.hang_up()
                elif how == "~.":
                    terminal.type("\r~.")
                else:
                    strike(program, signal.SIGKILL if how == "kill" else signal.SIGTERM)
                if how != "hang-up":
                    equal(terminal.wait_status(), 137 if how == "kill" else 125)
                    terminal.check_sane()
                wait_for(lambda: sessions() == before, f"the session's end after {how}")
        # One that hears no HUP.
        with Terminal(site, "shell", job.id, program="vmgr") as terminal:
            terminal.ask("trap '' HUP; echo deaf=$((1+1))", "deaf=2")
            strike(terminal.program(), signal.SIGKILL)
            wait_for(lambda: sessions() == before, "the session's end by KILL")
        # The job's end is the shell's.
        with Terminal(site, "shell", job.id, program="vmgr") as terminal:
            ask_ready(terminal)
            equal(site.vmgr("end", "--now", job.id).status, 0)
            terminal.wait_text(r"vmgr: the job has ended \(ended\)\r\n")
            equal(terminal.wait_status(), 125)
            terminal.check_sane()


def pipes(site):
    """vmgr shell in a pipe: streams, statuses, signals; binary data both ways beside a flood"""
    with Flood(site, FLOODS) as job:
        shell = ("shell", job.id, "--")
        result = site.vmgr(*shell, "sh", "-c", "echo out; echo err >&2; exit 5")
        equal((result.status, result.out, result.err), (5, "out\n", "err\n"))
        equal(site.vmgr(*shell, "sh", "-c", "kill -USR1 $$").status, 128 + signal.SIGUSR1)
        equal(site.vmgr(*shell, "not-there").status, 127)
        data = os.urandom(1 << 20)
        process = site.start(*shell, "cat", program="vmgr", stdin=-1)
        out, err = process.communicate(data, DEADLINE)
        equal((process.returncode, err, out == data), (0, b"", True))
        # What the command has left when it ended, and nobody had taken yet, comes too: more than the window, less than the guest's pipe beyond it.
        # Ours is so small that vmgr grants nothing anew.
        process = site.start(*shell, "sh", "-c", f"head -c 320000 /dev/zero; : > {site.work}/ended", program="vmgr")
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        wait_for(lambda: os.path.exists(f"{site.work}/ended"), "the end of the command")
        equal((len(process.stdout.read()), process.wait(DEADLINE)), (320000, 0))
        # One that does not read holds up nobody.
        stuck = site.start(*shell, "cat", "/dev/zero", program="vmgr")
        equal(site.vmgr(*shell, "true").status, 0)
        # A signal is the command's.
        process = site.start(*shell, "sh", "-c", "trap 'echo got; exit 4' TERM; echo on; while :; do sleep 1; done", program="vmgr")
        reader = Reader(process.stdout)
        reader.wait_text(b"on\n")
        process.terminate()
        equal(process.wait(DEADLINE), 4)
        reader.join()
        equal(reader.data, b"on\ngot\n")
        stuck.kill()
        stuck.communicate()
        job.stop()


def refused(site):
    """of a machine, or a job, that is not there; more shells than there are"""
    with Running(site, WAITS) as job:
        job.wait_text(b"up\n")
        job_id = job.job()["id"]
        for verb in ("shell", "console"):
            result = site.vmgr(verb, f"{job_id}/9")
            equal((result.status, result.out, result.err), (125, "", f"vmgr: job '{job_id}': the job has no such virtual machine\n"))
            equal(site.vmgr(verb, "1.nothing").status, 2)
            equal(site.vmgr(verb, f"{job_id}/0").status, 2)
        shells = []
        for _ in range(24):
            shells.append(site.start("shell", job_id, "cat", program="vmgr", stdin=-1))
            shells[-1].stdin.write(b"there\n")
            shells[-1].stdin.flush()
            equal(shells[-1].stdout.readline(), b"there\n")
        equal(site.vmgr("shell", job_id, "true"), (125, "", f"vmgr: job '{job_id}': the job has as many shells as it can have\n"))
        for process in shells:
            equal(process.communicate(), (b"", b""))
            equal(process.returncode, 0)
        equal(site.vmgr("shell", job_id, "true").status, 0)
        # Other requests were answered all the while.
        equal(site.vmgr("end", job_id).status, 0)


def second(site):
    """vmgr shell in the second machine"""
    with Running(site, WAITS, "-vm", "vms_per_node=2") as job:
        job.wait_text(b"up\n")
        job_id = job.job()["id"]
        names = [site.vmgr("shell", f"{job_id}/{n}", "uname", "-n").out for n in (1, 2)]
        nodes = site.vmgr("shell", f"{job_id}/2", "--", "sh", "-c", "cat $PBS_NODEFILE").out
        equal("".join(names), nodes)


SERIAL = """echo up; echo first >/dev/ttyS0; stty -F /dev/ttyS0 -echo; read line </dev/ttyS0; echo "got $line" >/dev/ttyS0
while :; do sleep 1; done
"""


def console(site):
    """vmgr console: once, followed in a pipe, typed into at a terminal; vmgr log"""
    with Running(site, SERIAL) as job:
        job.wait_text(b"up\n")
        job_id = job.job()["id"]
        wait_for(lambda: site.vmgr("console", job_id) == (0, "first\n", ""), "the console's text")
        with Terminal(site, "console", "--once", job_id, program="vmgr") as terminal:
            terminal.wait_text("first\r\n")
            equal(terminal.wait_status(), 0)
        followed = site.start("console", "--follow", job_id, program="vmgr")
        reader = Reader(followed.stdout)
        reader.wait_text(b"first\n")
        with Terminal(site, "console", job_id, program="vmgr") as terminal:
            terminal.wait_text("first\r\n")
            terminal.type("hello\r")
            terminal.wait_text("got hello\r\n")
            terminal.type("\r~.")
            equal(terminal.wait_status(), 125)
            terminal.check_sane()
        reader.wait_text(b"got hello\r\n")
        interrupted = site.start("console", "--follow", job_id, program="vmgr")
        equal(interrupted.stdout.readline(), b"first\n")
        interrupted.send_signal(signal.SIGINT)
        interrupted.communicate()
        # Before it listens for signals it dies of them.
        assert interrupted.returncode in (128 + signal.SIGINT, -signal.SIGINT), interrupted.returncode
        log = site.vmgr("log", job_id)
        equal((log.status, log.err), (0, ""))
        for phase in ("prepared", "caged", "starting", "booted", "ready", "running"):
            assert re.search(rf"^[\d-]+ [\d:]+\.\d{{3}} {phase}$", log.out, re.MULTILINE), log.out
        assert re.search(r"^  \S+: serial console\n  first\n  got hello$", log.out, re.MULTILINE), log.out
        equal(site.vmgr("end", "--now", job_id).status, 0)
        equal(followed.wait(DEADLINE), 0)
        reader.join()


def copies(site):
    """vmgr cp beside a flood: files and directories, both ways; what is no copy is refused"""
    with Flood(site, FLOODS) as job:
        here, data = f"{site.work}/here", os.urandom(3 << 20)
        os.makedirs(f"{here}/sub dir")
        os.mkdir(f"{site.work}/back")
        with open(f"{here}/data", "wb") as file:
            file.write(data)
        with open(f"{here}/sub dir/-x", "w") as file:
            file.write("dash")
        os.chmod(f"{here}/sub dir/-x", 0o750)
        os.symlink("data", f"{here}/link")

        def copy(*words):
            equal(site.vmgr("cp", *words), (0, "", ""), words)

        copy("here", f"{job.id}:/tmp")
        copy("here/data", f"{job.id}:/tmp/renamed")
        copy("here/data", "here/sub dir/-x", f"{job.id}/1:/tmp/here")
        listing = site.vmgr("shell", job.id, "--", "sh", "-c", "cd /tmp/here && ls -A . *dir && stat -c '%a %U' -- -x && readlink link && cmp data ../renamed")
        equal(listing.out, ".:\n-x\ndata\nlink\nsub dir\n\nsub dir:\n-x\n750 root\ndata\n", listing)
        copy(f"{job.id}:/tmp/here", "back")
        copy(f"{job.id}:/tmp/renamed", "back/file")
        for name in ("back/file", "back/here/data"):
            with open(f"{site.work}/{name}", "rb") as file:
                equal(file.read() == data, True, name)
        equal((os.readlink(f"{site.work}/back/here/link"), os.stat(f"{site.work}/back/here/sub dir/-x").st_mode & 0o777), ("data", 0o750))
        # A directory that is there is added to.
        copy(f"{job.id}:/tmp/here", "back")
        refused = (("a", "b"), (f"{job.id}:/tmp", f"{job.id}:/x"), (f"{job.id}:/tmp/here", f"{job.id}:/etc/passwd", "back/file"), (f"{job.id}:/", "back"))
        for words in refused:
            result = site.vmgr("cp", *words)
            equal((result.status, result.out, result.err.count("\n")), (2, "", 1), result)
        for words in ((f"{job.id}:/nowhere", "back"), ("here", f"{job.id}:/nowhere/x"), ("nowhere", f"{job.id}:/tmp")):
            result = site.vmgr("cp", *words)
            assert result.status not in (0, 2) and result.err, result
        # What the guest says does nothing to the terminal.
        for words in ((f"{job.id}:/tmp/\x1b[31m", "back"), ("here", f"{job.id}:/tmp/\x1b[31m/x")):
            said = site.vmgr("cp", *words).err
            assert "?[31m" in said and "\x1b" not in said, said
        job.stop()


def owners(site):
    """root's shell in another's job is the owner's; the owner of a job and somebody else, as users"""
    with TemporaryUser() as owner, Served(site, owner, WAITS) as job:
        job.wait_text(b"up\n")
        ids = site.vmgr("shell", "1", "--", "sh", "-c", "id -u; id -g; id -ru; pwd; umask")
        equal((ids.status, ids.out), (0, f"{owner.uid}\n{owner.gid}\n{owner.uid}\n{owner.home}\n0022\n"))
        equal(site.vmgr("end", "--now", "1").status, 0)
    with TemporaryUser() as owner, Site(user=owner) as theirs, Running(theirs, WAITS) as job:
        job.wait_text(b"up\n")
        job_id = job.job()["id"]
        equal(theirs.vmgr("shell", job_id, "id", "-u").out, f"{owner.uid}\n")
        with TemporaryUser() as other, Site(user=other) as others:
            for others.runtime in (others.runtime, theirs.runtime):
                equal(others.vmgr("shell", job_id, "id"), (2, "", f"vmgr: no job '{job_id}' lives here (see 'vmgr list')\n"))
        equal(theirs.vmgr("end", "--now", job_id).status, 0)


def main():
    tests = [interactive, command, hang_up, killed, stopped, no_descriptor, shell, shell_ends, pipes, refused, second]
    with Site() as site:
        if site.user.uid == 0:
            tests += [of_machine, console, copies, owners]
        run_tests([bound(test, site) for test in tests], jobs=1)


def bound(test, site):
    def run():
        test(site)

    run.__name__, run.__doc__ = test.__name__, test.__doc__.splitlines()[0]
    return run


if __name__ == "__main__":
    main()

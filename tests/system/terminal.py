# SPDX-License-Identifier: Apache-2.0
"""A terminal that tests type into, with a program at its other end."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import termios
import threading

from lib import DEADLINE, children, equal, wait_for

CONTROL_C, CONTROL_Z, QUIT, ESCAPE = "\x03", "\x1a", "\x1c", "\x1b"
# Is the session's leader, as a login shell is, and says what became of the program.
LEADER = 'trap : HUP; "$@"; echo "status=$?"; read line'


class Terminal:
    """A program at a terminal of ours, with a shell that waits for it. Ends with the `with`."""

    def __init__(self, site, *words, program="vsub", leader=LEADER, **options):
        self.master, self.slave = pty.openpty()
        self.resize(24, 80, is_told=False)
        self.modes = termios.tcgetattr(self.slave)
        self.text, self.is_hung_up = b"", False
        self.leader = site.start(*words, program=program, through=("sh", "-c", leader, "sh"), stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                 start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                                 environment={"TERM": "vt100"}, **options)
        self.wake, self.woken = os.pipe()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        with contextlib.suppress(OSError):
            while self.wake not in select.select([self.master, self.wake], [], [])[0]:
                self.text += os.read(self.master, 65536)

    def program(self):
        """vsub or vmgr itself."""
        return wait_for(lambda: next((process for process in children(self.leader.pid)), None), "the program")

    def resize(self, rows, columns, is_told=True):
        fcntl.ioctl(self.master if is_told else self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def wait_text(self, pattern, seconds=DEADLINE):
        """Waits for a line that the pattern fits, and forgets all up to its end."""
        try:
            found = wait_for(lambda: re.search(pattern.encode(), self.text), f"{pattern!r}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; there is {self.text!r}") from None
        self.text = self.text[found.end():]
        return found.group().decode()

    def ask(self, command, pattern):
        """Types a command to the guest's shell and waits for what it prints. The command must not look like that."""
        self.type(f"{command}\r")
        return self.wait_text(pattern)

    def wait_status(self):
        return int(self.wait_text(r"status=\d+").partition("=")[2])

    def check_sane(self):
        wait_for(lambda: termios.tcgetattr(self.slave) == self.modes, "the terminal as it was")

    def hang_up(self):
        """Closes the terminal's other end, which nobody must be reading then."""
        os.close(self.woken)
        self.reader.join()
        for fd in (self.slave, self.master, self.wake):
            os.close(fd)
        self.is_hung_up = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leader.kill()
        self.leader.wait()
        if not self.is_hung_up:
            self.hang_up()


def use(terminal, can_resize=True):
    """What somebody does at a terminal; the tiny guest's shell must be there."""
    use_shell(terminal, can_resize)
    # A program for the whole screen.
    terminal.type("vi /tmp/page\r")
    terminal.wait_text(r"page 1/1")
    # What comes with an escape is a key of its own: the cursor goes back when it was understood.
    terminal.type(f"ifirst line{ESCAPE}")
    terminal.wait_text(r"\x1b\[1;10H")
    terminal.type(":wq\r")
    terminal.ask("cat /tmp/page; echo of $((1+2))", r"first line\r\n.*of 3")


def use_shell(terminal, can_resize=True):
    ask_ready(terminal)
    terminal.ask("stty size", r"\b24 80\b")
    if can_resize:
        terminal.resize(40, 132)
        terminal.ask("stty size", r"\b40 132\b")
    equal(terminal.ask('echo "term=$TERM tty=$(tty)"', r"term=\w+ tty=/dev/pts/\d"), "term=vt100 tty=/dev/pts/0")
    # An interrupt, or a quit, ends what runs, and not the shell.
    for key, code in ((CONTROL_C, 130), (QUIT, 131)):
        terminal.ask("sh -c 'echo on; exec sleep 1000'", r"[\r\n]on\r")
        terminal.type(key)
        terminal.ask("echo code=$((0+$?))", f"code={code}")
    # Job control. The shell starts nothing meanwhile: one that is stopped between vfork() and exec() is not to be seen as stopped.
    terminal.ask("""sh -c 'trap "echo again" CONT; sleep 100 & echo on; while :; do wait; done'""", r"[\r\n]on\r")
    terminal.type(CONTROL_Z)
    terminal.wait_text("Stopped")
    terminal.ask("jobs", "Stopped")
    terminal.ask("fg", r"\nagain\r")
    terminal.type(CONTROL_C)
    terminal.ask("echo fg=$((0+$?))", "fg=130")


def ask_ready(terminal):
    terminal.ask("echo at=$((1+1))", "at=2")

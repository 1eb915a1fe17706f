#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The script's world: what a script finds in a guest beside what the same user's login shell finds on the host. Speaks TAP.

A row is a line of shell that must say the same on both sides, or a function of what both said: then the host's answer stands beside the
guest's, or the documented difference (doc/user.md, "What the job finds"). Rows of one batch share one guest. SHAPE is the -vm words of all.
"""

import base64
import fcntl
import hashlib
import os
import pty
import pwd
import re
import resource
import shlex
import shutil
import signal
import subprocess
import threading
import time

from lib import DEADLINE, Inventory, Reader, Site, equal, read_process, run_tests, wait_for

SITE = None
SHAPE = "img=host,ram=512M,vcpus=1"
PERL = 'my $program = shift; exec {$program} @ARGV or die "cannot execute $program"'
LOGIN = 'exec "$0" "$@"'
LOCALES = re.compile(r"LANG|LANGUAGE|TZ|LC_.*")
LIMITS = ("cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending", "msgqueue", "nice",
          "rtprio", "rttime")  # by number
# What prlimit can lower without taking from vsub what it needs: soft:hard. `nice` and `rtprio` are 0 for almost everybody.
LOWERED = {"cpu": "100000:200000", "fsize": "9000000000:9100000000", "data": "8000000000:8100000000", "stack": "4194304:6291456",
           "core": "4096:8192", "rss": "700000000:800000000", "nproc": "3000:4000", "nofile": "300:400", "memlock": "65536:131072",
           "as": "8000000000:9000000000", "locks": "70:80", "sigpending": "90:100", "msgqueue": "1000:2000", "nice": "0:0",
           "rtprio": "0:0", "rttime": "5000000:6000000"}
# doc/contracts/request.md: what vTorque sets, and what a shell sets or a submitter's process has for itself.
PBS = {"PBS_JOBID", "PBS_JOBNAME", "PBS_ENVIRONMENT", "ENVIRONMENT", "PBS_QUEUE", "PBS_SERVER", "PBS_NODEFILE", "PBS_NODENUM",
       "PBS_VNODENUM", "PBS_TASKNUM", "PBS_NUM_NODES", "PBS_VMS_PN", "PBS_NP", "PBS_NUM_PPN", "PBS_VERSION", "PBS_O_HOST", "PBS_O_SERVER",
       "PBS_O_QUEUE", "PBS_O_WORKDIR", "PBS_O_HOME", "PBS_O_LANG", "PBS_O_LOGNAME", "PBS_O_PATH", "PBS_O_SHELL"}
OWN = {"HOME", "LOGNAME", "USER", "SHELL", "HOSTNAME", "PWD", "OLDPWD", "SHLVL", "_"}
# The others stop, continue, are ignored, or are the C library's own.
DEADLY = [n for n in range(1, 65) if n not in (17, 18, 19, 20, 21, 22, 23, 28, 32, 33)]
# 32 and 33 are the C library's: a starter that has another library may ignore them, and no program of ours can tell.
LIBRARYS = 1 << 31 | 1 << 32
ODD = {"LINES_": "one\ntwo\n\nfour\n", "LARGE": "x" * 60 * 1024, "EMPTY": "", "EQUALS": "a=b==c", "BYTES": "\udce4\udcff",
       "BLANKS": "  a  'b' \"c\" $d `e` \\f ", "BASH_FUNC_greet%%": "() {  echo hello from a function\n}", "A.B-C": "no name of a shell"}
ARGUMENTS = [f"word {number} 'quoted' \"twice\" $x `y` \\z" for number in range(1000)] + ["", " ", "*", "-x"]


# Both sides


def login_environment(given=None, is_all=False):
    """doc/contracts/request.md, 1 and 2, as a login on this host would have it."""
    submitted = SITE.environment(**(given or {}))
    entry = pwd.getpwuid(SITE.user.uid)
    path = ("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" if SITE.user.uid == 0 else
            "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games")
    environment = {"HOME": entry.pw_dir, "LOGNAME": entry.pw_name, "USER": entry.pw_name, "SHELL": entry.pw_shell, "PATH": path}
    for name, value in submitted.items():
        if LOCALES.fullmatch(name) or (is_all and name not in OWN):
            environment[name] = value
    return environment


def login_words(path, shell="/bin/bash", arguments=()):
    """argv of a login shell that runs a script."""
    return [shell, f"-{os.path.basename(shell)}", path, *arguments]


def on_host(path, words=None, arguments=(), through=(), environment=None, home=None, stdin=b"", cwd=None, **options):
    """A script run by the user's login shell on this machine, as vsub has it run in a guest."""
    environment = environment or login_environment()
    if home:
        environment["HOME"] = home
    if isinstance(stdin, bytes):
        options["stdin"], data = subprocess.PIPE, stdin
    else:
        options["stdin"], data = stdin, None
    process = subprocess.Popen([*SITE.user.prefix(), *through, "perl", "-e", PERL, *(words or login_words(path, arguments=arguments))],
                               env=environment, cwd=cwd or SITE.work, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True, **options)
    out, err = process.communicate(data, DEADLINE)
    return process.returncode, out, err


def status_of(returncode):
    """What a shell says of a process's end."""
    return returncode if returncode >= 0 else 128 - returncode


def new_script(name, text, mode=0o755):
    path = f"{SITE.work}/{name}"
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    os.chmod(path, mode)
    os.chown(path, SITE.user.uid, SITE.user.gid)
    return path


def in_guest(*words, shell="/bin/bash", home=True, **options):
    """vsub to its end. The home is an empty one: what the user's own start-up files do takes time and says nothing."""
    if home:
        words = ("-v", f"HOME={SITE.work}/home", *words)
    return SITE.vsub("--local", "-S", shell, "-vm", SHAPE, *words, **options)


def both(name, text, guest_words=(), **options):
    """A script's status, stdout and stderr in the guest and on the host; there must be no difference."""
    path = new_script(name, text)
    guest = in_guest(*guest_words, path, **{("input" if key == "stdin" else key): value for key, value in options.items()})
    host = on_host(path, home=f"{SITE.work}/home", **options)
    equal((guest.status, guest.out, guest.err), (status_of(host[0]), host[1], host[2]))
    return guest


# Batches


class Batch:
    """Lines of shell, each in a subshell of its own, run once in a guest and once on the host."""

    def __init__(self, name, words=(), through=(), environment=None, is_all=False, arguments=()):
        self.name, self.words, self.through, self.given, self.is_all, self.arguments = name, words, through, environment, is_all, arguments
        self.pieces, self.lock, self.found, self.problem = {}, threading.Lock(), None, None

    def script(self):
        return "#!/bin/bash\n" + "".join(f"printf '=== %s\\n' {name}\n(\n{piece}\n) 2>&1\nprintf '\\n--- %s\\n' $?\n"
                                         for name, piece in self.pieces.items())

    def parse(self, out):
        found = re.findall(r"^=== (\w+)\n(.*?)\n--- (\d+)$", out.decode(errors="surrogateescape"), re.MULTILINE | re.DOTALL)
        return {name: (text, int(status)) for name, text, status in found}

    def run(self):
        path = new_script(f"batch-{self.name}", self.script())
        quoted = ("-F", shlex.join(self.arguments)) if self.arguments else ()
        begun = time.time()
        guest = in_guest(*self.words, *quoted, path, through=self.through, environment=self.given, timeout=8 * DEADLINE)
        ended = time.time()
        assert guest.status == 0 and not guest.err, guest
        host = on_host(path, through=self.through, environment=login_environment(self.given, self.is_all), home=f"{SITE.work}/home",
                       arguments=self.arguments)
        return self.parse(guest.out), self.parse(host[1]), begun, ended

    def get(self, name):
        """What the guest and the host said to a piece: text and status each."""
        with self.lock:
            if not self.found and not self.problem:
                try:
                    self.found = self.run()
                except (AssertionError, subprocess.TimeoutExpired) as problem:
                    self.problem = problem
        assert self.found, self.problem  # told by each row, tried once
        guest, host = (side.get(name) for side in self.found[:2])
        assert guest and host, f"no answer: guest {guest}, host {host}"
        return guest, host

    def times(self, name):
        self.get(name)
        return self.found[2:]


def shell_through(command):
    return ("sh", "-c", f'{command}; exec "$0" "$@"')


def umask_through(mask):
    """Not by a shell: those have an opinion on names of variables."""
    return ("perl", "-e", "umask oct shift; exec @ARGV", mask)


ROWS = []
PLAIN = Batch("plain", through=umask_through("022"), environment={"LANG": "C.UTF-8", "LC_ALL": "", "TZ": "UTC0"})
LOW = Batch("lowered", words=("-V",), is_all=True, arguments=ARGUMENTS,
            through=(*umask_through("077"), "prlimit", *(f"--{name}={value}" for name, value in LOWERED.items())),
            environment={"LANG": "C", "LC_ALL": "POSIX", "TZ": "XYZ-5:30", "TMPDIR": "/tmp/vtt-none", **ODD})
OPEN = Batch("open", words=("-v", "GIVEN=1 2,ALSO"), through=(*umask_through("0"), "nice", "-n", "5"),
             environment={"LANG": "C.UTF-8", "LC_TIME": "C", "LC_NUMERIC": "POSIX", "TZ": ":America/New_York", "ALSO": "here", "NOT": "x"})


def row(batch, name, what, piece, check=None):
    """A row of the table: `piece` in both worlds. Without `check` they must say the same; it gets both texts."""
    assert name not in batch.pieces
    batch.pieces[name] = piece

    def test():
        guest, host = batch.get(name)
        if check:
            check(guest[0], host[0])
        else:
            equal(guest, host, "the guest says")

    test.__name__, test.__doc__ = f"{batch.name}_{name}", what
    ROWS.append(test)


def is_set(wanted):
    """A check of the guest alone, where the host differs: the documented difference."""
    def check(guest, _):
        equal(guest, wanted)
    return check


# Identity


def same_words(guest, host):
    equal(sorted(re.split(r"[\s,]+", guest)), sorted(re.split(r"[\s,]+", host)))


row(PLAIN, "id", "id: user, group and all groups by number and name", "id", same_words)
for letters in ("u", "g", "un", "gn", "ur", "gr", "G", "Gn"):
    row(PLAIN, f"id_{letters}", f"id -{letters}", f"id -{letters}", same_words)
row(PLAIN, "id_name", "id NAME: the guest's passwd and group files", 'id "$(id -un)"', same_words)
row(PLAIN, "whoami", "whoami, groups and home by name", "whoami; groups | tr ' ' '\\n' | sort; eval echo ~$(id -un)",
    lambda guest, host: equal(guest, host))
row(PLAIN, "ids_of_status", "real, effective, saved and file system ids", "grep -E '^[UG]id' /proc/self/status")


def capabilities(guest, host):
    fields = dict(line.split(":\t") for line in guest.strip().split("\n"))
    equal((fields["CapInh"], fields["CapAmb"], fields["NoNewPrivs"]), ("0" * 16, "0" * 16, "0"))
    if SITE.user.uid:
        equal({fields["CapPrm"], fields["CapEff"]}, {"0" * 16})


row(PLAIN, "capabilities", "capabilities: none, but root's", "grep -E '^(Cap...|NoNewPrivs)' /proc/self/status", capabilities)


# Limits and umask


def limits_of(text):
    return {line[:26].strip(): line[26:68].split() for line in text.split("\n")[1:] if line}


def limits_are_same(guest, host):
    wanted = limits_of(host)
    equal(len(wanted), len(LIMITS))
    wanted["Max open files"] = [str(min(int(value), 1 << 20)) for value in wanted["Max open files"]]
    equal(limits_of(guest), wanted)


def lowered_limit(name, title):
    def check(guest, host):
        soft, hard = LOWERED[name].split(":")
        equal((limits_of(guest)[title], limits_of(host)[title]), ([soft, hard],) * 2)
    return check


row(PLAIN, "limits", "limits: all sixteen, soft and hard, are the submitter's", "cat /proc/self/limits", limits_are_same)
row(PLAIN, "ulimit", "ulimit -a and ulimit -aH", "ulimit -a | grep -v 'open files'; ulimit -aH | grep -v 'open files'")
for name, title in zip(LIMITS, ("Max cpu time", "Max file size", "Max data size", "Max stack size", "Max core file size", "Max resident set",
                                "Max processes", "Max open files", "Max locked memory", "Max address space", "Max file locks",
                                "Max pending signals", "Max msgqueue size", "Max nice priority", "Max realtime priority",
                                "Max realtime timeout")):
    row(LOW, f"limit_{name}", f"limits: a lowered {title.removeprefix('Max ')}, soft and hard", "cat /proc/self/limits", lowered_limit(name, title))
row(PLAIN, "umask", "umask 022", "umask; umask -S; : > made-022-$$; stat -c %a made-022-$$; rm made-022-$$")
row(LOW, "umask", "umask 077", "umask; umask -S; : > made-077-$$; stat -c %a made-077-$$; rm made-077-$$")
row(OPEN, "umask", "umask 0", "umask; umask -S; : > made-0-$$; stat -c %a made-0-$$; rm made-0-$$")


# Locale, time and environment


def clock(batch, name):
    def check(guest, _):
        begun, ended = batch.times(name)
        assert int(begun) - 2 <= int(guest) <= ended + 2, (begun, guest, ended)
    return check


for batch, words in ((PLAIN, "C.UTF-8, UTC"), (LOW, "POSIX, a zone of its own rule"), (OPEN, "LC_TIME and LC_NUMERIC, a zone of tzdata")):
    row(batch, "locale", f"locale: {words}", "locale; locale charmap")
    row(batch, "zone", f"time zone: {words}", "date +%Z%z; date -d @1700000000; date -d @1720000000 +%c; echo $TZ")
row(PLAIN, "clock", "date: the host's clock, to two seconds", "date +%s", clock(PLAIN, "clock"))


def environ_of(text):
    entries = base64.b64decode(text).decode(errors="surrogateescape").split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def environment_is(batch, more=()):
    """As the host's login, but for what vTorque sets. What an image's start-up files do is not compared with the host's."""
    def check(guest, host):
        guest, host = environ_of(guest), environ_of(host)
        own = {name for name in guest if name.startswith("PBS_") or name == "ENVIRONMENT"}
        equal(own, PBS | set(more))
        if not SHAPE.startswith("img=host"):
            given = login_environment(batch.given, batch.is_all)
            own |= {name for name in host if name not in OWN and host[name] != given.get(name)}
        guest, host = ({name: value for name, value in side.items() if name not in own} for side in (guest, host))
        equal(sorted(guest), sorted(host))
        equal({name: value for name, value in guest.items() if value != host[name]}, {})
    return check


ENVIRON = "base64 -w0 /proc/self/environ"
row(PLAIN, "env", "env: a login's, the locale, the documented PBS variables and nothing else", ENVIRON, environment_is(PLAIN, {"PBS_O_TZ"}))


def environment_with_all(guest, host):
    text = environ_of(guest)
    equal({name: text.get(name) for name in ODD}, ODD)
    assert "TMPDIR" not in text
    found = dict(environ_of(host))
    equal(found.pop("TMPDIR"), "/tmp/vtt-none")
    environment_is(LOW, {"PBS_O_TZ"})(guest, base64.b64encode("\0".join(f"{name}={value}" for name, value in found.items())
                                                         .encode(errors="surrogateescape")))


row(LOW, "env", "env -V: the submitter's, also with new lines, 60 KiB, bytes, functions; but for a TMPDIR that the guest has not", ENVIRON,
    environment_with_all)


def environment_with_some(guest, host):
    text = environ_of(guest)
    equal((text.pop("GIVEN"), text.pop("ALSO"), text.get("NOT")), ("1 2", "here", None))
    environment_is(OPEN, {"PBS_O_TZ"})(base64.b64encode("\0".join(f"{name}={value}" for name, value in text.items())
                                                  .encode(errors="surrogateescape")), host)


row(OPEN, "env", "env -v: what was named, and no more", ENVIRON, environment_with_some)
row(LOW, "function", "a function that bash exported with -V", "greet", lambda guest, _: equal(guest, "hello from a function\n"))


# Streams, descriptors and signals


row(PLAIN, "tty", "tty: no stream is a terminal", "tty; for fd in 0 1 2; do test -t $fd; echo $?; done")
row(PLAIN, "terminal", "/dev/tty: there is no controlling terminal", "(: < /dev/tty) 2>&1 | sed 's/.*: //'; ps -o tty=,tpgid= -p $$ | tr -s ' '")
row(PLAIN, "descriptors", "descriptors: 0, 1, 2 and no other", "ls /proc/self/fd; ls /proc/$$/fd | grep -v 255")
row(PLAIN, "kinds", "descriptors: 0, 1 and 2 are pipes of 64 KiB that their owner can open by name",
    "for fd in 0 1 2; do readlink /proc/$$/fd/$fd | sed 's/[0-9]*//g'; done; python3 -c 'import fcntl; print([fcntl.fcntl(n, 1032) for n in (0, 1)])'; "
    "cat /dev/stdin; echo through a name > /dev/stdout; echo err > /dev/stderr",
    is_set("pipe:[]\n" * 3 + "[65536, 65536]\nthrough a name\nerr\n"))
row(PLAIN, "signals", "signals: none ignored, blocked, pending or caught", "grep -E '^(Sig(Pnd|Blk|Ign|Cgt)|ShdPnd)' /proc/self/status | cat; cat /proc/self/status | grep ^Sig[BIC]",
    lambda guest, host: equal((set(re.findall(r"Sig(?:Blk|Ign):\t(\w+)", guest)), set(re.findall(r"SigCgt:\t(\w+)", guest)),
                               {int(mask, 16) & ~LIBRARYS for mask in re.findall(r"Sig(?:Blk|Ign):\t(\w+)", host)}),
                              ({"0" * 16}, set(re.findall(r"SigCgt:\t(\w+)", host)), {0})))
row(PLAIN, "traps", "signals: a shell's list of ignored ones is empty", "trap; bash -c trap; sh -c trap")


# Processes


row(PLAIN, "nice", "nice, scheduling policy and timer slack", "nice; chrt -p $$ | sed 's/pid [0-9]*//'; cat /proc/self/timerslack_ns")
row(OPEN, "nice", "nice 5 of the submitter is the virtual machine's; in the guest it is 0", "nice",
    lambda guest, host: equal((guest.strip(), host.strip()), ("0", "5")))
row(PLAIN, "oom", "oom_score_adj is 0 in the guest", "cat /proc/self/oom_score_adj", is_set("0\n"))
row(PLAIN, "processors", "processors: as many as vcpus says, all of them usable",
    "nproc; nproc --all; grep -c ^processor /proc/cpuinfo; grep ^Cpus_allowed_list /proc/self/status | cut -f2", is_set("1\n1\n1\n0\n"))
row(PLAIN, "session", "session and process group: the script leads both", "read -r _ _ _ _ group session _ < /proc/$$/stat; echo $((group - $$)) $((session - $$))")
row(PLAIN, "parent", "the script's parent is the guest's process 1", "echo $PPID", is_set("1\n"))
row(PLAIN, "dollar_0", "$0 is /run/vtorque/script; a login shell", 'echo "$0"; shopt login_shell; echo $-',
    lambda guest, host: equal((guest.split("\n")[0], guest.split("\n")[1:]), ("/run/vtorque/script", host.split("\n")[1:])))
row(PLAIN, "orphans", "orphans: reaped by process 1, no zombie stays",
    "for i in 1 2 3 4 5; do (setsid sh -c \"sleep 0.1 0.0$$ & sleep 0.1 0.0$$ & exit\" &) ; done\n"
    "while pgrep -f \"^sleep 0.1 0.0$$\" > /dev/null; do sleep 0.1; done; ps -eo stat= | grep -c Z", is_set("0\n"))
row(PLAIN, "hundred", "100 processes at once, and none when they were ended",
    "me=$BASHPID; for i in $(seq 100); do sleep 1000 & done\n"  # each is a bash until it executes its program
    "for try in $(seq 100); do count=$(pgrep -c -P $me -x sleep); [ $count = 100 ] && break; sleep 0.1; done; echo $count; kill $(jobs -p); wait 2> /dev/null; pgrep -c -P $BASHPID -x sleep",
    lambda guest, host: equal((guest, host), ("100\n0\n",) * 2))
row(PLAIN, "deaths", "death of a child by each signal that ends one: 128 + N",
    "exec 2> /dev/null; ulimit -c 0; for n in $(seq 1 64); do case $n in 17|18|19|20|21|22|23|28|32|33) continue; esac; "
    "sh -c \"kill -$n \\$\\$\"; echo $n $?; done",
    lambda guest, host: equal((guest, host), ("".join(f"{n} {128 + n}\n" for n in DEADLY),) * 2))
row(PLAIN, "statuses", "exit statuses of children, 0 to 255 and beyond", "for n in 0 1 2 125 126 127 128 254 255 256 -1; do bash -c \"exit $n\"; echo $?; done; "
    "/nowhere/program 2> /dev/null; echo $?; /etc/passwd 2> /dev/null; echo $?")
row(PLAIN, "tstp", "a TSTP that the script sends itself has no effect: its group is orphaned, as a batch system's is",
    "(trap - TSTP; kill -TSTP $BASHPID; echo on)")
row(PLAIN, "sigpipe", "a reader that goes away: SIGPIPE", "yes | head -n 1; echo ${PIPESTATUS[@]}")
row(PLAIN, "processes", "ps: the guest's processes alone", "ps -eo pid=,ppid=,args= | grep -v -e '\\[.*\\]' -e ' ps ' -e grep",
    lambda guest, _: equal([line.split()[2] for line in guest.strip().split("\n")], ["/init", "-bash", "-bash"]))


# Core files


CORE = "mkdir core-$$; cd core-$$; %s; sh -c 'kill -SEGV $$'; echo $?; ls | sed 's/[.][0-9]*$//'; find . -type f -size +0 | wc -l; cd ..; rm -r core-$$"


def core_unlimited(guest, _):
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    last = [line for line in guest.strip().split("\n") if "dumped" not in line and "fault" not in line]
    equal(last, ["139", "core", "1"] if hard else ["139", "0"])


row(PLAIN, "core_0", "core files: none with ulimit -c 0", CORE % "ulimit -c 0",
    lambda guest, host: equal([line for line in guest.split("\n") if "fault" not in line], [line for line in host.split("\n") if "fault" not in line]))
row(PLAIN, "core_unlimited", "core files: `core` in the work directory, the owner's, with ulimit -c unlimited", CORE % "ulimit -S -c $(ulimit -H -c)",
    core_unlimited)


# Arguments


row(LOW, "arguments", "arguments: 1004 words, 45 KiB, every quote", 'echo $#; printf "%s\\0" "$@" | md5sum')


# The machine


row(PLAIN, "host_name", "the host's name is the guest's, in the node file and in HOSTNAME", 'uname -n; cat "$PBS_NODEFILE"; echo $HOSTNAME; cat /proc/sys/kernel/hostname',
    lambda guest, _: equal((len(set(guest.split())), len(guest.split())), (1, 4)))
row(PLAIN, "TMPDIR", "TMPDIR is not set; mktemp uses the guest's /tmp", 'echo "${TMPDIR-unset}"; cd "$(mktemp -d)" && pwd | cut -c 1-5; rmdir "$PWD"')
row(PLAIN, "directory", "the directory in which the script starts", 'pwd; pwd -P; readlink /proc/$$/cwd; echo "$PWD|$OLDPWD"; cd /; cd -')


def writable_mounts(guest, _):
    found = set(guest.split())
    wanted = {"/dev", "/dev/pts", "/dev/shm", "/proc", "/sys", "/run", SITE.work, SITE.user.home}
    wanted |= {"/tmp", "/var/tmp"} if SHAPE.startswith("img=host") else {"/"}
    equal({path for path in found if not path.startswith("/run/vtorque/private/")}, wanted)


row(PLAIN, "mounts", "mounts: what is writable is documented", "while read -r _ place _ flags _; do case $flags in rw,*) echo $place;; esac; done < /proc/self/mounts",
    writable_mounts)
row(PLAIN, "private", "the shares' own trees are closed to everybody but root", "ls /run/vtorque/private > /dev/null 2>&1; echo $?",
    lambda guest, _: equal(guest.strip() != "0", SITE.user.uid != 0))
row(PLAIN, "devices", "/dev: null, zero, full, random, fd and ptmx as everywhere",
    "for d in null zero full random urandom tty ptmx; do stat -L -c '%n %F %a %t:%T' /dev/$d; done | sed 's/666 5:2/666 5:2/'; readlink /dev/fd /dev/stdin",
    lambda guest, host: equal(guest.split("\n")[:6], host.split("\n")[:6]))


# Rows with a guest of their own: streams


SCRIPT_OF_INPUT = "#!/bin/bash\nmd5sum; readlink /proc/$$/fd/0 | sed 's/[0-9]*//g' >&2; exit 3\n"


def stdin_row(name, what):
    """What a script reads of an input that `opened` gives, beside the host."""
    def decorate(opened):
        def test():
            path = new_script(f"input-{name}", SCRIPT_OF_INPUT)
            with opened() as given:
                guest = in_guest(path, input=given) if isinstance(given, bytes) else run_with(path, given)
            with opened() as given:
                host = on_host(path, home=f"{SITE.work}/home", stdin=given)
            equal((guest[0], guest[1]), host[:2])
            equal(guest[2], b"pipe:[]\n")
        test.__name__, test.__doc__ = f"stdin_{name}", what
        ROWS.append(test)
        return test
    return decorate


def run_with(path, stdin, **options):
    """vsub to its end with a standard input of its own."""
    process = SITE.start("--local", "-S", "/bin/bash", "-vm", SHAPE, "-v", f"HOME={SITE.work}/home", path, stdin=stdin, **options)
    out, err = process.communicate(timeout=DEADLINE * 2)
    return process.returncode, out, err


class Bytes:
    def __init__(self, data):
        self.data = data

    def __enter__(self):
        return self.data

    def __exit__(self, *_):
        pass


DATA = bytes(range(256)) * 1025  # more than a pipe holds, not a multiple of any buffer


@stdin_row("pipe", "stdin from a pipe: every byte and its end")
def _stdin_pipe():
    return Bytes(DATA)


@stdin_row("file", "stdin from a file: every byte and its end, as a pipe")
def _stdin_file():
    path = new_script("data", DATA)
    return open(path, "rb")


@stdin_row("null", "stdin from /dev/null: its end at once")
def _stdin_null():
    return open("/dev/null", "rb")


def stdin_closed():
    """stdin closed: an empty one in the guest"""
    path = new_script("closed", "#!/bin/bash\ncat; echo $?\n")
    equal(in_guest(path, through=shell_through("exec <&-")), (0, b"0\n", b""))


def outputs_closed():
    """stdout or stderr closed: what is written there is lost, and vsub says so where it can"""
    path = new_script("outputs", "#!/bin/bash\necho out; echo err >&2; exit 4\n")
    status, out, err = in_guest(path, through=shell_through("exec >&-"))
    equal((status, out, sorted(err.splitlines())), (4, b"", [b"err", b"vsub: cannot write stdout: Bad file descriptor"]))
    equal(in_guest(path, through=shell_through("exec 2>&-")), (4, b"out\n", b""))


def no_terminal():
    """a parent without a terminal, in a session of its own: the same"""
    path = new_script("session", "#!/bin/bash\ntty; cat; exit 5\n")
    equal(in_guest(path, through=("setsid", "--wait"), input=b"in\n"), (5, b"not a tty\nin\n", b""))


def outputs_are_files():
    """stdout and stderr as files: appended where they stood"""
    path = new_script("files", "#!/bin/bash\necho out; echo err >&2\n")
    for name in ("file-out", "file-err"):
        new_script(name, "before\n")
    with open(f"{SITE.work}/file-out", "ab") as out, open(f"{SITE.work}/file-err", "ab") as err:
        equal(run_with(path, subprocess.DEVNULL, stdout=out, stderr=err)[0], 0)
    for name, text in (("file-out", "before\nout\n"), ("file-err", "before\nerr\n")):
        with open(f"{SITE.work}/{name}", encoding="ascii") as file:
            equal(file.read(), text)


# Login shells


STARTUP = {"bash": (".bash_profile", "export FROM=bash_profile\nset_by_profile=yes\n"), "sh": (".profile", "export FROM=profile\n"),
           "zsh": (".zprofile", "export FROM=zprofile\n"), "tcsh": (".login", "setenv FROM login\n")}
ASKED = {"bash": 'echo "$FROM|$set_by_profile|$BASH|$0|$#|$1|$SHLVL|$IFS|$-"; shopt login_shell; exit 11\n',
         "sh": 'echo "$FROM|$0|$#|$1|$IFS|$-|$PPID" | sed "s/|[0-9]*$//"; exit 12\n',
         "zsh": 'echo "$FROM|$ZSH_NAME|$#|$1|$options[login]|$SHLVL"; exit 13\n',
         "tcsh": 'echo "$FROM|$0|$#argv|$argv[1]|$?loginsh|$shell"; exit 14\n'}


def login_shell(name):
    """The start-up file counts, the shell's own variables are its own, and so is the status."""
    home = SITE.make_folder(f"work/home-{name}")
    file, text = STARTUP[name]
    with open(f"{home}/{file}", "w", encoding="ascii") as startup:
        startup.write(text)
    os.chown(f"{home}/{file}", SITE.user.uid, SITE.user.gid)
    path = new_script(f"login-{name}", ASKED[name])
    shell = shutil.which(name)
    if name == "tcsh":
        words = [shell, "-tcsh", "-c", "exec $argv:q", shell, path, "one two"]
    else:
        words = login_words(path, shell, ("one two",))
    guest = in_guest("-F", "'one two'", "-v", f"HOME={home}", path, shell=shell, home=False)
    host = on_host(path, words, home=home)
    out = host[1].replace(path.encode(), b"/run/vtorque/script")
    equal((guest.status, guest.out, guest.err), (host[0], out, host[2]))
    assert guest.status > 10 and STARTUP[name][0].split(".")[1].encode() in guest.out, guest


def login_bash():
    """login shell bash: its start-up file, its variables, its status, $0"""
    login_shell("bash")


def login_sh():
    """login shell sh: the same"""
    login_shell("sh")


def login_zsh():
    """login shell zsh: the same"""
    login_shell("zsh")


def login_tcsh():
    """login shell tcsh: the same"""
    login_shell("tcsh")


# Ends


def exit_255():
    """exit 255 and exit -1"""
    both("exit-255", "#!/bin/bash\necho out\nexit -1\n")


def no_interpreter():
    """#! of a program that is not there: the shell's 126 or 127, and its message"""
    path = new_script("no-interpreter", "#!/nowhere/shell\n")
    text = f'exec "$0" "$@"'
    guest = SITE.vsub("--local", "-vm", SHAPE, "-v", f"HOME={SITE.work}/home", path)
    shell = pwd.getpwuid(SITE.user.uid).pw_shell
    host = on_host(path, [shell, f"-{os.path.basename(shell)}", "-c", text, path], home=f"{SITE.work}/home")
    equal((guest.status, guest.out, guest.err.replace(b"/run/vtorque/script", path.encode())), host)


def death(number):
    path = new_script(f"death-{number}", f"#!/bin/bash\nulimit -S -c 0\nkill -{number} $$\nsleep 1000\n")
    report = f"{SITE.work}/report-{number}"
    guest = in_guest("--report", report, path)
    host = on_host(path, home=f"{SITE.work}/home")
    with open(report, encoding="ascii") as file:
        text = file.read()
    equal((guest.status, host[0]), (128 + number, -number))
    assert re.search(rf'"signal": {number}\b', text) and '"outcome": "done"' in text, text


def death_hup():
    """death by HUP: 129, and the report's signal; the host's shell says the same"""
    death(signal.SIGHUP)


def death_kill():
    """death by KILL: 137"""
    death(signal.SIGKILL)


def death_segv():
    """death by SEGV: 139"""
    death(signal.SIGSEGV)


def death_last():
    """death by the last real-time signal: 192"""
    death(signal.SIGRTMAX)


def background():
    """a background process of another session that holds all streams does not delay the end"""
    path = new_script("background", "#!/bin/bash\nsetsid sleep 100000 &\nsleep 100000 &\necho end; exit 6\n")
    equal(in_guest(path), (6, b"end\n", b""))


# Signals from outside


class Job:
    """A job under way."""

    def __init__(self, name, text, *words, **options):
        self.path = new_script(name, text)
        self.vsub = SITE.start("--local", "-S", "/bin/bash", "-vm", SHAPE, "-v", f"HOME={SITE.work}/home", *words, self.path,
                               **{"stdin": subprocess.PIPE, **options})
        self.out, self.err = Reader(self.vsub.stdout), Reader(self.vsub.stderr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.vsub.poll() is None:
            self.vsub.kill()
        self.vsub.wait()
        self.out.join(DEADLINE)
        self.err.join(DEADLINE)
        for stream in (self.vsub.stdin, self.vsub.stdout, self.vsub.stderr):
            if stream:
                stream.close()

    def say(self, line):
        self.vsub.stdin.write(line)
        self.vsub.stdin.flush()

    def finish(self):
        status = self.vsub.wait(DEADLINE)
        self.out.join(DEADLINE)
        self.err.join(DEADLINE)
        return status, self.out.data, self.err.data


# A process of another session tells what the script's is: the script itself cannot, once it is stopped.
WATCHED = """#!/bin/bash
setsid bash -c 'echo up; while read -r _ _ state _ < /proc/'$$'/stat; do [ $state = T ] && : > stopped; sleep 0.05; done' &
read -r line
echo $line
"""


def stop_without_trap():
    """Control-Z (TSTP) stops a script that has no trap for it, as in a shell; CONT lets it go on"""
    with Job("stop", WATCHED) as job:
        job.out.wait_text(b"up\n")
        job.vsub.send_signal(signal.SIGTSTP)
        equal(os.WIFSTOPPED(os.waitpid(job.vsub.pid, os.WUNTRACED)[1]), True)
        wait_for(lambda: os.path.exists(f"{SITE.work}/stopped"), "the script's stop")
        job.vsub.send_signal(signal.SIGCONT)
        job.say(b"went on\n")
        equal(job.finish(), (0, b"up\nwent on\n", b""))
    os.unlink(f"{SITE.work}/stopped")


def ignored_signals():
    """what the submitter ignores (nohup; INT of a script's background jobs) does not reach the script"""
    with Job("ignored", "#!/bin/bash\ntrap 'echo USR1; exit 6' USR1\necho up\nread -r line\n",
             through=shell_through("trap '' HUP INT QUIT")) as job:
        job.out.wait_text(b"up\n")
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGINT, signal.SIGUSR1):  # in this order to vsub too
            job.vsub.send_signal(number)
        equal(job.finish(), (6, b"up\nUSR1\n", b""))


# The leader of a terminal's session: starts its arguments in the background, tells the pid, stays in the foreground itself until
# it may hand the terminal over.
LEADER = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = subprocess.Popen(sys.argv[1:], process_group=0, stdout=3, stderr=4) if sys.version_info >= (3, 11) else \\
    subprocess.Popen(sys.argv[1:], preexec_fn=lambda: os.setpgid(0, 0), stdout=3, stderr=4)
os.write(5, b"%d\\n" % child.pid)
os.read(6, 1)
os.tcsetpgrp(0, child.pid)
sys.exit(child.wait())
"""


def background_of_a_terminal():
    """a job in the background of a terminal is not stopped by what is typed to another, and reads once it is in the foreground"""
    path = new_script("typed", "#!/bin/bash\necho up\nread -r line\necho \"got $line\"\nexit 7\n")
    master, slave = pty.openpty()
    pipes = [os.pipe() for _ in range(4)]
    out, err, pid, go = pipes
    descriptors = {3: out[1], 4: err[1], 5: pid[1], 6: go[0]}
    shift = "; ".join(f"os.dup2({source}, {target})" for target, source in descriptors.items())
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in descriptors.values()]
    shift = "; ".join(f"os.dup2({fd}, {number})" for fd, number in zip(high, descriptors))
    begin = f"import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {shift}\n"
    leader = subprocess.Popen([*SITE.user.prefix(), "/usr/bin/python3", "-c", begin + LEADER, f"{SITE.bin}/vsub", "--local", "-S", "/bin/bash", "-vm", SHAPE,
                               "-v", f"HOME={SITE.work}/home", path], stdin=slave, stdout=slave, stderr=slave, cwd=SITE.work,
                              env=SITE.environment(), start_new_session=True, pass_fds=high)
    for fd in (*high, *descriptors.values(), slave):
        os.close(fd)
    try:
        vsub = int(os.read(pid[0], 32))
        reader, errors = Reader(os.fdopen(out[0], "rb")), Reader(os.fdopen(err[0], "rb"))
        reader.wait_text(b"up\n")
        os.write(master, b"typed early\n")
        state = None
        for _ in range(10):  # long enough for several looks
            time.sleep(0.1)
            state = read_process(vsub).state
            assert state != "T", "vsub was stopped"
        os.write(go[1], b"x")
        reader.wait_text(b"got typed early\n")
        equal(leader.wait(DEADLINE), 7)
    finally:
        leader.kill()
        leader.wait()
        for fd in (master, pid[0], go[1]):
            os.close(fd)


# Limits that would take from vsub what it needs


def small_stack():
    """a soft stack of 64 KiB is the script's alone"""
    path = new_script("stack", "#!/bin/sh\nulimit -S -s; ulimit -H -s\n")
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    wanted = "unlimited" if hard == resource.RLIM_INFINITY else str(hard // 1024)
    equal(in_guest(path, shell="/bin/sh", through=shell_through("ulimit -S -s 64")), (0, f"64\n{wanted}\n".encode(), b""))


def may_raise_limits():
    """CAP_SYS_RESOURCE, which root may lack in a container."""
    with open("/proc/self/status", encoding="ascii") as file:
        return SITE.user.uid == 0 and int(re.search(r"CapEff:\s*(\w+)", file.read())[1], 16) & 1 << 24


def small_hard_stack():
    """a hard stack of 64 KiB: the script's with root, who may raise it for vsub; else refused by name"""
    path = new_script("hard-stack", "#!/bin/sh\nulimit -S -s; ulimit -H -s\n")
    result = in_guest(path, shell="/bin/sh", through=shell_through("ulimit -s 64"))
    wanted = (125, b"", b"vsub: the hard limit of the stack (ulimit -Hs) must be at least 1024 KiB\n")
    if may_raise_limits():
        wanted = (0, b"64\n64\n", b"")
    equal(result, wanted)


def small_files():
    """a hard limit of file sizes below the RAM is refused by name"""
    path = new_script("file-size", "#!/bin/sh\nulimit -f\n")
    result = in_guest(path, shell="/bin/sh", through=shell_through("ulimit -f 1000"))
    equal(result, (125, b"", b"vsub: the hard limit of file sizes (ulimit -Hf) must be at least the RAM of the virtual machine, 512 MiB\n"))


# Scripts


def refused(name, text, message):
    path = new_script(name, text)
    inventory = Inventory(SITE)
    result = in_guest(path)
    equal((result.status, result.out, result.err), (2, b"", f"vsub: {message}\n".encode()))
    inventory.check()


def nul_in_script():
    """a script with a NUL byte is refused, by file and by standard input"""
    text = "#!/bin/bash\necho one\0two\n"
    refused("refused-nul", text, f"script '{SITE.work}/refused-nul' is no text: byte 21 of it is NUL")
    equal(in_guest(input=text), (2, b"", b"vsub: script on standard input is no text: byte 21 of it is NUL\n"))


def program_as_script():
    """a compiled program as script is refused; a shell refuses it too"""
    with open("/bin/true", "rb") as file:
        data = file.read()
    refused("refused-program", data, f"script '{SITE.work}/refused-program' is no text: byte {data.index(0) + 1} of it is NUL")
    status, _, err = on_host(f"{SITE.work}/refused-program", home=f"{SITE.work}/home")
    equal((status, b"cannot execute binary file" in err), (126, True))


def arguments_64_kib():
    """arguments of 64 KiB: one word of 65535 bytes, and many"""
    text = '#!/bin/bash\necho $# ${#1}; printf "%s\\0" "$@" | md5sum\n'
    words = ["y" * 65535] + ["z" * 100] * 300
    guest = in_guest("-F", " ".join(words), new_script("arguments", text))
    digest = hashlib.md5("".join(word + "\0" for word in words).encode()).hexdigest()
    equal(guest, (0, f"301 65535\n{digest}  -\n".encode(), b""))


def arguments_beyond():
    """more arguments than there is room for are refused by name"""
    path = new_script("beyond", "#!/bin/sh\n")
    for words in ("x" * 65536, "x " * 2049):
        equal(in_guest("-F", words, path),
              (2, b"", b"vsub: command line: -F has more than 2048 words, 262144 bytes, or 65535 bytes in a word\n"))


def long_lines():
    """lines of a megabyte, and no new line at the end"""
    both("long", "#!/bin/bash\n: " + "x" * (1 << 20) + "\nv='" + "y" * (1 << 20) + "'\necho ${#v}\nprintf %s end")


def carriage_returns():
    """CR LF ends of lines become LF, with one note; the host's shell would stumble"""
    text = "#!/bin/bash\r\nif true\r\nthen echo \"a|b\"\r\nfi\r\nexit 8\r\n"
    path = new_script("returns", text)
    equal(in_guest(path), (8, b"a|b\n", b"vsub: note: the script's CR LF line ends became LF\n"))
    assert on_host(path, home=f"{SITE.work}/home")[0] != 8


def odd_names():
    """a directory and a script with blanks, quotes, wildcards, a new line and letters of UTF-8"""
    folder = SITE.make_folder("work/ a'b\"c$d`e\\f*g?h[i]\n;j&k \u00e4\u20ac\U0001f600 ")
    path = f"{folder}/ s'c\"r $i p*t\u00fc "
    with open(path, "w", encoding="utf-8") as file:
        file.write('#!/bin/bash\npwd; echo "$PBS_O_WORKDIR"; echo "$PBS_JOBNAME"; echo x > "\u00f6 $1"; ls -Q\n')
    os.chmod(path, 0o755)
    result = in_guest("-F", "'ar g'", f"./{os.path.basename(path)}", cwd=folder)
    equal((result.status, result.err), (0, b""))
    text = result.out.decode()
    assert text.startswith(f"{folder}\n{folder}\n_s'c\"r_$i_p*t\u00fc_\n"), text
    equal(os.path.exists(f"{folder}/\u00f6 ar g"), True)


def deep_directory():
    """a directory of 3900 bytes, 40 levels deep"""
    base = SITE.make_folder("work/deep")
    size = (3900 - len(base)) // 40
    path = base
    for _ in range(40):
        path += "/" + "d" * (size - 1)
        os.mkdir(path)
        os.chown(path, SITE.user.uid, SITE.user.gid)
    result = in_guest(input="pwd; echo x > here; cat here\n", cwd=path)
    equal(result, (0, f"{path}\nx\n".encode(), b""))
    equal(os.path.exists(f"{path}/here"), True)


TESTS = (*ROWS, stdin_closed, outputs_closed, no_terminal, outputs_are_files, login_bash, login_sh, login_zsh, login_tcsh, exit_255, no_interpreter,
         death_hup, death_kill, death_segv, death_last, background, stop_without_trap, ignored_signals, background_of_a_terminal, small_stack,
         small_hard_stack, small_files, nul_in_script, program_as_script, arguments_64_kib, arguments_beyond, long_lines, carriage_returns,
         odd_names, deep_directory)


def use(site, shape=SHAPE):
    """Before any test: where they run, and in which guest."""
    global SITE, SHAPE
    SITE, SHAPE = site, shape
    site.make_folder("work/home")


if __name__ == "__main__":
    with Site() as site:
        use(site)
        run_tests(TESTS)

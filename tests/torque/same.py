#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The same script by qsub on bare metal and by vsub in a virtual machine (img=host): what its user has of both. Speaks TAP.

Compared are the exit status and every file of the submit folder, byte for byte and with its mode: what the batch system delivers
and what the script makes. What cannot be the same is written as one word in both (`plain`); what differs and is documented
(doc/user.md, "What differs from bare metal") stands with its row. Two rows at a time, each with one guest.
"""

import os
import re
import shutil
import socket
import subprocess
import sys

from bed import SERVER_NAME, TemporaryUser, equal
from lib import run_tests
from vtorque import on_bed

BED = VT = None
CONFIG = "$check_poll_time 1\n$prologalarm 300\n$jobstartblocktime 0\n"
VM = "img=host,ram=384M,vcpus=1"
JOB_END = 1200  # seconds: no figure of anybody's; a busy machine takes its time


class Submitter:
    """One way to submit, in one folder of a user's."""

    def __init__(self, folder, user, *command):
        self.folder, self.user, self.command, self.ids = folder, user, command, []

    def __call__(self, script, *words, input=b"", shown=True, **environment):
        """A script (None: the one on standard input) is submitted; its job's id."""
        path = []
        if script is not None:
            path = [f"{self.folder}/job"]
            with open(path[0], "wb") as file:
                file.write(script.encode() if isinstance(script, str) else script)
            os.chmod(path[0], 0o644)
        done = BED.run(*self.command, *words, *path, input=input, user=self.user, cwd=self.folder,
                       env={**self.user.environment(), "PATH": f"{BED.prefix}/bin:{self.user.environment()['PATH']}", **environment})
        for name in path:
            os.unlink(name)
        equal((done.status, done.err), (0, b""), f"{self.command} {words}")
        self.ids.append(done.out.decode().strip())
        return self.ids[-1]

    def wait(self, job_id, indices=(None,)):
        """Exit statuses; of an array each one's."""
        number, _, rest = job_id.partition("[]")
        names = [job_id if index is None else f"{number}[{index}]{rest}" for index in indices]
        return [BED.wait(name, seconds=JOB_END).get("exit_status") for name in names]

    def plain(self, data):
        """Without what is each job's own: its number, and where its script lies. A user's name may look as if it had one."""
        data = data.replace(self.user.name.encode(), b"USER")
        for job_id in self.ids:
            number = re.match(r"\d+", job_id)[0]
            data = re.sub(rb"/[\w./-]*/mom_priv/jobs/%b\S*\.SC" % number.encode(), b"SCRIPT", data)
            data = re.sub(rb"(?<![0-9])%b(?=[.\[-])" % number.encode(), b"N", data)
        data = data.replace(b"/run/vtorque/script", b"SCRIPT").replace(f"N.{SERVER_NAME}".encode(), b"N.vm")
        return re.sub(rb"(line \d+:) +\d+ ", rb"\1 PID ", data)

    def files(self):
        """What is in the folder: mode and content by name."""
        found = {}
        for place, _, names in os.walk(self.folder):
            for name in names:
                path = f"{place}/{name}"
                with open(path, "rb") as file:
                    data = file.read()
                name = re.sub(r"(\.[oe])\d+", r"\1N", self.plain(os.path.relpath(path, self.folder).encode()).decode())
                found[name] = (oct(os.stat(path).st_mode & 0o7777), os.stat(path).st_uid == self.user.uid, self.plain(data))
        return found


def outcome(name, user, case, *command):
    """What a case comes to, in a folder that is the same both times: its own result, and the files."""
    folder = f"{user.home}/same-{name}"
    os.mkdir(folder)
    os.chown(folder, user.uid, user.gid)
    submitter = Submitter(folder, user, *command)
    try:
        return case(submitter), submitter.files()
    finally:
        shutil.rmtree(folder)


def differences(bare, vm):
    """The files that are not the same, as text."""
    rows = []
    for name in sorted(bare.keys() | vm.keys()):
        if bare.get(name) != vm.get(name):
            rows += [f"{name}:", f"  bare {short(bare.get(name))}", f"  vm   {short(vm.get(name))}"]
    return "\n".join(rows)


def short(value):
    text = repr(value)
    return text if len(text) < 3000 else f"{text[:1500]} ... {text[-300:]}"


def compare(name, case, known=lambda files: files, bare=None, user=None):
    """Both ways. `known` takes out what is documented to differ; `bare` stands in for qsub."""
    user = user or BED.user
    first = bare() if bare else outcome(name, user, case, "qsub")
    second = outcome(name, user, case, f"{VT.site.bin}/vsub", "-vm", VM)
    equal(second[0], first[0], "exit status, bare and vm:")
    text = differences(known(first[1]), known(second[1]))
    assert not text, f"not the same\n{text}"
    return first


def row(name, text, status, script, *words, known=lambda files: files, names=("job.eN", "job.oN"), **environment):
    """A test of one script and one job. What bare metal makes of it is held to `status` and `names`, or both could be wrong."""
    def test():
        statuses, files = compare(name, lambda submit: submit.wait(submit(script, *words, **environment)), known)
        equal((statuses, sorted(files)), ([str(status)], sorted(names)))
    test.__name__, test.__doc__ = name, text
    return test


def change(files, name, *pairs):
    """The files, with patterns of one replaced."""
    mode, is_users, data = files[name]
    for pattern, text in pairs:
        data = re.sub(pattern, text, data)
    return {**files, name: (mode, is_users, data)}


# Interpreters


SH = """#!/bin/sh
echo "$# words: [$1] [$2] [$3] [$4]"; echo "error output" >&2
cat; echo "input is over: $?"; echo "$0"
printf 'no line end'; exit 3"""

BASH = """#!/bin/bash
trap 'echo "the end, $?"' EXIT
a=(one 'two  three' $'\\t'); declare -A b=([k]=v); false | true; echo "${PIPESTATUS[@]} ${#a[@]} ${b[k]} $- $SHELLOPTS $BASHOPTS"
shopt -q login_shell; echo "login $?"; cat <(echo substituted); echo "$BASH_SOURCE $LINENO ${FUNCNAME[0]}"
id; pwd; umask; tty; nice
for letter in c d e f l m n q r s t u v x; do echo "$letter $(ulimit -S$letter) $(ulimit -H$letter)"; done
awk '$1 ~ /^Sig(Ign|Blk|Pnd)/' /proc/self/status; ls /proc/self/fd | wc -l
yes | head -n 1
exit 255
"""


def known_bash(files):
    """On bare metal PIPE is ignored (so `yes` tells), and descriptors of pbs_mom are open. Signals 32 and 33, which a starter with
    another C library leaves ignored, are nobody's to take back."""
    return change(change(files, "job.eN", (rb"yes: standard output: Broken pipe\n", b"")), "job.oN",
                  (rb"SigIgn:\t0{7}[01][08]000[01]000\n\d+\n", b""))


LOGIN_SHELL = """
echo "$0 $# $- ${BASH_VERSION%%.*}" "$@"; shopt -q login_shell; echo "login $?"
f() { return 4; }
sleep 1000 &
f
"""

PYTHON = """#!/usr/bin/python3
import os, sys
for name in sorted(os.environ): print(name, repr(os.environ[name]))
print(sys.argv[1:], os.getcwd() == os.environ["HOME"], oct(os.umask(0o77)), sys.stdout.encoding, "\\u00e4\\u2713")
print(sys.flags.isolated, sys.stdin.read().encode(), os.path.basename(sys.executable), file=sys.stderr)
with open(os.path.join(os.environ["PBS_O_WORKDIR"], "made"), "w") as file: file.write("from python\\n")
sys.exit("a message")
"""


def known_python(files):
    """Variables of the shell itself, and how many machines there are; the cookie is a random number; start-up files are read twice, so that what they put in front of a
    list stands in it twice."""
    def once(match):
        return b":".join(dict.fromkeys(match[0].split(b":")))
    return change(files, "job.oN", (rb"(?m)^(HOSTNAME|SHLVL|_|PBS_JOBCOOKIE|PBS_VMS_PN) .*\n", b""), (rb"(?<=')[^'\n]*:[^'\n]*(?=')", once))


PERL = """#!/usr/bin/perl -w
use strict; my @list = map { $_ * 2 } grep { $_ & 1 } 1 .. 9; print "@list @ARGV\\n"; print STDERR "warned\\n";
my %h = (a => 1); print $h{b} . "x\\n"; print map { "[$ENV{$_}]\\n" } "A" .. "F"; mkdir "$ENV{PBS_O_WORKDIR}/to"; exit 12;
"""

TCSH = """#!/bin/tcsh -f
set list = (one "two  three"); @ n = $#list + 1; echo $n $list[2]:q $#argv $0
foreach word ($argv:q)
  echo "<$word>"
end
sh -c 'echo error output >&2'; exit 9
"""

TCSH_WITHOUT = """# a script of tcsh, by -S alone
set list = (a b c); echo $#list $#argv:q $?loginsh
if ($?tcsh) echo tcsh
exit 8
"""

EIGHT_BITS = bytes(byte for byte in range(1, 256) if byte != 13)


def large():
    """a script of more than 65,536 bytes, which qsub cuts: as bash runs it"""
    script = "#!/bin/bash\n" + "".join(f": {n:0100}\n" for n in range(900)) + "cksum < $0; echo error output >&2; exit 6\n"

    def by_bash():
        path = BED.script(script, "large")
        done = subprocess.run([*BED.user.prefix(), "/bin/bash", path], capture_output=True, check=False)
        return [str(done.returncode)], {"job.oN": ("0o600", True, done.stdout), "job.eN": ("0o600", True, done.stderr)}
    compare("large", lambda submit: submit.wait(submit(script)), bare=by_bash)


def tcsh_login():
    """tcsh, for a user whose login shell that is, too; words"""
    with TemporaryUser() as user:
        subprocess.run(["usermod", "--shell", "/bin/tcsh", user.name], check=True)
        statuses, _ = compare("tcsh_login", lambda submit: submit.wait(submit(TCSH, "-F", "a 'b  c'")), quiet_tcsh, user=user)
    equal(statuses, ["9"])


def quiet_tcsh(files):
    """On bare metal tcsh reads the script's path as from a terminal, and finds none."""
    return change(files, "job.oN", (rb"Warning: no access to tty .*\nThus no job control in this shell.\n", b""))


# Ways to submit


FILES = """#!/bin/bash
#PBS -N from.stdin -j n
#PBS -e errors

# PBS
cd $PBS_O_WORKDIR; umask; echo plain > plain; mkdir -p a/b; echo '#!/bin/sh' > a/b/run; chmod 751 a/b/run; ln plain hard; ln -s plain soft
#PBS -N late
umask 027; : > masked; t=$(mktemp); echo kept > $t; cat $t; rm $t; echo ${TMPDIR-none}
echo at home > ~/at-home; cat ~/at-home; rm ~/at-home; stat -c '%a %s %h %F %U' plain a/b/run soft masked
sort $PBS_NODEFILE | uniq -c | awk '{ print $1 }'; echo $PBS_JOBNAME >&2; exit 2
"""


def from_stdin():
    """a script on standard input, with directives; it makes files in submit folder, home and $TMPDIR; -W umask"""
    statuses, files = compare("stdin", lambda submit: submit.wait(submit(None, "-W", "umask=022", input=FILES)))
    equal((statuses, sorted(files)), (["2"], ["a/b/run", "errors", "from.stdin.oN", "hard", "masked", "plain", "soft"]))


def array():
    """an array of three, one at a time: each its own index, name, status and files; the last has a mistake in its script"""
    script = "#!/bin/bash\necho $PBS_ARRAYID $PBS_JOBNAME $PBS_JOBID; echo $PBS_ARRAYID >> $PBS_O_WORKDIR/order\n" \
             "if [ $PBS_ARRAYID != 2 ]; then exit $PBS_ARRAYID; fi\nif true; then\n"
    statuses, files = compare("array", lambda submit: submit.wait(submit(script, "-N", "a", "-t", "0-2%1"), range(3)))
    equal((statuses, files["order"][2], len(files)), (["0", "1", "2"], b"0\n1\n2\n", 7))


def depends():
    """-h, qrls; depend=afterok runs when the first has ended well, afternotok never"""
    def case(submit):
        script = "#!/bin/sh\necho $PBS_JOBNAME | tee -a $PBS_O_WORKDIR/order\n"
        first = submit(script, "-h", "-N", "first")
        second = submit(script, "-N", "second", "-W", f"depend=afterok:{first}")
        third = submit(script, "-N", "third", "-W", f"depend=afternotok:{first}")
        states = [BED.job(job_id)["job_state"] for job_id in (first, second, third)]
        BED.run("qrls", first)
        return states, [submit.wait(job_id) for job_id in (first, second, third)]
    result, files = compare("depends", case)
    equal((result, files["order"][2], "third.oN" in files), ((["H", "H", "H"], [["0"], ["0"], ["271"]]), b"first\nsecond\n", False))


# Output


STREAMS = """#!/bin/bash
printf -v line '%08000d' 7
for ((n = 0; n < 400; n++)); do echo "$n $line"; echo "$n $line" >&2; done
"""

JOINED = """#!/bin/bash
for ((n = 0; n < 300; n++)); do echo "out $n"; echo "err $n" >&2; done
sh -c 'echo last; echo of all >&2'; kill -SEGV $$
"""


def known_interpreter(files):
    """The shell's own name in its message."""
    return change(files, "job.eN", (rb"^(-bash|SCRIPT): line 1", b"SHELL"))


TESTS = (
    row("sh", "sh: words by -F, input, no final line end", 3, SH, "-F", "one \"two  three\" 'four $HOME' $HOME"),
    row("bash", "bash: a trap, status 255; user, folder, limits, signals, descriptors", 255, BASH, known=known_bash),
    row("login_shell", "no #!: the login shell runs it; a process that is left in the background, with the job's streams", 4, LOGIN_SHELL, "-F", "a 'b  c'"),
    row("python", "python3: all variables, -V; 8-bit output, a file, a message", 1, PYTHON, "-V", "-F", "a 'b c'", known=known_python,
        names=("job.eN", "job.oN", "made"), PER_CENT="100 %"),
    row("perl", "perl with an option; -v with quotes, commas, blanks, line ends; -o and -e with a path of the job's", 12, PERL, "-F", "x",
        "-v", "A=1,B=x y,C,D=a\\,b=c,E=\"q,F=", "-o", "out.$PBS_JOBNAME.$PBS_JOBID", "-e", "to/err",
        names=(f"out.job.N.{socket.gethostname()}", "to/err"), C="of the\nsubmitter"),
    row("many_words", "#! with many words, by env -S", 1, "#!/usr/bin/env -S bash -e -u\necho $-; echo ${none-unset}; false; echo never\n"),
    tcsh_login,
    row("tcsh_by_S", "-S /bin/tcsh, no #!", 8, TCSH_WITHOUT, "-S", "/bin/tcsh", known=quiet_tcsh),
    row("binary_tail", "8-bit bytes behind exit, no line end; the script is what was submitted", 5, b"#!/bin/sh\ncksum < $0\nexit 5\n" + b"#" * 50 + EIGHT_BITS * 9),
    large, from_stdin, array, depends,
    row("streams", "3 MB on each stream, in turn", 0, STREAMS),
    row("joined", "-j oe: both streams in the order in which they were written; death by a signal", 139, JOINED, "-j", "oe", names=["job.oN"]),
    row("interpreter", "an interpreter that is not there", 127, "#!/no/such/interpreter\necho never\n", known=known_interpreter),
)


def nothing_left():
    """after all of them nothing is left"""
    equal(VT.left(30), [])


if __name__ == "__main__":
    with on_bed(config=CONFIG) as (BED, VT):
        run_tests(TESTS, alone=(nothing_left,), jobs=2)

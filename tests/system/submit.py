#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vsub where there is a Torque: what qsub is started with, to the byte. A recording stub is in qsub's place; no guest runs.

vsub is copied beside a settings file and a vtorque-run of the test's own; root runs it as an ordinary user, as Torque demands.
"""

import base64
import glob
import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time

from lib import BUILD, equal, run_tests

NOBODY = 65534
SITE = """BATCH=torque
VM_CHANNEL=gres
HOST_OS_CORE_COUNT=0
PBS_EXCLUSIVE_NODE_ALLOC=false
"""
TINY = ("-vm", "img=tiny")
WORD = re.compile(rb"vtorque:([A-Za-z0-9_-]+)")


class Place:
    """A folder with vsub, its settings, a home and the stub's records."""

    def __init__(self, site=SITE, more=""):
        self.top = tempfile.mkdtemp(prefix="vtt-submit-")
        for name in ("bin", "etc", "home", "record", "work"):
            os.mkdir(f"{self.top}/{name}")
        shutil.copy(f"{BUILD}/bin/vsub", f"{self.top}/bin/vsub")
        shutil.copy(f"{BUILD}/tests/system/qsub-stub", f"{self.top}/qsub")
        self.write("bin/vtorque-run", b"#!/bin/sh\nexit 9\n", 0o755)
        self.write("etc/vtorque.conf", f"{site}{more}PBS_QSUB_ON_FE={self.top}/qsub\n".encode())
        self.env = {"PATH": "/usr/bin:/bin", "HOME": f"{self.top}/home", "QSUB_FOLDER": f"{self.top}/record", "ODD": "a\nb\xe9"}
        self.own()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.top)

    def own(self):
        for folder, _, names in os.walk(self.top):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                if os.getuid() == 0:
                    os.chown(path, NOBODY, NOBODY)

    def write(self, name, data, mode=0o644):
        path = f"{self.top}/{name}"
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)
        return path

    def script(self, data, name="job.sh"):
        self.write(f"work/{name}", data)
        self.own()

    def run(self, *words, stdin=None, env=None, file=None):
        """(status, stdout, stderr) of vsub; what the stub recorded is in self.argv and so on, None if it was not started."""
        for path in glob.glob(f"{self.top}/record/*"):
            os.unlink(path)
        prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.getuid() == 0 else []
        source = {"stdin": file} if file else {"input": stdin or b""}
        done = subprocess.run([*prefix, f"{self.top}/bin/vsub", *words], cwd=f"{self.top}/work", env={**self.env, **(env or {})},
                              capture_output=True, check=False, timeout=60, **source)
        self.argv, self.environ, self.stdin = (self.read(name) for name in ("argv", "env", "stdin"))
        return done.returncode, done.stdout, done.stderr

    def read(self, name):
        path = f"{self.top}/record/{name}"
        if not os.path.exists(path):
            return None
        with open(path, "rb") as file:
            data = file.read()
        return data if name == "stdin" else data.split(b"\0")[:-1]

    def good(self, *words, **options):
        status, out, err = self.run(*words, **options)
        equal((status, out), (0, b"17.server\n"), err)
        return err

    def wrong(self, message, *words, status=2, **options):
        got, out, err = self.run(*words, **options)
        equal((got, out, self.argv), (status, b"", None), err)
        assert err.startswith(b"vsub: ") and err.count(b"\n") == 1 and message.encode() in err, err
        return err


def encoded(words):
    return [word.encode() if isinstance(word, str) else word for word in words]


def open_envelope(data):
    """(directive lines, fields of the marker, script) of an envelope."""
    head, marker, script = re.fullmatch(rb"(.*?)#vtorque-envelope 1 ([^\n]*)\n(.*)", data, re.DOTALL).groups()
    fields = dict(field.split(b"=", 1) for field in marker.split())
    lines = head.split(b"\n")
    equal(lines[0], b"#!/bin/sh")
    equal(lines[-2], b"exit 127")
    if b"file" not in fields:
        equal((int(fields[b"bytes"]), fields[b"sha256"].decode()), (len(script), hashlib.sha256(script).hexdigest()))
    return lines[1:-4], fields, script


def word_of(argv):
    """The text of the request's word."""
    found = WORD.search(b"\0".join(argv)).group(1)
    return base64.urlsafe_b64decode(found + b"=" * (-len(found) % 4))


PLAIN = (
    ("job.sh",), ("-N", "a b", "-v", "A=1,B='x y',C=\"z\"", "-W", "depend=afterok:1", "job.sh"), ("-l", "nodes=1:ppn=2\n,mem=1gb", "job.sh"),
    ("job.sh", "-q", "late"), ("-v", "m", "job.sh"), ("", ), ("-",), (), ("-N", "", "job.sh"), ("--about",), ("nonexistent.sh",),
    ("-zN", "x"), ("-Q", "job.sh"), ("--foo",), ("job.sh", "more"), ("-I",), ("-I", "-x", "job.sh"), ("-T", "hooks", "job.sh"), ("-C", "VM", "job.sh"),
    ("-S", "ksh", "job.sh"), ("-l", "gpus=1", "job.sh"), ("-l", "nodes=9", "job.sh"), ("-t", "0-9%2", "job.sh"), ("/",), ("-N",), ("\u00e9\udcff", ),
)


def plain():
    """a job without -vm: qsub gets the same words, the same input and the same environment"""
    with Place() as place:
        place.script(b"#!/bin/sh\n#PBS -N x # -vm\necho \xff\r\n\0")
        for words in PLAIN:
            place.good(*words, stdin=b"echo hi\r\n\0\xff")
            equal(place.argv, [b"qsub"] + [os.fsencode(word) for word in words], words)
            equal(place.stdin, b"echo hi\r\n\0\xff", words)
            wanted = {f"{key}={value}".encode() for key, value in place.env.items()}
            assert wanted == set(place.environ), place.environ


def plain_stdin():
    """standard input of a plain job: a file is where it was, also behind its first lines"""
    with Place() as place:
        path = place.write("work/in", b"skipped\necho one\n#PBS -vm img=tiny\n")
        with open(path, "rb") as file:
            file.seek(8)
            place.good(file=file)
            equal(place.stdin, b"echo one\n#PBS -vm img=tiny\n")


def plain_status():
    """qsub's exit status is vsub's"""
    with Place() as place:
        place.script(b"true\n")
        for words in (("job.sh",), (*TINY, "job.sh")):
            equal(place.run(*words, env={"QSUB_STATUS": "171"})[0], 171)


def broken_settings():
    """settings that cannot be read: plain jobs go on by the qsub of PATH, others are refused"""
    with Place(more="BOGUS=1\n") as place:
        place.script(b"true\n")
        env = {"PATH": f"{place.top}:/usr/bin:/bin"}
        if os.path.exists("/usr/bin/qsub"):
            return
        err = place.good("-z", "job.sh", env=env)
        equal(place.argv, [b"qsub", b"-z", b"job.sh"])
        assert b"unknown parameter 'BOGUS'" in err, err
        place.wrong("unknown parameter 'BOGUS'", *TINY, "job.sh", env=env)


def words():
    """a job with a virtual machine: the words in order, to the byte, then what vsub adds"""
    rows = (
        (("-z", "-h", "-t", "0-9%2"), ("-N", "job.sh")),
        (("-N", "x", "-v", "A=1\n,B='\"'", "-W", "depend=afterok:1", "-c", "enabled", "-F", "one 'two  three' \"\""), ()),
        (("-N", "", "-o", "/a b:c", "-M", "\xff"), ()),
        (("-Nx", "-lwalltime=5", "-p", "-5"), ()),
    )
    with Place() as place:
        place.script(b"echo hi\n")
        for given, added in rows:
            place.good(*given, *TINY, "job.sh")
            word = WORD.search(b"\0".join(place.argv)).group()
            equal(place.argv, [b"qsub", *map(os.fsencode, given), b"-l", b"gres=" + word, *encoded(added)])
            equal(word_of(place.argv), b"v=1\nvm=img=tiny\n")
            assert {f"{key}={value}".encode() for key, value in place.env.items()} == set(place.environ), place.environ


SCRIPTS = (
    b"#!/bin/bash\necho hi\n", b"no final newline", b"#!/usr/bin/python3\nprint('\xff\xe4')", b"\n\n", b"x",
    b"#PBS -N y\n#PBS -vm ram=1G\necho\n#PBS -N late\n", b"a\rb\r\r", b"#vtorque-envelope 1 sha256=x bytes=3\nfalse\n",
    b"#PBS -l walltime=5,\\\nnodes=1\necho $0\n", b"y" * 60000,
)


def envelopes():
    """the script is in the envelope byte for byte, from a file, a pipe and a redirected file"""
    with Place() as place:
        for script in SCRIPTS:
            place.script(script)
            place.good(*TINY, "job.sh")
            equal(open_envelope(place.stdin)[2], script)
            for options in ({"stdin": script}, {"file": True}):
                if "file" in options:
                    with open(f"{place.top}/work/job.sh", "rb") as file:
                        place.good(*TINY, file=file)
                else:
                    place.good(*TINY, **options)
                equal(open_envelope(place.stdin)[2], script)
                assert b"-N" not in place.argv, place.argv


def directives():
    """directives stay; the words of vsub are cut out; a request of the script counts"""
    with Place(more="HOST_IMAGE=true\n") as place:
        place.script(b"#!/bin/sh\n#PBS -N 'a  b' # why\n#PBS -vm ram=1G,vcpus=1 -S /bin/ksh -q 'x y'\n#PBS -vm img=tiny\n# no\n"
                     b"#PBS -l nodes=1,\\\nwalltime=5\necho\n")
        place.good("-vm", "ram=2G", "job.sh")
        lines, fields, _ = open_envelope(place.stdin)
        equal(lines, [b"#PBS -N 'a  b' # why", b"#PBS -q 'x y'", b"#PBS -l nodes=1,walltime=5"])
        equal(base64.urlsafe_b64decode(fields[b"shell"] + b"=" * (-len(fields[b"shell"]) % 4)), b"/bin/ksh")
        equal(word_of(place.argv), b"v=1\nvm=img=tiny,ram=2G,vcpus=1\n")
        assert b"-N" not in place.argv and b"-S" not in place.argv, place.argv
        place.script(b"#VM -vm img=tiny\n#PBS -vm img=host\n")
        place.good("-C", "#VM", "job.sh")
        equal(word_of(place.argv), b"v=1\nvm=img=tiny\n")
        place.good("-C", "", "job.sh")
        equal(place.argv, [b"qsub", b"-C", b"", b"job.sh"])


def by_default():
    """VM_BY_DEFAULT: a job that says nothing runs in a virtual machine; no other word of qsub's does"""
    with Place(more="VM_BY_DEFAULT=true\nIMG_DEFAULT=tiny\n") as place:
        place.script(b"true\n")
        place.good("job.sh")
        equal(word_of(place.argv), b"v=1\n")
        equal(open_envelope(place.stdin)[2], b"true\n")
        place.good("--about")
        equal(place.argv, [b"qsub", b"--about"])
        place.wrong("-I: standard input and output must be a terminal", "-I")
        place.wrong("cannot read script", "nonexistent.sh")


def big_scripts():
    """over 65,000 bytes: a file of the user's own, named in the envelope; old ones are swept"""
    with Place() as place:
        place.script(b"z" * 65000)
        old, young = (place.write(f"home/{name}", b"x") for name in ("oldone", "young1"))
        os.mkdir(f"{place.top}/home/.vtorque")
        os.mkdir(f"{place.top}/home/.vtorque/scripts")
        old, young = (shutil.move(path, f"{place.top}/home/.vtorque/scripts/") for path in (old, young))
        place.own()
        os.utime(old, (0, time.time() - 31 * 86400))
        place.good(*TINY, "job.sh")
        assert len(place.stdin) < 1000, len(place.stdin)
        _, fields, rest = open_envelope(place.stdin)
        path = base64.urlsafe_b64decode(fields[b"file"] + b"=" * (-len(fields[b"file"]) % 4)).decode()
        equal(rest, b"")
        equal(os.path.dirname(path), f"{place.top}/home/.vtorque/scripts")
        equal(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path, "rb") as file:
            data = file.read()
        equal((data, fields[b"sha256"].decode(), int(fields[b"bytes"])), (b"z" * 65000, hashlib.sha256(data).hexdigest(), 65000))
        equal((os.path.exists(old), os.path.exists(young)), (False, True))
        before = sorted(os.listdir(os.path.dirname(path)))
        place.run("--dry-run", *TINY, "job.sh")
        place.wrong("option '-T'", "-T", "x", *TINY, "job.sh")
        place.write("qsub", b"#!/nonexistent\n", 0o755)
        place.wrong("cannot run", *TINY, "job.sh", status=125)
        equal(sorted(os.listdir(os.path.dirname(path))), before, "files of scripts that were not submitted")


WRONG = (
    (b"true\n", "option '-T' selects other hooks", ("-T", "x")),
    (b"true\n", "-I: standard input and output must be a terminal", ("-I",)),
    (b"true\n", "-W jobtype is not possible", ("-W", "jobtype=x")),
    (b"true\n", "unknown -vm key 'x'", ("-vm", "x=1")),
    (b"true\n", "must be one script", ("more",)),
    (b"true\n", "is for local jobs alone", ("--report", "x")),
    (b"true\r\n", "script is written in DOS/Windows text format", ()),
    (b"true\n\0", "byte 6 of it is NUL", ()),
    (b"", "the script is empty", ()),
    (b"#PBS -N 'x\n", "script line 1: quote ' is not closed", ()),
    (b"#PBS -I\n", "-I: standard input and output must be a terminal", ()),
    (b"#PBS -l gpus=1\n", "script line 1: -l gpus '1'", ()),
    (b"#PBS -vm ram=x\n", "script line 1: -vm ram 'x'", ()),
    (b"#PBS -l nodes=2\n", "script line 1: -l nodes '2': must be one node", ()),
    (b"#PBS " + b"x" * 32768 + b"\n", "directive is longer than 32768 bytes", ()),
)


def wrong():
    """what cannot be is one line and status 2, and qsub is not started"""
    with Place() as place:
        for script, message, more in WRONG:
            place.script(script)
            place.wrong(message, *TINY, "job.sh", *more)
        place.wrong("cannot read script 'nope.sh'", *TINY, "nope.sh")
        place.wrong("is not a regular file", *TINY, ".")
        place.wrong("must be the absolute path", "-S", "ksh", *TINY, "job.sh")
        place.script(b"#PBS -N 'x\n# -vm img=tiny\n")
        place.wrong("quote ' is not closed", "job.sh")


def line_ends():
    """CR LF on standard input becomes LF, as qsub has it"""
    with Place() as place:
        place.good(*TINY, stdin=b"echo a\r\necho \r b\r\n")
        equal(open_envelope(place.stdin)[2], b"echo a\necho \r b\n")


def site_says():
    """settings: no channel, switched off, disabled host, no qsub, not built"""
    rows = (
        ("BATCH=torque\n", "VM_CHANNEL is not set", 2),
        (f"{SITE}VTORQUE_ENABLED=false\nVTORQUE_DISABLED_MESSAGE='back on Monday'\n", "no new jobs with virtual machines: back on Monday", 2),
        (f"{SITE}DISABLED_HOSTS_LIST='*'\n", "virtual machines are disabled on", 125),
        ("BATCH=slurm\n", "BATCH 'slurm': is not built yet", 2),
        ("BATCH=openpbs\n", "BATCH 'openpbs': is not built yet", 2),
    )
    for site, message, status in rows:
        with Place(site) as place:
            place.script(b"true\n")
            place.wrong(message, *TINY, "job.sh", status=status)
            if "BATCH=torque" in site:
                place.good("job.sh")
    with Place() as place:
        place.script(b"true\n")
        os.unlink(f"{place.top}/qsub")
        place.wrong("cannot be run", *TINY, "job.sh")
        os.unlink(f"{place.top}/bin/vtorque-run")


def no_run():
    """without vtorque-run nothing is submitted"""
    with Place() as place:
        place.script(b"true\n")
        os.unlink(f"{place.top}/bin/vtorque-run")
        place.wrong("cannot find 'vtorque-run'", *TINY, "job.sh", status=125)


def dry_run():
    """--dry-run shows request, words and envelope, and starts nothing"""
    with Place() as place:
        place.script(b"#PBS -N x\necho hi\n")
        status, out, err = place.run("--dry-run", "-v", "A=1 2", *TINY, "job.sh")
        equal((status, place.argv, err), (0, None, b""))
        for part in (b"img=tiny\nvtorque:", b"\n  'A=1 2'\n", b"\n#PBS -N x\n", b"#vtorque-envelope 1 ", b"\necho hi\n"):
            assert part in out, (part, out)
        status, out, err = place.run("--dry-run", "-z", "job.sh")
        equal((status, place.argv, err), (0, None, b""))
        assert b"no virtual machine is asked for" in out and b"'-z'" in out and b"dry-run" not in out, out
        # At a terminal the envelope is a file, the last word, and has the script's directives alone.
        status, out, err = place.run("--dry-run", "-I", "-S", "/bin/sh", *TINY, "job.sh")
        equal((status, place.argv, err), (0, None, b""))
        assert re.search(rb"\n  '-I'\n  '-x'\n  '/\S+/.vtorque/scripts/XXXXXX'\n#", out), out
        assert b"\n#PBS -N x\n" in out and re.search(rb" bytes=0 shell=L2Jpbi9zaA terminal=\n", out) and b"echo hi" not in out, out
        equal(os.path.exists(f"{place.top}/home/.vtorque"), False)


def descriptors():
    """qsub has the three standard descriptors and no other; signals are as they were"""
    with Place() as place:
        place.script(b"true\n")
        place.write("qsub", b"#!/usr/bin/python3\nimport os\nprint(sorted(os.listdir('/proc/self/fd')))\n"
                    b"print([line for line in open('/proc/self/status') if line.startswith(('SigBlk', 'SigIgn', 'SigCgt'))])\n", 0o755)
        seen = [place.run(*words, "job.sh")[1] for words in ((), TINY)]
        equal(seen[0], seen[1])
        assert seen[0].startswith(b"['0', '1', '2', '3']\n"), seen  # 3 is that of the listing


if __name__ == "__main__":
    run_tests((plain, plain_stdin, plain_status, broken_settings, words, envelopes, directives, by_default, big_scripts, wrong, line_ends,
               site_says, no_run, dry_run, descriptors))

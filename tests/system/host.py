#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""img=host: the machine's own software in the guest, the owner's directories and nothing more. Speaks TAP."""

import os
import platform
import shutil
import stat
import subprocess
import tempfile

from lib import Inventory, Running, Site, equal, run_tests

SITE = None
WORDS = ("--local", "-S", "/bin/sh", "-vm", "img=host,ram=512M,vcpus=1")


def host(script, *words, **options):
    """A script in the guest."""
    return SITE.vsub(*WORDS, *words, input=script, **options)


def here(*words):
    """What a program says on this machine, run as the owner."""
    return subprocess.run([*SITE.user.prefix(), *words], env=SITE.environment(), capture_output=True, check=True).stdout


def kernel_and_name():
    """kernel and name are the guest's"""
    result = host("uname -n; uname -r; cat /proc/sys/kernel/hostname; cat /proc/cmdline")
    equal((result.status, result.err), (0, b""))
    name, release, again, arguments = result.out.decode().splitlines()
    assert name.startswith("v") and name == again, result
    assert release != platform.release() and "panic=-1" in arguments, result


def identity():
    """ids, groups and names are the owner's"""
    for words in (("id", "-u"), ("id", "-g"), ("id", "-un"), ("id", "-gn")):
        equal(host(" ".join(words)), (0, here(*words), b""))
    equal(sorted(host("id -G").out.split()), sorted(here("id", "-G").split()))
    entry = f"{SITE.user.name}:x:{SITE.user.uid}:{SITE.user.gid}:"
    found = host(f"getent passwd {SITE.user.uid}; getent passwd {SITE.user.name}").out.decode().splitlines()
    equal(len(found), 2)
    for line in found:
        assert line.startswith(entry) and f":{SITE.user.home}:" in line, line


def software():
    """programs are the machine's"""
    for words in (("/usr/bin/python3", "-V"), ("gcc", "--version"), ("perl", "-e", "print $^V"), ("bash", "--version")):
        equal(host(" ".join(f"'{word}'" for word in words)), (0, here(*words), b""))


def streams_by_name():
    """/dev/stdin, stdout and stderr can be opened by the owner"""
    script = SITE.make_folder("streams") + "/job"
    with open(script, "w", encoding="ascii") as file:
        file.write("cat /dev/stdin >/dev/stdout; echo err >/dev/stderr\n")
    equal(host("in\n", script), (0, b"in\n", b"err\n"))


def another_interpreter():
    """a script of another interpreter, by #! and by -S"""
    script = "import os, sys\nprint(sum(range(10)), os.uname().nodename[0])\nsys.exit(5)\n"
    words = ("--local", "-vm", "img=host,vcpus=1")
    result = SITE.vsub(*words, input="#!/usr/bin/python3\n" + script)  # after whatever a login does here
    equal((result.status, result.out[-5:]), (5, b"45 v\n"), result)
    equal(SITE.vsub(*words, "-S", "/usr/bin/python3", input=script).status, 5)


def a_compiled_program():
    """a program is compiled and runs in the guest"""
    with open(f"{SITE.work}/answer.c", "w", encoding="ascii") as file:
        file.write("int main(void) { return 42; }\n")
    equal(host("gcc -o answer answer.c && ./answer").status, 42)
    equal(subprocess.run([f"{SITE.work}/answer"], check=False).returncode, 42)


def owners_files():
    """the submit directory and a 0700 home: right bytes, owner, group and mode"""
    home = tempfile.mkdtemp(prefix="vtorque-test-", dir=SITE.user.home)
    try:
        with open(f"{home}/in", "wb") as file:
            file.write(bytes(range(256)))
        os.chmod(f"{home}/in", 0o600)
        for path in (home, f"{home}/in"):
            os.chown(path, SITE.user.uid, SITE.user.gid)
        result = host(f"cat '{home}/in'; umask 027; mkdir made; cat '{home}/in' > made/out; chmod 4710 made/out; rm '{home}/in'")
        equal(result, (0, bytes(range(256)), b""))
        assert not os.path.exists(f"{home}/in")
    finally:
        shutil.rmtree(home)
    with open(f"{SITE.work}/made/out", "rb") as file:
        equal(file.read(), bytes(range(256)))
    for name, mode in (("made", 0o750), ("made/out", 0o4710)):
        found = os.stat(f"{SITE.work}/{name}")
        equal((found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)), (SITE.user.uid, SITE.user.gid, mode), name)


def root_is_read_only():
    """everything else is read-only, and /tmp is the guest's own"""
    with tempfile.NamedTemporaryFile(prefix="vtorque-test-", dir="/tmp") as mine:
        for directory in ("/usr", "/etc", "/opt", "/"):
            result = host(f"touch {directory}/vtorque-test")
            assert result.status != 0 and (b"ead-only" in result.err or b"denied" in result.err), (directory, result)
            assert not os.path.exists(f"{directory}/vtorque-test")
        name = os.path.basename(mine.name)
        equal(host(f"test -e /tmp/{name}; echo $?; for d in /tmp /var/tmp /dev/shm; do echo x > $d/{name}.new && echo ok; done"),
              (0, b"1\nok\nok\nok\n", b""))
        assert not os.path.exists(f"{mine.name}.new")


def kernels_own():
    """/proc, /sys and /dev are the guest's, none of the host's"""
    result = host("grep -c . /proc/1/comm; ls /dev | grep -c . ; ls /sys/class/virtio-ports; "
                  f"grep -qx vsub /proc/[0-9]*/comm && echo host; grep -E ' (/proc|/sys|/dev) ' /proc/mounts | wc -l")
    equal(result.status, 0)
    assert b"vport" in result.out and b"host" not in result.out, result


def shadow():
    """/etc/shadow is read by those who may"""
    result = host("cat /etc/shadow > /dev/null")
    equal(result.status == 0, SITE.user.uid == 0, result)


def changes_on_the_host():
    """what changes in the submit directory on the host is seen, and the other way round"""
    path = f"{SITE.work}/shared"
    with open(path, "w", encoding="ascii") as file:
        file.write("one\n")
    os.chown(path, SITE.user.uid, SITE.user.gid)
    script = "cat shared; echo up; read line; cat shared; echo three > shared; echo done; read line || exit 0"
    job = SITE.work + "/job.sh"
    with open(job, "w", encoding="ascii") as file:
        file.write(script)
    process = SITE.start(*WORDS, job, stdin=subprocess.PIPE)
    equal([process.stdout.readline() for _ in range(2)], [b"one\n", b"up\n"])
    with open(path, "w", encoding="ascii") as file:
        file.write("two!\n")
    process.stdin.write(b"go\n")
    process.stdin.flush()
    equal([process.stdout.readline() for _ in range(2)], [b"two!\n", b"done\n"])
    with open(path, encoding="ascii") as file:
        equal(file.read(), "three\n")
    process.communicate()
    equal(process.returncode, 0)


def further_mounts():
    """VM_MOUNTS is writable, other directories are not"""
    with Site(user=SITE.user) as site:
        data, other = site.make_folder("data"), site.make_folder("other")
        with open(f"{site.folder}/etc/vtorque.conf", "a", encoding="ascii") as file:
            file.write(f"VM_MOUNTS=( '{data}' )\n")
        script = f"echo x > '{data}/file'; echo $?; echo x 2>/dev/null > '{other}/file'; echo $?"
        result = site.vsub(*WORDS, input=script)
        equal((result.status, result.out.split()[0]), (0, b"0"), result)
        equal((os.path.exists(f"{data}/file"), os.path.exists(f"{other}/file")), (True, False))


def nothing_stays():
    """nothing is left of a job"""
    inventory = Inventory(SITE)
    equal(host("true"), (0, b"", b""))
    inventory.check()


TESTS = (kernel_and_name, identity, software, streams_by_name, another_interpreter, a_compiled_program, owners_files,
         root_is_read_only, kernels_own, shadow, changes_on_the_host, further_mounts)


ALONE = (nothing_stays,)


def use(site):
    global SITE
    SITE = site


if __name__ == "__main__":
    with Site() as site:
        use(site)
        run_tests(TESTS, alone=ALONE)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Guests with a disk: the demo image by the agent and by its own init, scratch, what is refused. Speaks TAP."""

import hashlib
import json
import os
import shutil
import subprocess

import host
from lib import DEADLINE, IMAGES, MIB, Inventory, Running, Site, equal, find_job, run_tests

SITE = None
SHAPE = "ram=512M,vcpus=1"
SYSTEM = "init=system,boot_timeout=600"
DISK = ("--local", "-S", "/bin/sh", "-vm", f"img=debian,{SHAPE}")


def disk(script, *words, **options):
    """A script in a guest with the demo image."""
    return SITE.vsub(*DISK, *words, input=script, **options)


def record():
    with open(f"{IMAGES}/debian.json", encoding="ascii") as file:
        return json.load(file)


def the_images_own_system():
    """the root is the image's, ext4 on /dev/vda, with its own software"""
    result = disk(". /etc/os-release; echo $ID $VERSION_ID; awk '$2 == \"/\" { print $1, $3 }' /proc/mounts; uname -n; cat /proc/1/comm; "
                  "for p in mpirun python3 tcsh zsh /usr/sbin/sshd; do command -v $p >/dev/null || echo no $p; done")
    equal((result.status, result.err), (0, b""))
    system, root, name, first, *missing = result.out.decode().splitlines()
    equal((system, root.split()[1], first, missing), ("debian 12", "ext4", "init", []))
    assert name.startswith("v"), result


def programs_run():
    """python, MPI and shells of the image run"""
    script = ("python3 -c 'print(6 * 7)'; tcsh -fc 'echo $tcsh' | grep -c .; zsh -fc 'print zsh'; "
              "mpirun --allow-run-as-root --oversubscribe -n 2 sh -c 'echo $OMPI_COMM_WORLD_RANK' | sort; "
              "LC_ALL=de_DE.UTF-8 date -d 2026-03-01 +%B")
    result = disk(script)
    equal(result, (0, "42\n1\nzsh\n0\n1\nMärz\n".encode(), b""))


def users_are_both():
    """the owner and the image's own users are known by name"""
    script = f"getent passwd {SITE.user.uid}; getent passwd {SITE.user.name}; getent passwd sshd >/dev/null && echo sshd; id -un; id -gn"
    lines = disk(script).out.decode().splitlines()
    equal(lines[2:], ["sshd", SITE.user.name, host.here("id", "-gn").decode().strip()])
    for line in lines[:2]:
        assert line.startswith(f"{SITE.user.name}:x:{SITE.user.uid}:{SITE.user.gid}:") and f":{SITE.user.home}:" in line, line


def root_is_roots():
    """the image's files are root's, and the owner may do there what modes allow"""
    result = disk("stat -c %U:%a /etc/shadow /usr/bin/su /tmp; cat /etc/shadow >/dev/null 2>&1 && echo read; "
                  "touch /etc/x 2>/dev/null && echo wrote; touch /tmp/x /var/tmp/x && echo tmp")
    lines = result.out.decode().split()
    equal(lines[:3], ["root:640", "root:4755", "root:1777"])
    equal(lines[3:], ["read", "wrote", "tmp"] if SITE.user.uid == 0 else ["tmp"])


def nothing_is_the_same_in_two():
    """the image has no machine-id, no host keys, no password, and nothing of the machine that made it"""
    result = disk("cat /etc/machine-id; ls /etc/ssh/ssh_host_* /etc/apt/apt.conf.d/*mmdebstrap /var/lib/dbus/machine-id 2>/dev/null; "
                  "getent passwd root | cut -d: -f2; find /etc /usr /var -xdev -type f -perm -2; "
                  "find / -xdev -nouser -o -xdev -nogroup; echo end")
    equal((result.status, result.out.decode().split()), (0, ["x", "end"]), result)


def owners_files_in_a_disk():
    """home and submit directory are the host's"""
    result = disk("echo made > here; cat here; df . | tail -1 | cut -d' ' -f1")
    equal((result.status, result.out.split()[0]), (0, b"made"), result)
    with open(f"{SITE.work}/here", encoding="ascii") as file:
        equal(file.read(), "made\n")
    equal(os.stat(f"{SITE.work}/here").st_uid, SITE.user.uid)


def nothing_is_kept():
    """what is written to the disk is gone with the guest, and the pool is as it was"""
    path = f"{IMAGES}/{record()['digest']}"
    before = os.stat(path)
    for _ in range(2):
        equal(disk("test -e /var/tmp/kept; echo $?; echo x > /var/tmp/kept; sync"), (0, b"1\n", b""))
    after = os.stat(path)
    equal((after.st_mtime_ns, after.st_size, after.st_ino), (before.st_mtime_ns, before.st_size, before.st_ino))
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    equal(f"sha256-{digest.hexdigest()}", record()["digest"])


def two_at_once():
    """two guests of one image do not see each other's writes"""
    script = "echo $$ > /var/tmp/mine; echo up; read line; ls /var/tmp; exit 0\n"
    pipe = {"stdin": subprocess.PIPE}
    with Running(SITE, script, vm=DISK, **pipe) as one, Running(SITE, script.replace("mine", "other"), vm=DISK, **pipe) as two:
        one.wait_text(b"up\n")
        two.wait_text(b"up\n")
        for job, name in ((one, b"mine"), (two, b"other")):
            job.vsub.stdin.write(b"go\n")
            job.vsub.stdin.close()
            result = job.finish()
            equal((result.status, result.out), (0, b"up\n" + name + b"\n"), result)


def scratch_in_a_directory():
    """fs_type=sharedfs keeps what is written in WS_DIR, in a file without a name"""
    with Site(user=SITE.user) as site:
        place = site.make_folder("ws")
        with open(f"{site.folder}/etc/vtorque.conf", "a", encoding="ascii") as file:
            file.write(f"WS_DIR={place}\n")
        script = "dd if=/dev/urandom of=/var/tmp/big bs=1M count=40 2>/dev/null; sync; echo up; read line; exit 0\n"
        with Running(site, script, "-vm", "fs_type=sharedfs", vm=DISK, stdin=subprocess.PIPE) as job:
            job.wait_text(b"up\n")
            equal(os.listdir(place), [])
            if os.getuid() == 0:
                qemu = find_job(job.vsub.pid)[0]["qemu"]
                files = [os.stat(f"/proc/{qemu.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{qemu.pid}/fd")]
                here = os.stat(place).st_dev
                nameless = {(st.st_ino, st.st_uid, st.st_mode & 0o777) for st in files
                            if st.st_nlink == 0 and st.st_dev == here and st.st_size > 40 * MIB}
                equal([words[1:] for words in nameless], [(SITE.user.uid, 0o600)])
            job.vsub.stdin.close()
            equal(job.finish().status, 0)
        equal(os.listdir(place), [])


def scratch_is_limited():
    """a disk in memory takes RAMDISK_SIZE and no more: reason disk, status 125"""
    with Site(conf="RAMDISK_SIZE=32M", user=SITE.user) as site:
        report = f"{site.work}/report.json"
        result = site.vsub(*DISK, "--report", report, input="dd if=/dev/urandom of=/var/tmp/big bs=1M count=100; sync; echo wrong\n")
        equal(result.status, 125, result)
        assert b"more than 32 MiB to its disk in memory (RAMDISK_SIZE)" in result.err, result
        with open(report, encoding="ascii") as file:
            equal(json.load(file)["reason"], "disk")


def the_disk_is_full():
    """a full file system in the guest is the script's: No space left on device"""
    result = disk("fallocate -l 16G /var/tmp/big; echo $?")
    equal((result.status, result.out), (0, b"1\n"), result)
    assert b"No space left" in result.err or b"File too large" in result.err, result


def system_init():
    """init=system: the image's own init is process 1, and the job is the same"""
    result = disk(f"cat /proc/1/comm; id -u; umask; pwd; cat /proc/$PPID/comm; echo $0 >&2; exit 3", "-vm", SYSTEM)
    equal(result.status, 3, result)
    lines = result.out.decode().splitlines()
    equal((lines[0], lines[1], lines[3], lines[4]), ("systemd", str(SITE.user.uid), SITE.work, "vtorque-agent"))


def system_init_signals():
    """init=system: TERM reaches the script, and all is gone after it"""
    inventory = Inventory(SITE)
    with Running(SITE, "trap 'echo got; exit 4' TERM; echo up; while :; do sleep 1; done\n", "-vm", SYSTEM, vm=DISK) as job:
        job.wait_text(b"up\n", 3 * DEADLINE)
        job.signal(15)
        result = job.finish()
        equal((result.status, result.out), (4, b"up\ngot\n"), result)
    inventory.check()


def refused():
    """what an image is not is refused by name, and nothing is made"""
    rows = (
        ("img=nothing", "no image 'nothing' in pool"),
        ("img=debian,distro=redhat", "command line: distro 'redhat': image 'debian' is of family 'debian'"),
        ("img=host,init=system", "command line: -vm init 'system' goes with an image that has a disk"),
        ("img=debian,fs_type=sharedfs", "is no directory that you may write to"),
    )
    inventory = Inventory(SITE)
    for words, message in rows:
        result = SITE.vsub("--local", "-vm", words, input="echo wrong\n")
        assert result.status in (2, 125) and message.encode() in result.err and result.err.count(b"\n") == 1, (words, result)
        equal(result.out, b"")
    inventory.check()


def a_pool_that_others_may_write():
    """a pool, record or file that others may write is not used"""
    for name, mode in (("", 0o777), ("debian.json", 0o666), (record()["digest"], 0o446)):
        with Site(user=SITE.user) as site:
            pool = site.make_folder("pool")
            os.chmod(pool, 0o755)
            for file in os.listdir(f"{site.folder}/images"):
                if name == file and os.path.getsize(f"{site.folder}/images/{file}") < 1 << 20:
                    shutil.copy(f"{site.folder}/images/{file}", pool)
                elif name == file:
                    with open(f"{pool}/{file}", "wb") as copy:
                        copy.truncate(os.path.getsize(f"{site.folder}/images/{file}"))
                else:
                    os.link(f"{site.folder}/images/{file}", f"{pool}/{file}")
                if name == file:
                    os.chown(f"{pool}/{file}", SITE.user.uid, SITE.user.gid)
            os.chmod(f"{pool}/{name}", mode)
            with open(f"{site.folder}/etc/vtorque.conf", encoding="ascii") as file:
                conf = file.read().replace(f"{site.folder}/images", pool)
            with open(f"{site.folder}/etc/vtorque.conf", "w", encoding="ascii") as file:
                file.write(conf)
            result = site.vsub(*DISK, input="echo wrong\n")
            equal((result.status, result.out, result.err.count(b"\n")), (125, b"", 1), (name, result))
            assert b"writ" in result.err, (name, result)


def nothing_stays():
    """nothing is left of a job with a disk"""
    inventory = Inventory(SITE)
    equal(disk("true"), (0, b"", b""))
    inventory.check()


TESTS = (the_images_own_system, programs_run, users_are_both, root_is_roots, nothing_is_the_same_in_two, owners_files_in_a_disk, nothing_is_kept, scratch_in_a_directory,
         scratch_is_limited, the_disk_is_full, system_init, refused, a_pool_that_others_may_write)


ALONE = (two_at_once, system_init_signals, nothing_stays)


def use(site):
    """Runs the tests at this site."""
    global SITE
    SITE = site
    host.use(site)


if __name__ == "__main__":
    with Site() as here:
        use(here)
        run_tests(TESTS, alone=ALONE)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ACCEL=auto|kvm|tcg, on this machine and where other things stand in KVM's place. Speaks TAP."""

import fnmatch
import json
import os
import stat
import subprocess
import tempfile

from lib import Site, TINY, equal, run_tests

IS_ROOT = os.getuid() == 0
WARNING = "vsub: warning: the job's processor is emulated, which is 20 to 100 times slower than KVM: "
DRY_RUN = (*TINY, "--dry-run")

# What lies at /dev/kvm: how it is made (a shell's words, "$1" is the path), what is said of it.
WORLDS = {
    "nothing": (":", "there is no /dev/kvm"),
    "/dev/null": (': >"$1"; mount --bind /dev/null "$1"', "/dev/kvm refuses KVM_GET_API_VERSION: Inappropriate ioctl for device"),
    "a file of mode 0000": (': >"$1"; chmod 0 "$1"', "/dev/kvm refuses KVM_GET_API_VERSION: Inappropriate ioctl for device" if IS_ROOT
                            else "/dev/kvm may not be opened by this user: its mode is 0000, its group '*'"),
    "a directory": ('mkdir "$1"', "/dev/kvm cannot be opened: Is a directory"),
    "a pipe": ('mkfifo "$1"', "/dev/kvm refuses KVM_GET_API_VERSION: Inappropriate ioctl for device"),
}

# A /dev with the machine's own nodes, but for kvm; then the program, as the user who started it.
SETUP = """
mount --make-rslave / && mount -t tmpfs none /mnt && mkdir /mnt/dev || exit 99
for path in /dev/*; do
    at=/mnt$path
    case $path in
    /dev/kvm) continue;;
    esac
    if [ -L $path ]; then cp -P $path $at
    elif [ -d $path ]; then mkdir $at && mount --rbind $path $at
    else : >$at && mount --bind $path $at
    fi || exit 99
done
(set -- /mnt/dev/kvm; MAKE) && mount --rbind /mnt/dev /dev || exit 99
exec "$@"
"""


def world(make):
    """Words before a program that starts it in that world."""
    script = SETUP.replace("MAKE", make)
    if IS_ROOT:
        return "unshare", "--mount", "sh", "-c", script, "sh"
    return ("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", "unshare", f"--map-user={os.getuid()}",
            f"--map-group={os.getgid()}")


def check_refused(site, line, **options):
    """KVM that must work and doesn't: 125, one line, and nothing was made."""
    name = os.path.basename(site.folder)
    result = site.tiny("true", "-N", name, **options)
    lines = result.err.decode().splitlines()
    equal((result.status, result.out, len(lines)), (125, b"", 1), lines)
    assert fnmatch.fnmatchcase(lines[0], f"vsub: *vtorque.conf:[0-9]: ACCEL 'kvm': {line}"), lines
    equal(os.listdir(site.work), [])
    equal(os.listdir(site.runtime), [])
    equal(subprocess.run(["grep", "-slx", f"name={name}", "-r", site.run_root()], stdout=subprocess.PIPE, check=False).stdout, b"")


def refused(name):
    make, line = WORLDS[name]

    def test():
        with Site("ACCEL=kvm") as site:
            check_refused(site, line, through=world(make))
            result = site.vsub(*DRY_RUN, input="true", through=world(make))
            equal((result.status, result.out), (125, b""))
    test.__name__, test.__doc__ = "refused", f"ACCEL=kvm with {name} at /dev/kvm: status 125, one line, nothing made"
    return test


def emulated(name):
    make, line = WORLDS[name]

    def test():
        with Site("ACCEL=auto") as site:
            result = site.vsub(*DRY_RUN, input="true", through=world(make))
            lines = result.err.decode().splitlines()
            equal((result.status, len(lines)), (0, 1), lines)
            assert fnmatch.fnmatchcase(lines[0], WARNING + line), lines
            assert "\n  accel         tcg (auto, " in result.out.decode() and "-accel tcg" in result.out.decode(), result.out
    test.__name__, test.__doc__ = "emulated", f"ACCEL=auto with {name} at /dev/kvm: one warning, emulated"
    return test


def run(settings, **options):
    """A job's status, standard error by lines, and the report's accel."""
    with Site(settings) as site:
        with tempfile.TemporaryDirectory() as folder:
            result = site.tiny("echo done", "--report", f"{folder}/report", **options)
            accel = None
            if os.path.exists(f"{folder}/report"):
                with open(f"{folder}/report") as file:
                    accel = json.load(file)["accel"]
    equal(result.out, b"done\n" if result.status == 0 else b"")
    return result.status, result.err.decode().splitlines(), accel


def tcg():
    """ACCEL=tcg runs emulated, and nothing is said"""
    equal(run("ACCEL=tcg"), (0, [], "tcg"))


def auto_without():
    """ACCEL=auto runs emulated where there is no /dev/kvm, and says so once"""
    equal(run("ACCEL=auto", through=world(":")), (0, [WARNING + "there is no /dev/kvm"], "tcg"))


def auto_here():
    """ACCEL=auto runs on this machine: by KVM and silent, or emulated with one line"""
    status, lines, accel = run("ACCEL=auto")
    print(f"# this machine: {accel} {lines}", flush=True)
    equal(status, 0, lines)
    equal((accel, [line.startswith(WARNING) for line in lines]), ("kvm", []) if accel == "kvm" else ("tcg", [True]))


def kvm_here():
    """ACCEL=kvm on this machine runs by KVM, or is refused with one line"""
    status, lines, accel = run("ACCEL=kvm")
    if status == 0:
        equal((lines, accel), ([], "kvm"))
    else:
        equal((status, len(lines), accel), (125, 1, None), lines)


def shown():
    """vsub --verbose and --dry-run say what the guest's processor is"""
    with Site("ACCEL=tcg") as site:
        result = site.vsub(*DRY_RUN, input="true")
        assert "\n  accel         tcg (" in result.out.decode(), result.out
        result = site.tiny("true", "--verbose")
        equal((result.status, "vsub: accel     tcg" in result.err.decode().splitlines()), (0, True), result.err)


def mode_of_device():
    """The host's /dev/kvm is as it was after all that"""
    now = device_state()
    equal(now, BEFORE)


def device_state():
    try:
        st = os.stat("/dev/kvm")
    except FileNotFoundError:
        return None
    return st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode), st.st_rdev


if __name__ == "__main__":
    BEFORE = device_state()
    run_tests([*map(refused, WORLDS), *map(emulated, WORLDS), tcg, auto_without, auto_here, kvm_here, shown], alone=(mode_of_device,))

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Wrong inputs: one line that says what, where and what is allowed, status 2, and nothing created. Speaks TAP."""

import fnmatch
import os
import sys

from lib import Inventory, Site, attempt, equal, print_result

TINY = ("--local", "-vm", "img=tiny")

# Words of vsub, script on standard input, lines of the settings, the line that is printed (a pattern).
TABLE = (
    ((*TINY, "-vm", "ram=12Q"), "true", "", "command line: -vm ram '12Q': must be 96M to 16T*"),
    ((*TINY, "-vm", "ram=1M"), "true", "", "command line: -vm ram '1M': must be 96M to 16T*"),
    ((*TINY, "-vm", "ram=99999999999999999999G"), "true", "", "command line: -vm ram *: must be 96M to 16T*"),
    ((*TINY, "-vm", "ram=15T"), "true", "", "command line: -vm ram '15728640M': with *M for QEMU and file servers the job takes *M, and this machine has *M"),
    ((*TINY, "-vm", "vcpus=0"), "true", "", "command line: -vm vcpus '0': must be a number from 1 to 255"),
    ((*TINY, "-vm", "vcpus=two"), "true", "", "command line: -vm vcpus 'two': *"),
    ((*TINY, "-vm", "boot_timeout=-1"), "true", "", "command line: -vm boot_timeout '-1': *"),
    ((*TINY, "-vm", "colour=red"), "true", "", "command line: unknown -vm key 'colour'; there are img, ram, vcpus, *"),
    ((*TINY, "-vm", "distro=debian"), "true", "", "command line: -vm distro 'debian' goes with an image that has a disk*"),
    ((*TINY, "-vm", "metadata=2"), "true", "", "command line: -vm key 'metadata' is not built yet*"),
    (("--local", "-vm", "img=ubuntu.img"), "true", "", "no image 'ubuntu.img' in pool '*"),
    (("--local", "-vm", "img=/opt/ubuntu.img"), "true", "", "command line: -vm img '/opt/ubuntu.img': *host*tiny*"),
    ((*TINY, "-vm", "ram"), "true", "", "command line: -vm 'ram': must be key=value*"),
    ((*TINY, "-vm", "ram=1G,,vcpus=1"), "true", "", "command line: -vm '': must be key=value*"),
    ((*TINY, "-vm"), "true", "", "*-vm*"),
    ((*TINY, "-I"), "true", "", "-I: standard input and output must be a terminal"),
    ((*TINY, "-x", "ls"), "", "", "command line: option '-x' goes with -I and a command"),
    (TINY, "#PBS -x\ntrue", "", "script line 1: option '-x' is for the command line alone"),
    ((*TINY, "-q", "batch"), "true", "", "command line: *-q*"),
    ((*TINY, "-t", "1-3"), "true", "", "command line: *-t*"),
    ((*TINY, "-y"), "true", "", "command line: *-y*"),
    ((*TINY, "--frobnicate"), "true", "", "command line: *--frobnicate*"),
    ((*TINY, "-l", "walltime=soon"), "true", "", "command line: *walltime*soon*"),
    ((*TINY, "-l", "walltime=1:2:3:4:5"), "true", "", "command line: *walltime*1:2:3:4:5*"),
    ((*TINY, "-l", "nodes=2"), "true", "", "command line: *nodes*2*"),
    ((*TINY, "-l", "nodes=1:ppn=0"), "true", "", "command line: *ppn*0*"),
    ((*TINY, "-l", "mem=lots"), "true", "", "command line: *mem*lots*"),
    ((*TINY, "-l", "gres=x"), "true", "", "command line: *gres*"),
    ((*TINY, "-l", "mem=200mb", "-vm", "ram=1G"), "true", "", "command line: -vm ram '1024M': with *M for QEMU and file servers the job takes *M, and -l mem= allows 200M"),
    ((*TINY, "-N", "two words"), "true", "", "command line: -N 'two words'*"),
    ((*TINY, "-j", "xy"), "true", "", "command line: -j 'xy'*"),
    ((*TINY, "-d", "/does/not/exist"), "true", "", "command line: -d '/does/not/exist'*"),
    ((*TINY, "-o", "/does/not/exist/out"), "true", "", "command line: -o '/does/not/exist/out'*"),
    ((*TINY, "-o", "elsewhere.example:/tmp/out"), "true", "", "command line: -o *elsewhere.example*"),
    ((*TINY, "--report", "/does/not/exist/report"), "true", "", "command line: --report '/does/not/exist/report'*"),
    ((*TINY, "-S", "/does/not/exist"), "true", "", "command line: -S '/does/not/exist'*"),
    ((*TINY, "-F", "'open"), "true", "", "command line: -F *"),
    ((*TINY, "nothing.sh"), "", "", "*nothing.sh*No such file*"),
    ((*TINY, "/"), "", "", "*'/'*"),
    ((*TINY, "-"), "", "", "script on standard input is empty"),
    ((*TINY, "a.sh", "b.sh"), "", "", "command line: *-F*"),
    (TINY, "#PBS -vm ram=0\ntrue", "", "script line 1: -vm ram '0': *"),
    (TINY, "#!/bin/sh\n#PBS -N x\n#PBS -q batch\ntrue", "", "script line 3: *-q*"),
    (TINY, "#PBS -l walltime=never\ntrue", "", "script line 1: *walltime*never*"),
    (TINY, "true", "VCPUS_DEFAULT=many", "*vtorque.conf:2: VCPUS_DEFAULT 'many': *"),
    (TINY, "true", "COLOUR=red", "*vtorque.conf:2: *COLOUR*"),
    (TINY, "true", "RAM_DEFAULT='1G", "*vtorque.conf:2: *"),
    (TINY, "true", "VM_MOUNTS=( 'data' )", "*vtorque.conf:2: VM_MOUNTS*data*"),
    (TINY, "true", "VM_IMG_DIR=images", "*vtorque.conf:2: VM_IMG_DIR 'images': must be an absolute path*"),
    (TINY, "true", "IMG_DEFAULT=a/b", "*vtorque.conf:2: IMG_DEFAULT 'a/b': *"),
    (TINY, "true", "TIMEOUT=1\nTIMEOUT=2", "*vtorque.conf:3: *TIMEOUT*"),
)


def check(words, script, settings, line):
    with Site(settings) as site:
        inventory = Inventory(site)
        result = site.vsub(*words, input=script)
        lines = result.err.decode().splitlines()
        equal((result.status, result.out, len(lines)), (2, b"", 1), lines)
        assert fnmatch.fnmatchcase(lines[0].replace("[", "("), "vsub: " + line), f"{lines[0]!r} is not {line!r}"
        equal(os.listdir(site.work), [])
        equal(os.path.exists(f"{site.runtime}/vtorque"), False)
        inventory.check()


def main():
    failed = 0
    print(f"1..{len(TABLE)}")
    for number, (words, script, settings, line) in enumerate(TABLE, 1):
        problem = attempt(lambda row=(words, script, settings, line): check(*row))
        failed += bool(problem)
        print_result(number, repr(" ".join(words[3:]) + (" " + script if script != "true" else "") + " " + settings), problem)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The network between a job's nodes over WireGuard: in a guest, whose kernel has it whatever the host's has. Speaks TAP.

The rows are those of wireguard_guest.py, which is root's job in the guest.
"""

import os
import shutil
import sys

from lib import BUILD, GUEST, SOURCE, Site, take_default_signals

PARTS = (f"{BUILD}/tests/system/wireguard-node", f"{SOURCE}/tests/system/wireguard_guest.py")


def main():
    take_default_signals()
    if os.getuid() != 0:
        sys.exit("only root is root in the guest")
    with Site() as site:
        for path in PARTS:
            shutil.copy(path, site.work)
        shutil.copytree(f"{GUEST}/modules-tests", f"{site.work}/modules-tests")
        result = site.vsub("--local", "-S", "/usr/bin/python3", "-vm", "img=host,ram=512M,vcpus=1", "wireguard_guest.py")
    sys.stdout.buffer.write(result.out)
    sys.stderr.buffer.write(result.err)
    sys.exit(result.status)


if __name__ == "__main__":
    main()

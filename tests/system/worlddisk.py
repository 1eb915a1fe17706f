#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The script's world (world.py) in the demo image: what the image, not the machine, has a part in. Speaks TAP."""

import world
from lib import Site, run_tests

if __name__ == "__main__":
    with Site() as site:
        world.use(site, "img=debian,ram=512M,vcpus=1,boot_timeout=600")
        # An environment is also made by the start-up files of a login, which are the image's.
        rows = [row for row in world.ROWS if not row.__doc__.startswith("env")]
        run_tests((*rows, world.login_bash, world.login_sh, world.login_zsh, world.login_tcsh, world.exit_255, world.no_interpreter,
                   world.background, world.odd_names))

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tests of img=host, of the script's world and of guests with a disk as an ordinary user that root makes for them: no right, a 0700 home. Speaks TAP."""

import disk
import host
import world
from lib import Site, TemporaryUser, run_tests

if __name__ == "__main__":
    with TemporaryUser() as user, Site(user=user) as site:
        disk.use(site)
        world.use(site)
        run_tests((*host.TESTS, *world.TESTS, *disk.TESTS), alone=(*host.ALONE, *disk.ALONE))

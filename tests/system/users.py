#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tests of img=host and of the script's world as an ordinary user that root makes for them: no right, a 0700 home. Speaks TAP."""

import host
import world
from lib import Site, TemporaryUser, run_tests

if __name__ == "__main__":
    with TemporaryUser() as user, Site(user=user) as site:
        host.use(site)
        world.use(site)
        run_tests((*host.TESTS, *world.TESTS), alone=host.ALONE)

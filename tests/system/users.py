#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tests of img=host as an ordinary user that root makes for them: no right, a 0700 home. Speaks TAP."""

import host
from lib import TemporaryUser

if __name__ == "__main__":
    with TemporaryUser() as user:
        host.run(user)

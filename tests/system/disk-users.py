#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tests of guests with a disk as an ordinary user that root makes for them. Speaks TAP."""

import disk
from lib import TemporaryUser

if __name__ == "__main__":
    with TemporaryUser() as user:
        disk.run(user)

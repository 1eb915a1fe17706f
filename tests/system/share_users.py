#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The table of share.py as an ordinary user that root makes for it: a file server without rights. Speaks TAP."""

import share
from lib import TemporaryUser

if __name__ == "__main__":
    with TemporaryUser() as user:
        share.run(user)

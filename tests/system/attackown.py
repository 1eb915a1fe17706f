#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The rows of the attack table that make sense for an ordinary user's own job. Speaks TAP."""

import attack

if __name__ == "__main__":
    attack.run(is_own=True)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tables of the contracts name what the code has, all of it and in its order: phases, reasons, types of frames between nodes."""

import os
import re
import sys

from source import SOURCE, report


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return file.read()


def section(text, title):
    """What stands below a heading, up to the next one of its kind."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


def first_words(text):
    """The code words with which rows of tables begin."""
    return re.findall(r"^\| (?:\d+ )?`([\w-]+)` \|", text, re.MULTILINE)


def names_of(array):
    """The strings of an array of src/ctl/run.c, in order."""
    body = re.search(rf"{array}\[[A-Z_]+\] = \{{(.*?)\}};", read("src/ctl/run.c"), re.DOTALL)[1]
    return re.findall(r'= "([\w-]+)"', body)


def compare(page, code):
    return [] if page == code else [f"the page has {page}, the code {code}"]


def check_phases():
    return compare(first_words(section(read("doc/contracts/job-life.md"), "Phases")), names_of("phases"))


def check_states():
    """Over several nodes each phase has its row, alone or with others."""
    text = section(read("doc/contracts/job-life.md"), "Over several nodes")
    rows = re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE)
    found = [word for row in rows for word in re.findall(r"`(\w+)`", row)]
    return compare(found, names_of("phases"))


def check_reasons():
    text = section(read("doc/contracts/job-life.md"), "Reasons")
    return compare(sorted(first_words(text)), sorted(names_of("reasons")))


def check_types(title, header, prefix):
    rows = re.findall(r"^\| (\d+) `(\w+)` \|", section(read("doc/contracts/peer.md"), title), re.MULTILINE)
    code = re.findall(rf"^ *{prefix}(\w+) = (\d+),", read(header), re.MULTILINE)
    return compare(rows, [(number, name) for name, number in code])


def main():
    return report([("phases", check_phases()), ("states over several nodes", check_states()), ("reasons", check_reasons()),
                   ("frames between daemons", check_types("Between daemons", "src/node/peer.h", "VT_PEER_")),
                   ("frames between engines", check_types("Between engines", "src/engine/team.h", "VT_TEAM_"))])


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every link of the documents leads to a file, and to a heading where it names one; every contract is listed."""

import os
import re
import sys

from source import SOURCE, report

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)


def documents():
    """Paths of all documents, below the source."""
    found = [name for name in os.listdir(SOURCE) if name.endswith(".md")]
    for folder, _, names in os.walk(os.path.join(SOURCE, "doc")):
        found += [os.path.relpath(os.path.join(folder, name), SOURCE) for name in names if name.endswith(".md")]
    return sorted(found)


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return CODE.sub("", file.read())


def anchors(text):
    """The names that a forge gives to a document's headings."""
    titles = re.findall(r"^#+ +(.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def judge(path, target):
    """What is wrong with one link, or None."""
    if re.match(r"[a-z]+:", target):
        return None
    name, _, anchor = target.partition("#")
    to = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
    if not os.path.exists(os.path.join(SOURCE, to)):
        return f"{path}: '{target}' leads nowhere"
    if anchor and anchor not in anchors(read(to)):
        return f"{path}: '{target}': no such heading"
    return None


def check_links(path):
    return [complaint for target in LINK.findall(read(path)) if (complaint := judge(path, target))]


def check_contracts():
    text = read("doc/contracts/README.md")
    names = os.listdir(os.path.join(SOURCE, "doc", "contracts"))
    return [f"'{name}' is not in doc/contracts/README.md" for name in sorted(names) if name != "README.md" and f"({name})" not in text]


def main():
    results = [(f"links of {path}", check_links(path)) for path in documents()]
    return report(results + [("contracts are listed", check_contracts())])


if __name__ == "__main__":
    sys.exit(main())

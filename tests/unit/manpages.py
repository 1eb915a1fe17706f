#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Programs, manual pages and completion say the same: every option, verb, -vm key, resource and setting, and no other.

Reads from: --help and `vmgr show config --json` of the built programs, doc/man/, completion/bash/. Needs bash and groff.
"""

import json
import os
import re
import subprocess
import sys

from source import SOURCE, report

BUILD = os.environ.get("VTORQUE_BUILD", os.path.join(SOURCE, "build"))
PAGES = ("vsub.1", "vmgr.1", "vtorque.conf.5")
ALWAYS = {"--help", "--version"}
COMPLETE = r"""
source "$1"
COMP_WORDS=("${@:3}") COMP_CWORD=$(($# - 3)) COMP_LINE="${*:3}" COMP_POINT=${#COMP_LINE}
"_$2"
printf '%s\n' "${COMPREPLY[@]}"
"""


def run(*argv, **options):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    return done.stdout


def program(name, *words):
    return run(os.path.join(BUILD, "bin", name), *words)


def page(name):
    with open(os.path.join(SOURCE, "doc", "man", name), encoding="utf-8") as file:
        return file.read()


def section(text, title):
    """The lines of one section of a page."""
    match = re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", text, re.MULTILINE | re.DOTALL)
    return match.group(1) if match else ""


def flags(line):
    """The options that a line of mdoc names: '.It Fl Fl local' is --local."""
    return {"-" * len(dashes.split()) + name for dashes, name in re.findall(r"\b((?:Fl )+)([\w-]+)", line)}


def items(text):
    return [line for line in text.splitlines() if line.startswith(".It ")]


def complete(name, *words):
    """What the completion offers at the end of a command line; the last word may be empty."""
    path = os.path.join(SOURCE, "completion", "bash", name)
    return set(run("bash", "-c", COMPLETE, "bash", path, name, *words).split())


def compare(truth, **others):
    """Complaints about sets that are not `truth`."""
    complaints = ["nothing to compare with"] if not truth else []
    for where, found in others.items():
        complaints += [f"'{name}' is not in the {where}" for name in sorted(truth - found)]
        complaints += [f"'{name}' is in the {where} alone" for name in sorted(found - truth)]
    return complaints


def pairs(line):
    return {key + "=" for key in re.findall(r"\b(\w+)=", line)}


def vsub_options():
    told = set(re.findall(r"^  (--?\w[\w-]*)", program("vsub", "--help"), re.MULTILINE))
    described = set().union(*map(flags, items(section(page("vsub.1"), "OPTIONS"))))
    return compare(told, page=described, completion=complete("vsub", "vsub", "-"))


def vsub_pairs(option):
    """Keys of an option whose value is KEY=VALUE[,...]: its item holds a list of its own."""
    help_line = re.search(rf"^  {option} [A-Z].*", program("vsub", "--help"), re.MULTILINE).group()
    told = pairs(help_line.split("]", 1)[1]) - {"ppn="}
    item = re.search(rf"^\.It Fl {option[1:]} .*?^\.El", section(page("vsub.1"), "OPTIONS"), re.MULTILINE | re.DOTALL)
    described = {name + "=" for name in re.findall(r"^\.It Cm (\w+)", item.group() if item else "", re.MULTILINE)}
    return compare(told, page=described, completion=complete("vsub", "vsub", option, ""))


def vmgr_verbs():
    """{verb: options} as the list of verbs tells them."""
    lines = re.findall(r"^  ([a-z]+) (.*?)(?:  | *$)", program("vmgr", "--help"), re.MULTILINE)
    return {verb: set(re.findall(r"--[\w-]+", usage)) for verb, usage in lines}


def vmgr_names():
    verbs = vmgr_verbs()
    described = {line.split()[2] for line in items(section(page("vmgr.1"), "VERBS")) if line.startswith(".It Cm ")}
    options = set().union(*map(flags, items(section(page("vmgr.1"), "OPTIONS"))))
    wanted = set().union(ALWAYS, *verbs.values()) - {"--now", "--once", "--follow", "--node", "--prefix", "--torque-home", "--dry-run"}  # described at their verbs
    return compare(set(verbs), page=described, completion=complete("vmgr", "vmgr", "") - ALWAYS) + compare(wanted, page=options)


def vmgr_options():
    complaints = []
    for verb, told in vmgr_verbs().items():
        own = set(re.findall(r"^  (--[\w-]+)", program("vmgr", verb, "--help"), re.MULTILINE))
        lines = [line for line in items(section(page("vmgr.1"), "VERBS")) if line.startswith(f".It Cm {verb}")]
        described = set().union(*map(flags, lines))
        offered = complete("vmgr", "vmgr", verb, "-") - ALWAYS
        found = compare(told | {"-"}, help=own | {"-"}, page=described | {"-"}, completion=offered | {"-"})
        complaints += [f"{verb}: {complaint}" for complaint in found]
    return complaints


def settings(has_effect, title):
    rows = [row for row in json.loads(program("vmgr", "show", "config", "--json")) if row["has_effect"] == has_effect]
    lines = items(section(page("vtorque.conf.5"), title))
    return compare({row["key"] for row in rows}, page={line.split()[2] for line in lines})


def defaults():
    """The built-in value of each setting with an effect stands in its item."""
    parts = re.split(r"^\.It Va ", section(page("vtorque.conf.5"), "PARAMETERS"), flags=re.MULTILINE)[1:]
    texts = {part.split()[0]: part for part in parts}
    complaints = []
    for row in json.loads(program("vmgr", "show", "config", "--json")):
        told = f"\nDefault: {row['value'] or 'not set'}.\n"
        if row["has_effect"] and row["origin"] == "default" and told not in texts.get(row["key"], ""):
            complaints.append(f"{row['key']}: the page does not say '{told.strip()}'")
    return complaints


def layout(name):
    return run("groff", "-ww", "-mdoc", "-Tutf8", "-z", os.path.join(SOURCE, "doc", "man", name)).splitlines()


def main():
    results = [
        ("options of vsub", vsub_options()),
        ("keys of -vm", vsub_pairs("-vm")),
        ("resources of -l", vsub_pairs("-l")),
        ("verbs of vmgr", vmgr_names()),
        ("options of vmgr's verbs", vmgr_options()),
        ("settings with an effect", settings(True, "PARAMETERS")),
        ("settings without one", settings(False, "PARAMETERS WITHOUT EFFECT")),
        ("defaults", defaults()),
    ]
    return report(results + [(f"layout of {name}", layout(name)) for name in PAGES])


if __name__ == "__main__":
    sys.exit(main())

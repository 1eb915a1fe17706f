# SPDX-License-Identifier: Apache-2.0
"""What the tests over the source tree share: its files, its libraries' symbols, TAP."""

import os
import re
import subprocess
import sys

SOURCE = os.environ.get("VTORQUE_SOURCE", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

COMMENT_OR_STRING = re.compile(r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL)


def libraries():
    """{room: path of its static library}, from arguments ROOM=PATH."""
    return dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)


def rooms():
    """The rooms in their order, from arguments without a path."""
    return [argument for argument in sys.argv[1:] if "=" not in argument]


def files(room):
    """[(path below src, text)] of a room's sources."""
    folder = os.path.join(SOURCE, "src", room)
    found = []
    for name in sorted(os.listdir(folder)):
        if name.endswith((".c", ".h")):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                found.append((f"{room}/{name}", file.read()))
    return found


def code(text):
    """A source text without comments, string and character constants; lines stay where they are."""
    return COMMENT_OR_STRING.sub(lambda match: '""' + "\n" * match.group().count("\n"), text)


def symbols(path):
    """(defined, undefined) symbols of a static library; what one member leaves open and another defines is defined."""
    lines = subprocess.run(["nm", "-g", "-P", path], check=True, capture_output=True, text=True).stdout.splitlines()
    pairs = [line.split()[:2] for line in lines if re.match(r"\S+ [A-Za-z]\b", line)]
    defined = {name for name, kind in pairs if kind not in "Uwv"}
    return defined, {name for name, kind in pairs if kind in "Uw"} - defined


def report(results):
    """Print [(name, [complaints])] as TAP; the exit status."""
    print(f"1..{len(results)}")
    for number, (name, complaints) in enumerate(results, 1):
        print(f"{'not ok' if complaints else 'ok'} {number} - {name}")
        for complaint in complaints:
            print(f"# {complaint}")
    return 0

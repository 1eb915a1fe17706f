#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A room uses only rooms above it in src/meson.build; some use fewer, and no GLib.

rooms.py ROOM... ROOM=LIBRARY...: checks every #include of ours, and every undefined symbol of each room's library.
"""

import os
import re
import sys

from source import SOURCE, code, files, libraries, report, rooms, symbols

# Rooms that are libc only, and all that they may use.
SMALL_ROOMS = {"wire": set(), "ctl": {"wire"}, "keeper": {"wire", "ctl"}, "hook": {"wire", "ctl"}, "agent": {"wire"}}
# Nobody else may know these: they run elsewhere.
FOREIGN_ROOMS = {"agent"}
FOREIGN = ("glib", "gio/", "gobject/", "gmodule", "jansson", "seccomp")
FOREIGN_SYMBOL = re.compile(r"g_[a-z]|json_|seccomp_")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def allowed(room, order):
    """The rooms that a room may use, itself among them."""
    above = set(order[:order.index(room)]) - FOREIGN_ROOMS
    return SMALL_ROOMS.get(room, above) | {room}


def judge_include(room, style, target, order):
    """What is wrong with one #include, or None."""
    folder = target.split("/")[0] if "/" in target else None
    ours = folder in order and os.path.exists(os.path.join(SOURCE, "src", target))
    if style == '"' and not ours:
        return f'"{target}" is not ROOM/FILE of ours'
    if style == "<" and ours:
        return f"<{target}> is ours: write it with quotes"
    if ours and folder not in allowed(room, order):
        return f"may not use room '{folder}' ({target})"
    if room in SMALL_ROOMS and target.startswith(FOREIGN):
        return f"is libc only, but includes <{target}>"
    return None


def check_includes(room, order):
    complaints = []
    for path, text in files(room):
        for match in INCLUDE.finditer(text):
            complaint = judge_include(room, *match.groups(), order)
            if complaint:
                complaints.append(f"src/{path}:{text[:match.start(1)].count(chr(10)) + 1}: {complaint}")
    return complaints


def check_symbols(room, order, table):
    """Every symbol that a room needs and one of ours defines must come from a room that it may use."""
    homes = {}
    for other, (defined, _) in table.items():
        for name in defined:
            homes.setdefault(name, set()).add(other)
    complaints = []
    for name in sorted(table[room][1]):
        if name in homes and not homes[name] & allowed(room, order):
            complaints.append(f"'{name}' is defined in {', '.join(sorted(homes[name]))}")
        if room in SMALL_ROOMS and FOREIGN_SYMBOL.match(name):
            complaints.append(f"libc only, but needs '{name}'")
    return complaints


def check_once(table):
    """No external symbol is defined by two rooms: the linker would take either."""
    seen = {}
    for room, (defined, _) in table.items():
        for name in defined:
            if not name.startswith("__"):
                seen.setdefault(name, []).append(room)
    return [f"'{name}' is defined in {' and '.join(homes)}" for name, homes in sorted(seen.items()) if len(homes) > 1]


def check_externs():
    """No extern in .c files: a declaration belongs in a header that its definer includes too."""
    return [f"src/{path}: extern" for room in rooms() for path, text in files(room)
            if path.endswith(".c") and re.search(r"\bextern\b", code(text))]


def main():
    order = rooms()
    folders = {name for name in os.listdir(os.path.join(SOURCE, "src")) if os.path.isdir(os.path.join(SOURCE, "src", name))}
    table = {room: symbols(path) for room, path in libraries().items()}
    results = [("every folder is a room", [f"src/{name} is not in src/meson.build" for name in sorted(folders - set(order))])]
    results += [(f"includes of {room}", check_includes(room, order)) for room in order]
    results += [(f"symbols of {room}", check_symbols(room, order, table)) for room in table]
    results += [("symbols are defined once", check_once(table)), ("no extern in .c files", check_externs())]
    return report(results)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tools that build and count: guest-kernel, run-tests, install-packages."""

import gzip
import importlib.machinery
import importlib.util
import lzma
import os
import struct
import subprocess
import sys
import tempfile

from source import SOURCE, report


def load(name):
    """A tool without a suffix, as a module."""
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), f"{SOURCE}/tools/{name}")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


guest_kernel = load("guest-kernel")
run_tests = load("run-tests")


def differ(what, got, wanted):
    return [] if got == wanted else [f"{what}: got {got!r}, not {wanted!r}"]


def bzimage(payload, size):
    """The least that has a boot header: two setup sectors, then the payload and its unpacked size behind it."""
    image = bytearray(3 * 512)
    image[0x1F1] = 2
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 16, len(payload) + 4)
    return bytes(image) + bytes(16) + payload + struct.pack("<I", size)


def vmlinux_is_taken_out():
    kernel = b"\x7fELF" + os.urandom(3000)
    lz4 = subprocess.run(["lz4", "-l", "-c"], input=kernel, capture_output=True, check=True).stdout
    complaints = []
    for how, payload, wanted in (("lz4", lz4, kernel), ("gzip", gzip.compress(kernel)[:-4], kernel), ("xz", lzma.compress(kernel), kernel),
                                 ("no ELF", gzip.compress(b"text"), None), ("damaged", gzip.compress(kernel)[:100], None),
                                 ("unknown", kernel, None)):
        got = guest_kernel.take_vmlinux(bzimage(payload, len(kernel)))
        if got != wanted:
            complaints.append(f"{how}: {len(got or b'')} bytes, not {len(wanted or b'')}")
    return complaints + differ("not a bzImage", guest_kernel.take_vmlinux(bytes(4096)), None)


def modules_are_in_order():
    with tempfile.TemporaryDirectory() as base:
        os.makedirs(f"{base}/kernel/drivers")
        for name, depends in (("a-b", ""), ("c", "a_b"), ("d", "c,a_b"), ("e", "built")):
            with open(f"{base}/kernel/drivers/{name}.ko", "wb") as file:
                file.write(f"ELF\0depends={depends}\0rest".encode())
        with open(f"{base}/modules.builtin", "w", encoding="ascii") as file:
            file.write("kernel/fs/built.ko\nkernel/fs/built-too.ko\n")
        order = [name for name, _ in guest_kernel.choose_modules(base, ["d", "built_too", "a_b", "e"])]
        complaints = differ("order", order, ["a-b.ko", "c.ko", "d.ko", "e.ko"])
        try:
            guest_kernel.choose_modules(base, ["nowhere"])
            complaints.append("a module that is nowhere was accepted")
        except guest_kernel.Failure:
            pass
    return complaints


def read_cpio(data):
    """{name: (mode, device, data)} of a newc archive."""
    found, at = {}, 0
    while True:
        assert data[at:at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110:at + 110 + fields[11] - 1].decode()
        start = at + (110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (oct(fields[1]), (fields[9], fields[10]), data[start:start + fields[6]])
        at = start + (fields[6] + 3) // 4 * 4


def initramfs_is_complete():
    with tempfile.TemporaryDirectory() as modules:
        for name, content in (("order", b"x.ko\ny.ko\n"), ("x.ko", b"xx"), ("y.ko", b"yyy")):
            with open(f"{modules}/{name}", "wb") as file:
                file.write(content)
        made = guest_kernel.make_initramfs(b"agent", modules).bytes()
        again = guest_kernel.make_initramfs(b"agent", modules).bytes()
    entries = read_cpio(made)
    wanted = {"init": ("0o100755", (0, 0), b"agent"), "dev/console": ("0o20600", (5, 1), b""),
              "dev/null": ("0o20666", (1, 3), b""), "modules/order": ("0o100644", (0, 0), b"x.ko\ny.ko\n"),
              "modules/x.ko": ("0o100644", (0, 0), b"xx"), "modules/y.ko": ("0o100644", (0, 0), b"yyy"),
              "newroot": ("0o40755", (0, 0), b"")}
    complaints = [line for name, entry in wanted.items() for line in differ(name, entries.get(name), entry)]
    return complaints + differ("the same bytes again", made == again, True)


def tests_are_counted():
    table = (
        ("one test", {"result": "OK"}, (1, 0, 0)),
        ("failed", {"result": "FAIL"}, (0, 1, 0)),
        ("timed out", {"result": "TIMEOUT", "stdout": "1..2\nok 1 - a\n"}, (1, 1, 0)),
        ("crashed after all", {"result": "ERROR", "stdout": "1..1\nok 1 - a\n"}, (1, 1, 0)),
        ("subtests", {"result": "OK", "stdout": "1..2\nok 1 - a\nok 2 /b/c\n# ok so\n"}, (2, 0, 0)),
        ("a failed subtest", {"result": "FAIL", "stdout": "1..2\nok 1 - a\nnot ok 2 - b\n"}, (1, 1, 0)),
        ("an excused one", {"result": "OK", "stdout": "1..1\nnot ok 1 - a # TODO\n"}, (0, 1, 0)),
        ("a skipped subtest", {"result": "OK", "stdout": "1..2\nok 1 - a # SKIP why\nok 2\n"}, (1, 0, 1)),
        ("all skipped", {"result": "SKIP", "stdout": "1..0 # SKIP no guest\n"}, (0, 0, 1)),
        ("skipped", {"result": "SKIP"}, (0, 0, 1)),
    )
    complaints = []
    for what, record, wanted in table:
        count = run_tests.Count()
        count.add_test("tree:suite", {"name": "test", **record}, show=lambda *_: None)
        complaints += differ(what, (count.passed, len(count.failed), len(count.skipped)), wanted)
    return complaints


def packages_are_asked_for():
    """With a dpkg that knows nothing, no root and no sudo: the command to type, and status 1."""
    with tempfile.TemporaryDirectory() as tools:
        for name, script in (("dpkg-query", "exit 1"), ("id", "echo 1000")):
            with open(f"{tools}/{name}", "w", encoding="ascii") as file:
                file.write(f"#!/bin/sh\n{script}\n")
            os.chmod(f"{tools}/{name}", 0o755)
        for name in ("sh", "sed", "dirname"):
            os.symlink(f"/bin/{name}" if name != "dirname" else "/usr/bin/dirname", f"{tools}/{name}")
        command = ["/bin/sh", f"{SOURCE}/tools/install-packages"]
        refused = subprocess.run(command + ["run"], env={"PATH": tools}, capture_output=True, text=True)
        unknown = subprocess.run(command + ["no-such-list"], env={"PATH": tools}, capture_output=True, text=True)
    return (differ("status", refused.returncode, 1) + differ("names a package", "busybox-static" in refused.stderr, True)
            + differ("status of an unknown list", unknown.returncode, 2))


def main():
    tests = (vmlinux_is_taken_out, modules_are_in_order, initramfs_is_complete, tests_are_counted, packages_are_asked_for)
    return report([(test.__name__.replace("_", " "), test()) for test in tests])


if __name__ == "__main__":
    sys.exit(main())

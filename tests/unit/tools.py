#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tools that build and count: guest-kernel, guest-image and its scripts, run-tests, install-packages, mutate."""

import argparse
import gzip
import hashlib
import importlib.machinery
import importlib.util
import json
import lzma
import os
import stat
import struct
import subprocess
import sys
import tempfile

from source import SOURCE, report


def load(name):
    """A tool without a suffix, as a module, with what the tools share."""
    sys.dont_write_bytecode = True
    if f"{SOURCE}/tools" not in sys.path:
        sys.path.insert(0, f"{SOURCE}/tools")
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), f"{SOURCE}/tools/{name}")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


guest_kernel = load("guest-kernel")
guest_image = load("guest-image")
run_tests = load("run-tests")
mutate = load("mutate")


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
        order = [f"{name} {device}".strip() for name, device, _ in guest_kernel.choose_modules(base, ["d 0x1041", "built_too", "a_b", "e"])]
        complaints = differ("order", order, ["a-b.ko", "e.ko", "c.ko 0x1041", "d.ko 0x1041"])
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
        for name, content in (("order", b"x.ko\ny.ko 0x1041\n"), ("x.ko", b"xx"), ("y.ko", b"yyy")):
            with open(f"{modules}/{name}", "wb") as file:
                file.write(content)
        made = guest_kernel.make_initramfs(b"agent", modules).bytes()
        again = guest_kernel.make_initramfs(b"agent", modules).bytes()
    entries = read_cpio(made)
    wanted = {"init": ("0o100755", (0, 0), b"agent"), "dev/console": ("0o20600", (5, 1), b""),
              "dev/null": ("0o20666", (1, 3), b""), "modules/order": ("0o100644", (0, 0), b"x.ko\ny.ko 0x1041\n"),
              "modules/x.ko": ("0o100644", (0, 0), b"xx"), "modules/y.ko": ("0o100644", (0, 0), b"yyy"),
              "newroot": ("0o40755", (0, 0), b"")}
    complaints = [line for name, entry in wanted.items() for line in differ(name, entries.get(name), entry)]
    return complaints + differ("the same bytes again", made == again, True)


def make_disk(path, content):
    """The least that is a qcow2 file here: magic, version, and the size of the disk at its place, 1 MiB."""
    with open(path, "wb") as file:
        file.write(struct.pack(">4sI16xQ", b"QFI\xfb", 3, 1 << 20) + content)


class Pool:
    """A pool and what goes into it, with a builder of disks that is quick and counts."""

    def __init__(self, folder):
        self.path, self.guest, self.agent = f"{folder}/pool", f"{folder}/guest", f"{folder}/agent"
        self.built = 0
        for name in (self.path, self.guest):
            os.mkdir(name)
        for name in (f"{self.guest}/vmlinux", f"{self.guest}/initramfs", self.agent):
            self.change(name, b"first")

    @staticmethod
    def change(path, content):
        with open(path, "wb") as file:
            file.write(content)

    def build(self, pool, agent, work):
        self.built += 1
        make_disk(f"{work}/disk", guest_image.read(agent))
        return guest_image.place(pool, f"{work}/disk")

    def update(self, refresh=False):
        """The record after an update, and how many disks were built for it."""
        before, real = self.built, guest_image.build_disk
        guest_image.build_disk = self.build
        try:
            guest_image.update_pool(self.path, argparse.Namespace(agent=self.agent, guest=self.guest, refresh=refresh), lambda line: None)
        finally:
            guest_image.build_disk = real
        with open(f"{self.path}/debian.json", encoding="ascii") as file:
            return json.load(file), self.built - before

    def names(self):
        return sorted(name for name in os.listdir(self.path) if not name.startswith("."))


def pool_is_laid_down():
    """Names are digests, modes are for reading, the record is what src/job/record.c takes."""
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(folder)
        record, built = pool.update()
        with open(f"{SOURCE}/src/job/record.c", encoding="ascii") as file:
            keys = sorted(line.split('"')[1] for line in file if line.startswith('    {"') and ", take_" in line)
        complaints = differ("disks built", built, 1) + differ("keys", sorted(record), keys) + differ("size", record["size"], 1 << 20)
        wanted = {record["digest"], record["kernel"], record["initramfs"], "debian.json"}
        complaints += differ("files", pool.names(), sorted(wanted))
        for name in pool.names():
            complaints += differ(f"mode of {name}", oct(stat.S_IMODE(os.stat(f"{pool.path}/{name}").st_mode)), "0o444")
            if name != "debian.json":
                with open(f"{pool.path}/{name}", "rb") as file:
                    complaints += differ("name", name, "sha256-" + hashlib.sha256(file.read()).hexdigest())
        return complaints


def pool_is_kept_up_to_date():
    """Each thing that can change makes anew what depends on it, nothing else, and what no record names goes."""
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(folder)
        pool.update()

        def same():
            """Nothing."""

        def other_kernel():
            pool.change(f"{pool.guest}/vmlinux", b"second")

        def other_agent():
            pool.change(pool.agent, b"second")

        def no_disk():
            os.unlink(f"{pool.path}/{record['digest']}")

        def no_initramfs():
            os.unlink(f"{pool.path}/{record['initramfs']}")

        def bad_record():
            pool.change(f"{folder}/bad", b"{")
            os.rename(f"{folder}/bad", f"{pool.path}/debian.json")

        def other_disk_in_record():
            pool.change(f"{folder}/bad", json.dumps({**record, "digest": record["kernel"]}).encode())
            os.rename(f"{folder}/bad", f"{pool.path}/debian.json")

        def killed_run():
            os.makedirs(f"{pool.path}/.new-x/root")
            pool.change(f"{pool.path}/.new-y", b"")

        def unnamed_file():
            pool.change(f"{pool.path}/sha256-00", b"")

        record, _ = pool.update()
        for change, built in ((same, 0), (other_kernel, 0), (other_agent, 1), (no_disk, 1), (no_initramfs, 0), (bad_record, 1),
                              (other_disk_in_record, 1), (killed_run, 0), (unnamed_file, 0)):
            change()
            record, count = pool.update()
            complaints += differ(f"disks built after {change.__name__}", count, built)
            wanted = sorted({record["digest"], record["kernel"], record["initramfs"], "debian.json"})
            complaints += differ(f"files after {change.__name__}", pool.names(), wanted)
            complaints += differ(f"left by {change.__name__}", [name for name in os.listdir(pool.path) if name.startswith(".new-")], [])
        complaints += differ("disks built when asked for", pool.update(refresh=True)[1], 1)
    return complaints


def other_images_are_kept():
    """Files of another record, and all files while a record cannot be read."""
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(folder)
        for name in ("sha256-11", "sha256-22"):
            pool.change(f"{pool.path}/{name}", b"")
        pool.change(f"{pool.path}/own.json", b"not yet written")
        pool.update()
        complaints += differ("with a bad record", [name in pool.names() for name in ("sha256-11", "sha256-22")], [True, True])
        pool.change(f"{pool.path}/own.json", b'{"digest": "sha256-11"}')
        pool.update()
        complaints += differ("with a good one", [name in pool.names() for name in ("sha256-11", "sha256-22")], [True, False])
    return complaints


def disks_are_measured():
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        make_disk(f"{folder}/disk", b"")
        complaints += differ("size", guest_image.virtual_size(f"{folder}/disk"), 1 << 20)
        Pool.change(f"{folder}/raw", bytes(64))
        try:
            guest_image.virtual_size(f"{folder}/raw")
            complaints.append("a raw file was taken for a qcow2 file")
        except guest_image.Failure:
            pass
    return complaints


def image_tools_refuse():
    """What cannot be built is one line and a status, before anything is installed or written."""
    images, tool = f"{SOURCE}/images", f"{SOURCE}/tools/guest-image"
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        agent, guest = f"{folder}/agent", f"{folder}/guest"
        Pool.change(agent, b"agent")
        os.mkdir(guest)
        for name in ("vmlinux", "initramfs"):
            Pool.change(f"{guest}/{name}", b"")
        where = ["--output", f"{folder}/pool"]
        for argv, status, words in (
                ([f"{images}/debian.sh"], 2, "--base, --agent and OUTPUT are needed"),
                ([f"{images}/debian.sh", "--base"], 2, "--base needs a value"),
                ([f"{images}/debian.sh", "--sise", "1"], 2, "unknown option '--sise'"),
                ([f"{images}/debian.sh", "--base", "b", "--agent", agent, "x", "y"], 2, "one OUTPUT only"),
                ([f"{images}/debian.sh", "--base", f"{folder}/b", "--agent", "/no", f"{folder}/x"], 1, "cannot read the agent '/no'"),
                ([f"{images}/disk.sh", "tar"], 2, "--agent, TAR and OUTPUT are needed"),
                ([f"{images}/disk.sh", "--agent", agent, "/no.tar", f"{folder}/x"], 1, "cannot read '/no.tar'"),
                ([f"{images}/disk.sh", "--agent", "/no", agent, f"{folder}/x"], 1, "cannot read '/no'"),
                ([tool, *where, "--sise"], 2, "unrecognized arguments: --sise"),
                ([tool, *where, "--guest", guest, "--agent", "/no"], 1, "No such file or directory: '/no'"),
                ([tool, *where, "--guest", folder, "--agent", agent], 1, "run tools/guest-kernel first")):
            done = subprocess.run(argv, capture_output=True, text=True)
            what = " ".join(os.path.basename(word) for word in argv)
            complaints += differ(f"status of {what}", done.returncode, status)
            complaints += [] if words in done.stderr else [f"{what}: said {done.stderr!r}"]
        complaints += differ("files", sorted(os.listdir(folder)), ["agent", "guest"])
    return complaints


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


def mutations_find_their_place():
    mutations = mutate.load()
    found = [complaint for mutation in mutations for complaint in mutation.complaints(SOURCE)]
    with open(f"{SOURCE}/doc/mutations.md", encoding="utf-8") as file:
        text = file.read()
    return found + [f"not in doc/mutations.md: {mutation.name}" for mutation in mutations if f"| {mutation.name} |" not in text]


def main():
    tests = (vmlinux_is_taken_out, modules_are_in_order, initramfs_is_complete, pool_is_laid_down, pool_is_kept_up_to_date,
             other_images_are_kept, disks_are_measured, image_tools_refuse, tests_are_counted, packages_are_asked_for,
             mutations_find_their_place)
    return report([(test.__name__.replace("_", " "), test()) for test in tests])


if __name__ == "__main__":
    sys.exit(main())

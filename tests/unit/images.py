#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmgr show images and show image NAME, of a pool that this test makes. Speaks TAP."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

from source import SOURCE, report

BUILD = os.environ.get("VTORQUE_BUILD", os.path.join(SOURCE, "build"))
DIGEST = "sha256-" + 64 * "d"
KERNEL = "sha256-" + 64 * "e"
RECORD = {"version": 1, "name": "demo", "family": "debian", "arch": "x86_64", "format": "raw", "digest": DIGEST, "size": 3 << 20,
          "root": "/dev/vda", "filesystem": "ext4", "kernel": KERNEL, "initramfs": KERNEL, "init": ["agent", "system"],
          "description": "Debian, Größe egal"}


class Pool:
    """A vmgr of its own beside a settings' file (an ordinary user's), and a cache with the pool (root's)."""

    def __init__(self):
        self.base = tempfile.mkdtemp(prefix="vtorque-images-", dir="/tmp")
        os.chmod(self.base, 0o755)
        self.path = os.path.join(self.base, "vtorque", "images")
        for name in ("bin", "etc", "vtorque/images"):
            os.makedirs(os.path.join(self.base, name), mode=0o755)
        shutil.copy(os.path.join(BUILD, "bin", "vmgr"), os.path.join(self.base, "bin"))
        self.put("../../etc/vtorque.conf", "")

    def put(self, name, content, mode=0o644):
        path = os.path.join(self.path, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        os.chmod(path, mode)

    def vmgr(self, *words):
        done = subprocess.run([os.path.join(self.base, "bin", "vmgr"), *words], env={**os.environ, "XDG_CACHE_HOME": self.base, "LC_ALL": "C.UTF-8"},
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def json(self, *words):
        status, out, err = self.vmgr(*words, "--json")
        return json.loads(out) if status == 0 and not err else (status, err)

    def fill(self):
        """One that is fit, one with a file that others may write to, one whose record is none, and no image."""
        self.put(DIGEST, "d" * (3 << 20))
        self.put(KERNEL, "kernel")
        self.put("demo.json", RECORD)
        self.put("open.json", {**RECORD, "name": "open", "digest": "sha256-" + 64 * "f", "init": ["system"]})
        self.put("sha256-" + 64 * "f", "f" * (3 << 20), 0o666)
        self.put("broken.json", "{")
        self.put("notes.txt", "")


def differ(what, got, wanted):
    return [] if got == wanted else [f"{what}: got {got!r}, not {wanted!r}"]


def empty(pool):
    said = f"vmgr: no images in pool '{pool.path}' (make image)\n"
    return differ("text", pool.vmgr("show", "images"), (0, "", said)) + differ("JSON", pool.json("show", "images"), [])


def table(pool):
    status, out, err = pool.vmgr("show", "images")
    lines = [line.split(maxsplit=6) for line in out.splitlines()]
    fit = "debian x86_64 raw 3 agent".split()
    return (differ("status", (status, err), (0, "")) + differ("names", [line[0] for line in lines], ["NAME", "broken", "demo", "open"])
            + differ("a fit one", lines[2], ["demo", *fit, "system yes  Debian, Größe egal"])
            + differ("an open one", lines[3][6][:32], "no   cannot use image 'open' of ")
            + differ("a broken one", out.splitlines()[1].split()[1:9], "? ? ? ? ? no record of".split()))


def objects(pool):
    found = pool.json("show", "images")
    rest = {key: value for key, value in RECORD.items() if key != "version"}
    return (differ("fit", [image["fit"] for image in found], [False, True, False])
            + differ("a fit one", found[1], {**rest, "pool": pool.path, "fit": True, "reason": None})
            + differ("a broken one", sorted(found[0]), ["fit", "name", "pool", "reason"])
            + differ("why", found[0]["reason"], "record of image 'broken': not a JSON object")
            + differ("alone", pool.json("show", "image", "demo"), found[1]))


def one(pool):
    status, out, err = pool.vmgr("show", "image", "demo")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    wanted = {**{key: value for key, value in RECORD.items() if key != "version"}, "pool": pool.path, "size": "3145728 bytes",
              "init": "agent system", "fit": "yes"}
    return differ("status", (status, err), (0, "")) + differ("rows", rows, wanted)


def unfit(pool):
    status, out, err = pool.vmgr("show", "image", "open")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    said = f"cannot use image 'open' of pool '{pool.path}': 'sha256-{64 * 'f'}' has mode 0666: must not be writable by group or others"
    return differ("status", (status, err), (0, "")) + differ("fit", rows["fit"], "no") + differ("reason", rows["reason"], said)


def no_kernel(pool):
    pool.put("demo.json", {key: value for key, value in RECORD.items() if key not in ("kernel", "initramfs")})
    found = pool.json("show", "image", "demo")
    _, out, _ = pool.vmgr("show", "image", "demo")
    pool.put("demo.json", RECORD)
    return (differ("JSON", (found["kernel"], found["initramfs"]), (None, None))
            + ([] if "kernel       the site's (GUEST_KERNEL)\n" in out else [out]))


def mistakes(pool):
    usage = "vmgr: usage: vmgr show config|images|image NAME [--json]\n"
    complaints = []
    for words in ((), ("nothing",), ("image",), ("images", "demo"), ("config", "demo"), ("image", "demo", "open")):
        complaints += differ(words, pool.vmgr("show", *words), (2, "", usage))
    said = f"vmgr: no image 'none' in pool '{pool.path}'; there are broken, demo, open\n"
    return complaints + differ("no image", pool.vmgr("show", "image", "none"), (2, "", said))


def completion(pool):
    script = 'source "$1"; COMP_WORDS=("$2" show image "") COMP_CWORD=3; _vmgr; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script, "bash", os.path.join(SOURCE, "completion", "bash", "vmgr"),
                           os.path.join(pool.base, "bin", "vmgr")], env={**os.environ, "XDG_CACHE_HOME": pool.base},
                          capture_output=True, text=True, check=False)
    return differ("names", done.stdout.split(), ["broken", "demo", "open", "--json", "--help"])


def main():
    pool = Pool()
    try:
        results = [("no images", empty(pool))]
        pool.fill()
        results += [(name, test(pool)) for name, test in (
            ("a line each", table), ("objects", objects), ("one image", one), ("one that is not fit", unfit),
            ("one with the site's kernel", no_kernel), ("mistakes", mistakes), ("completion", completion))]
    finally:
        shutil.rmtree(pool.base)
    return report(results)


if __name__ == "__main__":
    sys.exit(main())

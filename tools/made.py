# SPDX-License-Identifier: Apache-2.0
"""What the tools share that make files for guests and keep them: programs, files that are never half there, digests, the cache."""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COPY_BYTES = 1 << 20


class Failure(Exception):
    """What went wrong, as one line for the user."""


def run(argv, **options):
    """The standard output of a program that must succeed."""
    try:
        return subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options).stdout
    except FileNotFoundError:
        raise Failure(f"'{argv[0]}' is not installed") from None
    except subprocess.CalledProcessError as error:
        tail = error.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise Failure(f"'{' '.join(argv[:2])}' failed: {tail[-1]}") from None


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data, mode=0o644):
    """Write a file beside its place, then rename it."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, mode)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def text(path):
    """A small file's text, '' where there is none."""
    try:
        return read(path).decode().strip()
    except FileNotFoundError:
        return ""


def digest(*parts):
    """One digest of several strings of bytes."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()


def file_digest(path):
    """The SHA-256 of a file of any size."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(COPY_BYTES):
            total.update(part)
    return total.hexdigest()


def cache(name):
    """A folder of the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "vtorque", name)


@contextlib.contextmanager
def locked(folder):
    """The absolute path of an output directory that nobody else makes files in; only its owner may write to it and on the way."""
    os.umask(0o022)
    os.makedirs(folder, exist_ok=True)
    folder = os.path.abspath(folder)
    with open(f"{folder}/.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def main(name, work):
    """The exit status of `work`; a failure is one line."""
    try:
        work()
    except (Failure, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0

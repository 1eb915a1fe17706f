# SPDX-License-Identifier: Apache-2.0
"""A munged of a test's own."""

import os
import shutil
import subprocess
import tempfile

from bed import lib, wait_for


class Munged:
    """A munged with a key of its own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="vtt-munge-")
        os.chmod(self.folder, 0o755)
        with open(f"{self.folder}/key", "wb") as file:
            file.write(os.urandom(128))
        os.chmod(f"{self.folder}/key", 0o400)
        self.socket = f"{self.folder}/sock"
        self.start()

    def start(self):
        names = {"key-file": "key", "socket": "sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        words = [f"--{word}={self.folder}/{name}" for word, name in names.items()]
        self.process = subprocess.Popen(["/usr/sbin/munged", "--foreground", "--force", *words], stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(self.socket), "munged's socket")

    def stop(self):
        self.process.terminate()
        self.process.wait(lib.DEADLINE)

    def seal(self, text, user=None):
        """A credential, made as who knows how."""
        prefix = user.prefix() if user else []
        words = [*prefix, "munge", f"--socket={self.socket}", "--cipher=aes128", "--mac=sha256", "--restrict-uid=0"]
        return subprocess.run(words, input=text.encode(), stdout=subprocess.PIPE, check=True, timeout=lib.DEADLINE).stdout.strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder)

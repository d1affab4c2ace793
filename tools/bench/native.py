# SPDX-License-Identifier: GPL-2.0
"""How fast one core of this machine, not of an emulated host, does what the page store has it do,
and finds what has changed in a page (delta.c).

An image of MB megabytes, no page of which is like another, lies in the page cache, and a copy
of it on the disk only; see native.c. The bound of "store add" is what one core digests of the
image, or what the disk gives of the copy, whichever is less.
"""
import os
import shutil
import subprocess
import tempfile

import micro

MB = 1024
TIMEOUT = 600


def program(*words):
    """What it prints."""
    done = subprocess.run([os.path.join(micro.OUTPUT, words[0]), *words[1:]], text=True,
                          capture_output=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        raise micro.Failed(f"{words[0]} returned {done.returncode}:\n{done.stdout}{done.stderr}")
    return micro.parse(done.stdout)


def measure(_kernel, say, _samples):
    """The samples; the kernel is this machine's own."""
    say("native: the page store")
    with tempfile.TemporaryDirectory(dir=micro.OUTPUT) as folder:
        image = os.path.join(folder, "image.raw")
        with open(image, "wb") as file:
            for _ in range(MB):
                file.write(os.urandom(1 << 20))
        cold = os.path.join(folder, "cold.raw")
        shutil.copyfile(image, cold)
        # Nothing must be written to the disk while it is read.
        os.sync()
        taken = program("native", image, cold, folder)
    say("native: deltas")
    taken.update(program("delta"))
    taken["native.cold-bound"] = [min(pair) for pair in
                                  zip(taken["native.disk"], taken["native.hash"])]
    return taken

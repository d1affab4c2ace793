# SPDX-License-Identifier: GPL-2.0
"""How fast one core of this machine, not of an emulated host, does what the page store has it do.

An image of MB megabytes, no page of which is like another, lies in the page cache, and a copy
of it on the disk only; see native.c. The bound of "store add" is what reading the image gives,
or XXH64 of it, whichever is less.
"""
import os
import shutil
import subprocess
import tempfile

import micro

MB = 1024
TIMEOUT = 600


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
        done = subprocess.run([os.path.join(micro.OUTPUT, "native"), image, cold,
                               folder], capture_output=True, text=True,
                              timeout=TIMEOUT, check=False)
    if done.returncode:
        raise micro.Failed(f"native returned {done.returncode}:\n{done.stdout}{done.stderr}")
    taken = micro.parse(done.stdout)
    for bound, source in (("native.bound", "native.read"), ("native.cold-bound", "native.disk")):
        taken[bound] = [min(pair) for pair in zip(taken[source], taken["native.xxh64"])]
    return taken

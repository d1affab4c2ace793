#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Equal pages of a VM travel once: the others are copied over there.

The guest holds a file of random bytes and a second one that equals it; then it rewrites
both, in turn, while it moves, so that what a copy is taken from is no more what it was.
Every move is verified page by page. With post-copy the rewriting goes on where pages are
copied.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.move import MODES, Scenario, Work, must_answer
from vm import Bed

MB = 12
PAGES = MB * 256
# Each turn both files become others, a part at a time, one soon after the other.
RESTLESS = f"""
n=0
while :; do
    n=$(((n + 1) % {MB}))
    dd if=/dev/urandom of=/tmp/one bs=1M count=1 seek=$n conv=notrunc 2>/dev/null
    dd if=/tmp/one of=/tmp/two bs=1M count=1 skip=$n seek=$n conv=notrunc 2>/dev/null
done"""


def copies(result):
    """Before the stop, and when memory followed."""
    return result["pages"]["copy"] + result.get("postcopy", {}).get("copied", 0)


class Twins(Scenario):
    def __init__(self, bed):
        super().__init__(bed, huge=True)
        self.vm = self.guest(redis=False)
        self.work = Work(self.vm, "writer 4 rate=200")
        self.vm.run(f"dd if=/dev/urandom of=/tmp/one bs=1M count={MB} 2>/dev/null && "
                    "cp /tmp/one /tmp/two", timeout=120, check=True)

    def move(self, mode):
        # Random bytes: to compress them shows nothing.
        result, move = self.cross(args=MODES[mode] + ["--compress=off"])
        self.note(f"{mode}: {result['pages']}, missed {result['missed']}, "
                  f"{result['wire_bytes']} bytes")
        must_answer(self.vm)
        self.work.guest = self.vm
        self.work.verify()
        move.nothing_left()
        return result

    def still(self, mode):
        """Nobody writes to them: each page of the second one is a copy."""
        result = self.move(mode)
        assert copies(result) > PAGES * 0.9, result
        assert result["missed"] < PAGES / 10, result
        self.vm.run("cmp /tmp/one /tmp/two", timeout=60, check=True)

    def restless(self, mode):
        """What is copied from changes; nothing wrong comes of it."""
        restless = self.vm.spawn(f"exec sh -c '{RESTLESS}'")
        try:
            result = self.move(mode)
        finally:
            restless.kill()
        assert copies(result) > 0, result
        self.vm.run("cp /tmp/one /tmp/two", timeout=60, check=True)

    def run(self):
        for mode in self.some(1, MODES):
            with self.test(f"still: {mode}"):
                self.still(mode)
        for mode in self.some(1, MODES):
            with self.test(f"restless: {mode}"):
                self.restless(mode)
        return self.tests.finish()


def main():
    with Bed(name="twins") as bed:
        return Twins(bed).run()


if __name__ == "__main__":
    sys.exit(main())

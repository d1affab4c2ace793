#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A page that was written, but holds what it held, does not travel again.

The guest writes to its pages what is there already. Another one writes what XXH64, whatever
its seed, does not tell from what was there: that must not pass for the same. Every move is
verified page by page, and by the guest.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.move import MODES, Scenario, Work, hooks, must_answer
from vm import Bed

# Whether pages are sent without a copy, and what is known of them otherwise.
COMPRESS = ("off", "on", "auto")


class Unchanged(Scenario):
    def __init__(self, bed):
        super().__init__(bed, huge=True)
        self.vm = self.guest(redis=False)
        self.work = None

    def start(self, vm, twin, how="off", **options):
        return self.paced(vm, twin, args=[*MODES["precopy"], f"--compress={how}"], **options)

    def move(self, how):
        result, move = self.cross(start=self.start, how=how)
        self.tell(result)
        self.note(f"unchanged {result['pages']['unchanged']}, missed {result['unchanged_missed']}")
        must_answer(self.vm)
        self.work.guest = self.vm
        self.work.verify()
        move.nothing_left()
        return result

    def same(self, how):
        result = self.move(how)
        assert result["pages"]["unchanged"] > 3000, result["pages"]
        # Those that were written between hash and proof, at most.
        assert result["unchanged_missed"] < 100, f"{result['unchanged_missed']} were something else"

    def aimed(self, how):
        """Half of those that have changed have the same XXH64."""
        result = self.move(how)
        assert result["unchanged_missed"] > 500, "XXH64 has not been deceived: nothing was tested"

    def trusted(self, twin):
        """Without the proof it is --verify that notices: so the test above tests it."""
        self.start(self.vm, twin, verify=True,
                   recv_env=hooks("trust-proof")).failed("verification", "differ")
        self.work.verify()

    def run(self):
        self.work = Work(self.vm, "writer 16 same rate=1000")
        for how in self.some(1, COMPRESS):
            with self.test(f"what is there already: compression {how}"):
                self.same(how)
        self.work.end()
        self.work = Work(self.vm, "writer 16 aimed rate=1000")
        for how in self.some(1, COMPRESS):
            with self.test(f"what is meant to look the same: compression {how}"):
                self.aimed(how)
        with self.twin_test("it would be lost without a proof") as twin:
            self.trusted(twin)
        self.work.end()
        return self.tests.finish()


def main():
    with Bed(name="unchanged") as bed:
        return Unchanged(bed).run()


if __name__ == "__main__":
    sys.exit(main())

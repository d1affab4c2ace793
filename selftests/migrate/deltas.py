#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A page that is written again travels as what has changed in it.

The guest writes a few words in each of many pages of random content: whole, compressed or
not, such a page takes 4096 bytes. Every move is verified page by page, and by the guest.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.lot import REPEAT
from migrate.move import MODES, Scenario, Work, hooks, must_answer, travelled
from vm import Bed

PAGE = 4096
# With memory that follows: by then nobody may speak of changes any more.
SPLIT_MODES = [mode for mode in MODES if mode not in ("precopy", "postcopy")]
WORK = "writer 16 few=8 rate=1000"
# A page with few words changed, at most: two blocks, and what is said of it.
CHANGE = 600


class Deltas(Scenario):
    def __init__(self, bed):
        super().__init__(bed, rate="100mbit")
        # Memory that the guest has freed is zero, and does not travel.
        self.vm = self.guest(ram_mb=160, redis=False, append="init_on_free=1")
        self.work = Work(self.vm, WORK)

    def start(self, vm, twin, mode="precopy", how="on", **options):
        """With time between the rounds in which the guest writes many pages."""
        return self.paced(vm, twin, args=[*MODES[mode], f"--compress={how}"], **options)

    def move(self, **options):
        result, move = self.cross(start=self.start, **options)
        self.tell(result)
        for number, each in enumerate(result["rounds"], 1):
            self.note(f"round {number}: delta {each['delta']} compressed {each['compressed']} "
                      f"raw {each['raw']} in {each['wire_bytes']} bytes, {each['ms']:.0f} ms")
        must_answer(self.vm)
        self.work.guest = self.vm
        self.work.verify()
        move.nothing_left()
        return result

    def changes(self, **options):
        result = self.move(**options)
        assert result["pages"]["delta"] > 1000, result["pages"]
        # Nothing was sent but what would fit.
        assert not result["delta_missed"], f"{result['delta_missed']} have missed"
        assert not result["rounds"][0]["delta"], "changes of what never travelled"
        for each in result["rounds"]:
            most = (travelled(each) - each["delta"]) * PAGE + each["delta"] * CHANGE + (1 << 17)
            if each["stopped"]:
                most += result["device_state_bytes"]
            assert each["wire_bytes"] < most, f"{each['wire_bytes']} bytes, not {most}"

    def off(self):
        result = self.move(how="off")
        assert not result["pages"]["delta"] and not result["pages"]["compressed"], result

    def follows(self, mode):
        """However little it is: by changes alone pre-copy may end as soon."""
        result = self.move(mode=mode, hooked=["memory-counts"])
        assert result["postcopy"]["stale"] > 500, result["postcopy"]
        assert not result["delta_missed"], f"{result['delta_missed']} have missed"

    def wrong(self):
        """Every change is incomplete: all of them miss, and go whole."""
        result = self.move(hooked=["wrong-delta"])
        assert result["pages"]["delta"] > 500, result["pages"]
        assert result["delta_missed"] > 500, "nobody has noticed"

    def unproved(self, twin):
        """Without the proof it is --verify that notices: so the test above tests it."""
        move = self.start(self.vm, twin, verify=True, hooked=["wrong-delta"],
                          recv_env=hooks("trust-proof"))
        move.failed("verification", "differ")
        self.work.verify()

    def run(self):
        with self.test("a few words in many pages"):
            self.changes()
        # Whether there is time for that, an emulated processor on a busy machine cannot say.
        with self.test("the same of pages that are copied, but not compressed"):
            self.changes(how="auto", hooked=["always-copy"])
        with self.test("changes that are wrong are not taken"):
            self.wrong()
        for mode in self.some(1, SPLIT_MODES):
            with self.test(f"memory that follows: {mode}"):
                self.follows(mode)
        if REPEAT == 1:
            return self.tests.finish()
        with self.test("none with --compress=off"):
            self.off()
        with self.twin_test("wrong changes would be found by --verify") as twin:
            self.unproved(twin)
        return self.tests.finish()


def main():
    with Bed(name="deltas") as bed:
        return Deltas(bed).run()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Whole migrations of a working guest in each mode, to and fro between two hosts.

It has two processors, and its hosts give it pages of 2 MB as far as they can.

Verified by the tool: in post-copy, when all of the memory has followed, each page that
the guest has not written by then; and by the guest's own programs.
"""
import itertools
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.lot import REPEAT
from migrate.move import Scenario, Work, must_answer, travelled
from migrate.redis_load import RedisLoad
from vm import Bed


class Modes(Scenario):
    def __init__(self, bed):
        super().__init__(bed, huge=True)
        self.vm = self.guest(disk=bed.disk(size_mb=64), append="init_on_free=1", smp=2)
        assert self.large(), "the guest has no large pages"
        self.works = [Work(self.vm, "writer 16 hot=1 rate=500 threads=2"),
                      Work(self.vm, "disk /dev/vda 1 rate=50")]
        self.load = RedisLoad(self.b, self.vm.addr, clients=2, keys=200,
                              pause=0.02).start()

    def large(self):
        """Kilobytes of the guest's memory that its host has mapped by 2 MB."""
        maps = self.vm.host.run(f"cat /proc/{self.vm.pid}/smaps", check=True).out
        return sum(int(kb) for kb in re.findall(r"^ShmemPmdMapped: +(\d+) kB", maps, re.M))

    def move(self, mode, *args, **options):
        result, move = self.cross(args=["--mode", mode, *args], **options)
        self.tell(result)
        assert result["mode"] == mode
        must_answer(self.vm)
        for work in self.works:
            work.guest = self.vm
            work.verify()
        assert not self.load.errors, self.load.errors
        move.nothing_left()
        return result

    def followed(self, result):
        """Memory has followed the VM, all of it and no more."""
        followed = result["postcopy"]
        sent = followed["pulled"] + followed["pushed"]
        assert sent == followed["stale"], f"{sent} pages sent of {followed['stale']} stale"
        assert followed["filled"] <= sent
        assert followed["rejoined"] == 0
        times = followed["fault_us"]
        assert times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
        assert not any(each["stopped"] for each in result["rounds"]), \
            "pages travelled while the VM was stopped"

    def postcopy(self):
        result = self.move("postcopy")
        self.followed(result)
        assert travelled(result["pages"]) == 0, "something was copied before the stop"
        assert result["sent_twice"] == 0, "a page was sent twice"
        assert result["postcopy"]["stale"] < result["pages"]["total"] * 3 / 4, \
            "zero pages are stale"
        assert result["postcopy"]["faults"] > 0, "nobody has waited for anything?"

    def three_stage(self):
        result = self.move("three-stage")
        self.followed(result)
        assert len(result["rounds"]) == 1
        assert result["sent_more"] == 0, "a page was sent three times"
        assert result["postcopy"]["stale"] < travelled(result["pages"]) / 2

    def hybrid(self):
        """Rounds as long as they promise to pay; no page more than three times."""
        result = self.move("hybrid", "--max-downtime", 1)
        for each in result["rounds"][:-1]:
            assert each["next_dirty_after"] <= each["dirty_after"] / 2, f"no use: {each}"
        last = travelled(result["rounds"][-1])
        if "postcopy" in result:
            self.followed(result)
            last = result["postcopy"]["stale"]
        assert result["sent_more"] <= last, "a page was sent four times"

    def auto(self):
        """Here it meets what it is asked for, and takes no risk."""
        result = self.move("auto", "--max-downtime", 20000)
        assert "postcopy" not in result, "post-copy without need"

    def forbidden(self):
        result = self.move("auto", "--max-downtime", 1, "--no-postcopy",
                           "--min-bandwidth", "40mbit", "--max-bandwidth", "120mbit")
        assert "postcopy" not in result, "post-copy though it was forbidden"
        first = result["rounds"][0]
        rate = first["wire_bytes"] / first["ms"] * 8 / 1000
        assert rate < 44, f"the first round went at {rate:.0f} Mbit/s, not 40"
        for before, each in itertools.pairwise(
                each for each in result["rounds"] if not each["stopped"]):
            # As fast as the guest has written, and 50 more, between the two bounds.
            wrote = before["dirty_after"] * 4096 * 8 / 1000 / before["ms"]
            allowed = min(max(wrote + 50, 40), 120)
            self.note(f"round {each['round']}: {each['wire_bytes']} bytes in "
                      f"{each['ms']:.0f} ms, {allowed:.0f} Mbit/s allowed")
            # What waits in the last call, and what a pause may be made up for.
            assert each["wire_bytes"] <= 1.1 * allowed * 125 * (each["ms"] + 20) + (1 << 19)

    def finish(self):
        with self.test("the guest's own checks, and those of redis' clients"):
            self.load.stop()
            wrong = self.load.verify()
            self.load.close()
            assert not wrong, "\n".join(wrong[:20])
            for work in self.works:
                work.end()
        return super().finish()


def main():
    with Bed(name="modes") as bed:
        modes = Modes(bed)
        # Nothing in it is random.
        for _ in range(max(1, REPEAT // 5)):
            modes.run_tests(modes.some(3, [
                ("three-stage", modes.three_stage),
                ("postcopy", modes.postcopy),
                ("hybrid", modes.hybrid),
                ("auto, where pre-copy is good enough", modes.auto),
                ("auto, post-copy forbidden, the rate adapted", modes.forbidden)]))
        return modes.finish()


if __name__ == "__main__":
    sys.exit(main())

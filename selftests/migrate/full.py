#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Whole migrations of one guest, to and fro between two hosts.

Each is verified page by page by the tool, before the device state is loaded, and
afterwards by the guest's own programs. The guest is never restarted: what one
migration spoils, a later one finds.
"""
import contextlib
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.move import (HOLD, Move, Scenario, Work, discard, hooks, must_answer, named,
                          travelled)
from migrate.redis_load import RedisLoad
from vm import AgentError, Bed


class Full(Scenario):
    def __init__(self, bed):
        super().__init__(bed)
        self.vm = self.guest(disk=bed.disk(size_mb=64))
        self.works = []

    def move(self, **options):
        """Move the guest to the other host."""
        result, move = self.cross(**options)
        self.check(move, result)
        return result

    def check(self, move, result):
        self.tell(result)
        pages = result["pages"]
        assert pages["total"] == self.vm.ram_mb * 256, f"{pages['total']} pages in all"
        looked = pages["zero"] + pages["unchanged"] + named(pages) + travelled(pages)
        assert looked >= pages["total"], f"only {looked} pages looked at"
        last = result["rounds"][-1]
        assert last["stopped"] or not last["dirty_after"], "no last round"
        assert result["device_state_bytes"] > 10000, "no device state"
        least = (pages["raw"] * 4096 + named(pages) * 48 +
                 result["device_state_bytes"])
        most = (least + pages["compressed"] * 4096 + pages["delta"] * 2100) * 1.1 + (1 << 20)
        assert not result["delta_missed"], f"{result['delta_missed']} changes did not fit"
        assert least <= result["wire_bytes"] <= most, \
            f"{result['wire_bytes']} bytes, not {least} to {most:.0f}"
        assert result["downtime_ms"] <= result["total_ms"]
        must_answer(self.vm)
        assert self.vm.redis("ping") == "PONG"
        move.nothing_left()
        for work in self.works:
            work.verify()

    def rescue(self):
        super().rescue()
        self.works = []
        # The guest may be gone, or have moved against all expectation.
        with contextlib.suppress(AgentError, OSError):
            self.vm.run("pkill -KILL workload")

    def end_work(self):
        """Stop what works in the guest, and look at all of it a last time."""
        works, self.works = self.works, []
        for work in works:
            work.guest = self.vm
            work.end()

    # The migrations

    def idle(self):
        result = self.move()
        # What is free in the guest was never touched, or is zero.
        assert travelled(result["pages"]) < result["pages"]["total"] / 2, "zero pages were sent"
        assert result["pages"]["zero"] > 0

    def quiet_again(self):
        """Nothing was written but what the kernel writes when idle."""
        result = self.move()
        rounds = result["rounds"]
        assert travelled(rounds[-1]) < 2000, "an idle guest dirties that many pages?"

    def writer(self):
        self.works = [Work(self.vm, "writer 24 hot=2 rate=1500")]
        result = self.move()
        assert len(result["rounds"]) >= 2
        self.end_work()

    def disk(self):
        self.works = [Work(self.vm, "disk /dev/vda 2 rate=100"),
                      Work(self.vm, "writer 8 rate=100")]
        # The page cache, too: QEMU's device writes guest pages when it reads.
        write = self.vm.run("dd if=/dev/urandom of=/dev/vda bs=64k seek=512 count=32 "
                            "conv=fsync 2>&1 && echo 3 > /proc/sys/vm/drop_caches",
                            timeout=180)
        assert write.rc == 0, write.out
        line = "dd if=/dev/vda bs=64k skip=512 count=32 2>/dev/null | md5sum"
        before = self.vm.run(line, timeout=180, check=True).out
        reader = self.vm.spawn("while :; do echo 3 > /proc/sys/vm/drop_caches; "
                               f"{line}; done", timeout=600)
        self.move()
        reader.kill()
        sums = {each for each in reader.output.splitlines(keepends=True)
                if len(each) == len(before)}
        assert sums <= {before}, f"the guest read {sums}, not {before}"
        assert self.vm.run(line, timeout=180, check=True).out == before
        self.end_work()

    def redis(self):
        load = RedisLoad(self.vm.host, self.vm.addr, clients=4, keys=500, size=1500,
                         pause=0.01).start()
        try:
            time.sleep(5)
            began = time.monotonic()
            result = self.move()
            served = load.requests
            end = time.monotonic() + 120
            while load.requests == served and time.monotonic() < end:
                time.sleep(0.1)
            assert load.requests > served, "redis answers nobody after the migration"
            load.stop()
            wrong = load.verify()
            assert not wrong, "\n".join(wrong[:20])
            gap, _ = load.gap(began)
            self.note(f"redis: {load.requests} requests, longest time without an answer "
                      f"{gap * 1000:.0f} ms (usual {load.usual_gap(began) * 1000:.0f} ms, "
                      f"downtime {result['downtime_ms']:.0f} ms), every connection and "
                      "every value is there")
            # A client's TCP tries again when it has waited twice as long.
            assert gap < 2 * result["downtime_ms"] / 1000 + 15, \
                f"the clients waited {gap:.1f} s"
        finally:
            load.close()

    def all_at_once(self):
        self.works = [Work(self.vm, "writer 16 hot=1 rate=500"),
                      Work(self.vm, "disk /dev/vda 1 rate=50")]
        load = RedisLoad(self.b, self.vm.addr, clients=2, keys=200, pause=0.02).start()
        try:
            self.move()
            load.stop()
            wrong = load.verify()
            assert not wrong, "\n".join(wrong[:20])
        finally:
            load.close()
        self.end_work()

    def too_fast(self):
        """More is written than the link carries: it says so, and the guest works on."""
        work = Work(self.vm, "writer 8")
        twin = self.vm.twin(self.other(self.vm.host)).start()
        try:
            # Each round is followed by a pause in which the guest writes all again: on a
            # fast machine the rounds would be too short for it.
            move = Move(self.vm, twin, send_env=hooks(round=HOLD),
                        args=["--max-rounds", 4, "--downtime-limit", 500])
            for number in range(1, 5):
                move.send.wait_hook("round", number)
                if number == 1:
                    self.bed.rate("20mbit")
                time.sleep(2)
                move.send.release()
            move.failed("writes faster", "--force-switchover")
            result = move.result()
            assert len(result["rounds"]) == 4, f"{len(result['rounds'])} rounds"
            work.verify()
        finally:
            self.bed.rate(self.rate)
            discard(twin)
        # Told to, it stops the guest for as long as it takes.
        self.works = [work]
        result = self.move(args=["--max-rounds", 3, "--force-switchover"])
        running = [each for each in result["rounds"] if not each["stopped"]]
        assert len(running) <= 3, result["rounds"]
        self.end_work()


def main():
    with Bed(name="full") as bed:
        full = Full(bed)
        with full.test("idle guest"):
            full.idle()
        full.run_tests(full.some(3, [
            ("back again", full.quiet_again),
            ("guest that writes its memory", full.writer),
            ("guest that reads and writes its disk", full.disk),
            ("redis under load from outside", full.redis),
            ("writer, disk and redis at once", full.all_at_once),
            ("guest that writes faster than the link carries", full.too_fast)]))
        return full.finish()


if __name__ == "__main__":
    sys.exit(main())

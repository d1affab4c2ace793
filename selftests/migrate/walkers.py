#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Dynamic prepaging: a guest walks through memory that follows it.

It looks at pages of its own in an order that can be foretold, or not, more slowly than
the link carries them. Each that is there when it comes is a fault avoided. Faults are
counted by the module's tracepoint, those of pages of the walker alone: what the guest's
kernel lacks is another matter.

It goes on in the guest's physical memory, which is all that a host knows: the guest is
asked to put its free memory together before. Where it is in many pieces all the same,
nobody can foretell where it goes on.

Without prepaging pages are pushed in ascending order, and some are in time by chance:
where nothing can be foretold it must not be worse than that.
"""
import itertools
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.lot import REPEAT
from migrate.move import HOLD, Move, Scenario, discard, hooks
from vm import Bed
from vm.ktap import Skip

# Pages that it looks at, in so many MB of its own.
PAGES, SIZE_MB, PER_SECOND = 1000, 64, 150
FEW = PAGES // 2	# where it waits for each of them
# 900 pages/s, until it has walked: all of the guest would take 40 s. On a busy machine
# the walk takes two or three times as long as it should.
SLOW = "30mbit"
# A page that was pushed, and is wanted before it has come through the line, counts as a
# fault: how many do so the machine has a say in.
TRIES = 3
TOO_BUSY = "all had come before it was wanted: this machine is too busy for a walk"
TRACING = "/sys/kernel/tracing"
EVENT = f"{TRACING}/events/migrate_fast/migrate_fast_fault"


class Walkers(Scenario):
    def __init__(self, bed):
        super().__init__(bed, rate="400mbit")
        self.prepaged = 0	# in the last move, because of faults nearby
        self.renew()
        for host in (self.a, self.b):
            host.run(f"grep -q {TRACING} /proc/mounts || mount -t tracefs none {TRACING}; "
                     f"echo 1 > {EVENT}/enable", check=True)

    def renew(self):
        self.vm = self.guest(redis=False)

    def move(self, walker, twin, *rules):
        """It walks while its memory follows it."""
        twin.host.run(f"echo > {TRACING}/trace", check=True)
        move = Move(self.vm, twin, args=["--mode", "postcopy"],
                    send_env=hooks(*rules, push=HOLD))
        move.send.wait_hook("push")
        # What the guest's kernel lacks has nothing to do with it.
        self.steps(walker, 1)
        self.bed.rate(SLOW)
        move.send.release()
        self.steps(walker, 2)
        if not move.send.running:
            raise Skip(TOO_BUSY)
        self.bed.rate(self.rate)
        result = move.moved()
        self.tell(result)
        followed = result["postcopy"]
        self.prepaged = followed["prepaged"]
        # Who waits for a page does not wait for those that nobody has asked for.
        assert followed["fault_us"]["p95"] < followed["ms"] * 1000 / 50
        move.nothing_left()

    @staticmethod
    def steps(walker, times):
        """It walks, for so many times together, once to get warm."""
        walker.kill(signal.SIGUSR1)
        end = time.monotonic() + 120
        while walker.output.count("walked") < times:
            assert walker.running and time.monotonic() < end, walker.output
            time.sleep(0.05)

    def walk(self, order, *rules, pages=PAGES):
        """Part of its pages that were there when it came, in %, and how long it took."""
        self.vm.run("echo 3 > /proc/sys/vm/drop_caches; echo 1 > /proc/sys/vm/compact_memory",
                    check=True)
        walker = self.vm.spawn(f"exec walker {SIZE_MB} {pages} {order} rate={PER_SECOND}")
        walker.wait_output("ready", 120)
        lines = self.vm.run("cat /run/walker", check=True).out.split()
        frames = set(lines)
        assert len(frames) == pages
        twin = self.vm.twin(self.other(self.vm.host)).start()
        try:
            self.move(walker, twin, *rules)
        except BaseException:
            self.bed.rate(self.rate)
            self.rescue()
            for guest in (twin, self.vm):
                guest.kill()
                discard(guest)
            self.renew()
            raise
        left, self.vm = self.vm, twin
        discard(left)
        walker.kill(signal.SIGTERM)
        assert walker.wait(60).rc == 0, walker.output
        seconds = int(re.findall(r"walked \d+ us (\d+)", walker.output)[-1]) / 1e6
        trace = twin.host.read(f"{TRACING}/trace")
        faults = set(re.findall(r"migrate_fast_fault: .* page=(\d+)", trace))
        assert faults, "nobody has wanted anything?"
        wanted = faults & frames
        avoided = 100 - 100 * len(wanted) / pages
        self.note(f"{order}{', '.join(['', *rules])}: {avoided:.1f}% of the faults avoided, "
                  f"{len(wanted)} were not; walked for {seconds:.1f} s, "
                  f"memory in {self.pieces(lines)} pieces")
        return avoided, seconds

    @staticmethod
    def pieces(frames):
        """Of the guest's memory, each of which it walks through in even steps."""
        steps = [int(to) - int(frm) for frm, to in itertools.pairwise(frames)]
        return 1 + len(steps) - steps.count(max(steps, key=steps.count))

    def foretold(self, order, target):
        with self.test(f"{order}: at least {target}% of the faults avoided"):
            for _ in range(TRIES):
                avoided, _ = self.walk(order)
                if avoided >= target:
                    break
            assert avoided >= target, f"{avoided:.1f}%"

    def not_foretold(self):
        """It is not for prepaging to make it worse: nothing is pushed on a guess.

        How many pages come by chance, on their turn, is never quite the same.
        """
        with self.test("random: no more faults than without prepaging"):
            avoided, _ = self.walk("random", pages=FEW)
            prepaged = self.prepaged
            without, _ = self.walk("random", "no-prepage", pages=FEW)
            if without > 50:
                raise Skip(TOO_BUSY)
            assert 100 - avoided <= 1.1 * (100 - without)
            assert prepaged < FEW / 5, f"{prepaged} pages pushed on a guess"


def main():
    with Bed(name="walkers") as bed:
        walkers = Walkers(bed)
        # The walks are always the same.
        for _ in range(max(1, REPEAT // 5)):
            for test in walkers.some(2, [lambda: walkers.foretold("sequential", 90),
                                         lambda: walkers.foretold("strided", 80),
                                         walkers.not_foretold]):
                test()
        return walkers.finish()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A guest that writes faster than the link carries.

Pre-copy alone gives up within its bounds. The modes in which memory follows the VM
finish, and three-stage and post-copy send no page more than twice.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.move import Move, Scenario, Work, discard, hooks
from vm import Bed

SLOW = "20mbit"


class Fast(Scenario):
    def __init__(self, bed):
        super().__init__(bed)
        # Memory that the guest has freed is zero, and does not travel.
        self.vm = self.guest(append="init_on_free=1")
        self.work = Work(self.vm, "writer 8")

    def begin(self, twin, *args):
        """The first round is quick; the line is slow when the guest has written again."""
        move = Move(self.vm, twin, args=args, send_env=hooks(round=2000))
        move.send.wait_hook("round")
        self.bed.rate(SLOW)
        return move

    def precopy(self):
        twin = self.vm.twin(self.b).start()
        try:
            move = self.begin(twin, "--mode", "precopy", "--max-rounds", 4,
                              "--downtime-limit", 500)
            move.failed("writes faster", "--force-switchover")
            result = move.result()
            assert len(result["rounds"]) == 4, f"{len(result['rounds'])} rounds"
            assert result["working_set"] > 1000, "the writer's pages are its working set"
            self.work.verify()
        finally:
            self.bed.rate(self.rate)
            discard(twin)

    def follows(self, mode, *args):
        twin = self.vm.twin(self.other(self.vm.host)).start()
        try:
            move = self.begin(twin, "--mode", mode, *args)
            if mode == "postcopy":
                self.bed.rate(self.rate)	# all of it is to come
            result = move.moved()
        except BaseException:
            discard(twin)
            raise
        finally:
            self.bed.rate(self.rate)
        discard(self.vm)
        self.vm = self.work.guest = twin
        self.tell(result)
        assert "postcopy" in result, "pre-copy met --max-downtime?"
        self.work.verify()
        move.nothing_left()
        return result

    def three_stage(self):
        result = self.follows("three-stage")
        assert result["sent_more"] == 0, "a page was sent three times"
        assert result["postcopy"]["stale"] > 1500, "the writer's pages are stale"

    def postcopy(self):
        result = self.follows("postcopy")
        assert result["sent_twice"] == 0, "a page was sent twice"

    def hybrid(self):
        result = self.follows("hybrid")
        assert len(result["rounds"]) <= 5, f"{len(result['rounds'])} rounds"

    def auto(self):
        """As the last resort only: rounds have not paid three times."""
        result = self.follows("auto")
        assert len(result["rounds"]) >= 4, f"only {len(result['rounds'])} rounds"

    def allowed(self):
        """It sees early that rounds will not pay."""
        self.follows("auto", "--allow-postcopy")


def main():
    with Bed(name="fast") as bed:
        fast = Fast(bed)
        with fast.test("precopy gives up within its bounds"):
            fast.precopy()
        with fast.test("three-stage"):
            fast.three_stage()
        with fast.test("postcopy"):
            fast.postcopy()
        with fast.test("hybrid"):
            fast.hybrid()
        with fast.test("auto"):
            fast.auto()
        with fast.test("auto --allow-postcopy"):
            fast.allowed()
        with fast.test("the guest's own checks"):
            fast.work.end()
        return fast.finish()


if __name__ == "__main__":
    sys.exit(main())

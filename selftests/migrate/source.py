#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What tells which pages are written: events of the page cache, or KVM's log beside them.

Every move is verified page by page, and by the guest. By default KVM's log is used, whatever
MF_SOURCE says; when QEMU begins to use it as well (calc-dirty-rate does) it is QEMU's alone,
and nothing is lost.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.move import HOLD, MODES, Move, Scenario, Work, hooks, must_answer
from vm import Bed


class Source(Scenario):
    def __init__(self, bed):
        super().__init__(bed, rate="200mbit")
        self.vm = self.guest(redis=False)
        self.work = Work(self.vm, "writer 16 hot=1 rate=1000")

    def move(self, *args, start=Move, mode="precopy", **options):
        result, move = self.cross(start=start, args=[*MODES[mode], *args], source=None,
                                  **options)
        self.tell(result)
        self.note(f"source {result.get('source')}")
        must_answer(self.vm)
        self.work.guest = self.vm
        self.work.verify()
        move.nothing_left()
        return result["source"]

    def auto(self, mode):
        source = self.move(start=self.paced, mode=mode)
        assert source["used"] == "kvm" and source["slots"] and source["kept"] > 100, source

    def events(self):
        source = self.move("--source=events", start=self.paced)
        assert source["used"] == "events" and not source["slots"], source

    def named(self):
        pid = self.vm.host.run("pgrep -f '[q]emu.*vm1'", check=True).out.split()[0]
        source = self.move("--source=kvm", "--pid", pid, start=self.paced)
        assert source["used"] == "kvm", source

    def misnamed(self, twin):
        move = Move(self.vm, twin, args=["--source=kvm", "--pid", "1"], receive=False)
        move.failed("kvm", "--pid", "--source=events")
        move.source_runs()
        self.work.verify()

    @staticmethod
    def contend(vm):
        """QEMU reads the log."""
        vm.qmp("calc-dirty-rate", **{"calc-time": 1, "mode": "dirty-bitmap"})

    def cancelled(self, twin):
        """The VM is as it was."""
        move = Move(self.vm, twin, args=["--source=kvm"], send_env=hooks(round=HOLD))
        move.send.wait_hook("round")
        move.send.kill(2)
        move.failed("cancelled", timeout=60)
        move.source_runs()
        self.work.verify()

    def without(self):
        """By default: events, and why."""
        source = self.move(start=self.paced)
        assert source["used"].startswith("events: ") and "6.12" in source["used"], source
        assert not source["slots"], source

    def refused(self, twin):
        move = Move(self.vm, twin, args=["--source=kvm"], receive=False)
        move.failed("6.12", "--source=events")
        move.source_runs()
        self.work.verify()

    def run(self):
        if not self.has_kvm_log:
            with self.test("where KVM's log cannot be used"):
                self.without()
            with self.twin_test("KVM's log is insisted on") as twin:
                self.refused(twin)
            return self.tests.finish()
        for mode in self.some(1, [mode for mode in MODES if mode != "postcopy"]):
            with self.test(f"KVM's log, by default: {mode}"):
                self.auto(mode)
        with self.test("events alone"):
            self.events()
        with self.test("KVM's log, of a process that is named"):
            self.named()
        with self.twin_test("a process that has no VM") as twin:
            self.misnamed(twin)
        with self.twin_test("interrupted") as twin:
            self.cancelled(twin)
        with self.test("QEMU begins to use KVM's log"):
            source = self.move(start=self.paced, rounds=4, nap=2, between=self.contend)
            assert "QEMU has begun" in source["used"], source
        return self.tests.finish()


def main():
    with Bed(name="source") as bed:
        return Source(bed).run()


if __name__ == "__main__":
    sys.exit(main())

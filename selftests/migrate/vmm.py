#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What else is done to a VM by its QEMU while it is being moved.

Between two rounds somebody takes a picture of its screen, resets it, plugs memory in, or
has QEMU migrate it. Nothing is lost, or the move is refused, by a message that tells what is
in the way, and the VM stays.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.move import FAILED, MODES, SOURCE, Scenario, Work, must_answer
from vm import Bed

ROUNDS = 4
PICTURE, STATE = "/run/screen.ppm", "/run/state"
# Memory can be plugged in, and there is a screen.
EXTRA = ("-m", "256,slots=2,maxmem=1G", "-device", "VGA,romfile=")


class Vmm(Scenario):
    def __init__(self, bed):
        super().__init__(bed, huge=True)
        self.vm = self.guest(redis=False, extra=EXTRA)
        self.work = Work(self.vm, "writer 16 hot=1 rate=500")

    def disturbed(self, vm, twin, **options):
        """A Move with time for what is done between its rounds."""
        return self.paced(vm, twin, rounds=ROUNDS, nap=2, args=MODES["precopy"], **options)

    def moves(self, do, used=""):
        """In spite of that; what tells which pages were written is @used at the end."""
        result, move = self.cross(start=self.disturbed, between=do)
        self.tell(result)
        self.note(f"source {result['source']}")
        must_answer(self.vm, 300)
        self.work.guest = self.vm
        move.nothing_left()
        expected = used if self.has_kvm_log else "events: "
        if SOURCE == "events":
            expected = "events"
        assert result["source"]["used"].startswith(expected), result["source"]

    def picture(self):
        def do(vm):
            vm.qmp("screendump", filename=PICTURE)
            assert vm.host.run(f"head -c 2 {PICTURE}").out == "P6"
        self.moves(do, "kvm")
        self.work.verify()

    @staticmethod
    def migrate(vm, bandwidth):
        vm.qmp("migrate-set-parameters", **{"max-bandwidth": bandwidth})
        vm.qmp("migrate", uri=f"exec:cat >{STATE}")

    def cancelled(self):
        def do(vm):
            self.migrate(vm, 1 << 20)
            time.sleep(2)
            vm.qmp("migrate_cancel")
            self.wait_migration(vm, "cancelled")
        self.moves(do, "events: QEMU has begun")
        self.work.verify()

    @staticmethod
    def wait_migration(vm, status, timeout=120):
        end = time.monotonic() + timeout
        while vm.qmp("query-migrate")["status"] != status:
            assert time.monotonic() < end, vm.qmp("query-migrate")
            time.sleep(0.2)

    def under_way(self, twin):
        """It would not end before the VM is to be stopped."""
        move = self.disturbed(self.vm, twin, between=lambda vm: self.migrate(vm, 1 << 20))
        move.failed("migrating already", "migrate_cancel")
        self.vm.qmp("migrate_cancel")
        self.wait_migration(self.vm, "cancelled")
        assert "x-ignore-shared" not in self.vm.capabilities()
        self.work.verify()

    def completed(self, twin):
        """What QEMU has saved for somebody else is whole, and it has stopped the VM for that."""
        def do(vm):
            self.migrate(vm, 1 << 30)
            self.wait_migration(vm, "completed")
        move = self.disturbed(self.vm, twin, between=do)
        assert move.send.wait() == FAILED, move.text()
        move.says(move.send, ["postmigrate", "left as it is"])
        move.never_ran()
        size = int(self.vm.host.run(f"stat -c %s {STATE}; rm {STATE}").out)
        assert size > 20 << 20, f"QEMU has saved {size} bytes"
        self.vm.qmp("cont")
        must_answer(self.vm)
        self.work.verify()

    def reset(self):
        def do(vm):
            vm.qmp("set-action", reboot="reset")
            vm.qmp("system_reset")
        self.moves(do)
        self.work = Work(self.vm, "writer 16 hot=1 rate=500")

    def plugged(self, twin):
        """The destination's QEMU has no place for it."""
        def do(vm):
            vm.qmp("object-add", **{"qom-type": "memory-backend-ram", "id": "mem1",
                                    "size": 128 << 20})
            vm.qmp("device_add", driver="pc-dimm", id="dimm1", memdev="mem1")
        move = self.disturbed(self.vm, twin, between=do)
        move.failed("128 MiB", "plugged")
        self.work.verify()

    def run(self):
        self.run_tests(self.some(2, [self.picture, self.cancelled, self.reset]))
        for case in self.some(2, [self.under_way, self.completed, self.plugged]):
            with self.twin_test(case.__name__.replace("_", " ")) as twin:
                case(twin)
        return self.tests.finish()


def main():
    with Bed(name="vmm") as bed:
        return Vmm(bed).run()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Whole migrations of guests of other shapes: 2 CPUs, memory above 4 GiB."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.move import Move, Scenario, Work, discard
from vm import Bed

# Prints the offsets of the first data at or behind each of the arguments.
FIRST_DATA = """import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
for at in sys.argv[2:]:
    try:
        print(os.lseek(fd, int(at), os.SEEK_DATA))
    except OSError:
        print(-1)
"""
GIB = 1 << 30


class Shapes(Scenario):
    def move(self, vm, **options):
        """Move it; returns the guest at its new place and the result."""
        twin = vm.twin(self.other(vm.host)).start()
        try:
            move = Move(vm, twin, verify=True, **options)
            result = move.moved()
        except BaseException:
            discard(twin)
            discard(vm)
            raise
        discard(vm)
        self.tell(result)
        assert result["verified"]
        assert result["pages"]["total"] == vm.ram_mb * 256
        move.nothing_left()
        return twin, result

    def two_cpus(self):
        vm = self.guest(smp=2)
        work = Work(vm, "writer 24 hot=2 rate=800 threads=2")
        vm, _ = self.move(vm)
        work.verify()
        assert vm.run("nproc").out.strip() == "2"
        busy = vm.run("taskset 1 sh -c 'echo a' && taskset 2 sh -c 'echo b'")
        assert busy.out.split() == ["a", "b"], busy.out
        work.end()
        discard(vm)

    def large(self):
        """Two memory slots below and above 4 GiB, and little of it in use."""
        vm = self.guest(ram_mb=5120)
        work = Work(vm, "writer 32 rate=500")
        high = self.first_data(vm, 3 * GIB + GIB // 2)
        assert high >= 0, "nothing of the guest's memory is above 4 GiB"
        used = self.used(vm)
        for mode in self.some(1, ["precopy", "postcopy"]):
            vm, result = self.move(vm, args=["--mode", mode])
            work.guest = vm
            work.verify()
            assert self.first_data(vm, 3 * GIB + GIB // 2) >= 0
            # It stayed sparse, on the wire and in the file.
            now = self.used(vm)
            self.note(f"file of 5 GiB holds {used >> 20} MiB before, {now >> 20} MiB after")
            assert now < used * 1.5 + (64 << 20), f"{used >> 20} MiB grew to {now >> 20} MiB"
            assert result["wire_bytes"] < 3 * used, "zero pages were sent"
        work.end()
        discard(vm)

    @staticmethod
    def first_data(vm, at):
        return int(vm.host.run(["python3", "-c", FIRST_DATA, vm.ram_path, str(at)],
                               check=True).out)

    @staticmethod
    def used(vm):
        return 512 * int(vm.host.run(f"stat -c %b {vm.ram_path}", check=True).out)


def main():
    with Bed(name="shapes") as bed:
        shapes = Shapes(bed)
        with shapes.test("guest with 2 CPUs"):
            shapes.two_cpus()
        with shapes.test("guest with memory above 4 GiB, sparse"):
            shapes.large()
        return shapes.finish()


if __name__ == "__main__":
    sys.exit(main())

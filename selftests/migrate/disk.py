#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Pages that are on a disk which both hosts have, and that the guest uses, do not travel.

The guest's page cache is full of its disk. It writes to the disk before it moves, and when it
runs over there and pages of it have yet to be read from that disk. Every move is verified page
by page, and what the guest reads of its disk is compared.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.known import PAGE, STORE, Known
from migrate.move import HOLD, MODES, Move, discard, hooks, must_answer
from vm import Bed

DISK_MB = 64
PAGES = DISK_MB * 1024 * 1024 // PAGE
THREE_STAGE = [*MODES["three-stage"], "--lazy"]


def blank(bed):
    """A disk of nothing."""
    path = os.path.join(bed.dir, "blank.disk")
    with open(path, "wb") as file:
        file.truncate(DISK_MB << 20)
    return path


class Disk(Known):
    def __init__(self, bed):
        super().__init__(bed, disk=blank(bed))
        self.write(range(DISK_MB))
        self.sum = self.read()

    def write(self, megabytes, vm=None):
        """The guest writes random bytes there, and to the disk itself."""
        (vm or self.vm).run(f"for at in {' '.join(map(str, megabytes))}; do dd if=/dev/urandom "
                            "of=/dev/vda bs=1M count=1 conv=notrunc seek=$at 2>/dev/null || "
                            "exit 1; done; sync", timeout=300, check=True)

    def read(self, vm=None):
        """What it reads there, from its page cache: a sum."""
        return (vm or self.vm).run("md5sum /dev/vda", timeout=300, check=True).out

    def index(self, *_args):
        """The other host knows the disk as it is now, and nothing of it is in its cache."""
        host = self.other(self.vm.host)
        host.run(f"rm -rf {STORE}; blockdev --flushbufs {host.disk}", check=True)
        self.store("add", "--for=vm1", host.disk)

    def told(self, result):
        lazy = result["postcopy"]["lazy"]
        self.note(f"lazy {lazy}, pages {result['pages']}, missed {result['missed']}")
        return lazy

    def shared(self):
        """All that the guest has read is read there, not sent."""
        self.index()
        result = self.move(args=THREE_STAGE)
        lazy = self.told(result)
        assert lazy["kept"] > PAGES * 0.9, lazy
        # The guest has other memory as well.
        assert result["saved"]["bytes"] > PAGES * PAGE * 0.9, result["saved"]
        assert self.read() == self.sum, "the guest's disk is another"

    def written_before(self):
        """Half of the disk is something else than what was indexed."""
        self.index()
        self.write(range(0, DISK_MB, 2))
        self.sum = self.read()
        result = self.move(args=THREE_STAGE)
        lazy = self.told(result)
        assert PAGES * 0.4 < lazy["kept"] < PAGES * 0.6, lazy
        assert self.read() == self.sum, "the guest's disk is another"

    def written_after(self):
        """The guest runs there, and overwrites parts of the disk before they were read.

        An eighth of it: it waits for each page.
        """
        self.index()
        twin = self.vm.twin(self.other(self.vm.host)).start()
        move = Move(self.vm, twin, verify=True, recv_args=["--store", STORE],
                    args=THREE_STAGE, recv_env=hooks(lazy=HOLD))
        move.recv.wait_hook("lazy")
        self.write(range(1, DISK_MB, 8), twin)
        self.sum = self.read(twin)
        move.recv.release()
        result = move.moved()
        left, self.vm = self.vm, twin
        discard(left)
        lazy = self.told(result)
        assert lazy["promised"] > PAGES * 0.9, lazy
        assert self.read() == self.sum, "the guest's disk is another"
        must_answer(self.vm)
        self.work.guest = self.vm
        self.work.verify()
        move.nothing_left()

    def run(self):
        for case in (self.shared, self.written_before, self.written_after):
            with self.test(case.__name__.replace("_", " ")):
                case()
        return self.tests.finish()


def main():
    with Bed(name="disk") as bed:
        return Disk(bed).run()


if __name__ == "__main__":
    sys.exit(main())

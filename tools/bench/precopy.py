# SPDX-License-Identifier: GPL-2.0
"""Whole migrations: migrate-fast against QEMU's own pre-copy, side by side.

One guest moves to and fro between two hosts, by the one and by the other. It is the same
VM all the time, its RAM in the same kind of file, with the same work (see subject.py). The
link is limited to RATE. Both begin in either direction equally often, or nearly so.

Both stop the guest when they expect no more than DOWNTIME ms, which is QEMU's default, and
have no limit of bandwidth but the link. Every migration must succeed.
"""
from subject import Subject
from vm import Bed
from ways import Ours, Qemu

RATE = "50mbit"
RAM_MB = 256
WORK = "writer 24 hot=2 rate=300 nap=2"
# Five by each: what a client sees scatters, with what its TCP tries again when.
ORDER = ("ours", "qemu", "qemu", "ours", "ours", "qemu", "qemu", "ours", "ours", "qemu")
DOWNTIME = 300


def measure(kernel, say, _samples):
    """All samples of the migrations on a kernel."""
    ways = {"ours": Ours("--mode", "precopy", "--max-downtime", DOWNTIME),
            "qemu": Qemu(DOWNTIME)}
    with Bed(kernel, name="bench") as bed:
        hosts = bed.pair(mem=1024)
        bed.rate(RATE)
        subject = Subject("migrate", hosts, say, WORK, ram_mb=RAM_MB)
        for name in ORDER:
            say(f"migration by {name} on Linux {kernel}")
            subject.move(name, ways[name])
        taken = subject.finish()
        bed.dmesg_check()
        return taken

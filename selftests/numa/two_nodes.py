#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tracking, where the kernel balances pages between two nodes.

The shared host has one node, where NUMA balancing does nothing: there
"track/upgrades" skips what this is for.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from vm import BUILD, Bed

PROGRAM = os.path.join(BUILD, "selftests/track/upgrades")


def show(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def main():
    told = {name: value for name, value in os.environ.items() if name.startswith("MF_")}
    with Bed(name="numa") as bed:
        host = bed.host("a", smp=2, append="numa=fake=2")
        rc = host.run([PROGRAM], timeout=1200, env=told, stream=show).rc
        bed.dmesg_check()
        return rc


if __name__ == "__main__":
    sys.exit(main())

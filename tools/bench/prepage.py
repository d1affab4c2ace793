# SPDX-License-Identifier: GPL-2.0
"""Dynamic prepaging: what a guest that walks through absent memory has to wait for.

The walks are those of selftests/migrate/walkers.py. In random order it can gain nothing
by foresight, and must not lose by it: compared with pages pushed in ascending order.
"""
import contextlib
import sys

from micro import Failed
from vm import Bed
from vm.ktap import Skip
from migrate.walkers import Walkers

TIMES = 3
WALKS = {"sequential": ("sequential",), "strided": ("strided",), "random": ("random",),
         "random.without": ("random", "no-prepage")}


def measure(kernel, say, _samples):
    """All samples of the walks on a kernel."""
    taken = {}
    # What a test says on standard output is no part of the table.
    with contextlib.redirect_stdout(sys.stderr), Bed(kernel, name="bench") as bed:
        walkers = Walkers(bed)
        for turn in range(TIMES):
            for name in list(WALKS) if turn % 2 else reversed(WALKS):
                say(f"walk: {name} on Linux {kernel}")
                try:
                    avoided, seconds = walkers.walk(*WALKS[name])
                except Skip as error:
                    raise Failed(f"walk {name}: {error}") from error
                taken.setdefault(f"prepage.{name}.faults", []).append(
                    round(1 - avoided / 100, 4))
                taken.setdefault(f"prepage.{name}.s", []).append(seconds)
        bed.dmesg_check()
    return taken

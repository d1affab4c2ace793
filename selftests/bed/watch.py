#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A host whose emulation has failed is told from one that is busy, idle, or wrong itself."""
import os
import stat
import sys
import time
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from vm import Bed
from vm.frozen import Processor
from vm.ktap import Tests
from vm.lane import HostLane, Program, Report
from vm.suite import Suite
from vm.watch import Watch

# What QEMU has said of a processor that did not wake up any more, shortened.
REGISTERS = """
RAX=0000000000000000 RBX=0000000000000000 RSP=ffffffff82c03e88
RIP=ffffffff81ce5fff RFL=00000216 [----AP-] CPL=0 II=0 A20=1 SMM=0 HLT=1
"""
LAPIC = """
LVTT\t 0x000000ec active-hi edge                 one-shot     Fixed  (vec 236)
ISR\t (none)
IRR\t 37 236 251 253 

APR 0x00 TPR 0x10 DFR 0x0f LDR 0x00 PPR 0x10
"""
# (what, in which text, replaced by what)
WELL = [
    ("awake", "HLT=1", "HLT=0"),
    ("halted for good by a kernel that died", "RFL=00000216", "RFL=00000016"),
    ("nothing waits", "37 236 251 253 ", "(none)"),
    ("what waits is masked", "PPR 0x10", "PPR 0xf0"),
]
SCRIPT = "#!/bin/sh\necho 1..1\necho ok 1 it\nsleep 8\n"


def watched(host, command, seconds):
    with Watch(host, period=0.1) as watch:
        proc = host.spawn(command)
        time.sleep(seconds)
        proc.hang_up()
    return watch.lost


def try_again(tests):
    """The first host of two fails, in the eyes of the watch."""
    with Bed(name="watch") as bed:
        path = os.path.join(bed.dir, "script")
        with open(path, "w", encoding="utf-8") as f:
            f.write(SCRIPT)
        os.chmod(path, stat.S_IRWXU)
        # The other host has another bed, and sees no more than the checkout and its own.
        program = Program(Suite("bed"), "script", path, bed.kernel)
        program.log_path = os.path.join(bed.dir, "log")
        report = Report(live=False)
        report.say = lambda *lines: None
        lane = HostLane([program], 1, report)
        with mock.patch("vm.watch.oversleeping", side_effect=["cpu 0 sleeps", ""] + 99 * [""]), \
                mock.patch("vm.watch.PERIOD", 3), mock.patch("builtins.print"):
            lane.start().join()
        with tests.test("its program is tried again, and that alone counts"):
            assert (report.passed, report.failed) == (1, 0), program.reader
            with open(program.log_path, encoding="utf-8") as f:
                log = f.read()
            assert "tried again" in log and "cpu 0 sleeps" in log, log
            assert log.count("ready after") == 2, log


def main():
    tests = Tests()
    with tests.test("a processor that oversleeps"):
        assert Processor(0, REGISTERS, LAPIC).oversleeps
    for what, old, new in WELL:
        with tests.test(f"one that does not: {what}"):
            assert old in REGISTERS + LAPIC
            assert not Processor(0, REGISTERS.replace(old, new),
                                 LAPIC.replace(old, new)).oversleeps
    with Bed(name="watch") as bed:
        host = bed.host("a", smp=2)
        for what, command in (("idle", "sleep 100"), ("busy", "while :; do :; done"),
                              ("often woken", "while :; do sleep 0.01; done")):
            with tests.test(f"a host that is {what} is well"):
                lost = watched(host, command, 6)
                assert not lost, lost
        bed.dmesg_check()
    try_again(tests)
    return tests.finish()


if __name__ == "__main__":
    sys.exit(main())

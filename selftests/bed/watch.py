#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A host whose emulation has failed is told from one that is busy, idle, or wrong itself."""
import contextlib
import io
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
from vm.lane import BelowLane, HostLane, Program, Report
from vm.suite import Suite
from vm.watch import FAILED, Watch

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
# It ends only if its host is not stopped.
SCRIPT = "#!/bin/sh\necho 1..1\nsleep 8\necho ok 1 it\n"
# Starts hosts itself, so to say.
BELOW = f"""#!/bin/sh
echo 1..1
[ -e "$0.seen" ] && echo ok 1 it && exit
touch "$0.seen"
echo "{FAILED}: b: cpu 0 sleeps"
exec sleep 600
"""
# One that had failed before is not tried again.
BAD = BELOW.replace("touch", "echo not ok 1 it; touch")


def watched(host, command, seconds):
    watch = Watch(host, period=0.1).start()
    proc = host.spawn(command)
    time.sleep(seconds)
    proc.hang_up()
    watch.end()
    return watch.lost


def run(folder, kind, text):
    """A lane runs it; what it has found, and the log."""
    path = os.path.join(folder, "script")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, stat.S_IRWXU)
    program = Program(Suite("bed"), "script", path, "6.1")
    program.log_path = os.path.join(folder, "log")
    report = Report(live=False)
    with contextlib.redirect_stdout(io.StringIO()):
        kind([program], 1, report).start().join()
    with open(program.log_path, encoding="utf-8") as f:
        return report, f.read()


def try_again(tests, folder):
    with tests.test("whose host fails is tried again in another, and that alone counts"):
        # In the eyes of the watch it does.
        with mock.patch("vm.watch.oversleeping", side_effect=["cpu 0 sleeps"] + 99 * [""]), \
                mock.patch("vm.watch.PERIOD", 3):
            report, log = run(folder, HostLane, SCRIPT)
        assert (report.passed, report.failed) == (1, 0), log
        assert log.count("ready after") == 2 and "tried again: cpu 0 sleeps" in log, log
    with tests.test("a script, too"):
        report, log = run(folder, BelowLane, BELOW)
        assert (report.passed, report.failed) == (1, 0), log
        assert "tried again" in log, log
    os.unlink(os.path.join(folder, "script.seen"))
    with tests.test("not one that had failed before"):
        report, log = run(folder, BelowLane, BAD)
        assert (report.passed, report.failed) == (0, 1), log
        assert "tried again" not in log, log


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
    with Bed(name="watch") as bed:
        try_again(tests, bed.dir)	# in other hosts
    return tests.finish()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the runner makes of a program's output, and of a kernel log."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from vm import dmesg
from vm.ktap import Reader, Tests

HARNESS = """TAP version 13
1..3
# Starting 3 tests from 1 test cases.
#  RUN           global.good ...
#            OK  global.good
ok 1 global.good
#  RUN           global.cannot ...
ok 2 # SKIP no disk
#  RUN           global.bad ...
not ok 3 global.bad
# Totals: pass:1 fail:1
"""

# (what, output, exit status, timed out, passed, failed, skipped, complaint)
CASES = [
    ("all good", "KTAP version 1\n1..2\nok 1 a\nok 2 b\n", 0, False, 2, 0, 0, None),
    ("harness", HARNESS, 1, False, 1, 1, 1, None),
    ("fewer than planned", "1..3\nok 1 a\nok 2 b\n", 0, False, 2, 1, 0, "2 results"),
    ("more than planned", "1..1\nok 1 a\nok 2 b\n", 0, False, 2, 1, 0, "2 results"),
    ("status says failed", "1..1\nok 1 a\n", 1, False, 1, 1, 0, "exit status 1"),
    ("signal", "1..2\nok 1 a\n", 139, False, 1, 1, 0, "signal 11"),
    ("timeout", "1..2\nok 1 a\n", 124, True, 1, 1, 0, "timeout"),
    ("no KTAP, good", "hello\n", 0, False, 1, 0, 0, None),
    ("no KTAP, bad", "hello\n", 2, False, 0, 1, 0, "exit status 2"),
    ("no KTAP, skip", "no KVM here\n", 4, False, 0, 0, 1, None),
    ("skip all", "1..0 # SKIP no KVM\n", 4, False, 0, 0, 1, None),
    ("nested", "1..1\n    1..2\n    ok 1 x\n    not ok 2 y\nnot ok 1 a\n", 1, False,
     1, 1, 0, None),
    ("nested leaves are not counted twice", "1..1\n  1..2\n  ok 1 x\n  ok 2 y\nok 1 a\n",
     0, False, 2, 0, 0, None),
    ("parent fails alone", "1..1\n  1..1\n  ok 1 x\nnot ok 1 a\n", 1, False, 1, 1, 0, None),
    ("failure with status 0", "1..1\nnot ok 1 a\n", 0, False, 0, 1, 0, None),
    ("expected failure", "1..1\nnot ok 1 a # TODO later\n", 0, False, 1, 0, 0, None),
    ("last line unfinished", "1..1\nok 1 a", 0, False, 1, 0, 0, None),
]

COMPLAINTS = [
    "WARNING: CPU: 0 PID: 7 at mm/memory.c:1 f+0x1/0x2",
    "WARNING: possible circular locking dependency detected",
    "BUG: kernel NULL pointer dereference, address: 0000000000000000",
    "BUG: KASAN: use-after-free in f+0x1/0x2",
    "BUG: sleeping function called from invalid context at mm/x.c:1",
    "BUG: Bad page state in process x  pfn:1",
    "BUG: Bad rss-counter state mm:1 type:MM_SHMEMPAGES val:1",
    "INFO: task x:7 blocked for more than 60 seconds.",
    "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "watchdog: BUG: soft lockup - CPU#0 stuck for 130s! [x:7]",
    "Oops: 0000 [#1] PREEMPT SMP NOPTI",
    "general protection fault, probably for non-canonical address 0x1: 0000 [#1]",
    "refcount_t: underflow; use-after-free.",
    "list_del corruption. prev->next should be 1, but was 2.",
    "UBSAN: array-index-out-of-bounds in x.c:1:2",
    "WARNING: suspicious RCU usage",
    "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
]

HARMLESS = [
    "migrate_fast: loading out-of-tree module taints kernel.",
    "migrate_fast: module verification failed: signature and/or required key missing",
    "bridge: filtering via arp/ip/ip6tables is no longer available by default.",
    "tun: Universal TUN/TAP device driver, 1.6",
]


def main():
    tests = Tests()
    for what, text, status, late, passed, failed, skipped, complaint in CASES:
        with tests.test(f"reader: {what}"):
            lines = []
            reader = Reader(lines.append)
            # One byte at a time: where the pieces end must not matter.
            for byte in text.encode():
                reader.feed(bytes([byte]))
            wrong = reader.finish(status, late)
            counts = (reader.passed, reader.failed, reader.skipped)
            assert counts == (passed, failed, skipped), f"{counts}: {lines}"
            assert (wrong is None) == (complaint is None), wrong
            assert complaint is None or complaint in wrong, wrong
    with tests.test("reader: skipped test of the harness gets its name"):
        lines = []
        reader = Reader(lines.append)
        reader.feed(HARNESS.encode())
        assert "ok 2 global.cannot # SKIP no disk" in lines, lines
    for line in COMPLAINTS:
        with tests.test(f"dmesg: finds {line[:40].replace('#', '')}"):
            log = f"[    1.0] harmless\n[    2.0] {line}\n[    2.1] Call Trace:\n"
            found = dmesg.findings(log)
            assert len(found) == 1 and line in found[0], found
    with tests.test("dmesg: lets pass what is harmless"):
        assert not dmesg.findings("\n".join(HARMLESS))
    with tests.test("dmesg: allow"):
        assert not dmesg.findings("WARNING: as planned", allow=["as planned"])
    with tests.test("taint: O and E pass, W does not"):
        assert not dmesg.taint_findings(0, 1 << 12 | 1 << 13)
        assert dmesg.taint_findings(1 << 12, 1 << 12 | 1 << 9) == ["kernel tainted: W"]
    return tests.finish()


if __name__ == "__main__":
    sys.exit(main())

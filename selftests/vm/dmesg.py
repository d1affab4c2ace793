# SPDX-License-Identifier: GPL-2.0
"""Judge a kernel log: what no test may provoke."""
import re

# A line that begins a report. The lines behind it are shown as well.
BAD = re.compile(
    r"WARNING:|BUG:|Oops|general protection|kernel panic|Kernel panic|"
    r"INFO: task .* blocked|INFO: rcu|rcu: INFO|self-detected stall|soft lockup|"
    r"hard LOCKUP|possible (circular|recursive|irq lock inversion)|"
    r"inconsistent lock state|suspicious RCU|held lock freed|lock held when returning|"
    r"sleeping function called|scheduling while atomic|"
    r"KASAN:|KFENCE:|KCSAN:|UBSAN:|kmemleak: [1-9]|ODEBUG:|DEBUG_LOCKS_WARN_ON|"
    r"refcount_t:|list_(add|del) corruption|Bad page|bad page state|Bad rss-counter|"
    r"VM_BUG_ON|page_table_check|unchecked MSR|divide error|invalid opcode|"
    r"slab .*error|double free|usercopy:|Out of memory: |migrate_fast: probe failed")

REPORT_LINES = 40

# An out-of-tree and unsigned module taints with these; nothing else may.
TAINT_ALLOWED = {12: "O", 13: "E"}
TAINT_NAMES = dict(enumerate("PFSRMBUDAWCIOELKXTN"))


def findings(text, allow=()):
    """The reports in a log, each a text of several lines. allow: regexes of lines."""
    lines = text.splitlines()
    reports = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if BAD.search(line) and not any(re.search(okay, line) for okay in allow):
            reports.append("\n".join(lines[at:at + REPORT_LINES]))
            at += REPORT_LINES
        else:
            at += 1
    return reports


def taint_findings(before, now):
    new = now & ~before
    return [f"kernel tainted: {TAINT_NAMES.get(bit, bit)}"
            for bit in range(32) if new >> bit & 1 and bit not in TAINT_ALLOWED]

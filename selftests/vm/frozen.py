# SPDX-License-Identifier: GPL-2.0
"""What the processors of a host or guest do while its agent does not answer.

A kernel that takes no interrupts any more prints nothing. Its QEMU still sees where
the processors are, and what interrupts wait for them.
"""
import bisect
import contextlib
import re
import time

from .qmp import QmpError

SAMPLES = 5
PAUSE = 0.7		# seconds between two of them
STACK_WORDS = 256	# of each processor's stack that are searched
KERNEL_TEXT = 0xffffffff81000000


class Symbols:
    """Names of addresses, from the text of /proc/kallsyms."""

    def __init__(self, kallsyms):
        words = (line.split() for line in kallsyms.splitlines())
        self._names = sorted((int(each[0], 16), " ".join(each[2:])) for each in words
                             if each[1] in "tTwW")
        self._starts = [start for start, _ in self._names]

    def name(self, address):
        """Function and offset, or None for what is no kernel text."""
        at = bisect.bisect_right(self._starts, address) - 1
        if address < KERNEL_TEXT or at < 0 or address - self._starts[at] > 0x10000:
            return None
        return f"{self._names[at][1]}+{address - self._starts[at]:#x}"


class Processor:
    """One processor, from its part of "info registers -a" and from "info lapic"."""

    def __init__(self, number, text, lapic=""):
        values = dict(re.findall(r"\b([A-Z]+)=\s*([0-9a-f]+)", text))
        self.number = number
        self.rip = int(values.get("RIP") or values["EIP"], 16)
        self.rsp = int(values.get("RSP") or values["ESP"], 16)
        self.deaf = not int(values.get("RFL") or values["EFL"], 16) & 0x200
        self.halted = values["HLT"] == "1"
        irr = re.search(r"^IRR\s+([\d ]+)", lapic, re.M)
        ppr = re.search(r"\bPPR 0x([0-9a-f]+)", lapic)
        self.pending = [int(vector) for vector in irr[1].split()] if irr else []
        self.priority = int(ppr[1], 16) if ppr else 0

    @property
    def oversleeps(self):
        """It sleeps, with interrupts on, though one waits that it would take.

        No processor does that for more than a moment, whatever its kernel has done: its
        emulation has gone wrong.
        """
        return self.halted and not self.deaf and any(
            vector >> 4 > self.priority >> 4 for vector in self.pending)

    def describe(self, symbols):
        return (f"cpu {self.number}: {self.rip:x} {symbols.name(self.rip) or ''}"
                + (", interrupts off" if self.deaf else "")
                + (", halted" if self.halted else ""))


def _hmp(qmp):
    return lambda line: qmp.cmd("human-monitor-command", **{"command-line": line})


def _processors(hmp):
    parts = re.split(r"^CPU#(\d+)", hmp("info registers -a"), flags=re.M)[1:]
    return [Processor(int(number), part, hmp(f"info lapic {number}"))
            for number, part in zip(parts[::2], parts[1::2])]


def oversleeping(dial):
    """Those that did so for SAMPLES * PAUSE seconds, described; "" if there are none."""
    with contextlib.suppress(QmpError, OSError):
        qmp = dial()
        found = None
        for sample in range(SAMPLES):
            time.sleep(PAUSE if sample else 0)
            # Time may stand still.
            runs = qmp.cmd("query-status")["running"]
            now = {f"cpu {cpu.number} is halted at {cpu.rip:x} with interrupts on, but "
                   f"{cpu.pending} wait for it"
                   for cpu in _processors(_hmp(qmp)) if cpu.oversleeps and runs}
            found = now if found is None else found & now
            if not found:
                break
        return "; ".join(sorted(found))
    return ""


def _stack(hmp, cpu, symbols):
    """Return addresses, and remains of such: no frames are followed."""
    hmp(f"cpu {cpu.number}")
    words = re.findall(r"\b0x([0-9a-f]{16})\b", hmp(f"x /{STACK_WORDS}gx {cpu.rsp:#x}"))
    names = [symbols.name(int(word, 16)) for word in words]
    return [f"  {name}" for name in names if name and not name.endswith("+0x0")]


def report(dial, kallsyms):
    """Text. dial() connects to the monitor of the machine's QEMU."""
    symbols = Symbols(kallsyms)
    lines = [] if kallsyms else ["no symbols"]
    try:
        hmp = _hmp(dial())
        for sample in range(SAMPLES):
            time.sleep(PAUSE if sample else 0)
            cpus = _processors(hmp)
            lines += [f"{sample * PAUSE:.1f} s {cpu.describe(symbols)}" for cpu in cpus]
        for cpu in cpus:
            lines += [f"stack of cpu {cpu.number}:", *_stack(hmp, cpu, symbols)]
            lines += re.findall(r"(?:ISR|IRR)\s.*", hmp(f"info lapic {cpu.number}"))
    except QmpError as error:
        lines.append(f"its QEMU does not answer either: {error}")
    return "\n".join(lines)

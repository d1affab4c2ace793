#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Guest-cooperative page faults: who does not want an absent page is not held up.

A guest with one processor runs two programs. One looks at pages that are absent, each
of which comes 50 ms after it was wanted; the other counts. With asynchronous page
faults the guest lets the second run while the first waits; without (no-kvmapf on its
command line) the processor stands still but for interrupts: one of them may have the
other program run, so that it keeps something.
"""
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from vm import BUILD, Bed, Guest
from vm.ktap import Tests

SERVER = os.path.join(BUILD, "selftests/async/slow_server")
# One line for so many steps; the shell of the guest is slow.
STEPS = 200
COUNTER = f"while :; do i=0; while [ $i -lt {STEPS} ]; do i=$((i + 1)); done; echo; done"
DELAY_MS = 50
SECONDS = 8
# Of the counter: the part of the time that it ran, and steps/s. Faults of DELAY_MS each: all,
# those for which the kernel waited instead of the guest, and how often the guest was told.
TABLE = ("guest   alone  beside  kept  steps alone  beside  kept  faults  waited  told")
# A busy machine takes from the counter, and never gives.
TRIES = 3
# Enough for all that time at one page each 50 ms.
SIZE_MB = 4


def ran(vm, counter, seconds):
    """The part of some seconds from now on in which the counter ran, and its steps/s.

    By the guest's own clock: what the machine below does meanwhile, it does to both. How
    many steps it makes while it runs is that machine's affair, so the time is judged.
    """
    def look():
        told = vm.run(f"cat /proc/uptime /proc/{counter.pid}/schedstat", check=True).out
        up, _, on_cpu = told.split()[:3]
        return float(up), int(on_cpu) / 1e9, STEPS * counter.output.count("\n")

    before = look()
    time.sleep(seconds)
    passed, on_cpu, steps = (now - then for now, then in zip(look(), before))
    return on_cpu / passed, steps / passed


def measure(tests, host, name, append):
    """Share of its speed that the counter keeps, and what the server says."""
    vm = Guest(host, name, append=append, redis=False, ram_mb=128).start().wait_up()
    try:
        work = vm.spawn(f"exec workload writer {SIZE_MB}")
        work.wait_output("ready", 60)
        work.kill(signal.SIGSTOP)
        # It is to look at absent pages later, not while the other runs alone.
        vm.run(f"while grep -h ^State /proc/{work.pid}/task/*/status | grep -qv stopped; "
               "do sleep 0.1; done", check=True)
        counter = vm.spawn(COUNTER)
        counter.wait_output("\n")
        # Free pages look like the writer's, too: what is saved must not be used anew
        # before it is taken away.
        vm.qmp("stop")
        server = host.spawn(["exec", SERVER, vm.ram_path, str(DELAY_MS)])
        server.wait_output("ready", 60)
        vm.qmp("cont")
        # Verify all pages in turn: each is absent.
        work.kill(signal.SIGUSR1)
        alone, alone_steps = ran(vm, counter, SECONDS)
        work.kill(signal.SIGCONT)
        time.sleep(0.5)
        beside, beside_steps = ran(vm, counter, SECONDS)
        counter.kill()
        server.write("end\n")
        assert server.wait(60).rc == 0, server.output
        told = {key: int(number) for key, number in
                re.findall(r"(\w+) (\d+)", server.output)}
        assert told["left"] > 0, f"all pages came before the time was over: {told}"
        # The interrupt that tells it of a page that has come.
        line = vm.run("grep HYP: /proc/interrupts").out.split()
        told["hyp"] = int(line[1]) if line else 0
        # Nothing was lost by it.
        work.kill(signal.SIGTERM)
        assert work.wait(120).rc == 0, work.output[-2000:]
        for text in TABLE, (
                f"{name:<8}{alone:>7.0%}{beside:>8.0%}{beside / alone:>6.0%}"
                f"{alone_steps:>12.0f}{beside_steps:>8.0f}{beside_steps / alone_steps:>6.0%}"
                f"{told['faults']:>8}{told['went_on']:>8}{told['hyp']:>6}"):
            tests.note(text)
        return beside / alone, told
    finally:
        vm.quit()


def main():
    tests = Tests()
    with Bed(name="async") as bed:
        host = bed.host("a", smp=2, mem=1536)
        with tests.test("the guest goes on while pages are fetched"):
            for _ in range(TRIES):
                share, told = measure(tests, host, "with", "")
                if share >= 0.8:
                    break
            assert share >= 0.8, f"the other program keeps only {share:.0%}"
            assert told["went_on"] > told["faults"] / 2, told
            assert told["hyp"] > told["faults"] / 2, told
        with tests.test("and does not if it does not cooperate"):
            share, told = measure(tests, host, "without", "no-kvmapf")
            assert share < 0.8, f"the other program keeps {share:.0%}: nothing is proved"
            assert not told["hyp"], told
        bed.failed = tests.failed > 0	# keep the logs
        bed.dmesg_check()
    return tests.finish()


if __name__ == "__main__":
    sys.exit(main())

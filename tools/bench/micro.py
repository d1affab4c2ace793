# SPDX-License-Identifier: GPL-2.0
"""Run the micro-benchmarks in an emulated host that counts instructions."""
import os
import subprocess

from vm import BUILD, TOP, Bed

OUTPUT = os.path.join(BUILD, "bench")
TIMEOUT = 1200	# a busy machine emulates 20 million instructions a second


class Failed(Exception):
    """A figure could not be measured."""


def build():
    subprocess.run(["make", "-s", "-C", os.path.join(TOP, "tools/bench"),
                    f"OUTPUT={OUTPUT}"], check=True)


def parse(text):
    """{name: [samples]} of lines "NAME VALUE"."""
    taken = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and "." in words[0]:
            taken.setdefault(words[0], []).append(float(words[1]))
    return taken


def measure(kernel, programs, say):
    """All samples of these programs on a kernel."""
    taken = {}
    with Bed(kernel, name="bench") as bed:
        host = bed.host("a", mem=2816, icount=True)
        for program in programs:
            say(f"{program} on Linux {kernel}")
            result = host.run(os.path.join(OUTPUT, program), timeout=TIMEOUT)
            if result.rc:
                raise Failed(f"{program} returned {result.rc}:\n{result.out}")
            taken.update(parse(result.out))
        bed.dmesg_check()
    return taken

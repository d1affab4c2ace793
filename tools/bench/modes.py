# SPDX-License-Identifier: GPL-2.0
"""Ways of copying memory: the modes of migrate-fast against those of QEMU, side by side.

Two loads, each with its own guests on the same two hosts and the same link of RATE:
  third, half
        guests that dirty a third, and half, of what the link carries: pre-copy pays several
        rounds. three-stage against pre-copy, the comparison of Yin et al. ("A three-stage
        copy for live migration"), who have a "low dirtying rate" and do not say how low.
        hybrid and auto go on with rounds there, as they should, and so take longer than
        what copies less before the VM goes
  fast  a guest that dirties twice what the link carries, which here is half as much, so that
        an emulated host can keep up with both. Pre-copy, ours and QEMU's, with
        and without auto-converge, does not end by itself: it is given up after BOUND
        seconds or ROUNDS rounds. Each of the others must finish

QEMU's post-copy does not take RAM in files of ours (userfaultfd knows nothing of them), so
it moves a guest of its own in anonymous memory, under the same load.
"""
from subject import Subject
from vm import Bed
from ways import Ours, Qemu

RATE = "50mbit"
RAM_MB = 256
# 50 Mbit/s are 1500 pages/s.
LOW = {"third": "writer 64 rate=450 nap=2", "half": "writer 64 rate=700 nap=2"}
FAST_RATE = "25mbit"
FAST = "writer 32 rate=1500 nap=2"
DOWNTIME = 300
BOUND = 120
ROUNDS = 8
TIMES = 3


def alternate(subject, ways):
    """TIMES by each, in turn, there and back by the same as often as by another."""
    for turn in range(TIMES):
        names = list(ways)
        for name in names if turn % 2 else reversed(names):
            subject.say(f"{subject.group}: {name}")
            subject.move(name, ways[name])
    return subject.finish()


def measure(kernel, say, _samples):
    """All samples of the modes on a kernel."""
    taken = {}
    with Bed(kernel, name="bench") as bed:
        hosts = bed.pair(mem=1024)
        bed.rate(RATE)
        for load, work in LOW.items():
            taken.update(alternate(
                Subject(f"modes.{load}", hosts, say, work, ram_mb=RAM_MB),
                {"three-stage": Ours("--mode", "three-stage"),
                 "postcopy": Ours("--mode", "postcopy"), "qemu": Qemu(DOWNTIME)}))
            taken.update(alternate(
                Subject(f"modes.{load}", hosts, say, work, ram_mb=RAM_MB, ram_dir=None),
                {"qemu-postcopy": Qemu(DOWNTIME, postcopy=True)}))
        bed.rate(FAST_RATE)
        taken.update(alternate(
            Subject("modes.fast", hosts, say, FAST, ram_mb=RAM_MB),
            {"precopy": Ours("--mode", "precopy", "--max-rounds", ROUNDS,
                             "--max-downtime", DOWNTIME, gives_up=True),
             "three-stage": Ours("--mode", "three-stage"),
             "hybrid": Ours("--mode", "hybrid"),
             "postcopy": Ours("--mode", "postcopy"),
             "auto": Ours("--mode", "auto", "--max-downtime", DOWNTIME)}))
        taken.update(alternate(
            Subject("modes.fast", hosts, say, FAST, ram_mb=RAM_MB, ram_dir=None),
            {"qemu": Qemu(DOWNTIME, limit=BOUND),
             "qemu-converge": Qemu(DOWNTIME, ["auto-converge"], limit=BOUND),
             "qemu-postcopy": Qemu(DOWNTIME, postcopy=True)}))
        bed.dmesg_check()
    return taken

# SPDX-License-Identifier: GPL-2.0
"""What need not travel: migrate-fast where the destination has some of a guest's memory
already, against QEMU's pre-copy, plain, with XBZRLE, and with multifd and zstd.

Each load has hosts and a guest of its own (the five of lazy share them), on a link of RATE; the
guest is moved to and fro by each way in turn, in one direction as often as in the other. What
a host knows before is the same at both ends.
  idealized
        an idle guest; each host runs a sibling, booted from the same image, that the store
        knows of
  realistic
        a server with a disk that both hosts have (loads.Server), under its clients; the store
        knows of that disk, and of a sibling that was booted from the same image
  idle, read, compile, database, web
        a guest that has read all the sources on its disk, more than its page cache holds, and
        what it does then; the store knows of the disk, and send is given LAZY
  back  servers that work for WORK seconds, 10 minutes, after they have left a host with
        --keep, and then go back. There are three of them, which work at the same time, so
        that each can tell of one return. QEMU's ways move each right after its return
  random
        a guest full of random bytes; the store knows of an image of other random bytes: all
        that can be lost by looking is
  same  a guest that writes all the time, but what is there already

Every move of ours is verified page by page (--verify). What that takes the tool tells, and it
is not counted in ms; all else from the order until all of the guest is over there, and runs,
is. What recv needs before it listens, to read siblings again and to look at indexes, is in
ready_ms, and in no limit. Nothing of a disk is in the caches of the destination when a move
begins.

Both stop the guest when they expect no more than DOWNTIME ms. QEMU's XBZRLE gets a cache as
large as the guest: more would be of no use to it.

MF_QUICK=1 moves once by each way, and has them work for half a minute, to see that all works:
these are no figures.
"""
import os
import time

import loads
from micro import Failed
from migrate.move import TOOL, discard, forget_events
from subject import Traveller, sent
from vm import Bed, Guest, guest_disk
from ways import Ours, Qemu

RATE = "50mbit"
DOWNTIME = 300
QUICK = bool(os.environ.get("MF_QUICK"))
TIMES = 1 if QUICK else 3
WORK = 30 if QUICK else 600
STORE = "/run/store"
IMAGE = "/run/random.raw"
# Memory of guests is in large pages, as QEMU asks for its own.
MOUNT = "-o huge=always"
PRECOPY = ("--mode", "precopy")
# How send is told to leave to the disk what can be read there; its mode is auto.
LAZY = ("--lazy",)
LAZY_LOADS = {"idle": loads.Idle, "read": loads.Read, "compile": loads.Compile,
              "database": loads.Database, "web": loads.Web}
# In no limit: those loads that are many have them only once.
ASIDE = ("xbzrle", "multifd-zstd")
ORDER = ("idealized", "realistic", "lazy", "back", "random", "same")
# A host keeps memory of VMs in a quarter of its own: three times that of a guest.
HOST_MB = {"back": 2560}
GUEST_MB = {"lazy": 224, "random": 192, "same": 192, "back": 192}


def ours(*args):
    return Ours("--verify", "--max-downtime", DOWNTIME, *args, recv=["--store", STORE])


def ways(ram_mb, *args):
    return {
        "ours": ours(*args),
        "qemu": Qemu(DOWNTIME),
        "xbzrle": Qemu(DOWNTIME, ["xbzrle"], parameters={
            "xbzrle-cache-size": 1 << (ram_mb - 1).bit_length() + 20}),
        "multifd-zstd": Qemu(DOWNTIME, ["multifd"], parameters={
            "multifd-channels": 2, "multifd-compression": "zstd"})}


def know(host, path):
    """Its store knows of that."""
    host.run(f"{TOOL} store add --store={STORE} --for=vm1 {path}", timeout=600, check=True)


class Reuse(Traveller):
    """A guest that moves; load: what it does, and is verified by."""

    def __init__(self, hosts, say, **options):
        super().__init__("reuse", hosts, say, **options)
        self.load = None

    def under(self, name, load):
        """It does something else."""
        self.group = f"reuse.{name}"
        self.load = load

    def move(self, name, way):
        twin = self.vm.twin(self.other()).start()
        if self.vm.disk:
            twin.host.run(f"blockdev --flushbufs {self.vm.disk}", check=True)
        forget_events(self.vm)
        before = sent(self.hosts)
        began, ended, told = way(self.vm, twin)
        wire = sent(self.hosts) - before
        if not told.get("verified", True):
            raise Failed(f"{self.group}: {name} was not verified")
        ms = 1000 * (ended - began) - told.get("verify_ms", 0)
        self.take(name, bytes=wire, ms=round(ms), **told)
        self.say(f"{self.group}: {name}: {wire / 1e6:.1f} MB, {ms / 1000:.1f} s, "
                 f"{told['pages']} pages" +
                 (f", {told['named']} named, {told['missed']} missed" if "named" in told else ""))
        self.moved_to(twin)
        self.load.vm = twin
        self.load.verify()

    def alternate(self, those, once=()):
        """TIMES by each of the ways, in turn; by some only once."""
        for turn in range(TIMES):
            for name in reversed(those) if turn % 2 else those:
                if not turn or name not in once:
                    self.move(name, those[name])

    def finish(self):
        discard(self.vm)
        return self.taken


class Loads:
    """Each is a method of that name, which returns its samples."""

    def __init__(self, bed, name, say):
        self.bed = bed
        self.say = say
        self.name = name
        self.hosts = bed.pair(mem=HOST_MB.get(name, 1536),
                              disk=guest_disk() if self.on_disk(name) else None,
                              mount=MOUNT)
        self.ram_mb = GUEST_MB.get(name, 256)
        bed.rate(RATE)

    @staticmethod
    def on_disk(name):
        return name in ("realistic", "lazy", "back")

    def guest(self, **options):
        if self.on_disk(self.name):
            options = {"disk": self.hosts[0].disk, "mounts": "rw", **options}
        return Reuse(self.hosts, self.say, ram_mb=self.ram_mb, **options)

    def travel(self, guest, load, name, *args, once=()):
        guest.under(name, load)
        guest.alternate(ways(self.ram_mb, *args), once)
        guest.load.end()

    def alone(self, load):
        """A guest under one load, with what the hosts know."""
        guest = self.guest()
        self.travel(guest, load(guest.vm), self.name, *PRECOPY)
        return guest.finish()

    def siblings(self):
        siblings = [Guest(host, "sibling", ram_mb=self.ram_mb, number=number).start()
                    for number, host in enumerate(self.hosts, 3)]
        for sibling in siblings:
            know(sibling.wait_up().host, sibling.ram_path)

    def idealized(self):
        self.siblings()
        return self.alone(loads.Idle)

    def realistic(self):
        self.siblings()
        for host in self.hosts:
            know(host, host.disk)
        return self.alone(loads.Server)

    def random(self):
        for host in self.hosts:
            host.run(f"head -c 64M /dev/urandom >{IMAGE}", timeout=300, check=True)
            know(host, IMAGE)
        return self.alone(loads.Random)

    def same(self):
        return self.alone(loads.Same)

    def lazy(self):
        for host in self.hosts:
            know(host, host.disk)
        guest = self.guest()
        loads.compile_sources(guest.vm, loads.WARM)
        loads.serve_sources(guest.vm)
        # Last, and more than there is room for: page cache is all that it has.
        before = loads.read_sources(guest.vm, ["."])
        for name, load in LAZY_LOADS.items():
            self.travel(guest, load(guest.vm), name, *LAZY, once=ASIDE)
        if loads.read_sources(guest.vm, ["."]) != before:
            raise Failed("the guest's files are others")
        return guest.finish()

    def back(self):
        guests = [self.guest(name=f"vm{number}", number=number, mounts="ro")
                  for number in (5, 6, 7)[:TIMES]]
        for guest in guests:
            guest.under("back", loads.Worker(guest.vm))
        there = ours(*PRECOPY, "--keep", "--store", STORE)
        for guest in guests:
            guest.move("there", there)
            guest.arrived = time.monotonic()
        taken = {}
        for guest in guests:
            self.say(f"reuse.back: {guest.vm.name} works")
            time.sleep(max(guest.arrived + WORK - time.monotonic(), 0))
            guest.take("there", **guest.load.done())
            for name, way in ways(self.ram_mb, *PRECOPY).items():
                guest.move(name, way)
            guest.load.end()
            for name, values in guest.finish().items():
                taken.setdefault(name, []).extend(values)
        return taken


def measure(kernel, say, samples):
    """The samples, and what is taken beside them."""
    taken = {}
    asked = {name.split(".")[1] for name in samples}
    for name in ORDER:
        if not asked & {name, *(LAZY_LOADS if name == "lazy" else ())}:
            continue
        with Bed(kernel, name="bench") as bed:
            taken.update(getattr(Loads(bed, name, say), name)())
            bed.dmesg_check()
    return taken

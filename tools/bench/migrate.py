# SPDX-License-Identifier: GPL-2.0
"""Whole migrations: migrate-fast against QEMU's own pre-copy, side by side.

One guest moves to and fro between two hosts, by the one and by the other. It is the same
VM all the time, its RAM in the same kind of file, with the same work: a program that
writes pages at a steady rate, and a redis server that is asked and told from outside
through the service network. The link is limited to RATE. Both begin in either direction
equally often: ours, QEMU, QEMU, ours, ours, QEMU.

Taken for each migration, from outside, the same way for both:
  bytes   what left both hosts through the migration link, by the NICs' counters
  ms      from the order until the destination's QEMU runs the guest (asked by QMP)
  gap_ms  the longest time in which no client of redis got an answer. The clients stay
          connected. This is the downtime and all that the guest and the network need to
          come back, and whatever else delays answers while pages are copied
Further samples: what each says of itself (told_ms, downtime_ms), and when the longest gap
began, counted from the end (gap_at_ms).

Both stop the guest when they expect no more than DOWNTIME ms, which is QEMU's default, and
have no limit of bandwidth but the link. Every migration must succeed, and nothing of the
work may be lost: the writer and the redis clients verify all they wrote.
"""
import time

from micro import Failed
from move import Tool, Work, discard, wait_listening
from redis_load import RedisLoad
from vm import Bed, Guest

RATE = "50mbit"
RAM_MB = 256
WORK = "writer 24 hot=2 rate=300"
ORDER = ("ours", "qemu", "qemu", "ours", "ours", "qemu")
PORT = 4444
PATIENCE = 400
DOWNTIME = 300
# Seconds that the guest works before the order and after the end.
MARGIN = 2.0


def sent(hosts):
    return sum(host.sent_bytes() for host in hosts)


def wait_running(twin, end):
    while twin.status() in ("inmigrate", "paused"):
        if time.monotonic() > end:
            raise Failed(f"the destination does not run: {twin.status()}")
        time.sleep(0.02)


def by_ours(vm, twin):
    """Move; what the tool says of its total and its downtime."""
    recv = Tool(twin.host, ["recv", "--qmp", twin.qmp_path, "--listen", f":{PORT}", "--json"])
    wait_listening(recv, PORT)
    began = time.monotonic()
    send = Tool(vm.host, ["send", "--qmp", vm.qmp_path, "--to",
                          f"{twin.host.addr}:{PORT}", "--json",
                          "--max-downtime", str(DOWNTIME)])
    rc = send.wait(PATIENCE)
    if rc:
        raise Failed(f"migrate-fast send returned {rc}:\n{send.output}\n{recv.output}")
    wait_running(twin, began + PATIENCE)
    ended = time.monotonic()
    result = send.events("result")[-1]
    recv.wait(60)
    return began, ended, result["total_ms"], result["downtime_ms"]


def by_qemu(vm, twin):
    for guest in (vm, twin):
        # Ours may have been at this QEMU before.
        guest.qmp("migrate-set-capabilities",
                  capabilities=[{"capability": "x-ignore-shared", "state": False}])
    # The default bandwidth, 1 Gbit/s, is never the limit here.
    vm.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 30,
                                        "downtime-limit": DOWNTIME})
    uri = f"tcp:{twin.host.addr}:{PORT}"
    twin.qmp("migrate-incoming", uri=uri)
    began = time.monotonic()
    end = began + PATIENCE
    vm.qmp("migrate", uri=uri)
    while True:
        info = vm.qmp("query-migrate")
        # It can say completed with figures of zero at first.
        if info.get("status") == "completed" and info.get("total-time"):
            break
        if info.get("status") in ("failed", "cancelled") or time.monotonic() > end:
            raise Failed(f"QEMU's migration: {info}")
        time.sleep(0.05)
    wait_running(twin, end)
    return began, time.monotonic(), info["total-time"], info["downtime"]


class Bench:
    def __init__(self, bed, say):
        self.hosts = bed.pair(mem=1024)
        bed.rate(RATE)
        self.say = say
        self.vm = Guest(self.hosts[0], "vm1", ram_mb=RAM_MB).start().wait_up()
        self.work = Work(self.vm, WORK)
        self.load = RedisLoad(self.hosts[0], self.vm.addr, clients=4, keys=500,
                              size=1500).start()
        self.taken = {}

    def take(self, way, **samples):
        for name, value in samples.items():
            self.taken.setdefault(f"migrate.{way}.{name}", []).append(value)

    def wait_answers(self, since):
        """A gap ends with an answer: wait until every client has one."""
        end = time.monotonic() + PATIENCE
        while not all(client.answers[-1] > since for client in self.load.clients):
            if self.load.errors or time.monotonic() > end:
                raise Failed("no answer from redis: " + "; ".join(self.load.errors))
            time.sleep(0.05)

    def move(self, way):
        """One migration, and what it took."""
        other = self.hosts[1] if self.vm.host is self.hosts[0] else self.hosts[0]
        twin = self.vm.twin(other).start()
        self.wait_answers(time.monotonic())
        time.sleep(MARGIN)
        before = sent(self.hosts)
        began, ended, told, downtime = {"ours": by_ours, "qemu": by_qemu}[way](self.vm, twin)
        wire = sent(self.hosts) - before
        self.wait_answers(ended)
        time.sleep(MARGIN)
        gap, since = self.load.gap(began)
        self.take(way, bytes=wire, ms=round(1000 * (ended - began)),
                  gap_ms=round(1000 * gap), gap_at_ms=round(1000 * (since - ended)),
                  told_ms=told, downtime_ms=downtime)
        self.say(f"{way}: {wire / 1e6:.1f} MB, {ended - began:.1f} s, "
                 f"no answer for {1000 * gap:.0f} ms")
        discard(self.vm)
        self.vm = self.work.guest = twin
        self.work.verify()

    def finish(self):
        usual = self.load.usual_gap(time.monotonic())
        self.take("usual", gap_ms=round(1000 * usual, 1))
        self.load.stop()
        wrong = self.load.verify()
        if wrong:
            raise Failed("redis: " + "; ".join(wrong[:5]))
        self.load.close()
        self.work.end()


def measure(kernel, say):
    """All samples of the migrations on a kernel."""
    with Bed(kernel, name="bench") as bed:
        bench = Bench(bed, say)
        for way in ORDER:
            say(f"migration by {way} on Linux {kernel}")
            bench.move(way)
        bench.finish()
        bed.dmesg_check()
        return bench.taken

# SPDX-License-Identifier: GPL-2.0
"""A guest under work that moves to and fro between two hosts, and what each move takes.

It runs a program that writes pages, and a redis server that is asked and told from outside
through the service network. Taken for each move, from outside, the same way for all:
  bytes   what left both hosts through the migration link, by the NICs' counters
  ms      from the order until all of the guest is over there, and runs
  downtime_ms	from QEMU's STOP at one end to its RESUME at the other, as both have said with
          their hosts' clocks; clock_ms: how wrong these may be, together. Not of a guest
          that did not move
  gap_ms  the longest time in which no client of redis got an answer. The clients stay
          connected. This is the downtime and all that the guest and the network need to
          come back, and whatever else delays answers while pages are copied
  lost_ms work that was lost: how many answers the clients did not get in time, in each
          100 ms from the order until the end, as the time in which they get as many
          otherwise. As a number it would tell how busy redis was before that move
  writes  pages that the guest has written, per second: less than it was asked for if it got
          no processor, as on a host that has much to do
  served  that is, the answers in each 100 ms, from MARGIN before the order until MARGIN
          after the end, as one text
Further samples: what the way says of itself, and when the longest gap began, counted from
the end (gap_at_ms). Nothing of the work may be lost: the writer and the redis clients verify
all they wrote.
"""
import time

from clock import Clock
from micro import Failed
from migrate.move import Work, discard, forget_events
from migrate.redis_load import RedisLoad
from vm import Guest
from ways import PATIENCE

# Seconds that the guest works before the order and after the end.
MARGIN = 2.0
SLICE = 0.1


def sent(hosts):
    return sum(host.sent_bytes() for host in hosts)


def served(load, began, ended):
    """Answers in each slice."""
    slices = [0] * max(int((ended - began) / SLICE), 1)
    for client in load.clients:
        for when in list(client.answers):
            if began <= when < ended:
                slices[min(int((when - began) / SLICE), len(slices) - 1)] += 1
    return slices


def lost(slices, usual):
    """Seconds of the usual work that are missing in the slices, added up."""
    return sum(max(SLICE - got / usual, 0) for got in slices)


class Traveller:
    """A guest, and the two hosts between which it moves. group: first part of the samples'
    names; options: of Guest."""

    def __init__(self, group, hosts, say, **options):
        self.group = group
        self.hosts = hosts
        self.say = say
        self.vm = Guest(hosts[0], **options).start().wait_up()
        self.taken = {}

    def take(self, way, **samples):
        for name, value in samples.items():
            self.taken.setdefault(f"{self.group}.{way}.{name}", []).append(value)

    def other(self):
        """The host where it is not."""
        return self.hosts[1] if self.vm.host is self.hosts[0] else self.hosts[0]

    def moved_to(self, twin):
        """It runs there; what it has left goes."""
        left, self.vm = self.vm, twin
        discard(left)


class Subject(Traveller):
    """work: of the program that writes pages."""

    def __init__(self, group, hosts, say, work, **options):
        super().__init__(group, hosts, say, **options)
        self.work = Work(self.vm, work)
        self.load = RedisLoad(hosts[0], self.vm.addr, clients=4, keys=500,
                              size=1500).start()
        self.clocks = {host: Clock(host) for host in hosts}

    def wait_answers(self, since):
        """A gap ends with an answer: wait until every client has one."""
        end = time.monotonic() + PATIENCE
        while not all(client.answers[-1] > since for client in self.load.clients):
            if self.load.errors or time.monotonic() > end:
                raise Failed("no answer from redis: " + "; ".join(self.load.errors))
            time.sleep(0.05)

    def when(self, guest, name):
        """When its QEMU has said so last, by this machine's clock."""
        said = guest.wait_event(name, 30)["timestamp"]
        return self.clocks[guest.host].here(said["seconds"] + said["microseconds"] / 1e6)

    def stood_still(self, name, twin):
        """Between two hosts, so to say."""
        for clock in self.clocks.values():
            clock.ask()
        self.take(name, downtime_ms=round(1000 * (self.when(twin, "RESUME") -
                                                  self.when(self.vm, "STOP")), 1),
                  clock_ms=round(1000 * sum(clock.error
                                            for clock in self.clocks.values()), 1))

    def move(self, name, way):
        """One move, if the way finishes, and what it took."""
        twin = self.vm.twin(self.other()).start()
        self.wait_answers(time.monotonic())
        quiet = time.monotonic()
        before = self.load.requests
        time.sleep(MARGIN)
        usual = (self.load.requests - before) / (time.monotonic() - quiet)
        if not usual:
            raise Failed(f"redis has answered nobody in {MARGIN} s")
        forget_events(self.vm)
        before, written = sent(self.hosts), self.work.ops
        began, ended, told = way(self.vm, twin)
        wire, written = sent(self.hosts) - before, self.work.ops - written
        self.wait_answers(ended)
        time.sleep(MARGIN)
        gap, since = self.load.gap(began)
        self.take(name, bytes=wire, ms=round(1000 * (ended - began)),
                  gap_ms=round(1000 * gap), gap_at_ms=round(1000 * (since - ended)),
                  writes=round(written / (ended - began)),
                  lost_ms=round(1000 * lost(served(self.load, began, ended), usual)),
                  served=" ".join(map(str, served(self.load, began - MARGIN, ended + MARGIN))),
                  usual=round(usual, 1), **told)
        moved = told["finished"]
        self.say(f"{name}: {'' if moved else 'given up after '}{wire / 1e6:.1f} MB, "
                 f"{ended - began:.1f} s, no answer for {1000 * gap:.0f} ms")
        if moved:
            self.stood_still(name, twin)
            self.moved_to(twin)
            self.work.guest = twin
        else:
            discard(twin)
        self.work.verify()

    def finish(self):
        usual = self.load.usual_gap(time.monotonic())
        self.take("usual", gap_ms=round(1000 * usual, 1))
        self.load.stop()
        wrong = self.load.verify()
        if wrong:
            raise Failed("redis: " + "; ".join(wrong[:5]))
        self.load.close()
        for clock in self.clocks.values():
            clock.close()
        self.work.end()
        discard(self.vm)
        return self.taken

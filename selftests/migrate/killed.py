#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""send is killed (SIGKILL) at random moments: the VM is unharmed, and is one.

Mostly in a mode in which memory follows the VM: killed after the commit, it has
to be resumed, since the VM runs over there and needs what is here.

Its session ends with it, and its guard lets a VM run on that was stopped just then.
Only between COMMIT and the answer it stays paused, and "resolve" or the operator lets it
run: at one place.
"""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.lot import REPEAT
from migrate.move import FAILED, MODES, MOVED, Move, Survivor, discard, resolve
from vm import Bed

FEW = 2


class Killed(Survivor):
    def __init__(self, bed):
        super().__init__(bed)
        self.usual = None
        self.outcomes = {}

    def measure(self):
        """How long does it take when nobody is killed?"""
        with self.test("undisturbed, to know the time"):
            began = time.monotonic()
            twin = self.vm.twin(self.b).start()
            move = Move(self.vm, twin)
            spawned = time.monotonic()
            self.tell(move.moved())
            self.usual = time.monotonic() - spawned
            self.note(f"{self.usual:.1f} s, {spawned - began:.1f} s before that")
            self.settle(twin)

    def settle(self, twin):
        """The guest lives at twin from now on."""
        discard(self.vm)
        self.vm = self.work.guest = twin

    def once(self, number):
        # Every other time when the VM is about to stand still: that is short.
        begin = 0.75 if number % 2 else 0
        after = self.random.uniform(begin * self.usual, self.usual * 1.1)
        with self.test(f"killed, number {number}"):
            twin = self.vm.twin(self.other(self.vm.host)).start()
            try:
                self.kill_after(twin, after)
            finally:
                if self.vm is not twin:
                    discard(twin)
            self.work.verify()

    def kill_after(self, twin, after):
        mode = self.random.choice(["precopy", *MODES])
        move = Move(self.vm, twin, args=MODES[mode])
        time.sleep(after)
        move.send.kill(signal.SIGKILL)
        rc = move.send.wait(60)
        if rc != MOVED and mode != "precopy":
            self.let_follow(move)
        assert rc in (137, MOVED), move.text()
        move.guard_ends()
        self.wait_settled(move)
        here, there = self.vm.status(), twin.status()
        phases = [event["phase"] for event in move.send.events("phase")]
        self.note(f"killed after {after:.2f} s in phase {(phases or ['copying'])[-1]}: "
                  f"send {rc}, source {here}, destination {there}")
        assert not (here == "running" and there == "running"), "two VMs run"
        if there == "running":
            assert here != "running", move.text()
            move.recv.kill(signal.SIGINT)	# it may wait for a question
            move.recv.wait(60)
            self.settle(twin)
            outcome = "moved"
        elif here == "running":
            outcome = "runs on"
        else:
            outcome = "paused"
            self.resolve(move)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if move.recv.running:
            move.recv.kill(signal.SIGINT)
            move.recv.wait(60)
        if outcome != "moved":
            move.never_ran()
            assert self.vm.status() == "running", move.text()
            move.nothing_left()
            self.survived()

    def let_follow(self, move):
        """If the VM runs over there, its memory follows."""
        end = time.monotonic() + 30
        while "waiting for the source to connect" not in move.recv.output:
            if not move.recv.running or time.monotonic() > end or \
                    "Waiting for" in move.recv.output:
                return
            time.sleep(0.1)
        move.guard_ends()
        move.source_waits()
        move.resume_send()
        assert move.send.wait(120) == MOVED, move.text()
        self.outcomes["resumed"] = self.outcomes.get("resumed", 0) + 1

    @staticmethod
    def wait_settled(move):
        """recv has noticed: it ends, or says that it waits for a question."""
        # Killed before it has introduced itself, send is missed by nobody.
        known = move.send.events("start")
        end = time.monotonic() + (60 if known else 5)
        while move.recv.running and "Waiting for" not in move.recv.output:
            if not known and time.monotonic() > end:
                break
            assert time.monotonic() < end, f"recv notices nothing\n{move.text()}"
            time.sleep(0.1)

    def resolve(self, move):
        """The source stands still and nothing runs: back to the source."""
        if move.recv.running:
            result = resolve(move, "--back")
        else:
            move.never_ran()
            result = resolve(move, "--word", "source")
        assert result.rc == FAILED, f"{result}\n{move.text()}"
        assert self.vm.status() == "running", move.text()


def main():
    with Bed(name="killed") as bed:
        killed = Killed(bed)
        killed.measure()
        for number in range(REPEAT if REPEAT > 1 else FEW):
            killed.once(number + 1)
        killed.note(f"outcomes: {killed.outcomes}")
        with killed.test("the guest's own checks"):
            killed.work.end()
        return killed.finish()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The connection is lost around the commit: never two, and "resolve" finds the one.

Each test uses up a guest at one of the hosts; those that end with the guest moved go
on from there.
"""
import contextlib
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.lot import case
from migrate.move import (FAILED, HOLD, MOVED, PATIENT, UNKNOWN, Move, Scenario, Tool, Work,
                          ask, discard, events_of, hooks, resolve)
from vm import AgentError, Bed, QmpError

# Of the tests, by lot, in make check.
FEW = 4
# Of the operator, who does not wait for a send that stands still.
OPERATOR = "/run/guest/vm1.operator"


class Unknown(Scenario):
    def __init__(self, bed):
        super().__init__(bed, huge=True)
        self.vm = self.guest(ram_mb=160, redis=False, disk=bed.disk(size_mb=64),
                             append="init_on_free=1",
                             extra=["-qmp", f"unix:{OPERATOR},server=on,wait=off"])
        self.work = Work(self.vm, "writer 8 hot=1 rate=200")

    def begin(self, twin, **options):
        return Move(self.vm, twin, args=PATIENT, recv_args=PATIENT, **options)

    def resolve(self, move, *args, **options):
        result = resolve(move, *args, **options)
        self.note(f"resolve: {result.rc}, {result.out.strip()}")
        return result.rc

    def is_unknown(self, move):
        """Send has given up; nothing runs here, and it says what to do."""
        assert move.send.wait(120) == UNKNOWN, move.text()
        move.says(move.send, ["unknown", "resolve", "--session"])
        assert move.result()["result"] == "unknown", move.text()
        assert self.vm.status() in ("paused", "postmigrate"), move.text()
        assert "RESUME" not in events_of(self.vm), move.text()

    def now_there(self, move):
        """The guest is at the destination, and the source's QEMU has ended."""
        self.vm.proc.wait(30)
        assert move.twin.status() == "running", move.text()
        discard(self.vm)
        self.vm = self.work.guest = move.twin
        self.work.verify()
        self.no_promise_left()

    def no_promise_left(self):
        for host in (self.a, self.b):
            left = host.run("ls /run/migrate-fast.d 2>/dev/null").out.split()
            assert not left, f"left on {host.name}: {left}"

    def still_here(self, move):
        """The guest is at the source."""
        assert self.vm.status() == "running", move.text()
        move.never_ran()
        discard(move.twin)
        self.work.verify()
        self.no_promise_left()

    def cut_at(self, move, hook, side="recv", release=True):
        """Cut the network while one side stands still at a hook."""
        held = move.recv if side == "recv" else move.send
        held.wait_hook(hook)
        self.cut(release=held if release else None)

    def dies_in_the_dark(self, twin):
        """A move whose sender is killed before COMMIT, while the network is cut."""
        move = self.begin(twin, send_env=hooks(commit=HOLD))
        self.cut_at(move, "commit", side="send", release=False)
        move.send.kill()
        assert move.send.wait(30) == 137
        move.recv.wait_for("stays paused here", 60)
        assert twin.status() == "paused", move.text()
        move.never_ran()
        move.guard_ends()
        assert self.vm.status() == "running", move.text()
        return move

    def pick_up(self, twin):
        """After a failure: let the guest run where it can, for the tests to come."""
        with contextlib.suppress(AgentError, QmpError):
            if twin.status() == "running":
                discard(self.vm)
                self.vm = self.work.guest = twin
            elif self.vm.status() != "running":
                self.vm.qmp("cont")

    # COMMIT was said and heard, RUNNING was not heard

    @case("answer to the commit lost; resolve ends the source")
    def lost_answer(self, twin):
        move = self.begin(twin, recv_env=hooks(running=HOLD))
        self.cut_at(move, "running")
        self.is_unknown(move)
        assert twin.status() == "running", move.text()
        assert self.resolve(move) == UNKNOWN, "nobody can have answered"
        self.mend()
        assert self.resolve(move) == MOVED
        assert move.recv.wait(60) == MOVED, move.text()
        self.now_there(move)

    @case("answer lost, network back: send asks by itself")
    def found_again(self, twin):
        """The network comes back before send gives up: it asks for itself."""
        move = Move(self.vm, twin, args=["--timeout", "30000"], recv_args=PATIENT,
                    recv_env=hooks(running=HOLD))
        self.cut_at(move, "running")
        move.recv.wait_for("has not heard", 60)
        self.mend()
        assert move.send.wait(120) == MOVED, move.text()
        assert move.recv.wait(60) == MOVED, move.text()
        self.now_there(move)

    # COMMIT was said, but never heard

    @case("commit lost; resolve lets the destination run")
    def lost_commit(self, twin):
        move = self.begin(twin, send_env=hooks(commit=HOLD))
        self.cut_at(move, "commit", side="send")
        self.is_unknown(move)
        move.recv.wait_for("stays paused here", 60)
        move.never_ran()
        self.mend()
        # By the operator's socket: the promise names the other one.
        assert self.resolve(move, qmp=OPERATOR) == MOVED
        assert move.recv.wait(60) == MOVED, move.text()
        self.now_there(move)

    @case("commit of a paused VM lost; its QEMU there dies")
    def paused(self, twin):
        """A VM that did not run: of its end over there only QEMU can tell, and none of ours
        lets it run."""
        self.vm.qmp("stop")
        move = self.begin(twin, send_env=hooks(commit=HOLD))
        self.cut_at(move, "commit", side="send")
        self.is_unknown(move)
        move.recv.wait_for("stays paused here", 60)
        twin.kill()
        self.mend()
        assert self.resolve(move) == FAILED
        assert move.recv.wait(60) == FAILED, move.text()
        assert self.vm.status() in ("paused", "postmigrate"), move.text()
        assert "RESUME" not in events_of(self.vm), move.text()
        self.vm.qmp("cont")
        self.still_here(move)

    @case("commit lost; the receiver dies when it has answered")
    def answered_and_died(self, twin):
        """It has given the VM up, and is gone before it hears that this was understood."""
        move = self.begin(twin, send_env=hooks(commit=HOLD))
        self.cut_at(move, "commit", side="send")
        self.is_unknown(move)
        move.recv.wait_for("stays paused here", 60)
        self.mend()
        asks = Tool(self.vm.host, ask(move) + ["--back"], hooks(answered=HOLD))
        asks.wait_for("waiting at")
        move.recv.kill()
        assert move.recv.wait(30) == 137
        asks.release()
        assert asks.wait(60) == FAILED, asks.output
        assert "x-ignore-shared" not in self.vm.capabilities(), asks.output
        self.still_here(move)

    @case("commit lost; resolve --back takes the VM back")
    def taken_back(self, twin):
        move = self.begin(twin, send_env=hooks(commit=HOLD))
        self.cut_at(move, "commit", side="send")
        self.is_unknown(move)
        self.mend()
        assert self.resolve(move, "--back") == FAILED
        assert move.recv.wait(60) == FAILED, move.text()
        self.still_here(move)

    # COMMIT was not said, and whoever asks does not know that

    @case("nothing committed; resolve does not let the destination run")
    def source_stands_still(self, twin):
        """It is about to let the VM run on: nobody may have the destination run it."""
        move = Move(self.vm, twin, recv_args=PATIENT, send_env=hooks(commit=HOLD),
                    args=["--mode", "postcopy", *PATIENT])
        move.send.wait_hook("commit")
        move.send.kill(signal.SIGSTOP)
        move.recv.wait_for("stays paused here", 120)
        assert self.resolve(move, qmp=OPERATOR) == FAILED
        move.never_ran()
        assert move.recv.wait(60) == FAILED, move.text()
        move.send.kill(signal.SIGCONT)
        assert move.send.wait(120) == FAILED, move.text()
        self.still_here(move)

    @case("sender dies before the commit, and nobody asks")
    def nobody_asks(self, twin):
        """What waits there can be told to run by hand: by then it is an ordinary VM."""
        move = self.dies_in_the_dark(twin)
        move.recv.kill(signal.SIGINT)
        assert move.recv.wait(60) == UNKNOWN, move.text()
        assert twin.status() == "paused", move.text()
        assert "x-ignore-shared" not in twin.capabilities(), move.text()
        self.mend()
        self.still_here(move)

    # It was answered, but who has asked does not say so

    @case("commit lost; who asks is killed; send --resume")
    def asked_and_gone(self, twin):
        """A VM that runs over there gets its memory all the same."""
        move = Move(self.vm, twin, recv_args=PATIENT, send_env=hooks(commit=HOLD),
                    args=["--mode", "postcopy", *PATIENT])
        self.cut_at(move, "commit", side="send")
        self.is_unknown(move)
        move.recv.wait_for("stays paused here", 60)
        self.mend()
        asks = Tool(self.vm.host, ask(move), hooks(answered=HOLD))
        asks.wait_for("waiting at")
        asks.kill()
        assert asks.wait(30) == 137
        assert twin.status() == "running", move.text()
        move.resume_send()
        assert move.send.wait(120) == MOVED, move.text()
        assert move.recv.wait(60) == MOVED, move.text()
        self.now_there(move)

    # The receiver dies after it has heard COMMIT: only the operator knows

    @case("receiver dies after the commit; the operator's word")
    def operator(self, twin):
        move = self.begin(twin, recv_env=hooks(committed=HOLD))
        move.recv.wait_hook("committed")
        move.recv.kill()
        self.is_unknown(move)
        assert self.resolve(move) == UNKNOWN
        twin.kill()		# the operator makes sure of it
        assert self.resolve(move, "--word", "source") == FAILED
        self.still_here(move)

    # The source dies

    @case("sender dies before the commit")
    def source_died(self, twin):
        """Its guard lets the VM run on, and has the destination give it up."""
        move = self.begin(twin, send_env=hooks(commit=HOLD))
        move.send.wait_hook("commit")
        assert twin.status() == "paused", move.text()
        move.send.kill()
        assert move.send.wait(30) == 137
        assert move.recv.wait(60) == FAILED, move.text()
        move.guard_ends()
        self.still_here(move)

    @case("sender dies before the commit, network cut too")
    def source_died_in_the_dark(self, twin):
        """Nobody can tell the destination: it stays paused, until somebody asks."""
        move = self.dies_in_the_dark(twin)
        self.mend()
        assert self.resolve(move) == FAILED
        assert move.recv.wait(60) == FAILED, move.text()
        self.still_here(move)

    @case("Ctrl-C at a prepared receiver")
    def interrupted_receiver(self, twin):
        """Ctrl-C at a receiver that is prepared gives the VM back."""
        move = self.begin(twin, send_env=hooks(commit=HOLD))
        move.send.wait_hook("commit")
        move.recv.kill(signal.SIGINT)
        move.failed("cancel", recv_rc=None)
        self.still_here(move)


def main():
    with Bed(name="unknown") as bed:
        unknown = Unknown(bed)
        unknown.run_cases(unknown.twin_test, FEW)
        with unknown.test("the guest's own checks"):
            unknown.work.end()
        return unknown.finish()


if __name__ == "__main__":
    sys.exit(main())

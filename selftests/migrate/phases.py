#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The network is cut, or somebody dies, in each phase of each mode.

A cell is a phase, a mode and a victim. The tool stands still at a place in that phase
(tools/migrate-fast/hook.h) until it has happened; or it is let go just before, and then
it happens at a random moment. Then the operator does what both ends say, and README.md.
In the end the VM runs, once, and has lost nothing, or it was lost with its host, which is
said.

MF_REPEAT=1 takes a few cells, so that each phase, mode and victim has its turn, and always
the same: what a change has broken is to be told from what luck has found. Else each cell
is tried MF_REPEAT / 2 times, at random: there are 165. MF_CELL=supplying/hybrid/recv tries
one MF_REPEAT times, or with fewer words several.
"""
import contextlib
import itertools
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.lot import REPEAT
from migrate.move import (FAILED, HOLD, KILLED, MODES, MOVED, PATIENT, SPLIT, TOOL, UNKNOWN, Move,
                          Scenario, check_order, discard, events_of, hooks, resolve)
from vm import AgentError, Bed, HostError, QmpError

FEW = 7

# Places in each phase, and who stands still there.
PHASES = {
    "copying": [("send", "hash-send"), ("send", "round")],
    "stopping": [("recv", "ready"), ("send", "stopped"), ("send", "device")],
    "loading": [("recv", "load"), ("recv", "prepared")],
    "committing": [("send", "commit"), ("send", "promised"), ("recv", "committed"),
                   ("recv", "running")],
    "supplying": [("send", "push"), ("send", "half"), ("send", "pushed"),
                  ("recv", "complete")],
    "verifying": [("send", "verify")],
    "ending": [("send", "bye")],
}
VICTIMS = ["network", "send", "recv", "both", "host"]
# Before the source has said COMMIT it is its VM, whatever happens.
OWN = ["hash-send", "round", "ready", "stopped", "device", "load", "prepared", "commit",
       "promised"]


def cells():
    """Those that exist."""
    for phase, mode, victim in itertools.product(PHASES, MODES, VICTIMS):
        if phase == "supplying" and mode == "precopy":
            continue	# nothing follows
        if phase == "ending" and victim == "host":
            continue	# an ordinary VM, on a host that dies
        yield phase, mode, victim


class Steady:
    """A workload that talks to nobody: it verifies also a VM that was taken back."""

    def __init__(self, guest, line):
        self.guest = guest
        self.pid = guest.run(f"workload {line} </dev/null >/tmp/work 2>&1 & echo $!",
                             check=True).out.strip()
        self.ask(f"until grep -q ready /tmp/work; do kill -0 {self.pid} || exit 1; "
                 "sleep 0.2; done", 120)

    def ask(self, script, timeout):
        """An answer, even if the first words get lost on the way to a VM that has moved."""
        end = time.monotonic() + timeout
        while True:
            try:
                return self.guest.run(script, timeout=timeout, check=True).out
            except (AgentError, OSError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def verify(self):
        told = self.ask(
            "n=$(grep -c ^verify /tmp/work); "
            f"kill -USR1 {self.pid} || exit 1; "
            "while [ $(grep -c ^verify /tmp/work) -le $n ]; do sleep 0.2; done; "
            "grep ^verify /tmp/work | tail -n 1", 120)
        assert " errors 0" in told, f"the guest has lost something: {told}"


class Phases(Scenario):
    def __init__(self, bed):
        super().__init__(bed, huge=True)
        # Most of the time is spent waiting for whom somebody has silenced.
        self.patient = PATIENT if REPEAT < 2 else ["--timeout", "4000"]
        self.only = [word for word in os.environ.get("MF_CELL", "").split("/") if word]
        always_same = REPEAT < 2 and not self.only
        self.random = self.seeded("few" if always_same else None)
        self.outcomes = {}
        self.vm = self.work = None
        self.renew()

    def renew(self):
        """A new guest, where there is none."""
        self.vm = self.guest(ram_mb=128, redis=False, append="init_on_free=1")
        self.work = Steady(self.vm, "writer 8 hot=2 rate=400")

    # Which

    def few(self):
        """Each phase, mode and victim at least once."""
        left = list(cells())
        self.random.shuffle(left)
        seen, chosen = set(), []
        while len(chosen) < FEW:
            best = max(left, key=lambda cell: len(set(cell) - seen))
            left.remove(best)
            seen.update(best)
            chosen.append(best)
        return chosen

    def plan(self):
        if self.only:
            return REPEAT * [cell for cell in cells() if set(self.only) <= set(cell)]
        if REPEAT < 2:
            return self.few()
        every = list(cells()) * (REPEAT // 2)
        self.random.shuffle(every)
        return every

    # What happens

    def cell(self, phase, mode, victim):
        places = PHASES[phase]
        if mode == "postcopy" and phase == "copying":
            places = [("send", "round")]	# nothing is copied
        side, hook = self.random.choice(places)
        late = self.random.random() < 0.3
        name = f"{phase}/{mode}/{victim}: {side} at \"{hook}\""
        with self.twin_test(name + (", let go" if late else "")) as twin:
            self.once(twin, (phase, mode, victim), (side, hook), late)

    def once(self, twin, cell, place, late):
        phase, mode, victim = cell
        side, hook = place
        verify = phase == "verifying" or self.random.random() < 0.3
        env = hooks(**{hook: HOLD})
        move = Move(self.vm, twin, verify=verify, args=[*MODES[mode], *self.patient],
                    recv_args=self.patient, **{f"{side}_env": env})
        held = move.send if side == "send" else move.recv
        held.wait_hook(hook)
        move.session()
        if late:
            held.release()
            time.sleep(self.random.uniform(0, 0.4))
        self.strike(move, victim)
        if not late and held.running and self.random.random() < 0.5:
            held.release()
        if victim == "network":
            self.let_pass(move)
        if victim == "host":
            # Its address is silent until those who wait have given it up.
            move.send.wait(120)
            self.mend()
        self.let_go(move, held)
        outcome = self.settle(move)
        self.note(f"send {move.first}, then {outcome}")
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        # A cut may have passed before anybody noticed.
        if hook in OWN and not late and victim != "network":
            assert outcome == "here", f"{outcome}\n{move.text()}"
        self.judge(move, outcome)

    def strike(self, move, victim):
        if victim in ("network", "host"):
            self.cut()
        # It is dead before somebody is let go: another host may be quicker.
        dead = [move.recv] if victim in ("recv", "both", "host") else []
        dead += [move.send] if victim in ("send", "both") else []
        for tool in dead:
            tool.kill()
        for tool in dead:
            tool.wait(60)
        if victim == "host":
            move.twin.kill()

    def let_pass(self, move):
        """A cut that nobody notices, or one that they do."""
        if self.random.random() < 0.3:
            time.sleep(self.random.uniform(0, 2))
        else:
            silence = int(self.patient[1]) / 1000
            end = time.monotonic() + self.random.uniform(silence, 1.7 * silence)
            while move.send.running and time.monotonic() < end:
                time.sleep(0.1)
        self.mend()

    @staticmethod
    def let_go(move, held):
        """Nobody stands still any more: some places are come to again and again."""
        end = time.monotonic() + 180
        while True:
            with contextlib.suppress(AgentError):
                if held.running:
                    held.release()
            if not move.send.running or time.monotonic() > end:
                return
            time.sleep(0.2)

    # What the operator does, until the VM is somewhere

    def settle(self, move):
        """Returns "here", "there", or "lost" with a host that died after the move."""
        move.first = rc = move.send.wait(180)
        move.guard_ends()
        for _ in range(8):
            self.never_two(move)
            if rc == MOVED:
                return self.now_there(move)
            if rc == FAILED or self.at(self.vm) == "running":
                return self.still_here(move)
            if not self.vm.proc.running:
                return self.now_there(move)
            move.source_waits()
            if not move.twin.proc.running:
                return self.taken_back(move)
            if rc == SPLIT:
                rc = self.resume(move)
            elif rc in (UNKNOWN, KILLED):
                rc = self.ask(move)
            else:
                raise AssertionError(f"send returned {rc}\n{move.text()}")
        raise AssertionError(f"no end of it: send {rc}\n{move.text()}")

    def never_two(self, move):
        here, there = self.at(self.vm), self.at(move.twin)
        assert here != "running" or there in (None, "paused", "inmigrate", "waits"), \
            f"source {here}, destination {there}\n{move.text()}"

    @staticmethod
    def at(guest):
        """Its run state; it may be about to end, or silent: it waits for memory."""
        if not guest.proc.running:
            return None
        try:
            return guest.qmp("query-status", timeout=5)["status"]
        except QmpError as error:
            if "no answer" in str(error):
                return "waits"
        guest.proc.wait(30)
        return None

    def resume(self, move):
        """Its memory is here, the VM there."""
        if not move.recv.running:
            assert move.given_over(), f"nothing to resume\n{move.text()}"
            move.resume_recv(*self.patient)
        move.resume_send(*self.patient)
        return move.send.wait(180)

    def ask(self, move):
        """Exit status that stands for what the destination says."""
        result = resolve(move, *self.patient)
        self.note(f"resolve: {result.rc}, {result.out.strip()}")
        if result.rc != UNKNOWN:
            return result.rc
        if move.recv.running:
            time.sleep(1)
            return UNKNOWN
        # Nobody answers there: recv has died. Look at the destination.
        if move.given_over():
            move.resume_recv(*self.patient)
            return UNKNOWN
        if self.at(move.twin) == "running":
            assert resolve(move, "--word", "destination").rc == MOVED
            return MOVED
        return self.word(move)

    def word(self, move):
        move.twin.kill()
        assert resolve(move, "--word", "source").rc == FAILED, move.text()
        return FAILED

    def taken_back(self, move):
        """The destination has died, and the VM with it, perhaps: as it was when stopped."""
        texts = [tool.output for tool in (move.send, move.recv)]
        if move.first == SPLIT:
            assert any("has died" in text for text in texts), move.text()
        self.word(move)
        move.taken_back = True
        return self.still_here(move)

    def still_here(self, move):
        assert self.vm.status() == "running", move.text()
        if not getattr(move, "taken_back", False):
            move.never_ran()
        if move.recv.running:
            self.recv_ends(move)
        # What is left of half a VM is given up.
        if move.twin.host.run("ls /run/migrate-fast.d/*.json 2>/dev/null").rc == 0:
            done = move.twin.host.run(f"{TOOL} abort --qmp {move.twin.qmp_path}")
            assert done.rc == 0, done
        move.twin.kill()
        discard(move.twin)
        return "here"

    def recv_ends(self, move):
        """It has noticed, or asks to be asked."""
        end = time.monotonic() + 40
        while move.recv.running and time.monotonic() < end:
            if "Waiting for" in move.recv.output:
                result = resolve(move)
                # The guard may have asked just before: then recv is about to end.
                assert result.rc == FAILED or "answered: gone" in move.recv.output, \
                    f"{result}\n{move.text()}"
                break
            time.sleep(0.2)
        with contextlib.suppress(TimeoutError):
            move.recv.wait(15)
        if move.recv.running:
            move.recv.kill(signal.SIGINT)
            move.recv.wait(30)

    def now_there(self, move):
        twin = move.twin
        self.vm.proc.wait(30)
        if not twin.proc.running:
            discard(self.vm)
            discard(twin)
            self.renew()
            return "lost"
        move.recv_ends()
        move.records_end()
        self.vm = self.work.guest = twin
        return "there"

    # What has to be true then

    def judge(self, move, outcome):
        if outcome == "lost":
            return
        assert self.vm.status() == "running", move.text()
        if outcome == "there":
            check_order(move.vm, [["STOP", "SHUTDOWN"], ["STOP"]])
            discard(move.vm)
            assert events_of(self.vm).count("RESUME") == 1, move.text()
        else:
            check_order(move.vm, [[], ["STOP", "RESUME"]])
        self.work.verify()
        assert "x-ignore-shared" not in self.vm.capabilities(), \
            f"x-ignore-shared was left on\n{move.text()}"
        move.nothing_left()
        move.no_records()

    def pick_up(self, twin):
        """After a failure: a guest for those to come."""
        self.rescue()
        here = there = None
        with contextlib.suppress(AgentError, QmpError, HostError):
            here, there = self.vm.status(), self.at(twin)
        for host in (self.a, self.b):
            host.run("rm -rf /run/migrate-fast.d")
        if there == "running" and here != "running":
            discard(self.vm)
            self.vm = self.work.guest = twin
        with contextlib.suppress(AgentError, QmpError, OSError, AssertionError):
            if self.vm.status() in ("paused", "postmigrate"):
                self.vm.qmp("cont")
            self.work.verify()
            return
        for guest in (self.vm, twin):
            with contextlib.suppress(AgentError):
                guest.kill()
                discard(guest)
        self.renew()


def main():
    with Bed(name="phases") as bed:
        phases = Phases(bed)
        began = time.monotonic()
        plan = phases.plan()
        for cell in plan:
            phases.cell(*cell)
        phases.note(f"outcomes: {phases.outcomes}; "
                    f"{(time.monotonic() - began) / len(plan):.1f} s each")
        return phases.finish()


if __name__ == "__main__":
    sys.exit(main())

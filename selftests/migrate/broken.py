#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Somebody dies, or the network is cut, in each phase of a migration.

Before the commit the guest must work on at the source, and only there. After it, it
must not run twice, whatever happens; "migrate-fast resolve" finds out where it is.

The tool is held still in a phase by its test hooks (tools/migrate-fast/hook.h), or the
link is made slow, so that what happens happens there and not elsewhere.
"""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.lot import case
from migrate.move import (FAILED, HOLD, PATIENT, Move, Survivor, hooks, never_written,
                          resolve)
from vm import Bed

# Of the tests, by lot, in make check.
FEW = 12


class Broken(Survivor):
    # When

    def in_round_1(self, twin, **options):
        self.bed.rate("10mbit")
        move = Move(self.vm, twin, **options)
        move.send.wait_for('"start"', 120)
        self.wait_sent(self.a, 1 << 20)
        assert not move.send.events("round"), "round 1 is over already"
        return move

    def in_last_round(self, twin, **options):
        """The VM is stopped, and a part of the last pages is on its way."""
        args = list(options.pop("args", [])) + ["--max-rounds", 1, "--force-switchover"]
        move = Move(self.vm, twin, args=args, send_env=hooks(stopped=HOLD), **options)
        move.send.wait_hook("stopped")
        self.bed.rate("500kbit")
        move.send.release()
        self.wait_sent(self.a, 50 << 10)
        assert len(move.send.events("round")) == 1, "the last round is over already"
        return move

    @staticmethod
    def at_send_hook(move, name):
        move.send.wait_hook(name)
        return move

    @staticmethod
    def at_recv_hook(move, name):
        move.recv.wait_hook(name)
        return move

    # The receiver

    @case("receiver killed in round 1")
    def receiver_killed_early(self, twin):
        move = self.in_round_1(twin)
        move.recv.kill()
        move.failed("lost", recv_rc=137)

    @case("receiver killed in the last round")
    def receiver_killed_in_last_round(self, twin):
        move = self.in_last_round(twin)
        move.recv.kill()
        move.failed("lost", recv_rc=137)

    @case("receiver killed after the stream began", "load")
    @case("receiver killed after the device state was loaded", "prepared")
    def receiver_killed_at(self, twin, name):
        move = Move(self.vm, twin, recv_env=hooks(**{name: HOLD}))
        self.at_recv_hook(move, name).recv.kill()
        move.failed("lost", recv_rc=137)

    @case("receiver killed just before the commit")
    def receiver_killed_before_commit(self, twin):
        move = Move(self.vm, twin, send_env=hooks(commit=HOLD))
        self.at_send_hook(move, "commit").recv.kill()
        move.failed("lost", recv_rc=137)

    # Its QEMU

    @case("destination QEMU killed in round 1")
    def qemu_killed_early(self, twin):
        move = self.in_round_1(twin)
        twin.kill()
        move.failed("QEMU")

    @case("destination QEMU killed while it loads")
    @case("postcopy: destination QEMU killed while it loads", "--mode", "postcopy")
    @case("three-stage: destination QEMU killed while it loads", "--mode", "three-stage")
    def qemu_killed_loading(self, twin, *args):
        move = Move(self.vm, twin, args=args, recv_env=hooks(load=HOLD))
        self.at_recv_hook(move, "load")
        twin.kill()
        move.recv.release()
        move.failed("QEMU")

    @case("destination QEMU killed when it is prepared")
    def qemu_killed_prepared(self, twin):
        move = Move(self.vm, twin, recv_env=hooks(prepared=HOLD))
        self.at_recv_hook(move, "prepared")
        twin.kill()
        move.recv.release()
        move.failed("QEMU")

    # The sender

    @case("Ctrl-C in round 1", signal.SIGINT)
    @case("SIGTERM in round 1", signal.SIGTERM)
    def interrupted_early(self, twin, sig):
        move = self.in_round_1(twin)
        move.send.kill(sig)
        move.failed("cancel")

    @case("Ctrl-C in the last round")
    def interrupted_in_last_round(self, twin):
        move = self.in_last_round(twin)
        move.send.kill(signal.SIGINT)
        move.failed("cancel")

    @case("Ctrl-C while the destination loads")
    def interrupted_loading(self, twin):
        move = Move(self.vm, twin, recv_env=hooks(load=HOLD))
        self.at_recv_hook(move, "load").send.kill(signal.SIGINT)
        move.failed("cancel")

    @case("Ctrl-C at the receiver in round 1")
    def receiver_interrupted(self, twin):
        move = self.in_round_1(twin)
        move.recv.kill(signal.SIGINT)
        move.failed("cancel")

    @case("sender killed in round 1")
    def sender_killed_early(self, twin):
        move = self.in_round_1(twin)
        move.send.kill()
        self.sender_was_killed(move)

    @case("sender killed in the last round")
    def sender_killed_in_last_round(self, twin):
        move = self.in_last_round(twin)
        move.send.kill()
        self.sender_was_killed(move)

    @case("sender killed when it has promised to commit")
    def sender_killed_promised(self, twin):
        move = Move(self.vm, twin, send_env=hooks(promised=HOLD))
        self.at_send_hook(move, "promised").send.kill()
        self.sender_was_killed(move, "given back")

    @case("sender killed when it is about to have cleaned up")
    def sender_killed_cleaning_up(self, twin):
        move = Move(self.vm, twin, send_env=hooks(restore=HOLD))
        move.send.wait_for("\"start\"")
        move.recv.kill()
        self.at_send_hook(move, "restore").send.kill()
        assert move.send.wait(30) == 137, move.text()
        move.guard_ends()
        move.source_runs()

    def sender_was_killed(self, move, why="lost"):
        assert move.send.wait(30) == 137, move.text()
        move.guard_ends()
        assert self.vm.status() == "running", move.text()
        rc = move.recv.wait(60)
        assert rc == FAILED, f"recv returned {rc}\n{move.text()}"
        move.says(move.recv, [why])
        move.never_ran()
        move.nothing_left()
        move.no_records()

    # The network

    def fails_when_cut(self, move):
        """Each end has to notice for itself, and to end, while it is cut."""
        self.cut()
        move.failed("no sign of life")

    def cut_and_resolve(self, move, pause=False):
        """The destination cannot know whether the source has gone on without it."""
        self.cut(release=move.recv)
        move.send_failed("no sign of life")
        move.recv.wait_for("stays paused here", 60)
        self.mend()
        if pause:
            self.vm.qmp("stop")
        result = resolve(move)
        assert result.rc == FAILED, f"{result}\n{move.text()}"
        assert move.recv.wait(60) == FAILED, move.text()
        move.never_ran()
        move.nothing_left()
        if pause:
            # What is loaded over there is older than this.
            assert self.vm.status() == "paused", move.text()
            self.vm.qmp("cont")

    @case("network cut in round 1")
    def cut_early(self, twin):
        self.fails_when_cut(self.in_round_1(twin, args=PATIENT, recv_args=PATIENT))

    @case("interface taken down in round 1")
    def interface_down(self, twin):
        # Packets may now leave by another interface, and be refused there.
        move = self.in_round_1(twin, args=PATIENT, recv_args=PATIENT)
        self.a.link_down()
        try:
            move.failed("network")
        finally:
            self.a.link_up()

    @case("network cut in the last round")
    def cut_in_last_round(self, twin):
        self.fails_when_cut(self.in_last_round(twin, args=PATIENT, recv_args=PATIENT))

    @case("network cut while the destination loads")
    def cut_loading(self, twin):
        move = Move(self.vm, twin, args=PATIENT, recv_args=PATIENT,
                    recv_env=hooks(load=HOLD))
        self.fails_when_cut(self.at_recv_hook(move, "load"))

    @case("network cut when the destination has loaded")
    def cut_prepared(self, twin):
        move = Move(self.vm, twin, args=PATIENT, recv_args=PATIENT,
                    recv_env=hooks(prepared=HOLD))
        self.at_recv_hook(move, "prepared")
        self.cut_and_resolve(move)

    @case("a short interruption is survived")
    def cut_shortly(self, twin):
        self.bed.rate("20mbit")
        # TCP may take three times as long as the network was cut to try again.
        patient = ["--timeout", 60000]
        move = Move(self.vm, twin, recv_args=patient,
                    args=[*patient, "--max-rounds", 1, "--downtime-limit", 1])
        move.send.wait_for('"start"', 120)
        self.cut()
        time.sleep(2)
        self.mend()
        # It fails for the reason that it was given, not for the network.
        move.failed("--downtime-limit")

    @case("a line that crawls after the stop")
    def crawls(self, twin):
        """Nobody is silent, and it would come to an end, but the guest stands still."""
        move = Move(self.vm, twin, send_env=hooks(stopped=HOLD),
                    args=["--max-downtime", 2000, "--downtime-limit", 2000,
                          "--timeout", 60000])
        move.send.wait_hook("stopped")
        self.bed.rate("100kbit")
        move.send.release()
        move.send_failed("much slower")
        self.bed.rate(self.rate)
        move.failed("much slower")

    # Before the commit it is all the same in post-copy, but for a QEMU that may wait
    # for memory

    @case("postcopy: receiver killed when pages are absent", "postcopy")
    @case("three-stage: receiver killed when pages are absent", "three-stage")
    def receiver_killed_absent(self, twin, mode):
        args = ["--mode", mode, *PATIENT]
        move = Move(self.vm, twin, args=args, recv_env=hooks(load=HOLD))
        self.at_recv_hook(move, "load").recv.kill()
        move.failed("lost", recv_rc=137)
        # Nothing was loaded: the same QEMU can take a VM yet.
        move = Move(self.vm, twin, args=args)
        move.send.wait_round()
        move.send.kill(signal.SIGINT)
        move.failed("cancel")

    @case("postcopy: Ctrl-C when the destination has loaded", "postcopy")
    @case("three-stage: Ctrl-C when the destination has loaded", "three-stage")
    def interrupted_absent(self, twin, mode):
        move = Move(self.vm, twin, args=["--mode", mode, *PATIENT],
                    send_env=hooks(commit=HOLD))
        self.at_send_hook(move, "commit").send.kill(signal.SIGINT)
        move.failed("cancel")
        twin.proc.wait(30)	# half a VM is of no use to anybody

    @case("postcopy: network cut while the destination loads", "postcopy")
    @case("three-stage: network cut while the destination loads", "three-stage")
    def cut_absent(self, twin, mode):
        move = Move(self.vm, twin, args=["--mode", mode, *PATIENT], recv_args=PATIENT,
                    send_env=hooks(device=HOLD))
        self.at_send_hook(move, "device")
        self.cut(release=move.send)
        move.failed("no sign of life")
        move.no_records()

    @case("three-stage: network cut when the destination has loaded")
    def cut_prepared_absent(self, twin):
        move = Move(self.vm, twin, args=["--mode", "three-stage", *PATIENT],
                    recv_args=PATIENT, recv_env=hooks(prepared=HOLD))
        self.at_recv_hook(move, "prepared")
        self.cut_and_resolve(move, pause=True)

    # Somebody else, at the same QEMU

    @case("\"cont\" while memory is copied", "stop", "cont", "running")
    @case("\"stop\" while memory is copied", "cont", "stop", "paused")
    def meanwhile(self, twin, before, word, status):
        """The destination was told whether the VM runs: nobody may change that."""
        self.vm.qmp(before)
        move = Move(self.vm, twin, send_env=hooks(first_round=HOLD))
        move.send.wait_hook("first-round")
        self.vm.qmp(word)
        move.send.release()
        assert move.send.wait(60) == FAILED, move.text()
        move.says(move.send, [f"is \"{status}\" by now"])
        assert self.vm.status() == status, move.text()
        move.never_ran()
        assert move.recv.wait(60) == FAILED, move.text()
        move.nothing_left()
        self.vm.qmp("cont")

    # The last line of defence, tried

    @case("three-stage: memory is written after the stop")
    def goes_on_writing(self, twin):
        """Somebody maps the VM's memory who does not stop with it."""
        # Page 0 is nobody's: Linux reserves it.
        writer = self.a.spawn(
            "exec python3 -c 'import mmap\n"
            f"with open(\"{self.vm.ram_path}\", \"r+b\") as file:\n"
            "    page = mmap.mmap(file.fileno(), 4096)\n"
            "print(\"here\", flush=True)\n"
            "while True:\n"
            "    page[0] = page[0]'")
        writer.wait_output("here", 60)
        try:
            # It gets a processor between two harvests.
            move = Move(self.vm, twin, args=["--mode", "three-stage", *PATIENT],
                        recv_args=PATIENT, send_env=hooks(rest=50))
            move.failed("still writes")
        finally:
            writer.kill()
            writer.wait(30)

    @case("a page that was lost is found by --verify")
    def lost_page(self, twin):
        move = Move(self.vm, twin, verify=True,
                    send_env=hooks(lose_page=never_written(self.vm)))
        move.failed("verification", "differ")


def main():
    with Bed(name="broken") as bed:
        broken = Broken(bed)
        broken.run_cases(broken.case, FEW)
        broken.still_movable()
        return broken.finish()


if __name__ == "__main__":
    sys.exit(main())

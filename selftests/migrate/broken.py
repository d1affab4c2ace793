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
from migrate.move import (FAILED, HOLD, PATIENT, Move, Survivor, hooks, never_written,
                          resolve)
from vm import Bed


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

    def receiver_killed(self):
        with self.case("receiver killed in round 1") as twin:
            move = self.in_round_1(twin)
            move.recv.kill()
            move.failed("lost", recv_rc=137)
        with self.case("receiver killed in the last round") as twin:
            move = self.in_last_round(twin)
            move.recv.kill()
            move.failed("lost", recv_rc=137)
        for name, when in (("load", "after the stream began"),
                           ("prepared", "after the device state was loaded")):
            with self.case(f"receiver killed {when}") as twin:
                move = Move(self.vm, twin, recv_env=hooks(**{name: HOLD}))
                self.at_recv_hook(move, name).recv.kill()
                move.failed("lost", recv_rc=137)
        with self.case("receiver killed just before the commit") as twin:
            move = Move(self.vm, twin, send_env=hooks(commit=HOLD))
            self.at_send_hook(move, "commit").recv.kill()
            move.failed("lost", recv_rc=137)

    def destination_qemu_killed(self):
        with self.case("destination QEMU killed in round 1") as twin:
            move = self.in_round_1(twin)
            twin.kill()
            move.failed("QEMU")
        with self.case("destination QEMU killed while it loads") as twin:
            move = Move(self.vm, twin, recv_env=hooks(load=HOLD))
            self.at_recv_hook(move, "load")
            twin.kill()
            move.recv.release()
            move.failed("QEMU")
        with self.case("destination QEMU killed when it is prepared") as twin:
            move = Move(self.vm, twin, recv_env=hooks(prepared=HOLD))
            self.at_recv_hook(move, "prepared")
            twin.kill()
            move.recv.release()
            move.failed("QEMU")

    # The sender

    def sender_ends(self):
        for sig, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")):
            with self.case(f"{name} in round 1") as twin:
                move = self.in_round_1(twin)
                move.send.kill(sig)
                move.failed("cancel")
        with self.case("Ctrl-C in the last round") as twin:
            move = self.in_last_round(twin)
            move.send.kill(signal.SIGINT)
            move.failed("cancel")
        with self.case("Ctrl-C while the destination loads") as twin:
            move = Move(self.vm, twin, recv_env=hooks(load=HOLD))
            self.at_recv_hook(move, "load").send.kill(signal.SIGINT)
            move.failed("cancel")
        with self.case("Ctrl-C at the receiver in round 1") as twin:
            move = self.in_round_1(twin)
            move.recv.kill(signal.SIGINT)
            move.failed("cancel")
        with self.case("sender killed in round 1") as twin:
            move = self.in_round_1(twin)
            move.send.kill()
            self.sender_was_killed(move)
        with self.case("sender killed in the last round") as twin:
            move = self.in_last_round(twin)
            move.send.kill()
            self.sender_was_killed(move)
        with self.case("sender killed when it has promised to commit") as twin:
            move = Move(self.vm, twin, send_env=hooks(promised=HOLD))
            self.at_send_hook(move, "promised").send.kill()
            self.sender_was_killed(move, "given back")
        with self.case("sender killed when it is about to have cleaned up") as twin:
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

    def network_cut(self):
        with self.case("network cut in round 1") as twin:
            self.fails_when_cut(self.in_round_1(twin, args=PATIENT, recv_args=PATIENT))
        with self.case("interface taken down in round 1") as twin:
            # Packets may now leave by another interface, and be refused there.
            move = self.in_round_1(twin, args=PATIENT, recv_args=PATIENT)
            self.a.link_down()
            try:
                move.failed("network")
            finally:
                self.a.link_up()
        with self.case("network cut in the last round") as twin:
            self.fails_when_cut(self.in_last_round(twin, args=PATIENT, recv_args=PATIENT))
        with self.case("network cut while the destination loads") as twin:
            move = Move(self.vm, twin, args=PATIENT, recv_args=PATIENT,
                        recv_env=hooks(load=HOLD))
            self.fails_when_cut(self.at_recv_hook(move, "load"))
        with self.case("network cut when the destination has loaded") as twin:
            move = Move(self.vm, twin, args=PATIENT, recv_args=PATIENT,
                        recv_env=hooks(prepared=HOLD))
            self.at_recv_hook(move, "prepared")
            self.cut_and_resolve(move)
        with self.case("a short interruption is survived") as twin:
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

    def slow(self):
        """Nobody is silent, and it would come to an end, but the guest stands still."""
        with self.case("a line that crawls after the stop") as twin:
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

    def memory_absent(self):
        for mode in ("postcopy", "three-stage"):
            args = ["--mode", mode, *PATIENT]
            with self.case(f"{mode}: receiver killed when pages are absent") as twin:
                move = Move(self.vm, twin, args=args, recv_env=hooks(load=HOLD))
                self.at_recv_hook(move, "load").recv.kill()
                move.failed("lost", recv_rc=137)
                # Nothing was loaded: the same QEMU can take a VM yet.
                move = Move(self.vm, twin, args=args)
                move.send.wait_round()
                move.send.kill(signal.SIGINT)
                move.failed("cancel")
            with self.case(f"{mode}: destination QEMU killed while it loads") as twin:
                move = Move(self.vm, twin, args=args, recv_env=hooks(load=HOLD))
                self.at_recv_hook(move, "load")
                twin.kill()
                move.recv.release()
                move.failed("QEMU")
            with self.case(f"{mode}: Ctrl-C when the destination has loaded") as twin:
                move = Move(self.vm, twin, args=args, send_env=hooks(commit=HOLD))
                self.at_send_hook(move, "commit").send.kill(signal.SIGINT)
                move.failed("cancel")
                twin.proc.wait(30)	# half a VM is of no use to anybody
            with self.case(f"{mode}: network cut while the destination loads") as twin:
                move = Move(self.vm, twin, args=args, recv_args=PATIENT,
                            send_env=hooks(device=HOLD))
                self.at_send_hook(move, "device")
                self.cut(release=move.send)
                move.failed("no sign of life")
                move.no_records()
        with self.case("three-stage: network cut when the destination has loaded") as twin:
            move = Move(self.vm, twin, args=["--mode", "three-stage", *PATIENT],
                        recv_args=PATIENT, recv_env=hooks(prepared=HOLD))
            self.at_recv_hook(move, "prepared")
            self.cut_and_resolve(move, pause=True)

    # Somebody else, at the same QEMU

    def others(self):
        """The destination was told whether the VM runs: nobody may change that."""
        for before, meanwhile, status in (("stop", "cont", "running"),
                                          ("cont", "stop", "paused")):
            with self.case(f"\"{meanwhile}\" while memory is copied") as twin:
                self.vm.qmp(before)
                move = Move(self.vm, twin, send_env=hooks(first_round=HOLD))
                move.send.wait_hook("first-round")
                self.vm.qmp(meanwhile)
                move.send.release()
                assert move.send.wait(60) == FAILED, move.text()
                move.says(move.send, [f"is \"{status}\" by now"])
                assert self.vm.status() == status, move.text()
                move.never_ran()
                assert move.recv.wait(60) == FAILED, move.text()
                move.nothing_left()
                self.vm.qmp("cont")

    # The last line of defence, tried

    def goes_on_writing(self):
        """Somebody maps the VM's memory who does not stop with it."""
        with self.case("three-stage: memory is written after the stop") as twin:
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

    def lost_page(self):
        with self.case("a page that was lost is found by --verify") as twin:
            move = Move(self.vm, twin, verify=True,
                        send_env=hooks(lose_page=never_written(self.vm)))
            move.failed("verification", "differ")


def main():
    with Bed(name="broken") as bed:
        broken = Broken(bed)
        broken.receiver_killed()
        broken.destination_qemu_killed()
        broken.sender_ends()
        broken.network_cut()
        broken.slow()
        broken.memory_absent()
        broken.others()
        broken.goes_on_writing()
        broken.lost_page()
        broken.still_movable()
        return broken.finish()


if __name__ == "__main__":
    sys.exit(main())

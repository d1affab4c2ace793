#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Post-copy is disturbed: the network is cut, either end is killed, a host dies.

The VM runs at the destination and lacks memory that only the source has. It waits where
it needs some of it, and sees nothing wrong; the source stays paused, and intact. What
goes on again brings all of it.
"""
import contextlib
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.lot import REPEAT
from migrate.move import (FAILED, HOLD, MOVED, PATIENT, SMALL, SPLIT, TOOL, UNKNOWN, Move,
                          Scenario, Work, client_at, discard, events_of, hooks, mount_small,
                          must_answer, never_written, resolve)
from vm import AgentError, Bed, QmpError


class Resume(Scenario):
    def __init__(self, bed):
        super().__init__(bed, huge=True)
        self.anew()

    def anew(self):
        """A guest that is at work."""
        self.vm = self.guest(ram_mb=160, redis=False, append="init_on_free=1")
        self.work = Work(self.vm, "writer 16 hot=1 rate=300")

    def begin(self, twin, mode="postcopy", verify=False, patience=PATIENT, recv_args=()):
        """Up to the moment when the first pages have followed the VM.

        Nothing else is pushed before what the test does next: on a fast machine all would
        be over already. Who has lost its peer does not wait on.
        """
        move = Move(self.vm, twin, verify=verify, args=["--mode", mode, *patience],
                    recv_args=[*patience, *recv_args], send_env=hooks(push=HOLD))
        move.send.wait_hook("push")
        assert twin.status() == "running", move.text()
        return move

    def lives(self, move):
        """Finished: the guest is at the destination, whole, and nothing is left."""
        result = move.moved()
        self.tell(result)
        self.arrived(move)
        return result

    def arrived(self, move):
        discard(self.vm)
        self.vm = self.work.guest = move.twin
        self.work.verify()
        move.nothing_left()
        left = self.vm.host.run("ls /run/migrate-fast.d 2>/dev/null").out.split()
        assert not left, f"records left: {left}"
        assert "x-ignore-shared" not in self.vm.capabilities(), "x-ignore-shared was left on"

    def pick_up(self, twin):
        """After a failure: a guest for the tests to come, if there is one."""
        self.rescue()
        for host in (self.a, self.b):
            host.run("rm -rf /run/migrate-fast.d")
        with contextlib.suppress(AgentError, QmpError):
            if self.vm is twin:
                return	# it had arrived already
            if self.vm.proc.running:
                twin.kill()
                self.vm.qmp("cont")
            elif twin.status() == "running":
                self.vm = self.work.guest = twin

    # The network

    def short_cut(self):
        """Both ends notice, and find each other again."""
        with self.twin_test("network cut, both ends connect again") as twin:
            move = self.begin(twin, verify=True, patience=["--timeout", "30000"])
            self.cut()
            move.send.wait_for("connecting again", 120)
            self.mend()
            result = self.lives(move)
            assert result["verified"]
            assert result["postcopy"]["rejoined"] >= 1

    def long_cut(self):
        with self.twin_test("network cut for long: send --resume") as twin:
            move = self.begin(twin, mode="three-stage")
            self.cut()
            move.is_split()
            self.mend()
            # It is not for resolve to end the QEMU whose memory is wanted.
            result = resolve(move)
            assert result.rc == SPLIT, f"{result}\n{move.text()}"
            move.source_waits()
            move.resume_send()
            self.lives(move)

    # Somebody dies

    def sender_killed(self):
        with self.twin_test("sender killed: send --resume") as twin:
            move = self.begin(twin)
            move.send.kill()
            assert move.send.wait(30) == 137
            move.guard_ends()
            move.recv.wait_for("waiting for the source", 60)
            move.source_waits()
            self.resume(move)
            result = self.lives(move)
            assert result["mode"] == "postcopy" or result["postcopy"]["rejoined"] == 1

    def sender_killed_late(self):
        """Nothing is absent any more, but nobody has said goodbye."""
        with self.twin_test("sender killed when all memory is there: resolve") as twin:
            move = Move(self.vm, twin, verify=True, recv_args=PATIENT,
                        args=["--mode", "postcopy", *PATIENT], send_env=hooks(verify=HOLD))
            move.send.wait_hook("verify")
            move.send.kill()
            assert move.send.wait(30) == 137
            move.guard_ends()
            move.source_waits()
            move.recv.wait_for("waiting for the source", 60)
            assert resolve(move).rc == MOVED, move.text()
            # It has told that, and nobody else will ask.
            assert move.recv.wait(60) == MOVED, move.text()
            self.arrived(move)

    @staticmethod
    def resume(move):
        move.resume_send()

    def receiver_killed(self):
        with self.twin_test("receiver killed: recv --resume, and send finds it") as twin:
            move = self.begin(twin, patience=["--timeout", "30000"])
            move.recv.kill()
            assert move.recv.wait(30) == 137
            time.sleep(1)
            move.resume_recv()
            self.lives(move)

    def killed_writing(self):
        """Before a VM is there: half of a record, or one of it, is left to nobody."""
        with self.twin_test("recv killed while it writes down what it lacks") as twin:
            move = Move(self.vm, twin, args=["--mode", "postcopy", *PATIENT],
                        recv_env=hooks(keep=HOLD))
            move.recv.wait_hook("keep")
            move.recv.kill()
            move.send_failed()
            move.nothing_left()
            move.no_records()

    def both_killed(self):
        with self.twin_test("both killed: recv --resume and send --resume") as twin:
            move = self.begin(twin)
            move.recv.kill()
            move.send.kill()
            assert move.recv.wait(30) == 137
            assert move.send.wait(30) == 137
            move.guard_ends()
            move.source_waits()
            move.resume_recv()
            move.resume_send()
            self.lives(move)

    def interrupted(self):
        """Ctrl-C: the VM stays where it is, and so does its memory."""
        with self.twin_test("Ctrl-C at the sender: send --resume") as twin:
            move = self.begin(twin)
            move.send.kill(signal.SIGINT)
            move.is_split()
            move.resume_send()
            self.lives(move)
        with self.twin_test("Ctrl-C at both: recv goes on while there is a source") as twin:
            move = self.begin(twin)
            move.recv.kill(signal.SIGINT)
            move.recv.wait_for("still at the source", 30)
            assert move.recv.running
            move.send.kill(signal.SIGINT)
            assert move.send.wait(60) == SPLIT, move.text()
            assert move.recv.wait(60) == SPLIT, move.text()
            move.resume_recv()
            move.resume_send()
            self.lives(move)

    # At random moments

    def at_random(self, number):
        mode = self.random.choice(["postcopy", "three-stage"])
        after = self.random.uniform(0, 4)
        who = self.random.choice(["send", "recv", "both", "network"])
        with self.twin_test(f"number {number}: {who} after {after:.2f} s of {mode}") as twin:
            move = Move(self.vm, twin, args=["--mode", mode, *PATIENT], recv_args=PATIENT)
            move.send.wait_phase("supplying")
            time.sleep(after)
            if who == "network":
                self.cut()
                time.sleep(self.random.uniform(0, 12))
                self.mend()
            if who in ("recv", "both"):
                move.recv.kill()
            if who in ("send", "both"):
                move.send.kill()
            self.go_on(move)

    def go_on(self, move):
        """Whoever has died, start another, until the VM and all its memory are there."""
        for _ in range(4):
            # A send that has lost its peer goes on looking for it.
            if not move.recv.running and move.given_over():
                move.resume_recv()
            if move.send.wait(180) == MOVED:
                break
            move.guard_ends()
            if not move.vm.proc.running:
                break	# it was killed after the last word
            move.source_waits()
            if move.recv.running or move.given_over():
                move.resume_send()
        move.recv_ends()
        move.vm.proc.wait(30)
        move.records_end()
        assert move.twin.status() == "running", move.text()
        assert events_of(move.twin).count("RESUME") == 1, move.text()
        self.arrived(move)

    @staticmethod
    def status(twin):
        """Its run state; None if it has ended, or is about to."""
        with contextlib.suppress(QmpError):
            return twin.status()
        return None

    # The one case that loses what the VM did since

    def host_died(self):
        """The destination dies: told as such; the source is paused, and intact."""
        with self.twin_test("the destination dies: told so, the source stays intact") as twin:
            move = self.begin(twin)
            # As with a host: nobody is left who could see that the VM is no more.
            move.recv.kill()
            assert move.recv.wait(30) == 137
            twin.kill()
            move.is_split()
            move.says(move.send, ["has died"])
            move.source_waits()
            # Its socket has gone with it, and the operator is not particular about paths.
            where = os.path.split(twin.qmp_path)
            done = twin.host.run(f"cd {where[0]} && {TOOL} abort --qmp {where[1]}")
            assert done.rc == 0 and "has ended already" in done.out, done
            # Nothing but the operator's word lets it run, as it was when it was stopped.
            self.taken_back(move)

    def another_qemu(self):
        """In the place of the one that had the VM: it must not pass for it."""
        with self.twin_test("QEMU dies with recv, and another one takes its place") as twin:
            move = self.begin(twin)
            move.recv.kill()
            assert move.recv.wait(30) == 137
            twin.kill()
            move.is_split()
            another = self.vm.twin(twin.host).start(keep=True)
            move.resume_recv(*PATIENT)
            assert move.recv.wait(60) == FAILED, move.text()
            move.says(move.recv, ["the vm has ended"])
            move.resume_send(*PATIENT)
            move.is_split()
            assert another.status() == "inmigrate", another.status()
            discard(another)
            self.taken_back(move)

    def died_unseen(self):
        """While somebody else had QEMU's socket: its end is not taken for success."""
        with self.twin_test("QEMU dies while recv --resume has no connection to it") as twin:
            move = self.begin(twin)
            move.send.kill()
            move.recv.kill()
            assert (move.send.wait(30), move.recv.wait(30)) == (137, 137)
            move.guard_ends()
            with client_at(twin.host, twin.qmp_path):
                move.resume_recv(*PATIENT)
                move.resume_send(*PATIENT, env=hooks(pushed=HOLD))
                move.send.wait_hook("pushed")
                twin.kill()
            move.send.release()
            move.is_split()
            assert move.recv.wait(60) == FAILED, move.text()
            move.says(move.recv, ["has ended here"])
            self.taken_back(move)

    def taken_back(self, move):
        """The operator's word, when the destination has died."""
        assert resolve(move, "--word", "source").rc == FAILED
        assert self.vm.status() == "running"
        self.work.guest = self.vm
        for host in (self.a, self.b):
            host.run("rm -rf /run/migrate-fast.d")

    def told_late(self):
        """QEMU has yet to be told that it may run the VM, and somebody has its socket."""
        with self.twin_test("recv dies before the VM runs, and QEMU cannot be told") as twin:
            move = Move(self.vm, twin, args=["--mode", "postcopy", *PATIENT],
                        recv_args=PATIENT, recv_env=hooks(committed=HOLD))
            move.recv.wait_hook("committed")
            move.recv.kill()
            assert move.recv.wait(30) == 137
            with client_at(twin.host, twin.qmp_path):
                assert move.send.wait(120) == UNKNOWN, move.text()
                move.resume_recv(*PATIENT)
                assert resolve(move).rc == SPLIT, move.text()
                move.resume_send(*PATIENT)
                move.recv.wait_for("one client at a time", 60)
                assert twin.status() == "paused", move.text()
                move.send.kill(signal.SIGINT)
                move.is_split()
                move.recv.kill(signal.SIGINT)
                assert move.recv.wait(60) == SPLIT, move.text()
                # All is here, and nobody comes: it must not say that all is well.
                move.resume_recv("--timeout", "3000")
                assert move.recv.wait(60) == SPLIT, move.text()
                move.says(move.recv, ["could not be told"])
                assert move.given_over(), move.text()
                move.resume_recv(*PATIENT)
                move.resume_send(*PATIENT)
                move.recv.wait_for("one client at a time", 60)
            assert move.send.wait(120) == MOVED, move.text()
            assert move.recv.wait(60) == MOVED, move.text()
            assert twin.status() == "running", move.text()
            self.vm.proc.wait(30)
            self.arrived(move)

    def differs(self, mode, lose):
        """--verify finds a lost page: both ends say so, and what is intact stays."""
        with self.twin_test(f"{mode}: a page that was lost is found ({lose}): back") as twin:
            # Elsewhere the guest may write it over there, and nothing is left to be found.
            page = never_written(self.vm)
            move = Move(self.vm, twin, verify=True, recv_args=PATIENT,
                        args=["--mode", mode, *PATIENT], send_env=hooks(**{lose: page}))
            assert move.send.wait(180) == SPLIT, move.text()
            assert f"page {page} is lost" in move.send.output, move.text()
            move.says(move.send, ["differ", "memory intact", "--word source"])
            move.source_waits()
            # Whoever tries again without comparing must not end what is intact.
            move.resume_send(*PATIENT)
            assert move.send.wait(120) == SPLIT, move.text()
            # Without that page the guest may have ended meanwhile, as it likes.
            move.says(move.send, ["before this one", "differ", "memory intact",
                                  "--word source"])
            move.source_waits()
            assert move.recv.wait(60) == SPLIT, move.text()
            move.says(move.recv, ["not what it was"])
            twin.kill()
            assert resolve(move, "--word", "source").rc == FAILED
            assert self.vm.status() == "running"

    def no_room(self):
        """The file system there is full: it is given room, and the rest comes."""
        host, usual = self.other(self.vm.host), self.vm.ram_dir
        mount_small(host)
        with self.twin_test("no room for the rest: remount, send --resume",
                            ram_dir=SMALL) as twin:
            move = self.begin(twin, recv_args=["--no-memory-check"])
            move.send.release()
            move.is_split()
            move.says(move.send, ["remount,size="])
            host.run(f"mount -o remount,size=512m {SMALL}", check=True)
            move.resume_send()
            self.lives(move)
            # Where the twins to come shall be.
            self.vm.ram_dir = usual

    def powered_off(self, name, end=None):
        """The guest shuts itself down over there: what it lacks, it will never want.

        end: with -no-shutdown, as libvirt has it, QEMU goes on without the VM, and is told to
        end by others: end(twin).
        """
        extra = [*self.vm.extra, *(["-no-shutdown"] if end else [])]
        with self.twin_test(name, extra=extra) as twin:
            move = self.begin(twin)
            # It waits for what it lacks, and neighbours may give it up meanwhile.
            must_answer(twin)
            twin.agent.spawn("poweroff -f")
            if end:
                twin.wait_event("SHUTDOWN", 120)
                assert twin.status() == "shutdown"
                end(twin)
            else:
                twin.proc.wait(120)
            move.send.release()
            assert move.send.wait(60) == MOVED, move.text()
            assert move.recv.wait(60) == MOVED, move.text()
            result = move.result()
            assert result["result"] == "moved", move.text()
            assert result["postcopy"].get("ended", False) == (not twin.proc.running), result
            if not twin.proc.running:
                sent = result["postcopy"]["pulled"] + result["postcopy"]["pushed"]
                assert sent < result["postcopy"]["stale"], "all had come before that"
                for tool in (move.send, move.recv):
                    assert "powered it off" in tool.output, move.text()
            self.vm.proc.wait(30)
            move.nothing_left()
            left = twin.host.run("ls /run/migrate-fast.d 2>/dev/null").out.split()
            assert not left, f"records left: {left}"

    @staticmethod
    def told_to_end(twin):
        twin.host.run(f"kill -TERM {twin.pid}", check=True)
        twin.proc.wait(30)

    def given_up(self):
        """abort: who waits for absent memory gets a signal, and QEMU can end."""
        with self.twin_test("abort ends a VM whose memory will not come") as twin:
            move = self.begin(twin)
            move.send.kill()
            move.recv.kill()
            assert move.send.wait(30) == 137
            assert move.recv.wait(30) == 137
            result = twin.host.run(f"{TOOL} abort --qmp {twin.qmp_path}")
            assert result.rc == 0, result.out
            assert "given up" in result.out
            again = twin.host.run(f"{TOOL} abort --qmp {twin.qmp_path}")
            assert again.rc == FAILED and "nothing to resume" in again.out, again.out
            # The guest touches absent memory sooner or later: QEMU gets a signal, and
            # ends; or KVM_RUN fails, and it stops the VM.
            end = time.monotonic() + 60
            while twin.proc.running and self.status(twin) != "internal-error":
                assert time.monotonic() < end, f"the VM goes on\n{move.text()}"
                time.sleep(0.2)
            assert self.status(twin) != "running", move.text()
            twin.kill()
            move.guard_ends()
            move.source_waits()
            assert resolve(move, "--word", "source").rc == FAILED


def main():
    with Bed(name="resume") as bed:
        resume = Resume(bed)
        for test in resume.some(4, [
                resume.short_cut, resume.long_cut, resume.sender_killed,
                resume.sender_killed_late, resume.receiver_killed, resume.killed_writing,
                resume.both_killed, resume.interrupted, resume.no_room]):
            test()
        for number in range(REPEAT):
            resume.at_random(number + 1)
        with resume.test("the guest's own checks"):
            resume.work.verify()
        # From here on the guest is taken back now and then: who talked to it has lost it.
        for test in resume.some(3, [
                resume.told_late, resume.host_died, resume.another_qemu, resume.died_unseen,
                lambda: resume.differs("three-stage", "lose_page"),
                lambda: resume.differs("postcopy", "lose_pushed"), resume.given_up]):
            test()
        for name, end in resume.some(1, [
                ("while memory follows it", None),
                ("QEMU lives on", lambda twin: None),
                ("QEMU is told to end", resume.told_to_end)]):
            if not resume.vm.proc.running:
                resume.anew()
            resume.powered_off(f"the guest powers itself off, {name}", end)
        return resume.finish()


if __name__ == "__main__":
    sys.exit(main())

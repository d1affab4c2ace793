#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What cannot be moved is refused with a message that says why, before any harm.

One guest works on host a all the while, and has to be well after each refusal.
"""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.move import (FAILED, HOLD, PORT, SMALL, TOOL, USAGE, Move, Survivor, command,
                          discard, hooks, mount_small, wait_listening)
from vm import Bed, Guest

# Started with, options, what it is then.
NICENESS = [(0, [], -10), (0, ["--nice=0"], 0), (5, [], 5), (5, ["--nice", "-3"], -3)]


class Refuse(Survivor):
    # Destinations that do not fit

    def misfits(self):
        cases = [
            ("less RAM at the destination", {"ram_mb": 128}, ["128 MiB", "160 MiB"]),
            ("more RAM at the destination", {"ram_mb": 320}, ["320 MiB", "160 MiB"]),
            ("another machine type", {"machine": "q35"}, ["machine type", "q35"]),
            ("another number of CPUs", {"smp": 2}, ["CPUs"])]
        for name, changes, keywords in cases:
            with self.case(name, **changes) as twin:
                Move(self.vm, twin).failed("do not fit", *keywords, recv_rc=None)

    def no_receiver(self):
        with self.test("nobody listens"):
            move = Move(self.vm, None, to=f"{self.b.addr}:{PORT}")
            move.failed("cannot connect", "recv")
            self.survived()
        with self.test("Ctrl-C while nobody answers"):
            self.cut()
            try:
                move = Move(self.vm, None, args=["--timeout", 600000],
                            to=f"{self.b.addr}:{PORT}")
                self.a.run(f"until ss -Hnt state syn-sent dport = {PORT} | grep -q .; "
                           "do sleep 0.1; done", timeout=120, check=True)
                move.send.kill(signal.SIGINT)
                move.failed("cancelled", timeout=60)
            finally:
                self.mend()
            self.survived()
        with self.test("destination QEMU missing"):
            recv = self.b.run(command(["recv", "--qmp", "/run/guest/none.qmp", "--listen",
                                       f":{PORT}"]))
            assert recv.rc == FAILED, recv
            assert "/run/guest/none.qmp" in recv.out and "QEMU" in recv.out, recv.out
        with self.case("destination QEMU ends while recv waits") as twin:
            move = Move(self.vm, None, receive=False, to=f"{self.b.addr}:{PORT + 1}")
            move.failed("cannot connect")
            recv = self.b.spawn(command(["recv", "--qmp", twin.qmp_path, "--listen",
                                         f":{PORT}"]))
            wait_listening(self.b, recv, PORT)
            twin.kill()
            result = recv.wait(60)
            assert result.rc == FAILED and "QEMU" in result.out, result

    def wrong_destination(self):
        with self.case("destination does not wait for a VM", incoming=False,
                       extra=["-S"]) as twin:
            self.receiver_says(twin, "-incoming defer")
        with self.case("destination's RAM is not on mfram", ram_dir="/dev/shm") as twin:
            self.receiver_says(twin, "not on a file system of type mfram")
        with self.case("destination's RAM is not shared",
                       ram_options=",share=off") as twin:
            self.receiver_says(twin, "share=on")

    def receiver_says(self, twin, *keywords):
        recv = self.b.run(command(["recv", "--qmp", twin.qmp_path, "--listen", f":{PORT}"]))
        assert recv.rc == FAILED, recv
        for keyword in keywords:
            assert keyword in recv.out, f"{keyword!r} is not in {recv.out!r}"

    # Sources that cannot be moved

    def wrong_source(self):
        cases = [("source's RAM is on tmpfs", {"ram_dir": "/dev/shm"},
                  "not on a file system of type mfram"),
                 ("source's RAM is in no file", {"ram_dir": None}, "memory-backend-file"),
                 ("source's RAM is not shared", {"ram_options": ",share=off"}, "share=on")]
        for name, options, keyword in cases:
            with self.test(name):
                # It need not run for this.
                other = Guest(self.a, "vm3", number=3, ram_mb=64, extra=["-S"], **options)
                try:
                    other.start()
                    for words in (["send", "--to", f"{self.b.addr}:{PORT}"], ["check"]):
                        done = self.a.run(command(words + ["--qmp", other.qmp_path]))
                        assert done.rc == FAILED, f"{words[0]}: {done}"
                        assert keyword in done.out, f"{words[0]}: {done.out}"
                    assert other.status() == "prelaunch"
                finally:
                    discard(other)

    def privileges(self):
        with self.case("without CAP_SYS_ADMIN") as twin:
            line = command(["send", "--qmp", self.vm.qmp_path, "--to",
                            f"{self.b.addr}:{PORT}"])
            done = self.a.run("setpriv --bounding-set -sys_admin --inh-caps -sys_admin "
                              + line.replace("exec ", "", 1))
            assert done.rc == FAILED and "CAP_SYS_ADMIN" in done.out, done
            done = self.b.run("setpriv --bounding-set -sys_admin --inh-caps -sys_admin "
                              f"{TOOL} recv --qmp {twin.qmp_path} --listen :{PORT}")
            assert done.rc == FAILED and "CAP_SYS_ADMIN" in done.out, done

    def sockets(self):
        with self.case("QMP socket in use at the source") as twin:
            taken = self.a.agent.connect("unix", self.vm.qmp_path)
            try:
                Move(self.vm, twin, receive=False).failed("in use")
            finally:
                taken.close()
        with self.case("QMP socket in use at the destination") as twin:
            taken = self.b.agent.connect("unix", twin.qmp_path)
            try:
                self.receiver_says(twin, "in use")
            finally:
                taken.close()
        with self.case("port in use at the destination") as twin:
            listener = self.b.spawn(f"exec busybox nc -l -p {PORT}")
            wait_listening(self.b, listener, PORT)
            self.receiver_says(twin, "cannot listen", "in use")
            listener.kill()

    # Too little memory

    def memory(self):
        mount_small(self.b)
        try:
            with self.case("too little memory at the destination", ram_dir=SMALL) as twin:
                Move(self.vm, twin, recv_args=["--no-memory-check"]).failed("no memory left")
            with self.case("too little memory, seen beforehand", ram_dir=SMALL) as twin:
                move = Move(self.vm, twin)
                move.failed("memory", "size=", recv_rc=None)
                assert not move.send.events("round"), "it began all the same"
        finally:
            self.b.run(f"umount {SMALL}", check=True)

    # Capabilities of QEMU that stand in the way

    def capabilities(self):
        with self.case("capability taken away at the destination") as twin:
            move = Move(self.vm, twin, send_env=hooks(first_round=HOLD))
            move.send.wait_hook("first-round")
            twin.qmp("migrate-set-capabilities", capabilities=[
                {"capability": "x-ignore-shared", "state": False}])
            move.send.release()
            move.failed("QEMU", recv_rc=None)
        with self.case("capability taken away at the source") as twin:
            move = Move(self.vm, twin, send_env=hooks(capable=HOLD))
            move.send.wait_hook("capable")
            self.vm.qmp("migrate-set-capabilities", capabilities=[
                {"capability": "x-ignore-shared", "state": False}])
            move.send.release()
            move.failed("QEMU", recv_rc=None)
        with self.case("a migration of QEMU's own is under way") as twin:
            self.vm.qmp("migrate-set-parameters", **{"max-bandwidth": 10000})
            self.vm.qmp("migrate", uri="exec:cat >/dev/null")
            try:
                Move(self.vm, twin, receive=False).failed("migrating already")
            finally:
                self.cancel()

    def another_migration(self):
        with self.case("somebody migrates it meanwhile: not disturbed") as twin:
            move = Move(self.vm, twin, send_env=hooks(capable=HOLD))
            move.send.wait_hook("capable")
            self.vm.qmp("migrate-set-capabilities", capabilities=[
                {"capability": "x-ignore-shared", "state": False}])
            self.vm.qmp("migrate-set-parameters", **{"max-bandwidth": 10000})
            self.vm.qmp("migrate", uri="exec:cat >/dev/null")
            move.send.release()
            move.failed("QEMU", recv_rc=None)
            status = self.vm.qmp("query-migrate")["status"]
            assert status == "active", f"the other one is {status}\n{move.text()}"
            self.cancel()

    def cancel(self):
        """QEMU's own migration."""
        self.vm.qmp("migrate_cancel")
        self.vm.qmp("migrate-set-parameters", **{"max-bandwidth": 128 << 20})
        end = time.monotonic() + 60
        while self.vm.qmp("query-migrate").get("status") != "cancelled":
            assert time.monotonic() < end, "QEMU does not cancel its own migration"
            time.sleep(0.2)

    # The command line

    def usage(self):
        with self.test("wrong usage"):
            for words in ([], ["fly"], ["send"], ["recv"], ["send", "--qmp", "/x"],
                          ["send", "--qmp", "/x", "--to", "b"],
                          ["send", "--qmp", "/x", "--to", ":1"],
                          ["recv", "--qmp", "/x", "--listen", "1"],
                          ["send", "--qmp", "/x", "--to", "b:1", "--max-rounds", "-1"],
                          ["send", "--qmp", "/x", "--to", "b:1", "--no-such-option"],
                          ["send", "--qmp", "/x", "--to", "b:1", "--max-downtime", "soon"],
                          ["send", "--qmp", "/x", "--to", "b:1", "--max-bandwidth", "-5"],
                          ["send", "--qmp", "/x", "--to", "b:1", "--mode", "hybrid",
                           "--no-postcopy"],
                          ["send", "--qmp", "/x", "--to", "b:1", "--no-postcopy",
                           "--allow-postcopy"],
                          ["send", "--qmp", "/x", "--to", "b:1", "--session", 32 * "0"],
                          ["send", "--qmp", "/x", "--to", "b:1", "--resume"],
                          ["send", "--qmp", "/x", "--to", "b:1", "--timeout", "2000"],
                          ["send", "--qmp", "/x", "--to", "b:1", "--nice", "20"],
                          ["recv", "--qmp", "/x", "--listen", ":1", "--nice=-21"],
                          ["resolve", "--qmp", "/x", "--to", "b:1", "--session", "../x"],
                          ["resolve", "--qmp", "/x", "--back", "--word", "source"],
                          ["recv", "--qmp", "/x", "--listen", ":1", "stray"]):
                done = self.a.run(command(words))
                assert done.rc == USAGE, f"{words}: {done}"
                assert done.out.strip(), f"{words}: no message"
            done = self.a.run(command(["--help"]))
            assert done.rc == 0 and "send" in done.out, done
            done = self.a.run(command(["--version"]))
            assert done.rc == 0, done

    def niceness(self):
        """Of a recv and a send that wait for the other; nobody's choice is overruled."""
        with self.case("niceness of recv") as twin:
            for before, args, nice in NICENESS:
                recv = self.nice(twin, before, ["recv", "--listen", f":{PORT}", *args])
                wait_listening(self.b, recv, PORT)
                self.has_niceness(recv, self.b, nice)
        with self.test("niceness of send"):
            for before, args, nice in NICENESS:
                # It says nothing.
                other = self.b.spawn(f"exec busybox nc -l -p {PORT}")
                wait_listening(self.b, other, PORT)
                send = self.nice(self.vm, before, ["send", "--to", f"{self.b.addr}:{PORT}", *args])
                self.a.run(f"until ss -Hnt state established dport = {PORT} | grep -q .; "
                           "do sleep 0.1; done", timeout=60, check=True)
                self.has_niceness(send, self.a, nice)
                other.kill()
                other.wait(60)
            self.survived()

    @staticmethod
    def nice(guest, before, words):
        line = command([*words, "--qmp", guest.qmp_path])
        return guest.host.spawn(line.replace("exec", f"exec nice -n {before}", 1))

    @staticmethod
    def has_niceness(tool, host, nice):
        """So has the module's thread, of the same name, that asks KVM for it."""
        has = host.run("for pid in $(pidof migrate-fast); do cut -d ' ' -f 19 /proc/$pid/stat; "
                       "done", check=True).out.split()
        tool.kill(signal.SIGINT)
        assert tool.wait(60).rc == FAILED
        assert set(has) == {str(nice)}, f"{has}, not {nice}"

    def ready(self):
        with self.case("check finds nothing wrong with a good VM") as twin:
            for guest in (self.vm, twin):
                done = guest.host.run(command(["check", "--qmp", guest.qmp_path]))
                assert done.rc == 0, done
            done = self.a.run(command(["check", "--qmp", "/run/guest/none.qmp"]))
            assert done.rc == FAILED and "none.qmp" in done.out, done


def main():
    with Bed(name="refuse") as bed:
        refuse = Refuse(bed)
        refuse.usage()
        refuse.niceness()
        refuse.ready()
        refuse.no_receiver()
        refuse.misfits()
        refuse.wrong_destination()
        refuse.wrong_source()
        refuse.privileges()
        refuse.sockets()
        refuse.memory()
        refuse.capabilities()
        refuse.another_migration()
        refuse.still_movable()
        return refuse.finish()


if __name__ == "__main__":
    sys.exit(main())

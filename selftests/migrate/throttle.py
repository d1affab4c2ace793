#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A guest that writes faster than the link carries, and must stay in pre-copy.

Without --throttle it does not move. With it, cpu.max of its vCPU threads is lowered until
it does, or until send is killed, cancelled, or its QEMU ends: then all control groups are
as they were. Groups of its own that a vCPU thread has already, and limits on them, as
libvirt makes them, are respected.
"""
import itertools
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.lot import REPEAT
from migrate.move import (
    FAILED, HOLD, MOVED, PORT, STRANDED, USAGE, Move, Scenario, Work, command, discard,
    hooks, must_answer)
from vm import Bed
from vm.ktap import Skip

ROOT = "/sys/fs/cgroup"
FAST, SLOW = "80mbit", "6mbit"
WRITER = "writer 3 threads=2"
# The device state alone takes 600 ms when the line is slow, all that is written 4200.
BOUNDS = ["--downtime-limit", 1700]
# So much it is slowed at least, in %: where it has more than a host of one processor has
# to give it feels nothing of 60; where it has a part of it, rounds may pay then.
SLOWED, SLOWED_LIMITED = 80, 60
TOO_BUSY = ("rounds have paid without: this machine is too busy for a VM that writes faster "
            "than the line carries")
# What each vCPU has of a processor, if it is limited by others.
LIMITED = "30000 100000"


def look(host):
    """All control groups of a host, and what --throttle could change of them."""
    out = host.run(f"cd {ROOT} && grep -r . --include=cgroup.type --include=cpu.max "
                   "--include=cgroup.subtree_control", check=True).out
    return "\n".join(sorted(out.splitlines()))


class Groups:
    """The control groups of one guest's QEMU."""

    def __init__(self, vm):
        self.vm = self.host = self.vcpus = self.before = None
        self.follow(vm)

    def follow(self, vm):
        """Those of another."""
        self.vm = vm
        self.host = vm.host
        self.vcpus = [cpu["thread-id"] for cpu in vm.qmp("query-cpus-fast")]
        self.before = self.now()

    def enter(self, group, *lines):
        """QEMU lives in that group from now on; lines are run there."""
        self.host.run("\n".join([
            "set -e", f"mkdir -p {ROOT}/{group}", f"cd {ROOT}/{group}",
            f"echo {self.vm.pid} > cgroup.procs", *lines]), check=True)
        self.before = self.now()

    def libvirt(self, group):
        """A group for each vCPU thread, limited, and one for the others."""
        lines = []
        for number, tid in enumerate(self.vcpus):
            lines += [f"mkdir vcpu{number}", f"echo threaded > vcpu{number}/cgroup.type"]
        lines += ["mkdir emulator", "echo threaded > emulator/cgroup.type",
                  "echo +cpu > cgroup.subtree_control"]
        for number, tid in enumerate(self.vcpus):
            lines += [f"echo {tid} > vcpu{number}/cgroup.threads",
                      f"echo {LIMITED} > vcpu{number}/cpu.max"]
        lines += ["for tid in $(cat cgroup.threads); do",
                  "echo $tid > emulator/cgroup.threads || true; done"]
        self.enter(group, *lines)

    def leave(self, *groups):
        """QEMU lives in no group."""
        self.host.run("\n".join([f"echo {self.vm.pid} > {ROOT}/cgroup.procs",
                                 f"cd {ROOT}", "rmdir " + " ".join(groups)]), check=True)
        self.before = self.now()

    def now(self):
        """All groups, and where the threads of QEMU are."""
        if not self.vm.proc.running:
            return look(self.host), None
        # Other threads come and go.
        tasks = self.host.run(f"cd /proc/{self.vm.pid}/task && grep -sH ^0:: */cgroup"
                              ).out.splitlines()
        groups = {line.partition("/cgroup:0::")[0]: line.partition("/cgroup:0::")[2]
                  for line in tasks}
        return look(self.host), [groups[str(tid)] for tid in [self.vm.pid, *self.vcpus]]

    def of_vcpus(self):
        return [ROOT + path for path in self.now()[1][1:]]

    def untouched(self):
        """Everything is as it was."""
        groups, threads = self.now()
        assert groups == self.before[0], f"{groups}\nwas\n{self.before[0]}"
        if threads:
            assert threads == self.before[1], f"{threads} were {self.before[1]}"

    def stat(self, name):
        """A figure of cpu.stat, of all vCPU threads."""
        files = " ".join(f"{path}/cpu.stat" for path in self.of_vcpus())
        lines = self.host.run(f"cat {files}", check=True).out.splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def limits(self):
        """The part of a processor that each vCPU is allowed."""
        files = " ".join(f"{path}/cpu.max" for path in self.of_vcpus())
        pairs = [line.split() for line in
                 self.host.run(f"cat {files}", check=True).out.splitlines()]
        return [1 if quota == "max" else int(quota) / int(period) for quota, period in pairs]

    def ran(self):
        """Seconds by the host's own clock, and for which each vCPU ran."""
        files = " ".join(f"/proc/{self.vm.pid}/task/{tid}/schedstat" for tid in self.vcpus)
        lines = self.host.run(f"cat /proc/uptime {files}", check=True).out.splitlines()
        uptime, *vcpus = (float(line.split()[0]) for line in lines)
        return uptime, [ns / 1e9 for ns in vcpus]

    def shares(self, below=None):
        """The part of a processor that each vCPU gets now.

        below: all together shall get less. A host that itself gets no processor for a while
        counts that for who was running; the kernel takes it back from him afterwards.
        """
        begin, before = self.ran()
        for _ in range(5):
            time.sleep(4)
            end, after = self.ran()
            shares = [(b - a) / (end - begin) for a, b in zip(before, after)]
            if below is None or sum(shares) < below:
                break
        return shares


class Throttle(Scenario):
    def __init__(self, bed):
        super().__init__(bed, rate=FAST, huge=True)
        # Memory that the guest has freed is zero, and does not travel.
        self.vm = self.guest(smp=2, ram_mb=160, redis=False, append="init_on_free=1")
        self.work = Work(self.vm, WRITER)
        self.a.run(f"mkdir {ROOT}/bare", check=True)
        # Host b's root has to lend its cpu controller.
        self.lend(self.a)

    @staticmethod
    def lend(host):
        """The cpu controller, to groups of VMs."""
        host.run(f"""set -e
                 cd {ROOT}
                 mkdir -p vms
                 echo +cpu > cgroup.subtree_control
                 echo +cpu > vms/cgroup.subtree_control""", check=True)

    def begin(self, twin, *args, each=False):
        """The first round is quick; then the guest writes all again, and the line is slow.

        each: send stands still after each round.
        """
        hook = "round" if each else "first-round"
        move = Move(self.vm, twin, args=[*BOUNDS, *args], send_env=hooks(**{hook: HOLD}))
        move.send.wait_hook(hook)
        self.bed.rate(SLOW)
        time.sleep(2)
        move.send.release()
        return move

    def wait_level(self, groups, move, percent):
        """Wait until send stands still after a round in which the VM was slowed so much."""
        for number in itertools.count(2):
            try:
                move.send.wait_hook("round", number)
            except AssertionError:
                if move.send.running or move.send.wait(1) != MOVED:
                    raise
                move.moved()
                self.goes_on(groups, move.twin)
                raise Skip(TOO_BUSY) from None
            levels = [int(event["text"].rpartition(" ")[2].rstrip("%"))
                      for event in move.send.events("note") if "slowed by" in event["text"]]
            if levels and levels[-1] >= percent:
                return levels[-1]
            move.send.release()

    def goes_on(self, groups, twin):
        """The guest has moved."""
        discard(self.vm)
        self.vm = self.work.guest = twin
        groups.follow(twin)

    def survived(self, groups):
        groups.untouched()
        assert self.vm.status() == "running", f"the VM is {self.vm.status()}"
        must_answer(self.vm)
        self.work.verify()

    def fails(self, groups):
        """Without it there is no end."""
        twin = self.vm.twin(self.b).start()
        try:
            move = self.begin(twin, "--max-rounds", 5)
            move.failed("writes faster", "--throttle")
            assert move.result()["throttle"] == 0
            self.survived(groups)
        finally:
            self.bed.rate(self.rate)
            discard(twin)

    def refused(self, groups):
        """Before anything is begun it says that it could not."""
        for words in (["--throttle"], ["--mode", "hybrid", "--throttle"],
                      ["--mode", "precopy", "--throttle=100"],
                      ["--mode", "precopy", "--throttle=many"]):
            ran = self.vm.host.run(command(["send", "--qmp", self.vm.qmp_path, "--to",
                                            f"{self.b.addr}:{PORT}", *words]))
            assert ran.rc == USAGE and "--throttle" in ran.out, f"{words}: {ran}"
        groups.enter("bare/vm1")
        check = command(["check", "--qmp", self.vm.qmp_path])
        try:
            # Nobody listens there: it does not come to that.
            move = Move(self.vm, None, args=["--throttle"], to=f"{self.b.addr}:{PORT}")
            move.failed("no cpu controller", "systemd-run")
            ran = self.vm.host.run(check)
            assert ran.rc == 0 and "note     send --throttle is not" in ran.out, ran
            groups.untouched()
        finally:
            groups.leave("bare/vm1")
        ran = self.vm.host.run(check)
        assert ran.rc == 0 and "ok       throttle" in ran.out, ran
        groups.untouched()

    def slowed(self, groups, move, free, allowed):
        """Is it really?"""
        level = self.wait_level(groups, move, SLOWED if allowed == 1 else SLOWED_LIMITED)
        shares = groups.shares(free * 0.7)
        self.note(f"slowed by {level}%: the guest gets {' + '.join(f'{s:.2f}' for s in shares)} "
                  f"of a processor, {free:.2f} before; throttled "
                  f"{groups.stat('nr_throttled')} times")
        for limit in groups.limits():
            assert limit <= allowed * (100 - level) / 100 + 0.001, f"{limit} of {allowed}"
        assert groups.stat("nr_throttled") > 10, "never throttled"
        assert sum(shares) < free * 0.7, f"it gets {shares} instead of {free:.2f}"
        assert groups.now()[0] != groups.before[0], "nothing was changed?"

    def ends(self, groups, end):
        """It is slowed; then end(move) ends it, and nothing has changed."""
        twin = self.vm.twin(self.other(self.vm.host)).start()
        free, allowed = sum(groups.shares()), min(groups.limits(), default=1)
        try:
            move = self.begin(twin, "--throttle", each=True)
            self.slowed(groups, move, free, allowed)
            end(move)
            assert move.recv.wait(60) == FAILED, move.text()
            move.guard_ends()
        finally:
            self.bed.rate(self.rate)
            if self.vm is not twin:
                discard(twin)
        self.survived(groups)
        share = sum(groups.shares())
        assert share > free * 0.6, f"it still gets {share:.2f} only, not {free:.2f}"
        move.nothing_left()

    @staticmethod
    def kill(move):
        move.send.kill(signal.SIGKILL)
        assert move.send.wait(60) == 137, move.text()

    @staticmethod
    def cancel(move):
        move.send.kill(signal.SIGINT)
        move.send_failed("cancelled")

    def dies(self):
        """Its QEMU ends while it is slowed."""
        groups = Groups(self.vm)
        groups.enter("")
        self.work = Work(self.vm, WRITER)
        twin = self.vm.twin(self.other(self.vm.host)).start()
        try:
            move = self.begin(twin, "--throttle", each=True)
            self.wait_level(groups, move, 20)
            assert groups.now()[0] != groups.before[0], "nothing was changed?"
            self.vm.kill()
            move.send.release()
            rc = move.send.wait(60)
            assert rc == STRANDED, f"send returned {rc}\n{move.text()}"
            groups.untouched()
            move.nothing_left()
        finally:
            self.bed.rate(self.rate)
            if self.vm is not twin:
                discard(twin)

    def moves(self, groups, *args):
        twin = self.vm.twin(self.other(self.vm.host)).start()
        try:
            move = self.begin(twin, *args)
            result = move.moved(600)
        except BaseException:
            discard(twin)
            raise
        finally:
            self.bed.rate(self.rate)
        discard(self.vm)
        self.vm = self.work.guest = twin
        self.tell(result)
        levels = [each["throttle"] for each in result["rounds"]]
        self.note(f"slowed by {levels}, left "
                  f"{[each['dirty_after'] for each in result['rounds']]}")
        assert levels[:2] == [0, 0] and levels[-1] == 0, "slowed without need"
        assert max(levels) == result["throttle"]
        self.has_slowed = result["throttle"] > 0
        # Memory that is written after the stop takes another round.
        running = [each["throttle"] for each in result["rounds"] if not each["stopped"]]
        assert sorted(running) == running, "slowed less in between"
        assert "postcopy" not in result
        groups.untouched()
        must_answer(self.vm)
        self.work.verify()
        move.nothing_left()

    def was_slowed(self):
        """On a machine that is busy enough the VM is slow by itself."""
        if not self.has_slowed:
            raise Skip(TOO_BUSY)

    # Where the vCPUs are

    def end_somehow(self, groups, where):
        ways = [("killed", self.kill), ("cancelled", self.cancel)]
        for name, way in self.some(1, ways):
            with self.test(f"{name} while the guest is slowed, {where}"):
                self.ends(groups, way)

    def in_a_group(self):
        groups = Groups(self.vm)
        groups.enter("vms/vm1")
        with self.test("without it, the guest does not move"):
            self.fails(groups)
        with self.test("refused where it is not possible"):
            self.refused(groups)
        groups.enter("vms/vm1")
        self.end_somehow(groups, "in a group")
        with self.test("it moves"):
            self.moves(groups, "--throttle")
            self.was_slowed()

    def in_the_root_group(self):
        groups = Groups(self.vm)
        groups.enter("")
        with self.test("it moves from the root group"):
            self.moves(groups, "--no-postcopy", "--mode", "auto", "--throttle")
            self.was_slowed()

    def own_checks(self):
        with self.test("the guest's own checks"):
            self.work.end()

    def qemu_ends(self):
        self.own_checks()
        with self.test("QEMU ends while the guest is slowed"):
            self.dies()

    def in_own_groups(self):
        where = "limited vCPUs in groups of their own"
        groups = Groups(self.vm)
        self.lend(self.vm.host)
        groups.libvirt("vms/vm2")
        self.end_somehow(groups, where)
        if REPEAT > 1:
            with self.test(f"it moves, {where}"):
                self.moves(groups, "--throttle")
                self.was_slowed()


def main():
    with Bed(name="throttle") as bed:
        throttle = Throttle(bed)
        throttle.in_a_group()
        for test in throttle.some(1, [throttle.in_the_root_group, throttle.in_own_groups,
                                      throttle.qemu_ends]):
            test()
        if throttle.vm.proc.running:
            throttle.own_checks()
        return throttle.finish()


if __name__ == "__main__":
    sys.exit(main())

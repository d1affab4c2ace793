#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""send --lazy: the guest runs over there before the image is read that has its pages.

What the image has no more, or recv cannot read because it has been killed, the source still
has. Every move in which recv lives is verified page by page, and all by what the guest knows
of its memory.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.known import PAGE, STORE, Known
from migrate.move import HOLD, MODES, PATIENT, TOOL, Move, discard, hooks, must_answer
from vm import Bed

SPLIT_MODES = [mode for mode in MODES if mode != "precopy"]


class Lazy(Known):
    def read_later(self, mode):
        """Nearly all of it comes from the image, when the guest runs."""
        self.index()
        result = self.move(args=[*MODES[mode], "--lazy"])
        lazy = result["postcopy"]["lazy"]
        self.note(f"lazy: {lazy}, taken {result['taken']}, {result['postcopy']}")
        assert lazy["promised"] > 5000 and lazy["kept"] > 5000, lazy
        assert result["taken"]["ram"] == lazy["kept"], result["taken"]
        assert result["wire_bytes"] < lazy["kept"] * PAGE / 2, result["wire_bytes"]

    def written(self):
        """The half of what was promised is something else by then."""
        self.index()
        result = self.move(meanwhile=self.overwrite, args=[*MODES["three-stage"], "--lazy"])
        followed = result["postcopy"]
        assert followed["lazy"]["kept"] > 1000, followed
        lost = followed["lazy"]["promised"] - followed["lazy"]["kept"]
        assert lost > 1000 and followed["pulled"] + followed["pushed"] > lost * 0.9, followed

    def begin(self, **options):
        """A move in which the image has not been read when the guest runs."""
        self.index()
        twin = self.vm.twin(self.other(self.vm.host)).start()
        move = Move(self.vm, twin, recv_args=["--store", STORE, *PATIENT],
                    args=[*MODES["three-stage"], "--lazy", *PATIENT],
                    recv_env=hooks(lazy=HOLD), **options)
        move.recv.wait_hook("lazy")
        return move

    def arrives(self, move):
        result = move.moved()
        left, self.vm = self.vm, move.twin
        discard(left)
        must_answer(self.vm)
        self.work.guest = self.vm
        self.work.verify()
        move.nothing_left()
        move.no_records()
        return result

    def killed(self):
        """What recv has promised dies with it: all that is absent is the source's to bring."""
        move = self.begin()
        move.recv.kill()
        assert move.recv.wait(30) == 137
        move.resume_recv()
        result = self.arrives(move)
        assert result["postcopy"]["pushed"] > 5000, result["postcopy"]

    def cut_off(self):
        """The image is read whatever becomes of the network, and nothing is sent for it."""
        move = self.begin()
        self.cut(release=move.recv)
        move.recv.wait_for("waiting for the source", 60)
        self.mend()
        result = self.arrives(move)
        followed = result["postcopy"]
        assert followed["lazy"]["kept"] > 5000 and followed["rejoined"], followed
        assert followed["pushed"] < followed["lazy"]["kept"] / 2, followed

    def refused(self):
        for words in ("--mode precopy", "--no-postcopy"):
            said = self.vm.host.run(f"{TOOL} send --qmp /x --to [::1]:1 --lazy {words}")
            assert said.rc == 2 and "--lazy" in said.out, said.out

    def run(self):
        for mode in self.some(1, SPLIT_MODES):
            with self.test(f"read later: {mode}"):
                self.read_later(mode)
        self.run_tests([self.written, self.killed, self.cut_off, self.refused])
        return self.tests.finish()


def main():
    with Bed(name="lazy") as bed:
        return Lazy(bed).run()


if __name__ == "__main__":
    sys.exit(main())

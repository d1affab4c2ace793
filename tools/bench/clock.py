# SPDX-License-Identifier: GPL-2.0
"""When something happened in a host, by this machine's clock.

Each host has a clock of its own, which is set to the second when it boots. How far it is
off is found out as by Cristian ("Probabilistic clock synchronization", 1989): of several
questions the one that was answered soonest tells it best, to half of the time it took.
"""
import time

ASKED = 20
TELL = "import sys, time\nfor line in sys.stdin: print(time.time())"


class Clock:
    """clock = Clock(host); clock.here(seconds of its clock); clock.close()"""

    def __init__(self, host):
        self._proc = host.spawn(["exec", "python3", "-uc", TELL])
        self._answers = 0
        self.behind = self.error = None
        self.ask()

    def ask(self):
        """How far is it off now?"""
        found = [self._ask() for _ in range(ASKED)]
        self.error, self.behind = min(found)

    def _ask(self):
        began = time.monotonic()
        self._proc.write("\n")
        end = began + 30
        while True:
            lines = self._proc.output.splitlines(keepends=True)
            if len(lines) > self._answers and lines[self._answers].endswith("\n"):
                break
            if time.monotonic() > end:
                raise TimeoutError("a host does not tell its time")
            time.sleep(0.0002)
        took = time.monotonic() - began
        said = float(lines[self._answers])
        self._answers += 1
        return took / 2, began + took / 2 - said

    def here(self, seconds):
        """time.monotonic() of a moment of the host's time.time()."""
        return seconds + self.behind

    def close(self):
        self._proc.hang_up()

# SPDX-License-Identifier: GPL-2.0
"""KTAP: print one's own results, and read those of others."""
import contextlib
import re
import sys
import time
import traceback

RESULT = re.compile(r"^(\s*)(ok|not ok)\b\s*(\d+)?\s*(?:-\s*)?(.*)$")
PLAN = re.compile(r"^(\s*)1\.\.(\d+)\s*(?:#\s*SKIP\b\s*(.*))?$", re.I)
DIRECTIVE = re.compile(r"(?:^|\s+)#\s*(SKIP|TODO|XFAIL|XPASS|TIMEOUT|ERROR)\b\s*(.*)$", re.I)
VERSION = re.compile(r"^\s*(TAP version 13|KTAP version 1)\s*$")
RUN = re.compile(r"^#\s+RUN\s+(\S+)")		# kselftest_harness.h begins a test
HARNESS_OK = re.compile(r"^#\s+OK\s+\S+")


class Skip(Exception):
    """Raised in a test that cannot run here; the text says why."""


class Tests:
    """Results of a script:

        tests = Tests()
        with tests.test("idle guest"):
            assert ..., "what is wrong"		# Skip("why") skips
        sys.exit(tests.finish())
    """

    def __init__(self, plan=None, out=sys.stdout):
        self.out = out
        self.plan = plan
        self.count = self.failed = self.skipped = 0
        self._say("KTAP version 1")
        if plan:
            self._say(f"1..{plan}")

    def _say(self, line):
        print(line, file=self.out, flush=True)

    def note(self, text):
        for line in str(text).rstrip().splitlines():
            self._say(f"# {line}")

    def result(self, good, name, directive=""):
        self.count += 1
        self.failed += not good
        self._say(f"{'ok' if good else 'not ok'} {self.count} {name}"
                  + (f" # {directive}" if directive else ""))

    def skip(self, name, why):
        self.skipped += 1
        self.result(True, name, f"SKIP {why}")

    @contextlib.contextmanager
    def test(self, name):
        """One test; what it raises is its failure, and does not go further."""
        began = time.monotonic()
        try:
            yield
        except Skip as why:
            self.skip(name, why)
        except Exception:	# whatever it was, the next test must run
            self.note(traceback.format_exc())
            self.result(False, name)
        else:
            self.note(f"{name}: {time.monotonic() - began:.1f} s")
            self.result(True, name)

    def finish(self):
        """Print plan and totals; returns the exit status, 4 if all was skipped."""
        if self.plan is None:
            self._say(f"1..{self.count}")
        self._say(f"# Totals: pass:{self.count - self.failed - self.skipped} "
                  f"fail:{self.failed} skip:{self.skipped}")
        if self.failed or (self.plan and self.plan != self.count):
            return 1
        return 4 if self.count and self.count == self.skipped else 0


class Reader:
    """Follow a program's KTAP, pass it on indented, and count its leaves.

    A program that prints none is one test itself, judged by its exit status.
    """

    def __init__(self, emit):
        self._emit = emit
        self._partial = b""
        self._plan = None
        self._top = 0		# results at the outermost level
        self._children = {}	# indentation: (results, failures) since the parent's
        self._name = None
        self.passed = self.failed = self.skipped = 0
        self.skip_reason = None

    def feed(self, data):
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        for line in lines:
            self._line(line.decode(errors="replace").rstrip())

    def _line(self, line):
        plan = PLAN.match(line)
        result = RESULT.match(line)
        running = RUN.match(line)
        if running:
            self._name = running[1]
        elif VERSION.match(line):
            if line.strip() == line:
                self._emit("KTAP version 1")
            else:
                self._emit(line)
        elif plan:
            if not plan[1]:
                self._plan = int(plan[2])
                if plan[3] is not None and self._plan == 0:
                    self.skip_reason = plan[3]
            self._emit(line)
        elif result:
            self._result(line, *result.groups())
        elif HARNESS_OK.match(line) or not line:
            pass
        elif line.lstrip().startswith("#"):
            self._emit(line)
        else:
            self._emit(f"# {line}")

    def _result(self, line, indent, word, number, text):
        depth = len(indent)
        below = [self._children.pop(key) for key in list(self._children) if key > depth]
        results = sum(count for count, _ in below)
        failures = sum(bad for _, bad in below)
        directive = DIRECTIVE.search(text)
        kind = directive[1].upper() if directive else ""
        good = word == "ok" or kind in ("TODO", "XFAIL", "SKIP")
        if kind == "SKIP" and not DIRECTIVE.sub("", text).strip() and self._name:
            # The harness of 6.1 leaves out the names of skipped tests.
            line = f"{indent}{word} {number or ''} {self._name} # SKIP {directive[2]}"
        if not results:
            if kind == "SKIP":
                self.skipped += 1
            elif good:
                self.passed += 1
            else:
                self.failed += 1
        elif not good and not failures:
            self.failed += 1
        count, bad = self._children.get(depth, (0, 0))
        self._children[depth] = (count + 1, bad + (not good))
        if depth == 0:
            self._top += 1
        self._emit(line)

    def finish(self, rc, timed_out=False):
        """Settle with the exit status. Returns what is wrong, or None."""
        if self._partial:
            self.feed(b"\n")
        wrong = None
        if timed_out:
            wrong = "timeout"
        elif rc >= 128:
            wrong = f"ended by signal {rc - 128}"
        elif self._plan is not None and self._plan != self._top:
            wrong = f"{self._top} results, not {self._plan} as planned"
        elif rc not in (0, 4) and not self.failed:
            wrong = f"exit status {rc}"
        elif self._top and rc == 0 and self.failed:
            pass
        elif not self._top:
            if self._plan == 0 or rc == 4:
                self.skipped += 1
                self.skip_reason = self.skip_reason or "the program says so"
            else:
                self.passed += 1
        if wrong:
            self.failed += 1
        return wrong

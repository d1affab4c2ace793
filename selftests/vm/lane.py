# SPDX-License-Identifier: GPL-2.0
"""Lanes: each runs programs one after the other, and there may be several at once.

Programs without a host of their own run in one that they share, and so in one lane.
Those that start hosts themselves ("where=below") wait for the network and for timeouts
most of the time, and have lanes of their own.
"""
import contextlib
import itertools
import os
import signal
import subprocess
import threading
import time

from .agent import AgentError, CommandFailed
from .bed import Bed
from .child import start_child, stop_child
from .host import HostError
from .image import BUILD, TOP, SetupError
from .ktap import Reader
from .watch import FAILED

# Of a program whose host's emulation fails, not the program.
ATTEMPTS = 3


class Report:
    """What all lanes have found, printed as one KTAP stream.

    Programs that run side by side would mix their lines: then each one's are printed
    when it has ended.
    """

    def __init__(self, live):
        self.live = live
        self.number = 0
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self._lock = threading.Lock()

    def say(self, *lines):
        with self._lock:
            for line in lines:
                print(line, flush=True)

    def conclude(self, lines, name, reader, good, comment):
        with self._lock:
            self.number += 1
            self.passed += reader.passed
            self.failed += reader.failed
            self.skipped += reader.skipped
            if not good:
                self.failures.append(name)
            for line in lines:
                print(line)
            print(f"{'ok' if good else 'not ok'} {self.number} {name}{comment}", flush=True)


class Program:
    """One program on one kernel: its name, log and results."""

    def __init__(self, suite, program, path, kernel, prefix=""):
        self.suite = suite
        self.path = path
        self.kernel = kernel
        self.name = f"{prefix}{suite.name}/{program}"
        self.log_path = os.path.join(BUILD, "check", kernel, suite.name, program + ".log")
        self.reader = Reader(self.emit)
        self._report = self._log = None
        self._lines = []
        self.lost = ""		# a host whose emulation has failed

    def _again(self):
        """What it has said and found so far does not count."""
        self.reader = Reader(self.emit)
        self._lines = [f"  #{line}" for line in self._lines]
        self.emit(f"# tried again: {self.lost}")
        self.lost = ""

    def _attempt(self, step):
        """step(program), and once more if that says nothing of the program."""
        for attempt in itertools.count(1):
            wrong = step(self)
            # What it has found before that stays.
            if not self.lost or self.reader.failed or attempt == ATTEMPTS:
                return wrong
            self._again()

    def run(self, step, report):
        """step(program) returns what is wrong beside the results, as a list of texts."""
        os.makedirs(os.path.dirname(self.log_path), exist_ok=True)
        began = time.monotonic()
        self._report = report
        report.say(f"# {self.name}" + ("" if report.live else " begins"))
        with open(self.log_path, "w", encoding="utf-8", buffering=1) as self._log:
            wrong = self._attempt(step)
            self.reader.failed += bool(wrong) and not self.reader.failed
            for text in wrong:
                for line in text.splitlines():
                    self.emit(f"# {line}")
            self.emit(f"# {time.monotonic() - began:.1f} s")
        good = not self.reader.failed
        skipped = good and not self.reader.passed
        reason = self.reader.skip_reason or "all of its tests"
        report.conclude(self._lines, self.name, self.reader, good,
                        f" # SKIP {reason}" if skipped else "")

    def emit(self, line):
        if line.startswith(FAILED):
            self.lost = line.removeprefix("# ")
        self._log.write(line + "\n")
        if self._report.live:
            self._report.say("  " + line)
        else:
            self._lines.append("  " + line)

    def environment(self, repeat):
        """What it is told; a user's own MF_SEED and the like reach it too."""
        told = {name: value for name, value in os.environ.items() if name.startswith("MF_")}
        return {**told, "MF_REPEAT": str(repeat), "MF_KERNEL": self.kernel, "MF_TOP": TOP}


class Lane:
    """A thread that takes programs from a list, which lanes may share."""

    def __init__(self, programs, repeat, report):
        self.programs = programs
        self.repeat = repeat
        self.report = report
        self.stopping = False
        self.crash = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def join(self):
        self._thread.join()
        if self.crash:
            raise self.crash

    def stop(self):
        """Ends what runs now, and what would come. join() is not needed after it."""
        self.stopping = True
        self.end_current()
        self._thread.join(20)

    def _work(self):
        try:
            while not self.stopping:
                try:
                    program = self.programs.pop(0)
                except IndexError:
                    break
                program.run(self._step, self.report)
        except BaseException as error:	# for join() to raise
            self.crash = error
        finally:
            self.end()

    def _step(self, program):
        try:
            return self.step(program)
        except (HostError, AgentError, CommandFailed, SetupError, OSError) as error:
            self.end(failed=not self.stopping)
            return [str(error)]

    def step(self, program):
        """Runs one. Returns what is wrong beside its results, as a list of texts."""
        raise NotImplementedError

    def end_current(self):
        """From another thread: let step() return soon."""

    def end(self, failed=False):
        """Lets go of what outlives a program."""


class HostLane(Lane):
    """Runs programs in a host that they share; a fresh one after a complaint."""

    def __init__(self, programs, repeat, report):
        super().__init__(programs, repeat, report)
        self.bed = None
        self.host = None
        self.boot_failures = 0

    def step(self, program):
        if self.bed and self.bed.kernel != program.kernel:
            self.end()
        if not program.path:
            return self._unload(program)
        host = self._get_host(program)
        try:
            return self._once(program, host)
        except (HostError, AgentError):
            program.lost = host.watch.lost
            raise

    def _once(self, program, host):
        suite = program.suite
        result = host.run(program.path, timeout=suite.timeout * self.repeat,
                          cwd=os.path.dirname(program.path), stream=program.reader.feed,
                          env=program.environment(self.repeat))
        wrong = program.reader.finish(result.rc, result.timed_out)
        found = host.dmesg_findings()
        if found or result.timed_out:
            self.end(failed=True)
        return ([wrong] if wrong else []) + found

    def _get_host(self, program):
        if not self.host:
            if self.boot_failures > 1:
                raise HostError("hosts do not boot")
            try:
                self.bed = Bed(program.kernel, name="check")
                self.host = self.bed.host("a", smp=2, mem=4096)
            except (HostError, AgentError, CommandFailed):
                self.boot_failures += 1
                raise
            self.boot_failures = 0
            program.emit(f"# host with Linux {program.kernel} ready after "
                         f"{self.host.boot_seconds:.1f} s")
        return self.host

    def _unload(self, program):
        """The module must leave the shared host without a trace."""
        wrong = []
        try:
            if self.host:
                self.host.unload_module()
                wrong = self.host.dmesg_findings() + self.host.leaks()
        except (CommandFailed, AgentError, HostError) as error:
            wrong = [str(error)]
        program.reader.passed += not wrong
        self.end(failed=bool(wrong))
        return wrong

    def end_current(self):
        bed = self.bed
        for host in bed.hosts if bed else []:
            host.stop()		# whoever talks to it hears of that

    def end(self, failed=False):
        if self.bed:
            self.bed.failed = self.bed.failed or failed
            self.bed.close()
        self.bed = self.host = None


class BelowLane(Lane):
    """Runs programs that start hosts themselves."""

    def __init__(self, programs, repeat, report):
        super().__init__(programs, repeat, report)
        self.proc = None

    def step(self, program):
        env = {**os.environ, **program.environment(self.repeat), "PYTHONUNBUFFERED": "1"}
        self.proc = proc = start_child([program.path], env=env, cwd=TOP,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        late = threading.Event()

        def give_up():
            late.set()
            proc.kill()	# its hosts die with it

        timer = threading.Timer(program.suite.timeout * self.repeat, give_up)
        timer.start()
        try:
            while True:
                data = os.read(proc.stdout.fileno(), 65536)
                if not data:
                    break
                program.reader.feed(data)
                if program.lost:
                    proc.kill()
            rc = proc.wait()
        finally:
            timer.cancel()
            stop_child(proc)
        if program.lost:
            return [program.lost]
        wrong = program.reader.finish(128 - rc if rc < 0 else rc, late.is_set())
        return [wrong] if wrong else []

    def end_current(self):
        # It is no part of the terminal's process group, and cleans up itself.
        if self.proc:
            self.proc.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.proc.wait(5)
            stop_child(self.proc)

# SPDX-License-Identifier: GPL-2.0
"""One migration by migrate-fast, and what has to be true when it is over."""
import contextlib
import functools
import json
import os
import random
import signal
import time

from migrate.lot import cases, draw
from vm import TOP, AgentError, Guest, HostError, QmpError
from vm.ktap import Skip, Tests

TOOL = os.path.join(TOP, "build/tools/migrate-fast")
PORT = 4444
# A file system for RAM beside the usual one: it has less room than any guest needs.
SMALL = "/run/small"
# Emulated hosts on a busy machine are slow in everything. Where it is not what a test is
# about, the predicted downtime does not end a migration.
LIMIT = ["--mode", "precopy", "--downtime-limit", "30000"]
# Each mode, and such bounds that memory is left to follow in the last two, if anybody writes.
MODES = {
    "precopy": ["--mode", "precopy"],
    "postcopy": ["--mode", "postcopy"],
    "three-stage": ["--mode", "three-stage"],
    "hybrid": ["--mode", "hybrid", "--max-rounds", 2, "--max-downtime", 1],
    "auto": ["--mode", "auto", "--allow-postcopy", "--max-rounds", 2, "--max-downtime", 1],
}

# Exit status of the tool.
MOVED, FAILED, USAGE, UNKNOWN, STRANDED, SPLIT = range(6)
KILLED = 137


def command(words, env=None):
    """The tool itself is what is signalled and waited for, not a shell around it."""
    words = [TOOL] + [str(word) for word in words]
    return "exec env " + " ".join(
        [f"{key}={value}" for key, value in (env or {}).items()] + words)


# Longer than any test needs to get there: what it does then ends the hold.
HOLD = 600000
# What tells which pages are written: events, kvm, or what send takes by itself.
SOURCE = os.environ.get("MF_SOURCE")
# Kernels on which KVM's log can be switched on from outside (kmod/compat/kernels.mk).
LOGGED = ("6.1", "6.12", "debug")
# How long a peer may be silent, where a test has it fall silent. A busy machine can hold
# everything up for seconds, which is not meant.
PATIENT = ["--timeout", "10000"]


def hooks(*names, **times):
    """Environment that holds the tool still: hooks("always-copy", stopped=2000).

    HOLD, and let what the test does end it: a failure, or release().
    """
    parts = list(names) + [f"{name.replace('_', '-')}:{ms}" for name, ms in times.items()]
    return {"MIGRATE_FAST_TEST": ",".join(parts)}


class Tool:
    """A migrate-fast that runs with --json."""

    def __init__(self, host, words, env=None):
        self.host = host
        self.proc = host.spawn(command(words, env))

    @property
    def output(self):
        return self.proc.output

    @property
    def running(self):
        return self.proc.running

    def brief(self):
        """Its last words."""
        events = self.events()
        for event in events:
            if event.get("event") == "result" and isinstance(event["rounds"], list):
                event["rounds"] = len(event["rounds"])	# they were printed already
        plain = [line for line in self.output.splitlines() if not line.startswith("{")]
        return "\n".join([json.dumps(event) for event in events[-8:]] + plain[-8:])

    def events(self, kind=None):
        found = []
        for line in self.output.splitlines():
            if line.startswith("{"):
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return [event for event in found if kind is None or event.get("event") == kind]

    def wait_for(self, text, timeout=120):
        """Wait until it has said so, in any event or message."""
        self.proc.wait_output(text, timeout)

    def has_reached(self, phase):
        return any(event["phase"] == phase for event in self.events("phase"))

    def wait_phase(self, name, timeout=180):
        self._wait(lambda: self.has_reached(name), f"phase {name!r}", timeout)

    def wait_hook(self, name, times=1, timeout=180):
        """Wait until it stands still at a hook that was set for it."""
        self._wait(lambda: sum(f'waiting at "{name}"' in event.get("text", "")
                               for event in self.events("note")) >= times,
                   f"hook {name!r}", timeout)

    def wait_round(self, number=1, timeout=180):
        """Wait until so many rounds are over."""
        self._wait(lambda: len(self.events("round")) >= number, f"round {number}", timeout)

    def _wait(self, done, what, timeout):
        end = time.monotonic() + timeout
        while not done():
            if not self.running and not done():
                raise AssertionError(f"{self.proc.command} ended before {what}:\n"
                                     f"{self.output}")
            if time.monotonic() > end:
                raise AssertionError(f"no {what} in {timeout} s:\n{self.output}")
            time.sleep(0.02)

    def kill(self, sig=signal.SIGKILL):
        self.proc.kill(sig)

    def wait_listening(self, port):
        wait_listening(self.host, self.proc, port)

    def release(self):
        """Let it go on that stands still at a hook."""
        self.proc.kill(signal.SIGUSR1)

    def ends_round(self, number):
        """Wait until so many rounds have ended, with the hook "round". False: the last has."""
        while self.running and not self.events("phase"):
            notes = [note["text"] for note in self.events("note")]
            if sum('waiting at "round"' in text for text in notes) == number:
                return True
            time.sleep(0.1)
        return False

    def wait(self, timeout=300):
        """Its exit status."""
        return self.proc.wait(timeout).rc


class Move:
    """move = Move(vm, twin); result = move.moved()		# or move.failed("keyword")

    vm is the guest that runs, twin was made by vm.twin() and started (or is None: then
    nobody receives). send_env and recv_env are made by hooks(). args of send are put
    behind LIMIT. meanwhile is called when recv waits, before send begins. source: of writes;
    None: send's own choice.
    """

    def __init__(self, vm, twin, verify=False, port=PORT, args=(), recv_args=(),
                 send_env=None, recv_env=None, receive=True, to=None, meanwhile=None,
                 source=SOURCE):
        self.vm = vm
        self.twin = twin
        self.recv = None
        self.named = None
        self.refcount = module_users(vm.host)
        forget_events(vm)
        if twin and receive:
            self.recv = Tool(twin.host, ["recv", "--qmp", twin.qmp_path, "--listen",
                                         f":{port}", "--json", *recv_args], recv_env)
            self.recv.wait_listening(port)
        if meanwhile:
            meanwhile()
        if not to:
            to = f"{twin.host.addr}:{port}"
        words = ["send", "--qmp", vm.qmp_path, "--to", to, "--json", *LIMIT]
        words += ["--verify"] if verify else []
        words += [f"--source={source}"] if source else []
        self.send = Tool(vm.host, words + list(args), send_env)

    def text(self):
        """Everything that both have said, for messages."""
        return (f"send: {self.send.brief()}\n"
                f"recv: {self.recv.brief() if self.recv else 'none'}\n"
                f"source QEMU: {self.vm.stderr}\n"
                f"destination QEMU: {self.twin.stderr if self.twin else 'none'}")

    def result(self):
        """The last event of send."""
        found = self.send.events("result")
        assert len(found) == 1, f"not one result event\n{self.text()}"
        return found[0]

    def moved(self, timeout=300):
        """It must succeed. Returns the result event."""
        rc = self.send.wait(timeout)
        assert rc == MOVED, f"send returned {rc}\n{self.text()}"
        result = self.result()
        assert result["result"] == "moved", self.text()
        rc = self.recv.wait(60)
        assert rc == MOVED, f"recv returned {rc}\n{self.text()}"
        self._wait_gone()
        assert self.twin.status() == "running", self.text()
        check_order(self.vm, [["STOP", "SHUTDOWN"], ["STOP"]])
        resumed = events_of(self.twin).count("RESUME")
        assert resumed == 1, f"the destination was resumed {resumed} times"
        return result

    def recv_ends(self):
        """The VM and all its memory are there. Who has not heard that is told to end."""
        def waits():
            return any(words in self.recv.output for words in ("waiting for the source",
                                                               "Waiting for"))
        end = time.monotonic() + 60
        while self.recv.running and time.monotonic() < end and not waits():
            time.sleep(0.2)
        with contextlib.suppress(TimeoutError):
            self.recv.wait(3)
        if self.recv.running:
            assert waits(), self.text()
            self.recv.kill(signal.SIGINT)
        rc = self.recv.wait(60)
        assert rc in (MOVED, KILLED), f"recv returned {rc}\n{self.text()}"

    def _wait_gone(self):
        """The source's QEMU ends by itself."""
        try:
            self.vm.proc.wait(30)
        except TimeoutError:
            raise AssertionError(f"the source's QEMU still runs\n{self.text()}") from None

    def is_split(self, timeout=300):
        """send has given up: the VM runs over there, and lacks what is here."""
        rc = self.send.wait(timeout)
        assert rc == SPLIT, f"send returned {rc}, not {SPLIT}\n{self.text()}"
        self.says(self.send, ["send --resume", "memory intact"])
        assert self.result()["result"] == "split", self.text()
        self.source_waits()

    def source_waits(self):
        """The source's VM stands still, as it was stopped."""
        assert self.vm.status() in ("paused", "postmigrate"), \
            f"the source's VM is {self.vm.status()}\n{self.text()}"
        assert "RESUME" not in events_of(self.vm), f"the VM runs twice\n{self.text()}"

    def session(self):
        """Its name, for whoever takes the work up again."""
        if not self.named:
            self.named = self.send.events("start")[0]["session"]
        return self.named

    def resume_send(self, *args, env=None):
        """Another send finishes the work of the first one."""
        self.send = Tool(self.vm.host, [
            "send", "--resume", "--qmp", self.vm.qmp_path, "--to",
            f"{self.twin.host.addr}:{PORT}", "--session", self.session(), "--json",
            *args], env)

    def resume_recv(self, *args):
        """Another recv takes over."""
        self.recv = Tool(self.twin.host, ["recv", "--resume", "--qmp", self.twin.qmp_path,
                                          "--listen", f":{PORT}", "--json", *args])
        self.recv.wait_listening(PORT)

    def send_failed(self, *keywords, rc=FAILED, timeout=300):
        """send must fail, say why, and leave the VM running at the source."""
        got = self.send.wait(timeout)
        assert got == rc, f"send returned {got}, not {rc}\n{self.text()}"
        self.says(self.send, keywords)
        assert self.result()["result"] == "failed", self.text()
        self.source_runs()

    def failed(self, *keywords, recv_rc=FAILED, **options):
        """The same, and recv ends as well: nothing is left."""
        self.send_failed(*keywords, **options)
        if self.recv:
            got = self.recv.wait(60)
            assert recv_rc is None or got == recv_rc, \
                f"recv returned {got}, not {recv_rc}\n{self.text()}"
        self.nothing_left()

    def says(self, tool, keywords):
        """The message, not any note on the way, contains all keywords."""
        texts = [event["error"] for event in tool.events() if "error" in event]
        texts += [line for line in tool.output.splitlines() if not line.startswith("{")]
        said = "\n".join(texts).lower()
        for keyword in keywords:
            assert keyword.lower() in said, \
                f"{keyword!r} is not in the message {said!r}\n{self.text()}"

    def source_runs(self):
        """The source owns the VM, and the destination never had it."""
        assert self.vm.status() == "running", \
            f"the source's VM is {self.vm.status()}\n{self.text()}"
        check_order(self.vm, [[], ["STOP", "RESUME"]])
        must_answer(self.vm)
        self.never_ran()

    def never_ran(self):
        """The destination's QEMU has not run the VM for a moment."""
        if not self.twin:
            return
        with contextlib.suppress(QmpError, AgentError):
            assert self.twin.status() != "running", f"two VMs run\n{self.text()}"
        assert "RESUME" not in events_of(self.twin), f"the VM ran twice\n{self.text()}"

    def guard_ends(self, timeout=60):
        """Wait until the process has ended that looks after a send that dies."""
        end = time.monotonic() + timeout
        while self.vm.host.run("pgrep -x mf-guard").rc == 0:
            assert time.monotonic() < end, f"the guard does not end\n{self.text()}"
            time.sleep(0.2)

    def given_over(self):
        """The destination has a record of a VM that it was given: recv --resume takes it up."""
        return self.twin.host.run("cat /run/migrate-fast.d/*.json 2>/dev/null | "
                                  "grep '\"committed\": true'").rc == 0

    def records_end(self):
        """recv was killed between its last word and its end: another puts the record away."""
        end = time.monotonic() + 30
        while self.given_over() and time.monotonic() < end:
            self.resume_recv(*PATIENT)
            assert self.recv.wait(60) == MOVED, self.text()

    def no_records(self):
        """Nobody has to be asked who may run the VM, or where its memory is."""
        for host in (self.vm.host, self.twin.host):
            left = host.run("ls /run/migrate-fast.d 2>/dev/null").out.split()
            assert not left, f"records left on {host.name}: {left}"

    def nothing_left(self):
        """No process, socket or session of ours is left on either side."""
        self.guard_ends()
        for host in {self.vm.host, self.twin.host if self.twin else self.vm.host}:
            left = host.run("pgrep -lx migrate-fast; "
                            "ls -l /proc/[0-9]*/fd 2>/dev/null | grep /dev/migrate-fast").out
            assert not left, f"a migrate-fast, or a session, is left on {host.name}: {left}"
        # An ended QEMU has let its RAM file go.
        runs = self.vm.proc.running
        now = module_users(self.vm.host)
        assert now == self.refcount if runs else now <= self.refcount, \
            f"the module had {self.refcount} users before, now it has {now}"


def travelled(pages):
    """Of the pages of a result, or of a round: those that travelled, whole or in part."""
    return pages["raw"] + pages["compressed"] + pages["delta"]


def named(pages):
    """Those that were told by name: the destination has them, or another that equals them."""
    return pages["reference"] + pages["copy"]


def must_answer(guest, timeout=180):
    """The guest's agent answers over the network; a busy machine may take its time.

    At a load of 9, memory following it, a guest had not answered after a minute: it ran, had
    taken 5449 interrupts in 15303 exits, and was busy with one at each of five looks.
    """
    end = time.monotonic() + timeout
    while not guest.alive():
        assert time.monotonic() < end, \
            f"{guest.name} does not answer on {guest.host.name}\n{guest.frozen()}"
        time.sleep(0.5)


def wait_listening(host, proc, port, timeout=60):
    """Wait until a process of the host can be connected to, or has ended."""
    line = f"ss -Hltn 'sport = :{port}' | grep -q ."
    end = time.monotonic() + timeout
    while proc.running and host.run(line).rc:
        assert time.monotonic() < end, f"nobody listens to port {port}:\n{proc.output}"


def module_users(host):
    return int(host.read("/sys/module/migrate_fast/refcnt"))


def events_of(guest):
    """Names of the run state events of its QEMU, oldest first."""
    with contextlib.suppress(QmpError, AgentError):
        # Either reads what has come; of an ended QEMU, up to the end.
        if guest.status() is None:
            guest.wait_event("nothing", 10)
    return [event["event"] for event in guest.events
            if event.get("event") in ("STOP", "RESUME", "SHUTDOWN")]


def forget_events(guest):
    guest.status()
    guest.events.clear()


def check_order(guest, allowed):
    seen = events_of(guest)
    assert seen in allowed, f"run states of {guest.name} on {guest.host.name}: {seen}"


def ask(move, qmp=None):
    """The words of migrate-fast resolve at the source."""
    return ["resolve", "--qmp", qmp or move.vm.qmp_path, "--to",
            f"{move.twin.host.addr}:{PORT}", "--session", move.session()]


def resolve(move, *args, qmp=None):
    """Exit status and text of migrate-fast resolve at the source."""
    words = ask(move, qmp)
    if "--word" in args:
        words = words[:3]
    return move.vm.host.run(command(words + list(args)), timeout=120)


@contextlib.contextmanager
def client_at(host, path):
    """Somebody who holds a QMP socket, and says nothing."""
    proc = host.spawn("exec python3 -c 'import socket, time; s = socket.socket(socket.AF_UNIX);"
                      f" s.connect(\"{path}\"); s.recv(1); print(\"here\", flush=True);"
                      " time.sleep(600)'")
    proc.wait_output("here", 60)
    try:
        yield proc
    finally:
        if proc.running:
            proc.kill()
        proc.wait(30)


class Work:
    """A workload program in a guest, which verifies itself."""

    def __init__(self, guest, line):
        self.guest = guest
        self.line = line
        self.verified = 0
        self.proc = guest.spawn(f"exec workload {line}")
        self.proc.wait_output("ready", 180)

    def verify(self, timeout=120):
        """Nothing was lost so far, and it goes on working."""
        self.verified += 1
        self.proc.kill(signal.SIGUSR1)
        end = time.monotonic() + timeout
        while True:
            assert self.proc.running, f"{self.line} ended:\n{self.proc.output}"
            lines = [line for line in self.proc.output.splitlines(keepends=True)
                     if line.startswith("verify ") and line.endswith("\n")]
            if len(lines) >= self.verified:
                break
            assert time.monotonic() < end, \
                f"{self.line} does not verify:\n{self.proc.output[-2000:]}"
            time.sleep(0.05)
        assert " errors 0 " in lines[-1], f"{self.line}: {self.proc.output[-2000:]}"

    @property
    def ops(self):
        """Pages written by now; it tells each second."""
        told = [line for line in self.proc.output.splitlines(keepends=True)
                if "ops " in line and line.endswith("\n")]
        return int(told[-1].partition("ops ")[2].split()[0]) if told else 0

    def end(self, timeout=120):
        """Verify a last time."""
        if self.proc.running:
            self.proc.kill(signal.SIGTERM)
        result = self.proc.wait(timeout)
        assert result.rc == 0, f"{self.line}: {result.out[-2000:]}"


def mount_small(host):
    host.run(f"mkdir -p {SMALL} && mount -t mfram -o size=24m none {SMALL}", check=True)


def never_written(guest):
    """The number of a page that the guest's kernel holds, and does not write any more.

    From three quarters of what it has read-only on there are names of symbols and types.
    """
    line = guest.run("grep 'Kernel rodata' /proc/iomem", check=True).out.strip()
    start, end = (int(part, 16) for part in line.split(" ")[0].split("-"))
    return (start + (end - start) // 4 * 3) >> 12


def discard(guest):
    """End a QEMU and remove its RAM file, as whoever started it would.

    Once: by then another guest may have a file of that name.
    """
    if guest and not guest.discarded:
        guest.quit()
        guest.host.run(f"rm -f {guest.ram_path}")
        guest.discarded = True


class Scenario:
    """What the scripts share: two hosts with a shaped link, results, kernel logs."""

    def __init__(self, bed, rate="200mbit", mem=1024, disk=None, huge=False):
        """huge: guests have large pages, as far as it goes.

        Such a guest is up in half the time, for faults are dear to an emulated host: where
        it is not memory that a program is about.
        """
        self.bed = bed
        self.huge = huge
        self.has_kvm_log = bed.kernel in LOGGED
        self.tests = Tests()
        self.a, self.b = bed.pair(mem=mem, disk=disk, mount="-o huge=always" if huge else "")
        self.rate = rate
        bed.rate(rate)
        self.tests.note(f"hosts ready after {self.b.boot_seconds:.1f} s")
        if not os.path.exists(TOOL):
            raise AssertionError(f"{TOOL} is not built")

    def guest(self, **options):
        if self.huge:
            options["ram_options"] = ",align=2M"
        vm = Guest(self.a, "vm1", **options).start().wait_up()
        self.tests.note(f"guest up after {vm.up_seconds:.1f} s")
        return vm

    def cross(self, start=Move, **options):
        """Move self.vm to the other host, page by page verified.

        start: what begins it; options: of that. Returns what move.moved() does, and the Move:
        nothing_left() is to be asked when the guest has been looked at.
        """
        twin = self.vm.twin(self.other(self.vm.host)).start()
        try:
            move = start(self.vm, twin, verify=True, **options)
            result = move.moved()
        except BaseException:
            discard(twin)
            raise
        left, self.vm = self.vm, twin
        discard(left)
        assert result["verified"], "not verified"
        return result, move

    @staticmethod
    def paced(vm, twin, rounds=3, nap=3, hooked=(), args=(), between=None, **options):
        """A Move in which the guest gets @nap seconds after each of so many rounds.

        between(vm): done to the guest or its QEMU when the second one is over.
        """
        move = Move(vm, twin, send_env=hooks(*hooked, round=HOLD),
                    args=[*args, "--max-rounds", rounds], **options)
        for number in range(1, rounds + 1):
            if not move.send.ends_round(number):
                break
            if between and number == 2:
                between(vm)
            time.sleep(nap)
            move.send.release()
        return move

    def wait_sent(self, host, size, timeout=120):
        """Wait until so many bytes more have left by the migration link."""
        begin, end = host.sent_bytes(), time.monotonic() + timeout
        while host.sent_bytes() - begin < size:
            assert time.monotonic() < end, f"no {size} bytes have left {host.name}"

    def cut(self, release=None):
        """Nothing gets through the migration link any more, and nobody is told.

        release: a tool that stands still, and goes on at the very moment from which on
        nothing of what it says arrives.
        """
        for host in sorted((self.a, self.b), key=lambda host: not release or
                           host is not release.host):
            lets_go = release and host is release.host
            host.silence("pkill -USR1 -x migrate-fast" if lets_go else "")

    def mend(self):
        self.bed.rate(self.rate)

    def other(self, host):
        return self.b if host is self.a else self.a

    @contextlib.contextmanager
    def test(self, name):
        """A test that also fails when a host's kernel complains."""
        with self.tests.test(name):
            try:
                yield
            except Skip:
                raise
            except BaseException:
                self.rescue()
                raise
            self.bed.dmesg_check()

    @contextlib.contextmanager
    def twin_test(self, name, **changes):
        """A test that gets a QEMU on the other host, waiting for the guest."""
        with self.test(name):
            twin = self.vm.twin(self.other(self.vm.host), **changes).start()
            try:
                yield twin
            except BaseException:
                self.pick_up(twin)
                raise
            finally:
                self.mend()
                if self.vm is not twin:
                    twin.kill()
                    discard(twin)

    def pick_up(self, twin):
        """After a failure of such a test: a guest for those to come."""
        self.rescue()

    def seeded(self, otherwise=None):
        """Random numbers; what they begin with is told, to be given again."""
        seed = os.environ.get("MF_SEED", otherwise or str(time.time_ns()))
        self.note(f"MF_SEED={seed}")
        return random.Random(seed)

    @functools.cached_property
    def random(self):
        return self.seeded()

    def some(self, number, tests):
        """So many of them, by lot; or all (lot.py)."""
        return draw(self.random, number, tests)

    def run_tests(self, tests):
        """One after the other: methods, or pairs of a name and a method."""
        for test in tests:
            name, run = test if isinstance(test, tuple) else (test.__name__, test)
            with self.test(name):
                run()

    def run_cases(self, around, number):
        """So many of those that are marked with case(): each within around(name)."""
        for name, method, args in self.some(number, cases(self)):
            with around(name) as twin:
                method(twin, *args)

    def rescue(self):
        """After a failure: do not let the next test fail for the same reason."""
        for host in (self.a, self.b):
            with contextlib.suppress(AgentError, HostError, OSError):
                host.run("pkill -KILL -x migrate-fast; pkill -KILL -x mf-guard")

    def note(self, text):
        self.tests.note(text)

    def tell(self, result):
        """The figures of a migration, as a comment."""
        pages = result["pages"]
        rounds = [each["stopped"] for each in result["rounds"]]
        self.note(f"moved in {result['total_ms'] / 1000:.1f} s, downtime "
                  f"{result['downtime_ms']:.0f} ms (verify {result['verify_ms']:.0f}), "
                  f"rounds {len(rounds)} ({sum(rounds)} stopped), "
                  f"{result['wire_bytes'] >> 10} KiB, "
                  f"pages raw {pages['raw']} compressed {pages['compressed']} "
                  f"delta {pages['delta']} zero {pages['zero']} "
                  f"unchanged {pages['unchanged']} copy {pages['copy']}")
        followed = result.get("postcopy")
        if followed:
            us = followed.get("fault_us", {})
            self.note(f"followed in {followed['ms'] / 1000:.1f} s: stale "
                      f"{followed['stale']}, pulled {followed['pulled']}, pushed "
                      f"{followed['pushed']}, prepaged {followed['prepaged']}; faults "
                      f"{followed.get('faults')}, {followed.get('went_on')} went on, "
                      f"us {us}; sent twice {result['sent_twice']}, "
                      f"more {result['sent_more']}")

    def finish(self):
        return self.tests.finish()


class Survivor(Scenario):
    """Tests of failures: one guest that works on host a through all of them."""

    def __init__(self, bed, **options):
        super().__init__(bed, huge=True, **options)
        # Memory that the guest has freed is zero, and does not travel.
        self.vm = self.guest(ram_mb=160, redis=False, disk=bed.disk(size_mb=64),
                             append="init_on_free=1")
        self.work = Work(self.vm, "writer 8 hot=1 rate=200")

    @contextlib.contextmanager
    def case(self, name, **changes):
        """A test that gets a waiting twin, after which the guest must be well."""
        with self.test(name):
            twin = self.vm.twin(self.b, **changes)
            try:
                yield twin.start()
                self.survived()
            finally:
                self.bed.rate(self.rate)
                discard(twin)
            left = self.b.run("ls /run/migrate-fast").out.split()
            assert not left, f"left at the destination: {left}"

    def rescue(self):
        super().rescue()
        with contextlib.suppress(QmpError, AgentError):
            if self.vm.status() in ("paused", "postmigrate"):
                self.vm.qmp("cont")

    def survived(self):
        assert self.vm.status() == "running", f"the VM is {self.vm.status()}"
        self.work.verify()
        assert "x-ignore-shared" not in self.vm.capabilities(), "x-ignore-shared was left on"

    def still_movable(self):
        """After all that, the same guest moves."""
        with self.test("the guest that survived all this moves"):
            twin = self.vm.twin(self.b).start()
            move = Move(self.vm, twin, verify=True)
            self.tell(move.moved())
            discard(self.vm)
            self.vm = self.work.guest = twin
            self.work.verify()
            self.work.end()
            move.nothing_left()

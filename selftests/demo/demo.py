#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""make demo: a working VM moves between two emulated hypervisor hosts, and back.

There by pre-copy: it is stopped when little is left to send. Its memory is kept behind.
Back by a three-stage copy: what the host has kept is named, the rest of its memory travels
once, and what it has written meanwhile follows it.

Leaves the figures in build/demo/report.json.
"""
import json
import os
import re
import signal
import sys
import textwrap
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.move import TOOL, Tool, Work, command, discard
from migrate.redis_load import RedisError, RedisLoad
from vm import (AgentError, Bed, BUILD, CommandFailed, DmesgError, Guest, GuestError,
                HostError, QmpError, SetupError, image)

LINK = "80mbit"
RAM_MB = 256
WRITER = "writer 32 hot=2 rate=400"
STEPS = 7
BAR = 24
MARGIN = 3
TTY = sys.stdout.isatty()
SHORT = "migrate-fast"


class DemoError(Exception):
    """The demonstration shows what it should not."""


def style(code, text):
    return f"\033[{code}m{text}\033[0m" if TTY else text


def say(text="", end="\n"):
    print(text, end=end, flush=True)


def detail(text):
    for line in str(text).splitlines():
        say(f"      {line}")


class Step:
    """[2/6] What is being done ... 9.8 s"""

    number = 0

    def __init__(self, text, dots=True):
        Step.number += 1
        self.dots = dots
        say(style("1", f"[{Step.number}/{STEPS}] {text}"), end=" ... " if dots else "\n")
        self.began = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind and self.dots:
            say(style("31", "failed"))
        elif self.dots:
            say(style("2", f"{time.monotonic() - self.began:.1f} s"))


def tool_line(words):
    detail(style("36", "$ " + " ".join([SHORT] + [str(word) for word in words])))


BACK = ["--mode", "three-stage"]
ROUND = re.compile(r"round +(\d+)( \(stopped\))?: .*\braw (\d+).*; ([\d.]+ \w+) in (\d+) ms"
                   r"(?:; dirty again (\d+).* (\d+)%)?")


class RoundLines:
    """What the tool prints while it copies, as it prints it.

    On a terminal it draws its own progress bar; else each round gets one here.
    """

    def __init__(self):
        self._rest = ""
        self.percent = 0

    def feed(self, data):
        text = data.decode(errors="replace")
        if TTY:
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        lines = (self._rest + text).split("\n")
        self._rest = lines.pop()
        for line in lines:
            self._line(line.rstrip())

    def _line(self, line):
        found = ROUND.match(line)
        if not found:
            detail(line)
            return
        number, stopped, raw, sent, ms, dirty, percent = found.groups()
        self.percent = int(percent or self.percent)
        filled = "#" * (self.percent * BAR // 100)
        then = f"{dirty} written meanwhile" if dirty else ""
        if stopped:
            then = "the guest stands still"
        detail(f"[{filled:-<{BAR}}] {self.percent:3}%  round {number:>2}: {raw:>6} pages sent, "
               f"{sent} in {int(ms) / 1000:.1f} s; {then}")


class Demo:
    def __init__(self, bed):
        self.bed = bed
        self.a = self.b = self.vm = self.twin = self.load = self.work = None

    def hosts(self):
        with Step("Starting two hypervisor hosts, emulated: each is a QEMU process"):
            self.a, self.b = self.bed.pair(mem=1024)
            self.bed.rate(LINK)
        release = image.kernel_release(self.bed.kernel)
        detail(f"host a ({self.a.addr}) and host b ({self.b.addr}), Linux {release},\n"
               f"migrate_fast.ko loaded, mfram mounted, a link of {LINK[:-4]} Mbit/s between "
               "them")

    def guest(self):
        with Step(f"Starting a KVM guest of {RAM_MB} MiB on host a"):
            self.vm = Guest(self.a, "vm1", ram_mb=RAM_MB,
                            disk=self.bed.disk(size_mb=64)).start().wait_up()
        detail(f"its RAM is the file {self.vm.ram_path} on mfram; address {self.vm.addr}")

    def busy(self):
        with Step("Giving it work"):
            self.work = Work(self.vm, WRITER)
            # The clients reach it through host b, over the network of the guests.
            self.load = RedisLoad(self.b, self.vm.addr, clients=4, keys=500, size=1000,
                                  pause=0.01).start()
            end = time.monotonic() + 60
            while self.load.requests < 200 and time.monotonic() < end:
                time.sleep(0.2)
        detail("redis-server, asked by 4 clients over connections that stay open;\n"
               "a program that rewrites 32 MiB of memory and checks each page it meets")

    def destination(self, host):
        """The same QEMU there, and who receives."""
        self.twin = self.vm.twin(host).start()
        words = ["recv", "--qmp", self.twin.qmp_path, "--listen", ":4444"]
        recv = Tool(host, words)
        recv.wait_listening(4444)
        return recv, words

    def there(self):
        with Step("Starting the same QEMU on host b, with -incoming defer"):
            recv, words = self.destination(self.b)
        tool_line(words)
        with Step("Moving it, while it works", dots=False):
            return self.move(recv, ["--keep", "--verify"])

    def back(self):
        with Step("Moving it back to host a, which has kept its memory: what is there still "
                  "does not travel,\n      and what it has just written follows it",
                  dots=False):
            self.vm, left = self.twin, self.vm
            self.work.guest = self.vm
            discard(left)
            recv, _ = self.destination(self.a)
            return self.move(recv, [*BACK, "--verify"])

    def move(self, recv, args):
        report = os.path.join(self.bed.dir, "report.json")
        words = ["send", "--qmp", self.vm.qmp_path, "--to", f"{self.twin.host.addr}:4444",
                 *args]
        tool_line(words)
        before = self.load.requests
        began = time.monotonic()
        send = self.vm.host.spawn(command(words + ["--report", report]), pty=TTY,
                                  stream=RoundLines().feed)
        status = self.status_of(send)
        done = send.wait(300)
        ended = time.monotonic()
        if done.rc:
            raise DemoError(f"migrate-fast send returned {done.rc}\n{done.out}\n"
                            f"recv: {recv.output}\n{self.twin.stderr}")
        if recv.wait(60):
            raise DemoError(f"migrate-fast recv failed:\n{recv.output}")
        with open(report, encoding="utf-8") as f:
            result = json.load(f)
        self.tell_status(status)
        # The longest silence ends with an answer.
        time.sleep(MARGIN)
        gap, _ = self.load.gap(began, ended + MARGIN)
        result["guest"] = {"redis_requests_meanwhile": self.load.requests - before,
                           "redis_longest_gap_ms": round(gap * 1000, 1),
                           "redis_usual_gap_ms": round(self.load.usual_gap(began) * 1000, 1)}
        return result

    def status_of(self, send):
        """What the module says of the move, once memory has been copied once."""
        while send.running and not ROUND.search(send.output):
            time.sleep(0.1)
        return self.vm.host.run(command(["status"]), timeout=60).out

    @staticmethod
    def tell_status(status):
        """Afterwards: the tool's progress is not to be torn."""
        say()
        tool_line(["status      # meanwhile, on the host that it leaves"])
        for line in status.splitlines():
            indent = line[:len(line) - len(line.lstrip())]
            detail(textwrap.fill(line, 86, subsequent_indent=indent + "  ",
                                 break_long_words=False, break_on_hyphens=False))

    def inspect(self, result):
        with Step("Asking the guest whether anything was lost", dots=False):
            before = self.load.requests
            time.sleep(3)
            after = self.load.requests
            self.load.stop()
            wrong = self.load.verify()
            self.work.verify()
            self.work.end()
            if self.vm.status() is not None:
                wrong.append("the source's QEMU has not ended")
            if self.twin.status() != "running":
                wrong.append("the destination's QEMU does not run the guest")
            if after == before:
                wrong.append("redis answers nobody after the migration")
            self.bed.dmesg_check()
        if wrong:
            raise DemoError("\n".join(wrong))
        ops = re.findall(r"^end ops (\d+)", self.work.proc.output, re.M)
        result["guest"].update({
            "redis_requests": self.load.requests,
            "pages_written": int(ops[-1]), "errors": 0})
        detail(f"redis: {self.load.requests} requests answered; no connection broke, every "
               "value is there")
        detail(f"writer: {ops[-1]} pages written and checked, none wrong")
        detail("kernel logs of both hosts: nothing to complain of")


def number(value):
    return f"{value:,}".replace(",", " ")


def size(count):
    return f"{count / 1048576:.1f} MiB" if count >= 1 << 20 else f"{count / 1024:.0f} KiB"


PAGE_CLASSES = {
    "zero": "zero: nothing to send",
    "unchanged": "written, but with what the destination has: not sent again",
    "reference": "named: the destination has it",
    "copy": "named: equals another page of the VM",
    "delta": "sent again: only what has changed in it",
    "compressed": "sent whole, compressed",
    "raw": "sent whole"}

SOURCES = {
    "events": "every first write of a page",
    "kvm": "KVM's dirty log for what the guest writes, events for all others"}


def show_back(result, row):
    """What is different when memory follows."""
    follows = result["postcopy"]
    say()
    say(style("1", "  Back, by three-stage copy"))
    row("  total", f"{result['total_ms'] / 1000:.1f} s",
        f"{size(result['wire_bytes'])} on the wire")
    row("  kept there", number(sum(result["taken"].values())),
        "pages that were named, and taken from what it had left behind")
    row("  need not travel", size(result["saved"]["bytes"]),
        f"this line carries that in {result['saved']['ms'] / 1000:.0f} s")
    row("  downtime", f"{result['downtime_ms']:.0f} ms", "nothing is compared meanwhile")
    row("  seen by redis clients", f"{result['guest']['redis_longest_gap_ms']:.0f} ms",
        "longest silence")
    row("  pages that followed", number(follows["stale"]),
        f"{number(follows['pulled'])} because the guest asked for them")
    row("  page by page", "equal" if result["verified"] else "NOT DONE",
        "SHA-256 of all that the guest has not written since")
    say()


def show(result):
    """The report, for people."""
    pages = result["pages"]
    say()
    say(style("1;32", "The guest has moved from host a to host b and back, and works on."))
    say()
    say(style("1", "  There, by pre-copy"))
    say()

    def row(name, value, comment=""):
        say(f"  {name:<22}{value:>12}  {style('2', comment)}".rstrip())

    say(style("1", "  pages"))
    for name, count in pages.items():
        if name != "total":
            row(f"  {name}", number(count), PAGE_CLASSES.get(name, ""))
    row("  in all", number(pages["total"]),
        f"{size(pages['total'] * 4096)} of RAM; a page written later counts again")
    say(style("1", "  bytes"))
    row("  on the wire", size(result["wire_bytes"]),
        f"{100 * result['wire_bytes'] / (pages['total'] * 4096):.0f}% of the RAM")
    row("  device state", size(result["device_state_bytes"]), "of it; QEMU's own stream")
    say(style("1", "  tracking"))
    source = result["source"]
    row("  source", source["used"].split(":")[0], SOURCES.get(source["used"], source["used"]))
    row("  left writable", number(source["kept"]),
        "times that a page was, since the guest was writing it: it took no fault")
    say(style("1", "  time"))
    verify = result.get("verify_ms", 0)
    row("  total", f"{result['total_ms'] / 1000:.1f} s", f"{len(result['rounds'])} rounds")
    row("  downtime", f"{result['downtime_ms']:.0f} ms",
        f"{verify:.0f} ms to compare all memory (--verify), "
        f"{result['downtime_ms'] - verify:.0f} ms to move it")
    row("  seen by redis clients", f"{result['guest']['redis_longest_gap_ms']:.0f} ms",
        "longest silence; usually "
        f"{result['guest']['redis_usual_gap_ms']:.0f} ms in an emulated host")
    say(style("1", "  verification"))
    row("  page by page", "equal" if result["verified"] else "NOT DONE",
        "SHA-256 of every page, both ends, before it ran")
    show_back(result["back"], row)
    say(style("1", "  By the guest's own word"))
    row("  nothing lost", number(result["guest"]["redis_requests"]),
        "answers of redis, every value is there")
    row("", number(result["guest"]["pages_written"]), "pages written, each as it was left")
    say()


def run():
    began = time.monotonic()
    folder = os.path.join(BUILD, "demo")
    os.makedirs(folder, exist_ok=True)
    target = os.path.join(folder, "report.json")
    if os.path.exists(target):
        os.unlink(target)
    if not os.path.exists(TOOL):
        raise DemoError(f"{TOOL} is missing: run make")
    with Bed(name="demo") as bed:
        if not image.module(bed.kernel):
            raise DemoError(f"no module for Linux {bed.kernel}: run make")
        demo = Demo(bed)
        demo.hosts()
        demo.guest()
        demo.busy()
        result = demo.there()
        result["back"] = demo.back()
        demo.inspect(result)
        result["kernel"] = image.kernel_release(bed.kernel)
        result["link"] = LINK
        result["workload"] = ["redis", WRITER]
        demo.load.close()
    if not sum(result["back"]["taken"].values()):
        raise DemoError("nothing of what was kept was taken on the way back")
    for each in (result, result["back"]):
        if each["result"] != "moved" or not each["verified"]:
            raise DemoError(f"the report says {each['result']}, verified {each['verified']}")
    with open(target, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=2)
        f.write("\n")
    show(result)
    say(f"Figures: {os.path.relpath(target)}. The demonstration took "
        f"{time.monotonic() - began:.0f} s.")
    say("All of this is emulated: times on real hosts are much shorter. README.md tells how "
        "to install.")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run()
    except KeyboardInterrupt:
        say(style("33", "\nInterrupted. Hosts and guests are ended."))
        return 130
    except (AgentError, AssertionError, CommandFailed, DemoError, DmesgError, GuestError,
            HostError, OSError, QmpError, RedisError, SetupError, TimeoutError) as error:
        say(style("31", f"\nThe demonstration failed: {error}"))
        say("Logs of the hosts are in build/run/demo-*.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

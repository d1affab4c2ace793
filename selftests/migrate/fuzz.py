#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Garbage, lies and broken-off sentences, told to recv and to send.

Neither may crash, hang, run a VM or lose one. The frames of the protocol are those of
tools/migrate-fast/wire.h.
"""
import contextlib
import hashlib
import json
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.lot import REPEAT
from migrate.move import FAILED, PORT, Move, Survivor, Tool, discard, wait_listening
from vm import AgentError, Bed

MAGIC = 0x3172464d
(HELLO, WELCOME, FAIL, BEAT, PAGES, ZERO, ROUND, ROUND_DONE, PREPARE, READY, DEVICE, DIGEST,
 VERIFY, DIFFER, VERIFIED, LOAD, PREPARED, COMMIT, RUNNING, REFUSED, BYE, ASK,
 ANSWER, JOIN, JOINED, STALE, DEMAND, FAULT, PUSHED, MISSING, MISSES, COMPLETE,
 DIGESTS, FILTER, REFER, MISS, PACKED, COPY, DELTA,
 SAME) = range(1, 41)
FAKE_PORT = 4445
# A gigabyte of zeroes, by zstd.
ZEROES = (struct.pack("<IBI", 0xfd2fb528, 0xa0, 1 << 30) +
          struct.pack("<I", 131072 << 3 | 2) * 8191 + struct.pack("<I", 131072 << 3 | 3))


def frame(kind, payload=b"", ram=0, count=0, page=0, length=None, magic=MAGIC):
    return struct.pack("<IHHIIQ", magic, kind, ram,
                       len(payload) if length is None else length, count, page) + payload


def zstd(data):
    """As zstd would store it without compressing: blocks of up to 128 KiB."""
    blocks = [data[at:at + 131072] for at in range(0, len(data), 131072)] or [b""]
    out = struct.pack("<IBI", 0xfd2fb528, 0xa0, len(data))
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        out += (len(block) << 3 | last).to_bytes(3, "little") + block
    return out


def delta(*masks, length=None, **options):
    """A DELTA frame of pages in which these blocks have changed; its checks are wrong."""
    data = struct.pack(f"<{len(masks)}H", *masks)
    for mask in masks:
        data += b"x" * (4096 if mask == 0xffff else 16 + 256 * mask.bit_count())
    if length is not None:
        data = data[:length].ljust(length, b"\0")
    return frame(DELTA, zstd(data), **{"count": len(masks), **options})


def words(data):
    """Without the signs of life that come first."""
    while data.startswith(frame(BEAT)):
        data = data[24:]
    return data


class Fuzz(Survivor):
    def __init__(self, bed):
        super().__init__(bed)
        self.hello = None

    # A source that lies

    def dial(self):
        sock = self.b.agent.connect("tcp", self.b.addr, PORT)
        sock.settimeout(30)
        return sock

    @staticmethod
    def listen_to(sock, enough=lambda data: False, timeout=30):
        """What it answers, until that is enough or it closes."""
        data = b""
        sock.settimeout(timeout)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while not enough(data) and (part := sock.recv(65536)):
                data += part
        return data

    def first_word(self, sock):
        """The first frame that it says. One that is busy gives signs of life before."""
        return words(self.listen_to(sock, lambda data: len(words(data)) >= 24))

    def accost(self, data, then_close=False):
        """Say something to recv and see it close the connection."""
        sock = self.dial()
        try:
            sock.sendall(data)
            if not then_close:
                self.listen_to(sock)
        except (BrokenPipeError, ConnectionError):
            pass
        finally:
            sock.close()

    def strangers(self):
        """Whoever does not greet is sent away, and recv goes on listening."""
        greeting = json.dumps(self.hello).encode()
        rand = self.random
        cases = [
            b"GET / HTTP/1.1\r\nHost: b\r\n\r\n" + b"x" * 100,
            rand.randbytes(24), rand.randbytes(5000),
            frame(HELLO, b"{}"), frame(HELLO, b"no json"), frame(HELLO, b""),
            frame(HELLO, b"[" * 200000), frame(HELLO, b'{"protocol": 99, "version": "9"}'),
            frame(HELLO, b'{"protocol": "1", "version": [1]}'),
            frame(HELLO, length=0xffffffff), frame(HELLO, length=300 << 10),
            frame(HELLO, greeting, magic=0), frame(0, greeting), frame(0xffff, b""),
            frame(PAGES, b"x" * 4096, count=1), frame(COMMIT), frame(LOAD), frame(BYE),
            frame(ASK, b"{}"), frame(ASK, b'{"session": 5}'), frame(ANSWER, b"{}"),
            frame(BEAT, b"x" * 1000) + frame(COMMIT)]
        with self.case("strangers do not end a migration") as twin:
            recv = Tool(self.b, ["recv", "--qmp", twin.qmp_path, "--listen", f":{PORT}",
                                 "--json"])
            recv.wait_listening(PORT)
            for data in cases:
                self.accost(data)
                assert recv.running, f"recv ended at {data[:60]!r}:\n{recv.output}"
            for data in (b"", b"MF", frame(HELLO, greeting)[:24],
                         frame(HELLO, greeting)[:-1]):
                self.accost(data, then_close=True)
                assert recv.running, f"recv ended at {data[:60]!r}:\n{recv.output}"
            # One that says nothing at all does not keep it for ever.
            silent = self.dial()
            assert len(self.listen_to(silent, timeout=20)) < 4096
            silent.close()
            assert recv.running, recv.output
            assert twin.status() == "inmigrate"
            # After all of them the right one comes.
            sock = self.dial()
            sock.sendall(frame(HELLO, greeting))
            answer = self.first_word(sock)
            assert struct.unpack("<IH", answer[:6]) == (MAGIC, WELCOME), answer[:100]
            sock.close()
            assert recv.wait(30) == FAILED, recv.output
            assert twin.status() == "inmigrate"

    def join(self):
        """The second connection, for faults."""
        sock = self.dial()
        sock.sendall(frame(JOIN, json.dumps({**self.hello, "role": "pull"}).encode()))
        answer = self.first_word(sock)
        assert struct.unpack("<IH", answer[:6]) == (MAGIC, JOINED), answer[:100]
        return sock

    def after_greeting(self, twin, data, then_close=False, split=False, join=False, **other):
        """A greeting, then this; recv must end with an error, QEMU must not run.

        Returns what it has said meanwhile.
        """
        said, pull = b"", None
        greeting = {**self.hello, "split": split, **other}
        recv = Tool(self.b, ["recv", "--qmp", twin.qmp_path, "--listen", f":{PORT}",
                             "--json"])
        recv.wait_listening(PORT)
        sock = self.dial()
        try:
            sock.sendall(frame(HELLO, json.dumps(greeting).encode()))
            self.first_word(sock)
            if split and not other:	# else it has sent us away already
                self.knock()
            if join:
                pull = self.join()
            sock.sendall(data)
            if not then_close:
                said = self.listen_to(sock)
        except (BrokenPipeError, ConnectionError):
            pass
        finally:
            sock.close()
            if pull:
                pull.close()
        try:
            rc = recv.wait(60)
        except TimeoutError:
            raise AssertionError(f"recv goes on after {data[:60]!r}:\n"
                                 f"{recv.output}") from None
        assert rc == FAILED, f"recv returned {rc} after {data[:60]!r}:\n{recv.output}"
        assert "failed:" in recv.output, recv.output
        assert "RESUME" not in [event["event"] for event in twin.events]
        return said

    def knock(self):
        """Strangers at the door while a VM is received: turned away, no more."""
        joins = [frame(JOIN, b"{}"), frame(JOIN, b"[]"), frame(COMMIT), b"GET / HTTP/1.1",
                 frame(JOIN, json.dumps({**self.hello, "session": "0" * 32,
                                         "role": "pull"}).encode()),
                 frame(JOIN, json.dumps({**self.hello, "role": "push"}).encode()),
                 frame(JOIN, json.dumps({**self.hello, "ram": []}).encode()),
                 frame(ASK, json.dumps(self.hello).encode())]
        sock = self.dial()
        try:
            sock.sendall(self.random.choice(joins))
            self.first_word(sock)
        except (BrokenPipeError, ConnectionError):
            pass
        finally:
            sock.close()

    def split_lies(self):
        pages = self.vm.ram_mb * 256
        cases = [
            frame(STALE, b"x" * 8, count=64, page=1), frame(STALE, b"x" * 8, count=65),
            frame(STALE, b"x" * 8, count=64, page=pages), frame(STALE, b"", count=0),
            frame(STALE, b"x" * 8, count=64, ram=3),
            frame(STALE, b"x" * 8, count=64, page=1 << 63),
            frame(STALE, b"x" * 8, count=64, page=pages - 64) + frame(DEMAND, page=1),
            frame(DEMAND, page=5), frame(MISSING, b"x" * 8, count=64), frame(MISSES),
            frame(PUSHED), frame(COMPLETE, b"{}"), frame(FAULT, count=1),
            frame(DIGESTS, b"x" * 32, count=1), frame(JOIN, b"{}"), frame(JOINED)]
        with self.case("names that are none") as twin:
            # A file is named after the session.
            for session in ("../../tmp/" + 22 * "x", "../" + 29 * "y", 32 * "Z", 31 * "0",
                            31 * "0" + "\n", 7):
                self.after_greeting(twin, frame(DEMAND), split=True, session=session)
            found = self.b.run("ls /tmp /run/migrate-fast.d /run /").out
            assert "xxxx" not in found and "yyyy" not in found, found
        with self.case("lies about memory that follows") as twin:
            for data in cases:
                self.after_greeting(twin, data, split=True)
            assert twin.status() == "inmigrate", "QEMU was touched"
        empty, proof = hashlib.sha256(bytes(4096)).digest(), bytes(16)
        cases = [
            # From DEMAND on memory is filled, and nobody touches it otherwise.
            frame(COPY, struct.pack("<QQ", pages, 2) + proof, count=1),
            frame(COPY, struct.pack("<QQ", 1, pages) + proof, count=1),
            frame(COPY, struct.pack("<QQ", 1, 2) + proof, count=1, page=9),
            frame(COPY, struct.pack("<QQ", 1, 2) + proof, count=2),
            frame(REFER, struct.pack("<QQ", 1, 2) + empty, count=1), frame(DEMAND),
            frame(STALE, b"x" * 8, count=64, page=pages), frame(PACKED, b"x" * 99, count=1),
            frame(PAGES, bytes(4096), count=1, page=pages), frame(COMMIT)]
        with self.case("lies about memory that is absent") as twin:
            for data in cases:
                self.after_greeting(twin, frame(DEMAND) + data, split=True, join=True)
        with self.case("changes of what is absent") as twin:
            demand = frame(STALE, b"\xff" * 8, count=64, page=64) + frame(DEMAND, page=64)
            for page in (64, 1):
                for data in (delta(1, page=page), delta(0xffff, page=page)):
                    said = self.after_greeting(twin, demand + data, split=True, join=True)
                    assert b"DELTA" in said, said
                same = frame(SAME, bytes(16), count=1, page=page)
                said = self.after_greeting(twin, demand + same, split=True, join=True)
                assert b"SAME" in said, said
            assert twin.status() == "inmigrate", "QEMU was touched"

    def lies(self):
        pages = self.vm.ram_mb * 256
        page = b"x" * 4096
        cases = [
            frame(HELLO, json.dumps(self.hello).encode()),
            frame(PAGES, page, ram=7, count=1), frame(PAGES, page, ram=0xffff, count=1),
            frame(PAGES, page, count=1, page=pages), frame(PAGES, page, count=1, page=1 << 63),
            frame(PAGES, page * 2, count=2, page=pages - 1),
            frame(PAGES, page * 2, count=2, page=(1 << 64) - 1),
            frame(PAGES, page, count=2), frame(PAGES, page * 2, count=1),
            frame(PAGES, b"", count=0), frame(PAGES, page[:100], count=1),
            frame(PAGES, length=0xfffff000, count=0xfffff),
            frame(ZERO, count=0), frame(ZERO, count=1, page=pages),
            frame(ZERO, count=0xffffffff), frame(ZERO, count=1, page=(1 << 64) - 1),
            frame(ZERO, count=1, ram=1), frame(ZERO, b"junk", count=1),
            frame(DEVICE, length=0xffffffff), frame(LOAD), frame(COMMIT), frame(BYE),
            frame(VERIFY) + frame(LOAD, page=5), frame(READY), frame(RUNNING),
            frame(DIGEST, b"x" * 32, count=1025), frame(DIGEST, b"x" * 32, count=0),
            frame(DIGEST, b"x" * 31, count=1), frame(DIGEST, b"x" * 32, count=1, page=pages),
            frame(REFER, b"x" * 48, count=1), frame(REFER, bytes(48), count=1, ram=7),
            frame(REFER, bytes(48), count=2), frame(REFER, bytes(47), count=1),
            frame(REFER, bytes(48) * 129, count=129), frame(REFER, b"", count=1),
            frame(REFER, struct.pack("<Q", pages) + bytes(40), count=1),
            frame(COPY, bytes(32), count=1, ram=7), frame(COPY, bytes(32), count=1, page=7),
            frame(COPY, bytes(32), count=1, page=1 << 40), frame(COPY, bytes(32), count=2),
            frame(COPY, bytes(32) * 129, count=129), frame(COPY, b"", count=1),
            frame(COPY, struct.pack("<Q", pages) + bytes(24), count=1),
            frame(COPY, struct.pack("<QQ", 0, pages) + bytes(16), count=1),
            frame(PACKED, page, count=1), frame(PACKED, b"", count=1),
            frame(PACKED, page, count=0), frame(PACKED, page, count=65),
            frame(PACKED, page, count=2, page=pages - 1), frame(PACKED, page, count=1, ram=7),
            frame(PACKED, page, count=1, page=1 << 63), frame(FILTER, bytes(32)),
            delta(0xffff, page=pages), delta(1, 1, page=pages - 1), delta(1, ram=7),
            delta(1, page=1 << 63), delta(1, count=0), delta(*[0] * 65), delta(1, count=2),
            delta(1, 2, count=1), delta(3, length=18 + 256), delta(3, length=18 + 513),
            delta(0xfffe, length=1), delta(0, length=0),
            frame(SAME, bytes(16), count=1, page=pages), frame(SAME, bytes(16), count=1, ram=7),
            frame(SAME, bytes(32), count=2, page=pages - 1), frame(SAME, bytes(16), count=0),
            frame(SAME, bytes(16), count=2), frame(SAME, bytes(15), count=1),
            frame(SAME, bytes(16) * 65, count=65), frame(SAME, b"", count=1),
            frame(SAME, bytes(16), count=1, page=1 << 63), frame(SAME, length=1 << 20, count=64),
            frame(DELTA, ZEROES, count=64), frame(DELTA, page, count=1), frame(DELTA, b"", count=1),
            frame(DELTA, zstd(b"x" * 300000), count=64),
            frame(MISS, bytes(8), count=1), frame(PREPARED, b"{}"),
            frame(PREPARE) + frame(PREPARE) + frame(COMMIT),
            frame(PREPARE) + frame(DEVICE, b"x" * 100) + frame(LOAD, page=99),
            frame(PREPARE) + frame(DEVICE, b"x" * 100) + frame(COMMIT)]
        # What it has is zero, and does not become what the check says.
        misses = frame(MISS, struct.pack("<QQ", 5, 7), count=2)
        broken_off = [b"", frame(ROUND, page=1), frame(PAGES, page, count=1)[:100],
                      frame(PREPARE) + frame(DEVICE, b"x" * 500)]
        with self.case("lies after a right greeting") as twin:
            for data in self.some(30, cases):
                self.after_greeting(twin, data)
            for data in broken_off:
                self.after_greeting(twin, data, then_close=True)
            said = self.after_greeting(twin, delta(1, 0xffff, 0x8001, page=5) + frame(LOAD))
            assert misses in said, said[-100:]
            said = self.after_greeting(twin, frame(SAME, bytes(32), count=2, page=8) + frame(LOAD))
            misses = frame(MISS, struct.pack("<QQ", 8, 9), count=2)
            assert misses in said, said[-100:]
            assert twin.status() == "inmigrate", "QEMU was touched"
        with self.case("random frames after a right greeting") as twin:
            for _ in range(8 * REPEAT):
                frames = b"".join(
                    frame(self.random.randrange(42), self.random.randbytes(
                        self.random.choice([0, 8, 32, 4096])),
                        count=self.random.choice([0, 1, 2, 1 << 31]),
                        page=self.random.choice([0, 1, pages - 1, pages, 1 << 40]))
                    for _ in range(10))
                # LOAD would hand QEMU what we made up; that is the next test.
                frames += self.random.randbytes(100)
                self.after_greeting(twin, frames)
            assert twin.status() == "inmigrate", "QEMU was touched"

    def junk_device_state(self):
        with self.case("device state that is junk") as twin:
            junk = self.random.randbytes(5000)
            self.after_greeting(twin, frame(PREPARE) + frame(DEVICE, junk)
                                + frame(LOAD, page=len(junk)))
            twin.proc.wait(30)	# half a VM is of no use to anybody

    # A destination that lies

    def fake(self, *answers):
        """Run send against a listener that says these, whatever it hears."""
        listener = self.b.spawn(f"exec busybox nc -l -p {FAKE_PORT}")
        wait_listening(self.b, listener, FAKE_PORT)
        move = Move(self.vm, None, to=f"{self.b.addr}:{FAKE_PORT}",
                    args=["--timeout", "5000"])
        try:
            listener.wait_output('"ram"', 60)
            for data in answers:
                listener.write(data)
            if answers and answers[-1] == b"":
                listener.kill()
            move.send.wait(120)
        finally:
            try:
                listener.kill()
            except AgentError:
                pass
        return move, listener.output

    def greet(self):
        """Learn the greeting from send itself, by listening to it."""
        with self.test("a destination that says nothing"):
            move, heard = self.fake()
            self.hello, _ = json.JSONDecoder().raw_decode(heard[heard.index("{"):])
            move.failed("no sign of life")
            self.survived()
            self.note(f"greeting: {self.hello}")

    def announces(self, known):
        """A welcome with a filter to come."""
        return frame(WELCOME, json.dumps({**self.hello, "known": known}).encode())

    def false_destinations(self):
        good = frame(WELCOME, json.dumps(self.hello).encode())
        cases = [
            ("random bytes", [self.random.randbytes(1000)]),
            ("junk as a welcome", [frame(WELCOME, b"{")]),
            ("an endless welcome", [frame(WELCOME, b"x", length=0xfffffff0)]),
            ("a welcome and an end", [good, b""]),
            ("rounds that were not", [good + frame(ROUND_DONE, page=77)]),
            ("PREPARED out of turn", [good + frame(PREPARED)]),
            ("RUNNING out of turn", [good + frame(RUNNING)]),
            ("COMPLETE out of turn", [good + frame(COMPLETE, b"{}")]),
            ("MISSING out of turn", [good + frame(MISSING, b"x" * 8, count=64)]),
            ("a filter nobody spoke of", [good + frame(FILTER, bytes(32))]),
            ("a filter of no end", [self.announces({"bytes": 1 << 40, "seed": "1"})]),
            ("a filter of half a block", [self.announces({"bytes": 33, "seed": "1"})]),
            ("a filter without a seed", [self.announces({"bytes": 32, "seed": "x"})]),
            ("a filter that is too long", [self.announces({"bytes": 32, "seed": "1"}) +
                                           frame(FILTER, bytes(64))]),
            ("a filter that begins late", [self.announces({"bytes": 64, "seed": "1"}) +
                                           frame(FILTER, bytes(32), page=32)]),
            ("misses that were not asked for", [good + frame(MISS, bytes(8), count=1)]),
            ("misses of pages that are none", [self.announces({"bytes": 32, "seed": "1"}) +
                                               frame(FILTER, b"\xff" * 32) +
                                               frame(MISS, b"\xff" * 8, count=1)]),
            ("false digests", [good + frame(DIFFER, b"x" * 32, count=9)]),
            ("a failure", [good + frame(FAIL, b"the cat sat on the cable")])]
        for name, answers in self.some(9, cases):
            with self.test(f"a destination that says {name}"):
                move, _ = self.fake(*answers)
                move.failed("the cat sat" if name == "a failure" else "")
                self.survived()


def main():
    with Bed(name="fuzz") as bed:
        fuzz = Fuzz(bed)
        fuzz.greet()
        fuzz.strangers()
        fuzz.lies()
        fuzz.split_lies()
        fuzz.junk_device_state()
        fuzz.false_destinations()
        fuzz.still_movable()
        discard(fuzz.vm)
        return fuzz.finish()


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-2.0
"""Clients of a guest's redis that remember what the server must hold.

They run on this machine and reach the guest through a host of the service network, over
TCP connections that are opened once and must survive whatever happens to the guest.
"""
import threading
import time
import zlib

PORT = 6379
PATIENCE = 120		# seconds that a client waits for one answer


class RedisError(Exception):
    """The server answered with an error, or the connection broke."""


class Connection:
    """One TCP connection, speaking redis' protocol, without reconnecting."""

    def __init__(self, host, addr, port=PORT):
        self._sock = host.agent.connect("tcp", addr, port)
        self._sock.settimeout(PATIENCE)
        self._reader = self._sock.makefile("rb")

    def send(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self._sock.sendall(b"".join(parts))

    def receive(self):
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise RedisError("the connection broke")
        kind, text = line[:1], line[1:-2]
        if kind == b"+":
            return text.decode()
        if kind == b"-":
            raise RedisError(text.decode())
        if kind == b":":
            return int(text)
        if kind == b"$":
            length = int(text)
            if length < 0:
                return None
            data = self._reader.read(length + 2)
            if len(data) != length + 2:
                raise RedisError("the connection broke")
            return data[:-2]
        raise RedisError(f"unexpected answer {line!r}")

    def cmd(self, *words):
        self.send(*words)
        return self.receive()

    def close(self):
        self._reader.close()
        self._sock.close()


def value(client, key, version, size):
    """What a key holds: each version of each key is different throughout."""
    seed = b"%d:%d:%d:" % (client, key, version)
    data = seed + b"%08x" % zlib.crc32(seed)
    return (data * (size // len(data) + 1))[:size]


class Client:
    """Writes its own keys one request at a time, and counts with INCR."""

    def __init__(self, load, number):
        self.load = load
        self.number = number
        self.versions = {}
        self.counted = 0
        self.answers = []	# when each came
        self.slowest = 0.0
        self.error = None
        self.conn = Connection(load.host, load.addr)
        self.identity = self.conn.cmd("CLIENT", "ID")
        self._random = 88172645463325252 + number
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _next(self, below):
        x = self._random
        x ^= x << 13 & (1 << 64) - 1
        x ^= x >> 7
        x ^= x << 17 & (1 << 64) - 1
        self._random = x
        return (x >> 8) % below

    def _run(self):
        try:
            while not self.load.stopping.is_set():
                began = time.monotonic()
                self._step()
                now = time.monotonic()
                self.answers.append(now)
                self.slowest = max(self.slowest, now - began)
                if self.load.pause:
                    self.load.stopping.wait(self.load.pause)
        except (OSError, ValueError, RedisError) as error:
            self.error = f"client {self.number}: {error or type(error).__name__}"

    def _step(self):
        if self._next(8) == 0:
            want = self.counted + 1
            got = self.conn.cmd("INCR", f"count:{self.number}")
            if got != want:
                raise RedisError(f"counter is {got}, not {want}")
            self.counted = want
            return
        key = self._next(self.load.keys)
        version = self.versions.get(key, 0) + 1
        self.conn.cmd("SET", f"k:{self.number}:{key}",
                      value(self.number, key, version, self.load.size))
        self.versions[key] = version

    def verify(self):
        """Texts of what is not as it must be; asks on the same connection."""
        if self.error:
            return [self.error]
        wrong = []
        try:
            if self.conn.cmd("CLIENT", "ID") != self.identity:
                wrong.append(f"client {self.number}: another connection")
            if self.counted and int(self.conn.cmd("GET", f"count:{self.number}")) != \
                    self.counted:
                wrong.append(f"client {self.number}: counter is not {self.counted}")
            keys = list(self.versions)
            for at in range(0, len(keys), 100):
                some = keys[at:at + 100]
                for key in some:
                    self.conn.send("GET", f"k:{self.number}:{key}")
                for key in some:
                    want = value(self.number, key, self.versions[key], self.load.size)
                    if self.conn.receive() != want:
                        wrong.append(f"k:{self.number}:{key} does not hold version "
                                     f"{self.versions[key]}")
        except (OSError, ValueError, RedisError) as error:
            wrong.append(f"client {self.number}: {error or type(error).__name__}")
        return wrong


class RedisLoad:
    """load = RedisLoad(host, vm.addr).start(); ...; load.stop(); wrong = load.verify()

    host: the emulated host through which the clients reach the guest. pause: seconds
    between two requests of a client.
    """

    def __init__(self, host, addr, clients=4, keys=1000, size=1000, pause=0.005):
        self.host = host
        self.addr = addr
        self.keys = keys
        self.size = size
        self.pause = pause
        self.stopping = threading.Event()
        self.clients = [Client(self, number) for number in range(clients)]
        self.clients[0].conn.cmd("FLUSHALL")

    def start(self):
        for client in self.clients:
            client.thread.start()
        return self

    @property
    def requests(self):
        return sum(len(client.answers) for client in self.clients)

    @property
    def errors(self):
        return [client.error for client in self.clients if client.error]

    def stop(self):
        self.stopping.set()
        for client in self.clients:
            client.thread.join(PATIENCE + 10)

    def gap(self, since=0.0, until=None):
        """(seconds, when it began): longest time without an answer to anybody."""
        times = sorted(when for client in self.clients for when in list(client.answers)
                       if when >= since and (until is None or when <= until))
        gaps = [(after - before, before) for before, after in zip(times, times[1:])]
        return max(gaps, default=(0.0, since))

    def usual_gap(self, until):
        """The same before a moment, but the 99th percentile: what is normal here."""
        times = sorted(when for client in self.clients for when in list(client.answers)
                       if when <= until)
        gaps = sorted(after - before for before, after in zip(times, times[1:]))
        return gaps[len(gaps) * 99 // 100] if gaps else 0.0

    def slowest(self):
        return max(client.slowest for client in self.clients)

    def verify(self):
        """Texts of what is lost or wrong; [] if all is there."""
        wrong = [text for client in self.clients for text in client.verify()]
        if not self.requests:
            wrong.append("not one request was answered")
        return wrong

    def close(self):
        self.stopping.set()
        for client in self.clients:
            client.conn.close()

# SPDX-License-Identifier: GPL-2.0
"""QEMU Machine Protocol over a connected socket."""
import json
import os
import socket
import time


class QmpError(Exception):
    """A command was refused, or the connection is lost."""


def connect_in(folder, name):
    """A Unix socket of that name; the whole path may be longer than sun_path."""
    sock = socket.socket(socket.AF_UNIX)
    at = os.open(folder, os.O_PATH)
    try:
        sock.settimeout(30)
        sock.connect(f"/proc/self/fd/{at}/{name}")
    except OSError as error:
        sock.close()
        raise QmpError(f"{name}: {error}") from error
    finally:
        os.close(at)
    return sock


class Qmp:
    """One QMP session. Events are kept until someone asks for them."""

    def __init__(self, sock):
        self._sock = sock
        self._buffer = b""
        self._last = 0
        self.events = []
        self._read(30)	# greeting
        self.cmd("qmp_capabilities")

    def _read(self, timeout):
        end = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            self._sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self._sock.recv(65536)
            except TimeoutError:
                raise QmpError("no answer from QEMU") from None
            except OSError as error:
                raise QmpError(f"QMP connection: {error}") from error
            if not data:
                raise QmpError("QEMU closed the QMP connection")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def cmd(self, name, timeout=60, **arguments):
        """Execute; returns the answer's "return". Underscores in names stand for "-"
        only where you write them so: pass odd names by **{"a-b": 1}."""
        self._last += 1
        message = {"execute": name, "id": self._last}
        if arguments:
            message["arguments"] = arguments
        try:
            self._sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise QmpError(f"QMP connection: {error}") from error
        while True:
            answer = self._read(timeout)
            if "event" in answer:
                self.events.append(answer)
            elif answer.get("id") != self._last:
                continue	# to a command that nobody waits for any more
            elif "return" in answer:
                return answer["return"]
            else:
                raise QmpError(f"{name}: {answer['error'].get('desc')}")

    def wait_event(self, name, timeout=60):
        end = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event.get("event") == name:
                    self.events.remove(event)
                    return event
            self.events.append(self._read(max(end - time.monotonic(), 0.001)))

    def close(self):
        self._sock.close()

# SPDX-License-Identifier: GPL-2.0
"""Clients of a guest's web server.

They run on this machine and reach the guest through a host, with a connection for each file.
One that is not answered, as while the guest stands still, is tried again.
"""
import threading
import time

from micro import Failed
from vm import AgentError

PATIENCE = 60


def fetch(host, addr, path):
    """What the server says of a file, with its headers."""
    sock = host.agent.connect("tcp", addr, 80)
    try:
        sock.settimeout(PATIENCE)
        sock.sendall(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        sock.close()


def body(answer):
    head, _, text = answer.partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200")):
        raise Failed(f"the web server says {head[:200]!r}")
    return text


class WebLoad:
    """WebLoad(host, vm.addr, paths).start(); ...; stop() verifies that each file was the same
    each time. pause: seconds between two requests of a client."""

    def __init__(self, host, addr, paths, clients=2, pause=0.1):
        self.host = host
        self.addr = addr
        self.pause = pause
        self.files = {path: body(fetch(host, addr, path)) for path in paths}
        self.stopping = threading.Event()
        self.fetched = 0
        self.error = None
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True)
                        for number in range(clients)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def _run(self, number):
        paths = list(self.files)
        refused = None
        try:
            while not self.stopping.is_set():
                path = paths[number % len(paths)]
                try:
                    text = fetch(self.host, self.addr, path)
                except (AgentError, OSError):
                    refused = refused or time.monotonic()
                    if time.monotonic() - refused > PATIENCE:
                        raise
                    self.stopping.wait(0.5)
                    continue
                refused = None
                if body(text) != self.files[path]:
                    raise Failed(f"{path} is another file")
                self.fetched += 1
                number += 1
                self.stopping.wait(self.pause)
        except (AgentError, OSError, Failed) as error:
            self.error = error

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(2 * PATIENCE)
        if self.error:
            raise Failed(f"web: {self.error}")
        if not self.fetched:
            raise Failed("web: not one file was fetched")

# SPDX-License-Identifier: GPL-2.0
"""Client of the command agent (agent.c) in a host or a guest."""
import os
import shlex
import signal
import socket
import threading
import time


class AgentError(Exception):
    """The agent is unreachable, or broke off."""


class CommandFailed(Exception):
    """A command with check=True did not return 0."""

    def __init__(self, command, result):
        super().__init__(f"{command!r} returned {result.rc}:\n{result.out[-4000:]}")
        self.result = result


class Result:
    """How a command ended: rc (128 + N for signal N, 124 for a timeout) and out."""

    def __init__(self, rc, out, timed_out=False):
        self.rc = rc
        self.out = out
        self.timed_out = timed_out

    def __bool__(self):
        return self.rc == 0

    def __repr__(self):
        return f"Result(rc={self.rc}, out={self.out!r})"


class Proc:
    """A command that runs. Its output is collected all the while."""

    def __init__(self, sock, command, stream):
        self._sock = sock
        self._reader = sock.makefile("rb")
        self._stream = stream
        self._chunks = []
        self._done = threading.Event()
        self._started = threading.Event()
        self._result = None
        self.command = command
        self.pid = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        rc, timed_out = None, False
        try:
            while rc is None:
                word, _, value = self._reader.readline().decode().strip().partition(" ")
                if word == "pid":
                    self.pid = int(value)
                    self._started.set()
                elif word == "out":
                    data = self._reader.read(int(value))
                    self._chunks.append(data)
                    if self._stream:
                        self._stream(data)
                elif word == "exit":
                    rc = int(value)
                elif word == "signal":
                    rc = 128 + int(value)
                elif word == "timeout":
                    rc, timed_out = 124, True
                else:
                    break
        except (OSError, ValueError):
            pass
        if rc is not None:
            self._result = Result(rc, self.output, timed_out)
        self._started.set()
        self._done.set()
        try:
            self._sock.close()
        except OSError:
            pass

    @property
    def output(self):
        """What it has printed so far (stdout and stderr)."""
        return b"".join(self._chunks).decode(errors="replace")

    @property
    def running(self):
        return not self._done.is_set()

    def _send(self, data):
        try:
            self._sock.sendall(data)
        except OSError as error:
            if self.running:
                raise AgentError(f"lost {self.command!r}: {error}") from error

    def kill(self, sig=signal.SIGKILL):
        """Signal the command's whole process group."""
        self._send(b"kill %d\n" % sig)

    def write(self, data):
        """Give it input."""
        data = data.encode() if isinstance(data, str) else data
        for at in range(0, len(data), 65536):
            part = data[at:at + 65536]
            self._send(b"in %d\n" % len(part) + part)

    def close_input(self):
        self._send(b"eof\n")

    def hang_up(self):
        """Drop the connection; the agent kills the command."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def wait(self, timeout=None, check=False):
        """Its Result; TimeoutError if it still runs after that many seconds."""
        if not self._done.wait(timeout):
            raise TimeoutError(f"{self.command!r} still runs after {timeout} s:\n"
                               f"{self.output[-2000:]}")
        if self._result is None:
            raise AgentError(f"the agent broke off during {self.command!r}:\n"
                             f"{self.output[-2000:]}")
        if check and self._result.rc:
            raise CommandFailed(self.command, self._result)
        return self._result

    def wait_output(self, text, timeout=60):
        """Wait until it has printed text."""
        end = time.monotonic() + timeout
        while text not in self.output:
            if not self.running and text not in self.output:
                raise AgentError(f"{self.command!r} ended without {text!r}:\n{self.output}")
            if time.monotonic() > end:
                raise TimeoutError(f"no {text!r} from {self.command!r}:\n{self.output}")
            time.sleep(0.02)


class Agent:
    """Commands on a machine whose agent dial() connects to."""

    def __init__(self, dial, cwd=None):
        self._dial = dial
        self.cwd = cwd

    def spawn(self, command, timeout=86400, cwd=None, env=None, stream=None, pty=False):
        """Start a shell command, or a list of words; returns its Proc."""
        if not isinstance(command, str):
            command = shlex.join(command)
        script = command
        for name, value in (env or {}).items():
            script = f"export {name}={shlex.quote(str(value))}\n{script}"
        if cwd or self.cwd:
            script = f"cd {shlex.quote(cwd or self.cwd)} || exit 126\n{script}"
        script = script.encode()
        mode = " pty" if pty else ""
        sock = self._dial()
        sock.settimeout(None)
        sock.sendall(f"run {len(script)} {int(timeout * 1000)}{mode}\n".encode() + script)
        return Proc(sock, command, stream)

    def run(self, command, timeout=60, check=False, **options):
        """Run a shell command to its end; returns its Result."""
        proc = self.spawn(command, timeout=timeout, **options)
        try:
            # The agent itself keeps the time; longer means that it is gone.
            return proc.wait(timeout + 30, check=check)
        except TimeoutError as error:
            raise AgentError(f"no answer from the agent: {error}") from error

    def connect(self, kind, *address):
        """A socket relayed by the agent: connect("unix", path), ("tcp", addr, port)."""
        sock = self._dial()
        words = " ".join(str(word) for word in address)
        sock.sendall(f"connect {kind} {words}\n".encode())
        line = b""
        while not line.endswith(b"\n"):
            byte = sock.recv(1)
            if not byte:
                break
            line += byte
        if line != b"ok\n":
            sock.close()
            raise AgentError(f"connect {kind} {words}: {line.decode().strip() or 'closed'}")
        return sock

    def alive(self):
        try:
            return self.spawn("true", timeout=20).wait(20).rc == 0
        except (AgentError, OSError):	# TimeoutError is an OSError
            return False


def tcp_dialer(port):
    def dial():
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except OSError as error:
            raise AgentError(f"agent at port {port}: {error}") from error
    return dial


def quote(words):
    return " ".join(shlex.quote(os.fspath(word)) for word in words)

# SPDX-License-Identifier: GPL-2.0
"""The test bed: hosts, the links between them, and shared disks."""
import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from . import image
from .child import start_child, stop_child
from .host import GATEWAY, BootError, Host, HostError, free_port

FIRST_NUMBER = 11	# host a has the addresses 10.77.0.11 and 10.66.0.11
BOOTS = 3


class Bed:
    """with Bed(kernel="6.1") as bed: a, b = bed.pair()

    Everything that it starts ends with it. Logs stay in bed.dir (build/run/...), which
    hosts see, writable, under the same path.
    """

    def __init__(self, kernel=None, name="bed", load=True):
        self.kernel = kernel or os.environ.get("MF_KERNEL", "6.1")
        self.load = load
        self.hosts = []
        self._disks = []
        runs = os.path.join(image.BUILD, "run")
        os.makedirs(runs, exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix=f"{name}-", dir=runs)
        os.chmod(self.dir, 0o755)
        self.failed = False
        self.say = lambda text: None

    def __enter__(self):
        # A script has a bed that it leaves with its block.
        self.say = lambda text: print(text, flush=True)
        return self

    def __exit__(self, kind, value, trace):
        # Who presses Ctrl-C, or sends SIGTERM, wants it to end and no logs.
        stopped = kind in (KeyboardInterrupt, SystemExit)
        self.failed = self.failed or (kind is not None and not stopped)
        try:
            if not self.failed and not stopped:
                # What a test forgets to judge is judged here: also that a host has died.
                for host in self.hosts:
                    if not host.stopped:
                        host.dmesg_check()
                        host.leak_check()
        except Exception:
            self.failed = True
            raise
        finally:
            self.close()

    def close(self):
        for host in self.hosts:
            if host.running and self.failed:
                self._keep_log(host)
            host.stop()
        self.hosts = []
        for disk in self._disks:
            stop_child(disk)
        self._disks = []
        for name in os.listdir(self.dir):
            if name.endswith((".sock", ".disk")):
                os.unlink(os.path.join(self.dir, name))
        if not self.failed and not os.environ.get("MF_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def _keep_log(self, host):
        try:
            with open(os.path.join(self.dir, f"{host.name}.dmesg"), "w",
                      encoding="utf-8") as f:
                f.write(host.agent.run("dmesg", timeout=10).out)
        except Exception:	# the failure that brought us here matters more
            path = os.path.join(self.dir, f"{host.name}.frozen")
            with open(path, "w", encoding="utf-8") as f:
                f.write(host.frozen() + "\n")
            print(f"host {host.name} does not answer: see {path}", file=sys.stderr)

    # Hosts

    def _add(self, name, **options):
        host = Host(self, name, FIRST_NUMBER + len(self.hosts),
                    load=options.pop("load", self.load), **options)
        self.hosts.append(host)
        return host

    def _boot(self, start):
        """start() adds hosts and starts them; the hosts, ready.

        Now and then QEMU's emulation of a processor goes wrong: what happens before our
        module is loaded says nothing about it, so that such a host is booted again.
        """
        old = list(self.hosts)
        for boot in itertools.count(1):
            try:
                hosts = start()
                with ThreadPoolExecutor() as pool:
                    list(pool.map(Host.wait_ready, hosts))
                return hosts
            except BootError as error:
                # Who stopped it did not want another one.
                if boot == BOOTS or any(host.stopped for host in self.hosts[len(old):]):
                    raise
                text = "\n# ".join(str(error).splitlines())
                print(f"# booted again, for it died before anything of ours ran:\n# {text}",
                      file=sys.stderr, flush=True)
                for host in self.hosts[len(old):]:
                    host.stop()
                self.hosts = list(old)

    def host(self, name="a", **options):
        """Boot one host without links. Options: smp, mem (MiB), icount, load,
        mount (options of mfram), append (to the kernel's command line)."""
        def start():
            host = self._add(name, **options)
            host.start()
            return [host]

        return self._boot(start)[0]

    def pair(self, disk=None, **options):
        """Boot two hosts, joined by a migration link and a service link.

        disk: an image; both get a copy of it, the same one, as host.disk.
        """
        if disk:
            options["disk"] = self._shared(disk)
        links = [os.path.join(self.dir, f"{link}.sock") for link in ("link", "service")]

        def start():
            for link in links:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(link)
            a = self._add("a", links="server", **options)
            b = self._add("b", links="client", **options)
            a.start()
            end = time.monotonic() + 20
            while not all(os.path.exists(link) for link in links):
                if time.monotonic() > end or a.proc.poll() is not None:
                    raise HostError("host a does not open its links; see " + self.dir)
                time.sleep(0.02)
            b.start()
            return [a, b]

        return self._boot(start)

    def rate(self, rate=None, delay_ms=None):
        """Shape the migration link both ways: bed.rate("50mbit"); None: no limit."""
        for host in self.hosts:
            if host.links:
                host.shape(rate, delay_ms)

    def dmesg_check(self, allow=()):
        for host in self.hosts:
            host.dmesg_check(allow)

    # Disks

    def _shared(self, image_path):
        path = os.path.join(self.dir, "shared.disk")
        subprocess.run(["cp", "--sparse=always", image_path, path], check=True)
        return path

    def disk(self, name="disk", size_mb=64):
        """A raw disk that all hosts reach; returns its NBD address for Guest(disk=)."""
        path = os.path.join(self.dir, f"{name}.disk")
        with open(path, "wb") as f:
            f.truncate(size_mb << 20)
        port = free_port()
        server = start_child(["qemu-nbd", "-e", "8", "-t", "-f", "raw", "-x", "",
                              "-b", "127.0.0.1", "-p", str(port), path],
                             stderr=subprocess.DEVNULL)
        self._disks.append(server)
        return f"nbd://{GATEWAY}:{port}"

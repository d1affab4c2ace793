# SPDX-License-Identifier: GPL-2.0
"""A KVM guest in an emulated host."""
import os
import shlex
import time

from . import frozen, image
from .agent import Agent, AgentError
from .host import MOUNT, SERVICE, HostError
from .qmp import Qmp, QmpError


class GuestError(Exception):
    """A guest does not come up, or ended."""


class Guest:
    """Guest(host, "vm1").start().wait_up(); see README.md."""

    def __init__(self, host, name="vm1", ram_mb=256, smp=1, number=2, disk=None,
                 mounts="", incoming=False, ram_dir=MOUNT, prealloc=False, vhost=True,
                 machine="pc", redis=True, ram_options="", append="", extra=()):
        self.host = host
        self.name = name
        self.ram_mb = ram_mb
        self.smp = smp
        self.number = number
        self.disk = disk
        self.mounts = mounts	# options of the disk's file system, at /disk; "": none
        self.incoming = incoming
        self.ram_dir = ram_dir
        self.prealloc = prealloc
        self.vhost = vhost
        self.machine = machine
        self.with_redis = redis
        self.ram_options = ram_options
        self.append = append
        self.extra = list(extra)

        self.addr = f"{SERVICE}.{number}"
        self.ram_path = os.path.join(ram_dir, name) if ram_dir else None
        self.qmp_path = f"/run/guest/{name}.qmp"	# for the tool under test
        self.test_qmp_path = f"/run/guest/{name}.qmp2"	# for the tests
        self.serial = os.path.join(host.bed.dir, f"{name}-{host.name}.serial")
        self.proc = None
        self.up_seconds = None
        self.discarded = False
        self._began = None
        self._qmp = None
        self.agent = Agent(lambda: self.host.agent.connect("tcp", self.addr, 7000))

    def twin(self, host, **changes):
        """The same guest on another host, waiting for its state."""
        options = {key: getattr(self, key) for key in (
            "name", "ram_mb", "smp", "number", "disk", "mounts", "ram_dir", "prealloc",
            "vhost", "machine", "ram_options", "append", "extra")}
        options["redis"] = self.with_redis
        options["incoming"] = True
        options.update(changes)
        return Guest(host, **options)

    # QEMU

    def virtio(self, device):
        """The words for a virtio device: with its registers in ports where README.md says so."""
        if self.host.bed.kernel != "latest":
            return device
        return f"{device},disable-modern=on,disable-legacy=off"

    def command(self):
        """The words of the QEMU command line, to be run in the host."""
        base = image.kernel_dir(image.GUEST_KERNEL)
        append = " ".join([
            "console=ttyS0", "quiet", "loglevel=2", "panic=1", "mitigations=off", "nokaslr",
            "tsc=reliable", "random.trust_cpu=on", "net.ifnames=0", "i8042.noaux=1",
            "i8042.nokbd=1", "8250.nr_uarts=1", "audit=0", "nowatchdog", "no_hash_pointers",
            f"mf_addr={self.addr}", f"mf_redis={int(self.with_redis)}",
            f"mf_number={self.number}", f"mf_mounts={self.mounts}", self.append]).strip()
        mac = f"52:54:00:66:00:{self.number:02x}"
        # pku=off: what the emulated processor says of it makes a guest's kernel warn.
        words = [
            "qemu-system-x86_64", "-name", self.name, "-nodefaults", "-no-user-config",
            "-no-reboot",	# who panics has died, and does not come back
            "-display", "none", "-accel", "kvm", "-cpu", "host,pku=off",
            "-smp", str(self.smp), "-m", str(self.ram_mb),
            "-kernel", os.path.join(base, "vmlinux"),
            "-initrd", image.guest_image(mounts=bool(self.mounts), redis=self.with_redis),
            "-append", append,
            "-chardev", f"file,id=serial,path={self.serial}", "-serial", "chardev:serial",
            "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
            "-qmp", f"unix:{self.test_qmp_path},server=on,wait=off",
            "-netdev", f"tap,id=net0,ifname=tap{self.number},script=no,downscript=no,"
                       f"vhost={'on' if self.vhost else 'off'}",
            "-device", self.virtio(f"virtio-net-pci,netdev=net0,mac={mac},romfile=")]
        if self.ram_path:
            prealloc = ",prealloc=on" if self.prealloc else ""
            words += ["-machine", f"{self.machine},memory-backend=ram0", "-object",
                      f"memory-backend-file,id=ram0,size={self.ram_mb}M,"
                      f"mem-path={self.ram_path},share=on{prealloc}{self.ram_options}"]
        else:
            words += ["-machine", self.machine]
        if self.disk:
            # What nobody writes several guests of a host may have.
            only = ",readonly=on" if self.mounts.startswith("ro") else ""
            words += ["-drive",
                      f"file={self.disk},format=raw,if=none,id=disk0,cache=none{only}",
                      "-device", self.virtio("virtio-blk-pci,drive=disk0,romfile=")]
        if self.incoming:
            words += ["-incoming", "defer"]
        return words + self.extra

    def start(self, keep=False):
        """Start QEMU; returns self. A file left at ram_path is removed first, or kept."""
        tap = f"tap{self.number}"
        self.host.run(f"""set -e
            mkdir -p /run/guest
            {f'rm -f {shlex.quote(self.ram_path)}' if self.ram_path and not keep else ''}
            ip link show {tap} >/dev/null 2>&1 || ip tuntap add {tap} mode tap
            ip link set {tap} master br0
            ip link set {tap} up""", check=True)
        self.discarded = False
        self._began = time.monotonic()
        self.proc = self.host.spawn(["exec"] + self.command())
        self._wait_qmp()
        return self

    def _wait_qmp(self, timeout=60):
        end = time.monotonic() + timeout * image.patience(self.host.bed.kernel)
        while True:
            try:
                self._qmp = Qmp(self.host.agent.connect("unix", self.test_qmp_path))
                return
            except (AgentError, QmpError) as error:
                if not self.proc.running:
                    raise GuestError(f"QEMU of {self.name} ended:\n"
                                     f"{self.proc.output}") from error
                if time.monotonic() > end:
                    raise GuestError(f"no QMP from {self.name}: {error}\n"
                                     f"{self.proc.output}") from error
                time.sleep(0.1)

    def qmp(self, name, timeout=60, **arguments):
        """A command on the tests' own QMP socket; the tool's is self.qmp_path."""
        return self._qmp.cmd(name, timeout=timeout, **arguments)

    def hmp(self, line):
        return self.qmp("human-monitor-command", **{"command-line": line})

    def wait_event(self, name, timeout=60):
        return self._qmp.wait_event(name, timeout)

    @property
    def events(self):
        """QMP events that have been read so far and nobody waited for, oldest first."""
        return self._qmp.events

    def status(self):
        """running, paused, inmigrate, postmigrate, ... or None if QEMU has ended."""
        if not self.proc or not self.proc.running:
            return None
        return self.qmp("query-status")["status"]

    def capabilities(self):
        """Of migration, those that are on."""
        return [each["capability"] for each in self.qmp("query-migrate-capabilities")
                if each["state"]]

    @property
    def pid(self):
        return self.proc.pid

    @property
    def stderr(self):
        """What QEMU has printed."""
        return self.proc.output

    def quit(self, timeout=30):
        """End QEMU, kindly or else."""
        if self.proc and self.proc.running:
            try:
                self.qmp("quit", timeout=5)
                self.proc.wait(timeout)
            except (QmpError, TimeoutError):
                self.kill()
        if self._qmp:
            self._qmp.close()

    def kill(self):
        self.proc.kill()
        self.proc.wait(30)

    # Inside

    def wait_up(self, timeout=240):
        """Wait until its agent answers; returns self."""
        end = self._began + timeout * image.patience(self.host.bed.kernel)
        marker = f"grep -qs 'mf-agent: ready' {shlex.quote(self.serial)}"
        while True:
            if not self.proc.running:
                raise GuestError(f"QEMU of {self.name} ended:\n{self.proc.output}\n"
                                 f"{self.serial_text()}")
            if self.host.run(f"for i in 1 2 3 4 5 6 7 8 9 10; do {marker} && exit 0; "
                             "sleep 0.2; done; exit 1").rc == 0 and self.alive():
                break
            if time.monotonic() > end:
                # KVM's internal errors are told by QEMU, and leave it there, stopped.
                raise GuestError(f"guest {self.name} not up after {timeout} s, "
                                 f"\"{self.status()}\":\n{self.proc.output}\n"
                                 f"{self.frozen()}")
        self.up_seconds = time.monotonic() - self._began
        return self

    def serial_text(self):
        try:
            with open(self.serial, errors="replace", encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def run(self, command, timeout=60, **options):
        """Run a shell command in the guest."""
        try:
            return self.agent.run(command, timeout=timeout, **options)
        except (AgentError, TimeoutError) as error:
            if not self.proc.running or self.alive():
                raise
            raise AgentError(f"{error}\nguest {self.name} is frozen:\n"
                             f"{self.frozen()}") from error

    def frozen(self):
        """What QEMU's threads, and then its processors do."""
        kernel = self.host.run(f"""cd /proc/{self.pid}/task && for task in *; do
            echo "$(cat $task/comm), $(sed 's/.*) //; s/ .*//' $task/stat):"
            cat $task/stack
        done""").out
        # Its processors have the host's symbols where they run the host's kernel.
        same = self.host.bed.kernel == image.GUEST_KERNEL
        symbols = self.host.read("/proc/kallsyms") if same else ""
        state = self.host.run(f"cd /sys/kernel/debug/kvm && grep -s . {self.pid}-*/* | "
                              "grep -v ':0$'").out
        return (kernel + frozen.report(lambda: self._qmp, symbols) +
                f"\nevents: {[event['event'] for event in self.events]}\n{state}\n"
                f"its console:\n{self.serial_text()[-2000:]}")

    def spawn(self, command, **options):
        return self.agent.spawn(command, **options)

    def alive(self):
        return self.agent.alive()

    def redis(self, *words, timeout=60, host=None):
        """redis-cli on a host, talking to the guest's server over the network."""
        line = "redis-cli -h {} {}".format(self.addr, " ".join(shlex.quote(str(word))
                                                              for word in words))
        return (host or self.host).run(line, timeout=timeout, check=True).out.strip()

    # QEMU's own migration, to compare with and to test the bed

    def migrate_native(self, twin, port=4444, timeout=300, capabilities=(), parameters=None):
        """Move to twin (started with incoming=True) by QEMU itself; query-migrate."""
        enabled = [{"capability": name, "state": True} for name in capabilities]
        for guest in (self, twin):
            if enabled:
                guest.qmp("migrate-set-capabilities", capabilities=enabled)
        # QEMU's default limit of 1 Gbit/s is never the limit here.
        self.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 30, **(parameters or {})})
        twin.qmp("migrate-incoming", uri=f"tcp:{twin.host.addr}:{port}")
        self.qmp("migrate", uri=f"tcp:{twin.host.addr}:{port}")
        end = time.monotonic() + timeout
        while True:
            info = self.qmp("query-migrate")
            # It can say completed with figures of zero at first.
            if info.get("status") == "completed" and info.get("total-time"):
                break
            if info.get("status") in ("failed", "cancelled"):
                raise GuestError(f"migration {info}\n{self.stderr}\n{twin.stderr}")
            if time.monotonic() > end:
                raise GuestError(f"migration not done after {timeout} s: {info}")
            time.sleep(0.2)
        while twin.status() == "inmigrate":
            if time.monotonic() > end:
                raise GuestError("destination does not start")
            time.sleep(0.05)
        return info


__all__ = ["Guest", "GuestError", "HostError"]

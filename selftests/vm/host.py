# SPDX-License-Identifier: GPL-2.0
"""An emulated hypervisor host: a QEMU process whose processor QEMU emulates too."""
import contextlib
import os
import shlex
import socket
import subprocess
import time

from . import dmesg, frozen, image, tsc
from .agent import Agent, AgentError, CommandFailed, tcp_dialer
from .child import start_child, stop_child
from .qmp import Qmp, connect_in
from .watch import Watch

MOUNT = "/run/migrate-fast"
SERVICE = "10.66.0"	# service link and guests
LINK = "10.77.0"	# migration link
GATEWAY = "10.0.2.2"	# the machine below, as the hosts see it
# Of the migration link: jumbo frames, as such links have them. A frame costs an emulated host
# more than its bytes do; no NIC is there that would make frames of what is longer.
MTU = 9000


class HostError(Exception):
    """A host does not come up, or died."""


class BootError(HostError):
    """A host died, or hung, before anything of ours ran in its kernel."""


class DmesgError(Exception):
    """A host's kernel complained."""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Host:
    """Made by Bed.host() and Bed.pair(); see README.md."""

    disk = "/dev/vda"	# of one that was given a disk

    def __init__(self, bed, name, number, smp=1, mem=1024, links=None, icount=False,
                 load=True, mount="", append="", disk=None, qemu_args=()):
        self.bed = bed
        self.name = name
        self.number = number
        self.smp = smp
        self.mem = mem * (2 if image.is_debug(bed.kernel) else 1)
        self.icount = icount
        self.load = load
        self.mount = mount	# options of mfram, as -o huge=always
        self.append = append	# to the kernel's command line
        self._image = disk
        self.qemu_args = list(qemu_args)
        self.links = links	# None, "server" or "client" of the two links
        self.addr = f"{LINK}.{number}"
        self.service_addr = f"{SERVICE}.{number}"
        self.serial = os.path.join(bed.dir, f"{name}.serial")
        self.proc = None
        self.boot_seconds = None
        self.stopped = False
        self.watch = Watch(self)
        self._frozen = None
        self._shapes = {}	# of each NIC
        self._seen = 0		# lines of dmesg that were judged
        self._taint = 0
        self._port = free_port()
        self._began = None
        self.agent = Agent(tcp_dialer(self._port), cwd=image.TOP)

    # Start and end

    def _nic(self, slot, netdev):
        mac = f"52:54:00:0a:{self.number:02x}:{slot:02x}"
        return ["-netdev", netdev,
                "-device", f"virtio-net-pci,netdev=n{slot},mac={mac},romfile="]

    def _command(self):
        kernel = self.bed.kernel
        base = image.kernel_dir(kernel)
        release = image.kernel_release(kernel)
        # Links do not lead there from within.
        modules = os.path.realpath(f"{base}/lib/modules/{release}")
        append = " ".join([
            "console=ttyS0", "loglevel=4", "panic=1", "mitigations=off", "nokaslr",
            "tsc=reliable", "random.trust_cpu=on", "log_buf_len=4M", "net.ifnames=0",
            "rcupdate.rcu_cpu_stall_timeout=120",
            f"mf_name={self.name}", f"mf_number={self.number}",
            f"mf_top={image.TOP}", f"mf_run={self.bed.dir}",
            f"mf_modules={modules}", f"mf_release={release}",
            self.append]).strip()
        cpu = "EPYC-Milan"
        if self.icount:
            accel = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on"]
        else:
            accel = ["-accel", "tcg,thread=multi,tb-size=512"]
            # Told that it copies fast so, a kernel copies byte by byte (REP MOVSB): 8 times
            # the work for an emulator. Instructions are counted as they always were.
            cpu += ",-erms,-fsrm"
            if tsc.khz():
                append += f" tsc_early_khz={tsc.khz()}"
        command = [
            *image.qemu(), "-name", self.name, "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-machine", "pc", *accel,
            "-cpu", cpu, "-smp", str(self.smp), "-m", str(self.mem),
            "-d", "cpu_reset", "-D", f"{self.name}.resets",
            "-kernel", os.path.join(base, "vmlinux"),
            "-initrd", image.host_image(kernel), "-append", append,
            "-chardev", f"file,id=serial,path={self.name}.serial",
            "-serial", "chardev:serial",
            "-qmp", f"unix:{self.name}.qmp.sock,server=on,wait=off",
            "-virtfs", "local,path=/,mount_tag=root,security_model=none,"
            "readonly=on,multidevs=remap",
            "-virtfs", f"local,path={self.bed.dir},mount_tag=run,security_model=none,"
            "multidevs=remap",
            *self._nic(0, f"user,id=n0,hostfwd=tcp:127.0.0.1:{self._port}-:7000")]
        if self.links:
            role = "server=on" if self.links == "server" else "server=off"
            for slot, link in ((1, "link"), (2, "service")):
                command += self._nic(slot, f"stream,id=n{slot},{role},addr.type=unix,"
                                           f"addr.path={link}.sock")
        if self._image:
            # Several hosts write to it. Whatever one has written the other reads at once: to
            # this machine they are two programs with one file.
            command += ["-drive", f"file={self._image},format=raw,file.locking=off,"
                                  "if=none,id=disk0",
                        "-device", "virtio-blk-pci,drive=disk0"]
        return command + self.qemu_args

    def start(self):
        """Begin to boot; wait_ready() waits for the end."""
        self._began = time.monotonic()
        # One that died in this place may have said that it was ready.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.serial)
        with open(os.path.join(self.bed.dir, f"{self.name}.qemu"), "wb") as log:
            self.proc = start_child(self._command(), cwd=self.bed.dir, stdout=log,
                                    stderr=subprocess.STDOUT)

    def serial_text(self):
        try:
            with open(self.serial, errors="replace", encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def monitor(self):
        """A QMP session with the host's own QEMU."""
        return Qmp(connect_in(self.bed.dir, f"{self.name}.qmp.sock"))

    def frozen(self):
        """What its processors do while its agent does not answer; "" if that does."""
        if self.agent.alive():
            return ""
        if self._frozen is None:
            self._frozen = frozen.report(self.monitor, self._symbols())
        return self._frozen

    def _symbols(self):
        """Hosts are all alike, and none is randomized: another one's are ours."""
        twin = Host(self.bed, f"{self.name}-twin", self.number, mem=768, load=self.load)
        try:
            twin.start()
            twin.wait_ready()
            return twin.run("cat /proc/kallsyms", timeout=120, check=True).out
        except (HostError, AgentError, CommandFailed, image.SetupError):
            return ""	# numbers are better than nothing
        finally:
            twin.stop()

    def _died(self, what, kind=HostError):
        with open(os.path.join(self.bed.dir, f"{self.name}.qemu"), encoding="utf-8",
                  errors="replace") as f:
            messages = "\n".join(line for line in f.read().splitlines()
                                 if "TCG doesn't support" not in line)
        return kind(f"host {self.name}: {what}{self._how()}\n{messages}\n"
                    f"{self.serial_text()[-4000:]}")

    def _how(self):
        """How its QEMU has ended, and whether a processor has reset itself: it says neither."""
        how = "" if self.running else f" (exit status {self.proc.returncode})"
        with contextlib.suppress(OSError):
            with open(os.path.join(self.bed.dir, f"{self.name}.resets"), encoding="utf-8",
                      errors="replace") as f:
                how += " after a triple fault" if "Triple fault" in f.read() else ""
        return how

    def _ends(self, seconds):
        """Its QEMU has ended, or does so now."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.proc.wait(seconds)
        return not self.running

    def wait_ready(self):
        """Wait until it has booted (BootError), then load the module."""
        self._wait_agent()
        try:
            self._set_up()
        except (AgentError, CommandFailed, HostError) as error:
            raise BootError(f"host {self.name}: {error}") from error
        if self.load and image.module(self.bed.kernel):
            self.load_module()
        self.boot_seconds = time.monotonic() - self._began
        self.watch.start()

    def _wait_agent(self, timeout=180):
        end = self._began + timeout
        while "mf-agent: ready" not in self.serial_text():
            if self.proc.poll() is not None:
                raise self._died("QEMU ended during boot", BootError)
            if time.monotonic() > end:
                raise self._died(f"not up after {timeout} s", BootError)
            time.sleep(0.05)

    def _set_up(self):
        """What a host has before the module comes; the module's own part is later."""
        lines, self._taint = self._kernel_says()
        self._seen = len(lines)
        setup = ["modprobe -a kvm-amd tun bridge vhost_net",
                 "/run/agent keep-vm",	# agent.c says why
                 # For the same reason: the first memory cgroup patches the network's code.
                 "echo +memory > /sys/fs/cgroup/cgroup.subtree_control",
                 "mkdir -p /sys/fs/cgroup/kept",
                 "ip link add br0 type bridge forward_delay 0 mcast_snooping 0",
                 f"ip addr add {self.service_addr}/24 dev br0",
                 "ip link set br0 up"]
        if self._image:
            setup.append("modprobe virtio_blk")
        if self.links:
            setup += [f"ip link set eth1 mtu {MTU}",
                      "ip link set eth2 master br0", "ip link set eth2 up"]
        self.run("set -e\n" + "\n".join(setup), timeout=60, check=True)

    def load_module(self):
        """insmod migrate_fast.ko and mount mfram."""
        path = image.module(self.bed.kernel)
        if not path:
            raise image.SetupError(f"no module for Linux {self.bed.kernel}: run make")
        self.run(f"""set -e
                 for name in $(modinfo -F depends {path} | tr , ' '); do
                     modprobe $name
                 done
                 insmod {path}
                 mkdir -p {MOUNT}
                 mount -t mfram {self.mount} none {MOUNT}""", timeout=60, check=True)

    def unload_module(self):
        self.run(f"umount {MOUNT}; rmmod migrate_fast", timeout=60, check=True)

    def stop(self):
        """End the host as a power cut would."""
        self.stopped = True
        self.watch.end()
        stop_child(self.proc)

    @property
    def running(self):
        return self.proc is not None and self.proc.poll() is None

    # Commands

    def _alive(self):
        if not self.running:
            raise self._died("QEMU has ended")

    def run(self, command, timeout=60, check=False, **options):
        """Run a shell command; Result has rc and out. stream= is called with output."""
        self._alive()
        try:
            return self.agent.run(command, timeout=timeout, check=check, **options)
        except AgentError as error:
            # The agent's connection is lost first.
            if "Kernel panic" in self.serial_text() or self._ends(1):
                raise self._died(str(error)) from error
            stuck = self.frozen()
            if stuck:
                raise AgentError(f"{error}\nhost {self.name} is frozen:\n{stuck}") from error
            raise

    def spawn(self, command, **options):
        """Start a shell command in the background; returns its Proc."""
        self._alive()
        return self.agent.spawn(command, **options)

    def read(self, path):
        return self.run(f"cat {shlex.quote(path)}", check=True).out

    def sha256(self, path):
        return self.run(f"sha256sum {shlex.quote(path)}", timeout=600,
                        check=True).out.split()[0]

    # Kernel log

    def dmesg(self):
        return self.run("dmesg", timeout=60).out

    def _kernel_says(self):
        """Its log, and what has tainted it."""
        taint, *lines = self.run("cat /proc/sys/kernel/tainted; dmesg",
                                 timeout=60).out.splitlines()
        return lines, int(taint)

    def dmesg_findings(self, allow=()):
        """Complaints since the last call, each a text; [] if all is well."""
        try:
            lines, taint = self._kernel_says()
        except (AgentError, HostError) as error:
            return [f"host {self.name} is gone: {error}"]
        found = dmesg.findings("\n".join(lines[self._seen:]), allow)
        self._seen = len(lines)
        if not allow:
            found += dmesg.taint_findings(self._taint, taint)
        self._taint |= taint
        return found

    def leaks(self):
        """Memory that nobody can find any more, on a kernel that looks for that."""
        if not image.is_debug(self.bed.kernel):
            return []
        # What is younger than 5 s, or has changed between two scans, may be on its way from
        # one pointer to another.
        text = self.run("sleep 6; cd /sys/kernel/debug && echo scan >kmemleak && "
                        "echo scan >kmemleak && cat kmemleak && echo clear >kmemleak",
                        timeout=300, check=True).out
        return [f"kmemleak: {part}" for part in text.split("unreferenced object") if part.strip()]

    def dmesg_check(self, allow=()):
        found = self.dmesg_findings(allow)
        if found:
            raise DmesgError(f"host {self.name}:\n" + "\n---\n".join(found))

    def leak_check(self):
        found = self.leaks()
        if found:
            raise DmesgError(f"host {self.name}:\n" + "\n---\n".join(found))

    # Network: eth1 is the migration link, eth2 the service link

    def link_down(self, nic="eth1"):
        self.run(f"ip link set {nic} down", check=True)

    def link_up(self, nic="eth1"):
        self.run(f"ip link set {nic} up", check=True)

    def shape(self, rate=None, delay_ms=None, nic="eth1"):
        """Limit what leaves through the NIC; None lifts the limit."""
        if self._shapes.get(nic) == (rate, delay_ms):
            return
        words = f"dev {nic} root"
        lines = [f"(tc qdisc del {words} 2>/dev/null; true)"]
        if rate:
            lines.append(f"tc qdisc add {words} handle 1: tbf rate {rate} burst 64kb "
                         "latency 200ms")
            words = f"dev {nic} parent 1:"
        if delay_ms:
            lines.append(f"tc qdisc add {words} netem delay {delay_ms}ms limit 10000")
        self.run(" && ".join(lines), check=True)
        self._shapes[nic] = rate, delay_ms

    def silence(self, then="", nic="eth1"):
        """Nothing leaves through the NIC any more, until shape(). then: a further command."""
        self._shapes.pop(nic, None)
        line = f"tc qdisc replace dev {nic} root netem loss 100%"
        self.run(f"{line} && {then}" if then else line, check=True)

    def sent_bytes(self, nic="eth1"):
        return int(self.read(f"/sys/class/net/{nic}/statistics/tx_bytes"))

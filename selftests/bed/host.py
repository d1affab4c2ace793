#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Hosts, their agent, their links, and what the bed makes of a kernel that complains."""
import os
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from vm import AgentError, Bed, DmesgError, HostError, TOP
from vm.ktap import Skip, Tests

MENDED = os.path.join(TOP, "build/qemu/usr/bin/qemu-system-x86_64")	# see vm/qemu.sh


def commands(tests, bed, host):
    with tests.test("exit status and output"):
        result = host.run("echo out; echo err >&2; exit 7")
        assert (result.rc, result.out) == (7, "out\nerr\n"), result
    with tests.test("exit status of a signal"):
        assert host.run("kill -SEGV $$").rc == 128 + signal.SIGSEGV
    with tests.test("timeout"):
        began = time.monotonic()
        result = host.run("echo begun; sleep 1000", timeout=5)
        assert result.timed_out and result.rc == 124 and result.out == "begun\n", result
        assert time.monotonic() - began < 60
    with tests.test("a daemon left behind does not hold up its command"):
        assert host.run("sleep 1000 & echo done", timeout=20).out == "done\n"
        host.run("pkill sleep")
    with tests.test("much output"):
        out = host.run("seq 1 200000", timeout=120).out
        assert out.endswith("\n200000\n") and len(out) == 1288895, len(out)
    with tests.test("background command: signal, input, output"):
        proc = host.spawn("trap 'echo got it; exit 9' TERM; echo ready; "
                          "while read -r x; do echo $x; done; wait")
        proc.wait_output("ready")
        proc.write("hello\n")
        proc.wait_output("hello")
        proc.kill(signal.SIGTERM)
        proc.write("\n")
        assert proc.wait(20).rc == 9 and "got it" in proc.output, proc.output
    with tests.test("a command dies with its connection"):
        proc = host.spawn("exec sleep 4321")
        assert host.run("pgrep -f 'sleep 432[1]'").rc == 0
        proc.hang_up()
        for _ in range(50):
            if host.run("pgrep -f 'sleep 432[1]'").rc:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("it still runs")
    with tests.test("the checkout is there, and nothing that is written to it lasts"):
        assert host.run("pwd").out.strip() == TOP
        host.run("echo x > Kbuild.test && test -s Kbuild.test", check=True)
        assert not os.path.exists(os.path.join(TOP, "Kbuild.test"))
    with tests.test("bed.dir is shared"):
        host.run(f"echo from inside > {bed.dir}/shared", check=True)
        with open(os.path.join(bed.dir, "shared"), encoding="ascii") as f:
            assert f.read() == "from inside\n"
    with tests.test("KVM"):
        host.run("test -c /dev/kvm", check=True)


def links(tests, bed, a, b):
    with tests.test("both links carry"):
        a.run(f"busybox ping -c 1 -W 5 {b.addr} && "
              f"busybox ping -c 1 -W 5 {b.service_addr}", check=True)
    with tests.test("a cut link does not carry, a mended one does"):
        a.link_down()
        assert b.run(f"busybox ping -c 1 -W 2 {a.addr}", timeout=30).rc
        a.link_up()
        for _ in range(10):
            if b.run(f"busybox ping -c 1 -W 2 {a.addr}", timeout=30).rc == 0:
                break
        else:
            raise AssertionError("the link does not come back")
    with tests.test("the rate holds"):
        bed.rate("50mbit")
        sink = b.spawn("exec busybox nc -l -p 5555 > /dev/null")
        b.run("until ss -Hltn 'sport = :5555' | grep -q .; do sleep 0.1; done", check=True)
        before = a.sent_bytes()
        began = time.monotonic()
        a.run(f"head -c 20000000 /dev/zero | busybox nc {b.addr} 5555", timeout=120,
              check=True)
        sink.wait(60)
        seconds = time.monotonic() - began
        sent = a.sent_bytes() - before
        bed.rate()
        tests.note(f"{sent} bytes in {seconds:.1f} s")
        # Never faster; how much slower is up to the machine.
        assert sent > 20000000 and sent * 8 / seconds < 56e6
    with tests.test("a shared disk reaches both"):
        address = bed.disk("shared", size_mb=1)
        for host, words in ((a, "-c 'write -P 90 0 64k'"), (b, "-c 'read -P 90 0 64k'")):
            out = host.run(f"qemu-io -f raw {words} {address}", check=True).out
            assert "65536/65536" in out and "failed" not in out, out


def dies(host, sysrq, *words):
    """Of that, and the error has one of the words."""
    try:
        host.run(f"echo {sysrq} > /proc/sysrq-trigger; sleep 100", timeout=30)
    except HostError as error:
        assert any(word in str(error) for word in words), error
    else:
        raise AssertionError("the host lives on")
    host.stop()


def triple_fault(tests, host):
    with tests.test("a triple fault, of which a kernel can say nothing, is told"):
        host.run("echo triple > /sys/kernel/reboot/type; echo 1 > /sys/kernel/reboot/force",
                 check=True)
        dies(host, "b", "triple fault")


def complaints(tests, host):
    with tests.test("a quiet kernel has no findings"):
        assert host.dmesg_findings() == []
    with tests.test("a complaint is found, and once only"):
        host.run("echo 'WARNING: CPU: 0 PID: 1 at here' > /dev/kmsg", check=True)
        found = host.dmesg_findings()
        assert len(found) == 1 and "at here" in found[0], found
        assert host.dmesg_findings() == []
    with tests.test("dmesg_check raises with the line"):
        host.run("echo 'BUG: something' > /dev/kmsg", check=True)
        try:
            host.dmesg_check()
        except DmesgError as error:
            assert "BUG: something" in str(error)
        else:
            raise AssertionError("nothing raised")
    with tests.test("a new taint is found"):
        host.run("echo 64 > /proc/sys/kernel/tainted", check=True)
        assert host.dmesg_findings() == ["kernel tainted: U"]
        assert host.dmesg_findings() == []
    with tests.test("a real crash is an error with the kernel's last words"):
        dies(host, "c", "sysrq", "panic")


def dies_at_boot(tests, bed):
    """A host that is there all the same."""
    with tests.test("a host that dies before anything of ours ran is booted again"):
        killed = []

        def kill():
            killed.append(bed.hosts[0])
            killed[0].proc.kill()

        timer = threading.Timer(3, kill)
        timer.start()
        host = bed.host("a", smp=2)
        timer.join()
        assert killed and killed[0] is not host and bed.hosts == [host], bed.hosts
        host.run("true", check=True)
    return bed.hosts[0]


# The other processor switches between two processes all the time.
VMS_COME_AND_GO = """
import fcntl, os, signal
a, b = os.pipe(), os.pipe()
children = []
for get, put in ((a[0], b[1]), (b[0], a[1])):
    children.append(os.fork())
    if not children[-1]:
        while True:
            os.write(put, os.read(get, 1))
os.write(a[1], b"x")
kvm = os.open("/dev/kvm", os.O_RDWR)
for _ in range(400):
    os.close(fcntl.ioctl(kvm, 0xae01, 0))
print("all of them", flush=True)
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def tell(host, command):
    monitor = host.monitor()
    monitor.cmd(command)
    monitor.close()


def two_processors(tests, host):
    with tests.test("VMs come and go"):	# see keep_vm() in vm/agent.c
        out = host.run(["exec", "python3", "-c", VMS_COME_AND_GO], timeout=120).out
        assert out == "all of them\n", out
    for cpu in (0, 1):
        with tests.test(f"a guest on processor {cpu}, while the other restores its FPU"):
            if not os.path.exists(MENDED):
                raise Skip("hosts are emulated by the machine's own QEMU, as it is")
            result = host.run(f"{TOP}/build/selftests/bed/beside_fpu {cpu} 5")
            tests.note(result.out.strip())
            assert result.rc == 0, result
    with tests.test("a host that does not answer tells where it hangs"):
        time.sleep(1)
        tell(host, "stop")
        try:
            host.run("true", timeout=1)
        except AgentError as error:
            text = str(error)
        else:
            text = "it answers"
        finally:
            tell(host, "cont")
        tests.note(text)
        # Left alone they are idle, or take an interrupt: in the kernel both. Names
        # are of any kind: "f+0x1", "f.cold+0x1", "f [module]+0x1".
        assert "cpu 0: ffff" in text and "cpu 1: ffff" in text
        assert re.search(r"^stack of cpu 0:\n  \S.*\+0x", text, flags=re.M)
        assert host.agent.alive()


def nothing_outlives_us(tests):
    with tests.test("hosts end with a test that is killed"):
        script = ("import sys, time; sys.path.insert(0, 'selftests'); from vm import Bed\n"
                  "bed = Bed(name='killed', load=False); h = bed.host('a')\n"
                  "print(h.proc.pid, bed.dir, flush=True); time.sleep(1000)")
        with subprocess.Popen([sys.executable, "-c", script], cwd=TOP,
                              stdout=subprocess.PIPE, text=True) as child:
            pid, folder = child.stdout.readline().split()
            child.kill()
        for _ in range(100):
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                    if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                        break
            except FileNotFoundError:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("QEMU lives on")
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def main():
    tests = Tests()
    nothing_outlives_us(tests)
    with Bed(name="bed", load=False) as bed:
        a, b = bed.pair()
        tests.note(f"hosts ready after {max(a.boot_seconds, b.boot_seconds):.1f} s")
        commands(tests, bed, a)
        links(tests, bed, a, b)
        triple_fault(tests, b)
        complaints(tests, a)
    with Bed(name="bed", load=False) as bed:
        two_processors(tests, dies_at_boot(tests, bed))
    return tests.finish()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The module in a host that has no KVM yet: it loads and tracks; when KVM comes its log is used."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from vm import BUILD, Bed
from vm.ktap import Tests

LOADED = "awk '{print $1}' /proc/modules"


def modules(host):
    return host.run(LOADED, check=True).out.split()


def program(host, name):
    """Runs a program of the tests; what it has skipped it cannot show."""
    result = host.run([os.path.join(BUILD, "selftests", name)], timeout=600)
    assert result.rc == 0 and "SKIP" not in result.out, result.out


def without(host):
    # The bed keeps a VM in each host: see agent.c.
    host.run("pkill -f '[a]gent keep-vm'; sleep 1; rmmod kvm_amd kvm", check=True)
    host.load_module()
    program(host, "session/harvest")
    assert "kvm" not in modules(host), modules(host)


def later(host):
    host.run("modprobe kvm_amd", check=True)
    program(host, "track/guest")
    users = host.run("lsmod | grep -w migrate_fast", check=True).out
    assert "kvm" not in users, users
    host.unload_module()
    host.run("rmmod kvm_amd kvm", check=True)


def main():
    tests = Tests()
    with Bed(name="kvmless", load=False) as bed:
        host = bed.host("a")
        for name, step in (("a host without KVM", without), ("KVM comes later", later)):
            with tests.test(name):
                step(host)
        bed.dmesg_check()
    return tests.finish()


if __name__ == "__main__":
    sys.exit(main())

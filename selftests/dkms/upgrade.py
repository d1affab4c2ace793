#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""DKMS installs the module in a host, and builds it anew when the host gets another kernel.

The host runs Linux 6.1. "make dkms" installs the module there, as README.md says; then the
host gets Linux 6.12, and DKMS's own hook of a kernel's installation is called, as Debian's
packages do. What that has built is loaded by a host that runs 6.12. With check-all, or MF_DKMS=1.
"""
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from vm import TOP, Bed
from vm.image import kernel_dir, kernel_release
from vm.ktap import Skip, Tests

OLD, NEW = "6.1", "6.12"
BUILT = "updates/dkms/migrate_fast.ko*"	# compressed, if the kernel's own are
HOOK = "/etc/kernel/postinst.d/dkms"
# Emulated compilers take their time: five minutes for a kernel.
PATIENCE = 900
REPEAT = int(os.environ.get("MF_REPEAT", "1"))


def described():
    """What dkms.conf says."""
    with open(os.path.join(TOP, "dkms.conf"), encoding="utf-8") as file:
        return dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', file.read(), re.MULTILINE))


class Upgrade:
    def __init__(self, bed, tests):
        self.bed = bed
        self.tests = tests
        self.conf = described()
        self.host = bed.host("a", smp=2, mem=3072)
        self.new = kernel_release(NEW)
        self.built = None	# for NEW, where the next host finds it

    def installed(self):
        """By the words of README.md."""
        release = self.host.run("uname -r", check=True).out.strip()
        # Its place is a folder of ours; what it needs of a kernel is there.
        self.host.run(f"make -C {TOP} dkms", timeout=PATIENCE, check=True)
        status = self.host.run("dkms status", check=True).out
        assert re.search(rf"migrate-fast.*{re.escape(release)}.*installed", status), status
        self.host.run("modprobe migrate_fast && test -c /dev/migrate-fast", check=True)
        version = self.host.run("cat /sys/module/migrate_fast/version", check=True).out.strip()
        assert version == self.conf["PACKAGE_VERSION"], version
        self.host.run("rmmod migrate_fast", check=True)

    def upgraded(self):
        """Another kernel comes; nobody asks for the module."""
        build = os.path.join(kernel_dir(NEW), "headers")
        self.host.run(f"mkdir -p /lib/modules/{self.new} && "
                      f"ln -s {build} /lib/modules/{self.new}/build && "
                      f"cp {kernel_dir(NEW)}/modules/modules.* /lib/modules/{self.new}/",
                      timeout=120, check=True)
        self.host.run(f"test -x {HOOK} && {HOOK} {self.new}", timeout=PATIENCE, check=True)
        status = self.host.run("dkms status", check=True).out
        assert re.search(rf"migrate-fast.*{re.escape(self.new)}.*installed", status), status
        built = self.host.run(f"ls /lib/modules/{self.new}/{BUILT}", check=True).out.strip()
        self.host.run(f"cp {built} {self.bed.dir}/", check=True)
        self.built = os.path.join(self.bed.dir, os.path.basename(built))

    def refused(self):
        """A kernel that it was not tested on: it says so, and builds nothing."""
        self.host.run("mkdir -p /lib/modules/5.10.0-fake/build", check=True)
        result = self.host.run("dkms build -m migrate-fast -k 5.10.0-fake -v "
                               f"{self.conf['PACKAGE_VERSION']}", timeout=120)
        assert result.rc and "BUILD_EXCLUSIVE" in result.out, result.out

    def removed(self):
        self.host.run(f"dkms remove -m migrate-fast -v {self.conf['PACKAGE_VERSION']} --all",
                      timeout=120, check=True)
        found = self.host.run("find /lib/modules -name 'migrate_fast*'; dkms status").out
        assert not found.strip(), found

    def loaded(self):
        """By a host that runs the new kernel."""
        assert self.built, "nothing was built"
        with Bed(NEW, name="dkms-new", load=False) as bed:
            host = bed.host("b")
            copy = shutil.copy(self.built, bed.dir)
            host.run(f"insmod {copy} && test -c /dev/migrate-fast && rmmod migrate_fast",
                     check=True)
            host.dmesg_check()

    def run(self):
        for name, step in (("make dkms", self.installed),
                           (f"the host gets Linux {NEW}", self.upgraded),
                           (f"a host with Linux {NEW} loads what was built", self.loaded),
                           ("a kernel that is not supported", self.refused),
                           ("dkms remove", self.removed)):
            with self.tests.test(name):
                step()
        return self.tests.finish()


def main():
    tests = Tests()
    if REPEAT == 1 and not os.environ.get("MF_DKMS"):
        with tests.test("make dkms"):
            raise Skip("it takes ten minutes: make check-all, or MF_DKMS=1")
        return tests.finish()
    with Bed(OLD, name="dkms", load=False) as bed:
        return Upgrade(bed, tests).run()


if __name__ == "__main__":
    sys.exit(main())

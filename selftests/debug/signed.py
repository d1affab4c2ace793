#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Under lockdown the module is let in if it is signed, and does all its work then.

The key is the one that was made with the debug kernel; what README.md says of Secure Boot is
this with another key. make check-debug.
"""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from vm import BUILD, Bed, image
from vm.host import MOUNT
from vm.ktap import Skip, Tests

KERNEL = os.environ.get("MF_KERNEL", "6.1")
# What reaches further into the kernel than others: KVM's log, and debugfs.
PROGRAMS = ("session/status", "track/kvm")


def sign(module, target):
    build = os.path.join(image.kernel_dir(KERNEL), "headers")
    key = os.path.join(build, "certs/signing_key")
    shutil.copy(module, target)
    subprocess.run([os.path.join(build, "scripts/sign-file"), "sha256", f"{key}.pem",
                    f"{key}.x509", target], check=True)


def unsigned(host, module):
    done = host.run(f"insmod {module}")
    assert done.rc and ("rejected" in done.out or "not available" in done.out), done.out


def signed(host, module):
    path = os.path.join(host.bed.dir, "migrate_fast.ko")
    sign(module, path)
    host.run(f"for name in $(modinfo -F depends {module} | tr , ' '); do modprobe $name; done",
             check=True)
    host.run(f"insmod {path} && mkdir -p {MOUNT} && mount -t mfram none {MOUNT}", check=True)


def works(host, program):
    path = os.path.join(BUILD, "selftests", program)
    done = host.run(path, timeout=600, cwd=os.path.dirname(path))
    assert not done.rc, done.out


def main():
    tests = Tests()
    if not image.is_debug(KERNEL):
        with tests.test("a signed module under lockdown"):
            raise Skip("for make check-debug")
        return tests.finish()
    module = image.module(KERNEL)
    with Bed(KERNEL, name="signed", load=False) as bed:
        host = bed.host("a", mem=2048, append="module.sig_enforce=1 lockdown=integrity")
        with tests.test("without a signature it is refused"):
            unsigned(host, module)
        with tests.test("with one it is loaded"):
            signed(host, module)
        for program in PROGRAMS:
            with tests.test(f"{program} works"):
                works(host, program)
        host.dmesg_check()
        # Lockdown does not let anybody ask for leaks.
        host.stop()
    return tests.finish()


if __name__ == "__main__":
    sys.exit(main())

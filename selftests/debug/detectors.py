#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A fault of each kind is committed in a host of its own, and its report must be found.

Else a clean log would prove nothing. For the debug kernel: make check-debug.
"""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from vm import BUILD, Bed, image
from vm.ktap import Skip, Tests

HERE = os.path.dirname(os.path.abspath(__file__))
KERNEL = os.environ.get("MF_KERNEL", "6.1")
# What the report must say.
FAULTS = {"use_after_free": r"KASAN: (slab-)?use-after-free",
          "leak": "kmemleak: ",
          "lock_order": "possible circular locking",
          "sleep_in_atomic": "sleeping function called",
          "out_of_bounds": "UBSAN: array-index-out-of-bounds",
          "list_corruption": "list_(add|del) corruption",
          "freed_while_active": "ODEBUG: free active"}


def build():
    """The module that commits them."""
    folder = os.path.join(BUILD, "faults")
    os.makedirs(folder, exist_ok=True)
    for name in ("Kbuild", "mf_faults.c"):
        shutil.copy(os.path.join(HERE, "faults", name), folder)
    headers = os.path.join(image.kernel_dir(KERNEL), "headers")
    subprocess.run(["make", "-s", "-C", headers, f"M={folder}", "modules"], check=True)
    return os.path.join(folder, "mf_faults.ko")


def commit(module, fault, report):
    with Bed(KERNEL, name="debug", load=False) as bed:
        host = bed.host("a")
        host.run(f"insmod {module} fault={fault}")
        # In this order: kmemleak tells the log, too.
        found = host.leaks() + host.dmesg_findings()
        host.stop()
    assert any(re.search(report, text) for text in found), found or "nothing was found"


def main():
    tests = Tests()
    if not image.is_debug(KERNEL):
        with tests.test("the debug kernel finds faults"):
            raise Skip("for make check-debug")
        return tests.finish()
    module = build()
    for fault, report in FAULTS.items():
        with tests.test(fault):
            commit(module, fault, report)
    return tests.finish()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A kernel that the module was not tested on gets one line, which tells what is another there."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from vm import BUILD, TOP
from vm.image import kernel_dir
from vm.ktap import Tests

KERNEL = os.environ.get("MF_KERNEL", "6.1")
COMPAT = os.path.join(TOP, "kmod/compat")
# No such kernel will come.
UNKNOWN = ["VERSION=5", "PATCHLEVEL=99"]


def source():
    """Where the headers are that all of this kernel's flavours share."""
    return os.path.realpath(os.path.join(kernel_dir(KERNEL), "modules/source"))


def build(folder, *args):
    subprocess.run([os.path.join(TOP, "selftests/kmod.sh"), "stage", folder], check=True)
    # As the Makefile does.
    make = ([os.path.join(TOP, "selftests/vm/latest.sh"), "make"] if KERNEL == "latest" else
            ["make", "-C", os.path.join(kernel_dir(KERNEL), "headers")])
    return subprocess.run([*make, "-s", f"M={folder}", *args, "modules"],
                          capture_output=True, text=True, check=False)


def changed(folder):
    done = subprocess.run([os.path.join(COMPAT, "interfaces.sh"), folder],
                          capture_output=True, text=True, check=True)
    return done.stdout


def refused(folder):
    done = build(folder, *UNKNOWN)
    said = [line for line in done.stderr.splitlines() if not re.match(r"make(\[\d+\])?:", line)]
    assert done.returncode and not done.stdout, done
    assert len(said) == 1 and "not 5.99" in said[0] and "looks changed" in said[0], said


def named(folder):
    """A declaration is changed, another one gone with its header."""
    include = os.path.join(folder, "include/linux")
    shutil.copytree(os.path.join(source(), "include"), os.path.join(folder, "include"))
    assert not changed(folder), changed(folder)
    path = os.path.join(include, "mm.h")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    other = re.sub(r"wp_shared_mapping_range\(struct address_space \*mapping",
                   r"wp_shared_mapping_range(struct file *file", text)
    assert other != text
    with open(path, "w", encoding="utf-8") as file:
        file.write(other)
    assert "wp_shared_mapping_range of include/linux/mm.h" in changed(folder), changed(folder)
    os.unlink(os.path.join(include, "kprobes.h"))
    assert "register_kprobe of include/linux/kprobes.h" in changed(folder), changed(folder)


def agreed(_):
    """DKMS does not begin where kernels.mk would refuse, nor leave out what it would build."""
    with open(os.path.join(COMPAT, "kernels.mk"), encoding="utf-8") as file:
        kernels = re.search(r"^mf-kernels := (.*)$", file.read(), re.MULTILINE)[1].split()
    with open(os.path.join(TOP, "dkms.conf"), encoding="utf-8") as file:
        dkms = re.search(r'^BUILD_EXCLUSIVE_KERNEL="(.*)"$', file.read(), re.MULTILINE)[1]
    for kernel in kernels:
        for release in (kernel, f"{kernel}.0-57-amd64", f"{kernel}-rc1"):
            assert re.search(dkms, release), release
        for release in (f"{kernel}0", f"1{kernel}", f"{kernel}1.3-amd64"):
            assert release in kernels or not re.search(dkms, release), release
    assert not re.search(dkms, "5.99.0"), dkms


def main():
    tests = Tests()
    for case in (refused, named, agreed):
        with tests.test(case.__name__), tempfile.TemporaryDirectory(dir=BUILD) as folder:
            case(os.path.join(folder, "it"))
    return tests.finish()


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-2.0
"""Build the disk that a guest may have: an ext4 file system, made of what is on this machine.

    /bin/busybox          its applets are links; httpd serves the sources
    /usr/src/linux        a part of the kernel's sources, with the headers that its build made:
                          98 MB in 15000 files
    /usr/bin/gcc-12       with cc1, as and their libraries
    /bin/compile FILE...  compiles files of the sources as the kernel's build would

tcc would be a hundredth of the size, but cannot compile kernels; and a compiler of 33 MB is
what a guest that compiles has in its page cache.
"""
import os
import shutil
import subprocess
import tempfile

from . import image

SIZE_MB = 256
TARGET = os.path.join(image.BUILD, "disk", "guest.raw")
SOURCES = "usr/src/linux"
# What only the build of a kernel makes is in its package of headers.
MADE = ("include/generated", "include/config", "arch/x86/include/generated")
COMPILER = "gcc-12"


def _programs():
    """Paths of this machine that a compiler needs."""
    gcc = shutil.which(COMPILER)
    if not gcc:
        raise image.SetupError(f"no {COMPILER}: run selftests/vm/setup")
    done = subprocess.run([gcc, "-print-prog-name=cc1"], capture_output=True, text=True,
                          check=True)
    return [gcc, shutil.which("as"), done.stdout.strip()]


def _copy(root, path):
    """A file of this machine, under the name that it has here."""
    target = os.path.join(root, path.lstrip("/"))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy(path, target)


def _add_programs(root):
    for path in _programs():
        _copy(root, path)
        for library in image.libraries(path):
            _copy(root, library)
    bin_ = os.path.join(root, "bin")
    os.makedirs(bin_)
    shutil.copy(shutil.which("busybox"), bin_)
    for applet in ("sh", "cat", "find", "xargs", "httpd"):
        os.symlink("busybox", os.path.join(bin_, applet))
    shutil.copy(os.path.join(image.HERE, "guest/compile"), bin_)
    for folder in ("tmp", "dev", "proc"):
        os.makedirs(os.path.join(root, folder))


def _add_sources(root):
    target = os.path.join(root, SOURCES)
    subprocess.run([os.path.join(image.HERE, "kernel.sh"), "tree", image.GUEST_KERNEL, target],
                   check=True)
    headers = os.path.join(image.kernel_dir(image.GUEST_KERNEL), "headers")
    for made in MADE:
        shutil.copytree(os.path.join(headers, made), os.path.join(target, made),
                        dirs_exist_ok=True)


def guest_disk():
    """Path of the image; whoever writes to it takes a copy."""
    sources = [__file__, os.path.join(image.HERE, "guest/compile")]
    if not image.stale(TARGET, sources):
        return TARGET
    os.makedirs(os.path.dirname(TARGET), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(TARGET)) as folder:
        root, made = os.path.join(folder, "root"), os.path.join(folder, "disk")
        os.mkdir(root)
        _add_programs(root)
        _add_sources(root)
        # Blocks as a large disk has them: those of a small one would be of 1 KiB, so that no
        # page of a file equals a block. All tables are written now: a guest's kernel would
        # do it some time.
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-m", "0", "-E",
                        "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0",
                        "-d", root, made, f"{SIZE_MB}M"], check=True,
                       stdout=subprocess.DEVNULL)
        os.rename(made, TARGET)
    return TARGET

# SPDX-License-Identifier: GPL-2.0
"""Build what hosts and guests boot from: agent, workload, initramfs images.

Everything is remade when one of its sources is newer, so callers just ask.
"""
import lzma
import os
import re
import shutil
import subprocess

from .cpio import Archive

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(TOP, "build")

# A host needs these to reach the machine's root; the others come from there.
HOST_MODULES = ["virtio_pci", "9p", "9pnet_virtio", "overlay", "virtio_net"]
GUEST_MODULES = ["virtio_pci", "virtio_net", "virtio_blk"]


class SetupError(Exception):
    """Something that the test bed needs is not there."""


def kernel_dir(kernel):
    path = os.path.join(BUILD, "kernel", kernel)
    if not os.path.exists(os.path.join(path, "release")):
        raise SetupError(f"Linux {kernel} is not unpacked: run selftests/vm/setup {kernel}")
    return path


def is_debug(kernel):
    """It is the one that looks for faults, is slow, and takes more memory."""
    return kernel == "debug"


def patience(kernel):
    """So many times what is enough elsewhere may anything take there."""
    return 4 if is_debug(kernel) else 1


def kernel_release(kernel):
    with open(os.path.join(kernel_dir(kernel), "release"), encoding="ascii") as f:
        return f.read().strip()


def stale(target, sources):
    if not os.path.exists(target):
        return True
    made = os.stat(target).st_mtime
    return any(os.stat(source).st_mtime > made for source in sources)


def program(name, source, *headers):
    """A static program for hosts and guests."""
    target = os.path.join(BUILD, "vm", name)
    source, *headers = [os.path.join(HERE, file) for file in (source, *headers)]
    if stale(target, [source, *headers]):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        subprocess.run(["gcc", "-O2", "-Wall", "-static", "-pthread",
                        "-o", target + ".tmp", source], check=True)
        os.rename(target + ".tmp", target)
    return target


def module_files(kernel, names):
    """Files of the modules and of what they depend on, in the order to load them."""
    base, release = kernel_dir(kernel), kernel_release(kernel)
    files = []
    for name in names:
        done = subprocess.run(["modprobe", "-d", base, "-S", release, "-D", name],
                              capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            found = re.match(r"insmod (\S+)", line)
            if found and found[1] not in files:
                files.append(found[1])
    return files


def _add_modules(archive, kernel, names):
    order = []
    for path in module_files(kernel, names):
        name = re.sub(r"\.xz$", "", os.path.basename(path))
        with (lzma.open if path.endswith(".xz") else open)(path, "rb") as f:
            archive.data(f"modules/{name}", f.read())
        order.append(name)
    archive.data("modules/order", "".join(f"{name}\n" for name in order).encode())


def _base(init):
    busybox = shutil.which("busybox")
    if not busybox:
        raise SetupError("no busybox: run selftests/vm/setup")
    archive = Archive()
    for folder in ("dev", "proc", "sys", "run", "tmp", "root", "etc"):
        archive.folder(folder)
    archive.file("bin/busybox", busybox)
    listing = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in listing.stdout.split():
        if applet != "busybox":
            archive.link(f"bin/{applet}", "busybox")
    archive.file("bin/agent", program("agent", "agent.c"))
    archive.file("init", os.path.join(HERE, init))
    return archive


def host_image(kernel):
    """The initramfs of an emulated host."""
    target = os.path.join(BUILD, "vm", f"host-{kernel}.cpio")
    sources = [program("agent", "agent.c"), os.path.join(HERE, "host-init"),
               os.path.join(kernel_dir(kernel), "release"), __file__]
    if stale(target, sources):
        archive = _base("host-init")
        _add_modules(archive, kernel, HOST_MODULES)
        archive.save(target)
    return target


def libraries(path):
    """Those that a program is linked with."""
    done = subprocess.run(["ldd", path], capture_output=True, text=True, check=True)
    return sorted(set(re.findall(r"(/\S+) \(0x", done.stdout)))


def _guest_programs():
    """Name and path of each program of ours that guests have."""
    return {name: program(name, f"guest/{name}.c", "guest/pattern.h")
            for name in ("workload", "walker")}


# A guest's kernel does not follow the hosts': it is the same in every run.
GUEST_KERNEL = "6.1"


def _redis():
    """The server's program."""
    # redis-tools installs it under this name.
    path = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if not path:
        raise SetupError("no redis: run selftests/vm/setup")
    return os.path.realpath(path)


def guest_image(kernel=GUEST_KERNEL, mounts=False, redis=True):
    """The initramfs of a guest; its kernel is the one of kernel_dir().

    mounts: it can mount its disk; redis: two thirds of the image, and as much to unpack.
    """
    name = f"{kernel}{'-mounts' if mounts else ''}{'-redis' if redis else ''}.cpio"
    target = os.path.join(BUILD, "guest", name)
    server = [_redis()] if redis else []
    programs = _guest_programs()
    sources = [program("agent", "agent.c"), *programs.values(),
               os.path.join(HERE, "guest/init"), *server,
               os.path.join(kernel_dir(kernel), "release"), __file__]
    if stale(target, sources):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        archive = _base("guest/init")
        _add_modules(archive, kernel, GUEST_MODULES + (["ext4"] if mounts else []))
        for name, path in programs.items():
            archive.file(f"bin/{name}", path)
        for path in server:
            archive.file("bin/redis-server", path)
            for library in libraries(path):
                archive.file(library, library)
        archive.save(target)
    return target


def module(kernel):
    """Our module for this kernel, or None while there is none."""
    path = os.path.join(BUILD, f"kmod-{kernel}", "migrate_fast.ko")
    return path if os.path.exists(path) else None


def qemu():
    """Words that begin the command of a host; see qemu.sh."""
    usr = os.path.join(BUILD, "qemu/usr")
    path = os.path.join(usr, "bin/qemu-system-x86_64")
    if os.path.exists(path):
        return [path, "-L", f"{usr}/share/qemu", "-L", f"{usr}/share/seabios"]
    path = shutil.which("qemu-system-x86_64")
    if not path:
        raise SetupError("no qemu-system-x86_64: run selftests/vm/setup")
    return [path]


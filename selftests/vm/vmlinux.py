#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Take the ELF kernel out of a bzImage.

QEMU boots it by its PVH note. An emulated processor then need not decompress the
kernel, which costs several seconds per boot. Without .bss, which is in there as 24 MB of
zeros: a kernel clears it by itself, and each QEMU in a host need not read and copy it.
"""
import lzma
import struct
import subprocess
import sys
import zlib


def extract(image):
    # Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length.
    setup_sects = image[0x1f1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sects + 1) * 512 + offset
    payload = image[start:start + length]
    if payload[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(payload)
    if payload[:4] == b"\x28\xb5\x2f\xfd":
        # The build appends the size, which is not part of the zstd frame.
        done = subprocess.run(["zstd", "-dcq"], input=payload[:-4],
                              stdout=subprocess.PIPE, check=True)
        return done.stdout
    if payload[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(payload)
    raise SystemExit("vmlinux.py: unknown compression of the kernel image")


# Offsets are those of Elf64_Ehdr, Elf64_Phdr and Elf64_Shdr: elf(5).
def table(elf, at, size_at):
    """Where the entries of a table of headers begin."""
    begin, = struct.unpack_from("<Q", elf, at)
    size, count = struct.unpack_from("<HH", elf, size_at)
    return range(begin, begin + size * count, size)


def section(elf, name):
    """(address, offset in the file) of a section."""
    headers = table(elf, 0x28, 0x3a)
    names, = struct.unpack_from("<Q", elf, headers[struct.unpack_from("<H", elf, 0x3e)[0]] + 0x18)
    for at in headers:
        begin = names + struct.unpack_from("<I", elf, at)[0]
        if elf[begin:elf.index(b"\0", begin)] == name:
            return struct.unpack_from("<QQ", elf, at + 0x10)
    raise SystemExit(f"vmlinux.py: no section {name.decode()}")


def trim(elf):
    """Up to .bss, and without sections."""
    address, end = section(elf, b".bss")
    elf = bytearray(elf[:end])
    for at in table(elf, 0x20, 0x36):
        begin, size = (struct.unpack_from("<Q", elf, at + where)[0] for where in (0x10, 0x28))
        if begin < address < begin + size:
            struct.pack_into("<QQ", elf, at + 0x20, address - begin, address - begin)
    struct.pack_into("<Q", elf, 0x28, 0)
    struct.pack_into("<HHH", elf, 0x3a, 0, 0, 0)
    return elf


def main():
    with open(sys.argv[1], "rb") as f:
        kernel = extract(f.read())
    if kernel[:4] != b"\x7fELF":
        raise SystemExit("vmlinux.py: no ELF file in the kernel image")
    with open(sys.argv[2], "wb") as f:
        f.write(trim(kernel))


if __name__ == "__main__":
    main()

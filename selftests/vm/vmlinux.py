#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Take the ELF kernel out of a bzImage.

QEMU boots it by its PVH note. An emulated processor then need not decompress the
kernel, which costs several seconds per boot.
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


def main():
    with open(sys.argv[1], "rb") as f:
        kernel = extract(f.read())
    if kernel[:4] != b"\x7fELF":
        raise SystemExit("vmlinux.py: no ELF file in the kernel image")
    with open(sys.argv[2], "wb") as f:
        f.write(kernel)


if __name__ == "__main__":
    main()

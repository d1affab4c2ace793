# SPDX-License-Identifier: GPL-2.0
"""Write an initramfs: a cpio archive in the kernel's "newc" format.

Uncompressed: emulated processors are slow, and QEMU copies it for nothing.
"""
import os
import stat


class Archive:
    """Files and folders of an initramfs, written by save()."""

    def __init__(self):
        self.entries = {}

    def folder(self, path):
        path = path.strip("/")
        if path and path not in self.entries:
            self.folder(os.path.dirname(path))
            self.entries[path] = (stat.S_IFDIR | 0o755, b"")

    def data(self, path, content, mode=0o644):
        self.folder(os.path.dirname(path))
        self.entries[path.strip("/")] = (stat.S_IFREG | mode, content)

    def file(self, path, source, mode=0o755):
        with open(source, "rb") as f:
            self.data(path, f.read(), mode)

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        self.entries[path.strip("/")] = (stat.S_IFLNK | 0o777, target.encode())

    def save(self, path):
        # Two programs may find at once that it is missing.
        made = f"{path}.{os.getpid()}"
        with open(made, "wb") as out:
            for number, (name, (mode, content)) in enumerate(self.entries.items(), 1):
                _entry(out, number, name, mode, content)
            _entry(out, 0, "TRAILER!!!", 0, b"")
        os.rename(made, path)


def _entry(out, number, name, mode, content):
    raw = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0)
    out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + raw)
    out.write(b"\0" * (-(110 + len(raw)) % 4))
    out.write(content + b"\0" * (-len(content) % 4))

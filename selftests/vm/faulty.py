# SPDX-License-Identifier: GPL-2.0
"""A disk of a host of which a part cannot be read, once it is told so.

It lies in the memory of the host's kernel (scsi_debug), and fails as a disk does: with a medium
error, which the kernel tells of in its log.
"""
import os

DRIVER = "/sys/bus/pseudo/drivers/scsi_debug"
SECTOR = 512
# scsi_debug's opts: sectors of a range are in error.
MEDIUM_ERROR = 2


class FaultyDisk:
    def __init__(self, host, image, bad):
        """What the file @image has, whole MB; from byte @bad on it will not be readable."""
        size = os.path.getsize(image)
        self.host = host
        self.host.run(f"modprobe sd_mod && modprobe scsi_debug delay=0 dev_size_mb={size >> 20} "
                      f"medium_error_start={bad // SECTOR} "
                      f"medium_error_count={(size - bad) // SECTOR}", check=True)
        found = f"ls {DRIVER}/adapter*/host*/target*/*/block"
        name = host.run(f"for n in $(seq 50); do {found} 2>/dev/null && exit; sleep 0.2; done; "
                        "exit 1", check=True).out.strip()
        self.path = f"/dev/{name}"
        host.run(f"dd if={image} of={self.path} bs=1M conv=sparse,fsync 2>/dev/null",
                 timeout=300, check=True)

    def fail(self):
        self.host.run(f"echo {MEDIUM_ERROR} >{DRIVER}/opts", check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.host.run("modprobe -r scsi_debug", check=True)

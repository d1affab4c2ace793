#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Pages that the destination has already do not travel: they are named.

The guest's memory is copied to an image that the destination indexes. Then what stands in
the image changes, without the index, in every way that would put a wrong page into the
guest if SHA-256 were not asked. Every move is verified page by page.
"""
import contextlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from migrate.move import MODES, TOOL, Scenario, Work, must_answer, travelled
from vm import Bed, FaultyDisk

PAGE = 4096
STORE = "/run/store"
MASK = (1 << 64) - 1
P1, P2 = 0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f


def rotate(word):
    return (word << 31 | word >> 33) & MASK


def forge(page, seed):
    """Another page of the same XXH64: see selftests/store/known.c."""
    word = [int.from_bytes(page[at:at + 8], "little") for at in (0, 32)]
    start = seed + P1 + P2
    before = rotate((start + word[0] * P2) & MASK) * P1
    after = rotate((start + (word[0] ^ 1) * P2) & MASK) * P1
    word = [word[0] ^ 1, (before + word[1] * P2 - after) * pow(P2, -1, 1 << 64) & MASK]
    return (word[0].to_bytes(8, "little") + page[8:32] + word[1].to_bytes(8, "little") +
            page[40:])


class Known(Scenario):
    def __init__(self, bed, disk=None):
        super().__init__(bed, disk=disk, huge=True)
        self.vm = self.guest(redis=False, disk=disk and self.a.disk)
        self.image = os.path.join(bed.dir, "ram.raw")
        self.work = Work(self.vm, "writer 4 rate=200")

    def store(self, command, *args, host=None):
        host = host or self.other(self.vm.host)
        return host.run(" ".join([TOOL, "store", command, f"--store={STORE}", *args]),
                        timeout=300, check=True).out

    def copy(self):
        """What the guest's memory is now becomes an image; the other host, without a store."""
        self.vm.host.run(f"cp --sparse=always {self.vm.ram_path} {self.image}", timeout=300,
                         check=True)
        host = self.other(self.vm.host)
        host.run(f"rm -rf {STORE}")
        return host

    def index(self, *args):
        """What the guest's memory is now becomes an image that the other host indexes."""
        host = self.copy()
        self.store("add", *(args or ("--for=vm1",)), self.image)
        return int(host.run(f"sed -n 's/.*seed.*\"\\([0-9a-f]*\\)\".*/\\1/p' "
                            f"{STORE}/store.json", check=True).out, 16)

    def middle(self):
        """Of the pages of the image that are not zero, where half of them are."""
        with open(self.image, "rb") as file:
            used = [at for at, page in enumerate(iter(lambda: file.read(PAGE), b""))
                    if page.strip(b"\0")]
        return used[len(used) // 2]

    def overwrite(self):
        """Every other page of the image becomes something else."""
        with open(self.image, "r+b") as file:
            for at in range(0, os.path.getsize(self.image), 2 * PAGE):
                file.seek(at)
                file.write(b"\1" * PAGE)

    def move(self, recv_args=(), **options):
        """To the other host."""
        result, move = self.cross(recv_args=["--store", STORE, *recv_args], **options)
        pages = result["pages"]
        self.tests.note(f"{result['mode']}: {pages}, missed {result['missed']}, "
                        f"taken {result.get('taken')}, {result['wire_bytes']} bytes, "
                        f"{result['total_ms']:.0f} ms")
        must_answer(self.vm)
        self.work.guest = self.vm
        self.work.verify()
        move.nothing_left()
        return result

    def known(self, mode):
        """Most of it is there."""
        self.index()
        result = self.move(args=MODES[mode])
        pages = result["pages"]
        assert pages["reference"] > 5000, pages
        assert result["taken"]["ram"] == pages["reference"] - result["missed"], result
        assert result["wire_bytes"] < pages["reference"] * PAGE / 2, result
        assert result["saved"]["bytes"] > pages["reference"] * PAGE * 0.9, result["saved"]
        assert result["saved"]["ms"] > 0, result["saved"]

    @contextlib.contextmanager
    def neighbour(self):
        """On the other host VM a-1 holds what is in the image, as the operator has said."""
        host, path = self.other(self.vm.host), "/run/migrate-fast/a-1"
        host.run(f"cp --sparse=always {self.image} {path}", timeout=300, check=True)
        try:
            self.store("add", "--of=a-1", path)
            yield
        finally:
            host.run(f"rm {path}", check=True)

    def others(self):
        """An image for another VM, and another's memory, are not even told of."""
        self.index("--for=vm2")
        with self.neighbour():
            result = self.move()
        assert not result["pages"]["reference"] and not result["missed"], result
        self.store("list", host=self.vm.host)

    def written(self):
        """Half of the image is written when the filter is made already."""
        self.index()
        result = self.move(meanwhile=self.overwrite)
        assert result["missed"] > 1000 and result["taken"]["ram"] > 1000, result

    def shrinks(self):
        """The image is cut short meanwhile."""
        self.index()
        size = os.path.getsize(self.image)
        result = self.move(meanwhile=lambda: os.truncate(self.image, size // 8))
        assert result["missed"] > 1000, result

    def unreadable(self):
        """A device does not tell that it was written; of this one a part fails meanwhile."""
        host = self.copy()
        bad = self.middle() * PAGE
        with FaultyDisk(host, self.image, bad) as disk:
            self.store("add", "--for=vm1", "--name=disk", disk.path)
            host.run(f"printf x | dd of={disk.path} conv=notrunc 2>/dev/null", check=True)
            assert " 1 changed" in self.store("update")
            result = self.move(meanwhile=disk.fail)
            assert result["missed"] > 1000 and result["taken"]["disk"] > 1000, result
            said = host.run(f"{TOOL} store update --store={STORE}")
            assert said.rc == 1, said.out
            assert f"cannot read {disk.path} at {bad}: Input/output error" in said.out, said.out
            assert "not-indexed" in self.store("list", host=host)
            host.run(f"rm -rf {STORE}")

    def forged(self):
        """Every page of the image becomes another one of the same XXH64."""
        seed = self.index()

        def write():
            with open(self.image, "r+b") as file:
                at = 0
                while page := file.read(PAGE):
                    if page.strip(b"\0"):
                        file.seek(at)
                        file.write(forge(page, seed))
                    at += PAGE
                    file.seek(at)
        result = self.move(meanwhile=write)
        # Nor is there anything to copy from.
        assert result["missed"] >= result["pages"]["reference"] > 5000, result
        assert not result["taken"]["ram"], result

    def kept(self, host):
        return host.run("ls /run/migrate-fast").out.split()

    def commutes(self):
        """What the VM left when it went is there when it comes back, and goes then."""
        home = self.vm.host
        home.run(f"rm -rf {STORE}")
        self.move(args=["--keep", "--store", STORE])
        assert self.kept(home) == ["vm1.kept"], self.kept(home)
        result = self.move()
        assert result["taken"]["vm1.ram0.kept"] > 5000, result
        assert travelled(result["pages"]) < 5000, result
        assert self.kept(home) == ["vm1"], self.kept(home)
        # What was kept and is not fetched has its bounds.
        self.move(args=["--keep", "--store", STORE])
        self.store("gc", "--kept-age=1", host=home)
        assert self.kept(home) == ["vm1.kept"], self.kept(home)
        self.store("gc", "--kept-size=0", host=home)
        assert not self.kept(home), self.kept(home)
        assert "is empty" in self.store("list", host=home)

    def tenants(self):
        """What VMs of tenant A hold is of use to vm1 only if it shares with them."""
        apart = "[group a]\nvms = a-*\nshare = group\n[group b]\nvms = vm?\nshare = host\n"
        together = "[group a]\nvms = a-* vm?\nshare = group\n"
        conf = os.path.join(self.bed.dir, "store.conf")
        for policy in (apart, together):
            with open(conf, "w", encoding="utf8") as file:
                file.write(policy)
            os.chmod(conf, 0o644)
            self.index("--for=a-2")
            with self.neighbour():
                result = self.move(["--conf", conf])
            if policy == together:
                assert list(result["taken"]) == ["a-1"], result
                assert result["taken"]["a-1"] > 5000, result
            else:
                assert not result["pages"]["reference"] and not result["missed"], result

    def run(self):
        for mode in self.some(1, MODES):
            with self.test(f"known: {mode}"):
                self.known(mode)
        self.run_tests([self.commutes, self.others, self.tenants, self.written, self.shrinks,
                        self.unreadable, self.forged])
        return self.tests.finish()


def main():
    with Bed(name="known") as bed:
        return Known(bed).run()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The page store on its own: sources come and go, change, break; crashes; bad input.

What a page is taken from is compared again when it is taken (see migrate/): here an index
must say what its source holds, or say that it is not whole.
"""
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# pylint: disable=wrong-import-position
from vm.ktap import Tests

TOP = os.environ.get("MF_TOP") or os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
TOOL = os.path.join(TOP, "build/tools/migrate-fast")
REPEAT = int(os.environ.get("MF_REPEAT", "1"))
PAGE = 4096


class Store:
    """A store in a folder of its own, and the tool that works on it."""

    def __init__(self, folder):
        self.folder = folder
        self.dir = os.path.join(folder, "store")

    def start(self, command, *args, **how):
        return subprocess.Popen([TOOL, "store", command, f"--store={self.dir}", *args],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)

    def run(self, command, *args, status=0, text=None, **how):
        """Standard output, or with @text both, in which it must occur."""
        with self.start(command, *args, text=True, **how) as process:
            out, err = process.communicate(timeout=120)
        assert process.returncode == status, (command, args, process.returncode, out, err)
        assert text is None or text in out + err, f"no {text!r} in {out!r}, {err!r}"
        return out + err if text else out

    def list(self):
        return {source["name"]: source for source in json.loads(self.run("list", "--json"))}

    def counted(self, name):
        return json.loads(self.run("stat", "--json", name))

    def path(self, name):
        return os.path.join(self.dir, name)

    def image(self, name, pages, holes=0):
        """A raw image: random pages, then nothing."""
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(os.urandom(pages * PAGE))
            file.truncate((pages + holes) * PAGE)
        return path


def write(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def sources(store):
    """Raw, qcow2 and page file hold the same; each is counted right."""
    raw = store.image("a,b.raw", 3000, 500)
    write(raw, 100 * PAGE, bytes(PAGE))
    write(raw, 200 * PAGE, open(raw, "rb").read(PAGE))
    store.run("add", "--for-all", raw, status=1, text="is no name")
    store.run("add", "--for-all", "--name=r", raw)
    qcow2 = os.path.join(store.folder, "c,d.qcow2")
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, qcow2], check=True)
    store.run("add", "--for-all", "--name=q", qcow2, status=1, text="--format=qcow2")
    store.run("add", "--for-all", "--format=qcow2", "--name=q", qcow2)
    for name in ("r", "q"):
        counted = store.counted(name)
        assert (counted["blocks"], counted["zero"], counted["differ"]) == (3500, 501, 2998), \
            counted


def unreadable(store):
    """A qcow2 image that is none, or lacks what it stands on; see also migrate/known."""
    bad = os.path.join(store.folder, "bad.qcow2")
    with open(bad, "wb") as file:
        file.write(b"QFI\xfb" + os.urandom(100 * PAGE))
    store.run("add", "--for-all", "--format=qcow2", bad, status=1, text=f"cannot open {bad}")
    raw = store.image("x.raw", 300)
    top = os.path.join(store.folder, "top.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", top],
                   check=True)
    store.run("add", "--for-all", "--format=qcow2", top)
    store.run("check", text="0 pages differ")
    os.unlink(raw)
    store.run("check", status=1, text=f"Could not open '{raw}'")
    store.run("add", "--for-all", "--name=y", "--format=qcow2", top, status=1,
              text=f"cannot open {top}")
    assert sorted(store.list()) == ["top"], store.list()


def names(store):
    """Who is named wrongly is told, and nothing is done."""
    raw = store.image("x.raw", 10)
    store.run("add", "--for-all", raw)
    store.run("add", "--for-all", raw, status=1, text="in the store already")
    store.run("add", "--for-all", "--name=y", raw)
    store.run("add", "--for-all", "--name=../z", raw, status=1, text="is no name")
    store.run("add", "--for-all", "--name=-z", raw, status=1, text="is no name")
    store.run("add", "--for-all", "--name=n", raw, raw, status=2)
    store.run("add", "--for-all", status=2)
    store.run("add", "--for-all", os.path.join(store.folder, "nothing"), status=1, text="No such file")
    store.run("add", "--for-all", store.folder, status=1, text="neither a file nor a block device")
    store.run("remove", "x", "nix", status=1, text='no source "nix"')
    assert sorted(store.list()) == ["x", "y"]
    store.run("remove", "x", "y", "x")
    assert not store.list()
    assert sorted(os.listdir(store.dir)) == ["lock", "store.json"], os.listdir(store.dir)


def changes(store):
    """What has changed is read again, and only that is written; growing, shrinking too."""
    raw = store.image("x.raw", 3000)
    store.run("add", "--for-all", raw)
    assert "not changed" in store.run("update")
    write(raw, 700 * PAGE, os.urandom(10 * PAGE))
    write(raw, 2000 * PAGE, bytes(PAGE))
    assert store.list()["x"]["state"] == "changed"
    store.run("check", status=1, text="11 of its 3000 pages")
    store.run("update", text=" 11 changed")
    store.run("check", text="0 pages differ")
    with open(raw, "ab") as file:
        file.write(os.urandom(600 * PAGE + 5))
    store.run("update", text=" 600 changed")
    assert store.counted("x")["differ"] == 3599
    os.truncate(raw, 1000 * PAGE)
    store.run("update", text=" 2599 changed")
    assert store.counted("x") == {"source": "x", "blocks": 1000, "zero": 0, "differ": 1000}
    store.run("check", text="0 pages differ")
    os.unlink(raw)
    assert store.list()["x"]["state"] == "gone"
    store.run("update", text="is gone")
    store.run("check", status=1, text="its file is gone")
    store.run("gc", text="1 sources forgotten")
    assert not store.list()
    assert sorted(os.listdir(store.dir)) == ["lock", "store.json"], os.listdir(store.dir)


def cached(store):
    """In the page cache, on the disk, or in the cache alone: what the file holds is read."""
    raw = store.image("x.raw", 3000)
    with open(raw, "r+b") as file:
        for name in ("hot", "cold"):
            store.run("add", "--for-all", f"--name={name}", raw)
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        store.run("check", text="0 pages differ")
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        # Two changes that are not on the disk yet, in a part that is not all in the cache.
        os.pwrite(file.fileno(), os.urandom(PAGE), 700 * PAGE)
        os.pwrite(file.fileno(), os.urandom(PAGE), 2999 * PAGE)
        store.run("update", text=" 2 changed")
        store.run("check", text="0 pages differ")


def often(store):
    """A page that fills the disk does not fill the index."""
    raw = os.path.join(store.folder, "x.raw")
    with open(raw, "wb") as file:
        file.write(b"\xff" * PAGE * 5000)
    store.run("add", "--for-all", raw)
    source = store.list()["x"]
    assert source["places"] == 8, source
    assert store.counted("x")["differ"] == 1


def broken(store):
    """Any byte that is other than written, or is not there, is found; then it is mended."""
    raw = store.image("x.raw", 2000)
    store.run("add", "--for-all", raw)
    good = open(store.path("1.index"), "rb").read()
    seal = open(store.path("1.index.seal"), "rb").read()

    def spoiled(what):
        store.run("check", status=1, text="not whole")
        store.run("stat", status=1, text="not whole")
        store.run("export", "-", status=1, text="not whole")
        store.run(what[0], *what[1:])
        store.run("check", text="0 pages differ")

    for _ in range(5 * REPEAT):
        at = random.randrange(len(good))
        write(store.path("1.index"), at, bytes([good[at] ^ 1 << random.randrange(8)]))
        spoiled(("check", "--rebuild"))
        good = open(store.path("1.index"), "rb").read()
    os.truncate(store.path("1.index"), len(good) // 2)
    assert store.list()["x"]["state"] == "broken"
    spoiled(("update",))
    write(store.path("1.index.seal"), 25, b"f" if seal[25:26] == b"0" else b"0")
    spoiled(("update",))
    os.unlink(store.path("1.index.seal"))
    spoiled(("update",))
    os.unlink(store.path("1.index"))
    assert store.list()["x"]["state"] == "broken"
    store.run("update")
    store.run("check", text="0 pages differ")


def damaged(store):
    """A list that cannot be read, or is of a newer release: nothing is touched."""
    raw = store.image("x.raw", 10)
    store.run("add", "--for-all", raw)
    text = open(store.path("store.json"), encoding="utf8").read()
    for bad, why in ((text[:-20], "is damaged"), ("[]", "is damaged"), ("", "is damaged"),
                     (text.replace('"raw"', '"cooked"'), "is damaged"),
                     (text.replace('"version": 1', '"version": 2'), "newer release")):
        with open(store.path("store.json"), "w", encoding="utf8") as file:
            file.write(bad)
        for command in ("list", "stat", "check", "update", "gc"):
            store.run(command, status=1, text=why)
        store.run("add", "--for-all", raw, status=1, text=why)
        assert open(store.path("store.json"), encoding="utf8").read() == bad
    with open(store.path("store.json"), "w", encoding="utf8") as file:
        file.write(text)
    store.run("check", text="0 pages differ")


def two(store):
    """Of two who change it the second is told; who only reads is not kept."""
    raw = store.image("x.raw", 10)
    store.run("add", "--for-all", raw)
    with store.start("import", "--for-all", "--name=slow", "-", stdin=subprocess.PIPE) as slow:
        deadline = time.monotonic() + 20
        while f"{slow.pid}\n" != open(store.path("lock"), encoding="utf8").read():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        store.run("update", status=1, text=f"process {slow.pid} changes")
        store.run("check", text="0 pages differ")
        # It waits for a pipe, and can be told to end.
        slow.send_signal(signal.SIGINT)
        assert slow.wait(10) == 1
        assert b"cancelled" in slow.stderr.read()
    assert sorted(store.list()) == ["x"]


def killed(store):
    """Killed at any time it leaves what is whole, or said not to be."""
    raw = store.image("x.raw", 20000)
    store.run("add", "--for-all", raw)
    for _ in range(10 * REPEAT):
        for _ in range(50):
            write(raw, random.randrange(20000) * PAGE, os.urandom(PAGE))
        with store.start("update") as process:
            time.sleep(random.uniform(0, 0.15))
            process.kill()
        state = store.list()["x"]["state"]
        assert state in ("ready", "changed", "broken", "not-indexed"), state
        store.run("update")
        store.run("check", text="0 pages differ")
    with store.start("add", "--for-all", "--name=y", raw) as process:
        time.sleep(0.03)
        process.kill()
    store.run("gc")
    store.run("remove", *store.list())
    assert sorted(os.listdir(store.dir)) == ["lock", "store.json"], os.listdir(store.dir)


def exported(store):
    """Pages go to another store and are all there, each once; what is cut off is found."""
    raw = store.image("x.raw", 1000, 100)
    write(raw, 10 * PAGE, open(raw, "rb").read(20 * PAGE))
    other = store.image("y.raw", 300)
    write(other, 0, open(raw, "rb").read(100 * PAGE))
    store.run("add", "--for-all", raw, other)
    file = os.path.join(store.folder, "pages")
    store.run("export", file, text="1190 pages")
    store.run("export", file, status=1, text="File exists")
    there = Store(os.path.join(store.folder))
    there.dir += "2"
    there.run("import", "--for-all", file)
    assert there.counted("pages")["differ"] == 1192
    data = open(file, "rb").read()
    for bad in (data[:-PAGE], data[:-100], data[:PAGE], b"", data[PAGE:],
                data[:5 * PAGE] + b"x" + data[5 * PAGE + 1:], data + bytes(PAGE)):
        with open(os.path.join(store.folder, "bad"), "wb") as spoiled:
            spoiled.write(bad)
        there.run("import", "--for-all", os.path.join(store.folder, "bad"), status=1)
    with store.start("export", "-", "x") as out:
        with there.start("import", "--for-all", "--name=x", "-", stdin=out.stdout) as process:
            assert process.wait(60) == 0
    there.run("import", "--for-all", "-", status=1, text="--name", stdin=subprocess.DEVNULL)
    assert sorted(there.list()) == ["pages", "x"]
    there.run("check")
    # A page that was written since is not exported as what it was.
    write(raw, 500 * PAGE, os.urandom(PAGE))
    os.unlink(file)
    store.run("export", file, "x", text="989 pages")


def full(store):
    """A disk that is full: said so, nothing is left behind, the rest goes on."""
    raw = store.image("x.raw", 40000)
    script = (f"mount -t tmpfs -o size=512k none {store.dir} && "
              f"{TOOL} store add --for-all --store={store.dir} {raw}; echo status $?; "
              f"ls {store.dir}; {TOOL} store list --store={store.dir}")
    os.mkdir(store.dir)
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True,
                          text=True, check=False, timeout=60)
    assert "status 1\n" in done.stdout and "no space is left" in done.stderr, done
    assert "index" not in done.stdout.lower(), done
    assert "is empty" in done.stdout, done


def shrinks(store):
    """An image that is cut short, or goes, while it is read."""
    raw = store.image("x.raw", 60000)
    for _ in range(3):
        with store.start("add", "--for-all", "--name=s", raw) as process:
            time.sleep(random.uniform(0, 0.1))
            os.truncate(raw, 30000 * PAGE)
            process.communicate(timeout=60)
        if "s" in store.list():
            store.run("update", "s")
            store.run("check", "s", text="0 pages differ")
            assert store.counted("s")["blocks"] == 30000
            store.run("remove", "s")
        os.truncate(raw, 60000 * PAGE)


POLICY = """
[group a]
vms = a-*
share = group
[group h]
vms = h-*
share = host
[others]
share = own
"""


def sharing(store):
    """Which VM may take from what, and why, is told; a policy that is not understood too."""
    conf = os.path.join(store.folder, "store.conf")

    def write_policy(text, mode=0o644):
        with open(conf, "w", encoding="utf8") as file:
            file.write(text)
        os.chmod(conf, mode)

    def takes(vm):
        found = json.loads(store.run("list", "--json", f"--conf={conf}", f"--vm={vm}")
                           .splitlines()[-1])
        return {source["name"]: source["why"] for source in found if source["takes"]}

    raw = store.image("x.raw", 10)
    store.run("add", "--name=all", "--for-all", raw)
    store.run("add", "--name=vm", "--for=a-1", raw)
    store.run("add", "--name=host", "--for=h-1", "--for-group=h", raw)
    store.run("add", "--name=n", raw, status=2, text="--for-group")
    store.run("add", "--name=n", "--for-group=../a", raw, status=2, text="no name for a group")
    store.run("add", "--name=n", "--of=a-1", raw, status=1, text="is no RAM file")
    store.run("import", "--name=n", "--of=a-1", raw, status=2)
    write_policy(POLICY)
    store.run("add", "--name=n", f"--conf={conf}", "--for-group=b", raw,
              text=f'no group "b" in {conf} yet')
    assert "yet" not in store.run("add", "--name=group", f"--conf={conf}", "--for-group=a",
                                  raw, text="10 pages")
    everybody = {"all": "named for all"}
    for vm, more in (("a-1", {"vm": "named for it", "group": "named for its group"}),
                     ("a-2", {"group": "named for its group"}), ("b-1", {}), ("a", {}),
                     ("h-1", {"host": "named for it"}),
                     ("h-2", {"host": "named for its group"})):
        assert takes(vm) == {**everybody, **more}, (vm, takes(vm))
    store.run("list", f"--conf={conf}", "--vm=a-2", text="a-2: group a, share = group")
    store.run("list", f"--conf={conf}", "--vm=b-1", text="b-1: in no group, share = own")
    # What is wrong with it is told with its line, and then nobody shares.
    for bad, why in ((POLICY + "shared = host\n", f'{conf}:10: "shared" is not for [others]'),
                     (POLICY.replace("a-*", ""), f'{conf}:3: "vms" names nobody'),
                     (POLICY.replace("[group h]", "[group h"), f"{conf}:5: neither")):
        write_policy(bad)
        store.run("list", f"--conf={conf}", "--vm=a-1", text=why)
        store.run("list", f"--conf={conf}", "--vm=a-1", text="no VM shares with any other")
        assert takes("a-1") == {**everybody, "vm": "named for it"}, takes("a-1")
        assert takes("a-2") == everybody, takes("a-2")
        done = subprocess.run([TOOL, "check", f"--conf={conf}"], capture_output=True, text=True,
                              check=False, timeout=60)
        assert done.returncode == 1 and f"PROBLEM  {why}" in done.stdout, done
    write_policy(POLICY.replace("h-*", "*-2"))
    store.run("list", f"--conf={conf}", "--vm=a-2", text='two groups claim VM "a-2"')
    assert takes("a-2") == everybody, takes("a-2")
    for mode in (0o664, 0o646):
        write_policy(POLICY, mode)
        store.run("list", f"--conf={conf}", "--vm=a-2", text="can be written by others")
        assert takes("a-2") == everybody, takes("a-2")
    os.unlink(conf)
    store.run("list", f"--conf={conf}", "--vm=a-2", text="No such file")
    assert takes("a-2") == everybody, takes("a-2")


def example(store):
    """The example that is installed says nothing as it stands, and is right when it does."""
    with open(os.path.join(TOP, "tools/store/store.conf"), encoding="utf8") as file:
        text = file.read()
    conf = os.path.join(store.folder, "store.conf")
    for said, share in ((text, "in no group, share = own"),
                        (re.sub(r"(?m)^#(?=[\[a-z])", "", text), "group lab, share = host")):
        with open(conf, "w", encoding="utf8") as file:
            file.write(said)
        os.chmod(conf, 0o644)
        told = store.run("list", f"--conf={conf}", "--vm=ci-7", text=f"ci-7: {share}")
        assert "until" not in told, told


def main():
    tests = Tests()
    for case in (sources, unreadable, names, changes, cached, often, broken, damaged, two,
                 killed, exported, full, shrinks, sharing, example):
        with tests.test(case.__name__), tempfile.TemporaryDirectory() as folder:
            case(Store(folder))
    return tests.finish()


if __name__ == "__main__":
    sys.exit(main())

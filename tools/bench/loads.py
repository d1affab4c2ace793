# SPDX-License-Identifier: GPL-2.0
"""What a guest does while it is moved.

Each is made with the guest, which is then as it is to be moved. verify() tells whether all is
as it must be, and end() that no move comes any more.
"""
import os
import random

from micro import Failed
from migrate.move import Work, must_answer
from migrate.redis_load import RedisLoad
from web import WebLoad

# Of the sources on the guest's disk (vm/disk.py): what is read, and what of it is compiled.
SOURCES = "/disk/usr/src/linux"
READ = ("kernel", "lib", "mm", "include/linux", "include/net", "include/uapi", "arch/x86/kernel")
COMPILED = ("lib/sort.c", "lib/bsearch.c", "lib/rbtree.c", "lib/radix-tree.c", "lib/string.c",
            "lib/kobject.c", "mm/util.c", "mm/mempool.c", "kernel/kthread.c",
            "kernel/notifier.c")
# Compiled by a guest that shall have a warm compiler.
WARM = COMPILED[:2]
FETCHED = tuple(f"mm/{name}.c" for name in ("filemap", "shmem", "swap", "rmap", "memory",
                                            "vmscan", "slub", "truncate"))
RECORD = ('{{"id": {key}, "name": "customer {key}", "mail": "customer{key}@example.org", '
          '"token": "{token}", "visited": "2026-11-{day:02}", "basket": [{basket}]}}')


def records(path, mb):
    """Protocol of redis that fills it with records; a third of each is random."""
    dice, size, key = random.Random(mb), 0, 0
    with open(path, "w", encoding="ascii") as file:
        while size < mb << 20:
            text = RECORD.format(key=key, token=dice.randbytes(200).hex(),
                                 day=dice.randrange(1, 31),
                                 basket=", ".join(str(dice.randrange(10 ** 8))
                                                  for _ in range(40)))
            name = f"record:{key}"
            size += file.write(f"*3\r\n$3\r\nSET\r\n${len(name)}\r\n{name}\r\n"
                               f"${len(text)}\r\n{text}\r\n")
            key += 1
    return key


def fill_redis(vm, mb):
    """Data of its own."""
    path = os.path.join(vm.host.bed.dir, f"{vm.name}.redis")
    count = records(path, mb)
    done = vm.host.run(f"redis-cli -h {vm.addr} --pipe <{path}", timeout=300, check=True)
    os.unlink(path)
    if f"errors: 0, replies: {count}" not in done.out:
        raise Failed(f"redis is not filled:\n{done.out}")


def read_sources(vm, what=READ):
    """Some of them, into the page cache; their checksum."""
    return vm.run(f"cd {SOURCES} && find {' '.join(what)} -type f | sort | xargs cat | md5sum",
                  timeout=600, check=True).out


def compile_sources(vm, files):
    vm.run(f"chroot /disk /bin/compile {' '.join(files)}", timeout=600, check=True)


def serve_sources(vm):
    vm.run("chroot /disk /bin/httpd -p 80 -h /usr/src/linux", check=True)


class Idle:
    """Nothing; its redis waits."""

    def __init__(self, vm):
        self.vm = vm

    def verify(self):
        must_answer(self.vm)

    def end(self):
        pass


class Random(Idle):
    """Nothing, and most of its memory is random bytes, of which no page is like another."""

    MB = 80

    def __init__(self, vm):
        super().__init__(vm)
        vm.run("mount -o remount,size=100% /dev/shm && "
               f"dd if=/dev/urandom of=/dev/shm/random bs=1M count={self.MB}", timeout=300,
               check=True)
        self.sum = self._sum()

    def _sum(self):
        return self.vm.run("workload sum /dev/shm/random", timeout=120, check=True).out

    def verify(self):
        super().verify()
        if self._sum() != self.sum:
            raise Failed("the guest's random bytes are others")


class Same:
    """It writes half of what the link carries, and nothing that was not there before."""

    def __init__(self, vm):
        self.vm = vm
        self.work = Work(vm, "writer 64 rate=700 nap=2 same")

    def verify(self):
        self.work.verify()

    def end(self):
        self.work.end()


class Read(Idle):
    """It reads files, over and over, at a walk."""

    LINE = (f"cd {SOURCES}; echo ready; while :; do for dir in {' '.join(READ)}; do "
            "find $dir -type f -exec cat {} + >/dev/null || exit; sleep 1; done; done")

    def __init__(self, vm):
        super().__init__(vm)
        self.proc = vm.spawn(self.LINE)
        self.proc.wait_output("ready")

    def verify(self):
        super().verify()
        if not self.proc.running:
            raise Failed(f"the guest's work has ended:\n{self.proc.output}")

    def end(self):
        self.verify()
        self.proc.kill()


class Compile(Read):
    """It compiles files, one after the other."""

    LINE = (f"echo ready; while :; do for file in {' '.join(COMPILED)}; do "
            "chroot /disk /bin/compile $file || exit; echo compiled; sleep 1; done; done")

    def done(self):
        return self.proc.output.count("compiled")


class Database(Idle):
    """redis has data of its own, and clients, which remember what of theirs it must hold."""

    def __init__(self, vm, mb=8, pause=0.02):
        super().__init__(vm)
        # These empty it before they begin.
        self.clients = RedisLoad(vm.host, vm.addr, clients=4, keys=500, size=1500, pause=pause)
        fill_redis(vm, mb)
        self.clients.start()

    def verify(self):
        if self.clients.errors:
            raise Failed("; ".join(self.clients.errors))

    def end(self):
        self.clients.stop()
        wrong = self.clients.verify()
        self.clients.close()
        if wrong:
            raise Failed("redis: " + "; ".join(wrong[:5]))


class Web(Idle):
    """Its web server, which runs, has clients."""

    def __init__(self, vm, pause=0.1):
        super().__init__(vm)
        self.clients = WebLoad(vm.host, vm.addr, FETCHED, pause=pause).start()

    def end(self):
        self.clients.stop()


class Server(Idle):
    """A server of all kinds: redis with data of its own, a web server, and sources that it has
    read and begun to compile; redis and web server have clients."""

    def __init__(self, vm, redis_mb=24, pause=0.1):
        super().__init__(vm)
        self.database = Database(vm, redis_mb, pause)
        self.sum = read_sources(vm)
        compile_sources(vm, WARM)
        serve_sources(vm)
        self.web = Web(vm, pause)

    def verify(self):
        self.database.verify()

    def end(self):
        self.web.end()
        self.database.end()
        if read_sources(self.vm) != self.sum:
            raise Failed("the guest's files are others")


class Worker(Server):
    """Such a server, smaller, that goes on compiling. Its disk cannot be written."""

    class Compile(Compile):
        LINE = Compile.LINE.replace("sleep 1", "sleep 10")

    def __init__(self, vm):
        vm.run("mount -t tmpfs tmpfs /disk/tmp", check=True)
        super().__init__(vm, redis_mb=8, pause=0.3)
        self.compile = self.Compile(vm)

    def done(self):
        """What has it done? All of it."""
        done = {"compiled": self.compile.done(), "answered": self.database.clients.requests,
                "fetched": self.web.clients.fetched}
        if not all(done.values()):
            raise Failed(f"a guest has not worked: {done}")
        return done

    def verify(self):
        super().verify()
        self.compile.vm = self.vm
        self.compile.verify()

    def end(self):
        self.compile.end()
        super().end()

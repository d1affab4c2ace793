# SPDX-License-Identifier: GPL-2.0
"""Notice that the emulation of a host has gone wrong, while a program runs in it.

A QEMU that qemu.sh could not mend can lose the interrupts of the first processor when it
runs nested guests: it was seen asleep in the idle loop, interrupts on and several waiting,
and in QEMU's own state the global interrupt flag (CLGI, STGI) was clear, which KVM sets
before it goes on. Nothing wakes such a processor, not even an NMI. What runs there then
says nothing about the kernel or about us.
"""
import threading

from .frozen import oversleeping

PERIOD = 20	# seconds
# What a script says of it on standard output, for the runner.
FAILED = "# the emulation of a host has failed"


class Watch:
    """watch = Watch(host).start(); ...; watch.end()

    watch.lost is what has gone wrong, "" if nothing has. A host in which that happens is
    stopped, so that whoever waits for it hears of it.
    """

    def __init__(self, host, period=None):
        self.host = host
        self.period = period or PERIOD
        self.lost = ""
        self._ended = threading.Event()

    def start(self):
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def end(self):
        self._ended.set()

    def _look(self):
        while not self._ended.wait(self.period):
            self.lost = oversleeping(self.host.monitor)
            if self.lost and not self._ended.is_set():
                self.host.bed.say(f"{FAILED}: {self.host.name}: {self.lost}")
                self.host.stop()

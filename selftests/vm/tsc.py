# SPDX-License-Identifier: GPL-2.0
"""The rate of this machine's time stamp counter, which emulated hosts see as theirs.

A host measures it at boot against an emulated timer. On a busy machine it now and then
measures nonsense, and its clock runs several times too fast for the rest of its life. So
we measure, where there is a clock to trust, and tell it.
"""
import ctypes
import functools
import mmap
import platform
import time

# rdtsc; shl $32, %rdx; or %rdx, %rax; ret
RDTSC = b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3"


def _reading(rdtsc):
    """(ns, ticks) of one moment: the closest of some pairs, we may be interrupted."""
    best = None
    for _ in range(50):
        before = time.monotonic_ns()
        ticks = rdtsc()
        after = time.monotonic_ns()
        if best is None or after - before < best[0]:
            best = (after - before, (before + after) // 2, ticks)
    return best[1:]


@functools.lru_cache(maxsize=None)
def khz():
    """Ticks per ms, or None where there is no such counter."""
    if platform.machine() != "x86_64":
        return None
    prot = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    with mmap.mmap(-1, mmap.PAGESIZE, prot=prot) as code:
        code.write(RDTSC)
        place = ctypes.c_char.from_buffer(code)
        rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(place))
        ns, ticks = _reading(rdtsc)
        time.sleep(0.1)
        ns2, ticks2 = _reading(rdtsc)
        del rdtsc, place
    return round((ticks2 - ticks) * 1000000 / (ns2 - ns))

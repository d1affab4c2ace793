# SPDX-License-Identifier: GPL-2.0
"""Child processes that never outlive us, however we end."""
import ctypes
import os
import signal
import subprocess

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def start_child(command, **options):
    """Popen whose child is killed when the thread that called this ends.

    Call it from the main thread only: the kernel counts the thread, not the process.
    """
    parent = os.getpid()

    def die_with_parent():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent,
                            start_new_session=True, **options)


def stop_child(proc):
    if proc and proc.poll() is None:
        proc.kill()
    if proc:
        proc.wait()

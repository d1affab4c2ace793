# SPDX-License-Identifier: GPL-2.0
"""Test bed of migrate-fast: emulated hypervisor hosts and guests in them."""
from .agent import Agent, AgentError, CommandFailed, Proc, Result
from .bed import Bed
from .disk import guest_disk
from .faulty import FaultyDisk
from .guest import Guest, GuestError
from .host import DmesgError, Host, HostError
from .image import BUILD, TOP, SetupError
from .qmp import Qmp, QmpError

__all__ = ["Agent", "AgentError", "Bed", "BUILD", "CommandFailed", "DmesgError", "FaultyDisk",
           "Guest", "GuestError", "Host", "HostError", "Proc", "Qmp", "QmpError", "Result",
           "SetupError", "TOP", "guest_disk"]

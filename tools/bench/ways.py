# SPDX-License-Identifier: GPL-2.0
"""Ways to move a guest to its waiting twin: by migrate-fast, by QEMU itself.

Each is called with both, and returns when it began and ended, and what was said of it:
told_ms, told_downtime_ms (until the device state has left, says QEMU; until the VM runs
over there, say we), pages (sent, of 4 KiB), finished (0 if it was given up: then the guest
runs on where it was, else 1). Ours alone:
more, how often a page travelled a third time or more;
ready_ms, what recv needs before it takes a guest in;
verify_ms, --verify, which is in the time from begin to end; verified: 1 if it was asked for;
named, missed, pages that were only named, and those of them that had to be sent all the same.
"""
import time

from micro import Failed
from migrate.move import Tool, travelled

PORT = 4444
PATIENCE = 400


def wait_running(twin, end):
    while twin.status() in ("inmigrate", "paused"):
        if time.monotonic() > end:
            raise Failed(f"the destination does not run: {twin.status()}")
        time.sleep(0.02)


def whole(result):
    """Pages that have travelled whole, before the stop and after it."""
    followed = result.get("postcopy", {"pulled": 0, "pushed": 0, "zero": 0})
    return travelled(result["pages"]) + followed["pulled"] + followed["pushed"] - followed["zero"]


class Ours:
    """migrate-fast send, with arguments; recv: those of the other side."""

    def __init__(self, *args, recv=(), gives_up=False):
        self.args = [str(arg) for arg in args]
        self.recv = list(recv)
        self.gives_up = gives_up

    def __call__(self, vm, twin):
        asked = time.monotonic()
        recv = Tool(twin.host, ["recv", "--qmp", twin.qmp_path, "--listen", f":{PORT}",
                                "--json", *self.recv])
        recv.wait_listening(PORT)
        began = time.monotonic()
        send = Tool(vm.host, ["send", "--qmp", vm.qmp_path, "--to",
                              f"{twin.host.addr}:{PORT}", "--json", *self.args])
        # Then the VM runs over there, and what is left of QEMU here ends.
        ended = time.monotonic()
        while send.running and not send.has_reached("ending") and ended < began + PATIENCE:
            time.sleep(0.02)
            ended = time.monotonic()
        rc = send.wait(60)
        if rc and not (rc == 1 and self.gives_up):
            raise Failed(f"migrate-fast send returned {rc}:\n{send.output}\n{recv.output}")
        if not rc:
            wait_running(twin, ended)
        result = send.events("result")[-1]
        recv.wait(60)
        return began, ended, {"told_ms": result["total_ms"], "finished": int(not rc),
                              "more": result["sent_more"],
                              "told_downtime_ms": result["downtime_ms"],
                              "pages": whole(result),
                              "ready_ms": round(1000 * (began - asked)),
                              "verify_ms": result["verify_ms"] +
                                           result.get("verify_after_ms", 0),
                              "verified": int(result["verified"]),
                              "named": result["pages"]["reference"],
                              "missed": result["missed"]}


class Qemu:
    """QEMU's own migration; limit: seconds after which it is cancelled; postcopy: switch to
    it after the first pass over all memory; parameters: of migration, at both ends."""

    def __init__(self, downtime, capabilities=(), postcopy=False, limit=None,
                 parameters=None):
        self.downtime = downtime
        self.parameters = parameters or {}
        self.capabilities = list(capabilities) + (["postcopy-ram"] if postcopy else [])
        self.postcopy = postcopy
        self.limit = limit

    def __call__(self, vm, twin):
        for guest in (vm, twin):
            # Ours may have been at this QEMU before.
            state = dict.fromkeys(("x-ignore-shared", "auto-converge", "postcopy-ram",
                                   "xbzrle", "multifd"), False)
            state.update({name: True for name in self.capabilities})
            guest.qmp("migrate-set-capabilities",
                      capabilities=[{"capability": name, "state": value}
                                    for name, value in state.items()])
            if self.parameters:
                guest.qmp("migrate-set-parameters", **self.parameters)
        # The default bandwidth, 1 Gbit/s, is never the limit here.
        vm.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 30,
                                            "downtime-limit": self.downtime})
        uri = f"tcp:{twin.host.addr}:{PORT}"
        twin.qmp("migrate-incoming", uri=uri)
        began = time.monotonic()
        vm.qmp("migrate", uri=uri)
        info = self._wait(vm, began)
        finished = info["status"] == "completed"
        if finished:
            wait_running(twin, began + PATIENCE)
        return began, time.monotonic(), {
            "told_ms": info.get("total-time", 0),
            "told_downtime_ms": info.get("downtime", 0),
            "pages": info["ram"]["normal"], "finished": int(finished)}

    def _wait(self, vm, began):
        switched = False
        info = {}
        while True:
            # What it has sent is not told any more when it was cancelled.
            info = {**info, **vm.qmp("query-migrate")}
            status = info.get("status")
            # It can say completed with figures of zero at first.
            if status == "completed" and info.get("total-time") or status == "cancelled":
                return info
            passed = time.monotonic() - began
            if status == "failed" or passed > PATIENCE:
                raise Failed(f"QEMU's migration: {info}")
            if self.postcopy and not switched and \
                    info.get("ram", {}).get("dirty-sync-count", 0) > 1:
                vm.qmp("migrate-start-postcopy")
                switched = True
            if self.limit and passed > self.limit and status == "active":
                vm.qmp("migrate_cancel")
            time.sleep(0.05)

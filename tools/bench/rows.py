# SPDX-License-Identifier: GPL-2.0
"""The rows of the table: what is measured, and what it must not exceed.

Each row is made of the medians of the samples that the programs here have taken. That
they hold, or not, is computed from these samples and from nothing else.
"""
import statistics


class Row:
    """name: for BENCH= and results.json; samples: names of those it is made of;
    limit: a number, or one for each kernel, or None of a figure that is only told; fold: what
    makes one figure of samples; aim: what we want to get to."""

    def __init__(self, group, name, text, unit, limit, *samples, fold=statistics.median,
                 aim=None):
        self.group = group
        self.name = name
        self.text = text
        self.unit = unit
        self.limit = limit
        self.samples = samples
        self.fold = fold
        self.aim = aim

    def value(self, taken):
        """One median, or the ratio of two; of several pairs, the mean of their ratios."""
        folded = [self.fold(taken[name]) for name in self.samples]
        if len(folded) == 1:
            return folded[0]
        return statistics.mean(ratio(*folded[at:at + 2]) for at in range(0, len(folded), 2))

    def result(self, kernel, taken):
        value = self.value(taken)
        limit = self.limit[kernel] if isinstance(self.limit, dict) else self.limit
        return {"name": self.name, "text": self.text, "kernel": kernel,
                "value": round(value, 4), "unit": self.unit, "limit": limit, "aim": self.aim,
                "holds": limit is None or value <= limit,
                "samples": {name: taken[name] for name in self.samples}}


def ratio(one, other):
    """Nothing of nothing is no loss."""
    return one / other if other else float(one > 0)


def unfinished(runs):
    """1 if any of them is."""
    return 1 - min(runs)


# Zero-copy of Linux 6.1 hands over one page in a call; later kernels have a better way.
SEND = {"6.1": 0.35, "6.12": 0.25}
N, X = "instructions", "x"

ROWS = [
    Row("harvest", "harvest-clean", "harvest, per clean page", N, 2, "harvest.idle"),
    Row("harvest", "harvest-isolated", "harvest, isolated dirty page, written by the guest",
        N, 2600, "harvest.isolated.kvm"),
    Row("harvest", "harvest-isolated-vmm", "harvest, isolated dirty page, written by the VMM",
        N, 2600, "harvest.isolated.vmm"),
    Row("harvest", "harvest-runs", "harvest, dirty page in a run, written by the guest",
        N, 900, "harvest.runs.kvm"),
    Row("harvest", "harvest-runs-vmm", "harvest, dirty page in a run, written by the VMM",
        N, 900, "harvest.runs.vmm"),
    Row("fault", "fault-tracked", "write fault after a harvest / of plain tmpfs",
        X, 1.2, "fault.tracked", "fault.tmpfs"),
    Row("fault", "fault-unmapped", "write fault of an unmapped page / of plain tmpfs",
        X, 1.2, "fault.unmapped", "fault.tmpfs"),
    Row("track", "track-low", "guest that writes little: KVM's log / QEMU's own logging", X, 1.1,
        "track.low.kvm", "track.low.qemu"),
    Row("track", "track-high", "guest that writes much: KVM's log / QEMU's own logging", X, 1.1,
        "track.high.kvm", "track.high.qemu"),
    Row("track", "track-clean", "harvest of a clean guest of 2 GB / the VMM's KVM_GET_DIRTY_LOG",
        X, 0.3, "track.clean.kvm", "track.clean.get"),
    Row("track", "track-clean-manual", "... with manual protection", X, None,
        "track.clean.kvm", "track.clean.manual"),
    Row("track", "track-cold", "one store after long: KVM's log / QEMU's own logging", X, None,
        "track.cold.kvm", "track.cold.qemu"),
    *(Row("track", f"track-{rate}-{by}", f"guest that writes {much}, {by}: time for the same "
          "work / untracked", X, None, f"track.{rate}.{by}", f"track.{rate}.none")
      for rate, much in (("low", "little"), ("high", "much"))
      for by in ("events", "kvm", "qemu")),
    *(Row("track", f"track-{rate}-{by}-{what}", f"... {much}, {by}: faults {whose}",
          "faults", None, f"track.{rate}.{by}.{what}")
      for rate, much in (("low", "little"), ("high", "much"))
      for by in ("none", "events", "kvm", "qemu")
      for what, whose in (("kvm", "of KVM"), ("faults", "of the page cache"))),
    Row("hash", "hash-xxh64", "XXH64, per page", N, 4000, "hash.xxh64"),
    Row("hash", "hash-zero", "zero test, per page", N, 700, "hash.zero"),
    Row("send", "send-run", "zero-copy send / write(2), pages in a run",
        X, SEND, "send.zerocopy", "send.write"),
    Row("send", "send-isolated", "zero-copy send / writev(2), isolated pages",
        X, SEND, "send.isolated", "send.writev"),
    Row("migrate", "migrate-bytes", "bytes on the wire / QEMU's pre-copy",
        X, 1.0, "migrate.ours.bytes", "migrate.qemu.bytes"),
    Row("migrate", "migrate-time", "total time / QEMU's pre-copy",
        X, 1.0, "migrate.ours.ms", "migrate.qemu.ms"),
    Row("migrate", "migrate-downtime", "time that the guest stands still / QEMU's pre-copy",
        X, 1.0, "migrate.ours.downtime_ms", "migrate.qemu.downtime_ms"),
    Row("migrate", "migrate-silence", "longest silence seen by a client / QEMU's pre-copy",
        X, 1.0, "migrate.ours.gap_ms", "migrate.qemu.gap_ms"),
]
# What time on an emulated host scatters by must not look like a slowdown.
NO_SLOWDOWN = 1.1
# In random order each page is in time by chance or is not: of 1000 pages, three times, the
# faults scatter by some 3 % when nothing is gained or lost.
NO_MORE = 1.05
ROWS += [
    Row("prepage", f"prepage-{order}",
        f"faults left to a guest that walks through absent memory, {order}", "of pages",
        limit, f"prepage.{order}.faults")
    for order, limit in (("sequential", 0.10), ("strided", 0.20))]
ROWS += [
    Row("prepage", f"prepage-random-{what}",
        f"{what} of a random walk through absent memory / without prepaging", X, limit,
        f"prepage.random.{sample}", f"prepage.random.without.{sample}")
    for what, sample, limit in (("faults", "faults", NO_MORE), ("time", "s", NO_SLOWDOWN))]
# Of each way against QEMU's post-copy after pre-copy.
TARGETS = (("time", "ms"), ("bytes", "bytes"), ("downtime", "downtime_ms"))
for load, part in (("third", "a third"), ("half", "half")):
    for what, sample, limit in (("time", "ms", 0.64), ("pages", "pages", 0.78)):
        ROWS.append(Row("modes", f"modes-{load}-{what}",
                        f"three-stage / QEMU's pre-copy, guest writes {part} of the link's "
                        f"rate: {what}", X, limit, f"modes.{load}.three-stage.{sample}",
                        f"modes.{load}.qemu.{sample}"))
    for mode in ("three-stage", "postcopy"):
        for what, sample in TARGETS:
            ROWS.append(Row("modes", f"modes-{load}-{mode}-{what}",
                            f"{mode} / QEMU's post-copy, guest writes {part} of the "
                            f"link's rate: {what}", X, 1.0, f"modes.{load}.{mode}.{sample}",
                            f"modes.{load}.qemu-postcopy.{sample}"))
ROWS.append(Row("modes", "modes-precopy-finished",
                "precopy, guest writes twice the link's rate: finished within its bounds",
                "of runs", 0, "modes.fast.precopy.finished", fold=max))
# QEMU copies everything once before it goes over to post-copy, as these do. A guest none of
# whose memory has come before it must stand more, and the table tells how much more.
CLIENTS = {"postcopy": (), **dict.fromkeys(("three-stage", "hybrid", "auto"),
                                           (("silence", "gap_ms"), ("work-lost", "lost_ms")))}
for mode, clients in CLIENTS.items():
    ROWS.append(Row("modes", f"modes-{mode}-more",
                    f"{mode}, guest writes twice the link's rate: sent more than twice",
                    "pages", 0, f"modes.fast.{mode}.more", fold=max))
    ROWS.append(Row("modes", f"modes-{mode}-finished",
                    f"{mode}, guest writes twice the link's rate: left unfinished",
                    "of runs", 0, f"modes.fast.{mode}.finished", fold=unfinished))
    for what, sample in TARGETS + clients:
        ROWS.append(Row("modes", f"modes-{mode}-{what}",
                        f"{mode} / QEMU's post-copy, guest writes twice the link's rate: "
                        f"{what.replace('-', ' ')}",
                        X, 1.0, f"modes.fast.{mode}.{sample}",
                        f"modes.fast.qemu-postcopy.{sample}"))
# What need not travel, against QEMU's pre-copy of the same guest. Stultz (idealized,
# realistic) and Gustafsson (lazy) are those whom the limits are of; the aims are ours.
REUSE = (("idealized", "beside a sibling, guest idle: time", "ms", 0.30, 0.10),
         ("realistic", "beside a sibling, on a shared disk, a server at work: time", "ms",
          0.60, 0.40),
         ("back", "back after 10 minutes of work: time", "ms", 0.50, 0.25),
         ("random", "memory of random bytes, nothing to reuse: time", "ms", 1.05, None),
         ("same", "guest writes what is there already: bytes", "bytes", 0.60, None))
for load, text, sample, limit, aim in REUSE:
    ROWS.append(Row("reuse", f"reuse-{load}", f"{text} / QEMU's pre-copy", X, limit,
                    f"reuse.{load}.ours.{sample}", f"reuse.{load}.qemu.{sample}", aim=aim))
ROWS.append(Row("reuse", "reuse-lazy", "page cache of a shared disk, mean of idle, read, compile, "
                "database, web: time / QEMU's pre-copy", X, 0.56,
                *(f"reuse.{load}.{way}.ms"
                  for load in ("idle", "read", "compile", "database", "web")
                  for way in ("ours", "qemu")), aim=0.40))
# Of one core of this machine, in GB of pages a second; what is slower than its bound by more
# than a quarter does not hold.
GB = "GB/s"
ROWS += [
    Row("native", "native-build", "store add, image on the disk: the disk or one core's digesting, "
        "whichever gives less / reached", X, 1.25, "native.cold-bound", "native.cold"),
    Row("native", "native-build-cached", "store add, image in the page cache: one core that reads "
        "and digests it / reached", X, 1.25, "native.hash", "native.build"),
    Row("native", "native-build-speed", "store add, image on the disk, GB/s", GB, None,
        "native.cold"),
    Row("native", "native-build-cached-speed", "store add, image in the page cache, GB/s", GB,
        None, "native.build"),
    Row("native", "native-sha256", "SHA-256: one long message / page by page", X, 1.25,
        "native.long", "native.sha256"),
    Row("native", "native-sha256-speed", "SHA-256 of pages, GB/s of a core", GB, None,
        "native.sha256"),
    Row("native", "native-lookup", "index look-up: SHA-256 of the page / reached", X, 1.0,
        "native.sha256", "native.lookup"),
    Row("native", "native-lookup-speed", "index look-up, GB/s of a core", GB, None,
        "native.lookup"),
    Row("native", "native-take-speed", "page looked up, read, proved, GB/s of a core", GB, None,
        "native.take"),
    Row("native", "native-delta", "changes of a page found, in 1 block of 16: SHA-256 of the page "
        "/ reached", X, 1.0, "native.sha256", "native.delta-1"),
    Row("native", "native-delta-copy", "likewise: copying it / reached", X, None,
        "native.memcpy", "native.delta-1"),
    Row("native", "native-delta-speed", "likewise, GB/s of a core", GB, None, "native.delta-1"),
    Row("native", "native-apply-speed", "changes applied, and proved, GB/s of a core", GB, None,
        "native.delta-apply"),
]

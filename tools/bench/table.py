# SPDX-License-Identifier: GPL-2.0
"""What is printed of what was measured."""
import statistics

# Heading, sample, what a unit of the table is in those of the sample.
COLUMNS = (("finished", "finished", 1), ("time s", "ms", 1000), ("MB", "bytes", 1e6),
           ("pages", "pages", 1), ("named", "named", 1), ("missed", "missed", 1),
           ("ready s", "ready_ms", 1000),
           ("downtime ms", "downtime_ms", 1), ("silence ms", "gap_ms", 1),
           ("work lost s", "lost_ms", 1000), ("writes/s", "writes", 1))


def show(lines, left=1):
    """In columns; so many first ones, and a last one without a heading, are of text."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(
            text.ljust(width) if number < left or not lines[0][number] else text.rjust(width)
            for number, (text, width) in enumerate(zip(line, widths))).rstrip())


def number(value, unit):
    if value is None:
        return "-"
    if unit == "x":
        return f"{value:.2f}x"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def limits(results):
    """Each row, and whether it holds."""
    lines = [("what", "Linux", "measured", "limit", "aim", "")]
    for row in results:
        holds = "holds" if row["holds"] else "DOES NOT HOLD"
        lines.append((row["text"], row["kernel"], number(row["value"], row["unit"]),
                      number(row["limit"], row["unit"]), number(row["aim"], row["unit"]),
                      "" if row["limit"] is None else holds))
    show(lines, left=2)


def figure(values, unit):
    """A guest that has not moved has no downtime."""
    if not values:
        return "-"
    median = statistics.median(values) / unit
    return f"{median:,.0f}" if unit == 1 else f"{median:,.1f}"


def sides(kernel, taken):
    """All ways to move a guest under one load, side by side: medians of what each took.

    Ways are told from samples "GROUP.LOAD.WAY.finished". A column that none has is left out.
    """
    ways = dict.fromkeys(name.rpartition(".")[0] for name in taken
                         if name.endswith(".finished"))
    if not ways:
        return
    columns = [column for column in COLUMNS if any(f"{way}.{column[1]}" in taken for way in ways)]
    print(f"\nLinux {kernel}, side by side:")
    show([("load and way", *(heading for heading, _, _ in columns)),
          *((way.partition(".")[2],
             *(figure(taken.get(f"{way}.{sample}"), unit) for _, sample, unit in columns))
            for way in ways)])

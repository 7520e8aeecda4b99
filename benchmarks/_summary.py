"""The last step of ``nox -s bench``: one table of all rows, and a plot of those that have a target.

    python benchmarks/_summary.py RESULTS [PLOT]

RESULTS is the directory with the JSON files of the benchmarks; PLOT is where the picture goes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from _harness import Row, table


def plot(rows: Sequence[Row], path: Path) -> None:
    """Each figure as a multiple of its target, on a logarithmic scale: whatever is left of the line meets it."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "doteval"  # the same figures make the same file
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text, and the file small
    from matplotlib import pyplot as plt

    shown = [row for row in rows if row.target is not None][::-1]
    # Where a target is a lower limit, its inverse: left is better for every row.
    shares = [row.target / row.measured if row.at_least else row.measured / row.target for row in shown]
    names = [f"{row.what} : {row.against}{f' ({row.backend})' if row.backend else ''}" for row in shown]
    figure, axes = plt.subplots(figsize=(10, 0.28 * len(shown) + 1))
    colours = ["#c44e52" if share > 1 else "#4c72b0" for share in shares]
    axes.scatter(shares, range(len(shown)), c=colours, zorder=3)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.set_xlabel("measured / target (left of the line: met)")
    axes.grid(axis="both", linewidth=0.3)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    files = sorted(Path(sys.argv[1]).glob("*.json"))
    rows = [Row(**row) for file in files for row in json.loads(file.read_text("utf-8"))]
    print(table(rows))
    judged = [row.met for row in rows if row.met is not None]
    print(f"{judged.count(True)} of {len(judged)} targets met")
    if len(sys.argv) > 2:
        plot(rows, Path(sys.argv[2]))


if __name__ == "__main__":
    main()

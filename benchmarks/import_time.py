"""How long `import doteval` takes, as a multiple of `import anyio`, which it stands on. The target is at most 1.3.

Each import runs in a new process, the two by turns, so that a machine that gets slower or faster meanwhile does so for
both; what counts is the ratio of the medians. The processes measure the import statement, not their own start.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

TARGET = 1.3
CODE = "from time import perf_counter as now; start = now(); import {module}; print(now() - start)"


def seconds_to_import(module: str) -> float:
    """Import a module in a new process."""
    command = [sys.executable, "-c", CODE.format(module=module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    """Measure, print the result, and return 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=51, help="processes for each of the two imports")
    runs = parser.parse_args().runs
    for module in ("anyio", "doteval"):
        seconds_to_import(module)  # the first import may have to compile
    pairs = [(seconds_to_import("anyio"), seconds_to_import("doteval")) for _ in range(runs)]
    anyio, doteval = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = doteval / anyio
    print(f"import anyio   {anyio * 1e3:6.1f} ms   median of {runs}")
    print(f"import doteval {doteval * 1e3:6.1f} ms   median of {runs}")
    print(f"ratio          {ratio:6.2f}      target: at most {TARGET}")
    return ratio > TARGET


if __name__ == "__main__":
    sys.exit(main())

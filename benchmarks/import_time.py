"""How long `import doteval` takes, as a multiple of `import anyio`, which it stands on. The target is at most 1.3.

Each import runs in a new process, all by turns, so that a machine that gets slower or faster meanwhile does so for
all; what counts is the ratio of the medians. The processes measure the import statement, not their own start.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

TARGET = 1.3
# Recent versions of anyio load their modules when they are asked for; the last two show what is put off.
STATEMENTS = (
    "import anyio",
    "import doteval",
    "from anyio import create_task_group",
    "from doteval import PooledProvider",
)
CODE = "from time import perf_counter as now; start = now(); {statement}; print(now() - start)"


def seconds(statement: str) -> float:
    """Run an import in a new process."""
    command = [sys.executable, "-c", CODE.format(statement=statement)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    """Measure, print the result, and return 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=51, help="processes for each of the imports")
    runs = parser.parse_args().runs
    for statement in STATEMENTS:
        seconds(statement)  # the first import may have to compile
    rounds = [[seconds(statement) for statement in STATEMENTS] for _ in range(runs)]
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    for statement, median in zip(STATEMENTS, medians, strict=True):
        print(f"{statement:<36} {median * 1e3:6.1f} ms   median of {runs}")
    ratio = medians[1] / medians[0]
    print(f"import doteval / import anyio        {ratio:6.2f}      target: at most {TARGET}")
    return ratio > TARGET


if __name__ == "__main__":
    sys.exit(main())

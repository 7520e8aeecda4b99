"""How long `import doteval` takes, as a multiple of `import anyio`, which it stands on.

Each import runs in a new process, all by turns, so that a machine that gets slower or faster meanwhile does so for
all; what counts is the ratio of the medians. The processes measure the import statement, not their own start. Recent
versions of anyio load their modules when they are asked for; the second row, without a target, shows what is put off.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial

from _harness import by_turns, ratio_row, report

CODE = "from time import perf_counter as now; start = now(); {statement}; print(now() - start)"
PAIRS = (
    ("import doteval", "import anyio", 1.3),
    ("from doteval import PooledProvider", "from anyio import create_task_group", None),
)


def seconds(statement: str) -> float:
    """Run an import in a new process."""
    command = [sys.executable, "-c", CODE.format(statement=statement)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=51, help="processes for each of the imports")
    runs = parser.parse_args().runs
    statements = [statement for pair in PAIRS for statement in pair[:2]]
    figures = by_turns({statement: partial(seconds, statement) for statement in statements}, runs)
    report([ratio_row(ours, theirs, "", figures[ours], figures[theirs], target) for ours, theirs, target in PAIRS])


if __name__ == "__main__":
    main()

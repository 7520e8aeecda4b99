"""``nox -s instructions``: how many instructions a request takes where the raw SDK's takes 1, and whether that is more.

    python benchmarks/_instructions.py [DIRECTORY]

Time depends on who else uses the machine; instructions are counted, and repeat to two thousandths. The limits are what
was counted when this was last made cheaper, and 5 % above. A change that passes one says why, and writes another down.

DIRECTORY is where the counts are already; else valgrind is run, which takes some minutes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REQUESTS = Path(__file__).with_name("_requests.py")
SLACK = 1.05
COUNTED = {
    ("OpenAI, generate", "asyncio"): 0.531,
    ("OpenAI, generate", "trio"): 0.539,
    ("OpenAI, a stream of 20", "asyncio"): 0.383,
    ("OpenAI, a stream of 20", "trio"): 0.396,
    ("Anthropic, generate", "asyncio"): 0.810,
    ("Anthropic, generate", "trio"): 0.812,
    ("Anthropic, a stream of 20", "asyncio"): 0.853,
    ("Anthropic, a stream of 20", "trio"): 0.903,
}
"""Instructions of a request with doteval over those of the raw SDK, 10 at once, on Python 3.11."""


def count(directory: Path) -> None:
    command = ["valgrind", "-q", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={directory}/%p"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([*command, sys.executable, str(REQUESTS), str(directory)], env=environment, check=True)


def costs(directory: Path) -> dict[tuple[str, str, str], float]:
    """Instructions of a request, by question, loop and side."""
    totals: dict[tuple[str, str, str], dict[int, int]] = {}
    for child, (question, backend, side, requests) in json.loads(Path(directory, "children.json").read_text()).items():
        summary = re.search(r"^summary: (\d+)", Path(directory, child).read_text(), re.MULTILINE)
        assert summary is not None
        totals.setdefault((question, backend, side), {})[requests] = int(summary[1])
    return {which: (max(of.values()) - min(of.values())) / (max(of) - min(of)) for which, of in totals.items()}


def main() -> None:
    if len(sys.argv) > 1:
        found = costs(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as directory:
            count(Path(directory))
            found = costs(Path(directory))
    too_dear = []
    for question, backend in {which[:2]: None for which in found}:
        ours, theirs = found[question, backend, "doteval"], found[question, backend, "raw"]
        counted = COUNTED.get((question, backend))
        limit = "" if counted is None else f", at most {counted * SLACK:.3f}"
        print(f"{question}, {backend}: {ours:,.0f} against {theirs:,.0f}, which is {ours / theirs:.3f}{limit}")
        if counted is not None and ours / theirs > counted * SLACK:
            too_dear.append(f"{question}, {backend}")
    if too_dear:
        sys.exit(f"dearer than before: {'; '.join(too_dear)}")


if __name__ == "__main__":
    main()

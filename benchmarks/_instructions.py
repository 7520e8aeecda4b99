"""``nox -s instructions``: how many instructions a request or a lease takes where the other side's takes 1.

    python benchmarks/_instructions.py [PROGRAM...]

Time depends on who else uses the machine; instructions are counted, and repeat to two thousandths. The limits are what
was counted when this was last made cheaper, and 5 % above. A change that passes one says why, and writes another down.

PROGRAM is `_leases` or `_requests`, else both; under valgrind they take some minutes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAMS = ("_leases", "_requests")
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
    ("a warm lease", "asyncio"): 0.556,
    ("a warm lease", "trio"): 0.883,
    ("a warm lease with fast_acquire", "asyncio"): 0.184,
    ("a warm lease with fast_acquire", "trio"): 0.226,
    ("a warm lease with fast_acquire and a capacity", "asyncio"): 0.248,
    ("a warm lease with fast_acquire and a capacity", "trio"): 0.301,
    ("a cold open", "asyncio"): 11.150,
    ("a cold open", "trio"): 10.964,
}
"""Instructions of a request with doteval over those of the raw SDK, 10 at once, and of a lease, on Python 3.11."""
PROMISED = {
    ("to notice what is dropped, with a capacity", "asyncio"): 1.03,
    ("to notice what is dropped, with a capacity", "trio"): 1.03,
    ("to notice what is dropped, with keep_alive", "asyncio"): 1.03,
    ("to notice what is dropped, with keep_alive", "trio"): 1.03,
}
"""What has a limit of its own."""


def count(program: str, directory: Path) -> None:
    command = ["valgrind", "-q", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={directory}/%p"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run(
        [*command, sys.executable, str(Path(__file__).with_name(f"{program}.py")), str(directory)],
        env=environment,
        check=True,
    )


def costs(directory: Path) -> dict[tuple[str, str, str], float]:
    """Instructions of a request, by question, loop and side."""
    totals: dict[tuple[str, str, str], dict[int, int]] = {}
    for child, (question, backend, side, requests) in json.loads(Path(directory, "children.json").read_text()).items():
        summary = re.search(r"^summary: (\d+)", Path(directory, child).read_text(), re.MULTILINE)
        assert summary is not None
        totals.setdefault((question, backend, side), {})[requests] = int(summary[1])
    return {which: (max(of.values()) - min(of.values())) / (max(of) - min(of)) for which, of in totals.items()}


def main() -> None:
    found: dict[tuple[str, str, str], float] = {}
    for program in sys.argv[1:] or PROGRAMS:
        with tempfile.TemporaryDirectory() as directory:
            count(program, Path(directory))
            found |= costs(Path(directory))
    too_dear = []
    for question, backend in {which[:2]: None for which in found}:
        ours, theirs = found[question, backend, "doteval"], found[question, backend, "raw"]
        most = PROMISED.get((question, backend)) or COUNTED[question, backend] * SLACK
        ratio = f"{ours:,.0f} against {theirs:,.0f}, which is {ours / theirs:.3f}"
        print(f"{question}, {backend}: {ratio}, at most {most:.3f}")
        if ours / theirs > most:
            too_dear.append(f"{question}, {backend}")
    if too_dear:
        sys.exit(f"dearer than before: {'; '.join(too_dear)}")


if __name__ == "__main__":
    main()

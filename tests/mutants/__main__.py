"""Draws mutants and runs the tests of the pool over each: ``python -m tests.mutants 100``."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import doteval

from .equivalent import EQUIVALENT
from .mutations import Mutant, mutants_of

PACKAGE = Path(doteval.__file__).parent
MODULES = ("_pool/*.py", "_handle.py", "_pooled.py")
STAGES = (
    ("ledger", "deadlock", "turns", "retiring", "waits", "ledger_machine"),
    ("leaked", "nested", "running_down", "lifetimes", "leases", "preload", "broken", "time", "counts", "crowd"),
    ("hooks", "ownership", "setup", "start", "generators", "inheriting", "cancellation", "interrupts", "simulator"),
    ("left_behind", "blocking", "contract", "registry", "resource_ids"),
)
"""The tests, the quickest first."""
PATIENCE = 240
"""How long a stage may take, in seconds; a mutant that takes longer hangs, which is noticed."""


def main() -> None:
    """Run so many, and list those that live."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="those alone whose name has this in it")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--unchecked", action="store_true", help="do not run the tests without any mistake first")
    arguments = parser.parse_args()
    paths = sorted(path for pattern in MODULES for path in PACKAGE.glob(pattern))
    everything = [mutant for path in paths for mutant in mutants_of(path, PACKAGE) if arguments.only in str(mutant)]
    drawn = random.Random(arguments.seed).sample(everything, min(arguments.count, len(everything)))
    sys.stdout.write(f"{len(drawn)} of {len(everything)} mutants\n")
    with copies(arguments.workers) as free, ThreadPoolExecutor(arguments.workers) as threads:
        broken = [noticed(free.queue[0], stage) for stage in STAGES] if not arguments.unchecked else []
        if any(broken):
            sys.exit(f"without any mistake there are tests that fail: {', '.join(filter(None, broken))}")
        killers = list(threads.map(lambda mutant: told(mutant, killer_of(mutant, free)), drawn))
    alive = [mutant for mutant, killer in zip(drawn, killers, strict=True) if not killer]
    equivalent = [mutant for mutant in alive if str(mutant) in EQUIVALENT]
    left = [mutant for mutant in alive if mutant not in equivalent]
    different = len(drawn) - len(equivalent)
    share = 100 * (different - len(left)) / max(1, different)
    sys.stdout.write(f"{different - len(left)} of {different} die, {share:.1f} %; {len(equivalent)} are equivalent\n")
    for mutant in left:
        sys.stdout.write(f"lives: {mutant}\n")
    sys.exit(share < 95)


def told(mutant: Mutant, killer: str) -> str:
    sys.stdout.write(f"{killer or 'LIVES':16} {mutant}\n")
    sys.stdout.flush()
    return killer


@contextmanager
def copies(count: int) -> Iterator[Queue[Path]]:
    """Copies of the package, which a mutant may have for itself."""
    free: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory() as directory:
        for number in range(count):
            shutil.copytree(PACKAGE, Path(directory, str(number), "doteval"), ignore=shutil.ignore_patterns("*.pyc"))
            free.put(Path(directory, str(number)))
        yield free


def killer_of(mutant: Mutant, free: Queue[Path]) -> str:
    """What notices the mutant: the first test that fails; empty where none does."""
    directory = free.get()
    path = directory / "doteval" / mutant.path
    before = path.read_text("utf-8")
    path.write_text(mutant.source, "utf-8")
    try:
        return next(filter(None, (noticed(directory, stage) for stage in STAGES)), "")
    finally:
        path.write_text(before, "utf-8")
        free.put(directory)


def noticed(directory: Path, stage: tuple[str, ...]) -> str:
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no"]
    command += ["-m", "not process", "-k", "not uvloop", *(f"tests/test_{name}.py" for name in stage)]
    environment = {**os.environ, "PYTHONPATH": str(directory), "SIMULATIONS": "60"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            printed, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            return "hangs"
    if process.returncode == 0:
        return ""
    failed = [line for line in printed.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].partition("::")[0].rpartition("/")[2] if failed else "does not start"


if __name__ == "__main__":
    main()

"""A run that is killed at any moment loses only the rows in flight, and the next one does the rest.

A row is in flight until the run tells that it is done: at most twice as many are as are evaluated at once.

``nox -s crashes`` does it at 20 moments; `KILLS` says how many.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from tests.forks import Forks

from doteval import foreach
from doteval._writer import Writer
from doteval.evals import Store, run
from doteval.evals._results import store as store_module

ROWS, AT_ONCE = 1000, 20
KILLS = int(os.environ.get("KILLS", "3"))
SEED = int(os.environ.get("KILLS_SEED", "4"))

PROGRAM = """
import os, signal, sys, threading
from pathlib import Path
import anyio
from doteval import Result, foreach
from doteval.evals import run

store, log, told, backend, seconds = sys.argv[1:]
log, told = open(log, "a", buffering=1), open(told, "a", buffering=1)

@foreach("value", range(1000), concurrency=20)
async def eval_it(value):
    await anyio.sleep(0.002)
    print(value, file=log)
    return Result(value, scores={"right": True})

def tell(record):
    print(record.number, file=told)

if seconds != "-":
    threading.Timer(float(seconds), os.kill, [os.getpid(), signal.SIGKILL]).start()
outcome = anyio.run(lambda: run(eval_it, store=store, on_record=tell), backend=backend)
print(outcome.summary.rows, outcome.known, outcome.calls)
os._exit(0)
"""


def in_store(path: Path) -> list[int]:
    store = Store(path)
    return [record.number for found in store.evaluations() for record in store.records(found)]


def numbers_in(log: Path) -> list[int]:
    """The whole lines of a log; the process may have died within the last one."""
    return [int(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_a_run_is_killed_again_and_again(tmp_path: Path, forks: Forks) -> None:
    """No row is twice in the store; what ended and is not in it was in flight; what is in it is not run again."""
    program, path = tmp_path / "program.py", tmp_path / ".doteval" / "results.db"
    program.write_text(PROGRAM)
    random = Random(SEED)
    known: set[int] = set()
    killed = runs = 0
    is_finished = False
    while killed < KILLS or not is_finished:
        if is_finished:  # before its time had come
            known = set()
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()
        runs += 1
        log, told = tmp_path / f"log-{runs}", tmp_path / f"told-{runs}"
        seconds = f"{random.uniform(0.25, 0.7):.3f}" if killed < KILLS else "-"
        backend = random.choice(["asyncio", "trio"])
        result = forks.run(str(program), str(path), str(log), str(told), backend, seconds)
        ended, done = numbers_in(log), numbers_in(told)
        stored = in_store(path)
        assert len(stored) == len(set(stored)), "a row is twice in the store"
        assert known <= set(stored), "a row was lost that was there"
        assert known.isdisjoint(ended), "a row was run again though it was there"
        assert set(done) <= set(stored), "a row was lost that was told to be done"
        assert len(set(ended) - set(stored)) <= 2 * AT_ONCE, "more rows were lost than may be in flight"
        is_finished = result.returncode == 0
        if is_finished:
            assert result.stdout.split() == [str(ROWS), str(len(known)), str(len(ended))], result.stderr
            assert stored == list(range(ROWS))
        else:
            assert result.returncode == -signal.SIGKILL, result.stderr
            killed += 1
        known = set(stored)
    print(f"{killed} kills, {runs} runs of {ROWS} rows")


def test_what_is_thrown_away_is_there_until_something_new_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However what is to be written falls into transactions: a kill between any two leaves the one or the other."""
    path = tmp_path / "results.db"
    left: list[int] = []

    class Hasty(Writer[Any, Any]):
        def put(self, *items: Any) -> int:
            number = super().put(*items)
            self.flush()
            left.append(len(in_store(path)))
            return number

    async def eval_it(value: int) -> int:
        return value

    anyio.run(lambda: run(foreach("value", [1, 2])(eval_it), store=path))
    monkeypatch.setattr(store_module, "Writer", Hasty)
    anyio.run(lambda: run(foreach("value", [3, 4])(eval_it), store=path, fresh=True))
    assert left[0] == 2
    assert min(left) == 1

"""What is noted of each run of an evaluation: who is at it now, and what it was run with."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .._errors import ConcurrentRunError
from .claims import process_of
from .plain import plain

_HERE = (
    "Here it is a task: await it, or cancel it. One that Ctrl-C has left behind ends when anything is awaited in its "
    "event loop again, such as asyncio.sleep(1), and at the latest with this process."
)


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run of an evaluation whose results are in the store; an evaluation that is gone on with has several.

    Args:
        started: When it began, in seconds since 1970.
        about: What it was run with: the versions of ``doteval`` and ``python``, the ``system``, the ``commit`` of the
            repository that the evaluation is in, and by pytest also whether files were changed (``dirty``),
            ``settings``, and ``tags``.
    """

    started: float
    about: Mapping[str, Any]

    @property
    def tags(self) -> Mapping[str, str]:
        """What the user has noted."""
        return cast("Mapping[str, str]", self.about.get("tags") or {})


def note(
    connection: sqlite3.Connection, evaluation: int | None, about: Mapping[str, Any], claim: str | None = None
) -> None:
    """Note what an evaluation is run with, if it is still there, and its run has this claim."""
    text = json.dumps(plain({**about}), ensure_ascii=True)
    statement = (
        "INSERT INTO runs (evaluation, started, about) SELECT id, ?, ? FROM evaluations WHERE id = ? AND run IS ?"
    )
    connection.execute(statement, (time.time(), text, evaluation, claim))


def noted(connection: sqlite3.Connection, evaluation: int) -> list[StoredRun]:
    """The runs of an evaluation, oldest first."""
    rows = connection.execute("SELECT started, about FROM runs WHERE evaluation = ? ORDER BY id", (evaluation,))
    return [StoredRun(started, json.loads(about)) for started, about in rows]


def check_idle(
    connection: sqlite3.Connection,
    store: Path,
    experiment: str,
    name: str,
    problem: str = "is being run",
    advice: str = "Wait for that run to end, or end it.",
) -> None:
    """Nobody is at an evaluation.

    Args:
        connection: Writes to the store.
        store: Its file.
        experiment: The experiment.
        name: The evaluation's name in it.
        problem: What is wrong where somebody is.
        advice: What to do then.

    Raises:
        ConcurrentRunError: A run is.
    """
    select = "SELECT run, id FROM evaluations WHERE experiment = ? AND name = ? AND run IS NOT NULL"
    for run, number in connection.execute(select, (experiment, name)).fetchall():
        process = process_of(run, store, number)
        if process is not None:
            is_here = process == os.getpid()
            which = f"process {process}, which is this one" if is_here else f"process {process}"
            raise ConcurrentRunError(name, f"{problem} by {which}", f"{advice} {_HERE}" if is_here else advice)

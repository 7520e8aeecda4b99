"""What happens in random histories of evaluations: runs in one store, and what else is done to it.

`test_fuzz.py` makes the histories and knows what must be in the store; here is only what they do, so that a process of
its own can do it that has imported little: ``python -m tests.evals.history_process``.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import anyio
from anyio import CancelScope, to_thread
from anyio.lowlevel import checkpoint

from doteval import Completion, ModelRequest, Result, foreach
from doteval._replies.asked import asked
from doteval.evals import (
    ConcurrentRunError,
    DatasetError,
    EvaluationChangedError,
    Record,
    StoreError,
    delete,
    rename,
    rescore,
    run,
)
from doteval.evals._digests import digest_of
from doteval.evals._results.database import Database

VALUES: list[Any] = [0, 1, "a", "b", "\ud83d", None, 10**5000, (1, 2), float("nan"), {"x": [1]}, "x" * 5000]
OUTPUTS: list[Any] = ["text", "\udc00", 10**4400, {"a": {1: 2}}, [float("inf")], b"\xff", object]
ERRORS: list[BaseException] = [
    ValueError("no"),
    SystemExit(3),
    GeneratorExit(),
    ExceptionGroup("several", [ValueError("\ud83d")]),
    RuntimeError("x" * 3000),
]
PLACES = {digest_of({"value": value}): place for place, value in enumerate(VALUES)}
OTHERS = 99
"""The version of a run that overtakes another."""

Key: TypeAlias = tuple[int, int, int]
"""Which of the values a row has, which of the equal rows it is, and which sample of it."""


class Kept(NamedTuple):
    """What is to be in the store of a sample.

    Args:
        version: Of the code that made the result; `None`: it has failed.
        reply: What the model replied; of one that has failed, nothing is known.
        requests: How many requests are kept with it.
        score: The name of its score.
    """

    version: int | None
    reply: str | None
    requests: int
    score: str | None


Rows: TypeAlias = Mapping[Key, Kept]


@dataclass(frozen=True)
class Run:
    """One run.

    Args:
        experiment: Its experiment.
        values: The dataset, as places in `VALUES`.
        limit: How many rows of it.
        shuffle: Whether they are run in another order.
        epochs: How many samples of each row.
        version: Of the code.
        changed: What becomes of results of another version.
        fresh: Whether it starts over.
        cache: Whether replies are cached.
        transcripts: Whether requests are kept.
        failing: Which calls raise.
        ends: When it ends early, and how: in a call of the row, but ``"tell"`` and ``"killed telling"`` when so many
            rows were told, and ``"killed writing"`` before a statement for the database. ``"hold"`` waits.
        concurrency: How many rows at once.
        backend: The event loop.
    """

    experiment: str
    values: tuple[int, ...]
    limit: int | None
    shuffle: bool
    epochs: int
    version: int
    changed: Literal["error", "rerun", "keep"]
    fresh: bool
    cache: bool
    transcripts: bool
    failing: frozenset[int]
    ends: tuple[int, str] | None
    concurrency: int
    backend: str

    @property
    def place(self) -> tuple[str, str]:
        """Where its results are."""
        return self.experiment, "it" if self.limit is None else f"it (first {self.limit})"

    @property
    def is_killed(self) -> bool:
        """Whether somebody kills it, if it gets so far."""
        return self.ends is not None and self.ends[1].startswith("killed")


@dataclass(frozen=True)
class Delete:
    """An experiment is deleted.

    Args:
        experiment: Which one.
        killed: Before which statement for the database whoever does it is killed.
    """

    experiment: str
    killed: int | None = None


@dataclass(frozen=True)
class Rename:
    """An experiment is given another name.

    Args:
        experiment: Which one.
        to: The name.
        killed: Likewise.
    """

    experiment: str
    to: str
    killed: int | None = None


@dataclass(frozen=True)
class Rescore:
    """An experiment is scored again.

    Args:
        experiment: Which one.
        to: Where to.
        overwrite: Whether what is there is replaced.
        killed: Likewise.
    """

    experiment: str
    to: str
    overwrite: bool
    killed: int | None = None


Change: TypeAlias = Delete | Rename | Rescore


@dataclass(frozen=True)
class Beside:
    """A run in a process of its own, which waits in a row while others do something.

    Args:
        one: The run.
        meanwhile: What they do.
        killed: Whether it is killed then; else it goes on.
    """

    one: Run
    meanwhile: tuple[Run | Change, ...]
    killed: bool


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, told apart from the one of whoever runs this."""


class ToldError(Exception):
    """What ends a run that tells somebody of a row."""


EXPECTED = (Interrupt, ToldError, ConcurrentRunError, EvaluationChangedError, DatasetError, StoreError, ValueError)


class Model:
    """A model that never replies the same twice, whose replies may be cached.

    Args:
        number: Of its run.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._count = 0

    async def generate(self, prompt: str) -> Completion:
        """Ask it."""
        messages = [{"role": "user", "content": prompt}]
        request = asked("m", dict, {"prompt": prompt})
        with request or nullcontext():
            if request is not None and (found := await request.answer()) is not None:
                reply = Completion(found[0][1]["text"])
                with ModelRequest("m", messages, from_cache=True) as made:
                    made.replied(reply)
                request.answered(None)
                return reply
            self._count += 1
            reply = Completion(f"{self._number} {self._count}")
            with ModelRequest("m", messages) as made:
                await checkpoint()
                made.replied(reply)
            if request is not None:
                request.sent()
                await request.keep(lambda: [("reply", {"text": str(reply)})])
            return reply


class Script:
    """What happens in one run.

    Args:
        one: The run.
        path: The store.
        number: Its number.
        log: Is told of each row that is called, by its value, and of each that is done.
    """

    def __init__(self, one: Run, path: Path, number: int, log: Callable[[str, Any], object]) -> None:
        self.one = one
        self.path = path
        self.calls = self.told = 0
        self._model = Model(number)
        self._log = log

    def __doteval_identity__(self) -> Mapping[str, Any]:
        return {}  # no result depends on it, but on the version

    async def play(self) -> BaseException | None:
        """Make the run; what it was ended with."""
        one = self.one
        evaluation = foreach("value", [{"value": VALUES[place]} for place in one.values], concurrency=one.concurrency)
        self.scope = CancelScope()
        try:
            with self.scope:
                await run(
                    evaluation(answer),
                    store=self.path,
                    experiment=one.experiment,
                    name="it",
                    limit=one.limit,
                    shuffle=one.shuffle,
                    seed=len(one.values),
                    epochs=one.epochs,
                    fresh=one.fresh,
                    changed=one.changed,
                    cache="on" if one.cache else None,
                    transcripts=one.transcripts,
                    on_record=self.tell,
                    version=one.version,
                    script=self,
                )
        except EXPECTED as exc:
            return exc
        return TimeoutError() if self.scope.cancelled_caught else None

    async def answer(self, value: Any, version: int) -> Result:
        """Evaluate one row."""
        number, self.calls = self.calls, self.calls + 1
        place = PLACES[digest_of({"value": value})]
        self._log("called", place)
        reply = await self._model.generate(str(place))
        await checkpoint()
        if self.one.ends is not None and number == self.one.ends[0]:
            await self._end(self.one.ends[1])
        if number in self.one.failing:
            raise ERRORS[number % len(ERRORS)]
        metadata = {"version": version, "reply": str(reply)}
        return Result(OUTPUTS[number % len(OUTPUTS)], metadata=metadata, scores={"good": number % 2 == 0})

    async def _end(self, how: str) -> None:
        """End the run, from within a row."""
        match how:
            case "cancel":
                self.scope.cancel()
            case "interrupt":
                raise Interrupt
            case "overtake":
                other = foreach("value", [VALUES[0]])(overtake)
                experiment, limit = self.one.experiment, self.one.limit
                await run(other, store=self.path, experiment=experiment, name="it", limit=limit, fresh=True)
            case "hold":
                self._log("held", None)
                await to_thread.run_sync(os.read, 0, 1)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)

    def tell(self, record: Record) -> None:
        """Be told of a row."""
        self.told += 1
        kept = kept_of(record, int(self.one.transcripts))
        self._log("told", (key_of(record), kept))
        if self.one.ends is not None and self.told > self.one.ends[0]:
            if self.one.ends[1] == "tell":
                raise ToldError
            if self.one.ends[1] == "killed telling":
                os.kill(os.getpid(), signal.SIGKILL)


async def answer(value: Any, version: int, script: Script) -> Result:
    return await script.answer(value, version)


async def overtake(value: Any) -> Result:
    return Result(value, metadata={"version": OTHERS, "reply": None}, scores={"good": True})


def score(metadata: Mapping[str, Any]) -> Mapping[str, bool]:
    return {"again": "reply" in metadata}


def key_of(record: Record) -> Key:
    digest, _, number = record.key.partition(" ")
    assert digest == record.digest
    return PLACES[digest], int(number or 1), record.sample


def kept_of(record: Record, requests: int) -> Kept:
    metadata = record.metadata or {}
    (name,) = record.scores or [None]
    return Kept(metadata.get("version"), metadata.get("reply"), requests, name)


def made(change: Change, path: Path) -> BaseException | None:
    """Make a change; what it was refused with."""
    try:
        match change:
            case Delete(experiment):
                delete(experiment, store=path)
            case Rename(experiment, to):
                rename(experiment, to, store=path)
            case Rescore(experiment, to, overwrite):
                anyio.run(again, experiment, path, to, overwrite)
    except EXPECTED as exc:
        return exc
    return None


async def again(experiment: str, path: Path, to: str, overwrite: bool) -> None:
    await rescore(experiment, score, store=path, into=to, overwrite=overwrite)


# ---------------------------------------------------------------- in a process of its own


def arguments(step: Run | Change, path: Path, number: int) -> list[str]:
    """The arguments of a process that does it."""
    return ["-m", "tests.evals.history_process", b64encode(pickle.dumps((step, path, number))).decode()]


def play_here(argument: str) -> None:
    """Do it, and say what happens, a line each, as it happens."""
    step, path, number = pickle.loads(b64decode(argument))

    def log(what: str, about: Any) -> None:
        os.write(1, f"{json.dumps((what, about))}\n".encode())  # survives whatever kills this

    if isinstance(step, Run):
        if step.ends is not None and step.ends[1] == "killed writing":
            kill_before_statement(step.ends[0])
        error = anyio.run(Script(step, path, number, log).play, backend=step.backend)
    else:
        if step.killed is not None:
            kill_before_statement(step.killed)
        error = made(step, path)
    log("ended", None if error is None else type(error).__name__)


def kill_before_statement(number: int) -> None:
    """Kill this process in front of the statement of this number that it has for the database."""
    left = number
    before = Database._open

    def count(_: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def opened(self: Database) -> sqlite3.Connection:
        connection = before(self)
        connection.set_trace_callback(count)
        return connection

    Database._open = opened  # type: ignore[assignment,method-assign]

"""Whatever a row, a dataset, or whoever is told lets escape: no row is gone, and nothing is finished early."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import CancelScope, Event, create_task_group, get_cancelled_exc_class
from anyio.lowlevel import checkpoint
from tests.conftest import BACKENDS

from doteval import Result, foreach
from doteval.evals import Record, Store, run

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=BACKENDS.values(), ids=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """With uvloop, too: what is cancelled how is the event loop's business."""
    return request.param


ROWS = 12
BAD = 4


async def cancels_a_task_of_its_own() -> None:
    """As an agent does that gives up on a tool: awaiting what was cancelled raises the cancellation here."""
    if get_cancelled_exc_class().__module__.startswith("asyncio"):
        import asyncio

        task = asyncio.ensure_future(Event().wait())
        await checkpoint()
        task.cancel()
        await task
    await raises_a_cancellation_that_was_kept()


async def raises_a_cancellation_that_was_kept() -> None:
    kept: list[BaseException] = []
    with CancelScope() as scope:
        scope.cancel()
        try:
            await checkpoint()
        except BaseException as exc:
            kept.append(exc)
            raise
    raise kept[0]


def escaping(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def escape() -> None:
        await checkpoint()
        raise error

    return escape


async def raises_a_group() -> None:
    async with create_task_group() as task_group:
        task_group.start_soon(escaping(pytest.fail.Exception("not good")))
        task_group.start_soon(escaping(GeneratorExit()))


class UnprintableError(Exception):
    """Whose every part raises, that is not set."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    @property
    def __notes__(self) -> list[str]:
        raise ValueError("no notes")


def with_parts(error: BaseException, **parts: object) -> BaseException:
    """With what only its author knows the meaning of, where Python has meanings of its own."""
    for name, part in parts.items():
        setattr(error, name, part)
    return error


ODD_ERRORS: dict[str, BaseException] = {
    "one that has no text": UnprintableError(),
    "one of another language's syntax": with_parts(SyntaxError("bad"), filename=3, lineno="two", offset="c 4", text=5),
    "one with a number for notes": with_parts(ValueError("bad"), __notes__=5),
    "one with odd ones in a group": ExceptionGroup("", [UnprintableError()]),
    "one from an odd one": with_parts(ValueError("bad"), __cause__=with_parts(SyntaxError("bad"), text=5, lineno=1)),
}

ESCAPES: dict[str, Callable[[], Awaitable[None]]] = {
    "a task of its own, cancelled": cancels_a_task_of_its_own,
    "a cancellation that was kept": raises_a_cancellation_that_was_kept,
    "SystemExit": escaping(SystemExit(2)),
    "GeneratorExit": escaping(GeneratorExit()),
    "a BaseException": escaping(pytest.fail.Exception("not good")),
    "an exception": escaping(ValueError("no")),
    "an empty StopIteration": escaping(StopIteration()),
    "a group": raises_a_group,
    "a group with an exit": escaping(BaseExceptionGroup("", [SystemExit(1), ValueError()])),
    **{name: escaping(error) for name, error in ODD_ERRORS.items()},
}


@pytest.fixture(params=ESCAPES.values(), ids=ESCAPES)
def escape(request: pytest.FixtureRequest) -> Callable[[], Awaitable[None]]:
    return request.param


@pytest.fixture(params=[False, True], ids=["in memory", "stored"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store | None]:
    if not request.param:
        yield None
        return
    with Store(tmp_path / "results.db") as store:
        yield store


def kept_in(store: Store | None) -> tuple[int, bool]:
    """How many rows are in the store, and whether the evaluation counts as finished."""
    if store is None:
        return 0, False
    (stored,) = store.evaluations()
    return len(list(store.records(stored))), stored.finished is not None


async def test_a_row_that_lets_something_escape_has_failed_and_the_others_go_on(
    escape: Callable[[], Awaitable[None]], store: Store | None
) -> None:
    """All are there, in order; one has an error."""

    @foreach("value", range(ROWS), concurrency=3)
    async def eval_it(value: int) -> Result:
        if value == BAD:
            await escape()
        await checkpoint()
        return Result(value)

    told: list[int] = []
    outcome = await run(eval_it, store=store, on_record=lambda record: told.append(record.number))
    assert [record.number for record in outcome.records] == told == list(range(ROWS))
    assert [(record.number, bool(record.traceback)) for record in outcome.failed] == [(BAD, True)]
    assert (outcome.summary.rows, outcome.summary.errors) == (ROWS, 1)
    if store is not None:
        assert kept_in(store) == (ROWS, True)


@pytest.mark.parametrize(
    "error", [SystemExit(2), GeneratorExit(), pytest.skip.Exception("no"), KeyError("k")], ids=repr
)
async def test_a_plain_function_that_lets_something_escape_has_failed(error: BaseException) -> None:
    """In its worker thread."""

    @foreach("value", range(ROWS), concurrency=3)
    def eval_it(value: int) -> Result:
        if value == BAD:
            raise error
        return Result(value)

    outcome = await run(eval_it)
    assert [record.number for record in outcome.failed] == [BAD]
    assert outcome.summary.rows == ROWS


async def test_what_a_dataset_lets_escape_is_raised_and_nothing_is_finished(
    escape: Callable[[], Awaitable[None]], store: Store | None
) -> None:
    """After the rows that were read before are done; a cancellation that is nobody's says so."""

    async def dataset() -> AsyncIterator[int]:
        for value in range(BAD):
            yield value
        await escape()

    @foreach("value", dataset, concurrency=3)
    async def eval_it(value: int) -> Result:
        await checkpoint()
        return Result(value)

    told: list[int] = []
    caught: BaseException | None = None
    try:
        await run(eval_it, store=store, on_record=lambda record: told.append(record.number))
    except BaseException as exc:
        caught = exc
    assert caught is not None
    assert not isinstance(caught, get_cancelled_exc_class())
    assert told == list(range(BAD))
    if store is not None:
        assert kept_in(store) == (BAD, False)


async def test_what_whoever_is_told_lets_escape_is_raised_as_it_is(store: Store | None) -> None:
    """A cancellation that is nobody's, a failed assertion of pytest, an exit: none is gone, none is in a group."""
    with pytest.raises(get_cancelled_exc_class()) as cancellation:
        await raises_a_cancellation_that_was_kept()
    for error, expected in (
        (cancellation.value, RuntimeError),
        (pytest.fail.Exception("no"), pytest.fail.Exception),
        (SystemExit(2), SystemExit),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (LookupError(), LookupError),
    ):

        def look(record: Record, error: BaseException = error) -> None:
            if record.number == BAD:
                raise error

        @foreach("value", range(ROWS), concurrency=3)
        async def eval_it(value: int) -> Result:
            await checkpoint()
            return Result(value)

        with pytest.raises(expected):
            await run(eval_it, store=store, on_record=look, fresh=True)
        assert not kept_in(store)[1]


@pytest.mark.parametrize("where", ["row", "group", "dataset"])
async def test_an_interrupt_ends_the_run_as_it_is(where: str, store: Store | None) -> None:
    """Not as a row's failure, and not in a group; what was there by then is kept, and nothing is finished."""

    async def dataset() -> AsyncIterator[int]:
        for value in range(ROWS):
            if where == "dataset" and value == BAD:
                raise KeyboardInterrupt
            yield value

    @foreach("value", dataset, concurrency=1)
    async def eval_it(value: int) -> Result:
        await checkpoint()
        if value == BAD and where == "row":
            raise KeyboardInterrupt
        if value == BAD:
            raise BaseExceptionGroup("", [ValueError(), KeyboardInterrupt()])
        return Result(value)

    with pytest.raises(KeyboardInterrupt):
        await run(eval_it, store=store)
    rows, is_finished = kept_in(store)
    assert rows <= BAD
    assert not is_finished


@pytest.mark.concurrency
async def test_the_runs_own_cancellation_is_no_failure_of_a_row(store: Store | None) -> None:
    """Also where it arrives while a row lets a cancellation of its own escape; what is stored by then is right."""
    for moment in range(12):
        calls = 0

        @foreach("value", range(ROWS), concurrency=3)
        async def eval_it(value: int) -> Result:
            nonlocal calls
            calls += 1
            if calls == moment:  # noqa: B023 - it is run within this round
                scope.cancel()
            if value % 2:
                await cancels_a_task_of_its_own()
            await checkpoint()
            return Result(value)

        with CancelScope() as scope:
            await run(eval_it, store=store, name=str(moment))
        assert scope.cancelled_caught == (0 < moment <= ROWS)
        if store is not None and scope.cancelled_caught:
            stored = store.find("default", str(moment))
            assert stored is not None
            assert stored.finished is None
            for record in store.records(stored):
                assert record.failed == bool(record.number % 2)


async def test_a_task_that_is_cancelled_natively_ends_the_run(anyio_backend: Any, store: Store | None) -> None:
    """As `asyncio.timeout` and whoever stops a program do it: the rows in flight are no failures."""
    if not get_cancelled_exc_class().__module__.startswith("asyncio"):
        return  # trio knows cancel scopes only, which the test above uses
    import asyncio

    begun = anyio.Event()
    in_flight = 0

    @foreach("value", range(ROWS), concurrency=3)
    async def eval_it(value: int) -> Result:
        nonlocal in_flight
        in_flight += 1
        if in_flight == 3:
            begun.set()
        await Event().wait()
        return Result(value)

    main = asyncio.ensure_future(run(eval_it, store=store))
    await begun.wait()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        if task is main or "Engine" in repr(task):
            task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await main
    assert kept_in(store) == (0, False)


@pytest.mark.process
async def test_a_run_that_is_cancelled_natively_while_a_dataset_is_read_is_cancelled(anyio_backend: Any) -> None:
    """The thread that reads it may be in the middle of it; whatever that leads to does not take the place of why."""
    if not get_cancelled_exc_class().__module__.startswith("asyncio"):
        return  # trio waits for its threads
    import asyncio
    import threading

    reading, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def dataset() -> Iterator[int]:
        yield 1
        loop.call_soon_threadsafe(reading.set)
        go_on.wait(30)
        yield 2

    @foreach("value", dataset)
    async def eval_it(value: int) -> Result:
        return Result(value)

    main = asyncio.ensure_future(run(eval_it))
    await reading.wait()
    main.cancel()
    try:
        with pytest.raises(asyncio.CancelledError):
            await main
    finally:
        go_on.set()


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), OSError("gone"), pytest.fail.Exception("no")], ids=repr
)
async def test_rows_that_were_read_are_kept_whatever_a_plain_dataset_raises_after_them(
    error: BaseException, tmp_path: Path
) -> None:
    """It is read in a worker thread, many rows at a time."""

    def dataset() -> Iterator[int]:
        yield from range(50)
        raise error

    @foreach("value", dataset)
    async def eval_it(value: int) -> Result:
        return Result(value)

    with Store(tmp_path / "results.db") as store:
        with pytest.raises((type(error), RuntimeError)):
            await run(eval_it, store=store)
        assert kept_in(store) == (50, False)

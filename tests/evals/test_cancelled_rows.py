"""Rows in flight when a run ends: whatever they make of their cancellation, none of them is kept as a failure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from anyio import CancelScope, Event, create_task_group, current_time, get_cancelled_exc_class
from anyio.lowlevel import checkpoint
from tests.conftest import BACKENDS

from doteval import ModelRequestError, Result, foreach
from doteval.evals import EvaluationAbortedError, Retries, RowTimeoutError, Store, run

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


@pytest.fixture(scope="module", params=BACKENDS.values(), ids=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """With uvloop, too: what is cancelled how is the event loop's business."""
    return request.param


async def does_nothing_about_it() -> None:
    await Event().wait()


async def swallows_it() -> None:
    with suppress(BaseException):
        await Event().wait()


async def raises_another_error() -> None:
    try:
        await Event().wait()
    except BaseException as exc:
        raise ValueError("the client was closed") from exc


async def fails_to_clean_up() -> None:
    try:
        await Event().wait()
    finally:
        raise RuntimeError("it cannot be closed")


async def raises_it_with_an_error() -> None:
    try:
        await Event().wait()
    except BaseException as exc:
        raise BaseExceptionGroup("", [exc, ValueError("no")]) from None


async def fails_to_clean_up_in_a_task_group() -> None:
    async with create_task_group() as task_group:
        task_group.start_soon(does_nothing_about_it)
        await fails_to_clean_up()


async def fails_to_clean_up_in_a_task() -> None:
    async with create_task_group() as task_group:
        task_group.start_soon(fails_to_clean_up)
        task_group.start_soon(fails_to_clean_up)


async def exits() -> None:
    try:
        await Event().wait()
    finally:
        raise SystemExit(1)


async def cleans_up_for_a_while_and_fails() -> None:
    try:
        await Event().wait()
    finally:
        with CancelScope(shield=True):
            for _ in range(3):
                await checkpoint()
        raise ModelRequestError("model", "it is gone", "Look.", status=503)


async def raises_what_concerns_every_row() -> None:
    try:
        await Event().wait()
    finally:
        raise ModelRequestError("model", "refused", "Look at the key.", status=401)


REACTIONS: list[Callable[[], Awaitable[None]]] = [
    does_nothing_about_it,
    swallows_it,
    raises_another_error,
    fails_to_clean_up,
    raises_it_with_an_error,
    fails_to_clean_up_in_a_task_group,
    fails_to_clean_up_in_a_task,
    exits,
    cleans_up_for_a_while_and_fails,
    raises_what_concerns_every_row,
]
FIRST, ENDER = 0, 1
IN_FLIGHT = [ENDER, *range(2, 2 + len(REACTIONS))]
"""Each reacts in another way; the first row is done by then, and some have not begun."""
ROWS = len(IN_FLIGHT) + 4
ENDS = ["a scope", "the task", "every task", "a final error", "an interrupt", "an abort"]


def is_asyncio() -> bool:
    return get_cancelled_exc_class().__module__.startswith("asyncio")


async def as_a_task(end: str, made: Callable[[], Awaitable[object]], cancels: list[Callable[[], object]]) -> None:
    """Run it, where somebody may cancel its task, or every task of it."""
    import asyncio

    before = asyncio.all_tasks()
    main = asyncio.ensure_future(made())

    def cancel() -> None:
        for task in asyncio.all_tasks() - before if end == "every task" else [main]:
            task.cancel()

    cancels.append(lambda: asyncio.get_running_loop().call_soon(cancel))
    with suppress(asyncio.CancelledError):
        await main


@pytest.mark.parametrize("end", ENDS)
async def test_the_end_of_a_run_makes_no_row_a_failure(end: str, tmp_path: Path) -> None:
    """What the store has is what was done, and the next run does the rest, once."""
    if end in ("the task", "every task") and not is_asyncio():
        return  # trio knows cancel scopes only
    is_over = False
    called: list[int] = []
    all_wait = Event()
    cancels: list[Callable[[], object]] = []

    @foreach("value", range(ROWS), concurrency=len(IN_FLIGHT))
    async def eval_it(value: int) -> Result:
        called.append(value)
        if value == FIRST or is_over:
            return Result(value)
        if len(called) == 1 + len(IN_FLIGHT):
            all_wait.set()
        if value == ENDER:
            await all_wait.wait()
            await checkpoint()
            if end == "a final error":
                raise ModelRequestError("model", "refused", "Look at the key.", status=401)
            if end == "an interrupt":
                raise KeyboardInterrupt
            if end == "an abort":
                raise LookupError("no")
            cancels[0]()
        await REACTIONS[(value - 2) % len(REACTIONS)]()
        return Result("what there was when it was cancelled")

    store = tmp_path / "results.db"

    async def go() -> object:
        return await run(eval_it, store=store, max_errors=0, abort_after=1)

    if end in ("the task", "every task"):
        await as_a_task(end, go, cancels)
    elif end == "a scope":
        with CancelScope() as scope:
            cancels.append(scope.cancel)
            await go()
        assert scope.cancelled_caught
    else:
        expected = {"a final error": ModelRequestError, "an interrupt": KeyboardInterrupt}
        with pytest.raises(expected.get(end, EvaluationAbortedError)):
            await go()
    with Store(store) as opened:
        (stored,) = opened.evaluations()
        records = [*opened.records(stored)]
    assert stored.finished is None
    assert {record.number: record.error for record in records if record.failed}.keys() == (
        {ENDER} if end == "an abort" else set()
    )
    done = {record.number for record in records if not record.failed}
    assert done == {FIRST}
    assert all(record.output == record.number for record in records if not record.failed)
    is_over = True
    called.clear()
    outcome = await run(eval_it, store=store, max_errors=0, changed="keep")
    assert sorted(called) == sorted({*range(ROWS)} - done)
    assert (outcome.summary.rows, outcome.summary.errors) == (ROWS, 0)


async def test_a_row_that_takes_too_long_says_so() -> None:
    """Whatever it makes of its cancellation; so it can be run again for that reason."""

    @foreach("react", REACTIONS, row_timeout=0.02, retries=Retries(on=RowTimeoutError, times=1, pause=0))
    async def eval_it(react: Callable[[], Awaitable[None]]) -> Result:
        await react()
        return Result("what there was when it was cancelled")

    outcome = await run(eval_it)
    assert [(record.error or "").partition(":")[0] for record in outcome.records] == ["RowTimeoutError"] * len(
        REACTIONS
    )
    assert {record.attempts for record in outcome.records} == {2}


async def test_a_row_that_is_cancelled_while_it_takes_too_long_is_no_failure(tmp_path: Path) -> None:
    """The end of the run comes first, whatever else has ended the row."""
    late = current_time() + 0.02

    @foreach("react", REACTIONS, row_timeout=0.01)
    async def eval_it(react: Callable[[], Awaitable[None]]) -> Result:
        scope.cancel()
        while current_time() < late:
            pass
        await react()
        return Result(1)

    store = tmp_path / "results.db"
    with CancelScope() as scope:
        await run(eval_it, store=store)
    assert scope.cancelled_caught
    with Store(store) as opened:
        (stored,) = opened.evaluations()
        assert [*opened.records(stored)] == []


async def test_a_row_that_has_not_begun_when_the_run_is_cancelled_does_not_begin() -> None:
    """It might block the event loop, and be paid for, before anything could cancel it."""
    begun: list[int] = []
    scope = CancelScope()

    @foreach("n", range(20), concurrency=4)
    async def block(n: int) -> Result:
        begun.append(n)
        if n == 9:
            scope.cancel()
        return Result(n)

    with scope:
        await run(block)
    assert begun == [*range(10)]

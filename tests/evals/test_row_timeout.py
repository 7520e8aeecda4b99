"""A timeout for each attempt of a row: a hung row is one failure, and what it cost is known."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from anyio import CancelScope, Event, create_task_group, current_time, get_cancelled_exc_class, sleep, sleep_forever
from anyio.lowlevel import checkpoint
from tests.virtual_time import virtual_time

from doteval import ModelRequestError, Result, foreach
from doteval.evals import Record, Retries, RowTimeoutError, run
from doteval.evals._running.arguments import LeasedArguments
from doteval.evals._running.missing import run_rows
from doteval.evals._running.settings import Settings
from doteval.testing import FakeModel

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]
MESSAGE = "RowTimeoutError: An attempt took longer than 5 s, and was cancelled."


async def hang() -> Result:
    await sleep_forever()
    raise AssertionError


async def swallow() -> Result:
    try:
        await sleep_forever()
    except BaseException:
        with CancelScope(shield=True):
            await sleep(2)
    return Result("late")


async def convert() -> Result:
    try:
        await sleep_forever()
    except get_cancelled_exc_class():
        raise ModelRequestError("m", "the connection was closed", "Wait.", status=500) from None
    raise AssertionError


async def children() -> Result:
    async with create_task_group() as task_group:
        for _ in range(3):
            task_group.start_soon(sleep_forever)
    return Result("late")


async def own_timeout() -> Result:
    with CancelScope(deadline=current_time() + 3) as scope:
        await sleep_forever()
    await sleep(1)
    return Result(scope.cancelled_caught)


@virtual_time
@pytest.mark.parametrize(
    ("row", "error"),
    [(hang, MESSAGE), (swallow, MESSAGE), (convert, MESSAGE), (children, MESSAGE), (own_timeout, None)],
    ids=lambda value: getattr(value, "__name__", "") or "",
)
async def test_a_row_that_takes_too_long_is_its_own_failure(row: Callable[[], Awaitable[Result]], error: Any) -> None:
    """Whatever it makes of its cancellation; it is not run again, its place is free, the others are as always."""

    @foreach("value", range(3), concurrency=1)
    async def eval_it(value: int) -> Result:
        await checkpoint()
        return await row() if value == 1 else Result(value)

    start = current_time()
    first, second, third = (await run(eval_it, row_timeout=5)).records
    assert current_time() - start == pytest.approx({None: 4, MESSAGE: 7 if row is swallow else 5}[error], abs=0.1)
    assert (first.output, third.output, second.attempts) == (0, 2, 1)
    assert (second.error or "").partition("\n")[0] == (error or "")
    assert error is None or "row_timeout=, or --doteval-eval-row-timeout" in (second.error or "")
    assert row is swallow or error is None or f"in {row.__name__}" in (second.traceback or "")


@virtual_time
async def test_what_a_model_said_and_cost_until_then_is_kept() -> None:
    """Also of a request that was under way: nobody knows what it cost."""

    @foreach("value", [1])
    async def eval_it(value: int, model: Any, slow: Any) -> Result:
        await model.generate("a question")
        await slow.generate("another")
        raise AssertionError

    (record,) = (await run(eval_it, model=FakeModel(), slow=FakeModel("slow", latency=60), row_timeout=5)).records
    assert (record.output, record.seconds) == ("a question", pytest.approx(5, abs=0.1))
    assert {(each.role, each.requests, each.unknown) for each in record.usage_by_model} == {
        ("model", 1, 0),
        ("slow", 1, 1),
    }


@virtual_time
async def test_pauses_because_of_a_refusal_do_not_count() -> None:
    """Each attempt has its time, and what is between them is not the row's fault."""
    attempts = 0

    @foreach("value", [1])
    async def eval_it(value: int) -> Result:
        nonlocal attempts
        attempts += 1
        await sleep(4)
        if attempts < 3:
            raise ModelRequestError("m", "too many", "Wait.", status=429, retry_after=60)
        return Result(value)

    (record,) = (await run(eval_it, row_timeout=5)).records
    assert (record.error, record.attempts) == (None, 3)


@virtual_time
async def test_it_is_run_again_where_the_user_says_so() -> None:
    """An attempt is what takes too long, and the next one has as much time."""
    attempts = 0

    @foreach("value", [1], row_timeout=5, retries=Retries(on=RowTimeoutError, times=2))
    async def eval_it(value: int) -> Result:
        nonlocal attempts
        attempts += 1
        await sleep(6 if attempts < 3 else 4)
        return Result(value)

    (record,) = (await run(eval_it)).records
    assert (record.error, record.attempts) == (None, 3)
    attempts = -10
    (record,) = (await run(eval_it)).records
    assert (record.failed, record.attempts) == (True, 3)
    attempts = 0
    (record,) = (await run(eval_it, row_timeout=0)).records
    assert (record.error, record.attempts) == (None, 1)


@virtual_time
async def test_the_end_of_the_run_is_no_timeout() -> None:
    """Also where both come at once."""

    @foreach("value", range(4))
    async def eval_it(value: int) -> Result:
        return await hang()

    for seconds in (3, 5, 7):
        told: list[Record] = []
        with CancelScope(deadline=current_time() + seconds) as scope:
            await run(eval_it, row_timeout=5, on_record=told.append)
        assert scope.cancelled_caught is (seconds == 3 or not told)
        assert len(told) == (4 if seconds == 7 else len(told))


@virtual_time
async def test_what_ends_the_run_ends_it_also_out_of_a_row_that_took_too_long() -> None:
    """Such as `pytest.exit()` while it is cleaned up."""

    class StopError(Exception):
        """Ends the run."""

    @foreach("value", range(4))
    async def eval_it(value: int) -> Result:
        try:
            return await hang()
        finally:
            raise StopError

    settings = Settings(ends=(StopError,), row_timeout=5)
    with pytest.raises(StopError):
        await run_rows(eval_it, LeasedArguments({}, {}), settings, None, name="it")


async def test_a_row_in_a_thread_is_waited_for_and_has_failed() -> None:
    """A thread cannot be ended; on every event loop, in real time."""
    has_begun, go_on = threading.Event(), threading.Event()

    @foreach("value", [1])
    def eval_it(value: int) -> Result:
        has_begun.set()
        go_on.wait(30)
        return Result(value)

    async def release() -> None:
        while not has_begun.is_set():
            await checkpoint()
        start = current_time()
        while current_time() < start + 0.05:
            await checkpoint()
        go_on.set()

    async with create_task_group() as task_group:
        task_group.start_soon(release)
        (record,) = (await run(eval_it, row_timeout=0.04)).records
    assert go_on.is_set()
    assert (record.error or "").startswith("RowTimeoutError: An attempt took longer than 0.04 s")


async def test_on_every_event_loop() -> None:
    """In real time, as uvloop has no other; the run ends, so every row was ended."""
    never = Event()

    @foreach("value", range(20), concurrency=5)
    async def eval_it(value: int) -> Result:
        await never.wait()
        return Result(value)

    outcome = await run(eval_it, row_timeout=0.005, epochs=2)
    assert (outcome.summary.errors, outcome.summary.rows) == (40, 20)

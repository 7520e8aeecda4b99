"""The engine by itself: how many rows are in flight, what is counted, what is told of a row that cannot go on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from anyio import CancelScope, Event, create_task_group
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked

from doteval import ModelRequestError, Result
from doteval.evals import Record
from doteval.evals._digests import fingerprint
from doteval.evals._results.record import Inputs
from doteval.evals._running.abort import Abort
from doteval.evals._running.dataset import Known, Row
from doteval.evals._running.engine import Engine, Progress
from doteval.evals._running.limits import Limit
from doteval.evals._running.refusals import retry_after
from doteval.evals._running.retries import Retries

pytestmark = pytest.mark.anyio


class Given:
    """Arguments that cannot be renewed.

    Args:
        problem: What trying to raises.
    """

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem

    def present(self) -> Mapping[str, Any]:
        return {}

    async def again(self, error: BaseException) -> bool:
        if self.problem is not None:
            raise self.problem
        return False


async def rows(count: int, *known: int) -> AsyncGenerator[Row | Known]:
    for number in range(count):
        row = Row(number, {"value": number}, Inputs(number, {"value": number}, fingerprint({"value": number})))
        yield Known(row, failed=number % 2 == 1) if number in known else row


class Bench:
    """An engine whose results are kept when the test says so.

    Args:
        call: What a row is.
        at_once: How many.
        arguments: What it is called with.
    """

    def __init__(self, call: Callable[[int], Any], at_once: int = 3, arguments: Given | None = None) -> None:
        self.begun: list[int] = []
        self.told: list[Record] = []
        self.pending: list[Callable[[], object]] = []
        self.progress = Progress()

        async def called(values: Mapping[str, Any]) -> Result:
            self.begun.append(values["value"])
            await checkpoint()
            return Result(call(values["value"]))

        async def nothing() -> None: ...

        self.engine = Engine(
            called,
            arguments or Given(),
            Limit(at_once),
            retries=Retries(),
            ends=(KeyboardInterrupt,),
            keep=lambda _record, kept: self.pending.append(kept),
            drain=nothing,
            emit=self.told.append,
            abort=Abort("eval_it", 0, 0),
            progress=self.progress,
            tell=lambda: None,
        )

    def keep_all(self) -> None:
        pending, self.pending = self.pending, []
        for kept in pending:
            kept()


@pytest.mark.concurrency
async def test_at_most_twice_as_many_rows_are_in_flight_as_are_called_at_once() -> None:
    """However slow the disk is: a row is in flight until it is kept; as soon as some are, as many more begin."""
    for at_once in (1, 3):
        bench = Bench(lambda value: value, at_once)
        async with create_task_group() as task_group:
            task_group.start_soon(bench.engine.run, rows(10))
            while bench.progress.done < 10:
                await wait_all_tasks_blocked()
                in_flight = len(bench.begun) - bench.progress.done
                assert min(at_once, 10 - bench.progress.done) <= in_flight <= 2 * at_once
                bench.keep_all()
        assert bench.begun == list(range(10))
        assert [record.number for record in bench.told] == list(range(10))


async def test_errors_are_counted_also_those_that_are_known() -> None:
    """Done, known and failed are three numbers."""

    def call(value: int) -> int:
        return 1 // (value - 2)

    bench = Bench(call, at_once=20)
    async with create_task_group() as task_group:
        task_group.start_soon(bench.engine.run, rows(6, 0, 1, 5))
        await wait_all_tasks_blocked()
        bench.keep_all()
    progress = bench.progress
    assert (progress.done, progress.known, progress.calls, progress.errors) == (6, 3, 3, 3)


async def test_a_model_that_cannot_be_leased_again_is_told_with_what_the_row_raised() -> None:
    """The first says why there is no second try; the other is what it began with."""
    first, second = ConnectionError("reset"), OSError("no server")

    def call(value: int) -> int:
        raise first

    bench = Bench(call, arguments=Given(second))
    async with create_task_group() as task_group:
        task_group.start_soon(bench.engine.run, rows(1))
        await wait_all_tasks_blocked()
        bench.keep_all()
    (record,) = bench.told
    assert record.error == "OSError: no server"
    assert record.traceback is not None
    assert "ConnectionError: reset" in record.traceback


@pytest.mark.parametrize(
    ("given", "expected"),
    [("3", 3), ("0", 0), ("0.5", 0.5), ("-1", None), ("nan", None), ("inf", None), ("soon", None), (None, None)],
)
async def test_how_long_to_wait_is_a_number_of_seconds_or_unknown(given: str | None, expected: float | None) -> None:
    """A server may say anything."""

    class SDKError(Exception):
        response = SimpleNamespace(headers={} if given is None else {"retry-after": given})

    assert retry_after(SDKError()) == expected
    if expected is not None:
        ours = ModelRequestError("m", "it is busy", "Wait.", status=429, retry_after=expected)
        assert retry_after(ExceptionGroup("", [ValueError(), ours])) == expected


@pytest.mark.concurrency
@pytest.mark.parametrize("how", ["raises", "is cancelled", "returns"])
async def test_a_row_that_outlives_its_run_is_not_kept(how: str) -> None:
    """As one whose task was made in the moment of an interrupt, and so is unknown to the task group."""
    bench = Bench(lambda value: value)
    begun, go_on = Event(), Event()

    async def outlive(values: Mapping[str, Any]) -> Result:
        begun.set()
        await go_on.wait()
        if how == "raises":
            raise ValueError(values)
        return Result(1)

    bench.engine._call = outlive

    async def interrupted() -> AsyncGenerator[Row | Known]:
        await begun.wait()
        raise KeyboardInterrupt
        yield Known(Row(0, {}), failed=False)

    scope = CancelScope()
    with CancelScope() as outer, contextlib.suppress(ExceptionGroup):
        async with create_task_group() as task_group:
            task_group.start_soon(bench.engine._row, Row(7, {"value": 7}), scope)
            with pytest.raises(KeyboardInterrupt):
                await bench.engine.run(interrupted())
            if how == "is cancelled":
                outer.cancel()
            go_on.set()
    assert bench.pending == []

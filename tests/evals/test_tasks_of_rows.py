"""What a row does to the task and the context that it runs in: it ends with the attempt, and reaches nobody else."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from anyio import CancelScope, create_task_group, fail_after, from_thread, move_on_after, sleep, sleep_forever
from anyio.lowlevel import checkpoint
from sniffio import current_async_library
from tests.conftest import BACKENDS
from tests.virtual_time import virtual_time

from doteval import ModelRequestError, Result, foreach
from doteval.evals import Record, Retries, Store, rescore, run
from doteval.testing import FakeModel

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


@pytest.fixture(scope="module", params=BACKENDS.values(), ids=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """With uvloop, too: when it tells of the end of a task is the event loop's business."""
    return request.param


HISTORY: ContextVar[tuple[str, ...]] = ContextVar("history", default=())
"""As frameworks for agents keep a conversation."""


async def say(text: str) -> None:
    HISTORY.set((*HISTORY.get(), text))
    await checkpoint()


async def async_row(text: str) -> tuple[str, ...]:
    await say(text)
    return HISTORY.get()


def sync_row(text: str) -> tuple[str, ...]:
    from_thread.run(say, text)  # in a context of its own
    HISTORY.set((*HISTORY.get(), text))
    return HISTORY.get()


FAILURES = [
    ModelRequestError("m", "too often", "Wait.", status=429),
    ModelRequestError("m", "it stumbled", "Wait.", status=500),
    ConnectionError(),
    KeyError("asked for"),
]


@virtual_time
@pytest.mark.parametrize("error", FAILURES, ids=["429", "500", "lost", "on"])
@pytest.mark.parametrize("is_async", [True, False])
async def test_each_attempt_and_each_sample_begins_in_the_context_of_the_run(is_async: bool, error: Exception) -> None:
    """Whatever the dataset, other rows, attempts before, or whoever is asked or told meanwhile have set."""
    seen: list[tuple[str, ...]] = []
    told: list[tuple[str, ...]] = []

    def ask(raised: BaseException) -> bool:
        HISTORY.set((*HISTORY.get(), "asked"))
        return isinstance(raised, KeyError)

    async def rows() -> AsyncGenerator[int]:
        for value in range(3):
            HISTORY.set((*HISTORY.get(), "read"))
            yield value

    async def row(value: int) -> Result:
        seen.append(await async_row(str(value)))
        if seen.count(seen[-1]) <= 2:
            raise error
        return Result()

    def plain_row(value: int) -> Result:
        seen.append(sync_row(str(value)))
        if seen.count(seen[-1]) <= 2:
            raise error
        return Result()

    def on_record(record: Record) -> None:
        told.append(HISTORY.get())

    HISTORY.set(("begun",))
    decorated = foreach("value", rows, epochs=2, concurrency=1, retries=Retries(lost=5, on=ask, times=5))
    outcome = await run(decorated(row if is_async else plain_row), on_record=on_record)
    assert not list(outcome.failed)
    assert [*dict.fromkeys(seen)] == [("begun", str(value)) for value in range(3)]
    assert (len(seen), outcome.wasted, told) == (3 * 4, 6, [("begun",)] * 6)


async def test_a_scorer_sees_nothing_of_what_it_has_set_for_another_row(tmp_path: Any) -> None:
    """Whether it is async or not."""

    @foreach("value", range(5))
    async def eval_it(value: int) -> Result:
        return Result(value)

    def score(output: int) -> float:
        HISTORY.set((*HISTORY.get(), "scored"))
        return len(HISTORY.get())

    async def score_async(output: int) -> float:
        await say("scored")
        return len(HISTORY.get())

    HISTORY.set(())
    await run(eval_it, store=tmp_path / "r.db")
    for scorer in (score, score_async):
        (stored,) = await rescore("default", scorer, store=tmp_path / "r.db", overwrite=True)
        with Store(tmp_path / "r.db") as store:
            assert store.summary(stored).scores[scorer.__name__].mean == 1


async def test_requests_are_counted_to_their_row_in_every_attempt() -> None:
    """Those of a task that the row starts, too."""
    model = FakeModel(replies="yes")

    @foreach("value", range(3), retries=Retries(on=KeyError, pause=0))
    async def eval_it(value: int, model: FakeModel) -> Result:
        attempts[value] += 1
        async with create_task_group() as task_group:
            for _ in range(value):
                task_group.start_soon(model.generate, "hello")
        if attempts[value] == 1:
            raise KeyError
        return Result()

    attempts = [0] * 3
    records = list((await run(eval_it, model=model)).records)
    assert [sum(usage.requests for usage in record.usage_by_model) for record in records] == [0, 2, 4]


# ------------------------------------------------------------------ what is left open


async def a_timeout() -> AsyncGenerator[int]:
    with fail_after(30):
        yield 1


async def a_shield() -> AsyncGenerator[int]:
    with CancelScope(shield=True):
        yield 1


async def a_task_group() -> AsyncGenerator[int]:
    async with create_task_group() as task_group:
        task_group.start_soon(sleep_forever)
        yield 1


async def both() -> AsyncGenerator[int]:
    async for value in a_task_group():
        with move_on_after(30):
            yield value


async def returns() -> None:
    await checkpoint()


async def raises() -> None:
    raise KeyError("own")


async def is_refused() -> None:
    raise ModelRequestError("m", "too often", "Wait.", status=429, retry_after=60)


async def waits_for_too_long() -> None:
    await sleep(1000)


@contextmanager
def nobody_told() -> Iterator[None]:
    """asyncio closes a generator that is dropped in another task, and tells pytest that this cannot be done."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        yield
        return
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        yield
    finally:
        loop.set_exception_handler(handler)


KEPT: list[Any] = []
"""Generators that nobody drops; what would close them would wait for ever."""
ROWS = 12
LEAKS = {2, 3, 7}
AFTERWARDS: dict[Callable[[], Awaitable[None]], str] = {
    returns: "",
    raises: "KeyError",
    is_refused: "",
    waits_for_too_long: "RowTimeoutError",
}


@virtual_time
@pytest.mark.parametrize(("then", "row_timeout"), [*zip(AFTERWARDS, (0, 100, 0, 100), strict=True)])
@pytest.mark.parametrize("leaking", [a_timeout, a_shield, a_task_group, both])
@pytest.mark.parametrize(("concurrency", "is_kept"), [(4, True), (1, False)], ids=["4-kept", "1-dropped"])
@pytest.mark.filterwarnings("ignore")
async def test_what_a_row_leaves_open_is_no_other_rows_affair(
    leaking: Any, then: Any, row_timeout: float, concurrency: int, is_kept: bool
) -> None:
    """It has what it has returned or raised, and is run again; where what it left open cancels it, that is told."""
    attempts = [0] * ROWS

    @foreach("value", range(ROWS), concurrency=concurrency)
    async def eval_it(value: int) -> Result:
        attempts[value] += 1
        await checkpoint()
        if value in LEAKS and attempts[value] == 1:
            generator = leaking()
            if is_kept:
                KEPT.append(generator)
            async for _ in generator:
                break
            del generator
            await then()
        return Result(value)

    if leaking in (a_task_group, both) and not is_kept and current_async_library() == "trio":
        return  # trio closes it in a task that is not the group's, which is then woken in the midst of something else
    if then is waits_for_too_long and not is_kept:
        return  # the event loop closes, in the middle of it, what it has dropped
    with fail_after(10_000), nobody_told():
        outcome = await run(eval_it, row_timeout=row_timeout)
        gc.collect()
        await checkpoint()
    expected = {AFTERWARDS[then]} - {""}
    if then is waits_for_too_long and leaking is not a_shield:  # a task group is closed with its generator, if that is
        expected |= {"RuntimeError: the row was cancelled by a timeout or a task group that it has left open itself"}
    records = list(outcome.records)
    assert [record.number for record in records] == list(range(ROWS))
    assert {record.number for record in records if record.failed} == (LEAKS if expected else set())
    assert {any(map(record.error.startswith, expected)) for record in records if record.error} <= {True}
    assert attempts == [1 + (then is is_refused and value in LEAKS) for value in range(ROWS)]
    assert any("Rows 2, 3, 7" in text and "aclosing" in text for text in outcome.warnings)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("concurrency", [1, 2, 5])
async def test_no_row_runs_in_what_another_has_broken(concurrency: int) -> None:
    """Also where many end in the same moment, and where the event loop tells of a task's end later than of all else."""

    @foreach("value", range(60), concurrency=concurrency)
    async def eval_it(value: int) -> Result:
        for _ in range(value % 2):
            await checkpoint()
        if value % 3 == 0:
            generator = a_timeout()
            KEPT.append(generator)
            async for _ in generator:
                break
        return Result(value)

    outcome = await run(eval_it)
    assert [record.output for record in outcome.records] == list(range(60))
    assert outcome.wasted == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("share", [0.2, 0.7])
@pytest.mark.parametrize("concurrency", [2, 4, 10])
async def test_no_row_is_blamed_for_what_others_leave_open(concurrency: int, share: float) -> None:
    """However many of them do, in whatever order they end."""
    chance = random.Random(concurrency)
    turns = [(chance.random() < share, chance.randrange(4)) for _ in range(300)]

    @foreach("value", range(300), concurrency=concurrency)
    async def eval_it(value: int) -> Result:
        leaks, count = turns[value]
        for _ in range(count):
            await checkpoint()
        if leaks:
            generator = a_timeout()
            KEPT.append(generator)
            async for _ in generator:
                break
        return Result(value)

    outcome = await run(eval_it)
    assert [record.error for record in outcome.records if record.failed] == []
    assert outcome.calls == 300


@pytest.mark.parametrize("concurrency", [1, 3, 10])
async def test_rows_begin_in_the_order_of_the_dataset(concurrency: int) -> None:
    """Also where a row finds a task group that is free, and the one before it needs a new one."""
    chance = random.Random(concurrency)
    turns, begun = [chance.randrange(6) for _ in range(300)], list[int]()

    @foreach("value", range(300), concurrency=concurrency)
    async def eval_it(value: int) -> Result:
        begun.append(value)
        for _ in range(turns[value]):
            await checkpoint()
        return Result(value)

    await run(eval_it)
    assert begun == [*range(300)]

"""How rows are run: many at once, each on its own, again where that makes sense."""

from __future__ import annotations

import gc
import math
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from anyio import CancelScope, Event, create_task_group, current_time, sleep
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked
from tests.virtual_time import virtual_time

from doteval import HandleInactiveError, ModelProviders, ModelRequestError, PooledProvider, Result, foreach
from doteval.evals import DatasetError, EvaluationAbortedError, Record, Retries, Store, TooManyErrorsError, run
from doteval.evals._running.refusals import retry_after as retry_after_of
from doteval.testing import FakeModel, FakeProvider

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


@virtual_time
async def test_no_more_rows_at_once_than_are_allowed() -> None:
    """What the run says counts before what `foreach` says, and ten is the default."""
    now = most = 0

    async def count(value: int) -> Result:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await sleep(1)
        now -= 1
        return Result(value)

    for own, asked, expected in ((None, None, 10), (3, None, 3), (3, 5, 5)):
        most = 0
        await run(foreach("value", range(50), concurrency=own)(count), concurrency=asked)
        assert most == expected


async def test_a_row_that_raises_is_recorded_and_the_others_go_on() -> None:
    """With its values and its traceback, which begins in the evaluation."""

    @foreach("value", range(5))
    async def eval_it(value: int) -> Result:
        await checkpoint()
        return Result(1 / (value - 2))

    outcome = await run(eval_it)
    assert (outcome.summary.rows, outcome.summary.errors) == (5, 1)
    (failed,) = outcome.failed
    assert (failed.number, failed.inputs, failed.error) == (2, {"value": 2}, "ZeroDivisionError: division by zero")
    assert failed.traceback is not None
    assert "Result(1 / (value - 2))" in failed.traceback
    assert "/doteval/evals/" not in failed.traceback


async def test_too_many_errors_are_an_error_where_that_is_asked_for() -> None:
    """It comes when all rows are done, and shows the first ones."""

    @foreach("value", range(9))
    async def eval_it(value: int) -> Result:
        assert value % 2, f"{value} is even"
        return Result(value)

    assert (await run(eval_it, max_errors=5)).summary.errors == 5
    with pytest.raises(TooManyErrorsError, match="5 of 9 rows failed, and 4 may: AssertionError: 0 is even") as caught:
        await run(eval_it, max_errors=4)
    assert "row 0:" in str(caught.value)
    assert "AssertionError: 2 is even" in str(caught.value)
    assert "and 2 more." in str(caught.value)


async def test_what_failed_for_one_reason_is_told_once(tmp_path: Path) -> None:
    """And in the first line, as far as it has room; other reasons are told besides."""

    @foreach("value", range(9))
    async def eval_it(value: int) -> Result:
        raise OSError("there is no key, " + ("x" * 99 if value < 8 else "") + "\nset one")

    with pytest.raises(TooManyErrorsError) as caught:
        await run(eval_it, max_errors=0)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("9 of 9 rows failed, and 0 may: OSError: there is no key, xxx")
    assert len(first) == 80
    assert [line for line in lines if line.startswith("row ")] == ["row 0:", "row 8:"]
    assert lines[-1] == "and 7 more."


@pytest.mark.parametrize("rows", [[], lambda: iter(()), ()])
@pytest.mark.parametrize("is_stored", [False, True])
async def test_an_evaluation_without_rows_has_not_passed(rows: Any, is_stored: bool, tmp_path: Path) -> None:
    """Whoever checks it is told so, again and again; without a check there is an outcome, of no row."""
    store = tmp_path / "results.db" if is_stored else None

    @foreach("value", rows)
    async def eval_it(value: int) -> Result:
        raise AssertionError

    for _ in range(2):
        outcome = await run(eval_it, store=store)
        assert (outcome.summary.rows, list(outcome.records), outcome.answered) == (0, [], False)
        with pytest.raises(DatasetError, match="The dataset does not fit: it has no rows"):
            outcome.check(max_errors=5)
        with pytest.raises(DatasetError, match="look at what makes the dataset"):
            await run(eval_it, store=store, max_errors=5)


async def test_a_dataset_that_was_empty_is_read_again(tmp_path: Path) -> None:
    """Its evaluation was not done."""
    rows: list[int] = []

    @foreach("value", lambda: rows)
    async def eval_it(value: int) -> Result:
        return Result(value)

    assert (await run(eval_it, store=tmp_path / "results.db")).summary.rows == 0
    rows.append(1)
    assert (await run(eval_it, store=tmp_path / "results.db", max_errors=0)).summary.rows == 1


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"exact": math.nan}, "ValueError: in 'eval_it', the score 'exact' is nan; leave it out"),
        ({"exact": 10**5000}, "ValueError: in 'eval_it', the score 'exact' is an integer too large for a float"),
        ({"exact": "yes"}, "TypeError: in 'eval_it', scores are booleans and numbers by name"),
        ({"exact": bytearray(3)}, "not 'exact': bytearray"),
        ({1: True}, "not 1: True"),
        (0.5, "TypeError: in 'eval_it', scores are booleans and numbers by name"),
    ],
)
async def test_a_bad_score_is_named_with_its_evaluation(scores: Any, message: str, is_async: bool) -> None:
    """And the traceback begins where the result was made."""

    def make() -> Result:
        return Result("x", scores=scores)

    if is_async:

        @foreach("value", [1])
        async def eval_it(value: int) -> Result:
            return make()
    else:

        @foreach("value", [1])
        def eval_it(value: int) -> Result:
            return make()

    (record,) = (await run(eval_it)).records
    assert message in (record.error or "")
    assert "return make()" in (record.traceback or "")
    assert "_running" not in (record.traceback or "")
    with pytest.raises((TypeError, ValueError), match=r"^(?!in 'eval_it')"):
        make()  # outside of an evaluation


async def test_what_is_no_result_is_the_error_of_its_row() -> None:
    """An evaluation that forgets to return one is told so."""

    @foreach("value", [1])
    async def eval_it(value: int) -> Any:
        return value

    (record,) = (await run(eval_it)).records
    assert record.error == "TypeError: eval_it() returned a int: return doteval.Result(output, scores=...)"


async def test_a_cancelled_run_ends_at_once() -> None:
    """With its rows in flight, and leaves nothing behind."""
    started = Event()

    @foreach("value", range(100))
    async def eval_it(value: int) -> Result:
        started.set()
        await Event().wait()
        return Result(value)

    with CancelScope() as scope:
        async with create_task_group() as task_group:
            task_group.start_soon(run, eval_it)
            await started.wait()
            scope.cancel()
    assert scope.cancelled_caught


@pytest.mark.parametrize("is_stored", [False, True])
async def test_what_on_record_raises_ends_the_run(is_stored: bool, tmp_path: Path) -> None:
    """As it is, and not in a group; the rows in flight end with it."""
    started = ended = 0

    def look(record: Record) -> None:
        if record.number == 2:
            raise LookupError("nobody wants it")

    @foreach("value", range(1000), concurrency=5)
    async def eval_it(value: int) -> Result:
        nonlocal started, ended
        started += 1
        try:
            if value > 2:
                await Event().wait()
            while started < 5:
                await checkpoint()
            return Result(value)
        finally:
            ended += 1

    with pytest.raises(LookupError, match="nobody wants it"):
        await run(eval_it, store=tmp_path / "results.db" if is_stored else None, on_record=look)
    assert 5 <= started < 1000
    assert started == ended


@virtual_time
async def test_one_slow_row_does_not_hold_up_the_others_for_ever_nor_memory() -> None:
    """The others run ahead of it, a bounded number of rows; then they wait for it."""
    ahead = 0
    slow = Event()

    @foreach("value", range(600), concurrency=4)
    async def eval_it(value: int) -> Result:
        nonlocal ahead
        if value == 0:
            await slow.wait()
        else:
            ahead += 1
        return Result(value)

    numbers: list[int] = []
    async with create_task_group() as task_group:
        task_group.start_soon(partial(run, eval_it, on_record=lambda record: numbers.append(record.number)))
        await wait_all_tasks_blocked()
        assert ahead == 255
        assert numbers == []
        slow.set()
    assert numbers == list(range(600))


@pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")  # what is counted are records
async def test_memory_is_flat_in_the_number_of_rows() -> None:
    """No more records are alive than the window, however long the dataset."""
    most = 0

    def alive() -> int:
        return sum(type(thing) is Record for thing in gc.get_objects())

    def look(record: Record) -> None:
        nonlocal most
        if record.number % 250 == 0:
            most = max(most, alive() - before)

    def rows() -> Iterator[int]:
        yield from range(1500)

    @foreach("value", rows)
    async def eval_it(value: int) -> Result:
        return Result("x" * 100)

    from doteval.evals._running.abort import Abort
    from doteval.evals._running.arguments import LeasedArguments
    from doteval.evals._running.engine import Engine, Progress
    from doteval.evals._running.limits import Limit

    async def nothing() -> None: ...

    limit = Limit(10)
    engine = Engine(
        eval_it.caller(limit.limiter),
        LeasedArguments({}, {}),
        limit,
        retries=Retries(),
        ends=(KeyboardInterrupt,),
        keep=lambda _record, kept: kept(),
        drain=nothing,
        emit=look,
        abort=Abort("eval_it", 0, 0),
        progress=Progress(),
        tell=lambda: None,
    )
    gc.collect()
    before = alive()  # what other tests have left
    assert await engine.run(eval_it.source.read()) == 1500
    assert 0 < most < 300


# ------------------------------------------------------------------ a server that is overloaded


def refusal(retry_after: float | None = None) -> ModelRequestError:
    return ModelRequestError("m", "the rate limit is used up", "Wait.", status=429, retry_after=retry_after)


@virtual_time
async def test_an_overloaded_server_is_asked_again_when_it_wants_to_be() -> None:
    """Nobody asks before that, also no other row."""
    times: list[float] = []

    @foreach("value", range(3), concurrency=1)
    async def eval_it(value: int) -> Result:
        times.append(current_time() - start)
        if len(times) == 1:
            raise refusal(retry_after=7)
        await sleep(1)
        return Result(value)

    start = current_time()
    outcome = await run(eval_it)
    assert times == pytest.approx([0, 7.5, 8.5, 9.5], abs=0.6)
    assert times[1] >= 7
    assert [record.attempts for record in outcome.records] == [2, 1, 1]
    assert (outcome.calls, outcome.wasted, outcome.summary.errors) == (4, 1, 0)


@virtual_time
async def test_a_server_that_answers_nobody_for_long_ends_the_run() -> None:
    """Further and further apart, for ten minutes; what is more would be refused, too."""
    times: list[float] = []

    @foreach("value", range(1000), concurrency=2)
    async def eval_it(value: int) -> Result:
        times.append(current_time() - start)
        raise refusal()

    start = current_time()
    with pytest.raises(ModelRequestError, match="the rate limit is used up"):
        await run(eval_it)
    assert 600 <= times[-1] < 640
    assert times[-1] - times[-3] > times[2] - times[0]
    assert len(times) < 100


@virtual_time
async def test_a_server_that_wants_to_be_left_alone_for_an_hour_ends_the_run() -> None:
    """At once: the rest can be run when it is over."""

    @foreach("value", range(1000), concurrency=1)
    async def eval_it(value: int) -> Result:
        if value == 3:
            raise refusal(retry_after=3600)
        return Result(value)

    start = current_time()
    with pytest.raises(ModelRequestError, match="the rate limit is used up"):
        await run(eval_it)
    assert current_time() - start < 1


@virtual_time
async def test_a_row_that_alone_is_refused_fails_and_the_others_go_on() -> None:
    """After ten minutes."""

    @foreach("value", range(800), concurrency=2)
    async def eval_it(value: int) -> Result:
        await sleep(1)
        if value == 3:
            raise refusal()
        return Result(value)

    outcome = await run(eval_it)
    assert [record.number for record in outcome.failed] == [3]
    assert outcome.summary.rows == 800


class RateLimited:
    """A server that takes a number of requests a minute, and stumbles now and then.

    Args:
        a_minute: How many; so many a second on average, and a second's worth at once.
        says: Whether it says how long to wait.
        stumbles: One of how many requests it fails; 0 for none.
    """

    def __init__(self, a_minute: int, *, says: bool, stumbles: int) -> None:
        self.a_second = a_minute / 60
        self.says = says
        self.stumbles = stumbles
        self.tokens = self.a_second
        self.filled = current_time()
        self.asked = 0

    async def __call__(self, value: int) -> Result:
        now = current_time()
        self.tokens = min(self.a_second, self.tokens + (now - self.filled) * self.a_second)
        self.filled = now
        self.asked += 1
        await sleep(0.01)
        if self.tokens < 1:
            raise refusal(retry_after=(1 - self.tokens) / self.a_second if self.says else None)
        self.tokens -= 1
        if self.stumbles and self.asked % self.stumbles == 0:
            raise ModelRequestError("m", "the server failed", "Try again.", status=500)
        return Result(value)


@virtual_time
@pytest.mark.parametrize("stumbles", [0, 20])
@pytest.mark.parametrize("says", [True, False], ids=["says how long", "does not say"])
@pytest.mark.parametrize("concurrency", [10, 100, "adaptive"])
async def test_a_rate_limit_costs_time_and_no_rows(concurrency: Any, says: bool, stumbles: int) -> None:
    """With as many at once as the server takes, hardly more time than the limit allows; nor does one that stumbles.

    The best of five runs: those who wait draw lots, and in one of five somebody has no luck and waits alone at the end.
    """
    takes = []
    for _ in range(5 if says and concurrency == 10 else 1):
        server = RateLimited(600, says=says, stumbles=stumbles)
        evaluation = foreach("value", range(80))(server.__call__)
        start = current_time()
        outcome = await run(evaluation, concurrency=concurrency)
        takes.append(current_time() - start)
        assert (outcome.summary.rows, outcome.summary.errors) == (80, 0)
    if says and concurrency == 10:
        assert min(takes) < 1.1 * 8 * (20 / 19 if stumbles else 1)


class StatusError(Exception):
    """As an SDK raises it.

    Args:
        status_code: The HTTP status.
        body: What the server said.
    """

    def __init__(self, status_code: int, **body: object) -> None:
        super().__init__(f"{status_code}: {body}")
        self.status_code = status_code
        self.body = body


async def test_what_is_kept_of_an_error_of_ours_are_the_lines_of_the_user(tmp_path: Path) -> None:
    """Not our own, nor those of the SDK below; of any other error everything."""

    async def ask(model: FakeModel) -> str:
        return await model.generate("hello")

    @foreach("kind", ["ours", "their own of ours", "theirs"])
    async def eval_it(kind: str) -> Result:
        if kind == "their own of ours":
            raise refusal_of_a_prompt()
        if kind == "theirs":
            raise ValueError("theirs") from KeyError("cause")
        return Result(await ask(FakeModel("m", replies=[refusal_of_a_prompt()])))

    def refusal_of_a_prompt() -> ModelRequestError:
        error = ModelRequestError("m", "the prompt is too long", "Shorten it.", status=400)
        error.__cause__ = OSError("below")
        return error

    ours, own, theirs = (await run(eval_it)).records
    for record, functions in ((ours, ["eval_it", "ask"]), (own, ["eval_it"])):
        assert record.traceback is not None
        assert re.findall(", in (.*)", record.traceback) == functions
        assert "the prompt is too long" in record.traceback
        assert "below" not in record.traceback
    assert "KeyError: 'cause'" in (theirs.traceback or "")


def error_of_an_sdk(kind: Any, status: int) -> Exception:
    response: Any = SimpleNamespace(request=None, status_code=status, headers={})
    return kind("refused", response=response, body=None)


async def in_a_group(error: Exception) -> None:
    raise ExceptionGroup("an agent's tools", [ValueError("a tool"), error])


async def as_another(error: Exception) -> None:
    raise RuntimeError("the agent gave up") from error


async def as_it_is(error: Exception) -> None:
    raise error


@virtual_time
@pytest.mark.parametrize("how", [as_it_is, in_a_group, as_another])
@pytest.mark.parametrize(
    "error",
    [
        ModelRequestError("m", "the API key was refused", "Check it.", status=401),
        error_of_an_sdk(openai.AuthenticationError, 401),
        pytest.param("anthropic", marks=pytest.mark.process),  # whose import takes a second
        StatusError(429, error={"code": "insufficient_quota", "type": "insufficient_quota"}),
        StatusError(429, code="insufficient_quota"),
        StatusError(400, type="error", error={"type": "billing_error"}),
    ],
    ids=str,
)
async def test_what_is_refused_to_every_row_ends_the_run_at_once(error: Any, how: Any) -> None:
    """With the rows in flight; whoever is told has heard of what was done before."""
    if error == "anthropic":
        import anthropic

        error = error_of_an_sdk(anthropic.APIStatusError, 402)
    calls = 0
    told: list[int] = []

    @foreach("value", range(1000), concurrency=2)
    async def eval_it(value: int) -> Result:
        nonlocal calls
        calls += 1
        await sleep(1)
        if value >= 10:
            await how(error)
        return Result(value)

    start = current_time()
    with pytest.raises(type(error) if how is as_it_is else (ExceptionGroup, RuntimeError)):
        await run(eval_it, on_record=lambda record: told.append(record.number))
    assert told == list(range(len(told)))
    assert 8 <= len(told) <= 10
    assert calls <= 14
    assert current_time() - start < 10


@pytest.mark.parametrize("how", [as_it_is, in_a_group, as_another])
@pytest.mark.parametrize("status", [401, 402])
async def test_a_tool_whose_key_is_refused_fails_its_row_only(status: int, how: Any) -> None:
    """It is somebody else's server, and other rows need no tool; where all do, the run ends soon."""

    @foreach("value", range(1000), concurrency=2)
    async def eval_it(value: int) -> Result:
        await checkpoint()
        if value == 3 or value >= 500:
            await how(StatusError(status))
        return Result(value)

    with pytest.raises(EvaluationAbortedError):
        await run(eval_it, max_errors=0, abort_after=10)
    outcome = await run(eval_it, limit=500)
    assert (outcome.calls, outcome.summary.errors, outcome.summary.rows) == (500, 1, 500)


@pytest.mark.parametrize("how", [as_it_is, in_a_group, as_another])
async def test_what_was_done_before_a_refusal_is_kept(how: Any, tmp_path: Path) -> None:
    """In the store, and nothing is finished."""

    @foreach("value", range(1000), concurrency=2)
    async def eval_it(value: int) -> Result:
        await checkpoint()
        if value >= 10:
            await how(ModelRequestError("m", "no money is left", "Pay.", status=402))
        return Result(value)

    with Store(tmp_path / "results.db") as store:
        with pytest.raises(ModelRequestError if how is as_it_is else (ExceptionGroup, RuntimeError)):
            await run(eval_it, store=store)
        (stored,) = store.evaluations()
        assert stored.finished is None
        kept = [record.output for record in store.records(stored)]
        assert kept == list(range(len(kept)))
        assert 8 <= len(kept) <= 10


@virtual_time
@pytest.mark.parametrize("how", [as_it_is, in_a_group, as_another])
@pytest.mark.parametrize(
    "error",
    [
        StatusError(429),
        StatusError(503),
        StatusError(529),
        StatusError(200, type="error", error={"type": "overloaded_error"}),
        StatusError(500),
        StatusError(502),
        StatusError(504),
        StatusError(408),
        StatusError(200, type="error", error={"type": "api_error"}),
    ],
    ids=str,
)
async def test_what_passes_is_tried_again(error: Exception, how: Any) -> None:
    """Also where it arrives within a stream, or an agent has raised something else from it."""
    calls = 0

    @foreach("value", [1])
    async def eval_it(value: int) -> Result:
        nonlocal calls
        calls += 1
        if calls < 4:
            await how(error)
        return Result(value)

    outcome = await run(eval_it)
    assert (outcome.calls, outcome.wasted, outcome.summary.errors) == (4, 3, 0)


@virtual_time
@pytest.mark.parametrize("error", [StatusError(400), StatusError(403), StatusError(404), StatusError(422)], ids=str)
async def test_what_concerns_one_row_only_is_not_tried_again(error: Exception) -> None:
    """Nor does it end the run: a prompt may be too long, or not allowed."""

    @foreach("value", range(20))
    async def eval_it(value: int) -> Result:
        if value == 3:
            raise error
        return Result(value)

    outcome = await run(eval_it)
    assert (outcome.calls, outcome.summary.errors, outcome.summary.rows) == (20, 1, 20)


@virtual_time
async def test_an_overload_is_also_seen_where_an_sdk_is_used_as_it_is() -> None:
    """Its exceptions have a status code, and the header of the answer."""

    class RateLimitError(Exception):
        status_code = 429

        response = SimpleNamespace(headers={"retry-after": "3"})

    attempts = 0

    @foreach("value", [0])
    async def eval_it(value: int) -> Result:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise RateLimitError
        return Result(current_time() - start)

    start = current_time()
    (record,) = (await run(eval_it)).records
    assert 3 <= record.output <= 4


class Bottleneck:
    """A server that takes a number of requests at once, and refuses those beyond.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = self.asked = self.refused = 0

    async def __call__(self, value: int) -> Result:
        self.asked += 1
        self.now += 1
        try:
            await sleep(0.1)
            if self.now > self.most:
                self.refused += 1
                raise refusal(retry_after=0.5)
        finally:
            self.now -= 1
        return Result(value)


@virtual_time
async def test_adaptive_concurrency_finds_out_what_the_server_takes() -> None:
    """It wastes fewer calls than a fixed limit that is too high, and all rows are done."""

    async def served(concurrency: Any) -> tuple[int, int]:
        server = Bottleneck(20)
        evaluation = foreach("value", range(500))(server.__call__)
        outcome = await run(evaluation, concurrency=concurrency)
        assert outcome.summary.errors == 0
        assert outcome.wasted == server.refused
        return server.refused, server.asked

    wasted, _ = await served("adaptive")
    wasted_when_fixed, _ = await served(40)
    assert wasted < wasted_when_fixed / 2


@virtual_time
async def test_adaptive_concurrency_grows_while_the_server_takes_it() -> None:
    """To the limit that `foreach` sets."""
    server = Bottleneck(10**6)
    start = current_time()
    evaluation = foreach("value", range(1000), concurrency=100)(server.__call__)
    await run(evaluation, concurrency="adaptive")
    assert current_time() - start < 5  # 12.5 s with the eight at once that it begins with


# ------------------------------------------------------------------ a model that is lost


class Fragile(PooledProvider[Any]):
    """Each model breaks down at the request that it is told to; a broken one can only raise."""

    def __init__(self, breaks_at: int, generations: int = 1) -> None:
        super().__init__()
        self.breaks_at = breaks_at
        self.generations = generations
        self.opened = 0

    @asynccontextmanager
    async def open(self, spec: str) -> AsyncIterator[Any]:
        self.opened += 1
        broken = Event()

        generation, asked = self.opened, 0

        async def generate(prompt: str) -> str:
            nonlocal asked
            asked += 1
            if generation <= self.generations and asked >= self.breaks_at:
                broken.set()
                while self.statistics().losses < generation:
                    await checkpoint()
                raise ValueError("gone")
            return f"{prompt} by {generation}"

        async def watch() -> None:
            await broken.wait()
            raise OSError("the model broke down")

        async with create_task_group() as task_group:
            task_group.start_soon(watch)
            yield SimpleNamespace(generate=generate)
            task_group.cancel_scope.cancel()


@foreach("prompt", [str(number) for number in range(20)], concurrency=1)
async def ask_fragile(prompt: str, model: Any) -> Result:
    return Result(await model.generate(prompt))


async def test_a_row_hit_by_a_lost_model_is_run_again_on_the_next_generation() -> None:
    """And the rows after it run there as well."""
    async with Fragile(breaks_at=5) as provider:
        outcome = await run(ask_fragile, model=partial(provider.setup, "m"))
        assert provider.opened == 2
        assert provider.statistics().active_leases == 0
    records = list(outcome.records)
    assert [record.output for record in records] == [f"{n} by {1 if n < 4 else 2}" for n in range(20)]
    assert [record.number for record in records if record.attempts > 1] == [4]


async def test_a_row_is_run_again_only_as_often_as_is_allowed() -> None:
    """Then it has failed, with what the model said; the next rows get a model."""
    async with Fragile(breaks_at=1, generations=2) as provider:
        outcome = await run(ask_fragile, model=partial(provider.setup, "m"), retries=Retries(lost=1))
        first, second, *others = outcome.records
        assert (first.error, first.attempts) == ("ValueError: gone", 2)
        assert second.output is not None or second.error is not None
        assert not any(record.failed for record in others)
    async with Fragile(breaks_at=1, generations=2) as provider:
        outcome = await run(ask_fragile, model=partial(provider.setup, "m"), retries=Retries(lost=2))
        assert outcome.summary.errors == 0


class Healing(FakeProvider):
    """Sees that a model was closed, as the providers of the SDKs do."""

    def is_broken(self, model: FakeModel, /) -> bool:
        return model.is_closed


@pytest.mark.parametrize("lost", [0, 1])
async def test_a_model_that_a_row_has_closed_is_leased_again(lost: int) -> None:
    """Whether the row notices or the next one; where no row may be run again, one is hit."""
    async with Healing() as provider:

        @foreach("number", range(6), concurrency=1, retries=Retries(lost=lost))
        async def eval_it(number: int, model: FakeModel) -> Result:
            if number == 2 and provider.openings == 1:
                model.close()
            return Result(await model.generate(f"{number}"))

        outcome = await run(eval_it, model=partial(provider.setup, "m"))
        assert [record.number for record in outcome.failed] == [2][lost:]
        assert provider.openings == 2
        assert provider.statistics().active_leases == 0


async def test_rows_between_two_requests_survive_a_crash() -> None:
    """As with a real provider, of which they get an error that says that the model was lost."""
    async with FakeProvider() as provider:
        waiting, crashed, renewed = 0, Event(), Event()

        @foreach("number", range(4), concurrency=4)
        async def eval_it(number: int, model: FakeModel) -> Result:
            nonlocal waiting
            await model.generate("first")
            waiting += 1
            if waiting == 4:
                await provider.crash("m")
                crashed.set()
            elif waiting > 4:
                renewed.set()
            else:
                await (renewed if number else crashed).wait()  # most go on when the model is leased again
            return Result(await model.generate("second"))

        outcome = await run(eval_it, model=partial(provider.setup, "m"))
        assert [record.error for record in outcome.records] == [None] * 4
        assert provider.openings == 2


async def test_a_handle_that_cannot_be_leased_again_is_not() -> None:
    """Whoever gives a handle keeps it; a row that is hit fails, and says why."""
    async with Fragile(breaks_at=3) as provider, await provider.setup("m") as handle:
        outcome = await run(ask_fragile, model=handle)
        assert provider.opened == 1
        assert outcome.summary.errors == 18


async def test_a_broken_connection_is_tried_again() -> None:
    """A request that had no answer at all may have one the next time."""
    attempts = 0

    lost = [
        ModelRequestError("m", "the connection was lost", "Try again."),
        HandleInactiveError("m", "the model was lost"),
        ConnectionResetError("gone"),
    ]

    @foreach("value", lost)
    async def eval_it(value: Exception) -> Result:
        nonlocal attempts
        attempts += 1
        if not value.args:
            return Result(attempts)
        value.args = ()
        raise value

    outcome = await run(eval_it)
    assert outcome.summary.errors == 0
    assert outcome.calls == 6


# ------------------------------------------------------------------ what an evaluation gets


@foreach("prompt", ["a", "b"])
async def ask_client(prompt: str, model_client: Any, suffix: str = "!") -> Result:
    return Result(f"{await model_client.generate(prompt)}{suffix}")


async def test_a_model_may_be_given_as_it_is_as_a_handle_or_as_what_makes_one() -> None:
    """For the argument `model` or `model_client`."""
    expected = [f"{await FakeModel('m').generate(prompt)}!" for prompt in ("a", "b")]
    async with FakeProvider() as provider:
        async with await provider.setup("m") as handle:
            for model in (handle, handle.model, partial(provider.setup, "m"), lambda: provider.setup("m")):
                outcome = await run(ask_client, model=model)
                assert [record.output for record in outcome.records] == expected
        assert provider.statistics().active_leases == 0
        outcome = await run(ask_client, model_client=FakeModel("m"), suffix="?")
        assert [record.output for record in outcome.records] == [text[:-1] + "?" for text in expected]


async def test_arguments_are_checked_before_anything_is_run() -> None:
    """One that is missing, and one too many."""
    with pytest.raises(TypeError, match=r"ask_client\(\) needs an argument 'model_client'"):
        await run(ask_client)
    with pytest.raises(TypeError, match=r"ask_client\(\) has no argument 'temperature'"):
        await run(ask_client, model=FakeModel("m"), temperature=1)

    @foreach("value", [1])
    async def eval_nothing(value: int) -> Result:
        return Result(value)

    with pytest.raises(TypeError, match=r"has neither an argument 'model' nor 'model_client'; it has: none"):
        await run(eval_nothing, model="m")
    with pytest.raises(ValueError, match="at least 1"):
        await run(eval_nothing, concurrency=0)


@virtual_time
@pytest.mark.parametrize("wait", [0, 0.001])
async def test_a_server_that_says_at_once_and_refuses_all_the_same_is_not_hammered(wait: float) -> None:
    """It ends as if it had not said anything."""
    calls = 0

    @foreach("value", range(50), concurrency=2)
    async def eval_it(value: int) -> Result:
        nonlocal calls
        calls += 1
        raise refusal(retry_after=wait)

    with pytest.raises(ModelRequestError, match="the rate limit is used up"):
        await run(eval_it)
    assert calls < 150


@pytest.mark.anyio
async def test_an_attempt_does_not_see_what_another_has_put_into_its_row() -> None:
    """A row that is tried again begins as the first time; so does another run of the same dataset."""
    seen: list[list[str]] = []
    rows = [{"messages": [{"role": "user", "content": "hello"}], "tags": ({"a"}, ["b"])}]

    @foreach("messages,tags", rows)
    async def eval_it(messages: list[Any], tags: Any) -> Result:
        seen.append([message["content"] for message in messages] + sorted(tags[0]) + tags[1])
        messages[0]["content"] += "!"
        messages.append({"content": "sure?"})
        tags[0].add("c")
        tags[1].append("d")
        if len(seen) == 1:
            raise ConnectionError("lost")
        return Result(len(messages))

    for _ in range(2):
        outcome = await run(eval_it)
        assert outcome.summary.errors == 0
    assert seen == [["hello", "a", "b"]] * 3
    assert rows[0]["messages"] == [{"role": "user", "content": "hello"}]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"concurrency": "fast"}, "concurrency must be a number of rows, at least 1, or 'adaptive', not 'fast'"),
        ({"concurrency": 2.5}, "concurrency must be a number"),
        ({"concurrency": True}, "concurrency must be a number"),
        ({"row_timeout": -1}, "row_timeout must be a number of seconds, 0 or more"),
        ({"row_timeout": float("nan")}, "row_timeout must be a number of seconds, 0 or more"),
        ({"store": ":memory:"}, "a store is a file"),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anything_is_run(given: Any, error: str) -> None:
    """With what can."""

    @foreach("value", [1])
    async def eval_it(value: int) -> Result:
        raise AssertionError

    with pytest.raises(ValueError, match=error):
        await run(eval_it, **given)


@pytest.mark.anyio
async def test_what_is_no_model_is_said_to_be_none() -> None:
    """With what to pass instead; nor can anybody be told of rows who has to be awaited."""

    @foreach("value", [1])
    async def eval_it(value: int, model: Any) -> Result:
        return Result(value)

    async def returns_a_model() -> Any:
        return FakeModel()

    async def told(record: Any) -> None: ...

    async with FakeProvider() as provider:
        for model in (provider, ModelProviders({}, discover=False), returns_a_model):
            with pytest.raises(TypeError, match=r"partial\(provider.setup, 'gpt-4o'\)"):
                await run(eval_it, model=model)
        with pytest.raises(TypeError, match="must not be an async function"):
            await run(eval_it, model=FakeModel(), on_record=told)


class BrokenError(Exception):
    """One whose properties are broken, as those of another library's may be."""

    @property
    def status(self) -> int:
        raise RuntimeError("no response yet")

    code = body = response = status  # type: ignore[assignment]


class ListedError(Exception):
    """One whose headers are no mapping."""

    status = 400

    class response:  # noqa: N801
        headers = ("a", "list")


@pytest.mark.anyio
@pytest.mark.parametrize("error", [BrokenError, ListedError])
async def test_an_exception_whose_properties_are_broken_is_the_failure_of_its_row(error: Any) -> None:
    """Whatever asking it raises."""

    @foreach("value", [1, 2])
    async def eval_it(value: int) -> Result:
        if value == 1:
            raise error
        return Result(value)

    outcome = await run(eval_it)
    assert (outcome.summary.rows, outcome.summary.errors) == (2, 1)
    assert retry_after_of(error()) is None

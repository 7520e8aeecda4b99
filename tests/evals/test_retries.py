"""When a row is run again: what the policy says, and how long it waits before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anyio import current_time
from tests.virtual_time import virtual_time

from doteval import ModelRequestError, Result, ServerLostError, foreach
from doteval.evals import Outcome, Retries, run
from doteval.testing import FakeModel

pytestmark = pytest.mark.anyio


class ToolError(Exception):
    """One of the user's own."""


async def attempts_of(error: BaseException, retries: Retries | None, fails: int = 100) -> tuple[int, float, Outcome]:
    """How often a row that raises this is run, how many seconds that takes, and what comes of it."""
    attempts = 0

    @foreach("value", [1], retries=retries)
    async def eval_it(value: int) -> Result:
        nonlocal attempts
        attempts += 1
        if attempts <= fails:
            raise error
        return Result(attempts)

    start = current_time()
    outcome = await run(eval_it)
    (record,) = outcome.records
    assert record.attempts == attempts == outcome.calls == outcome.wasted + 1
    assert record.failed == (attempts <= fails)
    return attempts, current_time() - start, outcome


def raised_from(error: BaseException) -> BaseException:
    other = ValueError("other")
    other.__cause__ = error
    return other


class NamedError(Exception):
    """As an SDK raises it: with a status, and with what the body calls the error."""

    def __init__(self, status: int, name: str) -> None:
        super().__init__(status, name)
        self.status_code = status
        self.body = {"error": {"type": name}}


@virtual_time
@pytest.mark.parametrize("name", ["server_error", "api_error", "timeout_error", "overloaded_error", "rate_limit_error"])
@pytest.mark.parametrize("status", [200, 400, 403, 404, 413, 422])
async def test_what_a_status_says_goes_before_what_the_body_calls_it(status: int, name: str) -> None:
    """A request that cannot be meant is not sent again; a stream that has begun well has nothing but the name."""
    assert ((await attempts_of(NamedError(status, name), None, fails=1))[0] == 1) == (status >= 400)


def server_error() -> ModelRequestError:
    return ModelRequestError("m", "it stumbled", "Wait.", status=500)


@virtual_time
@pytest.mark.parametrize(
    ("error", "retries", "expected"),
    [
        (ToolError(), None, 1),
        (ToolError(), Retries(on=ToolError), 3),
        (ToolError(), Retries(on=(KeyError, ToolError), times=4), 5),
        (ToolError(), Retries(on=ToolError, times=0), 1),
        (KeyError(), Retries(on=ToolError), 1),
        (raised_from(ToolError()), Retries(on=ToolError), 3),
        (ExceptionGroup("several", [ValueError(), ToolError()]), Retries(on=ToolError), 3),
        (SystemExit(2), Retries(on=SystemExit), 3),
        (ToolError(), Retries(on=lambda error: isinstance(error, ToolError)), 3),
        (ToolError(), Retries(on=lambda error: None), 1),
        (ToolError(), Retries(on=lambda error: 0), 3),
        (ConnectionError(), None, 2),
        (ConnectionError(), Retries(lost=3), 4),
        (ConnectionError(), Retries(lost=0), 1),
        (ConnectionError(), Retries(lost=1, on=ConnectionError), 4),
        (server_error(), None, 6),
        (server_error(), Retries(stumbled=2), 3),
        (server_error(), Retries(stumbled=2, on=ModelRequestError, times=1), 4),
    ],
)
async def test_a_row_is_run_as_often_as_the_policy_says(error: Any, retries: Any, expected: int) -> None:
    """And not once more; one that then returns has not failed."""
    assert (await attempts_of(error, retries))[0] == expected
    if expected > 1:
        assert (await attempts_of(error, retries, fails=1))[0] == 2


def plainly(error: Exception) -> None:
    raise error


def with_from(error: Exception) -> None:
    try:
        raise error
    except Exception as exc:
        raise ValueError("the agent gave up") from exc


def without_from(error: Exception) -> None:
    try:
        raise error
    except Exception:
        raise ValueError("the agent gave up")  # noqa: B904 - that is what is tested


def on_its_way_out(error: Exception) -> None:
    try:
        raise error
    finally:
        raise ValueError("the agent cannot be closed")


def in_a_group_that_is_wrapped(error: Exception) -> None:
    try:
        raise ExceptionGroup("tasks", [KeyError(), error])
    except ExceptionGroup:
        without_from(ValueError("the agent gave up"))


def from_none(error: Exception) -> None:
    try:
        raise error
    except Exception:
        raise ValueError("the agent gave up") from None


@virtual_time
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ModelRequestError("m", "too often", "Wait.", status=429), 2),
        (server_error(), 2),
        (ModelRequestError("m", "no connection", "Wait.", status=None), 2),
        (ServerLostError("m", "gone", "Wait."), 2),
        (ConnectionError(), 2),
        (ToolError(), 2),
        (ModelRequestError("m", "refused", "Look.", status=401), 0),
        (NamedError(429, "insufficient_quota"), 0),
        (KeyError(), 1),
    ],
    ids=["429", "500", "no connection", "lost", "ConnectionError", "on", "401", "quota", "own"],
)
@pytest.mark.parametrize(
    "raises", [plainly, with_from, without_from, on_its_way_out, in_a_group_that_is_wrapped, from_none]
)
async def test_what_a_row_wraps_counts_as_what_it_is(raises: Any, error: Exception, expected: int) -> None:
    """With ``from`` and without, but for ``from None``; 0 attempts are none that would help, so the run ends."""
    attempts = 0

    @foreach("value", [1], retries=Retries(on=ToolError))
    async def eval_it(value: int) -> Result:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raises(error)
        return Result(attempts)

    if expected == 0 and raises is not from_none:
        with pytest.raises((type(error), ValueError)) as ended:
            await run(eval_it)
        notes = getattr(ended.value, "__notes__", [])
        assert [str(error).partition("\n")[0] in note for note in notes] == [True] * (raises is not plainly)
    else:
        await run(eval_it)
    assert attempts == (1 if raises is from_none else max(expected, 1))


@pytest.mark.parametrize("raises", [plainly, without_from])
def test_what_whoever_runs_it_has_in_hand_is_not_the_rows(raises: Any) -> None:
    """A second run because the first was refused; whose rows fail for their own reasons."""

    @foreach("value", [1])
    async def eval_it(value: int) -> Result:
        raises(KeyError("own"))
        return Result()

    try:
        raise ModelRequestError("m", "refused", "Look.", status=401)
    except ModelRequestError:
        (record,) = asyncio.run(run(eval_it)).records
    assert (record.attempts, "refused" in (record.traceback or "")) == (1, False)


@virtual_time
@pytest.mark.parametrize(("turns", "told"), [(0, False), (1, False), (2, True), (4, True)])
@pytest.mark.parametrize("error", [ModelRequestError("m", "too often", "Wait.", status=429), ToolError()])
async def test_requests_that_were_paid_for_nothing_are_told(error: Exception, turns: int, told: bool) -> None:
    """Where rows that are refused have asked much before that; what the user wants to be run again is no surprise."""
    attempts = [0] * 20

    @foreach("value", range(20), retries=Retries(on=ToolError))
    async def eval_it(value: int, model: FakeModel) -> Result:
        attempts[value] += 1
        for _ in range(turns):
            await model.generate("turn")
        if attempts[value] == 1 and value % 2 == 0:
            raise error
        return Result(await model.generate("last"))

    outcome = await run(eval_it, model=FakeModel(replies="yes"))
    count, answered = 10 * turns, 30 * turns + 20
    texts = [text for text in outcome.warnings if 'cache="on"' in text]
    assert [f"{count:,} of the {answered:,} requests" in text for text in texts] == (
        [True] if told and not isinstance(error, ToolError) else []
    )


@virtual_time
async def test_pauses() -> None:
    """As long as is said, by a number or by the function, else longer each time."""
    assert (await attempts_of(ToolError(), Retries(on=ToolError, pause=10)))[1] == pytest.approx(20, abs=0.1)
    waits = iter([1, 30])
    assert (await attempts_of(ToolError(), Retries(on=lambda _: next(waits))))[1] == pytest.approx(31, abs=0.1)
    growing = (await attempts_of(ToolError(), Retries(on=ToolError, times=4)))[1]
    assert 0.25 + 0.5 + 1 + 2 <= growing <= 0.5 + 1 + 2 + 4.1


@pytest.mark.parametrize("answer", ["soon", -1, float("nan"), float("inf"), ZeroDivisionError()])
async def test_a_function_that_fails_is_the_failure_of_the_row(answer: Any) -> None:
    """With what the row raised before it."""

    def ask(error: BaseException) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    attempts, _, outcome = await attempts_of(ToolError("the first"), Retries(on=ask))
    (record,) = outcome.records
    assert attempts == 1
    assert (record.error or "").startswith(("ValueError: retries.on returned", "ZeroDivisionError"))
    assert "ToolError: the first" in (record.traceback or "")


async def test_what_concerns_every_row_is_not_asked_about() -> None:
    """A key that is refused is so again."""
    with pytest.raises(ModelRequestError, match="the key"):
        await attempts_of(ModelRequestError("m", "the key", "Look.", status=401), Retries(on=Exception))


async def test_the_run_says_more_than_the_evaluation() -> None:
    """A policy is one thing, and not mixed from two."""

    @foreach("value", [1], retries=Retries(on=ToolError, pause=0))
    async def eval_it(value: int) -> Result:
        raise ToolError

    assert (await run(eval_it)).calls == 3
    assert (await run(eval_it, retries=Retries())).calls == 1


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"lost": -1}, ValueError), ({"patience": float("nan")}, ValueError), ({"times": None}, ValueError),
        ({"pause": "1"}, ValueError), ({"stumbled": True}, ValueError), ({"on": "ToolError"}, TypeError),
        ({"on": ToolError()}, TypeError), ({"on": (ToolError, "x")}, TypeError), ({"on": int}, TypeError),
        ({"on": attempts_of}, TypeError),
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused_where_it_is_written(settings: Any, error: Any) -> None:
    """Before anything is run."""
    with pytest.raises(error):
        Retries(**settings)


async def test_a_number_is_no_policy() -> None:
    """It would not say of what."""

    @foreach("value", [1])
    async def eval_it(value: int) -> Result:
        return Result(value)

    number: Any = 3
    with pytest.raises(TypeError, match=r"retries= is doteval.evals.Retries\(lost=1\), for example, not 3"):
        foreach("value", [1], retries=number)
    with pytest.raises(TypeError, match="retries= is"):
        await run(eval_it, retries=number)

"""Whoever looks at things hears no warnings; all others hear theirs, and the filters stay as they are."""

from __future__ import annotations

import pickle
import warnings
from contextlib import ExitStack
from contextvars import copy_context
from pathlib import Path
from threading import Event
from typing import Any, Literal

import pytest
from anyio import create_task_group, fail_after
from hypothesis import given
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.evals import run
from doteval.evals._identity.silence import _FILTER as FILTER
from doteval.evals._identity.silence import no_warnings

STEPS = ("looks", "has looked", "enters a block", "leaves a block", "ignores", "makes errors", "has none")


def hears() -> bool:
    """Whether a warning is an error here."""
    try:
        warnings.warn("something", UserWarning, stacklevel=1)
    except UserWarning:
        return True
    return False


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2)), max_size=30))
def test_whoever_looks_and_whatever_others_change_nothing_is_left_of_it(steps: list[tuple[str, int]]) -> None:
    """Several look at once, and others change the filters meanwhile, in any order."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known: list[list[Any]] = [[*warnings.filters]]  # what the filters would be, and in the blocks around
        contexts = [copy_context() for _ in range(3)]
        looks = [ExitStack() for _ in range(3)]
        is_looking = [False] * 3
        users: list[ExitStack] = []
        for step, who in steps:
            match step:
                case "looks" if not is_looking[who]:
                    contexts[who].run(looks[who].enter_context, no_warnings())
                    is_looking[who] = True
                    assert not contexts[who].run(hears)
                case "has looked" if is_looking[who]:
                    contexts[who].run(looks[who].close)
                    is_looking[who] = False
                case "enters a block":
                    users.append(ExitStack())
                    users[-1].enter_context(warnings.catch_warnings())
                    known.append([*known[-1]])
                case "leaves a block" if users:
                    users.pop().close()
                    known.pop()
                case "ignores" | "makes errors":
                    kind: Literal["ignore", "error"] = "ignore" if step == "ignores" else "error"
                    warnings.simplefilter(kind, UserWarning)
                    added = (kind, None, UserWarning, None, 0)
                    known[-1] = [added, *(each for each in known[-1] if each != added)]
                case "has none":
                    warnings.resetwarnings()
                    known[-1] = []
            first = next((each[0] for each in known[-1] if issubclass(UserWarning, each[2])), "default")
            with warnings.catch_warnings(record=True) if first == "default" else ExitStack():
                for context, looking in zip(contexts, is_looking, strict=True):
                    if not looking:
                        assert context.run(hears) == (first == "error")
            assert [each for each in warnings.filters if each is not FILTER] == known[-1]
        for context, look in zip(contexts, looks, strict=True):
            context.run(look.close)
        for user in reversed(users):
            user.close()
        assert warnings.filters == known[0]


def test_filters_may_be_sent_to_another_process() -> None:
    """As executors do; there the one of who looks matches nothing."""
    (copied,) = pickle.loads(pickle.dumps([FILTER]))
    assert copied[1].match("something") is None


FIRST_LOOKS, SECOND_LOOKS, FIRST_IS_DONE = Event(), Event(), Event()


class First:
    @classmethod
    def model_json_schema(cls) -> object:
        FIRST_LOOKS.set()
        assert SECOND_LOOKS.wait(60)
        warnings.warn("heard", UserWarning, stacklevel=1)
        return {}


class Second:
    @classmethod
    def model_json_schema(cls) -> object:
        assert FIRST_LOOKS.wait(60)
        SECOND_LOOKS.set()
        assert FIRST_IS_DONE.wait(60)
        warnings.warn("heard", UserWarning, stacklevel=1)
        return {}


@foreach("q", ["a"])
async def asks_first(q: str) -> Result:
    return Result(str(First))


@foreach("q", ["a"])
async def asks_second(q: str) -> Result:
    return Result(str(Second))


@pytest.mark.anyio
async def test_runs_at_once_leave_the_filters_as_they_were(tmp_path: Path) -> None:
    """One begins to look, then the other, and the first ends before the other; warnings are errors for all else."""

    async def second() -> None:
        await run(asks_second, store=tmp_path / "second.db")

    for each in (FIRST_LOOKS, SECOND_LOOKS, FIRST_IS_DONE):
        each.clear()
    before = [*warnings.filters]
    with fail_after(60):
        async with create_task_group() as group:
            group.start_soon(second)
            await run(asks_first, store=tmp_path / "first.db")
            assert hears()
            FIRST_IS_DONE.set()
    assert warnings.filters == before
    assert hears()

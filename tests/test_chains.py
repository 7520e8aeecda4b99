"""Exceptions lead to others in any way, also back to themselves: whoever follows them comes to an end."""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import doteval
from doteval import ContextProvider, DotevalError, MissingCredentialsError, ModelSetupError
from doteval._chains import all_behind, leaves_of, only_one_in, told_with
from doteval._explained import advice_for, causes_of, reason_of
from doteval._frames import chain_of, shown_in_ipython
from doteval._loop import HomeLoop
from doteval._pool.containment import ends_the_program, outcome_of
from doteval._pool.hooks import Hooks
from doteval._secrets import mask_exception
from doteval.evals._escapes import as_it_is, ends_the_run, told_apart
from doteval.evals._running.refusals import apart_from, refusal_of, retry_after
from doteval.providers._sdk.connecting import unconnected
from doteval.providers._sdk.scrubbing import scrub
from doteval.pytest_plugin import _failures, _leases

SECRET = "sk-0123456789"
KINDS: list[Callable[[], BaseException]] = [
    lambda: OSError(f"the key {SECRET} is refused"),
    lambda: httpx.ConnectError("nobody"),
    lambda: httpx.InvalidURL("bad port"),
    lambda: MissingCredentialsError("Mine", "MY_KEY"),
    lambda: ModelSetupError("m", "it fails", "Wait."),
    lambda: ConnectionRefusedError("no"),
]


def hooks() -> Hooks:
    def never(*_: object) -> Any:
        return False

    return Hooks("P", explain=never, idle=never, is_broken=never, breaks=never)


def unwrapped(error: BaseException) -> None:
    with suppress(BaseException), as_it_is():
        raise error


def contained(error: BaseException) -> None:
    with suppress(BaseException):
        HomeLoop.contain(SimpleNamespace(_is_trios=False), error)  # type: ignore[arg-type]


def stripped(error: BaseException) -> None:
    _failures._strip(traceback.TracebackException.from_exception(error), error, frozenset())


WALKS: dict[str, Callable[[Any], object]] = {
    "told_with": lambda error: list(told_with(error)),
    "all_behind": lambda error: list(all_behind(error)),
    "leaves_of": lambda error: list(leaves_of(error)),
    "only_one_in": only_one_in,
    "reason_of": reason_of,
    "advice_for": advice_for,
    "causes_of": lambda error: list(causes_of(error)),
    "chain_of": chain_of,
    "IPython": shown_in_ipython,
    "ends_the_program": ends_the_program,
    "breaks": lambda error: hooks().breaks(error),
    "contain": contained,
    "as_it_is": unwrapped,
    "ends_the_run": ends_the_run,
    "refusal_of": refusal_of,
    "retry_after": retry_after,
    "apart_from": lambda error: apart_from(error, KeyError()),
    "unconnected": lambda error: unconnected(error, SimpleNamespace(base_url="http://h", _client=None), None),
    "credentials": _leases._missing_credentials,
    "ours_behind": _failures._ours_behind,
    "told_first": lambda error: _failures._told_first(error, ""),
    "strip": stripped,
    "scrub": lambda error: scrub(error, {SECRET}),
}


@pytest.fixture(scope="module", autouse=True)
def an_end() -> Iterator[None]:
    """A walk without an end fails, instead of running for ever."""

    def ends(*_: object) -> None:
        raise AssertionError("it runs for ever")

    before = signal.signal(signal.SIGALRM, ends)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@st.composite
def graphs(draw: st.DrawFn) -> BaseException:
    """Exceptions of all kinds and groups of them, each with any cause and any context, itself included."""
    made: list[BaseException] = [draw(st.sampled_from(KINDS))()]
    for _ in range(draw(st.integers(0, 6))):
        if draw(st.booleans()):
            made.append(BaseExceptionGroup("several", draw(st.lists(st.sampled_from(made), min_size=1, max_size=3))))
        else:
            made.append(draw(st.sampled_from(KINDS))())
    others = st.none() | st.sampled_from(made)
    for error in made:
        error.__cause__, error.__context__ = draw(others), draw(others)
        error.__suppress_context__ = draw(st.booleans())
    return made[-1]


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_whoever_follows_exceptions_comes_to_an_end(error: BaseException) -> None:
    """Be it a circle of causes, of contexts, of what a group holds, or of all of these."""
    for walk in WALKS.values():
        walk(error)


@given(graphs())
@settings(max_examples=50, deadline=None)
def test_a_secret_is_masked_wherever_it_is(error: BaseException) -> None:
    """Also in the members of groups, and in what is not shown."""
    mask_exception(error, {SECRET})
    assert all(SECRET not in str(each.args) for each in all_behind(error))


@pytest.mark.parametrize("link", ["__cause__", "__context__", "group"])
def test_a_long_chain_is_no_deep_one(link: str) -> None:
    """As of a loop that has tried thousands of times, each time from the time before."""
    error: BaseException = OSError("0")
    for _ in range(3_000):
        last, error = error, ValueError("more") if link != "group" else ExceptionGroup("more", [error])  # type: ignore[list-item]
        if link != "group":
            setattr(error, link, last)
    for name, walk in WALKS.items():
        if name != "IPython" and (link != "group" or name != "strip"):  # Python's own printing is a recursion
            walk(error)
    while error is not None:  # or freeing it would be one
        last = error.__cause__ or error.__context__ or next(iter(getattr(error, "exceptions", ())), None)
        error.__cause__ = error.__context__ = None
        error = last


def test_outcomes_are_told_apart_in_any_group() -> None:
    """A group of one counts as that one."""

    class Skipped(BaseException):
        pass

    skipped = Skipped()
    nested = BaseExceptionGroup("", [BaseExceptionGroup("", [skipped])])

    async def look() -> None:
        assert outcome_of(nested) is skipped
        assert outcome_of(BaseExceptionGroup("", [skipped, OSError()])) is None
        assert told_apart(nested, "it") is nested

    anyio.run(look)


def test_nobody_follows_exceptions_alone() -> None:
    """A walk of somebody's own would be missing above: these modules read or write single links, and no others do."""
    root = Path(doteval.__file__).parent
    links = re.compile(r"\w\.(__context__|exceptions)\b(?! = )")
    found = {str(path.relative_to(root)) for path in root.rglob("*.py") if links.search(path.read_text("utf-8"))}
    assert found == {
        "_chains.py",
        "_explained.py",  # a step of a walk
        "_frames.py",  # takes links away for a moment
        "cli/_endpoint/run.py",  # what a group of one kind holds
        "evals/_evaluators/schemas.py",  # a module of this name
        "evals/_running/refusals.py",  # takes away one link
        "pytest_plugin/_failures.py",  # goes along with what is printed
        "testing/_pooled_contract.py",  # what a group holds
    }


@pytest.mark.anyio
@pytest.mark.parametrize("link", ["__cause__", "__context__"])
async def test_a_circle_that_open_raises_is_told_as_ever(link: str) -> None:
    """It is an error like any other."""

    @asynccontextmanager
    async def opened(spec: str) -> Any:
        first, second = httpx.ConnectError("first"), httpx.ConnectError("second")
        setattr(first, link, second)
        setattr(second, link, first)
        raise first
        yield spec

    async with ContextProvider(opened) as provider:
        with pytest.raises(ModelSetupError, match="ConnectError: first"):
            await provider.setup("m")


def test_the_error_of_ours_is_found_in_groups() -> None:
    """The first one, as it comes."""
    ours = ModelSetupError("m", "it fails")
    found = _failures._ours_behind(ExceptionGroup("", [ExceptionGroup("", [OSError()]), ours]))
    assert found is ours
    assert isinstance(found, DotevalError)

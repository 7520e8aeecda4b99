"""Exceptions that answer no question: empty ones, as of libraries of validation, and those whose methods raise.

Python asks an exception nothing on its way. Whoever tells of one asks for its text at most, and never whether it is
true, or equal to another one: that may be no, or raise where nobody waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from anyio import Event, create_task_group, fail_after
from tests.blocked import wait_all_tasks_blocked
from tests.resources import Thing, ThingProvider

from doteval import ContextProvider, HandleInactiveError, ModelHandle, ModelProvider, ModelProviders, Result, foreach
from doteval._chains import leaves_of
from doteval.evals import Evaluation, Store, rescore, run
from doteval.testing import FakeProvider

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


def refuse(*_: object) -> NoReturn:
    raise LookupError("it is not to be asked")


_ASKED = (
    *("__bool__", "__len__", "__eq__", "__hash__", "__str__", "__getattr__", "__iter__", "__contains__"),
    *("__format__", "__lt__", "__reduce__", "__copy__"),
)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "empty": {"__len__": lambda _: 0},
    "false": {"__bool__": lambda _: False},
    "equal to all": {"__eq__": lambda *_: True, "__hash__": lambda _: 0},
    **{name: {name: refuse} for name in _ASKED},
    "__repr__": {"__repr__": refuse},
    "all but the last": dict.fromkeys(_ASKED, refuse),
}


class Subject(ThingProvider):
    """Raises an exception at one place of an author's or a user's.

    Args:
        place: The place.
        error: The exception.
    """

    def __init__(self, place: str, error: Exception, **options: Any) -> None:
        super().__init__(on_event=lambda event: self.at(f"on {event.kind}"), **options)
        self.place = place
        self.error = error

    def at(self, place: str) -> None:
        if place == self.place:
            raise self.error

    def slots(self, spec: str, /, **config: Any) -> int:
        self.at("slots")
        return 1

    def is_broken(self, model: Thing, /) -> bool:
        self.at("is_broken")
        return False

    def breaks(self, error: Exception, /) -> bool:
        self.at("breaks")
        return False

    def idle(self, model: Thing, /) -> None:
        self.at("idle")

    def secrets(self) -> tuple[str, ...]:
        self.at("secrets")
        return ()

    def identity(self, spec: str = "", /, *args: Any, **config: Any) -> Any:
        self.at("identity")
        return super().identity(spec)

    async def healthy(self, model: Thing, /) -> bool:
        self.at("healthy")
        return True

    @asynccontextmanager
    async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[Thing]:
        self.at("open")
        async with create_task_group() as tasks, super().open(spec) as thing:
            self.broken = Event()
            tasks.start_soon(self.watch, self.broken)
            self.at("open inside")
            yield thing
            self.at("close inside")
            tasks.cancel_scope.cancel()
        self.at("close")

    async def watch(self, broken: Event) -> None:
        await broken.wait()
        raise self.error


class Own(ModelProvider[Any]):
    """Keeps books of its own."""

    def __init__(self, place: str, error: Exception) -> None:
        self.at = Subject(place, error).at

    async def setup(self, spec: str) -> Any:
        self.at("own setup")
        return ModelHandle(spec, 1, self)

    async def teardown(self, resource_id: str) -> None:
        self.at("own teardown")


class Entered(Own):
    """Has to be entered."""

    async def __aenter__(self) -> Any:
        self.at("__aenter__")
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        self.at("__aexit__")


# ------------------------------------------------------------------ what is done with them


async def life(provider: Subject) -> None:
    """All that asks the hooks."""
    async with provider:
        for _ in range(2):
            async with provider.setup("a") as handle:
                handle.__doteval_identity__()
                provider.at("block")
        if provider.place == "breaks":
            with suppress(ZeroDivisionError):
                async with provider.setup("a"):
                    raise ZeroDivisionError
        if provider.place in ("secrets", "on open_failed"):
            provider.trouble["b"] = [OSError("no")]
            with pytest.raises(RuntimeError):
                await provider.setup("b")
        if provider.place == "on lost":
            handle = await provider.setup("a")
            handle.report_broken(OSError("no"))
            await handle.teardown()


async def at_once(provider: Subject) -> None:
    """Two who wait for one opening."""
    told: list[BaseException] = []

    async def ask() -> None:
        try:
            await provider.setup("a")
        except RuntimeError as exc:
            told.append(exc)

    async with provider:
        for _ in range(2):
            async with create_task_group() as task_group:
                task_group.start_soon(ask)
                task_group.start_soon(ask)
        assert len(told) == 4
        assert all(each.__cause__ is provider.error for each in told)
        raise told[0]


async def kept_failure(provider: Subject) -> None:
    provider = Subject(provider.place, provider.error, remember_failures=9)
    async with provider:
        with pytest.raises(RuntimeError):
            await provider.setup("a")
        await provider.setup("a")


async def lost(provider: Subject) -> None:
    """It breaks while somebody holds it."""
    async with provider:
        handle = await provider.setup("a")
        if provider.place == "report_broken":
            handle.report_broken(provider.error)
        else:
            provider.broken.set()
        await wait_all_tasks_blocked()
        with pytest.raises(HandleInactiveError, match=r"Hostile"):
            _ = handle.model
        async with provider.setup("a"):
            pass


async def with_books(provider: Subject) -> None:
    kind = Entered if "__a" in provider.place else Own
    async with ModelProviders({"own": kind(provider.place, provider.error)}, discover=False) as providers:
        async with providers.setup("own:a"):
            pass


async def left_to_the_end(provider: Subject) -> None:
    async with Own(provider.place, provider.error) as own:
        await own.setup("a")


async def started(provider: Subject) -> None:
    own = await Entered(provider.place, provider.error).start()
    await own.aclose()


async def made(provider: Subject) -> None:
    async with ModelProviders({"made": lambda: provider.at(provider.place)}, discover=False) as providers:  # type: ignore[dict-item]
        await providers.setup("made:a")


async def connected(provider: Subject) -> None:
    @asynccontextmanager
    async def connect(spec: str) -> AsyncIterator[str]:
        provider.at("connect")
        yield spec
        provider.at("disconnect")

    async with ContextProvider(connect) as context, context.setup("a"):
        pass


async def crashed(provider: Subject) -> None:
    async with FakeProvider() as fake:
        handle = await fake.setup("a")
        await fake.crash("a", provider.error)
        with pytest.raises(HandleInactiveError, match=r"Hostile"):
            _ = handle.model


async def in_blocks(provider: Subject) -> None:
    async with provider, provider.setup("a"):
        async with create_task_group():
            provider.at("block")


def evaluation(provider: Subject) -> Evaluation:
    def rows() -> Iterator[int]:
        yield 1
        provider.at(provider.place if "dataset" in provider.place else "dataset")
        yield 2

    async def async_rows() -> AsyncIterator[int]:
        for row in rows():
            yield row

    @foreach("n", async_rows if provider.place.startswith("async") else rows)
    async def ask(n: int, model: Any = None) -> Result:
        provider.at("row")
        if provider.place == "cause of a row's":
            raise ConnectionError("lost") from provider.error
        return Result(n, scores={"right": True})

    return ask


async def evaluated(provider: Subject) -> None:
    def look(_record: object) -> None:
        provider.at("on_record")

    def model() -> Any:
        provider.at("model")
        return provider.setup("a")

    async with provider:
        place = provider.place
        outcome = await run(evaluation(provider), model=model, on_record=look, abort_after=0)
        assert [record.error for record in outcome.records] == [None, None] or "row" in place
        for record in outcome.records:
            assert record.error is None or record.error.startswith(("HostileError", "ConnectionError: lost"))
        if outcome.summary.errors:
            raise RecordedError(outcome.summary.errors)


class RecordedError(Exception):
    """Rows have failed."""


async def rescored(provider: Subject, store: Path) -> None:
    await run(evaluation(provider), store=store)

    def score(output: int) -> bool:
        provider.at("scorer")
        return True

    with Store(store) as kept:
        (rescored,) = await rescore("default", score, store=kept)
        raise RecordedError(kept.summary(rescored).errors)


ITSELF, IN_A_GROUP, LOGGED = "itself", "in a group", "in the log"
OF_SETUP, OF_GROUP = "the cause of a ModelSetupError", "in a group that is the cause of a ModelSetupError"
NOBODY, ROWS = "nobody", "RecordedError(2)"
PLACES: dict[str, tuple[Callable[..., Awaitable[None]], str]] = {
    "open": (at_once, OF_SETUP),
    "open inside": (life, OF_GROUP),
    "open, and remembered": (kept_failure, OF_SETUP),
    **dict.fromkeys(("slots", "identity", "block"), (life, ITSELF)),
    **dict.fromkeys(("close", "close inside"), (life, IN_A_GROUP)),
    **dict.fromkeys(("is_broken", "breaks", "idle", "secrets", "healthy"), (life, LOGGED)),
    **{f"on {kind}": (life, LOGGED) for kind in ("opening", "opened", "leased", "released", "closing", "closed")},
    **{f"on {kind}": (life, LOGGED) for kind in ("open_failed", "lost", "checking")},
    "block, in a task group": (in_blocks, IN_A_GROUP),
    "report_broken": (lost, NOBODY),
    "a task of the resource": (lost, NOBODY),
    "own setup": (with_books, ITSELF),
    "own teardown": (with_books, ITSELF),
    "own teardown, at the end": (left_to_the_end, IN_A_GROUP),
    "__aenter__": (with_books, OF_SETUP),
    "__aexit__": (with_books, IN_A_GROUP),
    "__aenter__, by start()": (started, ITSELF),
    "__aexit__, by aclose()": (started, ITSELF),
    "factory": (made, ITSELF),
    "connect": (connected, OF_SETUP),
    "disconnect": (connected, IN_A_GROUP),
    "crash": (crashed, NOBODY),
    "row": (evaluated, ROWS),
    "cause of a row's": (evaluated, ROWS),
    "dataset": (evaluated, ITSELF),
    "async dataset": (evaluated, ITSELF),
    "on_record": (evaluated, ITSELF),
    "model": (evaluated, ITSELF),
    "open, for an evaluation": (evaluated, OF_SETUP),
    "close, for an evaluation": (evaluated, IN_A_GROUP),
    "scorer": (rescored, ROWS),
}


def has(told: BaseException | None, error: Exception) -> bool:
    return told is not None and any(each is error for each in leaves_of(told))


async def what_comes_of(place: str, kind: str, store: Path, logged: list[BaseException | None]) -> str:
    """Where it is raised, or else told."""
    error: Exception = type("HostileError", (Exception,), KINDS[kind])("it is so")
    do, _ = PLACES[place]
    logged.clear()
    caught: BaseException | None = None
    try:
        with fail_after(20):
            await do(Subject(place.partition(",")[0], error, health_after=0), *([store] if do is rescored else []))
    except Exception as exc:
        caught = exc
    if caught is error:
        return ITSELF
    if has(caught, error):
        return IN_A_GROUP
    if caught is not None and has(caught.__cause__, error):
        assert "HostileError" in str(caught)
        return f"{'' if caught.__cause__ is error else 'in a group that is '}the cause of a {type(caught).__name__}"
    if caught is not None:
        return repr(caught)
    return LOGGED if any(each is error for each in logged) else NOBODY


@pytest.fixture
def logged() -> Iterator[list[BaseException | None]]:
    """The exceptions that are logged; not with them, as Python itself asks each whether it is true, to print it."""
    found: list[BaseException | None] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.exc_info[1] if record.exc_info else None)

    logger, listener = logging.getLogger("doteval"), Listener()
    logger.addHandler(listener)
    logger.propagate = False
    yield found
    logger.propagate = True
    logger.removeHandler(listener)


@pytest.mark.parametrize("place", PLACES)
async def test_an_exception_that_answers_nothing_ends_where_any_other_does(
    place: str, tmp_path: Path, logged: list[BaseException | None], anyio_backend_name: str
) -> None:
    """Whatever of it raises, or says no, and wherever it comes from."""
    kinds = {*KINDS} - ({"__repr__"} if anyio_backend_name == "trio" else set())  # trio asks for it, and breaks
    found = {kind: await what_comes_of(place, kind, tmp_path / kind, logged) for kind in kinds}
    assert found == dict.fromkeys(kinds, PLACES[place][1])


@pytest.mark.parametrize("base", [Own, ThingProvider])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_provider_and_a_model_that_answer_nothing_are_used_as_any_other(
    kind: str, base: type[Any], tmp_path: Path
) -> None:
    """Two of them by name, each started once, and what is broken of them is said by an object that does not say it."""
    odd: dict[str, Any] = {name: do for name, do in KINDS[kind].items() if name != "__getattr__"}
    Model = type("OddModel", (), odd)  # noqa: N806

    @asynccontextmanager
    async def opening(_self: Any, spec: str, /) -> AsyncIterator[Any]:
        yield Model()

    async def setup(self: Any, spec: str) -> Any:
        return ModelHandle(spec, Model(), self)

    own = {"setup": setup} if base is Own else {"open": opening, "is_broken": lambda *_: Model()}
    Provider = type("OddProvider", (base,), {**odd, **own})  # noqa: N806
    given = ("nowhere", ValueError()) if base is Own else ()
    made = {name: Provider(*given) for name in "ab"}

    @foreach("n", range(2))
    async def ask(n: int, model: Any) -> Result:
        assert type(model) is Model
        return Result(n)

    async with ModelProviders(made, discover=False) as providers:
        for name in "abab":
            async with providers.setup(f"{name}:x") as handle:
                assert type(handle.model) is Model
            assert providers[name] is made[name]
        for _ in range(2):
            outcome = await run(ask, model=lambda: providers.setup("a:x"), store=tmp_path / "results.db")
            assert (outcome.summary.rows, outcome.summary.errors) == (2, 0)

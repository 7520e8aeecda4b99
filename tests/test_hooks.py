"""What an author's code may raise, wherever the pool runs it: the books go on, and who is concerned is told."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any, cast

import pytest
from anyio import create_task_group, get_cancelled_exc_class
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked
from tests.resources import Thing, ThingProvider

from doteval import ContextProvider, ModelSetupError, PoolEvent

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


class Odd(BaseException):
    """As what `pytest.skip` and `pytest.fail` raise: no `Exception`."""


class UnsayableError(Exception):
    """An exception that cannot even be printed."""

    def __str__(self) -> str:
        raise Odd("no words")


class HookedProvider(ThingProvider):
    """Runs somebody's code at each place where an author may have some.

    Args:
        hooks: What is run, by the name of the place.
    """

    def __init__(self, hooks: dict[str, Callable[[], object]], **options: Any) -> None:
        super().__init__(on_event=self._on_event, **options)
        self.hooks = hooks

    def _on_event(self, event: PoolEvent) -> None:
        self._run(f"on {event.kind}")

    def _run(self, place: str) -> None:
        self.hooks.get(place, lambda: None)()

    def idle(self, model: Thing, /) -> None:
        self._run("idle")

    def secrets(self) -> tuple[str, ...]:
        self._run("secrets")
        return ()

    async def healthy(self, model: Thing, /) -> bool:
        self._run("healthy")
        return await super().healthy(model)

    @asynccontextmanager
    async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[Thing]:
        self._run("before open")
        async with super().open(spec) as thing:
            self._run("open")
            yield thing
            self._run("close")
        self._run("after close")


def raising(error: type[BaseException]) -> Callable[[], None]:
    def hook() -> None:
        raise error("from a hook")

    return hook


ERRORS = (ValueError, Odd, UnsayableError)
OPTIONS: list[dict[str, Any]] = [{}, {"capacity": 1}, {"keep_alive": 0}, {"health_after": 0}]
LOOPS = ("asyncio", "trio")  # nothing here is about I/O or timers
EVENTS = ["opening", "opened", "open_failed", "leased", "released", "checking", "closing", "closed", "lost"]
PLACES = [
    "before open",
    "open",
    "close",
    "after close",
    "idle",
    "healthy",
    "secrets",
    *(f"on {kind}" for kind in EVENTS),
]
CASES = [
    pytest.param(place, ERRORS[(a + b + c) % 3], options, loop, id=f"{place}-{options}-{loop}")
    for a, place in enumerate(PLACES)
    for b, options in enumerate(OPTIONS)
    for c, loop in enumerate(LOOPS)
]
"""Every place on every loop with every option, and with every error; two of those with each of the options."""


async def life(provider: HookedProvider) -> None:
    """All that can happen to resources, with two who wait for each."""

    async def lease(spec: str) -> None:
        try:
            handle = await provider.setup(spec)
        except (ModelSetupError, Odd):
            return
        await checkpoint()
        with suppress(RuntimeError, ValueError, UnsayableError, ExceptionGroup):
            await handle.teardown()

    for spec in ("a", "b", "a", "fails", "a"):
        provider.trouble["fails"] = [UnsayableError("cannot be printed")]
        async with create_task_group() as task_group:
            task_group.start_soon(lease, spec)
            task_group.start_soon(lease, spec)
        await wait_all_tasks_blocked()
    try:
        handle = await provider.setup("a")
    except (ModelSetupError, Odd):
        return
    handle.model.break_down()
    await wait_all_tasks_blocked()
    assert not handle.is_active


@pytest.mark.parametrize(("place", "error", "options", "anyio_backend"), CASES)
async def test_whatever_a_hook_raises_the_books_go_on(
    place: str, error: type[BaseException], options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody hangs, nobody else is hurt, all is closed in the end, and the provider works again without the hook."""
    caplog.set_level(logging.CRITICAL, "doteval")
    hooks: dict[str, Callable[[], object]] = {place: raising(error)}
    provider = HookedProvider(hooks, **options)
    fails = place in ("close", "after close") and "keep_alive" not in options  # else its last user is told
    with pytest.raises(ExceptionGroup, match="closing HookedProvider failed") if fails else nullcontext():
        async with provider:
            await life(provider)
            hooks.clear()
            async with await provider.setup("c") as handle:
                await handle.model.use()
            hooks[place] = raising(error)
    now = provider.statistics()
    assert (now.opening, now.open, now.closing, now.active_leases, now.waiting) == (0, 0, 0, 0, 0)
    assert not +provider.live


@pytest.mark.parametrize("place", ["before open", "open"])
async def test_what_pytest_raises_to_skip_reaches_everybody_who_waits(place: str) -> None:
    """As it is: an opening may find out that a test makes no sense here."""
    async with HookedProvider({place: lambda: pytest.skip("no GPU")}) as provider:
        told: list[str] = []

        async def ask() -> None:
            with pytest.raises(pytest.skip.Exception) as caught:
                await provider.setup("a")
            told.append(str(caught.value))

        async with create_task_group() as task_group:
            for _ in range(3):
                task_group.start_soon(ask)
        assert told == ["no GPU"] * 3


@pytest.mark.parametrize("call", ["teardown", "teardown_all", "handle", "exit"])
async def test_a_cancellation_out_of_a_closing_cancels_nobody(call: str) -> None:
    """A clean-up that cancels a task of its own and awaits it lets that task's cancellation escape."""

    def cancelled() -> None:
        raise get_cancelled_exc_class()() if get_cancelled_exc_class().__module__ == "asyncio.exceptions" else Odd()

    provider = HookedProvider({"after close": cancelled}, keep_alive=0)
    reached = False
    errors: list[BaseException] = []
    held: list[object] = []

    async def use() -> None:
        nonlocal reached
        handle = await provider.setup("a")
        held.append(handle)
        try:
            if call == "teardown":
                await provider.teardown("a")
            elif call == "teardown_all":
                await provider.teardown_all()
            elif call == "handle":
                await handle.teardown()
        except Exception as exc:
            errors.append(exc)
        await checkpoint()
        reached = True

    try:
        async with provider:
            async with create_task_group() as task_group:
                task_group.start_soon(use)
    except ExceptionGroup as group:
        errors += group.exceptions
    assert reached
    assert "closing 'a' ended with" in repr(errors)


async def no_answer(*_model: object) -> bool:
    raise OSError("no answer")


async def no_model() -> bool:
    return True


async def forgotten(*_model: object) -> None:
    """Says neither yes nor no."""


CHECKS: dict[str, Callable[..., object]] = {
    "OSError: no answer": no_answer,
    "TypeError: it returned True, and nothing to await: write it with 'async def'": lambda *_model: True,
    "TypeError: no_model() takes 0 positional arguments but 1 was given": no_model,
    "TypeError: it returned None, where it has to return True or False": forgotten,
}


@pytest.mark.parametrize("is_healthy", [None, *CHECKS], ids=str)
@pytest.mark.parametrize("in_class", [True, False])
async def test_a_health_check_that_cannot_answer_counts_as_no_and_is_logged(
    is_healthy: str | None, in_class: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """In a class and as the argument of `ContextProvider`; a check that answers is logged nowhere."""

    @asynccontextmanager
    async def connect(spec: str) -> AsyncIterator[object]:
        yield object()

    async def well(_model: object) -> bool:
        return True

    check: Any = well if is_healthy is None else CHECKS[is_healthy]
    provider: ContextProvider[object] = ContextProvider(
        connect, name="Checked", is_healthy=None if in_class else check, health_after=0
    )
    if in_class:
        kind = type("Checked", (ContextProvider,), {"healthy": lambda _self, model: check(model)})
        provider = kind(connect, name="Checked", health_after=0)
    async with provider:
        for _ in range(2):
            async with provider.setup("a"):
                pass
        assert provider.statistics().unhealthy == (is_healthy is not None)
    told = [f"{one.getMessage()}; {caplog.handler.format(one).splitlines()[-1]}" for one in caplog.records]
    assert told == ([] if is_healthy is None else [f"Checked: healthy() of 'a' raised; {is_healthy}"])


def test_what_cannot_be_called_is_no_health_check() -> None:
    """It is refused where it is given."""
    with pytest.raises(TypeError, match="is_healthy= must be an async function of the model, not True"):
        ContextProvider(cast(Any, nullcontext), is_healthy=cast(Any, True))

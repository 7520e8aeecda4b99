"""How many openings run at once, and how one that waits for another lends its place to it. No time passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from anyio import create_task_group, current_time, fail_after, move_on_after, sleep, sleep_forever
from tests.virtual_time import virtual_time

from doteval import ModelSetupError, PooledProvider, SetupTimeoutError
from doteval._pool.turn import Turn, Turns

pytestmark = [pytest.mark.anyio, virtual_time, pytest.mark.concurrency]


async def test_max_concurrent_opens_limits_how_many_open_at_once() -> None:
    """Six openings of one second each take three seconds, two at a time."""

    class Slow(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[str]:
            await sleep(1)
            yield spec

    async with Slow(max_concurrent_opens=2) as provider:
        before = current_time()
        await provider.setup_many(*"abcdef")
        assert current_time() - before == pytest.approx(3)
        assert provider.statistics().setup_seconds > 0


@pytest.mark.parametrize("limit", [1, 2])
async def test_an_opening_that_gives_up_waiting_for_another_is_counted_again(limit: int) -> None:
    """It waits for its turn before it opens something else."""
    now = most = 0

    class Never(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[str]:
            await sleep_forever()
            yield spec

    class Patient(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[str]:
            nonlocal now, most
            with pytest.raises(SetupTimeoutError):
                await never.setup("a")
            now += 1
            most = max(most, now)
            await sleep(3)
            now -= 1
            yield spec

    async with Never(setup_timeout=2) as never, Patient(max_concurrent_opens=limit) as provider:
        await provider.setup_many(*"abcdef")
    assert most == limit


async def test_an_opening_that_is_alone_has_its_turn_again_where_its_waiting_was_cancelled() -> None:
    now = most = 0

    class Impatient(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[str]:
            nonlocal now, most
            if spec == "never":
                await sleep_forever()
            if spec == "a":
                with move_on_after(2):
                    await never.setup("never")
            now += 1
            most = max(most, now)
            await sleep(3)
            now -= 1
            yield spec

    async with Impatient() as never, Impatient(max_concurrent_opens=1) as provider, create_task_group() as task_group:
        task_group.start_soon(provider.setup, "a")
        await sleep(2.5)
        task_group.start_soon(provider.setup, "b")
    assert most == 1


async def test_who_goes_on_without_its_turn_is_counted_before_anybody_else_begins() -> None:
    """A cancelled wait cannot wait for its turn, so there is one too many until one of them is done, and no longer."""
    began: dict[str, float] = {}

    class Impatient(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[str]:
            if spec == "never":
                await sleep_forever()
            if spec == "a":
                with move_on_after(2):
                    await never.setup("never")
            began[spec] = current_time() - start
            await sleep(4)
            yield spec

    async with Impatient() as never, Impatient(max_concurrent_opens=1) as provider, create_task_group() as task_group:
        start = current_time()
        task_group.start_soon(provider.setup, "a")
        await sleep(1)
        task_group.start_soon(provider.setup_many, "b", "c", "d")
    assert began.pop("a") == pytest.approx(2)
    assert sorted(began.values()) == pytest.approx([1, 6, 10])


@pytest.mark.parametrize("inner_ends", ["with a time-out", "with an error", "well"])
@pytest.mark.parametrize("outer_ends", ["cancelled", "with its turn"])
async def test_a_wait_in_an_opening_is_counted_as_what_its_caller_gets(inner_ends: str, outer_ends: str) -> None:
    """Its caller goes on with its turn only, and may be cancelled before: then that is what it gets."""
    heard: list[str] = []

    class Inner(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[str]:
            await sleep(9 if inner_ends == "with a time-out" else 2)
            if inner_ends == "with an error":
                raise OSError(spec)
            yield spec

    class Outer(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[str]:
            if spec == "a":
                try:
                    await inner.setup("inner")
                except BaseException as exc:
                    heard.append(type(exc).__name__)
                    raise
                heard.append("granted")
            else:
                await sleep(5)
            yield spec

    async with Inner(setup_timeout=2.5) as inner, Outer(max_concurrent_opens=1) as outer:
        with move_on_after(4 if outer_ends == "cancelled" else 8):
            async with create_task_group() as task_group:
                task_group.start_soon(ignoring, ModelSetupError, outer, "a")
                await sleep(1)
                task_group.start_soon(outer.setup, "b")
        await sleep(10)
        now = inner.statistics()
        assert now.active_leases == (heard == ["granted"])
    is_late = inner_ends == "with a time-out"
    assert now.waits == 1
    if outer_ends == "cancelled":
        assert heard[0] in ("CancelledError", "Cancelled")
        assert (now.wait_cancellations, now.wait_timeouts) == (1, 0)
    else:
        kinds = {"with a time-out": SetupTimeoutError, "with an error": ModelSetupError}
        assert heard == [kinds[inner_ends].__name__ if inner_ends in kinds else "granted"]
        assert (now.wait_cancellations, now.wait_timeouts) == (0, is_late)


async def ignoring(kind: type[Exception], provider: PooledProvider[str], spec: str) -> None:
    with suppress(kind):
        await provider.setup(spec)


async def test_a_turn_that_is_lent_twice_comes_back_once() -> None:
    """After the last of the waits, and not before."""
    turns = Turns(1)
    turn = Turn(turns)
    await turn.begin()
    async with turn.lent():
        async with turn.lent():
            pass
        other = Turn(turns)
        with fail_after(5):
            await other.begin()
        other.end()
    with move_on_after(1) as scope:
        await Turn(turns).begin()
    assert scope.cancelled_caught
    turn.end()
    with fail_after(5):
        await Turn(turns).begin()

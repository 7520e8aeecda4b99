"""A resource is opened ahead only where that takes nothing from anybody."""

from __future__ import annotations

import pytest
from anyio import Event, create_task_group
from tests.blocked import wait_all_tasks_blocked
from tests.resources import ThingProvider

from doteval import ModelHandle, ModelSetupError, ProviderClosedError, ProviderNotEnteredError, SpecError

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


async def test_what_is_preloaded_is_idle_and_then_leased() -> None:
    """One opening; nobody waits for it but the one who needs it."""
    async with ThingProvider(capacity=2) as provider:
        async with await provider.setup("a"):
            assert provider.preload("b")
            await wait_all_tasks_blocked()
            now = provider.statistics()
            assert (now.open, now.idle, now.active_leases) == (2, 1, 1)
            async with await provider.setup("b") as handle:
                await handle.model.use()
        assert provider.opened == {"a": 1, "b": 1}
    provider.assert_nothing_is_left()


async def test_who_comes_meanwhile_joins_the_opening() -> None:
    """And has the resource when the preloading gives it back."""
    provider = ThingProvider(capacity=1)
    provider.gates["a"] = Event()
    async with provider, create_task_group() as task_group:
        handles: list[ModelHandle[object]] = []

        async def lease() -> None:
            handles.append(await provider.setup("a"))

        assert provider.preload("a")
        assert provider.preload("a")
        await wait_all_tasks_blocked()
        task_group.start_soon(lease)
        await wait_all_tasks_blocked()
        provider.gates["a"].set()
        await wait_all_tasks_blocked()
        assert provider.opened == {"a": 1}
        assert provider.statistics().active_leases == len(handles) == 1
        await handles[0].teardown()
    provider.assert_nothing_is_left()


async def test_leased_slots_are_not_wanted() -> None:
    """Also not where a part of what it needs is free."""
    provider = ThingProvider(capacity=3)
    provider.sizes = {"big": 2, "huge": 3}
    async with provider:
        async with await provider.setup("big"):
            assert not provider.preload("huge")
            assert provider.preload("small")
            await wait_all_tasks_blocked()
        assert provider.preload("huge")
        await wait_all_tasks_blocked()
        assert provider.opened == {"big": 1, "small": 1, "huge": 1}
        assert provider.statistics().evictions == 2
    provider.assert_nothing_is_left()


async def test_those_who_wait_come_first() -> None:
    """Nobody is overtaken, though there would be a slot."""
    provider = ThingProvider(capacity=2)
    provider.sizes["big"] = 2
    async with provider, create_task_group() as task_group:

        async def lease_big() -> None:
            await (await provider.setup("big")).teardown()

        async with await provider.setup("a"):
            task_group.start_soon(lease_big)
            await wait_all_tasks_blocked()
            assert not provider.preload("b")
        await wait_all_tasks_blocked()
        assert provider.opened == {"a": 1, "big": 1}
    provider.assert_nothing_is_left()


async def test_nothing_is_opened_that_would_be_closed_at_once() -> None:
    """Without a lease nothing stays."""
    async with ThingProvider(keep_alive=0) as provider:
        assert not provider.preload("a")
        await wait_all_tasks_blocked()
        assert not provider.opened
    provider.assert_nothing_is_left()


async def test_an_opening_that_fails_is_tried_again_by_the_next_one() -> None:
    """Who needs it gets the error of his own attempt."""
    provider = ThingProvider(capacity=1)
    provider.trouble["a"] = [OSError("first"), OSError("second")]
    async with provider:
        assert provider.preload("a")
        await wait_all_tasks_blocked()
        with pytest.raises(ModelSetupError, match="second"):
            await provider.setup("a")
        async with await provider.setup("a"):
            pass
    provider.assert_nothing_is_left()


@pytest.mark.parametrize("turns", range(8))
async def test_the_provider_may_be_closed_in_any_moment(turns: int) -> None:
    """However far the opening is, nothing is left."""
    provider = ThingProvider(capacity=1)
    async with provider:
        assert provider.preload("a")
        for _ in range(turns):
            await provider.teardown("nothing of that name")  # a checkpoint
    provider.assert_nothing_is_left()


async def test_an_opening_that_never_ends_ends_with_the_provider() -> None:
    """Nothing waits for it."""
    provider = ThingProvider(capacity=1)
    provider.gates["a"] = Event()
    async with provider:
        assert provider.preload("a")
        await wait_all_tasks_blocked()
    provider.assert_nothing_is_left()


async def test_what_cannot_be_meant_is_said() -> None:
    """As by `setup`."""
    provider = ThingProvider()
    with pytest.raises(ProviderNotEnteredError):
        provider.preload("a")
    async with provider:
        with pytest.raises(SpecError):
            provider.preload("")
    with pytest.raises(ProviderClosedError):
        provider.preload("a")


@pytest.mark.parametrize("capacity", [None, 2])
async def test_what_skips_its_opening_hurts_nobody(capacity: int | None) -> None:
    """What `pytest.skip` raises is no ``Exception``; who needs the resource gets it, and nobody else."""

    class Skipped(BaseException):
        """As that of pytest, which would end this test."""

    def skip(spec: str) -> None:
        if spec == "absent":
            raise Skipped("not here")

    async with ThingProvider(capacity=capacity) as provider:
        provider.on_open = skip
        async with await provider.setup("a") as handle:
            assert provider.preload("absent")
            await wait_all_tasks_blocked()
            await handle.model.use()
            with pytest.raises(Skipped, match="not here"):
                await provider.setup("absent")
            async with await provider.setup("b"):
                pass
    provider.assert_nothing_is_left()

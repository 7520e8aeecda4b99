"""What leasing costs, in counts that do not depend on the clock; benchmarks/ measures the time."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from tests.checkpoints import suspensions

from doteval import PooledProvider
from doteval._pooled import runtime_of

pytestmark = pytest.mark.anyio


class CountingProvider(PooledProvider[str]):
    """Counts its openings, which take one checkpoint each."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.opened = 0

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncIterator[str]:
        self.opened += 1
        await checkpoint()
        yield spec


def tasks() -> int:
    """How many tasks of ours there are, without the one that holds the provider open."""
    names = [str(info.name) for info in anyio.get_running_tasks()]
    return sum(name.startswith("doteval ") and name != "doteval CountingProvider" for name in names)


async def test_an_open_provider_is_one_task() -> None:
    """Whatever it leases; and none is left of it."""
    async with CountingProvider():
        assert [str(info.name) for info in anyio.get_running_tasks()].count("doteval CountingProvider") == 1
    assert "doteval CountingProvider" not in [str(info.name) for info in anyio.get_running_tasks()]


@pytest.mark.parametrize(("fast", "expected"), [(False, 2), (True, 0)])
async def test_a_warm_lease_lets_others_run_once_on_each_side(fast: bool, expected: int) -> None:
    """One checkpoint in `setup()`, one in `teardown()`; none with `fast_acquire`."""
    async with CountingProvider(fast_acquire=fast) as provider:

        async def lease() -> None:
            await (await provider.setup("m")).teardown()

        await lease()
        assert await suspensions(lease) == expected


async def test_a_warm_lease_starts_no_task_and_opens_nothing() -> None:
    """There is one task a resource, however often it is leased."""
    async with CountingProvider() as provider:
        for _ in range(20):
            await (await provider.setup("m")).teardown()
            assert tasks() == 1
        assert provider.opened == 1


async def test_a_crowd_at_a_cold_key_costs_one_opening_and_one_task() -> None:
    """Whoever waits does so in its own task, and the opening is in another one."""
    async with CountingProvider() as provider:
        most = 0

        async def ask() -> None:
            nonlocal most
            handle = await provider.setup("m")
            most = max(most, tasks())
            await handle.teardown()

        async with anyio.create_task_group() as task_group:
            for _ in range(100):
                task_group.start_soon(ask)
        assert (provider.opened, most) == (1, 1)
        assert provider.statistics().leases == 100


async def test_whoever_joins_an_opening_is_woken_once() -> None:
    """The wait for the opening is the only checkpoint: the number of those who wait does not matter."""
    async with CountingProvider() as provider:
        seen: list[int] = []

        async def ask() -> None:
            seen.append(await suspensions(lease))

        async def lease() -> None:
            await provider.setup("m")

        async with anyio.create_task_group() as task_group:
            for _ in range(100):
                task_group.start_soon(ask)
        assert set(seen) == {1}


@pytest.mark.parametrize("keys", [1, 100])
async def test_a_warm_lease_keeps_two_objects_and_gives_them_back(keys: int) -> None:
    """A handle and a lease (and what the books note of it), however much is open; nothing stays after the teardown."""
    async with CountingProvider(fast_acquire=True) as provider:
        for number in range(keys):
            await (await provider.setup(f"m{number}")).teardown()
        handles = [await provider.setup("m0") for _ in range(10)]
        for handle in handles:
            await handle.teardown()
        del handle, handles
        gc.collect()
        gc.disable()  # what is counted must not be collected meanwhile
        try:
            before = sys.getallocatedblocks()
            kept = [await provider.setup("m0") for _ in range(100)]
            held = sys.getallocatedblocks() - before
            for handle in kept:
                await handle.teardown()
            del handle, kept
            left = sys.getallocatedblocks() - before
        finally:
            gc.enable()
        assert held <= 100 * 3
        assert left <= 20


@pytest.mark.parametrize(
    ("options", "most"),
    [({}, 13), ({"capacity": 4}, 16), ({"keep_alive": 100.0}, 14)],
    ids=["unlimited", "capacity", "keep_alive"],
)
async def test_a_warm_lease_calls_few_functions(options: dict[str, Any], most: int) -> None:
    """Each is worth 2 % of it. Nothing is called when a handle is dropped that was torn down."""
    called: list[str] = []

    def note(frame: Any, event: str, argument: object) -> None:
        if event == "call" and frame.f_globals["__name__"].startswith("doteval."):
            called.append(frame.f_code.co_qualname)

    async with CountingProvider(fast_acquire=True, **options) as provider:

        async def lease() -> None:
            handle = await provider.setup("m")
            await handle.teardown()

        await lease()
        gc.disable()  # which would end what other tests have left
        sys.setprofile(note)
        try:
            await lease()
        finally:
            sys.setprofile(None)
            gc.enable()
    assert len(called) <= most, called
    assert not [name for name in called if "__del__" in name]


async def test_idle_resources_are_one_task_each() -> None:
    """Nothing watches them, and all tasks are gone when the provider is left."""
    async with CountingProvider() as provider:
        for number in range(50):
            await (await provider.setup(f"m{number}")).teardown()
        assert tasks() == provider.opened == 50
    assert tasks() == 0


async def test_no_object_on_the_way_of_a_warm_lease_has_too_many_attributes() -> None:
    """With 30 and more Python keeps them in a dictionary, and finds each more slowly: 4 % of a lease."""
    async with CountingProvider() as provider:
        pool = runtime_of(provider).pool
        assert pool is not None
        for each in (pool, pool._ledger, runtime_of(provider)):
            kept = gc.get_referents(each)
            own = vars(each)  # which makes one where there was none
            assert not any(other is own for other in kept), f"{type(each).__name__} has {len(own)}"

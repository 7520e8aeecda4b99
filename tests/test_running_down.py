"""A provider that is drained, resized, or refuses to let everybody wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import Event, create_task_group, fail_after, move_on_after, to_thread
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked
from tests.resources import ThingProvider
from tests.test_nested import Builder

from doteval import (
    CapacityDeadlockError,
    CapacityExceededError,
    PooledProvider,
    ProviderClosedError,
    QueueFullError,
    WrongEventLoopError,
)

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


# ---------------------------------------------------------------- drain


@pytest.mark.parametrize("options", [{}, {"capacity": 2}, {"keep_alive": 0}, {"fast_acquire": True}], ids=str)
async def test_draining_waits_for_those_who_lease_and_refuses_newcomers(options: dict[str, Any]) -> None:
    async with ThingProvider(**options) as provider:
        handles = [await provider.setup(spec) for spec in ("a", "b", "a")]
        drained: list[int] = []

        async def drain() -> None:
            await provider.drain()
            drained.append(provider.statistics().active_leases)

        async with create_task_group() as task_group:
            task_group.start_soon(drain)
            task_group.start_soon(drain)
            for handle in handles:
                await wait_all_tasks_blocked()
                assert drained == []
                for spec in ("a", "c"):
                    with pytest.raises(ProviderClosedError, match="is draining") as caught:
                        await provider.setup(spec)
                    assert caught.value.is_draining
                with pytest.raises(ProviderClosedError, match="is draining"):
                    await provider.setup_many("a", "b")
                assert not provider.preload("c")
                await handle.model.use()
                await handle.teardown()
        assert drained == [0, 0]
        await provider.drain()
    async with provider:
        await provider.setup("a")


async def test_who_waits_already_is_served_while_the_provider_drains() -> None:
    async with ThingProvider(capacity=1) as provider:
        handle = await provider.setup("a")
        served: list[str] = []

        async def ask() -> None:
            async with provider.setup("b") as handle:
                await handle.model.use()
                served.append("b")

        async def drain() -> None:
            await provider.drain()
            served.append("drained")

        async with create_task_group() as task_group:
            task_group.start_soon(ask)
            await wait_all_tasks_blocked()
            task_group.start_soon(drain)
            await wait_all_tasks_blocked()
            await handle.teardown()
        assert served == ["b", "drained"]


@pytest.mark.parametrize("end", ["teardown", "teardown_all", "lost", "broken"])
async def test_draining_ends_however_the_last_lease_ends(end: str) -> None:
    async with ThingProvider() as provider, create_task_group() as task_group:
        handle = await provider.setup("a")
        task_group.start_soon(provider.drain)
        await wait_all_tasks_blocked()
        if end == "lost":
            handle.model.break_down()
        elif end == "broken":
            handle.report_broken(OSError())
        else:
            await (provider.teardown("a") if end == "teardown" else provider.teardown_all())


async def test_who_stops_waiting_for_the_drain_can_close_all_the_same() -> None:
    async with ThingProvider() as provider:
        handle = await provider.setup("a")
        with move_on_after(0) as scope:
            await provider.drain()
        assert scope.cancelled_caught
        assert handle.is_active
        with pytest.raises(ProviderClosedError, match="is draining"):
            await provider.setup("a")
    provider.assert_nothing_is_left()


async def test_who_holds_a_lease_itself_is_told_that_it_would_wait_for_ever() -> None:
    """And nothing has changed; who has handed it over, or does not hold it any more, may drain."""
    async with ThingProvider(capacity=2) as provider:
        handle, other = await provider.setup_many("a", "b")
        with fail_after(5), pytest.raises(RuntimeError, match=r"would wait for ever: who calls it holds 'a', 'b'"):
            await provider.drain()
        await other.teardown()
        gate, has_it = Event(), Event()

        async def use() -> None:
            async with handle:
                has_it.set()
                await gate.wait()

        async with create_task_group() as task_group:
            task_group.start_soon(use)
            await has_it.wait()
            task_group.start_soon(provider.drain)
            await wait_all_tasks_blocked()
            assert provider.statistics().active_leases == 1
            gate.set()


async def test_resources_that_lease_each_other_do_not_keep_a_drain_waiting() -> None:
    """And one that is being opened for somebody who waits already still gets what it needs."""
    async with Builder({"house": ["ground"]}, []) as provider:
        gate, opening = Event(), Event()

        async def wait(spec: str) -> None:
            if spec == "roof":
                opening.set()
                await gate.wait()

        provider.before_yield = wait
        await (await provider.setup("house")).teardown()
        with fail_after(5):
            await provider.drain()
    async with provider:
        provider.plan["tower"] = ["roof", "ground"]

        async def ask() -> None:
            async with provider.setup("tower") as handle:
                handle.model.use()

        with fail_after(5):
            async with create_task_group() as task_group:
                task_group.start_soon(ask)
                await opening.wait()
                task_group.start_soon(provider.drain)
                await wait_all_tasks_blocked()
                gate.set()


# ---------------------------------------------------------------- resize


async def test_more_slots_serve_those_who_wait_at_once() -> None:
    async with ThingProvider(capacity=1) as provider:
        held = [await provider.setup("a")]

        async def ask(spec: str) -> None:
            held.append(await provider.setup(spec))

        async with create_task_group() as task_group:
            for spec in ("b", "c", "d"):
                task_group.start_soon(ask, spec)
                await wait_all_tasks_blocked()
            provider.resize(3)
            await wait_all_tasks_blocked()
            assert sorted(handle.resource_id for handle in held) == ["a", "b", "c"]
            assert (provider.statistics().capacity, provider.statistics().free_slots) == (3, 0)
            task_group.cancel_scope.cancel()


async def test_fewer_slots_close_what_is_idle_and_hurt_nobody_who_leases() -> None:
    async with ThingProvider(capacity=4) as provider:
        one, two = await provider.setup("a"), await provider.setup("b")
        for spec in ("c", "d"):
            await (await provider.setup(spec)).teardown()
        provider.resize(1)
        await wait_all_tasks_blocked()
        assert sorted(+provider.live) == ["a", "b"]
        assert provider.statistics().free_slots == 0
        await two.model.use()
        async with provider.setup("b") as again:
            await again.model.use()
        await one.teardown()
        await wait_all_tasks_blocked()
        assert sorted(+provider.live) == ["b"]
        await two.teardown()
        await wait_all_tasks_blocked()
        assert sorted(+provider.live) == ["b"], "for it there is a slot"
        provider.resize(2)
        await provider.setup("a")
        assert provider.most_live == 4


async def test_who_waits_for_more_than_there_is_any_more_is_told() -> None:
    async with ThingProvider(capacity=3) as provider, provider.setup("a"):

        async def ask() -> None:
            with pytest.raises(CapacityExceededError, match="need 3 slots at once, but the provider has 2"):
                await provider.setup_many("b", "c", "d")

        async with create_task_group() as task_group:
            task_group.start_soon(ask)
            await wait_all_tasks_blocked()
            provider.resize(2)


async def test_who_has_to_wait_again_for_more_than_there_is_any_more_is_told() -> None:
    """One of the two that it was to get breaks while the other one is being opened."""
    async with ThingProvider(capacity=2) as provider:
        provider.gates["b"] = Event()

        async def ask() -> None:
            with pytest.raises(CapacityExceededError, match="need 2 slots at once, but the provider has 1"):
                await provider.setup_many("a", "b")

        with fail_after(5):
            async with create_task_group() as task_group:
                task_group.start_soon(ask)
                await wait_all_tasks_blocked()
                provider.resize(1)
                await provider.teardown("a")


async def test_who_would_now_wait_for_ever_is_told() -> None:
    """Two who hold one slot each and wait for another: with three slots one of them was to have the third."""
    async with ThingProvider(capacity=4) as provider:
        third = await provider.setup("x")
        fourth = await provider.setup("y")
        failed: list[str] = []

        both = [Event(), Event()]

        async def ask(first: str, second: str) -> None:
            async with provider.setup(first):
                both["ac".index(first)].set()
                for event in both:
                    await event.wait()
                try:
                    async with provider.setup(second):
                        pass
                except CapacityDeadlockError:
                    failed.append(first)

        with fail_after(5):
            async with create_task_group() as task_group:
                task_group.start_soon(ask, "a", "b")
                task_group.start_soon(ask, "c", "d")
                await wait_all_tasks_blocked()
                provider.resize(2)
                await wait_all_tasks_blocked()
                assert len(failed) == 1
                await third.teardown()
                await fourth.teardown()


class Named(PooledProvider[tuple[str, ...]]):
    """Opens the names of the slots that it was given."""

    @asynccontextmanager
    async def open(
        self, spec: str, /, *args: Any, slots: Sequence[str] = (), **config: Any
    ) -> AsyncIterator[tuple[str, ...]]:
        for _ in range(5):
            await checkpoint()
        yield tuple(slots)


async def test_named_slots_are_replaced_by_others() -> None:
    """One that is not among them any more is given to nobody, once it is given back."""
    async with Named(capacity=["gpu0", "gpu1"]) as provider:
        handles = [await provider.setup(spec) for spec in ("a", "b")]
        provider.resize(["gpu1", "gpu2"])
        assert [handle.model for handle in handles] == [("gpu0",), ("gpu1",)]
        for handle in handles:
            await handle.teardown()
        handles = [await provider.setup(spec) for spec in ("c", "b")]
        assert [handle.model for handle in handles] == [("gpu2",), ("gpu1",)]


@pytest.mark.parametrize("doing", ["idle", "leased", "opening"])
async def test_what_is_on_a_named_slot_that_is_gone_is_leased_to_nobody_new(doing: str) -> None:
    """It closes at once, or after those who have it or wait for its opening; newcomers get the next one elsewhere."""
    async with Named(capacity=["gpu0", "gpu1"]) as provider, create_task_group() as task_group:
        gone = Event()

        async def lease() -> None:
            async with provider.setup("a") as handle:
                assert handle.model == ("gpu0",)
                if doing != "idle":
                    await gone.wait()
                assert handle.is_active

        task_group.start_soon(lease)
        while provider.statistics().opening + provider.statistics().open == 0:
            await checkpoint()
        if doing != "opening":
            await wait_all_tasks_blocked()
            assert provider.statistics().idle == (doing == "idle")
        provider.resize(["gpu1", "gpu2"])
        async with provider.setup("a") as handle:
            assert handle.model == ("gpu1",)
            gone.set()
            await wait_all_tasks_blocked()
            assert provider.statistics().open == 1
            assert provider.statistics().free_slots == 1


async def test_a_size_that_is_said_in_another_thread_changes_nothing() -> None:
    provider = ThingProvider(capacity=2)
    for _ in range(2):
        async with provider:
            with pytest.raises(WrongEventLoopError):
                await to_thread.run_sync(provider.resize, 5)
            assert provider.statistics().capacity == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, 2), (2, 0), (2, True), (2, "gpu0"), (2, ["gpu0"]), (["gpu0"], 1), (["gpu0"], []), (2, None)],
)
@pytest.mark.parametrize("is_entered", [True, False])
async def test_a_size_that_cannot_be_meant_is_refused(before: Any, after: Any, is_entered: bool) -> None:
    provider = ThingProvider(capacity=before)
    if is_entered:
        async with provider:
            with pytest.raises(ValueError, match="slot"):
                provider.resize(after)
            assert provider.statistics().capacity == (before if not isinstance(before, list) else 1)
    else:
        with pytest.raises(ValueError, match="slot"):
            provider.resize(after)


async def test_a_size_that_is_set_before_entering_holds() -> None:
    provider = ThingProvider(capacity=1)
    provider.resize(5)
    async with provider:
        assert provider.statistics().capacity == 5
        provider.resize(3)
    async with provider:
        assert provider.statistics().capacity == 3


# ---------------------------------------------------------------- max_waiting


@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_no_more_than_so_many_wait(limit: int) -> None:
    async with ThingProvider(capacity=1, max_waiting=limit) as provider:
        handle = await provider.setup("a")
        got: list[str] = []

        async def ask(spec: str) -> None:
            async with provider.setup(spec):
                got.append(spec)

        async def be_refused() -> None:
            with pytest.raises(QueueFullError, match=rf"'c' would have to wait(.|\n)*max_waiting={limit}") as caught:
                await provider.setup("c")
            assert any("'a': 1 slot, leased by" in line for line in caught.value.account)

        async with create_task_group() as task_group:
            for number in range(limit):
                task_group.start_soon(ask, f"b{number % 2}")
                await wait_all_tasks_blocked()
            task_group.start_soon(be_refused)
            await wait_all_tasks_blocked()
            assert provider.statistics().waiting == limit
            await handle.teardown()
        assert len(got) == limit
        async with provider.setup("c"):
            assert provider.statistics().waiting == 0


async def test_a_refusal_leaves_no_trace() -> None:
    """Nobody starves for who was refused, so what is open is leased as before."""
    async with ThingProvider(capacity=1, max_waiting=0) as provider, provider.setup("a"):

        async def be_refused() -> None:
            with pytest.raises(QueueFullError):
                await provider.setup("b")

        async def join() -> None:
            async with provider.setup("a") as handle:
                await handle.model.use()

        for ask in (be_refused, join, join):
            async with create_task_group() as task_group:
                task_group.start_soon(ask)


async def test_who_only_waits_for_a_closing_is_not_refused() -> None:
    """Room is being made, and nobody has to let go."""
    async with ThingProvider(capacity=1, max_waiting=0) as provider:
        for spec in ("a", "b", "a"):
            async with provider.setup(spec) as handle:
                await handle.model.use()


@pytest.mark.parametrize("value", [-1, "1"])
async def test_a_limit_that_cannot_be_meant_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="max_waiting"):
        ThingProvider(max_waiting=value)

"""Resources whose ``open`` leases others: what is leased closes last, and nothing waits for itself without a word."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from anyio import Event, create_task_group, fail_after, move_on_after
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked

from doteval import (
    CapacityDeadlockError,
    CapacityExceededError,
    ModelProviders,
    ModelSetupError,
    PooledProvider,
    ProviderClosedError,
    QueueFullError,
)

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


class Part:
    """What a `Builder` opens, with the parts that it stands on."""

    def __init__(self, name: str, below: list[Part]) -> None:
        self.name = name
        self.below = below
        self.is_open = True

    def use(self) -> None:
        assert self.is_open, f"{self.name} is closed under its user"
        for part in self.below:
            part.use()


class Builder(PooledProvider[Part]):
    """Opens what stands on others, and uses all of it to the end.

    Args:
        plan: What each stands on, by name.
        log: Gets the names of what is closed.
    """

    def __init__(self, plan: dict[str, list[str]], log: list[str], **options: Any) -> None:
        super().__init__(**options)
        self.plan = plan
        self.log = log
        self.foundation: PooledProvider[Part] = self
        self.before_yield: Callable[[str], Any] | None = None

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncIterator[Part]:
        async with AsyncExitStack() as stack:
            below = [
                (await stack.enter_async_context(self.foundation.setup(name))).model for name in self.plan.get(spec, ())
            ]
            await checkpoint()
            if self.before_yield is not None:
                await self.before_yield(spec)
            part = Part(spec, below)
            part.use()
            try:
                yield part
            finally:
                part.use()
                part.is_open = False
                self.log.append(spec)
            for lower in below:
                lower.use()


class Large(Builder):
    """Some of it takes two slots."""

    def slots(self, spec: str, /, **config: Any) -> int:
        return 2 if spec == "large" else 1


DIAMOND = {"top": ["left", "right"], "left": ["base"], "right": ["base"]}
ENDS: dict[str, Callable[[Builder], Any]] = {
    "exit": lambda provider: None,
    "teardown_all": lambda provider: provider.teardown_all(),
    "teardown": lambda provider: provider.teardown("base"),
}


def assert_in_order(plan: dict[str, list[str]], log: list[str]) -> None:
    for upper, lowers in plan.items():
        for lower in lowers:
            assert log.index(upper) < log.index(lower), log


@pytest.mark.parametrize("capacity", [None, 4])
@pytest.mark.parametrize("leased", [True, False])
@pytest.mark.parametrize("end", ENDS)
async def test_what_leases_others_closes_before_them(end: str, leased: bool, capacity: int | None) -> None:
    log: list[str] = []
    async with Builder(DIAMOND, log, capacity=capacity) as provider:
        handle = await provider.setup("top")
        handle.model.use()
        if not leased:
            await handle.teardown()
        with fail_after(5):
            await (ENDS[end](provider) or checkpoint())
        assert handle.is_active is (leased and end == "exit")
    assert sorted(log) == ["base", "left", "right", "top"]
    assert_in_order(DIAMOND, log)
    assert provider.statistics().active_leases == 0


@pytest.mark.parametrize("in_registry", [True, False])
async def test_what_leases_from_another_provider_closes_before_it(in_registry: bool) -> None:
    """Whichever is left first, and also where both are closed at once."""
    log: list[str] = []
    houses, grounds = Builder({"house": ["ground"]}, log), Builder({}, log)
    houses.foundation = grounds
    if in_registry:
        async with ModelProviders({"houses": houses, "grounds": grounds}, discover=False) as providers:
            assert providers["grounds"] is grounds
            await providers.setup("houses:house")
    else:
        async with houses:
            async with grounds:
                handle = await houses.setup("house")
            assert not handle.is_active
    assert log == ["house", "ground"]


async def test_an_opening_is_called_off_before_what_it_has_leased_closes() -> None:
    log: list[str] = []
    async with Builder({"house": ["ground"]}, log) as provider:
        never = Event()

        async def wait(spec: str) -> None:
            if spec == "house":
                await never.wait()

        provider.before_yield = wait
        async with create_task_group() as task_group:

            async def ask() -> None:
                with pytest.raises(ModelSetupError, match="which it leases, closes"):
                    await provider.setup("house")

            task_group.start_soon(ask)
            await wait_all_tasks_blocked()
            await provider.teardown("ground")
        assert log == ["ground"]
        assert provider.statistics().open == 0


async def test_those_that_lease_each_other_close_at_once() -> None:
    """There is no order; they must not wait for each other."""
    log: list[str] = []

    class Ring(Builder):
        @asynccontextmanager
        async def open(self, spec: str, /, **config: Any) -> AsyncIterator[Part]:
            async with create_task_group() as task_group:
                yield Part(spec, [])
                task_group.cancel_scope.cancel()
            self.log.append(spec)

    class Link(Ring):
        @asynccontextmanager
        async def open(self, spec: str, /, **config: Any) -> AsyncIterator[Part]:
            async def lease(other: str) -> None:
                await self.setup(other)

            async with create_task_group() as task_group:
                for other in self.plan[spec]:
                    task_group.start_soon(lease, other)
                yield Part(spec, [])
            self.log.append(spec)

    with fail_after(5):
        async with Link({"a": ["b"], "b": ["c"], "c": ["a", "c"], "d": ["a"]}, log) as provider:
            await provider.setup("d")
            await wait_all_tasks_blocked()
            assert provider.statistics().active_leases == 6
    assert sorted(log) == ["a", "b", "c", "d"]
    assert log.index("d") < log.index("a")


async def test_openings_that_open_others_never_wait_for_their_own_turn() -> None:
    """However deep they go, and however few may be opened at once."""
    deep = {f"{number}": [f"{number + 1}"] for number in range(20)}
    log: list[str] = []
    with fail_after(5):
        async with Builder(deep, log, max_concurrent_opens=1) as provider:
            (await provider.setup("0")).model.use()
    assert log == [f"{number}" for number in range(21)]


@pytest.mark.parametrize("limit", [1, 2, 8])
async def test_no_more_than_allowed_are_opened_at_once_beside_those_that_wait(limit: int) -> None:
    """Who waits for another opening is not counted meanwhile, and is again when it goes on."""
    busy = most = 0

    async def work(spec: str) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        for _ in range(3):
            await checkpoint()
        busy -= 1

    plan = {f"{number}": ["shared", f"own {number}"] for number in range(12)}
    async with Builder(plan, [], max_concurrent_opens=limit) as provider:
        provider.before_yield = work
        async with create_task_group() as task_group:
            for name in plan:
                task_group.start_soon(provider.setup, name)
    assert most == limit


async def test_an_opening_that_can_never_get_a_slot_says_so() -> None:
    """It has the only slot itself."""
    async with Builder({"house": ["ground"]}, [], capacity=1) as provider:
        with fail_after(5), pytest.raises(CapacityDeadlockError):
            await provider.setup("house")
        (await provider.setup("ground")).model.use()


@pytest.mark.parametrize("why", ["too large", "full", "closed"])
async def test_what_an_inner_provider_refuses_is_why_the_opening_fails(why: str) -> None:
    """It is not what the one who asked has asked for."""
    inner = type("Builder", (Large,), {})({}, [], capacity=1, max_waiting=0)  # a namesake is not the same
    async with inner, Builder({"house": ["large" if why == "too large" else "ground"]}, []) as provider:
        provider.foundation = inner
        other = await inner.setup("other") if why == "full" else None
        if why == "closed":
            await inner.aclose()
        with pytest.raises(ModelSetupError, match="'house'") as caught:
            await provider.setup("house")
        kinds = {"too large": CapacityExceededError, "full": QueueFullError, "closed": ProviderClosedError}
        assert isinstance(caught.value.__cause__, kinds[why])
        assert other is None or other.is_active


async def test_a_deadlock_in_an_opening_is_counted_where_it_was_waited_for() -> None:
    """Who waits for the opening is told of it, and has not been in the queue."""
    async with Builder({"house": ["ground"]}, [], capacity=1) as provider:
        with pytest.raises(CapacityDeadlockError):
            await provider.setup("house")
        assert provider.statistics().wait_deadlocks == 0
        assert provider.statistics().waits == 1


async def test_an_opening_that_waits_for_one_who_waits_for_it_says_so() -> None:
    """Who holds the slot that is missing asks for what is being opened, and joins it."""
    async with Builder({"house": ["ground"]}, [], capacity=2) as provider:
        other = await provider.setup("other")
        released = Event()

        async def ask() -> None:
            async with provider.setup("house") as handle:
                handle.model.use()
                released.set()

        async with create_task_group() as task_group:
            task_group.start_soon(ask)
            await wait_all_tasks_blocked()
            with fail_after(5), pytest.raises(CapacityDeadlockError):
                await provider.setup("house")
            await other.teardown()
            await released.wait()


async def test_who_waits_for_a_slot_in_openings_that_wait_for_each_other_is_told_so() -> None:
    """It asks for one that none of them ever gives back."""

    class Circle(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /, **config: Any) -> AsyncIterator[str]:
            if spec == "tower":
                await self.setup("house")
            async with create_task_group() as task_group:
                task_group.start_soon(self.setup, "tower")
                await wait_all_tasks_blocked()
                with pytest.raises(CapacityDeadlockError):
                    await self.setup("other")
                raise OSError(spec)
            yield spec

    async with Circle(capacity=2) as provider:
        with fail_after(5), pytest.raises(ModelSetupError):
            await provider.setup("house")
        assert provider.statistics().active_leases == 0


async def test_a_cancelled_opening_gives_its_lease_and_its_turn_back() -> None:
    async with Builder({"house": ["ground"]}, [], max_concurrent_opens=1) as provider:
        gate = Event()

        async def wait(spec: str) -> None:
            await gate.wait()

        provider.before_yield = wait
        with move_on_after(0):
            await provider.setup("house")
        async with create_task_group() as task_group:
            task_group.start_soon(provider.setup, "house")
            await wait_all_tasks_blocked()
            task_group.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        gate.set()
        with fail_after(5):
            (await provider.setup("house")).model.use()
        now = provider.statistics()
        assert (now.active_leases, now.open) == (2, 2)


@pytest.mark.parametrize("options", [{}, {"capacity": 2}], ids=str)
async def test_a_handle_that_is_entered_in_an_opening_is_leased_by_what_opens(options: dict[str, Any]) -> None:
    """Whoever has set it up: what is leased closes last."""
    log: list[str] = []

    class Entering(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /, **config: Any) -> AsyncIterator[str]:
            async with AsyncExitStack() as stack:
                if spec == "house":
                    await stack.enter_async_context(ground)
                yield spec
                log.append(spec)

    async with Entering(**options) as provider:
        ground = await provider.setup("ground")
        house = await provider.setup("house")
        await provider.teardown("ground")
        assert not house.is_active
    assert log == ["house", "ground"]

"""What is old, and what breaks while it is leased: ``max_lifetime`` and ``health_every``. No time passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import Event, create_task_group, current_time, sleep, sleep_forever
from anyio.lowlevel import checkpoint
from tests.resources import Thing, ThingProvider
from tests.virtual_time import virtual_time

from doteval import HandleInactiveError, PooledProvider, PoolEvent, SetupTimeoutError
from doteval._pool.inside import Inside
from doteval._pool.owners import resource_here
from doteval._pooled import runtime_of

pytestmark = [pytest.mark.anyio, virtual_time, pytest.mark.concurrency]


class Numbered(PooledProvider[int]):
    """Opens numbers, counting; several of one spec may be live."""

    def __init__(self, **options: Any) -> None:
        self.events: list[PoolEvent] = []
        super().__init__(on_event=self.events.append, **options)
        self.count = 0
        self.live: set[int] = set()
        self.ended: list[float] = []
        self.sick: set[int] = set()
        self.asked: list[float] = []
        self.answer: Event | None = None

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncIterator[int]:
        await checkpoint()
        self.count += 1
        number = self.count
        self.live.add(number)
        yield number
        self.live.remove(number)
        self.ended.append(current_time())

    async def healthy(self, model: int, /) -> bool:
        self.asked.append(current_time())
        if self.answer is not None:
            await self.answer.wait()
        return model not in self.sick


@pytest.mark.parametrize("capacity", [None, 2])
async def test_those_who_hold_an_old_one_finish_and_newcomers_get_the_next(capacity: int | None) -> None:
    async with Numbered(max_lifetime=100, capacity=capacity) as provider:
        old = await provider.setup("a")
        await sleep(89)
        async with provider.setup("a") as same:
            assert same.model == old.model == 1
        await sleep(12)
        assert provider.live == {1}
        newer = [await provider.setup("a") for _ in range(3)]
        assert [handle.model for handle in newer] == [2, 2, 2]
        assert old.is_active
        assert provider.live == {1, 2}
        assert provider.statistics().retirements == 1
        assert ("retiring", 1, "it has reached max_lifetime") in [
            (e.kind, e.generation, e.reason) for e in provider.events
        ]
        await old.teardown()
        await sleep(0.1)
        assert provider.live == {2}
        assert [handle.is_active for handle in newer] == [True] * 3
        for handle in newer:
            await handle.teardown()
        await sleep(101)
        assert provider.live == set(), "nobody used it"
        async with provider.setup("a") as handle:
            assert handle.model == 3
    assert provider.live == set()
    assert provider.statistics().losses == 0


async def test_where_there_is_no_slot_for_the_next_one_newcomers_wait_for_it() -> None:
    async with Numbered(max_lifetime=10, capacity=1) as provider:
        old = await provider.setup("a")
        await sleep(11)
        got: list[int] = []

        async def ask() -> None:
            async with provider.setup("a") as handle:
                got.append(handle.model)

        async with create_task_group() as task_group:
            task_group.start_soon(ask)
            await sleep(1)
            assert got == []
            await old.teardown()
        assert got == [2]


async def test_those_that_were_opened_together_do_not_end_together() -> None:
    """And none later than it may."""
    async with Numbered(max_lifetime=100) as provider:
        began = current_time()
        for number in range(40):
            await (await provider.setup(f"{number}")).teardown()
        await sleep(100.1)
        assert provider.live == set()
        ages = [ended - began for ended in provider.ended]
        assert 90 <= min(ages) < 95 < max(ages) <= 100
        assert len(set(ages)) == 40


@pytest.mark.parametrize("how", ["teardown", "teardown_all", "exit"])
async def test_all_generations_are_closed(how: str) -> None:
    async with Numbered(max_lifetime=10) as provider:
        handles = []
        for _ in range(3):
            handles.append(await provider.setup("a"))
            await sleep(11)
        assert provider.live == {1, 2, 3}
        if how == "teardown":
            await provider.teardown("a")
        elif how == "teardown_all":
            await provider.teardown_all()
        if how != "exit":
            assert provider.live == set()
            assert not any(handle.is_active for handle in handles)
            assert (await provider.setup("a")).model == 4
    assert provider.live == set()


async def test_one_that_is_being_asked_for_its_health_is_leased_once_more() -> None:
    async with Numbered(max_lifetime=10, health_after=0) as provider:
        await (await provider.setup("a")).teardown()
        provider.answer = Event()
        async with create_task_group() as task_group:

            async def ask() -> None:
                async with provider.setup("a") as handle:
                    assert handle.model == 1
                    await sleep(5)

            task_group.start_soon(ask)
            await sleep(11)
            provider.answer.set()
            provider.answer = None
            await sleep(1)
            async with provider.setup("a") as handle:
                assert handle.model == 2
                assert provider.live == {1, 2}
        await sleep(0.1)
        assert provider.live == {2}


async def test_a_leased_one_is_asked_for_its_health_and_dropped_where_it_is_ill() -> None:
    async with Numbered(health_every=10) as provider:
        handles = [await provider.setup("a"), await provider.setup("a"), await provider.setup("b")]
        began = current_time()
        await sleep(35)
        assert [asked - began for asked in provider.asked] == pytest.approx([10, 10, 20, 20, 30, 30])
        provider.sick.add(1)
        await sleep(6)
        assert [handle.is_active for handle in handles] == [False, False, True]
        with pytest.raises(HandleInactiveError, match="it was found unhealthy"):
            _ = handles[0].model
        assert (await provider.setup("a")).model == 3
        assert provider.statistics().losses == 1


async def test_what_nobody_leases_is_not_asked() -> None:
    async with Numbered(health_every=10) as provider:
        await (await provider.setup("a")).teardown()
        await sleep(100)
        assert provider.asked == []


async def test_a_check_in_the_background_that_hangs_is_a_no_and_holds_nobody_up() -> None:
    class Hanging(ThingProvider):
        async def healthy(self, model: Thing, /) -> bool:
            await sleep_forever()
            return True

    async with Hanging(health_every=10, health_timeout=3) as provider:
        handle = await provider.setup("a")
        await sleep(11)
        before = current_time()
        async with provider.setup("a") as other:
            await other.model.use()
        assert current_time() == before
        await sleep(3)
        assert not handle.is_active


@pytest.mark.parametrize("option", ["max_lifetime", "health_every"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), "1"])
async def test_a_time_that_cannot_be_meant_is_refused(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        Numbered(**{option: value})


@pytest.mark.parametrize("takes", [7, float("inf")])
async def test_a_check_that_takes_longer_than_until_the_next_one_ends(takes: float) -> None:
    """It answers for those that would begin meanwhile."""

    class Slow(Numbered):
        async def healthy(self, model: int, /) -> bool:
            self.asked.append(current_time())
            await sleep(takes)
            return False

    async with Slow(health_every=2, health_timeout=10) as provider:
        handle = await provider.setup("a")
        began = current_time()
        await sleep(2 + 10.5)
        assert not handle.is_active
        assert [time - began for time in provider.asked] == [2]


async def test_callers_who_are_less_patient_than_the_check_get_the_next_one() -> None:
    """The check that the first of them has begun goes on without them."""

    class Hanging(Numbered):
        async def healthy(self, model: int, /) -> bool:
            self.asked.append(current_time())
            return model > 1 or await sleep_forever()

    async with Hanging(health_after=0, health_timeout=10, setup_timeout=4) as provider:
        await (await provider.setup("a")).teardown()
        for _ in range(2):
            with pytest.raises(SetupTimeoutError):
                await provider.setup("a")
        assert (await provider.setup("a")).model == 2
        assert len(provider.asked) == 1


@pytest.mark.parametrize("end", ["exit", "teardown"])
async def test_a_check_that_is_called_off_by_the_closing_is_no_loss(end: str) -> None:
    async with Numbered(health_every=10) as provider:
        await provider.setup("a")
        provider.answer = Event()
        await sleep(11)
        if end == "teardown":
            await provider.teardown("a")
    kinds = [event.kind for event in provider.events]
    assert kinds == ["opening", "opened", "leased", "closing", "released", "closed"]
    assert provider.statistics().losses == 0


async def test_of_two_generations_the_one_that_breaks_is_lost() -> None:
    """Also where it is the older one, which is leased to nobody new."""
    resources: list[Inside | None] = []

    class Knowing(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[str]:
            resources.append(resource_here.get())
            yield spec

    async with Knowing(max_lifetime=10) as provider:
        older = await provider.setup("a")
        await sleep(11)
        newer = await provider.setup("a")
        runtime_of(provider).lose(resources[0], OSError("gone"))
        assert not older.is_active
        assert newer.is_active
        runtime_of(provider).lose(resources[1], OSError("gone"))
        assert not newer.is_active

"""What depends on time: keep_alive, health_after, setup_timeout, close_timeout, remember_failures. No time passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.lowlevel
import pytest
from anyio import CancelScope, Event, create_task_group, current_time, move_on_after, sleep, sleep_forever
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.resources import Thing, ThingProvider
from tests.virtual_time import virtual_time

from doteval import CloseTimeoutError, ModelHandle, ModelProvider, ModelSetupError, PooledProvider, SetupTimeoutError

pytestmark = [pytest.mark.anyio, virtual_time, pytest.mark.concurrency]


async def test_an_idle_resource_is_closed_after_keep_alive() -> None:
    """Not a moment before, and the clock starts anew with every release."""
    async with ThingProvider(keep_alive=10) as provider:
        await (await provider.setup("a")).teardown()
        await sleep(9)
        async with await provider.setup("a"):
            await sleep(100)
        await sleep(9.5)
        assert provider.live["a"] == 1
        await sleep(1)
        assert provider.live["a"] == 0
        assert provider.statistics().expirations == 1
    provider.assert_nothing_is_left()


async def test_each_idle_resource_has_its_own_deadline() -> None:
    """Three that became idle one after the other are closed one after the other."""
    async with ThingProvider(keep_alive=10) as provider:
        for spec in ("a", "b", "c"):
            await (await provider.setup(spec)).teardown()
            await sleep(3)
        live = []
        for _ in range(4):
            live.append(sorted(+provider.live))
            await sleep(3)
        assert live == [["a", "b", "c"], ["b", "c"], ["c"], []]


async def test_expiry_and_setup_at_the_same_moment() -> None:
    """Whoever comes first wins, and the other one finds the books in order: over many moments around the deadline."""
    for wait in (9.0, 9.999999, 10.0, 10.000001, 11.0):
        async with ThingProvider(keep_alive=10) as provider:
            await (await provider.setup("a")).teardown()
            await sleep(wait)
            async with await provider.setup("a") as handle:
                await handle.model.use()
                await sleep(20)
                await handle.model.use()
        provider.assert_nothing_is_left()


async def test_cancelled_anywhere_around_an_expiry() -> None:
    """The caller, or everything, is cancelled at the k-th checkpoint: nothing leaks, the next setup works."""

    async def trial(k: int) -> bool:
        provider = ThingProvider(keep_alive=10)

        async def scenario() -> None:
            async with await provider.setup("a") as handle:
                await handle.model.use()
            await sleep(5)
            await sleep(5)
            await anyio.lowlevel.checkpoint()
            async with await provider.setup("a") as handle:
                await handle.model.use()

        async def program() -> None:
            async with provider:
                await scenario()

        async with provider:
            reached = await cancelled_at(k, scenario)
            async with await provider.setup("a") as handle:
                await handle.model.use()
            await sleep(11)
            assert provider.statistics().open == 0
        provider.assert_nothing_is_left()
        reached |= await cancelled_at(k, program)
        provider.assert_nothing_is_left()
        return reached

    assert await at_every_checkpoint(trial) > 5


async def test_an_unhealthy_resource_is_replaced_before_it_is_leased_again() -> None:
    """It is asked only after it was idle for at least `health_after`."""
    async with ThingProvider(health_after=5) as provider:
        first = await provider.setup("a")
        thing: Thing = first.model
        await first.teardown()
        thing.is_healthy = False
        await sleep(4.5)
        second = await provider.setup("a")
        assert second.model is thing
        await second.teardown()
        await sleep(6)
        third, fourth = await provider.setup_many("a", "a")
        assert third.model is fourth.model
        assert third.model is not thing
        assert provider.statistics().unhealthy == 1


async def test_a_health_check_that_raises_or_hangs_counts_as_no() -> None:
    """A hanging one is given `health_timeout` seconds."""

    class Doubtful(ThingProvider):
        async def healthy(self, model: Thing, /) -> bool:
            if model.spec == "raises":
                raise OSError("no answer")
            await sleep_forever()
            return True

    async with Doubtful(health_after=1, health_timeout=7) as provider:
        for spec in ("raises", "hangs"):
            await (await provider.setup(spec)).teardown()
        await sleep(2)
        before = current_time()
        await provider.setup_many("raises", "hangs")
        assert current_time() - before == pytest.approx(7)
        assert provider.statistics().unhealthy == 2
    provider.assert_nothing_is_left()


async def test_the_provider_closes_while_a_health_check_hangs() -> None:
    """The check is cancelled, then the resource is closed; nobody uses it after that."""

    class Hanging(ThingProvider):
        async def healthy(self, model: Thing, /) -> bool:
            try:
                await sleep_forever()
            finally:
                assert model.is_open
            return True

    async with create_task_group() as task_group:
        async with Hanging(health_after=1, close_timeout=7) as provider:
            await (await provider.setup("a")).teardown()
            await sleep(2)

            async def caller() -> None:
                with pytest.raises(RuntimeError, match="is closed"):
                    await provider.setup("a")

            task_group.start_soon(caller)
            await sleep(1)
    provider.assert_nothing_is_left()


async def test_setup_timeout_says_who_holds_what() -> None:
    """The one that waits for a slot, and the one that waits for an opening."""
    async with ThingProvider(capacity=1, setup_timeout=5) as provider:

        async def holder(*, task_status: Any) -> None:
            async with await provider.setup("a"):
                task_status.started()
                await sleep(20)

        async with create_task_group() as task_group:
            await task_group.start(holder)
            before = current_time()
            with pytest.raises(
                SetupTimeoutError, match=r"not granted within 5 s.\n.*5 s in the queue\n.*'a': 1 slot, leased"
            ):
                await provider.setup("b")
            assert current_time() - before == pytest.approx(5)
        provider.gates["c"] = Event()
        with pytest.raises(SetupTimeoutError, match=r"'c': 1 slot, opening"):
            await provider.setup("c")
        async with await provider.setup("b") as handle:
            await handle.model.use()
    provider.assert_nothing_is_left()


async def test_a_close_that_takes_too_long_is_cancelled_and_told() -> None:
    """All are closed at the same time, so two hanging ones take as long as one."""
    provider = ThingProvider(close_timeout=5)
    provider.close_gates = {"a": Event(), "b": Event()}
    before = 0.0
    with pytest.raises(ExceptionGroup) as caught:
        async with provider:
            await provider.setup_many("a", "b", "c")
            before = current_time()
    assert current_time() - before == pytest.approx(5)
    assert [type(exc) for exc in caught.value.exceptions] == [CloseTimeoutError, CloseTimeoutError]
    assert "close_timeout=5 s" in str(caught.value.exceptions[0])
    provider.assert_nothing_is_left()


async def test_a_program_that_is_cancelled_still_closes_in_order() -> None:
    """Closing takes three seconds; the cancellation does not cut it short, and is not swallowed."""
    steps: list[str] = []

    class Slow(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[str]:
            yield spec
            await sleep(3)
            steps.append("closed")

    with CancelScope() as scope:
        async with Slow() as provider:
            await provider.setup("a")
            scope.cancel()
            await sleep(1)
            steps.append("not cancelled")
        steps.append("not cancelled")
    assert scope.cancelled_caught
    assert steps == ["closed"]


async def test_a_failure_is_remembered_for_as_long_as_was_said() -> None:
    """Ten setups in ten seconds try once; then it is tried again. Each has an exception of its own."""
    async with ThingProvider(remember_failures=10) as provider:
        provider.trouble["a"] = [OSError("no")]
        errors = []
        for _ in range(10):
            with pytest.raises(ModelSetupError, match="no") as caught:
                await provider.setup("a")
            errors.append(caught.value)
            await sleep(0.9)
        assert provider.statistics().open_failures == 1
        assert len(set(map(id, errors))) == 10
        await sleep(1.1)
        assert (await provider.setup("a")).is_active


async def test_a_providers_own_teardown_is_bounded_too() -> None:
    """A provider with books of its own whose teardown hangs is cancelled after its `close_timeout`."""

    class Hanging(ModelProvider[str]):
        close_timeout = 4.0

        async def setup(self, spec: str, **config: Any) -> ModelHandle[str]:
            return ModelHandle(spec, spec, self)

        async def teardown(self, resource_id: str) -> None:
            await sleep_forever()

    handle = await Hanging().setup("a")
    before = current_time()
    with pytest.raises(CloseTimeoutError, match="closing 'a' took longer"):
        await handle.teardown()
    assert current_time() - before == pytest.approx(4)


@pytest.mark.parametrize("takes", [2, 30])
async def test_who_asks_for_the_health_and_leaves_does_not_keep_it_open(takes: float) -> None:
    """It has been idle all the time, whether the answer comes before the end of that or after."""

    class Slow(ThingProvider):
        async def healthy(self, model: Thing, /) -> bool:
            await sleep(takes)
            return True

    async with Slow(keep_alive=10, health_after=0, health_timeout=100) as provider:
        await (await provider.setup("a")).teardown()
        await sleep(5)
        with move_on_after(1):
            await provider.setup("a")
        await sleep(3.9)
        assert provider.live["a"]
        await sleep(0.2)
        assert not provider.live["a"]
        assert provider.statistics().expirations == 1


@pytest.mark.parametrize("options", [{}, {"capacity": 1}, {"keep_alive": 0}], ids=str)
@pytest.mark.parametrize("end", ["exit", "teardown_all", "teardown", "nothing"])
@pytest.mark.parametrize("cleans_up", ["patiently", "stubbornly"])
async def test_the_clean_up_of_what_broke_is_bounded_too(end: str, cleans_up: str, options: dict[str, Any]) -> None:
    """It breaks by itself, and then its clean-up hangs: its slot is free, and the provider can be left, in time."""

    first: list[Thing] = []

    class HangingProvider(ThingProvider):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[Thing]:
            async with super().open(spec) as thing:
                first.append(thing)
                try:
                    yield thing
                finally:
                    if thing is not first[0]:
                        pass
                    elif cleans_up == "patiently":
                        with CancelScope(shield=True):  # of what broke; it knows when to stop
                            await sleep(20)
                    else:
                        await _ignoring_cancellation_once()

    provider = HangingProvider(close_timeout=7, **options)
    started = current_time()
    async with provider:
        handle = await provider.setup("hangs")
        handle.model.break_down()
        await sleep(1)
        assert not handle.is_active
        await handle.teardown()
        if end == "teardown_all":
            await provider.teardown_all()
        elif end == "teardown":
            await provider.teardown("hangs")
        elif end == "nothing":
            await (await provider.setup("b")).teardown()
            await (await provider.setup("hangs")).teardown()
    assert current_time() - started < 60
    provider.assert_nothing_is_left()


async def _ignoring_cancellation_once() -> None:
    """Its first wait is cancelled, as what broke is; the second would last for ever."""
    try:
        await sleep_forever()
    finally:
        with CancelScope():
            await sleep_forever()


async def test_why_it_broke_is_said_also_where_its_clean_up_takes_too_long() -> None:
    """Of the two the first is what the user has to know."""

    class HangingProvider(PooledProvider[Event]):
        @asynccontextmanager
        async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[Event]:
            broken = Event()

            async def watch() -> None:
                await broken.wait()
                raise ConnectionError("the peer has gone")

            async with create_task_group() as task_group:
                task_group.start_soon(watch)
                try:
                    yield broken
                finally:
                    with CancelScope(shield=True):
                        await sleep(1)
                    await sleep_forever()

    async with HangingProvider(close_timeout=7) as provider:
        handle = await provider.setup("a")
        handle.model.set()
        await sleep(30)
        with pytest.raises(RuntimeError, match="ConnectionError: the peer has gone"):
            _ = handle.model


async def test_the_limit_of_a_health_check_is_its_own() -> None:
    """And not that of closing."""

    class Slow(ThingProvider):
        async def healthy(self, model: Thing, /) -> bool:
            await sleep(5)
            return True

    for limit, unhealthy in ((4, 1), (6, 0)):
        async with Slow(health_after=0, health_timeout=limit, close_timeout=1 if unhealthy == 0 else 60) as provider:
            await (await provider.setup("a")).teardown()
            async with await provider.setup("a") as handle:
                await handle.model.use()
            assert provider.statistics().unhealthy == unhealthy

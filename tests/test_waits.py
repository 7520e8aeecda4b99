"""Every wait is counted, with how long it was, what for, and how it ended. No time passes."""

from __future__ import annotations

import pytest
from anyio import create_task_group, move_on_after, sleep
from tests.blocked import wait_all_tasks_blocked
from tests.resources import Thing, ThingProvider
from tests.virtual_time import virtual_time

from doteval import CapacityDeadlockError, ModelSetupError, ProviderStatistics, SetupTimeoutError

pytestmark = [pytest.mark.anyio, virtual_time, pytest.mark.concurrency]


class Slow(ThingProvider):
    """Each opening takes as many seconds as its spec says, and so does each check."""

    async def healthy(self, model: Thing, /) -> bool:
        await sleep(float(model.spec))
        return True

    def open(self, spec: str, /, *args: object, **config: object):  # type: ignore[no-untyped-def]
        self.gates[spec] = Gate(float(spec))  # type: ignore[assignment]
        return super().open(spec)


class Gate:
    """Opens by itself after some time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def wait(self) -> None:
        await sleep(self._seconds)


def figures(now: ProviderStatistics) -> tuple[int, float, float]:
    return now.waits, round(now.wait_seconds, 3), round(now.queue_seconds, 3)


async def test_an_opening_is_waited_for_by_all_who_ask_and_counted_once() -> None:
    async with Slow() as provider:

        async def ask(later: float) -> None:
            await sleep(later)
            await provider.setup("5")

        async with create_task_group() as task_group:
            for later in (0, 1, 2):
                task_group.start_soon(ask, later)
        now = provider.statistics()
        assert figures(now) == (3, 12, 0)
        assert now.wait_times == (0, 0, 0, 0, 3, 0, 0, 0)
        assert now.open_times == (0, 0, 0, 0, 1, 0, 0, 0)
        assert now.setup_seconds == pytest.approx(5)
        await provider.setup("5")
        assert provider.statistics().waits == 3, "what is open is not waited for"
    assert provider.statistics().waits == 3


@pytest.mark.parametrize("end", ["teardown", "teardown_all", "lost", "exit", "dropped"])
async def test_how_long_a_lease_was_held_is_counted_however_it_ends(end: str) -> None:
    """Where there is a capacity, as somebody may wait for it."""
    async with Slow(capacity=3) as provider:
        held = [await provider.setup("2")]
        await sleep(1)
        held.append(await provider.setup("2"))
        await sleep(20)
        assert provider.statistics().use_times == (0,) * 8
        if end == "teardown":
            for handle in held:
                await handle.teardown()
        elif end == "teardown_all":
            await provider.teardown_all()
        elif end == "lost":
            held[0].report_broken(OSError())
        elif end == "dropped":
            with pytest.warns(ResourceWarning, match="never torn down"):  # noqa: PT031 - it is told some turns later
                held.clear()
                await wait_all_tasks_blocked()
    now = provider.statistics()
    assert now.use_times == (0, 0, 0, 0, 0, 2, 0, 0)
    assert now.use_seconds == pytest.approx(21 + 20)


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0005, 0), (0.05, 2), (1, 3), (59, 5), (600, 6), (601, 7)])
async def test_the_buckets_are_those_that_are_named(seconds: float, bucket: int) -> None:
    async with Slow() as provider:
        await provider.setup(f"{seconds}")
        now = provider.statistics()
    assert now.open_times.index(1) == now.wait_times.index(1) == bucket
    assert len(now.time_bounds) == 7


async def test_the_queue_is_told_apart_from_what_comes_after() -> None:
    async with Slow(capacity=1) as provider:
        handles = [await provider.setup("1")]

        async def ask() -> None:
            handles.append(await provider.setup("2"))

        async with create_task_group() as task_group:
            task_group.start_soon(ask)
            await sleep(10)
            await handles[0].teardown()
        assert figures(provider.statistics()) == (2, 1 + 10 + 2, 10)


async def test_a_health_check_is_a_wait() -> None:
    async with Slow(health_after=0) as provider:
        await (await provider.setup("2")).teardown()
        await provider.setup("2")
        assert figures(provider.statistics()) == (2, 4, 0)


async def test_how_a_wait_ended_is_counted() -> None:
    async with Slow(capacity=1, setup_timeout=7) as provider:
        provider.trouble["4"] = [OSError("no")]
        with pytest.raises(ModelSetupError):
            await provider.setup("4")
        handle = await provider.setup("1")

        async def be_told(kind: type[Exception]) -> None:
            with pytest.raises(kind):
                await provider.setup("3")

        async with create_task_group() as task_group:
            task_group.start_soon(be_told, SetupTimeoutError)
            with move_on_after(2):
                async with create_task_group() as inner:
                    inner.start_soon(provider.setup, "3")
        with pytest.raises(CapacityDeadlockError):
            await provider.setup("3")
        now = provider.statistics()
        assert (now.wait_timeouts, now.wait_cancellations, now.wait_deadlocks) == (1, 1, 0)
        assert figures(now) == (4, 4 + 1 + 7 + 2, 7 + 2)
        await handle.teardown()


async def test_a_wait_that_ends_in_a_deadlock_is_counted() -> None:
    """Where it becomes one later: there are fewer slots."""
    async with Slow(capacity=4) as provider:
        others = await provider.setup_many("1", "2")

        async def ask(first: str, second: str) -> None:
            async with provider.setup(first):
                await sleep(10)
                try:
                    await (await provider.setup(second)).teardown()
                except CapacityDeadlockError:
                    await wait_all_tasks_blocked()

        async with create_task_group() as task_group:
            task_group.start_soon(ask, "3", "4")
            task_group.start_soon(ask, "3.5", "4.5")
            await sleep(20)
            provider.resize(2)
            for handle in others:
                await handle.teardown()
        assert provider.statistics().wait_deadlocks == 1


async def test_a_timeout_says_where_the_time_went() -> None:
    """And advises what helps there: no lease is to be released for what has its place and is being opened."""
    async with Slow(capacity=1, setup_timeout=10) as provider:
        with pytest.raises(SetupTimeoutError, match=r"spent: 10 s opening") as caught:
            await provider.setup("60")
        assert caught.value.account[0] == "spent: 10 s opening"
        await wait_all_tasks_blocked()
        handle = await provider.setup("1")

        assert str(caught.value).endswith("\nLook for what takes so long there, or raise setup_timeout=.")

        async def ask(expected: str, advice: str) -> None:
            with pytest.raises(SetupTimeoutError, match=f"\n{advice}") as caught:
                await provider.setup("60")
            assert caught.value.account[0] == expected

        async with create_task_group() as task_group:
            task_group.start_soon(ask, "spent: 10 s in the queue", "Release a lease, have more slots ")
        async with create_task_group() as task_group:
            task_group.start_soon(ask, "spent: 4 s in the queue, 6 s opening", "Look for what takes so long")
            await sleep(4)
            await handle.teardown()


async def test_a_timeout_while_health_is_asked_for_says_so() -> None:
    async with Slow(health_after=0, setup_timeout=3) as provider:
        handle = await provider.setup("1")
        handle.model.spec = "9"
        await handle.teardown()
        with pytest.raises(SetupTimeoutError, match="spent: 3 s checking"):
            await provider.setup("1")

"""A mixed crowd: many tasks, few slots, failures, slowness and cancellation at random; the promises hold."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from anyio import CancelScope, create_task_group
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked
from tests.resources import ThingProvider

from doteval import CapacityDeadlockError, ModelSetupError
from doteval._pool.ledger import Ledger

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

TASKS = 500
KEYS = [f"key {number}" for number in range(20)]
CAPACITY = 5


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Without uvloop: a crowd makes no use of the loop but to take turns, and its tasks are asyncio's."""
    return request.param


class Crowd:
    """Tasks that do at random what tasks do, and what became of them."""

    def __init__(self, provider: ThingProvider, seed: int) -> None:
        self.provider = provider
        self.random = random.Random(seed)
        self.ends: Counter[str] = Counter()

    async def run(self) -> None:
        async with create_task_group() as task_group:
            for _ in range(TASKS):
                task_group.start_soon(self.one, self.random.randrange(6))

    async def one(self, kind: int) -> None:
        end = "cancelled"
        with CancelScope() as scope:
            try:
                for _ in range(self.random.randrange(3)):
                    await checkpoint()
                if kind == 0:
                    async with create_task_group() as task_group:
                        task_group.start_soon(self.cancel_later, scope)
                        await self.use_one()
                        task_group.cancel_scope.cancel()
                elif kind == 1:
                    await self.use_two_at_once()
                elif kind == 2:
                    await self.use_one_after_the_other()
                else:
                    await self.use_one()
                end = "served"
            except* ModelSetupError:
                end = "refused"
            except* CapacityDeadlockError:
                end = "told of a deadlock"
        self.ends[end] += 1

    async def cancel_later(self, scope: CancelScope) -> None:
        for _ in range(self.random.randrange(40)):
            await checkpoint()
        scope.cancel()

    async def use_one(self) -> None:
        handle = await self.provider.setup(self.random.choice(KEYS))
        try:
            for _ in range(self.random.randrange(4)):
                await handle.model.use()
            if self.random.random() < 0.01 and handle.is_active:
                handle.model.break_down()
                with CancelScope(shield=True):  # what breaks while it is closed would be a failure of the closing
                    while handle.is_active:
                        await checkpoint()
        except AssertionError:
            assert not handle.is_active, "closed under an active handle"
        except RuntimeError:
            assert not handle.is_active
        finally:
            await handle.teardown()

    async def use_two_at_once(self) -> None:
        for handle in await self.provider.setup_many(*self.random.sample(KEYS, 2)):
            await handle.teardown()

    async def use_one_after_the_other(self) -> None:
        """Holding one while it asks for the next is what deadlocks are made of."""
        first = await self.provider.setup(self.random.choice(KEYS))
        try:
            second = await self.provider.setup(self.random.choice(KEYS))
            await second.teardown()
        finally:
            await first.teardown()


def misbehave(provider: ThingProvider, seed: int) -> None:
    """Some openings fail, and how long an opening takes changes all the time."""
    chance = random.Random(seed)

    def on_open(spec: str) -> None:
        provider.checkpoints = chance.randrange(8)
        if chance.random() < 0.1:
            raise OSError("this opening fails")

    provider.on_open = on_open


@pytest.mark.parametrize(
    ("options", "seed"),
    [({}, 1), ({"keep_alive": 0}, 2), ({"fast_acquire": True}, 1)],
    ids=["kept", "closed", "fast"],
)
async def test_a_mixed_crowd(options: dict[str, object], seed: int) -> None:
    """500 tasks, 20 keys, 5 slots: opens = closes, never two live of one key, never over capacity, never a use
    after close, and every task comes to an end."""
    async with ThingProvider(capacity=CAPACITY, **options) as provider:
        misbehave(provider, seed)
        crowd = Crowd(provider, seed)
        await crowd.run()
        assert provider.statistics().active_leases == 0
        assert provider.statistics().waiting == 0
    provider.assert_nothing_is_left()
    assert provider.most_live <= CAPACITY
    assert sum(crowd.ends.values()) == TASKS
    assert crowd.ends["served"] > TASKS / 2
    assert crowd.ends["cancelled"] > 0
    assert crowd.ends["refused"] > 0
    now = provider.statistics()
    assert now.opens == now.closes == provider.opened.total()
    assert now.evictions > 0 or options.get("keep_alive") == 0


async def test_thousands_of_tasks_open_a_cold_key_once() -> None:
    """Single flight holds however many ask."""
    async with ThingProvider() as provider:
        handles: list[object] = []

        async def one() -> None:
            handles.append(await provider.setup("a"))

        async with create_task_group() as task_group:
            for _ in range(3_000):
                task_group.start_soon(one)
        assert len({id(handle) for handle in handles}) == 3_000
        assert provider.opened == {"a": 1}
    provider.assert_nothing_is_left()


async def test_a_deadlock_is_looked_for_again_only_where_somebody_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes the longer the more wait, and a crowd may be told of one."""
    looks: list[object] = []
    ask = Ledger.ask

    def counting(ledger: Ledger, *args: Any) -> Any:
        looks.append(ledger)
        return ask(ledger, *args)

    async with ThingProvider(capacity=2) as provider, create_task_group() as task_group:

        async def ask_for_another() -> None:
            async with provider.setup("a"), provider.setup("b2"):
                pass

        async with provider.setup("b"):
            task_group.start_soon(ask_for_another)
            await wait_all_tasks_blocked()
            monkeypatch.setattr(Ledger, "ask", counting)
            for count in range(1, 6):
                with pytest.raises(CapacityDeadlockError):
                    await provider.setup("a2")
                assert len(looks) == count

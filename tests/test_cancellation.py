"""Cancellation at every checkpoint of everything: nothing leaks, nobody else notices, the next setup works."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from anyio import CancelScope, create_task_group
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.resources import ThingProvider

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

Scenario = Callable[[ThingProvider], Coroutine[Any, Any, None]]


async def _settled() -> None:
    """Let everything that can run without outside help run."""
    await wait_all_tasks_blocked()


async def setup_and_teardown(provider: ThingProvider) -> None:
    handle = await provider.setup("a")
    await handle.model.use()
    await handle.teardown()


async def two_leases(provider: ThingProvider) -> None:
    async with await provider.setup("a") as first:
        async with await provider.setup("a") as second:
            await second.model.use()
        await first.model.use()


async def several_at_once(provider: ThingProvider) -> None:
    for handle in await provider.setup_many("a", "b"):
        await handle.model.use()
        await handle.teardown()


async def eviction(provider: ThingProvider) -> None:
    for spec in ("a", "b", "c"):
        async with await provider.setup(spec) as handle:
            await handle.model.use()


async def teardown_by_id(provider: ThingProvider) -> None:
    handle = await provider.setup("a")
    await provider.teardown(handle.resource_id)
    assert not handle.is_active


async def teardown_all(provider: ThingProvider) -> None:
    held = await provider.setup_many("a", "b")
    await provider.teardown_all()
    assert not any(handle.is_active for handle in held)


async def crash(provider: ThingProvider) -> None:
    handle = await provider.setup("a")
    handle.model.break_down()
    for _ in range(12):
        await checkpoint()
    assert not handle.is_active
    async with await provider.setup("a") as again:
        await again.model.use()


async def opening_that_fails(provider: ThingProvider) -> None:
    provider.trouble["a"] = [OSError("no")]
    with pytest.raises(RuntimeError, match="Failed to setup resource 'a'"):
        await provider.setup("a")
    provider.trouble.clear()
    await (await provider.setup("a")).teardown()


SCENARIOS: list[tuple[Scenario, dict[str, Any]]] = [
    (setup_and_teardown, {}),
    (setup_and_teardown, {"keep_alive": 0}),
    (setup_and_teardown, {"fast_acquire": True}),
    (two_leases, {}),
    (two_leases, {"keep_alive": 0}),
    (several_at_once, {"capacity": 2}),
    (eviction, {"capacity": 1}),
    (eviction, {"capacity": 2, "max_concurrent_opens": 1}),
    (teardown_by_id, {}),
    (teardown_all, {}),
    (crash, {}),
    (crash, {"capacity": 1}),
    (opening_that_fails, {}),
]
IDS = [f"{scenario.__name__}-{'-'.join(options) or 'defaults'}" for scenario, options in SCENARIOS]


@pytest.mark.filterwarnings("ignore:.* was leased and never torn down")  # who is cancelled loses the rest of several
@pytest.mark.parametrize(("scenario", "options"), SCENARIOS, ids=IDS)
async def test_a_caller_cancelled_anywhere_leaves_nothing_behind(scenario: Scenario, options: dict[str, Any]) -> None:
    """The caller is cancelled at its k-th checkpoint; the provider goes on working, and closes to nothing."""

    async def trial(k: int) -> bool:
        async with ThingProvider(**options) as provider:
            handles: list[Any] = []
            setup = provider.setup

            async def remembering_setup(spec: str, /, **config: Any) -> Any:
                handles.append(await setup(spec, **config))
                return handles[-1]

            provider.setup = remembering_setup  # type: ignore[method-assign]
            reached = await cancelled_at(k, lambda: scenario(provider))
            with CancelScope(shield=True):
                for handle in handles:  # a caller that is cancelled between setup and teardown still owns its handle
                    await handle.teardown()
            await _settled()
            provider.trouble.clear()
            now = provider.statistics()
            assert (now.opening, now.closing, now.waiting) == (0, 0, 0)
            if scenario is not several_at_once and scenario is not teardown_all:
                assert now.active_leases == 0
                async with await provider.setup("a") as again:
                    await again.model.use()
        provider.assert_nothing_is_left()
        return reached

    assert await at_every_checkpoint(trial) > 1


@pytest.mark.parametrize(("scenario", "options"), SCENARIOS, ids=IDS)
async def test_a_program_cancelled_anywhere_leaves_nothing_behind(scenario: Scenario, options: dict[str, Any]) -> None:
    """Everything around the provider is cancelled at the k-th checkpoint, its own ``async with`` included."""

    async def trial(k: int) -> bool:
        provider = ThingProvider(**options)

        async def program() -> None:
            try:
                async with provider:
                    await scenario(provider)
            except* ConnectionError:
                assert scenario is crash  # it broke while it was being closed: said, not swallowed

        reached = await cancelled_at(k, program)
        provider.assert_nothing_is_left()
        provider.trouble.clear()
        async with provider:
            await setup_and_teardown(provider)
        provider.assert_nothing_is_left()
        return reached

    assert await at_every_checkpoint(trial) > 1


@pytest.mark.parametrize("leavers", [1, 2, 3])
async def test_waiters_cancelled_anywhere_do_not_hurt_those_who_stay(leavers: int) -> None:
    """Of three that wait for one opening some are cancelled at their k-th checkpoint; the others get the resource."""

    async def trial(k: int) -> bool:
        reached = False
        async with ThingProvider() as provider:
            served: list[str] = []

            async def leaver() -> None:
                nonlocal reached
                reached |= await cancelled_at(k, stayer)

            async def stayer() -> None:
                async with await provider.setup("a") as handle:
                    await handle.model.use()
                    served.append("ok")

            async with create_task_group() as task_group:
                for number in range(3):
                    task_group.start_soon(leaver if number < leavers else stayer)
            assert len(served) >= 3 - leavers
            assert provider.statistics().active_leases == 0
            async with await provider.setup("a") as handle:
                await handle.model.use()
        provider.assert_nothing_is_left()
        return reached

    assert await at_every_checkpoint(trial) > 1

"""Slots of the whole machine: servers of several processes take turns, and everybody is served."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import create_task_group, fail_after
from tests.servers.lights import PATIENCE, Events, StartPlayer, light

from doteval import CapacityExceededError, ServerProvider
from doteval.servers import LocalLauncher
from doteval.servers._local.runtime import Runtime

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

OTHER = {"asyncio": "trio", "trio": "asyncio"}
GPUS = [f"MIG-{number}" for number in range(4)]
"""GPUs that no machine has: a MIG name is taken as it is, whatever nvidia-smi says."""


@pytest.fixture
def launcher(runtime: Runtime) -> LocalLauncher:
    return LocalLauncher(runtime.root)


@pytest.fixture
def other_backend(anyio_backend: tuple[str, Any]) -> str:
    """What another process runs on, so that both kinds are met together."""
    return OTHER[anyio_backend[0]]


# -------------------------------------------------------------------- in one process


async def test_the_least_recently_used_idle_server_ends_for_another(launcher: LocalLauncher) -> None:
    """Two slots, three models: the one that was not used for longest goes, and comes back when it is asked for."""
    events = Events()
    async with ServerProvider(light(), capacity=2, launcher=launcher, on_event=events) as provider:
        for spec in ("a", "b", "a", "c", "a"):
            async with await provider.setup(spec) as handle:
                await handle.model.generate("Hello")
        assert [event.resource_id for event in events.of("closing")] == ["b"]
        counts = provider.statistics()
    assert (counts.opens, counts.evictions, counts.losses) == (3, 1, 0)


async def test_a_server_that_is_leased_does_not_end_for_another(launcher: LocalLauncher) -> None:
    """Who wants the only slot waits until the lease has ended."""
    events = Events()
    async with ServerProvider(light(), launcher=launcher, on_event=events) as provider:
        first = await provider.setup("a")
        async with create_task_group() as group:

            async def ask_for_b() -> None:
                async with await provider.setup("b") as second:
                    assert not first.is_active
                    await second.model.generate("Hello")

            group.start_soon(ask_for_b)
            await anyio.wait_all_tasks_blocked()
            assert await first.model.generate("Hello") == str(first.model.server.pid)
            await first.teardown()
    assert [event.resource_id for event in events.of("opened")] == ["a", "b"]


async def test_a_model_that_needs_more_than_there_is_fails_at_once(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for what cannot come; nothing is started."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(GPUS))
    async with ServerProvider(light(), slots_needed=5, gpus="auto", launcher=launcher) as provider:
        with pytest.raises(CapacityExceededError, match="needs 5 slots"):
            await provider.setup("m")
    assert not launcher.starts


async def test_a_server_sees_the_gpus_it_was_given(
    launcher: LocalLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four, and the next one the other two."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(GPUS))
    command = light(f"record={tmp_path}")
    async with ServerProvider(command, slots_needed=2, gpus="auto", launcher=launcher) as provider:
        async with await provider.setup("a") as one, await provider.setup("b") as other:
            assert (one.model.server.slots, other.model.server.slots) == (tuple(GPUS[:2]), tuple(GPUS[2:]))
    lines = [line.split()[1:] for line in (tmp_path / "log").read_text().splitlines()]
    assert lines == [["a", "MIG-0,MIG-1"], ["b", "MIG-2,MIG-3"]]


# -------------------------------------------------------------------- in two processes


async def test_an_idle_server_ends_when_another_process_needs_its_slot(
    launcher: LocalLauncher, other_backend: str, player: StartPlayer
) -> None:
    """Its resource is closed, which is no loss; when it is asked for again, the other one goes."""
    events = Events()
    async with (
        ServerProvider(light(), launcher=launcher, on_event=events) as provider,
        player(launcher.runtime.root, other_backend, light()) as other,
    ):
        async with await provider.setup("a") as handle:
            first = handle.model.server
        theirs = await other.ask("setup", "h", "b")
        assert theirs["slots"] == list(first.slots)
        assert (await events.until("closing")).reason == "its slots are needed for 'b'"
        await events.until("closed")
        await other.ask("teardown", "h")
        async with await provider.setup("a") as again:
            assert again.model.server.pid != first.pid
            await again.model.generate("Hello")
        closings = [event["reason"] for event in await other.ask("events") if event["kind"] == "closing"]
        assert closings == ["its slots are needed for 'a'"]
        counts = provider.statistics()
    assert (counts.opens, counts.retirements, counts.losses, counts.unhealthy) == (2, 1, 0, 0)
    assert not events.of("lost")


async def test_a_server_that_is_always_leased_makes_room(
    launcher: LocalLauncher, other_backend: str, player: StartPlayer
) -> None:
    """Leases of several tasks overlap without end: the other process is served nevertheless, and then they are."""
    events = Events()
    async with (
        ServerProvider(light(), launcher=launcher, on_event=events) as provider,
        player(launcher.runtime.root, other_backend, light()) as other,
        create_task_group() as group,
    ):

        async def use() -> None:
            while True:
                async with await provider.setup("a") as handle:
                    await handle.model.generate("Hello")

        for _ in range(4):
            group.start_soon(use)
        await events.until("opened")
        theirs = await other.ask("setup", "h", "b")
        assert await other.ask("generate", "h", "Hello") == str(theirs["pid"])
        assert (await events.until("retiring")).reason == "its slots are needed for 'b'"
        await other.ask("teardown", "h")
        await events.until("opened", 2)
        await events.until("released", len(events.of("released")) + 4)
        group.cancel_scope.cancel()
    assert not events.of("lost")


async def test_who_holds_a_server_that_makes_room_may_lease_it_again(
    launcher: LocalLauncher, other_backend: str, player: StartPlayer
) -> None:
    """Or it would wait for itself. Another task waits for the next generation."""
    events = Events()
    async with (
        ServerProvider(light(), launcher=launcher, on_event=events) as provider,
        player(launcher.runtime.root, other_backend, light()) as other,
    ):
        async with await provider.setup("a") as first:
            await other.send("setup", "h", "b")
            await events.until("retiring")
            with fail_after(PATIENCE):
                async with await provider.setup("a") as second:
                    assert second.model.server == first.model.server
                    await second.model.generate("Hello")
        assert (await other.answer())["spec"] == "b"
        await other.ask("teardown", "h")
        async with await provider.setup("a") as third:
            await third.model.generate("Hello")
        assert provider.statistics().opens == 2


async def test_a_server_does_not_make_room_for_ever(runtime: Runtime, other_backend: str, player: StartPlayer) -> None:
    """A lease that does not end may itself wait for one of those that are refused: after a while nobody is."""
    events = Events()
    launcher = LocalLauncher(runtime.root, drain_seconds=0.3)
    async with (
        ServerProvider(light(), launcher=launcher, on_event=events) as provider,
        player(runtime.root, other_backend, light()) as other,
    ):
        async with await provider.setup("a") as first:
            await other.send("setup", "h", "b")
            await events.until("retiring")

            async def another() -> None:
                async with await provider.setup("a") as second:
                    assert second.model.server == first.model.server

            with fail_after(PATIENCE):
                async with create_task_group() as group:
                    group.start_soon(another)
            assert first.is_active
        assert (await other.answer())["spec"] == "b"
    assert not events.of("lost")


async def test_a_server_is_joined_while_others_wait_for_a_slot(
    launcher: LocalLauncher, other_backend: str, player: StartPlayer
) -> None:
    """What runs already needs no slot: who wants it does not stand in the queue."""
    async with (
        ServerProvider(light(), launcher=launcher) as provider,
        player(launcher.runtime.root, other_backend, light()) as other,
        await provider.setup("a") as handle,
    ):
        theirs = await other.ask("setup", "h", "a")
        assert theirs["pid"] == handle.model.server.pid


# -------------------------------------------------------------------- in a crowd


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)  # the three processes have their own
async def test_a_crowd_shares_the_machine(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str, player: StartPlayer
) -> None:
    """Three processes, four GPUs, models for one, two and four of them: no GPU is used twice, and everybody is served.

    ``DOTEVAL_CROWD=200`` (nox -s server_crowd) makes it 200 tasks and 12 models.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(GPUS))
    tasks = int(os.environ.get("DOTEVAL_CROWD", "24"))
    specs = [f"m{number}-{slots}" for number in range(4 if tasks > 100 else 2) for slots in (1, 2, 4)]
    async with AsyncExitStack() as stack:
        players = [
            await stack.enter_async_context(
                player(runtime.root, backend, light(f"record={tmp_path}"), gpus="auto", drain_seconds=2.0)
            )
            for backend in ("asyncio", "trio", "asyncio")
        ]
        for seed, each in enumerate(players):
            await each.send("crowd", seed, tasks // 3 + (seed < tasks % 3), specs)
        answers = [await each.answer(patience=900.0) for each in players]
    log = (tmp_path / "log").read_text()
    assert "TAKEN" not in log
    starts = Counter(line.split()[1] for line in log.splitlines())
    used = [answer["statistics"]["leases"] for answer in answers]
    print(f"{tasks} tasks, {sum(used)} leases, {starts.total()} starts: {dict(starts)}")
    for line in log.splitlines():
        _, spec, gpus = line.split()
        assert len(gpus.split(",")) == int(spec.partition("-")[2])
    assert all(answer["statistics"]["losses"] == 0 for answer in answers)
    assert all(answer["statistics"]["active_leases"] == 0 for answer in answers)

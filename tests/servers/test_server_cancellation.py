"""Cancellation at every checkpoint of a start: nothing of the server is left, nobody else notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from anyio import CancelScope
from anyio.lowlevel import checkpoint
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.servers.leftovers import leftovers
from tests.servers.lights import KEYED, light

from doteval import ServerLostError, ServerProvider
from doteval.servers import LocalLauncher, PortOpen, ServerCommand, SlotSet, Terms
from doteval.servers._local.runtime import Runtime

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency, pytest.mark.counts_open_files]

TERMS = Terms(ready=PortOpen(), slots=SlotSet(("slot-0",)), stop_grace=5.0)


class Listener:
    """Hears of nothing, as nothing happens to the server."""

    def users(self) -> tuple[object, ...]:
        return ()

    def on_found(self) -> None:
        pass

    def on_stuck(self, users: object, error: Exception, /) -> None:
        raise AssertionError(error)

    def on_retiring(self, reason: str, /) -> None:
        raise AssertionError(reason)

    def on_resumed(self) -> None:
        raise AssertionError("resumed")

    def on_lost(self, error: ServerLostError, /) -> None:
        raise AssertionError(error)


def command() -> ServerCommand:
    argv = tuple(word.replace("{spec}", "m") for word in light())
    return ServerCommand("light", "m", argv, secret_environment=KEYED)


async def test_a_start_that_is_cancelled_anywhere_leaves_nothing_behind(runtime: Runtime) -> None:
    """When the cancellation is delivered, server and supervisor are gone; then it starts as if nothing had been."""
    launcher = LocalLauncher(runtime.root)

    async def launch() -> None:
        async with launcher.launch(command(), TERMS, Listener()) as lease:
            assert lease.server.pid is not None
            await checkpoint()

    assert await _everywhere(launch, lambda: _nothing_is_left(runtime)) >= 4
    assert launcher.starts[-1].ready


async def test_joining_that_is_cancelled_anywhere_disturbs_nobody(runtime: Runtime) -> None:
    """The server that somebody else has started stays his."""
    launcher, other = LocalLauncher(runtime.root), LocalLauncher(runtime.root)
    async with other.launch(command(), TERMS, Listener()) as theirs:

        async def join() -> None:
            async with launcher.launch(command(), TERMS, Listener()) as lease:
                assert lease.server == theirs.server
                await checkpoint()

        assert await _everywhere(join, checkpoint) >= 3
        await theirs.ready()
    assert not launcher.starts


@pytest.mark.parametrize("keep_alive", [None, 0.0], ids=["kept", "closed"])
async def test_a_setup_that_is_cancelled_anywhere_leaves_nothing_behind(
    runtime: Runtime, keep_alive: float | None
) -> None:
    """As for every provider; here what is opened is a process."""
    async with ServerProvider(light(), keep_alive=keep_alive, launcher=LocalLauncher(runtime.root)) as provider:

        async def trial(k: int) -> bool:
            handles = []

            async def setup() -> None:
                handles.append(await provider.setup("m"))
                await handles[0].teardown()

            reached = await cancelled_at(k, setup)
            with CancelScope(shield=True):
                for handle in handles:
                    await handle.teardown()
            await provider.teardown_all()
            await _nothing_is_left(runtime)
            async with await provider.setup("m") as again:
                assert again.is_active
            now = provider.statistics()
            assert (now.active_leases, now.waiting, now.losses, now.close_failures) == (0, 0, 0, 0)
            await provider.teardown_all()
            return reached

        assert await at_every_checkpoint(trial) >= 2


async def _everywhere(operation: Callable[[], Awaitable[None]], check: Callable[[], Awaitable[None]]) -> int:
    async def trial(k: int) -> bool:
        reached = await cancelled_at(k, operation)  # type: ignore[arg-type]
        await check()
        return reached

    return await at_every_checkpoint(trial)


async def _nothing_is_left(runtime: Runtime) -> None:
    assert not leftovers(runtime.root)

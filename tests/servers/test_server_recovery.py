"""A server dies: what its users see, and how they get another one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import create_task_group, fail_after, sleep_forever
from tests.conftest import anyio_backend  # noqa: F401 - every loop
from tests.servers.leftovers import parent, processes
from tests.servers.lights import PATIENCE, Events, get, light

from doteval import (
    CommandProvider,
    HandleInactiveError,
    ModelRequestError,
    ModelSetupError,
    ServerLostError,
    ServerProvider,
)
from doteval.cli import _stop
from doteval.servers import LocalLauncher, Server
from doteval.servers._local import connection
from doteval.servers._local.runtime import Runtime

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

NOTICED = 1.0
"""Within how many seconds the end of a server is noticed."""


@pytest.fixture
def launcher(runtime: Runtime) -> LocalLauncher:
    return LocalLauncher(runtime.root)


AT_ONCE_OR_NOT = r"failed(?: after \d retries)?: "
"""The oldest SDK sends a request again, whatever its error was."""


def kill(server: Server) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


async def test_the_end_of_a_server_ends_its_handles_and_says_why(launcher: LocalLauncher) -> None:
    """All handles are inactive within a second, with signal and output; the next setup opens a new generation."""
    events = Events()
    async with ServerProvider(light(), launcher=launcher, on_event=events) as provider:
        one, other = await provider.setup("m"), await provider.setup("m")
        model, killed = one.model, one.model.server
        began = time.monotonic()
        kill(killed)
        lost = await events.until("lost")
        assert time.monotonic() - began < NOTICED
        assert not one.is_active
        assert not other.is_active
        with pytest.raises(HandleInactiveError, match="was killed by SIGKILL when it had been ready for") as inactive:
            _ = one.model
        for part in ("Application startup complete.", "log: ", "killed by SIGKILL"):
            assert part in str(inactive.value)
            assert part in lost.reason
        with pytest.raises(ModelRequestError, match=AT_ONCE_OR_NOT + "the server of 'm' was killed by SIG") as failed:
            await model.generate("Hello")
        assert isinstance(failed.value.__cause__, ServerLostError)
        assert failed.value.__cause__.exit_code == -signal.SIGKILL
        async with await provider.setup("m") as again:
            assert again.model.server.pid != killed.pid
            assert await again.model.generate("Hello") == str(again.model.server.pid)
        await one.teardown()
        await other.teardown()
        counts = provider.statistics()
    assert (counts.losses, counts.opens, counts.close_failures) == (1, 2, 0)
    assert [event.generation for event in events.of("opened")] == [1, 2]
    assert launcher.starts[1].reason.startswith("the one before was killed by SIGKILL")


async def test_a_server_that_dies_of_a_request_is_told_as_such(launcher: LocalLauncher) -> None:
    """The request fails with the server's exit code, not with a connection that was reset; no restart was asked for."""
    async with ServerProvider(light(), launcher=launcher) as provider:
        handle = await provider.setup("m")
        with pytest.raises(ModelRequestError, match="the server of 'm' exited with code 3") as failed:
            await handle.model.generate("die")
        assert "assertion failed in the engine" in str(failed.value.__cause__)
        assert provider.statistics().losses == 1
    assert len(launcher.starts) == 1


async def test_an_idle_server_that_dies_is_opened_again(launcher: LocalLauncher) -> None:
    """Nobody used it, but it was not told to end either: that counts, and the next setup finds a new one."""
    events = Events()
    async with ServerProvider(light(), launcher=launcher, on_event=events) as provider:
        async with await provider.setup("m") as handle:
            server = handle.model.server
        kill(server)
        await events.until("lost")
        async with await provider.setup("m") as again:
            assert again.model.server.pid != server.pid
        assert provider.statistics().losses == 1


async def test_a_server_that_dies_while_it_is_let_go_is_no_failure(launcher: LocalLauncher) -> None:
    """Nobody uses it, and it was about to end: neither who closes the resource nor the block of the provider fails."""

    @asynccontextmanager
    async def dying(server: Server) -> AsyncGenerator[Server]:
        yield server
        kill(server)
        await sleep_forever()  # until the end of the server is noticed

    events = Events()
    async with CommandProvider(light(), launcher=launcher, model=dying, on_event=events) as provider:
        for _ in range(2):
            async with await provider.setup("m"):
                pass
            await provider.teardown("m")
        async with await provider.setup("m"):
            pass
    assert [event.kind for event in events.all if "close" in event.kind] == ["closed"] * 3


async def test_generate_starts_the_server_again_and_sends_again(launcher: LocalLauncher, tmp_path: Path) -> None:
    """With ``restarts=1`` the caller sees a slow answer; the handle is the same, and tells of the new server."""
    async with ServerProvider(light(), launcher=launcher, restarts=1) as provider:
        async with await provider.setup("m") as handle:
            first = handle.model.server
            kill(first)
            assert await handle.model.generate("Hello") == str(handle.model.server.pid) != str(first.pid)
            assert handle.is_active
            kill(handle.model.server)
            with pytest.raises((ModelRequestError, HandleInactiveError), match="killed by SIGKILL"):
                await handle.model.generate("Hello")
            assert not handle.is_active
            with pytest.raises(HandleInactiveError, match="killed by SIGKILL"):
                await handle.model.generate("Hello")
        counts = provider.statistics()
    assert (counts.losses, counts.active_leases) == (2, 0)
    assert len(launcher.starts) == 2


@pytest.mark.parametrize("answers", [True, False])
async def test_what_somebody_stops_stays_stopped_for_those_who_used_it(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """They are told that it was stopped, and how, whatever `restarts` says; a new setup starts a new one.

    So it is where its supervisor does not answer, as somebody has stopped that, and has to be woken up.
    """
    endings: list[bool] = []
    async with ServerProvider(light(), launcher=launcher, restarts=5) as provider:
        handle = await provider.setup("m")
        model = handle.model
        server = model.server
        if not answers:
            assert server.pid is not None
            os.kill(parent(server.pid), signal.SIGSTOP)
            monkeypatch.setattr(_stop, "_ANSWER_SECONDS", 0.25)
            monkeypatch.setattr(connection, "_VISIT_SECONDS", 0.25)
        await _stop._stop(launcher.runtime, [server.id], True, lambda ending: endings.append(ending.stopped))
        assert endings == [True]
        told = r"'m' was stopped \('doteval stop --force' was run at \d\d:\d\d:\d\d.*\) when it had been ready"
        for _ in range(2):
            with pytest.raises((ModelRequestError, HandleInactiveError), match=told):
                await model.generate("Hello")
        assert (handle.is_active, len(launcher.starts)) == (False, 1)
        async with await provider.setup("m") as again:
            assert await again.model.generate("Hello") != str(server.pid)
        await handle.teardown()


async def test_many_requests_at_once_start_the_server_again_once(launcher: LocalLauncher, tmp_path: Path) -> None:
    """Ten requests are under way when it is killed: one restart, and each is answered by the new one."""
    answers: list[str] = []
    marker = tmp_path / "marker"
    async with ServerProvider(light(f"patience={marker}"), launcher=launcher, restarts=1) as provider:
        async with await provider.setup("m") as handle:
            first = handle.model.server

            async def ask() -> None:
                answers.append(await handle.model.generate("wait"))

            async with create_task_group() as group:
                for _ in range(10):
                    group.start_soon(ask)
                await get(first, "/waiting?10")
                marker.touch()
                kill(first)
            assert answers == [str(handle.model.server.pid)] * 10
        assert provider.statistics().losses == 1
        assert provider.statistics().active_leases == 0
    assert len(launcher.starts) == 2


async def test_an_error_of_a_living_server_is_no_reason_to_start_it_again(launcher: LocalLauncher) -> None:
    """HTTP 500: the request fails, the server stays."""
    async with ServerProvider(light(), launcher=launcher, restarts=1, max_retries=0) as provider:
        async with await provider.setup("m") as handle:
            server = handle.model.server
            with pytest.raises(ModelRequestError, match="out of luck") as failed:
                await handle.model.generate("fail")
            assert failed.value.status == 500
            assert handle.model.server == server
        assert provider.statistics().losses == 0
    assert len(launcher.starts) == 1


async def test_a_server_that_is_dying_is_started_again(launcher: LocalLauncher, tmp_path: Path) -> None:
    """As vLLM when its worker has died: it answers 500, ``/health`` is 503, and a moment later it ends."""
    marker = tmp_path / "marker"
    async with ServerProvider(light(f"patience={marker}"), launcher=launcher, restarts=1, max_retries=0) as provider:
        async with await provider.setup("m") as handle:
            first = handle.model.server
            assert await handle.model.generate("unwell") == str(handle.model.server.pid) != str(first.pid)
        assert provider.statistics().losses == 1


async def test_a_handle_that_is_torn_down_while_its_server_starts_again_leaves_nothing(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    """The request that waits for the restart fails, and the new lease is given back."""
    events = Events()
    command = light("trouble=slow", f"gate={tmp_path / 'gate'}", f"marker={tmp_path / 'marker'}")
    (tmp_path / "marker").touch()
    async with ServerProvider(command, launcher=launcher, restarts=1, on_event=events) as provider:
        handle = await provider.setup("m")
        (tmp_path / "marker").unlink()
        os.mkfifo(tmp_path / "gate")
        failures: list[HandleInactiveError] = []

        async def ask() -> None:
            with pytest.raises(HandleInactiveError, match="you tore it down") as inactive:
                await handle.model.generate("Hello")
            failures.append(inactive.value)

        async with create_task_group() as group:
            kill(handle.model.server)
            await events.until("lost")
            group.start_soon(ask)
            await events.until("opening", 2)
            await handle.teardown()
            assert not handle.is_active
            await anyio.to_thread.run_sync((tmp_path / "gate").write_text, "go on")
        assert len(failures) == 1
        assert provider.statistics().active_leases == 0


async def test_a_request_that_is_cancelled_while_its_server_starts_again_uses_no_restart_up(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    """The start is called off with it; the next request starts the server."""
    events = Events()
    command = light("trouble=silent", f"marker={tmp_path / 'marker'}")
    (tmp_path / "marker").touch()
    async with ServerProvider(command, launcher=launcher, restarts=1, on_event=events) as provider:
        async with await provider.setup("m") as handle:
            (tmp_path / "marker").unlink()  # so that the next one never gets ready
            kill(handle.model.server)
            await events.until("lost")
            async with create_task_group() as group:
                group.start_soon(handle.model.generate, "Hello")
                await events.until("opening", 2)
                with fail_after(PATIENCE):
                    while not (tmp_path / "marker").exists():
                        await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            assert await handle.model.generate("Hello") == str(handle.model.server.pid)


async def test_a_server_that_cannot_be_started_again_is_told_as_such(launcher: LocalLauncher, tmp_path: Path) -> None:
    """Everybody who waits for it is told; it is tried once."""
    command = light("trouble=model", f"marker={tmp_path / 'marker'}")
    (tmp_path / "marker").touch()
    failures: list[Exception] = []
    async with ServerProvider(command, launcher=launcher, restarts=1) as provider:
        async with await provider.setup("m") as handle:
            (tmp_path / "marker").unlink()

            async def ask() -> None:
                with pytest.raises((ModelSetupError, ModelRequestError, HandleInactiveError)) as failed:
                    await handle.model.generate("Hello")
                failures.append(failed.value)

            kill(handle.model.server)
            async with create_task_group() as group:
                for _ in range(5):
                    group.start_soon(ask)
            assert not handle.is_active
    assert [type(failure) for failure in failures].count(ModelSetupError) == 1
    assert all("killed by SIGKILL" in str(failure) for failure in failures if not isinstance(failure, ModelSetupError))
    assert len(launcher.starts) == 2


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("break", "the connection to .* was lost"),
        ("die", "the server of 'm' exited with code 3"),
        ("vanish", "the server of 'm' exited with code 3"),
    ],
)
async def test_a_stream_that_breaks_raises(launcher: LocalLauncher, prompt: str, problem: str) -> None:
    """What has arrived cannot be taken back, so it is not sent again; the end of the server is told as such."""
    words: list[str] = []
    async with ServerProvider(light(), launcher=launcher, restarts=3) as provider:
        async with await provider.setup("m") as handle:
            with pytest.raises(ModelRequestError, match=problem) as failed:
                async with handle.model.stream(prompt) as stream:
                    async for word in stream:
                        words.append(word)  # noqa: PERF401 - what came before it broke
            assert isinstance(failed.value.__cause__, ServerLostError) is (prompt != "break")
            assert words in ([], ["one"])
            async with handle.model.stream("Hello") as stream:
                assert [word async for word in stream] == ["one", "two", "three"]


@pytest.mark.parametrize("restarts", [0, 1])
async def test_a_stream_that_cannot_begin_is_a_request_like_others(launcher: LocalLauncher, restarts: int) -> None:
    """Its server has died before: it is told how, or there is another one."""
    async with ServerProvider(light(), launcher=launcher, restarts=restarts) as provider:
        async with await provider.setup("m") as handle:
            model = handle.model
            kill(model.server)
            if restarts:
                async with model.stream("Hello") as stream:
                    assert [word async for word in stream] == ["one", "two", "three"]
            else:
                with pytest.raises(ModelRequestError, match="the server of 'm' was killed by SIGKILL"):
                    async with model.stream("Hello"):
                        raise AssertionError("it has begun")


async def test_a_resource_that_was_closed_on_purpose_is_not_opened_again(launcher: LocalLauncher) -> None:
    """``provider.teardown(...)`` ends all handles, also those whose server would be started again if it died."""
    async with ServerProvider(light(), launcher=launcher, restarts=3) as provider:
        handle = await provider.setup("m")
        await provider.teardown("m")
        assert not handle.is_active
        with pytest.raises(HandleInactiveError):
            await handle.model.generate("Hello")
    assert len(launcher.starts) == 1


async def test_a_supervisor_that_is_killed_takes_its_server_along(launcher: LocalLauncher) -> None:
    """Handles end as for every other end of a server; the next start clears away what is left and works."""
    events = Events()
    async with ServerProvider(light(), launcher=launcher, on_event=events) as provider:
        handle = await provider.setup("m")
        server = handle.model.server
        supervisor = parent(server.pid or 0)
        os.kill(supervisor, signal.SIGKILL)
        assert "its supervisor was killed" in (await events.until("lost")).reason
        async with await provider.setup("m") as again:
            assert again.model.server.pid != server.pid
            assert await again.model.generate("Hello") == str(again.model.server.pid)
        assert server.pid not in processes(launcher.runtime.root)

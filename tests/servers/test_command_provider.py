"""``CommandProvider``: servers that serve no models; and stop commands, for what a signal does not reach."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.leftovers import leftovers, parent, processes_left
from tests.servers.lights import KEYED, PATIENCE, Events, light

from doteval import CommandProvider, ModelSetupError, ServerProvider
from doteval.servers import LocalLauncher, LogLine, Server
from doteval.servers._local.runtime import Runtime

pytestmark = pytest.mark.anyio

ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["trio"])
"""For what other processes do."""

STUBBORN = """
import os, signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
with open(sys.argv[2], "w") as file:
    file.write(str(os.getpid()))
signal.pause()
"""
"""A server that listens to no SIGTERM, and says which process to end."""


@pytest.fixture
def launcher(runtime: Runtime) -> LocalLauncher:
    return LocalLauncher(runtime.root)


def write_down(path: Path) -> list[str]:
    """A stop command that leaves a line in a file, and takes longer than the server to end."""
    return ["sh", "-c", f'sleep 0.2; echo "stopped $0" >> "{path}"', "{spec}"]


# -------------------------------------------------------------------- what is leased


async def test_the_server_itself_is_leased_and_any_number_at_once_beside_one_that_has_the_only_slot(
    launcher: LocalLauncher,
) -> None:
    """A database beside a model server must not wait for that; both are shared with other providers."""
    async with (
        ServerProvider(light(), launcher=launcher) as models,
        CommandProvider(light("a=1"), launcher=launcher) as provider,
        CommandProvider(light("a=1"), launcher=LocalLauncher(launcher.runtime.root)) as other,
        models.setup("m"),
        provider.setup("one") as one,
        provider.setup("two") as two,
        other.setup("one") as again,
    ):
        server: Server = one.model
        assert (server.spec, server.kind, server.slots, server.url) == (
            "one",
            "command",
            (),
            f"http://127.0.0.1:{server.port}",
        )
        assert server.log is not None
        assert "startup complete" in server.log.read_text()
        assert again.model == server != two.model
    assert not leftovers(launcher.runtime.root)


async def test_what_is_made_of_the_server_is_leased_and_left_before_the_server_ends(launcher: LocalLauncher) -> None:
    """It is made once for all leases, and also used again after a pause, as the supervisor grants it."""
    made: list[str] = []

    @asynccontextmanager
    async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=PATIENCE) as http:
            made.append("entered")
            yield http
            made.append(f"left, and it answered {(await http.get('/health')).status_code}")

    async with CommandProvider(light(), model=client, launcher=launcher) as provider:
        async with provider.setup("m") as handle, provider.setup("m") as same:
            assert handle.model is same.model
            first = (await handle.model.get("/environment")).json()
        async with provider.setup("m") as later:
            assert (await later.model.get("/environment")).json() == first
        assert made == ["entered"]
    assert made == ["entered", "left, and it answered 200"]


async def test_an_object_that_is_of_two_servers_is_refused(launcher: LocalLauncher) -> None:
    """It could not be told whose lease it is."""

    @asynccontextmanager
    async def nothing(server: Server) -> AsyncIterator[None]:
        yield

    async with CommandProvider(light(), model=nothing, launcher=launcher) as provider:
        async with provider.setup("one"):
            with pytest.raises(ModelSetupError, match="a model of its own, and None is another one's"):
                await provider.setup("two")


async def test_a_server_without_a_port_is_ready_by_what_it_prints(launcher: LocalLauncher) -> None:
    command = [sys.executable, "-I", "-S", "-c", "import signal; print('up and running', flush=True); signal.pause()"]
    async with CommandProvider(command, ready=LogLine("up and"), launcher=launcher) as provider:
        async with provider.setup("worker") as handle:
            assert handle.model.pid
    with pytest.raises(ValueError, match="for a server without a port, say with ready="):
        CommandProvider(command)


async def test_capacity_makes_servers_take_turns_and_slots_of_none_are_refused(launcher: LocalLauncher) -> None:
    async with CommandProvider(light(), capacity=1, launcher=launcher) as provider:
        async with provider.setup("one") as one:
            assert one.model.slots == ("slot-0",)
        async with provider.setup("two"):
            assert provider.statistics().opens == 2
            assert provider.statistics().open == 1
    with pytest.raises(ValueError, match="of no use with slots_needed=0"):
        CommandProvider(light(), capacity=1, slots_needed=0)
    with pytest.raises(ValueError, match="a whole number of at least 0"):
        CommandProvider(light(), slots_needed=-1)
    with pytest.raises(ValueError, match="stop_command must be a list of words"):
        CommandProvider(light(), stop_command="docker stop it")
    with pytest.raises(ValueError, match="stop_command must name a command"):
        ServerProvider(light(), stop_command=[])
    with pytest.raises(TypeError, match="CommandProvider has no keyword argument restarts"):
        CommandProvider(light(), restarts=1)  # type: ignore[call-overload]


# -------------------------------------------------------------------- how it ends


def kill_nobody(server: int) -> None:
    pass


def kill_server(server: int) -> None:
    os.kill(server, signal.SIGKILL)


def kill_supervisor(server: int) -> None:
    os.kill(parent(server), signal.SIGKILL)


def kill_supervisor_and_keeper(server: int) -> None:
    supervisor = parent(server)
    keeper = parent(supervisor)
    os.kill(keeper, signal.SIGSTOP)  # so that it does not notice the end of the other one
    os.kill(supervisor, signal.SIGKILL)
    os.kill(keeper, signal.SIGKILL)


@ONE_LOOP
@pytest.mark.parametrize(
    ("kind", "kill"),
    [
        (ServerProvider, kill_nobody),
        (CommandProvider, kill_nobody),
        (CommandProvider, kill_server),
        (CommandProvider, kill_supervisor),
        (CommandProvider, kill_supervisor_and_keeper),
    ],
)
async def test_the_stop_command_is_run_once_whoever_is_killed(
    launcher: LocalLauncher, tmp_path: Path, kind: Any, kill: Any
) -> None:
    """And nothing of the server is left in any of these cases."""
    stopped = tmp_path / "stopped"
    events = Events()
    stop = write_down(stopped)
    async with kind(
        light(), secret_environment=KEYED, stop_command=stop, launcher=launcher, keep_alive=0, on_event=events
    ) as provider:
        async with provider.setup("it") as handle:
            server = handle.model if kind is CommandProvider else handle.model.server
            assert not stopped.exists()
            kill(server.pid)
            if kill is not kill_nobody:
                await events.until("lost")
        if kill is kill_nobody:
            assert stopped.read_text() == "stopped it\n", "before the last lease has ended"
    if kill is kill_supervisor_and_keeper:  # their files are removed with the next start
        assert processes_left(launcher.runtime.root, PATIENCE) == []
        async with CommandProvider(light(), launcher=launcher) as other, other.setup("other"):
            pass
    assert not leftovers(launcher.runtime.root)
    assert stopped.read_text() == "stopped it\n"


@ONE_LOOP
async def test_a_server_that_heeds_no_signal_ends_by_its_stop_command(launcher: LocalLauncher) -> None:
    """In no time, and its output says what the stop command has printed."""
    command = [sys.executable, "-I", "-S", "-c", STUBBORN, "{port}", "{directory}/pid"]
    stop = ["sh", "-c", "echo asked to end; kill -INT $(cat {directory}/pid)"]
    began = time.monotonic()
    async with CommandProvider(command, stop_command=stop, stop_grace=PATIENCE, launcher=launcher) as provider:
        async with provider.setup("it"):
            pass
    assert time.monotonic() - began < PATIENCE / 3, "before the second SIGTERM, and long before SIGKILL"


@ONE_LOOP
async def test_a_stop_command_that_does_not_end_is_killed(launcher: LocalLauncher) -> None:
    stop = [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"]
    async with CommandProvider(light(), stop_command=stop, stop_grace=0.2, launcher=launcher) as provider:
        async with provider.setup("it"):
            pass
    assert not leftovers(launcher.runtime.root)


@ONE_LOOP
async def test_a_start_that_fails_runs_the_stop_command_and_says_what_the_server_said(
    launcher: LocalLauncher, tmp_path: Path
) -> None:
    """A container that was made and not started has to go, too; exit code and cause are those of the server."""
    stopped = tmp_path / "stopped"
    async with CommandProvider(light("trouble=model"), stop_command=write_down(stopped), launcher=launcher) as provider:
        with pytest.raises(
            ModelSetupError, match=r"exited with code 1 after(?s:.*)not a valid model identifier"
        ) as failed:
            await provider.setup("it")
    assert stopped.read_text() == "stopped it\n"
    assert "_stopper" not in str(failed.value), "what was asked for is shown, and not what is around it"


@ONE_LOOP
@pytest.mark.parametrize("missing", ["command", "stop_command"])
async def test_a_command_that_is_missing_is_told_before_anything_is_started(
    launcher: LocalLauncher, missing: str
) -> None:
    commands = {"command": light(), "stop_command": ["sh", "-c", ""], missing: ["no-such-command", "{port}"]}
    async with CommandProvider(**commands, install_hint="Get it.", launcher=launcher) as provider:
        with pytest.raises(ModelSetupError, match=r"'no-such-command' is not installed(?s:.*)Get it\."):
            await provider.setup("it")
    assert not launcher.starts


@ONE_LOOP
async def test_a_stop_command_cannot_show_the_key(launcher: LocalLauncher) -> None:
    """Everybody on the machine can read it."""
    async with CommandProvider(light(), stop_command=["stop", "{api_key}"], launcher=launcher) as provider:
        with pytest.raises(ModelSetupError, match="cannot be on the command line"):
            await provider.setup("it")

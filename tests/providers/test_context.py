"""ContextProvider: any async context manager, an MCP session over standard input and output above all."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio
import anyio.lowlevel
import pytest

from doteval import ContextProvider, HandleInactiveError, ModelHandle, PoolEvent

if TYPE_CHECKING:
    import mcp  # elsewhere where it is used, as it takes each worker 0.6 s of processor

SERVER = Path(__file__).with_name("mcp_server.py")

pytestmark = [pytest.mark.anyio]


@asynccontextmanager
async def connect(name: str) -> AsyncGenerator[mcp.ClientSession]:
    """A session with a server process of its own; it holds task groups and cancel scopes open."""
    import mcp

    parameters = mcp.StdioServerParameters(command=sys.executable, args=["-I", "-S", str(SERVER), name])
    async with mcp.stdio_client(parameters) as (read, write), mcp.ClientSession(read, write) as session:
        await session.initialize()
        yield session


async def ask(session: mcp.ClientSession) -> tuple[str, int]:
    """Which server answers, and its process."""
    result = await session.call_tool("whoami")
    name, pid = result.content[0].text.split()
    return name, int(pid)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_spec_and_configuration_reach_the_factory() -> None:
    """What the context manager yields is the model; it is left when the resource closes."""
    left: list[str] = []

    @asynccontextmanager
    async def factory(spec: str, *, port: int = 1) -> AsyncGenerator[str]:
        yield f"{spec}:{port}"
        left.append(spec)

    async with ContextProvider(factory, keep_alive=0) as provider:
        async with await provider.setup("a") as first, await provider.setup("a", port=2) as second:
            assert (first.model, second.model) == ("a:1", "a:2")
            assert left == []
    assert left == ["a", "a"]


async def test_the_factory_may_be_a_class() -> None:
    """Whatever makes an async context manager will do."""

    class Connection:
        def __init__(self, spec: str) -> None:
            self.spec = spec

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *details: object) -> None:
            self.spec = "closed"

    async with ContextProvider(Connection) as provider:
        async with await provider.setup("a") as handle:
            connection = handle.model
            assert connection.spec == "a"
    assert connection.spec == "closed"


async def test_its_name_is_in_statistics_events_and_representation() -> None:
    """Several providers of this kind can be told apart: by the name that was given, or else the factory's."""

    @asynccontextmanager
    async def factory(spec: str) -> AsyncGenerator[str]:
        yield spec

    events: list[PoolEvent] = []
    async with ContextProvider(factory, name="databases", on_event=events.append) as provider:
        async with await provider.setup("a"):
            assert provider.statistics().provider == "databases"
            assert {event.provider for event in events} == {"databases"}
            assert repr(provider).startswith("<databases open=1")
    assert provider.statistics().provider == "databases"
    assert repr(ContextProvider(factory)) == "<ContextProvider(factory) not entered>"


async def test_health_is_what_the_caller_says() -> None:
    """Without a say, what is open is good."""

    @asynccontextmanager
    async def factory(spec: str) -> AsyncGenerator[str]:
        yield spec

    async def is_healthy(model: str) -> bool:
        return model == "good"

    assert await ContextProvider(factory).healthy("bad")
    assert await ContextProvider(factory, is_healthy=is_healthy).healthy("good")
    assert not await ContextProvider(factory, is_healthy=is_healthy).healthy("bad")


@pytest.mark.process
async def test_an_mcp_session_is_set_up_in_one_task_used_in_others_and_torn_down_in_a_fourth() -> None:
    """And three of them not in the order of a stack: first in, first out."""
    handles: dict[str, ModelHandle[mcp.ClientSession]] = {}
    answers: list[tuple[str, int]] = []

    async with ContextProvider(connect, keep_alive=0) as provider:

        async def set_up(name: str) -> None:
            handles[name] = await provider.setup(name)

        async def use(name: str) -> None:
            answers.append(await ask(handles[name].model))

        async def tear_down(name: str) -> None:
            await handles[name].teardown()

        for name in ("one", "two", "three"):
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(set_up, name)
        async with anyio.create_task_group() as task_group:
            for name in ("one", "two", "three", "two", "one"):
                task_group.start_soon(use, name)
        assert sorted(name for name, _ in answers) == ["one", "one", "three", "two", "two"]
        pids = dict(answers)
        assert len(set(pids.values())) == 3

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(tear_down, "one")
        assert not is_alive(pids["one"])
        assert await ask(handles["three"].model) == ("three", pids["three"])
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(tear_down, "two")
        assert await ask(handles["three"].model) == ("three", pids["three"])
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(tear_down, "three")
    assert provider.statistics().opens == provider.statistics().closes == 3
    assert not any(map(is_alive, pids.values()))


@pytest.mark.process
async def test_a_crash_of_one_mcp_server_hurts_nobody_else() -> None:
    """Who talks to it gets an error of the session; nobody is cancelled, and a closed resource can be opened again."""
    import mcp

    async with ContextProvider(connect) as provider:
        fragile, solid = await provider.setup("fragile"), await provider.setup("solid")
        _, pid = await ask(fragile.model)

        async def use_the_other() -> None:
            for _ in range(10):
                assert (await ask(solid.model))[0] == "solid"

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(use_the_other)
            with pytest.raises(mcp.MCPError):
                await fragile.model.call_tool("crash")
        await provider.teardown(fragile.resource_id)
        with pytest.raises(HandleInactiveError, match="teardown"):
            _ = fragile.model
        again = await provider.setup("fragile")
        name, new_pid = await ask(again.model)
        assert name == "fragile"
        assert new_pid != pid
        assert await ask(solid.model)


@pytest.mark.process
async def test_a_session_that_notices_the_crash_is_lost_with_that_reason() -> None:
    """A context manager that raises while it is open makes its handles inactive; the next setup opens a new one."""
    import mcp

    @asynccontextmanager
    async def watched(name: str) -> AsyncGenerator[mcp.ClientSession]:
        parameters = mcp.StdioServerParameters(command=sys.executable, args=["-I", "-S", str(SERVER), name])
        async with mcp.stdio_client(parameters) as (read, write), anyio.create_task_group() as task_group:
            async with mcp.ClientSession(read, write) as session:
                await session.initialize()
                _, pid = await ask(session)

                async def watch() -> None:
                    watched = os.pidfd_open(pid)
                    try:
                        await anyio.wait_readable(watched)
                    finally:
                        os.close(watched)
                    raise ConnectionError(f"the MCP server {name} has ended")

                task_group.start_soon(watch)
                yield session
                task_group.cancel_scope.cancel()

    async with ContextProvider(watched) as provider:
        fragile, solid = await provider.setup("fragile"), await provider.setup("solid")
        with pytest.raises(mcp.MCPError):
            await fragile.model.call_tool("crash")
        with anyio.fail_after(60):
            while fragile.is_active:
                await anyio.lowlevel.checkpoint()
        assert (await ask(solid.model))[0] == "solid"
        async with await provider.setup("fragile") as again:
            assert (await ask(again.model))[0] == "fragile"
        with pytest.raises(HandleInactiveError, match="the MCP server fragile has ended"):
            _ = fragile.model


@pytest.mark.process
@pytest.mark.concurrency
async def test_an_mcp_server_that_is_killed_while_it_is_busy_costs_only_those_who_held_it() -> None:
    """A hundred lease it, and one never lets go; after the first report nobody gets the dead session."""
    import mcp

    pids: set[int] = set()
    failures_before, failures_after = 0, 0
    reported = False

    async with ContextProvider(connect) as provider:
        holder = await provider.setup("tools")
        _, pid = await ask(holder.model)
        os.kill(pid, signal.SIGKILL)

        async def lease() -> None:
            nonlocal failures_before, failures_after, reported
            comes_after = reported
            async with provider.setup("tools") as handle:
                try:
                    pids.add((await ask(handle.model))[1])
                except mcp.MCPError as exc:
                    failures_after += comes_after
                    failures_before += not comes_after
                    handle.report_broken(exc)
                    reported = True

        async with anyio.create_task_group() as task_group:
            for _ in range(100):
                task_group.start_soon(lease)
        for _ in range(10):
            await lease()
        assert not holder.is_active
    assert failures_before >= 1
    assert failures_after == 0
    assert len(pids) == 1
    assert pids != {pid}
    assert provider.statistics().losses == 1

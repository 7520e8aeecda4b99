"""``doteval stop``: ends servers, and waits until nothing of them is left."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

import anyio

from ..servers._local.connection import Connection, SupervisorGoneError
from ..servers._local.runtime import Runtime
from ._look import Servers, look
from ._problem import Problem

_REASON = "'doteval stop' was run"
_ANSWER_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_PAUSES = 30
"""A supervisor does not let go of a server in the half second between two leases; this is longer than that."""


def run(options: argparse.Namespace) -> int:
    """Stop what was named; the exit code is 1 where one of them still runs."""
    if bool(options.names) == options.all:
        raise Problem("say which servers to stop, or --all; 'doteval servers' lists them", code=2)
    return anyio.run(_stop, Runtime(), options.names, options.force)


async def _stop(runtime: Runtime, names: Sequence[str], force: bool) -> int:
    servers = await look(runtime)
    ids = _chosen(servers, names) if names else servers.ids
    if not ids:
        print("no server is running")
    codes: list[bool] = []

    async def stop(server_id: str) -> None:
        codes.append(await _stop_one(runtime, server_id, servers, force))

    async with anyio.create_task_group() as task_group:
        for server_id in ids:
            task_group.start_soon(stop, server_id)
    return 0 if all(codes) else 1


def _chosen(servers: Servers, names: Sequence[str]) -> list[str]:
    """The ids that are meant, each once."""
    found: dict[str, None] = {}
    for name in names:
        meant = [
            server_id for server_id in servers.ids if server_id == name or _is_model(servers, server_id, name)
        ] or [server_id for server_id in servers.ids if server_id.startswith(name)]
        if not meant:
            known = ", ".join(servers.ids) or "none"
            raise Problem(f"no server {name!r} is running; there are: {known}")
        if len(meant) > 1 and not any(_is_model(servers, server_id, name) for server_id in meant):
            raise Problem(f"{name!r} may be any of {', '.join(meant)}: write more of the id")
        found.update(dict.fromkeys(meant))
    return list(found)


def _is_model(servers: Servers, server_id: str, name: str) -> bool:
    status = servers.known.get(server_id)
    return status is not None and name in (status["spec"], f"{status['kind']}:{status['spec']}")


async def _stop_one(runtime: Runtime, server_id: str, servers: Servers, force: bool) -> bool:
    status = servers.known.get(server_id)
    called = server_id if status is None else f"{server_id} ({status['spec']})"
    if server_id in servers.abandoned:
        return _bury(runtime, server_id)
    began = anyio.current_time()
    for _ in range(_PAUSES):
        socket = runtime.connect(server_id)
        if socket is None:
            break
        connection = Connection(socket)
        async with connection.running():
            try:
                with anyio.fail_after(_ANSWER_SECONDS):
                    answer = await connection.ask("stop" if force else "end", reason=_REASON)
                    is_ending = bool(answer.get("ending"))
                    leases = 0 if is_ending else (await connection.ask("status"))["status"].get("leases", 0)
            except TimeoutError:
                if force and connection.supervisor is not None:
                    return await _kill(runtime, server_id, called, connection)
                return _still_runs(
                    f"{called} does not answer: its supervisor is stopped, or very busy; --force ends it all the same"
                )
            except SupervisorGoneError:
                break
            if is_ending:
                await connection.is_over.wait()
                break
            if leases:
                many = "1 lease" if leases == 1 else f"{leases} leases"
                return _still_runs(f"{called} is in use ({many}); --force stops it all the same")
        await anyio.sleep(_PAUSE_SECONDS)
    else:
        return _still_runs(f"{called} is in use; --force stops it all the same")
    print(f"stopped {called} in {anyio.current_time() - began:.1f} s")
    return True


async def _kill(runtime: Runtime, server_id: str, called: str, connection: Connection) -> bool:
    """End a server whose supervisor does not answer: it is killed, and the keeper around it sees to the rest."""
    assert connection.supervisor is not None
    os.kill(connection.supervisor, signal.SIGKILL)
    await connection.is_over.wait()
    for _ in range(_PAUSES):
        if server_id not in runtime.server_ids():
            break
        await anyio.sleep(_PAUSE_SECONDS)
    else:
        with runtime.locked() as lock:  # the keeper is stopped as well
            if lock is None:
                return _still_runs(f"{server_id} cannot be removed while another server is being started; try again")
            runtime.bury_dead()
    print(f"killed {called}, whose supervisor did not answer")
    return True


def _bury(runtime: Runtime, server_id: str) -> bool:
    with runtime.locked() as lock:
        if lock is None:
            return _still_runs(f"{server_id} cannot be removed while another server is being started; try again")
        runtime.bury_dead()
    print(f"removed what was left of {server_id}, whose supervisor was killed")
    return True


def _still_runs(problem: str) -> bool:
    print(f"doteval: {problem}", file=sys.stderr)
    return False

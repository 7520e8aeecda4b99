"""``doteval stop``: ends servers, and waits until nothing of them is left."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import anyio

from .._printed import say
from ..servers._local.connection import Connection, SupervisorGoneError
from ..servers._local.runtime import Runtime, keeper_of, signal_supervisor
from ..servers._supervisor.messages import Ask
from ._json import print_json
from ._look import Servers, look
from ._problem import Problem

_REASON = "'doteval stop' was run"
_ANSWER_SECONDS = 5.0
_KILL_SECONDS = 10.0
_PAUSE_SECONDS = 0.1
_PAUSES = 30
"""A supervisor does not let go of a server in the half second between two leases; this is longer than that."""


def run(options: argparse.Namespace) -> int:
    """Stop what was named; the exit code is 1 where one of them still runs."""
    if bool(options.names) == options.all:
        raise Problem("say which servers to stop, or --all; 'doteval servers' lists them", code=2)
    endings: list[_Ending] = []

    def tell(ending: _Ending) -> None:
        endings.append(ending)
        if not ending.stopped:
            say(f"doteval: {ending.message}", file=sys.stderr)
        elif not options.json:
            say(ending.message)

    anyio.run(_stop, Runtime(), options.names, options.force, tell)
    if options.json:
        print_json(asdict(ending) for ending in sorted(endings, key=lambda ending: ending.id))
    elif not endings:
        say("no server is running")
    return 0 if all(ending.stopped for ending in endings) else 1


@dataclass(frozen=True)
class _Ending:
    """What became of one server."""

    id: str
    spec: str | None
    stopped: bool
    message: str


async def _stop(runtime: Runtime, names: Sequence[str], force: bool, tell: Callable[[_Ending], None]) -> None:
    servers = await look(runtime)
    ids = _chosen(servers, names) if names else servers.ids

    async def stop(server_id: str) -> None:
        tell(await _stop_one(runtime, server_id, servers, force))

    async with anyio.create_task_group() as task_group:
        for server_id in ids:
            task_group.start_soon(stop, server_id)


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


async def _stop_one(runtime: Runtime, server_id: str, servers: Servers, force: bool) -> _Ending:
    status = servers.known.get(server_id)
    spec: str | None = None if status is None else status["spec"]
    called = server_id if spec is None else f"{server_id} ({spec})"
    began = anyio.current_time()
    try:
        if server_id in servers.abandoned:
            _bury(runtime, server_id)
            done = f"removed what was left of {server_id}, whose supervisor was killed"
        elif await _end(runtime, server_id, called, force):
            done = f"killed {called}, whose supervisor did not answer"
        else:
            done = f"stopped {called} in {anyio.current_time() - began:.1f} s"
    except _StillRunsError as exc:
        return _Ending(server_id, spec, stopped=False, message=str(exc))
    return _Ending(server_id, spec, stopped=True, message=done)


def _forced() -> str:
    """Why a server ends that others use, for those: when that was said, and on which terminal."""
    terminal = ""
    with suppress(OSError, ValueError):  # there is none
        terminal = f" on {os.ttyname(sys.stdin.fileno())}"
    return f"'doteval stop --force' was run at {time.strftime('%H:%M:%S')}{terminal}"


class _StillRunsError(Exception):
    """It could not be stopped; the text says why."""


async def _end(runtime: Runtime, server_id: str, called: str, force: bool) -> bool:
    """End a server, and wait for it; whether it had to be killed."""
    for _ in range(_PAUSES):
        socket = runtime.connect(server_id)
        if socket is None:
            return False
        connection = Connection(socket)
        async with connection.running():
            try:
                is_ending, leases = await _ask(connection, force)
            except TimeoutError:
                supervisor = _silent_supervisor(connection, server_id, called, force)
                for each in (keeper_of(supervisor), supervisor):
                    signal_supervisor(each, server_id, signal.SIGCONT)  # as somebody may have stopped it
                try:
                    is_ending, leases = await _ask(connection, force)
                except TimeoutError:
                    await _kill(runtime, server_id, called, supervisor, connection)
                    return True
                except SupervisorGoneError:
                    return False
            except SupervisorGoneError:
                return False
            if is_ending:
                await connection.is_over.wait()
                return False
            if leases:
                many = "1 lease" if leases == 1 else f"{leases} leases"
                raise _StillRunsError(f"{called} is in use ({many}); --force stops it all the same")
        await anyio.sleep(_PAUSE_SECONDS)
    raise _StillRunsError(f"{called} is in use; --force stops it all the same")


async def _ask(connection: Connection, force: bool) -> tuple[bool, int]:
    """Ask it to end; whether it does, and how many lease it where it does not.

    Raises:
        SupervisorGoneError: It has ended.
        TimeoutError: It does not answer.
    """
    with anyio.fail_after(_ANSWER_SECONDS):
        answer = await connection.ask(Ask.stop(_forced()) if force else Ask.end(_REASON))
        if not answer.get("ending"):
            answer = await connection.ask(Ask.end_sleeping(_REASON))
        if answer.get("ending"):
            return True, 0
        return False, (await connection.ask(Ask.status()))["status"].get("leases", 0)


def _silent_supervisor(connection: Connection, server_id: str, called: str, force: bool) -> int:
    """The supervisor that does not answer, where it may be ended all the same and nobody else is taken for it."""
    if not force:
        problem = "does not answer: its supervisor is stopped, or very busy; --force ends it all the same"
    elif (supervisor := connection.supervisor) is None:
        problem = "does not answer, and its supervisor cannot be seen from here; stop it in its container"
    elif not signal_supervisor(supervisor, server_id, 0):
        problem = f"does not answer, and process {supervisor} is not its supervisor, or not ours"
    else:
        return supervisor
    raise _StillRunsError(f"{called} {problem}")


async def _kill(runtime: Runtime, server_id: str, called: str, supervisor: int, connection: Connection) -> None:
    """End a server whose supervisor does not answer: it is killed, and the keeper around it sees to the rest."""
    if not signal_supervisor(supervisor, server_id, signal.SIGKILL):
        raise _StillRunsError(f"{called} does not answer, and process {supervisor} cannot be killed")
    with anyio.move_on_after(_KILL_SECONDS):
        await connection.is_over.wait()
    if not connection.is_over.is_set():
        raise _StillRunsError(f"{called} was killed (process {supervisor}), but has not ended")
    for _ in range(_PAUSES):
        if server_id not in runtime.server_ids():
            return
        await anyio.sleep(_PAUSE_SECONDS)
    _bury(runtime, server_id)  # the keeper is stopped as well


def _bury(runtime: Runtime, server_id: str) -> None:
    with runtime.locked() as lock:
        if lock is None:
            raise _StillRunsError(f"{server_id} cannot be removed while another server is being started; try again")
        runtime.bury_dead()

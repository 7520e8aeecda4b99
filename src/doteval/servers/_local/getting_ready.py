"""Waits until a server is ready, or until it is known that it will not be.

Four things race: the server's own sign of being ready, somebody else who has seen that sign, the server's end, and two
limits of time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from anyio import create_task_group, current_time, sleep, sleep_until

from ..._errors import ServerStartError
from ..._secrets import mask_exception
from .._contract import Terms
from .._description.command import ServerCommand
from .._description.failure import ServerFailure, advice, cause_of, report
from .._description.readiness import ReadinessView
from .connection import Connection, SupervisorGoneError


async def get_ready(connection: Connection, command: ServerCommand, terms: Terms, view: ReadinessView) -> None:
    """Return when the server is ready.

    Args:
        connection: A lease on it; its `running` is entered.
        command: What runs it.
        terms: How long it may take.
        view: Where it is.

    Raises:
        ServerStartError: It is not going to be ready, and has been told to end.
    """
    started = current_time()
    limits: dict[str, Any] = {}
    problem: Exception | None = None

    async def first(wait: Callable[[], Awaitable[object]]) -> None:
        nonlocal problem
        try:
            await wait()
        except Exception as exc:  # of the user's own condition
            problem = problem or exc
        race.cancel_scope.cancel()

    async def is_ready() -> None:
        await terms.ready.wait(view)
        connection.is_ready.set()
        connection.send("ready")

    async def takes_too_long() -> None:
        await sleep_until(started + terms.start_timeout)
        limits["timeout"] = terms.start_timeout

    async def is_silent() -> None:
        assert terms.stall_timeout is not None
        seen, since = connection.output_bytes, current_time()
        while (left := since + terms.stall_timeout - current_time()) > 0:
            await sleep(left)
            if connection.output_bytes != seen:
                seen, since = connection.output_bytes, connection.last_output
        limits["stall"] = terms.stall_timeout

    if not connection.is_ready.is_set():
        async with create_task_group() as race:
            race.start_soon(first, connection.is_ready.wait)
            race.start_soon(first, connection.has_exited.wait)
            race.start_soon(first, is_ready)
            race.start_soon(first, takes_too_long)
            if terms.stall_timeout is not None:
                race.start_soon(first, is_silent)
    if connection.exit is None and connection.is_ready.is_set():
        return
    facts = await _given_up(connection) if connection.exit is None else {}
    secrets = {view.api_key or "", *command.secret_environment.values()}
    if problem is not None:
        mask_exception(problem, secrets - {""})
        facts["condition_error"] = f"{type(problem).__name__}: {problem}"
    if limits:
        facts["awaited"] = terms.ready.awaited(view)
    failure = ServerFailure(
        **failure_facts(command, connection) | limits | facts, lasted=current_time() - started, secrets=secrets
    )
    cause = cause_of(failure)
    raise ServerStartError(
        command.spec,
        report(failure),
        advice(failure),
        cause=cause.name if cause is not None else "",
        exit_code=connection.exit.code if connection.exit is not None else None,
        log=None if failure.log is None else str(failure.log),
    ) from problem


async def _given_up(connection: Connection) -> dict[str, Any]:
    """Tell the server to end; returns its last words."""
    try:
        answer = await connection.ask("stop", reason="it did not get ready", failed=True)
    except SupervisorGoneError:
        return {}
    return {"tail": answer["tail"], "log": answer["log"]}


def failure_facts(command: ServerCommand, connection: Connection) -> dict[str, Any]:
    """What is known of a server that failed or ended."""
    facts: dict[str, Any] = {
        "server": name_of(command),
        "command": connection.server.get("shown", ""),
        "pid": connection.pid,
        "log": connection.server.get("log"),
        "install_hint": command.install_hint,
    }
    how = connection.exit
    if how is not None:
        code = how.code
        facts |= {"tail": how.tail, "log": how.log, "killed_by_us": how.expected, "reason": how.reason}
        facts |= {"signal": -code} if code is not None and code < 0 else {"code": code}
    return facts


def name_of(command: ServerCommand) -> str:
    """What people call the server, such as ``"vllm server of 'llama'"``."""
    return f"{'' if command.kind == 'server' else f'{command.kind} '}server of '{command.spec}'"

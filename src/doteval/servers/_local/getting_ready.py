"""Waits until a server is ready, or until it is known that it will not be.

Four things race: the server's own sign of being ready, somebody else who has seen the same sign, the server's end, and
two limits of time. Others may wait for another sign, or for longer: who gives up leaves, and decides for nobody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from anyio import create_task_group, current_time, sleep, sleep_forever, sleep_until

from ..._printed import text_of
from ..._secrets import mask_exception
from ..._server_errors import ServerStartError
from .._contract import Terms
from .._description.command import ServerCommand
from .._description.failure import ServerFailure, advice, cause_of, report
from .._description.readiness import ReadinessView
from .._supervisor.messages import Ask, Message
from .connection import Connection, SupervisorGoneError
from .log_search import searched

GIVE_UP_SECONDS = 5.0
"""How long is waited for the last words of a server that did not get ready, in seconds."""


async def get_ready(connection: Connection, command: ServerCommand, terms: Terms, view: ReadinessView) -> None:
    """Return when the server is ready.

    Args:
        connection: A lease on it; its `running` is entered.
        command: What runs it.
        terms: How long it may take.
        view: Where it is.

    Raises:
        ServerStartError: It is not going to be ready, or not in time; it ends unless others use it.
    """
    started = current_time()
    condition = hashlib.sha256(repr(terms.ready).encode()).hexdigest()[:16]
    limits: dict[str, Any] = {}
    problem: Exception | None = None

    async def first(wait: Callable[[], Awaitable[object]]) -> None:
        nonlocal problem
        try:
            await wait()
        except Exception as exc:  # of the user's own condition
            problem = exc if problem is None else problem
        race.cancel_scope.cancel()

    async def is_ready() -> None:
        await terms.ready.wait(view)
        connection.met.add(condition)
        connection.send(Ask.ready(condition))

    async def takes_too_long() -> None:
        await sleep_until(started + terms.start_timeout)
        limits["timeout"] = terms.start_timeout

    async def is_silent() -> None:
        assert terms.stall_timeout is not None
        seen, since = connection.output_bytes, current_time()
        while (left := since + terms.stall_timeout - current_time()) > 0:
            await sleep(left)
            if connection.met:  # by what others take for ready; nobody is told of output any more
                await sleep_forever()
            if connection.output_bytes != seen:
                seen, since = connection.output_bytes, connection.last_output
        limits["stall"] = terms.stall_timeout

    async def others_see_it() -> None:
        await connection.until_met(condition)

    if connection.is_silent:
        limits["timeout"] = terms.start_timeout
    elif condition not in connection.met:
        async with create_task_group() as race:
            race.start_soon(first, others_see_it)
            race.start_soon(first, connection.has_exited.wait)
            race.start_soon(first, is_ready)
            race.start_soon(first, takes_too_long)
            if terms.stall_timeout is not None:
                race.start_soon(first, is_silent)
    if connection.exit is None and condition in connection.met and not connection.is_silent:
        return
    facts = await _given_up(connection) if connection.exit is None and not connection.is_silent else {}
    if connection.is_silent:
        process = connection.server.get("supervisor")  # not told yet where it has not answered at all
        facts["silent"] = str(connection.server["id"]) + (f", process {process}" if process else "")
    secrets = {view.api_key or "", *command.secret_environment.values()}
    if problem is not None:
        mask_exception(problem, secrets - {""})
        facts["condition_error"] = f"{type(problem).__name__}: {text_of(problem)}"
    if limits:
        facts["awaited"] = terms.ready.awaited(view)
    facts = failure_facts(command, connection) | limits | facts
    lasted = current_time() - started
    found = None if facts["log"] is None else await searched(facts["log"], command.causes)
    failure = ServerFailure(**facts, found=found, lasted=lasted, secrets=secrets)
    cause = cause_of(failure)
    raise ServerStartError(
        command.spec,
        report(failure),
        advice(failure),
        cause=cause.name if cause is not None else "",
        exit_code=connection.exit.code if connection.exit is not None else None,
        log=None if failure.log is None else str(failure.log),
        stopped=failure.stopped,
    ) from problem


async def _given_up(connection: Connection) -> dict[str, Any]:
    """Leave; the server ends where nobody else uses it. Returns its last words, if they come in time."""
    answer: Message | None = None
    with suppress(SupervisorGoneError), connection.patient(GIVE_UP_SECONDS):
        answer = await connection.ask(Ask.give_up("it did not get ready"))
    if answer is None:
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
        "causes": command.causes,
    }
    how = connection.exit
    if how is not None:
        code = how.code
        facts |= {"tail": how.tail, "log": how.log, "killed_by_us": how.expected, "reason": how.reason}
        facts["stopped"] = how.stopped
        facts |= {"signal": -code} if code is not None and code < 0 else {"code": code}
    return facts


def name_of(command: ServerCommand) -> str:
    """What people call the server, such as ``"vllm server of 'llama'"``."""
    kind = command.kind if command.kind.endswith("server") else f"{command.kind} server"
    return f"{kind} of '{command.spec}'"

"""``doteval serve``: starts a server, says how to use it, and keeps it until it is told to stop."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio import CancelScope, create_task_group, open_signal_receiver

from .._errors import DotevalError
from .._printed import say
from ..servers._contract import Server
from ..servers._local.connection import status_of
from ..servers._local.launcher import LocalLauncher
from ._endpoint.asked import ENDPOINT_ONLY, is_meant
from ._json import print_json
from ._look import Status
from ._problem import Problem
from ._served import make_provider, settings_of

if TYPE_CHECKING:  # they need an SDK, and what cannot be meant is told without
    from ..providers._served.model import ServerModel
    from ..providers._served.provider import ServerProviderBase

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_NOTICE_SECONDS = 2.0
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    if not options.keep_alive >= 0:
        raise Problem(f"--keep-alive is a number of seconds, 0 or more, not {options.keep_alive:g}", code=2)
    if is_meant(options):
        from ._endpoint.run import run as run_endpoint  # noqa: PLC0415

        return run_endpoint(options)
    for name, default in ENDPOINT_ONLY.items():
        if getattr(options, name) != default:
            raise Problem(_only_with_names(name, options), code=2)
    (options.spec,) = options.specs
    given = settings_of(options.settings)
    launcher = LocalLauncher(share=given.pop("share", "user"))
    settings: dict[str, Any] = {
        "launcher": launcher,
        "server_keep_alive": options.keep_alive,
        **({"port": options.port} if options.port is not None else {}),
    }
    provider, spec, config = make_provider(options, settings, given)
    show_key = options.show_key or (sys.stdout.isatty() and not options.json)
    return anyio.run(serve, provider, launcher, spec, show_key, options.json, config)


def _only_with_names(option: str, options: argparse.Namespace) -> str:
    """Why an option is of no use with one server, and what to do."""
    told = f"--{option} is for one address of models that are started when a request asks for them"
    if options.server_command is not None:
        return f"{told}, and the server of --command starts at once: leave it out"
    spec = options.specs[0]
    return f"{told}; {spec!r} without a name starts at once: leave it out, or write NAME={spec}"


# -------------------------------------------------------------------- from start to end


async def serve(
    provider: ServerProviderBase,
    launcher: LocalLauncher,
    spec: str,
    show_key: bool,
    as_json: bool = False,
    config: Mapping[str, Any] = _NOTHING,
) -> int:
    """Keep the server until a signal comes; returns the exit code.

    Args:
        provider: Not entered.
        launcher: What starts its servers; says from now on what it does, as a start can take minutes.
        spec: What to ask of it.
        show_key: Whether to print the API key.
        as_json: Whether how to use it is printed for programs.
        config: The configuration that it is asked for with.
    """
    server: Server | None = None
    problem: Exception | None = None
    code = 0
    is_waiting = True  # as long as there is no server, not even one that is starting
    numbers = [number for name in _SIGNALS if _is_ours(number := signal.Signals[name])]
    scope = CancelScope()

    async def listen() -> None:
        nonlocal code
        async for number in signals:
            if scope.cancel_called:  # the supervisor ends the server, whether it is waited for or not
                os._exit(128 + number)
            code = 0 if server is not None else 128 + number
            _tell("stopping" if server is not None else "calling the start off")
            scope.cancel()

    def connected(server_id: str, log: Path, was_started: bool) -> None:
        nonlocal is_waiting
        is_waiting = False
        _tell(f"{'starting' if was_started else 'joining'} {server_id}; its output is in {log}")

    async def notice() -> None:
        await anyio.sleep(_NOTICE_SECONDS)
        if is_waiting:
            _tell("waiting for a free slot; 'doteval servers' shows who has it")

    launcher.on_connected = connected
    with open_signal_receiver(*numbers) as signals:
        async with create_task_group() as task_group:
            task_group.start_soon(listen)
            task_group.start_soon(notice)
            try:
                with scope:
                    async with provider:
                        handle = await provider.setup(spec, **config)
                        model = handle.model
                        server = model.server
                        if as_json:
                            print_json([_for_programs(model, show_key)])
                        else:
                            say(_how_to_use(model, show_key))
                        sys.stdout.flush()
                        await model.lease.ended()
                        problem = model.lease.lost
            except (DotevalError, ExceptionGroup) as exc:
                problem = exc
            task_group.cancel_scope.cancel()
    if problem is not None:
        raise Problem(_told(problem))
    if server is not None:
        connection = launcher.runtime.connect(server.id)
        status = None if connection is None else await status_of(connection, server.id)
        _tell(_what_became_of(server.id, status))
    return code


def _what_became_of(server_id: str, status: Status | None) -> str:
    if status is None:
        return f"stopped {server_id}"
    if status["leases"] or status["holds"]:
        return f"{server_id} goes on, as others use it ({status['leases']} leases, {status['holds']} holds)"
    seconds = status["keep_alive"]
    for_how_long = "until it is stopped" if math.isinf(seconds) else f"for {seconds:g} s"
    return f"{server_id} goes on {for_how_long}; 'doteval stop {server_id}' ends it"


def _is_ours(number: signal.Signals) -> bool:
    """What was ignored when this began (by nohup, say) is ignored still."""
    return signal.getsignal(number) is not signal.SIG_IGN


def _told(problem: Exception) -> str:
    if isinstance(problem, ExceptionGroup):
        return "\n".join(map(str, cast("ExceptionGroup[Exception]", problem).exceptions))
    return str(problem)


def _how_to_use(model: ServerModel, show_key: bool) -> str:
    """What stands on the terminal while the server runs."""
    from ..providers._sdk.openai import NO_KEY  # noqa: PLC0415

    server = model.server
    key = server.api_key or NO_KEY
    hidden = server.api_key is not None and not show_key
    lines = [
        f"{server.id} is ready, process {server.pid}",
        "",
        f"  URL    {model.base_url}",
        f"  model  {model.name}",
        f"  log    {server.log}",
        "",
        "The SDK of OpenAI finds it with",
        "",
        f"  export OPENAI_BASE_URL={shlex.quote(model.base_url)}",
        "  export OPENAI_API_KEY=..." if hidden else f"  export OPENAI_API_KEY={shlex.quote(key)}",
        "",
        "The key is shown on a terminal, or with --show-key. Ctrl-C stops the server."
        if hidden
        else "Ctrl-C stops the server.",
    ]
    return "\n".join(lines)


def _for_programs(model: ServerModel, show_key: bool) -> dict[str, Any]:
    from ..providers._sdk.openai import NO_KEY  # noqa: PLC0415

    server = model.server
    return {
        "id": server.id,
        "pid": server.pid,
        "url": model.base_url,
        "model": model.name,
        "api_key": (server.api_key or NO_KEY) if show_key else None,
        "log": None if server.log is None else str(server.log),
    }


def _tell(text: str) -> None:
    """Say something that is not the result."""
    say(text, file=sys.stderr)

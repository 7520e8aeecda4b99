"""``doteval serve``: starts a server, says how to use it, and keeps it until it is told to stop."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import anyio
from anyio import CancelScope, create_task_group, open_signal_receiver

from .._errors import DotevalError
from .._keywords import names_taken
from .._printed import say
from .._registry.registration import is_fixture, registrations
from .._registry.source import Factory
from .._spec import ModelSpec
from ..providers._sdk.openai import NO_KEY
from ..providers._served.installed import InstalledServer
from ..providers._served.model import ServerModel
from ..providers._served.provider import ServerProviderBase
from ..providers._served.template import placeholders
from ..providers.server import ServerProvider
from ..servers._contract import Server
from ..servers._description.readiness import HTTPReady, PortOpen, Readiness
from ..servers._local.connection import status_of
from ..servers._local.launcher import LocalLauncher
from ._json import print_json
from ._look import Status
from ._problem import Problem

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_NOTICE_SECONDS = 2.0
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_DECIDED = {
    "port": "write --port",
    "server_keep_alive": "write --keep-alive",
    "launcher": "the servers are of this machine",
    "command": "write --command",
    "ready": "write --ready",
    "extra_args": "write them after '--'",
}
"""What has an option of its own."""


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    if not options.keep_alive >= 0:
        raise Problem(f"--keep-alive is a number of seconds, 0 or more, not {options.keep_alive:g}", code=2)
    given = _settings(options.settings)
    launcher = LocalLauncher(share=given.pop("share", "user"))
    settings: dict[str, Any] = {
        "launcher": launcher,
        "server_keep_alive": options.keep_alive,
        **({"port": options.port} if options.port is not None else {}),
    }
    provider, spec, config = make_provider(options, settings, given)
    show_key = options.show_key or (sys.stdout.isatty() and not options.json)
    return anyio.run(serve, provider, launcher, spec, show_key, options.json, config)


# -------------------------------------------------------------------- which provider


def make_provider(
    options: argparse.Namespace, settings: dict[str, Any], given: Mapping[str, str]
) -> tuple[ServerProviderBase, str, dict[str, Any]]:
    """The provider that the arguments ask for, and what to ask of it.

    Args:
        options: The arguments.
        settings: The provider's keyword arguments that are known already.
        given: Those of ``--setting``.

    Returns:
        The provider, the spec, and the configuration that `setup` is to get.

    Raises:
        Problem: They cannot be meant.
        DotevalError: The spec or the provider is at fault.
    """
    if options.server_command is not None:
        return _with_command(options, settings, given)
    if options.ready is not None:
        raise Problem("--ready says when the server of --command is ready; the registered ones know", code=2)
    known = registrations()
    parsed = ModelSpec.parse(options.spec, known)
    if parsed.provider is None:
        names = ", ".join(known)
        raise Problem(
            f"{options.spec!r} does not say what is to serve it: put a provider's name in front, such as "
            f"'vllm:{options.spec}', or give the command with --command. The providers are: {names}",
            code=2,
        )
    factory = known[parsed.provider].load()
    if is_fixture(factory) or not callable(factory):
        raise Problem(f"the provider {parsed.provider!r} exists inside pytest only", code=2)
    if isinstance(factory, type) and not issubclass(factory, ServerProviderBase):
        raise Problem(f"the provider {parsed.provider!r} starts no servers", code=2)
    taken = names_taken(cast(Factory, factory))
    if unknown := given.keys() - taken:
        raise Problem(
            f"the provider {parsed.provider!r} takes no {', '.join(sorted(unknown))}; --setting takes "
            f"{', '.join(sorted(taken - _DECIDED.keys()))}",
            code=2,
        )
    settings |= {**_read(factory, given), **_after_dashes(factory, options.arguments)}
    for setting, argument in (("port", "--port"), ("extra_args", "arguments after '--'")):
        if setting in settings and setting not in taken:
            raise Problem(f"the provider {parsed.provider!r} takes no {argument}", code=2)
    provider = _made(factory, {name: value for name, value in settings.items() if name in taken})
    if not isinstance(provider, ServerProviderBase):
        raise Problem(f"the provider {parsed.provider!r} starts no servers", code=2)
    return provider, parsed.model, {}


def _settings(words: Sequence[str]) -> dict[str, str]:
    """What ``--setting`` says, by its names."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise Problem(f"--setting is KEY=VALUE, not {word!r}", code=2)
        if name in _DECIDED:
            raise Problem(f"--setting cannot be {name}: {_DECIDED[name]}", code=2)
        found[name] = value
    return found


def _read(factory: object, given: Mapping[str, str]) -> dict[str, Any]:
    """The values of keyword arguments: what an option of the server can be, else JSON, else the text."""
    server = getattr(factory, "server", None)
    options = server.options if isinstance(server, InstalledServer) else None
    found: dict[str, Any] = {}
    for name, text in given.items():
        try:
            found[name] = options.value(name, text) if options and name in options.names else _json_or_text(text)
        except ValueError as exc:
            raise Problem(f"--setting {exc}", code=2) from exc
    return found


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _with_command(
    options: argparse.Namespace, settings: dict[str, Any], given: Mapping[str, str]
) -> tuple[ServerProviderBase, str, dict[str, Any]]:
    if options.arguments:
        raise Problem("with --command, what stands after '--' belongs into the command", code=2)
    try:
        words = shlex.split(options.server_command)
    except ValueError as exc:
        raise Problem(f"--command cannot be read: {exc}", code=2) from exc
    ready: Readiness
    if options.ready == "port":
        ready = PortOpen()
    else:
        ready = HTTPReady(options.ready or "/health")
        if not ready.path.startswith("/"):
            raise Problem(f"--ready is a path such as /health, or 'port', not {ready.path!r}", code=2)
    if not any("{port}" in word for word in words):
        raise Problem("--command has to say where the server listens: write {port} where the port belongs", code=2)
    config = {name: given[name] for name in placeholders(words) & given.keys()}
    settings |= _read(ServerProvider, {name: value for name, value in given.items() if name not in config})
    provider: ServerProviderBase = _made(ServerProvider, {**settings, "command": words, "ready": ready})
    return provider, options.spec, config


def _after_dashes(factory: object, words: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments for what stands after ``--``, for each option its own where the provider has one."""
    server = getattr(factory, "server", None)
    try:
        known, others = server.options.read(words) if isinstance(server, InstalledServer) else ({}, words)
    except ValueError as exc:
        raise Problem(str(exc), code=2) from exc
    return {**known, **({"extra_args": others} if others else {})}


def _made(factory: Callable[..., Any], settings: dict[str, Any]) -> Any:
    try:
        return factory(**settings)
    except (TypeError, ValueError) as exc:
        if isinstance(exc, DotevalError):
            raise
        raise Problem(str(exc), code=2) from exc


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

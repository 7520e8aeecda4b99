"""``doteval serve`` with several models: one address for all of them, until it is told to stop."""

from __future__ import annotations

import argparse
import ipaddress
import os
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
from anyio import Event, create_task_group, open_signal_receiver

from ..._errors import DotevalError
from ..._printed import say
from ..._registry.providers import ModelProviders
from ...providers._sdk.openai import NO_KEY
from ...providers._served.provider import ServerProviderBase
from ...servers._local.launcher import LocalLauncher
from .._json import print_json
from .._problem import Problem
from .._served import make_provider, settings_of
from .app import Served, endpoint
from .asked import ALIAS

KEY_VARIABLE = "DOTEVAL_API_KEY"
"""The environment variable that has the key which clients have to show."""

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_PORT = 8000
_FINISH_SECONDS = 2.0
"""How long connections may take to end when it all ends."""
_REMEMBER_SECONDS = 30.0
"""For how long a start that has failed is not tried again: clients send again what has failed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be served, and where.

    Args:
        models: The models, by the names that requests use; their providers are not entered.
        launcher: What starts their servers; says from now on what it does.
        listener: Where it listens.
        api_key: What clients have to show; `None`: nothing.
    """

    models: Mapping[str, Served]
    launcher: LocalLauncher
    listener: socket.socket
    api_key: str | None

    @property
    def url(self) -> str:
        """What clients take for their base URL; where it listens everywhere, this machine is one of the places."""
        address: tuple[str, int] = self.listener.getsockname()[:2]
        host, port = address
        if ipaddress.ip_address(host).is_unspecified:
            host = "::1" if ":" in host else "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    plan = planned(options)
    show_key = options.show_key or (sys.stdout.isatty() and not options.json)
    told = _for_programs(plan, show_key) if options.json else _how_to_use(plan, show_key)

    def ready() -> None:
        print_json([told]) if isinstance(told, dict) else say(told)
        sys.stdout.flush()

    return anyio.run(serve, plan, "asyncio", ready)


def planned(options: argparse.Namespace) -> Plan:
    """What the arguments ask for; it listens already, so that nobody else takes the port.

    Raises:
        Problem: They cannot be meant.
        DotevalError: A spec or a provider is at fault.
    """
    if options.server_command is not None or options.ready is not None:
        raise Problem("--command and --ready are for one model; register a provider for a command of your own", code=2)
    if options.arguments:
        raise Problem("what stands after '--' is for one server: write --setting NAME.extra_args='[...]'", code=2)
    if not options.wait > 0:
        raise Problem(f"--wait is a number of seconds, more than 0, not {options.wait:g}", code=2)
    specs = _named(options.specs)
    for_all, for_one = _settings(options.settings, specs)
    launcher = LocalLauncher(share=for_all.pop("share", "user"))
    models: dict[str, Served] = {}
    for name, spec in specs.items():
        settings: dict[str, Any] = {
            "launcher": launcher,
            "server_keep_alive": options.keep_alive,
            "setup_timeout": options.wait,
            "remember_failures": _REMEMBER_SECONDS,
        }
        given = {**for_all, **for_one[name]}
        one = argparse.Namespace(server_command=None, ready=None, spec=spec, name=name, arguments=[])
        provider, model, config = make_provider(one, settings, given)
        models[name] = Served(name, provider, model, config)
    if find_spec("hypercorn") is None:
        raise Problem("one address for several models needs the package hypercorn: pip install 'hypercorn>=0.18'")
    key = os.environ.get(KEY_VARIABLE) or (None if _is_loopback(options.host) else secrets.token_urlsafe(32))
    return Plan(models, launcher, _listening(options.host, _PORT if options.port is None else options.port), key)


def _named(texts: Sequence[str]) -> dict[str, str]:
    """The specs by the names that requests use: those before ``=``, else what stands behind the provider's name."""
    found: dict[str, str] = {}
    for text in texts:
        match = ALIAS.fullmatch(text)
        name, spec = (match[1], match[2]) if match is not None else (text.partition(":")[2] or text, text)
        if name in found:
            raise Problem(f"two models are called {name!r}: give one of them another name, as in other={spec}", code=2)
        found[name] = spec
    return found


def _settings(words: Sequence[str], names: Mapping[str, str]) -> tuple[dict[str, str], Mapping[str, dict[str, str]]]:
    """What ``--setting`` says for all models, and for each: ``KEY=VALUE`` or ``NAME.KEY=VALUE``."""
    for_all: list[str] = []
    for_one: dict[str, list[str]] = {name: [] for name in names}
    for word in words:
        beginnings = [name for name in names if word.startswith(f"{name}.")]
        if beginnings:
            name = max(beginnings, key=len)
            for_one[name].append(word.removeprefix(f"{name}."))
        elif "." in word.partition("=")[0]:
            raise Problem(f"--setting is KEY=VALUE or NAME.KEY=VALUE, of {', '.join(names)}; not {word!r}", code=2)
        else:
            for_all.append(word)
    allowed = frozenset({"extra_args"})
    return settings_of(for_all), {name: settings_of(given, allowed) for name, given in for_one.items()}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    if not 0 <= port < 65536:
        raise Problem(f"--port must be between 1 and 65535, or 0 for a free one, not {port}", code=2)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as exc:
        why = exc.strerror or exc
        raise Problem(f"{host} port {port} cannot be listened on: {why}", code=2) from exc


# -------------------------------------------------------------------- from start to end


async def serve(plan: Plan, backend: str, ready: Callable[[], object]) -> int:
    """Answer requests until a signal comes; returns the exit code.

    Args:
        plan: What is served; its listener is closed at the end.
        backend: The event loop that this runs on: ``"asyncio"`` or ``"trio"``.
        ready: Called when requests are answered.
    """
    problem: Exception | None = None
    stopped = Event()
    numbers = [number for name in _SIGNALS if signal.getsignal(number := signal.Signals[name]) is not signal.SIG_IGN]
    plan.launcher.on_connected = _tell_start

    async def listen() -> None:
        async for number in signals:
            if stopped.is_set():  # supervisors end the servers, whether they are waited for or not
                os._exit(128 + number)
            _tell("stopping")
            stopped.set()

    with open_signal_receiver(*numbers) as signals:
        async with create_task_group() as task_group:
            task_group.start_soon(listen)
            try:
                await answer(plan, backend, ready, stopped)
            except (DotevalError, ExceptionGroup) as exc:
                problem = exc
            task_group.cancel_scope.cancel()
    if problem is not None:
        each = problem.exceptions if isinstance(problem, ExceptionGroup) else [problem]
        raise Problem("\n".join(map(str, each)))
    _tell("stopped")
    return 0


async def answer(plan: Plan, backend: str, ready: Callable[[], object], stopped: Event) -> None:
    """Answer requests until an event is set, and then end all servers that nobody else uses.

    Raises:
        ExceptionGroup: Something could not be closed.
    """
    by_key = {f"m{number}": served for number, served in enumerate(plan.models.values())}
    providers: dict[str, ServerProviderBase] = {key: served.provider for key, served in by_key.items()}
    with plan.listener as listener:
        async with ModelProviders(providers, discover=False) as entered:
            for key in providers:
                await entered.enter(key)
            async with endpoint(plan.models, api_key=plan.api_key) as app:
                async with create_task_group() as task_group:

                    async def listen() -> None:  # in a task of its own: in some Pythons it ends as if cancelled
                        await _hypercorn(backend)(app, _config(listener), shutdown_trigger=stopped.wait, mode="asgi")

                    task_group.start_soon(listen)
                    ready()
                    await stopped.wait()
                    app.stop()


def _hypercorn(backend: str) -> Callable[..., Awaitable[None]]:
    serve: Callable[..., Awaitable[None]] = import_module(f"hypercorn.{backend}").serve
    return serve


def _config(listener: socket.socket) -> Any:
    """It listens with a file descriptor of its own, which it closes."""
    config = import_module("hypercorn.config").Config()
    config.bind = [f"fd://{os.dup(listener.fileno())}"]
    config.errorlog = config.accesslog = None
    config.graceful_timeout = _FINISH_SECONDS
    config.include_server_header = False
    return config


# -------------------------------------------------------------------- what is said


def _tell_start(server_id: str, log: Path, was_started: bool) -> None:
    _tell(f"{'starting' if was_started else 'joining'} {server_id}; its output is in {log}")


def _tell(text: str) -> None:
    """Say something that is not the result."""
    say(text, file=sys.stderr)


def _how_to_use(plan: Plan, show_key: bool) -> str:
    """What stands on the terminal while it serves."""
    width = max(map(len, plan.models))
    hidden = plan.api_key is not None and not show_key
    lines = [
        f"{len(plan.models)} model{'s' * (len(plan.models) > 1)} at {plan.url}, each started when it is asked for:",
        "",
        *(f"  {name:{width}}  {served.spec}" for name, served in plan.models.items()),
        "",
        f"  export OPENAI_BASE_URL={shlex.quote(plan.url)}",
        f"  export OPENAI_API_KEY={'...' if hidden else shlex.quote(plan.api_key or NO_KEY)}",
        "",
        f"The key is shown on a terminal, or with --show-key; {KEY_VARIABLE} sets it. Ctrl-C stops all of it."
        if hidden
        else "Ctrl-C stops all of it.",
    ]
    return "\n".join(lines)


def _for_programs(plan: Plan, show_key: bool) -> dict[str, Any]:
    return {
        "url": plan.url,
        "models": list(plan.models),
        "api_key": (plan.api_key or NO_KEY) if show_key or plan.api_key is None else None,
    }

"""Which provider is to serve a model, and with which settings, as the arguments of ``doteval serve`` say."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from .._errors import DotevalError
from .._keywords import names_taken
from .._registry.registration import is_fixture, registrations
from .._registry.source import Factory
from .._spec import ModelSpec
from ..providers._served.launching import LaunchingProvider
from ..providers._served.template import placeholders
from ..servers._description.readiness import HTTPReady, PortOpen, Readiness
from ._json import run_by_others
from ._problem import Problem

if TYPE_CHECKING:  # it needs an SDK, and what cannot be meant is told without
    from ..providers._served.options import ServerOptions
    from ..providers._served.provider import ServerProviderBase

_DECIDED = {
    "port": "write --port",
    "server_keep_alive": "write --keep-alive",
    "launcher": "the servers are of this machine",
    "command": "write --command",
    "ready": "write --ready",
    "extra_args": "write them after '--'",
}
"""What has an option of its own."""


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
        raise Problem(_no_provider(options, known), code=2)
    with run_by_others():
        factory = known[parsed.provider].load()
    if is_fixture(factory) or not callable(factory):
        raise Problem(f"the provider {parsed.provider!r} exists inside pytest only", code=2)
    if isinstance(factory, type):
        _check_kind(parsed.provider, cast("type[object]", factory))
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
    _check_kind(parsed.provider, cast("type[object]", type(provider)))
    return provider, parsed.model, {}


def _check_kind(name: str, kind: type[object]) -> None:
    """Refuse a provider that leases no models of servers."""
    if not issubclass(kind, LaunchingProvider):
        raise Problem(f"the provider {name!r} starts no servers", code=2)
    if not kind._serves_models:
        raise Problem(
            f"the provider {name!r} starts servers that are none of chat models, so nobody could say how to use them: "
            "lease one in a program, with ModelProviders",
            code=2,
        )


def _no_provider(options: argparse.Namespace, known: Collection[str]) -> str:
    """That a spec names no provider, or nothing else, and how to write it."""
    spec, name = options.spec, getattr(options, "name", None)
    before = f"{name}=" if name is not None and name != spec else ""
    if spec in known:
        return f"{spec!r} names a provider and no model: write {before}{spec}:MODEL"
    alone = ", or give the command with --command" if name is None else ""
    names = ", ".join(known)
    return (
        f"{spec!r} does not say what is to serve it: put a provider's name in front, such as "
        f"'{before}vllm:{spec}'{alone}. The providers are: {names}"
    )


def settings_of(words: Sequence[str], allowed: Collection[str] = ()) -> dict[str, str]:
    """What ``--setting`` says, by its names.

    Args:
        words: Each ``KEY=VALUE``.
        allowed: What it may say although there is an option for that.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise Problem(f"--setting is KEY=VALUE, not {word!r}", code=2)
        if name in _DECIDED and name not in allowed:
            raise Problem(f"--setting cannot be {name}: {_DECIDED[name]}", code=2)
        found[name] = value
    return found


def _read(factory: object, given: Mapping[str, str]) -> dict[str, Any]:
    """The values of keyword arguments: what an option of the server can be, else JSON, else the text."""
    options = _options_of(factory)
    found: dict[str, Any] = {}
    for name, text in given.items():
        try:
            found[name] = options.value(name, text) if options and name in options.names else _json_or_text(text)
        except ValueError as exc:
            raise Problem(f"--setting {exc}", code=2) from exc
    return found


def _options_of(factory: object) -> ServerOptions | None:
    """The options of a server that is known."""
    server = getattr(factory, "server", None)
    if server is None:
        return None
    from ..providers._served.installed import InstalledServer  # noqa: PLC0415

    return server.options if isinstance(server, InstalledServer) else None


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
    from ..providers.server import ServerProvider  # noqa: PLC0415

    settings |= _read(ServerProvider, {name: value for name, value in given.items() if name not in config})
    provider: ServerProviderBase = _made(ServerProvider, {**settings, "command": words, "ready": ready})
    return provider, options.spec, config


def _after_dashes(factory: object, words: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments for what stands after ``--``, for each option its own where the provider has one."""
    options = _options_of(factory)
    try:
        known, others = ({}, words) if options is None else options.read(words)
    except ValueError as exc:
        raise Problem(str(exc), code=2) from exc
    return {**known, **({"extra_args": others} if others else {})}


def _made(factory: Callable[..., Any], settings: dict[str, Any]) -> Any:
    try:
        with run_by_others():
            return factory(**settings)
    except (TypeError, ValueError) as exc:
        if isinstance(exc, DotevalError):
            raise
        raise Problem(str(exc), code=2) from exc

"""What a user can set on the command line and in the ini file."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from .._errors import SpecError
from .._registry.fixture_names import fixture_word
from .._spec import ModelSpec
from ._setting import Setting
from ._short_names import PREFIX, SHORTER

ScopeName = Literal["session", "package", "module", "class", "function"]

SCOPES: dict[str, ScopeName] = {"session": "session", "module": "module", "function": "function"}
DEFAULT_SCOPE: ScopeName = "module"

_CONCURRENCY = Setting("model_concurrency", "N", "how many requests one model takes at once")
_SCOPE = Setting(
    "model_provider_scope",
    "SCOPE",
    f"how long providers and their resources live: {', '.join(SCOPES)} (default: {DEFAULT_SCOPE})",
)
_MISSING_CREDENTIALS = Setting(
    "missing_credentials",
    "error|skip",
    "whether a test whose model has no API key fails or is skipped (default: error)",
)
_LEAKS = Setting(
    "model_leaks",
    "off|warn|error",
    "whether a test that leaves what it has leased without a teardown gets a warning or fails (default: off)",
)
_SERVER_SHARE = Setting(
    "model_server_share",
    "user|run|off",
    "who shares the model servers that are started: all runs of this user, all workers of this run, or nobody beyond "
    "one process (default: user)",
)
_SERVER_KEEP_ALIVE = Setting(
    "model_server_keep_alive",
    "SECONDS",
    "how long model servers stay when nobody uses them any more, so that the next run finds them warm (default: 0)",
)
_SERVER_RESTARTS = Setting(
    "model_server_restarts",
    "N",
    "how often a model server that died is started again within one test (default: 1)",
)


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one run.

    Args:
        models: The specs that parametrise `model_client`.
        roles: The specs of the models that have a role of their own, by the role.
        base_urls: Where a provider's server is, by the provider's name.
        provider_settings: Other keyword arguments of providers, by the provider's name.
        concurrency: How many requests one model takes at once, or `None` for the provider's own default.
        scope: How long providers live.
        scope_is_asked_for: Whether the user has chosen `scope`, so that nothing else will do.
        skip_missing_credentials: Whether a test without an API key is skipped instead of failed.
        leaks: What comes of a test that leaves a lease behind: ``"off"`` for nothing, ``"warn"`` or ``"error"``.
        summary: Whether to print what was opened and leased.
        server_share: Who shares the servers that are started: ``"user"``, ``"run"`` or ``"off"``.
        server_keep_alive: How long they stay when nobody uses them any more, in seconds.
        server_restarts: How often a server that died may be started again for one test.
    """

    models: tuple[str, ...]
    roles: Mapping[str, str]
    base_urls: Mapping[str, str]
    provider_settings: Mapping[str, Mapping[str, Any]]
    concurrency: int | None
    scope: ScopeName
    scope_is_asked_for: bool
    skip_missing_credentials: bool
    leaks: str
    summary: bool
    server_share: str
    server_keep_alive: float
    server_restarts: int

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Keyword arguments for single providers."""
        found = {name: dict(settings) for name, settings in self.provider_settings.items()}
        for name, url in self.base_urls.items():
            found.setdefault(name, {})["base_url"] = url
        return found

    @property
    def offers(self) -> dict[str, Callable[[], Any]]:
        """What makes keyword arguments for the providers that take them."""
        offers: dict[str, Callable[[], Any]] = {
            "server_keep_alive": lambda: self.server_keep_alive,
            "restarts": lambda: self.server_restarts,
        }
        if self.concurrency is not None:
            offers["max_concurrency"] = lambda: self.concurrency
        return offers


def add_options(parser: pytest.Parser) -> None:
    """Declare the options, under names that nobody else has."""
    group = parser.getgroup("doteval", f"model providers (doteval){SHORTER}")
    group.addoption(
        "--doteval-model",
        action="append",
        metavar="[ROLE=]SPEC",
        dest="doteval_model",
        help="run the tests that ask for model_client and do not choose a model on this one, such as "
        "'openai:gpt-4o'; with a role in front, such as 'judge=openai:gpt-4o', the model of judge_client; may be given "
        "several times",
    )
    group.addoption(
        "--doteval-model-base-url",
        action="append",
        metavar="NAME=URL",
        dest="doteval_model_base_url",
        help="where a provider's server is, such as 'openai=http://127.0.0.1:8000/v1'; may be given several times",
    )
    group.addoption(
        "--doteval-model-setting",
        action="append",
        metavar="NAME.KEY=VALUE",
        dest="doteval_model_setting",
        help="a keyword argument of a provider, such as 'vllm.max_model_len=4096'; VALUE is JSON, or else a text; may "
        "be given several times",
    )
    for setting in (_CONCURRENCY, _SCOPE, _MISSING_CREDENTIALS, _LEAKS):
        setting.declare(parser, group)
    group.addoption(
        "--doteval-model-summary",
        action="store_true",
        dest="doteval_model_summary",
        help="print at the end what every provider has opened and leased",
    )
    for setting in (_SERVER_SHARE, _SERVER_KEEP_ALIVE, _SERVER_RESTARTS):
        setting.declare(parser, group)
    for name, line in (("model_base_url", "NAME=URL"), ("model_setting", "NAME.KEY=VALUE")):
        like = f"like {PREFIX}{name.replace('_', '-')}, one {line} a line"
        parser.addini(f"doteval_{name}", like, type="linelist", default=[])


def read_options(config: pytest.Config, providers: Collection[str]) -> Options:
    """What is set in this run; the command line wins over the ini file.

    Args:
        config: The run's configuration.
        providers: The names of the registered providers.

    Raises:
        pytest.UsageError: A value cannot be what it should be.
    """
    models, roles = _models(config.getoption("doteval_model") or [], providers)
    scope = _SCOPE.choice(config, SCOPES)
    keep_alive = _SERVER_KEEP_ALIVE.number(config, float, 0, "a number of seconds, 0 or more,")
    restarts = _SERVER_RESTARTS.number(config, int, 0)
    return Options(
        models=models,
        roles=roles,
        base_urls={
            **_base_urls("doteval_model_base_url in the ini file", config.getini("doteval_model_base_url"), providers),
            **_base_urls("--doteval-model-base-url", config.getoption("doteval_model_base_url") or (), providers),
        },
        provider_settings=_provider_settings(
            [
                *(("doteval_model_setting in the ini file", line) for line in config.getini("doteval_model_setting")),
                *(("--doteval-model-setting", line) for line in config.getoption("doteval_model_setting") or ()),
            ],
            providers,
        ),
        concurrency=_CONCURRENCY.number(config, int, 1),
        scope=SCOPES[scope] if scope else DEFAULT_SCOPE,
        scope_is_asked_for=bool(scope),
        skip_missing_credentials=_MISSING_CREDENTIALS.choice(config, ("error", "skip")) == "skip",
        leaks=_LEAKS.choice(config, ("off", "warn", "error")) or "off",
        summary=bool(config.getoption("doteval_model_summary")),
        server_share=_SERVER_SHARE.choice(config, ("user", "run", "off")) or "user",
        server_keep_alive=0.0 if keep_alive is None else keep_alive,
        server_restarts=1 if restarts is None else restarts,
    )


def _models(given: Iterable[str], providers: Collection[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The models that are given: those without a role, and the others by it."""
    models: dict[str, None] = {}
    roles: dict[str, str] = {}
    for text in given:
        role, equals, spec = text.partition("=")
        if not equals or not role.isidentifier():  # what has no role may have that sign in it, as a path may
            role, spec = "", text
        try:
            ModelSpec.parse(spec, providers)
        except SpecError as exc:
            raise pytest.UsageError(f"--doteval-model: {exc}") from exc
        if role in ("", "model"):
            models[spec] = None
        elif role in map(fixture_word, providers):
            raise pytest.UsageError(
                f"--doteval-model: {text!r} gives a model to the role {role!r}, but {role}_client is a model of the "
                f"provider {role!r}: call the role something else"
            )
        elif roles.setdefault(role, spec) != spec:
            raise pytest.UsageError(f"--doteval-model: the role {role!r} has two models, {roles[role]} and {spec}")
    return tuple(models), roles


def _base_urls(source: str, lines: Iterable[str], providers: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, equals, url = line.partition("=")
        name, url = name.strip(), url.strip()
        if not equals or not name or not url:
            raise pytest.UsageError(
                f"{source}: {line!r} is not of the form NAME=URL, such as openai=http://127.0.0.1:8000/v1"
            )
        if name not in providers:
            raise pytest.UsageError(
                f"{source}: no provider is registered as {name!r}; there are: {', '.join(providers)}"
            )
        found[name] = url
    return found


def _provider_settings(lines: Iterable[tuple[str, str]], providers: Collection[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for source, line in lines:
        key, equals, text = line.partition("=")
        name, dot, argument = key.strip().rpartition(".")
        if not equals or not dot or not name or not argument.isidentifier():
            raise pytest.UsageError(
                f"{source}: {line!r} is not of the form NAME.KEY=VALUE, such as vllm.max_model_len=4096"
            )
        if name not in providers:
            raise pytest.UsageError(
                f"{source}: no provider is registered as {name!r}; there are: {', '.join(providers)}"
            )
        try:
            value: Any = json.loads(text)
        except ValueError:
            value = text.strip()
        found.setdefault(name, {})[argument] = value
    return found

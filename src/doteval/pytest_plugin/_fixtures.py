"""The fixtures: ``model_providers``, ``model_client``, and a provider and a client for every registered name.

They are made when pytest starts, from the names alone, and handed to pytest as a plugin of their own. Where another
plugin has a fixture of the same name, none is made, so that one wins whichever was loaded first; a conftest file wins
anyway. Our clients build on the public names, so that whoever gives another provider decides for them, and on `HELD`,
for where somebody uses our name for something else.

What the fixtures do is in `_leases`, which is imported when the first one is set up: a run without models does without.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from keyword import iskeyword
from types import ModuleType
from typing import Any, NoReturn

import pytest
from anyio import get_available_backends

from .._registry.fixture_names import clashes, client_fixture, client_fixtures, provider_fixture
from .._registry.registration import Registration
from .._spec import ModelSpec
from ._endings import Endings
from ._fixturedefs import WIDTH, PluginFixture, plugin_fixtures
from ._options import Options, ScopeName
from ._runners import without_anyio
from ._servers import Servers
from ._short_names import PREFIX
from ._summary import Summary

Fixture = Callable[..., Any]


class ElsewhereBackend(str):
    """What `anyio_backend` is for fixtures in the event loop of another plugin, which ends it as it likes."""

    __slots__ = ()


HELD = "_doteval_providers"
"""A fixture behind `model_providers`: holds the registered providers open."""
LENT = "_doteval_lent"
"""A fixture behind `model_client`: sets up the authors' fixtures it may need before any event loop runs."""


class Fixtures:
    """Our fixtures, and what the rest of the plugin has to know of them.

    Args:
        config: The run's configuration; all other plugins are loaded.
        registrations: What is registered.
        options: The settings of the run.
        summary: Who adds up what the providers did.
        servers: The model servers of the run.
        endings: Ends the providers of one event loop before the next.
        in_use: Called when the first fixture is set up.
    """

    def __init__(
        self,
        config: pytest.Config,
        registrations: Mapping[str, Registration],
        options: Options,
        summary: Summary,
        servers: Servers,
        endings: Endings,
        in_use: Callable[[], object],
    ) -> None:
        others = list(plugin_fixtures(config.pluginmanager))
        self._taken = {fixture.name for fixture in others if not fixture.in_conftest and not _is_anyios(fixture)}
        self.module = ModuleType("doteval_fixtures")
        """What is handed to pytest."""
        self.functions: dict[str, Fixture] = {}
        """All fixtures by name."""
        self.scopes: dict[str, ScopeName] = {}
        """How long those live that are bound to an event loop."""
        self.wide: dict[str, Fixture] = {}
        """Those that live as long as the providers."""

        lent = {name: _fixture_of(registration, others) for name, registration in registrations.items()}
        fixtures = {name: fixture.name for name, fixture in lent.items() if fixture is not None}
        for name, settings in options.settings.items():
            if name in fixtures:
                option = f"{PREFIX}model-{'base-url' if 'base_url' in settings else 'setting'}"
                raise pytest.UsageError(
                    f"{option}: the provider {name!r} is made by the fixture {fixtures[name]!r} of "
                    f"{registrations[name].distribution}, which alone knows how to tell it {', '.join(settings)}"
                )
        self._registrations, self._settings, self._lent = registrations, options.settings, fixtures
        if not any(fixture.name == "anyio_backend" for fixture in others):
            self._add("anyio_backend", _without_anyio(without_anyio(config)), "session")
        elif options.scope == "session":
            self._add("anyio_backend", _anyio_backend, "session", get_available_backends())
        self._add("model_servers", _model_servers(servers), "session")
        held = _held_providers(registrations, fixtures, options, summary, servers, endings, in_use)
        self._add_wide(HELD, held, options.scope)
        self._add_wide("model_providers", _model_providers(), options.scope)
        self.roles = {f"{role}_client": spec for role, spec in options.roles.items()}
        """The models that have a role of their own, by the fixtures that lease them."""
        if fixtures:  # setting it up for nothing takes as long as the lease
            self._add(LENT, _lent_model_providers(registrations, fixtures, ("model_client", *self.roles)))
        self._add("model_client", _model_client(_OF_MODEL, options, lends=bool(fixtures)))
        for client in self.roles:
            self._add(client, _model_client(_advice(client), options, lends=bool(fixtures)))
        shared = clashes(registrations)
        for name, fixture in lent.items():
            client, provider = client_fixture(name), provider_fixture(name)
            if name in shared:
                clash = [registrations[each] for each in shared[name]]
                self._add_wide(provider, _of_several(provider, clash), options.scope)
                self._add(client, _of_several(client, clash))
            elif fixture is None:
                self._add_wide(provider, _provider(name), options.scope)
                self._add(client, _client(registrations[name], client, provider, options, is_lent=False))
            else:
                scope = min(options.scope, fixture.scope, key=WIDTH.__getitem__)
                self._add_wide(provider, _lent_provider(registrations[name], fixture.name), scope)
                self._add(client, _client(registrations[name], client, fixture.name, options, is_lent=True))

    def identity(self, fixture: str, spec: str) -> Mapping[str, Any]:
        """All that the answers depend on of the model that one of our client fixtures leases; opens nothing.

        Args:
            fixture: The fixture's name.
            spec: What it is parametrised with.
        """
        from ._leases import identity_of  # noqa: PLC0415

        name = client_fixtures(self._registrations).get(fixture)
        return identity_of(spec, name, self._registrations, self._lent, self._settings)

    def provider_identities(self, requested: Collection[str]) -> dict[str, Mapping[str, Any]]:
        """The same, of the providers by themselves that somebody asks for, who may lease any model of them.

        Args:
            requested: The names of the fixtures that are asked for.
        """
        from ._leases import identity_of  # noqa: PLC0415

        names = [name for name in self._registrations if provider_fixture(name) in requested]
        if "model_providers" in requested:  # those that are told something, here or by the environment
            told = {*self._settings, "openai", "anthropic", "ollama"}
            names += [name for name in self._registrations if name in told and name not in names]
        return {name: identity_of("", name, self._registrations, self._lent, self._settings) for name in names}

    def _add(
        self, name: str, function: Fixture, scope: ScopeName = "function", params: Sequence[object] | None = None
    ) -> None:
        if name not in self._taken and name not in self.functions:
            function.__name__ = function.__qualname__ = name
            self.functions[name] = function
            if name not in ("anyio_backend", "model_servers"):
                self.scopes[name] = scope
            attribute = f"fixture_{name}"  # what is called as a hook is one for pytest
            setattr(self.module, attribute, pytest.fixture(scope=scope, params=params, name=name)(function))

    def _add_wide(self, name: str, function: Fixture, scope: ScopeName) -> None:
        self._add(name, function, scope)
        if self.functions.get(name) is function and WIDTH[scope] > 0:
            self.wide[name] = function


def _is_anyios(fixture: PluginFixture) -> bool:
    return fixture.name == "anyio_backend" and fixture.module == "anyio.pytest_plugin"


def _fixture_of(registration: Registration, others: Sequence[PluginFixture]) -> PluginFixture | None:
    """The author's fixture that an entry point names, where it names one, and a fixture may ask for it."""
    wanted = registration.attribute
    candidates = (
        fixture
        for fixture in others
        if wanted in (fixture.name, fixture.attribute) and fixture.name.isidentifier() and not iskeyword(fixture.name)
    )
    packages = registration.packages
    return next((f for f in candidates if f.in_conftest or f.module.partition(".")[0] in packages), None)


def _takes(*arguments: str) -> Callable[[Fixture], Fixture]:
    """Tell pytest the arguments of a function whose arguments are not known when it is written."""
    keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in dict.fromkeys(arguments)]

    def tell(function: Fixture) -> Fixture:
        function.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
        return function

    return tell


# ------------------------------------------------------------------ the fixtures


def _anyio_backend(request: pytest.FixtureRequest) -> object:
    """The event loop that anyio runs tests in, as long as the session."""
    return request.param


def _without_anyio(advice: str) -> Fixture:
    def anyio_backend() -> NoReturn:
        """The event loop that anyio's plugin would run tests in."""
        pytest.fail(advice, pytrace=False)

    return anyio_backend


def _model_servers(servers: Servers) -> Fixture:
    def model_servers() -> Any:
        """What starts model servers in this run; hand it to a `ServerProvider` of your own as ``launcher=``."""
        return servers.launcher()

    return model_servers


def _held_providers(
    registrations: Mapping[str, Registration],
    lent: Mapping[str, str],
    options: Options,
    summary: Summary,
    servers: Servers,
    endings: Endings,
    in_use: Callable[[], object],
) -> Fixture:
    async def held(request: pytest.FixtureRequest, anyio_backend: object) -> AsyncGenerator[Any]:
        """The registered providers, in the event loop of the tests."""
        from . import _leases  # noqa: PLC0415

        in_use()
        async with _leases.held(
            _leases.RunProviders(request, anyio_backend, registrations, lent, options, servers), summary
        ) as providers:
            if not isinstance(anyio_backend, ElsewhereBackend):
                endings.remember(request, anyio_backend)
            yield providers

    return held


def _model_providers() -> Fixture:
    @_takes(HELD)
    def model_providers(**fixtures: Any) -> Any:
        """All model providers by name; ``await model_providers.setup("gpt-4o")`` leases a model of the right one."""
        return fixtures[HELD]

    return model_providers


def _lent_model_providers(
    registrations: Mapping[str, Registration], lent: Mapping[str, str], clients: Sequence[str]
) -> Fixture:
    @_takes("request", HELD, "model_providers")
    def lent_model_providers(request: pytest.FixtureRequest, **fixtures: Any) -> None:
        """Set up the authors' fixtures that the test's `model_client`, and the models of roles, may need."""
        from . import _leases  # noqa: PLC0415

        callspec = getattr(request.node, "callspec", None)
        specs = [] if callspec is None else [callspec.params.get(client) for client in clients]
        providers = _leases.chosen(fixtures[HELD], fixtures["model_providers"])
        if lent and isinstance(providers, _leases.RunProviders):
            for spec in specs:
                if isinstance(spec, str):
                    lend(request, spec, providers)

    def lend(request: pytest.FixtureRequest, spec: str, providers: Any) -> None:
        from . import _leases  # noqa: PLC0415

        prefix = ModelSpec.parse(spec, registrations).provider
        if prefix is not None and prefix in lent:
            given = request.getfixturevalue(lent[prefix])
            providers.put(prefix, _leases.given_by(lent[prefix], given, registrations[prefix]))
        elif prefix is None:
            for name, fixture in lent.items():
                try:
                    provider = _leases.given_by(fixture, request.getfixturevalue(fixture), registrations[name])
                except (Exception, pytest.fail.Exception, pytest.skip.Exception):  # noqa: S112
                    continue  # it is named in the error where no other provider claims the model
                providers.put(name, provider)

    return lent_model_providers


def _model_client(advice: str, options: Options, *, lends: bool) -> Fixture:
    @_takes("request", "anyio_backend", HELD, "model_providers", *((LENT,) if lends else ()))
    async def model_client(request: pytest.FixtureRequest, **fixtures: Any) -> AsyncGenerator[Any]:
        """A model, leased for the time of the test; ``--doteval-model`` or a parameter says which one."""
        from . import _leases  # noqa: PLC0415

        providers = _checked(fixtures)
        async with _leases.leased(providers.setup, request, advice, options, providers) as model:
            yield model

    return model_client


def _provider(name: str) -> Fixture:
    @_takes("anyio_backend", HELD, "model_providers")
    async def provider(**fixtures: Any) -> Any:
        return await _checked(fixtures).enter(name)

    provider.__doc__ = f"The model provider that is registered as {name!r}."
    return provider


def _client(registration: Registration, client: str, source: str, options: Options, *, is_lent: bool) -> Fixture:
    """A fixture that leases a model of what the fixture `source` gives: our provider, or that of the author."""
    name = registration.name
    advice = _advice_for(name, client)

    @_takes("request", "anyio_backend", HELD, "model_providers", source)
    async def function(request: pytest.FixtureRequest, **fixtures: Any) -> AsyncGenerator[Any]:
        from . import _leases  # noqa: PLC0415

        providers, provider = _checked(fixtures), fixtures[source]
        if is_lent:
            provider = await _leases.adopted(name, source, provider, registration, providers)
        elif not callable(getattr(provider, "setup", None)):
            provider = await providers.enter(name)  # somebody's own fixture of that name is something else
        async with _leases.leased(provider.setup, request, advice, options, providers) as model:
            yield model

    function.__doc__ = f"A model of the provider {name!r}, leased for the time of the test; parametrise it."
    return function


def _lent_provider(registration: Registration, fixture: str) -> Fixture:
    name = registration.name

    @_takes("anyio_backend", HELD, "model_providers", fixture)
    async def provider(**fixtures: Any) -> Any:
        from . import _leases  # noqa: PLC0415

        return await _leases.adopted(name, fixture, fixtures[fixture], registration, _checked(fixtures))

    provider.__doc__ = f"The model provider that is registered as {name!r}, made by the fixture {fixture!r}."
    return provider


def _of_several(fixture: str, registrations: Sequence[Registration]) -> Fixture:
    """A fixture that several providers would give: nobody's, as whoever asks for it may mean any of them."""
    named = " and ".join(f"{each.name!r} of {each.distribution}" for each in registrations)
    first = registrations[0].name
    client = f'    @pytest.mark.parametrize("model_client", ["{first}:a-model"], indirect=True)'
    text = f"{fixture} could be of several providers: {named}. Say which one is meant:"
    advice = client if fixture.endswith("_client") else f'    model_providers["{first}"]'

    @_takes("anyio_backend")
    def function(**_fixtures: Any) -> None:
        pytest.fail(f"{text}\n{advice}", pytrace=False)

    function.__doc__ = f"Nobody's, as it could be of several providers: {named}."
    return function


def _checked(fixtures: Mapping[str, Any]) -> Any:
    from . import _leases  # noqa: PLC0415

    return _leases.checked(fixtures["anyio_backend"], _leases.chosen(fixtures[HELD], fixtures["model_providers"]))


def _advice(client: str, first: str = "Choose one in the test:") -> str:
    how = first if first.endswith(":") else f"{first} choose one in the test:"
    return (
        f"{client} does not know which model is wanted. {how}\n"
        f'    @pytest.mark.parametrize("{client}", ["gpt-4o"], indirect=True)'
    )


def _advice_for(name: str, client: str) -> str:
    """For the fixture of one provider, whose name somebody may have for another fixture of theirs."""
    what, example = _EXAMPLES.get(name, ("model", "gpt-4o" if name == "openai" else "a-model"))
    return (
        f"{client} does not know which {what} is wanted. Choose one in the test:\n"
        f'    @pytest.mark.parametrize("{client}", ["{example}"], indirect=True)\n'
        "It is a fixture of doteval's: one of your own by that name, in the module or a conftest.py, takes its place."
    )


_EXAMPLES = {"http": ("base URL", "https://host"), "anthropic": ("model", "claude-sonnet-5-5")}
_OF_MODEL = _advice("model_client", "Run pytest with --doteval-model, such as '--doteval-model openai:gpt-4o', or")

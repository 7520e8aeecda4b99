"""The providers of one event loop in a run of pytest, and how a test leases from them.

All that the fixtures do, apart from `_fixtures`, which pytest imports at its start: this brings the rest of doteval
along, and is imported when the first fixture is set up.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from .._chains import told_with
from .._context_managers import kind_of
from .._errors import MissingCredentialsError
from .._handle import ModelHandle
from .._provider import ModelProvider
from .._registry.providers import ModelProviders
from .._registry.registration import Registration, described
from .._registry.source import Source, is_provider
from .._spec import ModelSpec
from ._leased import LEASED, Leased
from ._options import Options
from ._servers import Servers
from ._summary import Summary


class RunProviders(ModelProviders):
    """The registered providers, in one event loop.

    Args:
        request: The request of the fixture that holds them.
        backend: The value of `anyio_backend` that they belong to.
        registrations: What is registered.
        lent: Of the providers that are fixtures of their authors, the fixtures' names.
        options: The settings of the run.
        servers: The model servers of the run.
    """

    def __init__(
        self,
        request: pytest.FixtureRequest,
        backend: object,
        registrations: Mapping[str, Registration],
        lent: Mapping[str, str],
        options: Options,
        servers: Servers,
    ) -> None:
        super().__init__(discover=False)
        self.anyio_backend = backend
        """The event loop they belong to, as the fixture of that name has it."""
        settings = options.settings
        offers = {**options.offers, "launcher": servers.launcher}
        for name, registration in registrations.items():
            if name in lent:
                lender = _lender(request, registration, lent[name])
                self._sources[name] = Source(name, lender, borrowed=True)
            else:
                self._sources[name] = Source(name, registration, settings.get(name), offers=offers)

    def put(self, name: str, provider: ModelProvider[Any]) -> None:
        """Have the provider that an author's fixture has made at hand."""
        self._lend(name, provider)


def identity_of(
    spec: str,
    name: str | None,
    registrations: Mapping[str, Registration],
    lent: Mapping[str, str],
    settings: Mapping[str, Mapping[str, Any]],
) -> Mapping[str, Any]:
    """All that the answers of a model depend on, as far as it is known before any fixture is set up.

    Args:
        spec: The model; without one it is about the provider alone.
        name: The name of its provider; `None` where the spec says which it is.
        registrations: What is registered.
        lent: Of the providers that are fixtures of their authors, the fixtures' names.
        settings: Keyword arguments for single providers.
    """
    full = spec if name is None else f"{name}:{spec}" if spec else name
    known = {each: registration for each, registration in registrations.items() if each not in lent}
    providers = ModelProviders(discover=False)
    providers._sources.update({each: Source(each, known[each], settings.get(each)) for each in known})
    try:
        provider = (name if not spec else ModelSpec.parse(full, registrations).provider) or ""
        if provider in lent:
            return {"provider": f"the fixture '{lent[provider]}'", "spec": spec}
        return providers.identity(full) if spec else providers._sources[provider].identity("", {})
    except Exception:  # whoever sets it up is told
        return {"spec": full, **settings.get(name or "", {})}


@asynccontextmanager
async def held(providers: RunProviders, summary: Summary) -> AsyncGenerator[RunProviders]:
    """Hold the providers open, outside of the task that all fixtures share, and then count what they did."""
    await providers.start()
    try:
        yield providers
    finally:
        try:
            await providers.aclose()
        finally:
            summary.add(providers.statistics())


def chosen(ours: RunProviders, given: object) -> ModelProviders:
    """What the fixture `model_providers` gives, unless somebody's own fixture of that name is something else."""
    return given if isinstance(given, ModelProviders) else ours


def checked(anyio_backend: object, model_providers: ModelProviders) -> ModelProviders:
    """The providers, if they belong to the event loop that the test is for."""
    if isinstance(model_providers, RunProviders) and model_providers.anyio_backend != anyio_backend:
        pytest.fail(
            f"The test is for the event loop {anyio_backend!r}, but the providers of its module were set up in "
            f"{model_providers.anyio_backend!r} before. Parametrise the fixture anyio_backend instead of overriding it "
            "for some tests of a module, put those into a module of their own, or set "
            "doteval_model_provider_scope = function.",
            pytrace=False,
        )
    return model_providers


def given_by(fixture: str, value: object, registration: Registration) -> ModelProvider[Any]:
    """What an author's fixture gives, if that is a provider."""
    if is_provider(value):
        return value
    given = f"the class {value.__name__}" if isinstance(value, type) else kind_of(value)
    raise registration.error(
        f"the fixture {fixture!r} gave {given}, and no provider",
        "Have it return a provider, or yield one: a provider has setup() and teardown()",
    )


async def adopted(
    name: str, fixture: str, provider: object, registration: Registration, model_providers: ModelProviders
) -> Any:
    """A provider that an author's fixture has made; a pool that nobody has entered is entered here."""
    if not isinstance(model_providers, RunProviders):
        return provider
    model_providers.put(name, given_by(fixture, provider, registration))
    return await model_providers.enter(name)


def _lender(
    request: pytest.FixtureRequest, registration: Registration, fixture: str
) -> Callable[[], ModelProvider[Any]]:
    """What brings the value of an author's fixture when ``model_providers[name]`` is asked for it."""

    def lend() -> ModelProvider[Any]:
        try:
            provider: object = request.getfixturevalue(fixture)
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as exc:
            # Most often it is an async fixture, and a test is running that pytest would have to interrupt for it.
            advice = f"Name the fixture {fixture!r} among the arguments of the test, so that pytest sets it up before"
            raise registration.error(described(exc), advice) from exc
        return given_by(fixture, provider, registration)

    return lend


@asynccontextmanager
async def leased(
    setup: Callable[[str], Awaitable[ModelHandle[Any]]],
    request: pytest.FixtureRequest,
    advice: str,
    options: Options,
    providers: ModelProviders,
) -> AsyncGenerator[Any]:
    """The standard pattern: lease the model that the test was parametrised with, for the time of the test.

    Args:
        setup: Gives the handle.
        request: The request of the client fixture.
        advice: What to do where the test was not parametrised.
        options: The settings of the run.
        providers: All providers of the event loop.
    """
    if not hasattr(request, "param"):
        pytest.fail(advice, pytrace=False)
    try:
        handle = await setup(request.param)
    except Exception as exc:
        missing = _missing_credentials(exc)
        if missing is not None and options.skip_missing_credentials:
            pytest.skip(" ".join(str(missing).splitlines()))
        raise
    held = Leased(partial(setup, request.param), handle, handle.model, providers)
    if request.fixturename is not None:
        request.node.stash.setdefault(LEASED, {})[request.fixturename] = held
    try:
        yield held.model
    finally:
        await held.handle.teardown()


def _missing_credentials(error: BaseException) -> MissingCredentialsError | None:
    """What `error` comes from, where that is a missing API key."""
    return next((each for each in told_with(error) if isinstance(each, MissingCredentialsError)), None)

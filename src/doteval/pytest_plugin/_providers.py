"""The providers of one event loop in a run of pytest, and how a test leases from them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from .._errors import MissingCredentialsError
from .._handle import ModelHandle
from .._provider import ModelProvider
from .._registry import ModelProviders, Registration
from .._registry._registration import described
from .._registry._source import Source
from ._options import Options


class RunProviders(ModelProviders):
    """The registered providers, in one event loop.

    Args:
        request: The request of the fixture that holds them.
        backend: The value of `anyio_backend` that they belong to.
        registrations: What is registered.
        lent: Of the providers that are fixtures of their authors, the fixtures' names.
        options: The settings of the run.
    """

    def __init__(
        self,
        request: pytest.FixtureRequest,
        backend: object,
        registrations: Mapping[str, Registration],
        lent: Mapping[str, str],
        options: Options,
    ) -> None:
        super().__init__(discover=False)
        self.backend = backend
        settings = options.settings
        for name, registration in registrations.items():
            if name in lent:
                lender = _lender(request, registration, lent[name])
                self._sources[name] = Source(name, lender, borrowed=True)
            else:
                self._sources[name] = Source(name, registration, settings.get(name), offers=options.offers)

    def put(self, name: str, provider: ModelProvider[Any]) -> None:
        """Have the provider that an author's fixture has made at hand."""
        self._lend(name, provider)


def _lender(
    request: pytest.FixtureRequest, registration: Registration, fixture: str
) -> Callable[[], ModelProvider[Any]]:
    """What brings the value of an author's fixture when ``model_providers[name]`` is asked for it."""

    def lend() -> ModelProvider[Any]:
        try:
            provider: ModelProvider[Any] = request.getfixturevalue(fixture)
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as exc:
            # Most often it is an async fixture, and a test is running that pytest would have to interrupt for it.
            advice = f"Name the fixture {fixture!r} among the arguments of the test, so that pytest sets it up before"
            raise registration.error(described(exc), advice) from exc
        return provider

    return lend


def name_of_backend(anyio_backend: Any) -> str:
    """``"asyncio"`` or ``"trio"``, of a value of the fixture `anyio_backend`."""
    name: str = anyio_backend if isinstance(anyio_backend, str) else anyio_backend[0]
    return name


@asynccontextmanager
async def leased(
    setup: Callable[[str], Awaitable[ModelHandle[Any]]], request: pytest.FixtureRequest, advice: str, options: Options
) -> AsyncGenerator[Any]:
    """The standard pattern: lease the model that the test was parametrised with, for the time of the test.

    Args:
        setup: Gives the handle.
        request: The request of the client fixture.
        advice: What to do where the test was not parametrised.
        options: The settings of the run.
    """
    if not hasattr(request, "param"):
        pytest.fail(advice, pytrace=False)
    try:
        handle = await setup(request.param)
    except Exception as exc:
        missing = _missing_credentials(exc)
        if missing is not None and options.skip_missing_credentials:
            pytest.skip(str(missing))
        raise
    try:
        yield handle.model
    finally:
        await handle.teardown()


def _missing_credentials(error: BaseException | None) -> MissingCredentialsError | None:
    """What `error` comes from, where that is a missing API key."""
    while error is not None and not isinstance(error, MissingCredentialsError):
        error = error.__cause__
    return error

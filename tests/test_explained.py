"""What a failed opening says: the cause, and advice that fits it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import gaierror
from ssl import SSLCertVerificationError, SSLError
from typing import Any

import anyio
import httpx
import pytest

from doteval import (
    ContextProvider,
    HandleInactiveError,
    MissingCredentialsError,
    ModelRequestError,
    ModelSetupError,
    PooledProvider,
    ServerLostError,
)
from doteval._printed import printable

pytestmark = pytest.mark.anyio

SERVICE = "Ensure the service is running and accessible."


class Failing(PooledProvider[str]):
    """Whose models cannot be opened."""

    def __init__(self, error: BaseException, **options: Any) -> None:
        super().__init__(**options)
        self.error = error

    @asynccontextmanager
    async def open(self, spec: str, *, colour: str = "red") -> AsyncIterator[str]:
        raise self.error
        yield spec


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


async def failure(provider: PooledProvider[str], **config: object) -> ModelSetupError:
    async with provider:
        with pytest.raises(ModelSetupError) as caught:
            await provider.setup("a-model", **config)
    return caught.value


@pytest.mark.parametrize(
    ("error", "reason", "advice"),
    [
        (ConnectionRefusedError("no"), "ConnectionRefusedError: no", "Ensure the service is running and accessible"),
        (caused(OSError("all"), ConnectionRefusedError("no")), "OSError: all", "Ensure the service is running"),
        (caused(httpx.ConnectError("a"), gaierror(-2, "no")), "ConnectError: a", "Correct the name of the host"),
        (
            caused(KeyError("a"), SSLCertVerificationError(1, "no")),
            "KeyError: 'a'",
            "Check the host and its",
        ),
        (
            caused(OSError("a"), ExceptionGroup("", [SSLError(1, "no")])),
            "OSError: a",
            "Check whether the service",
        ),
        (ImportError("no socksio"), "ImportError: no socksio", "Install what it says is missing"),
        (TimeoutError(), "TimeoutError", SERVICE),
        (httpx.ConnectError("no route"), "ConnectError: no route", SERVICE),
        (httpx.ReadTimeout("slow"), "ReadTimeout: slow", SERVICE),
        (httpx.UnsupportedProtocol("no http://"), "UnsupportedProtocol: no http://", "Correct the address"),
        (httpx.InvalidURL("bad port"), "InvalidURL: bad port", "Correct the address"),
        (
            FileNotFoundError(2, "No such file", "m.gguf"),
            "FileNotFoundError: [Errno 2] No such file",
            "Correct the path",
        ),
        (PermissionError(13, "Permission denied"), "PermissionError", "Give this user the right"),
        (ModuleNotFoundError("No module named 'torch'"), "ModuleNotFoundError", "Install the package"),
        (TypeError("an int is no str"), "TypeError: an int is no str", "Correct the spec"),
        (KeyError("weights"), "KeyError: 'weights'", "The provider's open() raised it"),
        (MissingCredentialsError("Mine", "MY_KEY"), "Mine has no API key", "Set the environment variable MY_KEY"),
        (ModelRequestError("m", "it is full", "Wait."), "The request to 'm' failed: it is full", "Wait."),
        (ServerLostError("m", "It died.\n  log: x.", "Look."), "It died.\n  log: x.", "Look."),
        (ExceptionGroup("", [OSError("one"), ValueError("two")]), "OSError: one; ValueError: two", SERVICE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_the_advice_fits_the_cause(error: BaseException, reason: str, advice: str) -> None:
    """The service is only to be looked at where it may be at fault."""
    found = await failure(Failing(error))
    assert found.reason.startswith(reason)
    assert found.advice.startswith(advice)
    assert str(found).startswith(f"Failed to setup resource 'a-model': {reason}")
    assert str(found).endswith(found.advice)


@pytest.mark.parametrize(
    "error",
    [
        OSError("\x1b]0;title\x07\x1b[2J" * 1_000_000),
        ExceptionGroup("many", [OSError("\x1b[2J" * 10_000)] * 1_000),
        ModelRequestError("m", "\x1b[2J" * 1_000_000, "Wait."),
        ServerLostError("m", "\x1b[2J" * 1_000_000, "Wait."),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_is_told_is_for_people(error: Exception) -> None:
    """Nothing that a terminal would obey, and no more than people read; of a resource that is lost as well."""
    events: list[str] = []
    found = await failure(Failing(error, on_event=lambda event: events.append(event.reason or "")))
    async with ContextProvider(opened, on_event=lambda event: events.append(event.reason or "")) as provider:
        handle = await provider.setup("a-model")
        handle.report_broken(error)
        with pytest.raises(HandleInactiveError) as caught:
            _ = handle.model
    for text in (str(found), found.reason, str(caught.value), caught.value.reason, *events):
        assert printable(text) == text
        assert len(text) < 25_000
    assert any(map(len, events))


@asynccontextmanager
async def opened(spec: str) -> AsyncIterator[str]:
    yield spec


async def test_an_argument_that_open_does_not_have() -> None:
    """It is no service that is down."""
    assert "Correct the spec, its configuration" in (await failure(Failing(OSError()), size=3)).advice


@pytest.mark.parametrize("end", ["teardown", "teardown_all"])
async def test_an_opening_that_somebody_ends_blames_no_service(end: str) -> None:
    """Whoever waits for it may ask again."""
    found: list[ModelSetupError] = []

    class Slow(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str) -> AsyncIterator[str]:
            await anyio.sleep_forever()
            yield spec

    async def wait() -> None:
        with pytest.raises(ModelSetupError) as caught:
            await provider.setup("a-model")
        found.append(caught.value)

    async with Slow() as provider:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(wait)
            task_group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await (provider.teardown("a-model") if end == "teardown" else provider.teardown_all())
    assert [error.reason for error in found] == [f"its provider's {end}() was called while it was opened"] * 2
    assert [error.advice for error in found] == ["Call setup() again."] * 2

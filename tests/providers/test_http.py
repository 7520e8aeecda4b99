"""HTTPProvider over real HTTP."""

from __future__ import annotations

import logging

import httpx
import pytest
from tests.conftest import anyio_backend  # noqa: F401 - every loop
from tests.llmock_server import LLMock

from doteval import HTTPProvider, ModelSetupError

pytestmark = [pytest.mark.anyio]

PASSWORD = "nobody/may see"


async def test_a_client_for_each_base_url(server: LLMock) -> None:
    """Handles on one URL share a client, paths are relative to it, and another URL is another client."""
    async with HTTPProvider() as provider:
        first, second = await provider.setup(server.url), await provider.setup(server.url)
        other = await provider.setup(f"{server.url}/v1")
        assert first.model is second.model
        assert first.model is not other.model
        assert (await first.model.get("/health")).json()["status"] == "ok"
        assert (await other.model.get("/models")).json()["object"] == "list"
        clients = [first.model, other.model]
    assert all(client.is_closed for client in clients)


async def test_settings_of_the_provider_and_of_the_setup_reach_the_client(server: LLMock) -> None:
    """What setup says counts; the rest is the provider's."""
    async with HTTPProvider(headers={"X-Run": "7"}, timeout=1.0) as provider:
        async with await provider.setup(server.url, timeout=2.0) as handle:
            assert handle.model.headers["X-Run"] == "7"
            assert handle.model.timeout == httpx.Timeout(2.0)
            other = await provider.setup(server.url, timeout=3.0)
            assert other.model is not handle.model


async def test_a_password_in_the_url_is_sent_and_never_shown(server: LLMock, caplog: pytest.LogCaptureFixture) -> None:
    """The server gets it as basic authentication; ids, representations and log records do not have it."""
    caplog.set_level(logging.DEBUG)
    sent: list[str] = []

    async def on_request(request: httpx.Request) -> None:
        sent.append(request.headers["Authorization"])

    url = server.url.replace("://", "://ann:nobody%2Fmay%20see@")
    async with HTTPProvider() as provider:
        handle = await provider.setup(url, event_hooks={"request": [on_request]})
        assert (await handle.model.get("/health")).status_code == 200
        shown = [handle, handle.resource_id, handle.model.base_url, provider.statistics()]
        assert handle.resource_id.startswith(server.url.replace("://", "://***@"))
    expected = httpx.Request("GET", server.url)
    next(httpx.BasicAuth("ann", PASSWORD).auth_flow(expected))
    assert sent == [expected.headers["Authorization"]]
    for secret in (PASSWORD, "nobody%2Fmay%20see"):
        assert secret not in repr(shown)
        assert secret not in caplog.text
    assert "/health" in caplog.text


@pytest.mark.parametrize("spec", ["localhost:8000", "gpt-4o", "ftp://host"])
async def test_what_is_no_base_url_is_refused(spec: str) -> None:
    """The message shows what one looks like."""
    async with HTTPProvider() as provider:
        with pytest.raises(ModelSetupError, match="must be a base URL such as 'http://"):
            await provider.setup(spec)


async def test_a_client_that_somebody_closed_is_not_leased_again(server: LLMock) -> None:
    """It is found at a glance, before each lease."""
    async with HTTPProvider() as provider, await provider.setup(server.url) as handle:
        assert not provider.is_broken(handle.model)
        await handle.model.aclose()
        assert provider.is_broken(handle.model)

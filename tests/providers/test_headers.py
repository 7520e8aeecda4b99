"""Headers that can be sent are sent; others are named before, and their values are shown nowhere."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from tests.providers.conftest import CHATS, KEY
from tests.providers.parts import is_no_circle, parts_of
from tests.providers.wire import Reply, WireServer, answer

from doteval import HTTPProvider, ModelRequestError, ModelSetupError, OllamaProvider

pytestmark = [pytest.mark.anyio]

TOKEN = "SECRET-0123456789"
SENDABLE = (TOKEN, f" {TOKEN}\t", f"{TOKEN}\n", f"{TOKEN}\r\n", f"{TOKEN} {TOKEN}", f"{TOKEN}\t\\'\"%")
UNSENDABLE = (f"{TOKEN}\0", f"{TOKEN}\n{TOKEN}", f"{TOKEN}é", f"{TOKEN}\udcff", f"{TOKEN}\x1b", f"{TOKEN}\x7f")
NAMES = ("X Token", "X-Token\n", "X-Tökén", "", "X:")


def sent(wire: WireServer, name: str) -> str:
    """The value of a header of the last request."""
    head = wire.asked[-1].partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {(pair := line.split(": ", 1))[0].lower(): pair[1] for line in head}[name.lower()]


def check(error: BaseException) -> None:
    """Nobody sees a token, and nobody is led round in circles."""
    assert is_no_circle(error)
    assert [place for place, text in parts_of(error) if "SECRET" in text] == []


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("name", ["X-Gateway-Token", "X-Gateway"])
async def test_default_headers_are_sent_without_blanks_or_refused(kind: str, name: str, wire: WireServer) -> None:
    """Before anything is sent, as a key is."""
    provider_class, words, spec = CHATS[kind]
    async with provider_class(base_url=f"{wire.url}/v1", api_key=KEY, max_retries=0) as provider:
        for value in SENDABLE:
            wire.script(answer(words, Reply(("Hi",))))
            async with provider.setup(spec, default_headers={name: value}) as handle:
                assert await handle.model.generate("Hello") == "Hi"
            assert sent(wire, name) == value.strip()
        for value in UNSENDABLE:
            with pytest.raises(ModelSetupError, match=f"the value of '{name}' in default_headers has ") as caught:
                await provider.setup(spec, default_headers={name: value})
            check(caught.value)
        for wrong in NAMES:
            with pytest.raises(ModelSetupError, match=r"default_headers has .*, which can be the name of no") as caught:
                await provider.setup(spec, default_headers={wrong: TOKEN})
            check(caught.value)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_headers_of_a_request_are_sent_without_blanks_or_refused(kind: str, wire: WireServer) -> None:
    """It is the caller's mistake, found before anything is sent."""
    provider_class, words, spec = CHATS[kind]
    async with provider_class(base_url=f"{wire.url}/v1", api_key=KEY, max_retries=2) as provider:
        async with provider.setup(spec) as handle:
            for value in SENDABLE:
                wire.script(answer(words, Reply(("Hi",))))
                await handle.model.generate("Hello", extra_headers={"X-Gateway-Token": value})
                assert sent(wire, "X-Gateway-Token") == value.strip()
            asked = len(wire.asked)
            for value in UNSENDABLE:
                with pytest.raises(ValueError, match="the value of 'X-Gateway-Token' in extra_headers") as caught:
                    await handle.model.generate("Hello", extra_headers={"X-Gateway-Token": value})
                check(caught.value)
                with pytest.raises(ValueError, match="the value of 'X-Gateway-Token' in extra_headers"):
                    async with handle.model.stream("Hello", extra_headers={"X-Gateway-Token": value}):
                        pass
            assert len(wire.asked) == asked


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("name", ["X-Gateway-Token", "X-Gateway"])
async def test_headers_that_only_the_library_sees_are_named_as_well(kind: str, name: str, wire: WireServer) -> None:
    """Nothing was sent, and trying again does not help; what is quoted there is not shown."""
    provider_class, _, spec = CHATS[kind]
    for value in (f"{TOKEN}\n", f" {TOKEN}", f"{TOKEN}\0"):
        async with httpx2.AsyncClient(headers=[(name, value)]) as http_client:
            async with provider_class(
                base_url=f"{wire.url}/v1", api_key=KEY, max_retries=0, http_client=http_client
            ) as provider:
                async with provider.setup(spec) as handle:
                    with pytest.raises(ModelRequestError) as caught:
                        await handle.model.generate("Hello")
        assert not caught.value.retryable
        assert "nothing was sent, as " in caught.value.problem
        assert f"'{name.lower()}'" in caught.value.problem.lower()
        assert caught.value.advice.startswith("Correct the headers of the http_client")
        check(caught.value)


async def test_an_environment_with_headers_that_cannot_be_sent(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK takes them from there, when it makes a client."""
    provider_class, _, spec = CHATS["openai"]
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Gateway-Token: {TOKEN}é")
    async with provider_class(base_url=f"{wire.url}/v1", api_key=KEY, max_retries=0) as provider:
        async with provider.setup(spec) as handle:
            with pytest.raises(ValueError, match=r"a header of a request to .* is not ASCII") as caught:
                await handle.model.generate("Hello")
    check(caught.value)


async def test_the_headers_of_an_http_client_are_checked_likewise(wire: WireServer) -> None:
    """In each form that httpx takes."""
    async with HTTPProvider() as provider:
        for value in SENDABLE:
            for headers in ({"X-Token": value}, [("X-Token", value)], {"X-Token": value.encode()}):
                async with provider.setup(wire.url, headers=headers) as handle:
                    assert handle.model.headers["X-Token"] == value.strip()
        for value in UNSENDABLE:
            given: list[Any] = [{"X-Token": value}, [("X-Token", value)]]
            for headers in given:
                with pytest.raises(ModelSetupError, match="the value of 'X-Token' in headers has") as caught:
                    await provider.setup(wire.url, headers=headers)
                check(caught.value)


async def test_the_daemon_of_ollama_gets_none_that_cannot_be_sent() -> None:
    """As every other server."""
    async with OllamaProvider() as provider:
        with pytest.raises(ModelSetupError, match="the value of 'X-Token' in default_headers") as caught:
            await provider.setup("llama3", default_headers={"X-Token": UNSENDABLE[0]})
        check(caught.value)

"""Error trackers, and who prints tracebacks with local variables, see no key in a frame of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from tests.providers.conftest import CHATS
from tests.providers.parts import locals_of
from tests.providers.wire import EVENTS, JSON, Sent, WireServer

from doteval import ContextProvider, HTTPProvider, ModelProviders, OllamaProvider
from doteval.blocking import entered

pytestmark = [pytest.mark.anyio]

KEY = "sk-CANARY-0123456789abcdef"
HEADERS = {"Authorization": f"Bearer {KEY}", "X-Token": KEY}
SENT: dict[str, Sent | None] = {
    "refused": Sent(f'{{"error": {{"message": "Who is {KEY}?", "type": "x"}}}}'.encode(), JSON, 401),
    "no JSON": Sent(f"<p>{KEY}".encode(), JSON),
    "no reply": Sent(f'{{"{KEY}": 7}}'.encode(), JSON),
    "told in a stream": Sent(f'data: {{"error": {{"message": "{KEY}"}}}}\n\n'.encode(), EVENTS),
    "no events": Sent(f'data: {{"{KEY}": 7}}\n\n'.encode(), EVENTS),
    "cut off": Sent(b'{"a"', JSON, promised=50),
    "dropped": None,
}


async def generated(model: Any) -> None:
    await model.generate("Hello", extra_headers=HEADERS)


async def streamed(model: Any) -> None:
    async with model.stream("Hello", extra_headers=HEADERS) as stream:
        async for _ in stream:
            pass


def told(error: BaseException) -> list[str]:
    return [place for place, text in locals_of(error) if "CANARY" in text]


async def failure(doing: Callable[[], Awaitable[object]]) -> BaseException:
    try:
        await doing()
    except Exception as exc:
        return exc
    raise AssertionError("it did not fail")


@pytest.mark.parametrize("ask", [generated, streamed])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_no_frame_of_a_request_has_a_key(kind: str, ask: Any, wire: WireServer) -> None:
    """Whichever way it fails."""
    provider_class, _, spec = CHATS[kind]
    found: list[str] = []
    async with provider_class(
        base_url=f"{wire.url}/v1", api_key=KEY, default_headers=HEADERS, max_retries=0
    ) as provider:
        async with provider.setup(spec) as handle:
            for name, sent in SENT.items():
                wire.script(sent)
                found += [f"{name}: {place}" for place in told(await failure(lambda: ask(handle.model)))]
            found += told(await failure(lambda: handle.model.generate("Hello", extra_headers={"X-Token": f"{KEY}\0"})))
            found += told(await failure(lambda: handle.model.generate("Hello", temperatur=1, extra_headers=HEADERS)))
            found += told(await failure(lambda: handle.model.generate("Hell\udcff", extra_headers=HEADERS)))
            found += told(await failure(lambda: handle.model.generate([], extra_headers=HEADERS)))
    assert found == []


@pytest.mark.parametrize("kind", ["openai", "anthropic", "compatible"])
@pytest.mark.parametrize("way", ["constructor", "setup", "environment"])
async def test_no_frame_of_a_setup_has_a_key(kind: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever way it fails, and wherever the key comes from."""
    provider_class, _, spec = CHATS[kind]
    monkeypatch.setenv("SOME_KEY", KEY)
    given: dict[str, Any] = {"constructor": {"api_key": KEY, "default_headers": HEADERS}, "environment": {}}.get(
        way, {"api_key": "none-of-them"}
    )
    config: dict[str, Any] = {"api_key": KEY, "default_headers": HEADERS} if way == "setup" else {}
    variable = {"key_variable": "SOME_KEY"} if way == "environment" else {}
    found: list[str] = []
    wrong: list[dict[str, Any]] = [
        {"timeout": -1},
        {"base_url": "ftp://h"},
        {"default_headers": {**HEADERS, "X-Token": f"{KEY}\0"}},
        {"unknown": 1},
        {"max_concurrency": "many"},
    ]
    async with provider_class(base_url="http://h/v1", **given, **variable) as provider:
        for more in wrong:
            found += told(await failure(partial(provider.setup, spec, **{**config, **more})))
            found += told(await failure(partial(provider.setup_many, spec, **{**config, **more})))
        monkeypatch.setenv("HTTP_PROXY", "http://h:port")
        found += told(await failure(lambda: provider.setup(spec, **config)))
        found += told(await failure(lambda: provider.setup("-x", **config)))
        found += told(await failure(lambda: provider.setup_many("-x", **config)))
    found += told(await failure(lambda: provider.setup(spec, **config)))
    assert found == []


async def test_no_frame_of_other_providers_has_a_key(wire: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a client, of a daemon, and of one that somebody has written."""

    @asynccontextmanager
    async def opened(spec: str, **config: str) -> AsyncIterator[str]:
        del config
        raise OSError(spec)
        yield spec

    wire.script(SENT["refused"])
    found: list[str] = []
    async with HTTPProvider(headers=HEADERS) as provider:
        for more in ({"headers": HEADERS, "timeout": "x"}, {"auth": ("me", KEY), "verify": 7}, {"unknown": 1}):
            found += told(await failure(partial(provider.setup, wire.url, token=KEY, **more)))
    async with OllamaProvider(base_url=wire.url, api_key=KEY, default_headers=HEADERS) as daemon:
        found += told(await failure(lambda: daemon.setup("llama3")))
        found += told(await failure(lambda: daemon.setup("llama3", api_key=KEY, loaded_for="x")))
    async with ContextProvider(opened) as own:
        found += told(await failure(lambda: own.setup("m", api_key=KEY)))
        async with ModelProviders({"own": own}, discover=False) as providers:
            found += told(await failure(lambda: providers.setup("own:m", api_key=KEY)))
            found += told(await failure(lambda: providers.setup("other:m", api_key=KEY)))
    assert found == []


def test_no_frame_of_the_blocking_face_has_a_key(wire: WireServer) -> None:
    """It hands on what it is given."""
    found: list[str] = []
    provider_class, _, spec = CHATS["openai"]
    wire.script(SENT["refused"])
    with entered(provider_class(base_url=f"{wire.url}/v1", api_key=KEY, max_retries=0)) as provider:
        for config in ({"api_key": KEY, "timeout": -1}, {"api_key": KEY, "base_url": "x"}):
            with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is
                provider.setup(spec, **config)
            found += told(caught.value)
        with provider.setup(spec, api_key=KEY) as handle:
            with pytest.raises(Exception) as caught:  # noqa: PT011 - as above
                handle.model.generate("Hello", extra_headers=HEADERS)
            found += told(caught.value)
            with pytest.raises(Exception) as caught:  # noqa: PT011 - as above
                with handle.model.stream("Hello", extra_headers=HEADERS):
                    pass
            found += told(caught.value)
    assert found == []

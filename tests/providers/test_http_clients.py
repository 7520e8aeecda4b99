"""What an HTTP client of the user's own adds to requests is a part of what they are known by, or nobody knows them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from tests.providers.conftest import CHATS, KEY
from tests.providers.numbering import NumberingServer
from tests.providers.wire import running

from doteval import ReplyCache
from doteval.evals._identity.walk import Walk
from doteval.providers._sdk.http_clients import form_of, http_client_of, seen, unseen
from doteval.providers.openai import OpenAICompatibleProvider

pytestmark = pytest.mark.anyio
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loading certificates takes 20 ms."""
client_of = partial(httpx2.AsyncClient, verify=TLS)
older_client_of = partial(httpx.AsyncClient, verify=TLS)

SEEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "headers": ({"headers": {"X-Tenant": "one"}}, {"headers": {"X-Tenant": "other"}}),
    "another header": ({"headers": {"X-Tenant": "one"}}, {}),
    "params": ({"params": {"api-version": "1"}}, {"params": {"api-version": "2"}}),
    "params in a list": ({"params": {"beta": ["b"]}}, {"params": {"beta": ["a", "b"]}}),
}
ALIKE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "timeout": ({"timeout": 5}, {"timeout": 50}),
    "key": ({"headers": {"Authorization": "Bearer one"}}, {"headers": {"Authorization": "Bearer other"}}),
    "key in the query": ({"params": {"api_key": "one"}}, {"params": {"api_key": "other"}}),
    "cookies": ({"cookies": {"session": "one"}}, {"cookies": {"session": "other"}}),
    "what the SDK overrides": ({"headers": {"User-Agent": "one"}}, {}),
    "what the SDK does not use": ({"base_url": "http://one/"}, {"base_url": "http://other/"}),
    "transport of the library": ({"trust_env": False}, {"http2": False}),
}


async def hook(request: Any) -> None:
    request.headers["X-Tenant"] = "one"


async def other_hook(request: Any) -> None:
    request.headers["X-Tenant"] = "other"


def answer(_: Any) -> Any:
    raise NotImplementedError


class Signing(httpx2.Auth):
    """Signs a request with something."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        request.headers["X-Tenant"] = self.tenant
        yield request


class Passing(httpx2.AsyncBaseTransport):
    """Sends as it likes."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self._inner = httpx2.AsyncHTTPTransport(verify=TLS)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["X-Tenant"] = self.tenant
        return await self._inner.handle_async_request(request)


class Client(httpx2.AsyncClient):
    """Does as it likes."""

    def __init__(self, tenant: str) -> None:
        super().__init__(verify=TLS)
        self._tenant = tenant


UNSEEN: dict[str, tuple[Callable[[], httpx2.AsyncClient], Callable[[], httpx2.AsyncClient]]] = {
    "event_hooks": (
        lambda: client_of(event_hooks={"request": [hook]}),
        lambda: client_of(event_hooks={"request": [other_hook]}),
    ),
    "transport": (
        lambda: client_of(transport=Passing("one")),
        lambda: client_of(transport=Passing("other")),
    ),
    "mounts": (
        lambda: client_of(mounts={"http://": Passing("one")}),
        lambda: client_of(mounts={"http://": Passing("other")}),
    ),
    "auth": (lambda: client_of(auth=Signing("one")), lambda: client_of(auth=Signing("other"))),
    "class and attributes": (partial(Client, "one"), partial(Client, "other")),
}


@pytest.fixture(scope="module")
def numbering() -> Iterator[NumberingServer]:
    with running(NumberingServer) as server:
        yield server


def digest(http_client: Any) -> str:
    """What results of a model behind the HTTP client are known by."""
    walk = Walk()
    walk.add_settings("it", OpenAICompatibleProvider("http://localhost/v1", http_client=http_client).identity("m"))
    return str(sorted(walk.parts.items()))


def digest_of_setup(http_client: Any) -> str:
    """The same where the client is given to `setup`."""
    walk = Walk()
    walk.add_settings("it", OpenAICompatibleProvider("http://localhost/v1").identity("m", http_client=http_client))
    return str(sorted(walk.parts.items()))


def digest_of_model(http_client: Any, **settings: Any) -> str:
    """What results of a model are known by that was leased before."""
    client = openai.AsyncOpenAI(api_key=KEY, base_url="http://localhost/v1", http_client=http_client, **settings)
    walk = Walk()
    walk.add("it", OpenAICompatibleProvider("http://localhost/v1")._make_model("m", client))
    return str(sorted(walk.parts.items()))


@pytest.mark.parametrize("place", [digest, digest_of_setup, digest_of_model])
@pytest.mark.parametrize("kind", [client_of, older_client_of])
def test_what_is_seen_counts_for_results(kind: Callable[..., Any], place: Callable[[Any], str]) -> None:
    """As of `partial(provider.setup, ...)`, with the client given there or before, and of a leased model."""
    for name, (one, other) in SEEN.items():
        assert place(kind(**one)) == place(kind(**one)) != place(kind(**other)), name
    for name, (one, other) in ALIKE.items():
        assert place(kind(**one)) == place(kind(**other)) == place(kind()), name


@pytest.mark.parametrize("place", [digest, digest_of_model])
@pytest.mark.parametrize("name", UNSEEN)
def test_what_is_not_seen_counts_by_its_code(name: str, place: Callable[[Any], str]) -> None:
    """It is another one where its code is, or what it was made with."""
    one, other = UNSEEN[name]
    assert place(one()) == place(one()) != place(other())
    assert place(one()) != place(client_of())


def test_what_a_leased_models_client_sends_with_each_request_counts_for_results() -> None:
    """As it does for a provider; keys do not."""
    for name in ("default_headers", "default_query"):
        one, other = ({name: {"X-Tenant": value, "api-key": "x"}} for value in ("one", "other"))
        assert digest_of_model(None, **one) != digest_of_model(None, **other)
        assert digest_of_model(None, **one) == digest_of_model(None, **{name: {"X-Tenant": "one", "api-key": "y"}})


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_what_is_seen_is_a_part_of_what_a_request_is_known_by(
    numbering: NumberingServer, tmp_path: Path, kind: str, anyio_backend: Any
) -> None:
    """Also where it changes while the client is in use; and what is not seen is sent each time, and told once."""
    numbering.start_over()
    provider_class = CHATS[kind][0]
    cache = ReplyCache(tmp_path / "replies.db")

    async def asked(http_client: Any, *, twice: bool = False) -> tuple[int, int, list[str]]:
        async with AsyncExitStack() as stack, http_client:
            made = provider_class(base_url=f"{numbering.url}/v1", api_key=KEY, max_retries=0, http_client=http_client)
            provider: Any = await stack.enter_async_context(made)
            handle = await provider.setup("m")
            with cache.answering() as replies:
                await handle.model.generate("Hello")
                if twice:
                    http_client.headers["X-Tenant"] = "a third"
                    await handle.model.generate("Hello")
                async with handle.model.stream("Hello") as stream:
                    _ = [piece async for piece in stream]
            await handle.teardown()
        return replies.sent, replies.unknown, replies.problems

    for name, (one, other) in SEEN.items():
        if name == "another header":  # asked before
            continue
        for given in (one, other):
            found = [(await asked(client_of(**given)))[:2] for _ in range(2)]
            assert found == [(2, 0), (0, 0)], name
    both = client_of(headers={"X-Tenant": "a second"})
    assert await asked(both, twice=True) == (3, 0, [])
    for name, (one_, other_) in UNSEEN.items():
        for make in (one_, other_, one_):
            sent, unknown, problems = await asked(make())
            assert (sent, unknown, len(problems)) == (2, 2, 1), name
            assert "an http_client= with" in problems[0]


def test_the_clients_that_are_made_here_hide_nothing() -> None:
    """Nor do the SDKs' own; and the SDKs still have them where they are looked for."""
    for client in (
        OpenAICompatibleProvider("http://h/v1")._make_client(api_key=KEY, base_url="http://h/v1"),
        openai.AsyncOpenAI(api_key=KEY),
        openai.AsyncOpenAI(api_key=KEY, http_client=openai.DefaultAsyncHttpxClient(timeout=3)),
        anthropic.AsyncAnthropic(api_key=KEY),
        CHATS["anthropic"][0](api_key=KEY)._make_client(api_key=KEY, base_url="http://h"),  # type: ignore[attr-defined]
    ):
        http_client = http_client_of(client)
        assert isinstance(http_client, httpx2.AsyncClient)
        assert (seen(http_client), unseen(http_client), form_of(http_client, frozenset())) == ({}, {}, {})
    socket = client_of(transport=httpx2.AsyncHTTPTransport(uds="/run/one"))
    assert (seen(socket), unseen(socket)) == ({"uds": "/run/one"}, {})
    assert unseen(client_of(transport=httpx2.MockTransport(answer))).keys() == {"transport"}
    assert unseen(client_of(auth=("name", "password"))) == {}
    assert unseen(client_of(auth=lambda request: request)).keys() == {"auth"}

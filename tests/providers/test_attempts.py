"""What an SDK loses before it tries again may have cost something, and is counted so; what was refused did not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from anyio import Event, create_task_group, sleep_forever
from tests.providers.conftest import CHATS, KEY
from tests.providers.wire import Reply, answer, events

from doteval import ModelRequestError, counting_requests
from doteval.evals._results.roles import Roles
from doteval.evals._results.usage import usage_of_requests
from doteval.providers._served.provider import _http_client

pytestmark = pytest.mark.anyio

CASES: dict[str, tuple[int, int, int]] = {
    # what becomes of each time: a status, a timeout, a lost connection, a redirect -> requests, failed, unknown
    "200": (1, 0, 0),
    "429 200": (2, 1, 0),
    "503 429 200": (3, 2, 0),
    "timeout 200": (2, 1, 1),
    "lost 200": (2, 1, 1),
    "timeout 500 lost 200": (4, 3, 2),
    "307 429 307 200": (2, 1, 0),
    "307 timeout 307 200": (2, 1, 1),
    "400": (1, 1, 0),
    "timeout 400": (2, 2, 1),
    "429 timeout 429 timeout": (4, 4, 2),
    "500 500 500 500": (4, 4, 0),
}


def transport(kind: str, case: str) -> httpx2.MockTransport:
    """Does to one request after the other what the case says."""
    steps: Iterator[str] = iter(case.split())

    def handle(request: httpx2.Request) -> httpx2.Response:
        step = next(steps)
        if step == "timeout":
            raise httpx2.ReadTimeout("too late", request=request)
        if step == "lost":
            raise httpx2.ReadError("gone", request=request)
        if step == "307":
            return httpx2.Response(307, headers={"location": str(request.url)})
        if step != "200":
            return httpx2.Response(int(step), json={"error": {"message": "no"}})
        made: Callable[..., Any] = events if json.loads(request.content).get("stream") else answer
        found = made(kind, Reply(("yes",)))
        return httpx2.Response(200, headers={"content-type": found.content_type or ""}, content=found.body)

    return httpx2.MockTransport(handle)


@pytest.fixture(params=["openai", "anthropic"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def counted(kind: str, case: str, asks: str, **settings: Any) -> tuple[int, int, int]:
    """How many requests were sent, how many failed, and how many may have cost more than is known."""
    async with CHATS[kind][0](base_url="http://h/v1", api_key=KEY, max_retries=3, **settings) as provider:
        handle = await provider.setup("m")
        client: Any = handle.model.client
        client._client._transport = transport(kind, case)
        client._calculate_retry_timeout = lambda *_: 0
        with counting_requests() as requests:
            try:
                if asks == "generate":
                    await handle.model.generate("Hello")
                else:
                    async with handle.model.stream("Hello") as stream:
                        _ = [piece async for piece in stream]
            except ModelRequestError:
                pass
        await handle.teardown()
    (usage,) = usage_of_requests(requests, Roles())
    return usage.requests, usage.failed, usage.unknown


@pytest.mark.parametrize("asks", ["generate", "stream"])
async def test_only_what_was_refused_is_known_to_cost_nothing(kind: str, asks: str) -> None:
    """However often the SDK sends a request; one that fails in the end counts as well."""
    for case, expected in CASES.items():
        assert await counted(kind, case, asks) == expected, case


async def test_an_http_client_of_the_users_is_watched_as_well(kind: str) -> None:
    """Once, beside its own hooks."""
    seen: list[str] = []

    async def hook(what: httpx2.Request | httpx2.Response) -> None:
        seen.append(type(what).__name__)

    async with httpx2.AsyncClient(event_hooks={"request": [hook], "response": [hook]}) as http_client:
        for case in ("200", "429 200", "timeout 500 timeout 400"):
            assert await counted(kind, case, "generate", http_client=http_client) == CASES.get(case, (4, 4, 2)), case
        assert [len(hooks) for hooks in http_client.event_hooks.values()] == [2, 2]
    assert seen == ["Request", "Response"] * 3 + ["Request"] * 2 + ["Response", "Request", "Request", "Response"]


async def test_a_request_that_is_cancelled_has_been_sent_as_often_as_it_was(kind: str) -> None:
    """The last of them is one of those that nobody knows the cost of."""
    steps = iter([429, None])
    hangs = Event()

    async def handle(request: httpx2.Request) -> httpx2.Response:
        if (status := next(steps)) is not None:
            return httpx2.Response(status, json={"error": {"message": "no"}})
        hangs.set()
        await sleep_forever()
        raise AssertionError

    async with CHATS[kind][0](base_url="http://h/v1", api_key=KEY, max_retries=3) as provider:
        async with provider.setup("m") as leased:
            client: Any = leased.model.client
            client._client._transport = httpx2.MockTransport(handle)
            client._calculate_retry_timeout = lambda *_: 0
            with counting_requests() as requests:
                async with create_task_group() as tasks:
                    tasks.start_soon(leased.model.generate, "Hello")
                    await hangs.wait()
                    tasks.cancel_scope.cancel()
    (usage,) = usage_of_requests(requests, Roles())
    assert (usage.requests, usage.failed, usage.unknown) == (2, 1, 1)


async def test_servers_of_ones_own_are_watched_as_well(anyio_backend: Any) -> None:
    """Their clients go without proxies, and have the same eyes."""
    async with _http_client("http://127.0.0.1:1", None) as http_client:
        assert [len(hooks) for hooks in http_client.event_hooks.values()] == [1, 1]

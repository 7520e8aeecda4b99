"""The pool of connections does what the library's own does, request by request, and looks at two for each of them."""

from __future__ import annotations

import random
import ssl
from contextlib import suppress
from typing import Any, cast

import anthropic
import anyio
import httpcore
import httpcore2
import httpx
import httpx2
import openai
import pytest
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.providers.network import BODY, ENDS, Network
from tests.virtual_time import virtual_time

from doteval import AnthropicProvider, HTTPProvider, OpenAICompatibleProvider, OpenAIProvider
from doteval.providers._connections import Connections, pool_connections
from doteval.providers._served.balancing import Balancer
from doteval.providers._served.provider import _http_client

pytestmark = [pytest.mark.anyio, virtual_time, pytest.mark.concurrency]
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
leaves_early = pytest.mark.filterwarnings(  # the generators of httpx2 are then left to trio
    "ignore:Async generator:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def client_on(network: Network, most: int, idle: int, *, ours: bool = True, **timeouts: float) -> httpx2.AsyncClient:
    """A client whose pool opens its connections on `network`."""
    client = httpx2.AsyncClient(trust_env=False, verify=NO_CERTIFICATES, timeout=httpx2.Timeout(30.0, **timeouts))
    client._transport._pool = httpcore2.AsyncConnectionPool(  # type: ignore[attr-defined]
        max_connections=most, max_keepalive_connections=idle, network_backend=network
    )
    if ours:
        pool_connections(client)
        assert isinstance(connections_of(client), Connections)
    return client


def connections_of(client: Any) -> Any:
    """The pool."""
    return client._transport._pool


def assert_nobody_waits_for_nothing(pool: Connections) -> None:
    """Nobody waits while there is an idle connection, or room for one more; no limit is passed."""
    assert len(pool._open) <= pool._most
    assert len(pool._idle) <= pool._most_idle
    assert not (pool._waiting and (pool._idle or len(pool._open) < pool._most))
    assert pool._idle.keys() == {each for idle in pool._idle_of.values() for each in idle}
    assert all(pool._idle_of.values())
    assert pool._idle.keys() <= pool._open.keys()
    assert all(each.is_idle() and not each.is_closed() for each in pool._idle)


async def outcome(client: httpx2.AsyncClient, url: str, pieces: int | None) -> object:
    """What becomes of one request, of whose body only so many pieces are read."""
    try:
        async with client.stream("GET", url) as response:
            if pieces is None:
                return await response.aread()
            got: list[bytes] = []
            if pieces:
                async for piece in response.aiter_raw():
                    got.append(piece)
                    if len(got) == pieces:
                        break
            return got
    except httpx2.HTTPError as error:
        return type(error).__name__, str(error)


@leaves_early
@pytest.mark.parametrize("seed", range(6))
async def test_each_request_ends_as_with_the_pool_of_the_library(seed: int, anyio_backend_name: str) -> None:
    """A random crowd, on few connections: the same for every request, no more connections opened, none left."""
    outcomes: dict[bool, dict[int, object]] = {True: {}, False: {}}
    networks = {True: Network(), False: Network()}
    for ours, network in networks.items():
        chance = random.Random(f"{seed} on {anyio_backend_name}")
        most = chance.randint(1, 6)
        client = client_on(network, most, chance.randint(0, most), ours=ours, read=10.0, pool=1000.0)

        async def one(number: int, url: str, after: float, pieces: int | None, leaves: float | None) -> None:
            await anyio.sleep(after)
            with anyio.move_on_after(leaves):
                outcomes[ours][number] = await outcome(client, url, pieces)  # noqa: B023 - ends before the next
            if ours:  # noqa: B023
                assert_nobody_waits_for_nothing(connections_of(client))  # noqa: B023

        async with client:
            async with anyio.create_task_group() as task_group:
                for number in range(40):
                    kind = chance.choice(ENDS)
                    host = "refusing" if kind == "refused" else chance.choice("abc")
                    pieces = chance.choice([None, None, 0, 1])
                    leaves = 5.0 if kind == "slow" and most > 3 else None
                    after = chance.choice([0.0, chance.random(), 3 * chance.random()])
                    task_group.start_soon(one, number, f"http://{host}/{kind}/{number}", after, pieces, leaves)
            if ours:
                assert not connections_of(client)._waiting
        assert network.most <= most
        assert not network.open
    finished = outcomes[True].keys() & outcomes[False].keys()  # who left early may have been served, or not
    assert {number: outcomes[True][number] for number in finished} == {
        number: outcomes[False][number] for number in finished
    }
    assert len(finished) > 20


@leaves_early
@pytest.mark.parametrize("seed", range(6))
async def test_whoever_leaves_leaves_nothing(seed: int, anyio_backend_name: str) -> None:
    """Cancelled at random moments, in the queue too, or by a timeout for waiting: the next requests are all served."""
    chance, network = random.Random(f"{seed} on {anyio_backend_name}"), Network()
    most = chance.randint(1, 4)
    client = client_on(network, most, chance.randint(0, most), pool=chance.choice([0.1, 1.0, 1000.0]))

    async def one(url: str, after: float, leaves: float) -> None:
        await anyio.sleep(after)
        with anyio.move_on_after(leaves):
            await outcome(client, url, chance.choice([None, 0, 1]))
        assert_nobody_waits_for_nothing(connections_of(client))

    async with client:
        async with anyio.create_task_group() as task_group:
            for number in range(60):
                url = f"http://{chance.choice('ab')}/{chance.choice(ENDS)}/{number}"
                task_group.start_soon(
                    one, url, chance.random(), chance.choice([0.0, 0.01, 0.05, 1.0, 100.0]) * chance.random()
                )
        network.refusing = False
        for host in "ab":
            assert await outcome(client, f"http://{host}/ok", None) == BODY
        pool = connections_of(client)
        assert not pool._waiting
        assert len(pool.connections) == len(pool._idle) == len(network.open)
    assert not network.open


@leaves_early
async def test_a_request_may_be_cancelled_at_every_checkpoint() -> None:
    """While it waits, connects, sends, reads, and gives back: another one is served afterwards."""

    async def trial(k: int) -> bool:
        reached, network = False, Network()
        async with client_on(network, 1, 1) as client:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(outcome, client, "http://a/chunked/before", None)
                await anyio.wait_all_tasks_blocked()

                async def request() -> None:
                    await outcome(client, "http://a/chunked", 1)

                reached = await cancelled_at(k, request)
            assert await outcome(client, "http://b/ok", None) == BODY
            assert network.most == 1
        assert not network.open
        return reached

    assert await at_every_checkpoint(trial) > 5


async def test_who_waits_is_served_in_turn() -> None:
    network = Network()
    async with client_on(network, 1, 1) as client, anyio.create_task_group() as task_group:
        for number in range(20):
            task_group.start_soon(outcome, client, f"http://{'ab'[number % 2]}/ok/{number}", None)
            await anyio.wait_all_tasks_blocked()
    assert network.began == [f"/ok/{number}" for number in range(20)]


async def test_waiting_has_its_timeout() -> None:
    async with client_on(Network(), 1, 1, pool=1.0) as client, anyio.create_task_group() as task_group:
        task_group.start_soon(outcome, client, "http://a/slow", None)
        await anyio.wait_all_tasks_blocked()
        began = anyio.current_time()
        with pytest.raises(httpx2.PoolTimeout):
            await client.get("http://a/ok")
        assert anyio.current_time() - began == pytest.approx(1.0, abs=0.01)
        task_group.cancel_scope.cancel()


async def test_closing_ends_those_who_wait() -> None:
    network = Network()
    ends: list[object] = []

    async def one() -> None:
        try:
            await client.get("http://a/slow")
        except Exception as error:
            ends.append(error)

    client = client_on(network, 1, 1)
    async with anyio.create_task_group() as task_group:
        for _ in range(3):
            task_group.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        await client.aclose()
    assert len(ends) == 3
    assert sum(isinstance(error, httpx2.HTTPError) for error in ends) == 1
    assert not network.open
    assert [str(error) for error in ends if isinstance(error, RuntimeError)] == [
        "the client was closed while a request waited for a connection"
    ] * 2


@pytest.mark.parametrize("kind", ["half", "slow-body", "chunked"])
async def test_a_response_that_fails_while_it_is_read_need_not_be_closed(kind: str) -> None:
    """By the server, by a timeout, by a cancellation: its place is free for the next request."""
    network = Network()
    async with client_on(network, 1, 1, pool=1.0) as client:
        for _ in range(3):
            request = httpcore2.Request("GET", f"http://a/{kind}", extensions={"timeout": {"read": 1.0, "pool": 1.0}})
            request.headers.append((b"Host", b"a"))
            response = await connections_of(client).handle_async_request(request)
            with anyio.move_on_after(0.1 if kind == "chunked" else None) as scope:
                with suppress(httpcore2.ReadTimeout, httpcore2.RemoteProtocolError):
                    await response.aread()
            assert scope.cancelled_caught is (kind == "chunked")
        assert await outcome(client, "http://a/ok", None) == BODY
    assert not network.open


async def test_a_connection_that_the_server_has_closed_is_not_used() -> None:
    network = Network()
    async with client_on(network, 5, 5) as client:
        async with anyio.create_task_group() as task_group:
            for _ in range(3):
                task_group.start_soon(outcome, client, "http://a/ok", None)
        assert (network.opened, len(network.open)) == (3, 3)
        network.open[2].left = True
        for line in list(network.open[:2]):
            line.left = True
        assert await outcome(client, "http://a/ok", None) == BODY
        assert network.opened == 4
        assert len(network.open) == 1


async def test_the_connection_that_was_used_last_is_used_next() -> None:
    """The others become older, and those that the server has closed are closed, one for each request."""
    network = Network()
    async with client_on(network, 5, 5) as client:
        async with anyio.create_task_group() as task_group:
            for _ in range(4):
                task_group.start_soon(outcome, client, "http://a/ok", None)
        network.used.clear()
        pool: Any = connections_of(client)
        for oldest in [*pool._idle][:2]:  # which of them became idle last is a matter of the loop
            oldest._connection._network_stream.left = True
        for _ in range(3):
            await outcome(client, "http://a/ok", None)
        assert len(set(network.used)) == 1
        assert len(network.open) == 2
        assert_nobody_waits_for_nothing(connections_of(client))


@pytest.mark.parametrize("kind", ["twice", "more"])
async def test_what_came_after_an_answer_is_nobodys(kind: str) -> None:
    """The next request takes it for its own with the pool of the library; here it gets another connection."""
    network = Network()
    async with client_on(network, 5, 5) as client:
        for number in range(3):
            assert await outcome(client, f"http://a/{kind}/{number}", None) == BODY
        assert (network.opened, network.most) == (3, 1)
    assert not network.open


async def test_a_request_looks_at_two_connections_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes the pool of the library slow: it looks at all, and asks the system about each idle one."""
    looks = 0
    has_expired = httpcore2.AsyncHTTPConnection.has_expired

    def counted(self: httpcore2.AsyncHTTPConnection) -> bool:
        nonlocal looks
        looks += 1
        return has_expired(self)

    monkeypatch.setattr(httpcore2.AsyncHTTPConnection, "has_expired", counted)
    per_request = {}
    for ours in (True, False):
        async with client_on(Network(), 100, 100, ours=ours) as client:
            for round_ in range(2):
                async with anyio.create_task_group() as task_group:
                    for _ in range(100):
                        task_group.start_soon(outcome, client, "http://a/ok", None)
                if round_ == 0:
                    looks = 0
        per_request[ours] = looks / 100
    assert per_request[True] <= 2
    assert per_request[False] > 25


HTTP_CLIENTS: dict[str, Any] = {
    "openai": openai.DefaultAsyncHttpxClient,
    "anthropic": anthropic.DefaultAsyncHttpxClient,
    "httpx": httpx.AsyncClient,
    "httpx2": httpx2.AsyncClient,
}


@pytest.mark.parametrize("make", HTTP_CLIENTS.values(), ids=HTTP_CLIENTS)
async def test_every_client_has_the_place_that_is_relied_on(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the environment has a proxy; the limits and the proxy stay what they were."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with make() as client:
        before = [each._pool for each in (client._transport, *client._mounts.values()) if each is not None]
        pool_connections(client)
        after = [each._pool for each in (client._transport, *client._mounts.values()) if each is not None]
    assert len(before) > 1
    assert all(isinstance(pool, Connections) for pool in after)
    assert [pool._most for pool in after] == [pool._max_connections for pool in before]
    assert [pool._proxy_url for pool in after] == [getattr(pool, "_proxy_url", None) for pool in before]
    assert [pool._library for pool in after] == [httpcore if make is httpx.AsyncClient else httpcore2] * len(after)


async def test_what_is_not_known_stays_as_it_is() -> None:
    """A transport of another kind, HTTP/2, a library that has changed."""
    handler = httpx2.MockTransport(lambda request: httpx2.Response(200))
    async with httpx2.AsyncClient(transport=handler) as mocked, httpx2.AsyncClient(http2=True) as newer:
        for client in (mocked, newer, object()):
            pool_connections(client)
        assert mocked._transport is handler
        assert not isinstance(connections_of(newer), Connections)


async def test_the_providers_use_it() -> None:
    address = "http://127.0.0.1:9/v1"
    sdk = [OpenAIProvider, AnthropicProvider, OpenAICompatibleProvider]
    for provider_class in sdk:
        async with provider_class(base_url=address, api_key="key-of-nobody") as provider:
            async with provider.setup("m") as handle:
                assert isinstance(connections_of(handle.model.client._client), Connections)
    async with HTTPProvider() as http:
        async with http.setup(address) as handle:
            assert isinstance(connections_of(handle.model), Connections)
    async with _http_client(address, None) as client:
        assert isinstance(connections_of(client), Connections)
    assert isinstance(Balancer(cast("Any", None))._inner._pool, Connections)


async def test_a_client_of_the_users_own_stays_as_it_is() -> None:
    async with openai.DefaultAsyncHttpxClient() as client:
        async with OpenAIProvider(http_client=client, api_key="key-of-nobody") as provider:
            async with provider.setup("m"):
                assert not isinstance(connections_of(client), Connections)

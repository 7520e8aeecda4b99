"""What the environment and the network have to say: the pool of connections does as the library's own does."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import openai
import pytest
import trustme
from anyio import to_thread
from hypercorn.asyncio import serve
from hypercorn.config import Config
from tests.providers.socket_server import SocketServer

from doteval import HTTPProvider
from doteval.providers._connections import Connections, pool_connections

pytestmark = pytest.mark.anyio

NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading those of the system takes time
CLIENTS: dict[str, Any] = {"asyncio": openai.DefaultAsyncHttpxClient, "trio": httpx.AsyncClient}
"""The one that is tested on each loop: making clients takes most of the time here."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="module")
def certificates(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the certificate of who signs."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """What a server speaks that is 127.0.0.1, or localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


SIGNED = {"SSL_CERT_FILE": "CA"}
CASES: dict[str, tuple[bool, dict[str, str], list[str], list[str]]] = {
    # whether the server speaks TLS; the environment; the paths that are asked; what is to come of them.
    # PORT is the server's, CA the file that its certificate is checked with.
    "plain": (False, {}, ["/a", "/b", "/c"], ["ok"] * 3),
    "closed while idle": (False, {}, ["/last", "/last", "/a"], ["ok"] * 3),
    "proxy": (False, {"HTTP_PROXY": "http://127.0.0.1:PORT"}, ["http://far/a", "http://far/b"], ["ok"] * 2),
    "two hosts by a proxy": (False, {"HTTP_PROXY": "http://127.0.0.1:PORT"}, ["http://a/", "http://b/"], ["ok"] * 2),
    "proxy with a password": (False, {"HTTP_PROXY": "http://me:secret@127.0.0.1:PORT"}, ["http://far/a"], ["ok"]),
    "proxy for all": (False, {"ALL_PROXY": "http://127.0.0.1:PORT"}, ["http://far/a"], ["ok"]),
    "proxy for others": (
        False,
        {"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"},
        ["/a", "/b"],
        ["ok"] * 2,
    ),
    "proxy that is not there": (False, {"HTTP_PROXY": "http://127.0.0.1:1"}, ["/a"], ["ConnectError"]),
    "nobody there": (False, {}, ["http://127.0.0.1:1/a"], ["ConnectError"]),
    "certificate": (True, SIGNED, ["/a", "/b"], ["ok"] * 2),
    "certificate of nobody known": (True, {}, ["/a", "/b"], ["ConnectError"] * 2),
    "certificate of another host": (True, SIGNED, ["https://127.0.0.2:PORT/a"], ["ConnectError"]),
    "closed while idle, in TLS": (True, SIGNED, ["/last", "/a"], ["ok"] * 2),
    "tunnel": (
        False,
        {"HTTPS_PROXY": "http://127.0.0.1:PORT", **SIGNED},
        ["https://localhost/a", "https://localhost/b"],
        ["ok"] * 2,
    ),
    "tunnel, closed while idle": (
        False,
        {"HTTPS_PROXY": "http://me:secret@127.0.0.1:PORT", **SIGNED},
        ["https://localhost/last", "https://localhost/b"],
        ["ok"] * 2,
    ),
    "tunnel to nobody known": (
        False,
        {"HTTPS_PROXY": "http://127.0.0.1:PORT"},
        ["https://localhost/a"],
        ["ConnectError"],
    ),
    "tunnel that is refused": (False, {"HTTPS_PROXY": "http://127.0.0.1:PORT"}, ["https://refused/a"], ["ProxyError"]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_it_does_as_the_library_does(
    case: Any, anyio_backend_name: str, tls: ssl.SSLContext, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answers and failures, in their words; the same requests, on as many connections."""
    is_tls, variables, paths, wanted = case
    found = []
    for ours in (True, False):
        with SocketServer(tls, is_tls=is_tls) as server:

            def of_server(text: str, port: int = server.port) -> str:
                return text.replace("PORT", str(port)).replace("CA", str(certificates))

            with monkeypatch.context() as patch:
                for name, value in variables.items():
                    patch.setenv(name, of_server(value))
                client = CLIENTS[anyio_backend_name](timeout=10)
            if ours:
                pool_connections(client)
                assert all(isinstance(each._pool, Connections) for each in transports_of(client))
            outcomes, words = [], []
            async with client:
                for path in paths:
                    own = f"{'https' if is_tls else 'http'}://127.0.0.1:PORT{path}"
                    try:
                        outcomes.append((await client.get(of_server(path if "//" in path else own))).text)
                    except (httpx.HTTPError, httpx2.HTTPError) as exc:
                        outcomes.append(type(exc).__name__)
                        words.append(str(exc).replace(str(server.port), "PORT"))
                    if path.endswith("/last"):
                        await to_thread.run_sync(server.has_left.acquire)
        seen = [(at, line.replace(str(server.port), "PORT"), headers) for at, line, headers in server.seen]
        for _, _, headers in seen:
            headers["host"] = headers["host"].replace(str(server.port), "PORT")
        found.append((outcomes, words, seen))
    assert found[0] == found[1]
    assert found[0][0] == wanted


def transports_of(client: Any) -> list[Any]:
    return [each for each in (client._transport, *client._mounts.values()) if each is not None]


async def test_limits_are_those_of_the_client(anyio_backend_name: str) -> None:
    """How many, how many idle ones, and for how long; each as with the pool of the library."""
    make = CLIENTS[anyio_backend_name]
    limits_of: Any = httpx.Limits if make is httpx.AsyncClient else httpx2.Limits
    for limits, opened in (
        ({"keepalive_expiry": 0.0}, 3),
        ({"keepalive_expiry": 100.0}, 1),
        ({"max_keepalive_connections": 0}, 3),
        ({"max_connections": 1}, 1),
    ):
        counts = []
        for ours in (True, False):
            with SocketServer() as server:
                async with make(limits=limits_of(**limits), verify=NO_CERTIFICATES) as client:
                    if ours:
                        pool_connections(client)
                    for _ in range(3):
                        assert (await client.get(f"http://127.0.0.1:{server.port}/")).text == "ok"
            counts.append(len({number for number, _, _ in server.seen}))
        assert counts == [opened, opened], limits


@pytest.fixture
def newer(authority: trustme.CA, tmp_path: Path) -> Iterator[int]:
    """A server that speaks HTTP/2; its port."""
    own = authority.issue_cert("localhost")
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.keyfile, config.certfile = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    config.errorlog = config.accesslog = None
    ports: list[int] = []
    ready = threading.Event()
    end: Any = None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def main() -> None:
        nonlocal end
        stop = asyncio.Event()
        end = (asyncio.get_running_loop(), stop)
        sockets = config.create_sockets()
        ports.append(sockets.secure_sockets[0].getsockname()[1])
        config.create_sockets = lambda: sockets  # type: ignore[method-assign]
        ready.set()
        await serve(app, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    ready.wait()
    yield ports[0]
    end[0].call_soon_threadsafe(end[1].set)
    thread.join()


async def test_http2_is_spoken_where_it_is_asked_for(newer: int, certificates: Path) -> None:
    """By the library's own pool: one connection serves all requests there."""
    context = ssl.create_default_context(cafile=str(certificates))
    async with HTTPProvider() as provider:
        for asked, version in ((True, "HTTP/2"), (False, "HTTP/1.1")):
            async with provider.setup(f"https://localhost:{newer}", http2=asked, verify=context) as handle:
                versions = []

                async def ask(client: httpx.AsyncClient, versions: list[str]) -> None:
                    response = await client.get("/")
                    assert response.text == "ok"
                    versions.append(response.http_version)

                async with anyio.create_task_group() as task_group:
                    for _ in range(3):
                        task_group.start_soon(ask, handle.model, versions)
                assert versions == [version] * 3

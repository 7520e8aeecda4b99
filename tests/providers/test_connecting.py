"""Why there is no connection is told by its cause, with what to do about that."""

from __future__ import annotations

import socket
import ssl
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpcore2
import httpx
import httpx2
import pytest
from tests.providers.conftest import CHATS, KEY
from tests.providers.parts import is_no_circle
from tests.providers.wire import Sent, WireServer

from doteval import HTTPProvider, ModelRequestError, ModelSetupError

pytestmark = [pytest.mark.anyio]

PORT = "Correct host and port in base_url="


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def failure(url: str, exc: Exception | None = None, kind: str = "openai", **settings: Any) -> ModelRequestError:
    """What a request fails with; with `exc`, where the HTTP library raises that, or one made of it."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        assert exc is not None
        if isinstance(exc, httpx2.HTTPError):
            raise exc
        try:
            try:
                raise exc
            except Exception as low:
                raise httpcore2.ConnectError(low) from low
        except httpcore2.ConnectError as low:
            low.__cause__ = None  # as its connection pool does
            raise httpx2.ConnectError(str(exc)) from low

    if exc is not None:
        settings["http_client"] = httpx2.AsyncClient(transport=httpx2.MockTransport(handle))
    async with CHATS[kind][0](base_url=url, api_key=KEY, max_retries=0, timeout=30, **settings) as provider:
        async with provider.setup("m") as handle_on_model:
            try:
                raise socket.gaierror(-2, "the caller's own")
            except socket.gaierror:
                with pytest.raises(ModelRequestError) as failed:
                    await handle_on_model.model.generate("Hello")
    if exc is not None:
        await settings["http_client"].aclose()
    return failed.value


def untrusted(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {message}")
    error.verify_code, error.verify_message = code, message
    return error


def group(*errors: Exception) -> OSError:
    error = OSError("All connection attempts failed")
    error.__cause__ = ExceptionGroup("multiple connection attempts failed", errors)
    return error


REFUSED = ConnectionRefusedError(111, "Connect call failed")
RESET = ConnectionResetError(104, "Connection reset by peer")
CASES: list[tuple[str, Exception, str, str, bool]] = [
    ("http://h/v1", REFUSED, "nobody listens at h:80", f"Start the server, or c{PORT[1:]}.", True),
    ("https://h/v1", group(REFUSED, REFUSED), "nobody listens at h:443", "Start the server", True),
    ("http://[::1]:8/v1", REFUSED, "nobody listens at [::1]:8", "Start the server", True),
    ("http://h/v1", socket.gaierror(-2, "no"), "no address of 'h' is found", f"{PORT}, or see to the network.", True),
    ("http://h/v1", group(OSError(101, "Network")), "there is no way to h:80", "See to the network, or correct", True),
    ("http://h/v1", OSError("?"), "h:80 is not reached (ConnectError: ?)", "Ensure the server is running, or", True),
    ("https://h/v1", untrusted(10, "has expired"), "of h:443 is not trusted (has expired)", "Have it renewed", False),
    ("https://h/v1", untrusted(62, "mismatch"), "not trusted (mismatch)", "Write the host in base_url= as it", False),
    ("https://h/v1", untrusted(18, "self-signed"), "not trusted (self-signed)", "Let SSL_CERT_FILE name a file", False),
    (
        "https://h/v1",
        ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"),
        "speaks no TLS",
        "Write http:// in base_url",
        False,
    ),
    (
        "https://h/v1",
        ssl.SSLError(1, "NO_CIPHERS"),
        "agree on no TLS",
        "Check host and port in base_url=",
        False,
    ),
    ("https://h/v1", ssl.SSLEOFError(8, "EOF"), "agree on no TLS", "Check host and port in base_url=", True),
    ("https://h/v1", RESET, "h:443 ends it as soon as it is to be TLS", "Write http:// in base_url= if it sp", True),
    ("https://h/v1", anyio.EndOfStream(), "ends it as soon as it is to be TLS", "Write http:// in base_url=", True),
    ("http://h/v1", RESET, "h:80 is not reached (ConnectError: ", "Ensure the server is running", True),
    ("https://h/v1", httpx2.ConnectTimeout(""), "came about in time", "whether it has to be http://, and", True),
    ("http://h/v1", httpx2.ConnectTimeout(""), "came about in time", "Check host and port in base_url=, and", True),
    ("http://h/v1", httpx2.PoolTimeout(""), "did not answer in time", "Try again, lower max_concurrency=", True),
    ("http://h/v1", httpx2.ProxyError("403"), "the proxy does not connect to", "the name and password that", False),
    ("http://h/v1", httpx2.ReadError(""), "was lost (ReadError)", "if it is lost each time, write https://", True),
    ("https://h/v1", httpx2.ReadError(""), "was lost (ReadError)", "see whether the server still runs.", True),
]


@pytest.mark.parametrize(("url", "exc", "problem", "advice", "retryable"), CASES)
async def test_each_cause_has_its_advice(url: str, exc: Exception, problem: str, advice: str, retryable: bool) -> None:
    """Whatever the caller has in hand at the time."""
    error = await failure(url, exc)
    first, second = str(error).split("\n")
    assert problem in first
    assert advice in second
    assert error.retryable is retryable


async def test_where_a_file_of_certificates_is_named_it_is_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CA of a company is not in what was given."""
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/mine.pem")
    error = await failure("https://h/v1", untrusted(20, "unknown issuer"))
    assert "into what SSL_CERT_FILE names, '/etc/mine.pem'." in str(error)


@pytest.mark.parametrize("name", ["openai", "anthropic"])
async def test_a_proxy_that_is_not_there_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable that it comes from, and without its password."""
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:1")
    error = await failure("http://127.0.0.2/v1", kind=name)
    assert "its proxy http://127.0.0.1:1, of HTTP_PROXY, is not reached: nobody listens at 127.0.0.1:1" in str(error)
    assert "Start the proxy, or correct or unset HTTP_PROXY, or put the host of base_url= into NO_PROXY." in str(error)
    assert "secret" not in str(error)


async def test_a_proxy_of_an_older_http_client_is_named_as_well() -> None:
    """It is one that the user has given."""
    async with httpx.AsyncClient(proxy="http://127.0.0.1:1") as http_client:
        error = await failure("http://127.0.0.2/v1", http_client=http_client)
    assert "its proxy http://127.0.0.1:1, of proxy= or mounts= of the http_client, is not reached" in str(error)


@contextmanager
def answering(sent: bytes) -> Iterator[int]:
    """Whoever connects to this port gets that, whatever it says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection = listener.accept()[0]
            with connection:
                connection.recv(65536)
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


@pytest.mark.parametrize(
    ("scheme", "sent", "problem", "advice"),
    [
        ("https", b"HTTP/1.1 400 Bad\r\n\r\n", "speaks no TLS", "Write http:// in base_url=, or another port."),
        ("http", b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", "speaks TLS, not plain HTTP", "Write https:// in base_url=."),
        ("http", b"SSH-2.0-OpenSSH_9\r\n\r\n", "speaks no HTTP", "Correct host and port in base_url=."),
    ],
)
async def test_what_speaks_something_else_is_found_out(scheme: str, sent: bytes, problem: str, advice: str) -> None:
    """The address is right but for its beginning, or its port."""
    with answering(sent) as port:
        error = await failure(f"{scheme}://127.0.0.1:{port}/v1")
    assert problem in str(error)
    assert str(error).endswith(f"\n{advice}")
    assert not error.retryable


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("status", "content_type", "body", "problem", "advice"),
    [
        (404, "text/html", b"<html><p>Not here</p></html>", "there is nothing at {place} (404: Not here)", "{path}"),
        (404, "application/json", b'{"detail": "Not Found"}', "there is nothing at {place} (404: Not Found)", "{path}"),
        (405, "application/json", b'{"detail": "Method Not Allowed"}', "there is nothing at {place} (405", "{path}"),
        (
            404,
            "application/json",
            b'{"error": {"message": "no model m"}}',
            "does not know the model",
            "Check the spell",
        ),
        (
            404,
            "application/json",
            b'{"error": "model m not found"}',
            ": model m not found (404 at ",
            "Check the spelling",
        ),
        (
            400,
            "text/html",
            b"The plain HTTP request was sent to HTTPS port",
            "speaks TLS, not plain HTTP",
            "Write https",
        ),
    ],
)
async def test_a_wrong_path_is_no_unknown_model(
    wire: WireServer, kind: str, status: int, content_type: str, body: bytes, problem: str, advice: str
) -> None:
    """The address that was asked is shown, and what was appended to the one that was given."""
    wire.script(Sent(body, content_type, status))
    error = await failure(f"{wire.url}/v2", kind=kind)
    appended = "chat/completions" if kind == "openai" else "v1/messages"
    path = f"Correct the path of base_url=: the SDK appends '{appended}' to it."
    assert problem.format(place=f"{wire.url}/v2/{appended}") in str(error)
    assert advice.format(path=path) in str(error)


NO_PROXY_ADDRESSES = ("ftp://h", "socks4://h", "http://proxy:port", "proxy:80O80", "http://[::1", "http://h\x07")
USELESS = [
    ("SSL_CERT_FILE", "/nowhere.pem", "'/nowhere.pem', which SSL_CERT_FILE names, does not exist ("),
    ("SSL_CERT_FILE", "{path}", "which SSL_CERT_FILE names, is of no use ("),
    *(("HTTP_PROXY", value, "HTTP_PROXY is not the address of a proxy (") for value in NO_PROXY_ADDRESSES),
    (
        "https_proxy",
        "http://proxy:port",
        "https_proxy is not the address of a proxy (InvalidURL: Invalid port: 'port')",
    ),
    ("ALL_PROXY", "http://me:PASS/word@h:80", "ALL_PROXY is not the address of a proxy (InvalidURL: ***)"),
]


@pytest.mark.parametrize("kind", [*CHATS, "http"])
async def test_what_the_environment_has_is_named_where_it_is_of_no_use(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before anything is sent; what leads to it is no circle, and holds no password."""
    (tmp_path / "ca.pem").write_text("no certificate")
    made: Any = HTTPProvider() if kind == "http" else CHATS[kind][0](base_url="https://h/v1", api_key=KEY)
    async with made as provider:
        for name, value, problem in USELESS:
            with monkeypatch.context() as patch, pytest.raises(ModelSetupError) as failed:
                patch.setenv(name, value.format(path=tmp_path / "ca.pem"))
                await provider.setup("https://h/v1" if kind == "http" else "m")
            assert problem in failed.value.reason
            assert failed.value.advice == f"Correct {name}, or unset it."
            assert is_no_circle(failed.value)
            assert "PASS" not in "".join(traceback.format_exception(failed.value))

"""A redirect to another host gets no key, and no header of the user's; one to the same host gets all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from doteval import AnthropicProvider, OpenAICompatibleProvider, OpenAIProvider

OPENAI = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "it",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
}
ANTHROPIC = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "it",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
SECRETS = ("the-key", "the-header")


class Server(ThreadingHTTPServer):
    """Answers below ``/there``; sends everything else on to where it is told."""

    daemon_threads = True
    elsewhere = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        if self.path.startswith("/there"):
            body = json.dumps(ANTHROPIC if "messages" in self.path else OPENAI).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
        else:
            body = b""
            self.send_response(307)
            self.send_header("location", f"{self.server.elsewhere}/there{self.path}")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    both = Server(), Server()
    threads = [Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True) for server in both]
    for thread in threads:
        thread.start()
    yield both
    for server, thread in zip(both, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [OpenAIProvider, OpenAICompatibleProvider, AnthropicProvider])
@pytest.mark.parametrize("is_home", [True, False])
async def test_what_a_redirect_gets(kind: Any, is_home: bool, servers: tuple[Server, Server]) -> None:
    """The other host is asked, and is told nothing that was meant for the first."""
    first, second = servers
    target = first if is_home else second
    first.elsewhere = target.url
    async with (
        kind(base_url=f"{first.url}/v1", api_key="the-key", default_headers={"x-gateway": "the-header"}) as provider,
        provider.setup("it") as handle,
    ):
        assert await handle.model.generate("hi") == "hello"
    asked, followed = first.seen[0], target.seen[-1]
    for secret in SECRETS:
        assert any(secret in value for value in asked.values())
        assert any(secret in value for value in followed.values()) == is_home
    assert followed["content-type"] == "application/json"

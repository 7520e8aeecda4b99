"""Requests to count instructions or calls in, without a socket; `_instructions.py` counts them.

Run as a program, it has a child for each side, which has imported all: one sends some requests, another one more of
them. What the second took more, by as many requests, is what one costs; imports and the first request are in both.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpcore2
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from doteval import AnthropicProvider, OpenAIProvider
from doteval.providers._connections import pool_connections

FEW, MORE = 10, 40
AT_ONCE = 10
PIECES = 20
PROVIDERS: dict[str, Any] = {"OpenAI": OpenAIProvider, "Anthropic": AnthropicProvider}
CLIENTS: dict[str, Any] = {"OpenAI": AsyncOpenAI, "Anthropic": AsyncAnthropic}
MESSAGES: Any = [{"role": "user", "content": "Hello"}]
STREAMED: Any = {"stream": True, "stream_options": {"include_usage": True}}

REPLY = (
    b'{"id":"1","object":"chat.completion","created":0,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"Hello!"}}],"usage":{"prompt_tokens":5,"completion_tokens":2,'
    b'"total_tokens":7}}'
)
MESSAGE = (
    b'{"id":"1","type":"message","role":"assistant","model":"m","stop_reason":"end_turn","stop_sequence":null,'
    b'"content":[{"type":"text","text":"Hello!"}],"usage":{"input_tokens":5,"output_tokens":2}}'
)
PIECE = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[{"index":0,'
    b'"finish_reason":%s,"delta":{"content":"Hello"}}]}\n\n'
)


def _named(name: bytes, more: bytes = b"") -> bytes:
    """An event of Anthropic's."""
    return b'event: %s\ndata: {"type":"%s"%s}\n\n' % (name, name, more)


def answers(pieces: int) -> dict[str, dict[bool, bytes]]:
    """What a server sends to each SDK, whole and as a stream with so many pieces of text."""
    named = [
        _named(b"message_start", b',"message":' + MESSAGE.replace(b'"end_turn"', b"null")),
        _named(b"content_block_start", b',"index":0,"content_block":{"type":"text","text":""}'),
        *[_named(b"content_block_delta", b',"index":0,"delta":{"type":"text_delta","text":"Hello"}')] * pieces,
        _named(b"content_block_stop", b',"index":0'),
        _named(b"message_delta", b',"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}'),
        _named(b"message_stop"),
    ]
    events = PIECE % b"null" * (pieces - 1) + PIECE % b'"stop"' + b"data: [DONE]\n\n"
    return {
        "OpenAI": {False: _sent(REPLY), True: _sent(events, b"text/event-stream")},
        "Anthropic": {False: _sent(MESSAGE), True: _sent(b"".join(named), b"text/event-stream")},
    }


def _sent(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)


ANSWERS = answers(PIECES)


class Line(httpcore2.AsyncNetworkStream):
    """A connection to a server that answers at once."""

    def __init__(self) -> None:
        self.sent = self.answer = b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as it is called
        await anyio.lowlevel.checkpoint()
        self.sent += buffer
        if self.sent.endswith(b"}"):
            sdk = "Anthropic" if b"/messages " in self.sent else "OpenAI"
            self.sent, self.answer = b"", ANSWERS[sdk][b'"stream":true' in self.sent]

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as it is called
        await anyio.lowlevel.checkpoint()
        answer, self.answer = self.answer, b""
        return answer

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()

    def get_extra_info(self, info: str) -> Any:
        return False if info == "is_readable" else None


class Network(httpcore2.AsyncNetworkBackend):
    async def connect_tcp(self, *arguments: Any, **more: Any) -> Line:
        return Line()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def connect(client: Any, *, ours: bool) -> None:
    """Give an SDK's client a pool that opens its connections there."""
    client._client._transport._pool = httpcore2.AsyncConnectionPool(
        max_connections=1000, max_keepalive_connections=100, network_backend=Network()
    )
    if ours:
        pool_connections(client._client)


async def doteval(sdk: str, requests: int, *, is_streamed: bool) -> None:
    async with PROVIDERS[sdk](base_url="http://a/v1", api_key="no-key", max_concurrency=AT_ONCE) as provider:
        async with provider.setup("m") as handle:
            connect(handle.model.client, ours=True)

            async def stream() -> None:
                async with handle.model.stream("Hello") as pieces:
                    async for _ in pieces:
                        pass

            await send(stream if is_streamed else partial(handle.model.generate, "Hello"), requests)


async def raw(sdk: str, requests: int, *, is_streamed: bool) -> None:
    limiter = anyio.CapacityLimiter(AT_ONCE)
    async with CLIENTS[sdk](base_url="http://a/v1", api_key="no-key") as client:
        connect(client, ours=False)

        async def ask() -> None:
            async with limiter:
                if not is_streamed:
                    await raw_ask(client)
                else:
                    async for event in await raw_stream(client):
                        TEXT_OF[sdk](event)

        await send(ask, requests)


async def raw_ask(client: Any) -> Any:
    """An answer of an SDK, asked as its pages show it."""
    if isinstance(client, AsyncOpenAI):
        return await client.chat.completions.create(model="m", messages=MESSAGES)
    return await client.messages.create(model="m", messages=MESSAGES, max_tokens=100)


async def raw_stream(client: Any) -> Any:
    """The events of one."""
    if isinstance(client, AsyncOpenAI):
        return await client.chat.completions.create(model="m", messages=MESSAGES, **STREAMED)
    return await client.messages.create(model="m", messages=MESSAGES, max_tokens=100, stream=True)


def _openai_text(event: Any) -> str | None:
    return event.choices[0].delta.content if event.choices else None


def _anthropic_text(event: Any) -> str | None:
    return event.delta.text if event.type == "content_block_delta" else None


TEXT_OF = {"OpenAI": _openai_text, "Anthropic": _anthropic_text}
"""What who streams looks at in an event."""


async def send(ask: Callable[[], Awaitable[object]], requests: int) -> None:
    async def several() -> None:
        for _ in range(requests // AT_ONCE):
            await ask()

    await ask()
    async with anyio.create_task_group() as task_group:
        for _ in range(AT_ONCE):
            task_group.start_soon(several)


QUESTIONS: dict[str, dict[str, Any]] = {
    f"{sdk}, {what}": {"sdk": sdk, "is_streamed": is_streamed}
    for sdk in CLIENTS
    for what, is_streamed in (("generate", False), (f"a stream of {PIECES}", True))
}
SIDES: dict[str, Any] = {"doteval": doteval, "raw": raw}
BACKENDS = ("asyncio", "trio")


def main(directory: Path) -> None:
    """Run each side in a child, and write down which is which."""
    gc.disable()  # which runs at other moments in one process than in another
    children = {}
    for question, how in QUESTIONS.items():
        for backend in BACKENDS:
            for side, function in SIDES.items():
                for requests in (FEW, MORE):
                    child = os.fork()
                    if child == 0:
                        anyio.run(partial(function, requests=requests, **how), backend=backend)
                        os._exit(0)
                    assert os.waitpid(child, 0)[1] == 0
                    children[child] = (question, backend, side, requests)
    Path(directory, "children.json").write_text(json.dumps(children), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

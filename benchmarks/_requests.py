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
MESSAGES = [{"role": "user", "content": "Hello"}]
PIECES = 20

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
EVENTS = PIECE % b"null" * (PIECES - 1) + PIECE % b'"stop"' + b"data: [DONE]\n\n"


class Line(httpcore2.AsyncNetworkStream):
    """A connection to a server that answers at once."""

    def __init__(self) -> None:
        self.sent = self.answer = b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as it is called
        await anyio.lowlevel.checkpoint()
        self.sent += buffer
        if self.sent.endswith(b"}"):
            kind = b"text/event-stream" if b'"stream":true' in self.sent else b"application/json"
            body = EVENTS if b'"stream":true' in self.sent else MESSAGE if b"/messages " in self.sent else REPLY
            head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
            self.sent, self.answer = b"", head + body

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
    make = OpenAIProvider if sdk == "OpenAI" else AnthropicProvider
    async with make(base_url="http://a/v1", api_key="no-key", max_concurrency=AT_ONCE) as provider:
        async with provider.setup("m") as handle:
            connect(handle.model.client, ours=True)

            async def stream() -> None:
                async with handle.model.stream("Hello") as pieces:
                    async for _ in pieces:
                        pass

            await send(stream if is_streamed else partial(handle.model.generate, "Hello"), requests)


async def raw(sdk: str, requests: int, *, is_streamed: bool) -> None:
    limiter = anyio.CapacityLimiter(AT_ONCE)
    make = AsyncOpenAI if sdk == "OpenAI" else AsyncAnthropic
    async with make(base_url="http://a/v1", api_key="no-key") as client:
        connect(client, ours=False)

        async def ask() -> None:
            async with limiter:
                if sdk == "Anthropic":
                    await client.messages.create(model="m", messages=MESSAGES, max_tokens=100)
                elif not is_streamed:
                    await client.chat.completions.create(model="m", messages=MESSAGES)
                else:
                    create: Any = client.chat.completions.create
                    async for event in await create(
                        model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
                    ):
                        if event.choices:
                            event.choices[0].delta.content  # noqa: B018 - who streams looks at it

        await send(ask, requests)


async def send(ask: Callable[[], Awaitable[object]], requests: int) -> None:
    async def several() -> None:
        for _ in range(requests // AT_ONCE):
            await ask()

    await ask()
    async with anyio.create_task_group() as task_group:
        for _ in range(AT_ONCE):
            task_group.start_soon(several)


QUESTIONS: dict[str, dict[str, Any]] = {
    "OpenAI, generate": {"sdk": "OpenAI", "is_streamed": False},
    f"OpenAI, a stream of {PIECES}": {"sdk": "OpenAI", "is_streamed": True},
    "Anthropic, generate": {"sdk": "Anthropic", "is_streamed": False},
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

"""What `model.stream` adds to a stream of the SDK.

Question: how much later does the first chunk come, and how much longer does each further chunk take?
Method: 100 streams of 50 chunks, one after the other, from a server on loopback that sends a whole reply at once and
without a pause, so that nothing but the client is measured; the sides by turns.
Units: time over time, medians of 7. Noise: some per cent.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from _harness import BACKENDS, by_turns, ratio_row, report, running
from _loopback import PIECES, model_server
from openai import AsyncOpenAI

from doteval import OpenAIProvider

STREAMS = 100


async def measured(
    stream: Callable[[], AbstractAsyncContextManager[AsyncIterator[Any]]],
    text: Callable[[Any], str | None],
    first_chunks: list[float],
) -> float:
    first = rest = 0.0
    for number in range(STREAMS + 5):
        start = time.perf_counter()
        async with stream() as opened:
            pieces = aiter(opened)
            assert text(await anext(pieces))
            arrived = time.perf_counter()
            async for piece in pieces:
                text(piece)
            ended = time.perf_counter()
        if number >= 5:
            first += arrived - start
            rest += ended - arrived
    first_chunks.append(first / STREAMS)
    return rest / STREAMS / (PIECES - 1)


async def doteval(url: str, first_chunks: list[float]) -> float:
    async with OpenAIProvider(base_url=url, api_key="no-key", max_retries=0) as provider:
        async with provider.setup("m") as handle:
            return await measured(lambda: handle.model.stream("Hello"), lambda piece: piece, first_chunks)


async def sdk(url: str, first_chunks: list[float]) -> float:
    @asynccontextmanager
    async def stream() -> AsyncIterator[Any]:
        events = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        async with events:
            yield events

    async with AsyncOpenAI(base_url=url, api_key="no-key", max_retries=0) as client:
        return await measured(stream, lambda event: event.choices[0].delta.content, first_chunks)


def main() -> None:
    rows = []
    with model_server(0.0) as url:
        for backend in BACKENDS:
            ours: list[float] = []
            theirs: list[float] = []
            figures = by_turns(
                {"doteval": running(backend, doteval, url, ours), "sdk": running(backend, sdk, url, theirs)}
            )
            rows.append(ratio_row("stream, first chunk", "raw SDK", backend, ours[1:], theirs[1:], 1.05))
            rows.append(ratio_row("stream, each chunk", "raw SDK", backend, figures["doteval"], figures["sdk"], 1.05))
    report(rows)


if __name__ == "__main__":
    main()

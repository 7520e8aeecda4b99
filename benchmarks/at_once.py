"""What a request costs, by how many are under way at once.

Question: how much of the processor does `model.generate` take where the raw SDK, with a limiter, takes 1, and how does
that grow with the connections?
Method: the same server on loopback, which answers after 20 ms; twice as many requests as are under way at once, at
least 400; the sides by turns. Only this process counts, not the server's.
Units: processor time over processor time, medians of 3. Noise: some per cent, more where others use the machine.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio
from _harness import BACKENDS, by_turns, ratio_row, report, running
from _loopback import model_server
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from doteval import AnthropicProvider, OpenAIProvider

TARGETS = {"OpenAI": {20: 0.95, 200: 0.65, 900: 0.5}, "Anthropic": {20: 0.95, 200: 0.7, 900: 0.6}}
PROVIDERS = {"OpenAI": OpenAIProvider, "Anthropic": AnthropicProvider}
LONG = 120.0


async def measured(ask: Callable[[], Awaitable[object]], at_once: int) -> float:
    """The processor time of a request, in seconds."""
    requests = max(400, 2 * at_once)
    await ask()
    before = time.process_time()
    async with anyio.create_task_group() as task_group:
        for _ in range(requests):
            task_group.start_soon(ask)
    return (time.process_time() - before) / requests


async def doteval(url: str, sdk: str, at_once: int) -> float:
    make = PROVIDERS[sdk]
    async with make(base_url=url, api_key="no-key", max_retries=0, timeout=LONG, max_concurrency=at_once) as provider:
        async with provider.setup("m") as handle:
            return await measured(lambda: handle.model.generate("Hello"), at_once)


async def raw(url: str, sdk: str, at_once: int) -> float:
    limiter = anyio.CapacityLimiter(at_once)
    messages = [{"role": "user", "content": "Hello"}]
    make = AsyncOpenAI if sdk == "OpenAI" else AsyncAnthropic

    async with make(base_url=url, api_key="no-key", max_retries=0, timeout=LONG) as client:

        async def ask() -> None:
            async with limiter:
                if sdk == "OpenAI":
                    await client.chat.completions.create(model="m", messages=messages)
                else:
                    await client.messages.create(model="m", messages=messages, max_tokens=100)

        return await measured(ask, at_once)


def main() -> None:
    rows = []
    with model_server() as url:
        for sdk, targets in TARGETS.items():
            address = url if sdk == "OpenAI" else url.removesuffix("/v1")
            for backend in BACKENDS:
                for at_once, target in targets.items():
                    sides = {side.__name__: running(backend, side, address, sdk, at_once) for side in (doteval, raw)}
                    figures = by_turns(sides, runs=3)
                    what = f"a request, {at_once} at once, processor"
                    rows.append(ratio_row(what, f"raw SDK, {sdk}", backend, figures["doteval"], figures["raw"], target))
    report(rows)


if __name__ == "__main__":
    main()

"""What `model.generate` adds to the call of the SDK.

Question: how much longer do 600 requests take, 200 at once, and how much more of the processor?
Method: the same SDK, the same limiter, the same server on loopback, which answers after 20 ms; the sides by turns.
Time and processor time come from the same runs. Only this process counts, not the server's.
Units: time over time, medians of 7. Noise: some per cent; the processor's time is the better witness.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio
from _harness import BACKENDS, by_turns, ratio_row, report, running
from _loopback import model_server
from openai import AsyncOpenAI

from doteval import OpenAIProvider

REQUESTS, AT_ONCE = 600, 200


async def measured(ask: Callable[[], Awaitable[object]], cpu: list[float]) -> float:
    await ask()
    start, before = time.perf_counter(), time.process_time()
    async with anyio.create_task_group() as task_group:
        for _ in range(REQUESTS):
            task_group.start_soon(ask)
    cpu.append(time.process_time() - before)
    return time.perf_counter() - start


async def doteval(url: str, cpu: list[float]) -> float:
    async with OpenAIProvider(base_url=url, api_key="no-key", max_retries=0, max_concurrency=AT_ONCE) as provider:
        async with provider.setup("m") as handle:
            return await measured(lambda: handle.model.generate("Hello"), cpu)


async def sdk(url: str, cpu: list[float]) -> float:
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def ask() -> None:
        async with limiter:
            reply = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
            assert reply.choices[0].message.content

    async with AsyncOpenAI(base_url=url, api_key="no-key", max_retries=0) as client:
        return await measured(ask, cpu)


def main() -> None:
    rows = []
    with model_server() as url:
        for backend in BACKENDS:
            our_cpu: list[float] = []
            sdk_cpu: list[float] = []
            figures = by_turns(
                {"doteval": running(backend, doteval, url, our_cpu), "sdk": running(backend, sdk, url, sdk_cpu)}
            )
            rows.append(ratio_row("generate, time", "raw SDK", backend, figures["doteval"], figures["sdk"], 1.05))
            rows.append(ratio_row("generate, processor", "raw SDK", backend, our_cpu[1:], sdk_cpu[1:], 1.05))
    report(rows)


if __name__ == "__main__":
    main()

"""Evaluations against what one would write by hand: 10,000 rows, 200 at once, a model server on loopback.

Both sides use the same SDK under the same limit; ours also keeps every row in SQLite. The time of the processor says
more than the rate where other programs run beside. Memory is that of the process, when a tenth of the rows is done and
at the end. Before that: what a plain function that blocks costs, and what a server that refuses half of the time is
asked in vain.

    python benchmarks/evaluations.py [ROWS]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from _loopback import model_server
from openai import AsyncOpenAI

from doteval import ModelRequestError, OpenAIProvider, Result, foreach
from doteval.evals import Record, run

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
AT_ONCE = 200
BACKENDS = ("asyncio", "trio")


def prompts() -> Iterator[str]:
    for number in range(ROWS):
        yield f"question {number}"


@foreach("prompt", prompts, concurrency=AT_ONCE)
async def eval_hello(prompt: str, model: Any) -> Result:
    return Result(await model.generate(prompt), prompt=prompt, scores={"polite": True})


def memory() -> float:
    """Of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


async def ours(url: str) -> tuple[float, float, str]:
    seen: list[float] = []

    def look(record: Record) -> None:
        if record.number in (ROWS // 10, ROWS - 1):
            seen.append(memory())

    with tempfile.TemporaryDirectory() as directory:
        async with OpenAIProvider(base_url=url, api_key="no-key", max_retries=0) as provider:
            start, cpu = time.perf_counter(), time.process_time()
            outcome = await run(
                eval_hello, model=partial(provider.setup, "m"), store=Path(directory, "r.db"), on_record=look
            )
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    assert (outcome.summary.rows, outcome.summary.errors) == (ROWS, 0), outcome
    return seconds, cpu, f"memory {seen[0]:.0f} MiB after a tenth, {seen[1]:.0f} MiB at the end"


async def by_hand(url: str) -> tuple[float, float, str]:
    limiter = anyio.CapacityLimiter(AT_ONCE)
    replies: list[str | None] = []

    async def ask(client: AsyncOpenAI, prompt: str) -> None:
        try:
            reply = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
            replies.append(reply.choices[0].message.content)
        finally:
            limiter.release_on_behalf_of(prompt)

    async with AsyncOpenAI(base_url=url, api_key="no-key", max_retries=0) as client:
        start, cpu = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as task_group:
            for prompt in prompts():
                await limiter.acquire_on_behalf_of(prompt)
                task_group.start_soon(ask, client, prompt)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    assert len(replies) == ROWS
    return seconds, cpu, ""


def side_by_side() -> None:
    sides: dict[str, Callable[[str], Any]] = {"by hand": by_hand, "doteval": ours}
    with model_server() as url:
        for backend in BACKENDS:
            rates: dict[str, list[float]] = {name: [] for name in sides}
            costs: dict[str, list[float]] = {name: [] for name in sides}
            for names in (("by hand", "doteval"), ("doteval", "by hand")):  # neither always comes first
                for name in names:
                    seconds, cpu, more = anyio.run(sides[name], url, backend=backend)
                    rates[name].append(ROWS / seconds)
                    costs[name].append(1000 * cpu / ROWS)
                    told = f"{ROWS / seconds:5.0f} rows/s, {1000 * cpu / ROWS:.2f} ms of processor a row"
                    print(f"{backend:8} {name:8} {told}  {more}", flush=True)
            rate = max(rates["doteval"]) / max(rates["by hand"])
            cost = min(costs["by hand"]) / min(costs["doteval"])
            print(f"{backend:8} rate {rate:.2f} of what is written by hand, {cost:.2f} by the time of the processor")


@foreach("value", range(100))
def eval_blocking(value: int) -> Result:
    time.sleep(0.05)
    return Result(value)


async def blocking() -> None:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await anyio.sleep(0.005)
            longest = max(longest, time.perf_counter() - before - 0.005)

    seconds: list[float] = []
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(watch)
        for at_once in (1, 10):
            start = time.perf_counter()
            await run(eval_blocking, concurrency=at_once)
            seconds.append(time.perf_counter() - start)
        task_group.cancel_scope.cancel()
    print(
        f"100 rows that block 50 ms: {seconds[0]:.2f} s one by one, {seconds[1]:.2f} s ten at once "
        f"({seconds[0] / seconds[1]:.1f} times as fast); the event loop was late by {longest * 1000:.0f} ms at most"
    )


async def refused(concurrency: Any) -> tuple[int, int, float]:
    """A server that is overloaded every other second, and says how long it will be."""
    began = time.perf_counter()
    asked = in_vain = 0

    @foreach("value", range(1000))
    async def eval_it(value: int) -> Result:
        nonlocal asked, in_vain
        asked += 1
        await anyio.sleep(0.02)
        now = (time.perf_counter() - began) % 0.4
        if now < 0.2:
            in_vain += 1
            raise ModelRequestError("m", "too many requests", "Wait.", status=429, retry_after=0.2 - now)
        return Result(value)

    outcome = await run(eval_it, concurrency=concurrency)
    assert outcome.summary.errors == 0, outcome
    return asked, in_vain, time.perf_counter() - began


if __name__ == "__main__":
    for backend in BACKENDS:
        anyio.run(blocking, backend=backend)
        for concurrency in (64, "adaptive"):
            asked, in_vain, seconds = anyio.run(refused, concurrency, backend=backend)
            print(
                f"{backend:8} refused half the time, {concurrency}: {asked} calls, {in_vain} in vain, {seconds:.1f} s"
            )
    side_by_side()

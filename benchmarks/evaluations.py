"""What an evaluation costs, beside what one would write by hand.

Question: how many rows a second does `run` reach beside a loop with the raw SDK under the same limit? Does its memory
grow with the rows?
Method: 3,000 rows (or as many as the argument says), 200 at once, a model server on loopback, the sides by turns; ours
also keeps every row in SQLite. Memory is that of the process, when a tenth of the rows is done and at the end. Before
that, once each: what a plain function that blocks costs, and what a server that refuses half of the time is asked in
vain.
Units: rate over rate, processor time over processor time, medians of 7; MiB. Noise: some per cent.

    python benchmarks/evaluations.py [ROWS]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from _harness import BACKENDS, by_turns, ratio_row, report, running
from _loopback import model_server
from openai import AsyncOpenAI

from doteval import ModelRequestError, OpenAIProvider, Result, foreach
from doteval.evals import Record, run

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000
AT_ONCE = 200


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


async def ours(url: str, processor: list[float], memories: list[str]) -> float:
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
    processor.append(cpu)
    memories.append(f"{seen[0]:.0f} MiB after a tenth of {ROWS} rows, {seen[1]:.0f} MiB at the end")
    return seconds


async def by_hand(url: str, processor: list[float]) -> float:
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
    processor.append(cpu)
    return seconds


def side_by_side() -> None:
    rows = []
    with model_server() as url:
        for backend in BACKENDS:
            our_cpu: list[float] = []
            hand_cpu: list[float] = []
            memories: list[str] = []
            figures = by_turns(
                {
                    "doteval": running(backend, ours, url, our_cpu, memories),
                    "by hand": running(backend, by_hand, url, hand_cpu),
                }
            )
            what, against = "evaluation, 200 at once", "a loop by hand"
            # Rates: the time by hand over ours.
            rate = ratio_row(
                f"{what}, rate", against, backend, figures["by hand"], figures["doteval"], 0.9, at_least=True
            )
            rows += [rate, ratio_row(f"{what}, processor", against, backend, our_cpu[1:], hand_cpu[1:], None)]
            print(f"{backend:8} memory: {memories[-1]}", flush=True)
    report(rows)


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

"""What an evaluation costs, beside the same one in other frameworks.

Question: how many rows a second, and how much processor time, with `run` and with inspect_ai, pydantic-evals and
dotevals, each as its documentation says, and with a loop by hand?
Method: 2,000 rows (or as many as the argument says), 200 at once, a model server on loopback, OpenAI's SDK in each. A
measurement is a process of its own, the sides by turns. Imports are not counted. All but the loop and pydantic-evals
keep their results in a file.
Units: rate over the best of the others, processor time likewise, medians of 5. Noise: some per cent.

    python benchmarks/frameworks.py [ROWS]
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from _harness import ratio_row, report
from _loopback import model_server

AT_ONCE = 200
RUNS = 5


def timed(work: Callable[[], object]) -> None:
    """Print what it takes: seconds, and seconds of the processor."""
    start, processor = time.perf_counter(), time.process_time()
    work()
    print(json.dumps([time.perf_counter() - start, time.process_time() - processor]))


def by_doteval(rows: int, url: str, directory: Path) -> None:
    import anyio

    from doteval import OpenAIProvider, Result, foreach
    from doteval.evals import run

    @foreach("prompt", [f"question {number}" for number in range(rows)], concurrency=AT_ONCE)
    async def eval_hello(prompt: str, model: Any) -> Result:
        reply = await model.generate(prompt)
        return Result(reply, prompt=prompt, scores={"polite": reply == "Hello!"})

    async def main() -> None:
        async with OpenAIProvider(base_url=url, api_key="no-key", max_retries=0) as provider:
            outcome = await run(eval_hello, model=partial(provider.setup, "m"), store=directory / "results.db")
        assert outcome.summary.scores["polite"].mean == 1
        assert outcome.summary.rows == rows

    timed(lambda: anyio.run(main))


def by_hand(rows: int, url: str, _directory: Path) -> None:
    import anyio
    from openai import AsyncOpenAI

    async def main() -> None:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        scores: list[bool] = []

        async def ask(prompt: str) -> None:
            async with limiter:
                reply = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
            scores.append(reply.choices[0].message.content == "Hello!")

        async with AsyncOpenAI(base_url=url, api_key="no-key", max_retries=0) as client:
            async with anyio.create_task_group() as task_group:
                for number in range(rows):
                    task_group.start_soon(ask, f"question {number}")
        assert sum(scores) == rows

    timed(lambda: anyio.run(main))


def by_pydantic_evals(rows: int, url: str, _directory: Path) -> None:
    from openai import AsyncOpenAI
    from pydantic_evals import Case, Dataset
    from pydantic_evals.evaluators import EqualsExpected

    cases = [Case(name=str(n), inputs=f"question {n}", expected_output="Hello!") for n in range(rows)]
    dataset = Dataset(name="hello", cases=cases, evaluators=[EqualsExpected()])

    async def main() -> None:
        async with AsyncOpenAI(base_url=url, api_key="no-key", max_retries=0) as client:

            async def ask(prompt: str) -> str | None:
                reply = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
                return reply.choices[0].message.content

            found = await dataset.evaluate(ask, max_concurrency=AT_ONCE, progress=False)
        assert len(found.cases) == rows
        assert not found.failures

    timed(lambda: asyncio.run(main()))


def by_inspect_ai(rows: int, url: str, directory: Path) -> None:
    from inspect_ai import Task, eval  # noqa: A004 - that is its name
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import get_model
    from inspect_ai.scorer import exact
    from inspect_ai.solver import generate

    samples = [Sample(input=f"question {number}", target="Hello!") for number in range(rows)]
    task = Task(dataset=MemoryDataset(samples), solver=generate(), scorer=exact())

    def work() -> None:
        model = get_model("openai/m", base_url=url, api_key="no-key", responses_api=False)
        (log,) = eval(
            task, model=model, display="none", log_dir=str(directory), max_samples=AT_ONCE, max_connections=AT_ONCE
        )
        assert log.status == "success"
        assert log.results.completed_samples == rows

    timed(work)


def by_dotevals(rows: int, url: str, directory: Path) -> None:
    """In batches, which is its fastest way."""
    from dotevals import Result, batch
    from dotevals.sessions import SessionManager
    from dotevals.storage import registry
    from openai import AsyncOpenAI

    storage = registry.get_storage(f"json://{directory}")

    async def main() -> None:
        async with AsyncOpenAI(base_url=url, api_key="no-key", max_retries=0) as client:

            async def ask(prompt: str) -> str | None:
                reply = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
                return reply.choices[0].message.content

            @batch("prompt", [(f"question {number}",) for number in range(rows)], batch_size=AT_ONCE)
            async def eval_hello(prompt: list[str]) -> list[Any]:
                replies = await asyncio.gather(*map(ask, prompt))
                return [Result(reply == "Hello!", prompt=each) for each, reply in zip(prompt, replies, strict=True)]

            sessions = SessionManager(evaluation_name="eval_hello", experiment_name="one", storage=storage)
            await eval_hello(session_manager=sessions, samples=None)
        assert len(storage.get_results("one", "eval_hello")) == rows

    timed(lambda: asyncio.run(main()))


SIDES = {
    "doteval": by_doteval,
    "by hand": by_hand,
    "pydantic-evals": by_pydantic_evals,
    "inspect_ai": by_inspect_ai,
    "dotevals": by_dotevals,
}


def measured(side: str, rows: int, url: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, __file__, side, str(rows), url, directory]
        environment = {**os.environ, "OPENAI_API_KEY": "no-key", "no_proxy": "127.0.0.1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side} failed:\n{done.stdout}{done.stderr}")
    seconds, processor = json.loads(done.stdout.splitlines()[-1])
    return seconds, processor


def side_by_side(rows: int) -> None:
    figures: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    with model_server() as url:
        for _ in range(RUNS):
            for side, found in figures.items():
                found.append(measured(side, rows, url))
    for side, found in figures.items():
        seconds, processor = (statistics.median(each) for each in zip(*found, strict=True))
        print(
            f"{side:15} {rows / seconds:6.0f} rows/s, {processor:5.1f} s of the processor for {rows} rows", flush=True
        )
    ours = list(zip(*figures["doteval"], strict=True))
    lines = []
    for side in ("by hand", "pydantic-evals", "inspect_ai", "dotevals"):
        theirs = list(zip(*figures[side], strict=True))
        least = 0.95 if side == "by hand" else 1.0
        what = f"evaluation, {rows} rows, 200 at once"
        rate = ratio_row(f"{what}, rate", side, "asyncio", list(theirs[0]), list(ours[0]), least, at_least=True)
        lines += [rate, ratio_row(f"{what}, processor", side, "asyncio", list(ours[1]), list(theirs[1]), None)]
    report(lines)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        SIDES[sys.argv[1]](int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        side_by_side(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)

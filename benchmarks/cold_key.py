"""What it costs when everybody asks at once for something that is not open yet.

Question: how long until 10,000 tasks have what one opening gives them?
Method: all tasks are started in one task group and ask for the same key; one opening is made, after a checkpoint.
dishka with a lock and async_lru do the same; async_lru knows asyncio only, and so the row is asyncio's.
Units: time over time, medians of 7. Noise: some per cent; starting the tasks is a part of all three.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import dishka
from _harness import Model, by_turns, ratio_row, report, running, timed
from async_lru import alru_cache
from warm_lease import Provider

TASKS = 10_000


async def crowd(ask: Callable[[], Awaitable[object]]) -> float:
    async def all_ask() -> None:
        async with anyio.create_task_group() as task_group:
            for _ in range(TASKS):
                task_group.start_soon(ask)

    return await timed(all_ask)


async def doteval() -> float:
    async with Provider() as provider:

        async def ask() -> None:
            (await provider.setup("m")).model  # noqa: B018

        seconds = await crowd(ask)
        assert provider.statistics().opens == 1
        return seconds


async def with_dishka() -> float:
    opened = 0

    class Models(dishka.Provider):
        @dishka.provide(scope=dishka.Scope.APP)
        async def model(self) -> Model:
            nonlocal opened
            opened += 1
            await anyio.lowlevel.checkpoint()
            return Model()

    container = dishka.make_async_container(Models(), lock_factory=anyio.Lock)

    async def ask() -> None:
        await container.get(Model)

    seconds = await crowd(ask)
    assert opened == 1
    return seconds


async def with_async_lru() -> float:
    opened = 0

    @alru_cache
    async def model(spec: str) -> Model:
        nonlocal opened
        opened += 1
        await anyio.lowlevel.checkpoint()
        return Model(spec)

    async def ask() -> None:
        await model("m")

    seconds = await crowd(ask)
    assert opened == 1
    return seconds


def main() -> None:
    figures = by_turns(
        {
            "doteval": running("asyncio", doteval),
            "dishka": running("asyncio", with_dishka),
            "async_lru": running("asyncio", with_async_lru),
        }
    )
    what = "10,000 tasks, one cold key"
    report(
        [ratio_row(what, peer, "asyncio", figures["doteval"], figures[peer], 1.0) for peer in ("dishka", "async_lru")]
    )


if __name__ == "__main__":
    main()

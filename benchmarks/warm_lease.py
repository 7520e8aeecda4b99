"""What a lease of something that is already open costs.

Question: how long do `setup()` and `teardown()` of an open resource take together, beside what one would use instead?
Method: 20,000 leases in one task, the sides by turns, medians of 7. With its checkpoints, doteval stands against the
usual caching manager (a dictionary under an `anyio.Lock`, here with a count of its users); with `fast_acquire=True`,
against the request scope of dishka and the container of svcs, which have no checkpoints either.
Units: time over time. Noise: some per cent; the collector is off.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import dishka
import svcs
from _harness import BACKENDS, CachingManager, Model, by_turns, opened_model, ratio_row, report, running, timed

from doteval import PooledProvider

LEASES = 20_000


class Provider(PooledProvider[Model]):
    def open(self, spec: str, /, **config: Any):
        return opened_model(spec)


async def doteval(fast: bool) -> float:
    async with Provider(fast_acquire=fast) as provider:
        await provider.setup("m")

        async def lease() -> None:
            for _ in range(LEASES):
                handle = await provider.setup("m")
                handle.model  # noqa: B018
                await handle.teardown()

        return await timed(lease) / LEASES


async def caching_manager() -> float:
    manager = CachingManager()
    await manager.get_client(spec="m")

    async def lease() -> None:
        for _ in range(LEASES):
            await manager.get_client(spec="m")
            await manager.release(spec="m")

    return await timed(lease) / LEASES


async def with_dishka() -> float:
    class Models(dishka.Provider):
        @dishka.provide(scope=dishka.Scope.APP)
        async def model(self) -> AsyncIterator[Model]:
            yield Model()

    container = dishka.make_async_container(Models(), lock_factory=anyio.Lock)

    async def lease() -> None:
        for _ in range(LEASES):
            async with container() as request:
                await request.get(Model)

    async with container() as request:
        await request.get(Model)
    seconds = await timed(lease) / LEASES
    await container.close()
    return seconds


async def with_svcs() -> float:
    registry = svcs.Registry()
    registry.register_value(Model, Model())

    async def lease() -> None:
        for _ in range(LEASES):
            async with svcs.Container(registry) as container:
                await container.aget(Model)

    return await timed(lease) / LEASES


def main() -> None:
    rows = []
    for backend in BACKENDS:
        figures = by_turns(
            {
                "doteval": running(backend, doteval, False),
                "fast": running(backend, doteval, True),
                "manager": running(backend, caching_manager),
                "dishka": running(backend, with_dishka),
                "svcs": running(backend, with_svcs),
            }
        )
        warm, fast = "warm lease", "warm lease, fast_acquire"
        rows.append(ratio_row(warm, "caching manager", backend, figures["doteval"], figures["manager"], 1.0))
        rows.append(ratio_row(fast, "dishka request scope", backend, figures["fast"], figures["dishka"], 1.0))
        rows.append(ratio_row(fast, "svcs container", backend, figures["fast"], figures["svcs"], 1.0))
    report(rows)


if __name__ == "__main__":
    main()

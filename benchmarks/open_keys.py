"""Whether many open resources make a warm lease dearer.

Question: does a warm lease cost the same with 100,000 resources open as with 100?
Method: both providers stay open, and one task leases 20,000 times, by turns, always another key of the same 100.
Units: time over time, medians of 7. Noise: caches of the processor, some per cent.
"""

from __future__ import annotations

import gc

import anyio
from _harness import BACKENDS, RUNS, ratio_row, report, timed
from warm_lease import LEASES, Provider

MANY, FEW = 100_000, 100


async def measure() -> tuple[list[float], list[float]]:
    async with Provider() as many, Provider() as few:
        for provider, keys in ((many, MANY), (few, FEW)):
            for number in range(keys):
                await (await provider.setup(f"m{number}")).teardown()
        specs = [f"m{number}" for number in range(FEW)]
        gc.freeze()

        async def lease(provider: Provider) -> float:
            async def all_leases() -> None:
                for _ in range(LEASES // FEW):
                    for spec in specs:
                        await (await provider.setup(spec)).teardown()

            return await timed(all_leases) / LEASES

        figures: tuple[list[float], list[float]] = ([], [])
        for turn in range(RUNS + 1):
            for which, provider in ((0, many), (1, few))[:: 1 if turn % 2 else -1]:
                seconds = await lease(provider)
                if turn:
                    figures[which].append(seconds)
        gc.unfreeze()
        return figures


def main() -> None:
    rows = []
    for backend in BACKENDS:
        many, few = anyio.run(measure, backend=backend)
        rows.append(ratio_row("warm lease, 100,000 keys open", "100 keys", backend, many, few, 1.3))
    report(rows)


if __name__ == "__main__":
    main()

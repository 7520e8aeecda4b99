"""Whether a long queue makes each grant dearer.

Question: does a grant cost the same with 10,000 waiters as with 1,000?
Method: all tasks ask at once for one of 100 keys where 10 fit, hold what they get for one checkpoint, and give it back.
Units: time of a grant over time of a grant, medians of 7. Noise: some per cent. No peer has such a queue.
"""

from __future__ import annotations

import anyio
from _harness import BACKENDS, by_turns, ratio_row, report, running, timed
from warm_lease import Provider

KEYS, CAPACITY = 100, 10


async def a_grant(waiters: int) -> float:
    async with Provider(capacity=CAPACITY) as provider:

        async def ask(number: int) -> None:
            async with provider.setup(f"m{number % KEYS}"):
                await anyio.lowlevel.checkpoint()

        async def all_ask() -> None:
            async with anyio.create_task_group() as task_group:
                for number in range(waiters):
                    task_group.start_soon(ask, number)

        seconds = await timed(all_ask)
        # Waiters for one key are served together, so every key is opened once however many wait: that is fair to
        # compare per grant, and a part of what a grant costs with few waiters.
        return seconds / waiters


def main() -> None:
    rows = []
    for backend in BACKENDS:
        figures = by_turns({"many": running(backend, a_grant, 10_000), "few": running(backend, a_grant, 1_000)})
        rows.append(
            ratio_row("a grant, 10,000 waiters", "1,000 waiters", backend, figures["many"], figures["few"], 1.3)
        )
    report(rows)


if __name__ == "__main__":
    main()

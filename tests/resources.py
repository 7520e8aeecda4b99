"""A provider for the tests of the pool: its resources have checkpoints everywhere and notice every misuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import CancelScope, Event, create_task_group
from anyio.lowlevel import checkpoint

from doteval import PooledProvider


class Thing:
    """What the provider opens. `use` fails on a closed one; `break_down` makes its background task raise."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.is_open = True
        self.is_healthy = True
        self._broken = Event()

    async def use(self) -> None:
        assert self.is_open, f"{self.spec} was used after it was closed"
        await checkpoint()
        assert self.is_open, f"{self.spec} was closed under its user"

    def break_down(self) -> None:
        self._broken.set()

    async def watch(self) -> None:
        await self._broken.wait()
        raise ConnectionError(f"{self.spec} broke")


class ThingProvider(PooledProvider[Thing]):
    """Counts what is live; `trouble` maps a spec to the exceptions its next openings raise."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.live: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.most_live = 0
        self.trouble: dict[str, list[Exception]] = {}
        self.close_trouble: dict[str, Exception] = {}
        self.gates: dict[str, Event] = {}
        self.close_gates: dict[str, Event] = {}
        self.sizes: dict[str, int] = {}
        self.checkpoints = 2
        self.on_open: Callable[[str], object] = lambda spec: None

    def slots(self, spec: str, /, **config: Any) -> int:
        return self.sizes.get(spec, 1)

    async def healthy(self, model: Thing, /) -> bool:
        await checkpoint()
        return model.is_healthy

    @asynccontextmanager
    async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[Thing]:
        self.live[spec] += 1
        assert self.live[spec] == 1, f"two live resources of {spec}"
        self.most_live = max(self.most_live, sum(self.live.values()))
        thing: Thing | None = None
        try:
            async with create_task_group() as task_group:
                for _ in range(self.checkpoints):
                    await checkpoint()
                if spec in self.gates:
                    await self.gates[spec].wait()
                self.on_open(spec)
                if self.trouble.get(spec):
                    raise self.trouble[spec].pop(0)
                thing = Thing(spec)
                task_group.start_soon(thing.watch)
                self.opened[spec] += 1
                yield thing
                if spec in self.close_gates:
                    await self.close_gates[spec].wait()
                task_group.cancel_scope.cancel()
        finally:
            if thing is not None:
                thing.is_open = False
                self.closed[spec] += 1
            with CancelScope(shield=True):
                for _ in range(self.checkpoints):
                    await checkpoint()
            self.live[spec] -= 1
        if spec in self.close_trouble:
            raise self.close_trouble[spec]

    def assert_nothing_is_left(self) -> None:
        """Whatever was opened is closed, and the books say the same."""
        assert not +self.live, f"still live: {+self.live}"
        assert self.opened == self.closed
        now = self.statistics()
        assert (now.opening, now.open, now.closing, now.active_leases, now.waiting) == (0, 0, 0, 0, 0), now
        assert now.opens == now.closes

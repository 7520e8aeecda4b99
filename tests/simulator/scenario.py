"""What a seed stands for: how the providers are made, how often what goes wrong, and which providers there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import anyio
from anyio import CancelScope, sleep_forever

from doteval import DotevalError, PooledProvider

from .world import Books, Model

SPECS = ("a", "b", "c", "d", "e")


class OpenError(Exception):
    """An opening fails."""


class CloseError(Exception):
    """A closing fails."""


class BreakError(Exception):
    """A resource breaks while it is open."""


class InnerEndedError(Exception):
    """What a resource leases has ended before it was open."""


class Clock:
    """Time as a run knows it: virtual, or turns of the event loop where time is real.

    Args:
        virtual: Whether time jumps.
    """

    def __init__(self, virtual: bool) -> None:
        self._virtual = virtual
        self.unit = 1.0 if virtual else 0.001

    async def pause(self, units: int) -> None:
        if not units:
            await anyio.lowlevel.checkpoint()
        elif self._virtual:
            await anyio.sleep(units)
        else:
            for _ in range(3 * units):
                await anyio.lowlevel.checkpoint()


class Scenario:
    """All that is decided before the run.

    Args:
        seed: Decides it.
        clock: How time passes.
    """

    def __init__(self, seed: int, clock: Clock) -> None:
        rng = self.rng = Random(seed)
        self.seed = seed
        self.clock = clock
        self.slots = {spec: rng.choice((1, 1, 1, 2, 3)) for spec in SPECS}
        self.workers = rng.randint(2, 9)
        self.actions = rng.randint(3, 14)
        self.specs = SPECS[: rng.randint(1, len(SPECS))]
        self.is_calm = rng.random() < 0.3  # nothing goes wrong by itself, so that every wait must end well
        self.nested = not self.is_calm and rng.random() < 0.25
        self.through_all = rng.random() < 0.3
        self.start_and_close = rng.random() < 0.4
        self.leaves_early = rng.random() < 0.25
        self.hides = not self.is_calm and rng.random() < 0.4  # waits that no pool can know of
        self.open_fails, self.open_hangs, self.breaks, self.close_fails, self.close_hangs = (
            0.0 if self.is_calm or rng.random() < 0.5 else rng.choice((0.05, 0.2, 0.5)) for _ in range(5)
        )
        if self.open_hangs or self.nested:
            self.hides = True
        self.tells_broken = rng.random() < 0.5
        self.cancels = 0.0 if rng.random() < 0.3 else rng.choice((0.1, 0.3, 0.6))
        self.options = self._options()
        self.capacity = self._capacity()
        self.inner_options = self._options()
        self.history: list[str] = []

    def _options(self) -> dict[str, Any]:
        rng, unit = self.rng, self.clock.unit
        options: dict[str, Any] = {"close_timeout": 5 * unit}
        if self.hides or rng.random() < 0.3:
            options["setup_timeout"] = rng.choice((3, 10, 30)) * unit

        def maybe(name: str, *values: Any, chance: float = 0.3) -> None:
            if rng.random() < chance:
                options[name] = rng.choice(values)

        maybe("keep_alive", 0, 2 * unit, 7 * unit, chance=0.5)
        maybe("max_concurrent_opens", 1, 2)
        maybe("remember_failures", 3 * unit, chance=0.2)
        maybe("max_waiting", 0, 1, 3, chance=0.2)
        maybe("fast_acquire", True)
        maybe("health_after", 0, 2 * unit)
        maybe("health_every", 2 * unit)
        maybe("health_timeout", 2 * unit, chance=1.0)
        maybe("max_lifetime", 4 * unit, 12 * unit, chance=0.25)
        return options

    def _capacity(self) -> int | list[str] | None:
        if self.rng.random() < 0.2:
            return None
        total = self.rng.randint(1, 6)
        return total if self.rng.random() < 0.6 else [f"slot{number}" for number in range(total)]


class SimulatedProvider(PooledProvider[Model]):
    """Opens models that fail, hang and break as the scenario says.

    Args:
        books: Where all of it is written down.
        scenario: Says how often.
        options: The pool's.
        inner: What some of its resources lease from; the provider itself where it is `None`.
    """

    def __init__(
        self, books: Books, scenario: Scenario, options: dict[str, Any], inner: SimulatedProvider | None = None
    ) -> None:
        super().__init__(capacity=books.capacity, on_event=books.on_event, **options)
        self.books = books
        self._scenario = scenario
        self._inner = inner
        self._opens: Counter[str] = Counter()
        self._most_opens = options.get("max_concurrent_opens", 8)
        self._idle = 0

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncIterator[Model]:
        scenario, books = self._scenario, self.books
        self._opens[spec] += 1
        rng = Random(f"{scenario.seed} {books.name} {spec} {self._opens[spec]}")
        model = Model(spec, config.get("slots", ()))
        books.begin(model)
        books.opens_now += 1
        books.check(scenario.nested or books.opens_now <= self._most_opens, "too many openings at once")
        is_opening = True
        try:
            async with AsyncExitStack() as stack:
                try:
                    await scenario.clock.pause(rng.choice((0, 0, 1, 3)))
                    if rng.random() < scenario.open_fails:
                        raise OpenError(spec)
                    if rng.random() < scenario.open_hangs:
                        await sleep_forever()
                    if scenario.nested and rng.random() < 0.6:
                        await self._lease_inside(model, rng, stack)
                finally:
                    books.opens_now -= 1
                    is_opening = False
                model.state = "open"
                books.opened.append(model)
                try:
                    if rng.random() < scenario.breaks:
                        async with anyio.create_task_group() as task_group:
                            task_group.start_soon(self._break, model, rng)
                            yield model
                            task_group.cancel_scope.cancel()
                    else:
                        yield model
                finally:
                    model.state = "closing"
                    await self._close(model, rng)
        finally:
            assert not is_opening
            books.end(model)

    async def _lease_inside(self, model: Model, rng: Random, stack: AsyncExitStack) -> None:
        """Lease from another provider, or from this one what stands further in front: so there is no circle."""
        source = self._inner
        wanted = rng.choice(self._scenario.specs)
        if source is None or rng.random() < 0.3:
            source = self
            earlier = [other for other in self._scenario.specs if other < model.spec]
            if not earlier:
                return
            wanted = rng.choice(earlier)
        try:
            handle = await source.setup(wanted)
        except DotevalError as error:
            source.books.endings[type(error).__name__] += 1
            raise
        source.books.granted += 1
        model.stands_on = handle.model if handle.is_active else None
        await stack.enter_async_context(handle)
        if model.stands_on is None:
            raise InnerEndedError(wanted)

    async def _break(self, model: Model, rng: Random) -> None:
        await self._scenario.clock.pause(rng.randint(0, 8))
        model.broken = "by itself"
        if model.stands_on is not None:  # the error will cross that one's handle, and its provider is asked about it
            model.stands_on.broken = model.stands_on.broken or model.broken
        raise BreakError(model.spec)

    async def _close(self, model: Model, rng: Random) -> None:
        scenario, below = self._scenario, model.stands_on
        if below is not None:
            stands = below.state == "open" or below.broken or below.is_doubted
            self.books.check(stands, f"{below} is closed under {model}")
        try:
            if rng.random() < 0.3:
                with CancelScope(shield=True):
                    await scenario.clock.pause(rng.randint(0, 2))
            else:
                await scenario.clock.pause(rng.choice((0, 0, 1, 2)))
            if rng.random() < scenario.close_hangs:
                await sleep_forever()
        finally:
            if rng.random() < scenario.close_fails:
                raise CloseError(model.spec)

    async def healthy(self, model: Model, /) -> bool:
        self.books.check(model.state != "gone", f"asked for the health of {model}")
        model.unhealthy, model.is_doubted = False, True  # where time is real, it may be over before this says yes
        rng = Random(f"{self._scenario.seed} {model.spec} {len(self.books.opened)} {self._idle}")
        await self._scenario.clock.pause(rng.choice((0, 0, 1)))
        if self._scenario.is_calm or rng.random() < 0.7:
            model.is_doubted = False
            return True
        how = rng.choice(("hangs", "raises", "says so"))
        if how == "hangs":
            await sleep_forever()
        model.unhealthy = True
        if how == "raises":
            raise BreakError(model.spec)
        return False

    def is_broken(self, model: Model, /) -> bool:
        return self._scenario.tells_broken and bool(model.broken)

    def breaks(self, error: Exception, /) -> bool:
        return isinstance(error, BreakError)

    def idle(self, model: Model, /) -> None:
        self._idle += 1
        self.books.check(model.state == "open" or model.broken, f"{model} is idle")

    def slots(self, spec: str, /, **config: Any) -> int:
        return self._scenario.slots[spec]

"""The tasks of one run: random uses of the public face, each of which knows what may come of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import sniffio
from anyio import CancelScope, get_cancelled_exc_class

from doteval import (
    CapacityDeadlockError,
    CapacityExceededError,
    CloseTimeoutError,
    DotevalError,
    HandleInactiveError,
    ModelProviders,
    ModelSetupError,
    ProviderClosedError,
    QueueFullError,
    SetupTimeoutError,
)

from .scenario import BreakError, CloseError, InnerEndedError, OpenError, Scenario, SimulatedProvider
from .world import Held, ViolationError, Waiting

CAUSES = (OpenError, CloseError, InnerEndedError, DotevalError)


FAILURES = (CloseError, CloseTimeoutError, BreakError)
"""What closing one resource raises: what breaks just then is told as its failure."""
CLOSINGS = (*FAILURES, BaseExceptionGroup)


class UserError(Exception):
    """A user's own."""


class Run:
    """What the tasks of one run share.

    Args:
        scenario: What was decided before.
        provider: Whose leases they take.
        providers: All providers, where leases are taken through them.
    """

    def __init__(self, scenario: Scenario, provider: SimulatedProvider, providers: ModelProviders | None) -> None:
        self.scenario = scenario
        self.provider = provider
        self.books = provider.books
        self.providers = providers
        self.mailbox: list[Held] = []
        self.is_closing = False
        self.is_draining = False
        self.tasks: dict[str, asyncio.Task[Any] | CancelScope] = {}
        self.cancelled: set[str] = set()

    @property
    def is_asyncio(self) -> bool:
        return sniffio.current_async_library() == "asyncio"

    def setup(self, spec: str) -> Any:
        return self.provider.setup(spec) if self.providers is None else self.providers.setup(f"sim:{spec}")

    # ---------------------------------------------------------------- what may come of it

    def expect(self, error: BaseException, waiting: Waiting) -> None:
        """Whether a `setup` may end so."""
        books, options = self.books, self.scenario.options
        books.endings[type(error).__name__] += 1
        books.say(f"{waiting.who} gets {type(error).__name__}: {str(error)[:200]!r}")
        match error:
            case CapacityDeadlockError():
                if not self.scenario.nested:
                    books.check(waiting.was_stuck, f"a false alarm: {error}; {books.held}")
            case CapacityExceededError():
                books.check(
                    books.total is not None and (books.shrunk or sum(waiting.needs.values()) > books.total), str(error)
                )
            case QueueFullError():
                most = options.get("max_waiting")
                books.check(most is not None and len(books.waiting) + len(books.preloaded) > most, str(error))
                books.check(self.scenario.nested or self._has_to_wait(), f"nobody leases anything: {error}")
            case ProviderClosedError():
                books.check(self.is_closing or self.is_draining, str(error))
            case SetupTimeoutError():
                books.check("setup_timeout" in options, str(error))
            case ModelSetupError():
                cause = error.__cause__
                books.check(isinstance(cause, CAUSES) or "teardown" in error.reason or cause is None, repr(cause))
            case _:
                raise books.fail(f"setup raised {error!r}") from error

    def _has_to_wait(self) -> bool:
        """Whether those who ask cannot all have what they ask for at once, as soon as all has closed that closes."""
        now, asked = self.provider.statistics(), {spec: self.books.slots[spec] for spec in self.books.preloaded}
        for waiting in self.books.waiting:
            asked.update(waiting.needs)
        return bool(now.active_leases or now.opening or now.idle or sum(asked.values()) > (self.books.total or 0))

    def expect_closing(self, error: BaseException) -> None:
        """Whether a closing may raise this."""
        if isinstance(error, BaseExceptionGroup):
            self.books.check(isinstance(error, Exception), f"closing raised {error!r}")
            for each in error.exceptions:
                self.expect_closing(each)
        elif not isinstance(error, FAILURES):
            raise self.books.fail(f"closing raised {error!r}") from error

    def look_at(self, held: Held) -> None:
        """Whether a lease is worth something for as long as it holds."""
        try:
            model = held.handle.model
        except HandleInactiveError:
            self.books.check(not held.handle.is_active, "model raises, and the handle is active")
            return
        if held.model is None:
            raise self.books.fail("a handle came to life")
        self.books.check(model is held.model, f"another model: {model}, not {held.model}")
        self.books.check(model.spec == held.spec, f"{model} for {held.spec}")
        self.books.check(model.state == "open" or model.broken, f"{model} is leased")
        self.books.check(not model.unhealthy, f"{model} is leased though it is ill")
        self.books.compare(self.provider.statistics())

    def granted(self, handle: Any, who: object, spec: str) -> Held:
        held = Held(handle, spec)
        self.books.granted += 1
        self.books.say(f"{who} has {handle}")
        if held.model is not None:
            self.books.check(held.model.broken in ("", "by itself"), f"{held.model} is leased to a newcomer")
            self.books.gets(handle, who, held.model)
            self.look_at(held)
        return held

    @asynccontextmanager
    async def asking(self, who: object, *specs: str) -> AsyncIterator[None]:
        waiting = Waiting(who, {spec: self.books.slots[spec] for spec in specs})
        self.books.say(f"{who} asks for {', '.join(specs)}")
        self.books.begins_to_wait(waiting)
        try:
            yield
        except DotevalError as error:
            self.expect(error, waiting)
            raise
        except (get_cancelled_exc_class(), TimeoutError, ViolationError):
            raise
        except BaseException as error:
            self.expect(error, waiting)
        finally:
            self.books.has_waited(waiting)

    async def give_back(self, held: Held, who: object) -> None:
        """Tear one handle down."""
        self.books.say(f"{who} gives {held.handle} back")
        self.books.gives_back(held.handle)
        try:
            await held.handle.teardown()
        except CLOSINGS as error:
            self.expect_closing(error)
            self.books.check(self.scenario.options.get("keep_alive") == 0, f"teardown raised {error!r}")
        finally:
            self.books.check(not held.handle.is_active, "active after its teardown")


class Worker:
    """One task, which does a few things, and gives back what it has at its end.

    Args:
        run: What it shares with the others.
        name: Its own.
    """

    def __init__(self, run: Run, name: str) -> None:
        self.run = run
        self.name = name
        self.scenario = run.scenario
        self.books = run.books
        self.rng = Random(f"{run.scenario.seed} {name}")
        self.mine: list[Held] = []

    def __repr__(self) -> str:
        return self.name

    async def work(self) -> None:
        """The whole of it; where two cancellations meet on asyncio, one of them may be left over at the end."""
        try:
            await self._cancellable()
        except get_cancelled_exc_class():
            if self.name not in self.run.cancelled:
                raise

    async def _cancellable(self) -> None:
        """On asyncio sometimes in a task that is cancelled by asyncio's own means."""
        with CancelScope() as scope:
            if not self.run.is_asyncio or self.rng.random() < 0.5:
                self.run.tasks[self.name] = scope
                await self._work()
                return
            task = self.run.tasks[self.name] = asyncio.create_task(self._work())
            try:
                await asyncio.wait([task])
            finally:
                await self._end(task)
            if not task.cancelled():
                task.result()

    @staticmethod
    async def _end(task: asyncio.Task[Any]) -> None:
        if not task.done():
            task.cancel()
            with CancelScope(shield=True):
                await asyncio.wait([task])

    async def _work(self) -> None:
        try:
            try:
                for _ in range(self.scenario.actions):
                    await self._act()
            finally:
                await self._give_all_back()
        except get_cancelled_exc_class():
            if self.name not in self.run.cancelled and not self.books.is_wrong:
                self.books.fail(f"{self} is cancelled by nobody")
            raise
        finally:
            self.run.tasks.pop(self.name, None)

    async def _give_all_back(self) -> None:
        cancellation: BaseException | None = None
        while self.mine:
            try:
                await self.run.give_back(self.mine.pop(), self)
            except get_cancelled_exc_class() as error:
                cancellation = error
        if cancellation is not None:
            raise cancellation

    async def _act(self) -> None:
        for held in self.mine:
            self.run.look_at(held)
        possible = self._actions()
        (action,) = self.rng.choices([action for action, _ in possible], [weight for _, weight in possible])
        self.books.say(f"{self} does {action.__name__.strip('_')}")
        try:
            await action()
        except DotevalError:
            try:  # on asyncio, a time-out that is over in the turn of the error leaves its cancellation behind
                await self.scenario.clock.pause(1)
            except get_cancelled_exc_class():
                if self.name in self.run.cancelled:
                    raise

    def _actions(self) -> list[tuple[Callable[[], Awaitable[None]], float]]:
        scenario, has = self.scenario, bool(self.mine)
        return [
            (self._setup, 4),
            (self._block, 3),
            (self._setup_many, 1.5),
            (self._impatient, 2),
            (self._in_a_task, 1),
            (self._pause, 3),
            (self._release, 4 * has),
            (self._release_cancelled, 0.5 * has),
            (self._release_twice, 0.5 * has),
            (self._preload, 0.7),
            (self._send, 1.0 * has * scenario.hides),
            (self._receive, 1.0 * bool(self.run.mailbox)),
            (self._child, 0.7 * scenario.hides),
            (self._report_broken, 0.5 * has * (not scenario.is_calm)),
            (self._teardown, 0.5),
            (self._teardown_all, 0.15),
            (self._resize, 0.5 * (self.books.total is not None)),
            (self._drain, 0.02),
        ]

    # ---------------------------------------------------------------- what it does

    def _spec(self) -> str:
        return self.rng.choice(self.scenario.specs)

    async def _pause(self) -> None:
        await self.scenario.clock.pause(self.rng.randint(0, 4))

    async def _setup(self) -> None:
        spec = self._spec()
        async with self.run.asking(self, spec):
            self.mine.append(self.run.granted(await self.run.setup(spec), self, spec))

    async def _block(self) -> None:
        spec = self._spec()
        entered: Held | None = None
        try:
            async with self.run.asking(self, spec):
                setup = self.run.setup(spec)
                handle = await setup.__aenter__()
            entered = self.run.granted(handle, self, spec)
            error: Exception | None = None
            try:
                await self._pause()
                self.run.look_at(entered)
                if self.rng.random() < 0.3:
                    error = (BreakError if self.rng.random() < 0.5 and not self.scenario.is_calm else UserError)(spec)
                elif self.rng.random() < 0.5:
                    await self._setup()
            finally:
                if isinstance(error, BreakError) and entered.model is not None:
                    entered.model.broken = entered.model.broken or "as its user says"
                self.books.gives_back(handle)
                try:
                    await setup.__aexit__(type(error) if error else None, error, None)
                except CLOSINGS as closing:
                    self.run.expect_closing(closing)
                    self.books.check(self.scenario.options.get("keep_alive") == 0, f"leaving raised {closing!r}")
        finally:
            if entered is not None:
                self.books.check(not entered.handle.is_active, "active after its block")

    async def _setup_many(self) -> None:
        specs = [self._spec() for _ in range(self.rng.randint(0, 3))]
        async with self.run.asking(self, *specs):
            handles = await self.run.provider.setup_many(*specs)
            self.books.check(len(handles) == len(specs), f"{handles} for {specs}")
            for handle, spec in zip(handles, specs, strict=True):
                self.mine.append(self.run.granted(handle, self, spec))

    async def _impatient(self) -> None:
        """Ask, and be cancelled after a while; on asyncio by its own means, too."""
        seconds = self.rng.choice((0, 1, 1, 2, 4)) * self.scenario.clock.unit
        if self.run.is_asyncio and self.rng.random() < 0.5:
            try:
                async with asyncio.timeout(seconds):
                    await self._setup()
            except TimeoutError as error:
                if isinstance(error, DotevalError):
                    raise
        else:
            with anyio.move_on_after(seconds):
                await self._setup()

    async def _in_a_task(self) -> None:
        """Ask in a task of its own, and cancel that; what it has got nevertheless is given back."""
        spec = self._spec()
        if not self.run.is_asyncio:
            return await self._pause()

        async def ask() -> Held:
            async with self.run.asking(None, spec):
                return self.run.granted(await self.run.setup(spec), None, spec)
            raise AssertionError

        task = asyncio.create_task(ask())
        try:
            await self._pause()
        finally:
            await self._end(task)
            if not task.cancelled() and task.exception() is None:
                held = task.result()
                self.mine.append(held)
                if not self.scenario.hides:
                    await self._take_over(held)
            elif not task.cancelled() and not isinstance(task.exception(), DotevalError):
                raise task.exception()  # type: ignore[misc]

    async def _release(self) -> None:
        await self.run.give_back(self.mine.pop(self.rng.randrange(len(self.mine))), self)

    async def _release_cancelled(self) -> None:
        with CancelScope() as scope:
            scope.cancel()
            await self._release()

    async def _release_twice(self) -> None:
        held = self.rng.choice(self.mine)
        self.mine.remove(held)
        await self.run.give_back(held, self)
        now = self.run.provider.statistics().leases
        await held.handle.teardown()
        held.handle.report_broken(BreakError("too late"))
        self.books.check(now <= self.run.provider.statistics().leases, "leases")

    async def _preload(self) -> None:
        spec = self._spec()
        if self.run.provider.preload(spec):
            self.books.preloaded.append(spec)

    async def _send(self) -> None:
        """Let another task have a handle; the pool believes that this one still has it."""
        self.run.mailbox.append(self.mine.pop())

    async def _receive(self) -> None:
        held = self.run.mailbox.pop()
        self.mine.append(held)
        if self.rng.random() < 0.5:
            await self._take_over(held)

    async def _take_over(self, held: Held) -> None:
        await held.handle.__aenter__()
        if held.model is not None:
            self.books.gets(held.handle, self, held.model)

    async def _child(self) -> None:
        """Wait for a child that asks for something."""
        child = Worker(self.run, f"{self.name}.{self.rng.randrange(1000)}")
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(child.once)

    async def once(self) -> None:
        try:
            await self._setup()
            await self._pause()
        except DotevalError:
            pass
        finally:
            await self._give_all_back()

    async def _report_broken(self) -> None:
        held = self.rng.choice(self.mine)
        if held.handle.is_active:
            assert held.model is not None
            held.model.broken = "as reported"
        held.handle.report_broken(BreakError(held.spec))
        self.books.check(not held.handle.is_active, "active after it was reported broken")
        for other in [*self.mine, *self.run.mailbox]:
            self.books.check(other.model is not held.model or not other.handle.is_active, "another lease holds")

    async def _teardown(self) -> None:
        spec = self._spec()
        mine = [held for held in self.mine if held.spec == spec]
        try:
            await self.run.provider.teardown(spec)
        except CLOSINGS as error:
            self.run.expect_closing(error)
        self.books.check(not any(held.handle.is_active for held in mine), f"{spec} was torn down: {mine}")

    async def _teardown_all(self) -> None:
        mine, live = list(self.mine), list(self.books.live)
        try:
            await self.run.provider.teardown_all()
        except CLOSINGS as error:
            self.run.expect_closing(error)
        self.books.check(not any(held.handle.is_active for held in mine), f"all was torn down: {mine}")
        self.books.check(all(model.state == "gone" for model in live), f"all was torn down: {live}")

    async def _resize(self) -> None:
        if self.run.is_closing:
            return
        total = self.rng.randint(1, 6)
        names = [f"slot{number}" for number in self.rng.sample(range(8), total)]
        capacity = total if isinstance(self.scenario.capacity, int) else names
        self.books.say(f"{self} resizes to {capacity}")
        self.books.resized(capacity)
        self.run.provider.resize(capacity)

    async def _drain(self) -> None:
        self.run.is_draining = True
        with anyio.move_on_after(20 * self.scenario.clock.unit):
            try:
                await self.run.provider.drain()
            except RuntimeError as error:
                if isinstance(error, DotevalError):
                    raise
                self.books.check(self.books.total is not None, str(error))
                self.books.check(self.scenario.hides or self.mine, f"{self} holds nothing: {error}")
                return
            now = self.run.provider.statistics()
            self.books.check(self.scenario.nested or not (now.active_leases or now.waiting), f"drained: {now}")

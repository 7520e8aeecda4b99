"""``ModelProviders``: all providers by name, entered on demand and closed together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, Self

from anyio import CancelScope, create_task_group, get_cancelled_exc_class, move_on_after
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from .._errors import (
    CloseTimeoutError,
    ModelSetupError,
    ProviderClosedError,
    ProviderNotEnteredError,
)
from .._explained import advice_for, reason_of
from .._handle import CLOSE_TIMEOUT, ModelHandle
from .._hold import Hold
from .._hooks_written import checked_handle, to_await
from .._loop import HomeLoop
from .._pool.containment import ends_the_program
from .._pool.events import ProviderStatistics
from .._pooled import PooledProvider, runtime_of
from .._provider import ModelProvider, is_held, is_tied_to_a_task, raise_all
from .._runtime import Asked, Runtime
from .._secrets import masked, secrets_of
from .._setup import Setup, marked
from .entered import EnteredProvider
from .registration import is_name, registrations
from .routing import route
from .source import Factory, Source


class ModelProviders(Mapping[str, ModelProvider[Any]]):
    """All providers by name, entered when they are first asked for and closed together; routes specs to them.

    ::

        async with ModelProviders() as providers:
            handle = await providers.setup("gpt-4o")  # routed by the providers' patterns
            other = await providers.setup("openai:gpt-4o-mini")  # routed by name
            same = await providers["openai"].setup("gpt-4o-mini")

    Looking at the names imports nothing; ``providers[name]`` imports and builds that one provider. It all belongs to
    the event loop in which the mapping was entered.

    Args:
        providers: Providers, or classes or functions that make them, by name; they take precedence over registered
            ones. A provider that is entered already is used as it is and stays open; the others are entered and closed
            here. (A provider with an ``__aenter__`` of its own that is no `PooledProvider` counts as entered where its
            `start` was awaited.)
        discover: Whether to add the providers that installed distributions register.
        settings: Keyword arguments for the class or function of a name, such as
            ``{"openai": {"base_url": "http://127.0.0.1:8000/v1"}}``.

    Raises:
        ValueError: `settings` names a provider that is not there, or a name cannot stand in front of a colon.
    """

    def __init__(
        self,
        providers: Mapping[str, ModelProvider[Any] | Factory] | None = None,
        *,
        discover: bool = True,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        values: dict[str, object] = {**(registrations() if discover else {}), **(providers or {})}
        settings = settings or {}
        for name in values:
            if not is_name(name):
                raise ValueError(f"{name!r} cannot name a provider: a spec has the name before its first colon")
        unknown = [repr(name) for name in settings if name not in values]
        if unknown:
            known = ", ".join(map(repr, values)) or "none"
            raise ValueError(f"settings for {', '.join(unknown)}, but the providers are: {known}")
        self._sources = {name: Source(name, value, settings.get(name)) for name, value in values.items()}
        self._hold = Hold(type(self).__name__)
        self._task_group: TaskGroup | None = None
        self._context = copy_context()
        self._is_closed = self._loop_ended = False
        self._started: dict[str, ModelProvider[Any]] = {}
        self._entered: dict[str, EnteredProvider] = {}
        self._pools: list[Runtime[Any]] = []
        self._closers: list[Callable[[], Awaitable[object]]] = []
        self._failures: list[Exception] = []
        self._last_statistics: dict[str, ProviderStatistics] = {}

    # ---------------------------------------------------------------- what users call

    @marked
    def setup(self, spec: str, /, **config: Any) -> Setup[Any]:
        """Lease a model from the provider that `spec` belongs to; enter what it returns, or await it.

        A registered name before the first colon decides. Without one, the only provider whose `patterns` match does;
        that takes the class of every provider, so all are imported. Without that, the only provider there is.

        A checkpoint where the provider's own `setup` is one. A cancelled caller just leaves.

        Args:
            spec: What to lease, such as ``"openai:gpt-4o"`` or ``"gpt-4o"``.
            config: Passed on to the provider's `setup`.

        Raises:
            UnknownModelError: No provider, or more than one, claims the spec.
            SpecError: `spec` cannot name a model.
            ProviderLoadError: The provider cannot be imported or built.
            ModelSetupError: The model, or its provider, could not be opened; the cause is attached.
            ProviderNotEnteredError: Used before ``async with``.
            ProviderClosedError: Used after ``async with``.
            WrongEventLoopError: Used in another event loop than the one that entered it.
        """
        return Setup(self._lease(Asked(spec, config)))

    async def _lease(self, asked: Asked) -> ModelHandle[Any]:
        self._usable_task_group()
        name, model = route(asked.spec, self._sources)
        provider = self._started.get(name)
        if provider is None:
            provider = await self._start(name)
        return checked_handle(await to_await(provider.setup(model, **asked.config), provider, "setup"), provider)

    _lease.__qualname__ = "ModelProviders.setup"  # what Python calls it where it was never awaited

    def identity(self, spec: str, /, **config: Any) -> Mapping[str, Any]:
        """All that an answer of the model depends on; see `ModelProvider.identity`. The mapping need not be entered.

        Raises:
            UnknownModelError: No provider, or more than one, claims the spec.
            SpecError: `spec` cannot name a model.
            ProviderLoadError: The provider cannot be imported or built.
        """
        name, model = route(spec, self._sources)
        return self._sources[name].identity(model, config)

    def __doteval_identity__(self) -> Mapping[str, Any]:
        return {name: source.settings for name, source in self._sources.items() if source.settings}

    async def enter(self, name: str) -> ModelProvider[Any]:
        """Enter the provider `name`, where that has not happened yet, and return it. Always a checkpoint.

        Only a provider with an ``__aenter__`` of its own needs this, and only before ``providers[name]``; `setup` does
        it by itself. A cancelled caller just leaves; the entering goes on.

        Raises:
            Exception: As `setup` and ``providers[name]``.
        """
        self._usable_task_group()
        provider = self._started.get(name)
        if provider is None:
            provider = await self._start(name)
        await checkpoint()
        return provider

    async def start(self) -> Self:
        """Enter the mapping until `aclose`, where ``async with`` cannot be used; both may be called from any tasks.

        See `ModelProvider.start`.

        Raises:
            RuntimeError: It is entered already.
        """
        await self._hold.open(self._running())
        return self

    async def aclose(self) -> None:
        """Close every provider that was entered here, all at the same time; where none is entered, do nothing.

        See `ModelProvider.aclose`.

        Raises:
            ExceptionGroup: What went wrong while closing, and what broke a provider before that; told once.
            WrongEventLoopError: Called in another event loop than the one that entered it.
        """
        await self._hold.close()
        await checkpoint()

    def statistics(self) -> Mapping[str, ProviderStatistics]:
        """The counts of every pooled provider that was used, by name; after ``async with``, the last ones."""
        return dict(self._last_statistics) if self._task_group is None else self._now()

    def __getitem__(self, name: str, /) -> ModelProvider[Any]:
        """The provider of that name, imported, built and started where needed.

        Raises:
            KeyError: There is none of that name; the message lists those there are.
            ProviderLoadError: It cannot be imported or built.
            RuntimeError: It has an ``__aenter__`` of its own, and neither `enter` nor `setup` has been awaited.
            Exception: Used outside ``async with`` or in another event loop, as in `setup`.
        """
        task_group = self._usable_task_group()
        provider = self._started.get(name)
        if provider is None:
            provider = self._source(name).build()
            if self._needs_a_task(name, provider):
                raise RuntimeError(
                    f"{type(provider).__name__} has an __aenter__ of its own, which has to be awaited: "
                    f"call 'await providers.enter({name!r})' first, or 'await providers.setup(\"{name}:...\")'"
                )
            self._start_now(name, provider, task_group)
        return provider

    def __contains__(self, name: object) -> bool:
        return name in self._sources

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def __eq__(self, other: object) -> bool:
        return self is other  # the comparison of Mapping would import and start every provider

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        name = type(self).__name__
        if self._task_group is None:
            return f"<{name} {'closed' if self._is_closed else 'not entered'} registered={len(self)}>"
        now = self._now().values()
        return (
            f"<{name} registered={len(self)} started={len(self._started)} "
            f"open={sum(counts.open for counts in now)} leases={sum(counts.active_leases for counts in now)}>"
        )

    async def __aenter__(self) -> Self:
        """Enter the mapping: from now on, and in this event loop, its providers may be used.

        Raises:
            RuntimeError: It is entered already.
        """
        return await self.start()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Close every provider that was entered here, all at the same time, whatever is cancelled meanwhile.

        Raises:
            ExceptionGroup: What went wrong while closing, and what broke a provider before that.
        """
        await self._hold.close()
        if exc_type is None:
            await checkpoint()
        return None

    # ---------------------------------------------------------------- inside

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        """The mapping's life; what goes wrong is not wrapped in a group of the task group's."""
        self._failures = []
        if self._task_group is not None:
            self._forget_all()  # an event loop has left it that was closed without a word
        interrupt: BaseException | None = None
        async with create_task_group() as task_group:
            self._task_group = task_group
            self._context = copy_context()
            self._loop = HomeLoop(type(self).__name__)
            self._is_closed = self._loop_ended = False
            loop_ends = False
            try:
                yield
            except get_cancelled_exc_class():
                loop_ends = True
                raise
            finally:
                try:
                    await self._close_all(loop_ends=loop_ends)
                except BaseException as exc:
                    if not ends_the_program(exc):
                        raise
                    interrupt = exc  # raised when the group, which waits for all of them, is left
                    self._give_up()
                finally:
                    self._last_statistics = self._now()
                    self._forget_all()
        if interrupt is not None:
            raise interrupt
        failures, self._failures = self._failures, []
        raise_all("closing the model providers failed", failures)

    async def _close_all(self, *, loop_ends: bool) -> None:
        self._task_group = None
        self._is_closed, self._loop_ended = True, loop_ends
        closers = [*self._closers, *(entered.close for entered in self._entered.values())]
        closers += [partial(pool.stop, loop_ends=loop_ends) for pool in self._pools]
        with CancelScope(shield=True):  # bounded: every provider has a close_timeout of its own
            async with create_task_group() as closing:
                for close in closers:
                    closing.start_soon(self._close, close)

    def _give_up(self) -> None:
        """Call off what is open or being closed, where an interrupt has broken off the end."""
        for pool in self._pools:
            pool.give_up()
        for entered in self._entered.values():
            entered.give_up()

    def _forget_all(self) -> None:
        self._started.clear()
        self._entered.clear()
        self._pools.clear()
        self._closers.clear()
        for source in self._sources.values():
            source.put(None)

    def _usable_task_group(self) -> TaskGroup:
        name = type(self).__name__
        if self._task_group is None:
            if not self._is_closed:
                raise ProviderNotEnteredError(name)
            raise ProviderClosedError(name, loop_ended=self._loop_ended)
        self._loop.check()
        return self._task_group

    def _source(self, name: str) -> Source:
        try:
            return self._sources[name]
        except KeyError:
            names = ", ".join(map(repr, self._sources)) or "none"
            raise KeyError(f"no provider is registered as {name!r}; there are: {names}") from None

    def _now(self) -> dict[str, ProviderStatistics]:
        return {
            name: provider.statistics()
            for name, provider in self._started.items()
            if isinstance(provider, PooledProvider)
        }

    def _needs_a_task(self, name: str, provider: ModelProvider[Any]) -> bool:
        """Whether it is up to us to enter it, and that means to await something."""
        if isinstance(provider, PooledProvider):
            if runtime_of(provider).is_running:
                return False
        elif self._is_entered_by_others(name, provider):
            return False
        return not self._is_started(provider) and is_tied_to_a_task(type(provider))

    def _is_started(self, provider: ModelProvider[Any]) -> bool:
        return any(provider is started for started in self._started.values())

    def _is_entered_by_others(self, name: str, provider: ModelProvider[Any]) -> bool:
        """Whether one that is no pool is not ours to enter and to close."""
        return self._sources[name].borrowed or is_held(provider)

    def _start_now(self, name: str, provider: ModelProvider[Any], task_group: TaskGroup) -> None:
        """Start what can be started without waiting."""
        if isinstance(provider, PooledProvider):
            if not runtime_of(provider).is_running:
                self._context.copy().run(runtime_of(provider).start, provider, task_group)  # it is not its first user's
                self._pools.append(runtime_of(provider))
        elif not self._is_entered_by_others(name, provider) and not self._is_started(provider):
            self._closers.append(partial(_teardown_all, name, provider))
        self._started[name] = provider

    async def _start(self, name: str) -> ModelProvider[Any]:
        entered = self._entered.get(name)
        if entered is None:
            task_group = self._usable_task_group()
            provider = self._source(name).build()
            if not self._needs_a_task(name, provider):
                self._start_now(name, provider, task_group)
                return provider
            entered = EnteredProvider(
                name, provider, partial(self._started.__setitem__, name, provider), partial(self._on_ended, name)
            )
            self._entered[name] = entered
            start = partial(task_group.start_soon, entered.run, name=f"doteval provider {name}")
            self._context.copy().run(start)
        await entered.settled.wait()
        if entered.is_open and name in self._started:
            return self._started[name]
        if entered.error is None:
            raise ProviderClosedError(type(self).__name__)
        reason = masked(reason_of(entered.error), secrets_of(self._sources[name].settings))
        raise ModelSetupError(name, reason, advice_for(entered.error)) from entered.error

    def _on_ended(self, name: str, entered: EnteredProvider) -> None:
        """A provider with an ``__aenter__`` of its own is closed, or broke, or could not be entered."""
        if entered.was_open and isinstance(entered.error, Exception):
            self._failures.append(entered.error)
        if self._task_group is not None:  # the next one who asks gets a new one
            del self._entered[name]
            self._started.pop(name, None)
            self._sources[name].put(None)

    async def _close(self, close: Callable[[], Awaitable[object]]) -> None:
        try:
            await close()
        except Exception as exc:
            self._failures.append(exc)

    def _lend(self, name: str, provider: ModelProvider[Any]) -> None:
        """Use this provider under `name` from now on; whoever lends it closes it."""
        if self._started.get(name) is not provider:
            self._started.pop(name, None)
            self._sources[name].put(provider)


async def _teardown_all(name: str, provider: ModelProvider[Any]) -> None:
    kind: type[object] = type(provider)
    teardown_all: Callable[[], Awaitable[None]] | None = getattr(provider, "teardown_all", None)
    if teardown_all is None:
        return  # it does not inherit from ModelProvider, and its author closes what it opens
    if getattr(kind, "teardown_all", None) is ModelProvider.teardown_all:
        await teardown_all()  # bounded by itself, with a close_timeout for every handle
        return
    seconds: float = getattr(provider, "close_timeout", CLOSE_TIMEOUT)
    with move_on_after(seconds) as scope:
        await teardown_all()
    if scope.cancelled_caught:
        raise CloseTimeoutError(name, seconds)

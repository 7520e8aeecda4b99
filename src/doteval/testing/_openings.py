"""``Openings``: watches the openings of a pooled provider, and holds them up, fails them and breaks them on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Generic

from anyio import Event, create_task_group, get_current_task
from typing_extensions import TypeVar

from .. import PooledProvider

ModelT = TypeVar("ModelT", default=Any)


class Openings(Generic[ModelT]):
    """Stands between a provider and its ``open()``; what that does is not changed.

    Args:
        provider: The provider, not entered yet.
    """

    def __init__(self, provider: PooledProvider[ModelT]) -> None:
        self.own = provider.open
        """The provider's own ``open()``."""
        vars(provider)["open"] = self.open
        self.begun: Counter[str] = Counter()
        """How often each spec was begun to be opened."""
        self.config: dict[str, dict[str, Any]] = {}
        """What each spec was opened with, the names of its slots among it."""
        self.entered_in: dict[str, int] = {}
        """The task that has entered the context manager of a spec."""
        self.left_in: dict[str, int] = {}
        """The task that has left it."""
        self.gate: Event | None = None
        """Where it is given, openings wait for it."""
        self.failures: list[Exception] = []
        """What the next openings raise, one each."""
        self.close_failures: dict[str, Exception] = {}
        """What closing a spec raises, when it is closed."""
        self.breakable = False
        """Whether what is opened from now on can be broken; it then lives in a task group."""
        self._breaks: dict[str, Event] = {}

    def break_down(self, spec: str) -> None:
        """Make the open resource of `spec` fail, as a background task of its own could."""
        self._breaks[spec].set()

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[ModelT]:
        """What the provider calls instead of its own ``open()``."""
        self.begun[spec] += 1
        self.config[spec] = config
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        if self.breakable:
            self._breaks[spec] = Event()
            async with create_task_group() as task_group:
                task_group.start_soon(self._fuse, spec)
                async with self._opened(spec, config) as model:
                    yield model
                task_group.cancel_scope.cancel()
        else:
            async with self._opened(spec, config) as model:
                yield model
        if spec in self.close_failures:
            raise self.close_failures[spec]

    @asynccontextmanager
    async def _opened(self, spec: str, config: dict[str, Any]) -> AsyncGenerator[ModelT]:
        async with self.own(spec, **config) as model:
            self.entered_in[spec] = get_current_task().id
            try:
                yield model
            finally:
                self.left_in[spec] = get_current_task().id

    async def _fuse(self, spec: str) -> None:
        await self._breaks[spec].wait()
        raise ConnectionError(f"'{spec}' broke down, as the contract asked for")

"""Providers of every kind that a name can stand for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import anyio
from anyio.lowlevel import checkpoint

from doteval import ModelHandle, ModelProvider, PooledProvider


class Words(PooledProvider[str]):
    """Opens a word; `trouble` is raised when one is closed."""

    patterns = ("word-*",)

    def __init__(self, suffix: str = "", trouble: Exception | None = None) -> None:
        super().__init__()
        self.suffix = suffix
        self.trouble = trouble
        self.closed: list[str] = []

    @asynccontextmanager
    async def open(self, spec: str, /) -> AsyncIterator[str]:
        await checkpoint()
        yield spec + self.suffix
        self.closed.append(spec)
        if self.trouble is not None:
            raise self.trouble


class Letters(ModelProvider[str]):
    """A provider with books of its own, that closes what it gave out and knows nothing of pools."""

    patterns = ("letter-*", "word-or-letter-*")

    def __init__(self) -> None:
        self.torn_down: list[str] = []

    async def setup(self, spec: str, /) -> ModelHandle[str]:
        await checkpoint()
        return ModelHandle(spec, spec, self)

    async def teardown(self, resource_id: str, /) -> None:
        await checkpoint()
        self.torn_down.append(resource_id)


class Sessions(ModelProvider[str]):
    """A provider with an ``__aenter__`` of its own, which holds a task group open and so ties it to one task."""

    patterns = ("session-*",)
    close_timeout = 5.0

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble = trouble
        self.entered = 0
        self.exited = 0

    async def __aenter__(self) -> Self:
        await checkpoint()
        if self.trouble is not None:
            raise self.trouble
        self.group = anyio.create_task_group()
        await self.group.__aenter__()
        self.entered += 1
        return self

    async def __aexit__(self, *exc_info: object) -> bool | None:
        self.group.cancel_scope.cancel()
        self.exited += 1
        return await self.group.__aexit__(None, None, None)

    def break_down(self) -> None:
        async def fail() -> None:
            raise ConnectionError("the line is dead")

        self.group.start_soon(fail)

    async def setup(self, spec: str, /) -> ModelHandle[str]:
        return ModelHandle(spec, f"{spec} of {self.entered}", self)

    async def teardown(self, resource_id: str, /) -> None: ...


class Duck:
    """A provider that inherits from nothing, as one in the seed does."""

    async def setup(self, spec: str) -> ModelHandle[str]:
        return ModelHandle(spec, spec, self)

    async def teardown(self, resource_id: str) -> None: ...

"""Who waits for what a task has left that has ended, as a cell of a notebook does, is told so."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import CancelScope, Event, create_task_group, fail_after
from anyio.lowlevel import checkpoint

from doteval import ModelHandle
from doteval._pool import pool
from doteval.testing import FakeModel, FakeProvider

pytestmark = [pytest.mark.anyio]


class Told(logging.Handler):
    """What is logged from the level of warnings on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.some = Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.some.set()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setattr(pool, "A_WHILE", 0)
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    told = Told()
    monkeypatch.setattr(logging.getLogger("doteval.pool"), "handlers", [told])
    return told


async def turns() -> None:
    """Long enough for whoever waits to look again."""
    for _ in range(50):
        await checkpoint()


async def set_up_and_end(provider: FakeProvider, spec: str) -> None:
    async with provider.setup(spec):
        pass


async def set_up_elsewhere(provider: FakeProvider, spec: str) -> ModelHandle[FakeModel]:
    handles: list[ModelHandle[FakeModel]] = []

    async def cell() -> None:
        handles.append(await provider.setup(spec))

    async with create_task_group() as task_group:
        task_group.start_soon(cell)
    return handles[0]


async def test_it_is_told_once_and_waits_on(told: Told) -> None:
    """With who holds what; a teardown by whomever ends the wait."""
    async with FakeProvider(capacity=1) as provider, create_task_group() as task_group:
        left = await set_up_elsewhere(provider, "a")
        task_group.start_soon(set_up_and_end, provider, "b")
        with fail_after(10):
            await told.some.wait()
        (line,) = told.lines
        assert "setup of 'b' will wait for ever unless a handle is torn down" in line
        assert "'a': 1 slot, leased by task " in line
        assert ", which has ended\n  waiting: 1 request" in line
        await left.teardown()
    assert len(told.lines) == 1


async def test_nobody_is_told_where_somebody_is_left_who_may_give_something_back(told: Told) -> None:
    """The one who waits may also be served by her."""
    async with FakeProvider(capacity=2) as provider, provider.setup("mine"):
        left = await set_up_elsewhere(provider, "a")
        with CancelScope() as scope:
            async with create_task_group() as task_group:
                task_group.start_soon(set_up_and_end, provider, "b")
                await turns()
                scope.cancel()
        await left.teardown()
    assert told.lines == []


class Slow(FakeProvider):
    """Opens what is called slow when it is told to."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity=capacity)
        self.may_open = Event()

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[FakeModel]:
        if spec == "slow":
            await self.may_open.wait()
        async with super().open(spec, **config) as model:
            yield model


async def test_nobody_is_told_of_an_opening(told: Told) -> None:
    """What takes its time is not what somebody holds."""
    async with Slow(capacity=2) as provider:
        left = await set_up_elsewhere(provider, "a")
        async with create_task_group() as task_group:
            task_group.start_soon(set_up_and_end, provider, "slow")
            await turns()
            provider.may_open.set()
        await left.teardown()
    assert told.lines == []


async def test_nobody_is_told_of_what_is_opened_ahead(told: Told) -> None:
    """Which is nobody's, and has not ended."""
    async with Slow(capacity=1) as provider, create_task_group() as task_group:
        assert provider.preload("slow")
        task_group.start_soon(set_up_and_end, provider, "b")
        await turns()
        provider.may_open.set()
    assert told.lines == []


async def test_nobody_is_told_in_a_program(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, a task that sets up and ends has handed its handle on, as those of ``asyncio.gather`` do."""
    monkeypatch.delattr(sys, "ps1")
    async with FakeProvider(capacity=1) as provider, create_task_group() as task_group:
        left = await set_up_elsewhere(provider, "a")
        task_group.start_soon(set_up_and_end, provider, "b")
        await turns()
        await left.teardown()
    assert not told.lines

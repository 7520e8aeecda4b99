"""Waiting until nothing can run any more without help from outside."""

from __future__ import annotations

import asyncio

import anyio.lowlevel
import sniffio

_TURNS = 5
"""Of the event loop in which no task can run: what a task group does about a failure is a callback first."""


async def wait_all_tasks_blocked() -> None:
    """As anyio's own, which on asyncio looks again only after 0.1 s: a test would sleep."""
    if sniffio.current_async_library() == "trio":
        await anyio.wait_all_tasks_blocked()
        return
    me = asyncio.current_task()
    turns = 0
    while turns < _TURNS:
        await anyio.lowlevel.checkpoint()
        turns = 0 if any(_can_run(task) for task in asyncio.all_tasks() if task is not me) else turns + 1


def _can_run(task: asyncio.Task[object]) -> bool:
    waiter = task._fut_waiter  # type: ignore[attr-defined] - which anyio looks at, too
    return waiter is None or waiter.done()

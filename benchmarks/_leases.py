"""Leases to count instructions in; `_instructions.py` counts them, as it does those of `_requests.py`.

A warm lease stands against one of a caching manager written by hand, a cold one against an exit stack, and one whose
handle is noticed where it is dropped against one whose handle is not.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from _harness import BACKENDS, CachingManager, Model, opened_model

from doteval import PooledProvider
from doteval._handle import LeasedHandle
from doteval._pooled import runtime_of

FEW, MORE = 100, 600


class Provider(PooledProvider[Model]):
    def open(self, spec: str, /, **config: Any):
        return opened_model(spec)


async def doteval(leases: int, *, is_noticed: bool = True, **options: Any) -> None:
    async with Provider(**options) as provider:
        if not is_noticed:
            runtime_of(provider).hand_out = LeasedHandle
        if options.get("keep_alive") != 0:
            await provider.setup("m")  # and so it stays open
        for _ in range(leases):
            handle = await provider.setup("m")
            handle.model  # noqa: B018 - who leases looks at it
            await handle.teardown()


async def by_hand(leases: int) -> None:
    manager = CachingManager()
    for _ in range(leases):
        await manager.get_client(spec="m")
        await manager.release(spec="m")


async def exit_stack(leases: int) -> None:
    for _ in range(leases):
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(opened_model("m"))


Side = Callable[[int], Awaitable[None]]
SLOTS: dict[str, Any] = {"fast_acquire": True, "capacity": 4}
KEPT: dict[str, Any] = {"fast_acquire": True, "keep_alive": 100.0}
QUESTIONS: dict[str, tuple[Side, Side]] = {
    "a warm lease": (doteval, by_hand),
    "a warm lease with fast_acquire": (partial(doteval, fast_acquire=True), by_hand),
    "a warm lease with fast_acquire and a capacity": (partial(doteval, **SLOTS), by_hand),
    "a cold open": (partial(doteval, keep_alive=0), exit_stack),
    "to notice what is dropped, with a capacity": (
        partial(doteval, **SLOTS),
        partial(doteval, is_noticed=False, **SLOTS),
    ),
    "to notice what is dropped, with keep_alive": (
        partial(doteval, **KEPT),
        partial(doteval, is_noticed=False, **KEPT),
    ),
}


def main(directory: Path) -> None:
    """Run each side in a child, and write down which is which."""
    gc.disable()
    children = {}
    for question, sides in QUESTIONS.items():
        for backend in BACKENDS:
            for side, function in zip(("doteval", "raw"), sides, strict=True):
                for leases in (FEW, MORE):
                    child = os.fork()
                    if child == 0:
                        anyio.run(function, leases, backend=backend)
                        os._exit(0)
                    assert os.waitpid(child, 0)[1] == 0
                    children[child] = (question, backend, side, leases)
    Path(directory, "children.json").write_text(json.dumps(children), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

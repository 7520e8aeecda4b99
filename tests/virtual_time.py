"""Virtual time: when nothing can run until a timer goes off, the clock jumps to that timer, and no test waits.

::

    pytestmark = [pytest.mark.anyio, virtual_time]

Only for tests without I/O: the clock also jumps while a peer or a thread takes its real time. uvloop keeps its timers
in C, where no clock of ours reaches them, so such a test runs on plain asyncio and on trio. The clock does not start
anew for each test: compare times, do not look at one alone.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

import pytest
import trio.testing


class _JumpingSelector(selectors.BaseSelector):
    """Never waits for a time-out: where nothing is ready, it lets the whole time-out pass at once."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return self._selector.select(None)  # no timer is set: only an event from outside can end this
        ready = self._selector.select(0)
        if not ready:
            self.now += timeout
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._selector.get_map()

    def close(self) -> None:
        self._selector.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio whose clock jumps."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-6  # asyncio adds it to the time; after a year the usual 1e-9 would change nothing

    def time(self) -> float:
        return self._jumping.now


BACKENDS = {
    "asyncio-virtual": ("asyncio", {"loop_factory": VirtualTimeLoop}),
    "trio-virtual": ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}),
}

virtual_time = pytest.mark.parametrize("anyio_backend", BACKENDS.values(), ids=BACKENDS, indirect=True, scope="module")
"""Runs a test, or all of a module, in virtual time; replaces the usual backends."""

"""``PoolOptions``: what a provider passes on to `PooledProvider`, typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from ..._pool.events import PoolEvent


class PoolOptions(TypedDict, total=False):
    """What every `PooledProvider` takes; see there."""

    capacity: int | None
    keep_alive: float | None
    max_concurrent_opens: int
    close_timeout: float
    setup_timeout: float | None
    health_after: float | None
    remember_failures: float
    fast_acquire: bool
    on_event: Callable[[PoolEvent], object] | None

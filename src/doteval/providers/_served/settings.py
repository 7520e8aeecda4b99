"""``ServerSettings``: what every provider that starts servers takes, typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict

import openai

from ..._pool.events import PoolEvent
from ...servers._contract import Launcher


class ServerPoolOptions(TypedDict, total=False):
    """What such a provider passes on to `PooledProvider`."""

    keep_alive: float | None
    max_concurrent_opens: int
    close_timeout: float
    setup_timeout: float | None
    remember_failures: float
    on_event: Callable[[PoolEvent], object] | None


class ServerSettings(ServerPoolOptions, total=False):
    """What every such provider takes; `ServerProvider` says what it means."""

    gpus: Literal["auto"] | Sequence[str | int] | None
    capacity: int | None
    share: str | None
    server_keep_alive: float
    start_timeout: float
    stall_timeout: float | None
    stop_grace: float
    port: int | None
    log_bytes: int
    environment: Mapping[str, str] | None
    cwd: str | PathLike[str] | None
    restarts: int
    launcher: Launcher | None
    max_concurrency: int | None
    params: Mapping[str, Any] | None
    timeout: float | openai.Timeout | None
    max_retries: int | None

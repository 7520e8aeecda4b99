"""``PoolOptions``: what the providers with a pool take, declared once; `PooledProvider` does what they say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Annotated, TypedDict

from ._handle import CLOSE_TIMEOUT
from ._keywords import (
    Keyword,
    at_least,
    function_or_none,
    more_than_zero_or_none,
    seconds,
    seconds_or_none,
    switch_or_none,
)
from ._pool.events import PoolEvent


class LifecycleOptions(TypedDict, total=False):
    """How resources are opened, kept and closed: what every `PooledProvider` takes."""

    keep_alive: Annotated[
        float | None,
        Keyword(
            "How long a resource without a lease stays open, in seconds. `None`: until the provider closes or its "
            "slots are needed; 0: it is closed at once.",
            check=seconds_or_none,
            operational=True,
        ),
    ]
    max_concurrent_opens: Annotated[
        int, Keyword("How many resources are being opened at once.", 8, at_least(1), operational=True)
    ]
    close_timeout: Annotated[
        float,
        Keyword(
            "How long closing one resource may take before it is cancelled, in seconds.",
            CLOSE_TIMEOUT,
            check=seconds,
            operational=True,
        ),
    ]
    setup_timeout: Annotated[
        float | None,
        Keyword(
            "How long one `setup` may take, in seconds. `None`: no limit.", check=seconds_or_none, operational=True
        ),
    ]
    remember_failures: Annotated[
        float,
        Keyword(
            "For how long a failed opening is answered from memory instead of being tried again, in seconds.",
            0.0,
            seconds,
            operational=True,
        ),
    ]
    max_waiting: Annotated[
        int | None,
        Keyword(
            "How many requests may wait for others to release their leases; one more is refused at once. "
            "`None`: no limit.",
            check=at_least(0, "for no limit"),
            operational=True,
        ),
    ]
    trace_leases: Annotated[
        bool | None,
        Keyword(
            "Remember who sets up each lease, and where, for the `ResourceWarning` where its handle is dropped without "
            "a teardown. That lease is then ended, as it is anyway where `capacity` or `keep_alive` is set. `None`: in "
            "Python's development mode.",
            check=switch_or_none,
            operational=True,
        ),
    ]
    leak_after: Annotated[
        float | None,
        Keyword(
            "Warn, once, of a lease that is held for so many seconds, and say who set it up, and where; implies "
            "`trace_leases`. `None`: never.",
            check=more_than_zero_or_none,
            operational=True,
        ),
    ]
    on_event: Annotated[
        Callable[[PoolEvent], object] | None,
        Keyword(
            "Called with every transition of every resource; must not block. What it raises is logged.",
            check=function_or_none,
            operational=True,
        ),
    ]


class LeaseOptions(LifecycleOptions, total=False):
    """The same, and what is done before a lease. Providers of servers decide that themselves."""

    health_after: Annotated[
        float | None,
        Keyword(
            "Ask `healthy` before a resource is leased again after it was idle for at least this long, in seconds. "
            "`None`: never.",
            check=seconds_or_none,
            operational=True,
        ),
    ]
    health_every: Annotated[
        float | None,
        Keyword(
            "Ask `healthy` for what is leased, too, whenever so many seconds have passed: where it says no, all leases "
            "on it end, and the next `setup` opens a new one. `None`: never.",
            check=more_than_zero_or_none,
            operational=True,
        ),
    ]
    max_lifetime: Annotated[
        float | None,
        Keyword(
            "After how many seconds newcomers get a new resource, while those who lease the old one finish; up to a "
            "tenth sooner, by chance, so that not all end at once. `None`: never.",
            check=more_than_zero_or_none,
            operational=True,
        ),
    ]
    health_timeout: Annotated[
        float,
        Keyword(
            "How long `healthy` may take before the answer is no, in seconds.", CLOSE_TIMEOUT, seconds, operational=True
        ),
    ]
    fast_acquire: Annotated[
        bool,
        Keyword(
            "Skip the checkpoints of `setup` and of the handle's teardown where nothing has to be waited for.",
            False,
            operational=True,
        ),
    ]


class PoolOptions(LeaseOptions, total=False):
    """What every `PooledProvider` takes, such as ``keep_alive``, for the type of ``**options: Unpack[PoolOptions]``."""

    capacity: Annotated[
        int | None, Keyword("How many slots there are; every open resource occupies one of them.", operational=True)
    ]


def check_slots(capacity: int | Sequence[str] | None) -> None:
    """Raise a `ValueError` where `capacity` is no number of slots, and no list of their names either."""
    if capacity is None:
        return
    given: object = capacity
    if isinstance(capacity, str):
        raise ValueError(f"capacity must be a number of slots or a list of their names, not the text {capacity!r}")
    if isinstance(capacity, int):
        if capacity < 1 or isinstance(capacity, bool):
            raise ValueError(f"capacity must be at least 1 slot, or None for no limit, not {capacity!r}")
    elif not isinstance(given, Collection):
        raise ValueError(f"capacity must be a whole number of slots or a list of their names, not {capacity!r}")
    elif not capacity or len(set(capacity)) != len(capacity):
        raise ValueError(f"capacity must name at least one slot and none twice, not {list(capacity)!r}")

"""What can be seen of a pool from outside: the events it reports and the snapshot of its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

EventKind = Literal[
    "opening",
    "opened",
    "open_failed",
    "open_cancelled",
    "leased",
    "released",
    "checking",
    "retiring",
    "closing",
    "closed",
    "close_failed",
    "lost",
    "replica_opened",
    "replica_lost",
]


TIME_BOUNDS = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0)
"""The upper bounds of the buckets in which times are counted, in seconds; one more bucket is for what is longer."""


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """One transition of one resource.

    Args:
        kind: What happened.
        provider: The provider's name.
        resource_id: The resource; never holds a secret.
        generation: Which opening of it, counted over the whole provider.
        reason: Why it happened, where there is something to say.
        leases: How many leases the resource has after the transition; while it is opened, how many wait for it.
    """

    kind: EventKind
    provider: str
    resource_id: str
    generation: int
    reason: str
    leases: int


@dataclass(frozen=True, slots=True)
class ProviderStatistics:
    """A snapshot of a provider's counts.

    Args:
        provider: The provider's name.
        opens: Resources opened so far.
        closes: Opened resources closed so far, lost ones among them.
        leases: Leases granted so far.
        reuses: Leases granted on a resource that was open already.
        open_failures: Openings that raised.
        open_cancellations: Openings called off because nobody waited any more.
        losses: Resources that broke while they were open.
        replica_losses: Servers of resources with replicas that ended, while others served or were started instead.
        evictions: Idle resources closed because their slots were needed.
        expirations: Idle resources closed after ``keep_alive``.
        retirements: Resources that were leased to nobody new from some moment on, and closed after their last lease.
        unhealthy: Idle resources closed because ``healthy()`` said no.
        close_failures: Closings that raised.
        opening: Resources being opened now.
        open: Resources open now, idle ones among them.
        idle: Open resources without a lease now.
        closing: Resources being closed now.
        active_leases: Leases that hold now.
        waiting: Requests in the queue now.
        capacity: Slots in all, or `None` for no limit.
        free_slots: Slots not occupied now, or `None` for no limit.
        setup_seconds: Time spent opening resources, summed over all of them, in seconds.
        waits: Requests that could not be granted at once, and wait no more.
        wait_seconds: How long they waited, summed over all of them, in seconds.
        queue_seconds: The part of it in which others held the slots; the rest is openings and health checks.
        wait_timeouts: Those of them that ``setup_timeout`` ended.
        wait_deadlocks: Those of them that were told that they would wait for ever; the others are told at once.
        wait_cancellations: Those of them that were cancelled.
        wait_times: How many of them waited how long, in the buckets of `time_bounds`.
        open_times: How many openings took how long, in the same buckets.
        use_seconds: How long leases were held that have ended, summed over all of them, in seconds; where there is a
            ``capacity``, so that somebody may wait for their end, and 0 elsewhere.
        use_times: How many of them were held how long, in the same buckets.
    """

    provider: str
    opens: int = 0
    closes: int = 0
    leases: int = 0
    reuses: int = 0
    open_failures: int = 0
    open_cancellations: int = 0
    losses: int = 0
    replica_losses: int = 0
    evictions: int = 0
    expirations: int = 0
    retirements: int = 0
    unhealthy: int = 0
    close_failures: int = 0
    opening: int = 0
    open: int = 0
    idle: int = 0
    closing: int = 0
    active_leases: int = 0
    waiting: int = 0
    capacity: int | None = None
    free_slots: int | None = None
    setup_seconds: float = 0.0
    waits: int = 0
    wait_seconds: float = 0.0
    queue_seconds: float = 0.0
    wait_timeouts: int = 0
    wait_deadlocks: int = 0
    wait_cancellations: int = 0
    wait_times: tuple[int, ...] = (0,) * (len(TIME_BOUNDS) + 1)
    open_times: tuple[int, ...] = (0,) * (len(TIME_BOUNDS) + 1)
    use_seconds: float = 0.0
    use_times: tuple[int, ...] = (0,) * (len(TIME_BOUNDS) + 1)

    time_bounds: ClassVar[tuple[float, ...]] = TIME_BOUNDS
    """The upper bounds of the buckets, in seconds; the last bucket is for what is longer."""

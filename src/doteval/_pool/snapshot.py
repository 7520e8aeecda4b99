"""The counts of a pool at one moment, out of its books."""

from __future__ import annotations

from dataclasses import asdict

from .events import ProviderStatistics
from .ledger import Ledger
from .records import Phase


def snapshot(provider: str, ledger: Ledger, *, close_failures: int) -> ProviderStatistics:
    """What the books say now.

    Args:
        provider: The provider's name.
        ledger: The books.
        close_failures: How many resources failed to close.
    """
    phases = [entry.phase for entry in ledger.entries]
    return ProviderStatistics(
        provider=provider,
        **asdict(ledger.counts),
        close_failures=close_failures,
        opening=phases.count(Phase.OPENING),
        open=phases.count(Phase.OPEN) + phases.count(Phase.CHECKING),
        idle=ledger.idle,
        closing=phases.count(Phase.CLOSING),
        active_leases=ledger.active_leases,
        waiting=ledger.waiting,
        capacity=ledger.capacity,
        free_slots=None if ledger.capacity is None else max(0, ledger.free_slots),
        setup_seconds=ledger.waits.opens.seconds,
        waits=ledger.waits.times.count,
        wait_seconds=ledger.waits.times.seconds,
        queue_seconds=ledger.waits.queue_seconds,
        wait_timeouts=ledger.waits.endings["timeout"],
        wait_deadlocks=ledger.waits.endings["deadlock"],
        wait_cancellations=ledger.waits.endings["cancelled"],
        wait_times=ledger.waits.times.buckets,
        open_times=ledger.waits.opens.buckets,
        use_seconds=ledger.waits.uses.seconds,
        use_times=ledger.waits.uses.buckets,
    )

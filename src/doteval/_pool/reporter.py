"""The reporter: tells the log, and whoever listens, every transition of every entry."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .containment import ends_the_program
from .events import EventKind, PoolEvent
from .records import Entry

logger = logging.getLogger("doteval.pool")


def log_raised(level: int, error: BaseException, message: str, *args: object) -> None:
    """Log that an author's code has raised; how it came to that, where Python can print it."""
    try:
        logger.log(level, message, *args, exc_info=(type(error), error, error.__traceback__))
    except Exception:  # Python asks it whether it is true, and for its notes
        logger.log(level, "%s: %s", message % args, type(error).__name__)


class Reporter:
    """Reports the transitions of one pool.

    Args:
        provider: The provider's name.
        on_event: Gets every transition. What it raises is logged, unless it is an interrupt or an exit.
    """

    def __init__(self, provider: str, on_event: Callable[[PoolEvent], object] | None) -> None:
        self._provider = provider
        self._on_event = on_event

    def report(self, kind: EventKind, entry: Entry, reason: str = "") -> None:
        """Tell that the entry has made a transition, and why."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s: %s '%s' (%d) %s", self._provider, kind, entry.want.label, entry.generation, reason)
        if self._on_event is not None:
            event = PoolEvent(kind, self._provider, entry.want.label, entry.generation, reason, len(entry.leases))
            try:
                self._on_event(event)
            except BaseException as exc:
                if ends_the_program(exc):
                    raise
                log_raised(logging.ERROR, exc, "on_event of %s failed on %r", self._provider, event)

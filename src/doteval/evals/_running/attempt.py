"""``Attempt``: the present attempt of a row, and what is known of those before."""

from __future__ import annotations

import math

from anyio import get_cancelled_exc_class

from .._results.begun import RequestsOfRow
from .._results.record import Spending
from .dataset import Row

_ENDED_ITSELF = (
    "the row was cancelled by a timeout or a task group that it has left open itself, as in an async generator that is "
    "left with 'break'.\nClose what is left early: 'async with aclosing(...)' does that for a generator."
)


class Attempt:
    """The present one.

    Args:
        place: The row's place among those of the run.
        row: The row.
        requests: Its requests; they become more as it runs.
    """

    __slots__ = (
        *("asked", "count", "epoch", "error", "lost", "place", "refused", "refused_since", "requests", "row"),
        *("seconds", "spending", "stumbled"),
    )

    def __init__(self, place: int, row: Row, requests: RequestsOfRow) -> None:
        self.place = place
        self.row = row
        self.requests = requests
        self.spending = Spending(requests)
        self.count = 1
        """The number of the attempt."""
        self.epoch = 0
        """That of the limit in which it began."""
        self.seconds = 0.0
        """How long it took."""
        self.error: BaseException | None = None
        """What it has raised, until it is found out what that means."""
        self.lost = self.stumbled = self.refused = self.asked = 0
        """How often the row was run again, and why."""
        self.refused_since = math.inf
        """When the server refused it first."""

    @property
    def name(self) -> str:
        """What a row is known by to a cache; its first sample like the row of a run that draws no more.

        Run again because the user says so, which may be because of what a model replied, it asks anew.
        """
        row, asked = self.row, self.asked
        sample = "" if row.sample == 1 else f" sample {row.sample}"
        return f"{row.inputs.key}{sample}{f' retry {asked}' if asked else ''}"

    @staticmethod
    def ended_by_itself(raised: BaseException | None) -> BaseException:
        """What it has raised, where that was no cancellation, which was nobody's but its own."""
        if raised is not None and not isinstance(raised, get_cancelled_exc_class()):
            return raised
        return RuntimeError(_ENDED_ITSELF).with_traceback(None if raised is None else raised.__traceback__)

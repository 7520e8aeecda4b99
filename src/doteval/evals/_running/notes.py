"""Notes what a run has written and read, with its results, as nobody may be there at the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from anyio import CancelScope, CapacityLimiter, to_thread

from .._identity.kept import others_run
from .._results.declared import without_declared
from .._results.identity import Identity, has_doubts
from .._results.reading import Stored
from .files_read import count_of_news
from .settings import Place


class Notes:
    """What is noted of one run.

    Args:
        place: Where its results are kept.
        stored: The evaluation there.
    """

    def __init__(self, place: Place, stored: Stored) -> None:
        self._place = place
        self._stored = stored
        self._known = stored.identity
        self._noted = stored.identity
        self._news = -1
        self.is_waited_for = has_doubts(stored.identity)
        """Whether it has to be found out what rows write, before the first result is kept."""

    async def look(self) -> None:
        """Find out what rows write, while others are run; what is written meanwhile is seen to be."""
        with suppress(Exception):
            self._known = await to_thread.run_sync(
                _beside_others, self._place.look_again, abandon_on_cancel=True, limiter=CapacityLimiter(1)
            )
        self.is_waited_for, self._news = False, -1

    def before_a_result(self) -> None:
        """Have it noted, in the same transaction as the next result at the latest, what is known by now."""
        news = count_of_news()
        if news != self._news:
            self._news = news
            found = {**self._known, **without_declared(self._place.files.noted(), self._stored.identity)}
            if found != self._noted:
                self._noted = found
                self._place.store.note_written(self._stored, found)

    async def at_the_end(self) -> None:
        """Have all of it noted."""
        with CancelScope(shield=True):  # as long as it took when the run began
            self._place.store.note_written(self._stored, await to_thread.run_sync(self._place.look))


def _beside_others(look: Callable[[], Identity]) -> Identity:
    others_run.set(True)  # in this thread's copy of the context
    return look()

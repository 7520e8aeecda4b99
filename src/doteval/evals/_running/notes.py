"""Notes what a run has written and read, with its results, as nobody may be there at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from anyio import CancelScope, CapacityLimiter, to_thread

from .._results.declared import part_of_mixed, printable, without_declared
from .._results.identity import Identity, data_changed_meanwhile, edited_meanwhile, has_doubts, listed, unseen_in
from .._results.reading import Stored
from .files_read import MOST, changed_files, count_of_news
from .settings import Place

_FEW = 50
"""Which part of what is noted may be missing where a run is killed."""


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
        self._news: int | None = None
        """How many files anybody had noted when it was looked last."""
        self.is_waited_for = has_doubts(stored.identity)
        """Whether it has to be found out what rows write, before the first result is kept."""

    async def look(self) -> None:
        """Find out what rows write, while others are run; what is written meanwhile is seen to be."""
        with suppress(Exception):
            self._known = await to_thread.run_sync(
                self._place.look_again, abandon_on_cancel=True, limiter=CapacityLimiter(1)
            )
        self.is_waited_for, self._news = False, None

    def before_a_result(self) -> None:
        """Have it noted, in the same transaction as the next result at the latest, what is known by now.

        All of it is written each time: where that is much, it waits until there is as much more as a fiftieth of it.
        """
        news = count_of_news()
        if self._news is None or news - self._news > len(self._noted) // _FEW:
            self._news = news
            found = {**self._known, **without_declared(self._place.files.noted(), self._stored.identity)}
            if found != self._noted:
                self._noted = found
                self._place.store.note_written(self._stored, found)

    async def at_the_end(self, *, has_called: bool) -> list[str]:
        """Have all of it noted, and what has changed while rows were run; what is to be said of that.

        Args:
            has_called: Whether any row was run.
        """
        told: list[str] = []
        with CancelScope(shield=True):  # as long as it took when the run began
            changed, told, read = await to_thread.run_sync(self._look_at_files, has_called)
            found: Identity = self._stored.identity
            try:
                found = {**await to_thread.run_sync(self._place.look_again), **read}
                told += (*self._told_of_others(found), *self._told_of_unseen(found)) if has_called else ()
            finally:
                self._place.store.note_written(self._stored, {**found, **changed})
        return told

    def _told_of_others(self, found: Identity) -> Iterator[str]:
        """What is to be said of what somebody else has changed while rows were run."""
        name, began = f"'{self._stored.name}'", self._stored.identity
        if edited := edited_meanwhile(began, found):
            yield (
                f"While rows of {name} were run, {listed(edited)} has changed: nobody knows of which their "
                "results are, so the next run takes them for those of something else."
            )
        if changed := data_changed_meanwhile(began, found):
            yield (
                f"While rows of {name} were run, {listed(changed)} has changed, and their code does not tell "
                "that it writes it: nobody knows of which their results are. They count as those of both. What others "
                "change meanwhile should be an argument."
            )

    def _told_of_unseen(self, found: Identity) -> Iterator[str]:
        for each in unseen_in(found):
            yield f"Of what '{self._stored.name}' depends on, {each}. Name it in depends_on."

    def _look_at_files(self, has_called: bool) -> tuple[Identity, list[str], Identity]:
        """What has changed of what the user has named, what is to be said, and which files were read; blocks."""
        files, name = self._place.files, f"'{self._stored.name}'"
        contents = self._place.contents if has_called else None
        told: list[str] = []
        read = without_declared(files.noted(is_over=True), self._stored.identity)
        changed = {} if contents is None else contents.changed_since(self._stored.identity)
        if changed:
            told.append(
                f"While rows of {name} were run, {listed(tuple(changed.values()))}. Nobody knows of which content "
                "their results are, so the next run takes them for those of something else."
            )
        others = changed_files(read, files.project) if has_called else ()
        if others:
            told.append(
                f"Since it was first read for {name}, {listed(others)} has changed: nobody knows of which content the "
                "results are. They are kept as those of the first."
            )
        beyond = without_declared(files.not_noted(), self._stored.identity) if has_called else {}
        if beyond:
            told.append(
                f"For {name} more files were read than the {MOST:,} that are noted: nobody will be told where one of "
                f"the others changes, such as {printable(next(iter(beyond)))}. Name their directory in depends_on."
            )
        stale = [] if contents is None or changed else contents.changed_since_first(files.is_known_anew)
        if stale:
            told.append(
                f"Since this process first looked at it, {listed(tuple(map(printable, stale)))} has changed, and "
                f"no row of {name} is known to have read it now: the results count as those of now, but what your "
                "code keeps in memory is of then. If it keeps any of it, start over in a new process."
            )
        return {label: part_of_mixed(change) for label, change in changed.items()}, told, read

"""Begins an evaluation in the store, and leaves it where nobody waits for that any more."""

from __future__ import annotations

from threading import Lock

from anyio import to_thread

from .._identity.library import project_of
from .._results.declared import without_declared
from .._results.identity import listed, orders_changed
from .._results.reading import Stored
from .._results.store import Store
from .blocking import in_own_thread
from .changes import Changes
from .circumstances import about_run
from .evaluation import Evaluation
from .files_read import changed_files
from .settings import Place, Settings
from .telling import Chosen


async def begun(evaluation: Evaluation, place: Place, settings: Settings) -> tuple[Stored, Changes, tuple[str, ...]]:
    """Begin in a worker thread; where nobody waits for it any more, have the thread leave what it has begun."""
    state = _Beginning()
    try:
        if place.contents is not None:
            place = await in_own_thread(place.with_contents)
        return await to_thread.run_sync(_begin, evaluation, place, settings, state)
    except BaseException:
        state.call_off(place.store)
        raise


class _Beginning:
    """Whether whoever has begun an evaluation is still there, when it has."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_off = False
        self._stored: Stored | None = None

    def has_begun(self, store: Store, stored: Stored) -> None:
        """It has."""
        with self._lock:
            self._stored = stored
            if not self._is_off:
                return
        store.leave(stored)

    def call_off(self, store: Store) -> None:
        """Nobody is there."""
        with self._lock:
            self._is_off = True
            if self._stored is None:
                return
        store.leave(self._stored)


def _begin(
    evaluation: Evaluation, place: Place, settings: Settings, state: _Beginning
) -> tuple[Stored, Changes, tuple[str, ...]]:
    stored, differences = place.store.begin(
        place.experiment,
        place.name,
        model=place.model,
        identity=place.identity,
        epochs=settings.epochs,
        fresh=settings.fresh,
        changed=settings.changed,
    )
    state.has_begun(place.store, stored)
    place.store.note(stored, about_run(evaluation, settings))
    everything = place.store.with_epochs(stored, None)
    warnings = *warnings_of(stored, differences, settings), *warnings_of_doubts(evaluation, everything, place)
    return stored, Changes(place.store.known(everything, with_aside=True)), warnings


def warnings_of(stored: Stored, differences: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    """What a user is told of results that are of something else."""
    if not differences or settings.changed == "error":
        return ()
    done = "kept, though" if settings.changed == "keep" else "thrown away, as"
    where = f"of '{stored.name}' in the experiment '{stored.experiment}'"
    return (Chosen(f"The results {where} were {done} they are of something else: {listed(differences)}."),)


def warnings_of_doubts(evaluation: Evaluation, stored: Stored, place: Place) -> tuple[str, ...]:
    """What a user is told of results that may be of something else, as far as anybody knows; blocks."""
    known = without_declared(stored.identity, place.identity) if stored.stored else {}
    where = f"the results of '{stored.name}' in the experiment '{stored.experiment}'"
    kept = "They are kept all the same: --fresh (fresh=True of run) runs it again"
    told: list[str] = []
    if found := changed_files(known, project_of(evaluation.function)):
        changed = f"For {where} {listed(found)} was read, and has changed since."
        told.append(f"{changed} {kept}, and depends_on= of foreach makes such a change an error.")
    if found := orders_changed(known, place.identity):
        changed = f"Since {where} were made, {listed(found)} has changed, which a prompt may show."
        told.append(f"{changed} {kept}, and a list of pairs makes the order count.")
    return tuple(told)

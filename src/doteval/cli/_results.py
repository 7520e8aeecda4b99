"""What the commands about results have in common: the store as it is now, and how a part of it is named."""

from __future__ import annotations

import argparse
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from ..evals import Snapshot, Store, Stored, StoreError
from ..evals._results import upkeep
from ._problem import Problem


@contextmanager
def opened(options: argparse.Namespace) -> Generator[Snapshot]:
    """The results in the store that the options name, as they are now: a run may go on meanwhile.

    Raises:
        Problem: There is none, or it cannot be read, or is something else.
    """
    store = Store(options.store)
    try:
        with store.snapshot() as results:
            if results.is_empty and not store.path.exists():
                if store.path.is_symlink():
                    raise Problem(f"{options.store} is a link to {store.path.readlink()}, which is not there")
                raise Problem(
                    f"there are no results in {options.store}: run 'pytest --doteval-eval-experiment NAME' here, "
                    "or name the file: --store FILE"
                )
            yield results
    except StoreError as exc:
        raise Problem(" ".join(str(exc).splitlines())) from exc


def chosen(results: Snapshot, name: str) -> list[Stored]:
    """The evaluations of ``EXPERIMENT``, or of ``EXPERIMENT@PART``, those that have that in their names.

    Raises:
        Problem: There are none.
    """
    try:
        return upkeep.chosen(results, name)
    except ValueError as exc:
        raise Problem(str(exc)) from exc


def all_chosen(results: Snapshot, names: Sequence[str]) -> list[Stored]:
    """The evaluations of several names, each once.

    Raises:
        Problem: There are none of one of them.
    """
    return list({stored.id: stored for name in names for stored in chosen(results, name)}.values())

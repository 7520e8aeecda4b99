"""What the commands about results have in common: the store, and how a part of it is named."""

from __future__ import annotations

import argparse

from ..evals import Store, Stored
from ._problem import Problem


def opened(options: argparse.Namespace) -> Store:
    """The store that the options name.

    Raises:
        Problem: There is none.
    """
    store = Store(options.store)
    if not store.path.exists():
        raise Problem(
            f"there are no results in {store.path}: run 'pytest --doteval-eval-experiment NAME' here, "
            "or name the file: --store FILE"
        )
    return store


def chosen(store: Store, name: str) -> list[Stored]:
    """The evaluations of ``EXPERIMENT``, or of ``EXPERIMENT@PART``, those that have that in their names.

    Raises:
        Problem: There are none.
    """
    found = store.evaluations(name)
    if found:
        return found
    experiment, at, part = name.rpartition("@")
    if not at:
        known = ", ".join(dict.fromkeys(stored.experiment for stored in store.evaluations())) or "none"
        raise Problem(f"there is no experiment {name!r}; there are: {known}")
    found = [stored for stored in store.evaluations(experiment) if part in stored.name]
    if not found:
        there = ", ".join(stored.name for stored in store.evaluations(experiment)) or "none"
        raise Problem(f"no evaluation of {experiment!r} has {part!r} in its name; there are: {there}")
    return found

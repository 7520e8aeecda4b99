"""What the results of an evaluation depend on, as it is kept with them, and how two of these differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

Identity: TypeAlias = Mapping[str, str]
"""Fingerprints by what they are of; of what may be shown, the thing itself behind an equals sign."""

PYTHON = "Python"
"""Another version of Python has other bytecode, so code says nothing then."""
_MOST = 5


def changes(before: Identity, now: Identity) -> tuple[str, ...]:
    """What has changed, each as half a sentence."""
    return tuple(_changes(before, now))


def _changes(before: Identity, now: Identity) -> Iterator[str]:
    if before.get(PYTHON) != now.get(PYTHON):
        yield f"{_told(PYTHON, before, now)}, so code cannot be compared"
        before, now = ({name: part for name, part in side.items() if _is_shown(part)} for side in (before, now))
    # What is shown says most, and what is known from before more than what is new.
    both = {**now, **before}
    for name in sorted(both, key=lambda name: (not _is_shown(both[name]), name not in before, name)):
        if name != PYTHON and before.get(name) != now.get(name):
            yield _told(name, before, now)


def _told(name: str, before: Identity, now: Identity) -> str:
    old, new = before.get(name), now.get(name)
    if old is None:
        return f"{name} is new" if new is None or not _is_shown(new) else f"{name} is {new[1:]}, and was not set"
    if new is None:
        return f"{name} was {old[1:]}, and is not set" if _is_shown(old) else f"{name} is gone"
    if _is_shown(old) and _is_shown(new):
        return f"{name} was {old[1:]}, and is {new[1:]}"
    return f"{name} has changed"


def _is_shown(part: str) -> bool:
    return part.startswith("=")


def listed(found: tuple[str, ...]) -> str:
    """Changes as one text."""
    more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return "; ".join(found[:_MOST]) + more

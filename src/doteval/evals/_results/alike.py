"""Which evaluations of two experiments are the same one.

What has one name is one evaluation, if it may be of the same file: packages of a repository may be run each by itself.
Where pytest has counted the values of a parameter, ``[cfg0]`` and ``[cfg1]``, the number says where a value stands and
not which it is; so that parameter has to have the same value, wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from .identity import COUNTED, OWN_FILE, PARAMETER, Identity, is_of_same_file, is_same_part
from .reading import Results, Stored

_SOME_ROWS = re.compile(r" \((?:row .*|first \d+|\d+ of (?:all|first \d+), seed -?\d+)\)$", re.DOTALL)


def counterparts(before: Sequence[Stored], after: Sequence[Stored]) -> list[tuple[Stored, Stored]]:
    """The evaluations that both sides have, each once, in the order of the first side."""
    left: dict[str, list[Stored]] = {}
    for each in after:
        left.setdefault(_kin(each.name, each.identity), []).append(each)
    found: dict[int, Stored] = {}
    for needs_name in (True, False):
        for one in before:
            others = left.get(_kin(one.name, one.identity), [])
            other = None if one.id in found else _among(others, one.name, one.identity, needs_name=needs_name)
            if other is not None:
                others.remove(other)
                found[one.id] = other
    return [(one, found[one.id]) for one in before if one.id in found]


def counterpart(results: Results, experiment: str, name: str, identity: Identity) -> Stored | None:
    """The same evaluation in an experiment; `None` where there is none."""
    if _kin(name, identity) == name:
        found = results.find(experiment, name)
        return found if found is None or is_of_same_file(found.identity, identity) else None
    there = [each for each in results.evaluations(experiment) if _kin(each.name, each.identity) == _kin(name, identity)]
    return _among(there, name, identity, needs_name=True) or _among(there, name, identity, needs_name=False)


def told_apart(one: Identity, other: Identity, name: str) -> list[str]:
    """What tells an evaluation from one of its name: its file, or parameters whose values pytest has counted."""
    if not is_of_same_file(one, other):
        return [OWN_FILE]
    return [each for each, _ in _counted(name, one) if not is_same_part(one.get(each), other.get(each))]


def rows_in(name: str) -> str:
    """What a name says of the rows that are run, where these are not all."""
    found = _SOME_ROWS.search(name)
    return "" if found is None else found[0]


def _among(there: Sequence[Stored], name: str, identity: Identity, *, needs_name: bool) -> Stored | None:
    return next(
        (
            each
            for each in there
            if (each.name == name or not needs_name) and not told_apart(identity, each.identity, name)
        ),
        None,
    )


def _kin(name: str, identity: Identity) -> str:
    """A name without the numbers of values that pytest has counted."""
    for _, place in _counted(name, identity):
        name = f"{name[: place.start]}\0{name[place.stop :]}"
    return name


def _counted(name: str, identity: Mapping[str, str]) -> Iterator[tuple[str, slice]]:
    """What such parameters are called in what results depend on, and where their numbers are, the last first."""
    first, stop = name.find("[", max(name.find("::"), 0)), name.rfind("]", 0, len(name) - len(rows_in(name)))
    parameters = identity.get(COUNTED, "=")[1:].split(",")
    while parameters != [""] and first < stop:
        start = max(name.rfind("-", first, stop), first) + 1
        word = name[start:stop]
        for parameter in parameters:
            number = word.removeprefix(parameter)
            if number != word and number.isdecimal():
                yield f"{PARAMETER}{parameter}'", slice(start + len(parameter), stop)
        stop = start - 1

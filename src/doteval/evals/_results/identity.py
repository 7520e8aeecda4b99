"""What the results of an evaluation depend on, as it is kept with them, and how two of these differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from .._written import (
    BEGINS,
    BOUND_ANEW,
    IN_ORDER,
    IS_WRITTEN,
    NOTHING,
    OF_GLOBALS,
    OF_ROWS,
    PLAIN_DATA,
    SEEMS_WRITTEN,
    UNDEFINED,
    UNSEEN,
    WAS_READ,
)
from .declared import (
    is_declared,
    is_mixed,
    is_same_content,
    part_of_mixed,
    printable,
    told_of_content,
    without_declared,
)

Identity: TypeAlias = Mapping[str, str]
"""Fingerprints by what they are of; of what may be shown, the thing itself behind an equals sign."""

PYTHON = "Python"
"""Another version of Python has other bytecode, so code says nothing then."""
ASSERTIONS = "how pytest runs assertions"
"""It writes code anew that has some, so that code is another then. By itself it changes nothing."""
NO_RANGES = "PYTHONNODEBUGRANGES"
"""Under this, code does not say what of a line an instruction is for, so that nobody knows what it writes."""
OWN_FILE = "its file"
"""Where the evaluation stands in its repository, or else in what pytest takes for the project."""
PARAMETER = "the parameter '"
"""What the value of a parameter of pytest's is called begins so, before its name and an apostrophe."""
COUNTED = "the parameters whose values pytest has counted"
"""Their names, with commas between: what stands in the evaluation's name of them says where a value stands."""
_OR = "|"
_MOST = 5


def with_what_was_written(before: Identity, after: Identity) -> Identity:
    """What results depend on, once it is known what a run has written.

    What its code can write, and it was seen to write, is state: it may be anything. What it was seen to write though
    its code does not tell may be as it was when it began, as in another process, or as it was left, as in the same one.
    But what a function does is nothing that a run writes: somebody has changed it meanwhile, and nobody is answered.

    Args:
        before: As it was when the run began.
        after: As it is at its end.
    """
    edited = {name: part_of_mixed(f"{name} has changed") for name in edited_meanwhile(before, after)}
    after = {name: part.removeprefix(BOUND_ANEW) for name, part in after.items()}
    found = {name: _once_written(before.get(name, ""), after.get(name, "")) for name in {**before, **after}}
    return {name: part for name, part in {**found, **edited}.items() if part}


def edited_meanwhile(before: Identity, after: Identity) -> tuple[str, ...]:
    """What others have changed while rows were run, as far as that is known.

    Functions and classes do something else than when the run began, as after a reload; to variables something else was
    bound, by no code of the run; or the source text that says how something begins is another one.

    Args:
        before: As it was when the run began.
        after: As it is at its end.
    """
    return tuple(
        name
        for name, part in sorted(after.items())
        if name in before
        if _is_bound_anew(before[name], part)
        or _does_something_else(before[name], part)
        or (name.endswith(BEGINS) and not is_same_part(before[name], part))  # its source text is another one
    )


def _is_bound_anew(before: str, after: str) -> bool:
    return after.startswith(BOUND_ANEW) and after.removeprefix(BOUND_ANEW) not in _either(before)


def _does_something_else(before: str, after: str) -> bool:
    begun = {*map(_does, _either(before))} - {""}
    return bool(_does(after) and begun) and _does(after) not in begun


def data_changed_meanwhile(before: Identity, after: Identity) -> tuple[str, ...]:
    """Plain data that is another one at the end of a run than when it began, though no code tells that it writes it.

    Args:
        before: As it was when the run began.
        after: As it is at its end.
    """
    return tuple(
        name
        for name, part in sorted(after.items())
        if part.startswith(PLAIN_DATA) and before.get(name, "").startswith(PLAIN_DATA)
        if part not in _either(before[name])
    )


def _does(part: str) -> str:
    """What a function does, of what is known of it; nothing where it is none."""
    is_function = not (
        _is_shown(part) or is_declared(part) or part.startswith((WAS_READ, UNSEEN, BOUND_ANEW)) or _seems_written(part)
    )
    return part.partition(".")[0] if is_function and "." in part else ""


def _once_written(before: str, after: str) -> str:
    if is_mixed(after):
        return after
    if is_declared(before or after) or (before or after).startswith((WAS_READ, UNSEEN, IN_ORDER)):
        return before or after
    if after in _either(before) or _is_shown(before) or _is_shown(after):
        return before
    if _seems_written(before or after) and _seems_written(after or before):
        return f"{IS_WRITTEN}{(before or after)[1:]}"
    return _OR.join((_either(before)[0], after))


def with_what_was_known(now: Identity, before: Identity) -> Identity:
    """What results depend on, with what it is known of earlier runs that these have written it.

    Args:
        now: What they depend on.
        before: The same, as it is in the store.
    """
    written = {
        name: part
        for name, part in without_declared(before, now).items()
        if is_same_part(part, now.get(name))
        and (part.startswith((IS_WRITTEN, WAS_READ, IN_ORDER)) or len(_either(part)) > 1)
    }
    fuller = {OWN_FILE: before[OWN_FILE]} if len(before.get(OWN_FILE, "")) > len(now.get(OWN_FILE, "")) else {}
    return {**now, **written, **(fuller if is_of_same_file(before, now) else {})}


_left: dict[tuple[str, str], str] = {}
"""What runs of this process have left of what they depend on, each with what it was before they began."""
_MOST_LEFT = 20_000
_NUMBERS = re.compile(r" \(\d+\)")
"""What tells parts of one name from each other."""


def note_what_is_left(before: Identity, after: Identity) -> None:
    """Note what a run of this process has left.

    Args:
        before: What its results depend on, as in a process in which nothing was run before.
        after: The same, at its end.
    """
    edited = {*edited_meanwhile(before, after)}
    for name, found in after.items():
        part = found.removeprefix(BOUND_ANEW)
        began = _either(before.get(name, ""))[0]
        if part != began and began and not part.startswith(("=", IN_ORDER)) and name not in edited:
            left = began.replace(IS_WRITTEN, SEEMS_WRITTEN)
            _left[name, part] = _left[_without_numbers(name), part] = left
    while len(_left) > _MOST_LEFT:
        del _left[next(iter(_left))]


def as_it_began(identity: Identity) -> Identity:
    """What results depend on, as it was before runs of this process have changed it."""
    return {name: _began(name, part) for name, part in identity.items()} if _left else identity


def _began(name: str, part: str) -> str:
    """What a part was: to another evaluation, it is another one of its name."""
    return _left.get((name, part)) or _left.get((_without_numbers(name), part), part)


def _without_numbers(name: str) -> str:
    return _NUMBERS.sub("", name)


def unseen_in(identity: Identity) -> tuple[str, ...]:
    """What was not looked at of what results depend on, each as a sentence."""
    return tuple(name for name, part in identity.items() if part == UNSEEN)


def orders_changed(before: Identity, now: Identity) -> tuple[str, ...]:
    """What holds mappings that are in another order now, which may be that of a prompt, and may say nothing."""
    names = (name for name, part in before.items() if part.startswith(IN_ORDER) and now.get(name, part) != part)
    return tuple(sorted(names))


def has_doubts(identity: Identity) -> bool:
    """Whether the code seems to write something, and no run was seen to."""
    return any(part.startswith(SEEMS_WRITTEN) for part in identity.values())


def _either(part: str) -> list[str]:
    """All that a part may be; of what may not be there, nothing is among it."""
    return [part] if _is_shown(part) or is_declared(part) else part.split(_OR)


def changes(before: Identity, now: Identity) -> tuple[str, ...]:
    """What has changed, each as half a sentence."""
    return tuple(_changes(before, now))


def _changes(before: Identity, now: Identity) -> Iterator[str]:
    if not is_of_same_file(before, now):
        one, other = (printable(side[OWN_FILE][1:]) for side in (before, now))
        yield f"they are of the file {one}, and this is {other}, so that each needs an experiment or a store of its own"
        return
    if before.get(PYTHON) != now.get(PYTHON):
        yield f"{_told(PYTHON, before, now)}, so code cannot be compared"
        before, now = _comparable(before), _comparable(now)
    both = {**now, **before}

    def says_little(name: str) -> tuple[bool, bool, bool, str]:
        """What is shown says most, then what was not defined; and what is known from before more than what is new."""
        return not _is_shown(both[name]), UNDEFINED not in name, name not in before, name

    found = [
        name
        for name in sorted(both, key=says_little)
        if name not in (PYTHON, ASSERTIONS, NO_RANGES, OWN_FILE, COUNTED)
        and not is_same_part(before.get(name), now.get(name))
        and not (name.startswith((OF_ROWS, OF_GLOBALS)) and (name not in before or name not in now))
    ]
    modes = {side[ASSERTIONS] for side in (before, now) if ASSERTIONS in side}
    if len(modes) > 1 and not all(_is_shown(both[name]) for name in found):
        yield f"{_told(ASSERTIONS, before, now)}, which changes code that has some"
    if (NO_RANGES in before) != (NO_RANGES in now) and not all(_is_shown(both[name]) for name in found):
        yield f"{_told(NO_RANGES, before, now)}, and under it nobody knows what code writes"
    for name in found:
        yield _told(name, before, now)


def _comparable(identity: Identity) -> Identity:
    """What of it is the same in another version of Python."""
    return {name: part for name, part in identity.items() if _is_shown(part) or is_declared(part)}


def is_of_same_file(before: Identity, now: Identity) -> bool:
    """Whether the file may be the same: of one that is seen from further above, the end is the other one."""
    one, other = (f"/{side.get(OWN_FILE, '')[1:]}" for side in (before, now))
    return "/" in (one, other) or one.endswith(other) or other.endswith(one)


def is_same_part(before: str | None, now: str | None) -> bool:
    """Whether a part is as it was.

    What seems to be written has not changed where a run was seen to write it, or where it was not there yet.
    """
    if is_declared(before) or is_declared(now):
        return is_same_content(before, now)
    if (before or now or "").startswith((WAS_READ, UNSEEN, IN_ORDER)):
        return True
    if not {*_either(before or "")}.isdisjoint(_either(now or "")):
        return True
    parts = [part for part in (before, now) if part is not None]
    if not all(map(_seems_written, parts)):
        return False
    there = {part[1:] for part in parts}
    return len(parts) == 1 or len(there) == 1 or NOTHING in there or any(part.startswith(IS_WRITTEN) for part in parts)


def _seems_written(part: str) -> bool:
    return part.startswith((SEEMS_WRITTEN, IS_WRITTEN))


def _told(name: str, before: Identity, now: Identity) -> str:
    old, new = before.get(name), now.get(name)
    if is_declared(old) or is_declared(new):
        return told_of_content(name, old, new)
    if name.startswith((UNDEFINED, OF_ROWS + UNDEFINED)):
        return f"{name} is not defined" if old is None else f"{name} was not defined when these results were made"
    if old is None:
        return f"{name} is new" if new is None or not _is_shown(new) else f"{name} is {new[1:]}, and was not set"
    if new is None:
        return f"{name} was {old[1:]}, and is not set" if _is_shown(old) else f"{name} is gone"
    if _is_shown(old) and _is_shown(new):
        return f"{name} was {old[1:]}, and is {new[1:]}"
    what, was = (_either(part)[0].rpartition(".")[0] for part in (old, new))
    is_beside = what and what == was and "the class '" not in name
    return f"what {name} refers to has changed" if is_beside else f"{name} has changed"


def _is_shown(part: str) -> bool:
    return part.startswith("=")


def listed(found: tuple[str, ...]) -> str:
    """Changes as one text."""
    more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return "; ".join(found[:_MOST]) + more

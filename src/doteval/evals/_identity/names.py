"""What parts are called: several of one name are told from each other by a number, in an order that lasts.

That in which they are met is that of addresses, hashes and imports. So what refers to a part holds a mark in its place
as long as it is not known which others there are of its name; these are put in order by what they are then. What
refers to one of several that are the same refers to either.
"""

from __future__ import annotations

import re
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from .credentials import guarded_digest_of
from .looks import attribute_of, class_of, digest_of_bytes

_MARK = re.compile("\x06(\\d+)\x07")
_INNER_MARK = re.compile("\x06=(\\d+)\x07")
_ANY_MARK = re.compile("\x06=?\\d+\x07")
_END = "\x07"
_OPEN, _NEXT, _CLOSE = "\x01", "\x02", "\x03"
_IN_NO_ORDER = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")
ENCODED = ("utf-8", "backslashreplace")
_LEAST_ROUNDS = 100
_MOST_LOOKS = 1_000_000
_LONG = 100
_first: dict[int, dict[tuple[str, int], tuple[Callable[[], object], str]]] = {}
"""What those of one name were when this process first saw them, as the run may change what they hold; by what they are
parts of, as long as that lives."""
_MOST_FIRST = 10_000


class Reference(str):
    """The name of a part, where something refers to it."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Itself, with the mark."""
        return f"'{self}'"


class Alike(tuple[object, ...]):
    """What can be told from each other only by what the references in it are of."""

    __slots__ = ()

    def __repr__(self) -> str:
        """All of it, so that it can be put in order."""
        return f"{_OPEN}{_NEXT.join(map(repr, self))}{_CLOSE}"


def in_order(described: list[Any]) -> list[Any]:
    """What is in no order, in one that does not depend on which references were there first.

    Of a pair only its first is looked at where that says it: what a key has may be deep, and would be written once for
    each level.
    """
    if len(described) < 2:
        return described
    written = [f"({each[0]!r}, " if class_of(each) is tuple and len(each) == 2 else repr(each) for each in described]
    places = sorted(range(len(described)), key=written.__getitem__)
    is_said = not any(written[after].startswith(written[before]) for before, after in pairwise(places))
    if is_said and not any(map(has_marks, written)):
        return [described[place] for place in places]
    groups: dict[str, list[Any]] = {}
    for each in described:
        groups.setdefault(_ANY_MARK.sub("", repr(each)), []).append(each)
    found: list[Any] = []
    for _, alike in sorted(groups.items()):
        found += [Alike(alike)] if len(alike) > 1 and has_marks(repr(alike[0])) else alike
    return found


def has_marks(text: str) -> bool:
    """Whether something in a text refers to a part."""
    return "\x06" in text


class Description(NamedTuple):
    """What is said of a part.

    Args:
        text: That, with marks.
        held: What is said of what the text, or one of these, refers to by its place here; with marks.
        before: What stands before its fingerprint.
        is_guarded: Whether nobody may find out what it is of.
    """

    text: str
    held: tuple[str, ...]
    before: str
    is_guarded: bool

    @property
    def refers_to_parts(self) -> bool:
        """Whether there are marks of parts."""
        return any(map(_MARK.search, (self.text, *self.held)))

    def digest(self, numbers: Mapping[int, str]) -> str:
        """A fingerprint, with what the marks stand for."""
        text = _marked(self.text, numbers)
        if self.held:
            looks = _told_apart([_marked(each, numbers) for each in self.held])
            text = f"{_with_looks(text, looks)}{sorted({*looks})}"
        text = _ordered(text)
        return f"{self.before}{guarded_digest_of(text) if self.is_guarded else _digest(text)}"


class _Name(NamedTuple):
    name: str
    owner: object

    def marked(self, place: int) -> str:
        """It, with its mark, of which the place among all names is known."""
        return f"{self.name}\x06{place}\x07"


class Names:
    """The names of all parts."""

    def __init__(self) -> None:
        self._all: list[_Name] = []
        self._taken: Counter[str] = Counter()
        self._as_met: dict[int, str] = {}
        """The numbers in the order in which they were met."""
        self._root: object = None
        """What the parts are of."""
        self._known: set[tuple[str, int]] = set()
        """What this has looked for in `_first`."""

    def of(self, root: object) -> None:
        """They are those of something, and of what is looked at after it."""
        if self._root is None:
            self._root = root

    def new(self, name: str, owner: object = None) -> str:
        """A name for a part, with its mark.

        Args:
            name: What it is called; there may be marks of others in it.
            owner: What it is of; nothing where parts of its name are always met in one order.
        """
        self._taken[name] += 1
        self._as_met[len(self._all)] = _shown(self._taken[name])
        self._all.append(_Name(name, owner))
        return self._all[-1].marked(len(self._all) - 1)

    def as_met(self, text: str) -> str:
        """A text with numbers in the order in which the parts were met."""
        return _INNER_MARK.sub("", _ordered(_marked(text, self._as_met)))

    def settled(self, parts: Mapping[str, str], described: Mapping[str, Description]) -> dict[str, str]:
        """The fingerprints of parts, by their names.

        Args:
            parts: The same, as far as they are known, by their names with marks.
            described: What is said of the others.
        """
        numbers = self._as_met | self._in_order({self._place(name): each for name, each in described.items()}, parts)
        self._let_go()
        found: dict[str, list[tuple[int, str, str]]] = {}
        for name, part in parts.items():
            digest = described[name].digest(numbers) if name in described else part
            its_own = self._place(name) if name.endswith(_END) else -1
            rank = numbers.pop(its_own, "")
            found.setdefault(_marked(name, numbers), []).append((len(rank), rank, digest))
            numbers[its_own] = rank
        alike = ((name, enumerate(sorted(all_), 1)) for name, all_ in found.items())
        return {f"{name}{_shown(place)}": digest for name, all_ in alike for place, (*_, digest) in all_}

    @staticmethod
    def _place(name: str) -> int:
        return int(_MARK.findall(name)[-1])

    def _in_order(self, described: Mapping[int, Description], parts: Mapping[str, str]) -> dict[int, str]:
        several = {name for name, count in self._taken.items() if count > 1}
        alike = {place: each for place, each in enumerate(self._all) if each.name in several and each.owner is not None}
        if not alike:
            return {}
        looks = dict.fromkeys(alike, "")
        for _ in range(_rounds(len(alike))):
            before = len({*looks.values()})
            looks = {
                place: described[place]._replace(is_guarded=False).digest(looks)
                if place in described
                else parts.get(each.marked(place), "")
                for place, each in alike.items()
            }
            if len({*looks.values()}) in (before, len(looks)):
                break
        keys = {
            place: (_home_of(each.owner), self._at_first(each, looks[place]), looks[place])
            for place, each in alike.items()
        }
        of_name: dict[str, set[tuple[str, str, str]]] = {}
        for place, key in keys.items():
            of_name.setdefault(alike[place].name, set()).add(key)
        ranks = {(name, key): rank for name, all_ in of_name.items() for rank, key in enumerate(sorted(all_), 1)}
        return {place: _shown(ranks[alike[place].name, key]) for place, key in keys.items()}

    def _at_first(self, name: _Name, look: str) -> str:
        """What something was when this process first saw it as a part of this."""
        root = id(self._root)
        if root not in _first:
            try:
                weakref.finalize(self._root, _first.pop, root, None).atexit = False
            except TypeError:  # nobody tells when it is gone
                return look
        known, key = _first.setdefault(root, {}), (_MARK.sub("", name.name), id(name.owner))
        self._known.add(key)
        owner, first = known.get(key, (lambda: None, look))
        if owner() is name.owner:
            return first
        if len(known) < _MOST_FIRST:
            known[key] = _reference_to(name.owner), look
        return look

    def _let_go(self) -> None:
        """Keep nothing alive that is no part any more, as the arguments of the run before are none."""
        known = _first.get(id(self._root), {})
        for key in known.keys() - self._known:
            reference, _ = known.get(key, (None, ""))
            if not isinstance(reference, weakref.ref) or reference() is None:
                known.pop(key, None)


def _reference_to(owner: Any) -> Callable[[], object]:
    """What tells whether it is still the same, without keeping it where that is possible: it may hold what it is of."""
    try:
        return weakref.ref(owner)
    except TypeError:
        return lambda: owner


def inner_mark(place: int) -> Reference:
    """What refers to something that is said in the same part."""
    return Reference(f"\x06={place}\x07")


def inner_marks(text: str) -> list[Reference]:
    """What refers there to something that is said in the same part."""
    return [Reference(mark[0]) for mark in _INNER_MARK.finditer(text)]


def compact(text: str) -> str:
    """What tells the same in fewer letters, with the same marks in the same order."""
    if len(text) < _LONG or _OPEN in text:
        return text
    return ",".join((_digest(_ANY_MARK.sub("\x06", text)), *_ANY_MARK.findall(text)))


def _told_apart(held: list[str]) -> list[str]:
    """Fingerprints of what refers to each other, in whatever order that was met.

    What leads into no circle is what it is with what it refers to. All others are told apart by what they are, by what
    they refer to, and so on. Each time it is said as well what was known before: so who has two such lists that are the
    same knows that everything in them is.
    """
    looks, in_circles = _without_circles(held)
    texts = {place: _with_known(held[place], looks, in_circles) for place in in_circles}
    for _ in range(_rounds(len(texts))):
        kinds = len({looks[place] for place in texts})
        found = {place: _digest(f"{looks[place]}{_ordered(_with_looks(text, looks))}") for place, text in texts.items()}
        for place, look in found.items():
            looks[place] = look
        if len({*found.values()}) == kinds:
            break
    return looks


def _without_circles(held: list[str]) -> tuple[list[str], set[int]]:
    """Fingerprints of what leads into no circle, and which of these do."""
    refers = [{int(place) for place in _INNER_MARK.findall(text)} for text in held]
    referred: list[list[int]] = [[] for _ in held]
    for place, others in enumerate(refers):
        for other in others:
            referred[other].append(place)
    looks, left = [""] * len(held), [*map(len, refers)]
    ready = [place for place, count in enumerate(left) if not count]
    for place in ready:  # and those that become so
        looks[place] = _digest(_ordered(_with_looks(held[place], looks)))
        for other in referred[place]:
            left[other] -= 1
            if not left[other]:
                ready.append(other)
    return looks, {place for place, count in enumerate(left) if count}


def _with_known(text: str, looks: list[str], others: set[int]) -> str:
    return _INNER_MARK.sub(lambda mark: mark[0] if int(mark[1]) in others else looks[int(mark[1])], text)


def _rounds(count: int) -> int:
    """How often so many are looked at at most: as often as there are, unless that takes too long."""
    return max(_LEAST_ROUNDS, _MOST_LOOKS // max(1, count))


def _with_looks(text: str, looks: list[str]) -> str:
    return _INNER_MARK.sub(lambda mark: looks[int(mark[1])], text)


def _marked(text: str, numbers: Mapping[int, str]) -> str:
    return _MARK.sub(lambda mark: numbers.get(int(mark[1]), ""), text)


def _ordered(text: str) -> str:
    count = text.count(_OPEN)
    while count:
        text, count = _IN_NO_ORDER.subn(lambda found: ", ".join(sorted(found[1].split(_NEXT))), text)
    return text


def _digest(text: str) -> str:
    return digest_of_bytes(text.encode(*ENCODED))


def _shown(number: int) -> str:
    return f" ({number})" if number > 1 else ""


def _home_of(owner: Any) -> str:
    """The module that something is of; nothing where it is of none, as the variable of a function is."""
    found = owner.get("__name__") if class_of(owner) is dict else attribute_of(owner, "__module__")
    return found if isinstance(found, str) else ""

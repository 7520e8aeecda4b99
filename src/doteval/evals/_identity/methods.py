"""Which methods can be run: each is found when its name is, and looked at once for each thing that it is run for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from .._kinds import ByKind
from .looks import INITIALISERS
from .use import Use
from .uses import OPERATORS

_PASSIVE = frozenset(
    {
        *(f"__{prefix}{name}__" for name in OPERATORS.values() for prefix in ("", "i", "r")),
        *("__delitem__", "__setitem__"),
    }
)
"""Methods that operators call which are looked for in code; what calls others cannot be told from it."""
OF_NEW_CLASSES = frozenset({"__init_subclass__", "__set_name__"})
"""Methods that are called where a class is made."""
_NEVER = len(Use) + 1


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a class, or what is behind a property of it."""

    kind: type[Any]
    name: str
    function: FunctionType
    is_setter: bool
    is_of_class: bool
    overrides: bool

    @property
    def is_called_by_name(self) -> bool:
        """Whether it is run where code reads its name, and nowhere else."""
        if self.name in INITIALISERS or self.name in OF_NEW_CLASSES or self.is_setter:
            return False
        return not self.is_always_called

    @property
    def is_always_called(self) -> bool:
        """Whether nothing in code tells where it is called."""
        is_pythons = self.name.startswith("__") and self.name.endswith("__")
        return self.overrides or (is_pythons and self.name not in _PASSIVE)


class Methods:
    """Finds them, by what code reads, writes and makes; in whatever order that is known."""

    def __init__(self) -> None:
        self._names: dict[Use, set[str]] = {use: set() for use in Use}
        """The attributes that code reads which is run for something."""
        self._own_names: dict[Use, ByKind[set[str]]] = {use: ByKind() for use in Use}
        """Those that methods read of their own objects, by the class."""
        self._stored: dict[Use, set[str]] = {use: set() for use in Use}
        self._made: ByKind[Use] = ByKind()
        """The classes of which objects are made."""
        self._derived: ByKind[Use] = ByKind()
        """The classes of which the run may make others."""
        self._related: ByKind[ByKind[None]] = ByKind()
        """The classes that an object of a class may be of besides."""
        self._all: list[Method] = []
        self._by_name: defaultdict[str, list[int]] = defaultdict(list)
        self._of_class: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        self._run_for: dict[int, int] = {}
        """What methods are run for, by their places."""
        self._found: dict[int, Use] = {}
        """Those that are not taken yet."""

    def read(self, use: Use, names: Iterable[str]) -> None:
        """Code reads attributes of whatever."""
        for name in {*names} - self._names[use]:
            self._names[use].add(name)
            self._find(use, (place for place in self._by_name.get(name, ()) if self._all[place].is_called_by_name))

    def read_of_own(self, use: Use, kind: type[Any], names: Iterable[str]) -> None:
        """A method reads attributes of its own object."""
        known = self._own_names[use].setdefault(kind, set())
        for name in {*names} - known:
            known.add(name)
            for each in self._related.get(kind, ()):
                self._find_of_class(use, each, name)

    def store(self, use: Use, names: Iterable[str]) -> None:
        """Code writes attributes of whatever."""
        for name in {*names} - self._stored[use]:
            self._stored[use].add(name)
            self._find(use, (place for place in self._by_name.get(name, ()) if self._all[place].is_setter))

    def make(self, use: Use, kind: type[Any]) -> None:
        """Objects of a class are made."""
        self._note(self._made, use, kind, INITIALISERS)

    def derive(self, use: Use, kind: type[Any]) -> None:
        """Classes are made of another one."""
        self._note(self._derived, use, kind, OF_NEW_CLASSES)

    def _note(self, known: ByKind[Use], use: Use, kind: type[Any], names: Iterable[str]) -> None:
        for each in kind.__mro__:
            if use < known.get(each, _NEVER):
                known[each] = use
                for name in names:
                    self._find(use, self._of_class.get((id(each), name), ()))

    def add_class(self, kind: type[Any]) -> None:
        """There is a class, of which there may be objects."""
        kinds = [each for each in kind.__mro__ if each is not object]
        for one in kinds:
            related = self._related.setdefault(one, ByKind())
            new = [each for each in kinds if each not in related]
            related.update((each, None) for each in new)
            for use in Use if new else ():
                for name in self._own_names[use].get(one, ()):
                    for each in new:
                        self._find_of_class(use, each, name)

    def add(self, method: Method) -> None:
        """There is a method, of a class that was added."""
        place = len(self._all)
        self._all.append(method)
        self._by_name[method.name].append(place)
        self._of_class[id(method.kind), method.name].append(place)
        use = self._use_of(method)
        if use is not None:
            self._find(use, (place,))

    def take(self) -> list[tuple[Method, Use]]:
        """Those that can be run for something, and were not known to be."""
        found = sorted(self._found.items())
        self._found.clear()
        self._run_for.update(found)
        return [(self._all[place], use) for place, use in found]

    def reads(self, attributes: Collection[str]) -> bool:
        """Whether code reads any of these, of whatever."""
        return any(not self.read_for(use).isdisjoint(attributes) for use in Use)

    def read_for(self, use: Use) -> set[str]:
        """The attributes that code reads, of whatever, which is run for something."""
        return self._names[use].union(*self._own_names[use].values())

    def with_uses(self) -> list[tuple[Method, Use | None]]:
        """All methods, each with what it is run for, as far as it is."""
        uses = {place: Use(use) for place, use in self._run_for.items()}
        return [(method, uses.get(place)) for place, method in enumerate(self._all)]

    def _find(self, use: Use, places: Iterable[int]) -> None:
        for place in places:
            if use < min(self._run_for.get(place, _NEVER), self._found.get(place, _NEVER)):
                self._found[place] = use

    def _find_of_class(self, use: Use, kind: type[Any], name: str) -> None:
        places = self._of_class.get((id(kind), name), ())
        self._find(use, (place for place in places if self._all[place].is_called_by_name))

    def _use_of(self, method: Method) -> Use | None:
        """What a method is run for; `None` where it is not, as far as is known."""
        name = method.name
        if name in INITIALISERS:
            return self._made.get(method.kind)
        if name in OF_NEW_CLASSES:
            return self._derived.get(method.kind, Use.MAKE)
        if method.is_setter:
            return next((use for use in Use if name in self._stored[use]), None)
        if method.is_always_called:
            return Use.RUN
        return next((use for use in Use if name in self._names[use] or self._is_own(method, use)), None)

    def _is_own(self, method: Method, use: Use) -> bool:
        """Whether a method is called by others of the same objects."""
        names = self._own_names[use]
        return any(method.name in names[each] for each in self._related.get(method.kind, ()) if each in names)

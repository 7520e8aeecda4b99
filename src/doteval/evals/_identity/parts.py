"""What each fingerprint is of: its name, and what is looked at for it, later, or at the end where code may write it."""

from __future__ import annotations

import functools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .._kinds import Kinds
from .._tabular import columns_of
from .._written import IN_ORDER, NOTHING, OF_GLOBALS, OF_ROWS, SEEMS_WRITTEN, UNSEEN
from .code import Doing
from .library import is_library_class
from .looks import attributes_of, class_of, digest_of, holds_others, is_plain_data
from .names import Description, Names, Reference, compact, has_marks, inner_marks
from .places import Step, Written, by_place, is_nearer, shown
from .state import State
from .values import BY_ITEM, FEW, MADE_HERE, Values
from .ways import Ways

_TOO_MUCH = "holds too much: what changes in the rest of it is not noticed"

VALUE = "the value "
_CONTAINERS = Kinds((dict, list, tuple, deque))
_LARGEST = 1 << 96
_CODE = 12
"""How much of what tells what a function does is kept, so that it is known whether it was that which changed."""


class Parts(Values):
    """Looks at values; what has a name gets a fingerprint of its own.

    Args:
        project: The directory of the user's project, where there is one.
        follows_classes: Whether the code of a value's class counts.
    """

    def __init__(self, project: str | None, *, follows_classes: bool) -> None:
        super().__init__(State(), project)
        self._follows_classes = follows_classes
        self._names: dict[tuple[object, ...], str] = {}
        self._all_names = Names()
        self._alive: list[object] = []
        """What has a name, so that nothing else gets its ``id`` meanwhile."""
        self._left: list[tuple[str, Callable[[], object]]] = []
        self._parts: dict[str, str] = {}
        self._described: dict[str, Description] = {}
        """What is said of parts that refer to others."""
        self._warned: set[str] = set()
        self._label = ""
        """The part that is looked at now."""
        self._aside: dict[tuple[str, str], dict[int, Written]] = {}
        """What the code seems to write, by the part that holds it and its place in an owner, and by that."""
        self._is_aside = False
        self._apart: dict[int, object] = {}
        self._orders: Counter[str] = Counter()
        """In which orders mappings are that parts hold, each as a sum that says nothing of where they are."""
        self._plain: dict[str, str] = {}
        """The variables that hold plain data, by their parts."""

    def _finish(self) -> None:
        while self._left:
            name, describe = self._left.pop()
            self._label, self._path = name, ()
            self._describe(name, describe)
            if self.left_to_see < 0 and "" not in self._warned and not self._is_aside:
                self._warned.add("")
                self._parts[f"{name} {_TOO_MUCH}"] = UNSEEN

    def _describe(self, name: str, describe: Callable[[], object]) -> None:
        self._is_guarded, self._ways = False, Ways()
        described = describe()
        is_plain, held = is_plain_data(described), list[str]()
        for each in self._ways.said():
            if isinstance(each, str):
                held.append(each)
                continue
            large = self._large(each)
            is_plain = is_plain and is_plain_data(large)
            held.append(compact(repr(large)))
        if self._ways.orders:
            self._orders[self._label] += self._ways.orders
        guards = self._is_guarded and self._follows_classes  # a row's values are kept readably as it is
        does = f"{described.does[:_CODE]}." if isinstance(described, Doing) else ""
        before = f"{SEEMS_WRITTEN if self._is_aside else ''}{does}"
        found = Description(compact(repr(described)), (*held,), before, guards)
        if found.refers_to_parts:
            self._described[name] = found
        elif not does and name.startswith(VALUE) and not self._is_aside and is_plain:
            self._plain[name] = name.split("'")[1] if holds_others(described) else ""
        self._parts[name] = "" if found.refers_to_parts else found.digest({})

    def _as_met(self, described: object) -> object:
        text = repr(described)
        return self._all_names.as_met(text) if has_marks(text) else described

    def _references_in(self, described: object) -> Iterable[object]:
        return inner_marks(repr(described))

    def _shortly(self, described: object) -> str:
        text = compact(repr(described))
        return self._ways.refer_to_text(text) if has_marks(text) else super()._shortly(described)

    def _note_order(self, values: Mapping[Any, Any]) -> None:
        if len(values) < 2 or self._is_aside or self._is_provider or self.state.hides_content(values):
            return
        written = self.state.keys_in(values)
        keys = [self._project.around(key) for key in [*values] if class_of(key) is str and key not in written]
        self._ways.orders += int(digest_of(keys), 16)

    def _finish_orders(self) -> None:
        for label, orders in self._orders.items():
            self._parts[f"the order of what {label} holds"] = f"{IN_ORDER}{orders % _LARGEST:x}"
        self._orders.clear()

    def _too_much(self, name: str) -> None:
        if self._label not in self._warned and not self._is_aside:
            self._warned.add(self._label)
            self._parts[f"{self._label} {_TOO_MUCH}"] = UNSEEN

    def _set_aside(self, place: str, name: object, value: object, owner: object) -> None:
        if not self._follows_classes or self._ways.left < 0:
            return
        written = self._aside.setdefault((self._label, place), {})
        known = written.get(id(owner))
        if known is None or is_nearer(self._path, known.path):
            written[id(owner)] = Written(owner, self._path, name, value)

    def _may_be_written(self, place: str, name: str, value: object, owner: object, above: tuple[int, ...]) -> object:
        self._set_aside(place, name, value, owner)
        return ()

    def _finish_aside(self) -> None:
        """Look at what the code seems to write, each by itself, and at what nothing else refers to."""
        self._is_aside = True
        while self._aside:
            aside, self._aside = self._aside, {}
            for (label, place), written in aside.items():
                for text, path, held in by_place(written.values(), FEW):
                    self._label, self._path = label, (*path, Step(place))
                    self._describe_aside(f"{label}{text}, {place}" if label else f"{text}, {place}"[2:], place, held)
        self._is_aside = False

    def _describe_aside(self, name: str, place: str, held: list[Written]) -> None:
        name = self._free(name)
        if len(held) == 1 and self._is_taken_apart(place, held[0].value):
            self._parts[name] = f"{SEEMS_WRITTEN}{BY_ITEM}"
        elif all(each.value is None for each in held):
            self._parts[name] = f"{SEEMS_WRITTEN}{NOTHING}"
        else:
            self._describe(name, functools.partial(self._all_of, held))
            self._finish()

    def _is_taken_apart(self, place: str, value: Any) -> bool:
        """Whether a value that is written as a whole is looked at item by item, as most of it may be as it was."""
        kind = class_of(value := columns_of(value, class_of(value)) or value)
        is_object = isinstance(vars(kind).get("__dataclass_fields__"), dict) and not is_library_class(kind)
        may_be = is_object or (kind in _CONTAINERS and len(value) <= FEW)
        if not may_be or place.endswith(MADE_HERE) or id(value) in self._apart or len(self._apart) == FEW:
            return False
        self._apart[id(value)] = value
        if is_object:
            self._set_aside("its class", None, kind, value)
            for name, each in attributes_of(value).items():
                self._set_aside(f"attribute {name!r}", name, each, value)
        else:
            self._set_content_aside(value)
        return True

    def _all_of(self, held: list[Written]) -> object:
        """What is at one place: of several owners, in no order that lasts."""
        return self._sorted((shown(each.path), self._held(each.name, each.value, ())) for each in held)

    def _free(self, name: str, owner: object = None) -> str:
        for origin in (OF_ROWS, OF_GLOBALS):
            if self._label.startswith(origin) and not name.startswith(origin):
                name = f"{origin}{name}"
        return self._all_names.new(name, owner)

    def _named(self, key: tuple[object, ...], owner: object, name: str, describe: Callable[[], object]) -> str:
        """The name of what has a part of its own, which is looked at later.

        Args:
            key: What it is known by, with the ``id`` of `owner` in it.
            owner: Is kept alive.
            name: What to call it, where nothing else is called so.
            describe: Looks at it.
        """
        if key not in self._names:
            self._names[key] = self._free(name, owner)
            self._alive.append(owner)
            self._left.append((self._names[key], describe))
        return Reference(self._names[key])

"""What code writes, and what it reads of what: found by the places in the source that its instructions are for.

All instructions for ``CACHE["a"].items`` begin where ``CACHE`` does, and end one behind the other.
"""

from __future__ import annotations

import dis
import functools
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.util import resolve_name
from itertools import accumulate, groupby, pairwise
from typing import Any, TypeAlias

from .ops import (
    ANY,
    CONSTANTS,
    ITEM_STORED,
    READ,
    STORED,
    Op,
    Place,
    Position,
    ends_of,
    expanded,
    first_of,
    name_in,
    within_places,
)

Steps: TypeAlias = "tuple[tuple[str, Any], ...]"
"""A way from one value into another: attributes, keys, and whatever else it holds."""
_Maker: TypeAlias = "tuple[str, tuple[str, ...]]"
"""What is called: a name, and the attributes that lead from it."""
Unknown: TypeAlias = "tuple[str, str, str]"
_Calls: TypeAlias = "dict[tuple[Position | None, Position | None], _Maker]"

ATTRIBUTE, KEY, CONTENT = ".", "[", "*"
EVERYTHING = (CONTENT, None)

SUPER = frozenset({"LOAD_SUPER_ATTR", "LOAD_SUPER_METHOD"})
_SLICES = frozenset({"BINARY_SLICE", "STORE_SLICE"})
_LOOKED_INTO = READ | SUPER
_BOUND = frozenset({"STORE_DEREF", "STORE_FAST"})
_LEFT_OUT = frozenset({"COPY", "KW_NAMES", "POP_TOP", "PUSH_NULL", "RESUME", "SWAP"})
_DISPLAYS = frozenset(
    {
        *("BUILD_LIST", "BUILD_MAP", "BUILD_SET", "DICT_MERGE", "DICT_UPDATE", "LIST_EXTEND", "SET_UPDATE"),
        "BUILD_CONST_KEY_MAP",
    }
)
WRITING = frozenset(
    {
        *("__setitem__", "add", "append", "appendleft", "clear", "difference_update", "discard", "extend"),
        *("extendleft", "insert", "intersection_update", "move_to_end", "pop", "popitem", "popleft", "remove"),
        *("reverse", "rotate", "setdefault", "sort", "subtract", "symmetric_difference_update", "update"),
    }
)
"""Methods that change the container that they are called on."""
_WITH_KEY = frozenset({"__setitem__", "pop", "setdefault"})
OPERATORS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "@": "matmul",
    "/": "truediv",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "<<": "lshift",
    ">>": "rshift",
    "&": "and",
    "|": "or",
    "^": "xor",
}
_MOST_BOUND = 32
"""How many of the things are known that one local name holds, one after the other."""
_UNKNOWN = ("", ("",))
"""What made something of which nothing is known."""
_BY_TEXT = frozenset({"__getattribute__", "attrgetter", "getattr", "methodcaller", "vars"})
_BY_KEY = frozenset({"globals", "vars"})
_ALL = frozenset({"items", "keys", "values"})
_GOT = frozenset({"__getitem__", "get", "pop"})
_IMPORTS = frozenset({"__import__", "import_module"})
ITSELF = "__name__"
"""What the module is called that the code is in, there."""
MODULES = "sys.modules"
_SCOPE = ((ATTRIBUTE, "__dict__"),)
_GET_MODULE = ((ATTRIBUTE, "modules"), (ATTRIBUTE, "get"))
_ASKS_FOR_CLASSES = frozenset({"isinstance", "issubclass"})
_ONLY_LOOKS = frozenset(
    {
        *("bool", "callable", "delattr", "getattr", "hasattr", "hash", "id", "len", "print", "repr", "setattr", "str"),
        "vars",
    }
)
"""What is given something first that is handed to nobody."""


_Ways: TypeAlias = "dict[tuple[Position | None, Position | None], tuple[str, Steps]]"
_Within: TypeAlias = "Callable[[Position, Position], list[Op]]"


def _ways() -> dict[str, set[tuple[str, Steps]]]:
    return {}


def _makers() -> dict[str, set[_Maker] | None]:
    return {}


@dataclass(slots=True)
class Uses:
    """What is done with what has names, local ones included.

    Args:
        writes: What is written, or changed, from a name on.
        reads: The attributes that are read of a name.
        made: Those that are read of what a call has returned: the name that was called, the way from it, the attribute.
        changing: Methods that change containers, where they are read further on: the name, the way, the method.
        others: Those that are read of anything else, among them the methods that operators call.
        stored: All attributes that are written.
        handed: Names, and ways from them, of what is neither called nor looked into.
        told: The attributes that are read of anything, and neither called nor looked into.
        imports: The modules that are imported by a constant name; `ITSELF` is the one that the code is in.
        global_writes: The keys of ``globals()`` that are written.
        unknown: What is asked for a name that is known only when the code runs; and how that begins and ends, as far
            as it is constant.
        locals: What local names hold, where that is known: nothing if it is a new container, else what made it.
        ways: What local names hold that is a part of something else: a name, and the way from it.
    """

    writes: set[tuple[str, Steps]] = field(default_factory=set[tuple[str, Steps]])
    reads: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    made: set[tuple[str, tuple[str, ...], str]] = field(default_factory=set[tuple[str, tuple[str, ...], str]])
    changing: set[tuple[str, Steps, str]] = field(default_factory=set[tuple[str, Steps, str]])
    others: set[str] = field(default_factory=set[str])
    stored: set[str] = field(default_factory=set[str])
    handed: set[_Maker] = field(default_factory=set[_Maker])
    told: set[str] = field(default_factory=set[str])
    imports: set[str] = field(default_factory=set[str])
    global_writes: set[str] = field(default_factory=set[str])
    unknown: set[Unknown] = field(default_factory=set["Unknown"])
    locals: dict[str, set[_Maker] | None] = field(default_factory=_makers)
    ways: dict[str, set[tuple[str, Steps]]] = field(default_factory=_ways)

    def read_of_local(self, name: str, attribute: str) -> None:
        """An attribute is read of a local name."""
        makers = self.locals.get(name)
        if makers is None:
            self.others.add(attribute)
        else:
            self.made |= {(*maker, attribute) for maker in makers}


def uses_of(instructions: Iterable[dis.Instruction], first: str | None, parameters: Iterable[str]) -> Uses:
    """Find them.

    Args:
        instructions: Those of one code.
        first: The name of its first parameter, which is the object whose method it may be.
        parameters: The names of all of them: nothing is known of what these hold.
    """
    ops = [*expanded([each for each in instructions if each.opname not in _LEFT_OUT])]
    for place, op in enumerate(ops):
        op.place = place
    found = Uses()
    places: list[Place] = sorted((op.start, op.end, place) for place, op in enumerate(ops) if op.start and op.end)
    calls: _Calls = {}
    ways: _Ways = {}
    within = functools.partial(within_places, ops, places)
    handed: set[tuple[str, tuple[str, ...], Position | None]] = set()
    asked: list[tuple[Position, Position]] = []
    looked_at: set[Position | None] = set()
    for _, group in groupby(places, key=lambda place: place[0]):
        begun = [(ops[number], end) for _, end, number in group]
        if len(begun) == 1 and begun[0][0].name not in _LOOKED_INTO:
            if begun[0][0].loads_name:
                handed.add((begun[0][0].value, (), begun[0][0].start))
                ways[begun[0][0].start, begun[0][1]] = (begun[0][0].value, ())
            continue
        distinct = {(op.name, str(op.value), end): op for op, end in begun}
        chain = _Chain([*distinct.values()], found, calls, ways, first, within)
        chain.follow()
        handed |= {(name, path, begun[0][0].start) for name, path in chain.handed}
        asked += chain.asked
        looked_at.update(chain.looked_at)
    asked.sort()
    begins, ends = [begin for begin, _ in asked], [*accumulate((end for _, end in asked), max)]
    for name, path, begin in handed:
        number = 0 if begin is None else bisect_right(begins, begin)
        is_asked = begin is not None and (begin in looked_at or (number > 0 and ends[number - 1] > begin))
        if not is_asked:
            found.handed.add((name, path))
    found.told |= {path[-1] for _, path in found.handed if path}
    found.others |= {op.value for op in ops if op.start is None and op.name in READ}
    found.stored |= {op.value for op in ops if op.name in STORED}
    if any(op.value in _BY_TEXT for op in ops if op.loads_name or op.name in READ):
        found.others |= {op.value for op in ops if op.name == "LOAD_CONST" and isinstance(op.value, str)}
    for before, op in pairwise(ops):
        if op.name == "BINARY_OP" and before.name not in ("LOAD_CONST", "FORMAT_VALUE", "BUILD_STRING"):
            operator = OPERATORS.get(op.shown.rstrip("="))
            prefixes = ("", "i", "r") if op.shown.endswith("=") else ("", "r")
            found.others |= {f"__{prefix}{operator}__" for prefix in prefixes if operator}
        if op.name in _BOUND and (before.start, before.end) in ways and not before.name.startswith("CALL"):
            known = found.ways.setdefault(op.value, set())
            if len(known) < _MOST_BOUND:
                known.add(ways[before.start, before.end])
    for is_bound, bound in groupby(enumerate(ops), key=lambda each: each[1].name in _BOUND):
        if is_bound:
            numbers = [number for number, _ in bound]
            _bind(found, ops, numbers[0], numbers[-1] + 1, calls)
    for name in parameters:
        found.locals[name] = None
    return found


def _bind(found: Uses, ops: list[Op], first: int, end: int, calls: _Calls) -> None:
    """Local names get values, which the instructions before have made; of several, each may get each."""
    bound, values = ops[first:end], ops[max(first - 1, 0) : first]
    for place in range(first - 1, -1, -1):
        op, last = ops[place], values[-1]
        if len(values) == len(bound) or op.start is None or last.start is None or op.start < (bound[0].end or op.start):
            break
        if op.end is not None and op.end <= last.start:
            values.append(op)
    makers = [
        calls.get((op.start, op.end)) if op.name.startswith("CALL") or op.name == "BINARY_OP" or op.is_item else None
        for op in values
    ]
    is_known = all(maker is not None or op.name in _DISPLAYS for op, maker in zip(values, makers, strict=True))
    for op in bound:
        known = found.locals.setdefault(op.value, set())
        if known is None or not values or not is_known or len(known) == _MOST_BOUND:
            found.locals[op.value] = None
        else:
            known |= {maker for maker in makers if maker is not None}


class _Chain:
    """All that begins at one place: a name, and what is read of it, one after the other."""

    def __init__(
        self, ops: list[Op], found: Uses, calls: _Calls, ways: _Ways, first: str | None, within: _Within
    ) -> None:
        self._ops, self._found, self._first, self._within = ops, found, first, within
        self._calls, self._ways = calls, ways
        self._steps: Steps = ()
        self._maker: _Maker | None = None
        """What was called, where what is looked at is what a call has returned."""
        self._last = ""
        """The attribute that was read last, where nothing is done with it."""
        self._got: str | None = None
        """What ``getattr`` has got by name, where nothing is done with it."""
        self._is_whole = True
        """Whether nothing is done with what a call has returned."""
        self.handed: list[_Maker] = []
        self.asked: list[tuple[Position, Position]] = []
        """Where classes are only asked for."""
        self.looked_at: list[Position | None] = []
        """Where something begins that is only looked at."""

    def follow(self) -> None:
        root, *rest = self._ops
        if not root.loads_name:
            self._found.others |= {op.value for op in self._ops if op.name in READ}
            self._read_of_super(op.value for op in self._ops if op.name in SUPER)
            if self._ops[-1].name in _LOOKED_INTO:
                self._found.told.add(self._ops[-1].value)
            return
        name: str = root.value
        before, is_handed = root.end, True
        self._ways[root.start, root.end] = (name, ())
        for end, group in groupby(rest, key=lambda op: op.end):
            ops = [*group]
            for op in ops:
                if op.name in STORED:
                    self._write(name, (ATTRIBUTE, op.value))
                elif op.name in ITEM_STORED:
                    self._write(name, self._key(op, before, end))
                is_handed &= op.name not in STORED | ITEM_STORED
                self._got = None
            for op in ops:
                if op.name in READ:
                    self._read(name, op)
                    self._last = op.value
                    continue
                if op.makes_another or (op.is_item and self._is_slice(op, before, end)):
                    is_plain = self._maker is None and all(kind == ATTRIBUTE for kind, _ in self._steps)
                    self._maker = (name, (*(each for _, each in self._steps), "copy")) if is_plain else _UNKNOWN
                    self._calls[op.start, op.end] = self._maker
                elif op.is_item:
                    self._item(op, before, end)
                elif op.name.startswith("CALL") and "INTRINSIC" not in op.name:
                    self._call(name, op, before)
                elif op.name not in STORED | ITEM_STORED:
                    continue
                self._last, is_handed = "", False
            before = end
            if self._maker is None:
                self._ways[root.start, end] = (name, self._steps)
        if is_handed:
            self.handed.append((name, tuple(each for _, each in self._steps)))
        elif self._last or self._got:
            self._found.told.add(self._last or self._got or "")
        elif self._maker == ("globals", ()) and self._is_whole:
            self._found.unknown.add(("globals", "", ""))

    def _read(self, name: str, op: Op) -> None:
        attribute: str = op.value
        if self._maker == ("super", ()):
            self._read_of_super([attribute])
        elif self._maker is not None:
            self._found.made.add((*self._maker, attribute))
            self._is_whole = False
            if self._maker[0] in _BY_KEY and attribute in _ALL:
                self._found.unknown.add((self._maker[0], "", ""))
                self._found.told.add(ANY)
            elif self._maker[0] in _BY_KEY and attribute in _GOT:
                self._got_by_key(self._maker[0], self._arguments(op))
        else:
            if self._steps and attribute in WRITING:
                self._found.changing.add((name, self._steps, attribute))
            elif self._steps:
                self._found.others.add(attribute)
            else:
                self._found.reads.add((name, attribute))
            if attribute in WRITING:
                self._found.writes.add((name, (*self._steps, self._first_argument(op))))
            self._steps += ((ATTRIBUTE, attribute),)

    def _item(self, op: Op, before: Position | None, end: Position | None) -> None:
        key = self._key(op, before, end)
        inner = self._within(before, end) if before and end else []
        if self._maker is not None and self._maker[0] in _BY_KEY:
            self._got_by_key(self._maker[0], inner)
            self._got = name_in(inner)
        elif self._maker is None and self._steps[-1:] == _SCOPE:
            self._got = name_in(inner)
        if self._maker is None and self._steps == ((ATTRIBUTE, "modules"),):
            self._module(inner)
        self._steps += (key,)
        self._is_whole = False

    def _got_by_key(self, maker: str, inner: list[Op]) -> None:
        """Something is got out of a scope, by what the instructions make."""
        first = first_of(inner)
        if len(first) != 1 or first[0].name not in CONSTANTS:
            self._found.unknown.add((maker, *ends_of(first)))

    def _module(self, inner: list[Op]) -> None:
        """A module is asked for by its name."""
        first = first_of(inner)
        if len(first) == 1 and first[0].value == ITSELF and first[0].loads_name:
            self._found.imports.add(ITSELF)
        elif len(first) != 1 or first[0].name not in CONSTANTS:
            self._found.unknown.add((MODULES, "", ""))
        elif first[0].value in sys.modules:
            self._found.imports.add(first[0].value)

    def _call(self, name: str, op: Op, before: Position | None) -> None:
        if self._maker is None:
            path = tuple(each for kind, each in self._steps if kind == ATTRIBUTE)
            self._maker = name, path if len(path) == len(self._steps) else ("",)
            called = (name, *path)[-1]
            inner = self._within(before, op.end) if before and op.end else []
            if called in _ASKS_FOR_CLASSES and before and op.end:
                self.asked.append((before, op.end))
            elif path == () and called in _ONLY_LOOKS and inner:
                self.looked_at.append(inner[0].start)
            if called in _IMPORTS and inner:
                self._import(called, inner)
            elif self._steps == _GET_MODULE and inner:
                self._module(inner)
            elif called == "getattr" and inner:
                second = first_of(inner[len(first_of(inner)) :])
                self._got = name_in(second)
                self._found.unknown |= {(called, *ends_of(second))} if self._got == ANY else set()
            elif called == "attrgetter" and inner:
                self._found.told |= {*name_in(inner).split(".")}
        elif self._maker[0] in _BY_KEY and self._last in _GOT and before and op.end:
            self._got = name_in(self._within(before, op.end))
        self._calls[op.start, op.end] = self._maker

    def _import(self, called: str, inner: list[Op]) -> None:
        first = first_of(inner)
        if len(first) == 1 and first[0].value == ITSELF and first[0].loads_name:
            self._found.imports.add(ITSELF)
        elif len(first) == 1 and first[0].name in CONSTANTS and isinstance(first[0].value, str):
            package = first_of(inner[len(first) :])
            is_named = len(package) == 1 and package[0].name in CONSTANTS and isinstance(package[0].value, str)
            self._found.imports.add(_absolute(first[0].value, package[0].value if is_named else ""))
        else:
            self._found.unknown.add((called, "", ""))

    def _write(self, name: str, step: tuple[str, Any]) -> None:
        if self._maker is None:
            self._found.writes.add((name, (*self._steps, step)))
        elif self._maker == ("globals", ()) and step[0] == KEY:
            self._found.global_writes.add(step[1])
            self._is_whole = False
        elif self._maker == ("type", ()) and self._first is not None:
            self._found.writes.add((self._first, ((ATTRIBUTE, "__class__"), step)))
        elif step[0] != ATTRIBUTE:
            self._found.others.add("__setitem__")

    def _read_of_super(self, attributes: Iterable[str]) -> None:
        """What is read of ``super()`` is read of the object itself."""
        if self._first is None:
            return
        for attribute in attributes:
            self._found.reads.add((self._first, attribute))
            if attribute in WRITING:
                self._found.writes.add((self._first, (EVERYTHING,)))

    def _key(self, op: Op, before: Position | None, end: Position | None) -> tuple[str, Any]:
        """The key of a subscript, where it is a constant."""
        inner = self._within(before, end) if op.name not in _SLICES and before and end else []
        return (KEY, inner[0].value) if len(inner) == 1 and inner[0].name in CONSTANTS else EVERYTHING

    def _is_slice(self, op: Op, before: Position | None, end: Position | None) -> bool:
        inner = self._within(before, end) if before and end else []
        return op.name in _SLICES or any(each.name == "BUILD_SLICE" or isinstance(each.value, slice) for each in inner)

    def _arguments(self, op: Op) -> list[Op]:
        """The instructions for what a method is called with."""
        if op.end is None:
            return []
        ends = [each.end for each in self._ops if each.name.startswith("CALL") and each.end and each.end > op.end]
        return self._within(op.end, ends[0]) if ends else []

    def _first_argument(self, op: Op) -> tuple[str, Any]:
        """The key that a method changes, where that is a constant text."""
        inner = self._arguments(op) if op.value in _WITH_KEY else []
        if not inner or inner[0].name not in CONSTANTS or not isinstance(inner[0].value, str):
            return EVERYTHING
        is_alone = len(inner) == 1 or inner[1].start != inner[0].start
        return (KEY, inner[0].value) if is_alone else EVERYTHING


def _absolute(name: str, package: str) -> str:
    """The name of a module, which may be relative to a package."""
    try:
        return resolve_name(name, package) if package else name
    except ImportError:  # whoever imports it is told
        return name

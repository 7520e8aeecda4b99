"""The instructions of a code, each with where in the source the expression is that it is for."""

from __future__ import annotations

import dis
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

Position: TypeAlias = "tuple[int, int]"
Place: TypeAlias = "tuple[Position, Position, int]"
"""Where an expression begins and ends, and the number of an instruction that it is for."""
READ = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
STORED = frozenset({"DELETE_ATTR", "STORE_ATTR"})
ITEM = frozenset({"BINARY_SLICE", "BINARY_SUBSCR"})
ITEM_STORED = frozenset({"DELETE_SUBSCR", "STORE_SLICE", "STORE_SUBSCR"})
CONSTANTS = frozenset({"LOAD_CONST", "LOAD_SMALL_INT"})
_FEWEST = 3
"""The instructions of an f-string with something in it."""
ANY = "*"
"""The name of what is known only when the code runs."""


@dataclass(slots=True)
class Op:
    """One instruction, with where the expression is that it is for."""

    name: str
    value: Any
    start: Position | None
    end: Position | None
    shown: str
    place: int = -1

    @property
    def loads_name(self) -> bool:
        return self.name.startswith(("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"))

    @property
    def makes_another(self) -> bool:
        """Whether it is an operator whose result is neither of its sides, as that of ``+=`` is."""
        return self.name == "BINARY_OP" and self.shown != "[]" and not self.shown.endswith("=")

    @property
    def is_item(self) -> bool:
        return self.name in ITEM or (self.name == "BINARY_OP" and self.shown == "[]")


def expanded(instructions: list[dis.Instruction]) -> Iterator[Op]:
    """Instructions, of which some do what two others do: the second of these is where the next instruction is."""
    for number, each in enumerate(instructions):
        start, end = _place(each)
        value: Any = each.argval
        if not isinstance(value, tuple) or "_FAST_" not in each.opname:
            yield Op(each.opname, each.argval, start, end, each.argrepr)
            continue
        one, other = each.opname.replace("_BORROW", "").split("_FAST_")
        first, second = cast("tuple[str, str]", value)
        yield Op(f"{one}_FAST", first, start, end, first)
        begins = _begins(instructions[number + 1 : number + 4]) if other.startswith("LOAD") else None
        if begins == start:  # that is where the first of them is what the next instruction is for
            begins = None
        ends = None if begins is None else (begins[0], begins[1] + len(second))
        yield Op(f"{other.removesuffix('_FAST')}_FAST", second, begins, ends, second)


def _begins(following: list[dis.Instruction]) -> Position | None:
    """Where a name stands whose instruction does not say so: where that begins what it is taken for."""
    for each in following:
        if each.opname in READ | STORED | ITEM | ITEM_STORED:
            return _place(each)[0]
        if not each.opname.startswith("LOAD_"):
            return None
    return None


def _place(instruction: dis.Instruction) -> tuple[Position | None, Position | None]:
    """Where in the source the expression begins and ends that an instruction is for."""
    found = instruction.positions
    if found is None or found.lineno is None or found.col_offset is None:
        return None, None
    if found.end_lineno is None or found.end_col_offset is None:
        return None, None
    return (found.lineno, found.col_offset), (found.end_lineno, found.end_col_offset)


def within_places(ops: list[Op], places: list[Place], begin: Position, end: Position) -> list[Op]:
    """The instructions for what lies between two places, the first of the source first."""
    inner: list[Op] = []
    for number in range(bisect_left(places, (begin,)), len(places)):
        place = places[number]
        if place[0] >= end:
            break
        if place[1] <= end:
            inner.append(ops[place[2]])
    return inner


def first_of(inner: list[Op]) -> list[Op]:
    """Those for the first one of several expressions."""
    end = max((each.end for each in inner if each.start == inner[0].start and each.end), default=None)
    return [each for each in inner if end and each.start and each.start < end]


def name_in(inner: list[Op]) -> str:
    """The name that the first of the values is which instructions make, where it is a constant."""
    first = first_of(inner)
    return str(first[0].value) if len(first) == 1 and first[0].name in CONSTANTS else ANY


def ends_of(made: list[Op]) -> tuple[str, str]:
    """How a text begins and ends that is put together, as far as that is constant."""
    ops = sorted(made, key=lambda op: op.place)
    if len(ops) < _FEWEST or ops[-1].name != "BUILD_STRING":
        return "", ""
    first, last = (op.value if _is_part_of(op, ops[-1]) else "" for op in (ops[0], ops[-2]))
    return first, last


def _is_part_of(op: Op, text: Op) -> bool:
    """Whether it is for what stands in an f-string itself, and not for a constant within its braces."""
    if op.name != "LOAD_CONST" or not isinstance(op.value, str) or op.start is None or op.end is None:
        return False
    is_bare = op.start[0] == op.end[0] and op.end[1] - op.start[1] == len(op.value.encode("utf-8", "surrogatepass"))
    return is_bare or (op.start, op.end) == (text.start, text.end)  # as before Python 3.12

"""What a function does, from its bytecode: that is what runs, whatever has become of its file meanwhile.

Bytecode does not know comments, layout, docstrings and annotations. It is another one for each version of Python.
"""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

_NO_MATTER = {"CACHE", "EXTENDED_ARG", "MAKE_CELL", "NOP", "NOT_TAKEN", "PRECALL", "RESUME"}
_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME")
_CELLS = ("LOAD_CLASSDEREF", "LOAD_DEREF", "LOAD_FROM_DICT_OR_DEREF")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_WRITTEN = ("DELETE_DEREF", "DELETE_GLOBAL", "STORE_DEREF", "STORE_GLOBAL")
_STORED = ("DELETE_ATTR", "STORE_ATTR")
_JUMPS = frozenset(dis.hasjabs + dis.hasjrel)
_WRITTEN_INTO = ("DELETE_ATTR", "DELETE_SUBSCR", "STORE_ATTR", "STORE_SUBSCR")
_WRITING = frozenset(
    {
        *("__setitem__", "add", "append", "appendleft", "clear", "difference_update", "discard", "extend"),
        *("extendleft", "insert", "intersection_update", "pop", "popitem", "popleft", "remove", "setdefault"),
        *("symmetric_difference_update", "update"),
    }
)
"""Methods that change the container that they are called on."""


@dataclass(frozen=True, slots=True)
class Code:
    """What is known of a function's code, that of functions within it included.

    Args:
        tokens: What it does, without the values of constants that are code.
        reads: The globals and free variables that it reads, each with the attributes that are read of it at once.
        handed: Those that it hands over and does not call, such as a function that is to be a tool of a model.
        writes: Those that it writes: they are state of the run, and no result depends on how it began.
        changes: Those that it changes, if they are containers.
        writes_attributes: The attributes that it writes of those.
        own_attributes: The attributes that it writes, or changes, of its first argument.
        attributes: All attributes that it reads, of whatever.
        imports: The modules that it imports, and what from them; with the level of a relative import.
    """

    tokens: tuple[Any, ...]
    reads: tuple[tuple[str, tuple[str, ...]], ...]
    handed: frozenset[str]
    writes: frozenset[str]
    changes: frozenset[str]
    writes_attributes: frozenset[tuple[str, str]]
    own_attributes: frozenset[str]
    attributes: frozenset[str]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


@functools.lru_cache(maxsize=4096)
def read(code: CodeType) -> Code:
    """Look at a function's code."""
    tokens: list[Any] = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 0x2AC]
    tokens += code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    tokens.append(code.co_exceptiontable)
    reads: dict[tuple[str, tuple[str, ...]], None] = {}
    sets: dict[str, set[Any]] = {name: set() for name in ("handed", "writes", "changes", "attributes", "of", "own")}
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    instructions = [each for each in dis.get_instructions(code) if each.opname not in _NO_MATTER]
    written: dict[tuple[int, int] | None, set[str]] = {}
    for each in instructions:
        if each.opname in _WRITTEN_INTO:
            attribute = {each.argval} if each.opname in _STORED else set[str]()
            written.setdefault(_start(each), set()).update(attribute)
    written.pop(None, None)
    first = code.co_varnames[0] if code.co_argcount else None
    own = {_start(each) for each in instructions if each.opname.startswith("LOAD_FAST") and each.argval == first}
    for place, each in enumerate(instructions):
        name, value = each.opname, each.argval
        if isinstance(value, CodeType):
            inner = read(value)
            tokens.append((name, inner.tokens))
            reads |= dict.fromkeys(inner.reads)
            imports += inner.imports
            sets["handed"] |= inner.handed
            sets["writes"] |= inner.writes
            sets["changes"] |= inner.changes
            sets["attributes"] |= inner.attributes
            sets["of"] |= inner.writes_attributes
            continue
        if name == "STORE_NAME" and value == "__firstlineno__":
            tokens.pop()  # where a class begins
            continue
        tokens.append((name, value - each.offset if each.opcode in _JUMPS else value))
        if name in _GLOBALS or name in _CELLS:
            path = tuple(_attributes_after(instructions, place))
            reads[value, path] = None
            if not path and name in _GLOBALS and not (each.arg or 0) & 1:
                sets["handed"].add(value)
            if _start(each) in written:
                sets["changes"].add(value)
                sets["of"] |= {(value, attribute) for attribute in written[_start(each)]}
            if len(path) == 1 and path[0] in _WRITING:
                sets["changes"].add(value)
        elif name in _WRITTEN:
            sets["writes"].add(value)
        elif name in _STORED and _start(each) in own:
            sets["own"].add(value)
        elif name in _ATTRIBUTES:
            sets["attributes"].add(value)
            following = instructions[place + 1] if place + 1 < len(instructions) else None
            is_changed = following is not None and following.opname in _ATTRIBUTES and following.argval in _WRITING
            if _start(each) in own and (is_changed or _start(each) in written):
                sets["own"].add(value)
        elif name == "IMPORT_NAME":
            level = instructions[place - 2].argval if place >= 2 else 0
            imports.append((level if isinstance(level, int) else 0, value, instructions[place - 1].argval or ()))
    cells = {*code.co_cellvars}
    return Code(
        tuple(tokens),
        tuple(read for read in reads if read[0] not in cells),
        frozenset(sets["handed"]),
        frozenset(sets["writes"] - cells),
        frozenset(sets["changes"] - cells),
        frozenset(sets["of"]),
        frozenset(sets["own"]),
        frozenset(sets["attributes"]),
        tuple(imports),
    )


def _attributes_after(instructions: list[dis.Instruction], place: int) -> Iterator[str]:
    for each in instructions[place + 1 :]:
        if each.opname not in _ATTRIBUTES:
            return
        yield each.argval


def _start(instruction: dis.Instruction) -> tuple[int, int] | None:
    """Where in the source the expression begins that an instruction is for."""
    positions = instruction.positions
    if positions is None or positions.lineno is None or positions.col_offset is None:
        return None
    return positions.lineno, positions.col_offset

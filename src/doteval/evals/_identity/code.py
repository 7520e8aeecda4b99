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
_WRITTEN_INTO = ("DELETE_ATTR", "DELETE_SUBSCR", "STORE_ATTR", "STORE_SUBSCR")
_WRITING = frozenset(
    {
        *("__next__", "__setitem__", "acquire", "add", "append", "appendleft", "clear", "difference_update", "discard"),
        *("extend", "extendleft", "insert", "intersection_update", "pop", "popitem", "popleft", "put", "put_nowait"),
        *("remove", "send", "send_nowait", "set", "setdefault", "symmetric_difference_update", "update", "write"),
        "writelines",
    }
)
"""Methods that change what they are called on."""


@dataclass(frozen=True, slots=True)
class Code:
    """What is known of a function's code, that of functions within it included.

    Args:
        tokens: What it does, without the values of constants that are code.
        reads: The globals and free variables that it reads, each with the attributes that are read of it at once.
        writes: Those that it writes, or writes into: they are state of the run, and no result depends on how it began.
        writes_attributes: The attributes that it writes, or writes into, whatever the object.
        imports: The modules that it imports, and what from them; with the level of a relative import.
    """

    tokens: tuple[Any, ...]
    reads: tuple[tuple[str, tuple[str, ...]], ...]
    writes: frozenset[str]
    writes_attributes: frozenset[str]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


@functools.lru_cache(maxsize=4096)
def read(code: CodeType) -> Code:
    """Look at a function's code."""
    tokens: list[Any] = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 0x2AC]
    tokens += code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    tokens.append(code.co_exceptiontable)
    reads: dict[tuple[str, tuple[str, ...]], None] = {}
    writes: set[str] = set()
    attributes: set[str] = set()
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    instructions = [each for each in dis.get_instructions(code) if each.opname not in _NO_MATTER]
    written_into = {_start(each) for each in instructions if each.opname in _WRITTEN_INTO and _start(each) is not None}
    for place, each in enumerate(instructions):
        name, value = each.opname, each.argval
        if isinstance(value, CodeType):
            inner = read(value)
            tokens.append((name, inner.tokens))
            reads |= dict.fromkeys(inner.reads)
            writes |= inner.writes
            attributes |= inner.writes_attributes
            imports += inner.imports
            continue
        tokens.append((name, value - each.offset if each.opcode in dis.hasjabs + dis.hasjrel else value))
        if name in _GLOBALS or name in _CELLS:
            path = tuple(_attributes_after(instructions, place))
            reads[value, path] = None
            if _start(each) in written_into or (len(path) == 1 and path[0] in _WRITING):
                writes.add(value)
        elif name in _WRITTEN:
            writes.add(value)
        elif name in ("STORE_ATTR", "DELETE_ATTR"):
            attributes.add(value)
        elif name in _ATTRIBUTES:
            following = instructions[place + 1] if place + 1 < len(instructions) else None
            is_changed = following is not None and following.opname in _ATTRIBUTES and following.argval in _WRITING
            if is_changed or _start(each) in written_into:
                attributes.add(value)
        elif name == "IMPORT_NAME":
            level = instructions[place - 2].argval if place >= 2 else 0
            imports.append((level if isinstance(level, int) else 0, value, instructions[place - 1].argval or ()))
    own = {*code.co_cellvars}
    return Code(
        tuple(tokens),
        tuple(read for read in reads if read[0] not in own),
        frozenset(writes - own),
        frozenset(attributes),
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

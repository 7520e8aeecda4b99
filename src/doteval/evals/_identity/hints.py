"""Annotations of the functions and classes that a function makes, which its code makes: as if none were a text."""

from __future__ import annotations

import dis
import functools
import itertools
from collections.abc import Callable, Iterator
from inspect import CO_OPTIMIZED
from types import CodeType
from typing import TypeAlias, cast

from .silence import no_warnings

_HAS_ANNOTATIONS, _HAS_CELLS = 0x04, 0x08
_JUMPS = frozenset(dis.hasjabs + dis.hasjrel)
_RETURNED = {"RETURN_CONST": "LOAD_CONST", "RETURN_VALUE": ""}
"""What is done instead where something is not returned."""
_Read: TypeAlias = Callable[[CodeType], Iterator[dis.Instruction]]


def without_texts(code: CodeType, read: _Read) -> list[dis.Instruction]:
    """The instructions of a code, with those in place of annotations that are texts that would make them.

    Args:
        code: The code.
        read: Gives the instructions of one.
    """
    found: list[dis.Instruction] = []
    instructions = [*read(code)]
    for number, each in enumerate(instructions):
        flags = _flags_of(instructions, number) if each.opname == "MAKE_FUNCTION" else 0
        if flags & _HAS_ANNOTATIONS:
            place = len(found) - 2  # before the code
            if flags & _HAS_CELLS:
                place -= 1 + (found[place].arg or 0)
            found[place : place + 1] = _all_made(found[place], code, read)
        elif each.opname == "STORE_SUBSCR" and len(found) > 2 and found[-2].argval == "__annotations__":
            found[-3:-2] = _made(found[-3], found[-3].argval, code, read)
        found.append(each)
    return found


def _flags_of(instructions: list[dis.Instruction], number: int) -> int:
    """What a function is made with; since Python 3.13 it gets one after the other."""
    flags = instructions[number].arg or 0
    for each in itertools.islice(instructions, number + 1, None):
        if each.opname != "SET_FUNCTION_ATTRIBUTE":
            break
        flags |= each.arg or 0
    return flags


def _all_made(known: dis.Instruction, code: CodeType, read: _Read) -> Iterator[dis.Instruction]:
    """What makes a tuple of names and annotations; where all of these are texts, it is there at once."""
    parts: object = known.argval
    if known.opname != "LOAD_CONST" or not isinstance(parts, tuple):
        yield known
        return
    texts = cast("tuple[object, ...]", parts)
    for place, text in enumerate(texts):
        yield from _made(known, text, code, read) if place % 2 else [known._replace(argval=text)]
    number, opcode = len(texts), dis.opmap["BUILD_TUPLE"]
    yield known._replace(opname="BUILD_TUPLE", opcode=opcode, arg=number, argval=number)


def _made(known: dis.Instruction, text: object, code: CodeType, read: _Read) -> Iterator[dis.Instruction]:
    """What makes an annotation, where that is a text."""
    is_text = known.opname == "LOAD_CONST" and isinstance(text, str)
    makes = _making(text, is_optimised=bool(code.co_flags & CO_OPTIMIZED)) if is_text else None
    if makes is None:
        yield known._replace(argval=text)
        return
    for each in read(makes):
        name = _RETURNED.get(each.opname, each.opname)
        if not name:
            continue
        if name == "LOAD_GLOBAL" and each.argval in code.co_varnames:
            name = "LOAD_FAST"
        elif name == "LOAD_GLOBAL" and each.argval in (*code.co_cellvars, *code.co_freevars):
            name = "LOAD_DEREF"
        yield each._replace(opname=name, opcode=dis.opmap[name], offset=known.offset)


@functools.lru_cache(maxsize=4096)
def _making(text: str, *, is_optimised: bool) -> CodeType | None:
    """The code that makes what a text says; `None` where it says nothing, or another thing each time."""
    try:
        with no_warnings():
            made = compile(f"lambda: ({text}\n)" if is_optimised else f"({text}\n)", "", "eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if is_optimised:
        made = next((each for each in made.co_consts if isinstance(each, CodeType)), made)
    return None if any(each.opcode in _JUMPS for each in dis.get_instructions(made)) else made

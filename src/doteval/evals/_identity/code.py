"""What a function does, from its bytecode: that is what runs, whatever has become of its file meanwhile.

Bytecode does not know comments, layout, docstrings and annotations. It is another one for each version of Python.
"""

from __future__ import annotations

import dis
import functools
import re
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from types import CodeType, FunctionType
from typing import Any, NamedTuple, cast

from .hints import without_texts
from .looks import class_of, digest_of, is_function
from .ops import READ
from .uses import ATTRIBUTE, WRITING, Steps, Unknown, Uses, uses_of

_NO_MATTER = {"CACHE", "EXTENDED_ARG", "MAKE_CELL", "NOP", "NOT_TAKEN", "PRECALL", "RESUME"}
_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME")
_CELLS = ("LOAD_CLASSDEREF", "LOAD_DEREF", "LOAD_FROM_DICT_OR_DEREF")
_WRITTEN = ("DELETE_DEREF", "DELETE_GLOBAL", "STORE_DEREF", "STORE_GLOBAL")
_COMPREHENSIONS = frozenset({"<dictcomp>", "<genexpr>", "<listcomp>", "<setcomp>"})
_JUMPS = frozenset(dis.hasjabs + dis.hasjrel)
_JUMPS_ONLY = frozenset({"JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_FORWARD"})
_DIRECTION = re.compile("_(?:FORWARD|BACKWARD)(?=_IF|$)")
_ALIASES = 2
"""How often what a local name holds is looked for that is a part of what another one holds."""
_WRAPPED = 20
_IMPORTS = frozenset({"__import__", "import_module"})
_DOCS = frozenset({"__annotations__", "__doc__", "__signature__"})
_READ_DOCS = frozenset(
    {
        *("__annotations__", "__signature__", "get_annotations", "get_type_hints", "getdoc", "getfullargspec"),
        *("getmembers", "signature"),
    }
)
"""By what code reads what functions and classes say of themselves."""
_QUERIES = frozenset({"eval", "query"})
"""By what tables are asked with a text, in which a variable of Python has this before its name."""
_IN_QUERY = re.compile(r"@\s*([^\W\d]\w*)")
_WHOLE = ("globals", "", "")
AS_KEYWORDS = "**globals"
"""What is asked for names, where all globals are given to a call, which takes some."""
MAKES_CLASSES = "__build_class__"
_OPTIMISED, _HAS_DOCSTRING = 0x1, 0x4000000


@dataclass(frozen=True, slots=True)
class Code:
    """What is known of a function's code, that of functions within it included.

    Args:
        does: What it does, as a fingerprint.
        reads: The globals and free variables that it reads, each with the attributes that are read of it at once.
        handed: Those that it hands over and does not call, such as a function that is to be a tool of a model, each
            with the attributes that are read of it.
        handed_imports: What it imports and hands over: the level, the module, what it takes from there, if anything,
            and the attributes that are read of it.
        told: The attributes that it reads of anything and hands over.
        reads_docs: Whether it reads what functions and classes, whichever they are, say of themselves.
        unknown: What it asks for a name that is known only when it runs, such as ``getattr``; and how that begins, and
            ends.
        writes: Those that it writes: they are state of the run, and no result depends on how it began.
        changes: What it changes of those, each with the way from it.
        own: What it writes, or changes, of its first argument.
        own_attributes: The attributes that it reads of that.
        made: The attributes that it reads of what something returned: the name that it called, the way from it.
        changing: The methods that change containers which it reads of what a way leads to from any of these, or, where
            the name is empty, from its first argument.
        attributes: The attributes that it reads of anything else but of the globals and free variables.
        stored: All attributes that it writes, of whatever.
        given_changing: The methods that change containers which it reads of its parameters, but for the first one.
        given: What it writes, or changes, of what its parameters hold.
        imports: The modules that it imports, and what from them; with the level of a relative import.
        queries: Whether it asks tables with texts, which may name variables.
    """

    does: str
    reads: tuple[tuple[str, tuple[str, ...]], ...]
    handed: frozenset[tuple[str, tuple[str, ...]]]
    handed_imports: frozenset[tuple[int, str, str, tuple[str, ...]]]
    told: frozenset[str]
    reads_docs: bool
    unknown: frozenset[Unknown]
    writes: frozenset[str]
    changes: frozenset[tuple[str, Steps]]
    own: frozenset[Steps]
    own_attributes: frozenset[str]
    made: frozenset[tuple[str, tuple[str, ...], str]]
    changing: frozenset[tuple[str, Steps, str]]
    attributes: frozenset[str]
    stored: frozenset[str]
    given_changing: frozenset[tuple[str, str]]
    given: frozenset[tuple[str, Steps]]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]
    queries: bool


class Doing(NamedTuple):
    """What a function or a class is: what it does, and all else."""

    does: str
    others: tuple[object, ...]


def does_within(function: FunctionType) -> str:
    """What a function does, behind what is wrapped around it, as code that traces others does when it runs first."""
    for _ in range(_WRAPPED):
        inner: object = vars(function).get("__wrapped__")
        if not is_function(inner):
            break
        function = inner
    return read(function.__code__).does


def _instructions_of(code: CodeType) -> Iterator[dis.Instruction]:
    """The instructions that matter; `dis` does not know the constant of each, such as names up to Python 3.12."""
    for each in dis.get_instructions(code):
        is_constant = each.opcode in dis.hasconst and each.arg is not None
        if each.opname not in _NO_MATTER:
            yield each._replace(argval=code.co_consts[cast("int", each.arg)]) if is_constant else each


def _handlers_of(code: CodeType) -> list[tuple[int, int, int, int, bool]]:
    """Where exceptions are handled: from, up to, where to, and how."""
    found: Any = dis.Bytecode(code)
    return [*found.exception_entries]


def _end_of_jump(instructions: list[dis.Instruction], offset: int) -> int:
    """Where it is gone on after a jump.

    Where that only jumps on, it depends on the layout of the source text whether it is jumped there at once.
    """
    for _ in range(_WRAPPED):
        number = bisect_left(instructions, offset, key=attrgetter("offset"))
        if number == len(instructions) or instructions[number].opname not in _JUMPS_ONLY:
            break
        offset = instructions[number].argval
    return offset


def _is_two(instruction: dis.Instruction) -> bool:
    """Whether an instruction does what two others do, with local names."""
    return "_FAST_" in instruction.opname and isinstance(instruction.argval, tuple)


@functools.lru_cache(maxsize=4096)
def read(code: CodeType) -> Code:
    """Look at a function's code."""
    tokens: list[Any] = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 0x2AC]
    parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    tokens += parameters
    reads: dict[tuple[str, tuple[str, ...]], None] = {}
    writes: set[str] = set()
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    imported: dict[str, set[tuple[int, str, str]]] = {}
    instructions = without_texts(code, _instructions_of)
    # Places are counted without what does nothing, and as if nothing did what two others do: that is by the layout.
    offsets = [each.offset + part for each in instructions for part in range(1 + _is_two(each))]
    number_at = functools.partial(bisect_left, offsets)
    tokens += [(*map(number_at, each[:3]), *each[3:]) for each in _handlers_of(code)]
    first = code.co_varnames[0] if code.co_argcount else None
    has_more = bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    uses = uses_of(instructions, first, code.co_varnames[: len(parameters) + has_more])
    inside: list[tuple[Code, CodeType, str | None]] = []
    handed_imports: set[tuple[int, str, str, tuple[str, ...]]] = set()
    for place, each in enumerate(instructions):
        name, value = each.opname, each.argval
        if isinstance(value, CodeType):
            inner = read(value)
            inside.append((inner, value, _bound(instructions, place)))
            tokens.append((name, inner.does))
            imports += inner.imports
            continue
        if name == "STORE_NAME" and value == "__firstlineno__":
            tokens.pop()  # where a class begins
            continue
        if each.opcode in _JUMPS:
            end = _end_of_jump(instructions, value)
            tokens.append((_DIRECTION.sub("", name), number_at(end) - number_at(each.offset)))
        elif _is_two(each):
            one, other = name.replace("_BORROW", "").split("_FAST_")
            tokens += (f"{one}_FAST", value[0]), (other, value[1])
        else:
            tokens.append((name, value))
        if name in _GLOBALS or name in _CELLS:
            path = tuple(_attributes_after(instructions, place))
            reads[value, path] = None
        elif name in _WRITTEN:
            writes.add(value)
        elif name == "IMPORT_NAME":
            level = instructions[place - 2].argval if place >= 2 else 0
            level = level if isinstance(level, int) else 0
            imports.append((level, value, instructions[place - 1].argval or ()))
            for taken, bound in _names_of_imported(instructions, place):
                imported.setdefault(bound, set()).add((level, value, taken))
        elif name == "LOAD_BUILD_CLASS":
            uses.others.add(MAKES_CLASSES)
    imports += [(0, name, ()) for name in uses.imports]
    if _WHOLE in uses.unknown and _are_keywords(instructions):
        uses.unknown = (uses.unknown - {_WHOLE}) | {(AS_KEYWORDS, "", "")}
    writes |= uses.global_writes
    for inner, _, _ in inside:
        reads |= dict.fromkeys(inner.reads)
        uses.handed |= inner.handed
        handed_imports |= inner.handed_imports
        uses.told |= inner.told
        uses.unknown |= inner.unknown
        writes |= inner.writes
    asked = {*uses.others, *(each for name, path in reads for each in (name, *path))}
    asked |= {attribute for *_, attribute in uses.made} | {attribute for _, attribute in uses.reads}
    if not _QUERIES.isdisjoint(asked):
        named = {name for text in texts_in(code.co_consts) for name in named_in_query(text)}
        reads |= dict.fromkeys((name, ()) for name in sorted(named - {*code.co_varnames, *code.co_cellvars}))
    if ("globals", ()) in reads:
        texts = {text for text in texts_in(code.co_consts) if text.isidentifier()}
        reads |= dict.fromkeys((text, ()) for text in sorted(texts))
        uses.handed |= {(text, ()) for text in texts & uses.told}
    documented = [(name, path[: path.index("__doc__")]) for name, path in reads if "__doc__" in path]
    uses.handed |= {*documented}
    uses.told |= {path[-1] for _, path in documented if path}
    handed = {name for name, path in uses.handed if not path}
    handed |= {name for name, attribute in uses.reads if attribute == "__doc__"}
    handed_imports |= {(*each, path) for name, path in uses.handed for each in imported.get(name, ())}
    tokens += [("told", inner.co_consts[0]) for _, inner, name in inside if _is_told(inner, name, handed)]
    cells, own = {*code.co_cellvars}, {*code.co_varnames, *code.co_cellvars}
    return Code(
        digest_of(_plain(tuple(tokens))),
        tuple(read for read in reads if read[0] not in cells),
        frozenset(each for each in uses.handed if each[0] not in own),
        frozenset(handed_imports),
        frozenset(uses.told),
        _reads_docs(reads, uses, own, [inner for inner, _, _ in inside]),
        frozenset(uses.unknown),
        frozenset(writes - cells),
        *_used(code, uses, first, [inner for inner, _, _ in inside]),
        tuple(imports),
        not _QUERIES.isdisjoint(asked) or any(inner.queries for inner, _, _ in inside),
    )


def _used(
    code: CodeType, uses: Uses, first: str | None, inside: list[Code]
) -> tuple[
    frozenset[tuple[str, Steps]],
    frozenset[Steps],
    frozenset[str],
    frozenset[tuple[str, tuple[str, ...], str]],
    frozenset[tuple[str, Steps, str]],
    frozenset[str],
    frozenset[str],
    frozenset[tuple[str, str]],
    frozenset[tuple[str, Steps]],
]:
    """What is done with globals, free variables and the first argument, in a code and in those within it."""
    its_own = {*code.co_varnames, *code.co_cellvars}
    writes, reads = {*uses.writes}, {*uses.reads}
    for inner in inside:
        writes |= inner.changes
        reads |= {(name, path[0]) for name, path in inner.reads if path and name in its_own}
        uses.others |= inner.attributes | inner.own_attributes
        uses.made |= inner.made
        uses.stored |= inner.stored
        uses.changing |= {each for each in inner.changing if each[0]}
        uses.others |= {method for name, _, method in inner.changing if not name}
        uses.others |= {method for _, method in inner.given_changing}
    for _ in range(_ALIASES):
        writes |= {(of, (*way, *steps)) for name, steps in writes for of, way in uses.ways.get(name, ()) if of != name}
    changing = {("" if name == first else name, way, method) for name, way, method in uses.changing}
    uses.others |= {method for name, _, method in changing if name in its_own}
    own_attributes = {attribute for name, attribute in reads if name == first}
    parameters = {*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]} - {first}
    given = {(name, attribute) for name, attribute in reads if name in parameters and attribute in WRITING}
    for name, attribute in reads - given:
        if name in its_own and name != first:
            uses.read_of_local(name, attribute)
    for maker in [each for each in uses.made if each[0] in its_own]:
        uses.made.discard(maker)
        name, path, attribute = maker
        if name == first and len(path) == 2 and path[1] == "copy" and attribute in WRITING:
            changing.add(("", ((ATTRIBUTE, path[0]),), attribute))
        else:
            uses.others.add(attribute)
    uses.others |= {attribute for name, path, attribute in uses.made if not _IMPORTS.isdisjoint((name, *path))}
    unknown = {name for name in its_own if uses.locals.get(name) is None} - {first}
    if any(steps[-1][0] != ATTRIBUTE for name, steps in writes if name in unknown):
        uses.others.add("__setitem__")
    return (
        frozenset(each for each in writes if each[0] not in its_own),
        frozenset(steps for name, steps in writes if name == first),
        frozenset(own_attributes),
        frozenset(uses.made),
        frozenset(each for each in changing if each[0] not in its_own),
        frozenset(uses.others),
        frozenset(uses.stored),
        frozenset(given),
        frozenset(each for each in writes if each[0] in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]),
    )


def _reads_docs(
    reads: Iterable[tuple[str, tuple[str, ...]]], uses: Uses, own: set[str], inside: Iterable[Code]
) -> bool:
    """Whether what is read that functions and classes say of themselves is not only that of one with a name."""
    if any(inner.reads_docs for inner in inside):
        return True
    of_others = uses.others | {attribute for *_, attribute in uses.made}
    of_others |= {attribute for name, attribute in uses.reads if name in own}
    if not _DOCS.isdisjoint(of_others):
        return True
    return any(not _READ_DOCS.isdisjoint((name, *path)) for name, path in reads)


def _plain(token: Any) -> tuple[object, ...]:
    """A constant with its type, as ``1 == True``."""
    kind = class_of(token)
    if kind is tuple:
        return tuple(map(_plain, token))
    if kind is frozenset:
        return "set", *sorted(map(_plain, token), key=repr)
    return kind.__name__, hex(token) if kind is int else repr(token)


def says_where(function: object) -> bool:
    """Whether a function's code says what of a line its instructions are for."""
    code = function.__code__ if is_function(function) else None
    return code is None or any(column is not None for _, _, column, _ in code.co_positions())


def texts_in(constants: Iterable[object]) -> Iterator[str]:
    """The texts among constants, those of functions within a function included."""
    for each in constants:
        if isinstance(each, str):
            yield each
        elif isinstance(each, tuple):
            yield from texts_in(cast("tuple[object, ...]", each))
        elif isinstance(each, CodeType):
            yield from texts_in(each.co_consts)


def names_read_at_once(code: CodeType) -> set[str]:
    """The globals that a function reads, and that no function reads which it makes, but for comprehensions."""
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    own = {each.argval for each in dis.get_instructions(code) if each.opname in _GLOBALS}
    later = {name for each in inner if each.co_name not in _COMPREHENSIONS for name, _ in read(each).reads}
    return own.union(*(names_read_at_once(each) for each in inner if each.co_name in _COMPREHENSIONS)) - later


def named_in_query(text: str) -> list[str]:
    """The variables that a query of a table names in its text."""
    return _IN_QUERY.findall(text) if "@" in text else []


def _are_keywords(instructions: list[dis.Instruction]) -> bool:
    """Whether ``globals()`` is given to calls by its names only, as to ``format``: ``**globals()``."""
    places = [place for place, each in enumerate(instructions) if each.argval == "globals" and each.opname in _GLOBALS]
    after = [[each.opname for each in instructions[place + 1 :]] for place in places]
    return all([name for name in names[:3] if name != "PUSH_NULL"][:2] == ["CALL", "DICT_MERGE"] for names in after)


def _names_of_imported(instructions: list[dis.Instruction], place: int) -> Iterator[tuple[str, str]]:
    """What is taken of a module that is imported, nothing where that is the module, and the local name that it gets."""
    taken = ""
    for each in _after(instructions, place):
        if each.opname == "IMPORT_FROM":
            taken = each.argval
        elif each.opname in ("STORE_DEREF", "STORE_FAST"):
            yield taken, each.argval
            if not taken:
                return
        elif each.opname not in ("COPY", "POP_TOP", "SWAP"):
            return


def _after(instructions: list[dis.Instruction], place: int) -> Iterator[dis.Instruction]:
    """All from the next one on, without another list of them."""
    return (instructions[number] for number in range(place + 1, len(instructions)))


def _attributes_after(instructions: list[dis.Instruction], place: int) -> Iterator[str]:
    for each in _after(instructions, place):
        if each.opname not in READ:
            return
        yield each.argval


def _bound(instructions: list[dis.Instruction], place: int) -> str | None:
    """The local name that a function within another one gets; `None` where it is used otherwise."""
    for each in _after(instructions, place):
        if each.opname in ("STORE_DEREF", "STORE_FAST"):
            return str(each.argval)
        if each.opname not in ("LOAD_CONST", "MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE"):
            return None
    return None


def _is_told(inner: CodeType, name: str | None, handed: set[str]) -> bool:
    """Whether what a function within another one says of itself is told to others: it is not only called."""
    has_docstring = bool(inner.co_consts) and isinstance(inner.co_consts[0], str)
    if sys.version_info >= (3, 14):
        has_docstring = has_docstring and bool(inner.co_flags & _HAS_DOCSTRING)
    if not has_docstring or not inner.co_flags & _OPTIMISED or inner.co_name.startswith("<"):
        return False
    return name is None or name in handed

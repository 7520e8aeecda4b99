"""What classes, and objects, are entered into when they are made: where nothing that is run reads that, it is nothing.

A list of all that were made holds more where another file was imported as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from .code import Code, read, texts_in
from .found import behind_modules, variable_of
from .library import is_library_class, is_library_file
from .looks import INITIALISERS, class_of, is_class, is_function
from .methods import OF_NEW_CLASSES, Method
from .use import Use
from .uses import ATTRIBUTE, Steps

_READS_ALL = frozenset({"__dict__", "__getattribute__", "attrgetter", "dir", "getmembers", "getmembers_static", "vars"})
"""By what code reads attributes of which it does not say the names."""
_Place = tuple[Any, str]
"""A class, or what holds variables, and a name there."""


class Reads(NamedTuple):
    """What code reads that is run.

    Args:
        attributes: Of whatever.
        variables: By the ``id`` of what holds them, and their names.
        codes: That code.
    """

    attributes: frozenset[str]
    variables: frozenset[tuple[int, str]]
    codes: tuple[CodeType, ...]


def entered_and_not_read(
    methods: Iterable[tuple[Method, Use | None]], kinds: Iterable[type[Any]], reads: Reads
) -> list[_Place]:
    """What only that code writes that is run where something is made, or not at all, and no other code reads.

    Args:
        methods: All methods, each with what it is run for; nothing where nobody is known to run it.
        kinds: The classes that there are.
        reads: What the code reads that is run for anything else.
    """
    left = [(method, use) for method, use in methods if use is None or use is Use.MAKE]
    makers = [method for method, use in left if use is Use.MAKE or _only_makes(method)]
    found = {(id(owner), name): (owner, name) for owner, name in _entered(makers, [*kinds])}
    if not found:
        return []
    others = [*_with_those_called(method.function for method, use in left if use is None and not _only_makes(method))]
    codes = [*reads.codes, *(each.__code__ for each in others)]
    attributes = reads.attributes.union(*(_attributes_read(read(each.__code__)) for each in others))
    is_read = _reader(attributes, codes)
    variables = reads.variables.union(
        (id(holder[0]), holder[1])
        for each in others
        for name, path in read(each.__code__).reads
        if (holder := _variable(each, name, path)) is not None
    )
    return [
        (owner, name)
        for owner, name in found.values()
        if not (is_read(name) if is_class(owner) else (id(owner), name) in variables)
    ]


def _only_makes(method: Method) -> bool:
    return method.name in INITIALISERS or method.name in OF_NEW_CLASSES or method.is_of_class


def _entered(makers: list[Method], kinds: list[type[Any]]) -> Iterator[_Place]:
    for method in makers:
        is_first_class = method.is_of_class or issubclass(method.kind, type)
        for way in read(method.function.__code__).own:
            steps = way[1:] if way[0] == (ATTRIBUTE, "__class__") else way
            if not steps or steps[0][0] != ATTRIBUTE or (steps is way and is_first_class and len(way) == 1):
                continue  # a class's own settings are no list of all
            of_those = [each for each in kinds if _is_of(method.kind, each) or _is_of(method.kind, class_of(each))]
            yield from (place for each in of_those for place in _attribute(each, steps[0][1]))
    for function in _with_those_called(each.function for each in makers):
        code = read(function.__code__)
        for name, steps in (*((name, ()) for name in code.writes), *code.changes):
            yield from _written(function, name, steps)


def _written(function: FunctionType, name: str, steps: Steps) -> Iterator[_Place]:
    found = variable_of(function, name)
    if found is None:
        return
    path = tuple(step for sort, step in steps if sort == ATTRIBUTE)
    owner, name, value, path = behind_modules(found[0], name, found[1], path)
    if not is_class(value):
        yield owner, name
    elif path:
        yield from _attribute(value, path[0])


def _is_of(base: type[Any], kind: type[Any]) -> bool:
    return any(each is base for each in kind.__mro__)


def _attribute(kind: type[Any], name: str) -> Iterator[_Place]:
    """Where an attribute is that is read of a class; nothing where Python, or a library, may read it."""
    holders = [each for each in (*kind.__mro__, *class_of(kind).__mro__) if name in vars(each)]
    if holders and not name.startswith("__") and not any(map(is_library_class, holders)):
        yield holders[0], name


def _with_those_called(functions: Iterable[Any]) -> Iterator[FunctionType]:
    """Functions, and those of the user's that they read."""
    left, seen = deque[FunctionType](functions), set[int]()
    while left:
        function = left.popleft()
        if id(function) in seen or is_library_file(function.__code__.co_filename):
            continue
        seen.add(id(function))
        yield function
        for name, path in read(function.__code__).reads:
            found = variable_of(function, name)
            value = None if found is None else behind_modules(*found[:1], name, found[1], path)[2]
            left += [value] if is_function(value) else []


def _variable(function: FunctionType, name: str, path: tuple[str, ...]) -> _Place | None:
    found = variable_of(function, name)
    return None if found is None else behind_modules(found[0], name, found[1], path)[:2]


def _attributes_read(code: Code) -> set[str]:
    of_names = (each for name, path in code.reads for each in (name, *path))
    return {*code.attributes, *code.own_attributes, *(attribute for *_, attribute in code.made), *of_names}


def _reader(attributes: frozenset[str], codes: list[CodeType]) -> Any:
    """What tells whether an attribute of a name may be read."""
    found = {*map(read, codes)}
    asked = {name for code in found for name in _attributes_read(code)}
    unknown = {(begin, end) for code in found for called, begin, end in code.unknown if called == "getattr"}
    texts = {text for code in codes for text in texts_in(code.co_consts)}

    def is_read(name: str) -> bool:
        if name in attributes or not _READS_ALL.isdisjoint(asked) or any(name in text for text in texts):
            return True
        return any(name.startswith(begin) and name.endswith(end) for begin, end in unknown)

    return is_read

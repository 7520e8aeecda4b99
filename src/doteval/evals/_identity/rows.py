"""Which classes of the user's the rows of a dataset are of, or hold, or reach by functions in them.

What rows hold besides is not looked at here, as they are known by their values. Nothing of anybody's is run.
"""

from __future__ import annotations

import gc
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

from .._digests import module_of
from .._kinds import ByKind
from .._tabular import objects_in_table
from .code import read
from .found import behind_modules, defaults_of, functions_of, imported_by, is_callable, variable_of
from .kept import is_of_the_moment
from .library import is_library_class, is_library_file
from .looks import ATOMS, attributes_of, class_of, held_by, is_class, is_function, is_module, qualified, type_name

_MOST = 5_000_000
"""How many values are looked at at most."""
_HOLDING = frozenset({"builtins", "collections", "functools", "itertools", "types", "typing"})
"""Modules of Python whose objects hold what they were given."""
_FRAMES = ByKind(
    {types.GeneratorType: "gi_frame", types.AsyncGeneratorType: "ag_frame", types.CoroutineType: "cr_frame"}
)
_NO_DATA = (*ATOMS, types.CodeType, types.FrameType, types.TracebackType, types.ModuleType)


class OfRows(NamedTuple):
    """What rows are made of.

    Args:
        classes: The classes of the user's, by their names.
        functions: The functions of theirs that rows hold.
        methods: The names of methods that rows hold.
        tools: What may be a tool among these: methods, classes, and the classes of what can be called.
    """

    classes: tuple[type[Any], ...] = ()
    functions: tuple[types.FunctionType, ...] = ()
    methods: tuple[str, ...] = ()
    tools: tuple[Any, ...] = ()


def found_in_rows(dataset: object) -> OfRows:
    """What the rows of a dataset are made of, as far as they are there, or code is that makes them."""
    classes: ByKind[None] = ByKind()
    functions: dict[types.FunctionType, None] = {}
    methods: set[str] = set()
    tools: ByKind[None] = ByKind()
    opened: ByKind[Callable[[Any], Iterable[object]] | None] = ByKind(dict.fromkeys(_NO_DATA))
    seen: dict[int, object] = {}
    level: list[object] = [dataset, *attributes_of(dataset).values()]
    level += _in_code([function for function, _ in functions_of(dataset)])
    while level and len(seen) < _MOST:
        whole: list[object] = []
        inner: list[object] = []
        for each in level:
            kind = class_of(each)
            if kind not in opened:
                opened[kind] = _opening(kind)
                if not is_library_class(kind):
                    classes[kind] = None
            opens = opened[kind]
            if opens is None or id(each) in seen:
                continue
            seen[id(each)] = each
            if opens is gc.get_referents:
                whole.append(each)
                continue
            if is_class(each):
                if not is_library_class(each):
                    classes[each] = tools[each] = None
            elif is_function(each):
                functions.update((function, None) for function, _ in functions_of(each))
            elif opens is _in_method:
                method = cast("types.MethodType", each)
                methods.add(method.__name__)
                tools.update((function, None) for function, _ in functions_of(method.__func__))
            inner += opens(each)
        level = [*inner, *gc.get_referents(*whole)]
    for kind in classes:
        if is_callable(kind):
            tools[kind] = None
        elif kind in opened:  # an object leads to its class
            tools.pop(kind, None)
    return OfRows(
        tuple(sorted(classes, key=type_name)),
        tuple(sorted(functions, key=qualified)),
        tuple(sorted(methods)),
        tuple(sorted(tools, key=lambda each: type_name(each) if is_class(each) else qualified(each))),
    )


def called_alike(classes: Iterable[type[Any]]) -> dict[tuple[str, str], str]:
    """How much of their modules tells classes of one name from each other, by their modules and names."""
    modules: dict[str, set[tuple[str, ...]]] = {}
    for kind in classes:
        modules.setdefault(kind.__qualname__, set()).add((*module_of(kind).split("."),))
    found: dict[tuple[str, str], str] = {}
    for name, alike in modules.items():
        for count in range(1, max(map(len, alike)) + 1 if len(alike) > 1 else 1):
            ends = {".".join(each): ".".join(each[-count:]) for each in alike}
            if len({*ends.values()}) == len(alike):
                found.update({(module, name): end for module, end in ends.items()})
                break
    return found


def _opening(kind: type[Any]) -> Callable[[Any], Iterable[object]] | None:
    """What tells what an object of a class is made of; `None` where that leads to none of the user's."""
    if kind in _FRAMES:
        return _in_frame
    if kind is types.FunctionType:
        return held_by_function
    if issubclass(kind, type):
        return _nothing
    if issubclass(kind, types.ModuleType):
        return None
    if kind is types.MethodType:
        return _in_method
    if not is_library_class(kind) or kind.__module__ in _HOLDING:
        return gc.get_referents
    if hasattr(kind, "dtype") or hasattr(kind, "itertuples"):  # a table, which may look like a collection
        return _in_table
    if kind is weakref.ReferenceType:
        return _referred_to
    return None if is_of_the_moment(kind) else _in_object


def _nothing(_: object) -> Iterable[object]:
    return ()


def _referred_to(reference: Any) -> Iterable[object]:
    return (reference(),)


def _in_method(method: Any) -> Iterable[object]:
    return (method.__self__,)


def _in_object(value: Any) -> Iterable[object]:
    """What an object of a package holds; nothing where a module is in it, which leads to all there is."""
    held = gc.get_referents(value)
    return () if any(map(is_module, (*held, *attributes_of(value).values()))) else held


def _in_table(value: Any) -> Iterable[object]:
    return objects_in_table(value, class_of(value)) or ()


def _in_frame(value: Any) -> Iterator[object]:
    """What a generator holds that has not ended, and what it reads."""
    frame: Any = getattr(value, _FRAMES[class_of(value)])
    if frame is None or is_library_file(frame.f_code.co_filename):
        return
    held: dict[str, object] = {**frame.f_locals}
    yield from held.values()
    cells = tuple(types.CellType(held.get(name)) for name in frame.f_code.co_freevars)
    yield from _in_code([types.FunctionType(frame.f_code, frame.f_globals, "", None, cells)])


def _in_code(left: list[types.FunctionType]) -> Iterator[object]:
    """What functions of the user's read, and those that they call."""
    seen = {each.__code__ for each in left}
    while left:
        for each in _read_by(left.pop()):
            if not is_function(each):
                yield each
            elif each.__code__ not in seen:
                seen.add(each.__code__)
                left.append(each)


def held_by_function(function: types.FunctionType) -> list[object]:
    """What a function holds that another one of the same code may not, but for what it writes."""
    code = read(function.__code__)
    written = code.writes.union(name for name, _ in code.changes)
    free = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    cells = [held_by(cell) for name, cell in free if name not in written]
    return [*cells, *defaults_of(function).values(), *vars(function).values()]


def _read_by(function: types.FunctionType) -> Iterator[object]:
    """What a function of the user's reads, and functions of theirs that a library has made another one of."""
    yield from (each for each, _ in functions_of(function) if each is not function)
    if is_library_file(function.__code__.co_filename):
        return
    code = read(function.__code__)
    for name, path in code.reads:
        found = variable_of(function, name)
        if found is not None:
            yield behind_modules(found[0], name, found[1], path)[2]
    for imported in code.imports:
        yield from (value for _, _, value in imported_by(function, *imported))
    yield from held_by_function(function)

"""How what code writes begins: what modules do to make it, as that stands in their source texts.

What a run writes is state, and may be anything when the next one begins; but a prompt that is sorted in place, or
stripped, is edited where it is made. A statement counts for all that it may change: a compound one as a whole.
"""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from .credentials import guarded_digest_of
from .library import is_library, is_library_file
from .looks import ATOMS, OF_VALUES, class_of, digest_of, is_class, is_function, is_module
from .statements import ALL, Import, Source, source_of

_MOST = 10_000
"""How many names are looked at for one."""
Place: TypeAlias = tuple[Mapping[str, Any], str]
"""The variables of a module, and the name of one, or of a class."""


def beginning_of(places: Iterable[Place]) -> str | None:
    """A fingerprint of how something begins; `None` where no source text says that.

    Args:
        places: Where it is, and where code knows it from.
    """
    found: set[tuple[str, ...]] = set()
    is_guarded = False
    left = deque(places)
    asked = {(id(scope), name) for scope, name in left}
    seen = {*asked}
    while left and len(seen) < _MOST:
        scope, name = left.popleft()
        source = _source_of(scope)
        if source is None:
            continue
        value = scope.get(name)  # what is changed in a module of a package is out of sight
        is_changed = not is_module(value) or not is_library(value)
        is_given = (id(scope), name) in asked or not _is_for_good(value)  # rows may make it another thing
        statements = source.statements_of(name, is_changed=is_changed, is_given=is_given)
        found.add(tuple(each.text for each in statements))
        is_guarded |= any(each.is_guarded for each in statements)
        others = [place for each in statements for path in each.reads for place in _behind(scope, path)]
        others += [(scope, each) for statement in statements for each in sorted(statement.others)]
        for each in source.imports_of(name):
            module = _module_of(scope, each)
            if module is not None and each.name:
                others.append((vars(module), name if each.name == ALL else each.name))
        new = {(id(each), its_name): (each, its_name) for each, its_name in others}
        left += [place for key, place in new.items() if key not in seen]
        seen |= new.keys()
    found.discard(())
    digest = guarded_digest_of if is_guarded else digest_of
    return digest(sorted(found)) if found else None


def _is_for_good(value: object) -> bool:
    """Whether nothing changes a value that it is only given: a text, say, or a function."""
    kind = class_of(value)
    is_plain = value is not None and (kind in ATOMS or kind.__module__ in OF_VALUES)
    return is_plain or is_function(value) or is_class(value) or is_module(value)


def _behind(scope: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[Place]:
    """What a name stands for, and what is read of that where it is a module: all of it where it is a value itself."""
    name, *rest = path
    yield scope, name
    for module in _modules_at(scope, name):
        yield from _behind(vars(module), (*rest,)) if rest else [(vars(module), ALL)]


def _modules_at(scope: Mapping[str, Any], name: str) -> Iterable[ModuleType]:
    """The modules of the user's that a name stands for, or did when something was read of them."""
    source = _source_of(scope)
    found: list[object] = [scope.get(name)]
    for each in source.imports_of(name) if source is not None else ():
        module = _module_of(scope, each)
        found.append(vars(module).get(each.name) if module is not None and each.name else module)
    return {id(each): each for each in found if is_module(each) and not is_library(each)}.values()


def _module_of(scope: Mapping[str, Any], imported: Import) -> ModuleType | None:
    """The module of the user's that something is imported of, if it was: nothing is imported here."""
    package = scope.get("__package__")
    name = f"{'.' * imported.level}{imported.module}"
    with suppress(ImportError):  # it goes further up than there are packages
        found = sys.modules.get(resolve_name(name, package if isinstance(package, str) else ""))
        if is_module(found) and not is_library(found):
            return found
    return None


def _source_of(scope: Mapping[str, Any]) -> Source | None:
    file = scope.get("__file__")
    if not isinstance(file, str) or not file.endswith(".py") or is_library_file(file):
        return None
    try:
        status = Path(file).stat()
        return _read(file, status.st_mtime_ns, status.st_size)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # it is gone, or being written
        return None


@functools.lru_cache(maxsize=1000)
def _read(file: str, _written: int, _size: int) -> Source:
    return source_of(Path(file).read_bytes())

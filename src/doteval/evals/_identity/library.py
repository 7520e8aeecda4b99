"""Whose code something is: the user's, which changes between two runs, or that of an installed package."""

from __future__ import annotations

import csv
import functools
import inspect
import os
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from .._digests import origin_of

_OF_A_PROJECT = (".git", "pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini")
"""What lies where a project of the user's begins."""
_IS_MADE = 1 << 9
_MADE_BY_PYTHON = _IS_MADE | 1 << 8
"""The flags of a class that lies on the heap, as those do that are made by Python, and may be changed, as they may."""
_MAKERS = frozenset({"builtins", "types"})
"""Modules that say of classes which they make for others that these are their own."""
_BUILT_IN = frozenset({"built-in", "frozen"})
_IN_THE_INTERPRETER = frozenset(sys.builtin_module_names)
_LISTS_OF_FILES = "*.dist-info/RECORD"
"""What lists the files of a package beside which it lies, each in the first column."""
_HERE = str(Path(__file__).parent.parent.parent)  # all of doteval


@functools.cache
def _directories() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    places = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found = (*(str(Path(place).resolve()) for place in places), *places, _HERE)
    return tuple(place.rstrip(os.sep) + os.sep for place in found)


@functools.cache
def is_library_file(file: str) -> bool:
    """Whether a file of Python is somebody else's; what has no file, as a cell of a notebook, is the user's."""
    if file.startswith("<frozen "):
        return True
    if file.startswith("<"):
        return False
    if any(file.startswith(place) for place in _directories()) or "site-packages" in Path(file).parts:
        return True
    return any(file in _installed_in(str(place)) for place in Path(file).parents)


@functools.cache
def _installed_in(directory: str) -> frozenset[str]:
    """The modules and packages that an installer has put into a directory, as ``pip install --target`` does.

    What lies beside the metadata of a package that its developers work at, as in an editable install, is not listed.
    """
    found: set[str] = set()
    with suppress(OSError, ValueError):
        for listed in Path(directory).glob(_LISTS_OF_FILES):
            with suppress(OSError, ValueError, csv.Error), listed.open(encoding="utf-8", newline="") as lines:
                files = [Path(os.path.normpath(Path(directory, line[0]))) for line in csv.reader(lines) if line]
                found.update(str(each) for file in files for each in (file, file.parent))
    return frozenset(found - {directory})


def is_library(module: ModuleType) -> bool:
    """Whether a module is somebody else's: by its file, whatever its name is, and wherever it was loaded from."""
    held: Mapping[str, object] = object.__getattribute__(module, "__dict__")
    file, name = held.get("__file__"), held.get("__name__")
    if isinstance(file, (str, os.PathLike)):
        return is_library_file(os.fspath(cast("str", file)))
    return isinstance(name, str) and (name in _IN_THE_INTERPRETER or _is_of_python(name))


def is_library_class(kind: type[Any]) -> bool:
    """Whether a class is somebody else's. One of a module that nobody finds, as it was loaded by its path, is not."""
    is_made = kind.__flags__ & _MADE_BY_PYTHON == _IS_MADE
    if is_made and kind.__module__ in _MAKERS:
        return vars(sys.modules[kind.__module__]).get(kind.__name__) is kind
    found = _whose(origin_of(kind).__module__)
    return not is_made if found is None else found


def is_library_module(name: object) -> bool:
    """Whether a module, by its name, is somebody else's. One that nobody finds is."""
    return _whose(name) is not False


def _whose(name: object) -> bool | None:
    """Whether a module is somebody else's; `None` where nobody finds it."""
    if name is None:
        return True
    if not isinstance(name, str):
        return None
    if name in _IN_THE_INTERPRETER:
        return True
    module, top = sys.modules.get(name), sys.modules.get(name.partition(".")[0])
    for each in (module, top):
        if isinstance(each, ModuleType):
            return is_library(each)
        if each is not None:  # whatever took its place
            return _is_of_python(name)
    try:
        spec = find_spec(name.partition(".")[0])
    except Exception:  # finders are anybody's
        return None
    if spec is None:
        return None
    places = [spec.origin or "", *(spec.submodule_search_locations or ())]
    return any(place in _BUILT_IN or is_library_file(place) for place in places if place)


def _is_of_python(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


def users_module(name: str, package: str) -> ModuleType | None:
    """A module of the user's, which is imported; `None` where it is somebody else's, or cannot be imported.

    Args:
        name: Its name; a relative one begins with points.
        package: The package that this is relative to.
    """
    if not name.startswith(".") and is_library_module(name):
        return None
    try:
        return import_module(name, package)
    except KeyboardInterrupt:
        raise
    except BaseException:  # whoever calls what imports it is told; it may skip a test, or end the process
        return None


@functools.cache
def _project_of(directory: Path) -> Path:
    around = (each for each in (directory, *directory.parents) if any((each / name).exists() for name in _OF_A_PROJECT))
    return next(around, directory)


def project_of(function: object) -> str | None:
    """The directory of the project that a function is of; `None` where it is in no file."""
    try:
        code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    except Exception:  # it wraps itself, or says something else than that it has none
        return None
    file = None if code is None else Path(code.co_filename)
    return None if file is None or not file.is_absolute() else str(_project_of(file.parent))

"""Whose code something is: the user's, which changes between two runs, or that of an installed package."""

from __future__ import annotations

import functools
import inspect
import sys
import sysconfig
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

_OF_A_PROJECT = (".git", "pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini")
"""What lies where a project of the user's begins."""
_HERE = str(Path(__file__).parent.parent.parent)  # all of doteval


@functools.cache
def _directories() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    places = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return (*(str(Path(place).resolve()) for place in places), *places, _HERE)


@functools.cache
def is_library_file(file: str) -> bool:
    """Whether a file of Python is somebody else's; what has no file, as a cell of a notebook, is the user's."""
    if file.startswith("<frozen "):
        return True
    if file.startswith("<"):
        return False
    return file.startswith(_directories()) or "site-packages" in Path(file).parts


def is_library_module(name: str | None) -> bool:
    """Whether a module, by its name, is somebody else's. One that cannot be found is."""
    if name is None or name in sys.builtin_module_names or name.partition(".")[0] in sys.stdlib_module_names:
        return name != "__main__"
    module: ModuleType | None = sys.modules.get(name)
    if module is not None:
        file = getattr(module, "__file__", None)
        return False if file is None else is_library_file(file)
    try:
        spec = find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        return True
    places = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or ())]
    return not places or any(is_library_file(place) for place in places if place)


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
    except (Exception, SystemExit):  # whoever calls what imports it is told
        return None


@functools.cache
def _project_of(directory: Path) -> Path:
    around = (each for each in (directory, *directory.parents) if any((each / name).exists() for name in _OF_A_PROJECT))
    return next(around, directory)


def project_of(function: object) -> str | None:
    """The directory of the project that a function is of; `None` where it is in no file."""
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    file = None if code is None else Path(code.co_filename)
    return None if file is None or not file.is_absolute() else str(_project_of(file.parent))

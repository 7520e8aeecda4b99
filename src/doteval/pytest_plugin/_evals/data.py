"""Fixtures that give data: what results depend on, and known without any event loop.

A fixture that returns gives data. One that yields manages something, such as a server whose port is another each time,
so what it gives says nothing; nor does what is made of it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from ...evals import Evaluation
from ...evals._identity.library import is_library_file
from ...evals._running.depends import texts_beside
from .._fixturedefs import Definitions, needed_definitions, visible_fixtures
from .items import evaluation_of, params_of

_OF_A_REPOSITORY = (".git", ".hg", ".jj", ".sl", ".svn")

_ANOTHER_EACH_TIME = {"tmp_path", "tmp_path_factory", "tmpdir", "tmpdir_factory"}
"""Fixtures of pytest that give another path in each run; so does what is made of them."""
_ASKS = "getfixturevalue"
_LOOKS_AT_MARKS = frozenset(
    {"get_closest_marker", "iter_markers", "iter_markers_with_node", "keywords", "own_markers", "pytestmark"}
)
_LOOKS_AT_MODULE = frozenset({"module"})
_HOW_IT_IS_RUN = frozenset(
    {
        *("anyio", "asyncio", "trio", "filterwarnings", "parametrize", "skip", "skipif", "usefixtures", "xfail"),
        *("dependency", "flaky", "order", "timeout", "xdist_group"),
    }
)
"""Marks of pytest and well-known plugins that say how a test is run, or that count elsewhere."""


def data_fixtures(item: pytest.Function, ours: Collection[str]) -> list[str]:
    """The names of the user's own fixtures that give data, which is looked at before anything else is set up.

    Args:
        item: Whose fixtures.
        ours: The names of the fixtures that may lease something; what builds on these is none.
    """
    needed, evaluation = needed_definitions(item), evaluation_of(item)
    if evaluation is not None:
        needed = definitions_for(item, evaluation)
    return [
        name
        for name in item.fixturenames
        if name in needed
        and any(map(is_of_the_user, needed[name]))
        and not _builds_on(name, needed, {*ours, "anyio_backend", *_ANOTHER_EACH_TIME}, item)
    ]


def definitions_for(item: pytest.Function, evaluation: Evaluation) -> Definitions:
    """All fixtures that an item may need, those included that are asked for by name while it runs."""
    return needed_definitions(item, asks=lambda each: asked_by(each, item), also=asked_in(evaluation.function, item))


def asked_by(definition: pytest.FixtureDef[Any], item: pytest.Function) -> Sequence[str]:
    """The names of the fixtures that one asks for, also while it runs."""
    return *definition.argnames, *asked_in(inspect.unwrap(definition.func), item)


def asked_in(function: object, item: pytest.Function) -> list[str]:
    """The names of fixtures among the texts of code that asks for some by name, and among an item's parameters."""
    texts = texts_beside(_ASKS, function)
    if texts is None:
        return []
    texts += [each for each in params_of(item).values() if isinstance(each, str)]
    return [text for text in dict.fromkeys(texts) if text.isidentifier() and visible_fixtures(text, item)]


def told_by_request(item: pytest.Function) -> list[tuple[frozenset[str], str, object]]:
    """What code may look at of an item: by which attributes it does, what to call it, what it is."""
    marks: dict[str, list[object]] = {}
    for mark in item.iter_markers():
        if mark.name not in _HOW_IT_IS_RUN:
            marks.setdefault(mark.name, []).append((mark.args, mark.kwargs))
    told: list[tuple[frozenset[str], str, object]] = [(_LOOKS_AT_MODULE, "the module", item.module)]
    return told + [(_LOOKS_AT_MARKS, f"the mark '{name}'", values) for name, values in marks.items()]


def assertions_of(config: pytest.Config) -> str:
    """How pytest runs assertions, as a part of what results depend on."""
    mode = str(config.getoption("assertmode", "rewrite"))
    has_hook = mode == "rewrite" and bool(config.getini("enable_assertion_pass_hook"))
    return f"={mode}{' with a hook for those that pass' if has_hook else ''}"


def place_of(path: Path, rootdir: Path) -> str:
    """Where a file is in its repository, or, where it is in none, in what pytest takes for the project.

    Args:
        path: The file.
        rootdir: The project.
    """
    root = _repository_of(path.parent) or rootdir
    return (path.relative_to(root) if path.is_relative_to(root) else Path(path.name)).as_posix()


@functools.cache
def _repository_of(directory: Path) -> Path | None:
    return next(
        (each for each in (directory, *directory.parents) if any((each / name).exists() for name in _OF_A_REPOSITORY)),
        None,
    )


def is_of_the_user(definition: pytest.FixtureDef[Any]) -> bool:
    """Whether a fixture is no installed package's, nor ours; what is no function, such as a partial, is the user's."""
    if str(getattr(definition.func, "__module__", "")).startswith("doteval."):  # also a partial, for another event loop
        return False
    code = getattr(inspect.unwrap(definition.func), "__code__", None)
    return code is None or not is_library_file(code.co_filename)


def _is_plain(function: object) -> bool:
    """Whether a fixture neither yields, nor needs an event loop."""
    others = inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction
    return not any(is_such(function) for is_such in others)


def _builds_on(name: str, needed: Definitions, others: set[str], item: pytest.Function) -> bool:
    """Whether a fixture needs one of others, or one that manages something, or that only an event loop can set up."""
    seen: set[str] = set()
    names = [name]
    while names:
        each = names.pop()
        if each in others:
            return True
        if each in seen:
            continue
        seen.add(each)
        for definition in needed.get(each, ()):
            function = inspect.unwrap(definition.func)
            if not _is_plain(function):
                return True
            names += asked_by(definition, item)
    return False

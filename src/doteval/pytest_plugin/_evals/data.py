"""Fixtures that give data: what results depend on, and known without any event loop.

A fixture that returns gives data. One that yields manages something, such as a server whose port is another each time,
so what it gives says nothing; nor does what is made of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

import pytest

from ...evals._identity.library import is_library_file
from .._fixturedefs import Definitions, needed_definitions

_ANOTHER_EACH_TIME = {"tmp_path", "tmp_path_factory", "tmpdir", "tmpdir_factory"}
"""Fixtures of pytest that give another path in each run; so does what is made of them."""


def data_fixtures(item: pytest.Function, ours: Collection[str]) -> list[str]:
    """The names of the user's own fixtures that give data, which is looked at before anything else is set up.

    Args:
        item: Whose fixtures.
        ours: The names of the fixtures that may lease something; what builds on these is none.
    """
    needed = needed_definitions(item)
    return [
        name
        for name in item.fixturenames
        if name in needed
        and any(map(is_of_the_user, needed[name]))
        and not _builds_on(name, needed, {*ours, "anyio_backend", *_ANOTHER_EACH_TIME})
    ]


def is_of_the_user(definition: pytest.FixtureDef[Any]) -> bool:
    """Whether a fixture is no installed package's; what is no function, such as a partial, is the user's."""
    code = getattr(inspect.unwrap(definition.func), "__code__", None)
    return code is None or not is_library_file(code.co_filename)


def _is_plain(function: object) -> bool:
    """Whether a fixture neither yields, nor needs an event loop."""
    others = inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction
    return not any(is_such(function) for is_such in others)


def _builds_on(name: str, needed: Definitions, others: set[str]) -> bool:
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
            names += definition.argnames
    return False

"""Fixtures that give data: what results depend on, and known without any event loop."""

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
    """The names of the user's own fixtures that can be set up before it is known whether anything has to be run.

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


def _builds_on(name: str, needed: Definitions, others: set[str]) -> bool:
    """Whether a fixture needs one of others, or one that only an event loop can set up."""
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
            if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
                return True
            names += definition.argnames
    return False

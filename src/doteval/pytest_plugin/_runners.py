"""Who runs a test, and in which event loop: anyio's plugin, pytest-asyncio or pytest-trio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import isasyncgenfunction, iscoroutinefunction, signature
from typing import Any, Literal

import pytest

from ._fixturedefs import asked_names, parametrised_names, scope_named
from ._options import ScopeName

Runner = Literal["asyncio", "trio"]
"""A neighbour that runs async tests: pytest-asyncio or pytest-trio."""


def neighbour_for(config: pytest.Config, function: object, marks: Iterable[pytest.Mark]) -> Runner | None:
    """Which neighbour runs a test, if it is there, and if neither a mark nor an argument asks for anyio.

    Args:
        config: The run's configuration.
        function: The test function.
        marks: All marks of the test.
    """
    known = list(marks)
    names = {mark.name for mark in known}
    if "anyio" in names or setting(config, "anyio_mode") == "auto" or _asks_for_backend(function, known):
        return None
    return marked_runner(config, names)


def _asks_for_backend(function: Any, marks: Iterable[pytest.Mark]) -> bool:
    """Whether the test names anyio's fixture by itself, or chooses its backend with a mark."""
    return "anyio_backend" in signature(function).parameters or any(
        "anyio_backend" in (mark.args if mark.name == "usefixtures" else parametrised_names(mark))
        for mark in marks
        if mark.name in ("usefixtures", "parametrize")
    )


def marked_runner(config: pytest.Config, marks: Iterable[str]) -> Runner | None:
    """Which neighbour takes a test with these marks, if it is there."""
    names = set(marks)
    mode, is_trio_there = asyncio_mode(config), setting(config, "trio_mode") is not None
    if mode is not None and "asyncio" in names:
        return "asyncio"
    if is_trio_there and ("trio" in names or bool(setting(config, "trio_mode"))):
        return "trio"
    return "asyncio" if mode == "auto" else None


def runner_of(test: pytest.Item) -> Runner | None:
    """Which neighbour runs a test that is collected; `None` for anyio's plugin."""
    return None if is_anyios(test) else marked_runner(test.config, {mark.name for mark in test.iter_markers()})


def is_anyios(test: pytest.Item) -> bool:
    """Whether it runs in anyio's event loop."""
    return "anyio_backend" in asked_names(test)


def is_async(function: object) -> bool:
    """Whether it is run in an event loop; hypothesis wraps the function that is."""
    inner: object = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return iscoroutinefunction(inner) or isasyncgenfunction(inner)


def loop_scope(test: pytest.Item, runner: Runner) -> ScopeName:
    """How long the event loop lives that a neighbour's test runs in."""
    mark = test.get_closest_marker(runner)
    asked: Mapping[str, Any] = {} if mark is None or runner == "trio" else mark.kwargs
    default = setting(test.config, "asyncio_default_test_loop_scope") if runner == "asyncio" else None
    return scope_named(asked.get("loop_scope") or asked.get("scope") or default) or "function"


def is_asyncios(definition: pytest.FixtureDef[Any], config: pytest.Config) -> bool:
    """Whether pytest-asyncio has a fixture live in an event loop of its own."""
    if getattr(definition.func, "_force_asyncio_fixture", False):
        return True
    return asyncio_mode(config) == "auto" and is_async(definition.func)


def is_trios(definition: pytest.FixtureDef[Any]) -> bool:
    """Whether only pytest-trio knows what to do with a fixture."""
    function: Any = definition.func
    module: str = getattr(function, "__module__", None) or ""
    return getattr(function, "_force_trio_fixture", False) or module.partition(".")[0] == "pytest_trio"


def fixture_loop_scope(definition: pytest.FixtureDef[Any], config: pytest.Config) -> ScopeName:
    """How long the event loop of pytest-asyncio lives that a fixture runs in."""
    asked = getattr(definition.func, "_loop_scope", None) or setting(config, "asyncio_default_fixture_loop_scope")
    return scope_named(asked) or scope_named(definition.scope) or "function"


def asyncio_mode(config: pytest.Config) -> object:
    """The mode of pytest-asyncio, or `None` where it is not there."""
    return setting(config, "asyncio_mode")


def setting(config: pytest.Config, name: str) -> object:
    """The value of another plugin's setting, or `None` where the plugin is not there."""
    value: object = getattr(config.option, name, None)
    if value is None:
        try:
            value = config.getini(name)
        except (ValueError, KeyError):
            return None
    return value


def without_anyio(config: pytest.Config) -> str:
    """What to do where a test needs anyio's plugin, which is not loaded."""
    is_blocked = config.pluginmanager.is_blocked("anyio")
    why = "because of '-p no:anyio'" if is_blocked else "as plugins are not loaded by themselves here"
    how = "Leave '-p no:anyio' away, also in addopts" if is_blocked else "Name it, too: -p anyio -p doteval"
    others = {"asyncio": asyncio_mode(config), "trio": setting(config, "trio_mode")}
    marks = [f"@pytest.mark.{name}" for name, mode in others.items() if mode is not None]
    instead = f", or mark the test with {' or '.join(marks)}, so that another plugin runs it" if marks else ""
    problem = "anyio's pytest plugin, in whose event loop this runs, is not loaded"
    return f"{problem}, {why}. It comes with anyio.\n{how}{instead}."

"""Gets along with pytest-asyncio and pytest-trio, which also run async tests.

A test that uses our fixtures runs in anyio's event loop, as the fixtures do. Both neighbours can be told to take every
async test (``asyncio_mode = auto``, ``trio_mode = true``), and then it depends on the order of loading who gets a
fixture, while the test itself goes to the neighbour, in a loop of its own. So for the tests that use our fixtures, and
only for those:

- async fixtures are left to anyio, whatever was loaded first;
- the test function is left to anyio as well;
- a test that was meant for one neighbour, by a marker or by its mode, and not for anyio, runs on its backend only.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from inspect import iscoroutinefunction, signature
from typing import Any

import pytest

from ._fixturedefs import parametrised_names, visible_fixtures
from ._fixtures import Fixtures
from ._scopes import is_known_backend

_ABSENT = object()
_FUNCTION = pytest.StashKey[Any]()


class Neighbours:
    """The hooks.

    Args:
        fixtures: Our fixtures.
    """

    def __init__(self, fixtures: Fixtures) -> None:
        self._fixtures = fixtures

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Before pytest looks at the markers: restrict a neighbour's test to the neighbour's backend."""
        if not _are_used(self._fixtures, metafunc.fixturenames) or not iscoroutinefunction(metafunc.function):
            return
        test = metafunc.definition
        if test.get_closest_marker("anyio") is not None or _anyio_is_asked_for(metafunc):
            return
        definitions = visible_fixtures("anyio_backend", test)
        if not definitions or not is_known_backend(self._fixtures, definitions[-1]):
            return  # the user has chosen the backends
        for backend, mode_is_on in (
            ("asyncio", _asyncio_mode(metafunc.config) == "auto"),
            ("trio", _trio_mode(metafunc.config)),
        ):
            if mode_is_on or test.get_closest_marker(backend) is not None:
                scope = definitions[-1].scope
                test.add_marker(pytest.mark.parametrize("anyio_backend", [backend], indirect=True, scope=scope))
                return


class NeighbourCalls:
    """The hooks around calls, where there is a neighbour.

    Args:
        fixtures: Our fixtures.
    """

    def __init__(self, fixtures: Fixtures) -> None:
        self._fixtures = fixtures

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, request: pytest.FixtureRequest) -> Generator[None, object, object]:
        """Around all other plugins: pytest-asyncio keeps to the fixtures that are its own."""
        if not _are_used(self._fixtures, request.fixturenames):
            return (yield)
        with _asyncio_mode_set(request.config, "strict"):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Around all other plugins: keep the test function as it is before a neighbour wraps it."""
        if (
            isinstance(item, pytest.Function)
            and _are_used(self._fixtures, item.fixturenames)
            and iscoroutinefunction(item.obj)
        ):
            item.stash[_FUNCTION] = item.obj
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Give anyio the test function as it was."""
        function = pyfuncitem.stash.get(_FUNCTION, None)
        wrapped = pyfuncitem.obj
        if function is None or function is wrapped:
            return (yield)
        pyfuncitem.obj = function
        try:
            # In strict mode pytest-asyncio would warn of fixtures that are not its own.
            with _asyncio_mode_set(pyfuncitem.config, "auto"):
                return (yield)
        finally:
            pyfuncitem.obj = wrapped


def has_neighbours(config: pytest.Config) -> bool:
    """Whether pytest-asyncio or pytest-trio is there; all plugins are loaded."""
    return _asyncio_mode(config) is not None or _ini_or_option(config, "trio_mode") is not None


def _are_used(fixtures: Fixtures, fixturenames: list[str]) -> bool:
    """Whether one of our fixtures is among these."""
    return "anyio_backend" in fixturenames and not fixtures.functions.keys().isdisjoint(
        name for name in fixturenames if name != "anyio_backend"
    )


def _anyio_is_asked_for(metafunc: pytest.Metafunc) -> bool:
    """Whether the test names anyio's fixture by itself, or chooses its backend with a marker."""
    test = metafunc.definition
    return (
        "anyio_backend" in signature(metafunc.function).parameters
        or any("anyio_backend" in mark.args for mark in test.iter_markers("usefixtures"))
        or any("anyio_backend" in parametrised_names(mark) for mark in test.iter_markers("parametrize"))
        or _ini_or_option(metafunc.config, "anyio_mode") == "auto"
    )


@contextmanager
def _asyncio_mode_set(config: pytest.Config, mode: str) -> Generator[None]:
    """Change the mode of pytest-asyncio for a moment, where it is there."""
    before: object = getattr(config.option, "asyncio_mode", _ABSENT)
    if before is _ABSENT:
        yield
        return
    config.option.asyncio_mode = mode
    try:
        yield
    finally:
        config.option.asyncio_mode = before


def _asyncio_mode(config: pytest.Config) -> object:
    return _ini_or_option(config, "asyncio_mode")


def _trio_mode(config: pytest.Config) -> bool:
    return bool(_ini_or_option(config, "trio_mode"))


def _ini_or_option(config: pytest.Config, name: str) -> object:
    """The value of another plugin's setting, or `None` where the plugin is not there."""
    value: object = getattr(config.option, name, None)
    if value is None:
        try:
            value = config.getini(name)
        except (ValueError, KeyError):
            return None
    return value

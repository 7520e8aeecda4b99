"""Gets along with pytest-asyncio and pytest-trio, which also run async tests.

A test that one of them runs stays with it, and our fixtures come to its event loop (`_other_loops`). A test that is
marked for anyio, or for nobody, runs in anyio's event loop, and so do its fixtures. Both neighbours can be told to take
every async test (``asyncio_mode = auto``, ``trio_mode = true``), and then it depends on the order of loading who gets a
fixture, while the test itself goes to the neighbour. So for the tests that use our fixtures and are anyio's, and only
for those:

- async fixtures are left to anyio, whatever was loaded first;
- the test function is left to anyio as well;
- a fixture that lives in the neighbour's loop, or means something to the neighbour only, is refused: used in another
  loop, it fails somewhere else, or hangs.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from inspect import isasyncgenfunction, iscoroutinefunction, signature
from typing import Any

import pytest

from ._fixturedefs import needed_definitions, parametrised_names, scope_named, test_of, visible_fixtures
from ._fixtures import HELD, Fixtures
from ._options import ScopeName
from ._other_loops import OtherLoops, Runner
from ._scopes import is_known_backend

_ABSENT = object()
_FUNCTION = pytest.StashKey[Any]()
_USES_OURS = pytest.StashKey[bool]()


class Neighbours:
    """The hooks.

    Args:
        fixtures: Our fixtures.
        loops: Our fixtures in the neighbours' event loops.
    """

    def __init__(self, fixtures: Fixtures, loops: OtherLoops) -> None:
        self._fixtures = fixtures
        self._loops = loops

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Before pytest looks at the markers: have our fixtures come to the loop of a neighbour's test."""
        test = metafunc.definition
        if not _is_async(metafunc.function) or not _uses_ours(test):
            return
        if test.get_closest_marker("anyio") is not None or _anyio_is_asked_for(metafunc):
            return
        runner = _runner_of(test)
        if runner is None or self._loops.move(metafunc, runner, _loop_scope(test, runner)):
            return
        # A fixture of the user's own wants anyio's event loop, so it is run there, on the backend that was meant.
        definitions = visible_fixtures("anyio_backend", test)
        if definitions and is_known_backend(self._fixtures, definitions[-1]):
            scope = definitions[-1].scope
            test.add_marker(pytest.mark.parametrize("anyio_backend", [runner], indirect=True, scope=scope))


class NeighbourCalls:
    """The hooks around calls, where there is a neighbour."""

    def __init__(self) -> None:
        self._is_in_anyios: dict[pytest.FixtureDef[Any], bool] = {}
        """Of the async fixtures that are set up, whether they live in anyio's event loop."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Around all other plugins."""
        with _no_event_loop_of_anyio(item):
            return (yield)

    @pytest.hookimpl(specname="pytest_runtest_setup", tryfirst=True)
    def pytest_runtest_setup_refused(self, item: pytest.Item) -> None:
        """Refuse what cannot be used in the event loop of a test that uses our fixtures."""
        if not isinstance(item, pytest.Function) or not item.fixturenames or not _uses_ours(item):
            return  # nothing is set up for an evaluation that is answered from the store
        is_anyios = _is_anyios(item)
        for name, definitions in needed_definitions(item).items():
            for definition in definitions[-1:]:
                if self._is_in_anyios.get(definition, is_anyios) is not is_anyios:
                    pytest.fail(_made_elsewhere(name, is_anyios=is_anyios), pytrace=False)
                if is_anyios and (advice := _advice_against(name, definition.func)):
                    pytest.fail(advice, pytrace=False)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Around all other plugins: pytest-asyncio keeps to the fixtures that are its own."""
        test = test_of(request)
        if _is_async(fixturedef.func):
            self._is_in_anyios[fixturedef] = _is_anyios(test)
        if not _is_anyios(test) or not _uses_ours(test):
            return (yield)
        with _asyncio_mode_set(request.config, "strict"):
            return (yield)

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Forget those that are gone."""
        self._is_in_anyios.pop(fixturedef, None)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Around all other plugins: keep the test function as it is before a neighbour wraps it."""
        if (
            isinstance(item, pytest.Function)
            and iscoroutinefunction(item.obj)
            and _is_anyios(item)
            and _uses_ours(item)
        ):
            item.stash[_FUNCTION] = item.obj
        with _no_event_loop_of_anyio(item):
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


def _is_async(function: object) -> bool:
    """Whether it is run in an event loop; hypothesis wraps the function that is."""
    inner: object = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return iscoroutinefunction(inner) or isasyncgenfunction(inner)


def _runner_of(test: pytest.Item) -> Runner | None:
    """Which neighbour a test is for, if it is there."""
    config = test.config
    asyncio_mode, is_trio_there = _asyncio_mode(config), _ini_or_option(config, "trio_mode") is not None
    if asyncio_mode is not None and test.get_closest_marker("asyncio") is not None:
        return "asyncio"
    if is_trio_there and (test.get_closest_marker("trio") is not None or _trio_mode(config)):
        return "trio"
    return "asyncio" if asyncio_mode == "auto" else None


def _loop_scope(test: pytest.Item, runner: Runner) -> ScopeName:
    """How long the event loop lives that a neighbour's test runs in."""
    mark = test.get_closest_marker(runner)
    asked: Mapping[str, Any] = {} if mark is None or runner == "trio" else mark.kwargs
    default = _ini_or_option(test.config, "asyncio_default_test_loop_scope") if runner == "asyncio" else None
    return scope_named(asked.get("loop_scope") or asked.get("scope") or default) or "function"


def _made_elsewhere(name: str, *, is_anyios: bool) -> str:
    """Why a test cannot have a fixture that is there already, and what to do."""
    here, there = ("anyio's", "pytest-asyncio's") if is_anyios else ("pytest-asyncio's", "anyio's")
    return (
        f"The test runs in {here} event loop, and the fixture {name!r} was made in {there}, for a test before it. Have "
        "both tests run by one of the two: mark both with @pytest.mark.asyncio, or both with @pytest.mark.anyio. Or "
        "give the fixture function scope."
    )


def _advice_against(name: str, function: object) -> str | None:
    """Why a test in anyio's event loop cannot have a fixture, and what to do; nothing where it can."""
    if getattr(function, "_force_asyncio_fixture", False):
        return (
            f"The test runs in anyio's event loop, and the fixture {name!r} lives in one of pytest-asyncio's. Mark the "
            "test with @pytest.mark.asyncio, and not for anyio: then the fixtures of doteval come to that loop, too. "
            "Or make the fixture with @pytest.fixture, for tests in anyio's event loop only."
        )
    module: str = getattr(function, "__module__", None) or ""
    if getattr(function, "_force_trio_fixture", False) or module.partition(".")[0] == "pytest_trio":
        return (
            f"The test runs in anyio's event loop, and the fixture {name!r} is for tests that pytest-trio runs. Mark "
            "the test with @pytest.mark.trio, and not for anyio: then the fixtures of doteval come to its loop."
        )
    return None


def _uses_ours(test: pytest.Item) -> bool:
    """Whether a test uses fixtures of ours."""
    if not isinstance(test, pytest.Function):
        return False
    if _USES_OURS not in test.stash:
        test.stash[_USES_OURS] = HELD in needed_definitions(test)
    return test.stash[_USES_OURS]


def _is_anyios(test: pytest.Item) -> bool:
    """Whether it runs in anyio's event loop."""
    return "anyio_backend" in getattr(test, "fixturenames", ())


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
def _no_event_loop_of_anyio(item: pytest.Item) -> Generator[None]:
    """Have anyio look for itself in which event loop it is, where that is not one of its own.

    As long as its plugin keeps one open, for tests before and after this one, anyio takes every other for that.
    """
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is None or _is_anyios(item):
        yield
        return
    token = sniffio.current_async_library_cvar.set(None)
    try:
        yield
    finally:
        sniffio.current_async_library_cvar.reset(token)


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

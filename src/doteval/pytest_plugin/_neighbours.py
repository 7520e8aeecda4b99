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
from collections.abc import Generator
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import Any

import pytest

from ._evals.items import evaluation_of
from ._fixturedefs import needed_definitions, test_of, visible_fixtures
from ._fixtures import HELD, Fixtures
from ._other_loops import OtherLoops
from ._runners import asyncio_mode, is_anyios, is_async, loop_scope, neighbour_for, runner_of, setting
from ._scopes import is_known_backend
from ._unfit import advice_against, made_elsewhere, taken_twice, wrong_backend

_ABSENT = object()
_FUNCTION = pytest.StashKey[Any]()
_CONCERNS_US = pytest.StashKey[bool]()


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
        if not _concerns_us(test):
            return
        runner = neighbour_for(test.config, metafunc.function, test.iter_markers())
        if runner == "trio" and not (is_async(metafunc.function) or evaluation_of(test) is not None):
            return  # pytest-trio has no fixtures for a test that is not async
        if runner is None or self._loops.move(test, runner, loop_scope(test, runner)):
            return
        # A fixture of the user's own wants anyio's event loop, so it is run there, on the backend that was meant.
        definitions = visible_fixtures("anyio_backend", test)
        if definitions and is_known_backend(self._fixtures, definitions[-1]):
            scope = definitions[-1].scope
            test.add_marker(pytest.mark.parametrize("anyio_backend", [runner], indirect=True, scope=scope))


class NeighbourCalls:
    """The hooks around calls, where there is a neighbour.

    Args:
        loops: Our fixtures in the neighbours' event loops.
        eval_backend: The name of the event loop of all evaluations; nothing where the user has not chosen.
    """

    def __init__(self, loops: OtherLoops, eval_backend: str) -> None:
        self._loops = loops
        self._eval_backend = eval_backend
        self._is_in_anyios: dict[pytest.FixtureDef[Any], bool] = {}
        """Of the async fixtures that are set up, whether they live in anyio's event loop."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """A mark that a hook has added to a collected test may choose another loop of pytest-asyncio."""
        for item in session.items:
            if not isinstance(item, pytest.Function) or not is_async(item.obj):
                continue
            if runner_of(item) == "asyncio" and _concerns_us(item):
                self._loops.move(item, "asyncio", loop_scope(item, "asyncio"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Around all other plugins."""
        __tracebackhide__ = True
        with _no_event_loop_of_anyio(item):
            return (yield)

    @pytest.hookimpl(specname="pytest_runtest_setup", tryfirst=True)
    def pytest_runtest_setup_refused(self, item: pytest.Item) -> None:
        """Refuse what cannot be used in the event loop of a test that uses our fixtures."""
        if not isinstance(item, pytest.Function) or not item.fixturenames or not _concerns_us(item):
            return  # nothing is set up for an evaluation that is answered from the store
        if (advice := taken_twice(item) or wrong_backend(item, self._eval_backend)) is not None:
            pytest.fail(advice, pytrace=False)
        for name, definitions in needed_definitions(item).items():
            for definition in definitions[-1:]:
                if advice := advice_against(item, name, definition):
                    pytest.fail(advice, pytrace=False)
                if self._is_in_anyios.get(definition, is_anyios(item)) is not is_anyios(item):
                    pytest.fail(made_elsewhere(item, name), pytrace=False)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Around all other plugins: pytest-asyncio keeps to the fixtures that are its own."""
        __tracebackhide__ = True
        test = test_of(request)
        if is_async(fixturedef.func):
            self._is_in_anyios[fixturedef] = is_anyios(test)
        if runner_of(test) == "asyncio" or not _concerns_us(test):
            return (yield)
        with _asyncio_mode_set(request.config, "strict"):
            return (yield)

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Forget those that are gone."""
        self._is_in_anyios.pop(fixturedef, None)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Around all other plugins: keep the test function as it is before a neighbour wraps it."""
        __tracebackhide__ = True
        if (
            isinstance(item, pytest.Function)
            and iscoroutinefunction(item.obj)
            and is_anyios(item)
            and _concerns_us(item)
        ):
            item.stash[_FUNCTION] = item.obj
        with _no_event_loop_of_anyio(item):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """Give anyio the test function as it was."""
        __tracebackhide__ = True
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
    return asyncio_mode(config) is not None or setting(config, "trio_mode") is not None


def _concerns_us(test: pytest.Item) -> bool:
    """Whether a test uses fixtures of ours, or is an evaluation."""
    if not isinstance(test, pytest.Function):
        return False
    if _CONCERNS_US not in test.stash:
        test.stash[_CONCERNS_US] = evaluation_of(test) is not None or HELD in needed_definitions(test)
    return test.stash[_CONCERNS_US]


@contextmanager
def _no_event_loop_of_anyio(item: pytest.Item) -> Generator[None]:
    """Have anyio look for itself in which event loop it is, where that is not one of its own.

    As long as its plugin keeps one open, for tests before and after this one, anyio takes every other for that.
    """
    __tracebackhide__ = True
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is None or is_anyios(item):
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
    __tracebackhide__ = True
    before: object = getattr(config.option, "asyncio_mode", _ABSENT)
    if before is _ABSENT:
        yield
        return
    config.option.asyncio_mode = mode
    try:
        yield
    finally:
        config.option.asyncio_mode = before

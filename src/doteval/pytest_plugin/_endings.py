"""Ends the providers of one event loop before the tests of the next one begin.

When the parameter of `anyio_backend` changes, pytest finalises what depended on the old value while it sets up the next
test. A model that then fails to close would fail that test, which has nothing to do with it. So this finalises the
providers earlier, in the teardown of the last test before the change.

The same goes for a test that pytest-trio runs: trio can only be run once at a time, and anyio's plugin keeps it running
as long as a fixture of a module lives in it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from ._fixturedefs import asked_names, definition_of, finish


class Endings:
    """The hooks.

    Args:
        manager: Where they are registered.
    """

    def __init__(self, manager: pytest.PytestPluginManager) -> None:
        self._manager = manager
        self._live: dict[pytest.FixtureDef[Any], tuple[Any, object]] = {}
        """The requests and event loops of the fixtures that hold providers."""

    def remember(self, request: pytest.FixtureRequest, backend: object) -> None:
        """A fixture is going to hold providers; from the first one on, the hooks take part."""
        self._live[definition_of(request)] = request, backend
        if not self._manager.is_registered(self):
            self._manager.register(self, "doteval-endings")

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Forget those that are gone."""
        self._live.pop(fixturedef, None)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """After the test's own teardown: is the next test for another event loop?"""
        __tracebackhide__ = True
        try:
            return (yield)
        finally:
            if self._live and nextitem is not None:
                self._end(item, nextitem)

    def _end(self, item: pytest.Item, nextitem: pytest.Item) -> None:
        coming, is_anyios = chosen_backend(nextitem), "anyio_backend" in asked_names(nextitem)
        is_trios = not is_anyios and nextitem.get_closest_marker("trio") is not None
        for fixturedef, (request, backend) in list(self._live.items()):
            if is_anyios:
                is_over = coming != (chosen_backend(item) if coming is None else backend)
            else:
                is_over = is_trios and "trio" in (backend if isinstance(backend, tuple) else [backend])
            if is_over:
                finish(fixturedef, request)


def chosen_backend(item: pytest.Item | None) -> object:
    """The value of `anyio_backend` that a test is parametrised with; `None` where only the fixture knows."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("anyio_backend")

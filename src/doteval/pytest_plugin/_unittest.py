"""Tells a test of `unittest` that uses our fixtures how it gets a model: it runs in no event loop of pytest's."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from ._fixturedefs import needed_definitions
from ._fixtures import HELD, Fixtures

_ADVICE = pytest.StashKey[str]()
_SYNC = "setUp: self.providers = self.enterContext(doteval.blocking.entered(ModelProviders()))"
_ASYNC = "asyncSetUp: self.providers = await self.enterAsyncContext(ModelProviders())"
"""How a test case enters providers."""


class Unittest:
    """The hook that looks whether there is such a test.

    Args:
        config: The run's configuration.
        fixtures: Our fixtures.
    """

    def __init__(self, config: pytest.Config, fixtures: Fixtures) -> None:
        self._manager = config.pluginmanager
        self._fixtures = fixtures
        self._refusals = _Refusals()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """All tests are collected; most suites have none of these."""
        unittest: Any = sys.modules.get("unittest")
        if unittest is None:
            return
        refused = False
        for item in session.items:
            case = item.parent.obj if isinstance(item.parent, pytest.Class) else None
            if isinstance(item, pytest.Function) and isinstance(case, type) and issubclass(case, unittest.TestCase):
                asked = self._asked(item)
                if asked is not None:
                    refused = True
                    how = _ASYNC if issubclass(case, unittest.IsolatedAsyncioTestCase) else _SYNC
                    item.stash[_ADVICE] = (
                        f"A test of unittest cannot have the fixture {asked}: it runs in no event loop of pytest's.\n"
                        f"Have the test case enter the providers itself, in {how}"
                    )
        if refused and not self._manager.is_registered(self._refusals):
            self._manager.register(self._refusals)

    def _asked(self, test: pytest.Function) -> str | None:
        """The fixture of ours that a test needs and cannot have; it can where the event loop is not parametrised."""
        needed = needed_definitions(test)
        backend = needed.get("anyio_backend")
        if HELD not in needed or not backend or backend[-1].params is None:
            return None
        ours = {name for name in needed if name in self._fixtures.functions}
        return min(ours - {each for name in ours for each in needed[name][-1].argnames})


class _Refusals:
    """Registered where there is one."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before pytest says that the test supports no fixtures at all."""
        if (advice := item.stash.get(_ADVICE, None)) is not None:
            pytest.fail(advice, pytrace=False)

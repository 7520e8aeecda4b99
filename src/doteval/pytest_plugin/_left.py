"""``--doteval-model-leaks``: a test that leaves a lease behind is told so.

What a fixture leases is its own to give back some time later. So only what was leased while the test itself ran counts,
and is still held when all of the test is torn down, or was dropped, or has ended with its provider.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from .._pool.leaks import DROPPED, account_of_setup, recording

if TYPE_CHECKING:
    from .._pool.records import Lease

_LEFT = pytest.StashKey[list["Lease"]]()


class ModelLeakWarning(pytest.PytestWarning):
    """A test has left a lease behind."""


ModelLeakWarning.__module__ = "doteval.pytest_plugin"


class Left:
    """The hooks, and the fixture that looks: it is set up before all others of a test, and so finished after them.

    Args:
        fails: Whether it fails the test, and does not only warn.
    """

    def __init__(self, *, fails: bool) -> None:
        self._fails = fails
        recording.is_on = True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """What is leased from here on is the test's."""
        recording.begin()
        try:
            return (yield)
        finally:
            item.stash[_LEFT] = recording.held()

    @pytest.fixture(autouse=True, name="_doteval_left")
    def left(self, request: pytest.FixtureRequest) -> Generator[None]:
        """Tell what the test has left behind."""
        yield
        left = [lease for lease in request.node.stash.get(_LEFT, ()) if lease.ended in ("", DROPPED, _WITH_PROVIDER)]
        if left:
            told = [f"'{lease.entry.want.label}': {account_of_setup(lease)}" for lease in left]
            text = "\n".join(["The test has left what it leased without 'await handle.teardown()':", *told])
            if self._fails:
                pytest.fail(text, pytrace=False)
            request.node.warn(ModelLeakWarning(text))

    def pytest_unconfigure(self) -> None:
        """Nobody asks any more."""
        recording.is_on = False


_WITH_PROVIDER = "the provider was closed"

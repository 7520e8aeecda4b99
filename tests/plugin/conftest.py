"""Shared by the tests of the pytest plugin."""

from __future__ import annotations

import pytest
from tests.forks import Forks
from tests.plugin.runs import Runs


@pytest.fixture
def runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, forks: Forks) -> Runs:
    """Starts pytest in a process of its own, with a registered provider called ``echo``."""
    return Runs(pytester, monkeypatch, forks)

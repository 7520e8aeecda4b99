"""Shared by the tests of the pytest plugin."""

from __future__ import annotations

import contextlib
import importlib

import pytest
from tests.forks import Forks
from tests.plugin.runs import Runs


@pytest.fixture
def runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, forks: Forks) -> Runs:
    """Starts pytest in a process of its own, with a registered provider called ``echo``."""
    return Runs(pytester, monkeypatch, forks)


@pytest.fixture(scope="session", autouse=True)
def sdks() -> None:
    """Imported once: each run in this process would import them, for a second, and forget them at its end."""
    for name in ("anthropic", "ollama", "openai"):
        with contextlib.suppress(ImportError):
            importlib.import_module(f"doteval.providers.{name}")

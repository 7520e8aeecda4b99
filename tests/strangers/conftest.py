"""What the strangers share. ``nox -s strangers`` runs them, with the frameworks that they are written in.

The ordinary run does not see them: their files are not called ``test_*.py``, so pytest takes them only where they are
named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.forks import Forks
from tests.llmock_server import LLMock, running_llmock

APPS = Path(__file__).with_name("apps")

SYMPTOMS = (
    "Traceback",
    "ResourceWarning: doteval",
    "never awaited",
    "Event loop is closed",
    "different task",
    "leaked",
)


@pytest.fixture(scope="session")
def server(forks: Forks) -> Iterator[LLMock]:
    with running_llmock(forks, LLMOCK_RESPONSE_STYLE="echo") as server:
        yield server


@pytest.fixture
def llmock(server: LLMock) -> Iterator[LLMock]:
    """The model server that the strangers talk to. It says what it is told."""
    server.reset()
    yield server
    server.reset()


@pytest.fixture
def environment(llmock: LLMock) -> dict[str, str]:
    """Of a program whose SDK talks to the model server."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return {
        **inherited,
        "OPENAI_API_KEY": "not-a-key",
        "OPENAI_BASE_URL": llmock.base_url("openai"),
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": str(APPS),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "always::ResourceWarning",
    }

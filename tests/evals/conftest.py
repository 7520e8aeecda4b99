"""What the tests of evaluations share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.evals.browser import Browser, chromium


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Without uvloop, whose tasks are asyncio's: evaluations know tasks and threads, no sockets."""
    return request.param


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all who only look: it takes a second to start."""
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser

"""What the tests of evaluations share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Without uvloop, whose tasks are asyncio's: evaluations know tasks and threads, no sockets."""
    return request.param

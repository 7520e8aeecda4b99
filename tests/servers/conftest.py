"""What the tests of servers share: a runtime directory of their own, in which nothing may be left."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.leftovers import kill_all, leftovers

from doteval.servers._runtime import Runtime


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """A runtime directory with a short path; at the end no process, socket, directory, ticket or lock is left in it."""
    root = Path(tempfile.mkdtemp(prefix="dt-", dir="/tmp"))
    yield Runtime(root)
    left = leftovers(root)
    if left:
        kill_all(root)
    shutil.rmtree(root, ignore_errors=True)
    assert not left, f"servers left behind: {left}"

"""What the tests of real servers share. ``nox -s real_models`` and ``nox -s real_vllm`` run them.

The ordinary run does not see them: their files are not called ``test_*.py``, so pytest takes them only where they are
named. They need servers in environments of their own, and models; where those are, these variables say:

- ``DOTEVAL_TEST_MODELS``: the directory that ``make_models.py`` filled,
- ``DOTEVAL_TEST_TRANSFORMERS``, ``DOTEVAL_TEST_LLAMACPP`` and ``DOTEVAL_TEST_VLLM``: the Python of the environment with
  ``transformers[serving]``, ``llama-cpp-python[server]`` and vLLM,
- ``DOTEVAL_TEST_LLAMA_SERVER``: a ``llama-server``; without it its tests are skipped.

Servers are kept warm between the tests, which share them as tests of users do. In the end nothing of them may be left.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.servers.leftovers import kill_all, leftovers

from doteval.servers._local.connection import visit
from doteval.servers._local.runtime import Runtime
from doteval.servers._supervisor.messages import Ask


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Both backends; uvloop makes no difference to a server."""
    return request.param


@pytest.fixture(autouse=True)
def leak_guard() -> None:
    """Supervisors outlive tests here, as they are meant to; `runtime` looks at the end."""


@pytest.fixture(scope="session", autouse=True)
def runtime() -> Iterator[Runtime]:
    """A runtime directory of this run's own; at the end its servers are stopped, and nothing of them may be left."""
    root = Path(tempfile.mkdtemp(prefix="dt-", dir="/tmp"))
    runtime = Runtime(root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("DOTEVAL_RUNTIME_DIR", str(root))
        yield runtime
    anyio.run(stop_all, runtime)
    left = leftovers(root)
    if left:
        kill_all(root)
    shutil.rmtree(root, ignore_errors=True)
    assert not left, f"servers left behind: {left}"


async def stop_all(runtime: Runtime) -> None:
    for path in runtime.root.glob("*.sock"):
        connection = runtime.connect(path.stem)
        if connection is not None:
            await visit(connection, Ask.stop("the tests are over"))

"""What the tests of servers share: a runtime directory of their own, in which nothing may be left."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import BACKENDS
from tests.forks import Forks
from tests.servers.callers import Supervisors
from tests.servers.leftovers import await_end, kill_all, leftovers
from tests.servers.lights import StartPlayer, players
from tests.servers.supervisor_forks import CLONE, SupervisorForks

from doteval.servers._local import supervisors as starting
from doteval.servers._local.runtime import Runtime
from doteval.servers._local.supervisors import reap

_HERE = Path(__file__).parent


@pytest.fixture(scope="module", params=[BACKENDS["asyncio"], BACKENDS["trio"]], ids=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """What becomes of servers is the same on uvloop; modules in which the loop matters run on every one."""
    return request.param


@pytest.hookimpl(trylast=True)  # after the tests are marked
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever may start a process has the one that forks, before it is looked who leaves any behind."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent == _HERE and item.get_closest_marker("process"):
            item.fixturenames.insert(0, "forked_supervisors")


@pytest.fixture(scope="session")
def forked_supervisors() -> Iterator[None]:
    """Supervisors are forked, where the system has what that takes."""
    if CLONE is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        forks = SupervisorForks(str(starting._SUPERVISOR))
        patch.setattr(starting, "subprocess", forks)
        yield
        forks.close()


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


@pytest.fixture
def supervisors(runtime: Runtime) -> Iterator[Supervisors]:
    """Starts supervisors; their connections are closed at the end."""
    supervisors = Supervisors(runtime)
    yield supervisors
    supervisors.close()
    for caller in supervisors.callers:
        if caller.keeper:
            await_end(caller.keeper)
    reap()


@pytest.fixture
def player(forks: Forks) -> StartPlayer:
    """Starts another process with a provider of its own."""
    return players(forks)

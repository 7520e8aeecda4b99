"""The blocking face at the end of the interpreter, and in processes that were forked while a block was open."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.forks import Forks

PROVIDER = """
import os, sys, threading
from contextlib import ExitStack, asynccontextmanager
from anyio import sleep_forever
from anyio.lowlevel import checkpoint
from doteval import ForkedProcessError, PooledProvider, ProviderClosedError
from doteval.blocking import entered

class Telling(PooledProvider):
    @asynccontextmanager
    async def open(self, spec, /):
        print("opened", flush=True)
        try:
            yield spec
        finally:
            await checkpoint()
            print("closed", flush=True)

BACKEND = {backend!r}
stack = ExitStack()
"""
BACKENDS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}
each_backend = pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)


def with_backends(names: Iterable[str]) -> pytest.MarkDecorator:
    """The first of them on each backend, the others, which differ in what other threads do, on one."""
    first, *others = names
    pairs = [(first, backend) for backend in BACKENDS] + [(name, "asyncio") for name in others]
    return pytest.mark.parametrize(("name", "backend"), [(n, BACKENDS[b]) for n, b in pairs], ids=map("-".join, pairs))


@pytest.fixture
def run(forks: Forks, tmp_path: Path) -> Any:
    """Runs a program; what it prints, line by line. It has to end well, and to say nothing else."""

    def run(program: str, backend: dict[str, Any]) -> list[str]:
        file = tmp_path / "program.py"
        file.write_text(PROVIDER.format(backend=backend) + program, "utf-8")
        done = forks.run(str(file), env={"PYTHONWARNINGS": "error"}, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


ENDINGS = {
    "at its end": "",
    "by sys.exit": "sys.exit()",
    "inside a block": """
with entered(Telling(), **BACKEND) as other, other.setup("b"):
    sys.exit()
""",
    "while a thread waits": """
def wait():
    try:
        handle.call(lambda _: sleep_forever())
    except ProviderClosedError:
        print("told", flush=True)
threading.Thread(target=wait, daemon=True).start()
""",
    "while a thread works that is waited for": """
from concurrent.futures import ThreadPoolExecutor
going = threading.Event()
def work():
    going.set()
    threading.main_thread().join(0.05)
    with provider.setup("a") as again:
        print("used", again.call(lambda spec: checkpoint()), flush=True)
executor = ThreadPoolExecutor(1)
executor.submit(work)
going.wait()
""",
    "with a generator that is never ended": """
def lending():
    with entered(Telling(), **BACKEND) as other, other.setup("b") as lent:
        yield lent
kept = lending()
next(kept)
""",
}


@with_backends(ENDINGS)
def test_a_block_that_is_never_left_is_closed_when_the_program_ends(run: Any, name: str, backend: Any) -> None:
    """After the threads that Python waits for; then it exits."""
    printed = run(
        """
provider = stack.enter_context(entered(Telling(), **BACKEND))
handle = stack.enter_context(provider.setup("a"))
"""
        + ENDINGS[name],
        backend,
    )
    assert printed.count("opened") == printed.count("closed") > 0
    assert [line for line in printed if line != "told"][-1] == "closed"
    assert ("used None" in printed) == ("used" in ENDINGS[name])


FORK = """
sys.stdout.flush()
child = os.fork()
if child == 0:
    {child}
    print("the child ends", flush=True)
else:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print("the parent goes on with", handle.call(lambda spec: checkpoint()), flush=True)
"""
CHILDREN = {
    "refused": """
    uses = lambda: provider.setup("a"), lambda: handle.call(lambda _: checkpoint()), lambda: provider.call(checkpoint)
    for use in uses:
        try:
            use()
        except ForkedProcessError as error:
            print(error)
    """,
    "teardown": "handle.teardown()",
    "leaving": "stack.close()",
    "exit": "sys.exit()",
    "its own": """
    with entered(Telling(), **BACKEND) as own, own.setup("b") as model:
        print("own", model.call(lambda spec: checkpoint()))
    """,
}


@with_backends(CHILDREN)
def test_a_forked_child_is_refused_and_leaves_the_parents_things_alone(run: Any, name: str, backend: Any) -> None:
    """It waits for nothing, ends well, and may enter one of its own; the parent goes on."""
    child = CHILDREN[name].strip()
    printed = run(
        """
provider = stack.enter_context(entered(Telling(), **BACKEND))
handle = stack.enter_context(provider.setup("a"))
"""
        + FORK.replace("{child}", child),
        backend,
    )
    assert printed[-2:] == ["the parent goes on with None", "closed"]
    assert printed.count("opened") == printed.count("closed") == (2 if name == "its own" else 1)
    refusals = [line for line in printed if line.startswith("Telling was entered before this process was forked")]
    assert len(refusals) == (3 if name == "refused" else 0)
    advice = [line for line in printed if "enter it in each process, after the fork." in line]
    assert len(advice) == len(refusals)


@each_backend
def test_a_block_around_the_fork_ends_in_both(run: Any, backend: Any) -> None:
    """With a lease, a stream of whatever kind, and the provider: the child leaves them without a word."""
    printed = run(
        """
from doteval.testing import FakeProvider
with entered(FakeProvider(), **BACKEND) as provider, provider.setup("a") as handle, handle.model.stream("Hi") as stream:
    next(iter(stream))
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert handle.model.generate("Hi")
print("the child" if child == 0 else "the parent", "ends", flush=True)
""",
        backend,
    )
    assert printed == ["the child ends", "the parent ends"]

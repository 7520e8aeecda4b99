"""Ctrl-C at every line of the pool's code: the program ends, and what it had opened is closed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self

import anyio
import pytest
from anyio import create_task_group
from anyio.lowlevel import checkpoint
from tests.conftest import BACKENDS
from tests.resources import ThingProvider

import doteval
from doteval import DotevalError, ModelProviders

pytestmark = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="only the main thread gets signals"
)

SOURCE = str(Path(doteval.__file__).parent)
EVERY = int(os.environ.get("INTERRUPT_EVERY", "197"))
"""At every so many lines; 1 is all of them, and takes minutes."""


class Interrupter:
    """Sends SIGINT to this process before lines of doteval's code are run.

    Args:
        at: Before which ones, counted from 1.
    """

    def __init__(self, *at: int) -> None:
        self._at = set(at)
        self.lines = 0

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(SOURCE) or code.co_name == "tell":  # a finaliser, whose errors go nowhere
            return None
        if event == "line":
            self.lines += 1
            if self.lines in self._at:
                signal.raise_signal(signal.SIGINT)
        return self._trace


async def crowd(provider: ThingProvider) -> None:
    """Tasks that open, share, evict, wait, break and close; it ends by itself."""

    async def use(spec: str, *, breaks: bool = False) -> None:
        with suppress(DotevalError, ExceptionGroup):
            async with await provider.setup(spec) as handle:
                await checkpoint()
                if breaks:
                    handle.model.break_down()
                await checkpoint()

    async with provider, create_task_group() as task_group:
        for spec in ("a", "b", "c", "a"):
            task_group.start_soon(use, spec)
        held = await provider.setup_many("a", "c")
        await provider.teardown_all()
        del held
        await use("b", breaks=True)


def interrupted(backend: str, *at: int, **options: Any) -> tuple[int, ThingProvider]:
    """Run the crowd; the number of lines it took, and the provider. It takes no longer than the crowd itself."""
    provider = ThingProvider(**options)
    name, backend_options = BACKENDS[backend]
    with Interrupter(*at) as interrupter:
        with suppress(BaseException):  # as what it ends with: an interrupt, a cancellation, or what they broke
            anyio.run(crowd, provider, backend=name, backend_options=backend_options)
    return interrupter.lines, provider


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """A program that hangs fails the test; it would not react to another signal."""

    def fail(*_: object) -> None:
        raise TimeoutError("the program does not end")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:.* was entered and never closed")
@pytest.mark.filterwarnings("ignore:.* was leased and never torn down")  # the interrupt came before the 'with'
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # where the interrupt came before the await
@pytest.mark.parametrize("options", [{}, {"capacity": 2}, {"capacity": 2, "keep_alive": 0, "health_after": 0}], ids=str)
@pytest.mark.parametrize(("backend", "times"), [("asyncio", 1), ("trio", 1), ("trio", 3)])
def test_an_interrupt_anywhere_ends_the_program(backend: str, options: dict[str, Any], times: int) -> None:
    """And nothing of what it had opened stays open.

    Of asyncio only the first: a second one within the same moment raises in the middle of anything, anyio included.
    """
    before = signal.getsignal(signal.SIGINT)
    lines, _ = interrupted(backend, **options)
    assert lines > 500
    for line in range(1, lines + 1, EVERY):
        _, provider = interrupted(backend, *(line + 7 * n for n in range(times)), **options)
        assert not +provider.live, f"left open after an interrupt at line {line}"
        assert signal.getsignal(signal.SIGINT) is before
    del provider
    gc.collect()  # while what is said of a provider that could not be left is expected


@pytest.mark.filterwarnings("ignore:.* was entered and never closed")
@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
@pytest.mark.parametrize("broken_off", ["doteval._pool.ledger.Ledger.shut", "doteval._registry.providers.partial"])
def test_an_interrupt_before_a_resource_is_told_to_close_ends_the_program(
    backend: str, broken_off: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a second Ctrl-C does on asyncio: nobody waits for the end of what was never told of it."""
    things = ThingProvider()
    is_mapping = "registry" in broken_off

    def interrupt(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    async def main() -> None:
        provider = ModelProviders({"things": things}, discover=False) if is_mapping else things
        await provider.start()
        await provider.setup("things:a" if is_mapping else "a")
        monkeypatch.setattr(broken_off, interrupt)
        await provider.aclose()

    name, options = BACKENDS[backend]
    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend=name, backend_options=options)
    assert not +things.live
    gc.collect()


@pytest.mark.process
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interrupt_at_any_moment_ends_the_program(backend: str) -> None:
    """Wherever it comes, and nothing stays open."""
    command = [sys.executable, "-m", "tests.random_interrupts", backend, os.environ.get("INTERRUPTS", "10")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    print(done.stdout)

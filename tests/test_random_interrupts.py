"""Ctrl-C at random moments, wherever the program is just then: it ends, and what it had opened is closed.

``INTERRUPTS=2000`` says how many programs are interrupted on each event loop (``nox -s interrupts``). `test_interrupts`
has the lines of our own code, one after the other; here it may as well be anyio's, asyncio's or trio's.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import FrameType

import anyio
import pytest
from tests.conftest import BACKENDS
from tests.resources import ThingProvider
from tests.test_interrupts import crowd

pytestmark = [
    pytest.mark.skipif(
        threading.current_thread() is not threading.main_thread(), reason="only the main thread gets signals"
    ),
    pytest.mark.filterwarnings("ignore:.* was entered and never closed"),
    pytest.mark.filterwarnings("ignore:.* was leased and never torn down"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # it came in a finaliser
]

RUNS = int(os.environ.get("INTERRUPTS", "10"))
OPTIONS = ({}, {"capacity": 2}, {"capacity": 2, "keep_alive": 0, "health_after": 0}, {"fast_acquire": True})


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interrupt_at_any_moment_ends_the_program(backend: str) -> None:
    """One, and on trio up to three of them; a program that does not end is interrupted by a `TimeoutError`."""
    seconds = min(interrupted(backend, ThingProvider(), [])[1] for _ in range(3))
    told: Counter[str] = Counter()
    for seed in range(RUNS):
        rng = Random(seed)
        provider = ThingProvider(**OPTIONS[seed % len(OPTIONS)])
        more = rng.choice((0, 0, 1, 2)) if backend == "trio" else 0
        moments = [rng.uniform(0, 1.1 * seconds), *(rng.uniform(0, seconds / 4) for _ in range(more))]
        error, _ = interrupted(backend, provider, moments)
        told[type(error).__name__] += 1
        assert not isinstance(error, TimeoutError), f"seed {seed}: the program does not end"
        if +provider.live:
            assert is_lost_by_python(error), f"seed {seed}: {provider.live} is left after {error!r}"
            told["lost by Python"] += 1
    gc.collect()
    assert sum(told.values()) - told["lost by Python"] == RUNS
    assert told["lost by Python"] <= RUNS / 100, told
    print(backend, dict(told))


def interrupted(backend: str, provider: ThingProvider, moments: list[float]) -> tuple[BaseException | None, float]:
    """What the crowd ended with where it was interrupted after so many seconds, each, and how long it took."""
    name, options = BACKENDS[backend]
    began = time.perf_counter()
    error: BaseException | None = None
    try:
        with interrupts(moments):
            anyio.run(crowd, provider, backend=name, backend_options=options)
    except BaseException as exc:
        error = exc
    return error, time.perf_counter() - began


@contextmanager
def interrupts(moments: list[float]) -> Iterator[None]:
    """Send SIGINT to this process at such moments, and after a minute what ends it."""
    left = [*moments, 60.0]
    is_over = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if is_over:
            return
        if len(left) == 1:
            raise TimeoutError
        left.pop(0)
        signal.setitimer(signal.ITIMER_REAL, max(left[0], 1e-6))
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, max(left[0], 1e-6))
    try:
        yield
    finally:
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def is_lost_by_python(error: BaseException | None) -> bool:
    """Whether the interrupt came in asyncio's own `call_soon`, which then forgets what was to be called."""
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_name in ("call_soon", "_call_soon") and "asyncio" in code.co_filename:
                return True
            trace = trace.tb_next
        error = error.__context__
    return False

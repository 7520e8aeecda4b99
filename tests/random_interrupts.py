"""Ctrl-C at random moments, wherever the program is just then: it ends, and what it had opened is closed.

A program of its own, as an interrupt may come anywhere, in what runs it as well: ``python -m tests.random_interrupts
trio 2000``. `test_interrupts` has the lines of our own code, one after the other; here it may be in anyio's.
There is one interrupt, and on trio there are up to three; asyncio's second one raises in the middle of anything.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType

import anyio
import trio
from tests.conftest import BACKENDS
from tests.resources import ThingProvider
from tests.test_interrupts import crowd

OPTIONS = ({}, {"capacity": 2}, {"capacity": 2, "keep_alive": 0, "health_after": 0}, {"fast_acquire": True})
LOST = {("call_soon", "base_events.py"), ("_call_soon", "base_events.py"), ("add", "_weakrefset.py")}


def main() -> None:
    """Print how the programs ended; what must not be ends this one with an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend", choices=BACKENDS)
    parser.add_argument("runs", type=int)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    sys.unraisablehook = lambda _: None  # it came in a finaliser
    if arguments.backend == "trio":  # or what it counts may be wrong
        trio.lowlevel.enable_ki_protection(inspect.unwrap(ThingProvider.open))
    seconds = min(interrupted(arguments.backend, ThingProvider(), [])[1] for _ in range(3))
    told: Counter[str] = Counter()
    for seed in range(arguments.runs):
        rng = Random(seed)
        provider = ThingProvider(**OPTIONS[seed % len(OPTIONS)])
        more = rng.choice((0, 0, 1, 2)) if arguments.backend == "trio" else 0
        moments = [rng.uniform(0, 1.1 * seconds), *(rng.uniform(0, seconds / 4) for _ in range(more))]
        error, _ = interrupted(arguments.backend, provider, moments)
        told["ended by itself" if error is None else "was interrupted"] += 1
        if isinstance(error, TimeoutError):
            sys.exit(f"seed {seed}: the program does not end")
        if +provider.live and not is_lost_by_python(error):
            sys.exit(f"seed {seed}: {provider.live} is left after {error!r}")
        told["lost by Python"] += bool(+provider.live)
    sys.stdout.write(f"{arguments.backend}: {dict(told)}\n")


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

    signal.signal(signal.SIGINT, signal.default_int_handler)  # what the last one interrupted has not put back
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, max(left[0], 1e-6))
    try:
        yield
    finally:
        is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def is_lost_by_python(error: BaseException | None) -> bool:
    """Whether the interrupt came where asyncio notes what it is to run, and forgets it: no program can do about that.

    That is `call_soon`, and the set of all tasks, in which one is entered that `asyncio.run` has just made.
    """
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if (code.co_name, Path(code.co_filename).name) in LOST:
                return True
            trace = trace.tb_next
        error = error.__context__
    return False


if __name__ == "__main__":
    main()

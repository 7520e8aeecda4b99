"""What ends a command from outside lets it clean up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

_NAMES = ("SIGTERM", "SIGHUP")


@contextmanager
def ended_by_signals() -> Generator[None]:
    """Have SIGTERM and SIGHUP end the block as Ctrl-C does; the exit code is 143 or 129, as a shell expects.

    What is ignored, as with ``nohup``, still is. A second one while the block cleans up changes nothing.

    Raises:
        SystemExit: One of them came.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        before = {number: known for number, known in before.items() if known not in (signal.SIG_IGN, None)}

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    try:
        for number in before:
            signal.signal(number, end)
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)

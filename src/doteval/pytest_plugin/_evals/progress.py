"""How far an evaluation is: a line that moves on a terminal, a line now and then elsewhere, nothing with ``-q``."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from ..._printed import in_a_line

if TYPE_CHECKING:
    from ...evals._running.engine import Progress


class Display(Protocol):
    """Shows how far one evaluation is."""

    def update(self) -> None:
        """It may have gone on."""
        ...


class NoDisplay:
    """Shows nothing."""

    def update(self) -> None:
        """Do nothing."""


class _TimedDisplay(ABC):
    """Shows it, unless it was shown a moment ago.

    Args:
        name: The evaluation's name.
        progress: How far it is.
        show: Shows a text.
        clock: Tells the time, in seconds.
    """

    pause: float
    """How long it is not shown again, in seconds."""
    shows_beginning: bool
    """Whether it is shown before the first pause."""

    def __init__(
        self, name: str, progress: Progress, show: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = in_a_line(name)
        self._progress = progress
        self._show = show
        self._clock = clock
        self._start = clock()
        self._shown = -math.inf if self.shows_beginning else self._start

    def update(self) -> None:
        """Show it, if the last time is some time ago."""
        now = self._clock()
        if now - self._shown >= self.pause:
            self._shown = now
            self._show(f"{self._name}{self._text(self._progress, now - self._start)}")

    @abstractmethod
    def _text(self, progress: Progress, seconds: float) -> str: ...


class PlainDisplay(_TimedDisplay):
    """A line now and then."""

    pause = 10.0
    shows_beginning = False

    def _text(self, progress: Progress, seconds: float) -> str:
        return f": {described(progress, seconds)}"


class MovingDisplay(_TimedDisplay):
    """A line that is drawn again and again in the place of the last one."""

    pause = 0.1
    shows_beginning = True

    def _text(self, progress: Progress, seconds: float) -> str:
        return f"  {_bar(progress)}{described(progress, seconds)}"


@contextmanager
def moving_display(
    name: str, progress: Progress, shown: Callable[[], AbstractContextManager[None]]
) -> Generator[Display]:
    """Draw on the terminal.

    Args:
        name: The evaluation's name.
        progress: How far it is.
        shown: Makes a context in which what is printed reaches the terminal.
    """
    from rich.console import Console  # noqa: PLC0415 - only where a terminal is
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    with shown():
        print()
        live = Live(
            Text(), console=Console(), auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        live.start()

    def draw(text: str) -> None:
        with shown():
            live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    try:
        yield MovingDisplay(name, progress, draw)
    finally:
        with shown():
            live.stop()


@contextmanager
def plain_display(
    name: str, progress: Progress, shown: Callable[[], AbstractContextManager[None]]
) -> Generator[Display]:
    """Print a line now and then."""
    yield PlainDisplay(name, progress, lambda line: _printed(line, shown))


def _printed(line: str, shown: Callable[[], AbstractContextManager[None]]) -> None:
    with shown():
        print(f"\n{line}", flush=True)


def described(progress: Progress, seconds: float) -> str:
    """How far it is, in words: rows or samples of them, rate, errors, tokens, time left."""
    new = progress.done - progress.known
    rate = new / seconds if seconds > 0 else 0.0
    of = "" if progress.total is None else f" of {progress.total:,}"
    noun = "rows" if progress.epochs == 1 else "samples"
    parts = [f"{progress.done:,}{of} {noun}", f"{rate:,.1f}/s"]
    if progress.known:
        parts.append(f"{progress.known:,} from before")
    if progress.errors:
        parts.append(f"{progress.errors:,} errors")
    if progress.wasted:
        parts.append(f"{progress.wasted:,} calls made again")
    if progress.tokens:
        parts.append(f"{progress.tokens:,} tokens")
    if progress.total is not None and rate > 0:
        parts.append(f"{_duration((progress.total - progress.done) / rate)} left")
    return ", ".join(parts)


def _bar(progress: Progress, width: int = 20) -> str:
    if not progress.total:
        return ""
    filled = min(width, width * progress.done // progress.total)
    return "█" * filled + "░" * (width - filled) + "  "


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"

"""How far an evaluation is: a line that moves on a terminal, a line now and then elsewhere, nothing with ``-q``."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ...evals._running.engine import Progress

_FRAME_SECONDS = 0.1
_LINE_SECONDS = 10.0


class Display(Protocol):
    """Shows how far one evaluation is."""

    def update(self) -> None:
        """It may have gone on."""
        ...


class NoDisplay:
    """Shows nothing."""

    def update(self) -> None:
        """Do nothing."""


class PlainDisplay:
    """A line now and then.

    Args:
        name: The evaluation's name.
        progress: How far it is.
        write: Prints a line.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self, name: str, progress: Progress, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._progress = progress
        self._write = write
        self._clock = clock
        self._start = self._shown = clock()

    def update(self) -> None:
        """Print a line, if the last one is some time ago."""
        now = self._clock()
        if now - self._shown >= _LINE_SECONDS:
            self._shown = now
            self._write(f"{self._name}: {described(self._progress, now - self._start)}")


class MovingDisplay:
    """A line that is drawn again and again, by rich.

    Args:
        name: The evaluation's name.
        progress: How far it is.
        draw: Draws a text in the place of the last one.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self, name: str, progress: Progress, draw: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._progress = progress
        self._draw = draw
        self._clock = clock
        self._start = clock()
        self._shown = 0.0

    def update(self) -> None:
        """Draw it again, if the last time is some time ago."""
        now = self._clock()
        if now - self._shown >= _FRAME_SECONDS:
            self._shown = now
            self._draw(f"{self._name}  {_bar(self._progress)}{described(self._progress, now - self._start)}")


@contextmanager
def moving_display(
    name: str, progress: Progress, shown: Callable[[], AbstractContextManager[None]]
) -> Generator[Display]:
    """Draw on the terminal; where rich is not installed, print lines.

    Args:
        name: The evaluation's name.
        progress: How far it is.
        shown: Makes a context in which what is printed reaches the terminal.
    """
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra, and only where a terminal is
        from rich.live import Live  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415
    except ModuleNotFoundError:
        yield PlainDisplay(name, progress, lambda line: _printed(line, shown))
        return
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
    """How far it is, in words: rows, rate, errors, tokens, time left."""
    new = progress.done - progress.known
    rate = new / seconds if seconds > 0 else 0.0
    of = "" if progress.total is None else f" of {progress.total:,}"
    parts = [f"{progress.done:,}{of} rows", f"{rate:,.1f}/s"]
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

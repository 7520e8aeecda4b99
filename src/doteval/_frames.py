"""Whose code a traceback goes through, and what IPython shows of an error of ours.

An error of ours says by itself what is wrong, so the way that it took through doteval, the event loop and the SDK is of
use to nobody who did not write these. What is left are the frames of the user: of the error, and of what caused it.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Generator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from ._chains import before, walk

_LIBRARY = tuple({f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib")})
_INSTALLED = ("site-packages", "dist-packages")
_MACHINERY = frozenset(
    {
        *("doteval", "anyio", "trio", "outcome", "sniffio", "uvloop", "pytest", "_pytest", "pluggy"),
        *("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "h11", "mcp", "IPython", "ipykernel"),
    }
)
"""What is between a user and an error of ours."""
_CAUSED = "The above exception was the direct cause of the following exception:"
_MEANWHILE = "During handling of the above exception, another exception occurred:"


def chain_of(error: BaseException) -> list[tuple[BaseException, str | None]]:
    """What led to an error, first things first, each with what joins it to the next, and the error itself."""
    links = list(walk(error, lambda each: (before(each),)))
    joints = [_MEANWHILE if each.__cause__ is None else _CAUSED for each in links[:-1]]
    return list(zip(links, [None, *joints], strict=True))[::-1]


def is_users(frame: FrameType, plugins: AbstractSet[str] = frozenset()) -> bool:
    """Whether a frame is of code that the user of doteval may have written, or may look into.

    Args:
        frame: The frame.
        plugins: The modules of pytest's plugins; those that are installed only pass on what others raise.
    """
    path: str = frame.f_code.co_filename
    is_installed = any(part in _INSTALLED for part in Path(path).parts)
    if path.startswith("<frozen ") or (path.startswith(_LIBRARY) and not is_installed):
        return False
    module: str = frame.f_globals.get("__name__", "")
    return module.partition(".")[0] not in _MACHINERY and not (is_installed and module in plugins)


def shown_in_ipython(error: BaseException) -> list[str]:
    """The lines that IPython shows of an error, with the user's frames only; all of them after ``%xmode Verbose``."""
    formatter: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    formatter = getattr(formatter, "InteractiveTB", None)
    shows_all = getattr(formatter, "mode", "") == "Verbose"
    lines: list[str] = []
    for each, joint in chain_of(error):
        frames = each.__traceback__ if shows_all else _users_part(each.__traceback__)
        if frames is None and each is not error:
            continue
        with _alone(each):
            lines += (
                traceback.format_exception(type(each), each, frames)
                if formatter is None
                else formatter.structured_traceback(type(each), each, frames, tb_offset=int(shows_all and not lines))
            )
        lines += ["", joint, ""] if joint else []
    return lines


def _users_part(whole: TracebackType | None) -> TracebackType | None:
    entries: list[TracebackType] = []
    while whole is not None:
        entries.append(whole)
        whole = whole.tb_next
    kept: TracebackType | None = None
    for entry in reversed(entries):
        if is_users(entry.tb_frame):
            kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept


@contextmanager
def _alone(error: BaseException) -> Generator[None]:
    """Without what led to it, which is shown before."""
    told = error.__cause__, error.__context__, error.__suppress_context__
    error.__cause__ = error.__context__ = None
    try:
        yield
    finally:
        error.__cause__, error.__context__, error.__suppress_context__ = told

"""Ctrl-C on trio, where it raises between any two steps of whatever runs just then, unless that is marked.

A `KeyboardInterrupt` in the middle of a change of the books would leave them half changed, and one in a resource's task
would end the task whose end everybody waits for. What is marked *uninterruptible* here is left alone: trio then raises
in the program's main task, at its next checkpoint. The mark costs nothing, as trio looks for it when a signal arrives.
asyncio raises in the main task from the beginning.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
ClassT = TypeVar("ClassT", bound=type)

_uninterruptible: list[Any] = []
_interruptible: list[Any] = []


def uninterruptible(kind: ClassT) -> ClassT:
    """Mark all functions of a class, coroutine functions among them; what they call is uninterruptible, too."""
    _uninterruptible.extend(each for each in vars(kind).values() if isinstance(each, FunctionType))
    return kind


def interruptible(function: FunctionT) -> FunctionT:
    """Mark what an uninterruptible function calls and may be interrupted after all, as it runs an author's code."""
    _interruptible.append(function)
    return function


def mark_for_trio() -> None:
    """Tell trio what is marked, where there is trio."""
    if "trio" in sys.modules:
        _tell_trio()


@functools.cache
def _tell_trio() -> None:
    from trio.lowlevel import disable_ki_protection, enable_ki_protection  # noqa: PLC0415 - it may not be installed

    for function in _uninterruptible:
        enable_ki_protection(function)
    for function in _interruptible:
        disable_ki_protection(function)

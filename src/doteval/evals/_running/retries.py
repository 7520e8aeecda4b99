"""``Retries``: when a row is run again."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from ..._chains import told_with
from .refusals import pause_before

RetryOn: TypeAlias = (
    type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], "bool | float | None"]
)
"""Exceptions, or what is asked about each."""


@dataclass(frozen=True, slots=True)
class Retries:
    """When a row is run again, and how often.

    For example::

        @foreach("question", dataset, retries=Retries(lost=2, on=(ToolTimeout, RowTimeoutError), times=3))

    Each attempt begins with the row's values as they are in the dataset. What all attempts cost is counted, and how
    many there were is in the record. A row that waits keeps its place, so that others do not run into the same trouble.

    Args:
        lost: How often it is run again after its model, or the connection to it, was lost; the model is leased again.
        stumbled: How often it is run again after its server failed (500, 502, 504, 408).
        patience: For how long it is tried again while its server is overloaded, or refuses it because of a rate limit,
            in seconds. Where the server has answered nobody in all that time, or asks for more, the run ends.
        on: After what else it is run again: an exception class or several, also where another was raised from it, or
            while it was handled, or it is in a group; or a function that is given what was raised, and returns whether,
            or after how many seconds, the row is run again. It is asked last: after a refusal, a stumble or a loss that
            may be tried again it is not.
        times: How often it is run again because of `on`.
        pause: Seconds before that, where a function does not say. `None`: up to half a second at first, and up to twice
            as long each time, but not more than half a minute.

    Raises:
        TypeError: `on` is neither, or an async function.
        ValueError: A number is less than 0, or none.
    """

    lost: int = 1
    stumbled: int = 5
    patience: float = 600.0
    on: RetryOn = ()
    times: int = 2
    pause: float | None = None

    def __post_init__(self) -> None:
        for name in ("lost", "stumbled", "patience", "times", "pause"):
            value: object = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
            if not is_number and not (value is None and name == "pause"):
                raise ValueError(f"{name} must be 0 or more, not {value!r}")
        given: object = self.on
        if inspect.iscoroutinefunction(given):
            raise TypeError("on= is called and not awaited: it must not be an async function")
        kinds = cast("tuple[object, ...]", given) if isinstance(given, tuple) else (given,)
        are_errors = all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds)
        if not are_errors and (isinstance(given, (type, tuple)) or not callable(given)):
            raise TypeError(f"on= is an exception class, a tuple of such, or a function, not {given!r}")

    def pause_after(self, error: BaseException, number: int) -> float | None:
        """How many seconds to wait before a row is run again because of `on`; `None` where it is not.

        Args:
            error: What it raised.
            number: How often it would then have been run again for that reason.

        Raises:
            ValueError: The function has returned something else.
        """
        if number > self.times:
            return None
        on = self.on
        if isinstance(on, (type, tuple)):
            answer: Any = any(isinstance(each, on) for each in told_with(error))
        else:
            answer = on(error)
        if answer is None or answer is False:
            return None
        if answer is True:
            return pause_before(number) if self.pause is None else self.pause
        seconds = float(answer) if isinstance(answer, (int, float)) else math.nan
        if not 0 <= seconds < math.inf:
            raise ValueError(f"retries.on returned {answer!r}, which is neither a boolean nor a number of seconds")
        return seconds


def retries_of(given: object) -> Retries:
    """What was given, or the default where nothing was.

    Raises:
        TypeError: It is something else.
    """
    if given is None:
        return Retries()
    if not isinstance(given, Retries):
        raise TypeError(f"retries= is doteval.evals.Retries(lost=1), for example, not {given!r}")
    return given

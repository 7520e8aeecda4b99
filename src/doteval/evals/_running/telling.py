"""Tells what is odd about an outcome; where warnings are errors, its verdict stays first, and all of them are told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

from ... import DotevalError
from .._errors import EvaluationWarning
from .outcome import Outcome


class Chosen(str):
    """What is told of what somebody has chosen to be done: it is a warning also where warnings are errors."""

    __slots__ = ()


def tell(outcome: Outcome, max_errors: int | None, warn: Callable[[Warning], object], where: tuple[str, int]) -> None:
    """Warn of what is odd about an outcome, and raise where it has not passed.

    Args:
        outcome: What has come of an evaluation.
        max_errors: How many rows may have raised; `None`: it passes whatever it is.
        warn: Warns there.
        where: The file and the line that are warned.

    Raises:
        DotevalError: It has not passed; what is odd is in its notes, where warnings are errors.
        EvaluationWarning: It has passed, and something is odd about it, where warnings are errors.
    """
    errors: list[EvaluationWarning] = []
    for each in warned(outcome.warnings, warn):
        if isinstance(each.args[0], Chosen):
            warnings.showwarning(each, EvaluationWarning, *where)  # no filter is set for it, as all threads have these
        else:
            errors.append(each)
    try:
        if max_errors is not None:
            outcome.check(max_errors)
    except DotevalError as exc:
        _note(exc, errors)
        raise
    raise_first(errors)


def warned(texts: Iterable[str], warn: Callable[[Warning], object]) -> list[EvaluationWarning]:
    """Warn of each; those that are errors are returned, to be raised when all has been told."""
    errors: list[EvaluationWarning] = []
    for text in texts:
        try:
            warn(EvaluationWarning(text))
        except EvaluationWarning as exc:
            errors.append(exc)
    return errors


def raise_first(errors: list[EvaluationWarning]) -> None:
    """Raise the first warning that is an error, with the others in its notes; nothing where there is none."""
    if errors:
        first, *others = errors
        _note(first, others)
        raise first


def _note(error: Exception, others: list[EvaluationWarning]) -> None:
    for each in others:
        error.add_note(f"{EvaluationWarning.__name__}: {each}")

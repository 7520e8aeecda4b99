"""Whether an output is what was expected, or has it in it."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

from .numerals import last_number


def exact_match(output: object, expected: object, *, ignore_case: bool = False) -> bool:
    """Whether the output is what was expected, but for the space around it and the way in which letters are encoded.

    Where one of the two is a text, the other is taken as it is written: ``"4"`` matches 4. Other values match where
    they are equal. `None` matches nothing but `None`.

    Args:
        output: What the model said.
        expected: What it should have said.
        ignore_case: Whether upper and lower case are the same.
    """
    if output is None or expected is None or not (isinstance(output, str) or isinstance(expected, str)):
        return bool(output == expected)
    return _normal(output, ignore_case) == _normal(expected, ignore_case)


def contains(output: object, expected: object, *, ignore_case: bool = False) -> bool:
    """Whether what was expected is somewhere in the output.

    Args:
        output: What the model said; `None` contains nothing.
        expected: What should be in it.
        ignore_case: Whether upper and lower case are the same.

    Raises:
        ValueError: What was expected is `None` or empty, which would be in everything.
    """
    wanted = "" if expected is None else _normal(expected, ignore_case)
    if not wanted:
        raise ValueError(f"contains() needs a text to look for, not {expected!r}, which is in everything")
    return output is not None and wanted in _normal(output, ignore_case)


def numeric_close(output: object, expected: float | str, *, relative: float = 1e-6, absolute: float = 1e-9) -> bool:
    """Whether the last number in the output is close enough to the one that was expected; no number is not.

    ``1,234.5``, ``1e3`` and ``-$5`` are numbers; signs of money and of percent do not count, so ``5 %`` is 5. A minus
    sign may be any that Unicode has; that of ``10-12`` is none, and the last number is 12. A comma before three digits
    separates thousands, and so do no-break and thin spaces, apostrophes and underscores. Points do only where nothing
    else can be meant: ``1.000,5`` is 1000.5 and ``1.000.000`` a million, but ``1.000`` is 1. Any other comma separates
    two numbers: the last one in ``1,5`` is 5.

    Args:
        output: What the model said.
        expected: The number that it should have said, or a text whose last number that is.
        relative: How far off it may be, as a share of `expected`.
        absolute: How far off it may be in any case.

    Raises:
        TypeError: What was expected is neither a number nor a text.
        ValueError: There is no number in that text, or it is not finite.
    """
    wanted = _expected_number(expected)
    found = last_number(str(output))
    return found is not None and abs(found - wanted) <= max(absolute, relative * abs(wanted))


def _expected_number(expected: Any) -> float:
    """What callers pass may be anything."""
    if isinstance(expected, str):
        number = last_number(expected)
        if number is None:
            raise ValueError(f"numeric_close() expects a number, and there is none in {expected!r}")
    else:
        try:
            number = float(expected)
        except OverflowError:
            number = math.inf
        except (TypeError, ValueError):
            kind = type(expected).__name__
            raise TypeError(f"numeric_close() expects a number, or a text with one, not {kind}: {expected!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"numeric_close() expects a finite number, not {number!r}, which nothing is close to")
    return number


def _normal(value: object, ignore_case: bool) -> str:
    text = unicodedata.normalize("NFC", str(value)).strip()
    return unicodedata.normalize("NFC", text.casefold()) if ignore_case else text

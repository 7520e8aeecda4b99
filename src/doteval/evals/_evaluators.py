"""Evaluators: plain functions that say how good an output is. Use what they return as a score."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any

from .. import ChatModel, ModelHandle
from ._numerals import last_number

_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[][{}]', re.DOTALL)
_VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_JUDGE = """You judge the answer of a model.

Question:
{prompt}

Answer:
{output}

Criterion:
{criterion}

Does the answer meet the criterion? Reply with YES or NO, and nothing else."""


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


def json_valid(output: object) -> bool:
    """Whether the output is JSON, however deep; a fence of Markdown around it does not count. NaN is no JSON.

    Args:
        output: What the model said.
    """
    text = str(output).strip()
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*?)\n?```", text, re.DOTALL)
    try:
        _check_json(fenced[1] if fenced else text)
    except ValueError:
        return False
    return True


def _check_json(text: str) -> None:
    """Read each array and object by itself, the inner ones first: what is nested deep is too much for `json`."""
    levels: list[list[str]] = [[]]
    start = 0
    for match in _TEXT_OR_BRACKET.finditer(text):
        if match[0] in "[{":
            levels[-1].append(text[start : match.start()])
            levels.append([])
            start = match.start()
        elif match[0] in "]}" and len(levels) > 1:
            _check_flat_json([*levels.pop(), text[start : match.end()]])
            levels[-1].append(" 0 ")  # a value that stands for it, and joins with nothing
            start = match.end()
    if len(levels) > 1:
        raise ValueError("an array or object has no end")
    _check_flat_json([*levels[0], text[start:]])


def _check_flat_json(parts: list[str]) -> None:
    # Numbers stay texts: Python refuses to make one of too many digits, which JSON does not.
    json.loads("".join(parts), parse_int=str, parse_float=str, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


async def llm_judge(
    model: ChatModel | ModelHandle[Any], output: object, criterion: str, *, prompt: object = "", **params: Any
) -> bool:
    """Whether a model thinks that the output meets a criterion.

    Args:
        model: The judge: a model, or a handle on one.
        output: What is judged.
        criterion: What it is judged by, in words.
        prompt: What the model that is judged was asked.
        params: What the judge's `generate` takes, such as ``temperature``.

    Raises:
        ValueError: The judge said neither yes nor no.
        ModelRequestError: The judge could not be asked.
    """
    judge: Any = model.model if isinstance(model, ModelHandle) else model
    question = _JUDGE.format(prompt=prompt, output=output, criterion=criterion)
    verdict = str(await judge.generate(question, **params))
    said = {match[0].lower() for match in _VERDICT.finditer(verdict)}
    if len(said) != 1:
        raise ValueError(f"the judge said neither YES nor NO, but {verdict[:200]!r}")
    return said == {"yes"}


def _normal(value: object, ignore_case: bool) -> str:
    text = unicodedata.normalize("NFC", str(value)).strip()
    return unicodedata.normalize("NFC", text.casefold()) if ignore_case else text

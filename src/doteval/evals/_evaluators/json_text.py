"""Whether an output is JSON."""

from __future__ import annotations

import json
import re

_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[][{}]', re.DOTALL)
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?```", re.DOTALL)


def json_valid(output: object) -> bool:
    """Whether the output is JSON, however deep; a fence of Markdown around it does not count. NaN is no JSON.

    Args:
        output: What the model said.
    """
    try:
        check_json(unfenced(str(output)))
    except ValueError:
        return False
    return True


def unfenced(text: str) -> str:
    """What a model has said, without a fence of Markdown around all of it."""
    text = text.strip()
    fenced = _FENCE.fullmatch(text)
    return fenced[1] if fenced else text


def check_json(text: str) -> None:
    """Read each array and object by itself, the inner ones first: what is nested deep is too much for `json`.

    Raises:
        ValueError: It is no JSON.
    """
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

"""Evaluators: plain functions that say how good an output is. Use what they return as a score."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from .. import ChatModel, ModelHandle

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
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

    Args:
        output: What the model said.
        expected: What it should have said.
        ignore_case: Whether upper and lower case are the same.
    """
    return _normal(output, ignore_case) == _normal(expected, ignore_case)


def contains(output: object, expected: object, *, ignore_case: bool = False) -> bool:
    """Whether what was expected is somewhere in the output.

    Args:
        output: What the model said.
        expected: What should be in it.
        ignore_case: Whether upper and lower case are the same.
    """
    return _normal(expected, ignore_case) in _normal(output, ignore_case)


def numeric_close(output: object, expected: float, *, relative: float = 1e-6, absolute: float = 1e-9) -> bool:
    """Whether the last number in the output is close enough to the one that was expected; no number is not.

    Args:
        output: What the model said; ``1,234.5`` and ``1e3`` are numbers.
        expected: The number that it should have said.
        relative: How far off it may be, as a share of `expected`.
        absolute: How far off it may be in any case.
    """
    found = [match[0] for match in _NUMBER.finditer(str(output)) if any(letter.isdigit() for letter in match[0])]
    if not found:
        return False
    return abs(float(found[-1].replace(",", "")) - expected) <= max(absolute, relative * abs(expected))


def json_valid(output: object) -> bool:
    """Whether the output is JSON; a fence of Markdown around it does not count."""
    text = str(output).strip()
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*?)\n?```", text, re.DOTALL)
    try:
        json.loads(fenced[1] if fenced else text)
    except ValueError:
        return False
    return True


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
    return text.casefold() if ignore_case else text

"""What a judge may say, how it is asked for it, and how its replies are read."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias

Scale: TypeAlias = tuple[float, float] | Mapping[str, float]
"""The least and the most, or what each of several words counts."""

_DECORATION = " \t\r\n*_`\"'\u201c\u201d\u2018\u2019.,:;!()[]{}<>$\\"
_CUE = r"\b(?:verdict|score|rating|rate|grade|mark|answer|judge?ment|result|reply)\b[\W_]{0,8}(?:is[\W_]{1,4})?"
_MINUS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"))


class Reading(ABC):
    """What a judge may say."""

    instruction: str
    """How it is asked."""
    wanted: str
    """What it says, for messages."""
    pattern: str
    """Finds one in a text."""

    @abstractmethod
    def value(self, word: str) -> bool | float | None:
        """What a word that the pattern has found counts; `None`: nothing that may be said."""

    def prepared(self, text: str) -> str:
        """The text without what could be taken for another word."""
        return text

    def read(self, reply: object) -> bool | float | None:
        """What a reply says; `None` where that is nothing, or not one thing.

        What it says at last counts: ``Verdict: YES``, or a line of its own at the end; and else what alone is in it.
        One that was refused says nothing, and one that was cut off nothing but what is all there is of it.

        Args:
            reply: What the judge replied.
        """
        reason = getattr(reply, "finish_reason", None)
        if getattr(reply, "refusal", None) or reason in ("refusal", "content_filter"):
            return None
        text = self.prepared(str(reply).rpartition("</think>")[2]).strip(_DECORATION)
        last_line = text.rpartition("\n")[2].strip(_DECORATION)
        alone = re.fullmatch(self.pattern, text, re.IGNORECASE)
        if alone is None and reason == "length":
            return None
        if alone is None and (cues := re.findall(f"{_CUE}({self.pattern})", text, re.IGNORECASE)):
            return self.value(cues[-1])
        if alone is None:
            alone = re.fullmatch(self.pattern, last_line, re.IGNORECASE)
        if alone is not None:
            return self.value(alone[0])
        said = {self.value(word) for word in re.findall(self.pattern, text, re.IGNORECASE)}
        return said.pop() if len(said) == 1 else None


class YesOrNo(Reading):
    """Whether an answer meets a criterion."""

    instruction = "Does the answer meet the criterion? Reply with YES or NO, and nothing else."
    wanted = "neither YES nor NO"
    pattern = r"\b(?:yes|no)\b"

    def value(self, word: str) -> bool:
        """Yes is true."""
        return word.lower() == "yes"


class Range(Reading):
    """How far it does, as a number.

    Args:
        low: The least.
        high: The most.
    """

    pattern = r"(?<![\w.,])[-+]?\d+(?:\.\d+)?(?!\w|[.,]\d)"

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high
        kind = "whole number" if isinstance(low, int) and isinstance(high, int) else "number"
        self.instruction = (
            f"How far does the answer meet the criterion? Reply with a {kind} from {low} (not at all) to {high} "
            "(entirely), and nothing else."
        )
        self.wanted = f"no number from {low} to {high}"
        most, least = re.escape(str(high)), re.escape(str(low))
        self._of = re.compile(rf"(?<=\d)\s*(?:/|out\s+of|of)\s*{most}(?![\w]|[.,]\d)", re.IGNORECASE)
        self._scale = re.compile(rf"(?<![\w.,]){least}\s*(?:-|to|and|through)\s*{most}(?![\w]|[.,]\d)", re.IGNORECASE)

    def prepared(self, text: str) -> str:
        """Without ``/5``, and without the scale itself."""
        return self._of.sub("", self._scale.sub("", text.translate(_MINUS)))

    def value(self, word: str) -> float | None:
        """The number, where it is on the scale."""
        number = float(word)
        return number if self._low <= number <= self._high else None


class Words(Reading):
    """Which of several words describes it.

    Args:
        counts: What each of them counts.
    """

    def __init__(self, counts: Mapping[str, float]) -> None:
        self._counts = {" ".join(word.casefold().split()): float(count) for word, count in counts.items()}
        listed = ", ".join(counts)
        self.instruction = (
            f"Which of these describes how far the answer meets the criterion: {listed}? Reply with one of them, and "
            "nothing else."
        )
        self.wanted = f"none of {listed}"
        longest_first = sorted(self._counts, key=len, reverse=True)
        words = "|".join(r"\s+".join(map(re.escape, word.split())) for word in longest_first)
        self.pattern = rf"(?<!\w)(?<!\bnot\s)(?<!n't\s)(?:{words})(?!\w)"

    def value(self, word: str) -> float | None:
        """What it counts."""
        return self._counts.get(" ".join(word.casefold().split()))


def reading_of(scale: object) -> Reading:
    """How the replies of a judge with this scale are read.

    Raises:
        ValueError: The scale is none.
    """
    if scale is None:
        return YesOrNo()
    given: Any = scale
    if isinstance(scale, Mapping):
        words = [" ".join(word.casefold().split()) for word in given if isinstance(word, str)]
        if len({*words} - {""}) == len(given) > 1 and all(map(_is_number, given.values())):
            return Words(given)
    elif isinstance(scale, (tuple, list)) and len(given) == 2 and all(map(_is_number, given)) and given[0] < given[1]:
        return Range(*given)
    raise ValueError(
        "a scale is its least and its most, such as (1, 5), or what each of several words counts, such as "
        f"{{'bad': 0, 'fair': 0.5, 'good': 1}}, not {scale!r}"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

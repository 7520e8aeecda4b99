"""What a judge may say, how it is asked for it, and how its replies are read."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from .declared import AFTER, BEFORE, alone, is_hedged, labelled, not_taken_back, opening, reply_of, sentences

Scale: TypeAlias = tuple[float, float] | Mapping[str, float]
"""The least and the most, or what each of several words counts."""

_MINUS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"))
_FRACTION = "\u2060"
"""Follows a number that was given as a part of the whole: a mark that nobody sees, and no letter."""
_ANSWERS = r"answer|result|conclusion|antwort|ergebnis|r[\u00e9e]ponse|respuesta"
_JUDGED = r"(?:it|this|that|(?:the|this)\s+(?:answer|response|reply|output|text))"


class Reading(ABC):
    """What a judge may say."""

    instruction: str
    """How it is asked."""
    wanted: str
    """What it says, for messages."""
    pattern: str
    """Finds one in a text."""
    nouns: str
    """What else announces one, as a pattern."""
    is_word = False
    """Whether it may stand in the reasons that follow, too."""

    @abstractmethod
    def value(self, word: str) -> bool | float | None:
        """What a word that the pattern has found counts; `None`: nothing that may be said."""

    @abstractmethod
    def told(self, text: str) -> Iterable[str]:
        """What is said in sentences."""

    def prepared(self, text: str) -> str:
        """The text without what could be taken for another word."""
        return text

    def read(self, reply: object) -> bool | float | None:
        """What a reply says; `None` where that is nothing, or not one thing.

        The last line counts, if it is nothing else; then a field of JSON, ``{"verdict": "YES"}``; then what a label
        announces, ``Verdict: YES``, and before other labels one that says ``Final`` or ``Overall``; then the first
        line, if it is nothing else; and then a sentence that gives it and no more. What is supposed, asked, quoted or
        taken back does not count, and of several that differ none.

        One that was refused says nothing, and one that was cut off nothing but what is all there is of it.

        Args:
            reply: What the judge replied.
        """
        reason = getattr(reply, "finish_reason", None)
        if getattr(reply, "refusal", None) or reason in ("refusal", "content_filter"):
            return None
        given, fields = reply_of(str(reply))
        text = self.prepared(given)
        word = alone(text, self.pattern)
        if word is not None or reason == "length":
            return None if word is None else self.value(word)
        lines = [line for line in text.splitlines() if line.strip(" \t`")]
        for said in self._said(lines, not_taken_back(text), given, fields):
            if votes := {*said}:
                return votes.pop() if len(votes) == 1 else None
        return None

    def _said(
        self, lines: Sequence[str], text: str, given: str, fields: list[Any] | None
    ) -> Iterator[list[bool | float | None]]:
        """What is said, where it counts most first."""
        last = [word for line in lines[-1:] if (word := alone(line, self.pattern)) is not None]
        if last:
            last += [word for line in lines[-2:-1] if (word := alone(line, self.pattern)) is not None]
        yield [*map(self.value, last)]
        if fields is not None:
            yield [self._of_json(field) for field in fields]
        final, others = labelled(text, self.pattern, self.nouns, is_word=self.is_word)
        yield [*map(self.value, final)]
        yield [*map(self.value, others)]
        if not_taken_back(given) == given:
            yield [self.value(word) for line in lines[:1] if (word := alone(line, self.pattern)) is not None]
        yield [*map(self.value, self.told(text))]

    def _of_json(self, field: Any) -> bool | float | None:
        if isinstance(field, bool):
            field = "yes" if field else "no"
        word = alone(self.prepared(str(field)), self.pattern)
        return None if word is None else self.value(word)


class YesOrNo(Reading):
    """Whether an answer meets a criterion."""

    instruction = "Does the answer meet the criterion? Reply with YES or NO, and nothing else."
    wanted = "neither YES nor NO"
    pattern = r"\b(?:yes|no)\b"
    nouns = _ANSWERS
    is_word = True

    def told(self, text: str) -> Iterable[str]:
        """A sentence that begins with it: ``Yes, it does.``."""
        return opening(text, self.pattern)

    def value(self, word: str) -> bool:
        """Yes is true."""
        return word.lower() == "yes"


class Range(Reading):
    """How far it does, as a number.

    Args:
        low: The least.
        high: The most.
    """

    nouns = r"note|nota|on\s+(?:a|the)\s+scale(?:\s+of|\s+from)?"

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high
        kind = "whole number" if isinstance(low, int) and isinstance(high, int) else "number"
        self.instruction = (
            f"How far does the answer meet the criterion? Reply with a {kind} from {low} (not at all) to {high} "
            "(entirely), and nothing else."
        )
        self.wanted = f"no number from {low} to {high}"
        percent = "" if high == 100 else r"|\s*%"
        number = r"[-+]?\d+(?:\.\d+)?"
        self.pattern = rf"(?<![\w.,/]){number}(?!\w|[.,]\d|\s*[-\u2013\u2014]\s*\d|\s*/{percent})"
        most, least = (rf"{re.escape(str(each))}(?:\.0+)?" for each in (high, low))
        of = r"\s*\(?\s*(?:/|\bout\s+of\b|\bof\b|\bvon\b|\bsur\b|\bde\b|\bsobre\b)\s*"
        self._of = re.compile(rf"(?<=\d){of}{most}(?![\w]|[.,]\d)", re.IGNORECASE)
        self._of_other = re.compile(rf"(?<![\w.,/]){number}{of}{number}", re.IGNORECASE)
        self._scale = re.compile(
            rf"(?<![\w.,]){least}\s*(?:-|to|and|through|bis|\u00e0|a)\s*{most}(?![\w]|[.,]\d)", re.IGNORECASE
        )
        self._whole_fraction = re.compile(
            rf"(?<![\w.,/])({number})(?:\s*/\s*|\s+out\s+of\s+){most}(?=[*_`)\s]*(?:[.,;!]?\s*$|[.,;!)]\s))",
            re.IGNORECASE | re.MULTILINE,
        )

    def prepared(self, text: str) -> str:
        """Without ``/5``, and without the scale itself; what is said on another scale is none of it."""
        text = text.replace("%", "") if self._high == 100 else text
        text = self._scale.sub("", text.translate(_MINUS))
        fractions = self._whole_fraction.sub(rf"\1{_FRACTION}", text)
        return self._of_other.sub("?", self._of.sub("", fractions))

    def told(self, text: str) -> Iterable[str]:
        """``I give it 4/5.``, ``4 - it is fine``."""
        said = [part for part in sentences(text) if not is_hedged(part)]
        given = rf"\bI\s+(?:rate|give|score|grade)\s+{_JUDGED}\s+(?:an?|as|at)?\s*({self.pattern}){AFTER}*$"
        fractions = [match[1] for part in said for match in re.finditer(rf"({self.pattern}){_FRACTION}", part)]
        rated = [
            match[1]
            for part in sentences(text.replace("I would ", "I ").replace("I'd ", "I "))
            if not is_hedged(part) and (match := re.search(given, part, re.IGNORECASE))
        ]
        if fractions or rated:
            return [*fractions, *rated]
        lines = [line for line in text.splitlines() if re.match(rf"{BEFORE}*?{self.pattern}", line)]
        begins = re.match(rf"{BEFORE}*?({self.pattern})(?:\s+[-\u2014]|:|\s+because\b)\s+\D*$", text)
        return [begins[1]] if begins is not None and len(lines) == 1 and not is_hedged(text) else []

    def value(self, word: str) -> float | None:
        """The number, where it is on the scale."""
        number = float(word)
        return number if self._low <= number <= self._high else None


class Words(Reading):
    """Which of several words describes it.

    Args:
        counts: What each of them counts.
    """

    nouns = _ANSWERS

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
        self.pattern = rf"(?<![\w-])(?<!\bnot\s)(?<!n't\s)(?<!\bno\s)(?:{words})(?![\w-])"

    def told(self, text: str) -> Iterable[str]:
        """``It is bad.``, where no other of the words is there."""
        verb = r"(?:is|was|seems|looks|deserves|earns|gets)"
        said_of = rf"(?:{_JUDGED}\s+{verb}|I\s+(?:rate|call)\s+(?:it|this))\s+(?:an?\s+)?"
        given = rf"{BEFORE}*?(?:{said_of})?({self.pattern}){AFTER}*"
        found = [match[1] for part in sentences(text) if (match := re.fullmatch(given, part, re.IGNORECASE))]
        others = {self.value(word) for word in re.findall(self.pattern, text, re.IGNORECASE)}
        return found if len(others) == 1 else []

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

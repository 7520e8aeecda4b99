"""Which of several answers an output gives, however it says so."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

_READ = 10_000
"""How many characters are read of the beginning and of the end of an output."""
_NEAR = 80
_INVISIBLE = dict.fromkeys([0x00AD, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
_ARTICLES = ("A", "I")
_LETTER = r"[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
"""Of a script that puts spaces between words, or a digit."""
_MARKS = " \t\"'\u201c\u201d\u2018\u2019`*_$({[<"
_OPENING = _MARKS + "\\"
_CLOSING = " \t\"'\u201c\u201d\u2018\u2019`*_$)}]>\\.,:;!?\u3002"
_MARKED_BEFORE = tuple("\"'\u201c\u2018`*_$({[<")
_MARKED_AFTER = re.compile(r"[\"'\u201d\u2019`*_$)}\]>]|[.:](?:\s|$)|\\\)")
_COMMAND = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|boxed|fbox)?$")
_KIND = r"(?:\s+(?:the\s+)?(?:option|choice|letter|answer))?"
_CUE = re.compile(
    rf"""\b(?:
        (?:answer|choice|option|solution|response|letter|selection)s?\b[^\n;!?]{{0,40}}?
            (?:[:=>]|\b(?:is|are|be|was)) [\s"'*_`]* {_KIND}
      | (?:choose|chose|pick|picked|select|selected|(?:go|going|went)\s+with|opt\s+for|vote\s+for) {_KIND}
      | (?:correct|right|best)\s+(?:answer|choice|option)
    )$""",
    re.VERBOSE | re.IGNORECASE,
)
_LABELLED = re.compile(r"(?:^|\n)[^\n]{1,40}:[\s*_`\"']*$")
_NEGATED = re.compile(
    r"""(?: \b(?:not|never|cannot|nor|neither|except|excluding|eliminate[sd]?|rul(?:e|es|ed|ing)\s+out
            |rather\s+than|instead\s+of|over) | n['\u2019]t )\b (?:\s+\w+){0,2} $
      | \b(?:wrong|incorrect|worst|false)\s+(?:answer|choice|option)s?\b[^\n.;!?]{0,20}$""",
    re.VERBOSE | re.IGNORECASE,
)
_CONFIRMED = re.compile(
    r"""\s*(?: (?:is|seems|looks|must\s+be)\s+(?:the\s+)?(?:most\s+)?(?:correct|right|best|answer|true)
            | ,?\s*(?:because|since) )\b""",
    re.VERBOSE | re.IGNORECASE,
)
_JOINED_BEFORE = r"(?:\b(?:or|and|oder|und)|[,/&])$"
_JOINED_AFTER = r"\W{0,6}(?:\b(?:or|and|oder|und)\b|[,/&])\W{0,6}"
_GOES_ON = re.compile(r"[^\S\n]+(?!(?:because|since|as|due|given|which|with|based)\b)[^\W\d_]")


def choice(output: object, choices: Sequence[str]) -> str | None:
    r"""Which of the choices the output gives; `None` where it gives none, or more than one.

    What it declares counts most, and the last time that it does: ``The answer is (B).``, ``ANSWER: **B**``,
    ``I choose B``, ``B is correct``, ``\boxed{\text{B}}``. Then a line of its own, at the end or at the beginning,
    and then what alone is mentioned, if it is marked, as in ``(B)`` and ``B) Paris``, or ends the output. What is ruled
    out, as in ``not B``, is not given. What stands before ``</think>`` is not read, and of a very long output only the
    beginning and the end.

    Upper and lower case do not matter where the choice stands by itself or is declared. The words "A" and "I" are no
    choices: ``A car.`` gives none.

    Args:
        output: What the model said.
        choices: Their labels: ``"ABCD"``, or ``["yes", "no"]``.

    Returns:
        The label, as it is in `choices`.

    Raises:
        ValueError: There are fewer than two labels, or one is empty or there twice.
        TypeError: A label is no text.
    """
    labels = _labels(tuple(choices))
    if output is None:
        return None
    text = output.decode("utf-8", "replace") if isinstance(output, (bytes, bytearray)) else str(output)
    text = text.rpartition("</think>")[2]
    if len(text) > 2 * _READ:
        text = f"{text[:_READ]}\n{text[-_READ:]}"
    text = unicodedata.normalize("NFKC", text.encode("utf-8", "ignore").decode()).translate(_INVISIBLE).strip()
    if (found := labels.alone(text)) is not None:
        return found
    mentions = [*labels.mentions(text)]
    declared = [mention for mention in mentions if mention.is_declared]
    if declared:
        return None if declared[-1].is_joined else declared[-1].label
    lines = [line for line in text.splitlines() if line.strip()]
    for line in [*lines[-1:], *lines[:1]]:
        if (found := labels.alone(line)) is not None:
            return found
    return _only(mentions)


@dataclass(frozen=True, slots=True)
class _Mention:
    """Where a label stands in a text.

    Args:
        label: The label.
        is_declared: Whether it is said to be the answer.
        is_joined: Whether it is one of several, as in ``A or B``.
        is_marked: Whether it is marked as a label, or ends the text, and is not ruled out.
        is_first: Whether it is marked, and the text begins with it.
        counts: Whether it may be the answer at all.
    """

    label: str
    is_declared: bool
    is_joined: bool
    is_marked: bool
    is_first: bool
    counts: bool


def _only(mentions: Sequence[_Mention]) -> str | None:
    """What alone is mentioned, or, where the text begins with it, alone is marked."""
    marked = {mention.label for mention in mentions if mention.is_marked and not mention.is_joined}
    if len(marked) != 1:
        return None
    others = {mention.label for mention in mentions if mention.counts}
    return marked.pop() if others == marked or mentions[0].is_first else None


class _Labels:
    """Finds labels in texts.

    Args:
        given: The labels.
    """

    def __init__(self, given: Sequence[str]) -> None:
        self._labels = {unicodedata.normalize("NFKC", label).strip(): label for label in given}
        folded = {name.casefold(): label for name, label in self._labels.items()}
        self._folded = folded if len(folded) == len(self._labels) else {}
        names = sorted(self._labels, key=len, reverse=True)
        any_name = "|".join(map(re.escape, names))
        self._any = re.compile(
            rf"(?<!{_LETTER}|['\u2019])(?<!{_LETTER}[-.,])(?P<name>{any_name})(?!{_LETTER}|['\u2019]\w|[.,]\d|[-+#][\w+])",
            re.IGNORECASE if self._folded else re.NOFLAG,
        )
        self._joined_before = re.compile(rf"(?:{any_name})\W{{0,6}}{_JOINED_BEFORE}")
        self._joined_after = re.compile(rf"{_JOINED_AFTER}(?:{any_name})(?!{_LETTER})")

    def alone(self, text: str) -> str | None:
        """The label that is all there is in a text, but for what marks it."""
        text = re.sub(r"\\(?:text|textbf|mathrm|mathbf|mbox|boxed|fbox)\s*(?=\{)|</?answer>", "", text)
        return self._label(text.strip(_OPENING + _CLOSING + "\n"))

    def mentions(self, text: str) -> Iterator[_Mention]:
        """Where labels stand in a text."""
        for match in self._any.finditer(text):
            label = self._label(match["name"])
            if label is None:
                continue
            is_exact = len(match["name"]) > 1 or match["name"] in self._labels
            after = text[match.end() : match.end() + _NEAR]
            close = text[max(0, match.start() - _NEAR) : match.start()]
            before, is_boxed = _without_marks(close)
            line_ends = not after.partition("\n")[0].strip(_CLOSING)
            if line_ends and not before.rpartition("\n")[2].strip():
                before = before.rstrip()
            has_mark_before = close.endswith(_MARKED_BEFORE)
            has_mark_after = _MARKED_AFTER.match(after) is not None
            stands_apart = has_mark_before or has_mark_after or line_ends
            is_word = not stands_apart and (not is_exact or match["name"] in _ARTICLES)
            is_word = is_word and (not is_exact or _GOES_ON.match(after) is not None)
            is_negated = _NEGATED.search(before) is not None
            is_confirmed = is_exact and _CONFIRMED.match(after.lstrip(_CLOSING[2:])) is not None
            is_cued = _CUE.search(before) is not None or (line_ends and _LABELLED.search(before) is not None)
            in_brackets = has_mark_before and has_mark_after
            begins = match.start() <= 3 and not close.strip(_OPENING)
            begins = begins and (has_mark_after or (after[:1] == "," and match["name"] not in _ARTICLES))
            ends = match.end() + len(after) == len(text) and not after.strip(_CLOSING + "\n")
            counts = (is_exact and not is_word) or in_brackets
            yield _Mention(
                label,
                not is_negated and (is_boxed or is_confirmed or (is_cued and not is_word)),
                self._joined_after.match(after) is not None or self._joined_before.search(before) is not None,
                counts and not is_negated and (in_brackets or has_mark_after or ends or begins),
                begins,
                counts,
            )

    def _label(self, name: str) -> str | None:
        return self._labels.get(name) or self._folded.get(name.casefold())


def _without_marks(before: str) -> tuple[str, bool]:
    """What stands before a label and all that marks it, and whether that is a box."""
    is_boxed, more = False, ""
    while before != more:
        more, before = before, before.rstrip(_MARKS)
        if (command := _COMMAND.search(before)) is not None:
            is_boxed = is_boxed or command[0].endswith(("fbox", "boxed"))
            before = before[: command.start()]
    return before, is_boxed


@lru_cache(maxsize=64)
def _labels(given: tuple[object, ...]) -> _Labels:
    names: list[str] = []
    for label in given:
        if not isinstance(label, str):
            raise TypeError(f"choices are texts, such as 'ABCD' or ['yes', 'no'], not {label!r}")
        names.append(label)
    normal = [unicodedata.normalize("NFKC", name).strip() for name in names]
    if len(names) < 2 or not all(normal) or len(set(normal)) < len(normal):
        raise ValueError(f"choices are two or more different labels, such as 'ABCD', not {', '.join(map(repr, names))}")
    return _Labels(names)

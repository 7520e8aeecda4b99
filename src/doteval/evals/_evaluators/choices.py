"""Which of several answers an output gives, however it says so."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from .declared import not_taken_back

_READ = 10_000
"""How many characters are read of the beginning and of the end of an output."""
_NEAR = 80
_SENTENCE = 400
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
_ANSWER = (
    r"(?:answers?|solution|choice|option|response|letter|selection|antwort|l\u00f6sung|r[\u00e9e]ponse|respuesta|opci[\u00f3o]n"
    r"|risposta|resposta|antwoord|svar|odpowied\u017a|cevap|\u043e\u0442\u0432\u0435\u0442|\u7b54\u6848|\u7b54\u3048|\u6b63\u89e3"
    r"|\u6b63\u7b54|\uc815\ub2f5|\ub2f5|\u0627\u0644\u062c\u0648\u0627\u0628|\u05d4\u05ea\u05e9\u05d5\u05d1\u05d4)"
)
_VERB = r"(?:is|are|be|was|ist|lautet|est|es|\u00e8|\u00e9|\u662f)"
_CUE = re.compile(
    rf"""\b(?:
        {_ANSWER}\b[^\n;!?]{{0,40}}? (?:[:=>\uff1a]|\b{_VERB}\b) [\s"'*_`]* (?:la|die|der|the|l['\u2019])?\s* {_KIND}
      | (?:choose|chose|pick|picked|select|selected|(?:go|going|went)\s+with|opt\s+for|vote\s+for) {_KIND}
      | (?:correct|right|best)\s+(?:answer|choice|option)
    )$""",
    re.VERBOSE | re.IGNORECASE,
)
_LINE = re.compile(
    rf"""^[\W_]* (?P<final>(?:(?:my|the|so|thus|hence|meine|die|ma|la|mi)[\s,]+){{0,3}}(?:final|endg\u00fcltige)\s+)?
        (?:(?:my|the|so|therefore|thus|hence|correct|right|best|meine|die|richtige|ma|la|mi|bonne)[\s,]+){{0,3}}
        {_ANSWER} (?P<behind>\s+(?:finale?|final))? (?:\s+(?:correcta?|correcte|richtig))?
        (?:\s*\([^()\n]{{0,20}}\))? [\s*_`"']* (?:[:=>\uff1a]|(?P<verb>\b{_VERB}\b)) [\s*_`"']* {_KIND}$""",
    re.VERBOSE | re.IGNORECASE,
)
"""What stands in a line before a label, where the line is nothing but ``Answer: B``."""
_NEGATED = re.compile(
    r"""(?: \b(?:not|never|cannot|nor|neither|except|excluding|exclude[sd]?|eliminate[sd]?|reject(?:ed)?|discard(?:ed)?
            |rul(?:e|es|ed|ing)\s+out |rather\s+than|instead\s+of|over) | n['\u2019]t )\b (?:\s+\w+){0,2} $
      | \b(?:wrong|incorrect|worst|false|falsche?|faux|fausse|incorrecta)\s+(?:answer|choice|option|antwort)s?\b
        [^\n.;!?]{0,20}$""",
    re.VERBOSE | re.IGNORECASE,
)
_HEDGED = re.compile(
    r"""\b(?:if|unless|would|could|might|may|not|never|cannot|wrong|wrongly|incorrect|false|falsely|neither|nor|except
        |rather|seemed|tempting|consider(?:ed)?|mistake|distractor|trap|opposite|whether|claim(?:s|ed)?\s+that|perhaps|maybe|unlikely
        |some\s+(?:say|people|argue|think)
        |nicht|kein\w*|falsch\w*|wenn|falls|w\u00e4re|w\u00fcrde|k\u00f6nnte|vielleicht
        |pas|si|serait|faux|fausse|sauf|ser\u00eda|incorrecta|no\s+es)\b | n['\u2019]t\b""",
    re.VERBOSE | re.IGNORECASE,
)
_I_WOULD = re.compile(
    r"\bI\s*(?:would|['\u2019]d)\s+(?=(?:choose|pick|select|go|opt|vote|say|answer)\b)", re.IGNORECASE
)
_GIVEN = re.compile(r"^\W*(?:since|because|as|given)\b[^\n]*,", re.IGNORECASE)
"""A reason, in which anything may be said not to be so."""
_CLAUSE = re.compile(
    r"[.!?;\n]|,\s*(?=(?:but|so|and|yet|however|therefore|hence|thus)\b)|\b(?:but|so)\b", re.IGNORECASE
)
_COMMA = re.compile(r",(?!\s*(?:which|but\s+(?:it|this|that))\b)")
_SENTENCE_ENDS = re.compile(r"[.!?\n]")
_ON_CONDITION = re.compile(r"\b(?:if|unless|would|only|wenn|falls|nur)\b", re.IGNORECASE)
_NOT_SO = re.compile(
    r"\b(?:is|was|are|seems|looks|ist|est|es)\s+(?:clearly\s+|also\s+)?(?:not|wrong|incorrect|false|falsch|faux)\b"
    r"|,\s*but\s+(?:it|this|that)\s+\w+(?:\s+not\b|n['\u2019]t\b)",
    re.IGNORECASE,
)
_GOES_ON_WITH_VERB = re.compile(
    r"""[\s*_`)\]"']*(?:is|isn|was|are|aren|seems?|looks?|can|cannot|could|does|doesn|do|would|must|might|may|should|has|had
        |fails?|ist|kann|est|es)\b""",
    re.VERBOSE | re.IGNORECASE,
)
_CONFIRMED = re.compile(
    r"""\s*(?: (?:is|seems|looks|must\s+be)\s+(?:the\s+)?(?:most\s+|only\s+)?(?:correct|right|best|answer|true)
            (?:\s+(?:answer|option|choice|one))?
          | ist\s+(?:richtig|korrekt|die\s+(?:richtige\s+)?antwort)
          | est\s+(?:correcte?|la\s+bonne\s+r\u00e9ponse) | es\s+(?:correcta|la\s+(?:respuesta\s+)?correcta))
        (?=\W*$|\W*[.,;:!)\n]|\s+(?:because|since|as|and|here|weil|car|porque)\b)""",
    re.VERBOSE | re.IGNORECASE,
)
_REASONED = re.compile(r"\s*,?\s*(?:because|since)\b", re.IGNORECASE)
_JOINED_BEFORE = r"(?:\b(?:or|and|oder|und)|[,/&])$"
_JOINED_AFTER = r"\W{0,6}(?:\b(?:or|and|oder|und)\b|[,/&])\W{0,6}"
_GOES_ON = re.compile(r"[^\S\n]+(?!(?:because|since|as|due|given|which|with|based)\b)[^\W\d_]")


def choice(output: object, choices: Sequence[str]) -> str | None:
    r"""Which of the choices the output gives; `None` where it gives none, or more than one.

    What a line of its own says counts most, ``Final answer: B`` before ``ANSWER: **B**``, ``\boxed{\text{B}}`` and a
    last line that is the label alone. Then what a sentence declares: ``The answer is (B).``, ``I choose B``,
    ``B is correct``; then the first line, if it is the label alone; and then what alone is mentioned, if it is marked,
    as in ``(B)`` and ``B) Paris``, or ends the output. Where two of a kind differ, neither is given, unless one is
    taken back: ``Wait, no``. What is ruled out, asked or supposed, as in ``not B``, ``is it B?`` and ``B if``, is not
    given. Answers may be declared in English, French, German and Spanish. What stands before ``</think>`` is not
    read, and of a very long output only the beginning and the end.

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
    text = unicodedata.normalize("NFKC", text.encode("utf-8", "ignore").decode()).translate(_INVISIBLE)
    text = "\n".join(text.splitlines()).strip()
    if (found := labels.alone(text)) is not None:
        return found
    lines = [line for line in text.splitlines() if line.strip()]
    text = not_taken_back(text)
    mentions = [*labels.mentions(text)]
    if any(mention.rank == _Rank.FINAL for mention in mentions):
        return _agreed(mentions, _Rank.FINAL)
    last = [found for line in lines[-1:] if (found := labels.alone(line)) is not None]
    if last or any(mention.rank == _Rank.LINE for mention in mentions):
        return _agreed(mentions, _Rank.LINE, last)
    if any(mention.rank == _Rank.SENTENCE for mention in mentions):
        return _agreed(mentions, _Rank.SENTENCE)
    if lines and text.startswith(lines[0]) and (found := labels.alone(lines[0])) is not None:
        return found
    return _only(mentions)


def _agreed(mentions: Sequence[_Mention], rank: _Rank, others: Sequence[str] = ()) -> str | None:
    """What all that is declared so strongly says."""
    declared = [mention for mention in mentions if mention.rank == rank]
    labels = {*others, *(mention.label for mention in declared)}
    return labels.pop() if len(labels) == 1 and not any(mention.is_joined for mention in declared) else None


class _Rank(IntEnum):
    """How strongly a label is said to be the answer."""

    NONE = 0
    SENTENCE = 1
    LINE = 2
    FINAL = 3


@dataclass(frozen=True, slots=True)
class _Mention:
    """Where a label stands in a text.

    Args:
        label: The label.
        rank: How strongly it is said to be the answer.
        is_joined: Whether it is one of several, as in ``A or B``.
        is_marked: Whether it is marked as a label, or ends the text, and is not ruled out.
        is_first: Whether it is marked, and the text begins with it.
        counts: Whether it may be the answer at all.
    """

    label: str
    rank: _Rank
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
    return marked.pop() if others == marked or (mentions[0].is_first and mentions[0].is_marked) else None


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
        """Where labels stand in a text; what repeats itself, with all that is around it, is looked at once."""
        known: dict[tuple[str, str, str, bool, bool], _Mention] = {}
        for match in self._any.finditer(text):
            label = self._label(match["name"])
            if label is None:
                continue
            start, end = match.span()
            place = (
                match["name"],
                text[max(0, start - _SENTENCE) : start],
                text[end : end + _NEAR],
                start <= 3,
                end + _NEAR >= len(text),
            )
            if place not in known:
                known[place] = self._mention(label, *place)
            yield known[place]

    def _mention(self, label: str, name: str, far: str, after: str, is_at_start: bool, is_at_end: bool) -> _Mention:
        """What is said of a label that is written so, by what is before and after it."""
        is_exact = len(name) > 1 or name in self._labels
        close = far[-_NEAR:]
        before, is_boxed = _without_marks(close)
        line_ends = not after.partition("\n")[0].replace("</answer>", "").strip(_CLOSING)
        if line_ends and not before.rpartition("\n")[2].strip():
            before = before.rstrip()
        has_mark_before = close.endswith(_MARKED_BEFORE)
        has_mark_after = _MARKED_AFTER.match(after) is not None
        stands_apart = has_mark_before or has_mark_after or line_ends
        is_word = not stands_apart and (not is_exact or name in _ARTICLES or len(name) > 1)
        is_word = is_word and (not is_exact or _GOES_ON.match(after) is not None)
        is_negated = _NEGATED.search(before) is not None
        is_confirmed = is_exact and _CONFIRMED.match(after.lstrip(_CLOSING[2:])) is not None
        begins = is_at_start and not close.strip(_OPENING)
        is_reasoned = is_exact and begins and _REASONED.match(after.lstrip(_CLOSING[2:])) is not None
        is_cued = _CUE.search(before) is not None
        line = _LINE.match(before.rpartition("\n")[2]) if line_ends else None
        in_brackets = has_mark_before and has_mark_after
        begins = begins and (has_mark_after or (after[:1] == "," and name not in _ARTICLES))
        ends = is_at_end and not after.strip(_CLOSING + "\n")
        counts = (is_exact and not is_word) or in_brackets
        is_said = is_cued or is_confirmed or is_reasoned or is_boxed or stands_apart or begins
        is_hedged = is_said and _is_hedged(far, after)
        is_of_other = after[:1] == ":" and not begins and not line_ends  # what follows is about it
        is_of_other = is_of_other or (not is_cued and before.rstrip().endswith((":", "=", "\uff1a")))
        is_out = is_negated or is_hedged or is_of_other or _GOES_ON_WITH_VERB.match(after) is not None
        rank = _Rank.NONE
        if is_negated:
            pass
        elif is_boxed or (line is not None and not line["verb"]):
            is_final = line is not None and (line["final"] or line["behind"])
            rank = _Rank.FINAL if is_final else _Rank.LINE
        elif not is_hedged and (is_confirmed or is_reasoned or (is_cued and not is_word)):
            rank = _Rank.SENTENCE
        return _Mention(
            label,
            rank,
            self._joined_after.match(after) is not None or self._joined_before.search(before) is not None,
            counts and not is_out and (in_brackets or has_mark_after or ends or begins),
            begins,
            counts,
        )

    def _label(self, name: str) -> str | None:
        return self._labels.get(name) or self._folded.get(name.casefold())


def _is_hedged(before: str, after: str) -> bool:
    """Whether the clause that a label stands in says what is not so, or may not be, or asks."""
    ends = _SENTENCE_ENDS.search(after)
    rest = after if ends is None else after[: ends.start()]
    if (ends is not None and ends[0] == "?") or _ON_CONDITION.search(rest) or _NOT_SO.search(_COMMA.split(rest)[0]):
        return True
    clause = _CLAUSE.split(before)[-1]
    return _HEDGED.search(_I_WOULD.sub("", _GIVEN.sub("", clause))) is not None


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

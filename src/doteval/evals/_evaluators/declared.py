"""Where in a reply something is declared: what stands alone, what a label announces, what is taken back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

_READ = 10_000
"""How many characters are read of the beginning and of the end of a reply."""
BEFORE = r"(?:[^\w?<>\u2264\u2265\u2248~\u00b1/|%]|_)"
"""What may stand before a word without being part of what is said."""
AFTER = r"(?:[^\w?<>\u2264\u2265\u2248~\u00b1/|%+\-]|_)"
_CLOSING = r"[\s*_`\"'\u201d\u2019)\]}$]*"
_LATEX = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|boxed|fbox)\s*(?=\{)")
_TAGGED = re.compile(r"<([A-Za-z_]{1,30})>([^<>]{0,200})</\1>")
_QUOTED = re.compile(r"^[ \t]*>[^\n]*$", re.MULTILINE)
_TAKEN_BACK = re.compile(
    r"(?:(?:^|[.!?\u2026\n])\W*(?:hold\s+on|actually|correction|scratch\s+that|on\s+second\s+thoughts?|on\s+reflection|moment)\b"
    r"|\b(?:no,\s+wait|wait,?\s+no)\b|(?:^|[.!?\u2026\n])\W*wait\b)(?=\s*[,:;.!\u2014-])",
    re.IGNORECASE,
)
_ASKED = re.compile(r"^\W*(?:question|frage|pregunta)\b", re.IGNORECASE | re.MULTILINE)
_HEDGE = re.compile(
    r"\b(?:if|unless|(?<!\bI\s)would|could|might|may|cannot|can't|unable|and\s+(?:no|yes)|wenn|falls|w\u00fcrde|w\u00e4re|si|serait|ser\u00eda)\b",
    re.IGNORECASE,
)
_REVISED = re.compile(
    r"\b(?:if|unless|wait|actually|minus|deduct\w*|less|rather|instead|should|chang\w*|revis\w*|lower\w*|raise\w*|but"
    r"|wenn|aber|si|mais|pero)\b",
    re.IGNORECASE,
)
_OTHER = re.compile(r"\W*(?:or|to|and|oder|bis|und|ou|et|o|y|through)\b", re.IGNORECASE)
_PREFIX = (
    r"(?:(?P<final>(?:final|overall|total|endg\u00fcltiges?|abschlie\u00dfendes?)\b[\s,:]*)"
    r"|(?P<own>(?:my|so|therefore|thus|hence|finally|in\s+conclusion|meine?|mon|ma|mi)\b[\s,:]*)"
    r"|(?:the|this|das|die|le|la|el)\b[\s,:]*){0,4}"
)
_NOUNS = (
    r"verdict|score|rating|grade|mark|judge?ment|decision|assessment|evaluation|urteil|bewertung|punktzahl|jugement"
    r"|[\u00e9e]valuation|veredicto|puntuaci[\u00f3o]n|calificaci[\u00f3o]n|valoraci[\u00f3o]n"
)
_FINAL_NOUNS = r"overall|gesamt(?:urteil|note|bewertung|punktzahl|wertung)"
_LABEL_ENDS = (
    rf"(?:\s*\([^()\d\n]{{0,40}}\))?{_CLOSING}"
    r"(?:[:\uff1a=\u2192]|-+>|[-\u2013\u2014](?=\s)|(?P<verb>\b(?:is|ist|lautet|est|es)\b)|\n)"
)
_FIELD = re.compile(
    rf"(?P<final>(?:final|overall|total)[_ -]?)?(?:(?:{_NOUNS}|answer|result)|(?P<whole>overall))", re.IGNORECASE
)
_YES_OR_NO_FIELD = re.compile(
    r"(?:meets?_(?:the_)?criterion|criterion_(?:is_)?met|is_met|pass(?:es|ed)?)", re.IGNORECASE
)


class Reply(NamedTuple):
    """What was replied.

    Args:
        text: What counts of it: without thoughts, quotations and markup.
        final: What it says as JSON, by the name of the field; `None` where it says nothing as JSON.
    """

    text: str
    fields: list[Any] | None


def reply_of(given: str) -> Reply:
    """A reply as it is read."""
    text = given.rpartition("</think>")[2]
    if len(text) > 2 * _READ:
        text = f"{text[:_READ]}\n{text[-_READ:]}"
    fields = _fields(text)
    text = _TAGGED.sub(r"\n\1: \2\n", _LATEX.sub("", _QUOTED.sub("", text)))
    return Reply(text.strip(), fields)


def alone(text: str, pattern: str) -> str | None:
    """What a text is, but for what marks it."""
    match = re.fullmatch(rf"{BEFORE}*?({pattern}){AFTER}*", text, re.IGNORECASE)
    return None if match is None else match[1]


def not_taken_back(text: str) -> str:
    """What comes after the last ``Wait, no``."""
    matches = [*_TAKEN_BACK.finditer(text)]
    return text[matches[-1].end() :] if matches else text


def sentences(text: str) -> list[str]:
    """The sentences of a text, with what ends them; a line ends one, too."""
    return [part for part in re.split(r"(?<=[.!?;])[*_`\"')\]]*\s+|\n+", text) if part.strip()]


def labelled(text: str, pattern: str, nouns: str, *, is_word: bool) -> tuple[list[str], list[str]]:
    """What labels announce at the beginning of a line or sentence: the final ones, and the others.

    Args:
        text: What is read.
        pattern: What may be said.
        nouns: Other labels, as a pattern.
        is_word: Whether a reason may follow in which such words occur, too.
    """
    answers = "" if _ASKED.search(text) else f"|(?P<answer>{nouns})"
    label = re.compile(
        rf"(?:^|(?<=[.!?;])\s+){BEFORE}*{_PREFIX}(?:(?P<whole>{_FINAL_NOUNS})|(?:{_NOUNS}{answers}))"
        rf"(?P<behind>\s+(?:finale?|globale?|general))?{_LABEL_ENDS}{BEFORE}*?(?:(?:an?|eine?|une?)\s+)?"
        rf"(?P<word>{pattern})(?P<rest>[^\n]*)",
        re.IGNORECASE | re.MULTILINE,
    )
    final: list[str] = []
    others: list[str] = []
    for match in label.finditer(text):
        line_begins = text.rfind("\n", 0, match.start("word")) + 1
        is_quoted = text.count('"', line_begins, match.start()) % 2 == 1
        if is_quoted or not _ends(match["rest"], pattern, is_word=is_word):
            continue
        is_of_the_judged = "answer" in match.re.groupindex and match["answer"] and match["verb"]
        if is_of_the_judged and not (match["own"] or match["final"]):
            continue
        is_final = match["final"] or match["whole"] or match["behind"]
        (final if is_final else others).append(match["word"])
    return final, others


def _ends(rest: str, pattern: str, *, is_word: bool) -> bool:
    """Whether what was announced is all that is said of it, with what follows in its line."""
    if re.fullmatch(f"{AFTER}*", rest):
        return True
    if not re.match(rf"{_CLOSING}(?:[.,;:!](?=\s)|\s+[-\u2013\u2014]\s|\s*\()", rest) or _OTHER.match(rest):
        return False
    if is_word:
        return _HEDGE.search(re.split(r"[.!?]\s", rest.lstrip(".! "))[0]) is None or rest.lstrip("*_`")[:1] in ".!"
    return _REVISED.search(rest) is None and re.search(pattern, rest, re.IGNORECASE) is None


def is_hedged(sentence: str) -> bool:
    """Whether a sentence says something of what is not so, or may not be."""
    return _HEDGE.search(sentence) is not None


def opening(text: str, pattern: str) -> Iterator[str]:
    """What the first sentence begins with, or the last one, where no other sentence begins with another."""
    parts = sentences(text)
    begins = re.compile(
        rf"{BEFORE}*?(?P<word>{pattern}){_CLOSING}(?:[.,;:!]|\s+[-\u2013\u2014]\s|$)(?P<rest>.*)",
        re.IGNORECASE | re.DOTALL,
    )
    found: dict[int, str] = {}
    for place, part in enumerate(parts):
        match = begins.match(part)
        if match is None:
            continue
        answers_itself = place > 0 and "?" in parts[place - 1][-3:]
        if answers_itself or is_hedged(part) or re.search(rf"\b{match['word']}\b", match["rest"], re.IGNORECASE):
            return
        found[place] = match["word"]
    if 0 in found or len(parts) - 1 in found:
        yield from found.values()


def _fields(text: str) -> list[Any] | None:
    """What the fields of a JSON object say that are called after what is asked for; the final ones, if there are."""
    start, end = text.find("{"), text.rfind("}")
    try:
        found: Any = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    final: list[Any] = []
    others: list[Any] = []
    for name, value in cast("dict[str, Any]", found).items():
        match = _FIELD.fullmatch(name)
        if match is not None:
            (final if match["final"] or match["whole"] else others).append(value)
        elif _YES_OR_NO_FIELD.fullmatch(name):
            others.append(value)
    return final or others or None

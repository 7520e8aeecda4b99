"""``Diagnosis``: the line of a log that says why a server failed, and the cause that is known for it.

A log is looked at as a whole: vLLM says what is wrong in the middle, and how it ended in another hundred lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .causes import Cause, ranked
from .output import plain

LONGEST_LINE = 1 << 16
"""How much of a line is kept, in characters."""

_HARMLESS = re.compile(
    r"^(?:\([^()\n]{0,80}\) {0,4})?(?:\[[^\]\n]{0,80}\] {0,4})?(?:(?:time=)?[\dTZ:.,/+-]{1,40}(?: - | {1,4})){0,4}"
    r"(?:[\w.]{1,80}(?: - | ))?[\[<]?"
    r"(?:(?:DEBUG|INFO|WARN|WARNING|info|warning|level=(?:DEBUG|INFO|WARN))\b|[IWD] ).*$"
    r"|^\S{1,400}:\d{1,7}: \w{0,40}Warning: .*$",
    re.MULTILINE,
)
"""A line that says itself that the server goes on: of Python's loggers and warnings, vLLM, uvicorn, Go, llama.cpp."""

_EXCEPTION = re.compile(r"(?:Error|Exception)(?:: |$)", re.MULTILINE)
_TROUBLE = re.compile(
    r"\b(?:[Ee]rror|ERROR|[Ff]atal|FATAL|[Pp]anic|[Ff]ailed|FAILED|[Cc]annot|[Uu]nable|(?<=\d )E)\b", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a log says.

    Args:
        cause: The known cause, with its advice filled in; `None` where none fits.
        line: The line that says so, or the first one that tells of an error, as it was printed; empty where there is
            none.
        number: Which line of the log that is, from 1 on; 0 where that is not known.
        match: What in the line says so.
    """

    cause: Cause | None = None
    line: str = ""
    number: int = 0
    match: str = ""


class Examiner:
    """Looks through a log, piece by piece.

    Args:
        causes: The server's own, the first of which that fits is taken.
        was_ready: Whether the server was: then only what can end such a one is looked for.
    """

    def __init__(self, causes: Iterable[Cause], *, was_ready: bool = False) -> None:
        known = [cause for cause in ranked(causes) if cause.pattern is not None]
        self._left = [cause for cause in known if cause.any_time or not was_ready]  # those before the best one so far
        self._lines = 0
        self._found: Diagnosis | None = None
        self._errors: dict[re.Pattern[str], Diagnosis] = {}
        self._signs = () if was_ready else (_EXCEPTION, _TROUBLE)

    def read(self, text: str) -> None:
        """Look through whole lines.

        Args:
            text: They, or a piece of one that is too long to be looked at as a whole.
        """
        printed = plain(text) if "\x1b" in text or "\x9b" in text else text
        if "\r" in printed:
            printed = printed.replace("\r\n", "\n")
        told = _HARMLESS.sub("", printed)
        for place, cause in enumerate(self._left):
            assert cause.pattern is not None
            if found := cause.pattern.search(told):
                self._found = self._at(told, found, replace(cause, advice=found.expand(cause.advice)))
                del self._left[place:]
                break
        for sign in self._signs:
            if sign not in self._errors and (found := sign.search(told)):
                self._errors[sign] = self._at(told, found)
        self._lines += told.count("\n")

    def result(self) -> Diagnosis:
        """What was found: a known cause, else the first exception, else the first line that tells of trouble."""
        errors = (self._errors[sign] for sign in self._signs if sign in self._errors)
        return self._found or next(errors, Diagnosis())

    def _at(self, text: str, found: re.Match[str], cause: Cause | None = None) -> Diagnosis:
        """Where that was: of a line with carriage returns, the part between two of them."""
        start = 1 + max(text.rfind("\n", 0, found.start()), text.rfind("\r", 0, found.start()))
        ends = [end for end in (text.find("\n", found.end()), text.find("\r", found.end())) if end >= 0]
        line = text[start : min(ends, default=len(text))]
        if len(line) > LONGEST_LINE:
            line = line[max(0, found.start() - start - LONGEST_LINE // 2) :][:LONGEST_LINE]
        return Diagnosis(cause, line, self._lines + text.count("\n", 0, start) + 1, found[0])


def examined(lines: Iterable[str], causes: Iterable[Cause], *, was_ready: bool = False) -> Diagnosis:
    """What some lines say; which of the log they are is not known."""
    examiner = Examiner(causes, was_ready=was_ready)
    examiner.read("\n".join(lines))
    return replace(examiner.result(), number=0)

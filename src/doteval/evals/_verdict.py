"""``Verdict``: a score that says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self


class Verdict(float):
    """A score that also says why: a number, true or false as `value` is.

    As a score of a `Result` it counts as its value, and what it says is kept in the row's metadata, as ``"verdicts"``.

    Args:
        value: The score.
        reasons: Why: what a judge said, or what is wrong with an output.
        votes: What each reply of a judge says; `None`: it cannot be read.
    """

    __slots__ = ("reasons", "value", "votes")

    value: bool | float
    reasons: tuple[str, ...]
    votes: tuple[bool | float | None, ...]

    def __new__(
        cls, value: bool | float, reasons: Sequence[str] = (), votes: Sequence[bool | float | None] = ()
    ) -> Self:
        self = float.__new__(cls, value)
        self.value = value
        self.reasons = tuple(reasons)
        self.votes = tuple(votes)
        return self

    def __getnewargs__(self) -> Any:  # that of a float has one argument
        return self.value, self.reasons, self.votes

    def __repr__(self) -> str:
        details = {"reasons": self.reasons, "votes": self.votes}
        known = "".join(f", {name}={value!r}" for name, value in details.items() if value)
        return f"Verdict({self.value!r}{known})"

    def told(self) -> dict[str, Any]:
        """What is kept of it beside the score; nothing where it says nothing."""
        details: dict[str, Sequence[Any]] = {"reasons": self.reasons, "votes": self.votes}
        return {name: [*value] for name, value in details.items() if value}

"""Values to which several ways lead, and what is known of them after the first."""

from __future__ import annotations

from typing import NamedTuple

_FEW = 5000
"""How many values that hold others are looked at before it is asked which of them they are."""
_SMALL = 50
"""How many others a value holds, however deep, that is looked at each time that it is met."""
_OFTEN = 3
"""How often any other is looked at after that, of which it is not known what it is wherever it is met."""
FAR = 1 << 30
"""A depth below all others."""
_ELSEWHERE = -1


class Known(NamedTuple):
    """What is said of a value wherever it is met.

    Args:
        value: The value, so that nothing else gets its ``id``.
        described: What is said.
        held: How many others it holds, as often as ways lead to them.
        is_guarded: Whether one of these is a credential.
    """

    value: object
    described: object
    held: int
    is_guarded: bool


class Ways:
    """The ways to values that hold others.

    Objects that know each other can be gone through in more orders than there is time for. Where all that a value holds
    lies within it, what is said of it is the same wherever it is met, and is known after the first time; this says how
    far it leads out of it. What leads out of itself is looked at a few times, and by what its class is after that.
    """

    def __init__(self) -> None:
        self.looks = 0
        """How many values were looked at, as often as ways lead to them."""
        self.highest = FAR
        """How high above what is looked at now it leads back to, as a depth."""
        self._known: dict[tuple[int, bool], Known] = {}
        self._times: dict[int, int] = {}
        self._values: list[object] = []
        """Those that are counted, so that nothing else gets the ``id`` of one."""

    def lead_back(self, depth: int) -> None:
        """What is looked at now holds what holds it, which is at a depth."""
        self.highest = min(self.highest, depth)

    def lead_elsewhere(self) -> None:
        """What is said now depends on where it is said, or on what else there is."""
        self.highest = _ELSEWHERE

    def known(self, value: object, *, is_provider: bool) -> Known | None:
        """What is said of a value wherever it is met, if that is known."""
        return self._known.get((id(value), is_provider))

    def know(self, known: Known, *, is_provider: bool) -> None:
        """That is said of a value wherever it is met."""
        self._known[id(known.value), is_provider] = known

    def are_enough_to(self, value: object) -> bool:
        """Whether a value, which is met once more, was looked at as often as is needed."""
        self.looks += 1
        times = self._times.get(id(value), 0)
        if times:
            self._times[id(value)] = times + 1
        return times >= _OFTEN

    def note(self, value: object, held: int) -> None:
        """A value that leads out of itself was looked at.

        Args:
            value: The value.
            held: How many others were looked at for it.
        """
        if is_large(held) and self.looks > _FEW and id(value) not in self._times:
            self._times[id(value)] = 1
            self._values.append(value)


def is_large(held: int) -> bool:
    """Whether a value that holds so many others is said only once what it is."""
    return held > _SMALL

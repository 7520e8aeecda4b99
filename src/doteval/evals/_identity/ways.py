"""How often a value is looked at, to which several ways lead."""

from __future__ import annotations

_FEW = 5000
"""How many values that hold others are looked at before it is asked which of them they are."""
_SMALL = 50
"""How many others a value holds, however deep, that is looked at each time that it is met."""
_OFTEN = 3
"""How often any other is looked at after that."""


class Ways:
    """The ways to values that hold others.

    Objects that know each other can be gone through in more orders than there is time for. What is in each is known
    after the first. What is small, as what many rows of a list share, is looked at for each of them.
    """

    def __init__(self) -> None:
        self.looks = 0
        """How many values were looked at."""
        self._times: dict[int, int] = {}
        self._values: list[object] = []
        """Those that are counted, so that nothing else gets the ``id`` of one."""

    def are_enough_to(self, value: object) -> bool:
        """Whether a value, which is met once more, was looked at as often as is needed."""
        self.looks += 1
        times = self._times.get(id(value), 0)
        if times:
            self._times[id(value)] = times + 1
        return times >= _OFTEN

    def note(self, value: object, held: int) -> None:
        """A value was looked at.

        Args:
            value: The value.
            held: How many others were looked at for it.
        """
        if held > _SMALL and self.looks > _FEW and id(value) not in self._times:
            self._times[id(value)] = 1
            self._values.append(value)

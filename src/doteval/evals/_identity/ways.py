"""How often a value is looked at, to which several ways lead."""

from __future__ import annotations

_FEW = 1000
"""How many values that hold others are looked at before it is asked which of them they are."""
_OFTEN = 3
"""How often one is looked at after that."""


class Ways:
    """The ways to values that hold others.

    Objects that know each other can be gone through in more orders than there is time for. What is in each is known
    after the first.
    """

    def __init__(self) -> None:
        self._looks = 0
        self._times: dict[int, int] = {}
        self._values: list[object] = []
        """Those that are counted, so that nothing else gets the ``id`` of one."""

    def are_enough_to(self, value: object) -> bool:
        """Whether a value, which is met once more, was looked at as often as is needed."""
        self._looks += 1
        if self._looks <= _FEW:
            return False
        times = self._times.get(id(value), 0)
        self._times[id(value)] = times + 1
        if times == 0:
            self._values.append(value)
        return times >= _OFTEN

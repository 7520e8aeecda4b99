"""``Changes``: how a dataset differs from the one whose results are in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from .._errors import DatasetError
from .._results.reading import KnownRow, Moved
from .._results.record import ASIDE, Inputs, base_of
from .dataset import Row, has_name, is_repeated

_ADVICE = (
    "Give the rows a column 'id', or values that can be pickled, and make of them what it takes in the evaluation."
)
_NOTHING: dict[int, KnownRow] = {}


class Changes:
    """How the dataset differs from the one whose results are in the store.

    A row whose column ``id`` others have, too, has the result of the same id and values, whatever its key was.

    Args:
        known: What is in the store of it.
    """

    def __init__(self, known: Iterable[KnownRow]) -> None:
        self.known: dict[str, dict[int, KnownRow]] = {}
        """What is in the store, by key and sample, and was not read yet."""
        for row in known:
            self.known.setdefault(row.key, {})[row.sample] = row
        self.moved: list[Moved] = []
        """What stands elsewhere now, or has another key, and is not written yet."""
        self.has_other_keys = False
        """Whether some of it has another key."""
        self.unknown: set[str] = set()
        """The types of values that nothing tells from others."""
        self._alike: dict[tuple[str, str], list[str]] | None = None
        """The keys of rows of one id with the same values."""
        self._edited: dict[str, int] = {}
        """Which rows have the keys of others, by those that these have instead."""
        self._aside: dict[str, list[str]] = {}
        """What a run that has not ended has left aside, by the keys that it had before."""
        for key in self.known:
            if ASIDE in key:
                self._aside.setdefault(key.partition(ASIDE)[0], []).append(key)
        self._repeated = 0
        self._example: Row | None = None
        self._has_new_ones = False

    @property
    def gone(self) -> int:
        """How many rows the dataset has no more, when all has been read; one that was edited is still there."""
        return sum(key not in self._edited for key in self.known)

    def anew(self) -> Changes:
        """The same, before anything of the dataset was read."""
        return Changes(each for known in self.known.values() for each in known.values())

    def failed(self, epochs: int) -> int:
        """How many samples have failed of all that are known, where so many of each row count."""
        return sum(each.failed for known in self.known.values() for each in known.values() if each.sample <= epochs)

    def of(self, row: Row) -> Mapping[int, KnownRow]:
        """The samples that are known of a row that is read now, with the same values."""
        key = row.inputs.key
        self._edited |= dict.fromkeys(self._aside.get(key, ()), row.number)
        before = self._key_before(row.inputs)
        if before != key and key in self.known:
            is_edited = before is None or before in self._aside.get(key, ())
            self._step_aside(key, row.number if is_edited else None)
        if before is None:
            self._has_new_ones |= is_repeated(row.inputs)
            return _NOTHING
        there = self.known.pop(before)
        known = {number: each for number, each in there.items() if each.digest == row.inputs.digest}
        if before != key or any(each.number != row.number for each in known.values()):
            self._move(before, key, row.number)
        return known

    def take_moved(self) -> Sequence[Moved]:
        """What is to be written of rows that have moved, which is left to whoever calls it."""
        moved, self.moved, self.has_other_keys = self.moved, [], False
        return moved

    def _key_before(self, inputs: Inputs) -> str | None:
        """The key in the store of the same row, or of one that is equal to it; `None` where there is none."""
        known = self.known.get(inputs.key)
        if known is not None and _digest(known) == inputs.digest:
            return inputs.key
        if not self.known or not has_name(inputs):
            return None
        if self._alike is None:
            self._alike = {}
            for key, samples in self.known.items():
                self._alike.setdefault((base_of(key), _digest(samples)), []).append(key)
        alike = self._alike.get((inputs.base, inputs.digest), [])
        while alike:
            if (key := alike.pop()) in self.known:
                return key
        return None

    def _step_aside(self, key: str, number: int | None) -> None:
        """Another row has this key now."""
        known = self.known.pop(key)
        aside = next(name for each in count(1) if (name := f"{key}{ASIDE}{each}") not in self.known)
        self.known[aside] = known
        if self._alike is not None:
            self._alike.setdefault((base_of(key), _digest(known)), []).append(aside)
        self._move(key, aside, next(iter(known.values())).number)
        self._edited.pop(aside, None)
        if number is not None:
            self._edited[aside] = number

    def _move(self, before: str, key: str, number: int) -> None:
        self.moved.append(Moved(before, key, number))
        self.has_other_keys |= before != key

    def check(self, row: Row, name: str) -> None:
        """A row whose result is kept is told from the others.

        Raises:
            DatasetError: Nothing tells it from one before, which would get its result where they change places.
        """
        if is_repeated(row.inputs):
            self._repeated += 1
            self._example = self._example or row
        if row.inputs.unknown and row.inputs.again:
            kinds = ", ".join(row.inputs.unknown)
            problem = f"nothing tells row {row.number} from one before it: it holds what has no lasting state ({kinds})"
            raise DatasetError(name, problem, _ADVICE, row.number)
        self.unknown.update(row.inputs.unknown)

    def warnings(self, name: str) -> list[str]:
        """What a user is told, when all has been read."""
        found: list[str] = []
        if self.unknown:
            kinds = ", ".join(sorted(self.unknown))
            found.append(
                f"Rows of '{name}' hold what has no lasting state ({kinds}): where such a value changes, the row's old "
                f"result is taken. {_ADVICE}"
            )
        if self._repeated and self._has_new_ones and self._example is not None:
            found.append(_told_of_repeated(self._repeated, self._example, name))
        edited = [number for key, number in self._edited.items() if key in self.known]
        if edited:
            more = f" and {len(edited) - 1:,} more" if len(edited) > 1 else ""
            found.append(
                f"The dataset of '{name}' has changed since it was run: row {edited[0]}{more} had other values; only "
                "what has changed was run again. fresh=True, or --doteval-fresh in pytest, starts over."
            )
        if gone := self.gone:
            rows = f"{gone:,} rows that were" if gone > 1 else "a row that was"
            found.append(
                f"The dataset of '{name}' has changed since it was run: the results of {rows} in it are removed."
            )
        return found


def _digest(samples: Mapping[int, KnownRow]) -> str:
    return next(iter(samples.values())).digest


def _told_of_repeated(number: int, example: Row, name: str) -> str:
    rows = "rows have" if number > 1 else "row has"
    shown = f" ({example.inputs.name!r})" if example.inputs.name is not None else ""
    return (
        f"The ids in the dataset of '{name}' repeat: {number:,} {rows} the 'id' of a row "
        f"before, such as row {example.number}{shown}. Rows of one id are told apart by their values, so one that is "
        "edited is a new row. Give each an 'id' of its own, or none."
    )

"""``Pairs``: what the samples of each row say together, beside the same row elsewhere."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from .._result import Score
from .record import base_of
from .reducers import value_of


class RowScores:
    """The scores of the samples of one row.

    Args:
        digest: A fingerprint of the row's values.
        cluster: What it belongs to with others, where that is known.
    """

    __slots__ = ("_all", "_first", "cluster", "digest")

    def __init__(self, digest: str, cluster: Hashable) -> None:
        self.digest: str | None = digest
        """`None` where samples are of other values, which only a run that has not ended leaves."""
        self.cluster = cluster
        self._first: Mapping[str, Score] | None = None
        self._all: dict[str, list[Score]] | None = None

    def add(self, digest: str, scores: Mapping[str, Score] | None) -> None:
        """One sample.

        Args:
            digest: A fingerprint of its row's values.
            scores: Its scores; `None` where it failed.
        """
        if digest != self.digest:
            self.digest = None
        if scores is None:
            return
        if self._first is None:
            self._first = scores
            return
        if self._all is None:
            self._all = {name: [score] for name, score in self._first.items()}
        for name, score in scores.items():
            self._all.setdefault(name, []).append(score)

    @property
    def has_succeeded(self) -> bool:
        """Whether a sample did not fail."""
        return self._first is not None

    def is_same(self, other: RowScores) -> bool:
        """Whether both are of the same values, and have something to compare."""
        return self.digest == other.digest is not None and self.has_succeeded and other.has_succeeded

    def means(self, reduced: Collection[str] = ()) -> Mapping[str, Score]:
        """The mean of each score over the samples that have it; of a single one, what it is.

        Args:
            reduced: What of its samples together is wanted besides, by names such as ``exact.pass@3``; where they are
                too few, there is nothing.
        """
        if self._all is None:
            means = self._first or {}
        else:
            means = {name: scores[0] if len(scores) == 1 else _mean(scores) for name, scores in self._all.items()}
        return {**dict(self._reduced(reduced)), **means} if reduced else means

    def samples(self, score: str) -> list[Score]:
        """The score of each sample that has it."""
        if self._all is not None:
            return self._all.get(score, [])
        return [self._first[score]] if self._first is not None and score in self._first else []

    def _reduced(self, names: Iterable[str]) -> Iterator[tuple[str, float]]:
        for name in names:
            score, _, reducer = name.rpartition(".")
            if samples := self.samples(score):
                value = value_of(reducer, len(samples), sum(each == 1 for each in samples))
                if value is not None:
                    yield name, value


class Unpaired(NamedTuple):
    """How many rows of two sides cannot be compared, by the reason.

    Args:
        failed: The first side has a result, and the second one failed.
        missing: The first side has a result, and the second one, which has not finished, has none.
        failed_before: The first side failed.
        changed: Either side has other values.
        only_before: Only the first side has them.
        only_after: Only the second side has them.
    """

    failed: int = 0
    missing: int = 0
    failed_before: int = 0
    changed: int = 0
    only_before: int = 0
    only_after: int = 0

    @property
    def total(self) -> int:
        """How many these are."""
        return sum(self)

    @property
    def lost(self) -> int:
        """Of how many rows the second side owes a result: the first one has it, and the dataset has not changed."""
        return self.failed + self.missing

    def told(self, before: str, after: str) -> str:
        """The same in words, with what the sides are called; nothing where there are none."""
        return ", ".join(self._parts(before, after))

    def _parts(self, before: str, after: str) -> Iterator[str]:
        words = (
            f"failed in {after}",
            f"missing, as {after} has not finished",
            f"failed in {before}",
            "with other values",
            f"only in {before}",
            f"only in {after}",
        )
        return (f"{count:,} {what}" for count, what in zip(self, words, strict=True) if count)


class ScorePair(NamedTuple):
    """One row that two evaluations have in common.

    Args:
        cluster: What it belongs to with others, where that is known.
        before: The scores that the first one gave; of several samples, their means.
        after: The scores that the second one gave; likewise.
    """

    cluster: Hashable
    before: Mapping[str, Score]
    after: Mapping[str, Score]


class Pairs(NamedTuple):
    """What two evaluations have in common.

    Args:
        rows: The rows that both have, with the same values, and of which a sample did not fail in either.
        unpaired: How many other rows there are in one or the other.
        results: Of how many rows the first one has a result.
        having: How many of these have each score.
    """

    rows: Sequence[ScorePair] = ()
    unpaired: Unpaired = Unpaired()
    results: int = 0
    having: Mapping[str, int] = MappingProxyType({})


def by_values(*sides: Mapping[str, RowScores]) -> Sequence[Mapping[str, RowScores]]:
    """Rows by key; where several have one ``id``, on whatever side, those by that and their values, in any order."""
    repeated = {base for rows in sides for key in rows if (base := base_of(key)) != key}
    return [_by_values(rows, repeated) for rows in sides] if repeated else sides


def _by_values(rows: Mapping[str, RowScores], repeated: Collection[str]) -> Mapping[str, RowScores]:
    found: dict[str, RowScores] = {}
    count = Counter[str]()
    for key, row in rows.items():
        if (base := base_of(key)) in repeated:
            alike = f"{base} {row.digest}"
            count[alike] += 1
            found[f"{alike} {count[alike]}"] = row
        else:
            found[key] = row
    return found


def paired(
    one: Mapping[str, RowScores], other: Mapping[str, RowScores], reduced: Collection[str], *, is_finished: bool
) -> Pairs:
    """What two sides have in common.

    Args:
        one: The rows of the first side, as `by_values` knows them.
        other: The rows of the second side.
        reduced: What the samples of rows say together that is wanted.
        is_finished: Whether the second side has all that it will have.
    """
    common = [(row, other[key]) for key, row in one.items() if key in other]
    rows = (*one.values(), *other.values()) if reduced else ()
    names = [
        name
        for name in reduced
        if all(score in (0, 1) for row in rows for score in row.samples(name.rpartition(".")[0]))
    ]
    found = [ScorePair(row.cluster, row.means(names), same.means(names)) for row, same in common if row.is_same(same)]
    having = Counter(name for row in one.values() for name in row.means(names))
    results = sum(row.has_succeeded for row in one.values())
    return Pairs(found, unpaired(one, other, is_finished=is_finished), results, having)


def unpaired(before: Mapping[str, RowScores], after: Mapping[str, RowScores], *, is_finished: bool) -> Unpaired:
    """Which rows cannot be compared, and why.

    Args:
        before: The rows of the first side, by key.
        after: The rows of the second side.
        is_finished: Whether the second side has all that it will have.
    """

    def kind(key: str) -> str:
        one, other = before.get(key), after.get(key)
        if one is None:
            return "only_after"
        if other is None:
            return "missing" if one.has_succeeded and not is_finished else "only_before"
        if one.digest is None or one.digest != other.digest:
            return "changed"
        if not one.has_succeeded:
            return "failed_before"
        return "paired" if other.has_succeeded else "failed"

    kinds = Counter(map(kind, {**before, **after}))
    return Unpaired(*(kinds[name] for name in Unpaired._fields))


def _mean(scores: list[Score]) -> float:
    try:
        return math.fsum(scores) / len(scores)
    except (OverflowError, ValueError):  # huge ones
        return sum(float(score) / len(scores) for score in scores)

"""Compares the results of two sides, row by row."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from .intervals import tango
from .moments import Moments
from .reading import Results, Stored


@dataclass(frozen=True, slots=True)
class Difference:
    """How much one score differs, over the rows that both sides have.

    Args:
        score: Its name.
        count: How many rows these are; a row where one side lacks the score is none.
        before: The mean of the first side.
        after: The mean of the second side.
        mean: The mean of the differences, second side less first.
        low: The lower end of its 95 % interval; not a number where there is none.
        high: The upper end.
        is_binary: Whether all scores are 0 or 1, `True` and `False` included; the interval is then Tango's, else
            Student's.
        clusters: How many clusters these rows are in, where the dataset has a column ``cluster``; else `None`.
    """

    score: str
    count: int
    before: float
    after: float
    mean: float
    low: float
    high: float
    is_binary: bool
    clusters: int | None = None

    @property
    def is_clear(self) -> bool:
        """Whether there is an interval, and it leaves no room for no difference."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations, compared.

    Args:
        before: The first side.
        after: The second side.
        differences: The scores that both have.
        unpaired: How many rows could not be compared: only one side has them, they raised, or have other values.
        unmatched: The scores that only one side has in the rows that both have.
    """

    before: Stored
    after: Stored
    differences: tuple[Difference, ...]
    unpaired: int
    unmatched: tuple[str, ...] = ()


@dataclass(slots=True)
class _Pairs:
    """One score, in the rows where both sides have it."""

    before: Moments = field(default_factory=Moments)
    after: Moments = field(default_factory=Moments)
    change: Moments = field(default_factory=Moments)
    gained: int = 0
    lost: int = 0

    def add(self, before: float, after: float, cluster: Hashable) -> None:
        """One more."""
        self.before.add(before)
        self.after.add(after)
        self.change.add(after - before, cluster, largest=max(abs(before), abs(after)))
        self.gained += after > before
        self.lost += after < before

    def difference(self, name: str) -> Difference:
        """How much they differ."""
        change = self.change
        is_binary = self.before.is_binary and self.after.is_binary
        if is_binary:
            share = change.effective_count() / change.count
            low, high = tango(self.gained * share, self.lost * share, change.count * share)
        else:
            _, low, high = change.interval()
        means = self.before.middle, self.after.middle, change.middle
        return Difference(name, change.count, *means, low, high, is_binary, change.cluster_count)


def pairs(before: Sequence[Stored], after: Sequence[Stored]) -> Iterator[tuple[Stored, Stored]]:
    """Which evaluations belong together: those of the same name, else of the same function, else the only ones."""
    if len(before) == len(after) == 1:
        yield before[0], after[0]
        return
    for key in (_name, _function):
        there = {key(stored): stored for stored in after}
        if len(there) == len(after) and len({key(stored) for stored in before}) == len(before):
            found = [(stored, there[key(stored)]) for stored in before if key(stored) in there]
            if found:
                yield from found
                return


def _name(stored: Stored) -> str:
    return stored.name


def _function(stored: Stored) -> str:
    return stored.name.partition("[")[0]


def compare(results: Results, before: Stored, after: Stored, reduced: Collection[str] = ()) -> Comparison:
    """Compare two evaluations, row by row; a row is the same wherever it stands, if it has the same values.

    Args:
        results: Where they are.
        before: The first side.
        after: The second side.
        reduced: What the samples of rows say together that is compared as well, such as ``exact.pass@3``.
    """
    found: dict[str, _Pairs] = {}
    names: set[str] = set()
    pairs = results.pairs(before, after, reduced)
    for cluster, scores, others in pairs.rows:
        names |= scores.keys() | others.keys()
        for name in scores.keys() & others.keys():
            found.setdefault(name, _Pairs()).add(float(scores[name]), float(others[name]), cluster)
    differences = tuple(found[name].difference(name) for name in sorted(found))
    return Comparison(before, after, differences, pairs.total - len(pairs.rows), tuple(sorted(names - found.keys())))

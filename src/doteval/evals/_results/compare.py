"""Compares the results of two sides, row by row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field

from .intervals import are_clear, are_too_many, chance_of_flips, tango
from .moments import Moments
from .pairing import Unpaired
from .reading import Results, Stored

_ROUNDING = 1e-12
_ENOUGH = 4
"""How many rows that all differ by the same are no chance: so many shares that flip are clear, and not fewer."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much one score differs, over the rows that both sides have.

    Args:
        score: Its name.
        count: How many rows these are; a row where one side lacks the score is none.
        only_before: How many rows both sides have, in which only the first one has the score.
        only_after: How many, in which only the second one has it.
        of: In how many rows the first side has it.
        before: The mean of the first side.
        after: The mean of the second side.
        mean: The mean of the differences, second side less first.
        low: The lower end of its 95 % interval; not a number where there is none.
        high: The upper end.
        is_binary: Whether all scores are 0 or 1, `True` and `False` included; the interval is then Tango's, else
            Student's.
        clusters: How many clusters these rows are in, where the dataset has a column ``cluster``; else `None`.
        varies_by: How far the differences are from each other at most, but for rounding.
        chance: How probable it is that they differ so much by chance alone; not a number where there is no interval.
    """

    score: str
    count: int
    only_before: int
    only_after: int
    of: int
    before: float
    after: float
    mean: float
    low: float
    high: float
    is_binary: bool
    clusters: int | None = None
    varies_by: float = math.nan
    chance: float = math.nan

    def is_of_few(self, lost: int = 0) -> bool:
        """Whether fewer than half of the rows in which the first side has it can be compared.

        Args:
            lost: How many of those that cannot be have another judge.
        """
        return 2 * (self.count + lost) < self.of

    def lacking(self, before: str, after: str) -> str:
        """How many rows have it on one side only, in words, with what the sides are called."""
        counts = (self.only_before, after, before), (self.only_after, before, after)
        return ", ".join(f"{count:,} in {here}, where {there} has it" for count, here, there in counts if count)

    @property
    def is_same(self) -> bool:
        """Whether the means are the same, but for rounding."""
        return math.isclose(self.before, self.after, rel_tol=_ROUNDING, abs_tol=_ROUNDING)

    @property
    def is_unchanged(self) -> bool:
        """Whether no row differs, but for rounding."""
        return self.varies_by == 0 and self.is_same

    @property
    def has_interval(self) -> bool:
        """Whether there is one; not where the differences are all the same, as nothing varies."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def is_constant(self) -> bool:
        """Whether several rows differ, and all by the same, which is as certain as it can be, though not an interval.

        Shares always have an interval, which says how certain it is.
        """
        return self.varies_by == 0 and self.count > 1 and not self.is_same and not self.is_binary

    @property
    def is_clear(self) -> bool:
        """Whether there is an interval that leaves no room for no difference, or enough rows all differ by the same."""
        return self.low > 0 or self.high < 0 or (self.is_constant and self.count >= _ENOUGH)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations, compared.

    Args:
        before: The first side.
        after: The second side.
        differences: The scores that both have.
        paired: How many rows could be compared.
        unpaired: How many could not, by the reason.
        results: Of how many rows the first side has a result.
        only_before: The scores that the first side has in the rows that both have, and the second one never with it.
        only_after: The scores that the second side has, likewise.
    """

    before: Stored
    after: Stored
    differences: tuple[Difference, ...]
    paired: int
    unpaired: Unpaired
    results: int
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()


@dataclass(slots=True)
class _Pairs:
    """One score, in the rows where both sides have it."""

    before: Moments = field(default_factory=Moments)
    after: Moments = field(default_factory=Moments)
    change: Moments = field(default_factory=Moments)
    gained: int = 0
    lost: int = 0
    least: float = math.inf
    most: float = -math.inf

    def add(self, before: float, after: float, cluster: Hashable) -> None:
        """One more."""
        self.before.add(before)
        self.after.add(after)
        self.change.add(after - before, cluster, largest=max(abs(before), abs(after)))
        self.least, self.most = min(self.least, after - before), max(self.most, after - before)
        self.gained += after > before
        self.lost += after < before

    def difference(self, name: str, of: int, only_before: int = 0, only_after: int = 0) -> Difference:
        """How much they differ."""
        change = self.change
        is_binary = self.before.is_binary and self.after.is_binary
        if is_binary:
            share = change.effective_count() / change.count
            flips = self.gained * share, self.lost * share
            low, high, chance = *tango(*flips, change.count * share), chance_of_flips(*flips)
        else:
            (_, low, high), chance = change.interval(), change.chance()
        means = self.before.middle, self.after.middle, change.middle
        alike = math.isclose(self.least, self.most, rel_tol=_ROUNDING, abs_tol=_ROUNDING * change.largest)
        varies_by = 0.0 if alike else self.most - self.least
        counts = change.count, only_before, only_after, of
        return Difference(name, *counts, *means, low, high, is_binary, change.cluster_count, varies_by, chance)


def nearest(before: Sequence[Stored], after: Sequence[Stored]) -> list[tuple[Stored, Stored]]:
    """Which may be compared where none are the same: those of the same function, or else the only ones."""
    there = {_function(stored): stored for stored in after}
    if len(there) == len(after) and len({*map(_function, before)}) == len(before):
        found = [(stored, there[_function(stored)]) for stored in before if _function(stored) in there]
        if found:
            return found
    return [(before[0], after[0])] if len(before) == len(after) == 1 else []


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
    ones, others = Counter[str](), Counter[str]()
    pairs = results.pairs(before, after, reduced)
    for cluster, one, other in pairs.rows:
        ones.update(one.keys())
        others.update(other.keys())
        for name in one.keys() & other.keys():
            found.setdefault(name, _Pairs()).add(float(one[name]), float(other[name]), cluster)
    differences = tuple(
        both.difference(name, pairs.having[name], ones[name] - both.change.count, others[name] - both.change.count)
        for name, both in sorted(found.items())
    )
    alone = (tuple(sorted(names.keys() - found.keys())) for names in (ones, others))
    return Comparison(before, after, differences, len(pairs.rows), pairs.unpaired, pairs.results, *alone)


def family_of(comparisons: Sequence[Comparison]) -> list[Difference]:
    """The differences that chance may have made, of all scores of all evaluations: where no row differs, it has not."""
    every = [each for comparison in comparisons for each in comparison.differences]
    return [each for each in every if each.has_interval and not each.is_unchanged]


def clear_among(comparisons: Sequence[Comparison]) -> set[int]:
    """The ids of the differences that are clear where so many are looked at.

    All that are clear by themselves are, where more go in one direction than chance makes.
    """
    family = family_of(comparisons)
    found = are_clear([each.chance for each in family])
    clear = {id(each) for each, is_clear in zip(family, found, strict=True) if is_clear and each.is_clear}
    for direction in (1, -1):
        alike = [each for each in family if each.is_clear and each.mean * direction > 0]
        if are_too_many(len(alike), len(family)):
            clear |= {id(each) for each in alike}
    return clear

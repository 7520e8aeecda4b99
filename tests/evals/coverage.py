"""How often the intervals that are printed hold what they should: computed where that can be, else simulated.

    python -m tests.evals.coverage [SAMPLES]

prints the tables of docs/reference/evals.md, and more of what is simulated; with the 4000 samples that are the default
it takes ten minutes.
"""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache

from doteval.evals._results.compare import _Pairs
from doteval.evals._results.intervals import tango, wilson
from doteval.evals._results.moments import Moments, Running
from doteval.evals._results.reducers import interval
from doteval.evals._results.statistics import aggregate

COUNTS = (5, 20, 100, 1000)
SHARES = (0.5, 0.9, 0.99)
LOWEST, HIGHEST = 0.93, 0.97
SEED = 20


def is_in_band(coverage: float) -> bool:
    return LOWEST <= coverage <= HIGHEST


def binomial(count: int, share: float) -> list[float]:
    """How probable each number of successes is."""
    logs = math.log(share), math.log1p(-share)
    top = math.lgamma(count + 1)
    return [
        math.exp(top - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * logs[0] + (count - k) * logs[1])
        for k in range(count + 1)
    ]


def of_share(count: int, share: float) -> float:
    """Exact, of Wilson's interval."""
    held = 0.0
    for successes, probability in enumerate(binomial(count, share)):
        low, high = wilson(successes / count, count)
        held += probability * (low <= share <= high)
    return held


def share_can_be_in_band(count: int, share: float) -> bool:
    """Whether any interval can: one whose ends rise with the successes holds a share for a run of these numbers."""
    sums = [0.0]
    for probability in binomial(count, share):
        sums.append(sums[-1] + probability)
    return any(is_in_band(high - low) for place, low in enumerate(sums) for high in sums[place + 1 :])


@cache
def flips(count: int, gained: float, lost: float) -> list[tuple[int, int, float]]:
    """How many pairs may flip either way, with the probability; what is less probable than 1e-9 is left out."""
    found: list[tuple[int, int, float]] = []
    for up, of_up in enumerate(binomial(count, gained)):
        if of_up > 1e-9:
            for down, of_down in enumerate(binomial(count - up, lost / (1 - gained))):
                if of_up * of_down > 1e-9:
                    found.append((up, down, of_up * of_down))
    return found


def paired(before: float, after: float) -> tuple[float, float]:
    """How probable it is that a pair flips up or down, if what happens before and after is independent."""
    return (1 - before) * after, before * (1 - after)


def of_paired(count: int, before: float, after: float) -> float:
    """Exact, of Tango's interval."""
    true = after - before
    held = 0.0
    for up, down, probability in flips(count, *paired(before, after)):
        if before == after and up < down:
            continue  # the same as the other way round
        low, high = tango(up, down, count)
        held += probability * (low <= true <= high) * (2 if before == after and up > down else 1)
    return held


@cache
def most_unclear(flipped: int) -> int:
    """How many of these pairs may flip one way with a mid-p-value of McNemar's test of more than 0.1.

    It is how probable so uneven flips are if each is the throw of a coin; of those as uneven, half counts.
    """
    more = 0
    for most in range(flipped, flipped // 2, -1):
        as_many = math.comb(flipped, most)
        if 10 * (2 * more + as_many) > 2**flipped:
            return most
        more += as_many
    return (flipped + 1) // 2


def paired_can_be_in_band(count: int, share: float) -> bool:
    """Whether an interval can that calls nothing a clear difference whose p-value is more than 0.1."""
    found = flips(count, *paired(share, share))
    return sum(probability for up, down, probability in found if max(up, down) <= most_unclear(up + down)) <= HIGHEST


def simulated(samples: int, true: float, draw: Callable[[random.Random], tuple[float, float]]) -> float:
    """How many of the intervals that are drawn hold what is true, of those that there are."""
    chance = random.Random(SEED)
    found = [draw(chance) for _ in range(samples)]
    there = [(low, high) for low, high in found if math.isfinite(high - low)]
    return sum(low <= true <= high for low, high in there) / len(there)


def aggregated(scores: Iterator[tuple[float, str | None]]) -> tuple[float, float]:
    moments = Moments()
    for score, cluster in scores:
        moments.add(score, cluster)
    found = aggregate(moments)
    return found.low, found.high


def easiness(chance: random.Random, share: float, alike: float) -> float:
    """How often one question is answered well; `alike` is how much answers to one question correlate."""
    if alike == 0:
        return share
    if alike == 1:
        return float(chance.random() < share)
    scale = 1 / alike - 1
    return chance.betavariate(share * scale, (1 - share) * scale)


def of_numbers(count: int, share: float, samples: int) -> float:
    """Numbers of which all between 0 and 1 are as probable, to the power that has this mean."""
    power = 1 / share - 1

    def draw(chance: random.Random) -> tuple[float, float]:
        return aggregated((chance.random() ** power, None) for _ in range(count))

    return simulated(samples, share, draw)


def of_grades(count: int, share: float, samples: int) -> float:
    """Scores of 0, a half and 1: two answers, half a point for each that is right."""

    def draw(chance: random.Random) -> tuple[float, float]:
        return aggregated((((chance.random() < share) + (chance.random() < share)) / 2, None) for _ in range(count))

    return simulated(samples, share, draw)


def running(numbers: Sequence[float]) -> Running:
    """What one would have that has taken these: all at once, as simulations have millions of them."""
    mean = sum(numbers) / len(numbers)
    return Running(len(numbers), mean, sum([(number - mean) ** 2 for number in numbers]))


def of_clustered_share(questions: int, share: float, alike: float, samples: int, each: int = 4) -> float:
    known = [running([1.0] * good + [0.0] * (each - good)) for good in range(each + 1)]
    count = questions * each

    def draw(chance: random.Random) -> tuple[float, float]:
        goods: list[int] = []
        for _ in range(questions):
            easy = easiness(chance, share, alike)
            goods.append(sum([chance.random() < easy for _ in range(each)]))
        mean = (total := sum(goods)) / count
        clusters: dict[Hashable, Running] = {question: known[good] for question, good in enumerate(goods)}
        moments = Moments(count, mean, total * (1 - mean), total=float(total), largest=1.0, clusters=clusters)
        found = aggregate(moments)
        return found.low, found.high

    return simulated(samples, share, draw)


def of_clustered_numbers(questions: int, alike: float, samples: int, sizes: tuple[int, ...] = (4,)) -> float:
    common, own = math.sqrt(alike), math.sqrt(1 - alike)

    def draw(chance: random.Random) -> tuple[float, float]:
        clusters: dict[Hashable, Running] = {}
        scores: list[float] = []
        for question in range(questions):
            middle = chance.gauss(0, common)
            numbers = [middle + chance.gauss(0, own) for _ in range(sizes[question % len(sizes)])]
            clusters[question] = running(numbers)
            scores += numbers
        together = running(scores)
        found = aggregate(
            Moments(
                *(together.count, together.mean, together.squares),
                total=math.fsum(scores),
                largest=max(map(abs, scores)),
                **dict.fromkeys(("is_boolean", "is_binary", "is_exact", "is_bounded"), False),
                clusters=clusters,
            )
        )
        return found.low, found.high

    return simulated(samples, 0.0, draw)


def of_clustered_pairs(questions: int, share: float, alike: float, samples: int, each: int = 4) -> float:
    @cache
    def known(gained: int, lost: int) -> Running:
        return running([1.0] * gained + [-1.0] * lost + [0.0] * (each - gained - lost))

    def draw(chance: random.Random) -> tuple[float, float]:
        flips: list[tuple[int, int]] = []
        for _ in range(questions):
            before, after = easiness(chance, share, alike), easiness(chance, share, alike)
            pairs = [(chance.random() < before, chance.random() < after) for _ in range(each)]
            flips.append((pairs.count((False, True)), pairs.count((True, False))))
        gained, lost = map(sum, zip(*flips, strict=True))
        count, total = questions * each, float(gained - lost)
        clusters: dict[Hashable, Running] = {question: known(*flipped) for question, flipped in enumerate(flips)}
        change = Moments(count, total / count, gained + lost - total**2 / count, total=total, clusters=clusters)
        sides = Moments(count), Moments(count)  # of which the interval says nothing but that all are 0 or 1
        found = _Pairs(*sides, change, gained, lost, -1.0, 1.0).difference("score", count)
        return found.low, found.high

    return simulated(samples, 0.0, draw)


def of_samples_together(rows: int, share: float, name: str, samples: int, each: int = 4) -> float:
    """What the samples of each row say together; how often a row is answered well is as `easiness` with 0.3.

    Up to a hundred rows it is exact: it is enough to go through how many rows there are of each value.
    """
    values = samples_together(share, name, each)
    true = sum(value * probability for value, probability in values.items())

    def ends(counts: Sequence[int]) -> tuple[float, float]:
        moments = Moments(largest=1.0, is_boolean=True)
        for value, times in zip(values, counts, strict=True):
            if times:
                moments.is_binary = moments.is_binary and value in (0, 1)
                moments.total += times * value
                moments.take(value, times)
        _, low, high = interval(moments, rows * each)
        return low, high

    if rows > 100:

        def draw(chance: random.Random) -> tuple[float, float]:
            drawn = Counter(chance.choices([*values], [*values.values()], k=rows))
            return ends([drawn[value] for value in values])

        return simulated(samples, true, draw)
    logs = [math.log(probability) for probability in values.values()]
    held = 0.0
    for counts in shared_out(rows, len(values)):
        log = math.lgamma(rows + 1) + sum(n * p - math.lgamma(n + 1) for n, p in zip(counts, logs, strict=True))
        if log > -20:
            low, high = ends(counts)
            held += math.exp(log) * (low <= true <= high)
    return held


def samples_together(share: float, name: str, each: int) -> dict[float, float]:
    """How probable each value is that a row's samples may have together."""
    scale = 1 / 0.3 - 1
    right, wrong = share * scale, (1 - share) * scale
    number, ways = int(name[5:]), math.comb(each, int(name[5:]))
    found: dict[float, float] = {}
    for good in range(each + 1):
        probability = math.comb(each, good)
        for place in range(each):
            probability *= (right + place if place < good else wrong + place - good) / (scale + place)
        value = math.comb(good, number) / ways if name[4] == "^" else 1 - math.comb(each - good, number) / ways
        found[value] = found.get(value, 0.0) + probability
    return found


def shared_out(count: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to share out so many among so many."""
    if parts == 1:
        yield (count,)
        return
    for first in range(count + 1):
        for others in shared_out(count - first, parts - 1):
            yield (first, *others)


def table(title: str, coverage: Callable[[int, float], float], lines: tuple[float, ...] = SHARES) -> str:
    head = [f"| {title} | " + " | ".join(f"{count}" for count in COUNTS) + " |", "| --- |" + " --- |" * len(COUNTS)]
    body = [f"| {line:g} | " + " | ".join(f"{coverage(count, line):.3f}" for count in COUNTS) + " |" for line in lines]
    return "\n".join([*head, *body, ""])


def main(samples: int) -> None:
    def fewer(count: int) -> int:
        return min(samples, samples * 400 // count)  # of many rows, as they take long

    print(table("shares", of_share))
    print(table("paired shares", lambda count, share: of_paired(count, share, share)))
    print(table("paired shares, after 0.1 less", lambda count, share: of_paired(count, share, share - 0.1)))
    print(table("numbers", lambda count, share: of_numbers(count, share, fewer(count))))
    print(table("grades", lambda count, share: of_grades(count, share, fewer(count))))
    for alike in (0.0, 0.3, 0.6, 1.0):
        print(table(f"shares, alike {alike:g}", lambda n, p, r=alike: of_clustered_share(n, p, r, fewer(n))))
    for alike in (0.0, 0.3, 0.6):
        print(table(f"paired, alike {alike:g}", lambda n, p, r=alike: of_clustered_pairs(n, p, r, fewer(n))))
    for name in ("pass@2", "pass^2", "pass@4", "pass^4"):
        print(table(f"{name} of four", lambda n, p, r=name: of_samples_together(n, p, r, fewer(n))))
    for sizes in ((4,), (12, 4, 4, 1, 1)):
        print(
            table(
                f"numbers in clusters of {sizes}, how much alike",
                lambda n, r, s=sizes: of_clustered_numbers(n, r, fewer(n), s),
                (0.0, 0.3, 0.6),
            )
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)

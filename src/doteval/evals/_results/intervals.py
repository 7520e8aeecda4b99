"""Intervals around what was measured, and the quantiles that they need.

Those of shares invert a score test: they are no wider than they need to be, and never a point. A share has Wilson's
interval. How much two paired shares differ has Tango's: of those in use it comes nearest to what it says, also where
few rows differ, and it leaves out zero exactly where McNemar's test does. Newcombe's method 10, which combines two
intervals of Wilson's, calls two rows of two that flipped a clear difference.

Quantiles of the normal distribution are in the standard library, those of Student's t are not. scipy has them, but is
more than 100 MB large and takes a second to import; nothing small and well kept has them. So here they are, in some
fifty lines: the tail of the distribution is an incomplete beta function, whose continued fraction (DLMF 8.17.22) gives
all digits, and Newton's method finds where it is as large as asked for. They agree with scipy's to nine digits and
more, for any degrees of freedom, whole numbers or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

CONFIDENCE = 0.95
_LEVEL = 0.05
"""What is less probable by chance alone is clear: outside such an interval."""
_normal_quantile = NormalDist().inv_cdf
_ENOUGH = 1e-15
_FAR = 1e100
_HALVINGS = 60
"""Of an interval of 2; what is left is less than a float can tell from it."""


def wilson(share: float, count: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval for a share of `count`; it stays within 0 and 1, and ends there where none or all are true."""
    z = normal(confidence)
    return _wilson_low(share, count, z), 1 - _wilson_low(1 - share, count, z)


def _wilson_low(share: float, count: float, z: float) -> float:
    """The lesser of two roots, made of the greater one and of their product: no cancellation, so of 0 it is 0."""
    half = z * z / (2 * count)
    greater = share + half + z * math.sqrt(max(0.0, share * (1 - share)) / count + half / (2 * count))
    return share * share / greater


def tango(gained: float, lost: float, count: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Tango's interval for the difference of two paired shares; it stays within -1 and 1.

    The idea is from Tango (1998), Statistics in Medicine 17, 891-908.

    Args:
        gained: How many pairs are false first and true then.
        lost: How many are true first and false then.
        count: How many pairs there are; like the others, no need to be a whole number.
        confidence: How often the interval should hold the true difference.
    """
    z = normal(confidence)
    return _tango_low(gained, lost, count, z), -_tango_low(lost, gained, count, z)


def _tango_low(gained: float, lost: float, count: float, z: float) -> float:
    """Up to where the score test rejects differences that are smaller than the one that was found."""
    low, high = -1.0, (gained - lost) / count
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_rejected = gained - lost - count * middle > z * _tango_error(gained, lost, count, middle)
        low, high = (middle, high) if is_rejected else (low, middle)
    return low


def _tango_error(gained: float, lost: float, count: float, difference: float) -> float:
    """The standard deviation of `gained` less `lost`, if that is the difference and all else is as likely as can be."""
    # The share that is lost is then the greater root of 2 * count * x^2 + b * x = c.
    b = (2 * count - gained + lost) * difference - gained - lost
    c = lost * difference * (1 - difference)
    root = math.sqrt(max(0.0, b * b + 8 * count * c))
    share = 2 * c / (b + root) if b > 0 else (root - b) / (4 * count)  # no cancellation
    return math.sqrt(max(0.0, count * (2 * share + difference * (1 - difference))))


def chance_of_flips(gained: float, lost: float) -> float:
    """How probable it is that the two differ so much by chance alone, with Tango's test, which is McNemar's then.

    It is less than 0.05 where Tango's interval of 95 % leaves out zero.
    """
    return math.erfc(abs(gained - lost) / math.sqrt(2 * (gained + lost))) if gained + lost else 1.0


def chance_of_mean(errors: float, freedom: float) -> float:
    """How probable it is that a mean is so far from zero by chance alone, with Student's test.

    Args:
        errors: How many standard errors it is away, at least 0.
        freedom: The degrees of freedom.
    """
    return 2 * _tail(errors, freedom) if errors < _FAR else 0.0


_ONE_SIDE = 0.035
"""How often chance makes a difference clear in one direction, at most: 0.025, were intervals exact."""
_FEW = 0.005


def are_clear(chances: Sequence[float]) -> list[bool]:
    """Which of several differences are clear, so that one is by chance in 1 of 20 families of them, or fewer (Holm).

    Args:
        chances: How probable each is by chance alone; that may depend on the others in any way.
    """
    found = [False] * len(chances)
    for done, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        if not chances[place] * (len(chances) - done) < _LEVEL:
            break
        found[place] = True
    return found


def are_too_many(count: int, among: int) -> bool:
    """Whether chance alone makes so many differences of a direction clear by themselves in 1 of 200 families, or fewer.

    Args:
        count: How many are clear by themselves, in one direction.
        among: How many there are.
    """
    chances = (math.comb(among, each) * _ONE_SIDE**each * (1 - _ONE_SIDE) ** (among - each) for each in range(count))
    return count > 1 and 1 - math.fsum(chances) < _FEW


def normal(confidence: float = CONFIDENCE) -> float:
    """How many standard errors an interval reaches to either side, where the error is known."""
    return _normal_quantile(0.5 + confidence / 2)


def student(freedom: float, confidence: float = CONFIDENCE) -> float:
    """How many standard errors Student's interval reaches to either side of a mean.

    Args:
        freedom: The degrees of freedom.
        confidence: How often the interval should hold the true mean.
    """
    return student_quantile(0.5 + confidence / 2, freedom)


@lru_cache(maxsize=1024)
def student_quantile(probability: float, freedom: float) -> float:
    """What a variable with Student's t distribution does not exceed with this probability.

    Args:
        probability: More than 0 and less than 1.
        freedom: The degrees of freedom, more than 0; no need to be a whole number.

    Raises:
        ValueError: There is no such quantile.
    """
    if not 0 < probability < 1 or not freedom > 0:
        raise ValueError(f"Student's t has no quantile of {probability!r} for {freedom!r} degrees of freedom")
    if probability < 0.5:
        return -_upper_quantile(probability, freedom)
    return _upper_quantile(1 - probability, freedom)


def _upper_quantile(tail: float, freedom: float) -> float:
    """What is exceeded with a probability of `tail`, at most one half."""
    # The tail is convex there, and heavier than the normal one: from the normal quantile every step goes up, to it.
    t = -_normal_quantile(tail)
    while True:
        step = (_tail(t, freedom) - tail) / _density(t, freedom)
        t += step
        if step <= _ENOUGH * t:
            return t


def _density(t: float, freedom: float) -> float:
    decline = math.exp(-(freedom + 1) / 2 * math.log1p(t * t / freedom))
    return _gamma_ratio(freedom / 2) / math.sqrt(math.pi * freedom) * decline


def _tail(t: float, freedom: float) -> float:
    """How probable it is that `t`, at least 0, is exceeded."""
    a, square = freedom / 2, t * t
    x, rest = freedom / (freedom + square), square / (freedom + square)
    factor = math.sqrt(rest / math.pi) * _gamma_ratio(a) * math.exp(-a * math.log1p(square / freedom))
    if x < (a + 1) / (a + 2.5):  # where the fraction converges fast; else that of the complement does
        return factor / (2 * a) / _beta_fraction(x, a, 0.5)
    return 0.5 - factor / _beta_fraction(rest, 0.5, a)


def _beta_fraction(x: float, a: float, b: float) -> float:
    """The continued fraction below the incomplete beta function, from its front to where it changes no more."""
    value = numerator = 1.0
    denominator = change = 0.0
    place = 0
    while abs(change - 1) > _ENOUGH:
        place += 1
        m, is_odd = divmod(place, 2)
        term = -(a + m) * (a + b + m) / (a + 2 * m + 1) if is_odd else m * (b - m) / (a + 2 * m - 1)
        term *= x / (a + 2 * m)
        numerator = 1 + term / numerator
        denominator = 1 / (1 + term * denominator)
        change = numerator * denominator
        value *= change
    return value


def _gamma_ratio(a: float) -> float:
    """The gamma function of `a` and one half, divided by that of `a`."""
    if a < 100:
        return math.exp(math.lgamma(a + 0.5) - math.lgamma(a))
    return math.sqrt(a) * (1 + (-1 / 8 + (1 / 128 + (5 / 1024 - 21 / 32768 / a) / a) / a) / a)  # no cancellation

"""Quantiles and intervals, beside those that others have computed."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest

from doteval.evals._results.intervals import student, student_quantile, tango, wilson

# scipy.stats.t.ppf of scipy 1.17: degrees of freedom, then quantiles by their probability.
REFERENCE = [
    (
        0.5,
        {
            0.6: 0.3979754267847907,
            0.9: 10.27032441023451,
            0.975: 164.55767348048818,
            0.9995: 411396.462526262,
            1e-09: -1.0284911563163397e17,
        },
    ),
    (
        1,
        {
            0.6: 0.32491969623290634,
            0.9: 3.0776835371752544,
            0.975: 12.706204736174694,
            0.9995: 636.6192487687897,
            1e-09: -318309886.1837907,
        },
    ),
    (
        2,
        {
            0.6: 0.2886751345948128,
            0.9: 1.8856180831641272,
            0.975: 4.302652729749462,
            0.9995: 31.599054576445365,
            1e-09: -22360.679741456875,
        },
    ),
    (
        3,
        {
            0.6: 0.2766706623326898,
            0.9: 1.637744353696209,
            0.975: 3.1824463052837078,
            0.9995: 12.923978636687961,
            1e-09: -1033.1096745038078,
        },
    ),
    (
        4.5,
        {
            0.6: 0.2687518355421751,
            0.9: 1.5008853175085577,
            0.975: 2.6589123472044034,
            0.9995: 7.580740499372756,
            1e-09: -144.53766345843914,
        },
    ),
    (
        9,
        {
            0.6: 0.260955336473911,
            0.9: 1.3830287383966329,
            0.975: 2.262157162798205,
            0.9995: 4.780912585931217,
            1e-09: -23.7299198193785,
        },
    ),
    (
        30,
        {
            0.6: 0.2556053649519128,
            0.9: 1.3104150253913955,
            0.975: 2.0422724563012378,
            0.9995: 3.6459586350420627,
            1e-09: -8.445862796274243,
        },
    ),
    (
        100,
        {
            0.6: 0.25402218245822766,
            0.9: 1.290074761346516,
            0.975: 1.9839715185235518,
            0.9995: 3.390491311164263,
            1e-09: -6.5989398206555325,
        },
    ),
    (
        200.5,
        {
            0.6: 0.25368353744413447,
            0.9: 1.285788166738905,
            0.975: 1.971866290304378,
            0.9995: 3.3397107834261357,
            1e-09: -6.285598834364913,
        },
    ),
    (
        1000,
        {
            0.6: 0.25341451583949876,
            0.9: 1.2823987214609247,
            0.975: 1.9623390808264083,
            0.9995: 3.300282648423944,
            1e-09: -6.053690272079834,
        },
    ),
    (
        1e06,
        {
            0.6: 0.25334717053784184,
            0.9: 1.281552412129939,
            0.975: 1.959966356814107,
            0.9995: 3.2905364612487222,
            1e-09: -5.997862455710896,
        },
    ),
]


@pytest.mark.parametrize(("freedom", "quantiles"), REFERENCE)
def test_students_quantiles_are_those_of_scipy(freedom: float, quantiles: dict[float, float]) -> None:
    """To nine digits, also far out, for few and for many degrees of freedom and for halves of them."""
    found = {probability: student_quantile(probability, freedom) for probability in quantiles}
    assert found == pytest.approx(quantiles, rel=1e-9, abs=0)


@pytest.mark.parametrize("freedom", [1, 2, 3, 17, 1000])
def test_students_quantiles_lie_around_zero(freedom: int) -> None:
    """Those below one half are those above it, the other way round."""
    for probability in (0.5, 0.625, 0.75, 0.96875):  # of which 1 - p is exact
        assert student_quantile(1 - probability, freedom) == -student_quantile(probability, freedom)
    assert student_quantile(0.5, freedom) == 0


def test_students_quantiles_of_one_and_two_degrees_of_freedom_are_known() -> None:
    """There are formulas for them."""
    for probability in (0.51, 0.8, 0.975, 0.999999):
        assert student_quantile(probability, 1) == pytest.approx(math.tan(math.pi * (probability - 0.5)), rel=1e-9)
        middle = 2 * probability - 1
        expected = middle * math.sqrt(2 / (1 - middle * middle))
        assert student_quantile(probability, 2) == pytest.approx(expected, rel=1e-9)


def test_with_many_degrees_of_freedom_student_is_normal() -> None:
    """And always a little wider."""
    normal = NormalDist().inv_cdf(0.975)
    wide = [student(freedom) for freedom in (5, 99, 199, 200, 201, 10_000, 10_000_000)]
    assert wide == sorted(wide, reverse=True)
    assert normal < wide[-1] < normal + 1e-6


@pytest.mark.parametrize(
    ("probability", "freedom"), [(0.0, 3), (1.0, 3), (-0.1, 3), (math.nan, 3), (0.9, 0), (0.9, -1), (0.9, math.nan)]
)
def test_there_is_no_quantile_of_what_is_no_probability(probability: float, freedom: float) -> None:
    """It is said, instead of counting for ever."""
    with pytest.raises(ValueError, match="no quantile"):
        student_quantile(probability, freedom)


def test_an_interval_may_have_another_confidence() -> None:
    """The more it should hold, the wider it is."""
    assert student(9, 0.99) == pytest.approx(3.2498355, abs=1e-7)
    low, high = wilson(0.5, 10, 0.99)
    assert (low, high) == pytest.approx((0.1842, 0.8158), abs=1e-4)


@pytest.mark.parametrize("scale", [1, 0.37, 1 / 3], ids=["rows", "of clusters", "of thirds"])
def test_where_none_or_all_are_true_the_interval_ends_there(scale: float) -> None:
    """Exactly, as a gate such as ``exact.low > 0`` compares with it; and nowhere else does it come so far."""
    for rows in range(1, 200):
        count = rows * scale
        for right in {0, 1, rows // 2, rows - 1, rows}:
            low, high = wilson(right / rows, count)
            assert (low == 0, high == 1) == (right == 0, right == rows)
            assert 0 <= low <= right / rows <= high <= 1
            low, high = tango(right * scale, (rows - right) * scale, count)
            assert (low == -1, high == 1) == (right == 0, right == rows)
            assert -1 <= low <= high <= 1

"""Makes reference.json: intervals as scipy and statsmodels compute them, with other means than ours.

Neither is needed to run the tests; where both are installed:

    python tests/evals/make_reference.py > tests/evals/reference.json

Each entry names the formula in `by`.
"""

from __future__ import annotations

import json
import random
from importlib.metadata import version
from typing import Any

import numpy as np
import scipy.optimize
import scipy.stats
import statsmodels.api
from statsmodels.stats.proportion import proportion_confint


def shares() -> list[dict[str, Any]]:
    """Wilson's interval."""
    return [
        {"true": true, "count": count, "interval": list(map(float, proportion_confint(true, count, 0.05, "wilson")))}
        for true, count in ((0, 1), (1, 1), (0, 5), (3, 5), (5, 5), (19, 20), (7, 100), (100, 100), (990, 1000))
    ]


def numbers() -> list[dict[str, Any]]:
    """Student's interval."""
    chance = random.Random(1)
    found = []
    for count, scale in ((2, 1.0), (5, 0.1), (40, 300.0)):
        values = [chance.gauss(scale, scale) for _ in range(count)]
        error = float(scipy.stats.sem(values))
        interval = scipy.stats.t.interval(0.95, count - 1, loc=np.mean(values), scale=error)
        found.append({"values": values, "error": error, "interval": list(map(float, interval))})
    return found


def clusters() -> list[dict[str, Any]]:
    """The cluster-robust error (CR1) of a constant, and Student's interval with clusters - 1 degrees of freedom."""
    chance = random.Random(2)
    found = []
    for sizes in ([3] * 2, [4] * 6, [1] * 9, [1, 2, 3, 9, 4]):
        names = [name for name, size in enumerate(sizes) for _ in range(size)]
        common = [chance.gauss(0, 1) for _ in sizes]
        values = [common[name] + chance.gauss(0, 1) for name in names]
        fit = statsmodels.api.OLS(values, np.ones(len(values))).fit(
            cov_type="cluster", cov_kwds={"groups": np.array(names), "use_correction": True}, use_t=True
        )
        interval = list(map(float, fit.conf_int()[0])) if len(set(sizes)) == 1 else None
        found.append({"clusters": names, "values": values, "error": float(fit.bse[0]), "interval": interval})
    return found


def score(gained: int, lost: int, count: int, difference: float) -> float:
    """Tango's statistic, with the likelihood maximised by search instead of by its formula."""

    def unlikely(share: float) -> float:
        parts = ((gained, share + difference), (lost, share), (count - gained - lost, 1 - 2 * share - difference))
        return -sum(number * np.log(max(part, 1e-300)) for number, part in parts if number)

    low, high = max(0.0, -difference), (1 - difference) / 2
    found = scipy.optimize.minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-14})
    share = min(found.x, low, high, key=unlikely)
    return (gained - lost - count * difference) / np.sqrt(count * (2 * share + difference - difference**2))


def paired() -> list[dict[str, Any]]:
    """Tango's interval: where the score test of a difference has p = 0.05."""
    z = float(scipy.stats.norm.ppf(0.975))
    few = [(0, 0, 10), (0, 1, 1), (1, 0, 5), (2, 0, 2), (2, 0, 40), (4, 0, 4)]
    found = []
    for gained, lost, count in [*few, (1, 7, 21), (3, 1, 20), (40, 20, 160), (30, 60, 1000)]:
        middle = (gained - lost) / count
        low, high = -1.0, 1.0
        if middle > -1:
            low = scipy.optimize.brentq(
                lambda d, *a: score(*a, d) - z, -1 + 1e-9, middle - 1e-12, args=(gained, lost, count), xtol=1e-13
            )
        if middle < 1:
            high = scipy.optimize.brentq(
                lambda d, *a: score(*a, d) + z, middle + 1e-12, 1 - 1e-9, args=(gained, lost, count), xtol=1e-13
            )
        found.append({"gained": gained, "lost": lost, "count": count, "interval": [float(low), float(high)]})
    return found


if __name__ == "__main__":
    by = f"scipy {version('scipy')}, statsmodels {version('statsmodels')}"
    print(
        json.dumps(
            {
                "by": {
                    "shares": "statsmodels.stats.proportion.proportion_confint(method='wilson')",
                    "numbers": "scipy.stats.sem, scipy.stats.t.interval",
                    "clusters": "statsmodels OLS, cov_type='cluster', use_correction=True, use_t=True",
                    "paired": "scipy.optimize.minimize_scalar and brentq over Tango's score",
                    "versions": by,
                },
                "shares": shares(),
                "numbers": numbers(),
                "clusters": clusters(),
                "paired": paired(),
            },
            indent=1,
        )
    )

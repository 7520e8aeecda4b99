"""What tokens cost, as commands are told."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..evals import ModelUsage
from ..evals._results.pricing import Price, Prices, read_price, read_prices
from ._problem import Problem


def prices_of(options: argparse.Namespace) -> Prices:
    """The prices of ``--prices FILE`` and of each ``--price``, which counts first.

    Raises:
        Problem: They cannot be meant.
    """
    found: dict[str, Price] = {}
    if options.prices is not None:
        try:
            found |= read_prices(Path(options.prices).read_text("utf-8"))
        except OSError as exc:
            raise Problem(f"{options.prices} cannot be read: {exc.strerror or exc}", 2) from exc
        except (ValueError, RecursionError) as exc:
            raise Problem(f"{options.prices} has no prices: {exc}", 2) from exc
    for text in options.price:
        try:
            name, price = read_price(text)
        except ValueError as exc:
            raise Problem(f"--price: {exc}", 2) from exc
        found[name] = price
    return Prices(found)


def cost_for_programs(prices: Prices, usages: Iterable[ModelUsage]) -> dict[str, Any]:
    """What these came to, where there are prices."""
    return {"cost": asdict(prices.cost(usages))} if prices else {}

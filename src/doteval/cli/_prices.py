"""What tokens cost, as commands are told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .._printed import say
from ..evals import ModelUsage, Snapshot, Stored
from ..evals._results.pricing import Price, Prices, read_price, read_prices
from ._problem import Problem


def prices_of(options: argparse.Namespace) -> Prices:
    """The prices of ``--prices FILE`` and of each ``--price``, which counts first.

    Raises:
        Problem: They cannot be meant.
    """
    first: dict[str, Price] = {}
    of_file: dict[str, Price] = {}
    if options.prices is not None:
        try:
            of_file = read_prices(Path(options.prices).read_text("utf-8"))
        except OSError as exc:
            raise Problem(f"{options.prices} cannot be read: {exc.strerror or exc}", 2) from exc
        except (ValueError, RecursionError) as exc:
            raise Problem(f"{options.prices} has no prices: {exc}", 2) from exc
    for text in options.price:
        try:
            name, price = read_price(text)
        except ValueError as exc:
            raise Problem(f"--price: {exc}", 2) from exc
        first[name] = price
    return Prices(first, of_file)


def check_prices(options: argparse.Namespace, prices: Prices, results: Snapshot, found: Sequence[Stored]) -> None:
    """Say of which ``--price`` no model is meant, as its name may be mistyped."""
    asked = {usage.model for stored in found for usage in results.summary(stored).usage_by_model if usage.model}
    meant = {prices.name_of(model) for model in asked}
    for name in dict.fromkeys(read_price(text)[0] for text in options.price):
        if name not in meant:
            models = ", ".join(sorted(asked)) or "none"
            say(f"no model has the price of {name!r}; models that were asked: {models}", file=sys.stderr)


def cost_for_programs(prices: Prices, usages: Iterable[ModelUsage], name: str = "cost") -> dict[str, Any]:
    """What these came to, where there are prices."""
    return {name: asdict(prices.cost(usages))} if prices else {}

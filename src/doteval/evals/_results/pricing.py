"""``Prices``: what tokens cost, as the user says it; nothing here knows a price by itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

from .usage import ModelUsage

_MILLION = 1_000_000
_NEEDED = ("input", "output")
_NAMES = (*_NEEDED, "cached", "cache_write", "reasoning")


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens of one model cost.

    Args:
        input: Tokens of prompts.
        output: Tokens of replies.
        cached: Tokens of prompts that were read from a cache; `None` where they cost what others do.
        cache_write: Tokens of prompts that were written into one; the same.
        reasoning: Tokens that the model thought with; `None` where they cost what others of the reply do.
    """

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None

    def of(self, usage: ModelUsage) -> float:
        """What this came to; no kind of token is paid for twice, nor more of a kind than there are tokens."""
        cached = min(usage.cached_tokens, usage.input_tokens)
        kinds = (
            (cached, self.cached, self.input),
            (min(usage.cache_write_tokens, usage.input_tokens - cached), self.cache_write, self.input),
            (min(usage.reasoning_tokens, usage.output_tokens), self.reasoning, self.output),
        )
        others = usage.input_tokens * self.input + usage.output_tokens * self.output
        return (others + sum(count * (price - usual) for count, price, usual in kinds if price is not None)) / _MILLION


@dataclass(frozen=True, slots=True)
class Cost:
    """What came of adding up.

    Args:
        amount: As far as it is known.
        is_all: Whether that is all: every model that was asked has a price, and every request has said what it used.
            What a cache answered costs nothing.
    """

    amount: float
    is_all: bool

    def __str__(self) -> str:
        return f"{'' if self.is_all else '≥ '}{shown_amount(self.amount)}"


class Prices:
    """The prices of models.

    Args:
        prices: By the names of models; a name may be a pattern such as ``gpt-4o*``. The exact name counts first, then
            the longest pattern.
        others: Where none of these is meant, those of the next.
    """

    def __init__(self, prices: Mapping[str, Price], *others: Mapping[str, Price]) -> None:
        self._layers = [{**each} for each in (prices, *others) if each]

    def __bool__(self) -> bool:
        return bool(self._layers)

    def price_of(self, model: str | None) -> Price | None:
        """The price of a model, where there is one."""
        found = self._found(model)
        return None if found is None else found[1]

    def name_of(self, model: str | None) -> str | None:
        """The name or pattern whose price is that of a model, where there is one."""
        found = self._found(model)
        return None if found is None else found[0]

    def _found(self, model: str | None) -> tuple[str, Price] | None:
        if model is None:
            return None
        for prices in self._layers:
            if model in prices:
                return model, prices[model]
            for pattern in sorted(prices, key=len, reverse=True):
                if fnmatchcase(model, pattern):
                    return pattern, prices[pattern]
        return None

    def cost(self, usages: Iterable[ModelUsage]) -> Cost:
        """What these came to."""
        amount, is_all = 0.0, True
        for usage in usages:
            price = self.price_of(usage.model)
            is_all = is_all and (price is not None or not usage.is_to_pay) and not usage.unknown
            amount += 0.0 if price is None else price.of(usage)
        return Cost(amount, is_all)


def read_prices(text: str) -> dict[str, Price]:
    """Prices from the text of a file: a JSON object of objects, by the names of models.

    Raises:
        ValueError: It is something else.
    """
    found: Any = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return {name: _price(name, each) for name, each in cast("dict[str, Any]", found).items()}


def _price(name: str, given: Any) -> Price:
    if not isinstance(given, dict):
        raise ValueError(f'the price of {name!r} is no object such as {{"input": 2.5, "output": 10}}')
    values = cast("dict[str, Any]", given)
    for kind, value in values.items():
        if kind not in _NAMES:
            raise ValueError(f"the price of {name!r} has {kind!r}; known are {', '.join(_NAMES)}")
        if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
            raise ValueError(f"the price of {name!r} has {kind} = {value!r}, which is no amount")
    missing = [kind for kind in _NEEDED if kind not in values]
    if missing:
        raise ValueError(f"the price of {name!r} has no {missing[0]!r}")
    return Price(**values)


def read_price(text: str) -> tuple[str, Price]:
    """One price as it is given in a command: ``MODEL=INPUT,OUTPUT[,CACHED[,CACHE_WRITE[,REASONING]]]``.

    Raises:
        ValueError: It is something else.
    """
    name, _, amounts = text.rpartition("=")
    parts = amounts.split(",")
    if not name or not len(_NEEDED) <= len(parts) <= len(_NAMES):
        raise ValueError(f"{text!r} is not like gpt-4o=2.5,10: MODEL=INPUT,OUTPUT[,CACHED[,CACHE_WRITE[,REASONING]]]")
    values: dict[str, Any] = {}
    for kind, part in zip(_NAMES, parts, strict=False):
        try:
            values[kind] = float(part)
        except ValueError:
            raise ValueError(f"the price of {name!r} has {kind} = {part!r}, which is no amount") from None
    return name, _price(name, values)


def shown_amount(amount: float) -> str:
    """An amount of whatever money it is, with as many digits as say something."""
    if amount <= 0 or amount >= 100:
        return f"{max(amount, 0):,.2f}"
    digits = max(2, 2 - math.floor(math.log10(amount)))
    return f"{amount:.{min(digits, 8)}f}"

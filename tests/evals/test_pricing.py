"""What rows cost, with prices that the user gives."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from doteval.cli import main
from doteval.evals import ModelUsage, Record, Store
from doteval.evals._results.pricing import Cost, Price, Prices, read_price, shown_amount


def used(model: str | None = "m", unknown: int = 0) -> ModelUsage:
    """A million in, of these 400,000 from a cache and 100,000 into it; half a million out, of these 200,000 thought."""
    return ModelUsage(model, None, 1, 0, unknown, 1_000_000, 500_000, 400_000, 100_000, 200_000)


@pytest.mark.parametrize(
    ("price", "amount"),
    [
        (Price(2, 10), 2 + 5),
        (Price(2, 10, cached=1), 0.6 * 2 + 0.4 * 1 + 5),
        (Price(2, 10, cached=0), 0.6 * 2 + 5),
        (Price(2, 10, cached=1, cache_write=3), 0.5 * 2 + 0.4 * 1 + 0.1 * 3 + 5),
        (Price(2, 10, reasoning=20), 2 + 0.3 * 10 + 0.2 * 20),
    ],
)
def test_every_token_is_paid_for_once(price: Price, amount: float) -> None:
    """What was cached, written and thought, at its own price where it has one."""
    found = Prices({"m": price}).cost([used()])
    assert found.amount == pytest.approx(amount)
    assert found.is_all


def test_nothing_is_paid_back() -> None:
    """Whatever a server says: more tokens from a cache than there were, or more thoughts than words."""
    prices = Prices({"m": Price(2, 10, cached=0, cache_write=3, reasoning=0.5)})
    for counts in itertools.product([0, 1, 1_000_000], repeat=5):
        usage = ModelUsage("m", None, 1, 0, 0, *counts)
        amount = prices.cost([usage]).amount
        assert 0 <= amount <= (usage.input_tokens * 3 + usage.output_tokens * 10) / 1e6, counts
        assert "-" not in shown_amount(amount)


def test_what_is_not_known_is_said() -> None:
    """A model without a price, a row that only says itself what it used, a request whose cost nobody knows."""
    prices = Prices({"m": Price(2, 10)})
    assert prices.cost([]) == Cost(0, is_all=True)
    for other in (used("other"), used(None), used(unknown=1)):
        found = prices.cost([used(), other])
        assert not found.is_all
        assert str(found).startswith("≥ ")


@pytest.mark.parametrize("model", ["m", "other", None])
def test_what_a_cache_answered_costs_nothing_whatever_the_model(model: str | None) -> None:
    """It was sent nowhere, so no price is wanting; what was sent to the same model beside it has one, or none."""
    saved = ModelUsage(model, None, 0, 0, 0, 0, 0, 0, 0, 0, 5, 100, 50)
    prices = Prices({"m": Price(2, 10)})
    assert str(prices.cost([saved])) == "0.00"
    assert prices.cost([saved, used()]) == prices.cost([used()])
    assert prices.cost([saved._replace(requests=1)]).is_all is (model == "m")


def test_the_exact_name_counts_before_patterns_and_long_ones_before_short_ones() -> None:
    """In whatever order they stand."""
    prices = Prices({"*": Price(1, 1), "gpt-4o*": Price(2, 2), "gpt-4o": Price(3, 3), "gpt-4o-mini*": Price(4, 4)})
    found = [prices.price_of(name) for name in ("gpt-4o", "gpt-4o-2026", "gpt-4o-mini-1", "claude")]
    assert [price and price.input for price in found] == [3, 2, 4, 1]
    assert Prices({"a": Price(1, 1)}).price_of("b") is None
    for first in ("m", "m*", "*"):  # as --price stands before the file, whatever either calls it
        layered = Prices({first: Price(1, 1)}, {"m": Price(2, 2), "*": Price(3, 3)})
        assert [layered.name_of(name) for name in ("m", "other")] == [first, first if first == "*" else "*"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "no JSON object"),
        ("{", "Expecting"),
        ('{"m": 3}', "the price of 'm' is no object"),
        ('{"m": {"input": 1}}', "the price of 'm' has no 'output'"),
        ('{"m": {"input": 1, "output": -1}}', "output = -1"),
        ('{"m": {"input": NaN, "output": 1}}', "input = nan"),
        ('{"m": {"input": true, "output": 1}}', "input = True"),
        ('{"m": {"input": 1, "output": 1, "cache": 1}}', "known are input, output, cached, cache_write, reasoning"),
    ],
)
def test_a_file_that_has_no_prices(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said what is wrong with it."""
    path = tmp_path / "prices.json"
    path.write_text(text)
    assert main(["report", "it", "--prices", str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert str(path) in error


@pytest.mark.parametrize("text", ["m", "m=1", "=1,2", "m=1,x", "m=1,2,3,4,5,6", "m=1,-2", "m=1,nan", "m=,"])
def test_a_price_that_cannot_be_meant(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Likewise."""
    assert main(["report", "it", "--price", text]) == 2
    assert "--price: " in capsys.readouterr().err


def test_a_price_that_no_model_has_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name may be mistyped; a file of prices may know more models than were asked."""
    with Store(tmp_path / "s.db") as store:
        stored, _ = store.begin("e", "n", model="", identity={})
        store.put(stored, Record(0, "k", "", {}, usage_by_model=[used("gpt-4o"), used(None)]))
    (tmp_path / "prices.json").write_text('{"other": {"input": 1, "output": 2}}')
    page = ("e", "--store", str(tmp_path / "s.db"), "-o", str(tmp_path / "page.html"))
    names = ("--price", "gpt-4o*=1,2", "--price", "gtp-4o=1,2", "--prices", str(tmp_path / "prices.json"))
    assert main(["report", *page, *names]) == 0
    said = capsys.readouterr().err
    assert said == "no model has the price of 'gtp-4o'; models that were asked: gpt-4o\n"


def test_a_price_on_the_command_line() -> None:
    """Of a model whose name may have a sign of equality in it."""
    assert read_price("a=b=1,2.5,0.5") == ("a=b", Price(1, 2.5, 0.5))


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "0.00"),
        (-1e-9, "0.00"),
        (1234.5, "1,234.50"),
        (1.234, "1.23"),
        (0.0012345, "0.00123"),
        (1e-12, "0.00000000"),
    ],
)
def test_amounts(amount: float, shown: str) -> None:
    """With as many digits as say something."""
    assert shown_amount(amount) == shown


def test_the_page_has_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each model, and all together; a price of the command line counts before that of the file."""
    monkeypatch.chdir(tmp_path)
    with Store("results.db") as store:
        evaluation, _ = store.begin("it", "eval_it", model="", identity={})
        for number, model in enumerate(["gpt", "other"]):
            store.put(evaluation, Record(number, str(number), "", {}, usage_by_model=(used(model),)))
        store.finish(evaluation, 2)
        store.leave(evaluation)
    Path("prices.json").write_text(json.dumps({"gpt": {"input": 2, "output": 4, "cached": 1}}))

    def shown(*words: str) -> str:
        assert main(["report", "it", "--store", "results.db", "-o", "page.html", *words]) == 0
        return Path("page.html").read_text("utf-8").partition("<noscript>")[0]

    text = shown("--prices", "prices.json")
    assert ", cost ≥ 3.60;" in text
    assert [text.count(f'data-name="cost">{cost}</td>') for cost in ("3.60", "no price")] == [1, 1]
    assert ", cost 12.00;" in shown("--prices", "prices.json", "--price", "gpt=2,4", "--price", "oth*=4,8")
    assert "cost" not in shown().partition("<main")[2]


def test_the_commands_have_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each evaluation, of each model in it, of all, and of a row; none where there are no prices."""
    path = tmp_path / "results.db"
    with Store(path) as store:
        for name, models in (("eval_a", ["gpt", "other"]), ("eval_b", ["gpt"])):
            evaluation, _ = store.begin("it", name, model="", identity={})
            for number, model in enumerate(models):
                row = Record(number, str(number), "", {}, error="no", usage_by_model=(used(model),))
                store.put(evaluation, row)
            store.finish(evaluation, len(models))
            store.leave(evaluation)

    def shown(*words: str) -> str:
        assert main(["show", "it", "--store", str(path), *words]) == 0
        return capsys.readouterr().out

    text = shown("--price", "gpt=2,4,1")
    costs = [line.split()[-1] for line in text.splitlines() if line.startswith("eval_") and "," not in line.split()[0]]
    assert costs == ["3.60", "3.60", "3.60", "3.60"]
    assert re.search(r"^eval_a .* ≥ 3.60$", text, re.MULTILINE)
    assert re.search(r"^ +other .* no price$", text, re.MULTILINE)
    assert "cost of all: ≥ 7.20" in text
    assert "cost of all: 15.20" in shown("--price", "gpt=2,4,1", "--price", "oth*=4,8")
    assert "cost" not in shown()
    row = ("--price", "gpt=2,4,1", "--row", "1")
    assert "cost ≥ 0.00" in shown(*row)
    (found,) = json.loads(shown(*row, "--json"))
    assert found["cost"] == {"amount": 0.0, "is_all": False}
    one, other = json.loads(shown("--price", "gpt=2,4,1", "--json"))
    assert (one["cost"], other["cost"]) == ({"amount": 3.6, "is_all": False}, {"amount": 3.6, "is_all": True})
    assert "cost" not in json.loads(shown("--json"))[0]

"""What rows are made of: their code counts as that of the evaluation, and no row that comes or goes does."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.evals.identity_kinds_of_packages import STAND_INS

from doteval import Result, foreach
from doteval.evals import EvaluationChangedError, run
from doteval.evals._identity import rows
from doteval.evals._identity.rows import found_in_rows
from doteval.evals._results.identity import changes, with_what_was_written
from doteval.evals._running.dataset import Source
from doteval.evals._running.depends import identity_of


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about values."""
    return "trio"


HEAD = """
import argparse, collections, enum, functools, typing, weakref
from dataclasses import dataclass
import pydantic
from doteval import Result, foreach
SYSTEM = 'one'
def helper(text): return 'one' + text
class Other: pass
OTHERS = ()
class Ask:
    def __init__(self, ask): self.ask = ask
"""
PROGRAMS = Path(__file__).with_name("programs").joinpath("rows.txt").read_text("utf-8").strip().split("\n\n# ")[1:]
KINDS = dict(block.split("\n", 1) for block in PROGRAMS)
DATASETS = {
    "list": "[MADE]",
    "tuples": "((MADE,),)",
    "mappings": "[{'case': MADE, 'more': [1, {'x': 'y'}]}]",
    "deque": "collections.deque([MADE])",
    "values": "{'x': MADE}.values()",
    "iterator": "iter([MADE])",
    "generator": "(each for each in [MADE])",
    "function's generator": "(lambda: (yield MADE))()",
    "map": "map(lambda each: each, [MADE])",
    "nested iterators": "zip(filter(None.__ne__, [MADE]))",
    "object": "Rows([MADE])",
    "frame": "pandas.DataFrame({'case': [MADE, MADE]})",
    "array": "numpy.array([[MADE, None]], dtype=object)",
    "asynchronous": "stream()",
}
MORE = """
class Rows:
    def __init__(self, rows): self.rows = rows
    def __iter__(self): return iter(self.rows)
async def stream():
    yield MADE
"""


def loaded(source: str) -> dict[str, Any]:
    name = "made_for_rows"
    module = sys.modules[name] = ModuleType(name)
    exec(compile(source, f"/theirs/{name}.py", "exec"), vars(module))
    return vars(module)


def evaluation_of(kind: str, dataset: str, *edits: tuple[str, str]) -> dict[str, Any]:
    table = dataset.partition(".")[0]
    imported = f"import {pytest.importorskip(table).__name__}\n" if table in ("numpy", "pandas") else ""
    made = f"{HEAD}{KINDS[kind]}\n{MORE}{imported}"
    for old, new in edits:
        made = made.replace(old, new)
    return loaded(f"{made}\n@foreach('case', {dataset})\ndef evaluate(case): return Result(case.ask())\n")


def identity(held: Mapping[str, Any]) -> Mapping[str, str]:
    return identity_of(held["evaluate"], models={})


def key_of(held: Mapping[str, Any]) -> str:
    rows = Source("it", ("case",), [(held["MADE"],)]).look()
    assert rows is not None
    return next(rows).inputs.key


@pytest.mark.parametrize("kind", KINDS)
def test_code_that_only_rows_lead_to_counts_wherever_they_are(kind: str) -> None:
    """By what the rows are known by, or as that of the evaluation; what it writes while it runs does not."""
    datasets, place = [*DATASETS.values()], [*KINDS].index(kind)
    for dataset in (datasets[(place + step) % len(datasets)] for step in (0, 3, 7, 10)):
        try:
            held = evaluation_of(kind, dataset)
        except pytest.skip.Exception:
            continue
        before, key = identity(held), key_of(held)
        for _ in range(2):
            held["MADE"].ask()
        kept = with_what_was_written(before, identity(held))
        held["MADE"].ask()
        assert (changes(kept, identity(held)), key_of(held)) == ((), key), dataset
        for as_it_was in ("'one'", '("one")'):
            same = evaluation_of(kind, dataset, ("'one'", as_it_was))
            assert (changes(kept, identity(same)), key_of(same)) == ((), key), dataset
        changed = evaluation_of(kind, dataset, ("'one'", "'another'"))
        assert changes(kept, identity(changed)) or key != key_of(changed), dataset


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_come_or_go_change_nothing(kind: str) -> None:
    """Of whatever class they are: their results are kept, or run, by themselves."""
    datasets = "[MADE]", "[Other(), Ask(lambda: 1), *OTHERS, MADE, *OTHERS]", "[]"
    one, more, none = (identity(evaluation_of(kind, each)) for each in datasets)
    for before, now in ((one, more), (more, one), (one, none), (none, one)):
        assert not changes(before, now)


def test_many_rows_of_a_class_cost_little() -> None:
    """They are only passed by; as many plain ones even more so."""

    class Case:
        def __init__(self, number: int) -> None:
            self.number, self.tags = str(number), ["a", {"b": number}]

    given = [{"case": Case(number), "question": f"question {number}"} for number in range(20_000)]
    began = time.process_time()
    assert found_in_rows(given).classes == (Case,)
    assert time.process_time() - began < 2


def test_a_module_in_a_row_leads_nowhere(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Nor does what has come of a package with one; what else rows hold is found all the same."""

    class Case:
        def __init__(self, held: object) -> None:
            self.held = held

    looked_at: list[object] = []
    monkeypatch.setattr(rows, "class_of", lambda value: looked_at.append(value) or type(value))
    around = STAND_INS.Around(json)
    every = [json, sys, sys.getsizeof, [].append, json.dumps, around, around.__init__, functools.partial(json.dumps)]
    for held in [*every, json.JSONEncoder().encode, request.config, sys.modules[__name__]]:
        looked_at.clear()
        assert found_in_rows([{"case": Case(held)}, [Case([held])]]).classes == (Case,)
        assert len(looked_at) < 200, held
    assert found_in_rows([STAND_INS.Around(Case(json)), {}.get, [Case(1)].append]).classes == (Case,)


@pytest.mark.anyio
async def test_an_edited_class_of_rows_is_told_and_run_again_where_asked(tmp_path: Path) -> None:
    """Nothing of it is answered with what the class did before."""
    store = tmp_path / "results.db"
    source = f"{HEAD}{KINDS['data class']}\n@foreach('case', [MADE])\ndef evaluate(case): return Result(case.ask())"
    other = source.replace("'one'", "'another'")
    outcome = await run(loaded(source)["evaluate"], store=store)
    assert [record.output for record in outcome.records] == ["onex"]
    assert (await run(loaded(source)["evaluate"], store=store)).answered
    with pytest.raises(EvaluationChangedError, match="in its rows: the class 'Case' has changed"):
        await run(loaded(other)["evaluate"], store=store)
    outcome = await run(loaded(other)["evaluate"], store=store, changed="rerun")
    assert [record.output for record in outcome.records] == ["anotherx"]


@pytest.mark.anyio
async def test_rows_of_another_class_are_run_and_the_others_kept(tmp_path: Path) -> None:
    """Also where the new class has what the others have not."""

    class Case:
        def ask(self) -> str:
            return "one"

    class Another(Case):
        def ask(self) -> str:
            return helper()

    def helper() -> str:
        return "another"

    rows: list[Case] = [Case()]

    @foreach("case", rows)
    def evaluate(case: Case) -> Result:
        return Result(case.ask())

    await run(evaluate, store=tmp_path / "results.db")
    rows.insert(0, Another())
    outcome = await run(evaluate, store=tmp_path / "results.db")
    assert (outcome.calls, [record.output for record in outcome.records]) == (1, ["another", "one"])


FED = """
from doteval import Result, foreach
FEED, WORDS, STYLES, SEEN, later = ["one"], ["kind"], ["short"], ["two"], ["late"]
def helper(q): return f"{{q}} {{WORDS}}"
def rows():
    {rows}
@foreach("q", rows)
def ask(q):
    return Result(f"{{q}} {{STYLES}}")
"""


@pytest.mark.parametrize(
    ("rows", "counting"),
    [
        ("return FEED", set()),
        ("return [q for q in FEED]", set()),
        ("return (q + s for q in FEED for s in SEEN)", set()),
        ("yield from FEED[1:]; yield from SEEN", set()),
        ("return [q for q in FEED if q not in STYLES]", set()),
        ("return [helper(q) for q in FEED]", {"kind"}),
        ("return [lambda: FEED]", {"one"}),
        ("return [FEED[0], lambda: (FEED, later)]", {"one", "late"}),
        ("global SEEN; SEEN = FEED; return FEED", {"one"}),
        ("SEEN.append(FEED); return FEED", {"one"}),
    ],
)
def test_lists_that_rows_are_made_of_count_as_the_rows(rows: str, counting: set[str]) -> None:
    """So a list that grows is no change, wherever it stands; what the evaluation reads, or a function in a row, is."""

    def looked_at(source: str) -> Mapping[str, str]:
        module = sys.modules["eval_fed"] = ModuleType("eval_fed")
        exec(compile(source, "<fed>", "exec"), vars(module))
        return identity_of(vars(module)["ask"], models={})

    source = FED.format(rows=rows)
    whole, there = looked_at(source), ("one", "kind", "late", "short")
    found = {text for text in there if looked_at(source.replace(f'["{text}"', '["x", "y"')) != whole}
    assert found == {*counting, "short"}

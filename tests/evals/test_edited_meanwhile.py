"""Code and values that somebody else changes while an evaluation is run, as another cell of a notebook does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from doteval.evals import Evaluation, EvaluationChangedError, EvaluationWarning, run

SOURCE = """
from doteval import Result, foreach

CFG = {"lang": "en"}
PROMPT = "one"
calls = 0

def helper(q):
    return "one"

class Agent:
    def ask(self, q):
        return "one"

agent = Agent()

@foreach("q", ["a", "b", "c"], concurrency=1)
async def eval_it(q):
    global calls
    calls += 1
    return Result([helper(q), agent.ask(q), CFG["lang"], PROMPT])
"""
EDITS: dict[str, tuple[str, str]] = {
    "a function": ("def helper(q): return 'two'", "the function 'helper'"),
    "a method": ("def ask(self, q): return 'two'\nAgent.ask = ask", "the class 'Agent'"),
    "a class": ("class Agent:\n    def ask(self, q): return 'two'\nagent = Agent()", ""),
    "the module": (SOURCE.replace('return "one"', 'return "two"'), "the function 'helper'"),
}
EDITS["a text"] = ("PROMPT = 'two'", "the value 'PROMPT'")
EDITS["a mapping"] = ("CFG = {'lang': 'de'}", "the value 'CFG'")
EDITS["an object"] = ("agent = Agent()\nagent.style = 'kind'", "the value 'agent'")
DATA = {"an item": "CFG['lang'] = 'de'"}
SAME = {"a text": "PROMPT = ''.join('one')", "a mapping": "CFG = {'lang': 'en'}", "an object": "agent = Agent()"}
BINDING = {
    "setattr": "setattr(sys.modules[__name__], 'PROMPT', q)",
    "globals": "globals().update({f'PROMP{chr(84)}': q})",
    "exec": "exec('PROMPT = q', globals(), {'q': q})",
    "vars": "vars(sys.modules[__name__])[f'PROMP{chr(84)}'] = q",
    "its name": "sys.modules[__name__].PROMPT = q",
}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[dict[str, Any]]:
    file = tmp_path / "eval_edited.py"
    module = sys.modules["eval_edited"] = ModuleType("eval_edited")
    module.__file__ = str(file)
    exec(compile(SOURCE, file, "exec"), vars(module))
    yield vars(module)
    del sys.modules["eval_edited"]


def after_the_first(held: dict[str, Any], text: str) -> Callable[[object], None]:
    left = [compile(text, held["__file__"], "exec")]
    return lambda _: exec(left.pop(), held) if left else None


def as_it_began(held: dict[str, Any]) -> Evaluation:
    exec(compile(SOURCE, held["__file__"], "exec"), held)
    evaluation: Evaluation = held["eval_it"]
    return evaluation


@pytest.mark.anyio
@pytest.mark.parametrize("edit", EDITS)
async def test_code_that_is_edited_while_rows_are_run_is_nobodys_answer(
    held: dict[str, Any], edit: str, tmp_path: Path
) -> None:
    """Neither where it stays so, nor where it is as it was; until somebody says otherwise."""
    it, store, (text, named) = held["eval_it"], tmp_path / "results.db", EDITS[edit]
    with pytest.warns(EvaluationWarning, match=f"While rows of 'eval_it' were run, .*{named}.* has changed"):
        outcome = await run(it, store=store, on_record=after_the_first(held, text))
    assert outcome.warnings
    for evaluation in (it, as_it_began(held)):
        with pytest.raises(EvaluationChangedError, match=f"{named} has changed, while rows were run"):
            await run(evaluation, store=store)
    assert not (await run(evaluation, store=store, changed="rerun")).answered
    again = await run(evaluation, store=store)
    assert (again.answered, again.warnings) == (True, ())


@pytest.mark.anyio
@pytest.mark.parametrize("edit", DATA)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_plain_data_that_changes_while_rows_are_run_is_told(
    held: dict[str, Any], edit: str, tmp_path: Path
) -> None:
    """Once; the code may have written it in a way that nobody can see, so it counts as state."""
    store = tmp_path / "results.db"
    with pytest.warns(EvaluationWarning, match="has changed, and their code does not tell that it writes it"):
        await run(held["eval_it"], store=store, on_record=after_the_first(held, DATA[edit]))
    assert (await run(held["eval_it"], store=store)).answered
    again = await run(as_it_began(held), store=store)
    assert (again.answered, again.warnings) == (True, ())


@pytest.mark.anyio
@pytest.mark.parametrize("edit", SAME)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_is_bound_anew_and_is_the_same_is_no_change(held: dict[str, Any], edit: str, tmp_path: Path) -> None:
    """As where a cell is run again meanwhile."""
    outcome = await run(held["eval_it"], store=tmp_path / "r.db", on_record=after_the_first(held, SAME[edit]))
    assert outcome.warnings == ()
    assert (await run(held["eval_it"], store=tmp_path / "r.db")).answered


@pytest.mark.anyio
@pytest.mark.parametrize("how", BINDING)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_text_that_code_may_bind_in_any_way_is_state(held: dict[str, Any], how: str, tmp_path: Path) -> None:
    """As nobody can say who has."""
    exec(f"import sys\ndef helper(q):\n    {BINDING[how]}\n    return 'one'", held)
    outcome = await run(held["eval_it"], store=tmp_path / "results.db")
    assert not any("nobody knows of which their results are, so" in warning for warning in outcome.warnings)
    assert (await run(held["eval_it"], store=tmp_path / "results.db")).answered


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_is_edited_between_runs_is_another_evaluation(held: dict[str, Any], tmp_path: Path) -> None:
    """And nobody is told that it changed while rows were run."""
    store = tmp_path / "results.db"
    assert (await run(held["eval_it"], store=store)).warnings == ()
    exec(EDITS["a function"][0], held)
    with pytest.raises(EvaluationChangedError, match="the function 'helper' has changed"):
        await run(held["eval_it"], store=store)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_nobody_looks_at_is_said_with_the_results(held: dict[str, Any], tmp_path: Path) -> None:
    """Where rows were run; and it is no change where code says it no more."""
    text = "return importlib.import_module(q + 'son').__name__ if q == 'j' else 'one'"
    exec(f"import importlib\ndef helper(q):\n    {text}", held)
    with pytest.warns(EvaluationWarning, match="helper gives 'import_module' a name .* Name it in depends_on"):
        (warning,) = (await run(held["eval_it"], store=tmp_path / "results.db")).warnings
    assert warning.startswith("Of what 'eval_it' depends on, helper gives")
    answered = await run(held["eval_it"], store=tmp_path / "results.db")
    assert (answered.answered, answered.warnings) == (True, ())

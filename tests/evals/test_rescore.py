"""Other scores for what is there: nothing is asked, nothing is lost, and nobody takes it for something else."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from doteval import Completion, Result, ToolCall, foreach
from doteval.cli import main
from doteval.evals import (
    ConcurrentRunError,
    Evaluation,
    EvaluationChangedError,
    Record,
    Store,
    StoreError,
    Verdict,
    exact_match,
    rescore,
    run,
)
from doteval.testing import FakeModel

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about what is stored; how rescoring goes on is in `test_rescore_models` and `test_rescore_ends`."""
    return "asyncio"


REPLY = Completion("Paris", finish_reason="stop", tool_calls=[ToolCall("c", "look", "{}")])


def paris(_: Any) -> Completion:
    return REPLY


def capitals() -> Evaluation:
    """Two rows that get scores, one that fails after its reply, and one before."""

    @foreach("id,answer", [("a", "Paris"), ("b", "Rome"), ("c", "late"), ("d", "early")])
    async def eval_capitals(id: str, answer: str, model: Any) -> Result:  # noqa: A002 - the column
        if id == "d":
            raise ValueError("before the model was asked")
        reply = await model.generate(id)
        if id == "c":
            raise ValueError("after it")
        old = Verdict(reply == answer, ["old"])
        return Result(reply, prompt=f"p{id}", scores={"exact": old, "other": old}, metadata={"mine": id})

    return eval_capitals


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with an experiment."""
    file = tmp_path / "results.db"
    anyio.run(partial(run, capitals(), model=FakeModel(replies=paris), store=file, experiment="main", name="eval"))
    return file


def records(path: Path, experiment: str) -> dict[str, Record]:
    store = Store(path)
    stored = store.find(experiment, "eval")
    assert stored is not None
    return {record.inputs["id"]: record for record in store.records(stored)}


def is_short(output: str, limit: int = 4) -> dict[str, Any]:
    return {"exact": len(output) < limit, "size": len(output)}


async def test_only_scores_are_new(path: Path) -> None:
    """Whatever else a row has stays as it was; rows that have failed stay, too; the old experiment is as it was."""
    before = records(path, "main")
    (stored,) = await rescore("main", is_short, store=path)
    assert (stored.experiment, stored.stored, stored.errors) == ("main-rescored", 4, 2)
    assert stored.finished is not None
    assert records(path, "main") == before
    after = records(path, "main-rescored")
    assert after["a"] == replace(before["a"], scores={"exact": False, "size": 5}, metadata={"mine": "a"})
    assert (after["c"], after["d"]) == (before["c"], before["d"])
    assert [*after] == [*before]


async def test_scores_of_other_names_may_be_kept(path: Path) -> None:
    """With what was said of them; those of the same names are replaced."""

    def exact(output: str) -> Verdict:
        return Verdict(True, ["new"])

    await rescore("main", exact, store=path, add=True)
    row = records(path, "main-rescored")["b"]
    assert row.scores == {"other": False, "exact": True}
    verdicts = {"other": {"reasons": ["old"]}, "exact": {"reasons": ["new"]}}
    assert row.metadata == {"mine": "b", "verdicts": verdicts}


async def test_what_was_paid_for_can_be_scored_where_the_row_failed(path: Path) -> None:
    """By what the model had told it last; without any reply it stays as it is."""
    (stored,) = await rescore("main", is_short, store=path, failed=True)
    assert (stored.stored, stored.errors) == (4, 1)
    after = records(path, "main-rescored")
    assert (after["c"].scores, after["c"].error, after["c"].traceback) == ({"exact": False, "size": 5}, None, None)
    assert after["d"] == records(path, "main")["d"]


async def test_a_scorer_says_by_its_arguments_what_it_wants(path: Path) -> None:
    """Columns before all else but the output, which is a reply again; one score is called after the function."""
    seen: list[Any] = []

    def everything(output: Any, answer: str, prompt: Any, metadata: Any, record: Record, **others: Any) -> bool:
        seen.append((str(output), answer, prompt, metadata["mine"], record.key, others))
        assert (output.finish_reason, output.tool_calls) == ("stop", (ToolCall("c", "look", "{}"),))
        return exact_match(output, answer)

    await rescore("main", everything, store=path)
    key = records(path, "main")["a"].key
    assert seen[0] == ("Paris", "Paris", "pa", "a", key, {"id": "a"})
    assert records(path, "main-rescored")["a"].scores == {"everything": True}


async def test_a_scorer_that_raises_fails_its_row_only(path: Path) -> None:
    """Whatever it returns that is no score, likewise; the output is there as before."""

    def picky(output: str, id: str) -> Any:  # noqa: A002 - the column
        if id == "a":
            raise LookupError("not this one")
        return {"exact": "much"}

    (stored,) = await rescore("main", picky, store=path)
    assert stored.errors == 4
    after = records(path, "main-rescored")
    assert after["a"].error == "LookupError: not this one"
    assert 'raise LookupError("not this one")' in str(after["a"].traceback)
    assert str(after["a"].traceback).count("File ") == 1
    assert (after["a"].output, after["a"].scores, after["a"].metadata) == ("Paris", None, {"mine": "a"})
    assert "scores are booleans and numbers by name" in str(after["b"].error)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], scope="module")
async def test_a_scorer_may_be_async_and_is_called_many_times_at_once(tmp_path: Path) -> None:
    """As many as `concurrency` says; in the order of the rows."""
    running = most = 0
    are_there = anyio.Event()

    @foreach("n", [*range(200)])
    async def eval_numbers(n: int) -> Result:
        return Result(n)

    async def score(output: int) -> dict[str, float]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if most == 7:
            are_there.set()
        await are_there.wait()
        running -= 1
        if output == 7:
            raise ValueError("seven")
        return {"half": output / 2}

    path = tmp_path / "results.db"
    await run(eval_numbers, store=path, experiment="main", name="eval")
    (stored,) = await rescore("main", score, store=path, concurrency=7)
    assert most == 7
    assert stored.errors == 1
    found = [*Store(path).records(stored)]
    assert [record.output for record in found] == [*range(200)]
    assert [(record.scores or {}).get("half") for record in found if record.output != 7] == [
        n / 2 for n in range(200) if n != 7
    ]


async def test_what_is_there_is_replaced_only_where_that_is_asked_for(path: Path) -> None:
    """Also the experiment itself; and what was made of it before."""
    await rescore("main", is_short, store=path)
    with pytest.raises(StoreError, match="main-rescored is an experiment that has results of 'eval' already"):
        await rescore("main", is_short, store=path)
    with pytest.raises(StoreError, match="already"):
        await rescore("main", is_short, store=path, into="main")

    def size(output: str) -> int:
        return len(output)

    await rescore("main", size, store=path, overwrite=True)
    assert records(path, "main-rescored")["a"].scores == {"size": 5}
    (stored,) = await rescore("main", size, store=path, into="main", overwrite=True)
    assert records(path, "main")["a"].scores == {"size": 5}
    assert [each.experiment for each in Store(path).evaluations()] == ["main-rescored", "main"]
    assert stored.stored == 4


async def test_a_run_does_not_take_it_for_its_own(path: Path) -> None:
    """Neither in the new experiment nor in the old one; it says why. Rescored again, it is known by the last scorer."""
    model = FakeModel(replies=paris)
    await rescore("main", is_short, store=path)
    with pytest.raises(EvaluationChangedError, match=r"the scorer was is_short\(\), and is not set"):
        await run(capitals(), model=model, store=path, experiment="main-rescored", name="eval", max_errors=4)

    def size(output: str) -> int:
        return len(output)

    await rescore("main-rescored", size, store=path, into="again")
    identity = Store(path).evaluations("again")[0].identity
    assert identity["the scorer"] == "=size()"
    assert model.calls == []
    outcome = await run(capitals(), model=model, store=path, experiment="main", name="eval", max_errors=4)
    assert outcome.answered


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"experiment": "nothing"}, ValueError, "there are no results of 'nothing' in"),
        ({"part": "nope"}, ValueError, "with 'nope' in their names"),
        ({"scorer": lambda output, absent: 1}, TypeError, "takes 'absent', which 'eval' has not; it has: answer, id"),
        ({"scorer": "score"}, TypeError, "a scorer is a function"),
        ({"concurrency": 0}, ValueError, "at least 1"),
    ],
)
async def test_what_cannot_be_meant_changes_nothing(
    path: Path, options: Any, error: type[Exception], message: str
) -> None:
    given = {"experiment": "main", "scorer": is_short, **options}
    with pytest.raises(error, match=message):
        await rescore(given.pop("experiment"), given.pop("scorer"), store=path, **given)
    assert {stored.experiment for stored in Store(path).evaluations()} == {"main"}


async def test_a_run_that_goes_on_is_copied_as_far_as_it_is_and_never_replaced(path: Path) -> None:
    """The copy is not finished either."""
    async with Store(path) as store:
        identity = store.evaluations("main")[0].identity
        stored, _ = store.begin("main", "eval", model="", identity=identity)
        (copy,) = await rescore("main", is_short, store=path)
        assert (copy.stored, copy.finished) == (4, None)
        with pytest.raises(ConcurrentRunError, match="is being run by process"):
            await rescore("main", is_short, store=path, into="main", overwrite=True)
        store.leave(stored)
        await store.flush()
    assert records(path, "main")["a"].scores == {"exact": True, "other": True}


async def test_all_that_is_kept_of_a_row_comes_along(path: Path) -> None:
    """Whatever tables and columns there are."""
    await rescore("main", is_short, store=path)
    with closing(sqlite3.connect(path)) as connection, connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            if "evaluation" in columns and table != "runs":
                counts = dict(connection.execute(f"SELECT evaluation, count(*) FROM {table} GROUP BY 1"))
                assert len(set(counts.values())) <= 1, table
        assert connection.execute("SELECT evaluation FROM runs ORDER BY id").fetchall() == [(1,), (2,), (2,)]
        same = "SELECT DISTINCT seconds, written, inputs, usage_by_model, attempts FROM rows"
        assert len(connection.execute(same).fetchall()) == 4


# ---------------------------------------------------------------- the command

SCORERS = """
from doteval import foreach, Result
from helper import LIMIT


def short(output):
    return len(output) < LIMIT


def broken(output):
    raise LookupError("mine")


@foreach("n", [1])
def eval_it(n):
    return Result(n)
"""


@pytest.fixture
def scorers(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "scorers.py"
    file.write_text(SCORERS)
    (tmp_path / "helper.py").write_text("LIMIT = 6\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
    monkeypatch.setattr("sys.path", sys.path[:])
    return file


def doteval(path: Path, *words: str) -> int:
    return main([*words, "--store", str(path)])


def test_the_command_scores_by_a_function_in_a_file(
    path: Path, scorers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside which the modules are that it imports."""
    assert doteval(path, "rescore", "main", f"{scorers}:short") == 0
    printed = capsys.readouterr().out
    assert "short  100.0%" in printed
    assert f"doteval compare main main-rescored --store={path}" in printed
    assert main(shlex.split(printed.rpartition("doteval ")[2])) == 0
    capsys.readouterr()
    assert doteval(path, "rescore", "main@eval", f"{scorers}:short", "--as", "x", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {"experiment": "x", "evaluation": "eval", "rows": 4, "errors": 2, "finished": True, "scores": {"short": 1.0}}
    ]


def test_the_command_says_what_is_not_finished(path: Path, scorers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE evaluations SET finished = NULL")
    connection.close()
    assert doteval(path, "rescore", "main", f"{scorers}:short", "--json") == 0
    said = capsys.readouterr()
    assert said.err == "doteval: eval is not finished: only what is there of it was scored\n"
    assert [each["finished"] for each in json.loads(said.out)] == [False]


@pytest.mark.parametrize(
    ("name", "scorer", "code", "problem"),
    [
        ("main", "short", 2, "named FILE.py:FUNCTION"),
        ("main", "{}:nope", 2, "'nope' is no function in .*; there are: short, broken"),
        ("main", "{}:eval_it", 2, "an evaluation, which asks a model"),
        ("main", "nowhere.py:short", 1, "nowhere.py cannot be imported: FileNotFoundError"),
        ("main", "no.such.module:short", 1, "cannot be imported: ModuleNotFoundError"),
        ("main", "{dir}/exits.py:short", 1, "exits.py cannot be imported: SystemExit: 3"),
        ("nothing", "{}:short", 1, "there is no experiment 'nothing'; there are: main"),
        ("main", "math:sqrt", 2, "takes 'x', which 'eval' has not"),
    ],
)
def test_what_the_command_cannot_do_is_a_line(
    path: Path, scorers: Path, capsys: pytest.CaptureFixture[str], name: str, scorer: str, code: int, problem: str
) -> None:
    named = scorer.replace("{dir}", str(scorers.parent)).replace("{}", str(scorers))
    assert doteval(path, "rescore", name, named) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("doteval: ")
    assert re.search(problem, said.err), said.err
    assert len(said.err.splitlines()) == 1


def test_the_command_fails_where_the_scorer_does(path: Path, scorers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And where something is there already."""
    assert doteval(path, "rescore", "main", f"{scorers}:broken") == 1
    assert f"The scorer raised in 2 rows: doteval show main-rescored --store={path}\n" in capsys.readouterr().out
    assert doteval(path, "rescore", "main", f"{scorers}:short") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert doteval(path, "rescore", "main", f"{scorers}:short", "--overwrite") == 0


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("happens", ["corrected", "removed", "fresh", "deleted", "more samples", "another row"])
async def test_what_is_written_while_the_scorer_works_gets_no_scores_of_before(
    tmp_path: Path, happens: str, overwrite: bool
) -> None:
    """A row that was run again keeps nothing that was scored before, and then no evaluation is written at all."""
    path = tmp_path / "results.db"
    questions = {"a": "v1", "b": "same"}

    async def once(name: str, **options: Any) -> None:
        @foreach("id,question", [*questions.items()])
        async def eval_echo(id: str, question: str, model: Any) -> Result:  # noqa: A002 - the column
            return Result(await model.generate(question), scores={"old": True})

        model = FakeModel(replies=lambda prompt: f"to {prompt}")
        await run(eval_echo, store=path, experiment="main", name=name, model=model, transcripts=True, **options)

    await once("one")
    await once("two")
    before = content(path)
    did = False

    async def is_v1(output: str) -> bool:
        nonlocal did
        if not did:
            did = True
            if happens == "corrected":
                questions["a"] = "v2"
            elif happens == "removed":
                del questions["b"]
            elif happens == "another row":
                questions["c"] = "new"
            elif happens == "deleted":
                with Store(path)._database.writing() as connection:
                    connection.execute("DELETE FROM evaluations WHERE name = 'two'")
                return output == "to v1"
            options: dict[str, Any] = {"fresh": {"fresh": True}, "more samples": {"epochs": 2}}.get(happens, {})
            await once("two", **options)
        return output == "to v1"

    into = "main" if overwrite else None
    if happens in ("more samples", "another row"):
        made = await rescore("main", is_v1, store=path, into=into, overwrite=overwrite)
        assert [(each.name, each.stored, each.epochs) for each in made] == [("one", 2, 1), ("two", 2, 1)]
        for each in made:
            for record in Store(path).records(each):
                assert record.scores == {"is_v1": record.output == "to v1"}
                assert [request.reply for request in Store(path).requests(each, record.key, record.sample)]
    else:
        with pytest.raises(StoreError, match="than those that were scored"):
            await rescore("main", is_v1, store=path, into=into, overwrite=overwrite)
        there = content(path)
        assert there["main", "one"] == before["main", "one"]
        assert {experiment for experiment, _ in there} == {"main"}
        questions["a"] = "v1"
        if happens != "deleted":
            assert len(await rescore("main", lambda output: len(output), store=path)) == 2  # noqa: PLW0108


def content(path: Path) -> dict[tuple[str, str], list[Any]]:
    store = Store(path)
    return {
        (each.experiment, each.name): [(record.output, record.scores) for record in store.records(each)]
        for each in store.evaluations()
    }

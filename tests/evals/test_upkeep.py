"""What is noted of a run, and how results are deleted and renamed: all that was asked for, or nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import anyio
import pytest

import doteval
from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import Evaluation, Store, StoreError, copy, delete, rename, run
from doteval.evals._results import upkeep
from doteval.evals._results.database import Database
from doteval.evals._results.upkeep import chosen, old_enough
from doteval.evals._running.circumstances import _commits, _head_of, about_machine
from doteval.evals._running.settings import Settings

pytestmark = pytest.mark.anyio


def numbers(count: int = 3) -> Evaluation:
    @foreach("n", [*range(count)], passes={"small": 0.5})
    async def eval_numbers(n: int) -> Result:
        return Result("x" * 5000, scores={"small": n < 2})

    return eval_numbers


def of(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for stored in Store(path).evaluations():
        found.setdefault(stored.experiment, []).append(stored.name)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with three experiments; one has two evaluations."""
    file = tmp_path / "results.db"
    for experiment, name in (("one", "a"), ("one", "b"), ("two", "a"), ("three", "a")):
        anyio.run(partial(run, numbers(), store=file, experiment=experiment, name=name))
    return file


def doteval_(path: Path, *words: str) -> int:
    return main([*words, "--store", str(path)])


# ---------------------------------------------------------------- what is noted


async def test_each_run_is_noted_with_what_it_was_run_with(tmp_path: Path) -> None:
    """Versions, machine, settings, tags; a run that goes on is another, and one that is answered is none."""
    path = tmp_path / "results.db"
    await run(numbers(2), store=path, tags={"branch": "main", "n": "1"}, concurrency=3, limit=2, max_errors=1)
    (stored,) = Store(path).evaluations()
    (noted,) = Store(path).runs(stored)
    assert noted.tags == {"branch": "main", "n": "1"}
    assert abs(noted.started - time.time()) < 60
    about = dict(noted.about)
    assert about["doteval"] == doteval.__version__
    assert about["python"] == ".".join(map(str, sys.version_info[:3]))
    assert str(os.cpu_count()) in about["system"]
    settings = about["settings"]
    assert (settings["concurrency"], settings["limit"], settings["max_errors"]) == (3, 2, 1)
    assert settings["gates"] == ["small >= 0.5"]
    assert "seed" not in settings
    assert (await run(numbers(2), store=path, limit=2, max_errors=1)).answered
    assert len(Store(path).runs(stored)) == 1
    async with Store(path) as store:
        again, _ = store.begin(stored.experiment, stored.name, model=stored.model, identity=stored.identity)
        store.note(again, {"tags": {"n": "2"}})
        store.leave(again)
        store.note(again, {"tags": {"n": "3"}})  # it is over
    assert [noted.tags.get("n") for noted in Store(path).runs(stored)] == ["1", "2"]


@pytest.mark.parametrize("tags", [{"": "x"}, {" ": "x"}])
async def test_a_tag_needs_a_name(tags: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tags are texts by name"):
        await run(numbers(), store=tmp_path / "results.db", tags=tags)


def test_settings_that_are_odd_are_noted_too(tmp_path: Path) -> None:
    """As all that is kept, as JSON holds it."""
    path = tmp_path / "results.db"
    tags: Any = {"half": "\ud83d", 5: None, "long": "x" * 100_000}
    anyio.run(partial(run, numbers(), store=path, tags=tags, concurrency="adaptive"))
    (stored,) = Store(path).evaluations()
    (noted,) = Store(path).runs(stored)
    assert noted.tags == {"half": "\\ud83d", "5": "None", "long": "x" * 100_000}
    assert doteval_(path, "show", "default") == 0
    assert doteval_(path, "list", "--json") == 0


@pytest.mark.process
def test_the_commit_is_told_and_whether_it_is_what_is_run(tmp_path: Path) -> None:
    """In a repository, a work tree of it, with packed references, and without a branch."""

    def git(directory: Path, *words: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=e@example.com")
        done = subprocess.run(["git", *who, "-C", str(directory), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def about(directory: Path, *, asks_git: bool = True) -> dict[str, Any]:
        _commits._answers.clear()
        scope: dict[str, Any] = {}
        exec(compile("def score(): pass", directory / "eval_it.py", "exec"), scope)
        return about_machine(scope["score"], asks_git=asks_git)

    repository, tree = tmp_path / "repository", tmp_path / "tree"
    (repository / "deep").mkdir(parents=True)
    (repository / "eval_it.py").write_text("1\n")
    assert "commit" not in about(repository)
    git(repository, "init", "-q", "-b", "main")
    assert "commit" not in about(repository)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "one")
    commit = git(repository, "rev-parse", "HEAD")
    assert (about(repository)["commit"], about(repository)["dirty"]) == (commit, False)
    assert "dirty" not in about(repository, asks_git=False)
    assert _head_of(repository / "deep") == commit
    git(repository, "worktree", "add", "-q", str(tree), "-b", "other")
    assert about(tree)["commit"] == commit
    (tree / "eval_it.py").write_text("2\n")
    assert about(tree)["dirty"] is True
    git(tree, "commit", "-qam", "two")
    assert about(tree)["commit"] == git(tree, "rev-parse", "HEAD") != commit
    git(repository, "pack-refs", "--all")
    assert about(repository)["commit"] == commit
    git(repository, "checkout", "-q", "--detach")
    assert about(repository)["commit"] == commit
    (repository / ".git" / "HEAD").write_bytes(b"\xff")
    assert "commit" not in about(repository)


def test_git_is_started_by_pytest_only() -> None:
    """A library starts no process behind the back of a program."""
    assert Settings().asks_git is False


def test_list_and_show_tell_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What evaluations have in common once; nothing where there is none."""
    assert doteval_(path, "list") == 0
    assert "tags" not in capsys.readouterr().out
    anyio.run(partial(run, numbers(), store=path, experiment="four", tags={"branch": "main"}))
    assert doteval_(path, "list") == 0
    assert re.search(r"four .* branch=main", capsys.readouterr().out)
    assert doteval_(path, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[-1]["tags"] == {"branch": ["main"]}
    for name in ("fix", "main"):
        tags = {"branch": name, "n": "1"}
        anyio.run(partial(run, numbers(), store=path, experiment="four", name=name, tags=tags))
    assert doteval_(path, "list") == 0
    assert re.search(r"four .* branch=main\|fix, n=1", capsys.readouterr().out)
    assert doteval_(path, "show", "four") == 0
    assert f"doteval {doteval.__version__}, Python" in capsys.readouterr().out
    assert doteval_(path, "show", "one") == 0
    assert capsys.readouterr().out.count("Python") == 1
    assert doteval_(path, "show", "four", "--json") == 0
    shown, *_ = json.loads(capsys.readouterr().out)
    assert shown["runs"][0]["tags"] == {"branch": "main"}


# ---------------------------------------------------------------- delete and rename


def test_delete_removes_what_is_named_and_the_file_is_smaller(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole experiments, and parts of them; with all that is kept of their rows."""
    size = path.stat().st_size
    assert doteval_(path, "delete", "one@a", "two", "two", "--yes") == 0
    assert re.search(r"deleted; the file is smaller by [1-9]", capsys.readouterr().out)
    assert of(path) == {"one": ["b"], "three": ["a"]}
    assert path.stat().st_size < size
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in ("rows", "runs"):
            assert connection.execute(f"SELECT count(DISTINCT evaluation) FROM {table}").fetchone() == (2,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    anyio.run(partial(run, numbers(), store=path, experiment="two", name="a"))
    assert of(path)["two"] == ["a"]


def test_a_dry_run_deletes_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says what it would."""
    before = of(path)
    assert doteval_(path, "delete", "one", "--dry-run") == 0
    assert re.search(r"one +\d{4}-\d\d-\d\d \d\d:\d\d +2 +6", capsys.readouterr().out)
    assert doteval_(path, "delete", "one", "--dry-run", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["experiment"], told["evaluations"], told["rows"], told["deleted"]) == ("one", ["a", "b"], 6, False)
    assert doteval_(path, "rename", "one", "1", "--dry-run") == 0
    assert "one would become 1" in capsys.readouterr().out
    assert of(path) == before


@pytest.mark.parametrize("before", ["", "openai:", "vllm:Qwen/", "one/more:"])
@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("gpt-4o", ["gpt-4o", "gpt-4o (first 2)", "gpt-4o-strict"]),
        ("gpt-4o-mini", ["gpt-4o-mini"]),
        ("gpt-4o-strict", ["gpt-4o-strict"]),
        ("mini", ["gpt-4o-mini"]),
        ("4o", ["gpt-4o", "gpt-4o-mini", "gpt-4o (first 2)", "gpt-4o-strict"]),
        ("eval_it[gpt-4o]", ["gpt-4o"]),
        ("eval_it", ["gpt-4o", "gpt-4o-mini", "gpt-4o (first 2)", "gpt-4o-strict", "other"]),
        ("eval_it_too", ["too"]),
        ("file.py", ["gpt-4o", "gpt-4o-mini", "gpt-4o (first 2)", "gpt-4o-strict", "too", "other"]),
    ],
)
def test_a_part_that_something_is_called_is_no_part_of_another_name(
    part: str, found: list[str], before: str, tmp_path: Path
) -> None:
    """As with models one of whose names is the beginning of the other's, wherever they are served: what is deleted is
    what was meant."""
    part = part.replace("[", f"[{before}")
    names = {
        "gpt-4o": (f"file.py::eval_it[{before}gpt-4o]", f"{before}gpt-4o"),
        "gpt-4o-mini": (f"file.py::eval_it[{before}gpt-4o-mini]", f"{before}gpt-4o-mini"),
        "gpt-4o (first 2)": (f"file.py::eval_it[{before}gpt-4o] (first 2)", f"{before}gpt-4o"),
        "gpt-4o-strict": (f"file.py::eval_it[{before}gpt-4o-strict]", f"{before}gpt-4o"),
        "too": ("file.py::eval_it_too[other]", "other"),
        "other": ("file.py::eval_it[other]", "other"),
    }
    if "[" in part:
        names = {label: (name.removeprefix("file.py::"), model) for label, (name, model) in names.items()}
    path = tmp_path / "results.db"
    with Store(path) as store:
        for name, model in names.values():
            store.leave(store.begin("it", name, model=model, identity={})[0])
    with Store(path) as store:
        meant = [each.name for each in chosen(store, f"it@{part}")]
    assert meant == [names[label][0] for label in names if label in found]


def test_age_is_that_of_what_was_written_last(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An experiment that was gone on with is young as a whole."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, column in (("evaluations", "started"), ("evaluations", "finished"), ("rows", "written"),
                              ("runs", "started")):  # fmt: skip
            connection.execute(f"UPDATE {table} SET {column} = {column} - 40 * 86400")
        connection.execute("UPDATE rows SET written = written + 20 * 86400 WHERE evaluation = 2 AND number = 1")
    days = {"one": 20, "two": 40, "three": 40}
    for names in ((), ("one",), ("one@a",), ("one@b",), ("one@a", "two"), ("two@a", "three"), ("one", "one@a")):
        for age in (10, 30, 50):
            with Store(path).snapshot() as results:
                found = {each.id for each in old_enough(results, names, age * 86400)}
                named = [
                    each.id for name in names or days for each in chosen(results, name) if days[each.experiment] > age
                ]
            assert found == {*named}, (names, age)
    assert doteval_(path, "delete", "--older-than", "50d", "--yes") == 0
    assert "nothing is that old" in capsys.readouterr().out
    assert doteval_(path, "delete", "two", "one", "--older-than", "30d", "--yes", "--json") == 0
    assert [each["experiment"] for each in json.loads(capsys.readouterr().out)] == ["two"]
    assert doteval_(path, "delete", "--older-than", "4w", "--yes") == 0
    assert of(path) == {"one": ["a", "b"]}
    assert doteval_(path, "delete", "--older-than", "0s", "--yes") == 0
    assert of(path) == {}


def test_python_deletes_and_renames_as_the_commands_do(path: Path) -> None:
    """By names, also of parts, and by age; what was changed is returned, and what cannot be done changes nothing."""
    assert [each.name for each in delete("one@a", "two", store=path)] == ["a", "a"]
    assert [(each.experiment, each.name) for each in rename("one", "1", store=Store(path))] == [("1", "b")]
    assert delete(older_than=timedelta(days=30), store=path) == delete("1", older_than=60.0, store=str(path)) == []
    before = of(path)
    for names, age in ((("nothing",), None), (("1", "1@nothing"), None), ((), None), ((), -1.0), ((), float("nan"))):
        with pytest.raises(ValueError, match=r"no experiment|no evaluation|name what to delete|at least 0"):
            delete(*names, older_than=age, store=path)
    with pytest.raises(ValueError, match="no experiment 'one'; there are: 1, three"):
        rename("one", "two", store=path)
    with pytest.raises(ValueError, match="needs a name"):
        rename("1", " ", store=path)
    with pytest.raises(StoreError, match="has an experiment 'three' already"):
        rename("1", "three", store=path)
    assert of(path) == before
    assert len(delete(older_than=0, store=path)) == 2
    assert of(path) == {}
    with pytest.raises(ValueError, match="there are: none"):
        rename("one", "two", store=path.with_name("none.db"))
    assert not path.with_name("none.db").exists()


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("y", 0, 2), ("YES ", 0, 2), ("n", 1, 3), ("", 1, 3), (None, 1, 3)]
)
def test_it_asks_on_a_terminal(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str | None,
    code: int,
    left: int,
) -> None:
    """And takes silence for a no."""

    def said(prompt: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", said)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert doteval_(path, "delete", "one") == code
    assert ("nothing was deleted" in capsys.readouterr().out) is bool(code)
    assert len(of(path)) == left


@pytest.mark.parametrize("happens", ["nothing", "another sample", "run again", "renamed"])
@pytest.mark.parametrize("words", [["--older-than", "30d"], ["two"]])
def test_what_was_written_while_it_asked_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], happens: str
) -> None:
    """All of it, also what is beside it and as old as was asked for; what was named is deleted with what it got."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for column in ("started", "finished"):
            connection.execute(f"UPDATE evaluations SET {column} = {column} - 40 * 86400")
        connection.execute("UPDATE runs SET started = started - 40 * 86400")
        connection.execute("UPDATE rows SET written = written - 40 * 86400")

    def said(prompt: str) -> str:
        options: Any = {"another sample": {"epochs": 2}, "run again": {"fresh": True}}.get(happens)
        if options:
            anyio.run(partial(run, numbers(), store=path, experiment="two", name="a", **options))
        elif happens == "renamed":
            assert main(["rename", "two", "three and more", "--store", str(path)]) == 0
        return "y"

    monkeypatch.setattr("builtins.input", said)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code = doteval_(path, "delete", *words)
    is_gone = happens == "nothing" or (words == ["two"] and happens == "another sample")
    is_gone = is_gone or (words != ["two"] and happens == "renamed")  # it is as old as it was
    assert code == (0 if is_gone else 1)
    if not is_gone:
        error = capsys.readouterr().err
        assert "Nothing was deleted" in error or "there is no experiment 'two'" in error
    left = {"one": ["a", "b"], "three": ["a"]} if words == ["two"] else {}
    renamed = {"three and more": ["a"]} if happens == "renamed" else {"two": ["a"]}
    assert of(path) == (left if is_gone else {"one": ["a", "b"], "three": ["a"], **renamed})


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["delete"], 2, "name what to delete, or say --older-than 30d"),
        (["delete", "one"], 2, "deletes only with --yes where nobody can be asked"),
        (["delete", "one", "--json"], 2, "deletes only with --yes"),
        (["delete", "one", "none", "--yes"], 1, "there is no experiment 'none'; there are: one, two, three"),
        (["delete", "one@z", "--yes"], 1, "no evaluation of 'one' has 'z' in its name"),
        (["rename", "none", "x"], 1, "there is no experiment 'none'"),
        (["rename", "one", "two"], 1, "there is an experiment 'two' already"),
        (["rename", "one", "one"], 1, "there is an experiment 'one' already"),
        (["rename", "one", " "], 2, "an experiment needs a name"),
        (["copy", "none", "x"], 1, "there is no experiment 'none'"),
        (["copy", "none", "x", "--dry-run"], 1, "there is no experiment 'none'"),
        (["copy", "none", "one", "--replace"], 1, "there is no experiment 'none'"),
        (["copy", "one", "two"], 1, "there is an experiment 'two' already"),
        (["copy", "one", "two", "--dry-run"], 1, "there is an experiment 'two' already"),
        (["copy", "one", "one", "--replace"], 1, "no copy of itself"),
        (["copy", "one", "", "--replace"], 2, "an experiment needs a name"),
        (["copy", "one", "two@a"], 2, "an experiment has no @ in its name"),
        (["rename", "one", "two@a"], 2, "an experiment has no @ in its name"),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, problem: str
) -> None:
    before = of(path)
    assert doteval_(path, *words) == code
    said = capsys.readouterr()
    assert problem in said.err
    assert said.out == ""
    assert of(path) == before


def test_what_is_named_with_an_at_is_a_part_and_nothing_else(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is there: a script that is run again deletes nothing else. An evaluation may have more of them."""
    anyio.run(partial(run, numbers(), store=path, experiment="one", name="a@home"))
    with pytest.raises(ValueError, match="an experiment has no @ in its name, as 'one@a' has"):
        anyio.run(partial(run, numbers(), store=path, experiment="one@a"))
    assert doteval_(path, "delete", "one@a@home", "--yes") == 0
    assert of(path)["one"] == ["a", "b"]
    assert doteval_(path, "delete", "one@a@home", "--yes") == 1
    assert "no evaluation of 'one' has 'a@home' in its name" in capsys.readouterr().err
    assert of(path)["one"] == ["a", "b"]


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1.5d", "30 d", "1y", "\u0663d", "9" * 30 + "d"])
def test_an_age_is_a_number_and_a_unit(path: Path, capsys: pytest.CaptureFixture[str], age: str) -> None:
    with pytest.raises(SystemExit) as caught:
        doteval_(path, "delete", f"--older-than={age}", "--yes")
    assert caught.value.code == 2
    assert "is a number and a unit" in capsys.readouterr().err
    assert len(of(path)) == 3


@pytest.mark.parametrize("fresh", [False, True])
def test_what_is_being_run_is_neither_deleted_nor_renamed(
    path: Path, capsys: pytest.CaptureFixture[str], fresh: bool
) -> None:
    """Nor is what was named beside it; nor where the run is about to start over. When it has ended, both are done."""
    with Store(path) as store:
        (stored,) = store.evaluations("two")
        begun, _ = store.begin("two", "a", model="", identity=stored.identity, fresh=fresh)
        for words in (
            "delete one two --yes",
            "rename two 2",
            "copy two 2",
            "copy one two --replace",
            "delete --older-than=0s --yes",
        ):
            assert doteval_(path, *words.split()) == 1
            assert f"is being run by process {os.getpid()}" in capsys.readouterr().err
        store.leave(begun)
    assert len(of(path)) == 3
    assert doteval_(path, "rename", "two", "2") == 0
    assert doteval_(path, "delete", "one", "--yes") == 0
    assert of(path) == {"2": ["a"], "three": ["a"]}


def everything(path: Path, experiment: str) -> list[Any]:
    """All that is known of an experiment, but for numbers of the database."""
    store = Store(path)
    return [
        (
            each.name, each.identity, each.started, each.finished, each.rows, each.stored, each.errors, each.epochs,
            [*store.records(each)], [*store.transcript_texts(each)], store.runs(each), store.summary(each),
        )
        for each in store.evaluations(experiment)
    ]  # fmt: skip


@pytest.mark.parametrize("replace", [False, True])
def test_a_copy_has_all_that_is_known(path: Path, capsys: pytest.CaptureFixture[str], replace: bool) -> None:
    """Samples that do not count, transcripts, runs and costs; what it is of stays, and each goes its own way."""
    give = partial(run, store=path, experiment="one", name="a")
    anyio.run(partial(give, numbers(), epochs=3, transcripts=True))
    anyio.run(partial(give, numbers(), epochs=2))
    before, to = everything(path, "one"), "two" if replace else "new"
    assert doteval_(path, "copy", "one", to, "--dry-run", *["--replace"] * replace) == 0
    assert "would be a copy of one: 2 evaluations" in capsys.readouterr().out
    assert "new" not in of(path)
    assert doteval_(path, "copy", "one", to, "--json", *["--replace"] * replace) == 0
    assert json.loads(capsys.readouterr().out)[0]["evaluations"] == ["a", "b"]
    assert everything(path, to) == everything(path, "one") == before
    delete("one", store=path)
    assert everything(path, to) == before
    outcome = anyio.run(partial(run, numbers(), store=path, experiment=to, name="a", epochs=3))
    assert outcome.answered


def test_what_is_not_whole_takes_no_baselines_place(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may have a name of its own; and gates and comparisons take it for none."""

    @foreach("number", range(6))
    async def begun(number: int) -> Result:
        if number == 3:
            raise KeyboardInterrupt
        return Result(number, scores={"good": True})

    @foreach("number", range(6))
    async def whole(number: int) -> Result:
        return Result(number, scores={"good": number < 3})

    with pytest.raises(KeyboardInterrupt):
        anyio.run(partial(run, begun, store=path, experiment="killed", name="it", concurrency=1))
    give = partial(run, whole, store=path, name="it")
    anyio.run(partial(give, experiment="main"))
    before = everything(path, "main")
    assert doteval_(path, "copy", "killed", "main", "--replace", "--dry-run") == 1
    assert "killed is not whole" in capsys.readouterr().err
    assert doteval_(path, "copy", "killed", "main", "--replace") == 1
    assert "results of 'killed' that are not whole, and 'main' is not replaced" in capsys.readouterr().err
    assert everything(path, "main") == before
    anyio.run(partial(give, experiment="failed", max_errors=3))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE rows SET error = 'it' WHERE number < 4 AND evaluation = "
                           "(SELECT id FROM evaluations WHERE experiment = 'failed')")  # fmt: skip
    assert doteval_(path, "copy", "failed", "main", "--replace") == 1
    assert "'main' is not replaced by these: 4 rows of it failed, and 3 may" in capsys.readouterr().err
    assert everything(path, "main") == before
    assert doteval_(path, "copy", "killed", "saved") == 0
    for baseline, colour in (("saved", 1), ("main", 0)):
        gate = partial(give, experiment=f"of {baseline}", passes="good >= baseline", baseline=baseline, changed="keep")
        shortfalls = anyio.run(gate).shortfalls
        assert len(shortfalls) == colour
        assert all("has of 'it' is not whole" in each for each in shortfalls)
        assert doteval_(path, "compare", baseline, f"of {baseline}", "--fail-if", "worse") == colour
        assert ("saved is not finished" in capsys.readouterr().err) == bool(colour)


@pytest.mark.parametrize("command", ["show", "export", "delete"])
def test_nothing_behind_the_at_is_no_part(path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """As of a variable that is not set: it is not everything."""
    before = everything(path, "one")
    assert doteval_(path, command, "one@", *["--yes"] * (command == "delete")) != 0
    assert "has nothing behind its @" in capsys.readouterr().err
    assert everything(path, "one") == before


def test_who_is_killed_while_he_copies_leaves_one_or_the_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is as a kill would leave it, at each statement: there always is a baseline, and a whole one."""
    old, new = everything(path, "two"), everything(path, "one")
    writing, left = Database.writing, list[Path]()

    seen: list[list[bytes]] = []

    def tell(_: str) -> None:
        files = [file for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()]
        seen.append([file.read_bytes() for file in files])
        if seen[-1:] != seen[-2:-1]:
            directory = path.parent / str(len(left))
            directory.mkdir()
            for file in files:
                shutil.copy(file, directory)
            left.append(directory / path.name)

    @contextmanager
    def watched(database: Database) -> Generator[sqlite3.Connection]:
        with writing(database) as connection:
            connection.set_trace_callback(tell)
            yield connection

    monkeypatch.setattr(Database, "writing", watched)
    copy("one", "two", store=path, replace=True)
    tell("")
    assert everything(path, "two") == new
    found = [everything(each, "two") for each in left]
    assert all(each in (old, new) for each in found)
    assert (found[0], found[-1]) == (old, new)
    assert all(everything(each, "one") == new for each in left)
    with pytest.raises(StoreError, match="has an experiment 'three' already"):
        copy("one", "three", store=path)


def test_the_job_of_main_asks_for_nothing_where_it_is_started_again(tmp_path: Path, monkeypatch: Any) -> None:
    """With the commands of the guide, in the order in which they stand there."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "evaluate-in-ci.md").read_text("utf-8")
    blocks = [block.partition("```")[0].splitlines() for block in page.split("```sh\n")[1:]]
    called: list[int] = []

    @foreach("n", range(20))
    async def eval_core(n: int) -> Result:
        called.append(n)
        return Result(n, scores={"right": True})

    def job(commit: str, *commands: list[str]) -> int:
        called.clear()
        for line in (line for block in commands for line in block):
            command, *words = (word.replace("$COMMIT", commit) for word in shlex.split(line))
            if command == "doteval":
                assert main(words) == 0
            else:
                given = dict(zip(words[::2], words[1::2], strict=True))
                gates: Any = (
                    {"baseline": given["--eval-baseline"], "passes": given["--eval-gate"]}
                    if "--eval-gate" in given
                    else {}
                )
                rows: Any = {"limit": int(given["--eval-limit"])} if "--eval-limit" in given else {}
                give = partial(run, eval_core, store=".doteval/results.db", experiment=given["--eval-experiment"])
                anyio.run(partial(give, **gates, **rows, max_errors=0))
        return len(called)

    first, every, good, some, pull_request = blocks
    assert job("sha1", first, some) == 20 + 5
    for commit in ("sha2", "sha3"):
        assert [job(commit, every, good, some) for _ in range(3)] == [20 + 5, 0, 0]
    assert job("branch", every) == 20
    assert job("pull", pull_request) == 5


async def test_a_renamed_experiment_is_gone_on_with(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under its new name, whatever that is."""
    for before, after in (("two", "\udcff odd ; name"), ("\\udcff odd ; name", "2")):
        assert main(["rename", before, after, "--store", str(path)]) == 0
    outcome = await run(numbers(), store=path, experiment="2", name="a")
    assert outcome.answered


def test_a_file_that_others_use_keeps_its_size(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is deleted is deleted all the same."""
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM rows").fetchone()
    assert doteval_(path, "delete", "one", "--yes") == 0
    reader.close()
    assert "Somebody else is using it, so it has room left in it" in capsys.readouterr().out
    assert of(path) == {"two": ["a"], "three": ["a"]}


def failing(code: int) -> Any:
    def fail(*_: object) -> NoReturn:
        error = sqlite3.OperationalError("it cannot be done")
        error.sqlite_errorcode = code
        raise error

    return fail


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (sqlite3.SQLITE_BUSY, "Somebody else is using it"),
        (sqlite3.SQLITE_FULL, "The disk has no room for a copy of it"),
        (sqlite3.SQLITE_CORRUPT, "It is damaged: it cannot be done"),
    ],
)
def test_it_says_why_a_file_is_no_smaller(path: Path, code: int, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else is blamed for it."""
    store = Store(path)
    monkeypatch.setattr(store._database, "connect", failing(code))
    assert upkeep._compact(store) == why


def test_a_full_disk_is_told_with_what_may_go(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To delete takes room, too."""
    monkeypatch.setattr(upkeep, "check_idle", failing(sqlite3.SQLITE_FULL))
    before = of(path)
    assert doteval_(path, "delete", "one", "--yes") == 1
    said = capsys.readouterr().err
    assert "the disk is full, and that takes room first" in said
    assert "Nothing was deleted. Remove or move another file" in said
    assert of(path) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is full")
def test_an_export_to_a_full_disk_is_no_wrong_argument(path: Path) -> None:
    assert doteval_(path, "export", "one", "-o", "/dev/full") == 1


@pytest.mark.parametrize("words", [["delete", "one", "--yes"], ["rename", "one", "1"]])
def test_a_foreign_file_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """And one that is not there is not made."""
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection, connection:
        connection.execute("CREATE TABLE evaluations (id)")
    before = foreign.read_bytes()
    text = tmp_path / "text.db"
    text.write_text("hello")
    for file in (foreign, text, tmp_path / "none.db", tmp_path):
        assert doteval_(file, *words) in (1, 2)
        error = capsys.readouterr().err
        assert error.startswith("doteval: ")
        assert len(error.splitlines()) == 1
    assert foreign.read_bytes() == before
    assert not (tmp_path / "none.db").exists()

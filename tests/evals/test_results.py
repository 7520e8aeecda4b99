"""What people can look at: the commands about results, and the page."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import anyio
import pytest

from doteval import Completion, Result, Usage, foreach
from doteval.cli import main
from doteval.evals import Evaluation, Record, Snapshot, Store, run
from doteval.evals._results.histogram import histogram
from doteval.evals._results.intervals import student
from doteval.evals._results.pictures import intervals

ROWS = 40


def making(shift: int, *, failing: bool = True) -> Evaluation:
    @foreach("prompt", [f"<{number}> & more" for number in range(ROWS)])
    async def eval_it(prompt: str) -> Result:
        number = int(prompt[1:].partition(">")[0])
        if failing and number == 7:
            raise ValueError("</pre><script>alert(1)</script>")
        output = Completion(f"out {number}", usage=Usage(5, 2))
        scores = {"right": (number + shift) % 4 != 0, "size": number % 5 + shift + (number % 2) / 10 * shift}
        return Result(output, prompt=prompt, scores=scores)

    return eval_it


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the results were made: two experiments, the first with two models."""
    directory = tmp_path_factory.mktemp("made")

    async def make() -> None:
        async with Store() as store:
            for experiment, model, shift in (("one", "m-small", 0), ("one", "m-large", 1), ("two", "m-small", 2)):
                name = f"eval_it.py::eval_it[{model}]"
                await run(making(shift, failing=experiment == "one"), store=store, experiment=experiment, name=name)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        anyio.run(make)
    return directory


@pytest.fixture(autouse=True)
def results(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The test's own copy of them."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Store()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints."""
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    """The experiments, oldest first, with their counts."""
    lines = told(capsys, "list").splitlines()
    assert lines[0].split() == ["experiment", "begun", "evaluations", "rows", "errors"]
    assert [line.split()[0] for line in lines[1:]] == ["one", "two"]
    assert lines[1].split()[-3:] == ["2", "80", "2"]


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each score, and the rows that failed; a part of an experiment is named with ``@``."""
    shown = told(capsys, "show", "one")
    assert "eval_it.py::eval_it[m-small]" in shown
    assert "eval_it.py::eval_it[m-large], row 7: ValueError: </pre>" in shown
    part = told(capsys, "show", "one@large", "--errors", "0")
    assert "m-small" not in part
    assert "1 more of eval_it.py::eval_it[m-large]: --errors N" in part


def test_compare_two_experiments(capsys: pytest.CaptureFixture[str]) -> None:
    """By name; the interval is that of the paired differences."""
    shown = told(capsys, "compare", "one@small", "two")
    pairs = [
        (number % 5, number % 5 + 2 + (number % 2) / 5) for number in range(ROWS) if number != 7
    ]  # the row that failed is left out
    differences = [after - before for before, after in pairs]
    reach = student(len(pairs) - 1) * stdev(differences) / math.sqrt(len(pairs))
    (line,) = [line for line in shown.splitlines() if "size" in line]
    assert f"{mean(differences):+.4g}" in line
    assert f"{mean(differences) - reach:+.4g} to {mean(differences) + reach:+.4g}" in line
    assert line.endswith("higher")
    assert "1 rows are left out" in shown


def test_compare_two_models_of_one_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is the only one on its side, so they belong together."""
    shown = told(capsys, "compare", "one@small", "one@large")
    assert "eval_it.py::eval_it[m-small] -> eval_it.py::eval_it[m-large]" in shown
    (line,) = [line for line in shown.splitlines() if " right " in line]
    assert line.endswith("no clear difference")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "three"), "there is no experiment 'three'; there are: one, two"),
        (("show", "three@it"), "there is no experiment 'three'; there are: one, two"),
        (("show", "one@nothing"), "no evaluation of 'one' has 'nothing' in its name; there are: eval_it.py"),
        (("list", "--store", "nowhere.db"), "there are no results in nowhere.db"),
        (("export", "one", "--format", "parquet"), "Parquet is no text: name a file with -o"),
    ],
)
def test_what_cannot_be_done_says_why(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an exit code, and without a traceback."""
    assert main(arguments) in (1, 2)
    assert message in capsys.readouterr().err


def test_export_as_json_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An object a line, to standard output or a file."""
    lines = told(capsys, "export", "one").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 2 * ROWS
    assert rows[3]["inputs"] == {"prompt": "<3> & more"}
    assert (rows[3]["output"], rows[3]["scores"], rows[3]["input_tokens"]) == ("out 3", {"right": True, "size": 3.0}, 5)
    assert rows[7]["error"].startswith("ValueError")
    told(capsys, "export", "one", "-o", "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_text("utf-8").splitlines() == lines


def test_export_as_csv(capsys: pytest.CaptureFixture[str]) -> None:
    """Scores have columns of their own."""
    rows = list(csv.DictReader(io.StringIO(told(capsys, "export", "two", "--format", "csv"))))
    assert len(rows) == ROWS
    assert (rows[2]["score right"], rows[2]["score size"], rows[2]["output"]) == ("False", "4.0", "out 2")


def test_parquet_without_pyarrow_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no dependency."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["export", "one", "--format", "parquet", "-o", "x.parquet"]) == 1
    assert "pip install pyarrow" in capsys.readouterr().err


def test_export_as_parquet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns have types; what is nested is JSON; it is written a part at a time."""
    monkeypatch.setattr("doteval.evals._results.export._CHUNK", 7)
    told(capsys, "export", "two", "--format", "parquet", "-o", "rows.parquet")
    parquet: Any = import_module("pyarrow.parquet")
    with parquet.ParquetFile("rows.parquet") as file:
        assert file.num_row_groups == ROWS // 7 + 1
        table = file.read()
    assert {name: str(table.schema.field(name).type) for name in ("row", "seconds", "output")} == {
        "row": "int64",
        "seconds": "double",
        "output": "string",
    }
    rows = table.to_pylist()
    assert [row["row"] for row in rows] == list(range(ROWS))
    assert (rows[2]["scores"], rows[2]["output"], rows[2]["error"]) == ('{"right": false, "size": 4.0}', "out 2", None)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_file_is_written_whole_or_not_at_all(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was there before stays where writing fails, and nothing is left of the attempt."""

    def records(self: Snapshot, stored: Any) -> Iterator[Record]:
        yield Record(0, "", "", {})
        raise OSError("the disk is gone")

    monkeypatch.setattr(Snapshot, "records", records)
    before = sorted(tmp_path.iterdir())
    for _ in ("where nothing is", "where something is"):
        assert main(["export", "two", "--format", kind, "-o", f"rows.{kind}"]) == 2
        assert f"rows.{kind} cannot be written: the disk is gone" in capsys.readouterr().err
        assert sorted(tmp_path.iterdir()) == before
        (tmp_path / f"rows.{kind}").write_text("before")
        before = sorted(tmp_path.iterdir())
    assert (tmp_path / f"rows.{kind}").read_text() == "before"


def test_export_to_what_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A device is written to, and stays what it is."""
    told(capsys, "export", "two", "-o", os.devnull)
    assert not Path(os.devnull).is_file()


class Reader(HTMLParser):
    """Notices tags that are not closed, and what comes from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in ("meta", "html", "input", "rect", "circle", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("html", "rect", "circle", "line"):
            assert self.open.pop() == tag


def test_the_page_is_whole_and_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Every tag is closed, nothing comes from elsewhere, and what models say does not become part of the page."""
    assert told(capsys, "report", "one", "-o", "page.html") == "page.html\n"
    text = Path("page.html").read_text("utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert reader.outside == []
    assert {"table", "svg", "style"} <= reader.seen
    for shown in ("80 rows", "2 errors", "Latency", "prefers-color"):
        assert shown in text


def test_the_page_of_an_experiment_without_scores(capsys: pytest.CaptureFixture[str]) -> None:
    """It has a table, and no empty pictures."""

    @foreach("value", [1])
    async def eval_plain(value: int) -> Result:
        return Result(value)

    anyio.run(lambda: run(eval_plain, store=".doteval/results.db", experiment="plain"))
    assert told(capsys, "report", "plain") == "plain.html\n"
    text = Path("plain.html").read_text("utf-8")
    assert "eval_plain" in text
    assert "Compared" not in text


def test_histogram() -> None:
    """All values are in it, the greatest in the last range."""
    assert [count for _, _, count in histogram([0, 1, 2, 3, 10], 5, (0, 10))] == [2, 2, 0, 0, 1]
    assert histogram([2.0, 2.0], 5, (2.0, 2.0)) == [(2.0, 2.0, 2)]
    assert [count for _, _, count in histogram([2.0, 2.0], 2, (0.0, 3.0))] == [0, 2]


def test_below_a_histogram_are_the_least_and_the_greatest_value() -> None:
    """Not where the last range begins."""
    drawn = intervals(histogram([0.0, 4.0, 9.0], 3, (0.0, 9.0)), "{:g}".format)
    assert [note.text for note in drawn.notes] == ["0", "9"]
    assert [bar.label for bar in drawn.bars] == ["0 to 3: 1", "3 to 6: 1", "6 to 9: 1"]

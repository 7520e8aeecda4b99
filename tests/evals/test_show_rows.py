"""``doteval show --row`` and ``--failed``: all that is kept of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.evals.requests_made import kept_as
from tests.evals.test_page import record, stored

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import ModelUsage, Record, RecordedRequest, run
from doteval.evals._results import transcript
from doteval.evals._results.blocks import Index
from doteval.evals._results.export import rows_of
from doteval.evals._results.pricing import Price, Prices
from doteval.evals._results.record import key_of_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    usage = ModelUsage("gpt", "model", 2, 0, 0, 1200, 300, 200, 0, 100)
    rows = [
        record(
            0, output="a text\nof two lines", prompt=[{"role": "user", "content": "hi", "name": None}],
            scores={"good": True, "size": 0.25}, metadata={"why": ["so"]}, usage_by_model=(usage,), attempts=2,
        ),
        record(1, error="ValueError: no", traceback="Traceback:\n  ValueError: no\n", inputs={"question": "\x1b[31m"}),
        Record(2, "abcdef", "abcdef", {"question": "q"}, output={"x": 1}),
        Record(3, "abcxyz", "abcxyz", {"question": "q"}, error="KeyError"),
    ]  # fmt: skip
    stored(tmp_path / "results.db", {"eval_it[one]": rows, "eval_it[two]": rows[:2]})
    return tmp_path / "results.db"


def shown(path: Path, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["show", *words, "--store", str(path)]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_all_of_a_row_is_shown(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it was, what came of it, what it cost; in each evaluation that has it, or in the one that is named."""
    text = shown(path, capsys, "it", "--row", "0")
    assert text.count("row 0") == 2
    for part in (
        "eval_it[one], row 0\nkey k0; 0 ms, 2 attempts, gpt as model: 2 requests, 1,200 tokens in (200 cached), ",
        "300 out (100 reasoning)\ngood: yes\nsize: 0.25\n",
        "output\n  a text\n  of two lines\n",
        "prompt\n  user: hi\n",
        "inputs\n  question: what is 0?\n",
        'metadata\n  why: ["so"]\n',
    ):
        assert part in text
    assert shown(path, capsys, "it@two", "--row", "k0").count("row 0") == 1


def test_a_terminal_is_told_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control codes in what is kept are shown, and not obeyed; without a terminal nothing is styled."""
    text = shown(path, capsys, "it@one", "--row", "1")
    assert "\x1b" not in text
    assert r"question: \x1b[31m" in text
    assert "traceback\n  Traceback:\n    ValueError: no\n" in text


@pytest.mark.parametrize("asked", ["2", "abcdef", "abcd"])
def test_a_row_is_named_by_its_number_its_key_or_the_beginning_of_that(
    asked: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever is at hand."""
    assert "row 2\nkey abcdef" in shown(path, capsys, "it", "--row", asked)


@pytest.mark.parametrize(
    ("asked", "said", "code"),
    [
        ("7", "there is no row 7 in 2 evaluations: there are 0 to 3, near it 0, 1, 2, 3", 1),
        ("abxdef", "there is no row 'abxdef' in 2 evaluations: near it abcdef, abcxyz", 1),
        ("§", "there is no row '§' in 2 evaluations: they are numbered from 0 to 3", 1),
        ("9" * 5000, "there is no row", 1),
        ("²", "there is no row '²'", 1),
    ],
)
def test_a_row_that_is_not_there(
    asked: str, said: str, code: int, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said which ones are near."""
    assert said in shown(path, capsys, "it", "--row", asked, code=code)


def test_the_beginning_of_several_keys_is_not_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are named."""
    rows = [Record(number, f"abcd{number}", f"abcd{number}", {}) for number in range(3)]
    stored(tmp_path / "results.db", {"eval_it": rows})
    said = "several rows begin with 'abcd': abcd0, abcd1, abcd2"
    assert said in shown(tmp_path / "results.db", capsys, "it", "--row", "abcd", code=2)


def test_an_id_that_repeats_is_not_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The keys of its rows are named, by which each is shown."""
    key = key_of_id("a")
    keys = [key, f"{key} d", f"{key} d 2"]
    stored(tmp_path / "results.db", {"eval_it": [Record(n, each, "d", {}) for n, each in enumerate(keys)]})
    said = f"3 rows have the id 'a': name one by its key, '{key}', '{key} d', '{key} d 2'"
    assert said in shown(tmp_path / "results.db", capsys, "it", "--row", "a", code=2)
    for number, each in enumerate(keys):
        assert f"row {number}\nkey {each};" in shown(tmp_path / "results.db", capsys, "it", "--row", each)


@pytest.mark.parametrize("ids", [["b", "a", "c"], [20, 10, 0]])
def test_a_row_is_named_by_its_id(ids: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Which counts before its number."""

    @foreach("id,value", [(each, number) for number, each in enumerate(ids)])
    async def eval_it(id: Any, value: int) -> Result:  # noqa: A002
        return Result(f"value {value}")

    path = tmp_path / "results.db"
    anyio.run(lambda: run(eval_it, store=path, experiment="it"))
    for number, each in enumerate(ids):
        assert f"output\n  value {number}\n" in shown(path, capsys, "it", "--row", str(each))


def test_all_of_each_failed_row_is_shown(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or that there is none."""
    text = shown(path, capsys, "it", "--failed")
    assert [line for line in text.splitlines() if line.startswith("eval_it")] == [
        "eval_it[one], row 1", "eval_it[one], row 3", "eval_it[two], row 1",
    ]  # fmt: skip
    assert "error\n  KeyError\n" in text
    stored(path, {"eval_it": [record(0)]}, "fine")
    assert shown(path, capsys, "fine", "--failed") == "no row failed\n"


def test_rows_for_programs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An array of objects with the names of the export, and the key."""
    from doteval.evals import Store

    store = Store(path)
    wanted = [
        json.loads(json.dumps({"key": each.key, **row, "transcript": []}))
        for evaluation in store.evaluations()
        for each in store.records(evaluation, failed=True)
        for row in rows_of([(evaluation, each)])
    ]
    assert json.loads(shown(path, capsys, "it", "--failed", "--json")) == wanted
    assert [row["row"] for row in json.loads(shown(path, capsys, "it", "--row", "2", "--json"))] == [2]
    stored(path, {"eval_it": [record(0)]}, "fine")
    assert json.loads(shown(path, capsys, "fine", "--failed", "--json")) == []


def test_all_samples_of_a_row_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other, as far as they count."""
    rows = [record(1, sample=sample, output=f"sample {sample}") for sample in (1, 2, 3)]
    stored(tmp_path / "results.db", {"eval_it": rows}, epochs=2)
    text = shown(tmp_path / "results.db", capsys, "it", "--row", "1")
    assert [line for line in text.splitlines() if line.startswith("eval_it")] == [
        "eval_it, row 1", "eval_it, row 1, sample 2",
    ]  # fmt: skip
    assert "sample 3" not in text


def test_what_is_not_all_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a row, of a model and in total; of what is known, nothing is said. With a request, what it was sent with."""
    request = RecordedRequest("m", None, 1, 0.0, 0.0, [], {"temperature": 0.5}, "reply")
    rows = [
        record(0, usage_by_model=(ModelUsage("m", None, 1, 0, 1, 1200, 34, 0, 0, 0),), transcript=kept_as([request])),
        record(1, usage_by_model=(ModelUsage("whole", None, 1, 0, 0, 50, 6, 0, 0, 0),)),
    ]
    path = tmp_path / "results.db"
    stored(path, {"eval_it": rows})
    text = shown(path, capsys, "it", "--row", "0")
    assert "m: 1 request, ≥ 1,200 tokens in, ≥ 34 out\n" in text
    assert '  reply: reply\n  sent with {"temperature": 0.5}\n' in text
    assert "whole: 1 request, 50 tokens in, 6 out\n" in shown(path, capsys, "it", "--row", "1")
    cells = [line.split() for line in shown(path, capsys, "it").splitlines()]
    assert ["eval_it", "m", "1", "0", "≥", "1,200", "0", "0", "≥", "34", "0"] in cells
    assert ["whole", "1", "0", "50", "0", "0", "6", "0"] in cells
    for prices, marks in (({"m": Price(1, 1)}, [(1, 1), (0, 1)]), ({"*": Price(1, 1)}, [(1, 1), (0, 0)])):
        index = Index(Prices(prices))
        for each in rows:
            index.add(each)
        columns = index.take()
        assert [*zip(columns["unknown"], columns["cost_unknown"], strict=True)] == marks


def test_requests_that_are_left_out_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For people and for programs; the others keep their numbers."""
    monkeypatch.setattr(transcript, "MOST_REQUESTS", 8)
    requests = [RecordedRequest("m", None, 1, 0.0, 0.0, [], {}, f"reply {number}") for number in range(1, 12)]
    stored(tmp_path / "results.db", {"eval_it": [record(0, transcript=kept_as(requests))]})
    text = shown(tmp_path / "results.db", capsys, "it", "--row", "0")
    assert "request 4\n" in text
    assert "\n4 requests are left out\n\nrequest 9\n" in text
    assert "request 11\n  m: 0 ms\n  reply: reply 11\n" in text
    (row,) = json.loads(shown(tmp_path / "results.db", capsys, "it", "--row", "0", "--json"))
    assert [each["left_out"] for each in row["transcript"]] == [0, 0, 0, 0, 4, 0, 0, 0]

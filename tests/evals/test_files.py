"""Datasets in files, beside what the file says."""

from __future__ import annotations

import csv as standard_csv
import io
import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.evals import DatasetError, csv, jsonl, run


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about files."""
    return "asyncio"


texts = st.text(st.characters(exclude_categories=["Cs"]))
in_any_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
"""Each example writes it anew."""


@in_any_file
@given(
    st.lists(st.dictionaries(texts, texts | st.integers() | st.none() | st.lists(texts))),
    st.sampled_from(["\n", "\r\n", "\n\n \n"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["utf-8", "UTF8", "utf-8-sig", "utf-16"]),
)
def test_lines_hold_what_was_written(
    tmp_path: Path, rows: list[Any], end: str, is_ended: bool, is_ascii: bool, encoding: str
) -> None:
    """With any ends of lines, empty ones, a mark at the beginning, and letters that other programs end lines at."""
    path = tmp_path / "rows.jsonl"
    text = end.join(json.dumps(row, ensure_ascii=is_ascii) for row in rows) + end * is_ended
    path.write_bytes(text.encode(encoding))
    dataset = jsonl(path, encoding=encoding)
    assert [*dataset] == rows
    assert [*dataset] == rows


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@in_any_file
@given(st.lists(st.lists(cells, min_size=2, max_size=2)), st.sampled_from([",", ";", "\t"]),
       st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))  # fmt: skip
def test_a_table_holds_what_was_written(tmp_path: Path, rows: list[list[str]], delimiter: str, encoding: str) -> None:
    """With quotes, delimiters and ends of lines in its values."""
    written = io.StringIO()
    standard_csv.writer(written, delimiter=delimiter).writerows([["question", " answer "], *rows])
    path = tmp_path / "rows.csv"
    path.write_bytes(written.getvalue().encode(encoding))
    found = [*csv(path, delimiter=delimiter, encoding=encoding)]
    assert found == [{"question": one, "answer": other} for one, other in rows]


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b'{"a": 1}\n\n{"a": \n{"a": 2}', 3, "it is no JSON: Expecting value at column 7"),
        (b'{"a": 1}\n{"a": 1} {}', 2, "it is no JSON: Extra data"),
        (b'{"a": 1}\n{"a": "\xff"}', 2, "it is not encoded as utf-8: say encoding="),
        (b'{"a": 1}\n' + b"[" * 200_000, 2, "it is nested too deep"),
        (b'{"a": 1}\n' + b"9" * 5000, 2, "it is no JSON"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, content: bytes, line: int, problem: str) -> None:
    """After the rows before it."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    rows = iter(jsonl(path))
    assert next(rows) == {"a": 1}
    with pytest.raises(ValueError, match=f"rows.jsonl, line {line}: {problem}"):
        next(rows)


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"a,b\n1,2\n\n3\n", 4, "it has 1 values for 2 columns: a, b"),
        (b"a,b\n1,2\n3,4,5\n", 3, "it has 3 values for 2 columns: a, b"),
        (b'a,b\n1,2\n"3\n\n,4', 3, "it is no CSV: unexpected end of data"),
        (b'a,b\n1,2\n"3"x,4', 3, "it is no CSV"),
        (b'a,b\n1,2\n"3\n",\xe9', 3, "it is not encoded as utf-8: say encoding="),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, content: bytes, line: int, problem: str) -> None:
    """The one that it begins in."""
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    rows = iter(csv(path))
    assert next(rows) == {"a": "1", "b": "2"}
    with pytest.raises(ValueError, match=f"rows.csv, line {line}: {problem}"):
        next(rows)


@pytest.mark.parametrize("content", ["a,a\n", "a,\n", "\ufeff,b\n"])
def test_columns_need_names(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match="line 1: columns need names, each its own"):
        [*csv(path)]


def test_a_file_may_be_empty_and_a_value_long(tmp_path: Path) -> None:
    """No rows are no rows; and ten megabytes are a value."""
    path = tmp_path / "rows"
    for content in ("", "\n\n"):
        path.write_text(content)
        assert [*csv(path)] == [*jsonl(path)] == []
    path.write_text(f'a\n"{"x" * 10_000_000}"\n')
    assert [len(row["a"]) for row in csv(path)] == [10_000_000]


def test_a_file_is_sought_beside_the_one_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the program was started; in what is no file, from there."""
    (tmp_path / "data").mkdir()
    (tmp_path / "module.py").write_text("from doteval.evals import csv, jsonl\nROWS = jsonl('data/a'), csv('data/b')\n")
    monkeypatch.chdir(os.sep)
    monkeypatch.syspath_prepend(tmp_path)
    import module

    assert [rows.path for rows in module.ROWS] == [tmp_path / "data" / "a", tmp_path / "data" / "b"]
    assert repr(module.ROWS[0]) == f"jsonl({str(tmp_path / 'data' / 'a')!r})"
    monkeypatch.chdir(tmp_path)
    shell: dict[str, Any] = {"jsonl": jsonl}
    exec("rows = jsonl('data/a')", shell)
    assert shell["rows"].path == tmp_path / "data" / "a"
    assert jsonl(tmp_path / "a").path == tmp_path / "a"


@pytest.mark.anyio
async def test_an_evaluation_reads_it_each_time_and_stops_at_a_bad_line(tmp_path: Path) -> None:
    """What has changed is run, and no more; what was done before a bad line is kept."""
    path, calls = tmp_path / "rows.jsonl", []
    path.write_text('{"a": 1}\n{"a": 2}\n')

    @foreach("a", jsonl(path))
    async def eval_file(a: int) -> Result:
        calls.append(a)
        return Result(a)

    store = tmp_path / "results.db"
    assert (await run(eval_file, store=store)).calls == 2
    assert (await run(eval_file, store=store)).answered
    path.write_text('{"a": 1}\n{"a": 3}\n{"a"')
    with pytest.raises(ValueError, match="line 3: it is no JSON"):
        await run(eval_file, store=store)
    path.write_text('{"a": 3}\n{"a": 1}\n')
    assert (await run(eval_file, store=store)).known == 2
    assert calls == [1, 2, 3]
    path.unlink()
    with pytest.raises(
        DatasetError, match=r"does not fit: there is no file .*rows\.jsonl\.\nIt is that of 'eval_file'"
    ):
        await run(eval_file, store=store)


def refused(*_: object, **__: object) -> Any:
    raise PermissionError(13, "Permission denied")


def through_a_function(dataset: Any) -> Any:
    return lambda: (row for row in dataset)


@pytest.mark.anyio
@pytest.mark.parametrize("form", [lambda dataset: dataset, through_a_function], ids=["as it is", "in a function"])
@pytest.mark.parametrize("read", [jsonl, csv])
@pytest.mark.parametrize(
    ("name", "problem", "advice"),
    [
        ("row.txt", "there is no file row.txt in {directory}", "Is 'rows.txt' meant? A path is seen from"),
        ("deep/rows.txt", "there is no file deep/rows.txt in {directory}", "A path is seen from"),
        ("{directory}/x/rows.txt", "there is no file {directory}/x/rows.txt", "A path is seen from"),
        ("folder", "folder in {directory} is a directory", "Name a file in it."),
        ("closed.txt", "closed.txt in {directory} may not be read by this user", "Change its permissions."),
        ("binary.txt", "{directory}/binary.txt, line 1: it is not encoded as utf-8: say encoding=", "Correct the file"),
    ],
)
async def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any, name: str, problem: str, advice: str, form: Any
) -> None:
    """With the directory from where it is seen, whose dataset it is, and what to do."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe{\x00")
    (tmp_path / "rows.txt").touch()
    caller = compile("made = read(name)", str(tmp_path / "module.py"), "exec")
    (tmp_path / "module.py").touch()
    names: dict[str, Any] = {"read": read, "name": name.format(directory=tmp_path)}
    exec(caller, names)
    if name == "closed.txt":  # root may read anything
        monkeypatch.setattr(type(names["made"].path), "open", refused)

    @foreach("a", form(names["made"]))
    async def eval_file(a: object) -> Result:
        return Result(a)

    with pytest.raises(DatasetError) as caught:
        await run(eval_file)
    whose = "It is that of 'eval_file'."
    told = f"The dataset does not fit: {problem.format(directory=tmp_path)}.\n{whose} {advice}"
    assert str(caught.value).startswith(told)


def test_an_encoding_that_there_is_not_is_refused_where_it_is_written() -> None:
    """As Python does it."""
    with pytest.raises(LookupError, match="unknown encoding: utf-9"):
        jsonl("rows.jsonl", encoding="utf-9")


@pytest.mark.anyio
async def test_text_that_an_encoding_cannot_hold_is_not_read(tmp_path: Path) -> None:
    """Also where Python has no letters for what it cannot decode."""
    (tmp_path / "rows").write_bytes("{}\n".encode("utf-16") + b"\x00")
    with pytest.raises(DatasetError, match="rows is not encoded as utf-16: say encoding="):
        [*jsonl(tmp_path / "rows", encoding="utf-16")]


@pytest.mark.anyio
async def test_a_file_without_rows_is_named(tmp_path: Path) -> None:
    """By whatever says that there are none."""
    path = tmp_path / "rows.jsonl"
    path.write_text("1\n")
    evaluation = foreach("a", jsonl(path))(echo)
    await run(evaluation, store=tmp_path / "results.db", max_errors=0)
    path.write_text("\n")
    for options in ({"store": tmp_path / "results.db"}, {}):
        with pytest.raises(DatasetError, match=rf"it has no rows(?s:.*)ook at {re.escape(str(path))}\."):
            await run(evaluation, max_errors=0, **options)


async def echo(a: object) -> Result:
    return Result(a)


def lines(name: str, count: int, size: int) -> str:
    return "".join(json.dumps({"question": f"{name} {number}", "more": "x" * size}) + "\n" for number in range(count))


def over(path: Path, text: str) -> None:
    """Written anew in its place."""
    with path.open("r+") as file:
        file.write(text)
        file.truncate()


def beside(path: Path, text: str) -> None:
    """Another file in its place."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


def added(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def cut(path: Path, text: str) -> None:
    os.truncate(path, len(lines("old", 30, 100_000)) // 2)


@pytest.mark.parametrize("change", [over, beside, added, cut], ids=lambda each: each.__name__)
@pytest.mark.parametrize("after", [1, 25, 40])
@pytest.mark.parametrize("new", ["shorter", "longer", "alike"])
def test_rows_are_never_of_two_files(change: Callable[[Path, str], None], after: int, new: str, tmp_path: Path) -> None:
    """Whatever becomes of it while it is read: those of the file that was opened, with what was added, or an error."""
    path = tmp_path / "data.jsonl"
    path.write_text(lines("old", 40, 100_000))
    there = [f"old {number}" for number in range(40)]
    text = lines("new", {"shorter": 3, "longer": 70, "alike": 40}[new], 100_000)
    found, error = list[str](), ""
    try:
        for row in jsonl(path):
            found.append(row["question"])
            if len(found) == after:
                change(path, text)
    except DatasetError as exc:
        error = str(exc)
    assert found[:40] == there[: len(found)]
    if change is cut:  # in the middle of a line
        assert error or len(found) == 40
    elif error:
        assert "was written anew" in error
        assert change is over
    else:
        assert len(found) >= 40
        assert change is added or len(found) == 40


@pytest.mark.parametrize("edit", [None, 1, 5, 30, 50])
def test_a_file_that_grows_is_not_read_again_each_time(
    edit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But a few times in all, and in the end, so that an edit of what was read long ago is noticed, too."""
    path, read = tmp_path / "data.jsonl", list[int]()
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *given: read.append(given[1]) or pread(*given))
    path.write_text(lines("here", 30, 2**20))
    error, count = "", 0
    try:
        for count, _ in enumerate(jsonl(path), 1):
            if count < 60:
                added(path, lines("here", 1, 2**20))
            if count == edit:
                with path.open("r+") as file:
                    file.write('{"question": "that')
    except DatasetError as exc:
        error = str(exc)
    assert ("was written anew" in error) == (edit is not None)
    if edit is None:
        assert count == 89
        assert sum(read) < 5 * path.stat().st_size


def test_a_pipe_is_read_once_for_a_run(tmp_path: Path) -> None:
    """Also where there are results, so that somebody might look whether it is the same."""
    path, asked = tmp_path / "pipe", list[str]()
    os.mkfifo(path)

    @foreach("question", jsonl(path))
    async def eval_it(question: str) -> Result:
        asked.append(question)
        return Result(question)

    for count in (3, 3, 4):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(path.write_text, lines("piped", count, 10))
            anyio.run(partial(run, eval_it, store=tmp_path / "results.db", row=None))
    assert asked == [f"piped {number}" for number in range(4)]


def test_a_pipe_is_a_dataset(tmp_path: Path) -> None:
    """It cannot be read again, so nobody asks whether it was written over."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(path.write_text, lines("piped", 40, 100_000))
        assert [row["question"] for row in jsonl(path)] == [f"piped {number}" for number in range(40)]

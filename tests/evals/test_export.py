"""What is exported is read again, whoever reads it."""

from __future__ import annotations

import csv
import json
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import run


def stored_texts(path: Path, texts: list[str]) -> None:
    @foreach("place", range(len(texts)))
    async def eval_texts(place: int) -> Result:
        return Result(
            texts[place], scores={f"of\r{texts[place]}" if not place else "same": place % 2 == 0, "size": place}
        )

    anyio.run(partial(run, eval_texts, store=path, experiment="texts"))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8")) | st.text("\r\n\"',;\0\t \x85\u2028"), min_size=1, max_size=6))
@example(["50%\r100%", "", '"', "a\r\nb", "\r", ",", "=1+1"])
def test_whatever_texts_are_exported_are_read_again(texts: list[str]) -> None:
    """By Python's reader of CSV and by others, however they find the ends of rows; the same in all formats."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "s.db")
        stored_texts(path, texts)
        read: dict[str, list[dict[str, Any]]] = {}
        for kind in ("jsonl", "csv", "parquet"):
            file = Path(directory, f"rows.{kind}")
            options = ("--store", str(path), "--format", kind, "-o", str(file))
            assert main(["export", "texts", *options]) == 0
            if kind == "jsonl":
                read[kind] = [json.loads(line) for line in file.read_text("utf-8").split("\n")[:-1]]
            elif kind == "csv":
                with file.open(encoding="utf-8", newline="") as lines:
                    read[kind] = list(csv.DictReader(lines))
                again = csv.DictReader(file.read_bytes().decode().splitlines(keepends=True))
                assert list(again) == read[kind]
            else:
                parquet: Any = import_module("pyarrow.parquet")
                read[kind] = parquet.read_table(file).to_pylist()
        columns = {kind: [*rows[0]] for kind, rows in read.items()}
        assert columns["jsonl"] == columns["csv"] == columns["parquet"]
        assert {f"score {name}" for name in (f"of\r{texts[0]}", "size")} < {*columns["csv"]}
        for rows in read.values():
            assert [row["output"] for row in rows] == texts
            assert [float(row["score size"]) for row in rows] == [*range(len(texts))]
        same = [row["score same"] for row in read["parquet"]] if len(texts) > 1 else [None]
        assert same == [None, *(place % 2 == 0 for place in range(1, len(texts)))]

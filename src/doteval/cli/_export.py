"""``doteval export``: the rows of an experiment as a file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from typing import IO

from ..evals import Record, Stored
from ..evals._results.export import write_csv, write_jsonl, write_parquet
from ._problem import Problem
from ._results import chosen, opened
from ._whole_file import whole_file


def run(options: argparse.Namespace) -> int:
    """Write the rows to a file, or print them."""
    store = opened(options)
    found = chosen(store, options.name)

    def records() -> Iterator[tuple[Stored, Record]]:
        for stored in found:
            for record in store.records(stored):
                yield stored, record

    if options.format == "parquet":
        if options.output is None:
            raise Problem("Parquet is no text: name a file with -o", 2)
        try:
            with whole_file(options.output) as path:
                write_parquet(records(), path)
        except ModuleNotFoundError as exc:
            raise Problem(
                f"Parquet needs the package {exc.name}: pip install pyarrow; or choose --format jsonl"
            ) from exc
        return 0
    scores = sorted({name for stored in found for name in store.summary(stored).scores})
    with nullcontext(sys.stdout) if options.output is None else _text_file(options.output) as file:
        try:
            if options.format == "csv":
                write_csv(records(), file, scores)
            else:
                write_jsonl(records(), file)
            file.flush()
        except BrokenPipeError:  # whoever reads has seen enough, as with "| head"
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


@contextmanager
def _text_file(name: str) -> Generator[IO[str]]:
    with whole_file(name) as path, path.open("w", encoding="utf-8", newline="") as file:
        yield file

"""``doteval export``: the rows of an experiment as a file."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from .._printed import printable
from ..evals import Record, Stored
from ..evals._results.export import write_csv, write_jsonl, write_parquet
from ._problem import Problem
from ._results import chosen, opened
from ._whole_file import whole_file


def run(options: argparse.Namespace) -> int:
    """Write the rows to a file, or print them."""
    if options.output == "-":
        options.output = None
    if options.format == "parquet" and options.output is None:
        raise Problem("Parquet is no text: name a file with -o", 2)
    with opened(options) as results:
        found = chosen(results, options.name)
        records = ((stored, record) for stored in found for record in results.records(stored))
        kinds = [(name, score.is_boolean) for stored in found for name, score in results.summary(stored).scores.items()]
        scores = sorted({name for name, _ in kinds})
        if options.format == "parquet":
            with whole_file(str(options.output)) as path:
                _write_parquet(
                    records, path, scores, {*scores} - {name for name, is_boolean in kinds if not is_boolean}
                )
            return 0
        with _standard_output() if options.output is None else _text_file(options.output) as file:
            if options.format == "csv":
                write_csv(records, file, scores)
            else:
                write_jsonl(records, file, scores)
    return 0


def _write_parquet(
    records: Iterable[tuple[Stored, Record]], path: Path, scores: Sequence[str], booleans: Collection[str]
) -> None:
    try:
        write_parquet(records, path, scores, booleans)
    except ModuleNotFoundError as exc:
        raise Problem(f"Parquet needs the package {exc.name}: pip install pyarrow; or choose --format jsonl") from exc


@contextmanager
def _standard_output() -> Generator[IO[str]]:
    """In UTF-8, as files are, whatever the terminal's encoding is."""
    output: IO[str] = sys.stdout
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(encoding="utf-8", errors="strict")
    yield cast("IO[str]", _Terminal(sys.stdout)) if sys.stdout.isatty() else sys.stdout


class _Terminal:
    """Shows a terminal what it may obey as escapes; a file or a program gets it as it is.

    Args:
        file: The terminal.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """As a file does."""
        return self._file.write(printable(text.replace("\r\n", "\n")))


@contextmanager
def _text_file(name: str) -> Generator[IO[str]]:
    with whole_file(name) as path, path.open("w", encoding="utf-8", newline="") as file:
        yield file

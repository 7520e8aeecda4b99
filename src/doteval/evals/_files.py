"""Datasets in files: JSON lines and CSV, read a row at a time and as often as they are needed."""

from __future__ import annotations

import codecs
import csv as standard_csv
import json
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import IO, Any, cast

from ._errors import DatasetError
from ._one_file import OneFile

_LONGEST_CELL = 2**31 - 1  # what fits into a C long everywhere
_UNDECODED = re.compile("[\udc80-\udcff]")
_CORRECT = "Correct the file, and run it again."


class Lines(ABC):
    """The rows of a file.

    Args:
        path: The file, as it was named.
        directory: From where it is seen.
        encoding: How its text is encoded.

    Raises:
        LookupError: There is no such encoding.
    """

    def __init__(self, path: Path, directory: Path, encoding: str) -> None:
        codecs.lookup(encoding)
        self.path = directory / path
        self._shown = f"{path}" if path.is_absolute() else f"{path} in {directory}"
        self._encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding

    def __iter__(self) -> Iterator[Any]:
        """Read the file from its beginning.

        Raises:
            DatasetError: It cannot be read, or a line is not what it should be; the message has its number.
        """
        try:
            # What cannot be decoded comes as surrogates, so that the line that has it can be named.
            with OneFile(self.path) as raw, self._text(raw) as file:
                yield from self._rows(file)
        except OSError as exc:
            raise self._unreadable(exc) from exc
        except UnicodeError as exc:  # of an encoding that has no letters of its own for what it cannot decode
            raise DatasetError("", f"{self.path} {self._wrongly_encoded()}", _CORRECT) from exc

    def _text(self, raw: OneFile) -> TextIOWrapper:
        return TextIOWrapper(cast("IO[bytes]", raw), self._encoding, errors="surrogateescape", newline="")

    @abstractmethod
    def _rows(self, file: IO[str]) -> Generator[Any]:
        """The rows of the file that is open."""

    def _unreadable(self, error: OSError) -> DatasetError:
        match error:
            case FileNotFoundError():
                advice = "A path is seen from the directory of the file that calls jsonl() or csv()."
                names: list[str] = []
                with suppress(OSError):
                    names = [each.name for each in self.path.parent.iterdir()]
                near = get_close_matches(self.path.name, names, 1)
                return DatasetError("", f"there is no file {self._shown}", f"{_is_meant(near)}{advice}")
            case IsADirectoryError():
                return DatasetError("", f"{self._shown} is a directory", "Name a file in it.")
            case PermissionError():
                return DatasetError("", f"{self._shown} may not be read by this user", "Change its permissions.")
            case _:
                problem = f"{self._shown} cannot be read: {error.strerror or error}"
                return DatasetError("", problem, "Look at the disk that it is on.")

    def _wrong(self, line: int, problem: str) -> DatasetError:
        return DatasetError("", f"{self.path}, line {line}: {problem}", _CORRECT)

    def _wrongly_encoded(self) -> str:
        return f"is not encoded as {self._encoding.removesuffix('-sig')}: say encoding="

    def _decoded(self, line: int, text: str) -> str:
        if not text.isascii() and _UNDECODED.search(text):
            raise self._wrong(line, f"it {self._wrongly_encoded()}")
        return text


class JSONLines(Lines):
    """What the lines of a file hold; see `jsonl`."""

    def _rows(self, file: IO[str]) -> Generator[Any]:
        for number, line in enumerate(file, 1):
            if not line.strip(" \t\r\n"):
                continue
            text = self._decoded(number, line.rstrip("\r\n"))
            try:
                row = json.loads(text)
            except ValueError as exc:
                why = f"{exc.msg} at column {exc.colno}" if isinstance(exc, json.JSONDecodeError) else exc
                raise self._wrong(number, f"it is no JSON: {why}") from None
            except RecursionError:
                raise self._wrong(number, "it is nested too deep") from None
            yield row

    def __repr__(self) -> str:
        return f"jsonl({str(self.path)!r})"


class CSVLines(Lines):
    """The rows of a table in a file; see `csv`."""

    def __init__(self, path: Path, directory: Path, encoding: str, delimiter: str) -> None:
        super().__init__(path, directory, encoding)
        self._delimiter = delimiter

    def _rows(self, file: IO[str]) -> Generator[Any]:
        if standard_csv.field_size_limit() < _LONGEST_CELL:  # one for all; else a text of 130,000 letters is an error
            standard_csv.field_size_limit(_LONGEST_CELL)
        reader = standard_csv.reader(file, delimiter=self._delimiter, strict=True)
        names: list[str] | None = None
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except standard_csv.Error as exc:
                raise self._wrong(line, f"it is no CSV: {exc}") from None
            if cells is None:
                return
            if not cells:
                continue
            for cell in cells:
                self._decoded(line, cell)
            if names is None:
                names = self._names(line, cells)
            elif len(cells) != len(names):
                raise self._wrong(line, f"it has {len(cells)} values for {len(names)} columns: {', '.join(names)}")
            else:
                yield dict(zip(names, cells, strict=True))

    def _names(self, line: int, cells: list[str]) -> list[str]:
        names = [cell.strip() for cell in cells]
        if not all(names) or len(set(names)) < len(names):
            raise self._wrong(line, f"columns need names, each its own, and these are {', '.join(map(repr, names))}")
        return names

    def __repr__(self) -> str:
        return f"csv({str(self.path)!r})"


def jsonl(path: str | os.PathLike[str], *, encoding: str = "utf-8") -> Iterable[Any]:
    """A dataset in a file of JSON lines: a value in each line, mostly an object, whose names are the columns.

    Empty lines and a byte order mark are left out. It is read a line at a time, anew for each run, and a line that is
    no JSON is an error that has its number; the rows before it are done by then. Lines may be added meanwhile, but a
    file that is written anew in its place is an error where rows of both would be read.

    Args:
        path: The file; where it is relative, seen from the directory of the file that calls this, wherever the program
            was started. In a notebook, from the current directory.
        encoding: How it is encoded.
    """
    return JSONLines(Path(path), directory_of(sys._getframe(1)), encoding)


def csv(path: str | os.PathLike[str], *, delimiter: str = ",", encoding: str = "utf-8") -> Iterable[dict[str, str]]:
    r"""A dataset in a CSV file, whose first line has the names of the columns. All values are texts.

    Empty lines and a byte order mark are left out, and a value in quotes may have several lines. It is read a row at a
    time, anew for each run, and one with more or fewer values than there are columns is an error that has its line.
    Lines may be added meanwhile, but a file that is written anew in its place is an error where rows of both would be
    read.

    Args:
        path: The file; where it is relative, seen from the directory of the file that calls this, wherever the program
            was started. In a notebook, from the current directory.
        delimiter: What stands between two values: ``"\t"`` or ``";"``, perhaps.
        encoding: How it is encoded.
    """
    return CSVLines(Path(path), directory_of(sys._getframe(1)), encoding, delimiter)


def directory_of(frame: FrameType) -> Path:
    """The directory of the file that calls; of a notebook, and of what is in no file, the current one."""
    caller = Path(frame.f_code.co_filename)
    is_cell = caller.parent.name.startswith("ipykernel_")
    return (Path.cwd() if is_cell or not caller.is_file() else caller.parent).absolute()


def _is_meant(names: list[str]) -> str:
    return f"Is '{names[0]}' meant? " if names else ""

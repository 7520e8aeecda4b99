"""What the user says that the results of an evaluation depend on, where its code does not tell: ``depends_on``."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

from .._errors import DependencyError
from .._results.declared import DIRECTORY, FILE, part_of_file
from .contents import digest_of, directory_of, place_in

DependsOn: TypeAlias = Sequence[object] | Iterator[object] | Mapping[str, object]
"""Paths, of which counts what is in them, and values of any kind; in a mapping, each has a name."""

_SEEN_FROM = "A path is seen from the directory of the file that calls foreach()."
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Declared:
    """What the user has named.

    Args:
        directory: From where paths are seen.
        values: Everything, by what it is called.
        count: How many have no name.
    """

    directory: Path
    values: Mapping[str, object]
    count: int = 0

    def more(self, given: DependsOn) -> Declared:
        """The same, and what else is named.

        Raises:
            TypeError: That is neither a list nor a mapping.
            ValueError: A text is the path of something that is there.
        """
        is_text = isinstance(given, (str, bytes, bytearray))
        if is_text or not isinstance(cast("object", given), (Sequence, Mapping, Iterator)):
            raise TypeError(f"depends_on is a list, such as [Path('corpus')], or a mapping, not {given!r}")
        if isinstance(given, Mapping):
            named = cast("Mapping[object, object]", given)
            return replace(self, values={**self.values, **{f"the dependency '{name}'": named[name] for name in named}})
        values, count = {**self.values}, self.count
        for value in given:
            self._check(value)
            count += 1
            values[f"the dependency {count}"] = value
        return replace(self, values=values, count=count)

    def _check(self, value: object) -> None:
        if not isinstance(value, str) or not {*value} & {".", "/", os.sep} or len(value) > _LONGEST_NAME:
            return
        try:
            is_there = value.strip("./") != "" and (self.directory / value).exists()
        except (OSError, ValueError):
            return
        if is_there:
            raise ValueError(
                f"depends_on has the text {value!r}, and there is such a file: Path({value!r}) counts with what is in "
                f"it, and {{'name': {value!r}}} as the text"
            )

    @property
    def others(self) -> list[tuple[str, object]]:
        """What is no path, which counts as arguments do."""
        return [(name, value) for name, value in self.values.items() if not isinstance(value, os.PathLike)]

    @property
    def paths(self) -> list[Path]:
        """The paths, also those in lists and mappings."""
        return [*_paths_in([*self.values.values()])]

    def parts(
        self, evaluation: str, project: str | None, without: Path | None, known: dict[Path, str] | None = None
    ) -> dict[str, str]:
        """What files and directories hold, by what to call them in a message; blocks.

        Args:
            evaluation: The evaluation's name.
            project: The directory of the user's project.
            without: The store, which is no part of a directory.
            known: What was found a moment ago, and is added to.

        Raises:
            DependencyError: One is not there, or cannot be read.
        """
        found: dict[str, str] = {}
        for path in self.paths:
            full = self.directory / path
            part = None if known is None else known.get(full)
            if part is None:
                part = self._read(evaluation, path, full, without)
            if known is not None:
                known[full] = part
            place = None if project is None else place_in(project, os.path.normpath(full))
            found[f"{DIRECTORY if ' ' in part else FILE}{place or path.as_posix()}"] = part
        return found

    def _read(self, evaluation: str, path: Path, full: Path, without: Path | None) -> str:
        shown = f"'{path}'" if path.is_absolute() else f"'{path}' in '{self.directory}'"
        try:
            mode, real = full.stat().st_mode, full.resolve()
            if stat.S_ISDIR(mode):
                return directory_of(str(real), _beside(real, without))
            if stat.S_ISREG(mode):
                return part_of_file(digest_of(str(real)))
        except (FileNotFoundError, NotADirectoryError) as exc:
            if exc.filename not in (None, str(full)):
                raise DependencyError(evaluation, f"'{exc.filename}' is gone", "Run it again.") from exc
            raise DependencyError(evaluation, f"there is no {shown}", _SEEN_FROM) from exc
        except (OSError, ValueError) as exc:
            where = f"'{exc.filename}'" if isinstance(exc, OSError) and exc.filename else shown
            why = (exc.strerror if isinstance(exc, OSError) else None) or exc
            raise DependencyError(evaluation, f"{where} cannot be read: {why}", "Look at its permissions.") from exc
        raise DependencyError(evaluation, f"{shown} is neither a file nor a directory", "Name one of these.")


def _beside(directory: Path, store: Path | None) -> tuple[str, ...]:
    """How the files of a store begin, seen from a directory as it was named."""
    if store is None:
        return ()
    place = place_in(str(directory), str(store.absolute()))
    return () if place is None else (str(directory / place), str((directory / place).with_name("replies.db")))


def _paths_in(value: object, depth: int = 20) -> Iterator[Path]:
    if isinstance(value, os.PathLike):
        yield Path(os.fsdecode(cast("Any", value)))
    elif isinstance(value, (list, tuple, dict)) and depth:
        held = cast("dict[object, object]", value).values() if isinstance(value, dict) else cast("Sequence[Any]", value)
        for each in held:
            yield from _paths_in(each, depth - 1)

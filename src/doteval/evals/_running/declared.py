"""What the user says that the results of an evaluation depend on, where its code does not tell: ``depends_on``."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from errno import ELOOP
from pathlib import Path
from typing import Any, TypeAlias, cast

from ..._database_files import files_of
from .._errors import DependencyError
from .._results.claims import file_of_locks
from .._results.declared import DIRECTORY, FILE, part_of_file, part_of_mixed, printable, told_of_content
from .._results.plain import storable
from .contents import changed_within, digest_of, directory_of, place_in
from .paths import paths_in, texts_in

DependsOn: TypeAlias = Sequence[object] | Iterator[object] | Mapping[str, object]
"""Paths, of which counts what is in them, and values of any kind; in a mapping, each has a name."""

_SEEN_FROM = "A path is seen from the directory of the file that calls foreach()."


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
            ValueError: A text is the path of something that is there, a name is there already, or a path is in what is
                not looked into.
        """
        is_text = isinstance(given, (str, bytes, bytearray))
        if is_text or not isinstance(cast("object", given), (Sequence, Mapping, Iterator)):
            raise TypeError(f"depends_on is a list, such as [Path('corpus')], or a mapping, not {given!r}")
        values, count = {**self.values}, self.count
        if isinstance(given, Mapping):
            for name, value in cast("Mapping[object, object]", given).items():
                if isinstance(name, os.PathLike):
                    raise ValueError(f"depends_on has {name!r} as a name, which is a text: {{'corpus': {name!r}}}")
                label = f"the dependency '{storable(str(name))}'"
                if label in values:
                    raise ValueError(
                        f"depends_on names {str(name)!r}, which is named before, as by foreach: choose another name"
                    )
                values[label] = value
        else:
            for value in given:
                count += 1
                values[f"the dependency {count}"] = value
        if len(values) == len(self.values):
            return self
        for value in values.values():
            for text in texts_in(value):
                if text.strip("./") or (text and text is value):  # what is in others may say how they are put together
                    self._check_text(text)
        declared = replace(self, values=values, count=count)
        declared._check_paths()
        return declared

    def _check_text(self, text: str) -> None:
        if os.path.exists(os.path.join(self.directory, text)):  # noqa: PTH110, PTH118 - there may be very many
            raise ValueError(
                f"depends_on has the text {text!r}, and there is such a file or directory: Path({text!r}) counts with "
                f"what is in it, and {text!r}.encode() as the text"
            )

    def _check_paths(self) -> None:
        """Whatever path is there counts with what is in it."""
        found = [(path, owner, self._place_of(path)) for path, owner in paths_in(self.values)]
        counted = {place for _, owner, place in found if not owner}
        for path, owner, place in found:
            if place not in counted:
                raise ValueError(
                    f"depends_on has an object of the class {owner} with {path!r}, and does not look there for what is "
                    "in it: name this path as well, or instead; where only its name counts, give the object the text"
                )

    def _place_of(self, path: os.PathLike[Any]) -> str:
        return os.path.normpath(self.directory / os.fsdecode(path))

    @property
    def others(self) -> list[tuple[str, object]]:
        """What is no path, which counts as arguments do."""
        return [(name, value) for name, value in self.values.items() if not isinstance(value, os.PathLike)]

    @property
    def paths(self) -> list[Path]:
        """The paths, also those within values."""
        return [Path(os.fsdecode(path)) for path, owner in paths_in(self.values) if not owner]

    def parts(self, evaluation: str, project: str | None, without: Path | None) -> dict[str, str]:
        """What files and directories hold, by what to call them in a message; blocks.

        Args:
            evaluation: The evaluation's name.
            project: The directory of the user's project.
            without: The store, which is no part of a directory.

        Raises:
            DependencyError: One is not there, or cannot be read.
        """
        found: dict[str, str] = {}
        for path in self.paths:
            part = self._read(evaluation, path, self.directory / path, without)
            found[f"{DIRECTORY if ' ' in part else FILE}{self._name_of(path, project)}"] = part
        return found

    def _name_of(self, path: Path, project: str | None) -> str:
        place = None if project is None else place_in(project, self._place_of(path))
        return place or path.as_posix()

    def _read(self, evaluation: str, path: Path, full: Path, without: Path | None) -> str:
        shown = f"'{printable(path)}'"
        if not path.is_absolute():
            shown = f"{shown} in '{printable(self.directory)}'"
        try:
            mode, real = full.stat().st_mode, full.resolve()
            if stat.S_ISDIR(mode):
                return directory_of(str(real), () if without is None else _files_of(without))
            if stat.S_ISREG(mode):
                return part_of_file(digest_of(str(real)))
        except (FileNotFoundError, NotADirectoryError) as exc:
            if exc.filename not in (None, str(full)):
                raise DependencyError(evaluation, f"'{printable(exc.filename)}' is gone", "Run it again.") from exc
            raise DependencyError(evaluation, f"there is no {shown}", _SEEN_FROM) from exc
        except (OSError, ValueError) as exc:
            where = f"'{printable(exc.filename)}'" if isinstance(exc, OSError) and exc.filename else shown
            why = (exc.strerror if isinstance(exc, OSError) else None) or exc
            raise DependencyError(evaluation, f"{where} cannot be read: {why}", _advice_for(exc)) from exc
        raise DependencyError(evaluation, f"{shown} is neither a file nor a directory", "Name one of these.")


@dataclass(frozen=True, slots=True)
class Contents:
    """What the files and directories hold that the user has named for an evaluation.

    Args:
        declared: What is named.
        evaluation: The evaluation's name.
        project: The directory of the user's project.
        store: The store, which is no part of a directory.
    """

    declared: Declared
    evaluation: str
    project: str | None
    store: Path | None

    def now(self) -> dict[str, str]:
        """What they hold, by what to call them in a message; blocks.

        Raises:
            DependencyError: One is not there, or cannot be read.
        """
        return self.declared.parts(self.evaluation, self.project, self.store)

    def changed_since(self, began: Mapping[str, str]) -> dict[str, str]:
        """What has changed since a run began, as half a sentence, by what to call it; blocks.

        Args:
            began: What it depended on when it began.
        """
        found: dict[str, str] = {}
        for path in {*self.declared.paths}:
            now: Mapping[str, str] = {}
            with suppress(DependencyError):
                only = replace(self.declared, values={"": path})
                now = only.parts(self.evaluation, self.project, self.store)
            name = self.declared._name_of(path, self.project)
            for label in (f"{FILE}{name}", f"{DIRECTORY}{name}"):
                if label in began and now.get(label) != began[label]:
                    found[label] = told_of_content(label, began[label], now.get(label, part_of_mixed("")))
        return found

    def changed_since_first(self, is_known_anew: Callable[[str, str], bool]) -> list[str]:
        """The files that are others than when this process looked at them first; blocks.

        Args:
            is_known_anew: Whether a run has read a file with such a fingerprint, or has written it.
        """
        paths = [os.path.realpath(self.declared.directory / path) for path in self.declared.paths]
        found = [path for path, digest in changed_within(paths) if not is_known_anew(path, digest)]
        return [(self.project and place_in(self.project, path)) or path for path in found]


def _advice_for(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "Look at its permissions."
    if isinstance(error, OSError) and error.errno == ELOOP:
        return "It is a link that leads back to itself: look where it should lead."
    return "Look at what it is, and at its name."


def _files_of(store: Path) -> set[str]:
    """All that may be there of a store, and of the cache of replies beside it."""
    return {*files_of(store), *files_of(store.with_name("replies.db")), str(file_of_locks(store))}

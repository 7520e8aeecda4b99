"""Command lines that are printed for people to type, as they are, in the directory in which they are printed."""

from __future__ import annotations

import shlex
from pathlib import Path

from ._printed import in_a_line

_USUAL = {"--store": Path(".doteval", "results.db"), "--file": Path(".doteval", "replies.db")}
"""The files that commands take by themselves, seen from the directory in which they are run."""


def command_line(command: str, *names: str, option: str, file: Path, directory: Path | None = None) -> str:
    """A command about what is in a file, which is named where the command would take another.

    Args:
        command: The command, with its options.
        names: What it is given besides.
        option: The option that names the file.
        file: The file.
        directory: Where the command is going to be run; `None`: in the present one.
    """
    directory = (directory or Path.cwd()).resolve()
    file, usual = directory.joinpath(file).resolve(), directory.joinpath(_USUAL[option]).resolve()
    place = file.relative_to(directory) if file.is_relative_to(directory) else file
    options = [] if file == usual else [f"{option}={place}"]
    looks_like_option = any(name.startswith("-") for name in names)
    words = [*options, "--", *names] if looks_like_option else [*names, *options]
    return " ".join(["doteval", command, *map(quoted, words)])


def quoted(word: str) -> str:
    """A word as a shell takes it for itself, in a line, with nothing in it that a terminal would obey."""
    if in_a_line(word) == word:
        return shlex.quote(word)
    escaped = (f"\\u{ord(each):04x}" if in_a_line(each) != each else each for each in word.replace("\\", "\\\\"))
    return "$'" + "".join(escaped).replace("'", "\\'") + "'"

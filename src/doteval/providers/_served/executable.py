"""Where a server is installed, and so how it is started."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

Executable: TypeAlias = str | os.PathLike[str]
"""A path, or a name that is looked up on ``PATH``."""


def start_of(
    command: Sequence[str],
    module: Sequence[str],
    *,
    python: Executable | None = None,
    executable: Executable | None = None,
) -> list[str]:
    """How a command line begins.

    What was named comes first. Otherwise it is the package in the environment of this program, and else the command on
    ``PATH``.

    Args:
        command: The server's command and what follows it, such as ``["vllm", "serve"]``.
        module: The module that does the same with ``python -m``, and what follows it.
        python: The Python that has the server's package, such as that of another virtual environment.
        executable: The server's command.

    Raises:
        ValueError: Both `python` and `executable` were given.
    """
    if python is not None and executable is not None:
        raise ValueError(
            "python and executable exclude each other: executable=... is the server's own command, "
            "python=... is the Python that has it installed"
        )
    if executable is not None:
        return [absolute(executable), *command[1:]]
    if python is not None:
        return [absolute(python), "-m", *module]
    if sys.executable and is_importable(module[0].partition(".")[0]):
        return [sys.executable, "-m", *module]
    return list(command)


def absolute(executable: Executable) -> str:
    """A path made absolute, as the server runs in a directory of its own; a bare name as it is."""
    text = os.fspath(executable)
    if os.sep not in text:
        return text
    return str(Path(text).expanduser().absolute())  # not resolved: the python of an environment is a link


def is_distribution(name: str) -> bool:
    """Whether a distribution is installed here under this name; a package may come with one of another name."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def is_importable(package: str) -> bool:
    """Whether a package is installed here; it is not imported, and a mere directory of that name does not count."""
    try:
        found = find_spec(package)
    except (ImportError, ValueError):
        return False
    return found is not None and found.origin is not None

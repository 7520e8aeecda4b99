"""Models that are paths."""

from __future__ import annotations

import re
from pathlib import Path

_PATH = re.compile(r"[.]{0,2}/|~")


def looks_like_path(spec: str) -> bool:
    """Whether a text can be nothing but a path: no name on a hub begins so."""
    return _PATH.match(spec) is not None


def is_path(spec: str) -> bool:
    """Whether a text names a file or directory, by its looks or because there is one."""
    return looks_like_path(spec) or ("{" not in spec and len(spec) < 1024 and Path(spec).exists())


def local(spec: str) -> str:
    """A model's name as it is, its path made absolute: the server runs in a directory of its own."""
    return str(Path(spec).expanduser().absolute()) if is_path(spec) else spec


def is_missing(spec: str) -> bool:
    """Whether a text can be nothing but a path, and there is nothing."""
    return looks_like_path(spec) and not Path(local(spec)).exists()

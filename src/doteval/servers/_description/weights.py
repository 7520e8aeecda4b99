"""The files of a local model: another server serves them when they have changed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

SUFFIXES = frozenset(
    (".bin", ".ckpt", ".gguf", ".h5", ".jinja", ".json", ".model", ".msgpack", ".onnx", ".pt", ".pth", ".safetensors")
)
"""How the names of files end that belong to a model."""


def files_of(words: Iterable[str], directory: str | None) -> list[tuple[str, int, int]]:
    """Path, size and time of the files that words of a command name: themselves, or what is directly in a directory.

    Args:
        words: The words; in ``--name=value`` the value counts.
        directory: What relative paths start from; `None`: there are none.
    """
    found: set[tuple[str, int, int]] = set()
    for word in words:
        path = Path(directory or "/", word.partition("=")[2] if word.startswith("-") else word)
        if "/" not in word or (directory is None and not path.is_absolute()):
            continue
        try:
            candidates = list(path.iterdir()) if path.is_dir() else [path]
        except (OSError, ValueError):
            continue
        for each in candidates:
            if each.suffix in SUFFIXES:
                try:
                    status = each.stat()
                except OSError:
                    continue
                found.add((os.fspath(each), status.st_size, status.st_mtime_ns))
    return sorted(found)

"""The files that a command names, a local model and a script among them: where they change, it is another server."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from glob import escape
from itertools import islice
from pathlib import Path

SUFFIXES = frozenset(
    (
        *(".bin", ".ckpt", ".gguf", ".h5", ".jinja", ".json", ".model", ".msgpack", ".npy", ".npz", ".onnx"),
        *(".onnx_data", ".pt", ".pth", ".safetensors", ".tflite"),
    )
)
"""How the names of files end that belong to a model."""
PROGRAMS = frozenset(
    (
        *(".cfg", ".cjs", ".conf", ".ini", ".jar", ".js", ".lua", ".mjs", ".php", ".pl", ".py", ".pyz", ".rb", ".sh"),
        *(".toml", ".ts", ".yaml", ".yml"),
    )
)
"""How the names of programs end, and of what they are told; what a server writes itself is called otherwise."""
_DEEPEST = 2
_MOST = 10_000
_MOST_BYTES = 1 << 20
_SHARD = re.compile(r"(.+-)\d+(-of-\d+\.[a-z]+)")


def files_of(words: Iterable[str], directory: str | None) -> list[tuple[str, int, int]]:
    """The files that words of a command name, each with two numbers that are others when it has changed.

    Of a model these are size and time: of the file itself, of its other parts, or of the files in a directory. Of a
    program they are made of its contents, and it is called as it is named there: a copy elsewhere is the same one.

    In a directory that is down to two directories below it, but for hidden ones and the checkpoints of a training; of
    more than 10,000 files the first ones.

    Args:
        words: The words; in ``--name=value`` the value counts.
        directory: What relative paths start from; `None`: there are none.
    """
    found: set[tuple[str, int, int]] = set()
    for word in words:
        named = word.partition("=")[2] if word.startswith("-") else word
        path = Path(directory or "/", named)
        if directory is None and not Path(named).is_absolute():
            continue
        if path.suffix in PROGRAMS:
            with suppress(OSError, ValueError):
                if path.is_file():
                    found.add((named, *_contents(path)))
            continue
        if "/" not in word:
            continue
        with suppress(OSError, ValueError):
            for each in islice(_in_directory(path) if path.is_dir() else _parts(path), _MOST):
                with suppress(OSError):
                    status = each.stat()
                    found.add((os.fspath(each), status.st_size, status.st_mtime_ns))
    return sorted(found)


def _in_directory(path: Path, depth: int = 0) -> Iterator[Path]:
    for each in sorted(path.iterdir()):
        if each.suffix in SUFFIXES:
            yield each
        elif depth < _DEEPEST and not each.name.startswith((".", "checkpoint")) and each.is_dir():
            with suppress(OSError):
                yield from _in_directory(each, depth + 1)


def _parts(path: Path) -> Iterator[Path]:
    """A file of a model, and those that come with it where it is one of several parts."""
    if path.suffix in SUFFIXES:
        yield path
        if shard := _SHARD.fullmatch(path.name):
            yield from path.parent.glob(f"{escape(shard[1])}*{escape(shard[2])}")


def _contents(path: Path) -> tuple[int, int]:
    status = path.stat()
    if status.st_size > _MOST_BYTES:
        return status.st_size, status.st_mtime_ns
    return status.st_size, int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:8], "big")

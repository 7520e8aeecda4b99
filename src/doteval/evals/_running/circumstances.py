"""What is noted of a run: which doteval, which machine, which commit, how it is run, and what the user says of it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from ... import __version__
from ..._forked import tell_when_forked
from .evaluation import Evaluation
from .settings import Settings

_PATIENCE = 5.0
"""How long git may take, in seconds."""
_FRESH = 10.0
"""For how long its answer counts, in seconds: many evaluations begin one after the other."""


def about_run(evaluation: Evaluation, settings: Settings) -> dict[str, Any]:
    """What a run is run with; blocks."""
    selection, policy = settings.selection, settings.retries
    chosen = {
        "limit": selection.limit,
        "sample": selection.sample,
        "seed": selection.seed if selection.sample is not None or selection.shuffle else None,
        "shuffle": selection.shuffle or None,
        "row": selection.row,
        "epochs": settings.epochs,
        "concurrency": settings.concurrency or evaluation.concurrency,
        "max_errors": settings.max_errors,
        "row_timeout": settings.row_timeout or None,
        "retries": {name: getattr(policy, name) for name in ("lost", "stumbled", "patience", "times")},
        "gates": [gate.text for gate in (*evaluation.gates, *settings.gates)] or None,
        "baseline": settings.baseline or None,
        "allow_new": settings.allows_new or None,
        "fresh": settings.fresh or None,
    }
    return {
        **about_machine(evaluation.function, asks_git=settings.asks_git),
        "settings": {name: value for name, value in chosen.items() if value is not None},
        "tags": dict(settings.tags),
    }


def about_machine(function: object, *, asks_git: bool = False) -> dict[str, Any]:
    """The same, without how it is run; blocks.

    Args:
        function: What is run, for the repository that it is in.
        asks_git: Whether git may be started, which alone knows whether files have changed.
    """
    code = getattr(function, "__code__", None)
    file = Path(getattr(code, "co_filename", ""))
    return {
        "doteval": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        **_commits.of(file.absolute().parent if file.is_file() else Path.cwd(), asks_git=asks_git),
    }


def tags_of(given: Mapping[str, object]) -> dict[str, str]:
    """What a user notes of a run.

    Raises:
        ValueError: Something has no name.
    """
    tags = {str(name).strip(): str(value).strip() for name, value in given.items()}
    if not all(tags):
        raise ValueError(f"tags are texts by name, such as {{'branch': 'main'}}, not {dict(given)!r}")
    return tags


class _Commits:
    """Which commit is checked out, and whether files that it has were changed; asked for once for many evaluations."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._answers: dict[tuple[Path, bool], tuple[float, dict[str, Any]]] = {}
        tell_when_forked(self)

    def of(self, directory: Path, *, asks_git: bool) -> dict[str, Any]:
        """Nothing where nobody can know."""
        with self._lock:
            when, known = self._answers.get((directory, asks_git), (-_FRESH, {}))
            if time.monotonic() - when > _FRESH:
                try:
                    commit = _head_of(directory)
                except (OSError, ValueError):
                    commit = None
                known = {} if commit is None else {"commit": commit}
                if known and asks_git:
                    known = {**known, "dirty": _is_dirty(directory)}
                self._answers[directory, asks_git] = time.monotonic(), known
            return known

    def forked(self) -> None:
        """In a child, nobody has the lock."""
        self._lock = Lock()


_commits = _Commits()


def _head_of(directory: Path) -> str | None:
    """The commit, from git's files: a library starts no process for that."""
    place = next((found for parent in (directory, *directory.parents) if (found := parent / ".git").exists()), None)
    if place is None:
        return None
    if place.is_file():  # that of a work tree, or of a submodule
        place = place.parent / place.read_text("utf-8").removeprefix("gitdir:").strip()
    common = place / "commondir"
    shared = place / common.read_text("utf-8").strip() if common.exists() else place
    head = (place / "HEAD").read_text("utf-8").strip()
    if not head.startswith("ref:"):
        return head
    name = head.removeprefix("ref:").strip()
    for each in (place / name, shared / name):
        if each.is_file():
            return each.read_text("utf-8").strip()
    packed = shared / "packed-refs"
    lines = packed.read_text("utf-8").splitlines() if packed.exists() else []
    return next((line.partition(" ")[0] for line in lines if line.endswith(f" {name}")), None)


def _is_dirty(directory: Path) -> bool | None:
    command = ["git", "-C", str(directory), "status", "--porcelain", "--untracked-files=no"]
    try:
        done = subprocess.run(  # noqa: S603 - words of our own
            command,
            capture_output=True,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.SubprocessError):  # there is no git, or it takes too long
        return None
    return bool(done.stdout) if done.returncode == 0 else None

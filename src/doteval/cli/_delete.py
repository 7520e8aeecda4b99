"""``doteval delete``: removes results, by name or by age."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from .._printed import say
from .._tables import Table
from ..evals import Snapshot, Store, Stored
from ..evals._results.upkeep import Removed, last_written, old_enough, remove
from ._json import print_json
from ._problem import Problem
from ._results import opened
from ._units import short_size

_HEAD = ("experiment", "last written", "evaluations", "rows")


def run(options: argparse.Namespace) -> int:
    """Remove them, where the user agrees; 1 where they do not."""
    if not options.names and options.older_than is None:
        raise Problem("name what to delete, or say --older-than 30d", 2)
    is_asked = sys.stdin.isatty() and sys.stdout.isatty() and not options.json
    if not (options.yes or options.dry_run or is_asked):
        raise Problem("deletes only with --yes where nobody can be asked; --dry-run says what it would delete", 2)
    with opened(options) as results:
        try:
            found = old_enough(results, options.names, options.older_than)
        except ValueError as exc:
            raise Problem(str(exc)) from exc
        experiments = _experiments(results, found)
    removed = None
    if not options.json:
        _print(experiments)
    if found and not options.dry_run:
        if not (options.yes or _agrees()):
            say("nothing was deleted")
            return 1
        removed = remove(Store(options.store), found, lambda now: old_enough(now, options.names, options.older_than))
    if options.json:
        print_json({**experiment, "deleted": removed is not None} for experiment in experiments)
    elif removed is not None:
        _print_removed(removed)
    return 0


def _experiments(results: Snapshot, found: Sequence[Stored]) -> list[dict[str, Any]]:
    by_name: dict[str, list[Stored]] = {}
    for stored in found:
        by_name.setdefault(stored.experiment, []).append(stored)
    return [
        {
            "experiment": name,
            "last_written": max(last_written(results, stored) for stored in group),
            "evaluations": [stored.name for stored in group],
            "rows": sum(stored.stored for stored in group),
        }
        for name, group in by_name.items()
    ]


def _print(experiments: Sequence[dict[str, Any]]) -> None:
    if not experiments:
        say("nothing is that old")
        return
    rows = [
        (
            each["experiment"],
            time.strftime("%Y-%m-%d %H:%M", time.localtime(each["last_written"])),
            str(len(each["evaluations"])),
            f"{each['rows']:,}",
        )
        for each in experiments
    ]
    say(*Table(rows, _HEAD, right={2, 3}).texts_for(sys.stdout))


def _agrees() -> bool:
    try:
        return input("Delete them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        say("")
        return False


def _print_removed(removed: Removed) -> None:
    say(f"deleted; the file is smaller by {short_size(removed.freed)}")
    if removed.why_not:
        say(f"{removed.why_not}, so it has room left in it: what is written next goes there.")

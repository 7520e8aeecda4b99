"""``doteval cache``: what a cache of replies holds, and how it is emptied."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .. import ReplyCache
from .._printed import say
from .._tables import Table
from ._json import print_json
from ._problem import Problem
from ._units import short_size, short_time

_HEAD = ("model", "replies", "size", "oldest", "newest")


def run(options: argparse.Namespace) -> int:
    """Remove what is to be removed, or print a line for each model."""
    path = Path(options.file)
    if not path.exists():
        raise Problem(f"there is no cache of replies at {path}; --doteval-eval-cache on makes one")
    cache, now = ReplyCache(path), time.time()
    if options.clear or options.older_than is not None:
        before = None if options.older_than is None else now - options.older_than
        count = cache.remove(before=before, model=options.model)
        say(f"removed {count:,} {'reply' if count == 1 else 'replies'}")
        return 0
    found = [kept for kept in cache.kept() if options.model in (None, kept.model)]
    if options.json:
        print_json([kept._asdict() for kept in found])
        return 0
    rows = [
        (
            each.model,
            f"{each.replies:,}",
            short_size(each.size),
            short_time(now - each.oldest),
            short_time(now - each.newest),
        )
        for each in found
    ]
    say(*Table(rows, _HEAD, right={1, 2, 3, 4}).texts_for(sys.stdout))
    return 0

"""``doteval copy``: keeps an experiment under another name as well."""

from __future__ import annotations

import argparse

from .._printed import say
from ..evals import copy
from ..evals._results.names import checked_name
from ._json import print_json
from ._problem import Problem
from ._results import opened


def run(options: argparse.Namespace) -> int:
    """Copy it."""
    try:
        checked_name(options.new)
    except ValueError as exc:
        raise Problem(str(exc), 2) from exc
    with opened(options) as results:
        found = results.evaluations(options.name)
        there = results.evaluations(options.new)
    if found and there and not options.replace:
        raise Problem(f"there is an experiment {options.new!r} already: name another one, or say --replace")
    if options.dry_run and there and any(each.finished is None for each in found):
        raise Problem(f"{options.name} is not whole, and takes the place of no other: run it to its end first")
    if not (options.dry_run and found):
        try:
            copy(options.name, options.new, store=options.store, replace=options.replace)
        except ValueError as exc:
            raise Problem(str(exc)) from exc
    if options.json:
        names = [stored.name for stored in found]
        about = {"before": options.name, "after": options.new, "evaluations": names, "copied": not options.dry_run}
        print_json([about])
    else:
        does = "would be" if options.dry_run else "is now"
        instead = f", instead of {len(there)}" if there else ""
        say(f"{options.new} {does} a copy of {options.name}: {len(found)} evaluations{instead}")
    return 0

"""``doteval rename``: gives an experiment another name."""

from __future__ import annotations

import argparse

from .._printed import say
from ..evals import rename
from ..evals._results.names import checked_name
from ._json import print_json
from ._problem import Problem
from ._results import opened


def run(options: argparse.Namespace) -> int:
    """Rename it."""
    try:
        checked_name(options.new)
    except ValueError as exc:
        raise Problem(str(exc), 2) from exc
    with opened(options) as results:
        found = results.evaluations(options.name)
        if not found:
            known = ", ".join(dict.fromkeys(stored.experiment for stored in results.evaluations())) or "none"
            raise Problem(f"there is no experiment {options.name!r}; there are: {known}")
        if results.evaluations(options.new):
            raise Problem(f"there is an experiment {options.new!r} already: name another one, or delete it first")
    if not options.dry_run:
        rename(options.name, options.new, store=options.store)
    if options.json:
        evaluations = [stored.name for stored in found]
        print_json(
            [{"before": options.name, "after": options.new, "evaluations": evaluations, "renamed": not options.dry_run}]
        )
    else:
        does = "would become" if options.dry_run else "is now"
        say(f"{options.name} {does} {options.new}: {len(found)} evaluations")
    return 0

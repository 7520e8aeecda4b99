"""``doteval rescore``: other scores for results that are there."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio

from .._hints import command_line
from .._printed import say, text_of
from .._tables import Table
from ..evals import Evaluation, Store, Stored, rescore
from ..evals._results.names import parted
from ..evals._results.tables import HEAD, NUMBERS, summary_rows
from ._json import print_json, run_by_others
from ._problem import Problem
from ._results import chosen, opened


def run(options: argparse.Namespace) -> int:
    """Score the rows again, and print what they say together; 1 where the scorer raised."""
    with opened(options) as results:
        found = chosen(results, options.name)
    experiment, part = parted(options.name)
    scorer = _scorer(options.scorer)
    evaluation = None if options.evaluation is None else _evaluation(options.evaluation)
    store = Store(options.store)

    async def score() -> list[Stored]:
        return await rescore(
            experiment,
            scorer,
            store=store,
            part=part or "",
            evaluation=evaluation,
            into=options.into,
            add=options.add,
            failed=options.failed,
            overwrite=options.overwrite,
        )

    try:
        with run_by_others():
            made = anyio.run(score)
    except (TypeError, ValueError) as exc:  # the scorer does not fit what there is
        raise Problem(str(exc), 2) from exc
    raised = sum(max(0, stored.errors - before.errors) for stored, before in zip(made, found, strict=True))
    for before in found:
        if before.finished is None:
            say(f"doteval: {before.name} is not finished: only what is there of it was scored", file=sys.stderr)
    if options.json:
        print_json(_for_programs(store, stored, before) for stored, before in zip(made, found, strict=True))
    else:
        _print(store, made, options.name, raised)
    return 1 if raised else 0


def _print(store: Store, made: list[Stored], before: str, raised: int) -> None:
    summaries = [(stored.name, store.summary(stored)) for stored in made]
    say(*Table(summary_rows(summaries), HEAD, right=NUMBERS).texts_for(sys.stdout))
    into = made[0].experiment
    if raised:
        look = command_line("show", into, option="--store", file=store.path)
        say(f"\nThe scorer raised in {raised:,} rows: {look}")
    beside = command_line("compare", before, into, option="--store", file=store.path)
    say(f"\nIt is the experiment {into}." + f" Beside what it was: {beside}" * (into != before))


def _for_programs(store: Store, stored: Stored, before: Stored) -> dict[str, Any]:
    scores = store.summary(stored).scores
    return {
        "experiment": stored.experiment,
        "evaluation": stored.name,
        "rows": stored.stored,
        "errors": stored.errors,
        "finished": before.finished is not None,
        "scores": {name: score.mean for name, score in scores.items()},
    }


def _scorer(name: str) -> Any:
    """The function that ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION`` names.

    Raises:
        Problem: There is none, or what has it cannot be imported.
    """
    module, place, function = _found(name, "a scorer is named FILE.py:FUNCTION or MODULE:FUNCTION")
    found = getattr(module, function, None)
    if isinstance(found, Evaluation) or not callable(found):
        kind = "an evaluation, which asks a model" if isinstance(found, Evaluation) else "no function"
        functions = [
            each for each, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
            and not isinstance(value, (Evaluation, type))
        ]  # fmt: skip
        there = ", ".join(functions) or "none"
        raise Problem(f"{function!r} is {kind} in {place}: name one that takes the output; there are: {there}", 2)
    return found


def _evaluation(name: str) -> Evaluation:
    """The evaluation that ``FILE.py:EVALUATION`` or ``MODULE:EVALUATION`` names.

    Raises:
        Problem: There is none, or what has it cannot be imported.
    """
    module, place, function = _found(name, "an evaluation is named FILE.py:EVALUATION or MODULE:EVALUATION")
    found = getattr(module, function, None)
    if not isinstance(found, Evaluation):
        there = ", ".join(each for each, value in vars(module).items() if isinstance(value, Evaluation)) or "none"
        raise Problem(f"{function!r} is no evaluation in {place}; there are: {there}", 2)
    return found


def _found(name: str, form: str) -> tuple[ModuleType, str, str]:
    """The module that such a name begins with, what it is called there, and the rest of the name.

    Raises:
        Problem: It is no such name, or the module cannot be imported.
    """
    place, colon, function = name.rpartition(":")
    if not (colon and place and function):
        raise Problem(f"{form}, not {name!r}", 2)
    try:
        with run_by_others():
            return (_file(Path(place)) if place.endswith(".py") else _module(place)), place, function
    except (Exception, SystemExit) as exc:  # whatever it does when it is imported
        raise Problem(f"{place} cannot be imported: {type(exc).__name__}: {text_of(exc)}") from exc


def _file(path: Path) -> ModuleType:
    """The module in a file, which is imported once, so that what both names give has the same classes."""
    there = sys.modules.get(path.stem)
    if there is not None and Path(getattr(there, "__file__", None) or "").resolve() == path.resolve():
        return there
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.absolute()))
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _module(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)

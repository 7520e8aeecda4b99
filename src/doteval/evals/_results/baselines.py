"""The results that gates with a baseline compare with: how they differ, or why there are none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from .alike import counterpart, told_apart
from .compare import Comparison, compare
from .identity import OWN_FILE, Identity
from .plain import storable
from .reading import Results, Stored
from .reducers import REDUCED

_SHOWN = 5


class NoBaseline(NamedTuple):
    """There is none.

    Args:
        why: Half a sentence.
        is_new: Whether the experiment is there, with other evaluations, and has nothing of this one.
    """

    why: str
    is_new: bool = False


def beside_baseline(
    results: Results, experiment: str, stored: Stored, selection: str, reduced: Collection[str] = ()
) -> Comparison | NoBaseline:
    """How an evaluation differs from the same one in another experiment; or why there is no such.

    Args:
        results: Where both are.
        experiment: The other experiment; may be nothing.
        stored: The evaluation.
        selection: What its name says of the rows that are run, where these are not all.
        reduced: What the samples of rows say together that is compared as well.
    """
    if not experiment:
        return NoBaseline("name an experiment, with --doteval-eval-baseline in pytest or baseline= of run")
    if storable(experiment) == stored.experiment:
        return NoBaseline(
            f"'{experiment}' is the experiment of this run itself; name another one, or run it without this gate where "
            "it is to become the baseline"
        )
    before = counterpart(results, experiment, stored.name, stored.identity)
    if before is not None and before.finished is None:
        return NoBaseline(
            f"what '{experiment}' has of '{before.name}' is not whole: a run of it was ended, or is not over; let it "
            "come to its end, and then run this again, which asks for nothing"
        )
    if before is not None:
        return compare(results, before, stored, reduced)
    evaluations = results.evaluations(experiment)
    there = [each.name for each in evaluations]
    if not there:
        known = [each.experiment for each in results.evaluations()]
        others = [*dict.fromkeys(name for name in known if name != stored.experiment)]
        return NoBaseline(f"there is no experiment '{experiment}'; {listed(experiment, others)}")
    same_name = next((each for each in evaluations if each.name == stored.name), None)
    if same_name is not None:
        return NoBaseline(f"'{experiment}' has no {_told_of_another(stored, same_name)}", is_new=True)
    whole = stored.name.removesuffix(selection)
    other_rows = [name for name in there if name == whole or name.startswith(f"{whole} (")]
    if other_rows:
        return NoBaseline(
            f"'{experiment}' has '{other_rows[0]}', and this is '{stored.name}'; run both with the same limit, sample "
            "and row"
        )
    return NoBaseline(f"'{experiment}' has no '{stored.name}'; {listed(stored.name, there)}", is_new=True)


def _told_of_another(stored: Stored, same_name: Stored) -> str:
    apart = told_apart(stored.identity, same_name.identity, stored.name)
    if OWN_FILE in apart:
        files = (each.identity[OWN_FILE][1:] for each in (stored, same_name))
        return f"'{stored.name}' of the file {' but of '.join(files)}: give each a baseline of its own"
    return (
        f"'{stored.name}' with these parameters: {', '.join(apart)} had another value there, and pytest has only "
        "counted its values; ids= of parametrize name what is to be compared whatever its value"
    )


def is_out_of_reach(
    results: Results, experiment: str, name: str, identity: Identity, own: str, scores: Mapping[str, str]
) -> str:
    """Why gates cannot be reached whatever a run comes to, as half a sentence; nothing where they may be.

    Args:
        results: Where the baseline is.
        experiment: The baseline; may be nothing.
        name: The evaluation's name.
        identity: What its results depend on.
        own: The experiment of the run.
        scores: The scores that gates compare with it, by what they may be called themselves.
    """
    if not (scores and experiment) or storable(experiment) == own:
        return ""
    before = counterpart(results, experiment, name, identity)
    if before is None:
        known = [*dict.fromkeys(each.experiment for each in results.evaluations())]
        if storable(experiment) in known:
            return ""
        return f"there is no experiment '{experiment}'; {listed(experiment, [each for each in known if each != own])}"
    there = results.summary(before).scores
    for whole, missing in scores.items():
        if not (whole in there or missing in there or REDUCED.fullmatch(missing)):
            return f"the baseline '{experiment}' has no score '{missing}'; {listed(missing, [*there])}"
    return ""


def unjudged(stored: Stored, baseline: NoBaseline) -> str:
    """What is to be said where gates with a baseline are not judged, as the evaluation is new."""
    return f"The gates of '{stored.name}' with a baseline are not judged, as it is new: {baseline.why}."


def coverage(comparison: Comparison, scores: Collection[str]) -> Iterator[str]:
    """What is to be said where not all rows are compared; nothing where all are.

    Args:
        comparison: How the evaluation differs from the baseline.
        scores: The scores that gates with a baseline are about.
    """
    name, before = comparison.after.name, comparison.before.experiment
    left_out = comparison.unpaired.told("the baseline", "this run")
    if left_out:
        yield (
            f"The gates of '{name}' with a baseline are decided by {comparison.paired:,} of the "
            f"{comparison.results:,} rows that '{before}' has results of; others are left out: {left_out}."
        )
    for each in comparison.differences:
        if each.score in scores and (each.only_before or each.only_after):
            told = each.lacking(f"'{before}'", "this run")
            yield f"The gates of '{name}' with a baseline leave rows out that have no score '{each.score}': {told}."


def listed(wanted: str, names: Sequence[str]) -> str:
    """Which names there are, the nearest first."""
    if not names:
        return "there is no other one"
    near = get_close_matches(wanted, names, 1)
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    is_meant = f", and '{near[0]}' may be meant" if near else ""
    return f"there are {', '.join(names[-_SHOWN:])}{more}{is_meant}"

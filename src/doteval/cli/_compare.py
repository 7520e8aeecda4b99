"""``doteval compare``: how much two experiments, or two models in one, differ."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .._printed import say
from .._tables import Table
from ..evals import Snapshot, Stored
from ..evals._results.alike import counterparts, rows_in, told_apart
from ..evals._results.compare import Comparison, Difference, clear_among, compare, family_of, nearest
from ..evals._results.tables import number, shown_score
from ._json import print_json
from ._problem import Problem
from ._results import chosen, opened


def run(options: argparse.Namespace) -> int:
    """Print the paired differences of every score."""
    with opened(options) as results:
        before, after = chosen(results, options.before), chosen(results, options.after)
        same = counterparts(before, after)
        pairs = same or _others_to_compare(before, after, options)
        if not pairs:
            which = f"no evaluation of {options.before!r} is one of {options.after!r}"
            raise Problem(f"{which}: choose one of each with EXPERIMENT@PART-OF-ITS-NAME")
        having = {each.id for each in (*before, *after) if _has_one_of(options.score, results, each)}
        found = [
            _of_scores(compare(results, one, other), options.score)
            for one, other in pairs
            if {one.id, other.id} & having
        ]
    wanted = ", ".join(map(shown_score, options.score))
    if not found:
        raise Problem(f"no evaluation that is on both sides has the score {wanted}")
    gone = _others(before, [one for one, _ in pairs])
    new = _others(after, [other for _, other in pairs])
    if options.json:
        both = [{**_for_programs(each), "same": bool(same)} for each in found]
        alone = [*({"before": _side(each)} for each in gone), *({"after": _side(each)} for each in new)]
        print_json([*both, *({**_ALONE, **each} for each in alone)])
    else:
        _print(found, options.before, options.after)
        if not same:
            say(*(f"\n{_name(each)}: two evaluations, as none is on both sides" for each in found))
        without = [one.name for one, other in pairs if not {one.id, other.id} & having]
        if without:
            say(f"\nnot compared, as neither side has the score {wanted}: {', '.join(without)}")
        for name, others in ((options.before, gone), (options.after, new)):
            if others:
                say(f"\nonly {name} has these evaluations: {', '.join(each.name for each in others)}")
    if options.fail_if is None:
        return 0
    lost = [each for each in gone if each.id in having]
    losses = [f"{each.name}: {options.after} has none of it{_told_of_another(each, after)}" for each in lost]
    clear, among = clear_among(found), len(family_of(found))
    judged = [comparison for comparison in found if comparison.before.id in having]  # to the others, they are new
    losses += [loss for comparison in judged for loss in _losses(comparison, options, clear, among)]
    compared = {difference.score for comparison in found for difference in comparison.differences}
    losses += [f"no row of both has the score {shown_score(each)}" for each in options.score if each not in compared]
    told = [*losses, *_by_chance(found, clear, among, options)]
    if told:
        say(*(f"doteval: {each}" for each in told), file=sys.stderr)
    return 1 if losses else 0


def _has_one_of(scores: Collection[str], results: Snapshot, stored: Stored) -> bool:
    """Whether an evaluation has one of these scores, or may have when it is finished; any does where none is named."""
    return not scores or stored.finished is None or not {*scores}.isdisjoint(results.summary(stored).scores)


def _of_scores(comparison: Comparison, scores: Collection[str]) -> Comparison:
    """The same, of some scores only, where these are named."""
    if not scores:
        return comparison
    return replace(
        comparison,
        differences=tuple(each for each in comparison.differences if each.score in scores),
        only_before=tuple(each for each in comparison.only_before if each in scores),
        only_after=tuple(each for each in comparison.only_after if each in scores),
    )


def _others_to_compare(
    before: Sequence[Stored], after: Sequence[Stored], options: argparse.Namespace
) -> list[tuple[Stored, Stored]]:
    """What is compared where no evaluation is on both sides: to fail a build, only what is named, of the same rows."""
    found = nearest(before, after)
    if options.fail_if is None:
        return found
    sides = (before, options.before), (after, options.after)
    are_named = all(each.experiment != name for side, name in sides for each in side)
    return [pair for pair in found if are_named and len({rows_in(each.name) for each in pair}) == 1]


def _told_of_another(gone: Stored, after: Sequence[Stored]) -> str:
    """What is said of one of the same name; nothing where there is none."""
    named = next((each for each in after if each.name == gone.name), None)
    if named is None:
        return ""
    apart = told_apart(gone.identity, named.identity, gone.name)
    return f": what is called so there differs in {', '.join(apart)}" if apart else ""


def _others(evaluations: Sequence[Stored], compared: Sequence[Stored]) -> list[Stored]:
    """Those that are compared with none of the other side."""
    ids = {each.id for each in compared}
    return [each for each in evaluations if each.id not in ids]


def _by_chance(
    found: Sequence[Comparison], clear: Collection[int], among: int, options: argparse.Namespace
) -> Iterator[str]:
    """What is said of differences that are clear by themselves, and not among so many."""
    for comparison in found:
        for each in comparison.differences:
            is_judged = options.fail_if == "different" or each.mean < 0
            if is_judged and each.has_interval and each.is_clear and id(each) not in clear:
                how = "higher" if each.mean > 0 else "lower"
                name = f"{comparison.after.name}: {shown_score(each.score)}"
                yield f"{name} is {how}, which would be clear by itself, and is not as one of {among:,}: no failure"


def _losses(comparison: Comparison, options: argparse.Namespace, clear: Collection[int], among: int) -> Iterator[str]:
    """Why the second side is not as good as the first one, or not the same; nothing where it is."""
    name, before, after = comparison.after.name, options.before, options.after
    if comparison.before.id == comparison.after.id:
        yield f"{name}: it is compared with itself, which says nothing: name another experiment"
    if comparison.before.finished is None:
        yield f"{name}: {before} is not finished, and says nothing of what is not there: run it to its end"
    if comparison.after.finished is None and comparison.after.epochs > 1:
        yield f"{name}: {after} is not finished, and samples of rows are missing: run it to its end"
    for difference in comparison.differences:
        how = "higher" if difference.mean > 0 else "lower"
        is_judged = not difference.is_same and (options.fail_if == "different" or how == "lower")
        if is_judged and (id(difference) in clear or not difference.has_interval):
            what = f"{name}: {shown_score(difference.score)}"
            yield f"{what} is {how} in {after} than in {before}{_by(difference, among)}"
    yield from (f"{name}: no row of {after} has the score {shown_score(score)}" for score in comparison.only_before)
    unpaired, lost = comparison.unpaired, comparison.unpaired.lost
    allowed = options.max_lost(comparison.results)
    if lost > allowed:
        of = f"of {comparison.results:,} rows with a result in {before}"
        yield f"{name}: {of}, {lost:,} failed in {after} or are missing there, and {allowed:,} may: see --max-lost"
    for difference in comparison.differences:
        score, without = shown_score(difference.score), difference.only_before
        if without and lost + without > allowed:
            failed = f" besides {lost:,} that failed or are missing," if lost else ""
            of = f"of {difference.of:,} rows with {score} in {before}, {without:,} have none in {after}"
            yield f"{name}: {of},{failed} and {allowed:,} may: see --max-lost"
        if difference.is_of_few(lost + without):
            few = f"{difference.count:,} of the {difference.of:,} rows with {score} in {before} can be compared"
            yield f"{name}: only {few} ({unpaired.told(before, after)}): run {before} again"
    if not comparison.differences:
        yield f"{name}: no score can be compared"


def _by(difference: Difference, among: int) -> str:
    """By how much, where all rows differ by the same; that nobody can tell, where there is no interval."""
    if difference.is_constant:
        return f", by {number(abs(difference.mean))} in each of {difference.count:,} rows"
    if difference.is_clear:
        return f", clearly as one of {among:,} that are compared" if among > 1 else ""
    return ", and nobody can tell how far that is chance: there is no interval"


def _print(found: Sequence[Comparison], before: str, after: str) -> None:
    head = ("evaluation", "score", "rows", before, after, "difference", "95 %", "")
    rows: list[tuple[str, ...]] = []
    for comparison in found:
        name = _name(comparison)
        for difference in comparison.differences:
            rows.append((name, *_cells(difference)))
            name = ""
        if not comparison.differences:
            rows.append((name, "no score in common", "0", "", "", "", "", ""))
    say(*Table(rows, head, right={2, 3, 4, 5, 6}).texts_for(sys.stdout))
    for comparison in found:
        for side, scores in ((before, comparison.only_before), (after, comparison.only_after)):
            if scores:
                say(f"\nonly {side} has these scores of {_name(comparison)}: {', '.join(map(shown_score, scores))}")
    for comparison in found:
        if comparison.unpaired.total:
            rows_left = f"{comparison.unpaired.total:,} rows are left out"
            say(f"\n{_name(comparison)}: {rows_left}: {comparison.unpaired.told(before, after)}")
        for each in comparison.differences:
            if each.only_before or each.only_after:
                told = each.lacking(before, after)
                say(f"\n{_name(comparison)}: rows without the score {shown_score(each.score)} are left out: {told}")


def _name(comparison: Comparison) -> str:
    one, other = comparison.before.name, comparison.after.name
    return one if one == other else f"{one} -> {other}"


def _side(stored: Stored) -> dict[str, str]:
    return {"experiment": stored.experiment, "evaluation": stored.name}


_ALONE: Mapping[str, Any] = {
    "same": False,
    "before": None,
    "after": None,
    "unpaired": None,
    "unmatched": None,
    "scores": {},
}
"""What is said of an evaluation that only one side has, besides what it is."""


def _for_programs(comparison: Comparison) -> dict[str, Any]:
    return {
        "before": _side(comparison.before),
        "after": _side(comparison.after),
        "unpaired": comparison.unpaired._asdict(),
        "unmatched": {"before": comparison.only_before, "after": comparison.only_after},
        "scores": {
            difference.score: {
                "count": difference.count,
                "of": difference.of,
                "only_before": difference.only_before,
                "only_after": difference.only_after,
                "before": difference.before,
                "after": difference.after,
                "difference": difference.mean,
                "low": difference.low,
                "high": difference.high,
                "chance": difference.chance,
                "is_binary": difference.is_binary,
                "clusters": difference.clusters,
            }
            for difference in comparison.differences
        },
    }


def _cells(difference: Difference) -> tuple[str, ...]:
    low, high = number(difference.low, signed=True), number(difference.high, signed=True)
    interval = f"{low} to {high}" if difference.has_interval else "-"
    verdict = ("higher" if difference.mean > 0 else "lower") if difference.is_clear else "no clear difference"
    return (
        shown_score(difference.score),
        f"{difference.count:,}",
        number(difference.before),
        number(difference.after),
        number(difference.mean, signed=True),
        interval,
        verdict,
    )

"""``Gate``: what a score has to reach, for an evaluation to pass.

A gate is a line such as ``exact >= 0.9``. What is compared is the mean of the score over all rows that have it; with
``exact.low`` or ``exact.high``, an end of its 95 % interval; with ``exact.rows``, the share of rows that have it.
``exact.pass@3``, ``exact.pass^3`` and ``exact.majority`` are what the samples of each row say together. With
``exact >= baseline - 0.02`` it is the mean of the paired differences from the same evaluation in another experiment, or
an end of *their* interval; those too of what the samples of each row say together.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

from .baselines import NoBaseline, listed
from .compare import Comparison, Difference
from .reducers import REDUCED
from .statistics import Aggregate, Summary
from .tables import number

Passes: TypeAlias = str | Iterable[str] | Mapping[str, float]
"""One gate, several, or the least means by score."""

_ROUNDING = 1e-12
_GATE = re.compile(
    r"\s*(?P<score>[^<>\n]*?[^<>=!~\s])(?:\.(?P<of>mean|low|high|rows))?\s*(?P<sign><=|>=|<|>)\s*"
    r"(?:(?P<baseline>baseline)\s*(?P<offset>[+-]\s*[0-9.eE+-]+)?|(?P<value>[-+]?[0-9.eE+-]+|[-+]?[0-9.]+\s*%))\s*"
)
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True, slots=True)
class Gate:
    """What one score has to reach.

    Args:
        score: Its name.
        of: What of it is compared: ``"mean"``, ``"low"``, ``"high"``, or ``"rows"`` for the share of the rows that have
            it, of those that returned.
        sign: How.
        value: With what; of a gate with a baseline, how far the score may be from it.
        whole: The score with what stands behind it: where there is a score of that name, its mean is compared.
        has_baseline: Whether it is the difference from a baseline that is compared.
        text: The gate as it was written.
    """

    score: str
    of: str
    sign: str
    value: float
    whole: str
    has_baseline: bool
    text: str

    def meant(self, scores: Collection[str]) -> Gate:
        """The same, where there are these scores: one that has the whole name of what is compared goes first."""
        if self.whole == self.score or self.whole not in scores:
            return self
        return replace(self, score=self.whole, of="mean")

    def shortfall(self, summary: Summary, baseline: Comparison | NoBaseline, may_lack: int = 0) -> str | None:
        """Why it is not reached, as half a sentence; `None` where it is.

        Args:
            summary: What the rows say together.
            baseline: How they differ from the baseline, or why there is none.
            may_lack: How many rows with the score in the baseline may have failed here, or lack it.
        """
        found: Aggregate | Difference | None
        if not self.has_baseline:
            found = summary.scores.get(self.score) or summary.reduced.get(self.score)
            if found is None:
                return (
                    f"{_missing(self.score, summary)}, which has to be {self.rest}{_there(self.score, summary.scores)}"
                )
        elif isinstance(baseline, NoBaseline):
            new = "; where it is new, --doteval-eval-allow-new (allow_new= of run) does not judge it" * baseline.is_new
            return f"there is no baseline for '{self.text}': {baseline.why}{new}"
        else:
            found = next((each for each in baseline.differences if each.score == self.score), None)
            if found is None:
                where = f"here and in the baseline '{baseline.before.experiment}', for '{self.text}'"
                reduced = REDUCED.fullmatch(self.score)
                if reduced is None:
                    there = _there(self.score, [each.score for each in baseline.differences])
                    return f"no row has a score '{self.score}' {where}{there}"
                return (
                    f"no row has {reduced['of'] or 'any'} samples with a score '{reduced['score']}' of 0 or 1 {where}"
                )
            before, lost = f"the baseline '{baseline.before.experiment}'", baseline.unpaired.lost
            if found.only_before and found.only_before + lost > may_lack:
                have = f"{found.only_before:,} row{' has' if found.only_before == 1 else 's have'}"
                failed = f" besides {lost:,} that failed," if lost else ""
                limit = f"{may_lack:,} may, as --doteval-eval-max-errors says (max_errors= of run)"
                return f"{have} no score '{self.score}' here, and had in {before},{failed} and {limit}: '{self.text}'"
            if found.is_of_few():
                few = f"only {found.count:,} of the {found.of:,} rows with '{self.score}' in {before} can be compared"
                lack = f"{found.only_before:,} have no such score now" if found.only_before else ""
                why = ", ".join(filter(None, [baseline.unpaired.told("the baseline", "this run"), lack]))
                return f"{few}, which is less than half, for '{self.text}' ({why})"
        count = _count_of(self.score, found.count, summary)
        if self.of == "rows":
            if self._is_reached_by(found.count / _all_of(self.score, summary)):
                return None
            return f"{count} have the score '{self.score}', and their share has to be {self.rest}"
        value: float = getattr(found, self.of)
        if math.isfinite(value) and self._is_reached_by(value):
            return None
        interval = f"{number(found.low)} to {number(found.high)}" if _has_interval(found) else "no interval"
        what = "" if self.of == "mean" else f"the {self.of} end of "
        if isinstance(found, Difference):
            told = f"{what}{self.score} less the baseline is {number(value, signed=True)}"
            return f"{told} ({interval}, {found.count:,} rows), and has to be {self.sign} {number(self.value)}"
        return f"{what}{self.score} is {number(value)} ({interval}, {count}), and has to be {self.rest}"

    def _is_reached_by(self, value: float) -> bool:
        """Whether a number is enough. What rounding alone tells apart is the same: a mean of ten times 0.1 is less."""
        if math.isclose(value, self.value, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
            return "=" in self.sign
        return _SIGNS[self.sign](value, self.value)

    @property
    def rest(self) -> str:
        """What it has to be."""
        return f"{self.sign} {number(self.value)}"


def decided_by_some(gates: Sequence[Gate], summary: Summary, name: str) -> Iterator[str]:
    """What is to be said of gates whose score not all rows have that returned; nothing where that is a gate itself.

    Args:
        gates: The gates.
        summary: What the rows say together.
        name: The evaluation's name.
    """
    judged = {gate.score for gate in gates if gate.of == "rows"}
    for score in dict.fromkeys(_base_of(gate.score, summary) for gate in gates):
        found = summary.scores.get(score)
        if found is not None and score not in judged and found.count < _all_of(score, summary):
            yield (
                f"The gates of '{name}' about '{score}' are decided by {_count_of(score, found.count, summary)}, as "
                f"others have no such score: a gate such as '{score}.rows >= 95%' says how many have to have it."
            )


def _base_of(score: str, summary: Summary) -> str:
    reduced = None if score in summary.scores else REDUCED.fullmatch(score)
    return score if reduced is None else reduced["score"]


def _all_of(score: str, summary: Summary) -> int:
    """How many samples returned, or, of what the samples of each row say together, how many rows there are."""
    return summary.samples - summary.errors if score in summary.scores else summary.rows


def _count_of(score: str, count: int, summary: Summary) -> str:
    """How many rows, or samples of them, have a score; of how many, where others have not."""
    noun = "samples" if score in summary.scores and summary.epochs > 1 else "rows"
    of = _all_of(score, summary)
    return f"{count:,} {noun}" if count >= of else f"{count:,} of {of:,} {noun}"


def _missing(score: str, summary: Summary) -> str:
    """Why there is no such score, as half a sentence."""
    reduced = REDUCED.fullmatch(score)
    if reduced is None or reduced["score"] not in summary.scores:
        return f"no row has a score '{score}'"
    if not summary.scores[reduced["score"]].is_binary:
        return f"'{reduced['score']}' is not 0 or 1 in all rows, so there is no '{score}'"
    if summary.epochs == 1:
        return f"there is one sample of each row (epochs=1), so there is no '{score}'"
    return f"no row has {reduced['of']} samples with a score '{reduced['score']}', so there is no '{score}'"


def _there(score: str, scores: Collection[str]) -> str:
    """Which other scores there are, to go on with."""
    if score in scores or REDUCED.fullmatch(score):
        return ""
    return f"; {listed(score, [*scores])}" if scores else "; no row has any"


def _has_interval(found: Aggregate | Difference) -> bool:
    return math.isfinite(found.low) and math.isfinite(found.high)


def gates_of(passes: Passes) -> tuple[Gate, ...]:
    """What gates are written.

    Raises:
        ValueError: One cannot be meant.
    """
    given: object = passes
    if isinstance(given, str):
        return (_gate(given),)
    try:
        if isinstance(given, Mapping):
            least = cast("Mapping[str, float]", given)
            texts = [f"{score} >= {float(value)!r}" for score, value in least.items()]
        else:
            texts = [*passes]
    except (TypeError, ValueError):
        raise ValueError(
            f"passes are gates such as 'exact >= 0.9', or the least means by score, not {given!r}"
        ) from None
    return tuple(map(_gate, texts))


def _gate(text: str) -> Gate:
    found = _GATE.fullmatch(text) if isinstance(cast("object", text), str) else None
    value = math.nan if found is None else _value(found["value"] or found["offset"] or "0")
    if found is None or not math.isfinite(value):
        raise ValueError(
            f"{text!r} is no gate: write it like 'exact >= 0.9', 'exact.low >= 0.8' or 'exact >= baseline - 0.02', "
            "with one comparison (<, <=, > or >=)"
        )
    score, of = found["score"], found["of"]
    if of == "rows" and found["baseline"]:  # a share has none, so that is a score's name
        score, of = f"{score}.{of}", None
    return Gate(
        score=score,
        of=of or "mean",
        sign=found["sign"],
        value=value,
        whole=f"{score}.{of}" if of else score,
        has_baseline=found["baseline"] is not None,
        text=text.strip(),
    )


def _value(text: str) -> float:
    try:
        return float(text.replace(" ", "").replace("%", "e-2"))  # not divided, which may round once more
    except ValueError:
        return math.nan

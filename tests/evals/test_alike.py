"""Which evaluations of two experiments are the same one: what has one name, but for values that pytest has counted."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import Store, Stored, run
from doteval.evals._results.alike import counterpart, counterparts
from doteval.evals._results.baselines import NoBaseline, beside_baseline
from doteval.evals._results.identity import COUNTED, OWN_FILE, PARAMETER, changes, is_of_same_file, with_what_was_known

VALUES = st.lists(st.sampled_from("abcd"), max_size=4)
NOTHING: dict[str, str] = {}
LABEL = f"{PARAMETER}cfg'"


def stored(number: int, name: str, experiment: str = "x", **parameters: str) -> Stored:
    """One with parameters that pytest has counted, but for those that are called ``chosen_...``."""
    identity = {f"{PARAMETER}{parameter}'": value for parameter, value in parameters.items()}
    identity[COUNTED] = f"={','.join(each for each in parameters if not each.startswith('chosen_'))}"
    return Stored(number, experiment, name, "", identity, 0, 1, 1, 1, 0)


def counted(values: list[str], first: int, suffix: str = "") -> list[Stored]:
    return [stored(first + n, f"e.py::eval_it[strong-cfg{n}]{suffix}", cfg=value) for n, value in enumerate(values)]


@settings(max_examples=60, deadline=None)
@given(before=VALUES, after=VALUES, suffix=st.sampled_from(["", " (first 3)", " (row [x]-cfg1)"]))
def test_values_that_are_counted_are_known_by_what_they_are(before: list[str], after: list[str], suffix: str) -> None:
    """Each once, wherever it stands, as often as both sides have it; in its place, where it has stayed there."""
    ones, others = counted(before, 0, suffix), counted(after, 100, suffix)
    found = counterparts(ones, others)
    assert all(one.identity == other.identity for one, other in found)
    assert len(found) == sum(min(before.count(each), after.count(each)) for each in {*before})
    assert len({other.id for _, other in found}) == len(found)
    stayed = {(one.id, other.id) for one, other in zip(ones, others, strict=False) if one.identity == other.identity}
    assert stayed <= {(one.id, other.id) for one, other in found}


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (("e[cfg0]", {"cfg": "a"}), ("e[cfg7]", {"cfg": "a"}), True),
        (("e[cfg0]", {"cfg": "a"}), ("e[cfg0]", {"cfg": "b"}), False),
        (("e[strong]", {"cfg": "a"}), ("e[strong]", {"cfg": "b"}), True),  # a name that the user has chosen
        (("e[strong]", {"cfg": "a"}), ("e[weak]", {"cfg": "a"}), False),
        (("e[x0-y1]", {"x": "a", "y": "b"}), ("e[x5-y0]", {"x": "a", "y": "b"}), True),
        (("e[x0-y1]", {"x": "a", "y": "b"}), ("e[x0-y1]", {"x": "a", "y": "c"}), False),
        (("e[strong-y1]", {"x": "a", "y": "b"}), ("e[strong-y0]", {"x": "c", "y": "b"}), True),
        (("e[strong-y1]", {"x": "a", "y": "b"}), ("e[weak-y1]", {"x": "a", "y": "b"}), False),
        (("e[cfg0] (first 3)", {"cfg": "a"}), ("e[cfg1]", {"cfg": "a"}), False),
        (("e[cfg0]", NOTHING), ("e[cfg1]", NOTHING), False),  # a model of that name: nothing was counted
        (("e[1]", {"cfg": "=1"}), ("e[1]", {"cfg": "=2"}), True),
        (("e[chosen_1]", {"chosen_": "a"}), ("e[chosen_1]", {"chosen_": "b"}), True),
        (("e[chosen_1]", {"chosen_": "a"}), ("e[chosen_2]", {"chosen_": "a"}), False),
        (("e[chosen_1-y1]", {"chosen_": "a", "y": "b"}), ("e[chosen_1-y2]", {"chosen_": "c", "y": "b"}), True),
        (("e[cfg]", {"cfg": "a"}), ("e[cfg]", {"cfg": "b"}), True),
        (("p[cfg0]/e.py::e[cfg1-]", {"cfg": "a"}), ("p[cfg0]/e.py::e[cfg2-]", {"cfg": "a"}), True),
    ],
)
def test_an_id_is_a_name_unless_pytest_has_counted(one: Any, other: Any, is_same: bool) -> None:
    """One parameter or several, with a selection of rows, and whatever stands around."""
    (name, parameters), (other_name, others) = one, other
    pair = stored(1, name, **parameters), stored(2, other_name, **others)
    assert counterparts([pair[0]], [pair[1]]) == ([pair] if is_same else [])


PATHS = st.lists(st.sampled_from(["a", "aa", "pkg", "e.py", "\udcff"]), min_size=1, max_size=3).map("/".join)


@given(PATHS, PATHS)
def test_a_file_is_the_same_seen_from_further_above(one: str, other: str) -> None:
    """By whole parts of the path; where nobody knows, as in a script, it may be. The fuller path is kept."""
    before, now = {OWN_FILE: f"={one}"}, {OWN_FILE: f"={other}"}
    shorter, longer = sorted((one.split("/"), other.split("/")), key=len)
    assert is_of_same_file(before, now) == (longer[-len(shorter) :] == shorter)
    assert is_of_same_file(before, {})
    assert is_of_same_file({}, now)
    assert bool(changes(before, now)) == (not is_of_same_file(before, now))
    pair = stored(1, "e[strong]"), stored(2, "e[strong]")
    pair[0].identity.update(before)  # type: ignore[attr-defined]
    pair[1].identity.update(now)  # type: ignore[attr-defined]
    assert counterparts([pair[0]], [pair[1]]) == ([pair] if is_of_same_file(before, now) else [])
    if is_of_same_file(before, now):
        assert with_what_was_known(now, before)[OWN_FILE] == f"={'/'.join(longer)}"


class Results(Store):
    """A store of evaluations without rows."""

    def __init__(self, there: list[Stored]) -> None:
        self.there = there

    def evaluations(self, experiment: str | None = None) -> list[Stored]:
        return [each for each in self.there if experiment in (None, each.experiment)]

    def find(self, experiment: str, name: str) -> Stored | None:
        return next((each for each in self.evaluations(experiment) if each.name == name), None)


def test_a_gate_has_no_baseline_of_other_parameters() -> None:
    """What has only moved has one; what has another value under its number is new, and the message says why."""
    results = Results([stored(n, f"e[cfg{n}]", "main", cfg=value) for n, value in enumerate("ab")])
    for name, value, found in (("e[cfg0]", "a", 0), ("e[cfg2]", "a", 0), ("e[cfg0]", "b", 1), ("e[cfg0]", "c", None)):
        other = counterpart(results, "main", name, {LABEL: value, COUNTED: "=cfg"})
        assert (None if other is None else other.id) == found
    results.there[0].identity[OWN_FILE] = "=a/e.py"  # type: ignore[index]
    assert counterpart(results, "main", "e[cfg0]", {LABEL: "a", OWN_FILE: "=b/e.py", COUNTED: "=cfg"}) is None
    baseline = beside_baseline(results, "main", stored(9, "e[cfg0]", "branch", cfg="c"), "")
    assert isinstance(baseline, NoBaseline)
    assert baseline.is_new
    assert "no 'e[cfg0]' with these parameters: the parameter 'cfg' had another value there" in baseline.why


@pytest.mark.parametrize(
    ("before", "after", "parts", "code", "told"),
    [
        (["eval_a"], ["eval_a"], "", 0, ""),
        (["eval_a"], ["eval_b"], "", 1, "no evaluation of 'a' is one of 'b'"),
        (["eval_a"], ["eval_b"], "@eval", 0, ""),
        (["eval_a[m1]"], ["eval_a[m2]"], "", 1, "no evaluation of 'a' is one of 'b'"),
        (["eval_a[m1]"], ["eval_a[m2]"], "@eval", 0, ""),
        (["eval_a"], ["eval_a (first 5)"], "", 1, "no evaluation of 'a' is one of 'b'"),
        (["eval_a"], ["eval_a (first 5)"], "@eval", 1, "no evaluation of 'a@eval' is one of 'b@eval'"),
        (["eval_a", "eval_b"], ["eval_a", "eval_c"], "", 1, "eval_b: b has none of it"),
    ],
)
def test_a_build_fails_for_what_is_the_same_or_named(
    before: list[str],
    after: list[str],
    parts: str,
    code: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Never by what is left over on both sides, nor by some rows beside all; without --fail-if it is said."""
    monkeypatch.chdir(tmp_path)

    @foreach("number", range(10))
    async def eval_it(number: int) -> Result:
        return Result(number, scores={"exact": True})

    for experiment, names in (("a", before), ("b", after)):
        for each in names:
            name = each.removesuffix(" (first 5)")
            limit = 5 if name != each else None
            give = partial(run, eval_it, experiment=experiment, name=name, limit=limit, store=".doteval/results.db")
            anyio.run(give)
    sides = f"a{parts}", f"b{parts}"
    assert main(["compare", *sides, "--fail-if", "worse"]) == code
    assert told in capsys.readouterr().err
    assert main(["compare", *sides]) == 0
    assert ("two evaluations, as none is on both sides" in capsys.readouterr().out) == (not {*before} & {*after})

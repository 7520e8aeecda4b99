"""What is odd about results, where pytest takes warnings for errors, for warnings, or for nothing."""

from __future__ import annotations

import re

import pytest
from tests.plugin.runs import Runs

EVALUATIONS = """
from doteval import foreach, Result

def evaluation(odd, right):
    others = ["some", "few"][:odd]

    @foreach("number", range(4), passes=["right >= 0.5", *(f"{each} >= 0.5" for each in others)])
    async def eval_it(number):
        return Result(number, scores={"right": right, **(dict.fromkeys(others, 1) if number else {})})

    return eval_it
"""
NAMES = {(odd, right): f"eval_{odd}_{'right' if right else 'wrong'}" for odd in range(3) for right in (True, False)}
DEFINED = "".join(f"\n{name} = evaluation({odd}, {right})" for (odd, right), name in NAMES.items())


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("setting", ["error", "default", "ignore"])
def test_a_warning_never_takes_the_place_of_a_verdict(runs: Runs, setting: str, is_new: bool) -> None:
    """A gate that is not reached is told first, then all warnings; a choice that is told of is no error."""
    runs.write(eval_it=EVALUATIONS + "\neval_old = evaluation(0, True)")
    runs.run("--eval-experiment=main").assert_outcomes(passed=1)
    runs.write(eval_it=EVALUATIONS + DEFINED)
    new = ("--eval-baseline=main", "--eval-allow-new", "--eval-gate", "right >= baseline") if is_new else ()
    result = runs.run("-rA", "-o", f"filterwarnings={setting}", *new, strict=False, summary=False)
    result.assert_outcomes(
        passed=sum(right and not (odd and setting == "error") for odd, right in NAMES),
        failed=sum(not right or (odd > 0 and setting == "error") for odd, right in NAMES),
        warnings=0 if setting == "ignore" else sum(is_new + (setting == "default") * odd for odd, _ in NAMES),
    )
    output = result.stdout.str()
    for (odd, right), name in NAMES.items():
        is_error = setting == "error"
        section = re.search(rf"^_+ {name} _+\n(.*?)(?=^[_=]+ )", output, re.DOTALL | re.MULTILINE)
        (last,) = re.findall(rf"^(?:PASSED|FAILED) eval_it.py::{name}(?: - (.*))?$", output, re.MULTILINE)
        verdict = "" if right else "right is 0 "
        texts = [f"The gates of 'eval_it.py::{name}' about '{score}' are decided" for score in ("some", "few")]
        told = [verdict] * (not right) + [f"EvaluationWarning: {text}" for text in texts[:odd] if is_error]
        assert last.startswith(told[0].removeprefix("EvaluationWarning: ")[:9]) if told else not last
        assert (section is None) == (not told)
        if section is not None:
            places = [section[1].find(text) for text in told]
            assert places == sorted(places)
            assert places[0] >= 0
            assert not re.search(r"doteval/|running\.py|telling\.py", section[1])
        told_as_warnings = texts[:odd] if setting == "default" else []
        if is_new and setting != "ignore":
            told_as_warnings.append(f"The gates of 'eval_it.py::{name}' with a baseline are not judged, as it is new")
        _, _, summary = output.partition("= warnings summary =")
        assert [text for text in texts if text in summary] == [text for text in texts if text in told_as_warnings]
        assert all(text in summary for text in told_as_warnings)


def test_results_that_somebody_chose_to_keep_or_to_throw_away_are_told_as_a_warning(runs: Runs) -> None:
    """What has been chosen is done, also where warnings are errors."""
    for number, changed in enumerate(["error", "keep", "rerun", "keep"]):
        runs.write(
            eval_it=f"""
    from doteval import foreach, Result

    @foreach("number", [1, 2])
    async def eval_it(number):
        return Result(number + {number})
    """
        )
        result = runs.run("--eval-experiment=it", f"--eval-changed={changed}", strict=True)
        result.assert_outcomes(passed=1, warnings=int(number > 0))


def test_a_warning_of_a_run_in_a_test_shows_the_lines_of_the_test(runs: Runs) -> None:
    """Whoever calls `run` there is told what is odd, and where the call is."""
    runs.write(
        test_it=f"""{EVALUATIONS}
import pytest
from doteval.evals import run

@pytest.mark.anyio
async def test_it(tmp_path):
    await run(evaluation(2, True), store=tmp_path / "results.db")  # here
"""
    )
    result = runs.run("-o", "filterwarnings=error", strict=False, summary=False)
    result.assert_outcomes(failed=2)
    output = result.stdout.str()
    assert output.count("# here") == output.count("EvaluationWarning: The gates of 'eval_it' about 'few'") == 2
    assert "telling.py" not in output
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_it* - The gates of 'eval_it'*"])


def test_a_warning_of_a_lease_that_is_left_shows_no_lines_of_ours(runs: Runs) -> None:
    """Nor does any other warning of ours that is an error."""
    runs.write(
        test_it="""
import pytest

KEPT = []

@pytest.mark.anyio
async def test_it(echo_provider):
    KEPT.append(await echo_provider.setup("one"))
"""
    )
    result = runs.run("--model-leaks=warn", "-o", "filterwarnings=error", strict=False, summary=False)
    result.assert_outcomes(passed=2, errors=2)
    assert result.stdout.str().count("ModelLeakWarning: The test has left what it leased") == 2
    assert "_left.py" not in result.stdout.str()

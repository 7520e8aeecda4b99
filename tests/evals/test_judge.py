"""What a judge says, how it is read, and what several votes decide."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest

from doteval import Completion, Result, foreach
from doteval.evals import JudgeError, Store, Verdict, llm_judge, run
from doteval.testing import FakeModel

pytestmark = pytest.mark.anyio

WORDS = {"bad": 0, "good": 0.5, "very good": 1}


def judge(*replies: str) -> FakeModel:
    return FakeModel("judge", replies=[*replies])


@pytest.mark.parametrize(
    ("reply", "scale", "value"),
    [
        ("YES", None, True),
        (" no.", None, False),
        ("**Yes**", None, True),
        ("It says no such thing. Verdict: YES", None, True),
        ("Verdict: no, although yes was near", None, False),
        ("There are no errors.\n\nYES", None, True),
        ("I think it does. Yes, it does.", None, True),
        ("<think>no, or yes?</think>no", None, False),
        ("nobody knows", None, None),
        ("yes and no", None, None),
        ("", None, None),
        ("4", (1, 5), 4),
        ("Rating: 4/5", (1, 5), 4),
        ("4 out of 5, I would say.", (1, 5), 4),
        ("On a scale of 1 to 5: 3", (1, 5), 3),
        ("It has 12 mistakes.\nScore: 2", (1, 5), 2),
        ("It has 12 mistakes.\n\n**2**", (1, 5), 2),
        ("It has 12 mistakes, so 2", (1, 5), None),
        ("4.5", (1, 5), 4.5),
        ("4,5", (1, 5), None),
        ("6", (1, 5), None),
        ("8/10", (1, 5), None),
        ("between 2 and 3", (1, 5), None),
        ("\uff14", (1, 5), 4),
        ("\u22121", (-2, 2), -1),
        ("80%", (0, 100), 80),
        ("0.25", (0.0, 1.0), 0.25),
        ("good", WORDS, 0.5),
        ("Very  good!", WORDS, 1),
        ("It is bad.", WORDS, 0),
        ("It is not good", WORDS, None),
        ("goodness", WORDS, None),
        ("good or bad", WORDS, None),
    ],
)
async def test_how_a_reply_is_read(reply: str, scale: Any, value: bool | float | None) -> None:
    """What it says at last, or at all; rather nothing than a guess. It is kept as it was said."""
    model = judge(reply)
    if value is None:
        with pytest.raises(JudgeError) as caught:
            await llm_judge(model, "x", "It is good.", scale=scale)
        assert caught.value.replies == (reply,)
        assert repr(reply) in str(caught.value)
    else:
        verdict = await llm_judge(model, "x", "It is good.", scale=scale)
        assert (verdict.value, verdict.reasons, verdict.votes) == (value, (reply,), (value,))
        assert type(verdict.value) is (bool if scale is None else float)
        assert verdict == value
    asked = str(model.calls[0].prompt)
    for word in ("YES", "NO") if scale is None else WORDS if scale is WORDS else map(str, scale):
        assert word in asked


@pytest.mark.parametrize(
    ("reply", "vote"),
    [
        (Completion("No, I cannot judge this.", finish_reason="refusal", refusal="I cannot"), None),
        (Completion("no", finish_reason="content_filter"), None),
        (Completion("YES", finish_reason="length"), True),
        (Completion("Yes, one could say, but then", finish_reason="length"), None),
    ],
)
async def test_a_refusal_and_what_was_cut_off_are_no_votes(reply: Completion, vote: bool | None) -> None:
    """Unless the vote is all there is of it, as with max_tokens=1."""

    class Says:
        name = "judge"

        async def generate(self, prompt: Any, **params: Any) -> Completion:
            return reply

    model: Any = Says()
    if vote is None:
        with pytest.raises(JudgeError, match="neither YES nor NO"):
            await llm_judge(model, "x", "It is good.")
    else:
        assert (await llm_judge(model, "x", "It is good.")).value is vote


@pytest.mark.parametrize("votes", [1, 2, 3, 4, 5])
async def test_a_majority_of_all_votes_decides_whatever_their_order(votes: int) -> None:
    """An even split, and votes that cannot be read, count as asked; none is asked for in vain."""
    said = {"yes": True, "no": False, "perhaps": None}
    for replies in product(said, repeat=votes):
        model, read = judge(*replies), [said[reply] for reply in replies]
        value = next((vote for vote in (True, False) if read.count(vote) > votes / 2), None)
        if value is None:
            with pytest.raises(JudgeError) as caught:
                await llm_judge(model, "x", "It is good.", votes=votes)
            assert caught.value.votes == tuple(read)
        else:
            verdict = await llm_judge(model, "x", "It is good.", votes=votes)
            asked = len(model.calls)
            assert verdict.value is value
            assert verdict.votes == tuple(read[:asked])
            assert read[:asked].count(value) > votes / 2 >= read[: asked - 1].count(value)


@pytest.mark.parametrize(
    ("replies", "mean"),
    [(["1", "5", "3"], 3), (["1", "2", "?"], 1.5), (["1", "?", "?"], None), (["1", "?"], None), (["2", "4"], 3)],
)
async def test_votes_on_a_scale_have_a_mean(replies: Sequence[str], mean: float | None) -> None:
    """Of those that can be read, where these are more than half."""
    model = judge(*replies)
    if mean is None:
        with pytest.raises(JudgeError, match=r"decide nothing: . cannot be read, such as '\?'"):
            await llm_judge(model, "x", "It is good.", scale=(1, 5), votes=len(replies))
    else:
        verdict = await llm_judge(model, "x", "It is good.", scale=(1, 5), votes=len(replies))
        assert verdict.value == mean
        assert len(verdict.votes) == len(replies)


async def test_a_template_of_ones_own_has_its_braces() -> None:
    """Only the four names stand for something, once; what they stand for may have braces, too."""
    model = judge("YES")
    template = '{"q": "{prompt}", "a": "{output}"} {other} {criterion} \\boxed{} {instruction}'
    await llm_judge(model, "{prompt} {0}", "c{output}", prompt="p", template=template)
    asked = str(model.calls[0].prompt)
    assert asked.startswith('{"q": "p", "a": "{prompt} {0}"} {other} c{output} \\boxed{} Does the answer')


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": ""}, "needs a criterion"),
        ({"criterion": "good", "template": "{criterion}"}, r"no \{output\}"),
        ({"criterion": "good", "template": "{output}"}, r"no \{criterion\}"),
        ({"prompt": "2+2?", "template": "{output}"}, r"no \{prompt\}"),
        ({"criterion": "good", "votes": 0}, "1 vote or more, not 0"),
        ({"criterion": "good", "scale": (5, 1)}, "a scale is"),
        ({"criterion": "good", "scale": (1, 2, 3)}, "a scale is"),
        ({"criterion": "good", "scale": (0, float("inf"))}, "a scale is"),
        ({"criterion": "good", "scale": (False, True)}, "a scale is"),
        ({"criterion": "good", "scale": {"good": 1}}, "a scale is"),
        ({"criterion": "good", "scale": {"good": 1, "Good": 2}}, "a scale is"),
        ({"criterion": "good", "scale": "1-5"}, "a scale is"),
    ],
)
async def test_what_cannot_be_meant_asks_nobody(options: Any, message: str) -> None:
    model = judge("YES")
    with pytest.raises(ValueError, match=message):
        await llm_judge(model, "x", **options)
    assert not model.calls


@pytest.mark.parametrize(
    ("output", "seen"),
    [
        (None, "(There is no answer.)"),
        (" \n", "(There is no answer.)"),
        (Completion("", refusal="I cannot"), "(The model declined to answer: I cannot)"),
        (0, "\n0\n"),
        ("half \ud83d", "half \\ud83d"),
    ],
)
async def test_a_judge_is_told_that_there_is_no_answer(output: Any, seen: str) -> None:
    model = judge("NO")
    assert not await llm_judge(model, output, "It declines.")
    assert seen in str(model.calls[0].prompt)


async def test_what_a_judge_says_is_kept_with_the_row(tmp_path: Any) -> None:
    """The score is the value, the rest is metadata; a row without a verdict has the replies in its error."""

    @foreach("question", ["one", "two"])
    async def eval_judged(question: str, model: Any) -> Result:
        polite = await llm_judge(model, question, "It is polite.", scale=(1, 5), votes=2)
        return Result(question, scores={"polite": polite, "is_high": polite > 2})

    async with Store(tmp_path / "results.db") as store:
        outcome = await run(eval_judged, model=judge("2", "Rating: 3", "?", "5"), store=store, concurrency=1)
        one, two = outcome.records
    assert one.scores == {"polite": 2.5, "is_high": True}
    assert one.metadata == {"verdicts": {"polite": {"reasons": ["2", "Rating: 3"], "votes": [2.0, 3.0]}}}
    assert two.error is not None
    assert two.error.startswith("JudgeError: There is no verdict: the 2 votes of the judge decide nothing")


def test_a_verdict_is_a_number_that_can_be_copied() -> None:
    verdict = Verdict(True, ["so"], [True, None])
    assert repr(verdict) == "Verdict(True, reasons=('so',), votes=(True, None))"
    for same in (copy.deepcopy(verdict), pickle.loads(pickle.dumps(verdict))):
        assert (same, same.value, same.reasons, same.votes) == (1.0, True, ("so",), (True, None))
    assert not Verdict(False)
    assert max(Verdict(0.5), 0.25) == 0.5

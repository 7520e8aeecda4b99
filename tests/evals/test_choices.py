"""Which choice an output gives, as people who read it would say."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doteval.evals import choice
from doteval.evals._evaluators.choices import _Labels

MARKS = ["{}", "({})", "**{}**", "__{}__", "`{}`", "[{}]", '"{}"', "${}$", r"\({}\)", "{}.", "{})", "({}).", "**({})**",
         r"\boxed{{{}}}", r"\boxed{{\text{{{}}}}}", r"$\boxed{{\textbf{{({})}}}}$", "<answer>{}</answer>"]  # fmt: skip
DECLARED = ["{}", "Answer: {}", "ANSWER: {}", "**Answer:** {}", "The answer is {}", "The correct answer is option {}",
            "Let me see.\n\nSo I choose {}", "(A) is wrong, and so is (D). Final answer: {}", "Antwort: {}",
            "A or B? Or C, or D?\n\n{}", "The answer seems to be {}", "My choice is\n\n{}", "答案是{}", "정답: {}",
            "<think>The answer is A. No: D.</think>\n{}"]  # fmt: skip


@given(st.sampled_from("ABCD"), st.sampled_from(MARKS), st.sampled_from(DECLARED), st.sampled_from(["", "\n", " "]))
def test_a_choice_is_found_however_it_is_marked_and_declared(label: str, mark: str, said: str, end: str) -> None:
    """All marks in all sentences, in full width and between marks of direction, too."""
    text = said.format(mark.format(label)) + end
    assert choice(text, "ABCD") == label
    wide = chr(ord(label) + 0xFEE0)
    assert choice(said.format(mark.format(wide)), "ABCD") == label
    assert choice(f"\u202b{said.format(f'{chr(0x200F)}{mark.format(label)}')}\u202c", "ABCD") == label


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("b", "B"),
        ("the correct answer is d.", "D"),
        ("answer: a", "A"),
        ("the answer is a car", None),
        ("A car moves.", None),
        ("Apples", None),
        ("Answer: A car", None),
        ("The answer is A because of it.", "A"),
        ("The answer is B because a car moves.", "B"),
        ("I would pick B — a safe choice.", "B"),
        ("A or B?", None),
        ("It is either (A) or (B).", None),
        ("Answer: A or B", None),
        ("Answer: A/B", None),
        ("Answer: A, B and C", None),
        ("The options are A, B, C and D.", None),
        ("The answer is B. Note that A is a common distractor.", "B"),
        ("I considered (A), but it is incorrect. Final answer: D.", "D"),
        ("Answer seems to be A.\n\nAnswer: C", "C"),
        ("The answer is B? No, the answer is C.", "C"),
        (r"\boxed{A}... no, wait: the answer is B", "B"),
        ("Antwort:\n\nAntwort: C", "C"),
        ("Answer:\n**B**\nBecause of it.", "B"),
        ("Between (A) and (B), I choose (B).", "B"),
        ("I'm going with A, not B.", "A"),
        ("Option B is correct.", "B"),
        ("B is the answer, and A is not.", "B"),
        ("Is B correct? No.", None),
        ("The answer is not B.", None),
        ("The answer isn't (B).", None),
        ("I would not choose B.", None),
        ("The wrong answer is B.", None),
        ("B is not correct, and the answer is C", "C"),
        ("Answer: None of the above", None),
        ("ANSWER: Don't know", None),
        ("D'accord", None),
        ("B) Paris", "B"),
        ("B. Paris is the capital.", "B"),
        ("(B) Paris, and A is no city.", "B"),
        ("B, because it is.", "B"),
        ("A) London is wrong.\nB) Paris is right.", None),
        ("A) wrong\nB) wrong\nC) right\n\nC", "C"),
        ("<think>The answer is A.</think>\n\nC) it is", "C"),
        ("C\n\nA is wrong, and B is, too.", "C"),
        ("So it must be B!", "B"),
        ("Definitely A.", "A"),
        ("vitamin C is good for you", None),
        ("C++ is a language, and A-level an exam.", None),
        ("U.S.A.", None),
        ("", None),
        (None, None),
        (5, None),
        (b"The answer is (B)", "B"),
        (b"\xff", None),
        ("\ud83dAnswer: B\ud83d", "B"),
    ],
)
def test_what_a_reader_would_say(text: Any, found: str | None) -> None:
    """The table of what is decided: rather none than a guess."""
    assert choice(text, "ABCD") == found


@pytest.mark.parametrize(
    ("text", "choices", "found"),
    [
        ("I don't know.", "ABCDEFGHIJ", None),
        ("The answer is C because I computed it.", "ABCDEFGHIJ", "C"),
        ("Yes, certainly.", ["yes", "no"], "yes"),
        ("No, I would say yes.", ["yes", "no"], None),
        ("The answer is: NO", ["yes", "no"], "no"),
        ("Answer: very good", ["good", "very good"], "very good"),
        ("The answer is 2.", "123", "2"),
        ("2.5", "123", None),
        ("Answer: 12", "123", None),
        ("b", "aAbB", "b"),
        ("Answer: B", "aAbB", "B"),
        ("The answer is ב", "אבג", "ב"),
        ("B", ("A", "\uff22"), "\uff22"),
    ],
)
def test_labels_are_what_they_are(text: str, choices: Any, found: str | None) -> None:
    """Words, digits, letters of any script; as they were given."""
    assert choice(text, choices) == found


@given(st.text(st.sampled_from("AaBbCI ().,:*\n$\\{}isnotrwe'"), max_size=60))
def test_what_is_found_is_there(text: str) -> None:
    """And it is one of the choices."""
    found = choice(text, "ABC")
    assert found is None or (found in "ABC" and re.search(found, text, re.IGNORECASE))


@pytest.mark.parametrize("part", ["Answer: ", "A ", "a", r"\boxed{", "not ", "**", " is B. ", "\n", "(A) or "])
def test_a_text_that_goes_on_and_on_has_its_choice_at_its_end(part: str) -> None:
    """In no time, however long it is."""
    assert choice(part * (10_000_000 // len(part)) + "\nAnswer: (C)", "ABCD") == "C"


@pytest.mark.parametrize("choices", ["", "A", "AA", ["A", " "], ["A", "\uff21"]])
def test_what_is_no_choice(choices: Any) -> None:
    with pytest.raises(ValueError, match="two or more different labels"):
        choice("A", choices)


@pytest.mark.parametrize(
    "part", ["A ", "(A)", "A\n", "not A ", "A? ", "A or ", "answer: A ", "I would choose A, ", "if A, ", '"A" ', "A. "]
)
def test_a_text_that_repeats_itself_is_not_looked_at_again_and_again(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels are looked at that have something else around them, however many there are."""
    looks: list[str] = []
    look = _Labels._mention

    def counted(labels: _Labels, label: str, *around: Any) -> Any:
        looks.append(label)
        return look(labels, label, *around)

    monkeypatch.setattr(_Labels, "_mention", counted)
    assert choice(part * 100_000, "ABCD") == choice(part * 1000, "ABCD")
    assert len(looks) < 1500


def test_labels_are_texts() -> None:
    labels: Any = [1, 2]
    with pytest.raises(TypeError, match="not 1"):
        choice("1", labels)

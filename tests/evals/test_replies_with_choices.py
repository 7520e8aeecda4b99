"""Replies as models write them that are to choose, with what a person reads: some are not read, and none wrong."""

from __future__ import annotations

import pytest

from doteval.evals import choice

TABLE: list[tuple[str, str | None]] = [
    ("The answer is C. If the question asked for the largest, the answer would be B.", "C"),
    ("ANSWER: C\n\nThe correct answer would be B if it were colder.", "C"),
    ("It is wrong to say that the answer is A.", None),
    ("Answer: C\n\nOption B is right only in summer.", "C"),
    ("The answer is C.\n\nI am not sure that the answer is B.", "C"),
    ("Option B is right only in summer.", None),
    ("The answer would be B.", None),
    ("If it is cold, the answer is B.", None),
    ("Unless it is cold, the answer is B.", None),
    ("The answer is B unless it is cold.", None),
    ("The answer is never B.", None),
    ("Nobody should say that the answer isn't B.", None),
    ("The wrong answer is B.", None),
    ("Wrong answer: B", None),
    ("The answer is B? I doubt it.", None),
    ("Is the answer B?", None),
    ("Could the answer be B? No.", None),
    ("Perhaps the answer is B.", None),
    ("Some people say the answer is A, but B is correct.", "B"),
    ("Some might say the answer is A. The correct answer is D.", "D"),
    ("I considered (B).", None),
    ("(B) is wrong.", None),
    ("(B) can be ruled out.", None),
    ("(B) does not fit.", None),
    ("B is incorrect.", None),
    ("A is wrong. B is wrong. D is wrong.", None),
    ("A is incorrect. B is incorrect. C is correct. D is incorrect.", "C"),
    ("(A) is wrong because it is too small. (B) is right.", "B"),
    ("We can eliminate A and B. C is too large. So the answer is D.", "D"),
    ("I would exclude B because it is too small.", None),
    ("Answer: B\n\nA is tempting, and many people choose A.", "B"),
    ("Answer: D\n\nConfidence: A", "D"),
    ("Confidence: A", None),
    ("Worst: A", None),
    ("Grade: B", None),
    ("Option A: too small", None),
    ("Option A: too small\nOption B: right\nAnswer: B", "B"),
    ("Vitamin: C", None),
    ("Answer: A\nFinal answer: B", "B"),
    ("The answer is A.\n\nFinal answer: B", "B"),
    ("My final answer is C.", "C"),
    ("**Final Answer:** (C)", "C"),
    ("### Final answer\n\n**C**", "C"),
    ("Answer: A\n\nAnswer: B", None),
    ("Answer: A\n\nWait, no. Answer: B", "B"),
    ("Answer: A\n\nWait, it is too small.", None),
    ("The answer is A. Actually, the answer is B.", "B"),
    ("The answer is A. The answer is B.", None),
    ("Answer: B\n\nQuestion: And now?\nAnswer: C", None),
    ("\\boxed{A}\n\n\\boxed{B}", None),
    ("So $x = 3$, which is $\\boxed{\\textbf{(B)}}$.", "B"),
    ("Since it is not a mammal, the answer is B.", "B"),
    ("The first is not a mammal, so the answer is B.", "B"),
    ("It is not A, but the answer is C.", "C"),
    ("I'd go with A.", "A"),
    ("I would choose B.", "B"),
    ("I would choose B if it were colder.", None),
    ("I choose B over A.", "B"),
    ("B\n\nA would be too small.", "B"),
    ("**B**\n\nThe answer is B as it is larger.", "B"),
    ("B\n\nThe answer is C.", "C"),
    ("First I thought that the answer is A.\n\nB", "B"),
    ("The answer is B.\n\nB", "B"),
    ("Answer: A\n\nB", None),
    ("<answer>C</answer>", "C"),
    ("It is cold.\n\n<answer>C</answer>", "C"),
    ("Answer: C) Paris", "C"),
    ("Answer (A-D): C", "C"),
    ("ANSWER = C", "C"),
    ("Answer: A or B", None),
    ("Answer: A/B", None),
    ("Answer: A, B", None),
    ("Answer: A and C", None),
    ("Answer: between A and C", None),
    ("Answer: not A", None),
    ("Answer: none", None),
    ("Both A and B are correct.", None),
    ("The answer is neither A nor B.", None),
    ("Antwort: C", "C"),
    ("Die Antwort ist C.", "C"),
    ("Die richtige Antwort lautet B.", "B"),
    ("Die Antwort ist nicht B.", None),
    ("Die Antwort w\u00e4re B, wenn es k\u00e4lter w\u00e4re.", None),
    ("Antwort: C\n\nWenn es k\u00e4lter w\u00e4re, ist die Antwort B.", "C"),
    ("Falsche Antwort: B", None),
    ("R\u00e9ponse : B", "B"),
    ("La r\u00e9ponse est B.", "B"),
    ("La bonne r\u00e9ponse est la B.", "B"),
    ("La r\u00e9ponse n'est pas B.", None),
    ("La r\u00e9ponse serait B.", None),
    ("Respuesta: D", "D"),
    ("La respuesta correcta es la B.", "B"),
    ("La respuesta no es B.", None),
    ("La respuesta ser\u00eda B si hiciera fr\u00edo.", None),
    ("La opci\u00f3n correcta es D.", "D"),
    ("B is correct.", "B"),
    ("Option B is the best choice because it is larger.", "B"),
    ("B seems correct, but it is not.", None),
    ("B is correct if it is cold.", None),
    ("A common mistake is B.", None),
    ("A tempting option is B.", None),
    ("The opposite of the answer is B.", None),
    ("The question is whether the answer is B.", None),
]


YES_OR_NO: list[tuple[str, str | None]] = [
    ("The answer is no longer clear.", None),
    ("Answer: no idea", None),
    ("There is no doubt.", None),
    ("No doubt about it.", None),
    ("The answer is yes because it is cold.", "yes"),
    ("The answer is: NO", "no"),
    ("No, it is not.", "no"),
    ("Yes.", "yes"),
    ("Answer: no\n\nThere is no doubt.", "no"),
    ("Final answer: yes", "yes"),
    ("The answer is not yes.", None),
]


@pytest.mark.parametrize(("reply", "person"), YES_OR_NO)
def test_a_word_that_goes_on_is_another(reply: str, person: str | None) -> None:
    assert choice(reply, ["yes", "no"]) == person


@pytest.mark.parametrize(("reply", "person"), TABLE)
def test_no_reply_is_read_wrong(reply: str, person: str | None) -> None:
    """Nor with a thought before it, and with the line ends of another system."""
    for given in (reply, f"<think>The answer is A.\nAnswer: A</think>\n{reply}", reply.replace("\n", "\r\n")):
        assert choice(given, "ABCD") in (person, None)


def test_nearly_all_that_a_person_reads_is_read() -> None:
    """At least 19 of 20."""
    said = [reply for reply, person in TABLE if person is not None]
    unread = [reply for reply in said if choice(reply, "ABCD") is None]
    assert len(unread) <= len(said) / 20, unread

"""Questions with four answers each. What a model declares counts, not any letter that it mentions."""

from __future__ import annotations

from doteval import Result, foreach
from doteval.evals import choice, csv


@foreach("question,A,B,C,D,answer", csv("planets.csv"), passes=["correct >= 0.75", "answered >= 0.9"])
async def eval_planets(question, A, B, C, D, answer, model_client):  # noqa: N803 - the columns of the file
    prompt = f"{question}\n\nA) {A}\nB) {B}\nC) {C}\nD) {D}\n\nThink briefly, and end with: The answer is (X)."
    reply = await model_client.generate(prompt, max_tokens=500)
    chosen = choice(reply, "ABCD")
    return Result(
        reply,
        prompt=prompt,
        scores={"correct": chosen == answer, "answered": chosen is not None},
        metadata={"chosen": chosen},
    )

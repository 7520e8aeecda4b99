"""Letters to customers, which a judge reads: are they polite, by three votes, and how clear, from 1 to 5?"""

from __future__ import annotations

from doteval import Result, foreach
from doteval.evals import llm_judge

COMPLAINTS = [
    "My order has been on its way for three weeks. Where is it?!",
    "The lamp arrived broken. I want my money back.",
    "You charged me twice. This is the second time that I write.",
]


@foreach("complaint", COMPLAINTS, passes=["polite >= 0.9", "clear >= 3"])
async def eval_letters(complaint, model_client, judge_client):
    prompt = f"Answer this customer in three sentences at most:\n\n{complaint}"
    letter = await model_client.generate(prompt, max_tokens=500)
    polite = await llm_judge(judge_client, letter, "It is polite, and blames nobody.", prompt=prompt, votes=3)
    clear = await llm_judge(judge_client, letter, "The customer knows what happens next.", prompt=prompt, scale=(1, 5))
    return Result(letter, prompt=prompt, scores={"polite": polite, "clear": clear})

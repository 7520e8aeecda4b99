"""Answers from a handbook: a fixture makes an index once, rows search it. What was found is a score of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from doteval import Result, foreach
from doteval.evals import contains

QUESTIONS = [
    ("How many days of holiday are there?", "Holidays", "30"),
    ("Until when may an expense be handed in?", "Expenses", "60 days"),
    ("Who is told when a laptop is lost?", "Equipment", "security@"),
]


class Index:
    """Sections by the words that they share with a question; the rarer a word, the more it counts."""

    def __init__(self, text):
        self.sections = dict(part.split("\n", 1) for part in text.split("# ")[1:])
        self.words = {title: self.words_of(f"{title} {body}") for title, body in self.sections.items()}

    @staticmethod
    def words_of(text):
        return {word[:6] for word in re.findall(r"\w{3,}", text.lower())}

    def search(self, question, count=2):
        def weight(title):
            shared = self.words_of(question) & self.words[title]
            return sum(1 / sum(word in words for words in self.words.values()) for word in shared)

        return sorted(self.sections, key=weight, reverse=True)[:count]


@pytest.fixture(scope="session")
def index():
    return Index(Path(__file__).with_name("handbook.md").read_text("utf-8"))


@foreach("question,section,answer", QUESTIONS, passes={"found": 0.9, "correct": 0.6})
async def eval_handbook(question, section, answer, index, model_client):
    found = index.search(question)
    text = "\n\n".join(f"{title}: {index.sections[title].strip()}" for title in found)
    prompt = f"Answer from this text only:\n\n{text}\n\nQuestion: {question}"
    reply = await model_client.generate(prompt, max_tokens=500)
    scores = {"found": section in found, "correct": contains(reply, answer, ignore_case=True)}
    return Result(reply, prompt=prompt, scores=scores, metadata={"sections": found})

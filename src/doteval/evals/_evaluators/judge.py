"""What another model thinks of an output."""

from __future__ import annotations

import re
from typing import Any

from ... import ChatModel, ModelHandle
from .._errors import JudgeError
from .._results.plain import storable
from .._verdict import Verdict
from .scales import Reading, Scale, YesOrNo, reading_of

_TEMPLATE = """You judge the answer of a model.

Question:
{prompt}

Answer:
{output}

Criterion:
{criterion}

{instruction}"""
_FIELD = re.compile(r"\{(prompt|output|criterion|instruction)\}")


async def llm_judge(
    model: ChatModel | ModelHandle[Any],
    output: object,
    criterion: str = "",
    *,
    prompt: object = "",
    scale: Scale | None = None,
    template: str | None = None,
    votes: int = 1,
    **params: Any,
) -> Verdict:
    """What a model thinks of an output: whether it meets a criterion, or with a scale, how far.

    What the judge says is in the verdict, and kept with the row. A reply is read as a person reads it: by its last
    line, if that is the vote and nothing else; else by a field of JSON, a label such as ``Verdict: YES``, before which
    ``Final verdict`` goes, its first line, or a sentence that gives the vote and nothing else. Labels may be in
    English, French, German or Spanish. One that says none, or several, or something on another scale, as ``3/10``, and
    one that was refused or cut off, is no vote: rather none than a guess.

    With more than one vote, it is true or false what more than half of all `votes` say, and no more are asked for than
    that takes; on a scale it is the mean of those that can be read, which have to be more than half.

    An output that is `None`, blank or a refusal is judged, too: the judge is told so.

    Args:
        model: The judge: a model, or a handle on one.
        output: What is judged.
        criterion: What it is judged by, in words.
        prompt: What the model that is judged was asked.
        scale: The least and the most, such as ``(1, 5)``, or what each of several words counts, such as
            ``{"bad": 0, "fair": 0.5, "good": 1}``; `None`: yes or no.
        template: What the judge is asked instead of ours. ``{output}`` in it, which has to be there, stands for the
            output, and so do ``{prompt}``, ``{criterion}`` and ``{instruction}``, which says how to reply; all other
            braces are left alone.
        votes: How often the judge is asked. Each time is a request of its own, so at a temperature of 0 they agree.
        params: What the judge's `generate` takes, such as ``temperature``.

    Raises:
        JudgeError: The judge gave no verdict, or the votes decide nothing, such as one that says yes and one that
            says no.
        ModelRequestError: The judge could not be asked.
        ValueError: The scale is none, there are no votes, or the template has no place for what is given.
    """
    if isinstance(votes, bool) or votes < 1:
        raise ValueError(f"a judge has 1 vote or more, not {votes!r}")
    reading = reading_of(scale)
    question = _question(template, output, criterion, prompt, reading)
    judge: Any = model.model if isinstance(model, ModelHandle) else model
    replies: list[str] = []
    read: list[bool | float | None] = []
    for _ in range(votes):
        reply = await judge.generate(question, **params)
        replies.append(storable(str(reply)))
        read.append(reading.read(reply))
        if isinstance(reading, YesOrNo) and any(read.count(vote) * 2 > votes for vote in (True, False)):
            break
    counted = [vote for vote in read if vote is not None]
    if isinstance(reading, YesOrNo):
        value: bool | float | None = next((vote for vote in (True, False) if read.count(vote) * 2 > votes), None)
    else:
        value = sum(counted) / len(counted) if len(counted) * 2 > votes else None
    if value is None:
        raise JudgeError(_problem(reading, replies, read), tuple(replies), tuple(read))
    return Verdict(value, replies, read)


def _question(template: str | None, output: object, criterion: str, prompt: object, reading: Reading) -> str:
    there = {match[1] for match in _FIELD.finditer(template or _TEMPLATE)}
    given = {"criterion": bool(criterion), "prompt": prompt not in ("", None), "output": True}
    for name, is_given in given.items():
        if is_given and name not in there:
            raise ValueError(f"the template of the judge has no {{{name}}}, so it would not see it")
    if template is None and not criterion.strip():
        raise ValueError("a judge needs a criterion, or a template that has one")
    values = {"prompt": prompt, "output": _shown(output), "criterion": criterion, "instruction": reading.instruction}
    return storable(_FIELD.sub(lambda match: str(values[match[1]]), template or _TEMPLATE))


def _shown(output: object) -> str:
    text = "" if output is None else str(output)
    if text.strip():
        return text
    refusal = getattr(output, "refusal", None)
    return f"(The model declined to answer: {refusal})" if refusal else "(There is no answer.)"


def _problem(reading: Reading, replies: list[str], read: list[bool | float | None]) -> str:
    if len(replies) == 1:
        return f"the judge said {reading.wanted}, but {replies[0][:200]!r}"
    unread = [reply for reply, vote in zip(replies, read, strict=True) if vote is None]
    counts = f"{read.count(True)} say yes, {read.count(False)} no, and " if isinstance(reading, YesOrNo) else ""
    example = f", such as {unread[0][:200]!r}" if unread else ""
    return f"the {len(replies)} votes of the judge decide nothing: {counts}{len(unread)} cannot be read{example}"

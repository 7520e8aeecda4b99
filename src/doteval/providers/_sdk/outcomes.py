"""What an answer says, in the words and counts that are the same whoever gives it.

The protocols have different words for the same outcome, and those who speak OpenAI's protocol have more of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..._model import Usage

_FINISH_REASONS = {
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "model_length": "length",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
}
_GIVEN_UP = frozenset({"abort", "error", "insufficient_system_resource"})
"""A reply with one of these as its end is none: the server failed in the middle of it."""


_WHOLE = re.compile(r"[0-9]{1,18}(\.0*)?", re.ASCII)


class ToldError(Exception):
    """An answer that is an error, whatever its status.

    Args:
        body: What the server says of it.
        problem: What there is to say where it says nothing.
    """

    def __init__(self, body: object, problem: str = "the server reported an error") -> None:
        super().__init__(problem)
        self.body = body
        self.problem = problem


def finish_reason(said: object, error: object = None) -> str | None:
    """Why a reply ends, in our words, or in the server's where none of ours fits.

    Args:
        said: What the server says.
        error: What else it says where that is an error.

    Raises:
        ToldError: The server gave the reply up.
        TypeError: It is no word.
    """
    if said is None or said == "":  # some have an empty one in each piece of a stream
        return None
    if not isinstance(said, str):
        raise TypeError(f"the finish reason is {said!r}")
    if said in _GIVEN_UP:
        raise ToldError(error, f"the server gave the reply up, with finish reason {said!r}")
    return _FINISH_REASONS.get(said, said)


def usage_of(
    prompt: object,
    reply: object,
    *,
    total: object = None,
    cached: object = None,
    written: object = None,
    reasoning: object = None,
) -> Usage | None:
    """The counts as far as they are known; `None` where there is none at all, or one that cannot be read.

    Where the total is more than prompt and reply, the rest was counted apart: it is what came from a cache or went into
    one, where it is just as much; else what the model thought, which Gemini's servers only count in the total. A total
    that is less says nothing.

    Args:
        prompt: Tokens of the prompt.
        reply: Tokens of the reply.
        total: Both together.
        cached: Tokens of the prompt that came from a cache.
        written: Tokens of it that went into one.
        reasoning: Tokens of the reply, or besides it, that the model thought with.
    """
    known_prompt, known_reply, together = count(prompt), count(reply), count(total)
    if known_prompt is None and (known_reply is None or prompt is not None):  # what is there says no number
        return None
    if known_reply is None and reply is not None:
        return None
    if known_prompt is None:  # Gemini's servers leave out what is 0, others what they do not count
        known_prompt = max(0, (together or 0) - (known_reply or 0))
    if known_reply is None:
        known_reply = max(0, (together or 0) - known_prompt)
    read, kept, thought = count(cached) or 0, count(written) or 0, count(reasoning)
    rest = max(0, (together or 0) - known_prompt - known_reply)
    if rest and rest == read + kept:
        known_prompt += rest
    elif thought is None:
        thought = rest
        known_reply += rest
    elif thought <= rest:
        known_reply += thought
    return Usage(known_prompt, known_reply, read, kept, thought or 0)


def count(value: object) -> int | None:
    """A number of tokens, which some gateways write as ``1000.0`` or as a text; `None` where it is none."""
    if value is None or (type(value) is int and value >= 0):  # nearly always
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def texts_of(content: object) -> tuple[str, str, str]:
    """The reply, what was thought, and what was declined, in the content of a message: a text, or a list of parts.

    Raises:
        TypeError: It is neither.
    """
    if content is None or isinstance(content, str):
        return content or "", "", ""
    if not isinstance(content, Sequence):
        raise TypeError(f"the content is a {type(content).__name__}")
    text, thought, declined = "", "", ""
    for part in cast("Sequence[object]", content):
        fields = _fields(part)
        match fields.get("type"):
            case "text" | "output_text":
                text += text_of(fields.get("text"))
            case "thinking" | "reasoning":
                thought += "".join(texts_of(fields.get("thinking") or fields.get("text")))
            case "refusal":
                declined += text_of(fields.get("refusal"))
            case _:  # pictures, references
                pass
    return text, thought, declined


def _fields(part: object) -> Mapping[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise TypeError(f"a part of the content is a {type(part).__name__}")
    return cast("Mapping[str, Any]", part)


def text_of(value: object) -> str:
    """A text, which may be missing; the SDKs do not look at what is in its place.

    Raises:
        TypeError: Something else is.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"a text is a {type(value).__name__}")
    return value

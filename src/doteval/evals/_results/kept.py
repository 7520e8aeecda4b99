"""Whether what is read from a store is what was given to it, or only what JSON can hold of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ... import Completion, ToolCall
from .._result import Result

VERDICTS = "verdicts"
"""Where in the metadata it says what verdicts say beside their values."""
_DETAILS = ("finish_reason", "refusal", "reasoning", "tool_calls", "retries")


def is_same(value: object, kept: object) -> bool:
    """Whether what is kept of a value is equal to it, and of the same types all the way down."""
    if type(value) is not type(kept):
        return False
    if isinstance(value, list):
        items, others = cast("list[object]", value), cast("list[object]", kept)
        return len(items) == len(others) and all(map(is_same, items, others))
    if isinstance(value, dict):
        fields, names = cast("dict[object, object]", value), cast("dict[object, object]", kept)
        return (
            all(type(name) is str for name in fields)
            and [*fields] == [*names]
            and all(map(is_same, fields.values(), names.values()))
        )
    return value == kept


def altered_columns(values: Mapping[str, Any], kept: Mapping[str, Any]) -> tuple[str, ...]:
    """Which columns of a row are not kept as they are, as `Record.altered` names them."""
    return tuple(column(name) for name, value in values.items() if not is_same(value, kept.get(name)))


def altered_parts(
    result: Result, output: object, prompt: object, metadata: Mapping[str, Any], reply: Mapping[str, Any] | None
) -> tuple[str, ...]:
    """What of a result is not kept as it is, as `Record.altered` names it.

    Args:
        result: The result.
        output: Its output, as it is kept.
        prompt: Its prompt, likewise.
        metadata: Its metadata, likewise.
        reply: What is kept of a reply besides its text.
    """
    same = {
        "output": is_same_output(result.output, output, reply),
        "prompt": is_same(result.prompt, prompt),
        "metadata": is_same_metadata(result.metadata, metadata),
    }
    return tuple(name for name, is_kept in same.items() if not is_kept)


def column(name: str) -> str:
    """What `Record.altered` calls a column."""
    return f"inputs.{name}"


def is_same_output(output: object, kept: object, reply: Mapping[str, Any] | None) -> bool:
    """Whether `output_of` makes the output again; of a reply, all but what says by itself that it is not there."""
    if type(output) is not Completion:
        return is_same(output, kept) and reply is None
    again = output_of(kept, reply)
    return str(output) == again and all(
        getattr(output, name) == getattr(again, name, _DEFAULTS[name]) for name in _DETAILS
    )


def is_same_metadata(metadata: Mapping[str, Any], kept: Mapping[str, Any]) -> bool:
    """Whether metadata is kept as it is, but for what verdicts have added."""
    given, others = dict(metadata), dict(kept)
    given.pop(VERDICTS, None)
    others.pop(VERDICTS, None)
    return is_same(given, others)


def output_of(output: Any, reply: Mapping[str, Any] | None) -> Any:
    """What the evaluation returned, from what is kept of it; a reply says again why it ended."""
    if not isinstance(output, str) or reply is None:
        return output
    calls = [ToolCall(**call) for call in cast("Sequence[Mapping[str, Any]]", reply.get("tool_calls", ()))]
    known: dict[str, Any] = {name: reply.get(name, default) for name, default in _DEFAULTS.items()}
    known["tool_calls"] = calls
    made = KeptReply(output, **known)
    del made.usage, made._raw
    return made


_DEFAULTS: Mapping[str, Any] = {
    "finish_reason": None,
    "refusal": None,
    "reasoning": None,
    "tool_calls": (),
    "retries": 0,
}


class KeptReply(Completion):
    """A reply that was in a store: its usage, and what the SDK had returned, are not there, and it says so."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name in ("usage", "raw"):  # no AttributeError: a default in its place would be another score
            raise TypeError(f"the {name} of a reply is not kept with it; the record has what the row has used")
        raise AttributeError(f"a reply has no {name!r}")

    def __repr__(self) -> str:
        return f"Completion({str.__repr__(self)}, finish_reason={self.finish_reason!r})"

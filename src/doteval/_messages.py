"""What a model is asked: a text, or a conversation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast


class MessageObject(Protocol):
    """A message as the SDKs have it in their answers: a model of pydantic's, with a role."""

    @property
    def role(self) -> str: ...

    def model_dump(self) -> dict[str, Any]: ...


Message: TypeAlias = Mapping[str, Any] | MessageObject
"""A mapping with ``role`` and ``content``, or a message object of an SDK."""
Prompt: TypeAlias = str | Sequence[Message]
"""One user message as text, or a conversation, oldest message first."""


def messages_of(prompt: Prompt, params: Collection[str] = ()) -> list[dict[str, Any]]:
    """The conversation that a prompt stands for, for who writes a model.

    Args:
        prompt: What `ChatModel.generate` was given. Message objects of the SDKs become mappings.
        params: The names of the parameters that it was given.

    Raises:
        TypeError: The prompt is neither a text nor a sequence of messages, or a parameter is one that the handle or
            the method stands for: ``model``, ``messages``, ``stream``.
        ValueError: The sequence is empty.
    """
    check_params(params)
    if isinstance(prompt, str):
        return [{"role": "user", "content": str(prompt)}]
    given = cast(object, prompt)  # what callers without a type checker pass may be anything
    if isinstance(given, bytes) or not isinstance(given, Sequence):
        raise TypeError(
            f"a prompt is a text or a list of messages such as {{'role': 'user', 'content': 'Hello'}}, "
            f"not a {type(prompt).__name__}"
        )
    messages = [message_of(index, message) for index, message in enumerate(cast("Sequence[object]", given))]
    if not messages:
        raise ValueError("a prompt needs at least one message")
    return messages


def check_params(params: Collection[str]) -> None:
    """Raise TypeError for a parameter that the handle or the method stands for."""
    for name, reason in _OURS.items():
        if name in params:
            raise TypeError(f"{name!r} is not a parameter of a request: {reason}")


_OURS = {
    "messages": "it is the prompt",
    "model": "it is the spec the handle was set up with",
    "stream": "use stream() to stream, generate() not to",
}


def message_of(index: int, message: object) -> dict[str, Any]:
    """One message as a mapping; `index` says where it stands."""
    if isinstance(message, Mapping):
        fields = dict(cast("Mapping[str, Any]", message))
    elif (dump := getattr(message, "model_dump", None)) is not None and hasattr(message, "role"):
        fields = dump(mode="json", exclude_unset=True, exclude_none=True, by_alias=True, warnings=False)
        if fields.get("type") == "message":  # a whole answer of Anthropic's, which is a message and more
            fields = {name: fields[name] for name in ("role", "content") if name in fields}
    else:
        raise TypeError(
            f"message {index} of the prompt is a {type(message).__name__}, not a mapping with 'role' and 'content' "
            "and not a message object of an SDK"
        )
    if not isinstance(fields.get("role"), str):
        raise TypeError(f"message {index} of the prompt has no 'role': give it one, such as 'user' or 'system'")
    if fields.keys().isdisjoint(("content", "tool_calls", "refusal")):
        raise TypeError(f"message {index} of the prompt, of role {fields['role']!r}, has no 'content'")
    return fields

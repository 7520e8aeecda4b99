"""Errors as they travel: between processes, in copies, through a run of pytest-xdist."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import doteval
from doteval import DotevalError
from doteval._printed import printable

ERRORS = [
    kind
    for name in doteval.__all__
    if name.endswith("Error")  # what else there is would be imported, with all SDKs
    and isinstance(kind := getattr(doteval, name), type)
    and issubclass(kind, DotevalError)
    and kind is not DotevalError
]
VALUES: dict[str, Any] = {"candidates": ["a"], "resource_ids": ["a"], "account": ["b"], "seconds": 1.5, "needed": 2}


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_can_be_copied_and_pickled(kind: type[DotevalError], again: Callable[[Any], Any]) -> None:
    """With its message, its fields, and what was noted on it."""
    error = kind(*(VALUES.get(name, f"the {name}") for name in required(kind)))
    error.add_note("noted")
    twin = again(error)
    assert type(twin) is kind
    assert (str(twin), repr(twin), vars(twin)) == (str(error), repr(error), vars(error))


DIRTY = "\x1b]0;title\x07\x1b[2J\u202e" * 100_000


@pytest.mark.parametrize("kind", ERRORS)
def test_a_message_is_for_people(kind: type[DotevalError]) -> None:
    """It has nothing that a terminal would obey, and no more than people read."""
    message = str(kind(*(VALUES.get(name, f"the {name} {DIRTY}") for name in required(kind))))
    assert printable(message) == message
    assert len(message) < 21_000


def test_of_a_long_message_the_advice_is_left() -> None:
    """It is at the end."""
    message = str(doteval.ModelRequestError("m", DIRTY, "Wait."))
    assert message.startswith("The request to 'm' failed: \\x1b]0;title")
    assert message.endswith(".\nWait.")


def required(kind: type[DotevalError]) -> list[str]:
    parameters = inspect.signature(kind).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("opnai:gpt-4o", "openai:gpt-4o"),
        ("OpenAI:gpt-4o", "openai:gpt-4o"),
        ("openai/gpt-4o", "openai:gpt-4o"),
        ("antropic:claude:x", "anthropic:claude:x"),
        ("llama3", None),
        ("llama3.2:3b", None),
        ("meta-llama/Llama-3", None),
        ("Qwen/Qwen3-8B", None),
        ("openai:", None),
    ],
)
def test_a_provider_that_is_nearly_named_is_meant(spec: str, meant: str | None) -> None:
    """And what is a model's own name is none."""
    error = doteval.UnknownModelError(
        spec, "no provider claims it", ["anthropic", "llamacpp", "ollama", "openai", "vllm"]
    )
    assert (f"Is '{meant}' meant?" in str(error)) is (meant is not None)
    assert ("Put a provider's name in front" in str(error)) is (meant is None)

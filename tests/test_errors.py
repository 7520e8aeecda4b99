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

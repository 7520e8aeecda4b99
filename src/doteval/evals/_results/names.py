"""What an experiment may be called, and how a part of it is named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

_WORDS = re.compile(r"::|[\[\] ]")
_BEFORE_A_MODEL = re.compile(r"[:/]")
"""What a provider, an address or an owner ends with: ``openai:gpt-4o``, ``vllm:Qwen/Qwen3-0.6B``."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def model(self) -> str: ...


NamedT = TypeVar("NamedT", bound=_Named)


def checked_name(experiment: str) -> str:
    """The name of an experiment that is to be made.

    Raises:
        ValueError: It is none.
    """
    if not experiment.strip():
        raise ValueError(f"an experiment needs a name, and {experiment!r} is none")
    if "@" in experiment:
        raise ValueError(
            f"an experiment has no @ in its name, as {experiment!r} has: behind it stands which of its evaluations "
            "are meant, as in NAME@PART"
        )
    return experiment


def parted(name: str) -> tuple[str, str | None]:
    """What ``EXPERIMENT`` or ``EXPERIMENT@PART`` names: the experiment, and the part, which may have more of these."""
    experiment, at, part = name.partition("@")
    return experiment, part if at else None


def meant(there: Sequence[NamedT], part: str) -> list[NamedT]:
    """The evaluations that a part names.

    By their name, function, model or values; else by what these end with, behind a provider or an owner; else all with
    it in their names.
    So ``gpt-4o`` is not ``gpt-4o-mini``, where there are both, nor is it where they are ``openai:gpt-4o`` and
    ``openai:gpt-4o-mini``.
    """
    words = [(each, {each.name, each.model, *_WORDS.split(each.name)}) for each in there]
    called = [each for each, of_it in words if part in of_it]
    return (
        called
        or [each for each, of_it in words if part in _ends(of_it)]
        or [each for each in there if part in each.name]
    )


def _ends(words: Iterable[str]) -> set[str]:
    return {word[found.end() :] for word in words for found in _BEFORE_A_MODEL.finditer(word)}

"""What a provider is made with is a part of what a model's answers depend on, whoever has made it, and of whatever."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import pytest
from tests.evals.test_identity_of_runs import parts_of

from doteval import ModelProvider, ModelProviders, PooledProvider


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about what is known of providers."""
    return "asyncio"


class Config(dict[str, Any]):
    """A mapping with more."""

    def __init__(self, style: Any) -> None:
        super().__init__(url="u")
        self.style = style


class Words(list[str]):
    def __init__(self, style: Any) -> None:
        super().__init__(["same"])
        self.style = style


class Text(str):
    """A text with more."""

    __slots__ = ("style",)
    style: Any

    def __new__(cls, style: Any) -> Self:
        made = super().__new__(cls, "same")
        made.style = style
        return made


class Number(int):
    style: Any

    def __new__(cls, style: Any) -> Self:
        made = super().__new__(cls, 1)
        made.style = style
        return made


@dataclass
class Settings:
    style: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings)

    __hash__ = None  # type: ignore[assignment]


STYLES: dict[str, Callable[[str], Any]] = {
    "text": str,
    "mapping": lambda style: {"a": style},
    "mapping with an attribute": Config,
    "list with an attribute": Words,
    "text with an attribute": Text,
    "number with an attribute": Number,
    "an object that is equal to others": Settings,
    "function": lambda style: lambda: style,
}
DEFAULT: Any = None


class Model:
    """Whatever is asked."""


class Provider(PooledProvider[Model]):
    operational = frozenset({"capacity", "retries"})

    def __init__(self, style: Any = None, **more: Any) -> None:
        super().__init__()

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Model]:
        yield Model()


class MadeByNew(Provider):
    def __new__(cls, style: Any = None, **more: Any) -> Self:
        return super().__new__(cls)


class MadeFromNew(MadeByNew):
    """One whose base is such a class."""

    def __init__(self, manner: Any = None) -> None:
        super().__init__()

    def __new__(cls, manner: Any = None) -> Self:
        return super().__new__(cls, "same")


class Plain:
    """No `ModelProvider`, but one all the same."""

    def __init__(self, style: Any = None) -> None:
        self.style = style

    async def setup(self, spec: str, /, **config: Any) -> Any:
        return None

    @staticmethod
    def provider(manner: Any) -> Provider:
        return Provider()


def made(
    style: Any = None, *, base_url: Any = None, temperature: Any = None, retries: int = 0, **more: Any
) -> Provider:
    return Provider()


def made_of_many(*given: Any, **more: Any) -> Provider:
    return Provider()


def providers(maker: Any, settings: Mapping[str, Any]) -> ModelProviders:
    return ModelProviders({"it": maker}, discover=False, settings={"it": settings} if settings else None)


MAKERS: dict[str, Callable[[Any], ModelProviders]] = {
    "class": lambda style: providers(Provider, {"style": style}),
    "class with a default that is equal": lambda style: providers(with_default(), {"style": style}),
    "class with a __new__": lambda style: providers(MadeByNew, {"style": style}),
    "class with two": lambda style: providers(MadeFromNew, {"manner": style}),
    "what is made of it": lambda style: providers(MadeByNew(style), {}),
    "class that is no provider by name": lambda style: providers(Plain, {"style": style}),
    "function": lambda style: providers(made, {"style": style}),
    "function with an address": lambda style: providers(made, {"base_url": style}),
    "function with what is shown": lambda style: providers(made, {"temperature": style}),
    "function that takes whatever": lambda style: providers(made, {"other": style}),
    "function without names": lambda style: providers(made_of_many, {"other": style}),
    "partial function": lambda style: providers(partial(made, style=style), {}),
    "partial function by position": lambda style: providers(
        partial(partial(made, style), retries=1), {"base_url": "u"}
    ),
    "function of a class": lambda style: providers(Plain.provider, {"manner": style}),
}


def with_default() -> type[ModelProvider[Model]]:
    class WithDefault(Provider):
        def __init__(self, style: Any = DEFAULT) -> None:
            super().__init__()

    return WithDefault


@pytest.mark.anyio
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("maker", MAKERS)
async def test_what_a_provider_is_made_with_counts(maker: str, style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is asked: for a model by its spec, or for one that is leased."""
    monkeypatch.setattr(f"{__name__}.DEFAULT", STYLES[style]("one"))
    found: list[Any] = []
    for text in ("one", "one", "another"):
        async with MAKERS[maker](STYLES[style](text)) as known:
            by_spec = parts_of(known.identity("it:m"))
            by_handle: Mapping[str, str] = by_spec
            if "no provider" not in maker:  # what leases without our handles says nothing of itself
                async with await known.setup("it:m") as leased:
                    by_handle = parts_of(leased.__doteval_identity__())
            found.append((by_spec, by_handle))
    (one, held), same, (other, held_by_other) = found
    assert (one, held) == same
    assert one != other
    assert held != held_by_other


def test_what_no_answer_depends_on_counts_nowhere() -> None:
    """A function may be given how often to try, or a key; what it would take anyway is no change either."""
    bare = providers(made, {}).identity("it:m")
    assert providers(made, {"retries": 3}).identity("it:m") == bare
    assert providers(made, {"style": None}).identity("it:m") == bare
    assert parts_of(providers(made, {"api_key": "one"}).identity("it:m")) == parts_of(bare)
    assert "hidden" not in json.dumps(parts_of(providers(made, {"api_key": "hidden"}).identity("it:m")))

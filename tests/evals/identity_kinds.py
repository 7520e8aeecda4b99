"""Kinds of values, each made of a text: made of the same one they are alike, else they differ."""

from __future__ import annotations

import argparse
import functools
import hashlib
import operator
import re
import string
import struct
import types
import typing
from array import array
from collections import Counter, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType

import httpx
import jinja2
import pyarrow as pa
import pydantic
import pytest
from tests.evals.identity_kinds_of_clients import KINDS_OF_CLIENTS
from tests.evals.identity_kinds_of_packages import KINDS_OF_PACKAGES
from tests.evals.identity_kinds_of_servers import KINDS_OF_SERVERS


class Plain:
    def __init__(self, text: Any) -> None:
        self.text = text


class Slots:
    __slots__ = ("text",)

    def __init__(self, text: Any) -> None:
        self.text = text


@dataclass
class Data:
    text: Any
    more: list[int] = field(default_factory=list)


class Model(pydantic.BaseModel):
    text: Any


class Words(str):  # noqa: SLOT000
    """A text with more."""

    tone: Any = None


class Table(dict[str, Any]):
    """A mapping with more."""


class AttributeTable(dict[str, Any]):
    __getattr__ = dict.__getitem__  # type: ignore[assignment]


class Decorated:
    """What retry libraries are built like."""

    def __init__(self, function: Callable[..., Any], times: int) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.times = times

    def __call__(self) -> Any:
        return self.function()


def function_of(value: Any) -> Callable[[], Any]:
    return lambda: value


def with_attribute(value: Any, kind: Any) -> Any:
    made = kind("same") if kind is Words else kind(a=1)
    made.tone = value
    return made


def dispatching(value: Any) -> Any:
    @functools.singledispatch
    def told(argument: Any) -> Any:
        return None

    told.register(int, lambda argument: value)
    return told


def factory_of(value: Any) -> Any:
    @dataclass
    class Made:
        words: Any = field(default_factory=lambda: value)

    return Made


def partial_method(value: Any) -> Any:
    class Made:
        def ask(self, how: Any) -> Any:
            return how

        asked = functools.partialmethod(ask, value)

    return Made


def documented(value: str) -> Any:
    def tool() -> None: ...

    tool.__doc__ = value
    return tool


def with_functions_attribute(value: Any) -> Any:
    def tool() -> None: ...

    tool.schema = {"description": value}  # type: ignore[attr-defined]
    return tool


def class_with(**members: Any) -> Any:
    return type("Made", (), members)


def methods_of(kind: Any) -> Callable[[str], Any]:
    """Makes an object of a class of a notebook, of which one method is another."""

    def make(value: str) -> Any:
        scope: dict[str, Any] = {"__name__": __name__, "kind": kind, "dataclass": dataclass}
        bases: dict[Any, str] = {Enum: "(kind):\n    ONE = 1", NamedTuple: "(kind):\n    one: int = 1"}
        bases[object] = ":\n    def __init__(self, one): pass"
        head = "@dataclass\nclass Made:\n    one: int = 1" if kind is Data else f"class Made{bases.get(kind)}"
        exec(compile(f"{head}\n    def __str__(self): return {value!r}", "<string>", "exec"), scope)
        return scope["Made"](1)

    return make


class Number(float):
    def __repr__(self) -> str:
        return "<a number>"


class Whole(int):
    def __repr__(self) -> str:
        return "<a number>"


class Money(Decimal):
    """A number of a class of the user's."""


class Day(date):
    """A date of a class of the user's."""


class Refused(Exception):  # noqa: N818
    """An exception of a class of the user's."""


class Marked(set[int]):
    """A set with more."""

    tone: Any = None


class Prompts:
    """An iterator with a prompt."""

    def __init__(self, text: Any) -> None:
        self.text, self.left = text, iter("ab")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self.left)


@dataclass
class Derived:
    one: int = 1

    def __post_init__(self) -> None:
        self.more: Any = None


def derived(value: Any) -> Derived:
    made = Derived()
    made.more = value
    return made


def marked(value: Any) -> Marked:
    made = Marked([1])
    made.tone = value
    return made


def item(value: Any) -> Any:
    return pydantic.create_model("Item", text=(str, value))


class FewShot:
    def __init__(self) -> None:
        self.examples: list[Any] = []

    def add(self, example: Any) -> FewShot:
        self.examples.append(example)
        return self


class Configured:
    def __init__(self, text: Any) -> None:
        self._configure(text)

    def _configure(self, text: Any) -> None:
        self.text = text


VARIABLES = {value: ContextVar("it", default=value) for value in ("one", "another")}  # a new one would never be freed


def variable(value: str) -> Any:
    return VARIABLES[value]


def environment(value: str) -> Any:
    return jinja2.Environment(autoescape=True).from_string(f"{value}: {{{{ question }}}}")


def templates(value: str) -> Any:
    prompts = jinja2.DictLoader({"prompt": f"{value}: {{{{ question }}}}"})
    return jinja2.Environment(autoescape=True, loader=jinja2.ChoiceLoader([jinja2.PrefixLoader({"a": prompts})]))


def filtering(value: str) -> Any:
    made = jinja2.Environment(autoescape=True)
    made.filters["told"] = lambda text: text + value
    return made


def of_metaclass(value: Any) -> Any:
    return type("Meta", (type,), {"tone": value})("Made", (), {})


def with_metadata(value: Any) -> Any:
    @dataclass
    class Made:
        words: str = field(default="", metadata={"description": value})

    return Made


def frame(*cells: Any) -> Any:
    return pytest.importorskip("pandas").DataFrame({"text": [*"abc"], "cell": [1, 2, *cells]})


def embeddings(value: str) -> Any:
    """Arrays of which printing leaves out the middle."""
    numpy = pytest.importorskip("numpy")
    found = numpy.zeros(3000)
    found[1500] = len(value)
    return found


KINDS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "bytes": str.encode,
    "list": lambda value: [1, [value]],
    "tuple": lambda value: (1, (value,)),
    "set": lambda value: {1, value},
    "mapping": lambda value: {"a": {"b": value}},
    "key": lambda value: {value: 1},
    "default": lambda value: defaultdict(lambda: value),
    "counter": lambda value: Counter([value]),
    "deque": lambda value: deque([value]),
    "named tuple": namedtuple("named", "a"),  # noqa: PYI024
    "object": Plain,
    "object in object": lambda value: Plain(Plain([value])),
    "slots": Slots,
    "dataclass": Data,
    "pydantic": lambda value: Model(text=value),
    "text with attribute": lambda value: with_attribute(value, Words),
    "mapping with attribute": lambda value: with_attribute(value, Table),
    "mapping with attributes that are keys": lambda value: AttributeTable(a=value),
    "namespace": lambda value: types.SimpleNamespace(a=value, b=len),
    "arguments with a client": lambda value: argparse.Namespace(client=httpx.AsyncClient(), text=value),
    "hash": lambda value: hashlib.sha256(value.encode()),
    "struct": lambda value: struct.Struct(f"{len(value)}s"),
    "ufunc": lambda value: pytest.importorskip("numpy").frompyfunc(lambda text: text == value, 1, 1),
    "template": string.Template,
    "jinja2": environment,
    "jinja2 loader": templates,
    "jinja2 filter": filtering,
    "context variable": variable,
    "pattern": lambda value: re.compile("x" * 500 + value),
    "lambda": function_of,
    "partial": lambda value: functools.partial(print, value),
    "partial method": partial_method,
    "decorator object": lambda value: Decorated(function_of(1), len(value)),
    "decorated": lambda value: Decorated(function_of(value), 1),
    "single dispatch": dispatching,
    "default factory": factory_of,
    "tool": lambda value: [documented(value)],
    "function's attribute": with_functions_attribute,
    "method of a class of a notebook": methods_of(object),
    "method of a dataclass of a notebook": methods_of(Data),
    "method of a named tuple of a notebook": methods_of(NamedTuple),
    "method of a member": methods_of(Enum),
    "list of a class": lambda value: list[item(value)],
    "class or nothing": lambda value: item(value) | None,
    "optional class": lambda value: typing.Optional[item(value)],  # noqa: UP045
    "mapping to a class": lambda value: dict[str, class_with(text=value)],
    "type of a class": lambda value: type[class_with(text=value)],
    "annotated": lambda value: Annotated[str, value],
    "annotated class": lambda value: Annotated[class_with(text=value), 1],
    "literal": lambda value: Literal[value],
    "new type": lambda value: NewType("New", class_with(text=value)),
    "type adapter": lambda value: pydantic.TypeAdapter(item(value)),
    "number of the user's": lambda value: Number(len(value)),
    "whole number of the user's": lambda value: Whole(len(value)),
    "decimal of the user's": lambda value: Money(len(value)),
    "date of the user's": lambda value: Day(2026, 1, len(value)),
    "exception of the user's": Refused,
    "exception": ValueError,
    "set with attribute": marked,
    "iterator with attribute": Prompts,
    "dataclass with attribute": derived,
    "range": lambda value: range(2_500_000 + len(value)),
    "long list": lambda value: [*range(20_000), value],
    "array": lambda value: array("d", [len(value)] * 3),
    "namespace of a library": lambda value: argparse.Namespace(languages={value, "a", "b"}),
    "builder": lambda value: FewShot().add(value),
    "configured": Configured,
    "path": Path,
    "decimal": lambda value: Decimal(len(value)),
    "date": lambda value: date(2026, 1, len(value)),
    "class with docstring": lambda value: [class_with(__doc__=value)],
    "class with method with docstring": lambda value: [class_with(tool=documented(value))],
    "class of a metaclass": of_metaclass,
    "dataclass with metadata": with_metadata,
    "bound method with docstring": lambda value: [class_with(tool=documented(value))().tool],
    "attribute getter": operator.attrgetter,
    "template of its own": lambda value: jinja2.Template(f"{value}: {{{{ question }}}}"),
    "arrow array": lambda value: pa.array([*"ab", value]),
    "arrow table": lambda value: pa.table({"a": [*range(50), len(value), *range(50)]}),
    "arrow table of texts": lambda value: pa.table({"a": ["x"] * 25 + [value] + ["x"] * 25}),
    "arrow value": lambda value: pa.array([value])[0],
    "array of numbers": embeddings,
    "array of texts": lambda value: pytest.importorskip("numpy").array([value]),
    "array of objects": lambda value: pytest.importorskip("numpy").array([Plain(value), None]),
    "frame": frame,
    "frame with arrays": lambda value: frame(embeddings(value)),
    "frame of objects": lambda value: frame(Plain(value)),
    "frame of functions": lambda value: frame(function_of(value)),
    "column": lambda value: frame(value)["cell"],
    "groups": lambda value: frame(value).groupby("text"),
    "groups by another column": lambda value: frame(value).groupby("text" if value == "one" else "cell"),
    "index": lambda value: frame(1).set_axis([*"ab", value]).index,
    "categories": lambda value: frame(value)["cell"].astype("category"),
    "deep": lambda value: functools.reduce(lambda inner, _: [inner], range(40), value),
    **KINDS_OF_CLIENTS,
    **KINDS_OF_PACKAGES,
    **KINDS_OF_SERVERS,
}

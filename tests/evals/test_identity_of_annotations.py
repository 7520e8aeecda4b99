"""An annotation counts by what it is, whether it stands there as such, or as a text, as an import makes of all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from types import FunctionType, ModuleType

import pytest
from tests.evals import annotated_kinds
from tests.evals.annotated_kinds import FUTURE, PLAIN, QUOTED, QUOTED_FUTURE, all_parts

from doteval.evals._identity.code import read
from doteval.evals._identity.walk import Walk


@pytest.fixture(scope="module")
def plain() -> Mapping[str, dict[str, str]]:
    """Of another process."""
    printed = subprocess.run([sys.executable, annotated_kinds.__file__], check=True, capture_output=True).stdout
    found: dict[str, dict[str, str]] = json.loads(printed)
    return found


@pytest.mark.process
@pytest.mark.parametrize("way", [PLAIN, FUTURE, QUOTED, QUOTED_FUTURE])
def test_an_annotation_is_the_same_as_a_text(way: str, plain: Mapping[str, dict[str, str]]) -> None:
    """And what nobody knows as anything else stays one."""
    parts = all_parts(way, is_other=False)
    assert [kind for kind, found in parts.items() if found is not None and found != plain[kind]] == []
    assert sum(found is not None for found in parts.values()) > 400


@pytest.mark.process
@pytest.mark.parametrize("way", [PLAIN, FUTURE])
def test_another_annotation_is_told(way: str, plain: Mapping[str, dict[str, str]]) -> None:
    assert [kind for kind, found in all_parts(way, is_other=True).items() if found == plain[kind]] == []


NOT_RUN = [
    *("done()", "list[done()]", "Annotated[str, done()]", "Annotated[str, Doing('x')]", "Doing['x']", "Doing('x')"),
    *("exit()", "Annotated[str, subprocess.run(['false'], check=True)]", "done() or str", "[done() for _ in 'ab']"),
    *(
        "Annotated[str, lambda: done()]",
        "Annotated[str, f'{done()}']",
        "Held().it",
        "Made['x']",
        "Page[int]",
        "Annotated[str, Of('x')]",
        "Annotated[str, OfAttrs('x')]",
        "Annotated[str, Checked('x')]",
        "Annotated[str, Model(it=1)]",
        "Annotated[str, anyio.run(sent)]",
        "(yield)",
        "done",
        "(",
    ),
]
RUN = """
import subprocess
from dataclasses import dataclass, field
from typing import Annotated, Generic, TypeVar
import anyio, attrs, pydantic
DONE = []
def done():
    DONE.append(1)
class Doing:
    def __init__(self, text): done()
    def __class_getitem__(cls, item): return done()
class Meta(type):
    def __getitem__(cls, item): return done()
class Made(metaclass=Meta): pass
class Held:
    it = property(lambda self: done())
class Page(pydantic.BaseModel, Generic[TypeVar("T")]):
    @classmethod
    def __pydantic_init_subclass__(cls, **given): done()
@dataclass
class Of:
    it: str
    other: object = field(default_factory=done)
@attrs.define
class OfAttrs:
    it: str
    other: object = attrs.field(factory=done)
@attrs.define
class Checked:
    it: str = attrs.field(converter=lambda it: done())
class Model(pydantic.BaseModel):
    it: int
    @pydantic.field_validator("it")
    def check(cls, it): return done()
async def sent(): done()
@dataclass
class Asked:
    it: @T
def use(given): return given
def ask(q): return use(Asked)
"""


@pytest.mark.parametrize("text", NOT_RUN)
def test_no_code_of_the_user_is_run_for_a_text(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("with_texts")
    monkeypatch.setitem(sys.modules, "with_texts", module)
    exec(compile(RUN.replace("@T", repr(text)), "<with_texts>", "exec", dont_inherit=True), vars(module))
    walk = Walk()
    walk.add_function("its code", module.ask)
    assert walk.parts
    assert module.DONE == []


def test_types_that_are_made_of_each_other_are_looked_at_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ways lead through them; and what is at the end of one counts."""
    names = [f"T{number}" for number in range(30)]
    types = "".join(f"{name} = typing.Union[list[{', list['.join(map(repr, names))}, End]\n" for name in names)
    types = types.replace("', list", "'], list").replace("', End", "'], End")
    found: list[Mapping[str, str]] = []
    for value in ("one", "another"):
        source = f"import typing\nclass End:\n    def it(self): return {value!r}\n{types}class Held:\n    it: 'T0'\n"
        module = ModuleType("with_types")
        monkeypatch.setitem(sys.modules, "with_types", module)
        exec(f"{source}def use(given): return given\ndef ask(q): return use(Held)", vars(module))
        walk = Walk()
        walk.add_function("its code", module.ask)
        found.append(walk.parts)
    assert found[0] != found[1]


MADE = """
def ask(q):
    local = str
    if q:
        def inner(x: @T, *more: @T, y: 'int' = 3, **others: local) -> @T: return x
    def tool(x: @T): return q, x
    def register(name: str):
        def wrap(function: @T) -> @T: return function
        return wrap
    class Made:
        a: @T
        b: @T = 'x'
        @register('a')
        async def of_it(self, x: @T): return self.b
    return use(tool, Made)
"""
MADE_OF = [
    *("str", "Item", "list[Item]", "Optional['Item']", "dict[str, Item] | None", "models.Item", "Literal['a b', -1]"),
    *("Annotated[str, Field('a', low=2)]", "Callable[..., Item]", "Item if q else None"),
]


@pytest.mark.parametrize("text", MADE_OF)
def test_an_annotation_in_a_function_is_the_same_as_a_text(text: str) -> None:
    """And another one is another function."""
    codes: list[object] = []
    for future, annotation in (("", text), ("from __future__ import annotations\n", text), ("", "bytes")):
        held: dict[str, FunctionType] = {}
        source = f"{future}{MADE.replace('@T', annotation)}"
        exec(compile(source, "<made>", "exec", dont_inherit=True), held)
        code = read(held["ask"].__code__)
        codes.append((code.does, code.reads))
    assert codes[0] == codes[1] or " if " in text
    assert codes[0] != codes[2]
    assert codes[1] != codes[2]


# What a tool is annotated with, behind an import of annotations: TEXT is another one then.
SAID = {
    "in a text": ("CITY = TEXT\ndef tool(x: Annotated[str, f'in {CITY}']): return x", ""),
    "in a list in a text": ("CITIES = [TEXT]\ndef tool(x: Annotated[str, f'in {CITIES}']): return x", ""),
    "added": ("CITY = TEXT\ndef tool(x: Annotated[str, CITY + ' or another']): return x", ""),
    "by a call": ("CITY = TEXT\ndef tool(x: Annotated[str, CITY.join('ab')]): return x", ""),
    "by an attribute": ("HELD = SimpleNamespace(it=TEXT)\ndef tool(x: Annotated[str, HELD.it]): return x", ""),
    "as such": ("CITY = TEXT\ndef tool(x: Annotated[str, CITY]): return x", ""),
    "instead of a type": ("def tool(x: TEXT): return x", ""),
    "instead of a type, in one": ("def tool(x: list[TEXT]): return x", ""),
    "by a name instead of a type": ("CITY = TEXT\ndef tool(x: CITY): return x", ""),
    "of a base": ("from bases import Base\nclass tool(Base):\n    y: str", "Tag = Literal[TEXT]"),
    "of a base of a base": (
        "from bases import Base\nTag = int\nclass Inner(Base): pass\nclass tool(Inner): pass",
        "Tag = list[Literal[TEXT]]",
    ),
}
TEXTS = [("team #support", "team #sales"), ("Paris", " Paris"), ("1.0", "1.00"), ("'a'", '"a"')]


@pytest.mark.parametrize("texts", TEXTS)
@pytest.mark.parametrize("place", SAID)
def test_another_text_is_told(place: str, texts: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it looks like a type or not, and whichever module has the class of which it is."""
    found: list[Mapping[str, str]] = []
    for text in texts:
        for name in ("bases", "tools"):
            module = ModuleType(name)
            monkeypatch.setitem(sys.modules, name, module)
            source = SAID[place][name == "bases"].replace("TEXT", repr(text))
            base = "class Base(TypedDict):\n    x: Tag" if source and name == "bases" else ""
            head = "from __future__ import annotations\nfrom types import *\nfrom typing import *"
            tail = "def use(given): return given\ndef ask(q): return use(tool)"
            source = f"{head}\n{source}\n{base}\n{tail}"
            exec(compile(source, f"<{name}>", "exec", dont_inherit=True), vars(module))
        walk = Walk()
        walk.add_function("its code", vars(sys.modules["tools"])["ask"])
        found.append({**walk.parts})
    assert found[0] != found[1]

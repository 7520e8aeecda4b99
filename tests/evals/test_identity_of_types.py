"""Types that annotations and generic classes name: those of texts, too, wherever in a type these are."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType

import pytest

from doteval.evals._identity.walk import Walk

MODELS = """
import pydantic
from typing import Generic, Optional, TypeVar
T = TypeVar('T')
def norm(text): return text + @V
TITLE = @V
class Item(pydantic.BaseModel):
    def said(self): return @V
Items = list[Item]
Later = list['Item']
class Page(pydantic.BaseModel, Generic[T]):
    items: Optional[T] = None
class Tool(Generic[T]):
    pass
"""
HEAD = """
import functools, models, pydantic, typing, typing_extensions
from dataclasses import dataclass
from models import Item, Items, Later, Page, Tool
from typing import Annotated, Any, Callable, ForwardRef, Generic, Literal, NamedTuple, Optional, TypeVar, Union
T = TypeVar('T')
def use(*given): return given
"""
TEXTS = [
    *("models.Item", "Item", "list[models.Item]", "list['models.Item']", "'models.Item'", "Optional['Item']"),
    *("models.Item | None", "None | list[dict[str, Item]]", "Callable[[models.Item], str]", "type[models.Item]"),
    *(
        "Annotated[models.Item, 'x']",
        "Annotated[str, models.norm]",
        "Annotated[str, pydantic.Field(title=models.TITLE)]",
    ),
    *("models.Items", "Later", "models.Page[models.Item]", "Tool['Item']"),
]
COUNT_NOT = ["Literal['Item']", "Annotated[str, 'Item']", "str", "nowhere.Item", "Annotated[int, dict(a='Item')]"]
FULLY = ("pydantic", "dataclass", "argument of a tool")
ANY = "{'arbitrary_types_allowed': True}"
PLACES = {
    "pydantic": f"class Held(pydantic.BaseModel):\n    model_config = {ANY}\n    it: @T = None",
    "dataclass": "@dataclass\nclass Held:\n    it: @T = None",
    "dataclass of pydantic": f"@pydantic.dataclasses.dataclass(config={ANY})\nclass Held:\n    it: @T = None",
    "named tuple": "class Held(NamedTuple):\n    it: @T = None",
    "typed dict": "class Held(typing_extensions.TypedDict):\n    it: @T",
    "protocol": "class Held(typing.Protocol):\n    it: @T",
    "class": "class Held:\n    it: @T",
    "argument of a tool": "def tool(it: @T): return it\nHeld = [tool]",
    "result of a tool": "def tool(it) -> @T: return it\nHeld = (tool,)",
    "argument of a tool's method": "class Kit:\n    def tool(self, it: @T): return it\nHeld = Kit().tool",
    "wrapped": "def tool(it: @T): return it\n@functools.wraps(tool)\ndef outer(*given): pass\nHeld = [outer]",
    "base": "class Held(Tool[@T]): pass",
    "new generic": "class Held(Page[T], Generic[T]):\n    it: @T = None",
}
ALIASES = ["@T", "list[@T]", "Optional[@T]", "Union[int, @T]", "dict[str, tuple[@T, ...]]", "ForwardRef(@T)"]
GENERIC = [
    *("Page[Item]", "Page[list[Item]]", "Tool[Item]()", "[Tool[Item]]", "Page[Page[Item]]", "Page[Items]()"),
    *("type('Held', (Page[Item],), {'__module__': __name__})", "theirs.Page[Item]", "theirs.Page[Page[Item]]()"),
]


def fingerprint(source: str, value: str, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """What is found of a function that hands something over, whose annotations name what is made of a text."""
    theirs = ModuleType("theirs")
    theirs.__file__ = "/site-packages/theirs.py"
    for module, text in (
        (ModuleType("models"), MODELS.replace("@V", repr(value))),
        (theirs, MODELS.replace("@V", "'theirs'")),
        (ModuleType("of_types"), f"{HEAD}import theirs\n{source}\ndef ask(q): return use(Held)\n"),
    ):
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(text, f"<{module.__name__}>", "exec"), vars(module))
    walk = Walk()
    walk.add_function("its code", vars(sys.modules["of_types"])["ask"])
    return walk.parts


def unseen(sources: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    for source in sources:
        one, other = (fingerprint(source, value, monkeypatch) for value in ("one", "another"))
        assert source != sources[0] or one == fingerprint(source, "one", monkeypatch)
        found += [source] if one == other else []
    return found


@pytest.mark.parametrize("place", PLACES)
def test_a_text_counts_as_what_it_names(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever that is an annotation of."""
    texts = TEXTS if place in FULLY else ["models.Item", "list['Item']", "models.Later"]
    sources = [PLACES[place].replace("@T", repr(text)) for text in texts]
    assert unseen(sources, monkeypatch) == []
    others = [PLACES[place].replace("@T", repr(text)) for text in COUNT_NOT if place in FULLY]
    assert unseen(others, monkeypatch) == others


@pytest.mark.parametrize("alias", ALIASES)
def test_texts_within_types_count(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    annotations = [alias.replace("@T", repr(text)) for text in ("Item", "models.Item", "list[Item]", "models.Later")]
    assert unseen([PLACES["dataclass"].replace("@T", each) for each in annotations], monkeypatch) == []


def test_what_a_generic_class_is_made_for_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the class is one of an installed package."""
    assert unseen([f"Held = {each}" for each in GENERIC], monkeypatch) == []

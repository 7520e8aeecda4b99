"""Classes and tools with annotations that are written in several ways; it prints what is found of each."""

from __future__ import annotations

import json
import sys
from types import ModuleType

from doteval.evals._identity.walk import Walk

MODELS = """
from dataclasses import dataclass
class Item:
    def said(self): return 'models'
@dataclass(frozen=True)
class Option:
    text: str
    low: int = 0
"""
HEAD = """
import dataclasses, typing, attrs, models, pydantic
from dataclasses import InitVar, dataclass
from models import Item, Option
from typing import Annotated, Any, Callable, ClassVar, Final, Generic, List, Literal, NamedTuple, Optional, Protocol
from typing import TypeVar, Union
import typing_extensions
T = TypeVar('T')
def use(*given): return given
class Of(Generic[T]): pass
class Page(pydantic.BaseModel, Generic[T]):
    them: Optional[T] = None
Texts = list[str]
"""
LATER = """
class Later:
    def said(self): return 'later'
JSON = Union[dict[str, 'JSON'], list['JSON'], str]
"""
# What is annotated, and the same with another type.
TYPES = {
    "str": ("str", "int"),
    "none": ("None", "int"),
    "any": ("Any", "int"),
    "optional": ("Optional[str]", "Optional[int]"),
    "either": ("str | None", "int | None"),
    "union": ("Union[str, list[Item]]", "Union[str, list[Option]]"),
    "list of another": ("list['Item']", "list['Option']"),
    "of typing": ("List[Item]", "List[Option]"),
    "own class": ("Item", "Option"),
    "of a module": ("models.Item", "models.Option"),
    "later": ("'Later'", "'Item'"),
    "list of a later one": ("list['Later']", "list['Item']"),
    "either a later one": ("Optional['Later']", "Optional['Item']"),
    "of itself": ("'JSON'", "'Texts'"),
    "alias": ("Texts", "list[bytes]"),
    "callable": ("Callable[[Item], str]", "Callable[[Option], str]"),
    "literal": ("Literal['a', -1, None]", "Literal['a', 1, None]"),
    "type": ("type[Item]", "type[Option]"),
    "generic": ("Of[Item]", "Of[Option]"),
    "generic of pydantic": ("Page[str]", "Page[int]"),
    "variadic": ("tuple[str, ...]", "tuple[int, ...]"),
    "nothing in it": ("tuple[()]", "tuple[int]"),
    "annotated": ("Annotated[str, 'a text']", "Annotated[str, 'another']"),
    "annotated with a setting": (
        "Annotated[str, pydantic.Field(description='a text', min_length=2)]",
        "Annotated[str, pydantic.Field(description='another', min_length=2)]",
    ),
    "annotated with one's own": ("Annotated[str, Option('a text', low=-1)]", "Annotated[str, Option('a text', low=1)]"),
    "annotated later one": ("Annotated['Later', 1]", "Annotated['Item', 1]"),
    "of a class": ("ClassVar[str]", "ClassVar[int]"),
    "of all objects": ("ClassVar[list['Item']]", "ClassVar[list['Option']]"),
    "to begin with": ("InitVar[str]", "InitVar[int]"),
    "an item to begin with": ("InitVar['Item']", "InitVar['Option']"),
    "nowhere": ("'Nowhere'", "'Nobody'"),
    "of nowhere": ("list['Nowhere']", "list['Nobody']"),
    "a setting": ("pydantic.conint(gt=3)", "pydantic.conint(gt=4)"),
}
IN_CLASSES = ("ClassVar", "InitVar")
NONE = {  # there is none such
    **dict.fromkeys(("named tuple", "typed dict", "typed dict of an extension"), ("of a class", "of all objects")),
    "pydantic": ("to begin with", "an item to begin with"),
    "attrs": ("none",),  # which it takes for no annotation
}
ANY = "{'arbitrary_types_allowed': True}"
KINDS = {
    "dataclass": "@dataclass\nclass Held:\n    it: @T = None",
    "dataclass with slots": "@dataclass(frozen=True, slots=True)\nclass Held:\n    it: @T",
    "pydantic": f"class Held(pydantic.BaseModel):\n    model_config = {ANY}\n    it: @T = None",
    "dataclass of pydantic": f"@pydantic.dataclasses.dataclass(config={ANY})\nclass Held:\n    it: @T = None",
    "attrs": "@attrs.define\nclass Held:\n    it: @T = None",
    "named tuple": "class Held(NamedTuple):\n    it: @T = None",
    "typed dict": "class Held(typing.TypedDict):\n    it: @T",
    "typed dict of an extension": "class Held(typing_extensions.TypedDict, total=False):\n    it: @T",
    "protocol": "class Held(Protocol):\n    it: @T",
    "class": "class Held:\n    it: @T",
    "tool": "def tool(it: @T): return it\nHeld = [tool]",
    "result of a tool": "def tool(it) -> @T: return it\nHeld = (tool,)",
    "method": "class Kit:\n    def tool(self, *, it: @T = None): return it\nHeld = Kit().tool",
    "within a class": (
        "class Kit:\n    class Own: pass\n    it: @T = None\n    of: Own = None\n"
        "    def tool(self, it: @T, of: Own): return it\nHeld = [Kit, Kit().tool]"
    ),
    "base": "class Held(Of[@T]): pass",
}


PLAIN, FUTURE, QUOTED, QUOTED_FUTURE = "plain", "future", "quoted", "quoted, future"


def parts_of(kind: str, annotation: str, way: str) -> dict[str, str] | None:
    """What is found of a function that hands one over; `None` where it cannot be written so."""
    if QUOTED in way and (kind == "base" or (way == QUOTED_FUTURE and annotation.startswith(IN_CLASSES))):
        return None  # Python itself takes it for something else
    future = "from __future__ import annotations\n" if FUTURE in way else ""
    held = KINDS[kind].replace("@T", repr(annotation) if QUOTED in way else annotation)
    source = f"{future}{HEAD}{held}{LATER}\ndef ask(q): return use(Held)\n"
    for name, text in (("models", MODELS), ("annotated", source)):
        module = sys.modules[name] = ModuleType(name)
        exec(compile(text, f"<{name}>", "exec", dont_inherit=True), vars(module))
    walk = Walk()
    walk.add_function("its code", vars(sys.modules["annotated"])["ask"])
    return {**walk.parts}


def all_parts(way: str, *, is_other: bool) -> dict[str, dict[str, str] | None]:
    """That of all kinds and types, by both."""
    found = {
        f"{kind}: {name}": parts_of(kind, types[is_other], way)
        for kind in KINDS
        for name, types in TYPES.items()
        if name not in NONE.get(kind, ())
    }
    del sys.modules["models"], sys.modules["annotated"]
    return found


if __name__ == "__main__":
    json.dump(all_parts(PLAIN, is_other=False), sys.stdout)

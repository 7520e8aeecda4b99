"""Containers and models of installed packages: what they hold besides what they show counts, but for the moment."""

from __future__ import annotations

import functools
import gc
import sys
import weakref
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import jinja2
import pytest
import sortedcontainers
from tests.evals.identity_kinds import Plain, class_with

from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import changes, with_what_was_written

THEIRS = """
import time, uuid
from collections import UserDict
from typing import Any, Callable, Generic, Optional, TypeVar
import pydantic
class Step(pydantic.BaseModel):
    pass
class Prompt(Step):
    template: Any
class Hidden(Step):
    template: Any = pydantic.Field(exclude=True)
class Private(Step):
    _template: Any = pydantic.PrivateAttr()
    def __init__(self, template): super().__init__(); self._template = template
class Extra(Step, extra='allow'):
    pass
class Root(pydantic.RootModel[Any]):
    pass
class Written(Step):
    text: str = 'same'
    _calls: int = pydantic.PrivateAttr(0)
    _id: str = pydantic.PrivateAttr(default_factory=lambda: str(uuid.uuid4()))
    _hex: str = pydantic.PrivateAttr(default_factory=lambda: uuid.uuid4().hex)
    _created: float = pydantic.PrivateAttr(default_factory=time.time)
    _log: list = pydantic.PrivateAttr(default_factory=list)
    def ask(self):
        self._calls += 1
        self._log.append(self._calls)
        return self.text
class Chain(Step):
    steps: list[Step] = []
    by_name: dict[str, Step] = {}
    first: Optional[Step] = None
class Bag(UserDict):
    def __init__(self, held, tone=None, key=None): super().__init__(held); self.tone, self._key = tone, key
class Row(list):
    def __init__(self, held, key=None): super().__init__(held); self._key = key
"""


@pytest.fixture(scope="module")
def theirs() -> Iterator[Any]:
    """The modules of an installed package."""
    module = sys.modules["theirs"] = ModuleType("theirs")
    module.__file__ = "/site-packages/theirs.py"
    exec(compile(THEIRS, module.__file__, "exec"), vars(module))
    yield module
    del sys.modules["theirs"]


def fingerprint(value: object) -> Mapping[str, str]:
    walk = Walk()
    walk.add("it", value)
    return walk.parts


def macro(text: str) -> Any:
    source = f"{{% macro ask(q) %}}{text} {{{{ q }}}}{{% endmacro %}}{text}"
    return jinja2.Environment(autoescape=True).from_string(source).module


ALIVE: list[Any] = []


def weak_method(text: str) -> Any:
    ALIVE.append(class_with(say=lambda self: text)())
    return weakref.WeakMethod(ALIVE[-1].say)


def with_attribute(value: Any, text: str) -> Any:
    value.tone = text
    return value


KINDS: dict[str, Callable[[Any, Any], Any]] = {
    "field of a subclass": lambda m, text: m.Chain(steps=[m.Prompt(template=text)]),
    "field of one in a mapping": lambda m, text: m.Chain(by_name={"a": m.Prompt(template=text)}),
    "field of one in a field": lambda m, text: m.Chain(first=m.Chain(first=m.Prompt(template=text))),
    "function": lambda m, text: m.Chain(steps=[m.Prompt(template=lambda q: q + text)]),
    "object of the user's": lambda m, text: m.Prompt(template=Plain(text)),
    "class of the user's": lambda m, text: m.Prompt(template=class_with(text=text)),
    "excluded": lambda m, text: m.Hidden(template=text),
    "excluded function": lambda m, text: m.Hidden(template=lambda q: q + text),
    "excluded object": lambda m, text: m.Hidden(template=Plain(text)),
    "excluded model": lambda m, text: m.Hidden(template=m.Prompt(template=text)),
    "private": lambda m, text: m.Private(text),
    "private function": lambda m, text: m.Private(lambda q: q + text),
    "private object": lambda m, text: m.Private(Plain(text)),
    "private mapping": lambda m, text: m.Private({"a": text}),
    "private partial": lambda m, text: m.Private(functools.partial(print, text)),
    "private model": lambda m, text: m.Private(m.Prompt(template=text)),
    "more fields": lambda m, text: m.Extra(template=text),
    "root": lambda m, text: m.Root([text]),
    "bag with an attribute": lambda m, text: m.Bag({"a": 1}, tone=text),
    "bag with a function": lambda m, text: m.Bag({"a": 1}, key=lambda q: text),
    "row with a function": lambda m, text: m.Row(["a"], key=lambda q: text),
    "row with one of Python's": lambda m, text: m.Row(["a"], key=str.lower if text == "one" else str.upper),
    "row with a method": lambda m, text: m.Row(["a"], key=class_with(rank=lambda self, q: text)().rank),
    "row with a class": lambda m, text: m.Row(["a"], key=class_with(text=text)),
    "mapping of Python's": lambda m, text: with_attribute(UserDict({"a": 1}), text),
    "sorted list": lambda m, text: sortedcontainers.SortedKeyList(["a"], key=lambda q: text),
    "sorted mapping": lambda m, text: sortedcontainers.SortedDict(lambda q: text, {"a": 1}),
    "sorted set": lambda m, text: sortedcontainers.SortedSet(["a"], key=lambda q: text),
    "sorted by what is built in": lambda m, text: sortedcontainers.SortedKeyList(
        "a", key=len if text == "one" else ord
    ),
    "method that is referred to weakly": lambda m, text: weak_method(text),
    "macro": lambda m, text: macro(text).ask,
    "module of a template": lambda m, text: macro(text),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_beside_counts(kind: str, theirs: Any) -> None:
    """Wherever the container, or the model, is."""
    for hold in (lambda value: value, Plain, lambda value: {"a": [value]}, lambda value: lambda: value):
        one, same, other = (fingerprint(hold(KINDS[kind](theirs, text))) for text in ("one", "one", "another"))
        assert not changes(one, same)
        assert changes(one, other)
    ALIVE.clear()
    gc.collect()


def test_what_is_of_the_moment_or_written_is_no_change(theirs: Any) -> None:
    """An identifier and a time of each object, a counter and a log."""
    before, again = fingerprint(model := theirs.Written()), fingerprint(theirs.Written())
    assert not changes(before, again)
    model.ask()
    after = fingerprint(model)
    kept = with_what_was_written(before, after)
    assert not changes(kept, again)
    assert not changes(kept, after)
    assert changes(kept, fingerprint(theirs.Written(text="another")))
    held = sortedcontainers.SortedDict({"a": 1})
    before = fingerprint(held)
    held["b"], _ = 2, held.index("a")
    kept = with_what_was_written(before, fingerprint(held))
    assert not changes(kept, fingerprint(sortedcontainers.SortedDict({"a": 1})))

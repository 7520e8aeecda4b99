"""Classes are known by which they are, whatever their metaclass says of whether two are equal."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from doteval.evals._digests import Looks, fingerprint
from doteval.evals._identity.walk import Walk
from doteval.evals._running.fresh import Copies

ANSWERING = {
    "all are equal": "    def __eq__(cls, other): return True\n    def __hash__(cls): return 1",
    "none is equal": "    def __eq__(cls, other): return False\n    def __hash__(cls): return 1",
    "asking raises": "    def __eq__(cls, other): raise RuntimeError('no')\n    def __hash__(cls): return 1",
    "asking for the hash raises": "    def __hash__(cls): raise RuntimeError('no')",
    "there is no hash": "    def __eq__(cls, other): return cls is other",
    "all of it raises": (
        "    def __eq__(cls, other): raise RuntimeError('no')\n"
        "    def __hash__(cls): raise RuntimeError('no')\n"
        "    def __repr__(cls): raise RuntimeError('no')\n"
        "    def __bool__(cls): raise RuntimeError('no')"
    ),
    "a number": "    def __eq__(cls, other): return 0\n    def __hash__(cls): return 7",
}
HOLDING = {
    "an object": "MADE = A()\ndef ask(q): return MADE.go(q)",
    "a class": "def ask(q): return A().go(q)",
    "a class attribute": "def ask(q): return A.text, B.text",
    "in a list": "MADE = [A(), B()]\ndef ask(q): return [each.go(q) for each in MADE]",
    "in a mapping": "MADE = {'a': A(), 'b': (B(), A)}\ndef ask(q): return MADE['a'].go(q)",
    "in another": "class C: kinds = [A, B]\ndef ask(q): return C.kinds[0]().go(q)",
    "by default": "def ask(q, made=A()): return made.go(q)",
    "in a closure": "def make(made):\n    def ask(q): return made.go(q)\n    return ask\nask = make(A())",
    "one of pickle's": "class C:\n    def __init__(self): self.kind = A\nMADE = collections.OrderedDict(a=C())\n"
    "def ask(q): return MADE['a'].kind().go(q)",
    "by a library": "MADE = functools.partial(A.go, A())\ndef ask(q): return MADE(q)",
    "by its subclass": "class C(A): pass\ndef ask(q): return C().go(q)",
}
SOURCE = """
import collections, functools
class Meta(type):
{meta}
class A(metaclass=Meta):
    text = 'one'
    calls = 0
    def __init__(self): self.seen, self.own = [], 'own'
    def go(self, q):
        self.seen.append(q)
        type(self).calls += 1
        return self.text + q + self.own
class B(A):
    text = 'of b'
{holding}
"""


def looked_at(source: str) -> dict[str, str]:
    module = sys.modules["classes"] = ModuleType("classes")
    try:
        exec(source, vars(module))
        walk = Walk()
        walk.add_function("its code", vars(module)["ask"])
        return {**walk.parts}
    finally:
        del sys.modules["classes"]


@pytest.mark.parametrize("holding", HOLDING.values(), ids=HOLDING)
@pytest.mark.parametrize("meta", ANSWERING.values(), ids=ANSWERING)
def test_a_class_is_known_by_which_it_is(meta: str, holding: str) -> None:
    source = SOURCE.format(meta=meta, holding=holding)
    found = looked_at(source)
    assert found == looked_at(source)
    plain = looked_at(SOURCE.format(meta="    pass", holding=holding))
    assert {*plain} == {*found}
    for was in ("'one'", "'own'"):
        if was == "'own'" and "class attribute" in holding:
            continue
        assert found != looked_at(source.replace(was, "'another'"))


@pytest.mark.parametrize("meta", ANSWERING.values(), ids=ANSWERING)
def test_rows_of_such_classes_are_looked_at(meta: str) -> None:
    def of_rows(source: str) -> tuple[dict[str, str], str]:
        module = sys.modules["classes"] = ModuleType("classes")
        try:
            exec(source, vars(module))
            rows = [(vars(module)["A"](),), (vars(module)["A"],), [vars(module)["A"]()]]
            walk = Walk()
            walk.add("it", "rows")
            walk.add_rows(rows)
            assert [type(each) for each in Copies().of(rows)] == [tuple, tuple, list]
            return {**walk.parts}, fingerprint(rows, Looks()).digest
        finally:
            del sys.modules["classes"]

    source = SOURCE.format(meta=meta, holding="")
    assert of_rows(source) == of_rows(source)
    assert of_rows(source)[0] != of_rows(source.replace("'one'", "'another'"))[0]

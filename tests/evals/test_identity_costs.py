"""What it costs to find what results depend on: twice as much code, or as many objects, twice as many steps."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType, ModuleType
from typing import Any

import pytest

from doteval.evals._identity.walk import Walk


def beside(number: int) -> str:
    """Classes with methods of the same name and of their own."""
    methods = (
        "def run(self, q): return self._a{0}(q)",
        "def _a{0}(self, q): return self._b(q)",
        "def _b(self, q): return self._c{0}(q)",
        "def _c{0}(self, q): return q",
    )
    body = "\n".join(f"    {each}" for each in methods)
    made = "".join(f"class C{place}:\n{body.format(place)}\n" for place in range(number))
    return (
        f"{made}ALL = [{', '.join(f'C{each}' for each in range(number))}]\ndef ask(q): return [C().run(q) for C in ALL]"
    )


def after_another(number: int) -> str:
    """Classes of which each uses the next one."""
    made = "".join(
        f"class C{place}:\n    def run{place}(self, q): return self._a{place}(q)\n"
        f"    def _a{place}(self, q): return C{place + 1}().run{place + 1}(q)\n"
        for place in range(number)
    )
    return f"{made}class C{number}:\n    def run{number}(self, q): return q\ndef ask(q): return C0().run0(q)"


def of_one_base(number: int) -> str:
    made = "".join(
        f"class C{place}(Base):\n    def run(self, q): return self._a{place}(q) + self.told(q)\n"
        f"    def _a{place}(self, q): return self.told(q)\n"
        for place in range(number)
    )
    made = f"class Base:\n    def told(self, q): return self._told(q)\n    def _told(self, q): return q\n{made}"
    return (
        f"{made}ALL = [{', '.join(f'C{each}()' for each in range(number))}]\ndef ask(q): return [C.run(q) for C in ALL]"
    )


def objects(number: int) -> str:
    """Objects of a class whose method writes a key."""
    made = "class C:\n    def __init__(self): self.d = {}\n    def go(self, q):\n        self.d['k'] = self.n = q"
    return f"{made}\nALL = [C() for _ in range({number})]\ndef ask(q): return ALL[0].go(q)"


def bound_to_calls(number: int) -> str:
    made = "".join(f"def f{place}(): return C()\n" for place in range(number))
    body = "".join(f"    x = f{place}()\n    x.a{place} = q\n    x.m{place}\n" for place in range(number))
    return f"class C: pass\n{made}def ask(q):\n{body}"


def bound_to_parts(number: int) -> str:
    body = "".join(f"    x = T.b{place}\n    x['k{place}'] = isinstance(x, str)\n" for place in range(number))
    return f"class C: pass\nT = C()\ndef ask(q):\n{body}"


PROGRAMS: dict[str, Callable[[int], str]] = {
    each.__name__: each for each in (beside, after_another, of_one_base, objects, bound_to_calls, bound_to_parts)
}


def steps_of(source: str) -> int:
    """How many lines are run to find what a program depends on."""
    module = sys.modules["costly"] = ModuleType("costly")
    exec(compile(source, "<costly>", "exec"), vars(module))
    steps = 0

    def count(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal steps
        steps += event == "line"
        return count

    walk = Walk()
    walk.add_function("its code", vars(module)["ask"])
    before = sys.gettrace()
    sys.settrace(count)
    try:
        assert walk.parts
    finally:
        sys.settrace(before)
        del sys.modules["costly"]
    return steps


@pytest.mark.parametrize("program", PROGRAMS)
def test_twice_as_much_takes_twice_as_many_steps(program: str) -> None:
    few, many = (steps_of(PROGRAMS[program](number)) for number in (50, 100))
    assert many < 2.5 * few


SEQUENCE = "def __len__(self): return len(self.s)\n    def __getitem__(self, i): return {0}(self.s[i])"
MAPPING = "def __len__(self): return 2\n    def __iter__(self): return iter('ab')\n    "
MAPPING += "def __getitem__(self, key): return C(key)"
OF_THEMSELVES = {
    "a text of texts": f"class C(Sequence):\n    {SEQUENCE.format('C')}",
    "two in each other": f"class C(Sequence):\n    {SEQUENCE.format('D')}\nclass D(C):\n    {SEQUENCE.format('C')}",
    "a mapping of mappings": f"class C(Mapping):\n    {MAPPING}",
    "a set of sets": "class C(Set):\n    def __contains__(self, it): return True\n    def __len__(self): return 2\n"
    "    def __iter__(self): return iter([C('a'), C('b')])\n    __hash__ = object.__hash__",
    "a list of lists": f"class C(Sequence):\n    {SEQUENCE.format('[C]*2 and C')}",
}


@pytest.mark.parametrize("kind", OF_THEMSELVES)
def test_containers_that_make_others_of_their_kind_have_an_end(kind: str) -> None:
    """Whatever they make, what they hold counts."""

    def looked_at(text: str) -> tuple[Mapping[str, str], int]:
        made = f"from collections.abc import Mapping, Sequence, Set\n{OF_THEMSELVES[kind]}\n"
        made += "def __init__(self, s): self.s = s\nC.__init__ = __init__\n"
        made += f"V = [C({text!r}), C('x' * 100)]\ndef ask(q): return V"
        module = sys.modules["costly"] = ModuleType("costly")
        exec(compile(made, "<costly>", "exec"), vars(module))
        walk, count = Walk(), 0
        of = Walk._of

        def counted(self: Walk, value: Any, above: tuple[int, ...]) -> object:
            nonlocal count
            count += 1
            return of(self, value, above)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Walk, "_of", counted)
            walk.add_function("its code", vars(module)["ask"])
            return walk.parts, count

    (one, count), (other, _) = looked_at("old"), looked_at("new")
    assert count < 20_000
    assert one != other
    assert one == looked_at("old")[0]

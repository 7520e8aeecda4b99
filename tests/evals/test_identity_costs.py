"""What it costs to find what results depend on: twice as much code, or as many objects, twice as many steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
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

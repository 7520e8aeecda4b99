"""Another process, hashes, checkout, imports and order of evaluations: the same code is answered from the store."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from doteval.evals._identity.names import _first
from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import changes, edited_meanwhile, with_what_was_written
from doteval.evals._written import IN_ORDER

CLOSURE = "def ends_with(n): return lambda q: q + n\n"
IMPLS = "{0}_1, {0}_2, {0}_3"
CASES = {
    "closures": f"{CLOSURE}CHECKS = {{ends_with(n) for n in '@@cdef'}}\ndef b(q): return sorted(c(q) for c in CHECKS)",
    "closures_in_sets": f"{CLOSURE}CHECKS = {{frozenset(map(ends_with, each)) for each in ('@@', 'cd', 'ae')}}\n"
    "def b(q): return sorted(sorted(c(q) for c in each) for each in CHECKS)",
    "closures_of_closures": f"{CLOSURE}def twice(f): return lambda q: f(f(q))\n"
    "CHECKS = {twice(twice(ends_with(n))) for n in '@@cdef'}\ndef b(q): return sorted(c(q) for c in CHECKS)",
    "partials": f"import functools\n{CLOSURE}CHECKS = {{functools.partial(ends_with(n)) for n in '@@cdef'}}\n"
    "def b(q): return sorted(c(q) for c in CHECKS)",
    "keys": f"{CLOSURE}CHECKS = {{ends_with(n): ends_with(m) for n, m in {{'@@', 'cd', 'ef'}}}}\n"
    "def b(q): return sorted(c(q) + d(q) for c, d in CHECKS.items())",
    "classes": "def made(n):\n    class Tool:\n        def go(self, q): return q + n\n    return Tool\n"
    "TOOLS = {made(n) for n in '@@cdef'}\ndef b(q): return sorted(t().go(q) for t in TOOLS)",
    "objects": "def made(n):\n    class Tool:\n        text = n\n        def go(self, q): return q + self.text\n"
    "    return Tool()\nTOOLS = {made(n) for n in '@@cdef'}\ndef b(q): return sorted(t.go(q) for t in TOOLS)",
    "methods": "class Tool:\n    def __init__(self, n): self.n = n\n    def go(self, q): return q + self.n\n"
    "TOOLS = {Tool(n).go for n in '@@cdef'}\ndef b(q): return sorted(go(q) for go in TOOLS)",
    "registered": "import abc\nclass Plugin(abc.ABC): pass\n"
    "ALL = [Plugin.register(each.Impl)() for each in (IMPLS)]\n"
    "def b(q): return [each.hook(q) for each in ALL if isinstance(each, Plugin)], '@@'",
    "mapped": "TOOLS = {each.__name__: each.run for each in {IMPLS}}\n"
    "def b(q): return [TOOLS[name](q) for name in sorted(TOOLS)], '@@'",
    "cache": "CACHE = {'own': '@@'}\ndef b(q): return helper.lookup(q) + str(CACHE)",
    "cache_twice": "CACHE = {}\ndef b(q):\n    CACHE[q] = helper.lookup(q)\n    return CACHE[q] + '@@'",
    "counter": "COUNT = '@@'\ndef b(q):\n    helper.count()\n    return helper.lookup(q) + COUNT",
    "agent": "AGENT = '@@'\ndef b(q): return helper.AGENT.ask(q) + AGENT",
    "registry": "class Own(helper.Tool):\n    def run(self, q): return q + '@@'\ndef b(q): return Own().run(q)",
    "address": "import os\nURL = f'sqlite:///{os.path.dirname(__file__)}/@@.db'\ndef b(q): return q + URL[-5:]",
}
"""What rows say: ``@@`` are two letters that others may be in the place of."""
MODULE = """
from doteval import Result, foreach
import {name}_helper as helper, {name}_1, {name}_2, {name}_3
{source}
@foreach("q", [("x",), ("y",)])
async def eval_a(q): return Result(helper.asked(q))
@foreach("q", [("x",), ("y",)])
async def eval_b(q): return Result(repr(b(q)))
"""
HELPER = """
COUNT, CACHE = 0, {}
def count():
    global COUNT
    COUNT += 1
def lookup(q):
    if q not in CACHE: CACHE[q] = q + "!"
    return CACHE[q]
class Agent:
    def __init__(self): self.asked, self.known = 0, {}
    def ask(self, q):
        self.asked += 1
        return self.known.setdefault(q, q + "?")
AGENT = Agent()
class Tool:
    registry = {}
    def __init_subclass__(cls): Tool.registry[cls.__name__] = cls
class Search(Tool):
    def run(self, q): return q
def asked(q):
    count()
    return AGENT.ask(lookup(q)) + Search().run(q)
"""
IMPL = "class Impl:\n    def hook(self, q): return q + '{0}'\ndef run(q): return q + '{0}'\n"
CHILD = """
import asyncio, importlib, json, sys
place, store, names, order, *more = sys.argv[1:]
sys.path.insert(0, place)
kept = [[type(str(n), (), {}) for n in range(37)] for _ in more]
from doteval.evals import run
if more: import csv, wave
async def all_of_them():
    found = {}
    for name in names.split(","):
        module = importlib.import_module(name)
        for each in order.split(","):
            try:
                outcome = await run(getattr(module, each), store=store, experiment=name)
                found[f"{name}.{each}"] = outcome.calls, [w for w in outcome.warnings if "the order of" not in w]
            except Exception as exc:
                found[f"{name}.{each}"] = str(exc)
    return found
print(json.dumps(asyncio.run(all_of_them())))
"""


def written(place: Path) -> Path:
    place.mkdir(parents=True)
    (place / "pyproject.toml").touch()
    for name, case in CASES.items():
        source = case.replace("@@", "ab").replace("IMPLS", IMPLS.format(name))
        (place / f"{name}.py").write_text(MODULE.format(name=name, source=source))
        (place / f"{name}_helper.py").write_text(HELPER)
        for number in "123":
            (place / f"{name}_{number}.py").write_text(IMPL.format(number))
    return place


@pytest.mark.process
def test_the_same_code_is_answered(tmp_path: Path) -> None:
    """Each evaluation is run once: by itself, behind another one, before it; here or in another checkout."""

    def run_in(place: str, seed: str, order: str, *more: str) -> dict[str, object]:
        arguments = [str(tmp_path / place), str(tmp_path / "results.db"), ",".join(CASES), order, *more]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        ran = subprocess.run(
            [sys.executable, "-c", CHILD, *arguments], env=environment, capture_output=True, check=True, timeout=120
        )
        found: dict[str, object] = json.loads(ran.stdout)
        return found

    written(tmp_path / "here")
    written(tmp_path / "somewhere" / "else")
    first = run_in("here", "1", "eval_a,eval_b")
    assert first == {f"{name}.{each}": [2, []] for name in CASES for each in ("eval_a", "eval_b")}
    for seed, order in (("7", "eval_b"), ("301", "eval_b,eval_a")):
        again = run_in("somewhere/else", seed, order, "other imports")
        assert again == {f"{name}.{each}": [0, []] for name in CASES for each in order.split(",")}


@pytest.fixture
def modules() -> Iterator[dict[str, ModuleType]]:
    before = {*sys.modules}
    yield sys.modules
    for each in sys.modules.keys() - before:
        del sys.modules[each]


def looked_at(modules: dict[str, ModuleType], source: str, **others: str) -> dict[str, str]:
    module = ModuleType("looked_at")
    modules["looked_at"] = module
    helper = ModuleType("helper")
    exec(HELPER, vars(helper))
    vars(module)["helper"] = helper
    for name, text in others.items():
        modules[name] = vars(module)[name] = ModuleType(name)
        exec(text, vars(modules[name]))
    exec(source, vars(module))
    walk = Walk()
    walk.add_function("its code", vars(module)["b"])
    return {name: part for name, part in walk.parts.items() if not part.startswith(IN_ORDER)}


@pytest.mark.parametrize("name", CASES)
def test_other_code_is_noticed(name: str, modules: dict[str, ModuleType]) -> None:
    """Whichever of those of one name it is in."""
    source = CASES[name].replace("IMPLS", IMPLS.format("impl"))
    vars_of = {"__file__": "/project/looked_at.py"}
    head = "".join(f"{key} = {value!r}\n" for key, value in vars_of.items())
    impls = {f"impl_{number}": IMPL.format(number) for number in "123"}
    found = looked_at(modules, head + source.replace("@@", "ab"), **impls)
    assert found == looked_at(modules, head + source.replace("@@", "ab"), **impls)
    assert found != looked_at(modules, head + source.replace("@@", "az"), **impls)
    if "IMPLS" in CASES[name]:
        for each, text in impls.items():
            others = {**impls, each: text.replace("q + ", "q + '' + ")}
            assert found != looked_at(modules, head + source.replace("@@", "ab"), **others)


SWAPPED = {
    "a mapping": "TOOLS = {'a': @1, 'b': @2}\ndef b(q): return TOOLS[q](q)",
    "a list": "TOOLS = [@1, @2]\ndef b(q): return [tool(q) for tool in TOOLS]",
    "two names": "one, other = @1, @2\ndef b(q): return one(other(q))",
    "a mapping in a mapping": "TOOLS = {'a': {'c': @1}, 'b': {'c': @2}}\ndef b(q): return TOOLS[q]['c'](q)",
    "by default": "def b(q, one=@1, other=@2): return one(other(q))",
    "pairs in a set": "TOOLS = {('a', @1), ('b', @2)}\ndef b(q): return dict(TOOLS)[q](q)",
    "keys of a mapping": "TOOLS = {@1: 'a', @2: 'b'}\ndef b(q): return [each(q + TOOLS[each]) for each in TOOLS]",
    "sets in a list": "TOOLS = [{@1}, {@2}]\ndef b(q): return [tool(q) for each in TOOLS for tool in each]",
    "of a library": "import collections\nTOOLS = collections.OrderedDict(a=@1, b=@2)\ndef b(q): return TOOLS[q](q)",
}
ONES = {
    "closures": (CLOSURE, "ends_with('1')", "ends_with('2')"),
    "functions of modules": ("", "impl_1.run", "impl_2.run"),
    "classes of modules": ("", "impl_1.Impl", "impl_2.Impl"),
    "methods of modules": ("", "impl_1.Impl().hook", "impl_2.Impl().hook"),
    "closures of closures": (
        f"{CLOSURE}def made(f): return lambda q: f(q)\n",
        "made(ends_with('1'))",
        "made(ends_with('2'))",
    ),
}


@pytest.mark.parametrize("sort", ONES)
@pytest.mark.parametrize("holding", SWAPPED)
def test_which_of_one_name_is_where_counts(holding: str, sort: str, modules: dict[str, ModuleType]) -> None:
    head, one, other = ONES[sort]
    impls = {f"impl_{number}": IMPL.format(number) for number in "12"}
    sources = [
        head + SWAPPED[holding].replace("@1", first).replace("@2", second)
        for first, second in ((one, other), (other, one))
    ]
    found = [looked_at(modules, source, **impls) for source in (*sources, sources[0])]
    assert found[0] != found[1]
    assert found[0] == found[2]


@pytest.mark.parametrize("depth", [3, 20, 60])
def test_how_many_there_are_of_one_name_counts(depth: int, modules: dict[str, ModuleType]) -> None:
    """Also where they can hardly be told from each other."""
    source = (
        "def around(f): return lambda q: f(q)\n"
        "def nested(depth):\n"
        "    made = len\n"
        "    for _ in range(depth): made = around(made)\n"
        "    return made\n"
        "MADE = nested(@@)\n"
        "def b(q): return MADE(q)"
    )
    found = [looked_at(modules, source.replace("@@", str(each))) for each in (depth, depth + 1, depth)]
    assert found[0] == found[2]
    assert found[0] != found[1]


def test_what_a_run_writes_changes_no_numbers(modules: dict[str, ModuleType]) -> None:
    """Those of one name stay in the order in which they were when it began, though no code tells of it."""
    source = (
        "def put(into, what): helper_put(into, what)\n"
        "def helper_put(*given): given[0].append(given[1])\n"
        "def made(n):\n"
        "    box = [n]\n"
        "    def of(q): return box, q\n"
        "    return of\n"
        "MADE = [made(n) for n in range(9)]\n"
        "def b(q): return [put(each(q)[0], q) for each in MADE[::2]]"
    )

    def at_first() -> Any:
        module = modules["looked_at"] = ModuleType("looked_at")
        exec(source, vars(module))
        return vars(module)["b"]

    def now(function: Any) -> dict[str, str]:
        walk = Walk()
        walk.add_function("its code", function)
        return walk.parts

    function = at_first()
    before = now(function)
    function("a")
    after = now(function)
    changed = {name for name in after if after[name] != before[name]}
    assert len([name for name in changed if "'box'" in name]) == 5
    assert edited_meanwhile(before, after) == ()
    kept = with_what_was_written(before, after)
    assert changes(kept, after) == changes(kept, now(at_first())) == ()


FACTORY = """
def mk(data):
    return lambda q: data[q]
TOOLS = [mk(Data({"a": 1})), mk(Data({"b": 2}))]
def ask(q): return [tool(q) for tool in TOOLS]
"""


def test_what_was_looked_at_is_not_kept() -> None:
    """Neither what a function holds that is made anew each time, as in a cell, nor the function."""

    class Data(dict[str, int]):
        pass

    def looked_at() -> list[weakref.ref[Any]]:
        held: dict[str, Any] = {"__name__": "cell", "Data": Data}
        exec(FACTORY, held)
        walk = Walk()
        walk.add_function("its code", held["ask"])
        assert len([name for name in walk.parts if "(2)" in name]) > 0
        return [weakref.ref(held["ask"]), *(weakref.ref(tool) for tool in held["TOOLS"])]

    before = len(_first)
    references = [each for _ in range(3) for each in looked_at()]
    gc.collect()
    assert [each() for each in references] == [None] * len(references)
    assert len(_first) <= before


def test_what_the_run_before_was_given_is_not_kept() -> None:
    """Of arguments that are made anew for each run no more is kept than that of one run, also of cells in them."""

    class Data(dict[str, int]):
        pass

    def evaluation() -> None: ...

    references: list[weakref.ref[Any]] = []
    for _ in range(4):
        held: dict[str, Any] = {"__name__": "cell", "Data": Data}
        exec(FACTORY, held)
        walk = Walk()
        walk.add_function("its code", evaluation)
        walk.add("the argument 'tools'", held["TOOLS"])
        assert len([name for name in walk.parts if "(2)" in name]) > 0
        references += [weakref.ref(tool.__closure__[0].cell_contents) for tool in held["TOOLS"]]
    del held, walk
    gc.collect()
    assert len([each for each in references if each() is not None]) <= 2

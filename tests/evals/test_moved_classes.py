"""What the user defines may move to another module: the same rows, the same code; those of one name are told apart."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from doteval.evals._running.dataset import Source

KINDS = {
    "data class": "@dataclass(frozen=True)\nclass V:\n    q: str = '@@'\nMADE = V()",
    "data class in a list of one": (
        "@dataclass\nclass I:\n    a: str = '@@'\n"
        "@dataclass\nclass V:\n    q: list = field(default_factory=lambda: [I()])\nMADE = V()"
    ),
    "pydantic": "class V(pydantic.BaseModel):\n    q: str = '@@'\nMADE = V()",
    "pydantic in pydantic": (
        "class I(pydantic.BaseModel):\n    a: str = '@@'\n"
        "class V(pydantic.BaseModel):\n    q: list[I] = [I()]\nMADE = V()"
    ),
    "member": "class V(enum.Enum):\n    A = '@@'\nMADE = V.A",
    "text's member": "class V(enum.StrEnum):\n    A = '@@'\nMADE = V.A",
    "named tuple": "class V(NamedTuple):\n    q: str = '@@'\nMADE = V()",
    "plain": "class V:\n    def __init__(self): self.q = '@@'\nMADE = V()",
    "text": "class V(str): pass\nMADE = V('@@')",
    "mapping": "class V(dict): pass\nMADE = V(a='@@')",
    "function": "def V(x='@@'): return x\nMADE = V",
    "lambda": "MADE = lambda x='@@': x",
    "partial": "def g(x, y): return x + y\nMADE = functools.partial(g, y='@@')",
    "method": "class W:\n    def m(self): return '@@'\nMADE = W().m",
    "closure": "def make(n):\n    def inner(x): return x + n\n    return inner\nMADE = make('@@')",
    "class": "class V:\n    a = '@@'\nMADE = V",
    "attrs": "@attrs.define\nclass V:\n    q: str = '@@'\nMADE = V()",
    "namespace": "@dataclass\nclass I:\n    a: str = '@@'\nMADE = types.SimpleNamespace(i=I())",
}
"""What is made, of a text."""
ROLES = {
    "global": ("['a']", "str(type(MADE))", ""),
    "argument": ("['a']", "str(type(given))", ""),
    "row": ("[(MADE,)]", "str(type(x))", ""),
    "within a row": ("[({'k': [MADE]},)]", "str(type(x))", ""),
    "beside an id": ("[{'id': 'i', 'x': MADE}]", "str(type(x))", ""),
    "id": ("[{'id': MADE, 'x': MADE}]", "str(type(x))", ""),
    "made later": ("lambda: iter([(MADE,)])", "str(type(x))", ""),
    "depends_on": ("['a']", "'1'", ", depends_on={'v': MADE}"),
}
"""Where it stands: the dataset, what an evaluation returns, and what else it is given."""
HEAD = (
    "import enum, functools, types\nfrom dataclasses import dataclass, field\nfrom typing import NamedTuple\n"
    "import attrs, pydantic\n"
)
TASK = "from doteval import Result, foreach\nfrom .{module} import *\n"
ROLE = "@foreach('x', {0}{2})\ndef eval_{name}(x{given}): return Result({1})\n"
CHILD = """
import asyncio, importlib, json, sys
store, *names = sys.argv[1:]
from doteval.evals import EvaluationChangedError, run
async def all_of_them():
    found = {}
    for name in names:
        task = importlib.import_module(f"bench.{name}.task")
        for each in [each for each in vars(task) if each.startswith("eval_")]:
            arguments = {"given": task.MADE} if "argument" in each else {}
            try:
                outcome = await run(getattr(task, each), store=store, experiment=name, arguments=arguments)
                found[f"{name}.{each}"] = outcome.calls
            except EvaluationChangedError:
                found[f"{name}.{each}"] = "refused"
    return found
print(json.dumps(asyncio.run(all_of_them())))
"""


def written(place: Path, module: str, text: str) -> None:
    for name, source in KINDS.items():
        package = place / "bench" / name.translate({ord(" "): "_", ord("'"): "_"})
        (package / "inner").mkdir(parents=True)
        path = package.joinpath(*module.split(".")).with_suffix(".py")
        path.write_text(HEAD + source.replace("@@", text))
        roles = [
            ROLE.format(*role, name=each.replace(" ", "_"), given=", given" if each == "argument" else "")
            for each, role in ROLES.items()
        ]
        (package / "task.py").write_text(TASK.format(module=module) + "".join(roles))
    (place / "pyproject.toml").touch()


@pytest.mark.process
def test_what_moves_to_another_module_is_answered(tmp_path: Path) -> None:
    """Whatever it is and wherever it stands, in another process; what has changed there is not."""

    def run_in(place: str) -> dict[str, Any]:
        names = [each.name for each in sorted((tmp_path / place / "bench").iterdir())]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / place), *filter(None, sys.path)])}
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CHILD, str(tmp_path / "results.db"), *names],
            cwd=tmp_path / place,
            env=environment,
            capture_output=True,
            check=True,
            timeout=300,
        )
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    written(tmp_path / "first", "here", "one")
    written(tmp_path / "moved", "inner.elsewhere", "one")
    written(tmp_path / "edited", "inner.elsewhere", "another")
    first = run_in("first")
    assert len(first) == len(KINDS) * len(ROLES)
    assert first == dict.fromkeys(first, 1)
    for place in ("first", "moved"):
        assert (place, run_in(place)) == (place, dict.fromkeys(first, 0))
    edited = run_in("edited")
    assert {name: each for name, each in edited.items() if each == 0} == {}


SAME = "import enum\nclass Case:\n    def __init__(self, q): self.q = q\nclass Sort(enum.Enum):\n    A = 1\n"
ROWS = {
    "objects": ("[(a.Case('x'),), (b.Case('x'),)]", "[(b.Case('x'),), (a.Case('x'),)]"),
    "classes": ("[(a.Case,), (b.Case,)]", "[(b.Case,), (a.Case,)]"),
    "members": ("[(a.Sort.A,), (b.Sort.A,)]", "[(b.Sort.A,), (a.Sort.A,)]"),
    "within others": ("[([a.Case('x')],), ([b.Case('x')],)]", "[([b.Case('x')],), ([a.Case('x')],)]"),
    "ids": ("[{'x': 1, 'id': a.Sort.A}, {'x': 1, 'id': b.Sort.A}]", "[{'x': 1, 'id': k.Sort.A} for k in (b, a)]"),
    "made by a function": ("lambda: [(a.Case('x'),), (b.Case('x'),)]", "lambda: [(b.Case('x'),), (a.Case('x'),)]"),
    "of a mapping": ("lambda: [(BY[n]('x'),) for n in 'ab']", "lambda: [(BY[n]('x'),) for n in 'ba']"),
    "generated": ("((each('x'),) for each in (a.Case, b.Case))", "((each('x'),) for each in (b.Case, a.Case))"),
    "iterated": ("iter([(a.Case('x'),), (b.Case('x'),)])", "iter([(b.Case('x'),), (a.Case('x'),)])"),
    "made by a function of a function": ("lambda: made('ab')", "lambda: made('ba')"),
}
PLACES = (("theirs_a", "theirs_b"), ("theirs.one.cases", "theirs.other.cases"), ("theirs.one.a", "theirs_a"))


@pytest.fixture
def modules() -> Iterator[dict[str, ModuleType]]:
    before = {*sys.modules}
    yield sys.modules
    for each in sys.modules.keys() - before:
        del sys.modules[each]


def keys_of(dataset: Any) -> list[str]:
    async def read() -> list[str]:
        return [row.inputs.key async for row in Source("it", ("x",), dataset).read()]

    return asyncio.run(read())


@pytest.mark.parametrize("places", PLACES, ids=" ".join)
@pytest.mark.parametrize("kind", ROWS)
def test_those_of_one_name_are_told_apart_in_any_order(
    kind: str, places: tuple[str, str], modules: dict[str, ModuleType]
) -> None:
    """The keys of two rows that differ in nothing else are those of their own modules."""
    scope: dict[str, Any] = {"__name__": "tasks"}
    for name, place in zip("ab", places, strict=True):
        scope[name] = modules[place] = ModuleType(place)
        exec(SAME, vars(modules[place]))
    exec("BY = {'a': a.Case, 'b': b.Case}\ndef made(names): return [(BY[each]('x'),) for each in names]", scope)
    one, other = (keys_of(eval(each, scope)) for each in ROWS[kind])
    assert len({*one}) == 2
    assert one == [*reversed(other)]


@pytest.mark.parametrize("several", [*itertools.product("ab", repeat=2)], ids="".join)
def test_one_that_is_found_only_as_rows_come_is_told_from_the_others(
    several: tuple[str, ...], modules: dict[str, ModuleType]
) -> None:
    """As of modules whose names are put together."""
    for name in several:
        modules[f"theirs_{name}"] = ModuleType(f"theirs_{name}")
        exec(SAME, vars(modules[f"theirs_{name}"]))
    keys = keys_of(lambda: [(vars(sys.modules[f"theirs_{name}"])["Case"]("x"),) for name in several])
    assert len({*keys}) == 2
    assert (keys[1] == f"{keys[0]} 2") == (several[0] == several[1])

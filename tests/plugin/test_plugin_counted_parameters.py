"""Which parameters pytest has counted the values of, by the ways in which ids are given or are not."""

from __future__ import annotations

from tests.plugin.runs import Runs, assert_clean

from doteval.evals import Store
from doteval.evals._results.alike import counterparts
from doteval.evals._results.identity import COUNTED

FILES = {
    "conftest.py": """
import pytest

class Known:
    def __init__(self, text):
        self.text = text

def pytest_make_parametrize_id(val, argname):
    return val.text if isinstance(val, Known) else None

@pytest.fixture(params=[object(), object()])
def made(request):
    return request.param

@pytest.fixture(params=[object(), object()], ids=["named0", "named1"])
def named(request):
    return request.param

def pytest_generate_tests(metafunc):
    if "generated" in metafunc.fixturenames:
        metafunc.parametrize("generated", [[1], [2]])
    if "called" in metafunc.fixturenames:
        metafunc.parametrize("called", [[1], [2]], ids=["called0", "called1"])
""",
    "eval_it.py": """
import pytest
from conftest import Known
from doteval import foreach, Result

def cases(*values, **settings):
    return pytest.mark.parametrize("v", values, **settings)

def of(*marks):
    def decorate(function):
        function = foreach("n", [1])(function)
        for mark in marks:
            function = mark(function)
        return function
    return decorate

def v0(): ...
def v1(): ...

ONE, TWO = {"a": 1}, {"a": 2}

@of(cases(ONE, TWO))
async def eval_v(n, v): return Result(v, scores={"is": True})

@of(cases(ONE, TWO, ids=["v0", "v1"]))
async def eval_ids(n, v): return Result(v, scores={"is": True})

@of(cases(ONE, TWO, ids=iter(["v1", "v0"])))
async def eval_iterator(n, v): return Result(v, scores={"is": True})

@of(cases(pytest.param({"a": 3}, id="v0"), pytest.param({"a": 4}, id="v1")))
async def eval_param(n, v): return Result(v, scores={"is": True})

@of(cases({"a": 5}, {"a": 6}, ids=lambda each: f"v{each['a']}"))
async def eval_function(n, v): return Result(v, scores={"is": True})

@of(cases({"a": 5}, {"a": 6}, ids=lambda each: None))
async def eval_v_function_of_none(n, v): return Result(v, scores={"is": True})

@of(cases({"a": 7}, {"a": 8}, ids=[None, None]))
async def eval_v_list_of_none(n, v): return Result(v, scores={"is": True})

@of(cases(Known("v0"), Known("v1")))
async def eval_hook(n, v): return Result("", scores={"is": True})

@of(cases("v0", "v1"))
async def eval_texts(n, v): return Result(v, scores={"is": True})

@of(cases(b"v0", b"v1"))
async def eval_bytes(n, v): return Result("", scores={"is": True})

@of(cases(v0, v1))
async def eval_functions(n, v): return Result("", scores={"is": True})

@of()
async def eval_made(n, made): return Result("", scores={"is": True})

@of()
async def eval_named(n, named): return Result("", scores={"is": True})

@of()
async def eval_generated(n, generated): return Result("", scores={"is": True})

@of()
async def eval_called(n, called): return Result("", scores={"is": True})

@of(cases(ONE, TWO), pytest.mark.parametrize("x,y", [([1], "y0"), ([2], "y1")]))
async def eval_v_x(n, v, x, y): return Result(v, scores={"is": True})
""",
}
COUNTED_IN = {
    "eval_v": "v",
    "eval_v_function_of_none": "v",
    "eval_v_list_of_none": "v",
    "eval_made": "made",
    "eval_generated": "generated",
    "eval_v_x": "v,x",
}


def test_a_parameter_is_counted_where_nobody_chose_an_id(runs: Runs) -> None:
    """An id that was chosen looks the same and is a name, also where values change their places or are edited."""
    for name, text in FILES.items():
        (runs.pytester.path / name).write_text(text)
    assert_clean(runs.run("eval_it.py", "--eval-experiment", "it", "--eval-store", "one.db"), passed=34)
    swapped = FILES["eval_it.py"].replace("ONE, TWO = {", "TWO, ONE = {")
    (runs.pytester.path / "eval_it.py").write_text(swapped)
    assert_clean(runs.run("eval_it.py", "--eval-experiment", "it", "--eval-store", "two.db"), passed=34)
    with Store(runs.pytester.path / "one.db") as one, Store(runs.pytester.path / "two.db") as two:
        before, after = one.evaluations("it"), two.evaluations("it")
    found: dict[str, set[str]] = {}
    for each in before:
        found.setdefault(each.name.rpartition("::")[2].partition("[")[0], set()).add(each.identity.get(COUNTED, "="))
    counted = {name: f"={parameters}" for name, parameters in COUNTED_IN.items()}
    assert found == {name: {counted.get(name, "=")} for name in found}
    assert len(found) == FILES["eval_it.py"].count("async def eval_")
    moved = {
        one.name.rpartition("::")[2].partition("[")[0]
        for one, other in counterparts(before, after)
        if one.name != other.name
    }
    assert moved == {"eval_v", "eval_v_x"}
    assert len(counterparts(before, after)) == len(before)

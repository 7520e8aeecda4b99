"""What results depend on: whatever makes them those of something else is noticed and named, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from doteval import Result, foreach
from doteval.evals import EvaluationChangedError, run
from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import changes, with_what_was_written
from doteval.evals._written import IS_WRITTEN

BASE = """
import dataclasses, enum, functools, json, logging, re, threading
from dataclasses import dataclass
import {helpers} as helpers
from {helpers} import imported

TEMPLATE = "Question: {{}}"
EXAMPLES = [("1+1", 2), ("2+2", 4)]
PATTERN = re.compile("[0-9]+")
SETTINGS = {{"strict": True, "words": {{"yes", "no"}}}}
LOCK = threading.Lock()
LOG = logging.getLogger("it")
seen = []
counts = {{}}
number = 0

def normal(text):
    return text.strip()

def scorers():
    return {{"exact": lambda one, other: one == other}}

def unused(text):
    return text

def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

@decorated
def wrapped(text):
    return text + "w"

@functools.lru_cache
def cached(text):
    return text + "c"

@dataclass(frozen=True)
class Rubric:
    criterion: str = "short"
    weight: float = 1.0

class Kind(enum.Enum):
    ONE = 1

class Judge:
    threshold = 3

    def __init__(self, rubric):
        self.rubric = rubric
        self.asked = 0
        self.answers = []

    def judge(self, text):
        self.asked += 1
        self.answers.append(text)
        return len(text) > self.threshold

JUDGE = Judge(Rubric())

class State:
    last = None

STATE = State()

def make():
    level = 3
    calls = []

    def eval_it(value, *, limit=10):
        "What it is for."
        global number
        number += 1
        seen.append(value)
        counts[value] = number
        calls.append(value)
        STATE.last = value
        with LOCK:
            LOG.info("here")
        from {helpers} import late
        parts = [normal(TEMPLATE.format(value)), EXAMPLES, PATTERN.findall("1"), SETTINGS["strict"], imported(value)]
        parts += [helpers.scale(2), helpers.FACTOR, scorers()["exact"](1, 1), wrapped(""), cached(""), JUDGE.judge("x")]
        return parts + [Kind.ONE, level, limit, late(value), json.dumps(value), [normal(each) for each in "ab"]]

    return eval_it
"""
HELPERS = """
FACTOR = 2

def scale(value):
    return value * FACTOR * deep(value)

def deep(value):
    return value + 1

def imported(value):
    return value

def late(value):
    return value

def unused(value):
    return value
"""


def identity_of(name: str, base: str = BASE, helpers: str = HELPERS) -> Mapping[str, str]:
    """What the function depends on that the source makes."""
    modules = {f"{name}_helpers": helpers, name: base.format(helpers=f"{name}_helpers")}
    for each, source in modules.items():
        sys.modules[each] = module = ModuleType(each)
        exec(compile(source, f"<{each}>", "exec"), vars(module))
    try:
        walk = Walk()
        walk.add_function("its code", sys.modules[name].__dict__["make"]())
        return walk.parts
    finally:
        for each in modules:
            del sys.modules[each]


def changed_by(old: str, new: str) -> set[str]:
    """What is named where the source has one text in the place of another."""
    assert old in BASE + HELPERS
    before = identity_of("one")
    after = identity_of("one", BASE.replace(old, new), HELPERS.replace(old, new))
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("limit=10", "limit=11", "its code"),
        ('"ab"', '"abc"', "its code"),
        ("(1, 1)", "(1, True)", "its code"),
        ("text.strip()", "text.lower()", "the function 'normal'"),
        ("one == other", "one != other", "scorers"),
        ("Question", "Frage", "the value 'TEMPLATE'"),
        ('("2+2", 4)', '("2+2", 4.0)', "the value 'EXAMPLES'"),
        ("[0-9]+", "[0-9]*", "the value 'PATTERN'"),
        ('"strict": True', '"strict": 1', "the value 'SETTINGS'"),
        ('{{"yes", "no"}}', '{{"yes", "nope"}}', "the value 'SETTINGS'"),
        ('text + "w"', 'text + "x"', "the function 'wrapped'"),
        ("function(*args)", "function(*args[:])", "the function 'wrapped'"),
        ('text + "c"', 'text + "d"', "the function 'cached'"),
        ('criterion: str = "short"', 'criterion: str = "long"', "the value 'JUDGE'"),
        ("weight: float", "weight: int", "the class 'Rubric'"),
        ("ONE = 1", "ONE = 2", "the class 'Kind'"),
        ("threshold = 3", "threshold = 4", "the class 'Judge'"),
        ("len(text) >", "len(text) <", "the class 'Judge'"),
        ("Judge(Rubric())", "Judge(Rubric(weight=2.0))", "the value 'JUDGE'"),
        ("level = 3", "level = 4", "the value 'level'"),
        ("FACTOR = 2", "FACTOR = 3", "the value 'FACTOR'"),
        ("value * FACTOR", "value + FACTOR", "the function 'scale'"),
        ("value + 1", "value + 2", "the function 'deep'"),
        (
            "def imported(value):\n    return value",
            "def imported(value):\n    return -value",
            "the function 'imported'",
        ),
        ("def late(value):\n    return value", "def late(value):\n    return -value", "the function 'late'"),
        (
            "import dataclasses, enum, functools, json,",
            "import dataclasses, enum, functools, pickle as json,",
            "its code",
        ),
    ],
)
def test_what_a_result_depends_on_is_noticed_and_named(old: str, new: str, name: str) -> None:
    """Wherever it stands: in the function, in what it calls, in what that calls, in what it reads."""
    assert any(name in found for found in changed_by(old, new)), changed_by(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.asked = 0", "self.asked = 0  # not yet"),
        ("last = None", "last = None  # not yet"),
        ('"What it is for."', '"""What it is for, in other words."""'),
        ("def unused(text):\n    return text", "def unused(text):\n    return text * 2"),
        ("def unused(value):\n    return value", "def unused(value):\n    return value * 2"),
        ("    level = 3\n", "\n\n    # a comment\n    level = 3\n"),
        ("def normal(text):", "def normal(text: str) -> str:"),
        ('getLogger("it")', 'getLogger("other")'),
        ('{{"yes", "no"}}', '{{"no", "yes"}}'),
        ('"strict": True, "words": {{"yes", "no"}}', '"words": {{"yes", "no"}}, "strict": True'),
    ],
)
def test_what_no_result_depends_on_is_not(old: str, new: str) -> None:
    """Layout, comments, docstrings, annotations, and what is not read; the order of mappings is told only."""
    assert {each for each in changed_by(old, new) if not each.startswith("the order of ")} == set()


def test_running_the_code_changes_nothing() -> None:
    """Counters, caches and logs are state; in a notebook the same function is run again and again."""
    name = "stateful"
    sys.modules[f"{name}_helpers"] = helpers = ModuleType(f"{name}_helpers")
    exec(HELPERS, vars(helpers))
    scope: dict[str, Any] = {"__name__": name}
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(scope)
    exec(BASE.format(helpers=f"{name}_helpers"), vars(sys.modules[name]))
    try:
        function = vars(sys.modules[name])["make"]()
        found: list[Mapping[str, str]] = []
        for value in range(3):
            walk = Walk()
            walk.add_function("its code", function)
            found.append(walk.parts)
            function(value)
        kept = with_what_was_written(found[0], found[1])
        assert not changes(kept, found[1])
        assert not changes(kept, found[2])
        assert {part for part in kept.values() if part.startswith(IS_WRITTEN)}
    finally:
        del sys.modules[name], sys.modules[f"{name}_helpers"]


@pytest.mark.process
def test_another_process_finds_the_same(tmp_path: Path) -> None:
    """Whatever order its sets have, and wherever its objects lie; also where its modules were compiled before."""
    (tmp_path / "theirs_helpers.py").write_text(HELPERS)
    (tmp_path / "theirs.py").write_text(BASE.format(helpers="theirs_helpers"))
    program = dedent(
        """
        import json, theirs
        from doteval.evals._identity.walk import Walk
        walk = Walk()
        walk.add_function("its code", theirs.make())
        print(json.dumps(walk.parts))
        """
    )
    found = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", program],
                cwd=tmp_path,
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
                check=True,
                capture_output=True,
                timeout=60,
            ).stdout
        )
        for seed in ("1", "2", "3")
    ]
    assert found[0] == found[1] == found[2]


READS = "def ask(q): return helper(q) if q else q"
DEFINED = "def helper(q): return q"


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (
            READS,
            f"{READS}\n{DEFINED}",
            ["the name 'helper' was not defined when these results were made", "what its code refers to has changed"],
        ),
        (f"{READS}\n{DEFINED}", READS, ["the name 'helper' is not defined", "what its code refers to has changed"]),
        (f"{READS}\nhelper = repr", f"{READS}\n{DEFINED}", ["what its code refers to has changed"]),
        (READS, READS.replace("if q", "if not q"), ["its code has changed"]),
        (f"{READS}\n{DEFINED}", f"{READS}\n{DEFINED} * 2", ["the function 'helper' has changed"]),
    ],
)
def test_what_is_told_is_true(before: str, now: str, told: list[str]) -> None:
    """Code is not said to have changed that only refers to something else, such as what nothing had defined."""
    is_new = {f"the {kind} 'helper' is {what}" for kind in ("function", "value") for what in ("new", "gone")}
    found = changes(identity_of_source(before), identity_of_source(now))
    assert [each for each in found if each not in is_new] == told


def identity_of_source(source: str) -> Mapping[str, str]:
    held: dict[str, Any] = {"__name__": "a_cell"}
    exec(compile(source, "<cell>", "exec"), held)
    walk = Walk()
    walk.add_function("its code", held["ask"])
    return walk.parts


@pytest.mark.anyio
@pytest.mark.parametrize("epochs", [1, 2])
async def test_another_order_of_a_mapping_is_told(epochs: int, tmp_path: Path) -> None:
    """It may be that of a prompt, and may say nothing: results are kept, whether they are all there are or some."""

    def evaluation(sections: Any, deeper: Any) -> Any:
        @foreach("q", ["a"])
        async def eval_it(q: str) -> Result:
            return Result(q + "".join(sections.values()) + "".join(deeper[0].values()))

        return eval_it

    one, other = {"role": "You are a clerk.", "task": "Sum up."}, {"task": "Sum up.", "role": "You are a clerk."}
    store = tmp_path / "results.db"
    await run(evaluation(one, [one]), store=store, name="it")
    assert not (await run(evaluation({**one}, [{**one}]), store=store, name="it")).warnings
    for sections, deeper, named in ((other, one, "'sections'"), (one, other, "'deeper'")):
        outcome = await run(evaluation(sections, [deeper]), store=store, name="it", epochs=epochs)
        (told,) = outcome.warnings
        assert f"the order of what the value {named} holds has changed, which a prompt may show" in told
        await run(evaluation(one, [one]), store=store, name="it", epochs=epochs)
    with pytest.raises(EvaluationChangedError, match="the value 'deeper' has changed"):
        await run(evaluation(one, [[*other.items()]]), store=store, name="it")


DECORATED = """
import contextlib, functools
def by_hand(function):
    @functools.wraps(function)
    def within(*args): return function(*args)
    return within
@contextlib.contextmanager
def text(): yield "text"
@functools.lru_cache
def cached(q): return q
@functools.singledispatch
def of_kind(q): return q
@by_hand
def wrapped(q): return q
class Prompt:
    @functools.cached_property
    def computed(self): return "computed"
    @contextlib.contextmanager
    def within(self): yield "within"
PROMPT = Prompt()
def ask(q):
    with text() as found, PROMPT.within() as inner:
        return found + inner + cached(q) + of_kind(q) + wrapped(q) + PROMPT.computed
"""


def test_what_a_module_is_called_does_not_count() -> None:
    """As it is called otherwise with another import mode of pytest, or where another directory is on the path."""

    def parts_of(name: str, text: str) -> Mapping[str, str]:
        module = sys.modules[name] = ModuleType(name)
        exec(compile(text, "/project/it.py", "exec", dont_inherit=True), vars(module))
        walk = Walk()
        walk.add_function("its code", module.ask)
        del sys.modules[name]
        return {**walk.parts}

    found = parts_of("eval_it", DECORATED)
    assert not changes(found, parts_of("evals.eval_it", DECORATED))
    assert changes(found, parts_of("evals.eval_it", DECORATED.replace('yield "text"', 'yield "other"')))

"""What an evaluation writes is state, where its code can write it and a run was seen to do so; and nothing else is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from doteval.evals import EvaluationChangedError, Outcome, Store, run
from doteval.evals._results.identity import changes, with_what_was_known, with_what_was_written

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about what code writes."""
    return "trio"


HEAD = "from doteval import Result, foreach\n"
ASKED = "\n@foreach('q', [('a',), ('b',)])\nasync def eval_it(q):\n    return Result(str(await ask(q)))\n"

# Each puts something under a local name, which another thing gets before that is written, or writes something else.
NOT_WRITTEN = {
    "bound again": """
async def ask(q):
    m = TOLD
    m = [*m, q]
    m.append('x')
    return m
""",
    "bound again where": """
async def ask(q):
    m = TOLD
    if q:
        m = m + [q]
        m.append('x')
    return m
""",
    "used up": """
async def ask(q):
    m = TOLD
    first = m[0]
    m = []
    m.append(q)
    return first, m
""",
    "a loop's": """
async def ask(q):
    m = TOLD
    text = ''.join(m)
    for m in [[1]]:
        m.append(q)
    return text
""",
    "an attribute": """
class P:
    shots = TOLD
    def go(self, q):
        m = self.shots
        m = m + [q]
        m.append(1)
        return m
async def ask(q):
    return P().go(q)
""",
    "never reached": """
async def ask(q):
    if q == 'never':
        TOLD.append(q)
    return TOLD
""",
    "present": """
SET = {'told': TOLD}
async def ask(q):
    return SET.setdefault('told', ['none'])
""",
    "beside": """
SET = {'told': TOLD, 'n': 0}
async def ask(q):
    SET.update(n=SET['n'] + 1)
    return SET['told']
""",
    "in what is added to": """
async def ask(q):
    global TOLD
    TOLD += [q]
    return TOLD[0]
""",
    "in a window": """
class Chat:
    def __init__(self, told):
        self.turns = told
    def ask(self, q):
        self.turns = [self.turns[0]] + [*self.turns[1:], q][-2:]
        return self.turns[0]
CHAT = Chat(TOLD)
async def ask(q):
    return CHAT.ask(q)
""",
    "in a mapping made anew": """
SET = {'told': TOLD[0], 'n': 0}
async def ask(q):
    global SET
    SET = {**SET, 'n': SET['n'] + 1}
    return SET['told']
""",
    "in a data class made anew": """
from dataclasses import dataclass, replace
@dataclass
class Settings:
    told: str
    n: int = 0
SET = Settings(TOLD[0])
async def ask(q):
    global SET
    SET = replace(SET, n=SET.n + 1)
    return SET.told
""",
    "put back": """
async def ask(q):
    global TOLD
    before, TOLD = TOLD, [q]
    TOLD = before
    return TOLD
""",
}
# Each with what is done by hand before a run, as in a notebook.
WRITTEN = {
    "a counter": (
        """
N = 0
async def ask(q):
    global N
    N += 1
    return q
""",
        "N = 3",
    ),
    "a cache": (
        """
C = {}
async def ask(q):
    C[q] = q
    return C.setdefault(q, q)
""",
        "C['by hand'] = 1",
    ),
    "a history": (
        """
H = []
async def ask(q):
    H.append(q)
    return q
""",
        "H.append('by hand')",
    ),
    "made when asked for": (
        """
M = None
async def ask(q):
    global M
    M = M or object()
    return q
""",
        "M = 'made'",
    ),
    "an object's": (
        """
class A:
    def __init__(self): self.n = 0
    async def go(self, q):
        self.n += 1
        return q
AGENT = A()
async def ask(q):
    return await AGENT.go(q)
""",
        "AGENT.n = 5",
    ),
    "a class's": (
        """
class A:
    made = []
    def __init__(self): A.made.append(1)
async def ask(q):
    A()
    return q
""",
        "A()",
    ),
    "what refers to more": (
        """
class Seen:
    def __init__(self, q): self.q = q
S = {}
async def ask(q):
    S[q] = Seen(q)
    return q
""",
        "S['by hand'] = Seen(1)",
    ),
}
FAILING = """
first = ask
async def ask(q):
    await FAILS(q)
    return await first(q)
FAILS = None
"""
STOPPING = """
first = ask
async def ask(q):
    return await STOPS(q, await first(q))
STOPS = None
"""


# What the code does not show that it writes.
UNSEEN = {
    "a set attribute": """
class S:
    def go(self, q):
        for name in ('last', 'seen'):
            setattr(self, name, q)
HELD = S()
async def ask(q):
    HELD.go(q)
    return q
""",
    "through a loop": """
HELD = {'a': [], 'b': []}
async def ask(q):
    for each in HELD.values():
        each.append(q)
    return q
""",
    "through a parameter": """
HELD = {'a': 0}
def note(held, q):
    held[q] = len(held)
async def ask(q):
    note(HELD, q)
    return q
""",
    "by a library": """
import heapq
HELD = []
async def ask(q):
    heapq.heappush(HELD, q)
    return q
""",
    "an alias": """
HELD = []
save = HELD.append
async def ask(q):
    save(q)
    return q
""",
}


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    yield
    sys.modules.pop("eval_written", None)


def fresh(source: str) -> Any:
    """The module, as another process has it."""
    module = sys.modules["eval_written"] = ModuleType("eval_written")
    exec(compile(HEAD + source + ASKED, "/theirs/eval_written.py", "exec"), vars(module))
    return module


async def answered(module: Any, path: Path, **options: Any) -> Outcome:
    async with Store(path) as store:
        return await run(module.eval_it, store=store, **options)


@pytest.mark.parametrize("kind", NOT_WRITTEN)
async def test_what_code_could_write_and_never_did_counts(tmp_path: Path, kind: str) -> None:
    """However the code is read: two have to be wrong before an answer is."""
    source = f"TOLD = ['@@']\n{NOT_WRITTEN[kind]}"
    path = tmp_path / "results.db"
    one = fresh(source.replace("@@", "brief"))
    assert not (await answered(one, path)).answered
    assert (await answered(one, path)).answered
    assert (await answered(fresh(source.replace("@@", "brief")), path)).answered
    with pytest.raises(EvaluationChangedError):
        await answered(fresh(source.replace("@@", "long")), path)


@pytest.mark.parametrize("kind", WRITTEN)
async def test_what_a_run_was_seen_to_write_is_state(tmp_path: Path, kind: str) -> None:
    """In the same process, in another one, and after it was tried by hand."""
    source, by_hand = WRITTEN[kind]
    path = tmp_path / "results.db"
    module = fresh(source)
    assert not (await answered(module, path)).answered
    assert (await answered(module, path)).answered
    exec(by_hand, vars(module))
    assert (await answered(module, path)).answered
    for prepare in (by_hand, "", by_hand):  # what is known of it goes with the results
        another = fresh(source)
        exec(prepare, vars(another))
        assert (await answered(another, path)).answered


@pytest.mark.parametrize("kind", UNSEEN)
async def test_what_a_run_has_left_is_no_change(tmp_path: Path, kind: str) -> None:
    """Nor what another process begins with; all else is."""
    path = tmp_path / "results.db"
    module = fresh(UNSEEN[kind])
    assert not (await answered(module, path)).answered
    assert (await answered(module, path)).answered
    assert (await answered(fresh(UNSEEN[kind]), path)).answered
    another = fresh(UNSEEN[kind])
    exec("HELD.append('by hand')" if kind == "an alias" else "HELD = ['another prompt']", vars(another))
    with pytest.raises(EvaluationChangedError):
        await answered(another, path)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], scope="module")
@pytest.mark.parametrize("kind", {**WRITTEN, **UNSEEN})
@pytest.mark.parametrize("how", ["cancelled", "raises"])
async def test_what_a_run_has_written_that_did_not_end_is_state(tmp_path: Path, kind: str, how: str) -> None:
    """It goes on where it was, in the same process and in another."""
    source = UNSEEN.get(kind) or WRITTEN[kind][0]
    path = tmp_path / "results.db"
    module = fresh(source + STOPPING)
    asked: list[str] = []

    def stops(leave: Callable[[], object]) -> Callable[..., Any]:
        async def on_second(q: str, said: str) -> str:
            asked.append(q)
            if len(asked) == 2:
                leave()
                await anyio.lowlevel.checkpoint()
                raise ValueError("the second row fails")
            return said

        return on_second

    with anyio.CancelScope() as scope:
        module.STOPS = WithoutIdentity(stops(scope.cancel if how == "cancelled" else lambda: None))
        await answered(module, path, concurrency=1)
    outcome = await answered(module, path, max_errors=0)
    assert (outcome.known, outcome.summary.rows, outcome.summary.errors) == (1, 2, 0)
    assert asked == ["a", "b", "b"]
    assert (await answered(module, path)).answered


async def test_what_is_known_of_it_goes_with_results_that_are_not_all_there(tmp_path: Path) -> None:
    """Also where a run has been in between that has written nothing."""
    source, by_hand = WRITTEN["an object's"]
    path = tmp_path / "results.db"

    async def fails_second(q: str) -> None:
        if q == "b":
            raise ValueError("the second row fails before it writes anything")

    for prepare, known in (("", 0), (by_hand, 1), ("AGENT.n = 7", 1)):
        module = fresh(source + FAILING)
        exec(prepare, vars(module))
        module.FAILS = WithoutIdentity(fails_second)
        outcome = await answered(module, path)
        assert (outcome.known, outcome.summary.errors) == (known, 1)


async def test_it_goes_with_results_that_are_kept_though_the_code_has_changed(tmp_path: Path) -> None:
    source, by_hand = WRITTEN["an object's"]
    path = tmp_path / "results.db"
    await answered(fresh(source), path)
    changed = source.replace("return q", "return q + ''")
    assert (await answered(fresh(changed), path, changed="keep")).answered
    module = fresh(changed)
    exec(by_hand, vars(module))
    assert (await answered(module, path)).answered


async def test_what_is_made_when_it_is_asked_for_may_be_there_already(tmp_path: Path) -> None:
    source, by_hand = WRITTEN["made when asked for"]
    module = fresh(source)
    exec(by_hand, vars(module))
    assert not (await answered(module, tmp_path / "results.db")).answered
    assert (await answered(fresh(source), tmp_path / "results.db")).answered


@pytest.mark.parametrize("kind", WRITTEN)
async def test_what_was_written_is_known_before_the_first_result_is(tmp_path: Path, kind: str) -> None:
    """So that it is, wherever the process is killed from then on."""
    module = fresh(WRITTEN[kind][0])
    async with Store(tmp_path / "results.db") as store:
        known: list[bool] = []

        def on_record(_record: object) -> None:
            if not known:
                found = [each for each in store.evaluations() if each.stored]
                known.extend(any(part.startswith("~") for part in each.identity.values()) for each in found)

        await run(module.eval_it, store=store, on_record=on_record, concurrency=1)
    assert known == [True]


@pytest.mark.parametrize("kind", {**WRITTEN, **UNSEEN})
async def test_what_another_run_of_the_process_has_left_is_no_change(tmp_path: Path, kind: str) -> None:
    """Of a loop over models: the next run begins with what the last one has left, and another process does not."""
    source = UNSEEN.get(kind) or WRITTEN[kind][0]
    path = tmp_path / "results.db"
    module = fresh(source)
    for name in ("one", "two", "three"):
        assert not (await answered(module, path, name=name)).answered
    for name in ("one", "two", "three", "one"):
        assert (await answered(module, path, name=name)).answered
    another = fresh(source)
    for name in ("three", "one", "two"):
        assert (await answered(another, path, name=name)).answered
    assert not (await answered(another, path, name="four")).answered
    assert (await answered(fresh(source), path, name="four")).answered


class WithoutIdentity:
    """A part of the test that is no part of the evaluation."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __doteval_identity__(self) -> dict[str, object]:
        return {}


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("1", "1", "1"),
        ("?1", "?1", "?1"),
        ("?1", "?2", "~1"),
        ("?1", "", "~1"),
        ("", "?2", "~2"),
        ("~1", "?2", "~1"),
        ("1", "2", "1|2"),
        ("1", "", "1|"),
        ("", "2", "|2"),
        ("1|2", "2", "1|2"),
        ("1|2", "1", "1|2"),
        ("1|2", "3", "1|3"),
        ("=a|b", "=c", "=a|b"),
    ],
)
def test_what_is_kept_once_a_run_has_ended(before: str, after: str, kept: str) -> None:
    """Wherever it goes on from: as it was in the beginning, or at the end."""
    one, other = {"it": before} if before else {}, {"it": after} if after else {}
    found = with_what_was_written(one, other)
    assert found == {"it": kept}
    if not before.startswith("="):
        assert not changes(found, one)
        assert not changes(found, other)
        for now in (one, other):
            assert with_what_was_known(now, found).get("it") in {kept, f"~{after[1:]}"}
    assert changes(found, {"it": "9"})
    if not kept.startswith("~"):
        assert changes(found, {"it": "?9"})

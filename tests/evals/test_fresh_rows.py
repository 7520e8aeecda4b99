"""Each attempt of a row gets its values as they are in the dataset, whatever others have put into theirs."""

from __future__ import annotations

import threading
from array import array
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from doteval import Result, foreach
from doteval.evals import run
from doteval.evals._digests import fingerprint
from doteval.evals._results.record import Inputs
from doteval.evals._running.dataset import Row


class Items(list[Any]):
    """A list of the user's own."""


class Settings(dict[str, Any]):
    __slots__ = ("more",)


class Pair(NamedTuple):
    one: Any
    other: int = 1


@dataclass
class Case:
    held: Any


@dataclass(frozen=True, slots=True)
class Frozen:
    held: Any


class Model(BaseModel):
    held: Any


def settings(held: Any) -> Settings:
    made = Settings(held=1)
    made.more = held
    return made


def circular(held: Any) -> list[Any]:
    made = [held]
    made.append(made)
    return made


HOLDING: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "list": (lambda held: [held], itemgetter(0)),
    "tuple": (lambda held: (1, held), itemgetter(1)),
    "dict": (lambda held: {"a": held}, itemgetter("a")),
    "ordered": (lambda held: OrderedDict(a=held), itemgetter("a")),
    "with a default": (lambda held: defaultdict(list, a=held), itemgetter("a")),
    "of one's own": (lambda held: Items([held]), itemgetter(0)),
    "in a slot": (settings, attrgetter("more")),
    "deque": (lambda held: deque([held], 3), itemgetter(0)),
    "user's dict": (lambda held: UserDict(a=held), itemgetter("a")),
    "user's list": (lambda held: UserList([held]), itemgetter(0)),
    "chained": (lambda held: ChainMap({"a": held}), itemgetter("a")),
    "read only": (lambda held: MappingProxyType({"a": held}), itemgetter("a")),
    "named": (Pair, itemgetter(0)),
    "namespace": (lambda held: SimpleNamespace(held=held), attrgetter("held")),
    "circular": (circular, itemgetter(0)),
}
"""What holds something else, and how to get at it."""
CHANGED: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "list": (lambda: [1], lambda value: value.append(2)),
    "dict": (dict, lambda value: value.update(a=1)),
    "ordered": (OrderedDict, lambda value: value.update(a=1)),
    "counter": (Counter, lambda value: value.update("a")),
    "with a default": (lambda: defaultdict(list), itemgetter("new")),
    "of one's own": (lambda: Items([1]), lambda value: value.append(2)),
    "deque": (deque, lambda value: value.append(2)),
    "set": (set, lambda value: value.add(1)),
    "bytes": (bytearray, lambda value: value.append(1)),
    "array": (lambda: array("i"), lambda value: value.append(1)),
    "user's dict": (UserDict, lambda value: value.update(a=1)),
    "user's list": (UserList, lambda value: value.append(1)),
    "namespace": (SimpleNamespace, lambda value: setattr(value, "held", 2)),
}
"""What may be changed, and how."""


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_whatever_a_row_is_made_of_no_sample_sees_what_another_has_put_into_it(tmp_path: Path) -> None:
    """Each kind within each other; what stands in a row twice is one thing, and in the next run nothing has changed."""
    rows = [
        {"id": f"{outer} {inner}", "outer": outer, "inner": inner, "value": [HOLDING[outer][0](CHANGED[inner][0]())]}
        for outer in HOLDING
        for inner in CHANGED
    ]
    for row in rows:
        row["again"] = row["value"]
    seen: defaultdict[str, set[str]] = defaultdict(set)

    @foreach("outer,inner,value,again", rows, epochs=3)
    def eval_it(outer: str, inner: str, value: Any, again: Any) -> Result:
        held = HOLDING[outer][1](value[0])
        seen[f"{outer} {inner}"].add(repr((held, value)))
        assert again is value
        CHANGED[inner][1](held)
        assert repr((held, value)) not in seen[f"{outer} {inner}"]
        return Result(repr(value))

    outcome = await run(eval_it, store=tmp_path / "results.db", max_errors=0)
    assert [name for name, values in seen.items() if len(values) > 1] == []
    assert outcome.calls == 3 * len(rows)
    again = await run(eval_it, store=tmp_path / "results.db")
    assert (again.answered, again.warnings) == (True, ())


def test_a_row_whose_lists_share_others_is_copied_at_once() -> None:
    """Each list once; also where another column is nested too deep for a copy."""
    shared: Any = [[1]]
    deep: Any = shared
    for _ in range(60):
        shared = [shared, shared]
    for _ in range(100_000):
        deep = [deep]
    row = Row(0, {"a": shared, "deep": deep, "b": shared}, Inputs(0, {}, fingerprint({})))
    values = row.fresh_values()
    assert values["deep"] is deep
    for name in ("a", "b"):
        copy, original = values[name], shared
        for _ in range(61):
            assert copy is not original
            copy, original = copy[-1], original[-1]
        assert copy == [1]
    while deep:  # lest it is thrown away within itself
        deep = deep.pop() if isinstance(deep[-1], list) else None


class Recorder:
    """Of a plain class: it is one thing, whoever has it."""


@dataclass(eq=False)
class ByIdentity:
    calls: list[int]


class Watched(list[Any]):
    """Does something when it ends."""

    def __del__(self) -> None:
        assert self == ["made"]


@pytest.mark.parametrize("made", [Case(1), Frozen(1), Frozen([1]), Model(held=[1]), Recorder(), Watched(["made"])])
def test_what_is_no_container_is_what_it_is(made: Any) -> None:
    """Data classes as well, as ``is`` may tell one from another, and what one owns may end with it."""
    values = {"a": [made], "b": made}
    copies = Row(0, values, Inputs(0, {}, fingerprint({}))).fresh_values()
    assert copies["a"] is not values["a"]
    assert copies["a"][0] is copies["b"] is made


def test_what_a_container_holds_is_what_it_is() -> None:
    lock, recorder, known = threading.Lock(), Recorder(), ByIdentity([])
    values = {"a": [lock, (recorder, Case)], "b": Case(recorder), "c": {"x": known}}
    copies = Row(0, values, Inputs(0, {}, fingerprint({}))).fresh_values()
    assert copies["a"] == [lock, (recorder, Case)]
    assert copies["b"] is values["b"]
    assert copies["c"]["x"] is known

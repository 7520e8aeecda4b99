"""Cases of a test take turns on its event loops, where tests/conftest.py says so."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import conftest
from tests.conftest import BACKENDS, _left_out


class Item(SimpleNamespace):
    __hash__ = object.__hash__


def items(loops: list[str], *parameters: int, name: str = "test_it", called: str = "anyio_backend") -> list[Any]:
    """A test with parameters of so many values, as pytest would collect it."""
    values = [
        [f"{letter}{number}" for number in range(count)] for letter, count in zip("abc", parameters, strict=False)
    ]
    return [
        Item(
            path="test_file.py",
            cls=None,
            originalname=name,
            callspec=SimpleNamespace(params={called: loop, "other": 1}, _idlist=[*before, loop]),
        )
        for loop in loops
        for before in itertools.product(*values)
    ]


@given(
    loops=st.lists(st.sampled_from([*BACKENDS]), min_size=2, max_size=3, unique=True),
    parameters=st.lists(st.integers(1, 5), max_size=3),
    called=st.sampled_from(["anyio_backend", "backend"]),
)
def test_each_case_is_run_and_each_value_on_each_loop(loops: list[str], parameters: list[int], called: str) -> None:
    """The value of a parameter as far as there are enough of another; where a loop would have none, all are run."""
    found = items(loops, *parameters, called=called)
    left = {id(item) for item in _left_out(found)}
    ran = [tuple(item.callspec._idlist) for item in found if id(item) not in left]
    cases = {case[:-1] for case in ran}
    assert len(cases) == len(found) / len(loops)
    assert {case[-1] for case in ran} == {*loops}
    assert len(ran) == (len(cases) if max(parameters, default=1) >= len(loops) else len(ran))
    for place, count in enumerate(parameters):
        if max((*parameters[:place], *parameters[place + 1 :]), default=1) >= len(loops):
            assert len({(case[place], case[-1]) for case in ran}) == count * len(loops)


def test_nothing_else_is_left_out() -> None:
    """What has no event loop, or one in a parameter of another name, and tests of the same cases in other places."""
    others = [Item(), *items(["asyncio", "trio"], 4, called="plugin"), *items(["asyncio"], 4, name="test_b")]
    assert _left_out(others) == set()
    together = [*items(["asyncio", "trio"], 1), *items(["asyncio", "trio"], 1, name="test_other")]
    assert _left_out(together) == set()


@pytest.mark.parametrize("loops", ["all", ""])
def test_all_are_run_where_that_is_asked_for(loops: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPS", loops)
    found, told = items(["asyncio", "trio"], 2), list[Any]()
    for item in found:
        item.path = conftest._HERE / "evals" / "test_it.py"
        item.add_marker, item.get_closest_marker = (lambda name: None), (lambda name: None)

    def pytest_deselected(items: list[Any]) -> None:
        told.extend(items)

    config: Any = SimpleNamespace(args=["tests"], hook=SimpleNamespace(pytest_deselected=pytest_deselected))
    hook = conftest.pytest_collection_modifyitems(config, found)
    next(hook)
    with pytest.raises(StopIteration):
        next(hook)
    assert (len(found), len(told)) == ((4, 0) if loops else (2, 2))

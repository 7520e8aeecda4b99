"""Objects that have whatever they are asked for, as deferred expressions do: looked at in little time, each counts."""

from __future__ import annotations

import itertools
import operator
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import MagicMock

import pytest
from anyio import CancelScope, create_task_group, to_thread
from tests.evals.identity_kinds import Plain
from tests.evals.identity_kinds_of_packages import package
from tests.evals.test_identity_values import fingerprint

from doteval import Result, foreach
from doteval.evals import run

SOURCE = """
import itertools

made = itertools.count()

class Making:
    def __init__(self, name):
        if next(made) > 1000:
            raise RuntimeError("there is no end of them")
        self.name = name
    def __call__(self, *args):
        return type(self)((self.name, args))
    __getitem__ = __add__ = __mul__ = __eq__ = __call__
    __hash__ = object.__hash__

class Attributes(Making):
    def __getattr__(self, name):
        return type(self)((object.__getattribute__(self, "name"), name))

class Items(Attributes):
    def __iter__(self):
        return iter([self.x, self.y])
    def __len__(self):
        return 2

class Everything(Making):
    def __getattribute__(self, name):
        return type(self)(name)

class Some(Making):
    def __getattr__(self, name):
        return vars(self)["name"][name]  # a KeyError, where there is none
"""
LIBRARY = package("makes_whatever_it_is_asked_for", SOURCE)
OWN: dict[str, Any] = {"__name__": __name__}
exec(SOURCE, OWN)
LEADS: dict[str, Callable[[Any], Any]] = {
    "it": lambda made: made,
    "what it does": lambda made: made * 2,
    "what is made of it": operator.methodcaller("__add__", 2),
    "in a list": lambda made: [made],
    "in an object": Plain,
}


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("whose", [LIBRARY, None], ids=["of a package", "of the user's"])
@pytest.mark.parametrize("kind", ["Attributes", "Items", "Everything", "Some"])
def test_what_makes_attributes_is_known_by_those_that_it_has(kind: str, whose: Any, lead: str) -> None:
    """It is asked for few, and what makes another one of everything is not followed for ever."""
    scope: Any = OWN if whose is None else vars(whose)
    of = LEADS[lead]
    scope["made"] = itertools.count()
    found = [fingerprint(of(scope[kind](name))) for name in ("one", "one", "another")]
    assert next(scope["made"]) < 400
    assert found[0] == found[1]
    assert found[0] != found[2] or kind == "Everything"


def test_a_mock_is_not_made_another_by_looking_at_it() -> None:
    mock = MagicMock()
    before = fingerprint(mock)
    assert not vars(mock)["_mock_children"].keys() - {"__str__", "__repr__"}
    assert fingerprint(mock) == before


class Blocking:
    """It says what it is when it is let."""

    def __init__(self) -> None:
        self.is_asked, self.may_go_on = Event(), Event()

    def __doteval_identity__(self) -> dict[str, Any]:
        self.is_asked.set()
        self.may_go_on.wait()
        return {}


@foreach("q", ["a", "b"])
def ask(q: str, whom: object) -> Result:
    return Result(q)


@pytest.mark.anyio
async def test_a_look_that_has_no_end_is_left_behind(tmp_path: Path) -> None:
    """Whoever is cancelled meanwhile does not wait for it."""
    whom = Blocking()
    try:
        with CancelScope() as scope:

            async def cancel() -> None:
                await to_thread.run_sync(whom.is_asked.wait)
                scope.cancel()

            async with create_task_group() as task_group:
                task_group.start_soon(cancel)
                await run(ask, whom=whom, store=tmp_path / "r.db")
        assert scope.cancelled_caught
    finally:
        whom.may_go_on.set()


@pytest.mark.anyio
async def test_what_is_the_event_loops_own_is_looked_at_there(tmp_path: Path) -> None:
    """A connection of SQLite, which only the thread may use that has made it."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE prompts (text)")
    outcomes = []
    for text in ("", "INSERT INTO prompts VALUES ('Be kind.')"):
        connection.execute(text)
        outcomes += [await run(ask, whom=connection, store=tmp_path / "r.db", changed="rerun") for _ in range(2)]
    connection.close()
    assert [each.answered for each in outcomes] == [False, True, False, True]

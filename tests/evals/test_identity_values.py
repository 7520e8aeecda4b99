"""Fingerprints of values: equal for what is made in the same way, different for what an answer would differ for."""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import functools
import inspect
import itertools
import json
import logging
import os
import pickle
import random
import subprocess
import sys
import typing
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar, copy_context
from enum import Flag
from pathlib import Path
from threading import Lock
from typing import Any

import pydantic
import pytest
from tests.evals.identity_kinds import (
    KINDS,
    VARIABLES,
    Configured,
    FewShot,
    Plain,
    class_with,
    function_of,
    with_functions_attribute,
)
from tests.evals.identity_of_the_moment import OF_THE_MOMENT

from doteval import ModelProviders, Result, foreach
from doteval.evals import run
from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import changes, with_what_was_written


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about values."""
    return "trio"


def fingerprint(value: object) -> Mapping[str, str]:
    walk = Walk()
    walk.add("it", value)
    return walk.parts


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_alike_is_the_same_and_nothing_else(kind: str) -> None:
    """Wherever it lies, and whatever holds it: two of the holders, others for the kind that comes next."""
    make = KINDS[kind]
    one, same, other = fingerprint(make("one")), fingerprint(make("one")), fingerprint(make("another"))
    assert one == same
    assert one != other
    holders: tuple[Callable[[Any], Any], ...] = (
        Plain,
        function_of,
        lambda value: {"a": [value]},
        lambda value: FewShot().add(value),
        Configured,
        with_functions_attribute,
        lambda value: list[class_with(held=value)],
        lambda value: {"calls": 0, "system": value},
    )
    first = 2 * [*KINDS].index(kind)
    for hold in (holders[first % len(holders)], holders[(first + 1) % len(holders)]):
        one, same, other = (fingerprint(hold(make(value))) for value in ("one", "one", "another"))
        assert one == same
        assert one != other


def shown_of(kinds: Iterable[str], momentary: Iterable[str]) -> dict[str, Any]:
    """What is known of values in each process in the same way, but of those that are not there."""
    found: dict[str, Any] = {}
    for kind in kinds:
        with contextlib.suppress(pytest.skip.Exception):
            found[kind] = fingerprint(KINDS[kind]("one"))
    for kind in momentary:
        with contextlib.suppress(pytest.skip.Exception):
            found[f"of the moment: {kind}"] = fingerprint(OF_THE_MOMENT[kind]())
    return found


@pytest.mark.process
def test_another_process_finds_the_same() -> None:
    """Wherever objects lie there, and in whatever order it puts sets."""
    found = "it.shown_of(it.KINDS, it.OF_THE_MOMENT)"
    script = f"import json, tests.evals.test_identity_values as it; print(json.dumps({found}))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    other = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, timeout=60)
    assert json.loads(other.stdout) == shown_of(KINDS, OF_THE_MOMENT)


def looked_at(value: Any) -> None:
    """As debuggers, schema makers, caches and notebooks do; some of it leaves something in the object or its class."""
    for each in (value, type(value)):
        for look in (
            repr,
            hash,
            dir,
            inspect.getmembers,
            inspect.signature,
            inspect.get_annotations,
            typing.get_type_hints,
            lambda it: it.__annotations__,
            lambda it: it.__doc__,
            lambda it: vars(it).items(),
            weakref.ref,
            copy.copy,
            copy.deepcopy,
            pickle.dumps,
            functools.singledispatch,
            # Some versions read a dictionary as a schema, and one with a default has a key more then.
            lambda it: isinstance(it, dict) or pydantic.TypeAdapter(it),
        ):
            with contextlib.suppress(Exception):
                look(each)


@pytest.mark.parametrize("kind", KINDS)
def test_who_only_looks_changes_nothing(kind: str) -> None:
    """Nor who calls a function, or reads what it is made of."""
    held = KINDS[kind]("one")
    function = function_of(held)
    before = fingerprint((held, function))
    looked_at(held)
    looked_at(function)
    for _ in range(100):  # until it is specialised
        with contextlib.suppress(Exception):
            function()
    assert fingerprint((held, function)) == before


def endless() -> Iterator[int]:
    yield from itertools.count()


class Unending(Mapping[int, int]):
    def __getitem__(self, key: int) -> int:
        return key

    def __iter__(self) -> Iterator[int]:
        return endless()

    def __len__(self) -> int:
        return 1


class Lying:
    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)

    def __eq__(self, other: object) -> bool:
        raise ValueError("not comparable")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("neither")

    def __repr__(self) -> str:
        raise ValueError("no text")


class LyingKind(type):
    def __getattr__(cls, name: str) -> Any:
        raise KeyError(name)


class OfALyingKind(metaclass=LyingKind):
    pass


class Telling:
    def __doteval_identity__(self) -> Any:
        return "no mapping"


class Failing(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise OSError("gone")

    def __iter__(self) -> Iterator[str]:
        return iter("a")

    def __len__(self) -> int:
        return 1


def chain() -> Any:
    found: Any = None
    for _ in range(3000):
        found = Plain(found)
    return found


def crowd() -> Any:
    nodes = [Plain([]) for _ in range(12)]
    for node in nodes:
        node.text = [*nodes]
    return nodes


ODD: dict[str, Callable[[], Any]] = {
    "unending": Unending,
    "lying": Lying,
    "of a lying kind": OfALyingKind,
    "a lying kind": lambda: OfALyingKind,
    "telling": Telling,
    "failing": Failing,
    "chain": chain,
    "crowd": crowd,
    "providers": lambda: ModelProviders({}, discover=False),
    "lock": Lock,
    "logger": lambda: logging.getLogger("it"),
    "random": lambda: random.Random(1),
    "iterator": lambda: iter([1]),
    "stop": lambda: pytest,
}


@pytest.mark.parametrize("odd", ODD)
def test_no_value_is_too_odd(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be looked into is known by its class; whoever uses it is told what is wrong with it."""
    monkeypatch.setattr("doteval.evals._identity.values._MOST", 20_000)
    assert fingerprint(ODD[odd]()) == fingerprint(ODD[odd]())
    assert fingerprint(function_of(ODD[odd]())) == fingerprint(function_of(ODD[odd]()))


class Colour(Flag):
    RED = 1
    BLUE = 2


class Busy:
    """Writes to itself when it is used; one attribute has the name of another object's."""

    made = 0

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt
        self.temperature = 1
        self.calls: list[str] = []

    @functools.cached_property
    def compiled(self) -> str:
        return self.prompt.upper()

    def ask(self, request: Any) -> str:
        Busy.made += 1
        self.calls.append(self.compiled)
        request.temperature = self.temperature
        return f"{Colour.RED | Colour.BLUE}"


def using(busy: Busy) -> Callable[[], str]:
    return lambda: busy.ask(Plain(1))


def test_what_an_object_writes_to_itself_is_state_and_nothing_else_is() -> None:
    """Neither a counter, a cache, nor combined flags; but an attribute that only has the name of a written one is."""
    busy = Busy("one")
    before = fingerprint(using(busy))
    using(busy)()
    kept = with_what_was_written(before, fingerprint(using(busy)))
    using(busy)()
    assert not changes(kept, fingerprint(using(busy)))
    assert not changes(kept, fingerprint(using(Busy("one"))))
    assert changes(kept, fingerprint(using(Busy("another"))))
    warm = Busy("one")
    warm.temperature = 0
    assert changes(kept, fingerprint(using(warm)))


def test_what_code_writes_of_a_value_hides_only_that() -> None:
    """``CONFIG.count += 1`` says nothing about ``CONFIG.prompt``."""

    def counting(config: Any) -> Callable[[], Any]:
        def count() -> Any:
            config.count += 1
            return config.prompt

        return count

    def made(prompt: str, count: int) -> Any:
        config = Plain(None)
        vars(config).update(prompt=prompt, count=count)
        return counting(config)

    kept = with_what_was_written(fingerprint(made("one", 0)), fingerprint(made("one", 1)))
    assert not changes(kept, fingerprint(made("one", 7)))
    assert changes(kept, fingerprint(made("another", 0)))
    assert changes(fingerprint(made("one", 0)), fingerprint(made("one", 7)))  # nothing has written it


def test_headers_and_environments_are_never_shown() -> None:
    """They may hold a key, whatever it is called; the rest of a setting is shown where it is known to be none."""
    walk = Walk()
    secret = "a-secret-value"
    walk.add_settings(
        "the model",
        {
            "spec": "it",
            "base_url": "http://me:pw@127.0.0.1",
            "default_headers": {"api-key": secret, "X-Auth-Token": secret, "Cookie": secret, "X-Org": secret},
            "environment": {"HF_TOKEN": secret, "WHATEVER": secret},
            "params": {"temperature": 0, "extra_headers": {"x-key": secret}},
        },
    )
    shown = {name: part for name, part in walk.parts.items() if part.startswith("=")}
    assert shown == {"the model's spec": "=it", "the model's params.temperature": "=0"}
    assert secret not in str(walk.parts)


def test_a_context_variable_is_what_it_holds_where_the_run_begins() -> None:
    """Whatever it held, or was given, elsewhere."""
    held, empty = VARIABLES["one"], ContextVar[str]("it")
    before = fingerprint(held)

    def elsewhere() -> Mapping[str, str]:
        held.set("another")
        return fingerprint(held)

    assert copy_context().run(elsewhere) == fingerprint(VARIABLES["another"]) != before
    assert fingerprint(held) == before
    assert fingerprint(empty) != before


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["object", "slots", "object in object", "lambda", "template", "namespace"])
async def test_rows_of_objects_are_known_by_what_they_hold(kind: str, tmp_path: Path) -> None:
    """Not by their class: another object is another row, and an equal one the same, wherever it stands."""
    calls: list[object] = []

    def making(*values: str) -> Any:
        @foreach("case,answer", [(KINDS[kind](value), 1) for value in values])
        async def eval_it(case: Any, answer: int) -> Result:
            calls.append(case)
            return Result(answer)

        return eval_it

    path = tmp_path / "results.db"
    await run(making("a", "b"), store=path)
    for values, asked in (
        (("a", "b"), 0),
        (("b", "a"), 0),
        (("c", "b", "a"), 1),
        (("c", "d", "a"), 1),
        (("a", "a"), 1),
    ):
        calls.clear()
        await run(making(*values), store=path)
        assert len(calls) == asked, values


@pytest.mark.parametrize(
    "make",
    [
        collections.UserString,
        lambda text: argparse.Namespace(cached_shots=[text]),
        lambda text: argparse.Namespace(prog=text),
    ],
    ids=["UserString", "Namespace with a cache", "Namespace with prog"],
)
def test_texts_of_their_own_and_bags_of_settings_count_with_all_that_is_in_them(make: Callable[[str], Any]) -> None:
    """A text of one character holds itself; what a parser only remembers may be a setting of the user's."""
    assert fingerprint(make("one")) == fingerprint(make("one"))
    assert fingerprint(make("one")) != fingerprint(make("another"))

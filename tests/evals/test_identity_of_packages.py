"""Objects of installed packages: what is data counts, what is of the moment does not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import attrs
import pydantic
import pytest
from anyio import to_thread
from fastapi.testclient import TestClient
from tests.evals.identity_kinds import KINDS, Plain
from tests.evals.identity_kinds_of_packages import STAND_INS
from tests.evals.identity_of_the_moment import OF_THE_MOMENT, future
from tests.evals.test_identity_values import fingerprint

from doteval.evals._results.identity import changes, unseen_in, with_what_was_written


@pytest.mark.parametrize("kind", OF_THE_MOMENT)
def test_what_is_of_the_moment_says_nothing(kind: str) -> None:
    """Neither its keys, its connections nor its counters; and who holds such a thing is known by the rest."""
    make = OF_THE_MOMENT[kind]
    assert fingerprint(make()) == fingerprint(make())
    assert fingerprint(Plain([make(), "one"])) == fingerprint(Plain([make(), "one"]))
    assert fingerprint(Plain([make(), "one"])) != fingerprint(Plain([make(), "another"]))


BEFORE = ("", "mean_", "std_", "split0_", "a_", "pre", "un")
TOOK = ("fit_time", "refit_time", "score_time", "predict_time")
OTHERS = ("fit", "time", "fit_timeout", "score_time_limit", "predict_times", "fit_time_out", "fit_time__", "fit_time\n")


def test_only_how_long_something_took_in_an_object_of_a_package_does_not_count() -> None:
    """By the whole of its name, and where it is a number with a fraction."""
    for before, name in product(BEFORE, (*TOOK, *(f"{took}_" for took in TOOK), *OTHERS)):
        key = f"{before}{name}"
        is_left_out = name not in OTHERS and (before == "" or before.endswith("_"))

        def made(value: object, key: str = key) -> tuple[Any, Any]:
            held = STAND_INS.Around({"inner": 1})
            setattr(held, key, value)
            return held, STAND_INS.Around({key: value})

        for one, another in zip(made(0.5), made(99.5), strict=True):
            assert (fingerprint(one) == fingerprint(another)) is is_left_out, key
        for one, another in zip(made(5), made(6), strict=True):
            assert fingerprint(one) != fingerprint(another), key
        assert fingerprint({key: 0.5}) != fingerprint({key: 99.5}), key
        assert fingerprint(Plain({key: 0.5})) != fingerprint(Plain({key: 99.5})), key


def test_what_code_writes_into_an_object_of_a_package_hides_only_that() -> None:
    """Be it an attribute, or an item of what it holds."""

    def counting(held: Any) -> Callable[[], Any]:
        def count() -> Any:
            held.inner["calls"] += 1
            held.last = held.inner["prompt"]
            return held.last

        return count

    def made(prompt: str, calls: int) -> Any:
        held = STAND_INS.Around({"prompt": prompt, "calls": calls})
        held.last = calls
        return counting(held)

    kept = with_what_was_written(fingerprint(made("one", 0)), fingerprint(made("one", 1)))
    assert not changes(kept, fingerprint(made("one", 7)))
    assert changes(kept, fingerprint(made("another", 0)))
    assert changes(fingerprint(made("one", 0)), fingerprint(made("one", 7)))  # nothing has written it


@pytest.mark.anyio
async def test_a_database_of_the_event_loops_thread_is_read_there() -> None:
    """What it holds counts, whichever thread asks."""
    for name in ("database in memory", "table for a while"):
        one, another = KINDS[name]("one"), KINDS[name]("another")
        assert await to_thread.run_sync(fingerprint, one) == fingerprint(one)
        assert await to_thread.run_sync(fingerprint, another) != fingerprint(one)


def test_what_holds_too_much_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object of a package is known by its class then, and by what it says."""
    monkeypatch.setattr("doteval.evals._identity.kept._MOST", 100)
    found = fingerprint(STAND_INS.Around([[each] for each in range(200)]))
    assert unseen_in(found) == ("it holds too much: what changes in the rest of it is not noticed",)
    assert not changes(found, {"it": found["it"]})


def test_a_future_is_what_it_has_come_to() -> None:
    """Where it is not done yet, nobody knows what it will be."""
    pending, one, another = (fingerprint(future(*results)) for results in ((), ("one",), ("another",)))
    assert changes(one, another)
    assert not changes(pending, one)
    assert not changes(one, pending)


def test_an_application_that_was_asked_is_the_same() -> None:
    """What it makes when it is first asked is no part of it."""
    made = KINDS["web application"]("one")
    before = fingerprint(made)
    assert TestClient(made).get("/it").text == '"one"'
    assert made.openapi()
    assert fingerprint(made) == before


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_table_that_is_written_anew_is_looked_at_by_columns(package: str) -> None:
    """What it had before counts, and what the run puts beside it does not."""
    tables = pytest.importorskip(package)

    def made(prompt: str) -> Callable[[str], Any]:
        table = tables.DataFrame({"question": ["a"], "prompt": [prompt]})

        def ask(text: str) -> Any:
            nonlocal table
            table = table.assign(said=text) if package == "pandas" else table.with_columns(said=tables.lit(text))
            return table["prompt"][0]

        return ask

    ask = made("one")
    before = fingerprint(ask)
    ask("a")
    kept = with_what_was_written(before, fingerprint(ask))
    ask("b")
    assert not changes(kept, fingerprint(ask))
    assert not changes(kept, fingerprint(made("one")))
    assert changes(kept, fingerprint(made("another")))


def test_what_another_version_of_a_library_adds_to_a_class_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of fields and classes that it has besides, and what its methods do."""

    @attrs.define(frozen=True)
    class Held:
        text: str = attrs.field(default="a", converter=str.strip, metadata={"of": "it"})

    class Model(pydantic.BaseModel):
        @pydantic.computed_field(description="a length")
        @property
        def length(self) -> int:
            return 1

    def of_attrs() -> object:
        return print(Held)

    def of_pydantic() -> object:
        return print(Model)

    before = fingerprint(of_attrs), fingerprint(of_pydantic)
    kept = attrs.Attribute.__getstate__
    monkeypatch.setattr(attrs.Attribute, "__getstate__", lambda self: (*kept(self), "more"))
    monkeypatch.delattr(Held, "__attrs_props__", raising=False)
    method: Any = Held.__setattr__
    code = method.__code__
    monkeypatch.setattr(method, "__code__", code.replace(co_names=tuple(f"{name}_more" for name in code.co_names)))
    info = type(Model.__pydantic_decorators__.computed_fields["length"].info)
    monkeypatch.setitem(info.__dataclass_fields__, "more", info.__dataclass_fields__["description"])
    assert (fingerprint(of_attrs), fingerprint(of_pydantic)) == before

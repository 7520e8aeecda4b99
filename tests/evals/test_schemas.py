"""Whether an output is of the shape that is wanted: classes of pydantic beside JSON Schema."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, field_validator

from doteval.evals import Result, matches_schema


class Item(BaseModel):
    price: float


class Bill(BaseModel):
    items: list[Item]


SCHEMA = {
    "$defs": {"item": {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]}},
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/item"}}},
    "required": ["items"],
}


@pytest.mark.parametrize("schema", [Bill, SCHEMA], ids=["pydantic", "JSON Schema"])
@pytest.mark.parametrize(
    ("output", "path"),
    [
        ('{"items": [{"price": 1}, {"price": 2.5}]}', None),
        ('```json\n{"items": []}\n```', None),
        (b'{"items": []}', None),
        ({"items": [{"price": 2}]}, None),
        ('{"items": [{"price": 1}, {"price": "much"}]}', "$.items[1].price: "),
        ('{"items": 5}', "$.items: "),
        ({"items": [{"price": []}]}, "$.items[0].price: "),
        ('{"items": "\ud800"}', "$"),
        ('{"items": [' + ", ".join(["5"] * 100_000) + "]}", "$.items[0]: "),
        ('{"items": "' + "x" * 10_000_000 + '"}', "$.items: "),
        ("[" * 100_000 + "]" * 100_000, "$: "),
        ('{"items": ' + "9" * 5000 + "}", "$"),
        ('{"items": [{"price": NaN}]}', "$: it is no JSON: NaN"),
        ("Here it is: {}", "$: it is no JSON"),
        ("", "$: it is no JSON"),
        (b"\xff", "$: it is no text in UTF-8"),
        (None, "$: there is no output"),
        (5, "$: "),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_does_not_match_says_where(output: Any, schema: Any, path: str | None) -> None:
    """By its path, in a few short lines, whatever was said."""
    verdict = matches_schema(output, schema)
    assert verdict.value is (path is None), verdict
    assert bool(verdict) is (path is None)
    if path is None:
        assert verdict.reasons == ()
    else:
        assert verdict.reasons[0].startswith(path), verdict
        assert len(verdict.reasons) <= 6
        assert max(map(len, verdict.reasons)) <= 200


NULL = {"type": "null"}


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("output", "schema", "reasons"),
    [
        ("[1, 2]", list[int], []),
        ('[1, "x"]', list[int], ["$[1]: Input should be a valid integer"]),
        ('{"x": 1}', Point, []),
        ("3", int, []),
        ('{"a b": 1}', dict[str, str], ["$['a b']: Input should be a valid string"]),
        (Bill(items=[]), Bill, []),
        ("true", {}, []),
        ('{"x": {"a": 1}}', {"properties": {"x": {"anyOf": [NULL, {"properties": {"a": NULL}}]}}},
         ["$.x.a: 1 is not of type 'null'"]),
        ("[1, 2]", {"type": "array", "items": [{"type": "string"}], "$schema": "http://json-schema.org/draft-07/schema#"},
         ["$[0]: 1 is not of type 'string'"]),
    ],
)  # fmt: skip
def test_a_schema_is_a_type_or_a_json_schema(output: Any, schema: Any, reasons: list[str]) -> None:
    """All that pydantic knows; the draft that a schema names, and of alternatives the one that is meant most."""
    assert [*matches_schema(output, schema).reasons] == reasons


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Order(BaseModel):
    number: int
    paid: bool
    colour: Colour | None = None
    tags: dict[str, float] = {}
    kind: Literal["a", "b"] = "a"


KINDS: list[Any] = [
    bool, int, float, str, int | None, int | str, list[int], list[bool], dict[str, int], tuple[int, str], Colour,
    Literal["a"], Annotated[int, Field(ge=0, lt=10)], Annotated[str, Field(min_length=1)], Item, Bill, Order, Point,
]  # fmt: skip
SAID = ["5", "-1", "0.5", "1e3000", "true", "null", '"5"', '""', '"no"', '"true"', '"red"', '"a"', "[]", "[1]", '["1"]',
        "[true]", '[1, "x"]', '[1, "x", 2]', "{}", '{"a": 1}', '{"a": "1"}', '{"x": 1}', '{"x": "1"}', '{"x": true}',
        '{"number": 5, "paid": true}', '{"number": "5", "paid": "no"}', '{"number": 5, "paid": 1}',
        '{"number": 5, "paid": true, "colour": "red", "tags": {"x": 1}, "kind": 1}',
        '{"number": 5, "paid": true, "colour": "green"}', '{"number": 5, "paid": true, "kind": "1"}',
        '{"number": 5, "paid": true, "tags": {"x": "1"}, "more": []}', '{"items": [{"price": "2"}]}']  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-20, 20) | st.floats(-9, 9).filter(lambda number: not number.is_integer())
    | st.sampled_from(["", "a", "x", "red", "1", "true", "2.5"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "x", "number", "paid", "colour", "tags", "kind", "items", "price"]), inner),
    max_leaves=8,
)  # fmt: skip


@given(st.sampled_from(KINDS), st.sampled_from(SAID) | JSON.map(json.dumps))
def test_a_class_and_its_own_json_schema_agree(kind: Any, text: str) -> None:
    """Whatever was said, as text and as the value that it is."""
    schema = TypeAdapter(kind).json_schema()
    assert matches_schema(text, kind).value is matches_schema(text, schema).value
    value = json.loads(text)
    if value is not None and value != float("inf"):
        assert matches_schema(json.dumps(value), kind).value is matches_schema([value], list[kind]).value


def test_where_a_class_is_stricter_than_its_json_schema() -> None:
    """What is said to differ from the JSON Schema."""

    class Dated(BaseModel):
        number: int | str
        day: date = date(2026, 1, 1)

    assert matches_schema('{"number": "5"}', Dated)
    assert not matches_schema('{"number": 5, "day": "yesterday"}', Dated)
    assert matches_schema('{"number": 5, "day": "2026-02-03"}', Dated)
    assert matches_schema({"number": 5, "day": "2026-02-03"}, Dated)
    assert not matches_schema("5.0", int)
    assert matches_schema("5.0", {"type": "integer"})


@pytest.mark.parametrize(
    ("schema", "error", "message"),
    [
        ({"type": "nope"}, ValueError, r"\$\.type: 'nope' is not"),
        ({"$ref": "#/nope"}, ValueError, "refers to what is not in it"),
        ({"$ref": "http://127.0.0.1:9/schema.json"}, ValueError, "refers to what is not in it"),
        (3, TypeError, "a schema is a class of pydantic"),
    ],
)
def test_a_schema_that_is_none_is_an_error_and_no_score(schema: Any, error: type[Exception], message: str) -> None:
    """It says nothing of the output."""
    with pytest.raises(error, match=message):
        matches_schema("[]", schema)


def test_nothing_is_fetched(tmp_path: Path) -> None:
    """Not even a file."""
    (tmp_path / "schema.json").write_text('{"type": "string"}')
    with pytest.raises(ValueError, match="refers to what is not in it"):
        matches_schema("[]", {"$ref": (tmp_path / "schema.json").as_uri()})


def test_a_check_of_ones_own_that_is_broken_is_an_error() -> None:
    """And one that says no is a reason."""

    class Broken(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def check(cls, name: str) -> str:
            if name == "break":
                raise LookupError("mine")
            raise ValueError("too short")

    assert matches_schema('{"name": "x"}', Broken).reasons == ("$.name: Value error, too short",)
    with pytest.raises(LookupError, match="mine"):
        matches_schema('{"name": "break"}', Broken)


@pytest.mark.parametrize(("schema", "package"), [(Bill, "pydantic"), (SCHEMA, "jsonschema")])
def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, schema: Any, package: str) -> None:
    from doteval.evals._evaluators import schemas

    schemas._adapter.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install '?{package}"):
        matches_schema("[]", schema)


def test_the_reasons_are_kept_with_the_row() -> None:
    """Beside metadata of one's own, which comes first."""
    verdict = matches_schema("[]", Bill)
    result = Result("[]", scores={"schema": verdict, "other": True}, metadata={"mine": 1})
    assert result.scores == {"schema": False, "other": True}
    assert type(result.scores["schema"]) is bool
    assert result.metadata == {"verdicts": {"schema": {"reasons": [*verdict.reasons]}}, "mine": 1}
    assert Result("[]", scores={"schema": verdict}, metadata={"verdicts": 2}).metadata == {"verdicts": 2}
    assert Result("[]", scores={"schema": matches_schema('{"items": []}', Bill)}).metadata == {}

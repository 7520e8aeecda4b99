"""Whether an output is of the shape that is wanted: classes of pydantic beside JSON Schema."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

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
        ('[1, "x"]', list[int], ["$[1]: Input should be a valid integer, unable to parse string as an integer"]),
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

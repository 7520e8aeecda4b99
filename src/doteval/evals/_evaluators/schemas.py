"""Whether an output has the shape that is wanted, and where it has not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from itertools import islice
from typing import Any

from .._verdict import Verdict
from .json_text import check_json, unfenced

_MOST = 5
"""How many problems are told."""
_LONGEST = 200


def matches_schema(output: object, schema: type | Mapping[str, Any]) -> Verdict:
    """Whether the output is JSON of the shape that is wanted; what is wrong, and where, are the verdict's reasons.

    A fence of Markdown around it does not count. What is no text is taken as it is: a list, or an object of pydantic.
    A reason begins with its path: ``$.items[2].price``.

    A class is as strict as its own JSON Schema: ``"5"`` is no number, ``1`` is not true. Only, it does not take ``5.0``
    for a whole number, which a JSON Schema does, and looks at what a schema merely mentions, such as whether a date is
    one. What may also be a text is ``int | str``, in the class.

    Args:
        output: What the model said.
        schema: A class of pydantic, or any other type that it knows, such as ``list[int]``; or a JSON Schema, which
            needs the package jsonschema, of the extra ``evals``, and refers to nothing outside of itself.

    Raises:
        ValueError: The JSON Schema is none.
        TypeError: The type is none that pydantic knows.
        ModuleNotFoundError: The package that is needed is not there.
    """
    if output is None:
        return Verdict(False, ["$: there is no output"])
    is_text = isinstance(output, (str, bytes, bytearray))
    checks = _json_schema_check(schema, is_text) if isinstance(schema, Mapping) else _type_check(schema, is_text)
    try:
        problems = [*islice(checks(_read(output) if is_text else output), _MOST + 1)]
    except RecursionError:
        problems = ["$: it is nested too deep to be read"]
    except _UnreadableError as exc:
        problems = [f"$: {exc}"]
    if len(problems) > _MOST:
        problems[_MOST:] = ["... and more"]
    return Verdict(not problems, [_short(problem) for problem in problems])


class _UnreadableError(Exception):
    """An output is no JSON."""


def _read(output: Any) -> str:
    try:
        text = unfenced(output if isinstance(output, str) else output.decode())
        check_json(text)
    except UnicodeDecodeError:
        raise _UnreadableError("it is no text in UTF-8") from None
    except ValueError as exc:
        raise _UnreadableError(f"it is no JSON: {exc}") from None
    return text


def _json_schema_check(schema: Mapping[str, Any], is_text: bool) -> Callable[[Any], Iterable[str]]:
    library = _imported("jsonschema", "a JSON Schema needs")
    known = _imported("jsonschema_specifications", "a JSON Schema needs").REGISTRY
    kind = library.validators.validator_for(schema, default=library.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except library.SchemaError as exc:
        raise ValueError(f"the schema is no JSON Schema: {_path(exc.absolute_path)}: {_short(exc.message)}") from None
    validator = kind(schema, registry=known)  # which retrieves nothing

    def problems(value: Any) -> Iterator[str]:
        try:
            found = json.loads(value) if is_text else value
        except ValueError as exc:  # a number of too many digits
            raise _UnreadableError(str(exc)) from None
        try:
            for error in validator.iter_errors(found):
                deepest = library.exceptions.best_match([error])
                yield f"{_path(deepest.absolute_path)}: {_short(deepest.message)}"
        except _imported("referencing", "a JSON Schema needs").exceptions.Unresolvable as exc:
            raise ValueError(f"the schema refers to what is not in it: {exc}") from None

    return problems


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> Any:
    library = _imported("pydantic", "a type as a schema needs")
    try:
        return library.TypeAdapter(kind)
    except library.errors.PydanticSchemaGenerationError:
        raise TypeError(f"a schema is a class of pydantic, a type that it knows, or a mapping, not {kind!r}") from None


def _type_check(kind: Any, is_text: bool) -> Callable[[Any], Iterable[str]]:
    adapter = _adapter(kind)
    error = import_module("pydantic").ValidationError

    def problems(value: Any) -> Iterable[str]:
        try:
            if is_text:
                adapter.validate_json(value, strict=True)
            else:
                _validate(adapter, value)
        except error as exc:
            found = exc.errors(include_url=False, include_context=False, include_input=False)
            return [f"{_path(each['loc'])}: {each['msg']}" for each in found]
        return []

    return problems


def _validate(adapter: Any, value: Any) -> None:
    """Take a value as the JSON that it is, if it is of what JSON holds; what is an object of the type, as it is."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        adapter.validate_python(value, strict=True)
    else:
        adapter.validate_json(text, strict=True)


def _imported(name: str, why: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as exc:
        package = "pydantic" if name == "pydantic" else "jsonschema"
        raise ModuleNotFoundError(f"{why} the package {package}: pip install {package}", name=exc.name) from None


def _path(places: Iterable[str | int]) -> str:
    """Places in JSON, from the outermost on, as one text."""
    return "$" + "".join(
        f"[{place}]" if isinstance(place, int) else f".{place}" if place.isidentifier() else f"[{place!r}]"
        for place in places
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

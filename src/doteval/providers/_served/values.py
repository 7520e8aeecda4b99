"""The values that an option of a server may have: the type of each, and how it is checked and written.

A field of type ``Annotated[Count, Option(...)]`` is an ``int | None`` for the type checkers.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast

from .paths import is_path, local

Words: TypeAlias = Sequence[str] | bool
"""What follows a flag; `True`: nothing does, `False`: the option is turned off."""


def text(value: object) -> Words:
    """A word that cannot be taken for an option."""
    return [_word(value)]


def model(value: object) -> Words:
    """The name of a model, or the path of one, made absolute."""
    return [local(_word(value))]


def file(value: object) -> Words:
    """A path, made absolute: the server runs in a directory of its own."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(cast("str | os.PathLike[str]", value)):
        raise ValueError("must be a path")
    return [str(Path(cast("str | os.PathLike[str]", value)).expanduser().absolute())]


def file_or_text(value: object) -> Words:
    """The path of a file that exists, or what is not a path, such as a template or a name."""
    if isinstance(value, os.PathLike) or (isinstance(value, str) and is_path(value)):
        return file(cast("str | os.PathLike[str]", value))
    return text(value)


def whole(least: int = 1) -> Callable[[object], Words]:
    """A whole number of at least `least`."""

    def values(value: object) -> Words:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"must be a whole number of at least {least}")
        return [str(value)]

    return values


def whole_or_all(written: str) -> Callable[[object], Words]:
    """A whole number of at least 0, or ``"all"``, for which the server has its own word."""

    def words(value: object) -> Words:
        if value == "all":
            return [written]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError("must be a whole number of at least 0, or 'all'")
        return [str(value)]

    return words


def number(least: float = -math.inf) -> Callable[[object], Words]:
    """A number of at least `least`."""

    def values(value: object) -> Words:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
            raise ValueError(f"must be a number of at least {least:g}" if math.isfinite(least) else "must be a number")
        return [str(value)]

    return values


def share(value: object) -> Words:
    """A part of a whole."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ValueError("must be a number above 0 and at most 1, such as 0.9")
    return [str(value)]


def switch(value: object) -> Words:
    """On or off, without a word."""
    return _truth(value)


def shares(value: object) -> Sequence[str]:
    """Two or more parts of a whole, in any proportion."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(cast(Sequence[object], value)) < 2:
        raise ValueError("must be a list of two or more numbers")
    return [word for part in cast(Sequence[object], value) for word in cast(Sequence[str], number(0)(part))]


def joined_shares(value: object) -> Words:
    """The same, as one word."""
    return [",".join(shares(value))]


def yes_or_no(value: object) -> Words:
    """On or off, in words."""
    return ["true" if _truth(value) else "false"]


def on_or_off(value: object) -> Words:
    """On or off, in the words of llama-server."""
    return ["on" if _truth(value) else "off"]


def json_object(value: object) -> Words:
    """A mapping, as JSON."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping")
    try:
        return [json.dumps(dict(cast(Mapping[str, object], value)), sort_keys=True)]
    except TypeError as exc:
        raise ValueError(f"must hold only what JSON can hold ({exc})") from None


def named_files(value: object) -> Words:
    """Names with a path each."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError("must be a mapping of names to paths")
    pairs = cast(Mapping[object, object], value).items()
    return [f"{_word(name)}={local(_word(target))}" for name, target in pairs]


def _word(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or value.startswith("-"):
        raise ValueError("must be a text that does not begin with '-'")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be True or False")
    return value


# ---------------------------------------------------------------- each with its type

Text: TypeAlias = Annotated[str | None, text]
Model: TypeAlias = Annotated[str | None, model]
File: TypeAlias = Annotated[str | os.PathLike[str] | None, file]
FileOrText: TypeAlias = Annotated[str | os.PathLike[str] | None, file_or_text]
NamedFiles: TypeAlias = Annotated[Mapping[str, str | os.PathLike[str]] | None, named_files]
Count: TypeAlias = Annotated[int | None, whole()]
FromZero: TypeAlias = Annotated[int | None, whole(0)]
CountOrAll: TypeAlias = Annotated[int | Literal["all"] | None, whole_or_all("all")]
Amount: TypeAlias = Annotated[float | None, number(0)]
Share: TypeAlias = Annotated[float | None, share]
Shares: TypeAlias = Annotated[Sequence[float] | None, joined_shares]
Switch: TypeAlias = Annotated[bool | None, switch]
OnOrOff: TypeAlias = Annotated[bool | None, on_or_off]
JSON: TypeAlias = Annotated[Mapping[str, Any] | None, json_object]

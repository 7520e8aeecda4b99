"""What may be in the headers of requests. What may not is found before it is sent: the libraries would quote it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from .._secrets import Secret

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ILLEGAL = re.compile(r"\A[\t ]|[^\t\x20-\x7e]|[\t ]\Z")
_ILLEGAL_IN_BYTES = re.compile(r"\A[\t ]|[^\t\x20-\x7e\x80-\xff]|[\t ]\Z")


def checked_headers(headers: object, where: str) -> Any:
    """Headers as they can be sent, without blanks around the values: that from a file often ends with a line break.

    Args:
        headers: A mapping, or pairs; anything else is for who is given it to look at.
        where: What they are called, such as ``"default_headers"``.

    Raises:
        ValueError: One of them can be in no request; says which, and does not show its value.
    """
    if isinstance(headers, Mapping):
        fields = cast("Mapping[str, Any]", headers)
        clean = {name: _checked(name, value, where) for name, value in fields.items()}
        return fields if all(clean[name] is value for name, value in fields.items()) else clean
    if isinstance(headers, (list, tuple)):
        pairs = cast("Sequence[Any]", headers)
        if all(isinstance(pair, (list, tuple)) and len(cast("Sequence[Any]", pair)) == 2 for pair in pairs):
            return [(name, _checked(name, value, where)) for name, value in pairs]
    return cast(Any, headers)


def unsendable(value: object) -> str | None:
    """The first character of a header's value that can be in none."""
    if isinstance(value, bytes):
        found = _ILLEGAL_IN_BYTES.search(value.decode("latin-1"))
    else:
        found = _ILLEGAL.search(value) if isinstance(value, str) else None
    return None if found is None else found[0]


def _checked(name: object, value: Any, where: str) -> Any:
    shown = name.decode("latin-1") if isinstance(name, bytes) else str(name)
    if not _NAME.fullmatch(shown):
        raise ValueError(f"{where} has {shown!r}, which can be the name of no HTTP header")
    clean = value.strip() if isinstance(value, (str, bytes)) else value
    if isinstance(value, Secret):
        clean = Secret(clean)
    if (character := unsendable(clean)) is not None:
        raise ValueError(
            f"the value of {shown!r} in {where} has {character!r} in it, which can be in no HTTP header; "
            "was it copied with something else?"
        )
    return value if clean == value else clean

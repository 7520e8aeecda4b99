"""``Unbuilt``: an object of an SDK that is made when somebody looks at it, which few do; ``UnbuiltList``: several."""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any


class Unbuilt:
    """What the SDK would have made of an answer. To make it takes longer than to read the answer.

    Args:
        kind: The SDK's class.
        fields: The answer.
        request_id: What the server calls the request.
    """

    __slots__ = ("_fields", "_kind", "_request_id")

    def __init__(self, kind: type[Any], fields: Mapping[str, Any], request_id: str | None = None) -> None:
        self._kind = kind
        self._fields = fields
        self._request_id = request_id

    def built(self) -> Any:
        """The object, as the SDK makes it."""
        made: Any = self._kind.construct(**self._fields)  # the SDKs' own, which is lenient
        if self._request_id is not None:
            made._request_id = self._request_id
        return made


class UnbuiltList:
    """What a stream brought, of which some is to be made. It is kept as bytes, which the garbage collector never sees.

    As objects, the events of some hundred streams at once are so many that it looks at all that there is, again and
    again, which took a quarter of the time.
    """

    __slots__ = ("_items", "_kinds")

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._kinds: list[type[Any] | None] = []  # `None`: it is what it is

    def append(self, item: Any) -> None:
        """One more."""
        kind = None
        if type(item) is Unbuilt:
            with suppress(ValueError):  # it is too deep
                item, kind = marshal.dumps(dict(item._fields)), item._kind
        self._items.append(item)
        self._kinds.append(kind)

    def __len__(self) -> int:
        return len(self._items)

    def built(self) -> list[Any]:
        """All of them, as the SDK makes them."""
        return [_built(item, kind) for item, kind in zip(self._items, self._kinds, strict=True)]


def _built(item: Any, kind: type[Any] | None) -> Any:
    if kind is not None:
        item = Unbuilt(kind, marshal.loads(item))  # noqa: S302 - it is our own
    return item.built() if type(item) is Unbuilt else item

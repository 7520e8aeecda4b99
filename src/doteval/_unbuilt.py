"""``Unbuilt``: an object of an SDK that is made when somebody looks at it, which few do; ``UnbuiltList``: several."""

from __future__ import annotations

from collections.abc import Mapping
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


class UnbuiltList(list[Any]):
    """Of which some are."""

    def built(self) -> list[Any]:
        """All of them, as the SDK makes them."""
        return [each.built() if type(each) is Unbuilt else each for each in self]

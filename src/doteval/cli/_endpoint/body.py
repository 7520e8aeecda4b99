"""Which model a request names, and the same request under another name; nothing else in it changes."""

from __future__ import annotations

import json
import re
from typing import Any

from .refusal import Refusal

_SPACE = re.compile(r"[ \t\n\r]*")
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_FIELD = re.compile(rb';\s*name="?model"?\s*(?:;|$)', re.IGNORECASE | re.MULTILINE)
_EXAMPLE = 'a JSON object with "model"'


class Body:
    """The body of a request.

    Args:
        content: All of it.
        content_type: What its header says that it is.

    Raises:
        Refusal: It names no model.
    """

    def __init__(self, content: bytes, content_type: str) -> None:
        self._content = content
        self._places: list[tuple[int, int]] = []  # where the name of the model stands
        self._is_form = content_type.lower().startswith("multipart/form-data")
        self.model = self._read_form(content_type) if self._is_form else self._read_json()
        """The model that it names."""

    def naming(self, model: str) -> bytes:
        """The same, but for the name of the model."""
        if model == self.model:
            return self._content
        written = model.encode() if self._is_form else json.dumps(model).encode()
        pieces: list[bytes] = []
        end = 0
        for start, stop in self._places:
            pieces += (self._content[end:start], written)
            end = stop
        return b"".join((*pieces, self._content[end:]))

    def _read_json(self) -> str:
        try:
            text = self._content.decode()
            value, places = _members(text, "model")
        except (ValueError, RecursionError) as exc:
            raise Refusal(400, "invalid_json", f"the body of a request has to be {_EXAMPLE}: {exc}") from None
        if not isinstance(value, str):
            raise Refusal(400, "model_missing", f"a request has to say which model it is for: {_EXAMPLE}", "model")
        if len(text) == len(self._content):  # nothing but ASCII: characters are bytes
            self._places = places
        else:
            self._places = [(len(text[:start].encode()), len(text[:stop].encode())) for start, stop in places]
        return value

    def _read_form(self, content_type: str) -> str:
        found = _BOUNDARY.search(content_type)
        if found is not None:
            mark = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
            start = 0
            while (start := self._content.find(mark, start)) >= 0:
                start += len(mark)
                head, value = self._content.find(b"\r\n\r\n", start), self._content.find(b"\r\n" + mark, start)
                if 0 <= head < value and _FIELD.search(self._content[start:head]):
                    self._places = [(head + 4, value)]
                    return self._content[head + 4 : value].decode(errors="replace")
        raise Refusal(400, "model_missing", "a form has to say in the field 'model' which model it is for", "model")


def _members(text: str, name: str) -> tuple[Any, list[tuple[int, int]]]:
    """The value of a member of the JSON object that a text is, and where it stands; the last one counts.

    Raises:
        ValueError: The text is no JSON object.
    """
    decoder = json.JSONDecoder()
    found: Any = None
    places: list[tuple[int, int]] = []

    def at(place: int) -> int:
        match = _SPACE.match(text, place)
        assert match is not None
        return match.end()

    def past(sign: str, place: int) -> int:
        if not text.startswith(sign, place):
            raise json.JSONDecodeError(f"expecting {sign!r}", text, place)
        return at(place + len(sign))

    place = past("{", at(0))
    if text.startswith("}", place):
        place += 1
    else:
        while True:
            key, place = decoder.raw_decode(text, place)
            if not isinstance(key, str):
                raise json.JSONDecodeError("expecting a name", text, place)
            start = past(":", at(place))
            value, stop = decoder.raw_decode(text, start)
            if key == name:
                found = value
                places.append((start, stop))
            place = at(stop)
            if text.startswith("}", place):
                place += 1
                break
            place = past(",", place)
    if at(place) != len(text):
        raise json.JSONDecodeError("extra data", text, place)
    return found, places

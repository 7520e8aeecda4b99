"""Requests that need nothing of what an SDK does to them, and answers that are read as they came.

Of the processor's time for a request, OpenAI's SDK takes a quarter for translating parameters that are JSON already,
and for the answer both make objects that nobody may look at; of the time for an event of a stream, they take most.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable
from contextlib import suppress
from types import FunctionType, MethodType
from typing import Any, cast

from ..._unbuilt import Unbuilt
from .failures import request_id_of


class Plain(dict[str, Any]):
    """An answer, or a part of one, that is read like the SDK's object for it; what it does not have is `None`."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the language asks for, such as how to copy it
            raise AttributeError(name)
        value = self.get(name)
        if type(value) is dict:
            return Plain(cast("dict[str, Any]", value))
        if type(value) is list:
            parts = cast("list[Any]", value)  # type: ignore[redundant-cast] # not for pyright
            return [Plain(each) if each.__class__ is dict else each for each in parts]
        return value


class PlainAnswer(Plain):
    """One that has a name among the server's requests."""

    __slots__ = ("request_id",)

    def __init__(self, fields: dict[str, Any], request_id: str | None) -> None:
        super().__init__(fields)
        self.request_id = request_id


def plain(answer: Any, response: Any) -> Any:
    """An answer as the SDK gives it, to be read like its objects."""
    if isinstance(answer, str):  # it was sent as another kind of text, which the SDK still takes for JSON if it is
        with suppress(ValueError, RecursionError):
            answer = json.loads(answer)
    return PlainAnswer(cast("dict[str, Any]", answer), request_id_of(response)) if type(answer) is dict else answer


def raw_of(answer: Any, kind: type[Any]) -> Any:
    """What a reply has of an answer, or of an event: the SDK's object, made or to be made."""
    if type(answer) is PlainAnswer:
        return Unbuilt(kind, answer, answer.request_id)
    return Unbuilt(kind, answer) if type(answer) is Plain else answer


def is_plain(value: Any) -> bool:
    """Whether it is JSON already, so that there is nothing to translate."""
    if type(value) is dict:
        fields = cast("dict[Any, Any]", value)  # type: ignore[redundant-cast] # likewise
        return all(isinstance(name, str) and is_plain(each) for name, each in fields.items())
    if type(value) is list:
        parts = cast("list[Any]", value)  # type: ignore[redundant-cast] # likewise
        return all(map(is_plain, parts))
    return value is None or isinstance(value, (str, int, float))


class PlainAnswers:
    """An SDK's client to the SDK's own methods, which then do all that they do, and give answers as they are in JSON.

    Args:
        client: The client itself.
        stream: The class of its streams, for events as they are in JSON.
    """

    def __init__(self, client: Any, stream: type[Any]) -> None:
        self._client = client
        self._stream = stream

    def post(self, path: str, *, cast_to: object, stream_cls: object, **more: Any) -> Awaitable[Any]:
        """Send a request, whatever its answer is to be made into."""
        posted: Awaitable[Any] = self._client.post(path, cast_to=object, stream_cls=self._stream, **more)
        return posted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def own_method(of: type[Any], name: str) -> FunctionType | None:
    """The method of a class, where it is the one that its package has, and nobody traces it from outside by another."""
    found = vars(of).get(name)
    package = sys.modules[of.__module__.partition(".")[0]]
    home = str(package.__file__).removesuffix("__init__.py")
    if type(found) is FunctionType and found.__code__.co_filename.startswith(home):
        return found
    return None


def is_of(method: object, function: FunctionType | None) -> bool:
    """Whether a method that was looked up on an object is this function."""
    return type(method) is MethodType and method.__func__ is function

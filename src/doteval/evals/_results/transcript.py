"""What was asked in a row, request by request: as it is kept where transcripts are asked for, and read again."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import Any, cast, overload

from ... import Completion, ModelRequest, Usage
from .begun import RequestsOfRow
from .plain import plain, plain_with_models, text_of
from .roles import Roles
from .usage import as_count

LONGEST_TEXT = 100_000
"""How many characters of one text are kept; a picture is one, too."""
MOST = 2_000_000
"""How many characters are kept of a row's first requests, each text once, and half as many of its last ones; what does
not fit is left out, and says so."""
_TIMES_LOOKED_AT = 5
"""How many times as many characters of messages are looked at, which the row's event loop waits for."""
_LEAST = 100
"""Less room than that is none: to say what is left out takes some, too."""
MOST_REQUESTS = 1000
"""How many requests are kept of a row: the first half of them, and the last ones, a quarter at least."""

_SHORTEST_LEFT_OUT = 40
_LONGEST_LINE = 500
"""How many characters of a model's name and of an error are kept, however little room there is."""
_CONVERSATIONS = 8
"""How many conversations may go on in turns, and each of their messages be looked at once."""
_TEXTS = ("model", "reply", "details", "error")
"""The fields of a request that are kept as numbers of texts."""
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_USAGE = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request that was made in a row. Values are as JSON holds them; long texts are cut, and say so.

    Args:
        model: The model's name as its server knows it.
        role: The argument of the evaluation that is the model, or has it; `None` where none does, or several do.
        attempt: In which attempt of the row it was made, counted from 1.
        begun: When it was sent, in seconds after the row had begun.
        seconds: How long it took.
        messages: The conversation that was sent, oldest message first.
        params: What else it was sent with, those of the model included; no keys and no headers that hold some.
        reply: What the model replied, or what had arrived of a stream; `None`: nothing.
        details: What else the reply says: its finish reason, a refusal, its reasoning, tool calls. Only what there is.
        error: What went wrong, in a line; `None` where nothing did.
        retries: How often the SDK sent it again.
        from_cache: Whether a cache of replies answered it, so that it was sent nowhere.
        usage: What it cost, as far as its server said so; of one from a cache, what the reply had cost before.
        left_out: Where it is none, but stands for those that are not kept: how many these are.
    """

    model: str
    role: str | None
    attempt: int
    begun: float
    seconds: float
    messages: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any]
    reply: str | None = None
    details: Mapping[str, Any] | None = None
    error: str | None = None
    retries: int = 0
    from_cache: bool = False
    usage: Usage | None = None
    left_out: int = 0


class RecordedRequests(Sequence[RecordedRequest]):
    """The requests of a row: one text, until somebody looks at them.

    Args:
        text: How they are kept.
        count: How many they are.
    """

    __slots__ = ("_count", "_found", "text")

    def __init__(self, text: str, count: int) -> None:
        self.text = text
        self._count = count
        self._found: tuple[RecordedRequest, ...] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> RecordedRequest: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[RecordedRequest, ...]: ...
    def __getitem__(self, place: int | slice) -> RecordedRequest | tuple[RecordedRequest, ...]:
        if self._found is None:
            self._found = decoded(self.text)
        return self._found[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordedRequests) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"<{self._count} requests>"


class Transcript(RequestsOfRow):
    """The requests of a row; what is to be kept of each is taken down when it has ended, as messages may change.

    It is taken down where the row runs, and becomes text there: whatever a request holds, nobody else meets it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.roles = Roles()
        """Those of the models."""
        self.attempt = 0
        """The attempt that runs."""
        self._began = perf_counter()
        self._first = _Writing(MOST)
        self._last: list[_Writing] = []
        """Two parts at most; where a third one begins, the older of them is left out."""
        self._left_out = 0
        self._lock = Lock()  # threads of a row ask at once

    def append(self, request: ModelRequest, /) -> None:
        """Take it down; what cannot be is said, and is no failure of the row."""
        super().append(request)
        with self._lock:
            self._take_down(request)

    def kept(self, left: Sequence[ModelRequest] = ()) -> RecordedRequests:
        """What is kept of them.

        Args:
            left: Those that go on.
        """
        with self._lock:
            for request in left:
                request.seconds = perf_counter() - request.began
                self._take_down(request, "it had not ended when its row had")
            parts = [self._first, *self._last]
            if not self._last:
                return RecordedRequests(self._first.text(), len(self._first))
            return RecordedRequests(joined(parts, self._left_out), sum(map(len, parts)) + bool(self._left_out))

    def _take_down(self, request: ModelRequest, problem: str | None = None) -> None:
        model = text_of(request.model)
        fields: dict[str, Any] = {"role": self.roles.of(request), "attempt": self.attempt}
        writing = self._place()
        try:
            said = _fields_of(request, model, self._began, problem)
            writing.add({**fields, **said}, request.messages, request.params)
        except Exception as exc:
            problem = f"it was made, and cannot be kept: {type(exc).__name__}"
            writing.add({**fields, "model": model, "error": problem})

    def _place(self) -> _Writing:
        """Where the next one is taken down."""
        if len(self._first) < MOST_REQUESTS // 2:
            return self._first
        if not self._last or len(self._last[-1]) >= MOST_REQUESTS // 4:
            self._last.append(_Writing(MOST // 4))
            if len(self._last) > 2:
                self._left_out += len(self._last.pop(0))
        return self._last[-1]


class _Writing:
    """Makes one text of requests. What several have is in it once, and of conversations that go on only what is new.

    Args:
        most: How many characters it may have.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._to_look_at = _TIMES_LOOKED_AT * most
        self._texts: dict[str, int] = {}
        self._params: dict[str, int] = {}
        self._known_params: dict[str, tuple[object, int]] = {}
        self._conversations: deque[tuple[int, list[Any]]] = deque(maxlen=_CONVERSATIONS)
        """The requests that others may go on from, and their messages, unless these were too much."""
        self._requests: list[str] = []

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, fields: Mapping[str, Any], messages: object = (), params: Mapping[str, Any] | None = None) -> None:
        """One more.

        Args:
            fields: What is kept of it besides.
            messages: The conversation that was sent.
            params: What else it was sent with.
        """
        written = {name: value for name, value in fields.items() if value is not None}
        for name in ("reply", "details"):
            if name in written:
                written[name] = self._place_of(written[name])
        for name in ("model", "error"):
            if name in written:
                written[name] = self._enter(_encode(shortened(written[name], _LONGEST_LINE)))
        if params and (number := self._params_of(params)) is not None:
            written["params"] = number
        self._requests.append(_encode({**written, **self._conversation(_listed(messages))}))

    def text(self) -> str:
        """All of them."""
        parts = {"texts": self._texts, "params": self._params, "requests": self._requests}
        return "{" + ",".join(f'"{name}":[{",".join(values)}]' for name, values in parts.items()) + "}"

    @property
    def texts(self) -> Iterable[str]:
        """The texts in it, in the order of their numbers."""
        return self._texts

    def _place_of(self, value: Any, role: object = None) -> int:
        """The number of a value that is plain."""
        text = _encode(shortened(value))
        self._to_look_at -= len(text)
        if text not in self._texts and len(text) > max(self._left - _LEAST, _SHORTEST_LEFT_OUT):
            left_out = f"<{len(text):,} characters are left out>"
            text = _encode({"role": role, "content": left_out} if isinstance(value, dict) else left_out)
        return self._enter(text)

    def _enter(self, text: str) -> int:
        if text not in self._texts:
            self._left -= len(text)
            self._texts[text] = len(self._texts)
        return self._texts[text]

    def _conversation(self, messages: Sequence[object]) -> dict[str, Any]:
        """The messages that are new, and which request had the ones before them."""
        same, earlier, known = 0, 0, list[Any]()
        for number, others in reversed(self._conversations):
            alike = _alike(messages, others)
            if alike > same:
                same, earlier, known = alike, number, others
            if alike == len(others):  # it goes on from there
                break
        told: list[Any] = known[:same]
        numbers: list[int] = []
        is_whole = True
        for place, message in enumerate(messages[same:], same):
            if self._left < _LEAST or self._to_look_at < 0:
                more = len(messages) - place
                content = f"<{more:,} message{'' if more == 1 else 's'} left out>"
                numbers.append(self._enter(_encode({"role": None, "content": content})))
                is_whole = False
                break
            found = plain_with_models(message)
            said: dict[str, Any] = found if isinstance(found, dict) else {"content": found}
            told.append(said)
            numbers.append(self._place_of(said, _role_of(said)))
        if is_whole and told:
            if same and same == len(known):
                self._conversations.remove((earlier, known))
            self._conversations.append((len(self._requests), told))
        return {"after": [earlier, same], "messages": numbers} if same else {"messages": numbers}

    def _params_of(self, params: Mapping[str, Any]) -> int | None:
        """The number of parameters, each of which has a number."""
        if self._left < _LEAST or self._to_look_at < 0:
            return None
        numbers: dict[str, int] = {}
        for key, value in params.items():
            name = cast("str", shortened(text_of(key), _LONGEST_LINE))
            known = self._known_params.get(name)
            if known is None or not _is_same(value, known[0]):
                said = plain_with_models(value)
                known = self._known_params[name] = said, self._place_of(without_secrets(name, said))
            numbers[name] = known[1]
            if self._left < _LEAST:
                break
        text = _encode(numbers)
        if text not in self._params:
            self._left -= len(text)
            self._params[text] = len(self._params)
        return self._params[text]


def joined(parts: Sequence[_Writing], left_out: int) -> str:
    """One text of several parts, with what says after the first one how many requests are left out."""
    texts: dict[str, int] = {}
    params: list[dict[str, int]] = []
    requests: list[dict[str, Any]] = []
    for part in parts:
        if left_out and part is parts[1]:
            said = f"{left_out:,} request{' is' if left_out == 1 else 's are'} left out"
            model, error = (texts.setdefault(_encode(text), len(texts)) for text in ("", said))
            marked = {"model": model, "error": error, "messages": list[int](), "left_out": left_out}
            before = requests[-1] if requests else {"attempt": 1}
            requests.append({**marked, "attempt": before["attempt"], "begun": before.get("begun", 0.0)})
        numbers = [texts.setdefault(text, len(texts)) for text in part.texts]
        first, first_params = len(requests), len(params)
        found = json.loads(part.text())
        params += [{name: numbers[place] for name, place in each.items()} for each in found["params"]]
        for each in cast("list[dict[str, Any]]", found["requests"]):
            moved: dict[str, int] = {name: numbers[each[name]] for name in _TEXTS if name in each}
            if "params" in each:
                moved["params"] = each["params"] + first_params
            after = {"after": [each["after"][0] + first, each["after"][1]]} if "after" in each else {}
            requests.append({**each, **moved, **after, "messages": [numbers[place] for place in each["messages"]]})
    whole = f'"params":{_encode(params)},"requests":{_encode(requests)}'
    return f'{{"texts":[{",".join(texts)}],{whole}}}'


def _fields_of(request: ModelRequest, model: str, began: float, problem: str | None = None) -> dict[str, Any]:
    reply, error, usage = request.received, request.error, request.usage
    if error is not None:
        problem = without_secrets("error", text_of(error).partition("\n")[0])
    elif reply is None and problem is None:
        was_streamed = request.stream is not None
        problem = (
            "its stream was left before any of it came" if was_streamed else "it was cancelled before a reply came"
        )
    times = {"begun": round(request.began - began, 4), "seconds": round(request.seconds, 4)}
    return {
        "model": model,
        "reply": None if reply is None else plain(str(reply)),
        "details": details_of(reply),
        "error": problem,
        "retries": as_count(request.retries) or None,
        "from_cache": bool(request.from_cache) or None,
        "usage": [as_count(getattr(usage, name)) for name in _USAGE] if isinstance(usage, Usage) else None,
        **{name: seconds for name, seconds in times.items() if math.isfinite(seconds)},
    }


def without_secrets(name: str, value: object) -> Any:
    """A value of this name as it may be kept: without those of secret names in it, and without secrets in URLs."""
    return ModelRequest("", params={name: value}).open_params[name]


def _listed(messages: object) -> Sequence[object]:
    """A conversation, whatever whoever made the request has said."""
    if isinstance(messages, Sequence) and not isinstance(messages, (str, bytes, bytearray)):
        return cast("Sequence[object]", messages)
    return () if messages is None else (messages,)


def _role_of(message: Mapping[str, Any]) -> Any:
    role = message.get("role")
    return role if isinstance(role, str) and len(role) < _LEAST else None


def _alike(messages: Sequence[object], known: Sequence[object]) -> int:
    """How many messages at the beginning are those that are known."""
    for place, (message, other) in enumerate(zip(messages, known, strict=False)):
        if not _is_same(message, other):
            return place
    return min(len(messages), len(known))


def _is_same(value: object, known: object) -> bool:
    """Whether a value is, for sure, what became plain before: most messages are plain themselves."""
    try:
        return type(value) in (dict, list, str) and type(value) is type(known) and bool(value == known)
    except Exception:  # what it holds may compare as it likes
        return False


def decoded(text: str) -> tuple[RecordedRequest, ...]:
    """The requests in such a text."""
    if not text:
        return ()
    kept: dict[str, list[Any]] = json.loads(text)
    texts: list[Any] = kept["texts"]
    params: list[dict[str, Any]] = [{name: texts[place] for name, place in each.items()} for each in kept["params"]]
    found: list[RecordedRequest] = []
    for fields in cast("list[dict[str, Any]]", kept["requests"]):
        earlier, same = cast("tuple[int, int]", fields.pop("after", (0, 0)))
        before: Sequence[Mapping[str, Any]] = found[earlier].messages[:same] if same else ()
        numbers = cast("list[int]", fields.pop("messages"))
        for name in _TEXTS:
            if name in fields:
                fields[name] = texts[fields[name]]
        usage = cast("list[int] | None", fields.pop("usage", None))
        place = cast("int | None", fields.pop("params", None))
        known: dict[str, Any] = {"role": None, "begun": 0.0, "seconds": 0.0, **fields}
        found.append(
            RecordedRequest(
                **known,
                messages=[*before, *(texts[number] for number in numbers)],
                params={} if place is None else params[place],
                usage=None if usage is None else Usage(*usage),
            )
        )
    return tuple(found)


def details_of(reply: object) -> Mapping[str, Any] | None:
    """What a reply says besides its text, where it is one."""
    names = ("finish_reason", "refusal", "reasoning", "tool_calls", "retries")
    known = {name: value for name in names if (value := getattr(reply, name, None))}
    return cast("dict[str, Any]", plain(known)) if known and isinstance(reply, Completion) else None


def shortened(value: Any, longest: int = LONGEST_TEXT) -> Any:
    """A plain value whose long texts are cut."""
    if isinstance(value, str):
        more = len(value) - longest
        return value if more <= 0 else f"{value[:longest]}… ({more:,} characters more)"
    if isinstance(value, list):
        return [shortened(item, longest) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {name: shortened(item, longest) for name, item in cast("dict[str, Any]", value).items()}
    return value

"""What the values of a row are known by: different ones differently, and the same ones the same in every process.

What holds others is known by its kind and by them, a table or an array by what is in it, and any other object by what
``pickle`` would keep of it. What has none of these, such as a generator or a client, is unknown, and that is told.
No value is too deep: they are not looked at by recursion.
"""

from __future__ import annotations

import copyreg
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from hashlib import blake2b
from itertools import chain
from pathlib import Path, PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple, cast

from ._kinds import Kinds, known_by_kind
from ._tabular import held_by_table, number_or_text_of

_MOST = 5_000_000
"""How many values that hold others are looked at at most; there may be no end of them."""
_SHORT = 64
_END = object()
_LISTED = Kinds((str, float, bool, type(None)))
"""Of these, what Python writes of a list tells everything."""
_WITHOUT_STATE = frozenset({"_thread.lock", "_thread.RLock"})


class Fingerprint(NamedTuple):
    """What a value is known by.

    Args:
        digest: The same for the same value.
        unknown: The types of what it holds that cannot be told apart.
    """

    digest: str
    unknown: tuple[str, ...]


class Parts(NamedTuple):
    """What a value is made of.

    Args:
        tag: Its kind.
        items: What it holds.
        size: How many of the items belong together, of those whose order says nothing; 0 where it does.
        is_object: Whether it is an object that was taken apart.
    """

    tag: str
    items: Iterable[Any]
    size: int = 0
    is_object: bool = False


class Looks:
    """What is known of code, and of what is not to be taken apart; by itself, nothing but names."""

    def is_library(self, kind: type[Any]) -> bool:
        """Whether a class is not the user's own."""
        return True

    def name(self, kind: type[Any]) -> str:
        """What a class is called."""
        return _name(kind)

    def of(self, value: object) -> str:
        """A fingerprint of a function or a class; of anything else, of what it says that it is."""
        return f"{_name(_class_of(value))} {getattr(value, '__qualname__', '')}"

    def known(self, value: object, kind: type[Any]) -> str | Parts | None:
        """A fingerprint of a value, or what it is made of, where that is known better than by what pickle keeps."""
        return None

    def is_passing(self, name: object, value: object, kind: type[Any]) -> bool:
        """Whether an object of a class has an attribute only for the moment."""
        return name in _passing(kind)


NAMES = Looks()
"""Knows only what things are called."""


def fingerprint(value: object, looks: Looks = NAMES, most: int = _MOST) -> Fingerprint:
    """What a value is known by.

    Args:
        value: The value.
        looks: Knows functions and classes.
        most: How many values that hold others are looked at at most.
    """
    walk = _Walk(looks, most)
    token = walk.of(value)
    return Fingerprint(blake2b(token, digest_size=12).hexdigest(), tuple(sorted(walk.unknown)))


def digest_of(value: object, looks: Looks = NAMES) -> str:
    """The digest alone."""
    return fingerprint(value, looks).digest


class _Frame:
    """A value that is being looked at."""

    __slots__ = ("first", "found", "in_set", "items", "lowest", "others", "parts", "unknown", "value")

    def __init__(self, value: object, parts: Parts, depth: int, others: int, *, in_set: bool) -> None:
        self.value = value
        self.parts = parts
        self.items: Iterator[Any] = iter(parts.items)
        self.found: list[bytes] = []
        self.lowest = depth
        """The lowest of those that hold it, or itself, which what it holds refers to."""
        self.others = others
        """How many were open to others before it."""
        self.unknown: set[str] = set()
        self.in_set = in_set or parts.size == 1


class _Walk:
    """Looks at one value and at all that it holds.

    A value that comes again is looked at once. One of a circle is known by that and by its place there.
    """

    def __init__(self, looks: Looks, most: int) -> None:
        self._looks = looks
        self.unknown: set[str] = set()
        self._left = most
        self._frames: list[_Frame] = []
        self._open: dict[int, int] = {}
        """The depths of those that are being looked at, by ``id``."""
        self._known: dict[int, tuple[bytes, set[str]]] = {}
        self._circular: dict[int, tuple[int, int]] = {}
        """Of those that refer to what is being looked at: when they were seen, and the lowest that they refer to."""
        self._others: list[int] = []
        """The ``id`` of the same, in order."""
        self._kept: list[object] = []
        """So that nothing else gets their ``id`` meanwhile."""

    def of(self, value: object) -> bytes:
        """A token of a value."""
        token = self._begun(value)
        frames = self._frames
        while frames:
            frame = frames[-1]
            if token is not None:
                frame.found.append(token)
            try:
                item = next(frame.items, _END)
            except Exception:  # what it holds cannot be read
                frame.unknown.add(_name(_class_of(frame.value)))
                item = _END
            token = self._ended() if item is _END else self._begun(item)
        assert token is not None
        return token

    def _begun(self, value: Any) -> bytes | None:
        """The token of a value; `None` where what it holds is looked at first."""
        kind = _class_of(value)
        atom = _atom(value, kind)
        if atom is not None:
            return atom
        key, depth = id(value), len(self._frames)
        if key in self._known:
            token, unknown = self._known[key]
            self._add_unknown(unknown)
            return token
        if key in self._open:
            self._refers_to(self._open[key])
            return b"^%d" % (depth - self._open[key])
        if key in self._circular:
            number, lowest = self._circular[key]
            self._refers_to(lowest)
            return b"^" if self._frames[-1].in_set else b"^-%d" % (len(self._kept) - number)
        self._left -= 1
        parts: Parts | bytes | None = None
        known = self._looks.known(value, kind)
        if isinstance(known, str):
            token = _joined(b"code", [known.encode("utf-8", "backslashreplace")])
            self._known[key] = token, set()
            self._kept.append(value)
            return token
        if known is not None:
            parts = known
        elif self._left >= 0:
            try:
                parts = self._parts(value, kind)
            except Exception:  # it does not let itself be looked at
                parts = None
        if isinstance(parts, bytes):
            return parts
        if parts is None:
            self._add_unknown({_name(kind)})
            return _joined(b"?", [self._looks.name(kind).encode(), self._looks.of(value).encode()])
        in_set = bool(self._frames) and self._frames[-1].in_set
        self._frames.append(_Frame(value, parts, depth, len(self._others), in_set=in_set))
        self._open[key] = depth
        self._kept.append(value)
        return None

    def _ended(self) -> bytes:
        frame = self._frames.pop()
        key, depth = id(frame.value), len(self._frames)
        del self._open[key]
        token = self._token(frame)
        if frame.lowest == depth:
            self._known[key] = token, frame.unknown
            for place, other in enumerate(self._others[frame.others :]):
                del self._circular[other]
                self._known[other] = _joined(b"@", [token, b"%d" % place]), frame.unknown
            del self._others[frame.others :]
        else:
            self._circular[key] = len(self._kept), frame.lowest
            self._others.append(key)
            self._refers_to(frame.lowest)
        self._add_unknown(frame.unknown)
        return token

    def _token(self, frame: _Frame) -> bytes:
        parts, found = frame.parts, frame.found
        kind = _class_of(frame.value)
        if parts.is_object and frame.unknown and self._looks.is_library(kind):
            # What else it has may be of the moment, such as the connections of a client.
            frame.unknown = {_name(kind)}
            return _joined(b"?", [parts.tag.encode(), self._looks.of(frame.value).encode()])
        if parts.size:
            found = sorted(_joined(b"", found[at : at + parts.size]) for at in range(0, len(found), parts.size))
        return _joined(b"#", [parts.tag.encode(), *found])

    def _refers_to(self, depth: int) -> None:
        frame = self._frames[-1]
        frame.lowest = min(frame.lowest, depth)

    def _add_unknown(self, names: set[str]) -> None:
        (self._frames[-1].unknown if self._frames else self.unknown).update(names)

    def _parts(self, value: Any, kind: type[Any]) -> Parts | bytes | None:
        """What a value is made of, or its token; `None` where that cannot be seen."""
        if kind is dict:
            return Parts("dict", chain.from_iterable(value.items()), size=2)
        if kind is list or kind is tuple:
            items = cast("Sequence[object]", value)
            if _LISTED.are_of_all(items):
                return _joined(b"#", [kind.__name__.encode(), ascii([*items]).encode()])
            return Parts(kind.__name__, items)
        if kind is set or kind is frozenset:  # which are equal
            return Parts("set", value, size=1)
        if isinstance(value, (type, FunctionType)):
            return _joined(b"code", [self._looks.of(value).encode()])
        if kind is CodeType:
            code = cast("CodeType", value)
            return Parts("code", (code.co_code, code.co_names, code.co_consts))
        if kind is functools.partial:  # pickle tells whether somebody has asked for its attributes
            return Parts(_name(kind), (value.func, value.args, value.keywords, vars(value)))
        if isinstance(value, ModuleType):
            return _joined(b"module", [value.__name__.encode()])
        if isinstance(value, Enum):
            return Parts(f"member {self._looks.name(kind)}", (value.name, value.value))
        if isinstance(value, PurePath):
            return _joined(b"path", [self._looks.name(kind).encode(), str(value).encode("utf-8", "surrogatepass")])
        if kind is bytearray or kind is memoryview:
            return _joined(b"#" + kind.__name__.encode(), [bytes(value)])
        if hasattr(kind, "__doteval_identity__"):
            return _joined(b"code", [self._looks.of(value).encode()])
        single = number_or_text_of(value)
        if single is not None:
            return _atom(single, _class_of(single))
        table = held_by_table(value, kind)
        return self._object(value, kind) if table is None else Parts(f"table {self._looks.name(kind)}", table)

    def _object(self, value: Any, kind: type[Any]) -> Parts | bytes | None:
        if f"{kind.__module__}.{kind.__qualname__}" in _WITHOUT_STATE:
            return b"lock"
        name = self._looks.name(kind)
        try:
            found = reduced(value, kind)
        except Exception:  # it cannot be pickled
            if isinstance(value, Mapping):
                pairs = cast("Mapping[object, object]", value).items()
                return Parts(name, chain.from_iterable(pairs), size=2)
            if isinstance(value, Sequence):
                return Parts(name, cast("Sequence[object]", value))
            if isinstance(value, AbstractSet):
                return Parts(name, cast("AbstractSet[object]", value), size=1)
            is_own = hasattr(value, "__dict__") and not self._looks.is_library(kind)
            return Parts(name, (self._lasting(vars(value), kind),)) if is_own else None
        if isinstance(found, str):  # the name of something there is one of
            return _joined(b"name", [name.encode(), found.encode()])
        function, args, state, items, pairs = (*found, None, None, None)[:5]
        maker = "" if any(function is each for each in _NEW) else getattr(function, "__qualname__", "")
        owner: object = getattr(function, "__self__", None)
        held = (
            None if isinstance(owner, ModuleType) else owner,
            *(_in_no_order(value, each) for each in cast("tuple[object, ...]", args) if each is not kind),
            self._lasting(state, kind),
            None if items is None else [*items],
            None if pairs is None else dict(pairs),
        )
        return Parts(f"{name} {maker}", held, is_object=True)

    def _lasting(self, state: Any, kind: type[Any]) -> Any:
        """The state of an object without what it computes when it is asked, and without what it has for the moment."""
        if type(state) is dict:
            held = cast("dict[object, object]", state)
            return {name: each for name, each in held.items() if not self._looks.is_passing(name, each, kind)}
        if type(state) is not tuple:
            return state
        return tuple(self._lasting(each, kind) for each in cast("tuple[object, ...]", state))


def _goes_through(kind: Any) -> bool:
    """Whether a class of sets goes through its items as sets do."""
    own: Any = kind.__iter__
    return own in (set[Any].__iter__, frozenset[Any].__iter__)


def _in_no_order(value: Any, given: Any) -> object:
    """What a set is made of again, which lists its items in the order of their hashes; anything else as it is.

    One that has its own way to go through its items may keep them in an order.
    """
    if (
        type(given) is not list
        or not isinstance(value, (set, frozenset))
        or not _goes_through(type(cast("Any", value)))
    ):
        return cast("object", given)
    own, listed = cast("frozenset[object]", value), cast("list[object]", given)
    return frozenset(listed) if len(listed) == len(own) and own.issuperset(listed) else listed


_NEW: tuple[object, ...] = (getattr(copyreg, "__newobj__", None), getattr(copyreg, "__newobj_ex__", None))


def reduced(value: Any, kind: type[Any]) -> Any:
    """What pickle keeps of an object: how it is made, of what, and its state.

    Raises:
        Exception: It cannot be pickled.
    """
    if kind.__module__ == "itertools":
        raise TypeError  # these are state of a run
    reduce: Callable[[object], Any] | None = copyreg.dispatch_table.get(kind)
    return value.__reduce_ex__(4) if reduce is None else reduce(value)


@known_by_kind
def _passing(kind: Any) -> frozenset[str]:
    found: set[str] = set()
    for each in cast("tuple[type[Any], ...]", kind.__mro__):
        found.update(name for name, value in vars(each).items() if isinstance(value, functools.cached_property))
    return frozenset(found)


def _class_of(value: object) -> type[Any]:
    return type(value)


def _atom(value: Any, kind: type[Any]) -> bytes | None:
    """The token of what holds nothing; `None` for anything else."""
    if kind is str:
        return _named(b"s", value.encode("utf-8", "surrogatepass"))
    if kind is bool or value is None or value is ...:
        return repr(value).encode()
    if kind is int:
        return _named(b"i", hex(value).encode())
    if kind is float or kind is complex:
        return (b"f" if kind is float else b"j") + repr(value).encode()
    return _named(b"b", value) if kind is bytes else None


def _named(tag: bytes, data: bytes) -> bytes:
    return tag + data if len(data) <= _SHORT else b"%s%d " % (tag.upper(), len(data)) + _hashed(data)


def _joined(tag: bytes, parts: Sequence[bytes]) -> bytes:
    return tag + _hashed(b"".join([b"%d:%s" % (len(part), part) for part in parts]))


def _hashed(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _name(kind: type[Any]) -> str:
    """The name of a class, the same where its module is imported and where it is the program."""
    return f"{module_of(kind).rpartition('.')[2]}.{kind.__qualname__}"


def module_of(kind: type[Any]) -> str:
    """The module of a class, as it is imported."""
    module = origin_of(kind).__module__
    if module in ("__main__", "__mp_main__"):
        module = Path(getattr(sys.modules.get(module), "__file__", None) or module).stem
    return module


def origin_of(kind: type[Any]) -> type[Any]:
    """The generic model of pydantic that a class was made of for some types; any other class itself.

    Whose module such a class says that it is of depends on the version.
    """
    made: Any = vars(kind).get("__pydantic_generic_metadata__")
    return (made and made["origin"]) or kind

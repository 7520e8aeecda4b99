"""Keys and ids of resources: equal exactly where spec and configuration are, whatever these are made of."""

from __future__ import annotations

import array
import datetime as dt
import decimal
import enum
import math
import subprocess
import sys
import uuid
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any, Self

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doteval import PooledProvider, SpecError
from doteval._secrets import secrets_of
from doteval._spec import identified, resource_id, resource_key


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    ONE = 1


@dataclass
class Box:
    content: Any
    cache: Any = field(default=None, compare=False)


@dataclass(eq=False)
class Own:
    content: Any


class Point(tuple[int, int]):
    __slots__ = ()


class Raw(PurePosixPath):
    """Keeps its parts as they were given, and is pickled with them, as every path is from Python 3.13 on."""

    def __init__(self, *parts: str) -> None:
        if sys.version_info >= (3, 12):
            super().__init__(*parts)
        self.parts_given = parts

    def __new__(cls, *parts: str) -> Self:
        return super().__new__(cls, *parts)

    def joinpath(self, *parts: Any) -> Raw:
        return Raw(*self.parts_given, *parts)

    def __reduce__(self) -> Any:
        return Raw, self.parts_given


class Lean:
    """Is pickled without what it does not compare by."""

    def __init__(self, content: Any, cache: Any) -> None:
        self.content, self.cache = content, cache

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lean) and self.content == other.content

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> Any:
        return {"content": self.content}


class Closed(Lean):
    """Is pickled without what it compares by."""

    def __getstate__(self) -> Any:
        return {"cache": self.cache}


class Settings(pydantic.BaseModel):
    size: int = 1


def local_data(content: Any) -> Any:
    @dataclass
    class Local:
        content: Any

    return Local(content)


def local_enum() -> Any:
    return enum.Enum("Local", "ONE").ONE  # type: ignore[attr-defined]


DISTINCT: list[Any] = [
    *(None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, 1j, math.inf, math.nan, 10**5000),
    *("", "1", "None", "a", "\ud800", "s1:a", b"", b"a", bytearray(b"a"), memoryview(b"a").tobytes() + b"b"),
    *([], (), set(), frozenset(), {}, [1], (1,), {1}, frozenset({1}), [[1], 2], [[1, 2]], [1, 2], [12], [True], [1.0]),
    *(["a", "b"], ["ab"], ["a,b"], {"a": 1}, {"a": "1"}, {1: 1}, {"1": 1}, {True: 1}, {1.0: 1}, {0: 1, "cpu": 1}),
    *({("a",): 1}, {"a": {"b": 1}}, {"a": {}, "b": 1}, range(1), deque([1]), Point((1, 1)), (1, 1)),
    *(Path("a"), Path("b"), Colour.RED, Colour.BLUE, Level.ONE, Box(1), Box(2), Box([1])),
    *(decimal.Decimal(1), decimal.Decimal("1.0"), dt.timedelta(1), dt.date(2000, 1, 1), uuid.UUID(int=1)),
    *(local_data(1), local_data(1), local_enum(), local_enum()),
    *(Closed(1, 1), Closed(2, 1), Settings(size=2), Settings()),
    *(array.array("i", [1]), array.array("l", [1]), int, str, len, "a".upper, Own(1), Own(1), object(), lambda: 1),
]


def test_no_two_different_values_have_one_key_or_one_id() -> None:
    identities = [identified("m", {"x": value}) for value in DISTINCT]
    for place, (key, label) in enumerate(identities):
        assert [other == key for other, _ in identities].index(True) == place
        assert [other for _, other in identities].index(label) == place


SAME: list[tuple[Any, Any]] = [
    (math.nan, float("nan")),
    ({"a": 1, "b": [2]}, OrderedDict([("b", [2]), ("a", 1)])),
    ({"a": 1}, MappingProxyType({"a": 1})),
    ({"x", "y", "z", None}, {None, "z", "y", "x"}),
    (Path("a") / "b", Path("a/b")),
    (Box([1, Path("a")], cache=1), Box([1, Path("a")], cache=2)),
    (dt.date(2000, 1, 1), dt.date(2000, 1, 1)),
    (bytearray(b"a"), bytearray(b"a")),
    (array.array("d", [math.nan]), array.array("d", [math.nan])),
    (Raw("a").joinpath("b"), Raw("a/b")),
    (PureWindowsPath("A/b"), PureWindowsPath("a/B")),
    (Lean(1, cache=1), Lean(1, cache=2)),
    (Settings(), Settings(size=1)),
]


@pytest.mark.parametrize("pair", SAME, ids=range(len(SAME)))  # a set's repr is another one in each process
def test_equal_values_made_apart_are_one_resource(pair: tuple[Any, Any]) -> None:
    first, second = ({"x": value} for value in pair)
    assert identified("m", first) == identified("m", second)


def test_scalars_and_arrays_of_numpy_count_by_type_and_content() -> None:
    numpy = pytest.importorskip("numpy")
    values = [
        *(numpy.int64(1), numpy.int32(1), numpy.float64(1), numpy.float32(1), numpy.bool_(1), numpy.str_("1"), 1, "1"),
        *(
            numpy.array([1]),
            numpy.array([[1]]),
            numpy.array([1.0]),
            numpy.array([None]),
            numpy.datetime64("2000-01-01"),
        ),
        *(numpy.arange(5000), numpy.r_[numpy.arange(4999), 0]),
    ]
    keys = [resource_key("m", {"x": value}) for value in values]
    assert len(set(keys)) == len(values)
    again = [value.copy() if hasattr(value, "copy") else value for value in values]
    assert [resource_key("m", {"x": value}) for value in again] == keys


def test_what_holds_itself_has_a_key_and_what_is_endless_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    tree: dict[str, Any] = {}
    tree["tree"] = [tree]
    assert len({resource_key("m", {"x": value}) for value in (ring, [ring], tree)}) == 3
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SpecError, match="nested too deeply"):
        resource_key("m", {"x": deep})


class Awkward:
    """Compares by value, and cannot be taken apart."""

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ZeroDivisionError


def test_an_object_that_cannot_be_taken_apart_is_only_itself() -> None:
    one, other = Awkward(), Awkward()
    assert resource_key("m", {"x": one}) == resource_key("m", {"x": one})
    assert resource_key("m", {"x": one}) != resource_key("m", {"x": other})


PRINT = """
from pathlib import Path; from tests.test_resource_ids import *
config = dict(path=Path("a"), data=b"a", names={"x", "y", "z", 1}, colour=Colour.RED, box=Box(1), kind=Box, f=math.sqrt)
print(resource_id("m", config))
"""


@pytest.mark.process
def test_an_id_is_the_same_in_every_process() -> None:
    run = [sys.executable, "-c", PRINT]
    ids = {
        subprocess.run(
            run, env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(ids) == 1


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary()
hashables = st.recursive(leaves, lambda inner: st.tuples(inner, inner) | st.frozensets(inner), max_leaves=4)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.sets(hashables)
        | st.dictionaries(hashables, inner)
        | st.builds(Box, inner)
    ),
    max_leaves=12,
)


def written(value: Any) -> Any:
    """Another way to say which values are the same, for the few kinds that are made here."""
    if isinstance(value, Box):
        return "box", written(value.content)
    if isinstance(value, dict):
        return "dict", frozenset((written(key), written(item)) for key, item in value.items())
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, frozenset(map(written, value))
    if isinstance(value, (list, tuple)):
        return type(value).__name__, tuple(map(written, value))
    return type(value).__name__, repr(value)


@given(values, values)
def test_key_and_id_are_equal_exactly_where_the_values_are(first: Any, second: Any) -> None:
    one, other = identified("m", {"x": first}), identified("m", {"x": second})
    assert (one == other) is (written(first) == written(second))
    assert (one[0] == other[0]) is (one[1] == other[1])
    assert hash(one[0]) is not None


@given(values)
def test_a_copy_has_the_same_key(value: Any) -> None:
    def copied(value: Any) -> Any:
        if isinstance(value, Box):
            return Box(copied(value.content))
        if isinstance(value, dict):
            return dict(reversed([(copied(key), copied(item)) for key, item in value.items()]))
        if isinstance(value, (list, tuple, set, frozenset)):
            return type(value)(map(copied, value))
        return value

    assert identified("m", {"x": value}) == identified("m", {"x": copied(value)})


SECRET = "sk-0123456789"
HIDDEN: list[dict[str, Any]] = [
    {"api_key": SECRET},
    {"api_key": SECRET.encode()},
    {"token": [SECRET]},
    {"default_headers": [("Authorization", SECRET)]},
    {"extra": [["X-Api-Key", SECRET]]},
    {"extra": [(b"authorization", SECRET.encode())]},
    {"servers": [{"name": "a", "api_key": SECRET}]},
    {"headers": {"Authorization": SECRET}},
    {"auth": ("me", SECRET)},
]


@pytest.mark.process
@pytest.mark.parametrize("config", HIDDEN, ids=str)
def test_a_secret_is_found_wherever_it_is_and_its_hash_cannot_be_guessed(config: dict[str, Any]) -> None:
    assert SECRET in secrets_of(config)
    found = subprocess.run(
        [sys.executable, "-c", f"from doteval._spec import resource_id; print(resource_id('m', {config!r}))"],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
        text=True,
    ).stdout.strip()
    assert found != resource_id("m", config)  # another process has another key
    assert resource_id("m", config) == resource_id("m", config)
    assert SECRET not in resource_id("m", config)


class Provider(PooledProvider[object]):
    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncIterator[object]:
        yield object()


@pytest.mark.anyio
async def test_a_teardown_by_id_closes_that_resource_and_no_other() -> None:
    async with Provider() as provider:
        handles = [await provider.setup("a", x=value) for value in (["a"], ("a",), 1, True, 1.0, {0: 1, "cpu": 2})]
        assert (await provider.setup("a", x=math.nan)).model is (await provider.setup("a", x=float("nan"))).model
        for place, handle in enumerate(handles):
            await provider.teardown(handle.resource_id)
            assert [handle.is_active for handle in handles] == [False] * (place + 1) + [True] * (5 - place)

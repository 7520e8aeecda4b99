"""What rows are known by: values that differ are told apart, and the same value is the same in every process."""

from __future__ import annotations

import functools
import io
import json
import math
import os
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.message import EmailMessage
from enum import Enum
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jinja2
import pyarrow as pa
import pytest
from hypothesis import given
from pydantic import BaseModel
from tests.evals.anything import anything

from doteval import Result, foreach
from doteval.evals import DatasetError, run
from doteval.evals._digests import digest_of, fingerprint
from doteval.evals._results.plain import plain
from doteval.evals._running.dataset import _Code

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about values."""
    return "asyncio"


@dataclass
class Item:
    text: str
    others: list[Any] = field(default_factory=list)


class Point(NamedTuple):
    x: Any


class Color(Enum):
    RED = "r"
    BLUE = "b"


class Model(BaseModel):
    x: Any


class Conversation:
    """A builder: its methods write what it is."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def add(self, text: str) -> Conversation:
        self.turns = [*getattr(self, "turns", ()), text]
        return self

    @functools.cached_property
    def length(self) -> int:
        return len(self.turns)


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x


class Text(str):
    __slots__ = ("mark",)

    mark: str


def marked(mark: str) -> Text:
    text = Text("the same")
    text.mark = mark
    return text


def mail(text: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "the same"
    message.set_content(text)
    return message


class Tags(set[Any]):
    """With attributes, which count."""

    def __init__(self, items: Any = (), mark: str = "") -> None:
        super().__init__(items)
        self.mark = mark


class Frozen(frozenset[Any]):
    __slots__ = ()


class Reduced(set[Any]):
    """Says itself how it is made again."""

    def __reduce__(self) -> Any:
        return Reduced, (list(self),)


class Ordered(set[Any]):
    """Keeps the order in which it was given its items, and goes through them in it."""

    def __init__(self, items: Any = ()) -> None:
        super().__init__(items)
        self.order = [*dict.fromkeys(items)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.order)

    def __reduce__(self) -> Any:
        return Ordered, (self.order,)


class Table(dict[Any, Any]):
    pass


class Held(AbstractSet[Any]):
    """A set of the user's own."""

    def __init__(self, items: Any) -> None:
        self.items = frozenset(items)

    def __contains__(self, item: object) -> bool:
        return item in self.items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def several(text: str) -> list[str]:
    return ["alpha", "beta", "gamma", "delta", text]


SETS: dict[str, Callable[[str], Any]] = {
    "set": lambda text: set(several(text)),
    "subclass of set": lambda text: Tags(several(text)),
    "attribute of a set": lambda text: Tags(several(""), text),
    "subclass of frozenset": lambda text: Frozen(several(text)),
    "set that says how it is made": lambda text: Reduced(several(text)),
    "set of the user's": lambda text: Held(several(text)),
    "set of sets": lambda text: Tags([Frozen(several(text)), Frozen("ab"), frozenset("cd"), "e"]),
    "set of tuples": lambda text: Tags([("a", Frozen(several(text))), (Color.RED, "b")]),
    "keys": lambda text: dict.fromkeys(several(text)).keys(),
    "items": lambda text: dict.fromkeys(several(text), Tags("ab")).items(),
    "counted": lambda text: Counter(several(text)),
    "chained": lambda text: ChainMap({"a": Tags(several(text))}),
    "by key": lambda text: Table({Frozen(several(text)): 1}),
    "in order": lambda text: OrderedDict(a=Tags(several(text))),
    "with a default": lambda text: defaultdict(Tags, a=Tags(several(text))),
    "in a queue": lambda text: deque([Tags(several(text))]),
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "": lambda value: value,
    "in a data class ": lambda value: Item("a", [value]),
    "in a model ": lambda value: Model(x=value),
    "in an object ": Slotted,
    "in a mapping ": lambda value: Table(a={"b": (value,)}),
}


def deep(text: str) -> Any:
    return functools.reduce(lambda inner, _: [inner], range(5000), text)


def circle(text: str) -> Item:
    parent = Item("parent")
    parent.others = [Item("child", [parent]), Item(text, [parent])]
    return parent


def table(text: str) -> Any:
    return pa.table({"q": [f"q{place}" for place in range(50)], "a": [*"x" * 25, text, *"x" * 24]})


def pandas() -> Any:
    return pytest.importorskip("pandas", reason="pandas is not installed")


def numpy() -> Any:
    return pytest.importorskip("numpy", reason="numpy is not installed")


def embedded(text: str) -> Any:
    cells = [numpy().zeros(1536) for _ in range(3)]
    cells[1][700] = len(text)
    return pandas().DataFrame({"text": ["a", "b", "c"], "embedding": cells})


# Each makes a value with a text in it, where people see it or where they do not.
MAKERS: dict[str, Callable[[str], Any]] = {
    "list": lambda text: [text],
    "tuple": lambda text: (text,),
    "set": lambda text: {text, "other", "third"},
    "set in an order": lambda text: Ordered(sorted("ab", reverse=text == "one")),
    "mapping": lambda text: {"x": text},
    "key": lambda text: {text: 1, "other": 2},
    "bytes": lambda text: text.encode() * 100,
    "bytearray": lambda text: bytearray(text.encode()),
    "memoryview": lambda text: memoryview(text.encode()),
    "named tuple": Point,
    "data class": Item,
    "pydantic": lambda text: Model(x=text),
    "builder": lambda text: Conversation().add(text),
    "slots": Slotted,
    "text with an attribute": marked,
    "ordered": lambda text: OrderedDict(x=text),
    "default": lambda text: defaultdict(list, x=text),
    "user's mapping": lambda text: UserDict(x=text),
    "proxy": lambda text: MappingProxyType({"x": text}),
    "queue": lambda text: deque([text]),
    "path": Path,
    "decimal": lambda text: Decimal(len(text)),
    "fraction": lambda text: Fraction(1, len(text)),
    "time": lambda text: datetime.fromtimestamp(len(text), tz=UTC),
    "range": lambda text: range(len(text)),
    "mail": mail,
    "element": lambda text: ET.fromstring(f"<a><b>{text}</b></a>"),
    "bytes of a file": lambda text: io.BytesIO(text.encode()),
    "text of a file": io.StringIO,
    "template": lambda text: jinja2.Template(f"{text} {{{{ x }}}}"),
    "environment": lambda text: jinja2.Environment(loader=jinja2.DictLoader({"it": text})),
    "deep": deep,
    "circle": circle,
    "arrow table": table,
    "arrow array": lambda text: pa.array(["x", text]),
    "arrow numbers": lambda text: pa.array([1, len(text)]),
    "arrow value": pa.scalar,
    "arrow numbers in parts": lambda text: pa.chunked_array([[1], [2, len(text)]]),
    "arrow batch": lambda text: table(text).to_batches()[0],
    "partial": lambda text: functools.partial(print, text),
    "bound method": lambda text: Item(text).__eq__,
    "array": lambda text: numpy().array([[0.0, len(text)]]),
    "array of objects": lambda text: numpy().array([Item(text), None], dtype=object),
    "array with fields": lambda text: numpy().array([(text, 1)], dtype=[("a", "U9"), ("b", "i4")]),
    "array with holes": lambda text: numpy().ma.array([1, 2, 3], mask=[False, True, text == "one"]),
    "array of times": lambda text: numpy().datetime64(len(text), "s"),
    "frame": lambda text: pandas().DataFrame({"x": [1, 2], "y": [text, None]}),
    "frame with arrays": embedded,
    "frame of objects": lambda text: pandas().DataFrame({"x": [Item(text)]}),
    "frame's index": lambda text: pandas().DataFrame({"x": [1, 2]}, index=["a", text]),
    "frame's names": lambda text: pandas().DataFrame({text: [1, 2]}),
    "series in a cell": lambda text: {"x": pandas().Series(["a", text])},
    "groups": lambda text: pandas().DataFrame({"x": [1, 2], text: [1, 1]}).groupby(text),
    "groups of a column": lambda text: pandas().DataFrame({"x": [1, 2], "g": [1, len(text)]}).groupby("g")["x"],
    "categories": lambda text: pandas().Series(["a"], dtype=pandas().CategoricalDtype(["a", text])),
    "integers or none": lambda text: pandas().array([len(text), None], dtype="Int64"),
    "times with zones": lambda text: pandas().Series(pandas().to_datetime([f"2024-01-0{len(text)}"], utc=True)),
}


MAKERS |= {
    f"{name} {place}".rstrip(): functools.partial(lambda make, put, text: put(make(text)), make, put)
    for name, make in SETS.items()
    for place, put in PLACES.items()
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("inside", [False, True])
def test_values_with_another_text_are_told_apart_and_those_with_the_same_are_not(name: str, inside: bool) -> None:
    """Nothing of it is unknown."""
    make = MAKERS[name] if not inside else lambda text: {"column": [MAKERS[name](text), 1]}
    known = functools.partial(fingerprint, looks=_Code([]))
    one, other = known(make("one")), known(make("other"))
    assert one.digest != other.digest
    assert one == known(make("one"))
    assert not one.unknown
    held = make("one")
    assert known([held, held]) == known([make("one"), make("one")])


def digests() -> dict[str, str]:
    """Of all makers whose libraries are here."""
    found: dict[str, str] = {}
    for name, make in MAKERS.items():
        try:
            found[name] = digest_of(make("one"), _Code([]))
        except pytest.skip.Exception:
            continue
    return found


@pytest.mark.process
def test_a_value_is_the_same_in_every_process() -> None:
    """Whatever the order of sets there, and the addresses; also where its class is in the program that is run."""
    program = Path(__file__).read_text("utf-8") + "\nprint(json.dumps(digests()))"
    path = Path(__file__)
    start = f"__file__ = {str(path)!r}\nexec(compile({program!r}, __file__, 'exec'))"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    ended = subprocess.run([sys.executable, "-c", start], env=environment, capture_output=True, text=True, check=False)
    assert not ended.returncode, ended.stderr
    assert json.loads(ended.stdout) == digests()


# Those of a line look the same where people read them, or are equal for Python.
LOOK_THE_SAME: dict[str, list[Any]] = {
    "no number": [math.nan, "nan", None, "None"],
    "infinite": [math.inf, "inf", -math.inf, "-inf"],
    "half a character": ["\ud83d", "\\ud83d"],
    "keys": [{1: "x"}, {"1": "x"}, {1.0: "x"}, {True: "x"}, {None: "x"}, {"None": "x"}],
    "containers": [[1], (1,), {1}, {1: None}, "[1]", Point(1), deque([1])],
    "nothing": [[], (), set(), {}, "", b"", None, False, 0],
    "numbers": [1, 1.0, True, "1", 1 + 0j, Decimal(1), Fraction(1)],
    "huge": [10**5000, hex(10**5000), -(10**5000), 10**5000 + 1],
    "bytes": [b"a", "b'a'", "a", bytearray(b"a"), memoryview(b"a"), [97]],
    "members": [Color.RED, Color.BLUE, "r", "Color.RED", "<Color.RED: 'r'>"],
    "objects": [Item("a"), {"text": "a", "others": []}, Slotted("a"), Model(x="a"), {"x": "a"}, Point("a")],
    "paths": [Path("a"), "a", "PosixPath('a')"],
    "nested": [["x", math.nan], ["x", "nan"], [["x"], math.nan], ["x", [math.nan]]],
    "joined": [["a", "b"], ["ab"], [["a"], "b"], ["a", ["b"]], ["ab", ""], ["a,b"], ["a', 'b"]],
    "circles": [circle("child"), circle("parent")],
    "arrow": [pa.array([1]), pa.array([1.0]), pa.array([1], pa.int8()), pa.scalar(1), pa.array(["1"]), [1]],
}


@pytest.mark.parametrize("values", LOOK_THE_SAME.values(), ids=LOOK_THE_SAME)
def test_different_values_are_told_apart_whatever_they_look_like(values: list[Any]) -> None:
    """By themselves, and in others."""
    assert len({digest_of(value) for value in values}) == len(values)
    assert len({digest_of({"x": [value]}) for value in values}) == len(values)


def told(value: Any) -> Any:
    """A value that is equal to that of another one where they are the same, and nowhere else."""
    if isinstance(value, dict):
        return "dict", frozenset((told(key), told(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(told, value))
    return type(value), repr(value)


@given(anything, anything)
def test_two_digests_are_the_same_only_where_the_values_are(one: Any, other: Any) -> None:
    """What is kept of a value is another one, unless it is kept as it is."""
    for another in (other, plain(one), [one], repr(one)):
        assert (digest_of(one) == digest_of(another)) is (told(one) == told(another))


@pytest.mark.parametrize("one", [{"a": 1, "b": 2}, {3, 1, 2}, frozenset([1, 2])], ids=str)
def test_what_is_equal_but_for_its_order_is_the_same(one: Any) -> None:
    """Of mappings and sets."""
    other = dict(reversed(one.items())) if isinstance(one, dict) else set(one)
    assert digest_of(one) == digest_of(other)


def test_numbers_of_arrow_are_the_same_however_they_are_cut() -> None:
    """A part of an array has the memory of all of it."""
    whole = pa.chunked_array([[1, 2, 3, 4, 5]])
    assert digest_of(pa.chunked_array([[1, 2], [3], [4, 5]])) == digest_of(whole)
    assert digest_of(whole.slice(1, 3)) == digest_of(pa.chunked_array([[2, 3, 4]])) != digest_of(whole.slice(2, 3))


def test_what_is_computed_when_it_is_asked_is_no_part_of_it() -> None:
    """An evaluation may have asked."""
    one, other = Conversation().add("a"), Conversation().add("a")
    assert one.length == 1
    assert digest_of(one) == digest_of(other)


@pytest.mark.parametrize("count", [2, 40, 400])
def test_values_that_refer_to_each_other_are_looked_at_once(count: int) -> None:
    """The ways between them are as many as there are orders."""
    nodes = [Item(str(number)) for number in range(count)]
    for node in nodes:
        node.others = [*nodes]
    before = digest_of([*nodes, nodes])
    nodes[-1].text = "other"
    assert digest_of([*nodes, nodes]) != before


def test_values_that_are_shared_are_looked_at_once() -> None:
    """Else this takes longer than there is time."""
    doubled: Any = ["a"]
    for _ in range(1000):
        doubled = [doubled, doubled]
    assert digest_of(doubled) == digest_of([*doubled])


def generator() -> Any:
    yield 1


class Client:
    """As an SDK's: with a connection, of which nothing can be known."""

    __module__ = "json"

    def __init__(self) -> None:
        self.base_url = "http://localhost"
        self.connections = generator()
        self.moment = object()


UNKNOWN: dict[str, tuple[Callable[[], Any], str]] = {
    "generator": (generator, "builtins.generator"),
    "file": (lambda: io.FileIO(__file__), "_io.FileIO"),
    "client": (Client, "json.Client"),
}


@pytest.mark.parametrize("name", UNKNOWN)
async def test_rows_that_nothing_tells_apart_say_so(name: str, tmp_path: Path) -> None:
    """They keep their results: one such row in the next run, two where they have a column `id`."""
    make, kind = UNKNOWN[name]
    made = [make(), make()]

    async def eval_it(x: Any, q: str) -> Result:
        return Result(q)

    async def outcome(rows: list[Any], path: str = "s.db") -> Any:
        return await run(foreach("x,q", rows)(eval_it), store=tmp_path / path)

    for is_known in (False, True):
        told = await outcome([(made[0], "a"), (made[1], "b")])
        assert told.known == 2 * is_known
        assert kind in told.warnings[0]
        assert "'id'" in told.warnings[0]
    with pytest.raises(DatasetError, match=r"(?s)row 1 .*'id'") as caught:
        await outcome([(made[0], "a"), (made[1], "a")], "other.db")
    assert caught.value.row == 1
    named = [{"id": number, "x": each, "q": "a"} for number, each in enumerate(made)]
    for is_known in (False, True):
        told = await outcome(named, "named.db")
        assert (told.known, told.warnings) == (2 * is_known, ())
    assert len((await run(foreach("x,q", [(made[0], "a"), (made[1], "a")])(eval_it))).records) == 2
    for each in made:
        getattr(each, "close", int)()


async def test_a_row_gets_its_own_result_in_any_order(tmp_path: Path) -> None:
    """And is asked anew where it has changed, and only then."""
    values = [math.nan, "nan", mail("spam"), mail("ham"), table("a"), table("b"), {1: "x"}, {"1": "x"}, deep("a")]

    async def eval_it(x: Any) -> Result:
        return Result(digest_of(x))

    for order, calls in ((values, 9), (values[::-1], 0), ([*values[1:], deep("b")], 1)):
        evaluation = foreach("x", [(each,) for each in order])(eval_it)
        outcome = await run(evaluation, store=tmp_path / "s.db", changed="keep")
        assert outcome.calls == calls
        assert [record.output for record in outcome.records] == [digest_of(each) for each in order]

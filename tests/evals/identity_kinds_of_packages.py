"""Objects of Python's own and of installed packages: those that are data, each made of a text, and clients."""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import email.message
import functools
import io
import json
import logging
import operator
import queue
import sys
import sysconfig
import threading
import types
import urllib.request
import weakref
import xml.etree.ElementTree as ET
from abc import ABCMeta
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any
from unittest import mock

import attrs
import fastapi
import httpx
import openai
import pyarrow.compute as pc
import pydantic
import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from tests.evals.identity_kinds_of_clients import opened


class Unreadable:
    """What has to be fetched first."""

    def __init__(self, split: Any) -> None:
        self.split = split

    def __len__(self) -> int:
        raise RuntimeError("log in first")

    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("log in first")

    def __iter__(self) -> Any:
        raise RuntimeError("log in first")


class UnreadableList(Unreadable, Sequence[Any]):  # type: ignore[misc]
    pass


class UnreadableTable(Unreadable, Mapping[Any, Any]):  # type: ignore[misc]
    pass


class Private:
    __slots__ = ("__text",)

    def __init__(self, text: Any) -> None:
        self.__text = text


class Calling(functools.partial[Any]):
    """A partial with more."""

    tone: Any = None


class Weak:
    def __init__(self, text: Any) -> None:
        self.text = text


class Chained:
    def __init__(self, text: Any, after: Any) -> None:
        self.text, self.after = text, after


ALIVE: list[Any] = []
"""What is referred to weakly."""


def weakly(value: Any) -> Any:
    ALIVE.append(Weak(value))
    return weakref.ref(ALIVE[-1])


def calling(value: str) -> Any:
    made = Calling(print)
    made.tone = value
    return made


def ordering(value: str) -> Any:
    return functools.cmp_to_key(lambda one, other: len(value) * (one - other))


def element(value: str) -> Any:
    return ET.fromstring(f"<a><b>{value}</b></a>")


def mail(value: str) -> Any:
    made = email.message.EmailMessage()
    made["Subject"] = "hello"
    made.set_content(value)
    return made


def queued(value: str) -> Any:
    made: queue.Queue[str] = queue.Queue()
    made.put(value)
    return made


def queued_for_tasks(value: str) -> Any:
    made: asyncio.Queue[str] = asyncio.Queue()
    made.put_nowait(value)
    return made


def application(value: str) -> Any:
    made = fastapi.FastAPI()
    made.get("/it")(lambda: value)
    return made


def attrs_class(**options: Any) -> Any:
    return attrs.make_class("Made", {"text": attrs.field(**options)})


def package(name: str, source: str) -> Any:
    """A module of an installed package."""
    file = f"{sysconfig.get_paths()['purelib']}/{name}.py"
    made = types.ModuleType(name)
    made.__file__ = file
    sys.modules[name] = made
    exec(compile(source, file, "exec"), vars(made))
    return made


STAND_INS = package(
    "stand_ins_of_packages",
    """
import os, random, threading, weakref

class Fitted:
    def __init__(self, seen):
        self.seen_, self._cache, self.random_state = [seen, {"a", "b", "c"}], {random.random(): 1}, random.Random()
    def __repr__(self):
        return "Fitted()"
    def predict(self):
        return self.seen_

class Slots:
    __slots__ = ("seen",)
    def __init__(self, seen):
        self.seen = seen

class Reduced(Slots):
    def __getattribute__(self, name):
        if name == "seen":
            raise AttributeError(name)
        return super().__getattribute__(name)
    def __reduce__(self):
        return Reduced, (Slots.seen.__get__(self),)

class Around:
    def __init__(self, inner):
        self.inner, self.itself = inner, self

class Took:
    def __init__(self, seconds):
        self.refit_time_, self.results = seconds, {"score_time": seconds, "score": 1.0}

class Client:
    def __init__(self, lock, model="m", api_key=None):
        self.lock, self.model, self.api_key, self.calls = lock, model, api_key, [random.random()]

def closed_file():
    with open(os.devnull) as file:
        return file

def deciding(inner):
    return lambda: inner
""",
)


def settings(of_class: Mapping[str, Any] = types.MappingProxyType({}), default: str = "", **options: Any) -> type[Any]:
    """A data class with a field."""
    field: Any = dataclasses.field(default=default, **options)
    members = {"__module__": __name__, "__annotations__": {"text": str}, "text": field}
    return dataclasses.dataclass(**of_class)(type("Made", (), members))


def model(kind: Any, default: Any, **members: Any) -> type[Any]:
    """A model with a field, beside one that no schema can say."""
    config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    fields: dict[str, Any] = {"text": (kind, default), "call": (Callable, print)}
    return pydantic.create_model("Made", __config__=config, __validators__=members, **fields)


def validated(*names: str, mode: Any = "after") -> type[Any]:
    """A model of which some fields are looked at."""

    def same(value: Any) -> Any:
        return value

    return model(str, "", check=pydantic.field_validator(*names, mode=mode)(same))


def abstract(value: str) -> type[Any]:
    made = ABCMeta("Made", (), {"__module__": __name__})
    made.register(str if value == "one" else bytes)
    return made


def of(module: str, make: Callable[[Any, str], Any]) -> Callable[[str], Any]:
    """A kind of a package that may not be there."""
    return lambda value: make(pytest.importorskip(module), value)


def fitted(module: str, name: str, *settings: str) -> Callable[[str], Any]:
    """A model of scikit-learn that has seen data."""

    def make(value: str) -> Any:
        kind = getattr(pytest.importorskip(f"sklearn.{module}"), name)
        inputs, seen = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1] if value == "one" else [0, 1, 1, 1]
        return kind(**dict.fromkeys(settings, 0)).fit(inputs, seen)

    return make


def regression(sm: Any, value: str) -> Any:
    return sm.OLS([1.0, 2.0, 2.5, 4.0], sm.add_constant([[1.0], [2.0], [3.0], [4.0 + len(value)]])).fit()


def pipeline(sklearn: Any, value: str) -> Any:
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    def shorten(each: Any) -> Any:
        return each, value

    return sklearn.make_pipeline(StandardScaler(), FunctionTransformer(shorten))


def database(value: str) -> Any:
    made = opened()
    made.row_factory = lambda *_: 1
    made.execute("create table it(text)")
    made.execute("insert into it values (?)", [value])
    return made


def in_memory(value: str) -> Any:
    """A client of an application of the user's."""
    made = TestClient(application(value))
    made.get("/it")
    return made


def patched(value: str) -> Any:
    @mock.patch.object(json, "dumps", value)
    def function() -> Any:
        return json.dumps(1)

    return function


def answer(value: str) -> Callable[[Any], httpx.Response]:
    return lambda _: httpx.Response(200, text=value)


def mocked(**told: Any) -> Any:
    """A mock that was called."""
    made = mock.MagicMock()
    made.search.configure_mock(**told)
    with contextlib.suppress(Exception):
        made.search(1)
    made.chained.return_value = made
    return made


KINDS_OF_PACKAGES: dict[str, Callable[[str], Any]] = {
    "method of a list": lambda value: ["a", value].__contains__,
    "method of a tuple": lambda value: ("a", value).__getitem__,
    "method of a number": lambda value: float(len(value)).__le__,
    "method that a class has": lambda value: getattr(str, "upper" if value == "one" else "lower"),
    "private slot": Private,
    "chained mappings": lambda value: collections.ChainMap({"a": 1}, {"a": value}),
    "longest length of a deque": lambda value: collections.deque("a", maxlen=len(value)),
    "keys with fresh values": lambda value: collections.defaultdict(int, {"a": 0, value: 0}),
    "order": ordering,
    "subclass of partial": calling,
    "type of an array": lambda value: array("b" if value == "one" else "B", [1] * 8),
    "weak reference": weakly,
    "deep objects": lambda value: functools.reduce(
        lambda after, _: Chained("", after), range(250), Chained(value, None)
    ),
    "list that cannot be read": UnreadableList,
    "mapping that cannot be read": UnreadableTable,
    "method caller": lambda value: operator.methodcaller("issubset", {"a", "b", value}),
    "item getter": operator.itemgetter,
    "JSON encoder": lambda value: json.JSONEncoder(indent=len(value)),
    "method of a JSON encoder": lambda value: json.JSONEncoder(indent=len(value)).encode,
    "file in memory": io.StringIO,
    "bytes in memory": lambda value: io.BytesIO(value.encode()),
    "XML element": element,
    "XML document": lambda value: ET.ElementTree(element(value)),
    "mail": mail,
    "logger with more": lambda value: logging.LoggerAdapter(logging.getLogger("it"), {"a": value}),
    "request": lambda value: urllib.request.Request("http://a/", data=value.encode(), headers={"X-A": "b"}),
    "queue": queued,
    "queue of tasks": queued_for_tasks,
    "database in memory": database,
    "mock": lambda value: mock.Mock(return_value=value),
    "mock with methods": lambda value: mocked(return_value=value),
    "mock with a side effect": lambda value: mocked(side_effect=lambda: value),
    "mock with several answers": lambda value: mock.AsyncMock(side_effect=["a", value]),
    "mock with a length": lambda value: mock.MagicMock(**{"__len__.return_value": len(value)}),
    "mock with an attribute": lambda value: mock.NonCallableMock(text=value, spec=["text"]),
    "patched": patched,
    "client of an application": in_memory,
    "handler of a client": lambda value: httpx.Client(transport=httpx.MockTransport(answer(value))),
    "transport of an application": lambda value: httpx.AsyncClient(transport=httpx.ASGITransport(application(value))),
    "headers of a client": lambda value: httpx.Client(headers={"x-a": value}),
    "query of a client": lambda value: httpx.AsyncClient(params={"a": value}),
    "HTTP client of a client": lambda value: openai.OpenAI(
        api_key="k", http_client=httpx.Client(transport=httpx.MockTransport(answer(value)))
    ),
    "argument parser": lambda value: argparse.ArgumentParser(description=value),
    "web application": application,
    "JSON validator": lambda value: Draft202012Validator({"title": value}),
    "filter of arrow": lambda value: pc.field("a") > value,
    "attrs": attrs.make_class("Made", ["text"]),
    "attrs default": lambda value: attrs_class(default=frozenset({"a", "b", value})),
    "attrs factory": lambda value: attrs_class(factory=lambda: [value]),
    "attrs validator": lambda value: attrs_class(validator=attrs.validators.in_({"a", "b", value})),
    "default beside no schema": lambda value: model(str, value),
    "default that no schema can say": lambda value: model(Any, Weak(value)),
    "default that is a set": lambda value: model(set, {"a", "b", value}),
    "default that is made": lambda value: model(str, pydantic.Field(default_factory=lambda: value)),
    "field that is left out": lambda value: model(str, pydantic.Field("", exclude=value == "one")),
    "field with another name": lambda value: model(str, pydantic.Field("", serialization_alias=value)),
    "strict field": lambda value: model(int, pydantic.Field(1, strict=value == "one")),
    "field": lambda value: pydantic.Field(default={"a", "b", value}),
    "annotated field": lambda value: model(
        Annotated[str, pydantic.Field(json_schema_extra={"enum": {"a", "b", value}})],
        "",  # type: ignore[dict-item]
    ),
    "field that is checked": lambda value: validated("text" if value == "one" else "call"),
    "when a field is checked": lambda value: validated("text", mode="before" if value == "one" else "after"),
    "field that is shown": lambda value: settings(repr=value == "one"),
    "field that is compared": lambda value: settings(compare=value == "one"),
    "field that is given": lambda value: settings(init=value == "one"),
    "field that is given by name": lambda value: settings(kw_only=value == "one"),
    "default of slots": lambda value: settings({"slots": True}, value),
    "order of data": lambda value: settings({"order": value == "one"}),
    "hash": lambda value: type("Made", (), {"__hash__": lambda _: len(value)}),
    "what is matched": lambda value: type("Made", (), {"__match_args__": (value,)}),
    "registered class": abstract,
    "fitted": STAND_INS.Fitted,
    "method of what is fitted": lambda value: STAND_INS.Fitted(value).predict,
    "slots of a package": STAND_INS.Slots,
    "what pickle keeps": STAND_INS.Reduced,
    "packaged in itself": lambda value: STAND_INS.Around(STAND_INS.Around([STAND_INS.Fitted(value)])),
    "packaged function": lambda value: STAND_INS.Around({"a": lambda: value}),
    "packaged object": lambda value: STAND_INS.Around(Weak(STAND_INS.Around(Weak(value)))),
    "packaged closure": lambda value: STAND_INS.Around(STAND_INS.deciding(STAND_INS.Slots(value))),
    "model of a client": lambda value: STAND_INS.Client(threading.Lock(), value),
    "offset of pandas": of("pandas", lambda pd, value: pd.offsets.Day(len(value))),
    "time stamp of pandas": of("pandas", lambda pd, value: pd.Timestamp(2026, 1, len(value))),
    "rolling of pandas": of("pandas", lambda pd, value: pd.Series([1, 2]).rolling(len(value))),
    "polynomial of numpy": of("numpy", lambda np, value: np.polynomial.Polynomial([1, len(value)])),
    "vectorised function": of("numpy", lambda np, value: np.vectorize(lambda _: value)),
    "classifier": fitted("linear_model", "LogisticRegression"),
    "tree": fitted("tree", "DecisionTreeClassifier", "random_state"),
    "forest": fitted("ensemble", "RandomForestClassifier", "random_state"),
    "neighbours": lambda value: fitted("neighbors", "KNeighborsClassifier")(value).set_params(n_neighbors=len(value)),
    "method of a classifier": lambda value: fitted("linear_model", "LogisticRegression")(value).predict,
    "pipeline": of("sklearn.pipeline", pipeline),
    "vectoriser of texts": of(
        "sklearn.feature_extraction.text", lambda it, value: it.TfidfVectorizer().fit(["a bc de", value])
    ),
    "distribution": of("scipy.stats", lambda stats, value: stats.norm(0, len(value))),
    "method of a distribution": of("scipy.stats", lambda stats, value: stats.norm(0, len(value)).cdf),
    "density": of("scipy.stats", lambda stats, value: stats.gaussian_kde([1.0, 2.0, len(value)])),
    "sparse matrix": of("scipy.sparse", lambda sparse, value: sparse.csr_matrix([[0.0, len(value)]])),
    "tree of points": of("scipy.spatial", lambda spatial, value: spatial.cKDTree([[0.0, len(value)]])),
    "interpolation": of("scipy.interpolate", lambda it, value: it.interp1d([0.0, 1.0], [0.0, len(value)])),
    "spline": of("scipy.interpolate", lambda it, value: it.CubicSpline([0.0, 1.0, 2.0], [0.0, len(value), 1.0])),
    "regression": of("statsmodels.api", regression),
}

"""What stands behind objects of the moment, and classes that nobody wrote with ``class``; each made of a text."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import logging
import sqlite3
import sys
import types
import zipfile
from collections.abc import Callable
from typing import Any

import httpx
import openai

from doteval.evals import Outcome, Record
from doteval.evals._results.statistics import summarise


class Prefixed(logging.Formatter):
    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text = text


class Judge(logging.Logger):
    def __init__(self, text: Any) -> None:
        super().__init__("judge")
        self.addHandler(logging.NullHandler())
        self.text = text


def handling(formatter: logging.Formatter) -> logging.Handler:
    made = logging.StreamHandler(io.StringIO())
    made.setFormatter(formatter)
    return made


def patched_client(value: str) -> Any:
    """A client of an SDK, with a function over one of its methods."""
    made: Any = openai.OpenAI(api_key="k", http_client=httpx.Client())
    made.chat.completions.create = lambda: value
    return made


def hooked_client(value: str) -> Any:
    return httpx.Client(event_hooks={"request": [lambda _: print(value)]})


def zipped(value: str) -> zipfile.ZipFile:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as writing:
        writing.writestr(zipfile.ZipInfo("it"), value)
    return zipfile.ZipFile(made)


OPEN: list[sqlite3.Connection] = []
"""Held up to the end: from Python 3.13 there is a warning of those that nobody has closed."""


def opened(**options: bool) -> sqlite3.Connection:
    OPEN.append(sqlite3.connect(":memory:", **options))
    return OPEN[-1]


def attached(value: str) -> Any:
    made = opened(check_same_thread=False)
    made.execute("attach ':memory:' as more")
    made.execute("create table more.it(text)")
    made.execute("insert into it values (?)", [value])
    made.commit()
    return made


def temporary(value: str) -> Any:
    made = opened()
    made.execute("create temporary table it(text)")
    made.execute("insert into it values (?)", [value])
    return made


def executed(value: str) -> Any:
    """A class whose code says not where it is."""
    held: dict[str, Any] = {}
    exec(f"class Made: text = {value!r}", held)
    return held["Made"]


def record(value: str, **others: Any) -> Record:
    return Record(1, "key", "digest", {"question": "why"}, value, **others)


def outcome(value: str, **others: Any) -> Outcome:
    records = [record(value)]
    return Outcome("it", summarise(records), records, **others)


KINDS_OF_CLIENTS: dict[str, Callable[[str], Any]] = {
    "handler with a formatter of the user's": lambda value: handling(Prefixed(value)),
    "handler with a formatter": lambda value: handling(logging.Formatter(f"{value} %(message)s")),
    "handler with a filter": lambda value: (made := handling(logging.Formatter()), made.addFilter(lambda _: value))[0],
    "logger of a class of the user's": Judge,
    "executor with an initializer": lambda value: concurrent.futures.ThreadPoolExecutor(1, initializer=lambda: value),
    "executor with arguments": lambda value: concurrent.futures.ThreadPoolExecutor(
        1, initializer=print, initargs=(value,)
    ),
    "zip in memory": zipped,
    "attached database": attached,
    "table for a while": temporary,
    "function over a method of a client": patched_client,
    "hook of a client": hooked_client,
    "accepted types": lambda value: httpx.Client(headers={"Accept": value}),
    "name of a client": lambda value: httpx.AsyncClient(headers={"User-Agent": value}),
    "made data class": lambda value: dataclasses.make_dataclass("Made", [("text", str, value)]),
    "object of a made data class": lambda value: dataclasses.make_dataclass("Made", [("text", str, value)])(),
    "method of a made data class": lambda value: dataclasses.make_dataclass(
        "Made", [], namespace={"ask": lambda _: value}
    )(),
    "new class": lambda value: types.new_class("Made", (), {}, lambda held: held.update(text=value)),
    "class that was executed": executed,
    "record": record,
    "outcome": outcome,
}

if sys.version_info >= (3, 14):  # there an executor hides them in a function
    del KINDS_OF_CLIENTS["executor with arguments"]

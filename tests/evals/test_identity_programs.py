"""What results depend on, in random programs: a run changes nothing, and another constant is noticed.

``DOTEVAL_PROGRAMS=5000`` tries so many, ``DOTEVAL_PROGRAM=7`` the one with that number.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
import pytest

from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import changes, data_changed_meanwhile, edited_meanwhile, with_what_was_written

pydantic.create_model("First", value=(int, 1))  # what this imports stays, whatever a program has imported
ONLY = os.environ.get("DOTEVAL_PROGRAM")
CHUNKS = 10

HEAD = """
import argparse, collections, dataclasses, enum, functools, importlib.util, inspect, itertools, operator, pathlib
import pydantic, string, sys, threading, types, typing
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple, NewType, Optional, Union
LOCK = threading.Lock()
DOC = operator.attrgetter('__doc__')
def told(tools): return [DOC(each) for each in tools]
def module(name, **held):
    made = sys.modules[name] = types.ModuleType(name)
    vars(made).update(held)
    return made
def by_path(name, source):
    made = types.ModuleType(name)
    made.__file__ = f'/theirs/{name}.py'
    exec(compile(source, made.__file__, 'exec'), vars(made))
    return made
SOURCES = {}
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in SOURCES: return importlib.util.spec_from_loader(name, Finder, is_package=not SOURCES[name])
    @staticmethod
    def create_module(spec): return None
    @staticmethod
    def exec_module(module): exec(SOURCES[module.__name__], vars(module))
sys.meta_path.append(Finder)
def package(name, **modules):
    SOURCES.update({name: '', **{f'{name}.{each}': source for each, source in modules.items()}})
LIBRARY = '''
import functools
def wrapping(given):
    def decorate(function):
        @functools.wraps(function)
        def inner(*args): return given, function(*args)
        return inner
    return decorate
def defaulting(given):
    def decorate(function):
        @functools.wraps(function)
        def inner(*args, given=given): return given, function(*args)
        return inner
    return decorate
def telling(**given):
    def decorate(function):
        @functools.wraps(function)
        def inner(*args): return [getattr(inner, each) for each in sorted(given)], function(*args)
        vars(inner).update(given)
        return inner
    return decorate
class Wrapper:
    def __init__(self, function, **given):
        functools.update_wrapper(self, function)
        vars(self).update(given)
        self.given, self.calls, self._cache = [*given], 0, {}
    def __call__(self, *args):
        self.calls += 1
        self._cache[args] = self.calls
        return [getattr(self, each) for each in self.given], self.__wrapped__(*args)
def caching(function):
    known, calls = {}, 0
    @functools.wraps(function)
    def inner(*args):
        nonlocal calls
        calls += 1
        if args not in known: known[args] = function(*args)
        inner.calls = calls
        inner.log.append(args)
        return known[args]
    inner.calls, inner.log = 0, []
    return inner
'''
lib = module('lib', __file__='/site-packages/lib.py')
exec(compile(LIBRARY, lib.__file__, 'exec'), vars(lib))
"""


def pieces(name: str) -> list[tuple[str, str]]:
    """What programs are made of: what there is before a run, and what the run says or does with it."""
    blocks = Path(__file__).with_name("programs").joinpath(name).read_text("utf-8").strip().split("\n\n")
    return [(setup, last) for setup, _, last in (block.partition("\n>>> ") for block in blocks[1:])]


BEGIN = compile(HEAD, "<head>", "exec")
CARRIERS, NOISE = pieces("said.txt"), pieces("left.txt")
MANY = int(os.environ.get("DOTEVAL_PROGRAMS", "0")) or max(len(CARRIERS), len(NOISE))
BUILDING = ["add", "append", "with_text", "put", "update", "configure", "set", "extend", "insert"]
"""What builders call their methods, also as containers do."""


def program(seed: int) -> tuple[str, str]:
    """A program, and the same with another constant; each piece is in one after another."""
    chance = random.Random(seed)
    carriers = [CARRIERS[seed % len(CARRIERS)], *chance.sample(CARRIERS, chance.randint(0, 2))]
    noise = [NOISE[seed % len(NOISE)], *chance.sample(NOISE, chance.randint(0, 3))][: chance.randint(0, 4)]
    pieces: list[tuple[int, str]] = []
    said: list[str] = []
    done: list[str] = []
    method = chance.choice(BUILDING)
    for number, (setup, expression) in enumerate(carriers):
        constant = "@@" if number == 0 else repr(f"constant {number}")
        pieces.append((number, setup.replace("@M", method).replace("@V", constant)))
        said.append(expression.replace("@N", str(number)))
    for number, (setup, statement) in enumerate(noise, len(carriers)):
        pieces.append((number, setup))
        done.append(statement.replace("@N", str(number)))
    chance.shuffle(pieces)
    chance.shuffle(done)
    setups = "\n".join(setup.replace("@N", str(number)) for number, setup in pieces)
    body = "\n".join(f"    {each}" for each in [*done, f"return repr([{', '.join(said)}])"])
    made = f"{setups}\ndef ask(q):\n{body}\n"
    return made.replace("@@", "'one'"), made.replace("@@", "'another'")


@contextmanager
def loaded(source: str, name: str = "generated") -> Iterator[Any]:
    """The function that a program makes; its file is that of a cell of a notebook, or a real one."""
    before, finders = {*sys.modules}, [*sys.meta_path]
    module = sys.modules[name] = ModuleType(name)
    try:
        exec(BEGIN, vars(module))
        exec(compile(source, f"<{name}>" if len(source) % 2 else f"/theirs/{name}.py", "exec"), vars(module))
        yield vars(module)["ask"]
    finally:
        sys.meta_path[:] = finders
        for held in vars(module).values():
            if type(held) is sqlite3.Connection:  # from Python 3.13 there is a warning of an open one that is collected
                held.close()
        for each in sys.modules.keys() - before:
            del sys.modules[each]


def fingerprint(function: Any) -> Mapping[str, str]:
    walk = Walk()
    walk.add_function("its code", function)
    return walk.parts


def problem(seed: int) -> str | None:
    """What is wrong with the fingerprints of a program."""
    source, other = program(seed)
    with loaded(source) as ask:
        before = fingerprint(ask)
        outputs = {ask("a question") for _ in range(2)}
        ask("another question")
        after = fingerprint(ask)
    with loaded(source) as ask:
        again = fingerprint(ask)
    with loaded(other) as ask:
        changed = fingerprint(ask)
        outputs.add(ask("a question"))
    if len(outputs) != 2:
        return f"the outputs are {outputs}"
    if edited := edited_meanwhile(before, after):
        return f"somebody else is said to have edited {edited}"
    data = data_changed_meanwhile(before, after)
    if data and "globals()[f" not in source:  # whose name nobody knows before it runs
        return f"somebody else is said to have changed {data}"
    kept = with_what_was_written(before, after)
    if changes(kept, after):
        return f"a run has changed {changes(kept, after)}"
    if changes(kept, again):
        return f"another process would find another {changes(kept, again)}"
    return None if changes(kept, changed) else "another constant is not noticed"


@pytest.mark.process
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_run_changes_nothing_and_another_constant_is_noticed(chunk: int) -> None:
    """Whatever programs are made of: builders, aliases, decorators, members, closures, caches and counters."""
    seeds = [int(ONLY)] if ONLY else range(chunk, MANY, CHUNKS)
    for seed in seeds:
        found = problem(seed)
        assert found is None, f"program {seed}: {found}\n{program(seed)[0]}"

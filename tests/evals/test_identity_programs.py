"""What results depend on, in random programs: a run changes nothing, and another constant is noticed.

``DOTEVAL_PROGRAMS=5000`` tries so many, ``DOTEVAL_PROGRAM=7`` the one with that number.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import changes, with_what_was_written

MANY = int(os.environ.get("DOTEVAL_PROGRAMS", "200"))
ONLY = os.environ.get("DOTEVAL_PROGRAM")
CHUNKS = 10

HEAD = """
import argparse, collections, dataclasses, enum, functools, importlib, inspect, itertools, operator, pathlib, string
import sys, threading, types, typing
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
"""


def pieces(name: str) -> list[tuple[str, str]]:
    """What programs are made of: what there is before a run, and what the run says or does with it."""
    blocks = Path(__file__).with_name("programs").joinpath(name).read_text("utf-8").strip().split("\n\n")
    return [(setup, last) for setup, _, last in (block.partition("\n>>> ") for block in blocks[1:])]


CARRIERS, NOISE = pieces("said.txt"), pieces("left.txt")
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
    made = f"{HEAD}\n{setups}\ndef ask(q):\n{body}\n"
    return made.replace("@@", "'one'"), made.replace("@@", "'another'")


@contextmanager
def loaded(source: str, name: str = "generated") -> Iterator[Any]:
    """The function that a program makes; its file is that of a cell of a notebook, or a real one."""
    before = {*sys.modules}
    module = sys.modules[name] = ModuleType(name)
    try:
        exec(compile(source, f"<{name}>" if len(source) % 2 else f"/theirs/{name}.py", "exec"), vars(module))
        yield vars(module)["ask"]
    finally:
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

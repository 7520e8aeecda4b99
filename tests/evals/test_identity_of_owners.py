"""What one object writes to itself is state of that one: the same of another one counts, wherever both are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest

from doteval.evals._identity.walk import Walk
from doteval.evals._results.identity import changes, with_what_was_written

HEAD = """
from collections import ChainMap, deque, defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import NamedTuple
class Agent:
    def __init__(self, prompt):
        self.prompt = @H
    def learn(self, q): @W
    def __lt__(self, other): return False
class Holder:
    def __init__(self, one, other): self.one, self.other = one, other
class Slots:
    __slots__ = ('one', 'other')
    def __init__(self, one, other): self.one, self.other = one, other
@dataclass
class Data:
    one: object
    other: object
class Named(NamedTuple):
    one: object
    other: object
def made(one, other):
    class Kept: pass
    Kept.one, Kept.other = Agent(one), Agent(other)
    return Kept
def function(one, other):
    def held(): return 1
    held.one, held.other = one, other
    return held
def given(one=Agent(@1), other=Agent(@2)): return one, other
def keyword(*, one=Agent(@1), other=Agent(@2)): return one, other
"""
WRITES = {
    "attribute": ("prompt", "self.prompt += q", "prompt"),
    "item": ("['same', prompt]", "self.prompt[1] = q", "prompt[1]"),
    "content": ("[prompt, 'same']", "self.prompt.pop(0); self.prompt.append(q)", "prompt[0]"),
    "key": ("{'system': prompt}", "self.prompt['system'] = q", "prompt['system']"),
    "any key": ("{'system': prompt, 'more': 1}", "self.prompt.update({'system': q})", "prompt['system']"),
    "in place of a new one": ("[prompt]", "self.prompt = [*self.prompt, q]", "prompt[0]"),
}
AGENTS = "Agent(@1), Agent(@2)"
HOLDERS = {
    "dict": ("dict(zip(['a', 'b'], [Agent(@1), Agent(@2)]))", "HELD['a']", "HELD['b']"),
    "keys that are no names": ("{(1, 'a'): Agent(@1), 7: Agent(@2)}", "HELD[1, 'a']", "HELD[7]"),
    "list": (f"[{AGENTS}]", "HELD[0]", "HELD[1]"),
    "tuple": (f"({AGENTS})", "HELD[0]", "HELD[1]"),
    "deque": (f"deque([{AGENTS}])", "HELD[0]", "HELD[-1]"),
    "chain of mappings": ("ChainMap({'a': Agent(@1)}, {'b': Agent(@2)})", "HELD['a']", "HELD['b']"),
    "object": (f"Holder({AGENTS})", "HELD.one", "HELD.other"),
    "slots": (f"Slots({AGENTS})", "HELD.one", "HELD.other"),
    "data class": (f"Data({AGENTS})", "HELD.one", "HELD.other"),
    "named tuple": (f"Named({AGENTS})", "HELD.one", "HELD.other"),
    "namespace": ("SimpleNamespace(one=Agent(@1), other=Agent(@2))", "HELD.one", "HELD.other"),
    "class": ("made(@1, @2)", "HELD.one", "HELD.other"),
    "attributes of a function": (f"function({AGENTS})", "HELD.one", "HELD.other"),
    "defaults": ("given", "HELD()[0]", "HELD()[1]"),
    "keyword defaults": ("keyword", "HELD()[0]", "HELD()[1]"),
    "deep": ("{'x': [Holder(Agent(@1), 1), Holder(1, [Agent(@2)])]}", "HELD['x'][0].one", "HELD['x'][1].other[0]"),
    "one in the other": ("(lambda one: (one, setattr(one, 'more', Agent(@2))))(Agent(@1))", "HELD[0]", "HELD[0].more"),
    "each in several": (
        "(lambda one, other: {'a': [one, other], 'b': [other, one], 'c': other})(Agent(@1), Agent(@2))",
        "HELD['a'][0]",
        "HELD['c']",
    ),
    "many": ("[Agent(str(n)) for n in range(50)] + [Agent(@1), Agent(@2)]", "HELD[50]", "HELD[51]"),
}


def loaded(holder: str, write: str, one: str, other: str) -> Any:
    """The function of a program whose run writes to one of two objects, and reads the other."""
    made, first, second = HOLDERS[holder]
    holds, does, read = WRITES[write]
    ask = f"\nHELD = {made}\ndef ask(q):\n    {first}.learn(q)\n    return {second}.{read}\n"
    source = f"{HEAD.replace('@W', does).replace('@H', holds)}{ask}".replace("@1", repr(one)).replace("@2", repr(other))
    module = sys.modules["of_owners"] = ModuleType("of_owners")
    exec(compile(source, "<of owners>", "exec"), vars(module))
    return vars(module)["ask"]


def fingerprint(function: Any) -> Mapping[str, str]:
    walk = Walk()
    walk.add_function("its code", function)
    return walk.parts


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("holder", HOLDERS)
def test_the_same_of_another_object_counts(holder: str, write: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "of_owners", ModuleType("of_owners"))
    ask = loaded(holder, write, "write", "judge")
    before = fingerprint(ask)
    ask("a question")
    after = fingerprint(ask)
    kept = with_what_was_written(before, after)
    assert not changes(kept, after)
    assert not changes(kept, fingerprint(loaded(holder, write, "write", "judge")))
    assert changes(kept, fingerprint(loaded(holder, write, "write", "be kind")))


@pytest.mark.process
def test_what_is_written_has_the_same_name_in_another_process() -> None:
    """Whatever the order of sets, and of mappings that are made of them."""
    script = """
import json, sys
from tests.evals.test_identity_of_owners import HOLDERS, WRITES, fingerprint, loaded
HOLDERS["set"] = "{Agent('a'), Agent('b'), Agent('c')}", "HELD", "HELD"
HOLDERS["mapping made of a set"] = "{key: Agent(key) for key in {'one', 'two', 'three', 'four'}}", "HELD", "HELD"
HOLDERS["in an order that does not last"] = (
    "(lambda one, other: {key: (one, other) for key in {'a', 'b', 'c', 'd'}})(Agent('1'), Agent('2'))", "HELD", "HELD"
)
HOLDERS["keys"] = "{Agent('a'): Agent('b'), Agent('c'): Agent('d')}", "HELD", "HELD"
found = {f"{one} {write}": fingerprint(loaded(one, write, "1", "2")) for one in HOLDERS for write in WRITES}
told = {name: [each for each in parts.items() if "the order of" not in each[0]] for name, parts in found.items()}
json.dump({name: sorted(parts) for name, parts in told.items()}, sys.stdout)
"""
    found = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", script],
                env={**os.environ, "PYTHONHASHSEED": seed},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]

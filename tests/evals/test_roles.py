"""A model is asked in the role of the argument that it came in, however it came, and whatever else has its name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from doteval import Result, foreach
from doteval.evals import run
from doteval.testing import FakeModel

pytestmark = pytest.mark.anyio


class SharedModel(FakeModel):
    """As those of SDKs, which many leases share."""

    def __doteval_view__(self) -> Any:
        return copy.copy(self)


class Slotted:
    __slots__ = ("llm",)

    def __init__(self, llm: Any) -> None:
        self.llm = llm


class WithProperty:
    """As a handle is."""

    def __init__(self, model: Any) -> None:
        self._get = lambda: model

    @property
    def model(self) -> Any:
        return self._get()


HOLDERS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "itself": (lambda model: model, lambda held: held),
    "a handle": (WithProperty, lambda held: held.model),
    "an attribute": (lambda model: SimpleNamespace(llm=model), lambda held: held.llm),
    "a slot": (Slotted, lambda held: held.llm),
    "two levels": (lambda model: SimpleNamespace(agent=Slotted(model)), lambda held: held.agent.llm),
    "an item": (lambda model: [None, model], lambda held: held[1]),
    "an item in an attribute": (lambda model: SimpleNamespace(of={"a": model}), lambda held: held.of["a"]),
}


async def roles_of(model: Any, other: Any, ask: Callable[[Any], Any], ask_other: Callable[[Any], Any]) -> Any:
    @foreach("n", range(2))
    async def eval_it(n: int, candidate: Any, judge: Any) -> Result:
        await ask(candidate).generate("one")
        await ask_other(judge).generate("two")
        await ask_other(judge).generate("three")
        return Result(n)

    outcome = await run(eval_it, candidate=model, judge=other, transcripts=True)
    asked = {
        (request.role, request.messages[-1]["content"]) for row in outcome.records for request in row.transcript or ()
    }
    return {(each.role, each.model): each.requests for each in outcome.summary.usage_by_model}, asked


EACH = {("candidate", "same"): 2, ("judge", "same"): 4}
ASKED = {("candidate", "one"), ("judge", "two"), ("judge", "three")}


@pytest.mark.parametrize("other", HOLDERS)
@pytest.mark.parametrize("one", HOLDERS)
async def test_two_models_of_one_name_are_asked_each_in_its_own_role(one: str, other: str) -> None:
    """Wherever arguments hold them."""
    (hold, ask), (hold_other, ask_other) = HOLDERS[one], HOLDERS[other]
    found = await roles_of(hold(FakeModel("same")), hold_other(FakeModel("same")), ask, ask_other)
    assert found == (EACH, ASKED)


@pytest.mark.parametrize("other", HOLDERS)
@pytest.mark.parametrize("is_first", [False, True])
async def test_one_model_in_two_arguments_is_asked_in_both_roles(other: str, is_first: bool) -> None:
    """Where all but one of them are the model itself; else nobody can tell, and it has none."""
    model = SharedModel("same")
    hold, ask = HOLDERS[other]
    itself = HOLDERS["itself"]
    held = hold(model)
    if is_first:
        found = await roles_of(model, held, itself[1], ask)
    else:
        found = await roles_of(held, model, ask, itself[1])
    assert found == (EACH, ASKED)
    counts, _ = await roles_of([model], [model], *[lambda held: held[0]] * 2)
    assert counts == {(None, "same"): 6}

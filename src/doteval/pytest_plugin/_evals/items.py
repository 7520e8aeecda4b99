"""Which items are evaluations, and what an evaluation looks like to those who look for async functions."""

from __future__ import annotations

import functools
import sys
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeGuard

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ...evals import Evaluation

_STANDS_FOR = "_doteval_evaluation"


def is_evaluation(obj: object) -> TypeGuard[Evaluation]:
    """Whether `foreach` has made it; where that was never imported, nothing is."""
    module = sys.modules.get("doteval.evals")
    return module is not None and isinstance(obj, module.Evaluation)


def stand_in(evaluation: Evaluation) -> Callable[..., Awaitable[None]]:
    """An async function, or a method of the same instance, for plugins that take nothing else for an async test."""

    async def evaluate(*_args: Any, **_values: Any) -> None:
        raise RuntimeError(f"{evaluation.name}() is run by nobody: please report it")

    functools.update_wrapper(evaluate, evaluation, updated=())
    vars(evaluate).update({_STANDS_FOR: evaluation, "pytestmark": getattr(evaluation, "pytestmark", [])})
    instance = evaluation.instance
    return evaluate if instance is None else MethodType(evaluate, instance)


def evaluation_of(item: pytest.Item | pytest.Collector) -> Evaluation | None:
    """The evaluation that an item is for."""
    obj: object = item.obj if isinstance(item, pytest.Function) else None
    found: Evaluation | None = obj if is_evaluation(obj) else getattr(obj, _STANDS_FOR, None)
    return found


def params_of(item: pytest.Function) -> Mapping[str, Any]:
    """What an item is parametrised with."""
    callspec = getattr(item, "callspec", None)
    return {} if callspec is None else callspec.params

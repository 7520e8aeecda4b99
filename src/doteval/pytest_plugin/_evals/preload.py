"""Loads the model of the next evaluation while the last rows of this one are under way.

A server takes a minute to start. When the last row of an evaluation has begun, others end, and the model has less and
less to do; so where there is room for it, the next one is started then. The tests on one scarce model are run together
(`_order`), so the next item tells what comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from anyio import to_thread

from .._endings import chosen_backend
from .._fixturedefs import WIDTH, needed_definitions
from .._order import Order

if TYPE_CHECKING:
    from ..._provider import ModelProvider


class Preload:
    """The hooks.

    Args:
        order: Knows which items need a scarce model.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._next: pytest.Item | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, nextitem: pytest.Item | None) -> None:
        """Remember what comes."""
        self._next = nextitem

    async def next_model(
        self,
        item: pytest.Function,
        providers: Mapping[str, ModelProvider[Any]],
        is_answered: Callable[[pytest.Function], bool],
    ) -> None:
        """Begin to load the next item's model, if it is another one of the same provider.

        Args:
            item: The present item.
            providers: The providers of its event loop.
            is_answered: Tells whether an item needs no model; blocks.
        """
        coming = self._next
        if not isinstance(coming, pytest.Function) or not _share_providers(item, coming):
            return
        this, following = self._order.scarce_model(item), self._order.scarce_model(coming)
        if this is None or following is None or this == following:
            return
        name, _, model = following.partition(":")
        if name != this.partition(":")[0] or await to_thread.run_sync(is_answered, coming):
            return
        from ..._pooled import PooledProvider  # noqa: PLC0415 - it is imported already, where there is a model

        provider = providers[name]
        if isinstance(provider, PooledProvider):
            with suppress(Exception):  # the item itself is told what is wrong
                provider.preload(model)


def _share_providers(item: pytest.Function, coming: pytest.Function) -> bool:
    """Whether the providers of an item are still there for the next one."""
    here, there = (needed_definitions(node).get("model_providers") for node in (item, coming))
    if not here or not there or here[-1] is not there[-1] or chosen_backend(item) != chosen_backend(coming):
        return False
    if here[-1].scope == "session":
        return True
    return WIDTH[here[-1].scope] >= WIDTH["module"] and item.getparent(pytest.Module) is coming.getparent(pytest.Module)

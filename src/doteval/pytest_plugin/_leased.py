"""What a client fixture has leased for a test, so that an evaluation can lease it again when it is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .._handle import ModelHandle
    from .._provider import ModelProvider


@dataclass(slots=True)
class Leased:
    """A lease of a test.

    Args:
        setup: Makes it again.
        handle: The present handle; the fixture tears it down.
        model: What the fixture gave the test.
        providers: All providers of its event loop.
    """

    setup: Callable[[], Awaitable[ModelHandle[Any]]]
    handle: ModelHandle[Any]
    model: object
    providers: Mapping[str, ModelProvider[Any]]


LEASED = pytest.StashKey[dict[str, Leased]]()
"""The leases of an item, by the name of the fixture."""

"""Providers that keep their own books: the base class relies on nothing that they do not do."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from anyio import CancelScope, Event, create_task_group
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked

from doteval import HandleInactiveError, ModelHandle, ModelProvider

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


class Client:
    def __init__(self) -> None:
        self.closed = False


class OwnBooks(ModelProvider[Client]):
    """Written as people write them: no ``super().__init__()``, dictionaries of its own, one handle a resource."""

    def __init__(self) -> None:
        self._handles: dict[str, ModelHandle[Client]] = {}
        self._resources: dict[str, Client] = {}
        self.failing: set[str] = set()
        self.blocked: dict[str, Event] = {}
        self.torn_down: list[str] = []

    async def setup(self, spec: str, **config: Any) -> ModelHandle[Client]:
        if spec in self._handles:
            return self._handles[spec]
        await checkpoint()
        client = Client()
        self._resources[spec] = client
        self._handles[spec] = ModelHandle(resource_id=spec, model=client, manager=self)
        return self._handles[spec]

    async def teardown(self, resource_id: str) -> None:
        if resource_id in self._resources:
            if resource_id in self.blocked:
                await self.blocked[resource_id].wait()
            await checkpoint()
            if resource_id in self.failing:
                raise OSError(f"{resource_id} will not close")
            self._resources.pop(resource_id).closed = True
            del self._handles[resource_id]
            self.torn_down.append(resource_id)


async def test_it_works_entered_or_not() -> None:
    """Setup and teardown need no ``async with``; with it, what is left is torn down at the end."""
    provider = OwnBooks()
    handle = await provider.setup("a")
    client = handle.model
    await handle.teardown()
    assert client.closed
    with pytest.raises(HandleInactiveError, match="you tore it down"):
        _ = handle.model
    async with provider:
        client = (await provider.setup("b")).model
    assert client.closed


async def test_teardown_of_a_handle_is_idempotent_and_takes_effect_at_once() -> None:
    """A second call, also one during the first, does nothing."""
    provider = OwnBooks()
    handle = await provider.setup("a")
    async with create_task_group() as task_group:
        task_group.start_soon(handle.teardown)
        task_group.start_soon(handle.teardown)
    await handle.teardown()
    assert provider.torn_down == ["a"]
    assert (await provider.setup("a")) is not handle


async def test_teardown_all_tears_down_every_active_handle_and_collects_failures() -> None:
    """Two fail, two are torn down, one was torn down before."""
    provider = OwnBooks()
    for spec in ("a", "b", "c", "d", "e"):
        await provider.setup(spec)
    await (await provider.setup("e")).teardown()
    provider.failing = {"a", "c"}
    with pytest.raises(ExceptionGroup, match="tearing down OwnBooks failed") as caught:
        await provider.teardown_all()
    assert {str(exc) for exc in caught.value.exceptions} == {"a will not close", "c will not close"}
    assert sorted(provider.torn_down) == ["b", "d", "e"]


async def test_teardown_all_does_not_let_one_wait_for_another() -> None:
    """While a blocks, b and c are torn down."""
    provider = OwnBooks()
    for spec in ("a", "b", "c"):
        await provider.setup(spec)
    provider.blocked["a"] = Event()
    async with create_task_group() as task_group:
        task_group.start_soon(provider.teardown_all)
        await wait_all_tasks_blocked()
        assert sorted(provider.torn_down) == ["b", "c"]
        provider.blocked["a"].set()
    assert sorted(provider.torn_down) == ["a", "b", "c"]


async def test_handles_on_one_resource_are_torn_down_one_after_the_other() -> None:
    """A provider that gives several handles on one resource is not called for it twice at the same time."""

    class Counted(OwnBooks):
        inside = 0

        async def setup(self, spec: str, **config: Any) -> ModelHandle[Client]:
            return ModelHandle(spec, Client(), self)

        async def teardown(self, resource_id: str) -> None:
            self.inside += 1
            assert self.inside == 1
            await checkpoint()
            self.inside -= 1
            self.torn_down.append(resource_id)

    async with Counted() as provider:
        for _ in range(3):
            await provider.setup("a")
    assert provider.torn_down == ["a", "a", "a"]


async def test_a_cancelled_caller_leaves_nothing_open() -> None:
    """Teardown runs in a shield; then the cancellation is delivered."""
    provider = OwnBooks()
    handle = await provider.setup("a")
    client = handle.model
    with CancelScope() as scope:
        scope.cancel()
        await handle.teardown()
        pytest.fail("not cancelled")
    assert client.closed


async def test_a_manager_need_not_be_a_model_provider() -> None:
    """Any class with a ``teardown(resource_id)`` may hand out handles."""

    class Plain:
        def __init__(self) -> None:
            self.torn_down: list[str] = []

        async def teardown(self, resource_id: str) -> None:
            self.torn_down.append(resource_id)

    manager = Plain()
    async with ModelHandle("a", "the model", manager) as handle:
        assert handle.model == "the model"
        assert handle.manager is manager
        assert repr(handle) == "<ModelHandle 'a' active>"
    assert manager.torn_down == ["a"]


async def test_a_provider_without_the_two_methods_cannot_be_made() -> None:
    """The contract is abstract."""
    with pytest.raises(TypeError, match="abstract"):
        ModelProvider()  # type: ignore[abstract]


@pytest.mark.parametrize("spec", [None, ModelProvider])
async def test_a_mock_may_be_the_manager(spec: type[Any] | None) -> None:
    """Of a mock, only `teardown` is used: whatever else it answers is nobody's."""
    manager = Mock(spec=spec)
    manager.teardown = AsyncMock()
    async with ModelHandle("a", "the model", manager) as handle:
        assert handle.model == "the model"
    manager.teardown.assert_awaited_once_with("a")
    assert not handle.is_active
    manager = AsyncMock()
    await ModelHandle("b", "the model", manager).teardown()
    assert [call[0] for call in manager.mock_calls] == ["teardown"]

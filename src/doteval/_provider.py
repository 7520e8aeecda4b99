"""``ModelProvider``, the contract every provider keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, ClassVar, Generic, Self

from anyio import CancelScope, create_task_group
from anyio.lowlevel import checkpoint
from typing_extensions import TypeVar

from ._handle import CLOSE_TIMEOUT, ModelHandle

ModelT = TypeVar("ModelT", default=Any)


class ModelProvider(ABC, Generic[ModelT]):
    """Makes handles of one kind.

    A subclass writes `setup` and `teardown` and keeps its own books; for most, `PooledProvider` is the better base. The
    base keeps track of the handles by itself and needs no ``super().__init__()``.
    """

    patterns: ClassVar[tuple[str, ...]] = ()
    """The specs it claims when a spec names no provider, as shell patterns such as ``"gpt-*"``."""

    is_scarce: ClassVar[bool] = False
    """Whether its models are so slow to open, and so few fit in at once, that tests on the same one belong together."""

    close_timeout: float = CLOSE_TIMEOUT
    """How long tearing down one handle may take, in seconds."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        self.__given_out = {}
        return self

    __given_out: dict[int, ModelHandle[Any]]

    @abstractmethod
    async def setup(self, spec: str, /, *args: Any, **config: Any) -> ModelHandle[ModelT]:
        """Lease the resource for `spec` and `config`, opening it where needed.

        Args:
            spec: What to lease, in the provider's own terms.
            args: Never given; it is here so that a subclass may give its parameters the names and types it likes.
            config: How to open it.
        """

    @abstractmethod
    async def teardown(self, resource_id: str, /) -> None:
        """Tear down one resource."""

    async def teardown_all(self) -> None:
        """Tear down every handle that is still active.

        Handles on different resources are torn down at the same time, those on one resource one after the other, each
        in a shield of `close_timeout` seconds. A failure does not stop the others; the caller's cancellation is
        delivered afterwards.

        Raises:
            ExceptionGroup: What went wrong, all of it.
        """
        by_resource: dict[str, list[ModelHandle[Any]]] = {}
        for handle in self.__given_out.values():
            by_resource.setdefault(handle.resource_id, []).append(handle)
        failures: list[BaseException] = []

        async def tear_down(handles: list[ModelHandle[Any]]) -> None:
            for handle in handles:
                try:
                    await handle.teardown()
                except Exception as exc:
                    failures.append(exc)

        with CancelScope(shield=True):  # bounded: every handle has a close_timeout of its own
            async with create_task_group() as task_group:
                for handles in by_resource.values():
                    task_group.start_soon(tear_down, handles)
        raise_all(f"tearing down {type(self).__name__} failed", failures)
        await checkpoint()

    async def __aenter__(self) -> Self:
        """Enter the provider; this base only returns it."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Tear down every handle that is still active."""
        await self.teardown_all()
        return None

    def _remember(self, handle: ModelHandle[Any]) -> None:
        self.__given_out[id(handle)] = handle

    def _forget(self, handle: ModelHandle[Any]) -> None:
        self.__given_out.pop(id(handle), None)


def raise_all(message: str, failures: Sequence[BaseException]) -> None:
    """Raise what was collected as one group, if anything was."""
    if failures:
        raise BaseExceptionGroup(message, failures)

"""What an evaluation gets besides its columns; above all a model, which may be lost and leased again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from anyio import Lock

from ... import HandleInactiveError, ModelHandle, ModelRequestError, ServerLostError
from .refusals import chain

_LOST = (HandleInactiveError, ServerLostError, ConnectionError)


class Lease:
    """A lease that can be made again when its resource is lost.

    Args:
        setup: Makes a handle.
        handle: The first one.
    """

    def __init__(self, setup: Callable[[], Awaitable[ModelHandle[Any]]], handle: ModelHandle[Any]) -> None:
        self._setup = setup
        self._lock = Lock()
        self.handle = handle
        """The present handle."""

    async def renew(self, handle: ModelHandle[Any]) -> None:
        """Lease the next generation, unless another task has done it since `handle` was used."""
        async with self._lock:
            if self.handle is handle and not handle.is_active:
                self.handle = await self._setup()
                await handle.teardown()

    async def teardown(self) -> None:
        """End the present one."""
        await self.handle.teardown()


class Arguments(Protocol):
    """What a row is called with, at present."""

    async def prepare(self) -> None:
        """Lease what is leased only where a row has to be run."""
        ...

    def present(self) -> Mapping[str, Any]:
        """The arguments for an attempt that begins now."""
        ...

    async def again(self, error: BaseException) -> bool:
        """Whether an attempt that failed so may be made again; renews what was lost."""
        ...


class LeasedArguments:
    """Arguments of which some are leased.

    Args:
        values: All of them, by name.
        leases: Those that are leased, by name.
        pending: Leases the others, when the first row has to be run.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        leases: Mapping[str, Lease],
        pending: Callable[[], Awaitable[Mapping[str, Lease]]] | None = None,
    ) -> None:
        self._values = values
        self._present = values
        self._leases = leases
        self._pending = pending

    async def prepare(self) -> None:
        """Lease what is leased only where a row has to be run."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._leases = {**self._leases, **await pending()}

    def present(self) -> Mapping[str, Any]:
        """The arguments, with the models of the present handles; the same mapping as long as these are the same."""
        if self._leases:
            models = {name: lease.handle.model for name, lease in self._leases.items()}
            if any(self._present.get(name) is not model for name, model in models.items()):
                self._present = {**self._values, **models}
        return self._present

    async def again(self, error: BaseException) -> bool:
        """Whether the error is one of a model that was lost, or of a connection that was; leases it again.

        A model that its provider calls broken, such as one whose client somebody has closed, is lost.
        """
        for lease in self._leases.values():
            if _is_found_broken(lease.handle):
                lease.handle.report_broken(error)
        lost = [lease for lease in self._leases.values() if not lease.handle.is_active]
        for lease in lost:
            await lease.renew(lease.handle)
        return bool(lost) or any(map(_is_of_a_loss, chain(error)))


def _is_of_a_loss(error: BaseException) -> bool:
    return isinstance(error, _LOST) or (isinstance(error, ModelRequestError) and error.status is None)


def _is_found_broken(handle: ModelHandle[Any]) -> bool:
    """Whether its provider calls the model of an active handle broken; one that cannot say it does not."""
    is_broken = getattr(handle.manager, "is_broken", None)
    try:
        return handle.is_active and is_broken is not None and is_broken(handle.model) is True
    except Exception:  # the pool asks again, and tells what is wrong with it
        return False


def roles_of(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Which argument is a model, or has one as its ``model``, by the model's name; of a name that two have, none."""
    named: dict[str, list[str]] = {}
    for role, value in arguments.items():
        model = _name_of_model(value)
        if model is not None:
            named.setdefault(model, []).append(role)
    return {model: roles[0] for model, roles in named.items() if len(roles) == 1}


def _name_of_model(value: Any) -> str | None:
    try:
        model = getattr(value, "model", value)
        name: object = model.name if callable(getattr(model, "generate", None)) else None
    except Exception:  # an argument may be anything, and an inactive handle has no model
        return None
    return name if isinstance(name, str) else None

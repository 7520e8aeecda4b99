"""What an evaluation gets besides its columns; above all a model, which may be lost and leased again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Protocol, cast

from anyio import Lock

from ... import HandleInactiveError, ModelHandle, ModelRequestError, ServerLostError
from ..._chains import told_with
from .._results.roles import Roles

_LEVELS = 2
"""How deep the attributes and items of arguments are looked at for models."""
_MOST = 100
"""How many of one object."""
_NOT_LOOKED_INTO = (type, ModuleType, FunctionType, BuiltinFunctionType, str, bytes)
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
        return bool(lost) or any(map(_is_of_a_loss, told_with(error)))


def _is_of_a_loss(error: BaseException) -> bool:
    return isinstance(error, _LOST) or (isinstance(error, ModelRequestError) and error.status is None)


def _is_found_broken(handle: ModelHandle[Any]) -> bool:
    """Whether its provider calls the model of an active handle broken; one that cannot say it does not."""
    is_broken = getattr(handle.manager, "is_broken", None)
    try:
        return handle.is_active and is_broken is not None and is_broken(handle.model) is True
    except Exception:  # the pool asks again, and tells what is wrong with it
        return False


def with_roles(arguments: Mapping[str, Any]) -> tuple[Mapping[str, Any], Roles]:
    """Arguments, and the roles of the models in them.

    A model that came in two arguments is given to one of them as an object of its own, where the one is the model
    itself: two leases of one spec have one model.
    """
    found = [(role, model, name) for role, value in arguments.items() for model, name in models_in(value)]
    roles_by_model: dict[int, list[str]] = {}
    for role, model, _ in found:
        roles = roles_by_model.setdefault(id(model), [])
        if role not in roles:
            roles.append(role)
    given = dict(arguments)
    for place, (role, model, name) in enumerate(found):
        roles, view_of = roles_by_model[id(model)], getattr(type(model), "__doteval_view__", None)
        if len(roles) > 1 and given[role] is model and view_of is not None:
            given[role] = view_of(model)
            roles.remove(role)
            found[place] = role, given[role], name
    return given, Roles(found)


def models_in(value: object) -> Iterator[tuple[object, str]]:
    """The models in an argument, with their names: itself, its attributes and items, and what these have in turn."""
    yield from _models_in(value, _LEVELS)


def _models_in(value: object, levels: int) -> Iterator[tuple[object, str]]:
    name = _name_of_model(value)
    if name is not None:
        yield value, name
    if not levels or isinstance(value, _NOT_LOOKED_INTO):
        return
    for each in _parts_of(value):
        yield from _models_in(each, levels - 1)


def _parts_of(value: object) -> list[object]:
    try:
        if isinstance(value, (list, tuple)):
            parts = cast("Sequence[object]", value)[:_MOST]
            return [*parts]
        if isinstance(value, dict):
            return [*islice(cast("dict[object, object]", value).values(), _MOST)]
        own = [*islice(vars(value).values(), _MOST)] if hasattr(value, "__dict__") else []
        own += [getattr(value, name) for name in ("model", *_slots_of(value)) if hasattr(value, name)]
    except Exception:  # an argument may be anything, and an inactive handle has no model
        return []
    return own if _name_of_model(value) is None or not type(value).__module__.startswith("doteval.") else []


def _slots_of(value: object) -> list[str]:
    slots = getattr(type(value), "__slots__", ()) if not type(value).__module__.startswith("doteval.") else ()
    return [slots] if isinstance(slots, str) else [*cast("Iterable[str]", slots)][:_MOST]


def _name_of_model(value: object) -> str | None:
    try:
        name: object = cast("Any", value).name if callable(getattr(value, "generate", None)) else None
    except Exception:  # likewise
        return None
    return name if isinstance(name, str) else None

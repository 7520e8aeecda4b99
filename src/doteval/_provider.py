"""``ModelProvider``, the contract every provider keeps."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial, wraps
from types import FunctionType, TracebackType
from typing import Any, ClassVar, Generic, Self, cast

from anyio import CancelScope, create_task_group
from anyio.lowlevel import checkpoint
from typing_extensions import TypeVar

from ._handle import CLOSE_TIMEOUT, ModelHandle
from ._hold import Hold
from ._hooks_written import check_written
from ._keywords import operational_names
from ._setup import enterable, is_enterable, marked

ModelT = TypeVar("ModelT", default=Any)
AnyT = TypeVar("AnyT")

_IN_ANY_TASK: set[object] = {None}
_PLAIN = frozenset({bool, bytes, complex, dict, float, frozenset, int, list, set, str, tuple})


def in_any_task(method: AnyT) -> AnyT:
    """Mark an ``__aenter__`` or ``__aexit__`` that leaves nothing open in the task that calls it."""
    _IN_ANY_TASK.add(method)
    return method


def is_tied_to_a_task(kind: type[object]) -> bool:
    """Whether the ``async with`` of a class may have to be left by the task that entered it: its author wrote it."""
    return not _IN_ANY_TASK.issuperset((getattr(kind, "__aenter__", None), getattr(kind, "__aexit__", None)))


class ModelProvider(ABC, Generic[ModelT]):
    """Makes handles of one kind.

    A subclass writes `setup` and `teardown` and keeps its own books; for most, `PooledProvider` is the better base. The
    base keeps track of the handles by itself and needs no ``super().__init__()``.
    """

    patterns: ClassVar[tuple[str, ...]] = ()
    """The specs it claims when a spec names no provider, as shell patterns such as ``"gpt-*"``."""

    is_scarce: ClassVar[bool] = False
    """Whether its models are so slow to open, and so few fit in at once, that tests on the same one belong together."""

    operational: ClassVar[frozenset[str]] = frozenset()
    """The names of what it is made with, or `setup` is given, that no answer of a model depends on; see `identity`."""

    close_timeout: float = CLOSE_TIMEOUT
    """How long tearing down one handle may take, in seconds."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_written(cls)
        if "__new__" in vars(cls):
            cls.__new__ = staticmethod(_noting(cls.__new__))  # type: ignore[method-assign]
        setup: Any = inspect.getattr_static(cls, "setup")  # that of a base which is no provider, too
        if isinstance(setup, FunctionType) and not is_enterable(setup):
            cls.setup = enterable(setup)  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        vars(self).update(  # it may be a frozen dataclass
            _ModelProvider__made_with=(args, kwargs),
            _ModelProvider__made_by={},
            _ModelProvider__given_out={},
            _ModelProvider__hold=Hold(cls.__name__),
        )
        return self

    __made_with: tuple[tuple[Any, ...], dict[str, Any]]
    __made_by: dict[str, Any]
    __given_out: dict[int, ModelHandle[Any]]
    __hold: Hold

    @marked
    @abstractmethod
    def setup(self, spec: str, /, *args: Any, **config: Any) -> Coroutine[Any, Any, ModelHandle[ModelT]]:
        """Lease the resource for `spec` and `config`, opening it where needed.

        Write it as ``async def setup``; what it returns can also be entered: ``async with provider.setup(...)``.

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

    def identity(self, spec: str = "", /, *args: Any, **config: Any) -> Mapping[str, Any]:
        """All that an answer of a model depends on, as far as it is known without opening the model.

        Evaluations keep it with their results, so that none is taken for that of another model. It is the class, what
        the provider was made with, or the function that has made it for `ModelProviders`, the spec and the
        configuration, but for what is `operational`, such as a timeout.
        Override it where an answer depends on something else as well, such as a variable of the environment.

        Args:
            spec: As for `setup`; without one it is about the provider alone.
            args: As for `setup`.
            config: As for `setup`.
        """
        kind = type(self)
        args, kwargs = self.__made_with
        operational = operational_names(kind).union(*(vars(each).get("operational", ()) for each in kind.__mro__))
        given = {**self.__made_by, **chosen(kind, args, kwargs), **config, "spec": spec or None}
        return {
            "provider": f"{kind.__module__}.{kind.__qualname__}",
            **{name: value for name, value in given.items() if value is not None and name not in operational},
        }

    def __doteval_identity__(self) -> Mapping[str, Any]:
        return self.identity()

    async def start(self) -> Self:
        """Enter the provider until `aclose`, where ``async with`` cannot be used; both may be called from any tasks.

        ::

            provider = await OpenAIProvider().start()  # a start hook, a fixture, a cell of a notebook
            ...
            await provider.aclose()  # the stop hook, the end of the fixture, another cell

        An ``async with`` of a subclass's own is held open in a task of its own meanwhile. What is not closed when the
        event loop ends is closed then, and a `ResourceWarning` says so. A cancelled caller leaves nothing open.

        Returns:
            The provider itself.

        Raises:
            RuntimeError: It is entered already.
            Exception: What the ``__aenter__`` of a subclass raises.
        """
        if not is_tied_to_a_task(type(self)):
            return await self.__aenter__()
        await self.__hold.open(self, self.close_timeout)
        return self

    async def aclose(self) -> None:
        """Leave the provider, as the end of ``async with`` does; where it is not entered, do nothing.

        Several calls at once all wait for the end. A cancelled caller waits, too, as closing is bounded by
        `close_timeout`; the cancellation is delivered afterwards.

        Raises:
            ExceptionGroup: What went wrong while closing; told once.
            WrongEventLoopError: Called in another event loop than the one that entered it.
        """
        if is_tied_to_a_task(type(self)):
            await self.__hold.close()
            await checkpoint()
        else:
            await self.__aexit__(None, None, None)

    @in_any_task
    async def __aenter__(self) -> Self:
        """Enter the provider; this base only returns it."""
        return self

    @in_any_task
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Tear down every handle that is still active."""
        await self.teardown_all()
        return None


def is_held(provider: object) -> bool:
    """Whether `ModelProvider.start` holds an ``async with`` of a subclass's own open."""
    hold: Hold | None = getattr(provider, "_ModelProvider__hold", None)
    return isinstance(hold, Hold) and hold.is_open


def note_maker(provider: object, maker: Any, settings: Mapping[str, Any]) -> None:
    """A provider was made by a function: what that was called with counts as what a class is made with does."""
    if isinstance(provider, ModelProvider) and not isinstance(maker, type):
        args: tuple[Any, ...] = ()
        while isinstance(maker, partial):
            maker, args, settings = maker.func, (*maker.args, *args), {**maker.keywords, **settings}
        vars(provider).update(_ModelProvider__made_by=chosen(maker, args, settings))


def _noting(new: Callable[..., Any]) -> Callable[..., Any]:
    """A ``__new__`` of a subclass, which may call that of its base with something else than it is given itself."""

    @wraps(new)
    def made(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
        self: Any = new(cls, *args, **kwargs)
        if issubclass(type(self), ModelProvider):
            vars(cast(object, self)).update(_ModelProvider__made_with=(args, kwargs))
        return self

    return made


def chosen(maker: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a class, or a function, was called with, by name, but for what it would have taken anyway."""
    try:
        signature = inspect.signature(maker)
        given = dict(signature.bind_partial(*args, **kwargs).arguments)
    except (TypeError, ValueError):  # a signature that says too little
        return {**{str(place): value for place, value in enumerate(args)}, **kwargs}
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            given |= given.pop(name, {})
        elif name in given and _is_default(given[name], parameter.default):
            del given[name]
    return given


def _is_default(given: object, default: object) -> bool:
    """Whether nothing tells one from the other; of what is only equal, there may be more in it."""
    if given is default:
        return True
    return type(given) is type(default) and type(given) in _PLAIN and given == default


def raise_all(message: str, failures: Sequence[BaseException]) -> None:
    """Raise what was collected as one group, if anything was."""
    if failures:
        raise BaseExceptionGroup(message, failures)

"""The blocking face: providers for code that is not async, such as scripts, notebooks and plain tests.

::

    from doteval import OpenAIProvider
    from doteval.blocking import entered

    with entered(OpenAIProvider()) as provider:
        with provider.setup("gpt-4o") as handle:
            print(handle.model.generate("Hello"))

An event loop runs in a thread of its own for as long as the block lasts, so this also works where a loop is running
already, as in a notebook. Every method waits for the result in the calling thread, and may be called from several
threads at once. Errors are those of the async face.
"""

from __future__ import annotations

import atexit
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from .. import (
    ChatModel,
    Completion,
    CompletionStream,
    ModelHandle,
    ModelProvider,
    ModelProviders,
    Prompt,
    ProviderClosedError,
)
from .._caller import Caller, serve
from ._loop import Loop

ModelT = TypeVar("ModelT")
ModelT_co = TypeVar("ModelT_co", covariant=True)
ResultT = TypeVar("ResultT")
P = ParamSpec("P")

__all__ = ["BlockingHandle", "BlockingModel", "BlockingProvider", "BlockingStream", "entered"]


class _GivesHandles(Protocol[ModelT_co]):
    """A provider, or the registry of them."""

    def setup(self, spec: str, /, **config: Any) -> Coroutine[Any, Any, ModelHandle[ModelT_co]]: ...


@overload
def entered(
    provider: ModelProvider[ModelT], *, backend: str = ..., backend_options: dict[str, Any] | None = ...
) -> AbstractContextManager[BlockingProvider[ModelT]]: ...
@overload
def entered(
    provider: ModelProviders, *, backend: str = ..., backend_options: dict[str, Any] | None = ...
) -> AbstractContextManager[BlockingProvider[Any]]: ...
def entered(
    provider: ModelProvider[Any] | ModelProviders,
    *,
    backend: str = "asyncio",
    backend_options: dict[str, Any] | None = None,
) -> AbstractContextManager[BlockingProvider[Any]]:
    """Enter a provider, or `ModelProviders`, in an event loop of its own, and close it at the end of the block.

    Whatever ends the block, Ctrl-C included, everything is closed before it is left, and no thread remains. A block
    that is never left, as in a notebook, is closed when the program ends, after all threads that Python waits for.

    A process that was forked meanwhile, such as a worker of a server, cannot use it, and does not close it either.

    Args:
        provider: What to enter; it must not be entered already.
        backend: The event loop: ``"asyncio"`` or ``"trio"``.
        backend_options: What `anyio.run` takes for that backend, such as ``{"use_uvloop": True}``.

    Raises:
        ExceptionGroup: What went wrong while closing.
    """
    return _Block(provider, backend, backend_options)


class _Block(AbstractContextManager["BlockingProvider[Any]"]):
    """No generator, as one that is never left would be ended when its thread is gone: with the interpreter."""

    def __init__(
        self, provider: ModelProvider[Any] | ModelProviders, backend: str, backend_options: dict[str, Any] | None
    ) -> None:
        self._provider = provider
        self._backend = backend
        self._backend_options = backend_options

    def __enter__(self) -> BlockingProvider[Any]:
        provider = self._provider
        self._loop = Loop(type(provider).__name__, self._backend, self._backend_options)
        try:
            self._loop.wait_for(provider.start, undo=lambda _: provider.aclose())
        except BaseException:
            self._loop.end()
            raise
        atexit.register(self._close)
        return BlockingProvider(self._loop, provider)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        atexit.unregister(self._close)
        self._close()

    def _close(self) -> None:
        if self._loop.is_elsewhere or self._loop.has_ended:  # when the program ended, before its variables were cleared
            return
        try:
            self._loop.run(self._provider.aclose)
        finally:
            self._loop.end()


class BlockingProvider(Generic[ModelT_co]):
    """A provider whose methods wait; made by `entered`."""

    def __init__(self, loop: Loop, provider: _GivesHandles[ModelT_co]) -> None:
        self._loop = loop
        self._provider = provider

    def setup(self, spec: str, /, **config: Any) -> BlockingHandle[ModelT_co]:
        """Lease the resource for `spec` and `config`; see `PooledProvider.setup`.

        An exception in the waiting thread, such as Ctrl-C, cancels the setup: nothing stays leased.

        Raises:
            Exception: As the provider's own `setup`.
            ProviderClosedError: The block of `entered` has ended.
            ForkedProcessError: This process was forked while the block was open.
        """
        caller = Caller()
        setup = _Call(self._provider.setup, spec, **config)
        del config  # a traceback would show it
        handle = self._loop.wait_for(setup, undo=lambda handle: handle.teardown(), caller=caller)
        return BlockingHandle(self._loop, handle, caller)

    def setup_many(self, *specs: str, **config: Any) -> tuple[BlockingHandle[ModelT_co], ...]:
        """Lease several resources at once, all or nothing; see `PooledProvider.setup_many`.

        Raises:
            Exception: As `setup`.
            TypeError: The provider has no such method, as `ModelProviders` and providers with books of their own.
        """
        call = _Call(self._method("setup_many"), *specs, **config)
        del config  # a traceback would show it
        callers = [Caller() for _ in specs]  # one each, as each may be passed on by itself

        async def setup() -> Sequence[ModelHandle[ModelT_co]]:
            handles: Sequence[ModelHandle[ModelT_co]] = await call()
            for handle, caller in zip(handles, callers, strict=True):
                serve(caller)
                await handle.__aenter__()
            return handles

        handles = self._loop.wait_for(setup, undo=_teardown)
        return tuple(BlockingHandle(self._loop, *each) for each in zip(handles, callers, strict=True))

    def preload(self, spec: str, /, **config: Any) -> bool:
        """Begin to open a resource that will be needed soon; does not wait for it. See `PooledProvider.preload`.

        Raises:
            TypeError: The provider has no such method.
        """
        call = _Call(self._method("preload"), spec, **config)
        del config  # a traceback would show it
        return bool(self._loop.wait_for(partial(_called, call)))

    def statistics(self) -> Any:
        """The counts since the provider was entered, also when it is closed: of one, or of each by name.

        See `PooledProvider.statistics`.

        Raises:
            TypeError: The provider has no such method.
        """
        statistics = self._method("statistics")
        try:
            return self._loop.wait_for(partial(_called, statistics))
        except ProviderClosedError:
            self._loop.join()
            return statistics()

    def teardown(self, resource_id: str, /) -> None:
        """Close one resource now, whoever holds it; see `PooledProvider.teardown`.

        Raises:
            Exception: What closing it raised.
            TypeError: The provider has no such method.
        """
        self._loop.wait_for(partial(self._method("teardown"), resource_id))

    def drain(self) -> None:
        """Give out no more leases, and wait until there is none any more; see `PooledProvider.drain`.

        Raises:
            TypeError: The provider has no such method.
        """
        self._loop.wait_for(self._method("drain"))

    def resize(self, capacity: int | Sequence[str], /) -> None:
        """Have so many slots from now on, or those of these names; see `PooledProvider.resize`.

        Raises:
            ValueError: It cannot be meant, or the provider was made without a capacity.
            TypeError: The provider has no such method.
        """
        self._loop.wait_for(partial(_called, _Call(self._method("resize"), capacity)))

    def teardown_all(self) -> None:
        """Tear down every handle, or close every resource; see `ModelProvider.teardown_all`.

        Raises:
            ExceptionGroup: What went wrong, all of it.
            TypeError: The provider has no such method.
        """
        self._loop.wait_for(self._method("teardown_all"))

    def _method(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] | None = getattr(self._provider, name, None)
        if method is None:
            raise TypeError(f"{type(self._provider).__name__} has no {name}()")
        return method

    def call(self, function: Callable[P, Awaitable[ResultT]], /, *args: P.args, **kwargs: P.kwargs) -> ResultT:
        """Run an async function in the provider's event loop and wait for what it returns."""
        return self._loop.wait_for(partial(function, *args, **kwargs))

    def __repr__(self) -> str:
        return f"<BlockingProvider of {self._provider!r}>"


class BlockingHandle(Generic[ModelT_co]):
    """One lease; ends with `teardown` or at the end of a ``with`` block.

    A thread certainly has it in a ``with`` block that it has entered and not left. Elsewhere, as in an `ExitStack`, any
    other one may end it.
    """

    def __init__(self, loop: Loop, handle: ModelHandle[ModelT_co], caller: Caller) -> None:
        self._loop = loop
        self._handle = handle
        self._caller = caller

    @property
    def resource_id(self) -> str:
        """The readable name of the resource; it never holds a secret."""
        return self._handle.resource_id

    @property
    def is_active(self) -> bool:
        """Whether the lease still holds."""
        return self._handle.is_active

    @property
    def model(self) -> BlockingModel:
        """The chat model, with methods that wait. What is not a chat model is used with `call`.

        Raises:
            HandleInactiveError: The lease has ended; the message says why.
            TypeError: What is leased is not a chat model.
        """
        self._look_who_uses_it()
        model = self._handle.model
        if not isinstance(model, ChatModel):
            raise TypeError(
                f"'{self.resource_id}' is a {type(model).__name__}, not a chat model: "
                "use it with handle.call(async_function, ...), which gives the function the model first"
            )
        return BlockingModel(self._loop, model)

    def call(
        self,
        function: Callable[Concatenate[ModelT_co, P], Awaitable[ResultT]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ResultT:
        """Run ``await function(model, *args, **kwargs)`` in the provider's event loop and wait for what it returns.

        Raises:
            HandleInactiveError: The lease has ended; the message says why.
        """
        self._look_who_uses_it()
        return self._loop.wait_for(partial(function, self._handle.model, *args, **kwargs))

    def report_broken(self, error: BaseException) -> None:
        """Say that the resource is of no use to anybody any more; see `ModelHandle.report_broken`."""
        if self._handle.is_active and not self._loop.is_elsewhere:
            self._loop.wait_for(partial(_report_broken, self._handle, error))

    def teardown(self) -> None:
        """End the lease; does nothing where it has ended already, or where this process was forked meanwhile."""
        if self._handle.is_active and not self._loop.is_elsewhere:
            self._loop.wait_for(self._handle.teardown)

    def _look_who_uses_it(self) -> None:
        if not self._caller.is_here:
            self._caller.is_passed_on = True

    def __enter__(self) -> Self:
        """Make the current thread the one that has the lease."""
        if self._handle.is_active and not self._loop.is_elsewhere:
            caller = self._caller if self._caller.is_here else Caller()
            caller.enter()
            if caller is not self._caller:
                self._loop.wait_for(self._handle.__aenter__, caller=caller)
                self._caller = caller
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._caller.leave()
        if self._handle.is_active and not self._loop.is_elsewhere:
            leave = partial(self._handle.__aexit__, exc_type, exc_value, traceback)  # the exception may be judged
            self._loop.wait_for(leave)

    def __repr__(self) -> str:
        return f"<Blocking{repr(self._handle)[1:]}"


async def _teardown(handles: Iterable[ModelHandle[Any]]) -> None:
    for handle in handles:
        await handle.teardown()


class _Call:
    """A call that is still to be made, with arguments that no `repr` shows: a key may be among them."""

    __slots__ = ("_arguments", "_function", "_keywords")

    def __init__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        self._function = function
        self._arguments = args
        self._keywords = kwargs

    def __call__(self) -> Any:
        return self._function(*self._arguments, **self._keywords)


async def _called(function: Callable[[], ResultT]) -> ResultT:
    return function()


async def _report_broken(handle: ModelHandle[Any], error: BaseException) -> None:
    handle.report_broken(error)


class BlockingModel:
    """A chat model whose methods wait.

    What else the model has, such as `base_url`, `server` or a property of your own, it has too. Other methods of the
    model belong to its event loop, and are used with `BlockingHandle.call`.
    """

    def __init__(self, loop: Loop, model: ChatModel) -> None:
        self._loop = loop
        self._model = model

    @property
    def name(self) -> str:
        """The model's name as its server knows it."""
        return self._model.name

    def generate(self, prompt: Prompt, /, **params: Any) -> Completion:
        """Ask for a reply; see `ChatModel.generate`. An exception in the waiting thread ends the request."""
        call: Callable[[], Awaitable[Completion]] = _Call(self._model.generate, prompt, **params)
        del params  # a traceback would show them
        return self._loop.wait_for(call)

    @contextmanager
    def stream(self, prompt: Prompt, /, **params: Any) -> Generator[BlockingStream]:
        """Ask for a reply that is read while it is made; see `ChatModel.stream`. Leaving the block ends the request."""
        made = self._model.stream(prompt, **params)
        del params  # a traceback would show them
        with self._loop.holding(made) as stream:
            yield BlockingStream(self._loop, stream)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'", name=name, obj=self)
        value = getattr(self._model, name)
        if inspect.isroutine(value):
            raise AttributeError(
                f"{type(self._model).__name__}.{name}() belongs to the model's event loop: "
                "use it with handle.call(async_function), which gives the function the model",
                name=name,
                obj=self._model,
            )
        return value

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *(name for name in dir(self._model) if not name.startswith("_"))})

    def __repr__(self) -> str:
        return f"<BlockingModel {self.name!r}>"


class BlockingStream:
    """The pieces of a reply as they arrive: iterate over it."""

    def __init__(self, loop: Loop, stream: CompletionStream) -> None:
        self._loop = loop
        self._stream = stream

    @property
    def text(self) -> str:
        """What has arrived so far."""
        return self._stream.text

    @property
    def completion(self) -> Completion:
        """The whole reply.

        Raises:
            RuntimeError: The stream was not read to its end.
        """
        return self._stream.completion

    def __iter__(self) -> Iterator[str]:
        while (text := self._loop.wait_for(self._next)) is not None:
            yield text

    async def _next(self) -> str | None:
        return await anext(self._stream, None)

"""``ContextProvider``: leases what any async context manager yields."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from inspect import isasyncgen, iscoroutine
from typing import Any, ClassVar, Generic

from typing_extensions import TypeVar, Unpack

from .._context_managers import check_function, check_made, kind_of
from .._errors import ContextManagerError
from .._pool_options import PoolOptions
from .._pooled import PooledProvider, runtime_of

ModelT = TypeVar("ModelT", default=Any)


class ContextProvider(PooledProvider[ModelT], Generic[ModelT]):
    """Leases what an async context manager yields: a database pool, an MCP session, a browser.

    ::

        @asynccontextmanager
        async def connect(spec: str, *, port: int = 5432) -> AsyncGenerator[Connection]:
            async with Connection(spec, port) as connection:
                yield connection

        async with ContextProvider(connect) as provider:
            async with provider.setup("results", port=5433) as handle:
                await handle.model.execute("...")

    The context manager is entered and left in one task of its own, so it may hold task groups and cancel scopes open,
    whoever sets it up, uses it, and tears it down.

    Args:
        factory: Makes the context manager; gets the spec and the configuration given to `setup`.
        name: What the provider is called in statistics, events and logs; `None`: by the factory's name.
        is_healthy: Tells whether what was yielded is still good; asked as ``health_after`` says. `None`: it always is.
        options: What every `PooledProvider` takes, such as ``keep_alive``.
    """

    operational: ClassVar[frozenset[str]] = frozenset({"name", "is_healthy"})

    def __init__(
        self,
        factory: Callable[..., AbstractAsyncContextManager[ModelT]],
        *,
        name: str | None = None,
        is_healthy: Callable[[ModelT], Awaitable[bool]] | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        super().__init__(**options)
        called = str(getattr(factory, "__name__", factory))
        self._called, self._form = called, f"{called if called.isidentifier() else 'connect'}(spec)"
        self._check(factory)
        runtime_of(self).rename(name or f"{type(self).__name__}({called})")
        self._factory = factory
        if is_healthy is not None:
            if not callable(is_healthy):
                raise TypeError(f"is_healthy= must be an async function of the model, not {kind_of(is_healthy)}")
            vars(self)["healthy"] = is_healthy

    def open(self, spec: str, /, **config: Any) -> AbstractAsyncContextManager[ModelT]:
        """Make the context manager for `spec`."""
        made = self._factory(spec, **config)
        check_made(made, self._called, self._form)
        return made

    def _check(self, factory: object) -> None:
        """Refuse what makes no context managers."""
        generator = getattr(factory, "gen", None)  # of what @asynccontextmanager makes, which can be called as well
        if callable(factory) and not isasyncgen(generator):
            check_function(factory, self._called, self._form)
            return
        name = getattr(generator, "__name__", None)
        if iscoroutine(factory):
            name = factory.__name__
            factory.close()  # else Python warns that it was never awaited
        kind = f"an object of the class {type(factory).__name__}"  # which may have a password in it
        given = kind if name is None else f"what {name}(...) returns"
        raise ContextManagerError(
            "ContextProvider",
            f"was given {given}, and not the function",
            f"Pass the function itself, ContextProvider({name or 'connect'}): it is called for each spec.",
        )

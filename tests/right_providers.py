"""Providers as authors write them that keep the whole contract, each in a way that a test might take for a mistake."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import anyio
import httpx
from anyio import CancelScope, create_task_group, move_on_after, sleep_forever, to_thread
from anyio.abc import Process
from anyio.lowlevel import checkpoint
from tests.wrong_providers import Client, Keyed, OwnBooks, Pooled

from doteval import ModelHandle, ModelProvider, PooledProvider
from doteval.testing import BasicProviderContract, ProviderContract

RIGHT: list[type[ModelProvider[Any]]] = [Pooled, OwnBooks, Keyed]


def right(kind: type[ModelProvider[Any]]) -> type[ModelProvider[Any]]:
    """Enter a provider in `RIGHT`."""
    RIGHT.append(kind)
    return kind


def refuse(spec: str) -> None:
    """As all of them do."""
    if spec == "bad":
        raise ValueError("it must not be 'bad'")


class Looks:
    """How the contract looks at whatever they lease."""

    bad_spec = "bad"


def contract_of(kind: type[ModelProvider[Any]]) -> BasicProviderContract[Any]:
    """The contract as the author of that provider would run it."""
    base = ProviderContract if issubclass(kind, PooledProvider) else BasicProviderContract
    looks: dict[str, Any] = {"make_provider": lambda self: kind()}
    is_open: Callable[[Any], bool] | None = getattr(kind, "looks_open", None)
    if is_open is not None:
        looks["is_open"] = lambda self, model: is_open(model)
    return type(f"Test{kind.__name__}", (Looks, base), looks)()


class Values(PooledProvider[Any]):
    """Leases a value, which is nothing to open: all it does is to count who uses it."""

    @staticmethod
    def value(spec: str) -> object:
        return spec

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Any]:
        refuse(spec)
        yield self.value(spec)


right(Values)


@right
class Nothing(Values):
    """Leases a place, and nothing else."""

    @staticmethod
    def value(spec: str) -> object:
        return None


class Kind(Enum):
    """One for all."""

    ONLY = 1


@right
class Constant(Values):
    """Leases a member of an enumeration."""

    @staticmethod
    def value(spec: str) -> object:
        return Kind.ONLY


@right
class Pair(Values):
    """Leases a tuple, which is the same each time."""

    @staticmethod
    def value(spec: str) -> object:
        return ("localhost", 80)


@right
class InBackground(PooledProvider[Client]):
    """Keeps a heartbeat running beside each client."""

    looks_open = staticmethod(lambda model: model.is_open)

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        refuse(spec)
        client = Client(spec)
        async with create_task_group() as tasks:
            tasks.start_soon(sleep_forever)
            try:
                yield client
            finally:
                client.close()
                tasks.cancel_scope.cancel()


@right
class InAThread(PooledProvider[Client]):
    """Keeps a heartbeat running in a thread, which has ended with the client."""

    looks_open = staticmethod(lambda model: model.is_open)

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        refuse(spec)
        over, client = threading.Event(), Client(spec)
        thread = threading.Thread(target=over.wait, name="a heartbeat")
        thread.start()
        try:
            await checkpoint()
            yield client
        finally:
            client.close()
            over.set()
            with CancelScope(shield=True):  # without a limit, and soon over
                await to_thread.run_sync(thread.join)


@right
class Directory(PooledProvider[Path]):
    """Leases a directory, deleted with the last lease or later."""

    looks_open = staticmethod(Path.is_dir)

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Path]:
        refuse(spec)
        directory = TemporaryDirectory(prefix=spec)  # anyio's, which is cancelled half-way, is closed since anyio 4.16
        try:
            yield Path(directory.name)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(directory.cleanup)


@right
class Database(PooledProvider[sqlite3.Connection]):
    """Leases a connection that a worker thread opens; closing it is no work."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[sqlite3.Connection]:
        refuse(spec)
        with CancelScope(shield=True):  # or nobody would close what is opened when nobody waits any more
            connection = await to_thread.run_sync(lambda: sqlite3.connect(":memory:", check_same_thread=False))
        try:
            yield connection
        finally:
            connection.close()


@right
class HTTP(PooledProvider[httpx.AsyncClient]):
    """Leases a client of a library, which says itself whether it is closed."""

    looks_open = staticmethod(lambda model: not model.is_closed)

    @asynccontextmanager
    async def open(self, spec: str, /, *, seconds: float = 5, **config: Any) -> AsyncGenerator[httpx.AsyncClient]:
        refuse(spec)
        async with httpx.AsyncClient(base_url=f"http://{spec}", timeout=seconds) as client:
            yield client

    async def healthy(self, model: httpx.AsyncClient, /) -> bool:
        return not model.is_closed

    def is_broken(self, model: httpx.AsyncClient, /) -> bool:
        return model.is_closed


@right
class SaysGoodbye(PooledProvider[Client]):
    """Takes some turns of the event loop to close, in a shield that has an end."""

    looks_open = staticmethod(lambda model: model.is_open)

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        refuse(spec)
        client = Client(spec)
        try:
            await checkpoint()
            yield client
        finally:
            with move_on_after(5, shield=True):
                await checkpoint()
            client.close()


@right
class Several(PooledProvider[tuple[Client, Client]]):
    """Opens two clients for each spec, the second one through the first."""

    looks_open = staticmethod(lambda model: any(client.is_open for client in model))

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[tuple[Client, Client]]:
        async with AsyncExitStack() as stack:
            first = Client(spec)
            stack.callback(first.close)
            await checkpoint()
            refuse(spec)
            second = Client(spec)
            stack.callback(second.close)
            await checkpoint()
            yield first, second


@right
class Leasing(PooledProvider[ModelHandle[Client]]):
    """Leases from a provider of its own, inside of what it opens."""

    looks_open = staticmethod(lambda model: model.is_active)

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[ModelHandle[Client]]:
        async with Pooled() as inner, inner.setup(spec) as handle:
            yield handle


@right
class Slots(Pooled):
    """Has slots with names, closes what nobody uses, and tells which it got."""

    def __init__(self) -> None:
        super().__init__(capacity=["gpu-0", "gpu-1"], keep_alive=0)


@right
class OneSlot(Pooled):
    """Has room for one at a time, as on the only GPU."""

    def __init__(self) -> None:
        super().__init__(capacity=1)


@right
class WideOnes(Pooled):
    """Has room for several, of which each takes more than half."""

    def __init__(self) -> None:
        super().__init__(capacity=["gpu-0", "gpu-1", "gpu-2"], keep_alive=0)

    def slots(self, spec: str, /, **_config: Any) -> int:
        return 2


@right
class OneSecret(Keyed):
    """Names its secret as a text, and says it where it is refused."""

    def secrets(self) -> Collection[str]:
        return self.api_key

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        if spec == "bad":
            raise PermissionError(f"not allowed for {self.api_key}")
        async with super().open(spec, **config) as client:
            yield client


@right
class TimesOut(Pooled):
    """Says what has taken too long."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        if spec == "bad":
            raise TimeoutError("no answer within 0 s") from TimeoutError()
        async with super().open(spec, **config) as client:
            yield client


@right
class Files(OwnBooks):
    """Has books of its own, and an open file in each entry."""

    async def connect(self, spec: str, **config: Any) -> Client:
        client = await super().connect(spec, **config)
        with ExitStack() as stack:
            stack.enter_context(Path("/dev/null").open())  # noqa: ASYNC230 - it is at hand
            left = stack.pop_all()
        close = client.close
        client.close = lambda: (close(), left.close())[0]  # type: ignore[method-assign, func-returns-value]
        return client


@right
class Listening(OwnBooks):
    """Has books of its own, and listens from when it is entered until it is left, which one task has to do."""

    async def __aenter__(self) -> Self:
        self.tasks = create_task_group()
        await self.tasks.__aenter__()
        self.tasks.start_soon(sleep_forever)
        return await super().__aenter__()

    async def __aexit__(self, *exc_info: Any) -> bool | None:  # noqa: PYI036
        try:
            return await super().__aexit__(*exc_info)
        finally:
            self.tasks.cancel_scope.cancel()
            await self.tasks.__aexit__(None, None, None)


class Before:
    """Keeps clients by spec."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}

    async def setup(self, spec: str, **config: Any) -> ModelHandle[Client]:
        await checkpoint()
        refuse(spec)
        self.clients.setdefault(spec, Client(spec))
        return ModelHandle(spec, self.clients[spec], self)

    async def teardown(self, resource_id: str) -> None:
        await checkpoint()
        if resource_id in self.clients:
            self.clients.pop(resource_id).close()


@right
class AsBefore(Before, ModelProvider[Client]):
    """Was there before, with books of its own, and inherits besides."""

    looks_open = staticmethod(lambda model: model.is_open)


class Child(PooledProvider[Process]):
    """Leases a process, which is ended and waited for."""

    looks_open = staticmethod(lambda model: model.returncode is None)

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Process]:
        refuse(spec)
        process = await anyio.open_process(["sleep", "3600"])
        try:
            yield process
        finally:
            process.kill()
            with move_on_after(5, shield=True):
                await process.aclose()

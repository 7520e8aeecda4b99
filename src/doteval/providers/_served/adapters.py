"""``Adapters``: what is loaded into a running server beside its model, and `AdapterHandle`, a lease on one of them.

A server loads an adapter once, whoever asks for it, and programs share servers. So who uses one has a lock on a file in
the server's directory, together with all others who do; whoever has it alone unloads the adapter. The kernel unlocks
the files of who dies.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from anyio import CancelScope, Lock, current_time, sleep

from ..._errors import ModelSetupError
from ..._handle import ModelHandle
from ...servers._contract import Server, ServerLease
from ...servers._description.named_files import files_of
from ...servers._unshared import Descriptor
from .model import ServerModel
from .paths import is_path, local

_LOAD_SECONDS = 300.0
_UNLOAD_SECONDS = 5.0
_LOOK_SECONDS = 0.02


class AdapterError(Exception):
    """The server does not load an adapter; the text says why."""


class Adapters:
    """The adapters of one server that are used in one event loop, by the requests of vLLM.

    Args:
        lease: A lease on the server, which outlives this.
    """

    def __init__(self, lease: ServerLease) -> None:
        self._lease = lease
        self._used: dict[str, Descriptor | None] = {}
        self._turns: dict[str, Lock] = {}

    async def load(self, adapter: str) -> str:
        """Load an adapter, where nobody has done so.

        Args:
            adapter: Its directory, or its name on the hub.

        Returns:
            What requests call it: its name, and for a directory also a digest of what is in it.

        Raises:
            AdapterError: The server does not load it.
        """
        place = local(adapter)
        name = _name_of(place)
        async with self._turns.setdefault(name, Lock()):
            if name not in self._used:
                self._used[name] = await self._loaded(name, place)
        return name

    async def close(self) -> None:
        """Unload those that nobody else uses, in at most 5 seconds; for a server that sleeps or has ended, do nothing.

        What is not unloaded now is with the server.
        """
        is_there = self._lease.lost is None and not self._lease.sleeps
        used, self._used = self._used, {}
        try:
            with CancelScope(shield=True, deadline=current_time() + _UNLOAD_SECONDS):
                for name, use in used.items():
                    if is_there and (use is None or use.lock()):
                        with suppress(httpx.TransportError):
                            await _ask(self._lease.server, "unload", {"lora_name": name})
        finally:
            for use in used.values():
                if use is not None:
                    use.close()

    async def _loaded(self, name: str, place: str) -> Descriptor | None:
        """Load it when nobody else loads or unloads it, and say that it is used; by what is returned.

        That is `None` where the server is of another machine.
        """
        server, directory = self._lease.server, self._lease.directory
        if directory is None:
            await _load(server, name, place)
            return None
        (directory / "adapters").mkdir(mode=0o700, parents=True, exist_ok=True)
        file = directory / "adapters" / hashlib.sha256(name.encode()).hexdigest()
        use = Descriptor(file, os.O_RDWR | os.O_CREAT)
        try:
            is_used = False
            while not is_used:
                while not (use.lock() or use.lock(is_shared=True)):  # noqa: ASYNC110 - another process has it
                    await sleep(_LOOK_SECONDS)
                await _load(server, name, place)
                is_used = use.lock(is_shared=True)  # else somebody else was faster, and may have unloaded it
        except BaseException:
            use.close()
            raise
        return use


def _name_of(place: str) -> str:
    if not is_path(place):
        return place
    digest = hashlib.sha256(repr((place, files_of([place], None))).encode()).hexdigest()
    return f"{Path(place).name}-{digest[:8]}"


async def _load(server: Server, name: str, place: str) -> None:
    """Load it, also where that was done already."""
    try:
        answer = await _ask(server, "load", {"lora_name": name, "lora_path": place})
        if answer.is_success or name in await _names(server):
            return
    except httpx.TransportError as exc:
        raise AdapterError(f"the connection fails ({type(exc).__name__})") from exc
    raise AdapterError(f"it answers {answer.status_code}: {' '.join(answer.text.split())[:500]}")


async def _ask(server: Server, action: str, body: Mapping[str, str]) -> httpx.Response:
    async with _client(server) as client:
        return await client.post(f"/v1/{action}_lora_adapter", json=body)


async def _names(server: Server) -> list[str]:
    async with _client(server) as client:
        answer = await client.get("/v1/models")
        return [str(each["id"]) for each in answer.json()["data"]] if answer.is_success else []


def _client(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=server.url,
        headers={"Authorization": f"Bearer {server.api_key}"} if server.api_key else {},
        timeout=_LOAD_SECONDS,
        trust_env=False,
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # loading certificates that nobody needs takes 50 ms
    )


class AdapterHandle(ModelHandle[ServerModel]):
    """A lease on a server's model, for one of its adapters.

    Args:
        base: The lease.
        model: The adapter's model.
        spec: What was asked for.
        config: The configuration that it was asked for with.
    """

    __slots__ = ("_asked", "_base", "_named")

    def __init__(
        self, base: ModelHandle[ServerModel], model: ServerModel, spec: str, config: Mapping[str, Any]
    ) -> None:
        self._base = base
        self._named = model
        self._asked = spec, config
        self._resource_id = base.resource_id
        self._manager = base.manager

    async def teardown(self) -> None:
        """End the lease; it takes effect before the first await, and a second call does nothing."""
        await self._base.teardown()

    def report_broken(self, error: BaseException) -> None:
        self._base.report_broken(error)

    async def __aenter__(self) -> Self:
        """Make the current task the one that is responsible for the lease."""
        await self._base.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the lease."""
        await self._base.__aexit__(exc_type, exc_value, traceback)

    def __doteval_identity__(self) -> Mapping[str, Any]:
        spec, config = self._asked
        return self._identity_of(spec, config)

    def _why_inactive(self) -> str:
        return self._base._why_inactive()

    def _get_model(self) -> ServerModel:
        return self._named


def failed(spec: str, adapter: str, error: AdapterError) -> ModelSetupError:
    """What is raised where an adapter is not loaded."""
    advice = (
        "Correct the path or the name of the adapter, which comes after the '@'; one of a higher rank than 16 needs "
        "max_lora_rank=."
    )
    return ModelSetupError(spec, f"the server does not load the adapter {adapter!r}: {error}", advice)

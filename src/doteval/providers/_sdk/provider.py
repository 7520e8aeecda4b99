"""``SDKProvider``: what the providers of the SDKs have in common, most of all that one client serves many models.

A client holds a connection pool and takes 20 ms to make, so models whose settings agree share one. It is a leased
resource itself, in an inner provider: opened for the first model that needs it, closed after the last.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any, ClassVar, Generic, TypeVar, cast
from urllib.parse import SplitResult, urlsplit

from anyio import CancelScope, CapacityLimiter, current_time
from anyio.lowlevel import RunVar

from ..._errors import MissingCredentialsError, ModelSetupError
from ..._handle import ModelHandle
from ..._keywords import completed, fields_of, unexpected_in_setup
from ..._pool_options import PoolOptions
from ..._pooled import PooledProvider, include
from ..._secrets import Secret, secrets_of, shielded
from ..._spec import resource_id
from .._environment import named_where_unusable
from .._headers import checked_headers
from .failures import SDK, SDKClient
from .http_clients import http_client_of, known_of
from .model import SDKModel
from .places import Places
from .warming import warming

ClientT = TypeVar("ClientT", bound=SDKClient)
ModelT = TypeVar("ModelT", bound="SDKModel[Any, Any, Any]")


class ClientProvider(PooledProvider[ClientT]):
    """Leases the SDK clients; a client closes when the last model that uses it does.

    Args:
        make: Makes a client; gets the settings.
        close_timeout: How long closing one may take, in seconds.
        warm_connections: How many connections each opens before they are needed.
    """

    def __init__(self, make: Callable[..., ClientT], *, close_timeout: float, warm_connections: int) -> None:
        super().__init__(keep_alive=0, close_timeout=close_timeout)
        self._make_client = make
        self._warm_connections = warm_connections

    @asynccontextmanager
    async def open(self, spec: str, /, **settings: Any) -> AsyncGenerator[ClientT]:
        """Make a client for the address `spec`; an HTTP client that came with the settings is its owner's to close."""
        client = self._make_client(base_url=spec, **settings)
        try:
            http_client = http_client_of(client) if self._warm_connections else None
            async with nullcontext() if http_client is None else warming(http_client, spec, self._warm_connections):
                yield client
        finally:
            if "http_client" not in settings:
                with CancelScope(shield=True, deadline=current_time() + self.close_timeout):
                    await client.close()

    def is_broken(self, model: ClientT, /) -> bool:
        """Whether somebody has closed the client, as ``async with client`` does."""
        return model.is_closed()


class SDKProvider(PooledProvider[ModelT], Generic[ModelT, ClientT]):
    """A provider of the models behind an SDK's client; it takes what its `declaration` says."""

    own_setup_names: ClassVar[frozenset[str]] = frozenset()
    """What `setup` takes besides the settings of clients and models."""
    sdk: ClassVar[SDK]
    declaration: ClassVar[type[Any]]
    """The keywords for clients and models, and those of `PoolOptions`."""

    def __init__(self, **options: Any) -> None:
        settings, others = completed(self.declaration, options, PoolOptions)
        super().__init__(**others)
        self._max_concurrency: int | None = settings.pop("max_concurrency")
        self._key_variable: str | None = settings.pop("key_variable")
        self._max_concurrency_per_key: int | None = settings.pop("max_concurrency_per_key")
        warm_connections: int = settings.pop("warm_connections")
        # Of this run of the event loop: a provider may be entered again in another.
        self._key_places: RunVar[dict[tuple[str, str], Places]] = RunVar("key_places")
        self._params: dict[str, Any] = dict(settings.pop("params") or {})
        self._setting_names = frozenset(settings)
        self._settings = shielded(_given(settings))
        self._clients = include(
            self, ClientProvider(self._make_client, close_timeout=self.close_timeout, warm_connections=warm_connections)
        )

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[ModelT]:
        """Lease a client for the settings and put the model on it.

        Args:
            spec: The model's name as its server knows it.
            config: What the constructor takes, for this model only.

        Raises:
            MissingCredentialsError: There is no API key.
        """
        label = resource_id(spec, config)
        config = shielded(config)
        max_concurrency = config.pop("max_concurrency", None)
        for name, value in (("max_concurrency", max_concurrency), ("timeout", config.get("timeout"))):
            fields_of(self.declaration)[name].keyword.check(name, value)
        own_params: Mapping[str, Any] = config.pop("params", None) or {}
        settings = self._resolved({**self._settings, **_given(config)})
        key_places = self._places_of_key(settings["base_url"], settings["api_key"])
        async with await self._lease_client(label, settings) as handle:
            model = self._make_model(
                spec,
                handle.model,
                max_concurrency=max_concurrency or self._max_concurrency,
                key_places=key_places,
                params={**self._params, **own_params},
            )
            model.stay_here(type(self).__name__)
            yield model

    def slots(self, spec: str, /, **config: Any) -> int:
        """One, where the number of models is limited.

        Raises:
            TypeError: `config` has something that cannot be given to `setup`.
        """
        known = {*self._setting_names, "max_concurrency", "params", *self.own_setup_names}
        if unknown := config.keys() - known:
            del config  # a traceback would show it
            raise TypeError(
                f"{unexpected_in_setup(type(self), unknown, known)}\n"
                "What requests are sent with goes into params={...}."
            )
        return super().slots(spec, **config)

    def identity(self, spec: str = "", /, **config: Any) -> Mapping[str, Any]:
        """All that an answer depends on, the address of the environment and what an `http_client` adds among it."""
        found = {**super().identity(spec, **config)}
        address = str(found.get("base_url") or self._url_from_environment())
        http_client = config.get("http_client")
        if http_client is None:
            http_client = self._settings.get("http_client")
        added = {} if http_client is None else known_of(http_client)
        return {**found, "base_url": address.rstrip("/"), **({"http_client": added} if added else {})}

    def is_broken(self, model: ModelT, /) -> bool:
        """Whether somebody has closed the model's client, as ``async with model.client`` does."""
        return bool(model.client.is_closed())

    def secrets(self) -> Collection[str]:
        """The API keys, which no message shows."""
        variables = (self.sdk.key_variable, self._key_variable or "")
        return {*secrets_of(self._settings), *(os.environ.get(name, "") for name in variables)} - {""}

    # ---------------------------------------------------------------- what a subclass writes

    @abstractmethod
    def _make_client(self, *, api_key: str, base_url: str, **settings: Any) -> ClientT:
        """Make the SDK's client."""

    @abstractmethod
    def _make_model(self, name: str, client: ClientT, **settings: Any) -> ModelT:
        """Put a model on a client; the settings are those of `SDKModel`."""

    # ---------------------------------------------------------------- inside

    def _resolved(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with what the environment says at this moment."""
        settings = self._with_credentials(settings)
        base_url = settings.pop("base_url", None)  # one that is empty is no address, and not another one's
        base_url = self._url_from_environment() if base_url is None else base_url
        checked = {"api_key": _checked_key(settings["api_key"]), "base_url": _checked_url(str(base_url))}
        if "default_headers" in settings:
            checked["default_headers"] = checked_headers(settings["default_headers"], "default_headers")
        return {**settings, **checked}

    def _with_credentials(self, settings: dict[str, Any]) -> dict[str, Any]:
        given = settings.get("api_key")
        return {**settings, "api_key": given if given and not _is_blank(given) else self._key_from_environment()}

    def _places_of_key(self, base_url: str, api_key: str) -> Places | None:
        if self._max_concurrency_per_key is None:
            return None
        places: dict[tuple[str, str], Places] = {}
        places = self._key_places.get(places)
        self._key_places.set(places)
        account = (base_url, api_key)
        if account not in places:
            places[account] = Places(CapacityLimiter(self._max_concurrency_per_key))
        return places[account]

    def _key_from_environment(self) -> str:
        variable = self._key_variable or self.sdk.key_variable
        api_key = os.environ.get(variable)
        if not api_key or _is_blank(api_key):
            raise MissingCredentialsError(type(self).__name__, variable)
        return Secret(api_key)

    def _url_from_environment(self) -> str:
        return os.environ.get(self.sdk.url_variable) or self.sdk.url

    async def _lease_client(self, label: str, settings: dict[str, Any]) -> ModelHandle[ClientT]:
        base_url = settings.pop("base_url")
        try:
            return await self._clients.setup(base_url, **settings)
        except ModelSetupError as exc:  # the model's own setup says it all; one layer is enough
            cause = cast(BaseException, exc.__cause__)
        with named_where_unusable(label):
            raise cause  # not in there, or it would lead to what it has caused


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _is_blank(api_key: object) -> bool:
    return isinstance(api_key, str) and not api_key.strip()


def _checked_key(api_key: object) -> str:
    """A key from a file or a variable often ends with a line break; in the middle, it cannot be meant."""
    if not isinstance(api_key, str):
        raise TypeError(f"the API key must be a str, not {type(api_key).__name__}")
    api_key = Secret(api_key.strip())
    if not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("the API key has characters that no HTTP header can hold; was it copied with something else?")
    return api_key


def _has_port(parts: SplitResult) -> bool:
    """Whether its port may be one, or is not there."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _checked_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or not _has_port(parts)
        or base_url.split() != [base_url]
    ):
        raise ValueError(f"base_url must be an address such as 'https://host/v1', not {base_url!r}")
    if parts.query or parts.fragment:  # often with a key in it, which a repr and an error would show
        raise ValueError(
            "base_url must end before '?' and '#', as paths are appended to it; pass params={'extra_query': {...}} "
            "instead"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "base_url must not hold a user name or password, they would replace the API key; "
            "pass default_headers={'Authorization': ...} instead"
        )
    return base_url

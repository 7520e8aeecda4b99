"""``OpenAIProvider``, and ``OpenAICompatibleProvider`` for every other server that speaks the same protocol."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, ClassVar

import openai  # before what comes with it: what is told to be missing is what has to be installed

# isort: split
import httpx
import httpx2
from typing_extensions import Unpack

from .._keywords import Keyword, takes
from .._pool_options import PoolOptions
from ._connections import pool_connections
from ._sdk.attempts import hooks
from ._sdk.openai import NO_KEY, OPENAI, CompatibleClient, OpenAIModel, OpenAIModelOptions
from ._sdk.options import ClientOptions
from ._sdk.provider import SDKProvider

__all__ = ["OpenAICompatibleProvider", "OpenAIModel", "OpenAIProvider"]


class CompatibleOptions(ClientOptions, OpenAIModelOptions, total=False):
    """What `OpenAICompatibleProvider` takes besides the address."""

    http_client: Annotated[
        httpx2.AsyncClient | httpx.AsyncClient | None,
        Keyword(
            "The HTTP client to send with, an `httpx2.AsyncClient` or an older `httpx.AsyncClient`. It stays yours: "
            "close it after the provider. `None`: one with the SDK's own settings, and a faster pool of connections.",
            operational=True,
        ),
    ]


class OpenAIOptions(CompatibleOptions, total=False):
    """What `OpenAIProvider` takes."""

    base_url: Annotated[
        str | None, Keyword("The address; `None`: ``OPENAI_BASE_URL`` at the time of `setup`, else OpenAI's own.")
    ]
    organization: Annotated[str | None, Keyword("`None`: ``OPENAI_ORG_ID``.")]
    project: Annotated[str | None, Keyword("`None`: ``OPENAI_PROJECT_ID``.")]


@takes(OpenAIOptions, PoolOptions)
class OpenAIProvider(SDKProvider[OpenAIModel, openai.AsyncOpenAI]):
    """Leases models of OpenAI.

    ::

        async with OpenAIProvider() as provider:
            async with provider.setup("gpt-4o") as handle:
                reply = await handle.model.generate("Hello")

    What is given here holds for all models; ``setup(spec, **config)`` takes the same names for one model, but for the
    `options`. Models whose settings agree share one `openai.AsyncOpenAI`.

    Args:
        api_key: The key; `None`: ``OPENAI_API_KEY`` at the time of `setup`.
    """

    patterns: ClassVar[tuple[str, ...]] = ("gpt-*", "o1*", "o3*", "o4*", "chatgpt-*")
    sdk = OPENAI
    declaration = OpenAIOptions

    def __init__(self, **options: Unpack[OpenAIOptions]) -> None:
        super().__init__(**options)

    def _make_client(self, *, api_key: str, base_url: str, **settings: Any) -> openai.AsyncOpenAI:
        if "http_client" not in settings:
            settings["http_client"] = openai.DefaultAsyncHttpxClient(event_hooks=hooks(base_url))
            pool_connections(settings["http_client"])
        return openai.AsyncOpenAI(api_key=api_key, base_url=base_url, **settings)

    def _make_model(self, name: str, client: openai.AsyncOpenAI, **settings: Any) -> OpenAIModel:
        return OpenAIModel(name, client, **settings)


@takes(CompatibleOptions, PoolOptions)
class OpenAICompatibleProvider(OpenAIProvider):
    """Leases models of any server that speaks OpenAI's protocol: vLLM, llama.cpp, Ollama, a gateway.

    ::

        async with OpenAICompatibleProvider("http://127.0.0.1:8000/v1") as provider:
            ...

    Nothing that belongs to OpenAI is sent there: keys, organizations, projects and headers of the environment are not
    used, nor by what ``client.with_options(...)`` makes.

    Args:
        base_url: The server's address, mostly with ``/v1`` at its end.
    """

    patterns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, base_url: str, **options: Unpack[CompatibleOptions]) -> None:
        super().__init__(base_url=base_url, **options)

    def secrets(self) -> Collection[str]:
        """The API keys, which no message shows; the placeholder for none is not one."""
        return set(super().secrets()) - {NO_KEY}

    def _url_from_environment(self) -> str:
        raise ValueError("base_url must be an address such as 'https://host/v1', not None")  # and never OpenAI's

    def _key_from_environment(self) -> str:
        return NO_KEY if self._key_variable is None else super()._key_from_environment()

    def _make_client(self, *, api_key: str, base_url: str, **settings: Any) -> openai.AsyncOpenAI:
        if "http_client" not in settings:
            settings["http_client"] = openai.DefaultAsyncHttpxClient(event_hooks=hooks(base_url))
            pool_connections(settings["http_client"])
        return CompatibleClient(api_key=api_key, base_url=base_url, **settings)

"""``OllamaProvider``: models of an Ollama daemon that is running already."""

# In what completed() returns, every keyword is there.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import Annotated, Any, ClassVar, Self, cast
from urllib.parse import urlsplit

import httpx
from anyio import CancelScope, current_time
from typing_extensions import Unpack

from .._errors import DotevalError
from .._keywords import Keyword, completed, fields_of, takes
from .._pool_options import PoolOptions
from .._printed import in_a_line, shortened
from .._secrets import masked, shielded
from ._headers import checked_headers
from ._sdk.openai import OpenAIModel
from .openai import CompatibleOptions, OpenAICompatibleProvider

logger = logging.getLogger("doteval.ollama")

_PORT = 11434
_NOT_FOUND = 404
_API = "/v1"
_OF_THE_LOG = "The log of the daemon says why ('journalctl -u ollama', or ~/.ollama/logs/server.log)."
_OF_DOWNLOADS = "Check the name at ollama.com/search, and whether the daemon reaches the network."
_ADVICE = (
    (
        re.compile(r"requires more system memory|out of memory|unable to allocate|not enough memory"),
        (
            "Take a smaller or more quantised model, or unload what else is in memory ('ollama ps' lists it, "
            "'ollama stop' unloads it)."
        ),
    ),
    (
        re.compile(r"unknown model architecture|newer version of [Oo]llama"),
        "Install a newer Ollama, which knows this kind of model.",
    ),
    (
        re.compile(r"runner process (?:has terminated|no longer running)"),
        _OF_THE_LOG,
    ),
)
"""What to do where the daemon says so; the first that fits is told."""
_ANSWER_SECONDS = 10.0
"""How long the daemon may take for what it only has to look up."""
_SILENT_SECONDS = 300.0
"""How long it may be silent while it loads or downloads."""


def _some_seconds(value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError("must be a number of seconds above 0, or None")


class OllamaOptions(CompatibleOptions, total=False):
    """What `OllamaProvider` takes besides the address."""

    pull: Annotated[
        bool,
        Keyword(
            "Whether a model that is not on the machine is downloaded; the log of ``doteval.ollama`` says how far it "
            "is. A download that is cancelled goes on where it was the next time.",
            False,
            operational=True,
        ),
    ]
    loaded_for: Annotated[
        float | None,
        Keyword(
            "How long the daemon keeps the model in memory after its last request, in seconds. `None`: as it is "
            "configured, which is 5 minutes unless somebody changed it.",
            check=_some_seconds,
            operational=True,
        ),
    ]
    unload: Annotated[
        bool, Keyword("Whether a model that was loaded here is unloaded when it is closed.", True, operational=True)
    ]


@takes(OllamaOptions, PoolOptions)
class OllamaProvider(OpenAICompatibleProvider):
    """Leases models of an Ollama daemon, loaded into its memory.

    ::

        async with OllamaProvider(pull=True) as provider:
            async with provider.setup("llama3.2:3b") as handle:
                reply = await handle.model.generate("Hello")

    It starts nothing: the daemon belongs to the machine, and others may use it. A model that was in its memory before
    is left there; one that was loaded here is unloaded when it is closed. Where a program is killed before that, the
    daemon unloads the model by itself, as `loaded_for` says.

    ``setup(spec, **config)`` takes `pull`, `loaded_for` and `unload` for one model, too, and what
    `OpenAICompatibleProvider` takes, but for ``base_url``.

    Args:
        base_url: The daemon's address, without ``/v1``. `None`: ``OLLAMA_HOST`` at the time of `setup`, else
            ``http://127.0.0.1:11434``.
        api_key: The key, where something in front of the daemon wants one.
    """

    patterns: ClassVar[tuple[str, ...]] = ()
    own_setup_names: ClassVar[frozenset[str]] = frozenset({"pull", "loaded_for", "unload"})

    def __init__(self, base_url: str | None = None, **options: Unpack[OllamaOptions]) -> None:
        own, others = completed(OllamaOptions, options, CompatibleOptions)
        super().__init__("", **others)  # as None: the address is asked for at the time of setup
        self._daemon_url = None if base_url is None else daemon_url(base_url)
        self._own = own

    @asynccontextmanager
    async def open(
        self,
        spec: str,
        /,
        *,
        pull: bool | None = None,
        loaded_for: float | None = None,
        unload: bool | None = None,
        **config: Any,
    ) -> AsyncGenerator[OpenAIModel]:
        """Have the model loaded, and put an OpenAI client on the daemon.

        Args:
            spec: The model's name, such as ``"llama3.2:3b"``.
            pull: As in the constructor, for this model.
            loaded_for: The same.
            unload: The same.
            config: What `OpenAICompatibleProvider` takes, but for ``base_url``.

        Raises:
            ConnectionError: No daemon answers at the address.
            LookupError: The daemon does not have the model, and was not told to download it.
            RuntimeError: The daemon could not download or load the model; says why.
            TypeError: `config` has something that is not known.
        """
        config = shielded(config)
        fields_of(OllamaOptions)["loaded_for"].keyword.check("loaded_for", loaded_for)
        seconds = self._own["loaded_for"] if loaded_for is None else loaded_for
        if "base_url" in config:
            raise TypeError("base_url belongs to the whole OllamaProvider; make another one for another daemon")
        url = self._daemon_url or daemon_url(os.environ.get("OLLAMA_HOST", ""))
        key = config.get("api_key") or self._settings.get("api_key")
        if key is None and self._key_variable is not None:
            key = self._key_from_environment()
        headers = shielded(
            {
                **({"Authorization": f"Bearer {key}"} if key else {}),
                **cast("Mapping[str, str]", checked_headers(self._own_headers(config), "default_headers")),
            }
        )
        async with super().open(spec, base_url=url + _API, **config) as model, _Daemon(url, headers) as daemon:
            try:
                capabilities = await daemon.show(spec)
            except LookupError:
                if not (self._own["pull"] if pull is None else pull):
                    raise
                await daemon.pull(spec)
                capabilities = await daemon.show(spec)
            if capabilities and "completion" not in capabilities:
                yield model  # one for embeddings, say: only a request that fits it would load it
                return
            is_ours = not await daemon.is_loaded(spec)
            try:
                await daemon.load(spec, seconds)
                yield model
            finally:
                if is_ours and (self._own["unload"] if unload is None else unload):
                    with CancelScope(shield=True, deadline=current_time() + self.close_timeout):
                        await daemon.unload(spec)

    def _own_headers(self, config: Mapping[str, Any]) -> Any:
        return config.get("default_headers") or self._settings.get("default_headers") or {}

    def identity(self, spec: str = "", /, **config: Any) -> Mapping[str, Any]:
        """All that an answer of a model depends on, the daemon's address among it."""
        return {**super().identity(spec, **config), "base_url": self._url_from_environment()}

    def _url_from_environment(self) -> str:
        return (self._daemon_url or daemon_url(os.environ.get("OLLAMA_HOST", ""))) + _API


def daemon_url(host: str) -> str:
    """The address of a daemon, from what ``OLLAMA_HOST`` may hold, as Ollama reads it.

    It is the address to listen at as well, so "all addresses" becomes this machine's.

    Args:
        host: A host, a port, both, or a URL; nothing means the default.

    Raises:
        ValueError: It cannot be the address of a web server.
    """
    host = host.strip().strip("\"'").rstrip("/")
    scheme, has_scheme, rest = host.rpartition("://")
    bare = rest.strip("[]")
    if bare.count(":") > 1 and "]:" not in rest and "/" not in rest:
        rest = f"[{bare}]"  # an address of IPv6, with or without its brackets
    wrong = ValueError(
        f"{masked(host)!r} is not the address of an Ollama daemon; write it like 'http://127.0.0.1:{_PORT}'"
    )
    try:
        parts = urlsplit(f"{scheme or 'http'}://{rest}")
        port = parts.port or (None if has_scheme else _PORT)
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or parts.username is not None or parts.query:
        raise wrong
    name = parts.hostname or "127.0.0.1"
    try:
        if (address := ip_address(name)).is_unspecified:
            name = "127.0.0.1" if address.version == 4 else "::1"
    except ValueError:
        pass  # a name, then
    name = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{name}{'' if port is None else f':{port}'}{parts.path.removesuffix(_API)}"


class _Daemon:
    """Ollama's own API, as far as it is needed.

    Args:
        url: The daemon's address.
        headers: Headers of every request.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        is_here = urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")
        self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=_ANSWER_SECONDS, trust_env=not is_here)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with CancelScope(shield=True):  # it only closes connections that nobody uses
            await self._client.aclose()

    async def show(self, model: str) -> list[str]:
        """What the model can do.

        Raises:
            LookupError: The daemon does not have it.
        """
        answer = await self._ask("POST", "/api/show", {"model": model})
        if answer.status_code == _NOT_FOUND:
            raise _MissingError(
                f"{self._problem(answer)}, says the Ollama daemon at {self._url}",
                f"Run 'ollama pull {model}', or pass pull=True.",
            )
        return cast("list[str]", self._read(answer, "look up", model).get("capabilities") or [])

    async def is_loaded(self, model: str) -> bool:
        """Whether the model is in the daemon's memory."""
        answer = await self._ask("GET", "/api/ps")
        models = cast("list[dict[str, Any]]", self._read(answer, "look up", model).get("models") or [])
        return _full_name(model) in {_full_name(str(one.get("model") or one.get("name"))) for one in models}

    async def load(self, model: str, seconds: float | None) -> None:
        """Load the model, and return when it can answer."""
        body: dict[str, Any] = {"model": model, "stream": False}
        if seconds is not None:
            body["keep_alive"] = -1 if math.isinf(seconds) else seconds
        self._read(await self._ask("POST", "/api/generate", body, seconds=_SILENT_SECONDS), "load", model)

    async def unload(self, model: str) -> None:
        """Unload the model when its last request is answered; where the daemon is gone, so is the model."""
        try:
            answer = await self._ask("POST", "/api/generate", {"model": model, "stream": False, "keep_alive": 0})
        except ConnectionError:
            return
        if answer.status_code != _NOT_FOUND:  # it was deleted meanwhile
            self._read(answer, "unload", model)

    async def pull(self, model: str) -> None:
        """Download the model. When this is cancelled, the daemon stops, too, and keeps what it has."""
        logger.info("pulling %s", model)
        problem, is_done, shown = None, False, -1
        with self._explained():
            request = self._request("POST", "/api/pull", {"model": model}, _SILENT_SECONDS)
            async with aclosing(await self._client.send(request, stream=True)) as answer:
                if answer.is_error:
                    await answer.aread()
                    self._read(answer, "download", model)
                # Always to the end: a generator that is left earlier would have to be closed.
                async for line in answer.aiter_lines():
                    event = _json_object(line)
                    problem = problem or event.get("error")
                    is_done = is_done or event.get("status") == "success"
                    share = _percent(event)
                    if share is not None and share // 10 != shown // 10:
                        shown = share
                        layer = in_a_line(shortened(str(event.get("digest", "it")), 100))
                        logger.info("pulling %s: %d %% of %s", model, share, layer)
        if problem or not is_done:
            raise _refused("download", model, str(problem or "the download ended before it was complete"))
        logger.info("pulled %s", model)

    # ---------------------------------------------------------------- inside

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, seconds: float = _ANSWER_SECONDS
    ) -> httpx.Response:
        with self._explained():
            return await self._client.send(self._request(method, path, body, seconds))

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float) -> httpx.Request:
        request = self._client.build_request(method, path, json=body, timeout=seconds)
        request.stream = _Body(request.content)
        return request

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except httpx.ConnectError as exc:
            raise ConnectionError(
                f"no Ollama daemon answers at {self._url}: start it with 'ollama serve' (ollama.com says how to "
                "install it), or say with base_url=... or OLLAMA_HOST where it is"
            ) from exc
        except httpx.TimeoutException as exc:
            raise ConnectionError(f"the Ollama daemon at {self._url} is silent for too long ({exc!r})") from exc
        except httpx.TransportError as exc:
            raise ConnectionError(f"the connection to the Ollama daemon at {self._url} broke: {exc!r}") from exc

    def _read(self, answer: httpx.Response, what: str, model: str) -> dict[str, Any]:
        if answer.is_success:
            return _json_object(answer.text)
        raise _refused(what, model, self._problem(answer))

    def _problem(self, answer: httpx.Response) -> str:
        problem = _json_object(answer.text).get("error")
        if not isinstance(problem, str):
            del problem  # which may have repeated a key
            raise ConnectionError(
                f"what answers at {self._url} is not an Ollama daemon (status {answer.status_code}); "
                "check base_url= and OLLAMA_HOST"
            )
        return problem


class _MissingError(DotevalError, LookupError):
    """The daemon does not have a model."""

    def __init__(self, problem: str, advice: str) -> None:
        self.advice = advice
        super().__init__(f"{problem}.\n{advice}")


class _RefusedError(DotevalError, RuntimeError):
    """The daemon could not do something."""

    def __init__(self, problem: str, advice: str) -> None:
        self.advice = advice
        super().__init__(f"{problem}.\n{advice}")


def _refused(what: str, model: str, problem: str) -> _RefusedError:
    """What is raised where the daemon could not do that, in its words."""
    usual = _OF_DOWNLOADS if what == "download" else _OF_THE_LOG
    advice = next((advice for known, advice in _ADVICE if known.search(problem)), usual)
    return _RefusedError(f"Ollama could not {what} {model!r}: {problem.rstrip('.')}", advice)


class _Body(httpx.AsyncByteStream):
    """What a request sends. httpx has an async generator for it, of which trio warns when the sending is cancelled."""

    def __init__(self, content: bytes) -> None:
        self._left = [content]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


def _json_object(text: str) -> dict[str, Any]:
    """The object that a text holds in JSON; an empty one where it holds something else."""
    try:
        found: object = json.loads(text)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _percent(event: Mapping[str, Any]) -> int | None:
    done, total = event.get("completed"), event.get("total")
    return 100 * done // total if isinstance(done, int) and isinstance(total, int) and total > 0 else None


def _full_name(model: str) -> str:
    """A model's name with its tag, as the daemon lists it."""
    return (model if ":" in model.rpartition("/")[2] else f"{model}:latest").lower()

"""What a failed request means: from what an SDK and the HTTP library under it raise, to ``ModelRequestError``.

The SDKs wrap most of what goes wrong, but not all: a connection that breaks in the middle of a stream, or an answer
that is not JSON, reaches the caller as an exception of the HTTP library or of `json`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Protocol, cast

import httpx
import httpx2

from ..._errors import ModelRequestError
from ..._spec import is_secret_name, mask_exception, masked

_HTTP_ERRORS = (httpx2.HTTPError, httpx2.StreamError, httpx.HTTPError, httpx.StreamError)
"""The SDKs stand on httpx2; OpenAI's also takes a client of httpx."""

_MOST = 500
"""How much of what a server says is repeated, in characters: some answer with a whole web page."""


class SDKClient(Protocol):
    """What the clients of the SDKs have in common."""

    @property
    def api_key(self) -> str | None: ...

    @property
    def base_url(self) -> Any: ...

    @property
    def default_headers(self) -> Mapping[str, Any]: ...

    def is_closed(self) -> bool: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class SDK:
    """What tells the SDKs apart.

    Args:
        key_variable: The environment variable with the API key.
        url_variable: The one with the address.
        url: The address where nobody says otherwise.
        error: The root of its exceptions.
        timeout_error: Raised when time is up.
        connection_error: Raised when the server cannot be reached.
        status_error: Raised when the server answers with an error.
    """

    key_variable: str
    url_variable: str
    url: str
    error: type[Exception]
    timeout_error: type[Exception]
    connection_error: type[Exception]
    status_error: type[Exception]


class Explaining:
    """What a failed request means to the user: a `ModelRequestError`; the caller's own mistakes pass.

    No secret is left in the message, nor in those of the exceptions that led to it.

    Args:
        sdk: The SDK that is asked.
        model: The model's name.
        client: The SDK's client.
    """

    __slots__ = ("_client", "_model", "_sdk")

    def __init__(self, sdk: SDK, model: str, client: SDKClient) -> None:
        self._sdk = sdk
        self._model = model
        self._client = client

    def __enter__(self) -> None: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc_value, Exception):
            self.explain(exc_value)

    def explain(self, exc: Exception) -> None:
        """Raise what an exception means; return where it is the caller's own mistake."""
        error = _explained(exc, self._sdk, self._model, self._client)
        if error is None:
            return
        secrets = _secrets(self._client)
        mask_exception(exc, secrets)  # a server may repeat the key that it refuses
        raise ModelRequestError(
            self._model,
            masked(error.problem, secrets),
            error.advice,
            status=error.status,
            retry_after=error.retry_after,
        ) from exc


def misunderstood(exc: Exception, model: str) -> ModelRequestError:
    """The answer came, but is not what the API describes."""
    return ModelRequestError(
        model,
        f"the answer is not what the API describes ({type(exc).__name__}: {exc})",
        "Try again; if it stays so, check that base_url= is the address of the right kind of API.",
    )


def _explained(exc: Exception, sdk: SDK, model: str, client: SDKClient) -> ModelRequestError | None:
    if client.is_closed() and isinstance(exc, (sdk.error, *_HTTP_ERRORS, RuntimeError)):
        return ModelRequestError(
            model,
            "its client is closed",
            "Its handle was torn down or its provider closed: keep both until the request is done, "
            "or call setup() again.",
        )
    if isinstance(exc, (json.JSONDecodeError, UnicodeDecodeError)):
        return misunderstood(exc, model)
    if isinstance(exc, sdk.status_error):
        return _refused(exc, sdk, model, client)
    if not isinstance(exc, (sdk.error, *_HTTP_ERRORS)):
        return None
    cause = exc.__cause__ if isinstance(exc, sdk.connection_error) and exc.__cause__ is not None else exc
    why = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
    if isinstance(exc, (sdk.timeout_error, httpx2.TimeoutException, httpx.TimeoutException)):
        return ModelRequestError(
            model,
            f"{client.base_url} did not answer in time ({why})",
            "Try again, lower max_concurrency=, or raise timeout=.",
        )
    if isinstance(cause, (httpx2.ConnectError, httpx.ConnectError)):
        return ModelRequestError(
            model,
            f"no connection to {client.base_url} ({why})",
            "Ensure the server is running and that base_url= is its address.",
        )
    if isinstance(exc, (sdk.connection_error, *_HTTP_ERRORS)):
        return ModelRequestError(
            model, f"the connection to {client.base_url} was lost ({why})", "Try again; what arrived is incomplete."
        )
    return ModelRequestError(model, f"the server reported an error ({_said(exc)})", "Try again.")


def _refused(exc: Exception, sdk: SDK, model: str, client: SDKClient) -> ModelRequestError:
    response = cast(Any, exc).response
    status: int = response.status_code
    retry_after = _retry_after(response.headers)
    said = f"{status}: {_said(exc)}"
    match status:
        case 401:
            problem = f"the API key was refused ({said})"
            advice = f"Check {sdk.key_variable} or api_key=, and that the key belongs to {client.base_url}."
        case 403:
            problem = f"the API key does not allow this ({said})"
            advice = "Check which models and regions the key is for."
        case 404:
            problem = f"{client.base_url} does not know the model or the address ({said})"
            advice = f"Check the spelling of '{model}', what the key has access to, and base_url=."
        case 429 if "insufficient_quota" in (getattr(exc, "code", None), getattr(exc, "type", None)):
            problem = f"the account has no quota left ({said})"
            advice = "Waiting does not help: check the plan and the billing of the account that the key belongs to."
        case 429:
            problem = f"the rate limit or the quota is used up ({said})"
            wait = "Wait" if retry_after is None else f"Wait {retry_after:g} s"
            advice = f"{wait} and try again, lower max_concurrency=, or raise max_retries=."
        case _ if status >= 500:
            problem = f"the server failed ({said})"
            advice = "Try again later, or raise max_retries=."
        case _ if status >= 400:
            problem = f"the server refused the request ({said})"
            advice = "Correct the prompt or the parameters."
        case _:  # the stream had begun well when the server reported this in it
            problem = f"the server broke the stream off ({_said(exc)})"
            advice = "Try again; what arrived is incomplete."
    return ModelRequestError(model, problem, advice, status=status, retry_after=retry_after)


def _said(exc: Exception) -> str:
    """What the server says, without the envelope it comes in."""
    body = getattr(exc, "body", None)
    for _ in range(2):
        if isinstance(body, Mapping):
            fields = cast("Mapping[str, object]", body)
            body = fields.get("message") or fields.get("error")
    said = body if isinstance(body, str) and body else str(exc)
    return said if len(said) <= _MOST else said[:_MOST] + "…"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait: a number of (milli)seconds, or a date."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return float(milliseconds) / 1000
        if (seconds := headers.get("retry-after")) is None:
            return None
        if seconds.replace(".", "", 1).isdigit():
            return float(seconds)
        return max(0.0, parsedate_to_datetime(seconds).timestamp() - time.time())
    except (ValueError, OverflowError, TypeError):
        return None


def _secrets(client: SDKClient) -> Collection[str]:
    """The key, and the values of headers that carry credentials, with and without the scheme in front."""
    values = [client.api_key or ""]
    values += [
        value
        for name, value in client.default_headers.items()
        if isinstance(value, str) and is_secret_name(name.replace("-", "_"))
    ]
    return {part for value in values for part in (value, value.rpartition(" ")[2]) if part}

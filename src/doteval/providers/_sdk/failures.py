"""What a failed request means: from what an SDK and the HTTP library under it raise, to ``ModelRequestError``.

The SDKs wrap most of what goes wrong, but not all: a connection that breaks in the middle of a stream, or an answer
that is not JSON, reaches the caller as an exception of the HTTP library or of `json`. And an answer that came with a
good status may be an error all the same, or a web page.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, cast

import httpx
import httpx2

from ..._errors import ModelRequestError
from ..._printed import in_a_line, printable
from ..._printed import shortened as cut
from ..._secrets import masked
from .._headers import unsendable
from .connecting import Failure, lost, refused_by_proxy, timed_out, unconnected
from .outcomes import ToldError
from .said import Said, said_in, shortened
from .scrubbing import scrub, secrets_of_request

_HTTP_ERRORS = (httpx2.HTTPError, httpx2.StreamError, httpx.HTTPError, httpx.StreamError)
"""The SDKs stand on httpx2; OpenAI's also takes a client of httpx."""

_WANTS_TLS = re.compile("HTTP request .*HTTPS (port|server)")
_MISSING = re.compile(
    r"(?P<ollama>^model ['\"].+['\"] not found)|model\b.{0,200}\b(?:not found|(?:does|do) not exist|not exist)",
    re.IGNORECASE | re.DOTALL,
)
"""A server says itself that it does not have the model, in the words of Ollama or others."""
_NOTHING = frozenset(
    {"404", "404: not found", "404: 404 page not found", "404: 404 not found", "405", "405: method not allowed"}
)
"""What frameworks say where they know no such path; of a model that they do not know, APIs say more."""
_HIDDEN = "***"
_MOST, _LONGEST_NAME = 4_000, 200
"""How much is told of a failure, and of what a server calls a request, in characters."""
NOT_READ = object()
"""Stands for an answer of which the SDK made nothing."""


class SDKClient(Protocol):
    """What the clients of the SDKs have in common."""

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
        credentials: What the clients of other clouds get their keys from, by the class.
    """

    key_variable: str
    url_variable: str
    url: str
    error: type[Exception]
    timeout_error: type[Exception]
    connection_error: type[Exception]
    status_error: type[Exception]
    credentials: Mapping[str, str]


@dataclass(frozen=True)
class _Meaning:
    """What is told of a failure."""

    problem: str
    advice: str
    status: int | None = None
    code: str | None = None
    retryable: bool = False
    retry_after: float | None = None


class Explaining:
    """What a failed request means to the user: a `ModelRequestError`; the caller's own mistakes pass.

    No secret is left in the error, nor in those that led to it.

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

    def failed(self, exc: Exception, response: Any) -> Exception | None:
        """What is wrong with a request for which the SDK has no answer: a `ModelRequestError`, or what cannot be sent.

        It is for the caller to raise, so that nothing that is looked at here is in a frame of the traceback.

        Args:
            exc: What the SDK raised.
            response: The HTTP response that it had by then, where it is known.

        Returns:
            What to raise from it; `None`: it passes, as it is the caller's mistake.
        """
        if isinstance(exc, UnicodeEncodeError) and exc.reason == "surrogates not allowed":
            return ValueError(
                f"what is sent to '{self._model}' has half a character in it, "
                f"{exc.object[exc.start : exc.end]!r}, which cannot be sent.\n"
                "A text has it that was cut in the middle of a character, or read with errors='surrogateescape': "
                "correct that, or send text.encode('utf-8', 'replace').decode()."
            )
        if isinstance(exc, UnicodeEncodeError) and exc.encoding == "ascii":
            exc.object, exc.args = _HIDDEN, ()
            return ValueError(
                f"a header of a request to '{self._model}' has a character that is not ASCII, which cannot be sent.\n"
                "Correct the headers of the http_client, or those that the environment has for the SDK."
            )
        meaning = self._meaning(exc, has_begun=response is not None)
        if meaning is not None:
            return self._error(exc, meaning, response)
        if isinstance(exc, ImportError):
            return None  # what the SDK needs for the streams of some clouds is not installed
        if response is not None or isinstance(exc, json.JSONDecodeError):
            return self._error(exc, self._unreadable(exc, NOT_READ), response)
        return None

    def unreadable(self, exc: Exception, answer: object, response: Any) -> ModelRequestError:
        """What is wrong with an answer, or with a stream, that could not be read; for the caller to raise.

        Args:
            exc: What reading it raised.
            answer: What the SDK made of it; a text where it is no JSON, `NOT_READ` where it failed.
            response: The HTTP response, where it is known.
        """
        meaning = self._meaning(exc, has_begun=True) or self._unreadable(exc, answer)
        return self._error(exc, meaning, response)

    def _error(self, exc: Exception, meaning: _Meaning, response: Any = None) -> ModelRequestError:
        response = getattr(exc, "response", None) if response is None else response
        secrets = secrets_of_request(self._client, _request_of(exc if response is None else response))
        error = ModelRequestError(
            self._model,
            printable(cut(masked(meaning.problem, secrets), _MOST)),
            meaning.advice,
            status=meaning.status,
            code=None if meaning.code is None else masked(meaning.code, secrets),
            retryable=meaning.retryable,
            retry_after=meaning.retry_after,
            request_id=in_a_line(cut(masked(request_id_of(response) or "", secrets), _LONGEST_NAME)) or None,
            retries=retries_of(exc if response is None else response),
        )
        scrub(exc, secrets)  # a server may repeat the key that it refuses
        exc.args = tuple(printable(each) if isinstance(each, str) else each for each in exc.args)
        return error

    def _meaning(self, exc: Exception, *, has_begun: bool) -> _Meaning | None:
        """What an exception of the SDK or of the libraries below means; `None` for any other."""
        sdk, client = self._sdk, self._client
        if client.is_closed() and isinstance(exc, (sdk.error, *_HTTP_ERRORS, RuntimeError)):
            return _Meaning(
                "its client is closed",
                "Its handle was torn down, its provider closed, or somebody has closed the client itself, which is the "
                "provider's: keep all of them until the request is done, or call setup() again.",
            )
        if isinstance(exc, sdk.status_error):
            return self._refused(exc)
        if not isinstance(exc, (sdk.error, *_HTTP_ERRORS)):
            return None
        cause = exc.__cause__ if isinstance(exc, sdk.connection_error) and exc.__cause__ is not None else exc
        why = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
        url = getattr(_request_of(exc), "url", None)
        if isinstance(cause, (httpx2.ConnectTimeout, httpx.ConnectTimeout)):
            return _unconnected(timed_out(client, url, why))
        if isinstance(exc, (sdk.timeout_error, httpx2.TimeoutException, httpx.TimeoutException)):
            advice = "Try again, lower max_concurrency=, or raise timeout=."
            return _Meaning(f"{client.base_url} did not answer in time ({why})", advice, retryable=True)
        if isinstance(cause, (httpx2.ConnectError, httpx.ConnectError)):
            return _unconnected(unconnected(cause, client, url))
        if isinstance(cause, (httpx2.ProxyError, httpx.ProxyError)):
            return _unconnected(refused_by_proxy(cause, client, url))
        if isinstance(cause, (httpx2.DecodingError, httpx.DecodingError, UnicodeDecodeError)):
            return _nonsense(why)
        if isinstance(cause, (httpx2.TooManyRedirects, httpx.TooManyRedirects)):
            advice = "Check that base_url= is the address of the API itself."
            return _Meaning(f"{client.base_url} only points elsewhere ({why})", advice)
        if isinstance(cause, (httpx2.LocalProtocolError, httpx.LocalProtocolError)) and "llegal header" in str(cause):
            names = [name for name, value in _request_of(exc).headers.items() if unsendable(value) is not None]
            return _Meaning(
                f"nothing was sent, as {' and '.join(map(repr, names)) or 'one of the headers'} can be in no request",
                "Correct the headers of the http_client, or those that the environment has for the SDK.",
            )
        if isinstance(exc, (sdk.connection_error, *_HTTP_ERRORS)):
            return _unconnected(lost(client, why, has_begun=has_begun))
        return self._told(_said(exc))

    def _refused(self, exc: Exception) -> _Meaning:
        response = cast(Any, exc).response
        status: int = response.status_code
        said, retry_after = _said(exc), _retry_after(response.headers)
        if status < 300:  # it had begun well when the server reported this in it
            return self._told(said, retry_after=retry_after)
        words = f"{status}: {said.words}" if said.words else str(status)
        url = self._client.base_url
        advice = self._advice(status, said, retry_after)
        match status:
            case _ if status < 400:
                problem = f"{url} points elsewhere ({words})"
                advice = "Check that base_url= is the address of the API itself."
            case 401:
                problem = f"the API key was refused ({words})"
            case _ if said.has_no_quota:
                problem = f"the account has no quota left ({words})"
            case 402:
                problem = f"the account has to pay first ({words})"
            case 403:
                problem = f"the API key does not allow this ({words})"
            case 404 | 405 if words.casefold() in _NOTHING or "json" not in response.headers.get("content-type", ""):
                place = str(response.url).partition("?")[0]
                problem = f"there is nothing at {place} ({words})"
                advice = f"Correct the path of base_url=: the SDK appends {place.removeprefix(str(url))!r} to it."
            case 404 if _MISSING.search(said.words) is not None:
                problem = f"{said.words.rstrip('.')} (404 at {url})"
            case 404:
                problem = f"{url} does not know the model or the address ({words})"
            case 429:
                problem = f"the rate limit or the quota is used up ({words})"
            case 400 if _WANTS_TLS.search(words):
                problem = f"{url} speaks TLS, not plain HTTP ({words})"
                advice = "Write https:// in base_url=."
            case _ if status >= 500:
                problem = f"the server failed ({words})"
            case _:
                problem = f"the server refused the request ({words})"
        return _Meaning(problem, advice, status, said.code, _may_pass(said, status, response.headers), retry_after)

    def _told(
        self, said: Said, problem: str = "the server reported an error", retry_after: float | None = None
    ) -> _Meaning:
        """An error in what had begun as a good answer: it means what it means with the status that goes with it."""
        status = said.status
        words = f"{problem} ({said.words})" if said.words else problem
        advice = self._advice(status, said, retry_after)
        return _Meaning(words, advice, status, said.code, said.may_pass(status), retry_after)

    def _advice(self, status: int | None, said: Said, retry_after: float | None) -> str:
        """What to do, by the status that an error has, or that its name stands for."""
        match status:
            case 401:
                return f"Check {self._key()}, and that it belongs to {self._client.base_url}."
            case _ if said.has_no_quota:
                return "Waiting does not help: check the plan and the billing of the account that the key belongs to."
            case 402:
                return "Waiting does not help: check the billing of the account that the key belongs to."
            case 403:
                return "Check which models and regions the key is for."
            case 404 if (missing := _MISSING.search(said.words)) is not None and missing["ollama"]:
                return f"Run 'ollama pull {self._model}' where the daemon is, or check the spelling."
            case 404 if self._model.startswith(prefix := f"{self._sdk.key_variable.partition('_')[0].lower()}:"):
                return (
                    f"'{prefix}' says which provider is meant, to model_client and the like; this is that provider, "
                    f"which is asked for '{self._model.removeprefix(prefix)}'."
                )
            case 404:
                return f"Check the spelling of '{self._model}', what the key has access to, and base_url=."
            case 429:
                wait = "Wait" if retry_after is None else f"Wait {retry_after:g} s"
                return f"{wait} and try again, lower max_concurrency=, or raise max_retries=."
            case int() if status >= 500:
                return "Try again later, or raise max_retries=."
            case _:
                return "Try again." if said.may_pass(status) else "Correct the prompt or the parameters."

    def _unreadable(self, exc: Exception, answer: object) -> _Meaning:
        if isinstance(exc, ToldError):
            return self._told(said_in(exc.body), exc.problem)
        if isinstance(exc, json.JSONDecodeError):  # it breaks off, or is a web page
            return _nonsense(f"{type(exc).__name__}: {exc}: {shortened(exc.doc)}" if exc.doc.strip() else "it is empty")
        if answer is NOT_READ:
            return _nonsense(f"{type(exc).__name__}: {exc}")
        fields = _fields(answer)
        said = said_in(fields)
        if said.words and not isinstance(fields, str):
            return self._told(said)
        return replace(_nonsense(f"no reply is in it: {shortened(str(fields)) or 'it is empty'}"), retryable=False)

    def _key(self) -> str:
        """Where the key comes from that was refused."""
        known = self._sdk.credentials.get(type(self._client).__name__)
        return known or f"{self._sdk.key_variable} or api_key="


def _unconnected(failure: Failure) -> _Meaning:
    return _Meaning(failure.problem, failure.advice, retryable=failure.retryable)


def _nonsense(why: str) -> _Meaning:
    return _Meaning(
        f"the answer is not what the API describes ({why})",
        "Try again; if it stays so, check that base_url= is the address of the right kind of API.",
        retryable=True,
    )


def _said(exc: Exception) -> Said:
    said = said_in(getattr(exc, "body", None))
    named = (getattr(exc, name, None) for name in ("code", "type"))
    names = said.names or tuple(in_a_line(cut(str(name), _LONGEST_NAME)) for name in named if name)
    return Said(said.words or shortened(str(exc)), names)


def _fields(answer: Any) -> Any:
    """An answer as Python has its JSON, or the text that it is."""
    if isinstance(answer, str):
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            return answer
    dump = None if isinstance(answer, Mapping) else getattr(cast("object", answer), "model_dump", None)
    return cast("object", answer) if dump is None else dump(warnings=False, exclude_unset=True)


def _may_pass(said: Said, status: int, headers: Mapping[str, str]) -> bool:
    told = headers.get("x-should-retry")
    return told == "true" if told in ("true", "false") else said.may_pass(status)


def request_id_of(response: Any) -> str | None:
    """What a server calls the request, for its support."""
    headers: Mapping[str, str] = {} if response is None else response.headers
    return headers.get("x-request-id") or headers.get("request-id")


def _request_of(holder: object) -> Any:
    """The request that an exception or a response belongs to, where it is known."""
    try:
        return cast(Any, holder).request
    except (AttributeError, RuntimeError):  # RuntimeError: httpx has none to show
        return None


def retries_of(holder: object) -> int:
    """How often the SDK sent the request again that an exception or a response belongs to; it says so to the server."""
    request = _request_of(holder)
    count = "0" if request is None else request.headers.get("x-stainless-retry-count", "0")
    return int(count) if count.isdecimal() else 0


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait: a number of (milli)seconds, or a date."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            seconds = float(milliseconds) / 1000
        elif (told := headers.get("retry-after")) is None:
            return None
        elif told.replace(".", "", 1).isdigit():
            seconds = float(told)
        else:
            seconds = parsedate_to_datetime(told).timestamp() - time.time()
    except (ValueError, OverflowError, TypeError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None

"""Why there is no connection, and what to do about that: nobody listens, no such host, a certificate, a proxy."""

from __future__ import annotations

import errno
import os
import ssl
from dataclasses import dataclass
from socket import gaierror
from typing import Any

from ..._explained import causes_of
from .._environment import CERTIFICATES, PROXIES
from .http_clients import http_client_of, proxy_of

_EXPIRED = frozenset({9, 10})
_OF_ANOTHER_HOST = frozenset({62, 64})
"""OpenSSL's codes for why a certificate is not trusted; the others are about who has signed it."""
_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EACCES})
_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
)
_BROKEN_OFF = frozenset({"BrokenResourceError", "EndOfStream"})


@dataclass(frozen=True)
class Failure:
    """What is told of it.

    Args:
        problem: What is wrong, as half a sentence.
        advice: What to do.
        retryable: Whether the same request may succeed later.
    """

    problem: str
    advice: str
    retryable: bool = True


def unconnected(exc: BaseException, client: Any, url: Any) -> Failure:
    """Why no connection came about.

    Args:
        exc: What the HTTP library raised.
        client: The SDK's client.
        url: Where the request went; `None` where that is not known.
    """
    why = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    proxy = None if url is None else proxy_of(http_client_of(client), url)
    place, who = _place_of(url), "server"
    problem, advice = f"no connection to {client.base_url}: ", "orrect host and port in base_url="
    if proxy is not None:
        who, place, setting = "proxy", proxy.rpartition("/")[2], _setting_of(proxy)
        problem += f"its proxy {proxy}, of {setting}, is not reached: "
        advice = f"orrect or unset {setting}, or put the host of base_url= into NO_PROXY"
    for link in causes_of(exc):
        match link:
            case ssl.SSLCertVerificationError():
                return _untrusted(link, _place_of(url))
            case ssl.SSLError():
                return _no_tls(link, client.base_url)
            case gaierror():
                host = place.rpartition(":")[0] or place
                return Failure(
                    f"{problem}no address of '{host}' is found ({link})", f"C{advice}, or see to the network."
                )
            case ConnectionRefusedError():
                return Failure(f"{problem}nobody listens at {place}", f"Start the {who}, or c{advice}.")
            case OSError(errno=number) if number in _NO_WAY:
                return Failure(f"{problem}there is no way to {place} ({link})", f"See to the network, or c{advice}.")
            case _:
                pass
    if proxy is None and str(client.base_url).startswith("https:") and any(map(_breaks_off, causes_of(exc))):
        return Failure(
            f"{problem}{place} ends it as soon as it is to be TLS ({why})",
            "Write http:// in base_url= if it speaks no TLS; else see whether the server still runs.",
        )
    return Failure(f"{problem}{place} is not reached ({why})", f"Ensure the {who} is running, or c{advice}.")


def timed_out(client: Any, url: Any, why: str) -> Failure:
    """What there is to say where no connection came about in time.

    Args:
        client: The SDK's client.
        url: Where the request went.
        why: What the HTTP library says.
    """
    proxy = None if url is None else proxy_of(http_client_of(client), url)
    through = "" if proxy is None else f" through the proxy {proxy}, which {_setting_of(proxy)} names"
    is_plain = str(client.base_url).startswith("http://")
    scheme = "" if is_plain else ", whether it has to be http://"
    advice = f"Check host and port in base_url={scheme}, and whether a firewall is between; else raise timeout=."
    return Failure(f"no connection to {client.base_url}{through} came about in time ({why})", advice)


def refused_by_proxy(exc: BaseException, client: Any, url: Any) -> Failure:
    """What a proxy means that does not do its duty.

    Args:
        exc: What the HTTP library raised.
        client: The SDK's client.
        url: Where the request went.
    """
    proxy = None if url is None else proxy_of(http_client_of(client), url)
    setting = "proxy=" if proxy is None else _setting_of(proxy)
    name = "the proxy" if proxy is None else f"the proxy {proxy}"
    return Failure(
        f"{name} does not connect to {client.base_url} ({exc})",
        f"Correct {setting}, with the name and password that it wants, or put the host of base_url= into NO_PROXY.",
        retryable=False,
    )


def lost(client: Any, why: str, *, has_begun: bool) -> Failure:
    """What a connection means that broke off.

    Args:
        client: The SDK's client.
        why: What the HTTP library says.
        has_begun: Whether an answer had begun.
    """
    problem = f"the connection to {client.base_url} was lost ({why})"
    if has_begun:
        return Failure(problem, "Try again; what arrived is incomplete.")
    if "illegal status line" in why and "b'HTTP/" not in why:
        speaks_tls = r"\x15\x03" in why
        advice = "Write https:// in base_url=." if speaks_tls else "Correct host and port in base_url=."
        kind = "TLS, not plain HTTP" if speaks_tls else "no HTTP"
        return Failure(f"{client.base_url} speaks {kind} ({why})", advice, retryable=False)
    is_plain = str(client.base_url).startswith("http://")
    more = "; if it is lost each time, write https:// in base_url=" if is_plain else ""
    return Failure(problem, f"Try again, and see whether the server still runs{more}.")


def _place_of(url: Any) -> str:
    """Host and port."""
    if url is None:
        return "the address"
    port = url.port or (443 if url.scheme == "https" else 80)
    return f"[{url.host}]:{port}" if ":" in url.host else f"{url.host}:{port}"


def _untrusted(exc: ssl.SSLCertVerificationError, place: str) -> Failure:
    code, why = getattr(exc, "verify_code", None), getattr(exc, "verify_message", None) or str(exc)
    problem = f"the certificate of {place} is not trusted ({why})"
    given = next((name for name in CERTIFICATES if name in os.environ), None)
    if code in _EXPIRED:
        advice = "Have it renewed, or set the clock of this machine."
    elif code in _OF_ANOTHER_HOST:
        advice = "Write the host in base_url= as it stands in the certificate."
    elif given is not None:
        advice = f"Put the certificate of the CA that has signed it into what {given} names, {os.environ[given]!r}."
    else:
        advice = "Let SSL_CERT_FILE name a file with the certificate of the CA that has signed it."
    return Failure(problem, advice, retryable=False)


def _no_tls(exc: ssl.SSLError, base_url: Any) -> Failure:
    why = f"{type(exc).__name__}: {exc}"
    if any(word in why for word in _NOT_TLS):
        return Failure(
            f"{base_url} speaks no TLS ({why})", "Write http:// in base_url=, or another port.", retryable=False
        )
    return Failure(
        f"{base_url} and this machine agree on no TLS ({why})",
        "Check host and port in base_url=, and which versions of TLS the server speaks.",
        retryable=isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError)),  # it may only be restarting
    )


def _breaks_off(exc: BaseException) -> bool:
    """Whether the other side has ended the connection, as each of the loops tells it."""
    return isinstance(exc, ConnectionError) or type(exc).__name__ in _BROKEN_OFF


def _setting_of(proxy: str) -> str:
    """Where a proxy comes from."""
    place = proxy.rpartition("/")[2]
    host = place.rpartition(":")[0] or place
    variables = sorted(name for name, value in os.environ.items() if name.lower() in PROXIES and host in value)
    return variables[0] if variables else "proxy= or mounts= of the http_client"

"""What an exception says to somebody who only wanted a model: why it failed, and what to do about that."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ._chains import is_group, leaves_of, members_of, walk
from ._errors import DotevalError
from ._printed import printable, shortened, text_of

_MOST, _MOST_MEMBERS = 10_000, 20
"""How much of an exception is told, in characters, and how many of those of a group."""
_SERVICE = "Ensure the service is running and accessible."
_OPEN = "The provider's open() raised it: look at the traceback of the cause."
_ADVICE: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((FileNotFoundError, NotADirectoryError, IsADirectoryError), "Correct the path, or put there what belongs there."),
    ((PermissionError,), "Give this user the right to use it."),
    ((ModuleNotFoundError,), "Install the package that has this module."),
    ((ImportError,), "Install what it says is missing, or another version of it."),
    ((OSError, TimeoutError, EOFError), _SERVICE),
    ((TypeError, ValueError, AttributeError), "Correct the spec, its configuration, or the provider's open()."),
)
_BY_CAUSE = {
    "SSLCertVerificationError": "Check the host and its certificate; SSL_CERT_FILE names a file with those of CAs.",
    "SSLError": "Check whether the service speaks TLS at this address.",
    "gaierror": "Correct the name of the host, or see to the network.",
    "ConnectionRefusedError": _SERVICE,
}
"""What to do where there is no connection, by what is below, in whichever words of whichever library."""
_OF_NETWORKS = ("Connect", "Timeout", "Network", "Unavailable")
_OF_ADDRESSES = ("InvalidURL", "UnsupportedProtocol")
"""What is in the names of exceptions that clients raise where nobody answers, or nobody can: of whichever library."""


def reason_of(error: BaseException) -> str:
    """An exception in a line or two; of a group, its members; of one of ours, what it says besides its advice.

    Of one that says more than people read, the beginning, and nothing that a terminal would obey.
    """
    if is_group(error):
        return shortened("; ".join(map(reason_of, islice(leaves_of(error), _MOST_MEMBERS))), _MOST)
    if isinstance(error, DotevalError):
        return _parts(error)[0] or type(error).__name__
    text = shortened(printable(text_of(error)[: _MOST + 1]), _MOST)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def advice_for(error: BaseException) -> str:
    """What to do about it: of one of ours its own advice, else what is usual for its kind."""
    if is_group(error):
        return next(map(advice_for, leaves_of(error)), _OPEN)
    if isinstance(error, DotevalError):
        return _parts(error)[1] or _OPEN
    for cause in causes_of(error):
        names = {kind.__name__ for kind in type(cause).__mro__}
        if (advice := next((advice for name, advice in _BY_CAUSE.items() if name in names), None)) is not None:
            return advice
    kinds = " ".join(kind.__name__ for kind in type(error).__mro__)
    if any(word in kinds for word in _OF_ADDRESSES):
        return "Correct the address, such as base_url=: it begins with http:// or https://."
    if any(word in kinds for word in _OF_NETWORKS):
        return _SERVICE
    return next((advice for kinds, advice in _ADVICE if isinstance(error, kinds)), _OPEN)


def causes_of(exc: BaseException) -> Iterator[BaseException]:
    """An exception, and what has caused it; not what the caller had in hand, which is the context of what is below."""
    return walk(exc, _caused_by)


def _caused_by(link: BaseException) -> tuple[BaseException | None, ...]:
    is_http = type(link).__module__.startswith("http")  # these libraries hide what was the cause
    return (*members_of(link), link.__context__ if link.__cause__ is None and is_http else link.__cause__)


def _parts(error: DotevalError) -> tuple[str, str]:
    """What one of our own says, and its advice, which is what comes last."""
    text = text_of(error)
    advice = getattr(error, "advice", None)
    if not isinstance(advice, str) or not text.endswith(advice):
        advice = text.rpartition("\n")[2] if "\n" in text else ""
    reason = text.removesuffix(advice).rstrip()
    return reason if "\n" in reason else reason.removesuffix("."), advice

"""What HTTP clients take from the environment: proxies and certificates. Where that is of no use, no client is made."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

from .._chains import all_behind
from .._errors import ModelSetupError

PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextmanager
def named_where_unusable(resource_id: str) -> Generator[None]:
    """Around what makes an HTTP client: the variable to blame is named.

    Args:
        resource_id: What the client is for.

    Raises:
        ModelSetupError: A variable is of no use.
    """
    try:
        yield
    except Exception as exc:
        if (found := _unusable(exc)) is not None:
            raise ModelSetupError(resource_id, *found) from exc
        raise


def _unusable(exc: Exception) -> tuple[str, str] | None:
    """Why no HTTP client can be made with what the environment has, and what to do; `None`: it is something else."""
    if isinstance(exc, OSError):  # also an error of `ssl`
        for name in CERTIFICATES:
            if (path := os.environ.get(name)) is not None:
                found = "is of no use" if Path(path).exists() else "does not exist"
                return f"{path!r}, which {name} names, {found} ({exc})", f"Correct {name}, or unset it."
        return None
    for name, address in sorted(os.environ.items()):
        if name.lower() in PROXIES and not _may_be_a_proxy(address):
            if "@" in address:  # what is wrong may be the password
                for link in all_behind(exc):
                    link.args = ("***",)
            return (
                f"{name} is not the address of a proxy ({type(exc).__name__}: {exc})",
                f"Correct {name}, or unset it.",
            )
    return None


def _may_be_a_proxy(address: str) -> bool:
    try:
        httpx.Proxy(address if "://" in address else f"http://{address}")
    except (ValueError, httpx.InvalidURL):
        return not address  # one that is empty is none
    return True

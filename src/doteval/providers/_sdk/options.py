"""What the providers behind an SDK take, declared once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, TypedDict, cast

from ..._keywords import Keyword, as_number, at_least, mapping_or_none
from ..._pool_options import PoolOptions


def _retries(value: object) -> None:
    if value != math.inf:  # which the SDKs take for "without end"
        at_least(0, "for what the SDK thinks right")(value)


class ModelOptions(TypedDict, total=False):
    """What every model behind an SDK is given."""

    max_retries: Annotated[
        int | None,
        Keyword(
            "How often the SDK tries again. `None`: what the SDK thinks right.",
            check=_retries,
            operational=True,
        ),
    ]
    max_concurrency: Annotated[
        int | None,
        Keyword(
            "How many requests one model takes at once. `None`: no limit.",
            check=at_least(1, "for no limit"),
            operational=True,
        ),
    ]
    params: Annotated[
        Mapping[str, Any] | None,
        Keyword(
            'What every request is sent with where it does not say otherwise, such as ``{"temperature": 0}``.',
            check=mapping_or_none,
        ),
    ]


TIMEOUT = (
    "How long the server may be silent, in seconds: while it is connected to, before its answer begins, and between "
    "two pieces of it; each retry has as long again. It is no limit for a whole request, which ``anyio.fail_after`` is."
)


_SDKS = ("anthropic", "openai")


def timeout(value: object) -> None:
    """Seconds; what the SDKs have for several of them is theirs to check."""
    if value is None or hasattr(value, "connect") or type(value).__module__ in _SDKS:
        return
    several = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
    if not several or not all(each is None or as_number(each) > 0 for each in several):
        raise ValueError("must be more than 0 seconds")


class ClientOptions(PoolOptions, total=False):
    """What every provider of an SDK takes, whatever the type of its HTTP client."""

    api_key: Annotated[str | None, Keyword("The server's key; `None`: it needs none.", operational=True)]
    key_variable: Annotated[
        str | None,
        Keyword(
            "The environment variable with the key, where none is given, read at the time of `setup`; not for `setup`. "
            "`None`: the SDK's own, and for a compatible server none.",
            operational=True,
        ),
    ]
    default_headers: Annotated[Mapping[str, str] | None, Keyword("Headers of every request.")]
    max_concurrency_per_key: Annotated[
        int | None,
        Keyword(
            "How many requests all models with the same API key and address take at once, together, as the limits of "
            "an account are counted; besides ``max_concurrency``, and not for `setup`. `None`: no limit.",
            check=at_least(1, "for no limit"),
            operational=True,
        ),
    ]
    warm_connections: Annotated[
        int,
        Keyword(
            "How many connections a client opens in the background as soon as the first model that uses it is leased, "
            "so that the first requests need not wait for them; not for `setup`.",
            0,
            at_least(0),
            operational=True,
        ),
    ]

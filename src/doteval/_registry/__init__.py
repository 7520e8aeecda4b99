"""Which providers there are: entry points, and ``ModelProviders``, which enters them on demand and routes to them.

Distributions register providers in the entry-point group ``doteval.model_providers``. Nothing of theirs is imported
before it is asked for, so a provider nobody uses costs nothing, and a broken one hurts nobody but whoever asks for it.
Nor is the rest of doteval imported by whoever only wants to know the names, as pytest does at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .providers import ModelProviders

__all__ = ["ModelProviders"]


def __getattr__(name: str) -> object:
    if name == "ModelProviders":
        from .providers import ModelProviders  # noqa: PLC0415

        return ModelProviders
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

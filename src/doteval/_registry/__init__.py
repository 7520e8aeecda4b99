"""Which providers there are: entry points, and ``ModelProviders``, which enters them on demand and routes to them.

Distributions register providers in the entry-point group ``doteval.model_providers``. Nothing of theirs is imported
before it is asked for, so a provider nobody uses costs nothing, and a broken one hurts nobody but whoever asks for it.
"""

from __future__ import annotations

from ._providers import ModelProviders
from ._registration import GROUP, Registration, registrations

__all__ = ["GROUP", "ModelProviders", "Registration", "registrations"]

"""Which provider a spec belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from .._errors import ProviderLoadError, UnknownModelError
from .._spec import ModelSpec
from .registration import described
from .source import Source


def route(spec: str, sources: Mapping[str, Source]) -> tuple[str, str]:
    """The name of the provider that `spec` belongs to, and what to ask of that one.

    A name before the first colon decides, and nothing is imported. Otherwise every provider is asked for its patterns,
    as only then it is known that no other claims the spec. One that is broken claims nothing, and stands in the error
    where nobody else does.

    Raises:
        SpecError: `spec` cannot name a model.
        UnknownModelError: No provider claims it, or several do.
    """
    parsed = ModelSpec.parse(spec, sources)
    if parsed.provider is not None:
        return parsed.provider, parsed.model
    claims: list[str] = []
    broken: dict[str, Exception] = {}
    for name, source in sources.items():
        try:
            patterns = source.patterns()
        except Exception as exc:
            broken[name] = exc
        else:
            if any(fnmatchcase(spec, pattern) for pattern in patterns):
                claims.append(name)
    if len(claims) == 1:
        return claims[0], spec
    if claims:
        raise UnknownModelError(spec, "several providers claim it", claims)
    if len(sources) == 1:
        return next(iter(sources)), spec
    if not broken:
        raise UnknownModelError(spec, "no provider claims it", list(sources))
    reasons = "; ".join(f"{name!r} could not be asked: {_in_short(exc)}" for name, exc in broken.items())
    cause = ExceptionGroup("providers that could not be asked", list(broken.values()))
    raise UnknownModelError(spec, f"no provider claims it ({reasons})", list(sources)) from cause


def _in_short(error: Exception) -> str:
    return f"{error.problem}. {error.advice}" if isinstance(error, ProviderLoadError) else described(error)

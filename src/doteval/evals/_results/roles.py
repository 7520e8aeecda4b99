"""``Roles``: in which role a model was asked, which is the argument of the evaluation that it came in."""

from __future__ import annotations

from collections.abc import Iterable

from ... import ModelRequest
from .plain import text_of


class Roles:
    """The roles of models: of each by what it is, or by its name where a request does not say who makes it.

    Args:
        found: Roles, each with a model and its name.
    """

    def __init__(self, found: Iterable[tuple[str, object, str]] = ()) -> None:
        self._models: dict[int, object] = {}
        """They are kept, as nothing else may get their numbers."""
        self._by_model: dict[int, set[str]] = {}
        self._by_name: dict[str, set[str]] = {}
        for role, model, name in found:
            self._models[id(model)] = model
            self._by_model.setdefault(id(model), set()).add(role)
            self._by_name.setdefault(name, set()).add(role)

    def of(self, request: ModelRequest) -> str | None:
        """The role of the model that a request was made to; `None` where it has none, or several."""
        roles = None if request.source is None else self._by_model.get(id(request.source))
        if roles is None:
            roles = self._by_name.get(text_of(request.model), set())
        return next(iter(roles)) if len(roles) == 1 else None

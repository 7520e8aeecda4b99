"""The code of a provider's author, as far as the pool calls it without waiting: whatever it raises, the books go on."""

from __future__ import annotations

from collections.abc import Callable
from logging import ERROR, WARNING
from typing import Any, TypeVar, cast

from .._chains import is_group, leaves_of
from .containment import ends_the_program
from .records import Entry, Want
from .reporter import log_raised

AnswerT = TypeVar("AnswerT")


class Hooks:
    """Calls them, and logs what they raise, unless it is an interrupt or an exit.

    Args:
        provider: The provider's name, for messages.
        explain: Says why an opening failed, in words that hold no secret.
        idle: Gets the model when its last lease has ended.
        is_broken: Tells at a glance whether a model is of no use any more; `None` where nobody can.
        breaks: Tells whether an exception of a user shows the same.
    """

    def __init__(
        self,
        provider: str,
        *,
        explain: Callable[[Want, BaseException], str],
        idle: Callable[[Any], object],
        is_broken: Callable[[Any], bool] | None,
        breaks: Callable[[Exception], bool],
    ) -> None:
        self._provider = provider
        self._explain = explain
        self._idle = idle
        self._is_broken = is_broken
        self._breaks = breaks

    def explain(self, want: Want, error: BaseException) -> str:
        """Why something failed; only of which kind it is, where the author's own words cannot be had."""
        return self._answer(
            lambda: self._explain(want, error), type(error).__name__, f"what '{want.label}' failed with"
        )

    def idle(self, entry: Entry) -> None:
        """The entry's last lease has ended."""
        self._answer(lambda: self._idle(entry.resource.model), None, f"idle() of '{entry.want.label}'")

    def is_broken(self, entry: Entry) -> bool:
        """Whether the entry's model is of no use any more, as one that cannot even be asked."""
        is_broken = self._is_broken
        assert is_broken is not None
        return self._answer(lambda: bool(is_broken(entry.resource.model)), True, f"is_broken() of '{entry.want.label}'")

    def breaks(self, error: Exception) -> bool:
        """Whether the exception shows that the resource is of no use any more."""
        if is_group(error):  # the block held a task group, or several handles
            return any(self.breaks(cast(Exception, leaf)) for leaf in leaves_of(error))
        return self._answer(lambda: bool(self._breaks(error)), False, "breaks()")

    def _answer(self, hook: Callable[[], AnswerT], otherwise: AnswerT, name: str) -> AnswerT:
        try:
            return hook()
        except BaseException as exc:
            if ends_the_program(exc):
                raise
            log_raised(ERROR, exc, "%s: %s raised", self._provider, name)
            return otherwise

    def check_raised(self, entry: Entry, error: BaseException) -> None:
        """Log what `healthy` has raised, which may be all that its author wants it to do where a model is ill."""
        log_raised(WARNING, error, "%s: healthy() of '%s' raised", self._provider, entry.want.label)

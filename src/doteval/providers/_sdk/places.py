"""``Places``: those for the requests at once of a model, or of a key; who would wait for ever for one is told instead.

A task certainly would where all places belong to open streams whose tasks wait for one of them themselves, as nobody
but its task leaves a stream. What is left in another task, or waits for a child task that asks, is not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from types import TracebackType

from anyio import CapacityLimiter, current_time

from ..._caller import who_is_here
from ..._errors import ModelRequestError
from ..._model_request import waited_for_place


class Places:
    """Places for requests, which wait in order of arrival.

    Args:
        limiter: Limits them.
    """

    def __init__(self, limiter: CapacityLimiter) -> None:
        self.limiter = limiter
        self._taken: Counter[Hashable] = Counter()
        """How many places each task has, or thread that it does something for."""
        self._waiting: set[Hashable] = set()
        """The tasks that wait for one."""

    async def take(self, borrower: object, task: Hashable, model: str) -> None:
        """Wait for one.

        Args:
            borrower: Who gets it: not the task, which may have several requests open.
            task: The task, or the thread that it does something for.
            model: The model's name, for a message.

        Raises:
            ModelRequestError: The task would wait for ever.
        """
        are_taken = self._taken and self._taken.total() >= self.limiter.total_tokens
        if are_taken and self._taken.keys() <= self._waiting | {task}:
            count = self._taken.total()
            raise ModelRequestError(
                model,
                f"the request would wait for ever: {'the only place' if count == 1 else f'all {count} places'} for "
                "requests at once belong to open streams whose tasks wait for another one",
                "Leave a stream before you ask again, or raise max_concurrency= or max_concurrency_per_key=.",
            )
        self._waiting.add(task)
        began = current_time() if self.limiter.available_tokens <= 0 else None
        try:
            await self.limiter.acquire_on_behalf_of(borrower)
        finally:
            self._waiting.discard(task)
            if began is not None:
                waited_for_place(current_time() - began)
        self._taken[task] += 1

    def give_back(self, borrower: object, task: Hashable) -> None:
        """Another one may have it."""
        self._taken[task] -= 1
        if not self._taken[task]:
            del self._taken[task]
        self.limiter.release_on_behalf_of(borrower)


class Held:
    """One of each of some places, for as long as a request is under way.

    Args:
        places: Of which.
        model: The model's name, for a message.
    """

    __slots__ = ("_model", "_places", "_task")

    def __init__(self, places: Sequence[Places], model: str) -> None:
        self._places = places
        self._model = model

    async def __aenter__(self) -> None:
        self._task = who_is_here()
        taken: list[Places] = []
        try:
            for each in self._places:
                await each.take(self, self._task, self._model)
                taken.append(each)
        except BaseException:
            self._give_back(taken)
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._give_back(self._places)

    def _give_back(self, places: Sequence[Places]) -> None:
        for each in reversed(places):
            each.give_back(self, self._task)

"""``Alarm``: looks at the books whenever something may be due, and sleeps in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from anyio import CancelScope, Event


class Alarm:
    """What is to be done at certain times.

    Args:
        look: Does what is due, and returns when to look again, or `None` where nothing is to come.
        may_come_sooner: Whether `poke` can mean that there is something to do before that time.
    """

    def __init__(self, look: Callable[[], float | None], *, may_come_sooner: bool) -> None:
        self._look = look
        self._may_come_sooner = may_come_sooner
        self._poked = Event()
        self._is_poked = False  # asked sooner than the event
        self._scope = CancelScope(shield=True)

    def poke(self) -> None:
        """There is something new, which may have a time."""
        if not self._is_poked:
            self._poked.set()
            self._is_poked = True

    def stop(self) -> None:
        """Never look again."""
        self._scope.cancel()

    async def run(self) -> None:
        """The task."""
        with self._scope:
            while True:
                if self._may_come_sooner:
                    self._listen()
                deadline = self._look()
                if deadline is None:
                    self._listen()
                    await self._poked.wait()
                else:
                    with CancelScope(deadline=deadline):
                        await (self._poked if self._may_come_sooner else Event()).wait()

    def _listen(self) -> None:
        self._poked = Event()
        self._is_poked = False


class Alarms(NamedTuple):
    """Those of one pool: when to close what is idle, retire what is old, ask for health, and tell of leaks."""

    expiry: Alarm
    ageing: Alarm
    examining: Alarm
    leaking: Alarm

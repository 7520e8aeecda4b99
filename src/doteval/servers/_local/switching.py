"""Puts servers to sleep and wakes them up: the supervisor says who may, and is told how it went.

It is done in a task of the event loop's, over a connection of its own. So whoever needs a slot may be cancelled
meanwhile, and does not wait in here; where the event loop ends, or this process, the supervisor ends the server.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

from anyio import Event, fail_after, get_cancelled_exc_class, move_on_after

from ..._loop import HomeLoop
from ..._pool.containment import ends_the_program
from ..._printed import text_of
from ..._secrets import masked
from .._description.readiness import ReadinessView
from .._description.sleeping import Sleep, sleep_told
from .._supervisor.messages import Ask, Message
from .connection import Connection, SupervisorGoneError

logger = logging.getLogger("doteval.servers")

ANSWER_SECONDS = 2.0
"""How long a supervisor may take to answer."""
_LONGEST_PROBLEM = 500

KNOWN: dict[str, Sleep] = {}
"""How the servers that were used in this process are put to sleep and woken up, by their ids."""


async def put_to_sleep(connection: socket.socket, how: Sleep, reason: str) -> Message:
    """Ask a server to make way; where it may sleep, that begins.

    Args:
        connection: A connected socket.
        how: How it is put to sleep.
        reason: Why, as half a sentence.

    Returns:
        The supervisor's answer; empty where there was none.
    """
    return await _begin(connection, "sleep", how, Ask.end(reason, drain=True, sleep=True))


async def wake_up(connection: socket.socket, how: Sleep | None) -> Message:
    """Where a server sleeps and its slots are free, begin to wake it up.

    Args:
        connection: A connected socket.
        how: How it is woken up; `None`: as the supervisor says.

    Returns:
        The supervisor's answer; empty where there was none.
    """
    return await _begin(connection, "wake", how, Ask.wake())


async def _begin(connection: socket.socket, action: str, how: Sleep | None, request: Message) -> Message:
    switch = _Switch(Connection(connection), action, how)
    HomeLoop("doteval").spawn(partial(switch.run, request), f"doteval {action} of a server")
    await switch.answered.wait()
    return switch.answer


class _Switch:
    """One server that falls asleep or wakes up, if it may.

    Args:
        nurse: A connection to its supervisor.
        action: ``"sleep"`` or ``"wake"``.
        how: How it is done; `None`: as the supervisor says.
    """

    def __init__(self, nurse: Connection, action: str, how: Sleep | None) -> None:
        self._nurse = nurse
        self._action = action
        self._how = how
        self.answered = Event()
        self.answer: Message = {}
        """What the supervisor says; empty where there was no answer."""

    async def run(self, request: Message) -> None:
        """Ask, do it, and tell the supervisor; nothing is raised but what ends the program."""
        try:
            with suppress(SupervisorGoneError), move_on_after(ANSWER_SECONDS):
                self.answer = await self._nurse.ask_alone(request)
            self.answered.set()
            if self.answer.get("granted"):
                self._nurse.send(Ask.switched(await self._problem(self.answer["server"])))
        finally:
            self.answered.set()
            self._nurse.close()

    async def _problem(self, said: Message) -> str:
        """What went wrong; empty where nothing did."""
        how = self._how or sleep_told(said["sleep"])
        view = ReadinessView(said["port"], Path(said["log"]), said["api_key"], said["pid"])
        try:
            if how is None:
                return "only the program that started it knows how"
            with fail_after(how.timeout):
                await (how.sleep(view) if self._action == "sleep" else how.wake(view))
        except BaseException as exc:
            if isinstance(exc, get_cancelled_exc_class()) or ends_the_program(exc):
                raise
            problem = masked(f"{type(exc).__name__}: {text_of(exc)}", {said["api_key"] or ""} - {""})
            problem = " ".join(problem.split())[:_LONGEST_PROBLEM]
            done, instead = ("put to sleep", "stopped") if self._action == "sleep" else ("woken up", "started again")
            logger.warning("%s could not be %s, and is %s: %s", said["id"], done, instead, problem)
            return problem
        return ""

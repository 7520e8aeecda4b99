"""``Account``: which servers were started here, and why; and ``Failures``: which starts have failed, and for how long.

Neither has anything to do with how a server is started.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..._server_errors import ServerStartError
from .._description.command import ServerCommand
from .connection import SUPERVISOR_KILLED, Exit

_FROM_OUTSIDE = frozenset(-getattr(signal, name, 0) for name in ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")) - {0}


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a server, for the account at the end of a run.

    Args:
        kind: What it is, such as ``"vllm"``.
        spec: The model it serves.
        reason: Why it was started.
        seconds: How long it took until it was ready, or had failed, in seconds.
        ready: Whether it got ready.
    """

    kind: str
    spec: str
    reason: str
    seconds: float
    ready: bool


class Account:
    """What was started, and why there had to be a start.

    Args:
        why_ended: Tells why a server that was kept warm has ended; empty where that is not known.
    """

    def __init__(self, why_ended: Callable[[str], str]) -> None:
        self.starts: list[Start] = []
        """Oldest first."""
        self._why_ended = why_ended
        self._ends: dict[str, str] = {}

    def ended(self, server_id: str, reason: str) -> None:
        """A server that was used, or was to be used, is no more; the next start of it is because of that."""
        self._ends[server_id] = reason

    def started(self, server_id: str, command: ServerCommand, seconds: float, *, ready: bool) -> None:
        """It was started, and got ready or failed."""
        reason = self._ends.pop(server_id, "") or self._why_ended(server_id) or "it was not running"
        self.starts.append(Start(command.kind, command.spec, reason, seconds, ready))


class Failures:
    """The starts that have failed, each of which is the answer to the next ones for a while.

    Args:
        seconds: For how long, in seconds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: dict[str, tuple[float, ServerStartError]] = {}
        self._killed: set[str] = set()  # whose last start was killed from outside

    def raise_known(self, server_id: str) -> None:
        """Raise how the last start has failed, where that is remembered.

        Raises:
            ServerStartError: It is.
        """
        expires, failure = self._known.get(server_id, (0.0, None))
        if failure is not None and time.monotonic() < expires:
            raise _again(failure)

    def failed(self, server_id: str, failure: ServerStartError, how: Exit | None) -> None:
        """A start has failed; one that was killed or stopped from outside is no failure of the model.

        To be killed twice in a row may be one, where memory runs out.

        Args:
            server_id: The server.
            failure: What whoever has started it gets.
            how: How it has ended, where it has.
        """
        if failure.stopped:
            return
        was_killed = how == SUPERVISOR_KILLED or (how is not None and not how.expected and how.code in _FROM_OUTSIDE)
        if was_killed and server_id not in self._killed:
            self._killed.add(server_id)
            return
        self._killed.discard(server_id)
        if self._seconds:
            self._known[server_id] = time.monotonic() + self._seconds, _again(failure)

    def forget(self, server_id: str) -> None:
        """It is ready, or is tried again in another way."""
        self._killed.discard(server_id)
        self._known.pop(server_id, None)


def _again(failure: ServerStartError) -> ServerStartError:
    """The same failure without a traceback, which would keep alive what it passed through."""
    again = ServerStartError(
        failure.spec,
        failure.report,
        failure.advice,
        cause=failure.cause,
        exit_code=failure.exit_code,
        log=failure.log,
    )
    again.__cause__ = failure.__cause__
    return again

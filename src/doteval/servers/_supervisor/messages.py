"""All that supervisors and clients say to each other: what is asked, what is answered, and what everybody is told.

Whoever changes a message here raises `PROTOCOL`; a test sees to that.
"""

from __future__ import annotations

from .protocol import PROTOCOL

TYPE_CHECKING = False  # as in typing, whose import takes time
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    Message = dict[str, Any]
else:
    Message = dict


class Ask:
    """Requests; the client adds an ``id``, which the answer has too."""

    @staticmethod
    def lease(keep_alive: float) -> Message:
        """Use the server now; it stays for so long, in seconds, when nobody is connected any more."""
        return {"op": "lease", "keep_alive": keep_alive}

    @staticmethod
    def hold(keep_alive: float) -> Message:
        """Keep it warm, until somebody else needs its slots."""
        return {"op": "hold", "keep_alive": keep_alive}

    @staticmethod
    def leave() -> Message:
        """Neither any more."""
        return {"op": "leave"}

    @staticmethod
    def waits(wishes: Iterable[Sequence[Any]]) -> Message:
        """Who leases it by this connection waits for other slots meanwhile: names, how many, how much of each."""
        return {"op": "waits", "wishes": list(wishes)}

    @staticmethod
    def status(*, memory: bool = True) -> Message:
        """How is it? To find out how much memory it has takes time."""
        return {"op": "status", "memory": memory}

    @staticmethod
    def ready(condition: str) -> Message:
        """It was seen to be ready, by a condition of ours."""
        return {"op": "ready", "condition": condition}

    @staticmethod
    def end(reason: str, *, drain: bool = False, sleep: bool = False) -> Message:
        """Make way: end, or `sleep`, where nobody leases it; else, with `drain`, be leased to nobody new."""
        return {"op": "end", "reason": reason, "drain": drain, "sleep": sleep}

    @staticmethod
    def wake() -> Message:
        """May we wake it up?"""
        return {"op": "wake"}

    @staticmethod
    def switched(problem: str) -> Message:
        """It is asleep, or awake; or there was a problem."""
        return {"op": "switched", "problem": problem}

    @staticmethod
    def end_sleeping(reason: str) -> Message:
        """End if it is asleep."""
        return {"op": "end sleeping", "reason": reason}

    @staticmethod
    def give_up(reason: str) -> Message:
        """Leave a server that does not get ready; it ends where nobody else uses it."""
        return {"op": "give up", "reason": reason}

    @staticmethod
    def stop(reason: str) -> Message:
        """End, whoever uses it, and stay so for all who do."""
        return {"op": "stop", "reason": reason}


class Answer:
    """Answers; what a client does without has a default in its own words."""

    @staticmethod
    def granted(server: Message) -> Message:
        """To ``lease``, ``hold``, ``wake``, and to ``end`` with ``sleep``, which is then for the client to do."""
        return {"granted": True, "server": server}

    @staticmethod
    def refused(reason: str, *, ending: bool, sleeps: bool) -> Message:
        """To ``lease`` and ``hold``."""
        return {"granted": False, "reason": reason, "ending": ending, "sleeps": sleeps}

    @staticmethod
    def not_asleep() -> Message:
        """To ``wake``: there is nothing to wake up."""
        return {"granted": False, "sleeps": False}

    @staticmethod
    def slots_taken(slots: Sequence[str], taken: Sequence[str]) -> Message:
        """To ``wake``: others have some of its slots."""
        return {"granted": False, "sleeps": True, "slots": list(slots), "taken": list(taken)}

    @staticmethod
    def goes_on(*, ending: bool, is_full: bool) -> Message:
        """To ``end``: it ends, or it goes on; it may be that it would have slept if there were a bed."""
        return {"ending": ending, "granted": False, "is_full": is_full}

    @staticmethod
    def is_ending(is_it: bool) -> Message:
        """To ``leave``, ``stop`` and ``end sleeping``."""
        return {"ending": is_it}

    @staticmethod
    def last_words(*, ending: bool, tail: Sequence[str], log: str | None) -> Message:
        """To ``give up``: what it has printed."""
        return {"ending": ending, "tail": list(tail), "log": log}

    @staticmethod
    def status(status: Message) -> Message:
        """To ``status``."""
        return {"status": status}

    @staticmethod
    def noted() -> Message:
        """To ``waits``, ``ready`` and ``switched``."""
        return {}

    @staticmethod
    def error(problem: str) -> Message:
        """To what cannot be understood."""
        return {"error": problem}


class Tell:
    """What everybody who is connected is told; nobody asks for it."""

    @staticmethod
    def started(pid: int) -> Message:
        """The server's process has started."""
        return {"event": "started", "pid": pid}

    @staticmethod
    def output(count: int) -> Message:
        """It has printed so many bytes; told while it starts."""
        return {"event": "output", "bytes": count}

    @staticmethod
    def ready(condition: str) -> Message:
        """Somebody has seen that it is ready, by a condition of theirs."""
        return {"event": "ready", "condition": condition}

    @staticmethod
    def retiring(reason: str) -> Message:
        """It is leased to nobody new."""
        return {"event": "retiring", "reason": reason}

    @staticmethod
    def resumed() -> Message:
        """It is leased again."""
        return {"event": "resumed"}

    @staticmethod
    def awake() -> Message:
        """It was woken up."""
        return {"event": "awake"}

    @staticmethod
    def ending(reason: str) -> Message:
        """It is told to end."""
        return {"event": "ending", "reason": reason}

    @staticmethod
    def exited(
        code: int | None, reason: str, *, expected: bool, stopped: bool, tail: Sequence[str], log: str | None
    ) -> Message:
        """Its first process has ended; `log` is where the rest of what it printed is kept.

        Where it was `stopped`, whoever used it does not start it again.
        """
        return {
            "event": "exited",
            "code": code,
            "reason": reason,
            "expected": expected,
            "stopped": stopped,
            "tail": list(tail),
            "log": log,
        }


def described(
    job: Mapping[str, Any],
    *,
    pid: int | None,
    supervisor: int,
    log: str,
    started: float,
    ready: bool,
    met: Sequence[str],
    sleeps: bool,
) -> Message:
    """What whoever uses the server has to know."""
    return {
        **{name: job[name] for name in DESCRIBED},
        "pid": pid,
        "supervisor": supervisor,
        "protocol": PROTOCOL,
        "log": log,
        "started": started,
        "ready": ready,
        "met": list(met),
        "sleeps": sleeps,
        "sleep": job["sleep"],
    }


DESCRIBED = ("id", "kind", "spec", "port", "api_key", "slots", "fraction", "shown")
"""What of its job says what a server is."""

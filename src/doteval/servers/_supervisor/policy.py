"""``Policy``: all that a supervisor decides: who may use the server, what is answered, and what is to be done when.

It is told what happens, and when; it says what is to be done, as effects, and when it has something to do by itself.
It does no I/O and looks at no clock. Where an answer depends on what can be had, it says what that is (`BED`, `SLOTS`)
instead of an answer, and is told whether it was to be had.
"""

from __future__ import annotations

from .lifetime import ASLEEP, TELL, Lifetime
from .messages import Answer, Message, Tell

TYPE_CHECKING = False  # as in typing, whose import takes time
if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from typing import Any

OUTPUT_SECONDS = 0.25  # at most this often the starting clients are told that there was output
LOOK_SECONDS = 1.0  # how often to look after the place where the system does not tell
SETTLE_SECONDS = 0.05  # how long whoever deletes something may take to be done with it

KEEP_LOG = "keep the log"
"""Effect: let it outlive the server."""
SAY_EXITED = "say that it has exited"
"""Effect: tell everybody how the server has ended: why, and whether that was expected; if not, the log is kept."""
LOOK = "look after its place"
"""Effect: make again what somebody has deleted; then `Policy.watches`, `Policy.look_again` or `Policy.place_taken`."""
GIVE_SLOTS_BACK = "give its slots back"
"""Effect: let others have the slots."""
LEAVE_BED = "leave its bed"
"""Effect: let others have the place where it slept."""

BED = Message(wanted="a bed")
"""No answer yet: take a bed, then `Policy.beds`."""
SLOTS = Message(wanted="its slots")
"""No answer yet: take its slots again, then `Policy.slots`."""


class Policy:
    """From the start of the server to its end.

    Args:
        starter: Who has started the supervisor, and leases the server. All clients are told apart by what they are.
        lifetime: The server's; it begins now.
    """

    def __init__(self, starter: Hashable, lifetime: Lifetime) -> None:
        self.lifetime = lifetime
        self.effects = lifetime.effects
        """What is to be done, the first first, each with its arguments; whoever does it takes it from here."""
        self.has_said_exit = False
        """Whether everybody was told how the server has ended, which is the last thing that happens."""
        self.is_stopped = False
        """Whether it ends because somebody has asked for that, whoever uses it."""
        self._kinds: dict[Hashable, str] = {starter: "lease"}
        self._waits: dict[Hashable, list[list[Any]]] = {}
        self._nurse: Hashable | None = None  # who puts it to sleep now, or wakes it up
        self._printed = self._told_printed = 0
        self._tell_printed_at = float("-inf")
        self._look_at: float | None = None

    # ---------------------------------------------------------------- the time

    def due(self) -> list[float]:
        """When `pass_time` has something to do."""
        due = self.lifetime.due()
        if self._has_printed_more():
            due.append(self._tell_printed_at)
        if self._look_at is not None and not self.lifetime.reason:
            due.append(self._look_at)
        return due

    def pass_time(self, now: float) -> None:
        """What happens because of the time alone."""
        if self._look_at is not None and now >= self._look_at and not self.lifetime.reason:
            self._look_at = None
            self._do(LOOK)
        if self._has_printed_more() and now >= self._tell_printed_at:
            self._told_printed, self._tell_printed_at = self._printed, now + OUTPUT_SECONDS
            self._do(TELL, Tell.output(self._printed))
        self.lifetime.pass_time(now)

    def _do(self, name: str, *arguments: Any) -> None:
        self.effects.append((name, arguments))

    def _has_printed_more(self) -> bool:
        return not self.lifetime.is_ready and not self.lifetime.reason and self._printed > self._told_printed

    # ---------------------------------------------------------------- what happens

    def printed(self, count: int) -> None:
        """The server has printed so many bytes by now."""
        self._printed = count

    def exited(self, now: float) -> None:
        """The server's first process has ended."""
        if not self.has_said_exit:
            by_itself = f"it ended {'by itself' if self.lifetime.is_ready else 'before it was ready'}"
            self._say_exited(self.lifetime.reason or by_itself, expected=bool(self.lifetime.reason))
            self.lifetime.end("the server ended", now, is_told=True)

    def is_over(self) -> None:
        """Nothing of the server is left, or it is given up."""
        self._say_exited(self.lifetime.reason, expected=True)

    def failed(self, reason: str, *, expected: bool = False) -> None:
        """There is no server, or none that could be looked after."""
        self._say_exited(reason, expected=expected)

    def _say_exited(self, reason: str, *, expected: bool) -> None:
        if not self.has_said_exit:
            self.has_said_exit = True
            self._do(SAY_EXITED, reason, expected)

    def signalled(self, name: str, now: float) -> None:
        """The supervisor was told to end."""
        self.lifetime.end(f"its supervisor got {name}", now)

    def may_be_deleted(self, now: float) -> None:
        """Something may have been deleted from where the server's files are; who does so may not be done."""
        if self._look_at is None:
            self._look_at = now + SETTLE_SECONDS

    def watches(self, is_told: bool, now: float) -> None:
        """All is in its place; the system tells when that may have changed, or does not."""
        self._look_at = None if is_told else now + LOOK_SECONDS

    def look_again(self, now: float, *, soon: bool = False) -> None:
        """What is gone cannot be made again yet; soon it can where another supervisor is only doing the same."""
        self._look_at = now + (SETTLE_SECONDS if soon else LOOK_SECONDS)

    def place_taken(self, now: float) -> None:
        """Somebody else is where the server was."""
        self.lifetime.end("its runtime directory was deleted, and its place is taken", now)

    # ---------------------------------------------------------------- who is there

    def count(self, kind: str) -> int:
        """How many of a kind there are: ``"lease"``, or ``"hold"``, who keep the server warm."""
        return sum(each == kind for each in self._kinds.values())

    def waits(self) -> list[list[Any]]:
        """What those who lease the server wait for."""
        return [wish for who, wishes in self._waits.items() if self._kinds.get(who) == "lease" for wish in wishes]

    def gone(self, who: Hashable, now: float) -> None:
        """Somebody has hung up."""
        self._waits.pop(who, None)
        if who is self._nurse:
            self._switched("whoever was to do that has gone", now)
        self._become(who, "", now)

    def ask(self, who: Hashable, request: Message, now: float) -> Message:
        """Somebody asks something.

        Returns:
            The answer, or `BED` or `SLOTS`. What is granted has no description of the server yet, last words are
            empty, and a status is to be said by who knows all of it.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: The request cannot be understood.
        """
        lifetime, reason = self.lifetime, str(request.get("reason", ""))
        match request.get("op"):
            case "lease" | "hold" as kind:
                return self._grant(who, kind, float(request.get("keep_alive", 0)), now)
            case "leave":
                self._become(who, "", now)
            case "waits":
                self._waits[who] = [
                    [list(map(str, names)), int(count), int(amount)] for names, count, amount in request["wishes"]
                ]
                return Answer.noted()
            case "status":
                return Answer.status({})
            case "ready":
                lifetime.ready(now, str(request.get("condition", "")))
                return Answer.noted()
            case "end":
                drain, sleep = bool(request.get("drain")), bool(request.get("sleep"))
                if lifetime.make_way(reason, self.count("lease"), now, drain=drain, may_sleep=sleep):
                    return BED
                return Answer.goes_on(ending=bool(lifetime.reason), is_full=False)
            case "wake":
                return SLOTS if lifetime.sleep == ASLEEP and not lifetime.reason else Answer.not_asleep()
            case "switched":
                if who is self._nurse:
                    self._switched(str(request.get("problem", "")), now)
                return Answer.noted()
            case "end sleeping":
                if lifetime.sleep == ASLEEP:
                    lifetime.end(reason, now)
            case "give up":
                is_last = self._kinds.get(who) == "lease" and len(self._kinds) == 1
                if is_last and not lifetime.reason:
                    self._do(KEEP_LOG)
                    lifetime.end(reason, now)
                self._become(who, "", now)
                return Answer.last_words(ending=bool(lifetime.reason), tail=(), log=None)
            case "stop":
                self.is_stopped |= not lifetime.reason
                lifetime.end(reason, now)
            case _:
                return Answer.error("unknown request")
        return Answer.is_ending(bool(lifetime.reason))

    def beds(self, who: Hashable, now: float, *, found: bool) -> Message:
        """There is a bed for the server, or there is none; who has asked puts it to sleep."""
        if not found:
            return Answer.goes_on(ending=False, is_full=True)
        self._nurse = who
        self.lifetime.fall_asleep(now)
        return Answer.granted({})

    def slots(self, who: Hashable, names: Sequence[str], taken: Sequence[str], now: float) -> Message:
        """The server has its slots again, or others have some of them; who has asked wakes it up."""
        if taken:
            return Answer.slots_taken(names, taken)
        self._nurse = who
        self.lifetime.wake(now)
        return Answer.granted({})

    def _grant(self, who: Hashable, kind: str, keep_alive: float, now: float) -> Message:
        lifetime = self.lifetime
        is_new_lease = kind == "lease" and self._kinds.get(who) != "lease"
        if lifetime.reason or (is_new_lease and not lifetime.is_leasable):
            refusal = lifetime.reason or lifetime.sleep or lifetime.drain_reason
            sleeps = not lifetime.reason and bool(lifetime.sleep)
            return Answer.refused(refusal, ending=bool(lifetime.reason), sleeps=sleeps)
        lifetime.keep_alive = max(lifetime.keep_alive, keep_alive)
        self._become(who, kind, now)
        return Answer.granted({})

    def _switched(self, problem: str, now: float) -> None:
        self._nurse = None
        self.lifetime.switched(problem, now)
        if self.lifetime.sleep == ASLEEP and not self.lifetime.reason:
            self._do(GIVE_SLOTS_BACK)
        elif not self.lifetime.sleep:
            self._do(LEAVE_BED)

    def _become(self, who: Hashable, kind: str, now: float) -> None:
        """Somebody leases the server from now on, holds it, or neither."""
        was = self._kinds.pop(who, "")
        if kind:
            self._kinds[who] = kind
        self.lifetime.uses_changed(self.count("lease"), self.count("hold"), now, used="lease" in (was, kind))

"""The world of one run: what is promised, what is open, who holds and awaits what, and whether all of it may be so.

Written from the documentation alone: it knows events, statistics, handles and what `open` sees, and nothing inside.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from doteval import PoolEvent, ProviderStatistics

HISTORY = int(os.environ.get("SIMULATOR_HISTORY", "60"))
"""How many of the last things that happened a failure shows."""

AFTER = {
    "": {"opening"},
    "opening": {"retiring", "opened", "open_failed", "open_cancelled"},
    "opened": {"leased", "released", "checking", "retiring", "closing", "lost", "closed", "close_failed"},
    "closing": {"released", "lost", "closed", "close_failed"},
    "lost": {"released", "closing", "closed", "close_failed"},
    "gone": {"released"},
}
"""What may follow in the life of a generation."""
GONE = {"open_failed", "open_cancelled", "closed", "close_failed"}


class ViolationError(AssertionError):
    """Something that must hold does not."""


class Model:
    """What is leased: knows whether it is open."""

    def __init__(self, spec: str, slots: tuple[str, ...]) -> None:
        self.spec = spec
        self.slots = slots
        self.state = "opening"
        self.broken = ""
        self.unhealthy = False
        self.is_doubted = False  # its health check has said no, or may have
        self.stands_on: Model | None = None

    def __repr__(self) -> str:
        return f"<{self.spec} {self.state} {self.broken}>"


class Held:
    """A handle that somebody has."""

    def __init__(self, handle: Any, spec: str) -> None:
        self.handle = handle
        self.spec = spec
        self.model: Model | None = handle.model if handle.is_active else None


@dataclass
class Generation:
    """One opening of a resource, as the events tell of it."""

    spec: str
    slots: int
    state: str = ""
    leased: int = 0
    released: int = 0
    retiring: bool = False
    opened: bool = False
    seen: list[str] = field(default_factory=list)


class Waiting:
    """A call of `setup` that has not returned.

    Args:
        who: The task that is responsible for what it gets; `None` for one that nobody can know to wait.
        needs: What it asks for, with the slots of each.
    """

    def __init__(self, who: object, needs: dict[str, int]) -> None:
        self.who = who
        self.needs = needs
        self.was_stuck = False
        """Whether at some moment since it began, not all who wait could ever have been served."""


class Books:
    """One provider, as seen from outside.

    Args:
        name: The provider's name in histories.
        slots: How many slots each spec takes.
        capacity: How many there are, or their names.
        history: Where what happens is written down.
    """

    def __init__(
        self, name: str, slots: dict[str, int], capacity: int | Sequence[str] | None, history: list[str]
    ) -> None:
        self.name = name
        self.slots = slots
        self.capacity = capacity
        self.most = self.total  # of all capacities there were
        self.shrunk = False
        self.history = history
        self.generations: dict[int, Generation] = {}
        self.events: Counter[str] = Counter()
        self.live: dict[Model, None] = {}
        self.opened: list[Model] = []
        self.opens_now = 0
        self.waiting: dict[Waiting, None] = {}
        self.held: dict[Any, tuple[object, Model]] = {}
        self.granted = 0
        self.endings: Counter[str] = Counter()
        self.preloaded: list[str] = []

    def say(self, text: str) -> None:
        self.history.append(f"{self.name}: {text}")

    @property
    def is_wrong(self) -> bool:
        """Whether something did not hold before."""
        return any(line.startswith("!!") for line in self.history)

    def fail(self, text: str) -> ViolationError:
        """A violation, to be raised; it is kept as well, as whoever it is raised in may be cancelled meanwhile."""
        self.history.append(f"!! {self.name}: {text}")
        return ViolationError(f"{self.name}: {text}")

    def check(self, holds: object, text: str) -> None:
        if not holds:
            raise self.fail(text)

    # ---------------------------------------------------------------- what open() sees

    @property
    def total(self) -> int | None:
        return self.capacity if self.capacity is None or isinstance(self.capacity, int) else len(self.capacity)

    def begin(self, model: Model) -> None:
        """`open` was entered."""
        same = [other for other in self.live if other.spec == model.spec]
        retiring = sum(1 for one in self._living() if one.spec == model.spec and one.retiring)
        self.check(len(same) <= retiring, f"{model.spec} is opened beside {same}")
        if self.capacity is not None and not isinstance(self.capacity, int):
            self.check(len(model.slots) == self.slots[model.spec], f"{model.spec} gets the slots {model.slots}")
            taken = [name for other in self.live for name in other.slots]
            self.check(not set(taken) & set(model.slots), f"{model.slots} are taken: {taken}")
        self.live[model] = None
        if self.total is not None and not self.shrunk:
            used = sum(self.slots[other.spec] for other in self.live)
            self.check(used <= self.total, f"{used} of {self.total} slots are used: {list(self.live)}")

    def end(self, model: Model) -> None:
        """What `open` made is gone."""
        self.check(model.state != "gone", f"{model} ends twice")
        model.state = "gone"
        del self.live[model]

    # ---------------------------------------------------------------- events

    def _living(self) -> list[Generation]:
        return [one for one in self.generations.values() if one.state != "gone"]

    @property
    def used(self) -> int:
        return sum(one.slots for one in self._living())

    def on_event(self, event: PoolEvent) -> None:
        """Take note of an event; what is wrong with it is raised later, as what `on_event` raises is logged."""
        kind = event.kind
        self.say(f"{event.generation} {kind} {event.resource_id} {event.reason} ({event.leases})")
        self.events[kind] += 1
        if kind == "opening":
            if event.generation in self.generations:
                self.fail("a generation begins twice")
            one = self.generations[event.generation] = Generation(event.resource_id, self.slots[event.resource_id])
            others = [it for it in self._living() if it is not one and it.spec == one.spec and not it.retiring]
            if others:
                self.fail(f"{one.spec} is opened beside {others}")
            if self.total is not None and self.used > self.total:
                self.fail(f"{self.used} of {self.total} slots are used: {self._living()}")
        one = self.generations[event.generation]
        one.seen.append(kind)
        if kind not in AFTER[one.state]:
            self.fail(f"{kind} after {one.state}: {one}")
        one.leased += kind == "leased"
        one.released += kind == "released"
        one.retiring = one.retiring or kind == "retiring"
        one.opened = one.opened or kind == "opened"
        if kind == "retiring":
            self._look()
        if one.released > one.leased:
            self.fail(f"more releases than leases: {one}")
        if kind in GONE:
            one.state = "gone"
        elif kind in ("opening", "opened", "closing", "lost"):
            one.state = kind

    def compare(self, now: ProviderStatistics) -> None:
        """Whether the statistics tell the same as the events, at any moment."""
        events = self.events
        told = {
            "opens": events["opened"],
            "closes": events["closed"] + events["close_failed"],
            "leases": events["leased"],
            "active_leases": events["leased"] - events["released"],
            "open_failures": events["open_failed"],
            "open_cancellations": events["open_cancelled"],
            "losses": events["lost"],
            "close_failures": events["close_failed"],
            "capacity": self.total,
        }
        if self.total is not None:
            told["free_slots"] = max(0, self.total - self.used)
        wrong = {name: (getattr(now, name), value) for name, value in told.items() if getattr(now, name) != value}
        self.check(not wrong, f"statistics, and what events tell: {wrong}")
        if self.total is not None and now.idle:
            kept = sum(one.slots for one in self._living() if one.state == "opened")
            self.check(kept <= self.total, f"{kept} of {self.total} slots are kept, and not all of it is leased")
        living = len(self._living())
        self.check(now.opening + now.open + now.closing == living, f"{living} generations live: {now}")
        self.check(sum(now.wait_times) == now.waits, f"waits: {now}")
        self.check(sum(now.open_times) == now.opens, f"openings: {now}")
        ended = 0 if self.total is None else events["released"]
        self.check(sum(now.use_times) == ended, f"{ended} leases have ended: {now}")

    def compare_at_end(self, now: ProviderStatistics) -> None:
        """The same, when all is over."""
        self.compare(now)
        self.check(not self.live, f"left open: {list(self.live)}")
        self.check(not self._living(), f"never told of as gone: {self._living()}")
        left = [one for one in self.generations.values() if one.leased != one.released]
        self.check(not left, f"leases and releases differ: {left}")
        zero = (now.opening, now.open, now.idle, now.closing, now.active_leases, now.waiting)
        self.check(zero == (0,) * 6, f"at the end: {now}")
        self.check(now.opens == now.closes == len(self.opened), f"{len(self.opened)} were opened: {now}")
        self.check(now.leases >= self.granted, f"{self.granted} leases were granted: {now}")
        timeouts = self.endings["SetupTimeoutError"]
        self.check(timeouts <= now.wait_timeouts <= timeouts + len(self.preloaded), f"{dict(self.endings)}: {now}")
        self.check(now.wait_deadlocks <= self.endings["CapacityDeadlockError"], f"{dict(self.endings)}: {now}")

    # ---------------------------------------------------------------- deadlocks, by brute force

    def begins_to_wait(self, waiting: Waiting) -> None:
        self.waiting[waiting] = None
        self._look()

    def has_waited(self, waiting: Waiting) -> None:
        del self.waiting[waiting]

    def gets(self, handle: Any, who: object, model: Model) -> None:
        self.held[handle] = (who, model)
        self._look()

    def gives_back(self, handle: Any) -> None:
        self.held.pop(handle, None)

    def resized(self, capacity: int | Sequence[str]) -> None:
        before = self.total
        self.capacity = capacity
        assert before is not None
        assert self.total is not None
        self.shrunk = self.shrunk or self.total < before
        self._look()

    def _look(self) -> None:
        if self.total is not None and any(not waiting.was_stuck for waiting in self.waiting):
            stuck = self._stuck(self.total)
            for waiting in self.waiting:
                waiting.was_stuck = waiting.was_stuck or bool(stuck)

    def _stuck(self, capacity: int) -> Collection[Waiting]:
        """Who can never be served, in whatever order, though everybody who does not wait gives back what he holds."""
        left = list(self.waiting)
        held = [
            (who, model)
            for handle, (who, model) in self.held.items()
            if handle.is_active and any(waiting.who is who for waiting in left)
        ]
        served = True
        while served:
            served = False
            for waiting in left:
                models = {model for _, model in held}
                used = sum(self.slots[model.spec] for model in models)
                there = {model.spec for model in models if self._is_latest(model)}
                if sum(slots for spec, slots in waiting.needs.items() if spec not in there) <= capacity - used:
                    left.remove(waiting)
                    if all(other.who is not waiting.who for other in left):
                        held = [(who, model) for who, model in held if who is not waiting.who]
                    served = True
                    break
        return left

    def _is_latest(self, model: Model) -> bool:
        return not any(one.spec == model.spec and one.retiring for one in self._living())

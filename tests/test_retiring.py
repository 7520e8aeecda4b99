"""What an opened thing needs that may be wanted elsewhere: to retire, to resume, and to know when nobody uses it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from anyio import Event, create_task_group
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked

from doteval import CapacityDeadlockError, PooledProvider, PoolEvent
from doteval._pool.ledger import Ledger
from doteval._pool.records import CancelOpening, Check, Close, Effect, Entry, Open, Request, Rest, Settle, State, Want
from doteval._pooled import runtime_of

pytestmark = pytest.mark.anyio


class Books:
    """A ledger whose resources open and close as soon as they are told to."""

    def __init__(self, capacity: int = 1, *, tells_idle: bool = False) -> None:
        self.ledger = Ledger("Books", capacity=capacity, tells_idle=tells_idle)
        self.rested: list[str] = []

    def ask(self, *keys: str, owner: str) -> Request:
        request = self.ledger.ask(tuple(Want(key, key) for key in keys), owner, 0.0)
        self.act()
        return request

    def release(self, request: Request) -> None:
        for lease in request.leases:
            self.ledger.release(lease, "released", 0.0)
        self.act()

    def entry(self, key: str) -> Entry:
        found = self.ledger.find(key)
        assert found is not None
        return found

    def retire(self, key: str) -> None:
        self.ledger.retire(self.entry(key), "its slots are needed", 0.0)
        self.act()

    def act(self) -> None:
        while self.ledger.effects:
            self._act(self.ledger.effects.popleft())

    def _act(self, effect: Effect) -> None:
        match effect:
            case Open(entry):
                self.ledger.opened(entry)
            case Close(entry) | CancelOpening(entry):
                self.ledger.ended(entry, None, 0.0)
            case Check(entry):
                self.ledger.checked(entry, True, 0.0)
            case Rest(entry):
                self.rested.append(entry.want.label)
            case Settle():
                pass


def test_an_idle_resource_that_retires_is_closed_at_once() -> None:
    """Nobody has to be waited for."""
    books = Books()
    books.release(books.ask("a", owner="one"))
    books.retire("a")
    assert list(books.ledger.entries) == []
    assert books.ledger.counts.retirements == 1


def test_a_leased_resource_that_retires_is_closed_after_its_last_lease() -> None:
    """Newcomers wait meanwhile, and get the next generation."""
    books = Books()
    first = books.ask("a", owner="one")
    generation = books.entry("a").generation
    books.retire("a")
    assert books.ledger.lease_now("a", "two", 0.0) is None
    second = books.ask("a", owner="two")
    assert second.state is State.QUEUED
    books.release(first)
    assert second.state is State.GRANTED
    assert books.entry("a").generation > generation
    assert books.entry("a").reason == ""


def test_who_waits_for_a_retiring_resource_holds_up_nobody_else() -> None:
    """There is a slot for the other one, so it need not wait."""
    books = Books(capacity=2)
    books.ask("a", owner="one")
    books.retire("a")
    assert books.ask("a", owner="two").state is State.QUEUED
    assert books.ask("b", owner="three").state is State.GRANTED


def test_who_holds_a_retiring_resource_may_lease_it_again() -> None:
    """Or it would wait for itself."""
    books = Books()
    books.ask("a", owner="one")
    books.retire("a")
    assert books.ask("a", owner="one").state is State.GRANTED


def test_a_resource_that_resumes_serves_those_who_waited() -> None:
    """The same generation, as if nothing had been."""
    books = Books()
    books.ask("a", owner="one")
    books.retire("a")
    second = books.ask("a", owner="two")
    books.ledger.resume(books.entry("a"), 0.0)
    books.act()
    assert second.state is State.GRANTED
    assert books.ledger.lease_now("a", "three", 0.0) is not None


def test_nothing_retires_that_its_holder_waits_for() -> None:
    """One waits in the queue for what it holds; if that went away only after its lease, it would wait for ever."""
    books = Books(capacity=2)
    held = books.ask("b", owner="two")
    books.ask("a", owner="one")
    assert books.ask("c", owner="three").state is State.QUEUED  # now newcomers queue even for what is open
    again = books.ask("a", owner="one")
    assert again.state is State.QUEUED
    books.retire("a")
    assert not books.entry("a").retiring
    assert books.ledger.counts.retirements == 0
    books.release(held)
    assert again.state is State.GRANTED


def test_two_that_hold_what_the_other_waits_for_are_not_left_waiting() -> None:
    """Both resources retire: the second one who asks is served, as what it wants is still open."""
    books = Books(capacity=2)
    one = books.ask("a", owner="one")
    books.ask("b", owner="two")
    books.retire("a")
    books.retire("b")
    waits = books.ask("b", owner="one")
    assert waits.state is State.QUEUED
    served = books.ask("a", owner="two")
    assert served.state is State.GRANTED
    assert not isinstance(served.error, CapacityDeadlockError)
    books.release(one)


def test_the_end_of_the_last_lease_is_told_where_somebody_wants_to_know() -> None:
    """And only there: it would cost on every lease."""
    for tells in (False, True):
        books = Books(tells_idle=tells)
        books.release(books.ask("a", owner="one"))
        assert books.rested == (["a"] if tells else [])


class Watched(PooledProvider[str]):
    """Notes when its resources are idle and when they are asked for their health."""

    def __init__(self) -> None:
        self.events: list[PoolEvent] = []
        super().__init__(capacity=1, health_after=0, on_event=self.events.append)
        self.notes: list[str] = []
        self.answers: list[Event] = []

    @asynccontextmanager
    async def open(self, spec: str, /) -> AsyncGenerator[str]:
        yield spec

    async def healthy(self, model: str, /) -> bool:
        self.notes.append("asked")
        if self.answers:
            await self.answers.pop(0).wait()
        self.notes.append("answered")
        return True

    def idle(self, model: str, /) -> None:
        self.notes.append("idle")


async def test_between_two_leases_a_resource_is_idle_and_then_asked() -> None:
    """Not while somebody else has a lease."""
    async with Watched() as provider:
        one, two = await provider.setup("a"), await provider.setup("a")
        await one.teardown()
        assert provider.notes == []
        await two.teardown()
        assert provider.notes == ["idle"]
        await provider.setup("a")
        assert provider.notes == ["idle", "asked", "answered"]


async def test_an_answer_from_before_it_was_idle_again_does_not_count() -> None:
    """The one who asked left, and another came: the question is asked anew."""
    async with Watched() as provider:
        await (await provider.setup("a")).teardown()
        answer = Event()
        provider.answers = [answer]
        async with create_task_group() as task_group:
            task_group.start_soon(provider.setup, "a")
            while "asked" not in provider.notes:
                await checkpoint()
            task_group.cancel_scope.cancel()
        assert provider.notes == ["idle", "asked", "idle"]
        handles: list[object] = []

        async def ask() -> None:
            handles.append(await provider.setup("a"))

        async with create_task_group() as task_group:
            task_group.start_soon(ask)
            await wait_all_tasks_blocked()
            answer.set()
        assert provider.notes == ["idle", "asked", "idle", "answered", "asked", "answered"]


async def test_a_retirement_is_an_event_and_ends_in_a_new_generation() -> None:
    """The reason is the one that was given; the handle that is leased stays good."""
    async with Watched() as provider:
        handle = await provider.setup("a")
        runtime_of(provider).retire("a", "its slots are needed for 'b'")
        assert handle.model == "a"
        await handle.teardown()
        await provider.setup("a")
        told = [(event.kind, event.reason) for event in provider.events if event.reason]
        assert ("retiring", "its slots are needed for 'b'") in told
        assert ("closed", "its slots are needed for 'b'") in told
        assert provider.statistics().retirements == 1
        assert provider.statistics().losses == 0


async def test_a_resource_resumes() -> None:
    """Nothing was closed, and it is leased again."""
    async with Watched() as provider:
        one = await provider.setup("a")
        runtime_of(provider).retire("a", "its slots are needed")
        runtime_of(provider).resume("a")
        two = await provider.setup("a")
        assert one.is_active
        assert two.is_active
        assert provider.statistics().opens == 1

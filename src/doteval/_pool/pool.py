"""The pool: enters in the ledger what callers want, and waits for it.

Every method that changes the books does so in one synchronous step (`Ledger`, then `_apply`) and only then awaits. That
is why a cancellation at any checkpoint finds the books in order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Hashable, Sequence
from contextlib import nullcontext
from functools import partial
from logging import DEBUG
from typing import Literal

from anyio import Event, get_cancelled_exc_class, move_on_after
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from .._errors import (
    CapacityDeadlockError,
    CapacityExceededError,
    ModelSetupError,
    ProviderClosedError,
    QueueFullError,
    SetupTimeoutError,
)
from .._explained import advice_for
from .._hold import wait_out
from .containment import ends_the_program, outcome_of
from .engine import Engine, ModelT, is_logged
from .inside import Inside, inside_of
from .interrupts import mark_for_trio, uninterruptible
from .leaks import recording
from .leases import is_passed_on, is_surely_held
from .owners import Owner, Preloading, resource_here
from .records import Entry, Lease, Phase, Request, State, Want
from .threads import is_nobody_else_there, is_of_thread, left_behind, warn
from .waits import Ending, ending_of

_UNDECIDED = (State.QUEUED, State.ADMITTED)
A_WHILE = 2.0
"""How long a thread waits, in seconds, before what it has set up and not entered counts as held by it."""
_AGAIN = 10.0
"""After how many seconds it is looked again whether there is another thread that could give something back."""


@uninterruptible
class Pool(Engine[ModelT]):
    """The engine under one entered provider, as its callers see it; is made as `Engine` is."""

    def start(self, task_group: TaskGroup) -> None:
        """Run the resource tasks in `task_group` from now on."""
        mark_for_trio()
        self._task_group, self._is_loops_end = task_group, self.loop.ends_with_task()
        if self._ledger.keeps_for_a_while:
            task_group.start_soon(self._alarms.expiry.run, name=f"doteval expiry of {self._provider}")
        if self._max_lifetime is not None:
            task_group.start_soon(self._alarms.ageing.run, name=f"doteval ageing of {self._provider}")
        if self._leaks.are_looked_for:
            task_group.start_soon(self._alarms.leaking.run, name=f"doteval leak detection of {self._provider}")
        if self._ledger.examines:
            task_group.start_soon(self._alarms.examining.run, name=f"doteval examination of {self._provider}")

    # ---------------------------------------------------------------- leasing

    def lease_now(self, key: Hashable) -> Lease | None:
        """Lease what is open, or return `None` where that takes more than a look."""
        try:  # as `check_loop`, without the call
            is_home = self._running() is self._home
        except RuntimeError:
            is_home = False
        if not is_home:
            self.check_loop()  # which says why
        ledger = self._ledger
        if self._looks:
            self._drop_broken(key)
        owner = None if ledger.capacity is None and resource_here.get() is None else Owner(self.loop.task_here)
        now = self._time() if self._tells_time else 0.0
        lease = ledger.lease_now(key, owner, now)
        if lease is not None and (self._on_event is not None or is_logged(DEBUG)):
            lease.is_told = True
            self._emit("leased", lease.entry)
        return lease

    def join(self, key: Hashable) -> Awaitable[tuple[Lease, ...]] | None:
        """Lease what is being opened already, or return `None` where nothing is; otherwise as `acquire`.

        A crowd of newcomers need not work out again what it wants, and is woken by one event.
        """
        request = self._ledger.join(key, self._owner_here(), self._time())
        if request is None:
            return None
        entry = request.leases[0].entry
        if entry.crowd is None:
            entry.crowd = Event()
        request.listener = entry.crowd
        return self._granted(request)

    async def acquire(self, wants: tuple[Want, ...]) -> tuple[Lease, ...]:
        """Lease everything wanted, or nothing. Call `check_loop` before. A checkpoint, unless what is wanted is open.

        A caller cancelled while it waits leaves the queue; what was granted to it in the same moment is released again.
        """
        if not self._fast_acquire:
            await self.loop.checkpoint_if_cancelled()
        if self._looks:
            for want in wants:
                self._drop_broken(want.key)
        request = self._ask(wants, self._owner_here())
        return await self._granted(await self._ask_again(request) if request.state is State.FAILED else request)

    async def _granted(self, request: Request) -> tuple[Lease, ...]:
        """Wait until the request is decided; one coroutine, as a crowd may wait here."""
        if request.state not in _UNDECIDED:
            if request.state is State.FAILED:
                self._raise_failure(request)
            return request.leases
        began = self._time()
        ending: Ending = "cancelled"
        too_late: SetupTimeoutError | None = None
        inside = inside_of(request.owner)
        try:
            may_be_in_vain = is_of_thread(request) or bool(left_behind(self._ledger))
            if self._setup_timeout is None and inside is None and not may_be_in_vain:
                await _listener(request).wait()  # without a scope, which costs as much as all the rest of waiting
            else:
                too_late = await self._wait(request, began, inside, may_be_in_vain)
            ending = ending_of(request)
        finally:
            self._ledger.waits.add(request, ending, began, self._time())
            if ending == "cancelled":
                self._abandon(request)
        if too_late is not None:
            raise too_late
        if ending != "granted":
            self._raise_failure(request)
        return request.leases

    async def _wait(
        self, request: Request, began: float, inside: Inside | None, may_be_in_vain: bool
    ) -> SetupTimeoutError | None:
        """Wait for as long as one may, and return the error where that was not enough.

        The turn of a resource to open is lent to what it waits for.
        """
        async with nullcontext() if inside is None else inside.entry.resource.turn.lent():
            with move_on_after(self._setup_timeout):
                if may_be_in_vain:
                    with move_on_after(A_WHILE):
                        await _listener(request).wait()
                    is_warned = False
                    while request.state in _UNDECIDED:
                        is_warned = self._look_again(request, is_warned)
                        with move_on_after(_AGAIN):
                            await _listener(request).wait()
                await _listener(request).wait()
            if request.state not in _UNDECIDED or self._setup_timeout is None:
                return None
            labels, is_admitted = [want.label for want in request.wants], request.admitted is not None
            account = [self._ledger.spent(request, began, self._time()), *self._ledger.account()]
            self._abandon(request)
            return SetupTimeoutError(labels, self._setup_timeout, account, has_place=is_admitted)

    def _look_again(self, request: Request, is_warned: bool) -> bool:
        """It has waited for a while: tell a thread that it would do so for ever, or warn where that is not certain.

        Args:
            request: What it waits for.
            is_warned: Whether it has been warned, as it is once; returned as it is now.
        """
        is_certain = is_nobody_else_there(self._ledger.asking())
        account = self._ledger.look_again(self._now(), is_certain=is_certain)
        self._apply()
        left = left_behind(self._ledger) if request.state is State.QUEUED else []
        if is_warned or not (account or left) or request.state not in _UNDECIDED:
            return is_warned
        warn(request, account or left, is_left_behind=not account)
        return True

    def _abandon(self, request: Request) -> None:
        self._ledger.abandon(request, self._now())
        self._apply()

    def preload(self, want: Want) -> bool:
        """Begin to open what is wanted, where there is room for it; whether it is open or being opened."""
        self.check_loop()
        if self._ledger.closes_at_once or not self._ledger.has_room(want):
            return False
        request = self._ledger.ask((want,), Preloading(), self._now())
        self._apply()
        self._start_task(partial(self._rest, request), f"doteval preload of {want.label}")
        return True

    async def _rest(self, request: Request) -> None:
        """Wait for a lease that nobody uses, and end it. Why there is none, the next one who asks is told."""
        try:
            await self._granted(request)
        except BaseException as exc:
            if request.state is State.GRANTED or isinstance(exc, get_cancelled_exc_class()) or ends_the_program(exc):
                raise
            return
        for lease in request.leases:
            if not lease.ended:
                self._ledger.release(lease, "it was opened ahead", self._now())
                self._emit("released", lease.entry)
        self._apply()

    def release(self, lease: Lease) -> Awaitable[None] | None:
        """End a lease, at once; the caller awaits what is returned, if anything is.

        Where that closes the resource (``keep_alive=0``), it waits for the closing and raises what it raised. A
        cancelled caller stops waiting; the closing goes on in its own task.
        """
        if lease.ended:
            return checkpoint()  # of whatever loop: the provider's may be over
        try:  # as `check_loop`, without the call
            is_home = self._running() is self._home
        except RuntimeError:
            is_home = False
        if not is_home:
            self.check_loop()  # which says why
        entry, ledger = lease.entry, self._ledger
        now = self._time() if self._tells_time else 0.0
        ledger.release(lease, "you tore it down", now)
        if lease.is_told:
            self._emit("released", entry)
        if self._looks:
            self._drop_broken(entry.want.key)
        if ledger.effects or self._drained is not None:
            self._apply()
        elif self._timed and not entry.leases:
            self._alarms.expiry.poke()
        if ledger.closes_at_once and entry.phase is Phase.CLOSING:
            return self._wait_until_closed(entry)
        return None if self._fast_acquire else self.checkpoint()

    def adopt(self, lease: Lease) -> None:
        """The current task is responsible for the lease from now on."""
        owner = self._owner_here()
        if owner is not None or lease.owner is not None:
            self._ledger.adopt(lease, owner)

    def trace(self, lease: Lease) -> None:
        """Remember where the lease is set up, which is here."""
        self._leaks.trace(lease)
        self._alarms.leaking.poke()
        if recording.is_on:
            recording.note(lease)

    def on_dropped(self, lease: Lease) -> None:
        """The handle of a lease that holds is gone; may be called in any thread and at any moment."""
        self._leaks.dropped(lease)

    def report_broken(self, lease: Lease, error: BaseException) -> None:
        """Whoever holds the lease has found the resource of no use any more; takes effect at once."""
        self.check_loop()
        if not lease.ended:
            self._drop(lease.entry, self._hooks.explain(lease.entry.want, error))

    def breaks(self, error: Exception) -> bool:
        """Whether an exception of a user shows that the resource is of no use any more."""
        return self._hooks.breaks(error)

    def _drop_broken(self, key: Hashable) -> None:
        """Look at what is open under the key, and let go of it where it is of no use any more."""
        entry = self._ledger.open_entry(key)
        if entry is not None and self._hooks.is_broken(entry):
            self._drop(entry, "it was found broken")

    # ---------------------------------------------------------------- closing

    async def close(self, label: str) -> None:
        """Close the resource with this id now, whoever holds it; does nothing where there is none."""
        self.check_loop()
        entries = self._ledger.named(label)
        for entry in entries:
            self._ledger.close(entry, "its provider's teardown() was called", self._now())
        self._apply()
        for entry in entries:
            await self._wait_until_closed(entry)
        await checkpoint()

    def users(self, label: str) -> list[Hashable]:
        """Who leases the resource with this id, or waits for its opening."""
        entry = self._ledger.find(label)
        leases = () if entry is None else entry.leases
        return [
            lease.owner
            for lease in leases
            if lease.request is not None or is_surely_held(lease) or not is_passed_on(lease)
        ]

    async def drain(self) -> None:
        """Lease to nobody new, and wait until nobody leases anything."""
        self.check_loop()
        owner = Owner(self.loop.task_here)
        self._check_drains(self._ledger.held_by(owner))
        self._ledger.drain()
        if owner.caller is not None:
            with move_on_after(A_WHILE):
                await self._wait_until_drained()
            if is_nobody_else_there(self._ledger.asking(), owner.caller):
                self._check_drains(self._ledger.held_after_a_while(owner))
        await self._wait_until_drained()
        await checkpoint()

    def _check_drains(self, held: list[str]) -> None:
        if held:
            raise RuntimeError(
                f"drain() of {self._provider} would wait for ever: who calls it holds {', '.join(held)}. "
                "Tear it down before, or enter the handle in the task or thread that uses it"
            )

    async def _wait_until_drained(self) -> None:
        while not self._ledger.is_drained:
            if self._drained is None or self._drained.is_set():
                self._drained = Event()
            await self._drained.wait()

    def resize(self, capacity: int | Sequence[str]) -> None:
        """Have so many slots from now on, or these; takes effect at once."""
        self.check_loop()
        if self._ledger.capacity is None:
            raise ValueError("a provider without capacity= keeps no account of its slots, and cannot be resized")
        self._ledger.resize(capacity, self._now())
        self._apply()

    def retire(self, label: str, reason: str) -> None:
        """Lease the resource with this id to nobody new and close it after its last lease; takes effect at once."""
        entry = self._ledger.find(label)
        if entry is not None and not entry.retiring and entry.phase is not Phase.CLOSING:
            self._emit("retiring", entry, reason)
            self._ledger.retire(entry, reason, self._now())
            self._apply()

    def resume(self, label: str) -> None:
        """Lease the resource with this id again, unless it is closing already; takes effect at once."""
        entry = self._ledger.find(label)
        if entry is not None:
            self._ledger.resume(entry, self._now())
            self._apply()

    def refuse(self, label: str, owners: Collection[Hashable], error: BaseException) -> None:
        """Some who wait for the opening of this resource get an error at once; for the others it goes on."""
        entry = self._ledger.find(label)
        if entry is not None:
            self._ledger.refuse(entry, owners, error, self._now())
            self._apply()

    def lose(self, resource: Inside, error: BaseException) -> None:
        """The resource has broken off: end its leases now, and open the next one when its task is over."""
        entry = resource.entry
        if entry.phase in (Phase.OPEN, Phase.CHECKING) and not resource.is_gone:
            self._lose(entry, error)

    def tell_of_replica(self, resource: Inside, kind: Literal["replica_opened", "replica_lost"], reason: str) -> None:
        """A part of the resource has opened, or has broken off, and the rest goes on."""
        self._ledger.counts.replica_losses += kind == "replica_lost"
        self._emit(kind, resource.entry, reason)

    async def close_all(self) -> list[BaseException]:
        """Close every resource, all at once, in a shield; return what went wrong, that of earlier closings included."""
        self.check_loop()
        for entry in list(self._ledger.entries):
            self._ledger.close(entry, "its provider's teardown_all() was called", self._now())
        cancellation = await self._finish()
        if cancellation is not None:
            raise cancellation
        return self._close_failures.take_all()

    async def stop(self, *, loop_ends: bool = False) -> list[BaseException]:
        """Close every resource for good, all at once, in a shield; return what went wrong.

        Only for a task of ours: where asyncio cancels that, its event loop ends, and it ends after this anyway.

        Args:
            loop_ends: It is closed because the event loop ends, so asyncio has cancelled the resources' tasks, too.
        """
        self._loop_ends = loop_ends
        self._ledger.shut(self._now())
        self._stop_alarms()
        await self._finish()
        return self._close_failures.take_all()

    def _stop_alarms(self) -> None:
        for alarm in self._alarms:
            alarm.stop()

    def give_up(self) -> None:
        """Call off every task: an interrupt has broken off the end, so there may be some that were never told of it."""
        self._stop_alarms()
        for entry in list(self._ledger.entries):
            if entry.resource is not None:
                entry.resource.abort()
                entry.resource.call_off()

    async def _finish(self) -> BaseException | None:
        self._apply()
        entries = list(self._ledger.entries)
        for entry in entries:  # all of them know already, unless an interrupt came in between
            if entry.resource is None:
                self._ledger.ended(entry, None, self._now())
            elif entry.phase is Phase.CLOSING and not entry.dependents:
                entry.resource.close()
                entry.resource.call_off()
        self._apply()
        # Bounded: every resource has a close_timeout of its own.
        return await wait_out(*(entry.resource.done for entry in entries if entry.resource is not None))

    # ---------------------------------------------------------------- inside

    def _owner_here(self) -> Owner | None:
        """Who is responsible for a lease that is taken now; `None` where nobody will ask."""
        is_asked_for = self._ledger.capacity is not None or resource_here.get() is not None
        return Owner(self.loop.task_here) if is_asked_for else None

    def _raise_failure(self, request: Request) -> None:
        """Every request gets an exception of its own; the original is shared as the cause."""
        error = request.error
        if isinstance(error, CapacityDeadlockError):
            raise error
        if request.failed_want is None:  # else it is about what an opening has asked for
            if isinstance(error, (CapacityExceededError, QueueFullError)):
                raise error
            if isinstance(error, ProviderClosedError):
                raise ProviderClosedError(self._provider, is_draining=error.is_draining)
        want = request.failed_want or request.wants[0]
        assert error is not None
        outcome = outcome_of(error)
        if outcome is not None:
            raise outcome
        if isinstance(error, ModelSetupError) and error.resource_id == want.label:
            raise ModelSetupError(error.resource_id, error.reason, error.advice) from error.__cause__
        raise ModelSetupError(want.label, self._hooks.explain(want, error), advice_for(error)) from error

    async def _wait_until_closed(self, entry: Entry) -> None:
        await entry.resource.done.wait()
        failure = self._close_failures.take(entry)
        if failure is not None:
            raise failure


def _listener(request: Request) -> Event:
    """What is set when it is decided what becomes of the request, and of its crowd."""
    if request.listener is None:
        request.listener = Event()
    listener: Event = request.listener
    return listener

"""What a provider promises to those who lease: one test a promise, through the public face only."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import CancelScope, Event, create_task_group, move_on_after
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked
from tests.checkpoints import suspensions
from tests.resources import ThingProvider

from doteval import (
    CapacityDeadlockError,
    CapacityExceededError,
    HandleInactiveError,
    ModelSetupError,
    PooledProvider,
    PoolEvent,
    ProviderClosedError,
    ProviderNotEnteredError,
    SpecError,
    WrongEventLoopError,
)

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


async def test_each_setup_gives_a_handle_of_its_own_on_one_resource() -> None:
    """Tearing down one handle leaves the other and the resource alone."""
    async with ThingProvider() as provider:
        first, second = await provider.setup("a"), await provider.setup("a")
        assert first is not second
        assert first.model is second.model
        await first.teardown()
        assert not first.is_active
        assert second.is_active
        await second.model.use()
    provider.assert_nothing_is_left()


async def test_teardown_is_idempotent_and_takes_effect_before_its_first_await() -> None:
    """The lease is over as soon as the coroutine has started; a second call changes nothing."""
    async with ThingProvider() as provider:
        handle = await provider.setup("a")
        coroutine = handle.teardown()
        coroutine.send(None)
        assert not handle.is_active
        assert provider.statistics().active_leases == 0
        coroutine.close()
        await handle.teardown()
        assert provider.statistics().leases == 1


async def test_the_model_of_an_inactive_handle_says_why() -> None:
    """Torn down by you, closed by id, provider closed, resource lost: each reason is in the message."""
    provider = ThingProvider()
    async with provider:
        mine, by_id, lost, left = [await provider.setup(spec) for spec in ("mine", "by id", "lost", "left")]
        lost.model.break_down()
        await mine.teardown()
        await provider.teardown("by id")
        while lost.is_active:
            await checkpoint()
        await wait_all_tasks_blocked()
    for handle, reason in [
        (mine, "you tore it down"),
        (by_id, r"its provider's teardown\(\) was called"),
        (left, "the provider was closed"),
        (lost, r"its resource was lost \(ConnectionError: lost broke\)"),
    ]:
        with pytest.raises(HandleInactiveError, match=reason):
            _ = handle.model
        assert "inactive" in repr(handle)


async def test_two_configurations_are_two_resources() -> None:
    """Spec and configuration together are the key; their order does not matter, their types do."""
    async with ThingProvider() as provider:
        provider.live.clear()
        plain = await provider.setup("a")
        await plain.teardown()
        await provider.teardown("a")
        one = await provider.setup("a", x=1, y={"deep": [1, 2]})
        same = await provider.setup("a", y={"deep": [1, 2]}, x=1)
        assert one.resource_id == same.resource_id
        assert one.resource_id.startswith("a#")
        assert one.model is same.model
        assert provider.opened["a"] == 2


async def test_concurrent_setups_open_once_and_a_cancelled_caller_just_leaves() -> None:
    """The first caller is cancelled while it waits; the second still gets the one opening."""
    async with ThingProvider() as provider:
        provider.gates["a"] = Event()
        got: list[str] = []

        async def first() -> None:
            with scope:
                await provider.setup("a")
                got.append("first")

        async def second() -> None:
            async with await provider.setup("a"):
                got.append("second")

        scope = CancelScope()
        async with create_task_group() as task_group:
            task_group.start_soon(first)
            await wait_all_tasks_blocked()
            task_group.start_soon(second)
            await wait_all_tasks_blocked()
            scope.cancel()
            await wait_all_tasks_blocked()
            provider.gates["a"].set()
        assert got == ["second"]
        assert provider.opened["a"] == 1


async def test_the_opening_is_cancelled_when_the_last_caller_leaves() -> None:
    """A newcomer during that abort waits for its end, and then starts afresh."""
    async with ThingProvider() as provider:
        provider.gates["a"] = Event()

        async def caller(scope: CancelScope) -> None:
            with scope:
                await provider.setup("a")

        scopes = [CancelScope(), CancelScope()]
        async with create_task_group() as task_group:
            for scope in scopes:
                task_group.start_soon(caller, scope)
            await wait_all_tasks_blocked()
            scopes[0].cancel()
            await wait_all_tasks_blocked()
            assert provider.statistics().opening == 1
            scopes[1].cancel()
            while not provider.statistics().closing:
                await checkpoint()
            provider.gates.clear()
            async with await provider.setup("a") as handle:
                await handle.model.use()
        assert provider.statistics().open_cancellations == 1
        assert provider.opened["a"] == 1


async def test_a_failed_opening_is_told_to_every_waiter_in_an_exception_of_its_own() -> None:
    """Each has the seed's wording and the original as its cause; the next setup tries again."""
    async with ThingProvider() as provider:
        original = OSError("connection refused")
        provider.trouble["a"] = [original]
        errors: list[ModelSetupError] = []

        async def caller() -> None:
            try:
                await provider.setup("a")
            except ModelSetupError as exc:
                errors.append(exc)

        async with create_task_group() as task_group:
            for _ in range(5):
                task_group.start_soon(caller)
        assert len({id(error) for error in errors}) == 5
        (cause,) = {error.__cause__ for error in errors}
        assert isinstance(cause, ExceptionGroup)  # the provider holds a task group open around its opening
        assert cause.exceptions == (original,)
        assert str(errors[0]) == (
            "Failed to setup resource 'a': OSError: connection refused\nEnsure the service is running and accessible."
        )
        assert (await provider.setup("a")).is_active
        assert provider.statistics().open_failures == 1


async def test_a_resource_that_breaks_hurts_only_its_own_handles() -> None:
    """Its handles become inactive, nobody is cancelled, and the next setup opens a new generation."""
    async with ThingProvider() as provider:
        broken, fine = await provider.setup("a"), await provider.setup("b")
        broken.model.break_down()
        while broken.is_active:
            await checkpoint()
        await fine.model.use()
        async with await provider.setup("a") as again:
            await again.model.use()
            await broken.teardown()
            assert again.is_active
        assert provider.statistics().losses == 1
    provider.assert_nothing_is_left()


async def test_set_up_in_one_task_used_in_others_torn_down_in_a_fourth_in_any_order() -> None:
    """The resources hold task groups open; none of that matters to those who use them."""
    async with ThingProvider(keep_alive=0) as provider:
        handles: dict[str, Any] = {}

        async def set_up(spec: str) -> None:
            handles[spec] = await provider.setup(spec)

        async def use(spec: str) -> None:
            await handles[spec].model.use()

        async def tear_down() -> None:
            for spec in ("a", "c", "b"):
                await handles[spec].teardown()

        for spec in ("a", "b", "c"):
            async with create_task_group() as task_group:
                task_group.start_soon(set_up, spec)
        async with create_task_group() as task_group:
            for spec in handles:
                task_group.start_soon(use, spec)
        async with create_task_group() as task_group:
            task_group.start_soon(tear_down)
        assert provider.statistics().open == 0
    provider.assert_nothing_is_left()


async def test_what_is_in_use_is_never_evicted_and_the_least_recently_used_goes_first() -> None:
    """With two slots: a is held, b is idle, so c takes b's place."""
    async with ThingProvider(capacity=2) as provider:
        async with await provider.setup("a") as held:
            await (await provider.setup("b")).teardown()
            async with await provider.setup("c"):
                await held.model.use()
                assert provider.live["b"] == 0
        assert provider.most_live == 2


async def test_named_slots_are_handed_to_open() -> None:
    """A resource of two slots gets two names, and nobody else gets them meanwhile."""
    seen: dict[str, tuple[str, ...]] = {}

    class OnGPUs(PooledProvider[str]):
        def slots(self, spec: str, /, **config: Any) -> int:
            return 2 if spec == "big" else 1

        @asynccontextmanager
        async def open(self, spec: str, /, *, slots: tuple[str, ...]) -> AsyncIterator[str]:
            seen[spec] = slots
            yield spec

    async with OnGPUs(capacity=["GPU-a", "GPU-b", "GPU-c"]) as provider:
        async with provider.setup("big"), provider.setup("small"):
            pass
    assert seen == {"big": ("GPU-a", "GPU-b"), "small": ("GPU-c",)}


async def test_waiting_for_ones_own_slot_is_an_error_that_names_the_holder() -> None:
    """With one slot, asking for b while holding a would never end."""
    async with ThingProvider(capacity=1) as provider:
        async with await provider.setup("a"):
            with pytest.raises(CapacityDeadlockError, match=r"'a': 1 slot, leased by task .*\n.*asks for 'b'"):
                await provider.setup("b")
        async with await provider.setup("b") as handle:
            await handle.model.use()


async def test_entering_a_handle_makes_the_entering_task_responsible() -> None:
    """A handle that another task has entered no longer counts against the one that set it up."""
    async with ThingProvider(capacity=1) as provider:
        handle = await provider.setup("a")
        leave = Event()

        async def holder(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            async with handle:
                task_status.started()
                await leave.wait()

        async with create_task_group() as task_group:
            await task_group.start(holder)

            async def let_go() -> None:
                await wait_all_tasks_blocked()
                leave.set()

            task_group.start_soon(let_go)
            async with await provider.setup("b") as other:
                await other.model.use()


@pytest.mark.parametrize("options", [{}, {"fast_acquire": True}, {"setup_timeout": 60}], ids=str)
@pytest.mark.parametrize("how", ["argument", "argument, not entered", "stream", "stream without a buffer"])
async def test_a_handle_that_is_given_to_a_task_is_that_tasks(how: str, options: dict[str, Any]) -> None:
    """With one slot: who gives it away may ask for the next at once, before the other one has run and entered it."""
    used: list[str] = []

    async def work(handle: Any) -> None:
        async with handle:
            await handle.model.use()
            used.append(handle.resource_id)

    async def end(handle: Any) -> None:
        used.append(handle.resource_id)
        await handle.teardown()

    async def consume(stream: Any) -> None:
        async with stream:
            async for handle in stream:
                await work(handle)

    async with ThingProvider(capacity=1, **options) as provider, create_task_group() as task_group:
        if how.startswith("argument"):
            for spec in "abcab":
                task_group.start_soon(work if how == "argument" else end, await provider.setup(spec))
        else:
            send, receive = anyio.create_memory_object_stream[Any](0 if how == "stream without a buffer" else 5)
            task_group.start_soon(consume, receive)
            async with send:
                for spec in "abcab":
                    await send.send(await provider.setup(spec))
    assert used == list("abcab")
    provider.assert_nothing_is_left()


async def test_setup_many_takes_all_or_nothing() -> None:
    """Two tasks that both want a and b cannot hold one each and wait for the other."""
    async with ThingProvider(capacity=2) as provider:

        async def both(*specs: str) -> None:
            handles = await provider.setup_many(*specs)
            for handle in handles:
                await handle.model.use()
            for handle in handles:
                await handle.teardown()

        async with create_task_group() as task_group:
            for specs in (("a", "b"), ("b", "a"), ("c", "a"), ("b", "c")):
                task_group.start_soon(both, *specs)
        assert await provider.setup_many() == ()
        with pytest.raises(CapacityExceededError):
            await provider.setup_many("a", "b", "c")
    provider.assert_nothing_is_left()


async def test_leaving_closes_everything_and_collects_every_failure() -> None:
    """One close fails: the others happen all the same, and the failure is raised at the end."""
    provider = ThingProvider()
    provider.close_trouble = {"a": OSError("a will not close"), "c": OSError("c will not close")}
    with pytest.raises(ExceptionGroup) as caught:
        async with provider:
            for spec in ("a", "b", "c"):
                await provider.setup(spec)
    assert {str(exc) for exc in caught.value.exceptions} == {"a will not close", "c will not close"}
    provider.assert_nothing_is_left()


async def test_a_failed_close_that_nobody_waited_for_is_raised_at_the_end() -> None:
    """The failure of an eviction is not lost."""
    provider = ThingProvider(capacity=1)
    provider.close_trouble = {"a": OSError("a will not close")}
    with pytest.raises(ExceptionGroup, match="closing ThingProvider failed"):
        async with provider:
            await (await provider.setup("a")).teardown()
            async with await provider.setup("b") as handle:
                await handle.model.use()


async def test_with_keep_alive_zero_the_last_teardown_raises_what_closing_raised() -> None:
    """It is told once: not again when the provider closes."""
    async with ThingProvider(keep_alive=0) as provider:
        provider.close_trouble = {"a": OSError("a will not close")}
        first, second = await provider.setup("a"), await provider.setup("a")
        await first.teardown()
        with pytest.raises(OSError, match="a will not close"):
            await second.teardown()
        assert provider.statistics().close_failures == 1


async def test_an_exception_of_the_block_stays_what_it_is() -> None:
    """It is neither swallowed nor wrapped in a group."""
    with pytest.raises(KeyError, match="mine"):
        async with ThingProvider() as provider:
            await provider.setup("a")
            raise KeyError("mine")
    provider.assert_nothing_is_left()


async def test_teardown_all_closes_everything_and_the_provider_stays_usable() -> None:
    """Handles become inactive; the next setup opens again."""
    async with ThingProvider() as provider:
        handles = await provider.setup_many("a", "b")
        await provider.teardown_all()
        assert not any(handle.is_active for handle in handles)
        assert provider.statistics().open == 0
        async with await provider.setup("a") as again:
            await again.model.use()


async def test_the_callers_cancellation_is_delivered_after_teardown_all() -> None:
    """All is closed first, in a shield; then the caller is cancelled."""
    async with ThingProvider() as provider:
        await provider.setup("a")
        with CancelScope() as scope:
            scope.cancel()
            await provider.teardown_all()
            pytest.fail("not cancelled")
        assert scope.cancelled_caught
        assert provider.statistics().open == 0


async def test_waiters_are_told_when_the_provider_closes() -> None:
    """One waits for an opening, one for a slot: both hear ProviderClosedError instead of waiting for ever."""
    provider = ThingProvider(capacity=1)
    provider.gates = {"a": Event(), "b": Event()}
    told: list[type[BaseException]] = []

    async def caller(spec: str) -> None:
        try:
            await provider.setup(spec)
        except ProviderClosedError as exc:
            told.append(type(exc))

    async with create_task_group() as task_group:
        async with provider:
            task_group.start_soon(caller, "a")
            task_group.start_soon(caller, "b")
            await wait_all_tasks_blocked()
    assert told == [ProviderClosedError, ProviderClosedError]
    provider.assert_nothing_is_left()


async def test_use_before_entering_and_after_closing_is_an_error_that_says_what_to_do() -> None:
    """Both at once, without waiting."""
    provider = ThingProvider()
    with pytest.raises(ProviderNotEnteredError, match="async with ThingProvider"):
        await provider.setup("a")
    async with provider:
        handle = await provider.setup("a")
        with pytest.raises(RuntimeError, match="entered already"):
            await provider.__aenter__()
    with pytest.raises(ProviderClosedError, match="'async with' block has ended"):
        await provider.setup("a")
    await handle.teardown()
    async with provider:
        assert (await provider.setup("a")).is_active


def test_use_from_another_loop_is_an_error_that_says_what_to_do() -> None:
    """A provider entered in this thread's loop refuses a loop in another thread, on either backend."""

    async def main(inner: str) -> None:
        async with ThingProvider() as provider:
            handle = await provider.setup("a")

            async def foreign() -> None:
                with pytest.raises(WrongEventLoopError, match="belongs to another event loop"):
                    await provider.setup("a")
                with pytest.raises(WrongEventLoopError):
                    await handle.teardown()

            await anyio.to_thread.run_sync(lambda: anyio.run(foreign, backend=inner))
            assert handle.is_active

    for outer, inner in [("asyncio", "asyncio"), ("trio", "trio"), ("asyncio", "trio"), ("trio", "asyncio")]:
        anyio.run(main, inner, backend=outer)


@pytest.mark.parametrize("spec", ["", "  ", " a", "a\n", "--trust-remote-code", 5, None, ["a"]])
async def test_what_cannot_be_a_spec_is_refused(spec: Any) -> None:
    """The error shows it and gives an example of a good one."""
    async with ThingProvider() as provider:
        with pytest.raises(SpecError, match="is not a model spec"):
            await provider.setup(spec)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 0}, "capacity must be at least 1 slot"),
        ({"capacity": True}, "capacity must be at least 1 slot"),
        ({"capacity": "gpu0"}, "capacity must be a number of slots or a list"),
        ({"capacity": ["gpu0", "gpu0"]}, "none twice"),
        ({"keep_alive": -1}, "keep_alive is a number of seconds"),
        ({"setup_timeout": float("nan")}, "setup_timeout is a number of seconds"),
        ({"max_concurrent_opens": 0}, "max_concurrent_opens must be a whole number of at least 1"),
    ],
)
def test_bad_options_are_refused_when_the_provider_is_made(options: dict[str, Any], message: str) -> None:
    """Not when they first matter."""
    with pytest.raises(ValueError, match=message):
        ThingProvider(**options)


async def test_on_event_gets_every_transition_and_cannot_do_harm() -> None:
    """The events tell the whole story of two resources; what the callback raises is logged."""
    events: list[PoolEvent] = []

    def note(event: PoolEvent) -> None:
        events.append(event)
        if event.kind == "opened":
            raise ValueError("a bad callback")

    async with ThingProvider(capacity=1, on_event=note) as provider:
        async with await provider.setup("a"):
            pass
        provider.trouble["b"] = [OSError("no")]
        with pytest.raises(ModelSetupError):
            await provider.setup("b")
    assert [(event.kind, event.resource_id) for event in events] == [
        ("opening", "a"),
        ("opened", "a"),
        ("leased", "a"),
        ("released", "a"),
        ("closing", "a"),
        ("closed", "a"),
        ("opening", "b"),
        ("open_failed", "b"),
    ]
    assert events[4].reason == "evicted: its slots are needed"
    assert events[-1].reason == "OSError: no"


async def test_no_secret_is_seen_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    """Not in ids, reprs, events, log records or error messages, though the key is in the configuration."""
    caplog.set_level(logging.DEBUG, "doteval")
    events: list[PoolEvent] = []
    secret = "sk-very-secret"
    async with ThingProvider(on_event=events.append) as provider:
        handle = await provider.setup("a", api_key=secret, headers={"Authorization": f"Bearer {secret}"})
        await provider.teardown(handle.resource_id)
        provider.trouble["a"] = [OSError(f"refused key {secret} for http://user:{secret}@host/")]
        with pytest.raises(ModelSetupError) as caught:
            await provider.setup("a", api_key=secret)
        seen = [
            repr(handle),
            handle.resource_id,
            repr(provider),
            str(provider.statistics()),
            str(caught.value),
            caplog.text,
        ]
        assert not any(secret in text for text in [*seen, *map(repr, events)])
        assert "refused key ***" in str(caught.value)


@pytest.mark.parametrize("fast", [False, True])
async def test_the_log_tells_of_the_end_of_what_it_has_told_of(caplog: pytest.LogCaptureFixture, fast: bool) -> None:
    """And of nothing else, where somebody begins to listen later."""
    async with ThingProvider(fast_acquire=fast) as provider:
        before = await provider.setup("a")
        caplog.set_level(logging.DEBUG, "doteval")
        handles = [await provider.setup(spec) for spec in "abba"]
        for handle in (before, *handles):
            await handle.teardown()
        assert [caplog.text.count(f": {kind} 'a'") for kind in ("leased", "released")] == [2, 2]
        assert [caplog.text.count(f": {kind} 'b'") for kind in ("leased", "released")] == [2, 2]


async def test_statistics_and_repr_show_the_counts() -> None:
    """A snapshot does not change afterwards; the repr shows what a test may assert on."""
    async with ThingProvider(capacity=3) as provider:
        before = provider.statistics()
        first, _ = await provider.setup_many("a", "b")
        await first.teardown()
        assert repr(provider) == (
            "<ThingProvider open=2 (idle=1) opening=0 closing=0 leases=1 waiting=0, 1 of 3 slots free>"
        )
        assert before.opens == 0
        assert provider.statistics().opens == 2
    assert repr(provider) == "<ThingProvider closed>"
    assert provider.statistics().closes == 2


@pytest.mark.parametrize("fast", [False, True])
async def test_checkpoints_are_where_the_docstrings_say(fast: bool) -> None:
    """Warm setup and teardown each let others run, unless `fast_acquire` is set."""
    async with ThingProvider(fast_acquire=fast) as provider:
        await (await provider.setup("a")).teardown()
        handles: list[Any] = []

        async def set_up() -> None:
            handles.append(await provider.setup("a"))

        async def tear_down() -> None:
            await handles.pop().teardown()

        assert await suspensions(set_up) == (0 if fast else 1)
        assert await suspensions(tear_down) == (0 if fast else 1)
        assert await suspensions(lambda: provider.teardown("never-set-up")) == 1


async def test_setup_in_a_cancelled_scope_takes_nothing() -> None:
    """The cancellation is raised before anything is leased."""
    async with ThingProvider() as provider:
        await (await provider.setup("a")).teardown()
        with CancelScope() as scope:
            scope.cancel()
            await provider.setup("a")
            pytest.fail("not cancelled")
        assert provider.statistics().active_leases == 0
        assert provider.statistics().leases == 1


async def test_all_who_wait_for_a_closing_are_told_what_it_raised() -> None:
    """And not told again at the end."""
    async with ThingProvider() as provider:
        provider.close_trouble = {"a": OSError("a will not close")}
        await provider.setup("a")
        told: list[str] = []

        async def tear_down() -> None:
            with pytest.raises(OSError, match="will not close") as caught:
                await provider.teardown("a")
            told.append(str(caught.value))

        async with create_task_group() as task_group:
            for _ in range(3):
                task_group.start_soon(tear_down)
        assert len(told) == 3


@pytest.mark.parametrize("end", ["release", "teardown", "teardown_all", "broken", "lost", "cancelled", "exit"])
@pytest.mark.parametrize("options", [{}, {"keep_alive": 0}, {"capacity": 1}, {"health_after": 0}], ids=str)
async def test_each_lease_that_was_told_of_is_told_of_when_it_ends(end: str, options: dict[str, Any]) -> None:
    """Whoever ends it; so that who counts them is right."""
    events: list[PoolEvent] = []
    balance: list[int] = []

    def note(event: PoolEvent) -> None:
        events.append(event)
        kinds = [event.kind for event in events]
        balance.append(kinds.count("leased") - kinds.count("released"))

    async with ThingProvider(on_event=note, **options) as provider:
        first, _, third = [await provider.setup("a") for _ in range(3)]
        await third.teardown()
        assert balance[-1] == provider.statistics().active_leases == 2
        if end == "release":
            await first.teardown()
        elif end == "teardown":
            await provider.teardown("a")
        elif end == "teardown_all":
            await provider.teardown_all()
        elif end == "broken":
            first.report_broken(OSError("it broke"))
        elif end == "lost":
            first.model.break_down()
            await wait_all_tasks_blocked()
        elif end == "cancelled":
            with move_on_after(0):
                await provider.setup("a")
        assert balance[-1] == provider.statistics().active_leases
    assert balance[-1] == 0
    assert min(balance) == 0

"""A broken resource reaches at most those who hold it, and the next one is opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from anyio import Event, create_task_group
from anyio.lowlevel import checkpoint
from tests.blocked import wait_all_tasks_blocked
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.resources import Thing, ThingProvider

from doteval import HandleInactiveError, ModelHandle, ModelProvider, PooledProvider, PoolEvent

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

OPTIONS: list[dict[str, Any]] = [{}, {"capacity": 2}, {"keep_alive": 0}, {"health_after": 0}, {"fast_acquire": True}]


class Session:
    """What an MCP client has: it works until its server dies, and is not told."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_dead = False

    async def call(self) -> int:
        await checkpoint()
        if self.is_dead:
            raise ConnectionError("Connection closed")
        return self.number


class SessionProvider(PooledProvider[Session]):
    """Opens sessions, and remembers them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sessions: list[Session] = []
        self.live = 0

    @asynccontextmanager
    async def open(self, spec: str, /, *args: Any, **config: Any) -> AsyncIterator[Session]:
        await checkpoint()
        session = Session(len(self.sessions))
        self.sessions.append(session)
        self.live += 1
        try:
            yield session
        finally:
            self.live -= 1


class GlancingProvider(SessionProvider):
    """Its sessions know that they are dead."""

    def is_broken(self, model: Session, /) -> bool:
        return model.is_dead


class JudgingProvider(SessionProvider):
    """It knows which exceptions mean that a session is dead."""

    def breaks(self, error: Exception, /) -> bool:
        return isinstance(error, ConnectionError)


async def report(provider: SessionProvider) -> None:
    handle = await provider.setup("mcp")
    try:
        await handle.model.call()
    except ConnectionError as exc:
        handle.report_broken(exc)
    finally:
        await handle.teardown()


async def just_leave(provider: SessionProvider) -> None:
    with suppress(ConnectionError):
        async with await provider.setup("mcp") as handle:
            await handle.model.call()


FINDERS = [(SessionProvider, report), (GlancingProvider, just_leave), (JudgingProvider, just_leave)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("kind", "find_out"), FINDERS, ids=["reported", "at a glance", "by its exception"])
async def test_after_the_first_report_nobody_gets_the_dead_one(
    kind: type[SessionProvider], find_out: Any, options: dict[str, Any]
) -> None:
    """A busy session dies under a hundred who lease it again and again, and one who never lets go."""
    got: list[int] = []
    async with kind(**options) as provider:
        busy = await provider.setup("mcp")
        busy.model.is_dead = True
        await find_out(provider)

        async def lease() -> None:
            async with await provider.setup("mcp") as handle:
                got.append(await handle.model.call())

        async with create_task_group() as task_group:
            for _ in range(100):
                task_group.start_soon(lease)
        assert not busy.is_active
        await busy.teardown()
    assert set(got) <= ({1} if options.get("keep_alive") is None else set(range(1, 101)))
    assert len(got) == 100
    assert provider.live == 0
    assert provider.statistics().losses == 1


@pytest.mark.parametrize("options", OPTIONS, ids=str)
async def test_it_is_looked_at_whenever_somebody_gives_it_back(options: dict[str, Any]) -> None:
    """So those who hold it are told, before anybody else asks for it."""
    async with GlancingProvider(**options) as provider:
        first, second = await provider.setup("mcp"), await provider.setup("mcp")
        first.model.is_dead = True
        assert first.is_active
        await second.teardown()
        assert not first.is_active
        assert provider.statistics().losses == 1


async def test_all_who_hold_it_are_told_why() -> None:
    """With the exception of the one who has found out, without secrets; the reporter's own handle as well."""

    class SecretProvider(SessionProvider):
        def secrets(self) -> tuple[str, ...]:
            return ("hunter2-hunter2",)

    async with SecretProvider() as provider:
        handles = [await provider.setup("mcp") for _ in range(3)]
        handles[0].report_broken(ConnectionError("bad password hunter2-hunter2"))
        for handle in handles:
            with pytest.raises(
                HandleInactiveError, match=r"its resource was lost \(ConnectionError: bad password \*\*\*"
            ):
                _ = handle.model


async def test_a_late_report_hurts_no_later_resource() -> None:
    """Each of those who held the dead one may report it, also when the next one is in use."""
    async with SessionProvider() as provider:
        old = [await provider.setup("mcp") for _ in range(5)]
        old[0].report_broken(ConnectionError())
        new = await provider.setup("mcp")
        for handle in old:
            handle.report_broken(ConnectionError())
        assert new.is_active
        await new.teardown()
        new.report_broken(ConnectionError())  # it is not the reporter's any more
        assert (await provider.setup("mcp")).model is provider.sessions[1]
    assert len(provider.sessions) == 2


@pytest.mark.parametrize("by_itself", [True, False])
async def test_events_tell_that_it_was_lost_and_then_closed(by_itself: bool) -> None:
    """In this order, with the reason; where it breaks by itself, that is known at the end only."""
    seen: list[str] = []

    def note(event: PoolEvent) -> None:
        seen.append(f"{event.kind} {event.generation} {event.reason}".strip())

    async with ThingProvider(on_event=note) as provider:
        handle = await provider.setup("mcp")
        del seen[:]
        if by_itself:
            handle.model.break_down()
        else:
            handle.report_broken(ConnectionError("mcp broke"))
        await wait_all_tasks_blocked()
    reason = "ConnectionError: mcp broke"
    if by_itself:
        assert seen == ["lost 1 it broke", "released 1 it broke", f"closed 1 {reason}"]
    else:
        assert seen == [f"{kind} 1 {reason}" for kind in ("lost", "closing", "released", "closed")]


async def test_who_waits_for_a_slot_gets_it_when_the_broken_one_is_closed() -> None:
    """Not before: two live resources would need two slots."""
    provider = ThingProvider(capacity=1)
    provider.close_gates["a"] = Event()
    async with provider:
        handle = await provider.setup("a")
        order: list[str] = []

        async def lease() -> None:
            async with await provider.setup("b"):
                order.append("leased")

        async with create_task_group() as task_group:
            task_group.start_soon(lease)
            await wait_all_tasks_blocked()
            handle.report_broken(OSError())
            await wait_all_tasks_blocked()
            order.append("closing")
            provider.close_gates["a"].set()
    assert order == ["closing", "leased"]
    provider.assert_nothing_is_left()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
async def test_cancelled_at_every_checkpoint_nothing_is_left(options: dict[str, Any]) -> None:
    """Of who reports, and of who comes after."""

    async def trial(k: int) -> bool:
        async with ThingProvider(**options) as provider:

            async def scenario() -> None:
                async with await provider.setup("a") as handle:
                    await handle.model.use()
                    handle.report_broken(OSError())
                async with await provider.setup("a") as handle:
                    await handle.model.use()

            reached = await cancelled_at(k, scenario)
            await wait_all_tasks_blocked()
            async with await provider.setup("a") as handle:
                await handle.model.use()
        provider.assert_nothing_is_left()
        return reached

    assert await at_every_checkpoint(trial) > 2


async def test_is_broken_is_asked_of_each_of_several_and_may_raise() -> None:
    """`setup_many` gets no dead one either; one that cannot be asked is as good as dead."""

    class RaisingProvider(ThingProvider):
        def is_broken(self, model: Thing, /) -> bool:
            if model.is_healthy:
                return False
            raise OSError("cannot tell")

    async with RaisingProvider() as provider:
        first = await provider.setup_many("a", "b")
        first[1].model.is_healthy = False
        second = await provider.setup_many("a", "b")
        assert [a.is_active for a in first] == [True, False]
        assert second[0].model is first[0].model
    provider.assert_nothing_is_left()


async def test_an_exception_that_does_not_break_it_changes_nothing() -> None:
    """Nor does one that `breaks` itself stumbles over."""

    class Stumbling(JudgingProvider):
        def breaks(self, error: Exception, /) -> bool:
            return super().breaks(error) or bool(1 / 0)

    async with Stumbling() as provider:
        with pytest.raises(ValueError, match="mine"):
            async with await provider.setup("mcp"):
                raise ValueError("mine")
        async with await provider.setup("mcp"):
            pass
    assert len(provider.sessions) == 1


async def test_a_handle_of_a_provider_without_a_pool_takes_reports_too() -> None:
    """The same code runs with whatever provider."""

    class Plain(ModelProvider[str]):
        async def setup(self, spec: str, /, **config: Any) -> ModelHandle[str]:
            return ModelHandle(spec, "model", self)

        async def teardown(self, resource_id: str, /) -> None:
            await checkpoint()

    async with Plain() as provider, await provider.setup("a") as handle:
        handle.report_broken(OSError())
        assert handle.model == "model"


async def test_breaks_is_asked_about_the_members_of_a_group() -> None:
    """The block held a task group, whose exceptions come in a group."""
    async with JudgingProvider() as provider:
        with pytest.raises(ExceptionGroup):
            async with provider.setup("mcp") as handle, create_task_group() as task_group:
                handle.model.is_dead = True
                task_group.start_soon(handle.model.call)
        async with provider.setup("mcp"):
            pass
    assert len(provider.sessions) == 2


@pytest.mark.parametrize("options", [{}, {"capacity": 2}, {"fast_acquire": True}], ids=str)
async def test_what_broke_while_it_was_idle_is_leased_to_nobody(options: dict[str, Any]) -> None:
    async with GlancingProvider(**options) as provider:
        await (await provider.setup("a")).teardown()
        provider.sessions[0].is_dead = True
        async with provider.setup("a") as handle:
            assert await handle.model.call() == 1

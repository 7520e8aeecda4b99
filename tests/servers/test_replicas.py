"""Replicas: several servers of one model, of which each request gets the least busy one, and the dead are replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from anyio import Event, create_task_group, fail_after, sleep_forever, wait_all_tasks_blocked
from tests.servers.lights import KEYED, PATIENCE, Events, get, light

from doteval import (
    CapacityExceededError,
    ModelRequestError,
    ModelSetupError,
    ServerLostError,
    ServerProvider,
    ServerStartError,
    VLLMProvider,
)
from doteval.providers._served import replicas as module
from doteval.providers._served.balancing import Balancer
from doteval.providers._served.replicas import Replica, Replicas
from doteval.providers._served.replicas import replicated as opened
from doteval.providers._served.restarting import RestartingHandle
from doteval.servers import LeaseListener, LocalLauncher
from doteval.servers._local.runtime import Runtime

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency, pytest.mark.process]


@pytest.fixture
def launcher(runtime: Runtime) -> LocalLauncher:
    return LocalLauncher(runtime.root)


def replicated(launcher: LocalLauncher, *options: str, replicas: int = 2, **settings: Any) -> ServerProvider:
    settings = {"capacity": replicas, "max_retries": 0} | settings
    return ServerProvider(light(*options), replicas=replicas, launcher=launcher, **settings)


async def test_each_request_goes_to_the_least_busy_one(launcher: LocalLauncher) -> None:
    """Also those of the SDK's client, and streams, each with its server's key; the resource is one, with one lease."""
    events = Events()
    settings: Any = {"secret_environment": KEYED, "on_event": events}
    async with replicated(launcher, **settings) as provider, await provider.setup("m") as handle:
        await events.until("replica_opened", 2)
        model = handle.model
        assert len({str(await model.generate("Hello")) for _ in range(2)}) == 2
        async with model.stream("Hello") as stream:  # as long as it is open, its server is busy
            assert len({str(await model.generate("Hello")) for _ in range(3)}) == 1
            assert "".join([str(piece) async for piece in stream]) == "onetwothree"
        hello: Any = [{"role": "user", "content": "Hello"}]
        replies = [await model.client.chat.completions.create(model="m", messages=hello) for _ in range(2)]
        assert len({reply.choices[0].message.content for reply in replies}) == 2
        counts = provider.statistics()
    assert (counts.opens, counts.open, counts.active_leases, counts.free_slots) == (1, 1, 1, 0)
    assert len(launcher.starts) == 2


async def test_a_busy_one_is_left_alone(launcher: LocalLauncher) -> None:
    """While one request takes its time at one of them, all others go to the other one."""
    events = Events()
    async with replicated(launcher, on_event=events) as provider, await provider.setup("m") as handle:
        await events.until("replica_opened", 2)
        first = handle.model.server
        async with create_task_group() as group:
            group.start_soon(handle.model.generate, "wait")
            await get(first, "/waiting?1")
            assert {str(await handle.model.generate("Hello")) for _ in range(5)} == {str(handle.model.server.pid)}
            assert handle.model.server.pid != first.pid
            group.cancel_scope.cancel()
        assert len({str(await handle.model.generate("Hello")) for _ in range(2)}) == 2


async def test_no_request_fails_while_one_after_the_other_is_killed(launcher: LocalLauncher) -> None:
    """Those under way are sent again to the other one; the dead are replaced, and told."""
    events = Events()
    async with replicated(launcher, on_event=events) as provider, await provider.setup("m") as handle:
        replies: list[str] = []

        async def ask() -> None:
            for _ in range(15):
                replies.append(str(await handle.model.generate("Hello")))
                if len(replies) % 10 == 5:
                    os.kill(int(replies[-1]), signal.SIGKILL)

        async with create_task_group() as group:
            for _ in range(4):
                group.start_soon(ask)
        await events.until("replica_lost", 6)
        await events.until("replica_opened", 8)
        counts = provider.statistics()
    assert len(replies) == 60
    assert (counts.losses, counts.opens, counts.replica_losses) == (0, 1, 6)
    assert "replica" in events.of("replica_lost")[0].reason


async def test_a_request_that_kills_its_servers_does_not_kill_many(launcher: LocalLauncher) -> None:
    """It is sent three times, the SDK's among them; others are served in between. One that only fails hurts nobody."""
    events = Events()
    settings: Any = {"max_retries": 5, "on_event": events}
    async with replicated(launcher, **settings) as provider, await provider.setup("m") as handle:
        await events.until("replica_opened", 2)
        with pytest.raises(ModelRequestError, match="502: it was sent 3 times, and the last server died"):
            await handle.model.generate("die")
        assert await handle.model.generate("Hello")
        with pytest.raises(ModelRequestError) as caught:
            await handle.model.generate("fail")
        assert caught.value.status == 500
        assert await handle.model.generate("Hello")
        assert handle.is_active
    assert len(events.of("replica_lost")) == 3
    assert not events.of("lost")


async def test_they_open_with_one_and_others_join_when_there_is_room(launcher: LocalLauncher) -> None:
    """Who waits for the second slot asks nobody of its own to make room; and all make room for others together."""
    events = Events()
    async with (
        ServerProvider(light(), capacity=2, launcher=launcher) as others,
        replicated(launcher, on_event=events) as provider,
    ):
        async with await others.setup("other"):
            handle = await provider.setup("m")
            await events.until("replica_opened")
            assert {str(await handle.model.generate("Hello")) for _ in range(3)} == {str(handle.model.server.pid)}
        await events.until("replica_opened", 2)
        assert len({str(await handle.model.generate("Hello")) for _ in range(2)}) == 2
        assert not events.of("retiring")
        await handle.teardown()
        async with await others.setup("other") as other:
            assert await other.model.generate("Hello")
            await events.until("closed")
        assert provider.statistics().losses == 0


async def test_who_asks_for_the_same_gets_the_same(launcher: LocalLauncher) -> None:
    """Another provider shares all of them, and one without replicas the first."""
    events = Events()
    async with (
        replicated(launcher, on_event=events) as one,
        replicated(LocalLauncher(launcher.runtime.root), on_event=events) as two,
        ServerProvider(light(), capacity=2, launcher=launcher) as single,
    ):
        async with await one.setup("m") as first, await two.setup("m") as second, await single.setup("m") as third:
            await events.until("replica_opened", 4)
            pids = [{str(await each.model.generate("Hello")) for _ in range(2)} for each in (first, second, third)]
    assert pids[0] == pids[1] > pids[2]
    assert len(launcher.starts) <= 2


async def test_there_are_not_more_than_there_are_slots(launcher: LocalLauncher) -> None:
    """Nobody waits for what cannot come."""
    async with replicated(launcher, replicas=3, capacity=2) as provider:
        with pytest.raises(CapacityExceededError, match="needs 3 slots"):
            await provider.setup("m")


async def test_parts_of_several_slots_are_counted_as_they_fit(launcher: LocalLauncher) -> None:
    """Pairs of halves are put on top of each other: the third slot stays whole, for none of them."""
    settings: Any = {"capacity": 3, "slots_needed": 2, "gpu_fraction": 0.5}
    async with replicated(launcher, replicas=3, **settings) as provider:
        with pytest.raises(
            ModelSetupError, match=r"replicas=3 with 0.5 of each of 2 slots .* slots that there are, it is 2"
        ):
            await provider.setup("m")
    events = Events()
    async with replicated(launcher, **settings, on_event=events) as provider, await provider.setup("m"):
        await events.until("replica_opened", 2)


async def test_a_model_that_does_not_start_fails_as_with_one_server(launcher: LocalLauncher) -> None:
    """With what the first one has said."""
    async with replicated(launcher, "trouble=model") as provider:
        with pytest.raises(ModelSetupError) as caught:
            await provider.setup("m")
        assert isinstance(caught.value.__cause__, ServerStartError)
        assert provider.statistics().open_failures == 1


# -------------------------------------------------------------------- with servers that are made up


class FakeLease:
    """A lease on a server that ends when it is told to."""

    def __init__(self, number: int) -> None:
        self.server: Any = type("Server", (), {"spec": "m", "number": number})()
        self.sleeps = False
        self.rests = 0
        self.lost: ServerLostError | None = None

    async def lease(self) -> bool:
        return True

    def rest(self) -> None:
        self.rests += 1

    async def ended(self) -> None:
        await sleep_forever()


class Listening:
    """Who is told what others want, and how it ends."""

    def __init__(self) -> None:
        self.lost: list[ServerLostError] = []

    def users(self) -> tuple[str]:
        return ("somebody",)

    def on_found(self) -> None:
        raise AssertionError

    def on_stuck(self, users: object, error: BaseException, /) -> None:
        raise AssertionError(error)

    def on_retiring(self, reason: str, /) -> None:
        raise AssertionError(reason)

    def on_resumed(self) -> None:
        raise AssertionError

    def on_lost(self, error: ServerLostError, /) -> None:
        self.lost.append(error)


class Fakes:
    """Launches of servers that fail as planned: `plan` says for each launch whether it starts."""

    def __init__(self, *plan: bool) -> None:
        self.plan = list(plan)
        self.launches = 0
        self.running: dict[int, Event] = {}
        self.is_orderly = self.is_stopped = False
        self.listener = Listening()
        self.news: list[str] = []

    def opened(self, number: int = 2) -> AbstractAsyncContextManager[Replicas]:
        return opened(self.launch, number, self.listener, lambda kind, _: self.news.append(kind))

    @asynccontextmanager
    async def launch(self, number: int, _listener: LeaseListener) -> AsyncGenerator[Any]:
        self.launches += 1
        if self.plan and not self.plan.pop(0):
            raise ServerStartError("m", f"no start {self.launches}", "Buy more.", stopped=self.is_stopped)
        ends = self.running[number] = Event()
        try:
            async with create_task_group() as group:

                async def end() -> None:
                    await ends.wait()
                    group.cancel_scope.cancel()

                group.start_soon(end)
                yield FakeLease(number)
        finally:
            del self.running[number]
        if not self.is_orderly:
            raise ServerLostError("m", "it died", "Pity.", stopped=self.is_stopped)

    async def until(self, launches: int, running: int) -> None:
        while (self.launches, len(self.running)) != (launches, running):
            await wait_all_tasks_blocked()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.001)


async def test_they_are_lost_when_none_is_left_and_the_next_one_does_not_start() -> None:
    """Not before: one that fails to start beside another is tried again."""
    fakes = Fakes()
    with pytest.raises(ServerLostError, match=r"^no start 5\nBuy more\."):
        async with fakes.opened() as replicas:
            await fakes.until(2, 2)
            fakes.plan = [False]
            fakes.running[1].set()
            await fakes.until(4, 2)
            assert (replicas.lost, fakes.listener.lost) == (None, [])
            fakes.plan = [False, False]  # the second has perhaps begun as well
            for ends in fakes.running.values():
                ends.set()
            await replicas.ended()
            await sleep_forever()
    with pytest.raises(ServerLostError):
        await replicas.next_one()
    assert fakes.running == {}
    assert [str(each) for each in fakes.listener.lost] == ["no start 5\nBuy more."]
    assert fakes.news == ["replica_opened"] * 2 + ["replica_lost", "replica_opened"] + ["replica_lost"] * 2


async def test_what_fails_before_one_is_ready_is_told_as_it_is() -> None:
    """As with one server, and not in a group."""
    fakes = Fakes(False, False, False)
    with pytest.raises(ServerStartError, match=r"^no start 1"):
        async with fakes.opened(3):
            await sleep_forever()
    assert fakes.running == {}


async def test_one_that_ends_in_order_is_not_replaced_before_they_are_used_again() -> None:
    """Somebody needs its slots, and nobody uses it."""
    fakes = Fakes()
    async with fakes.opened() as replicas:
        await fakes.until(2, 2)
        fakes.is_orderly = True
        replicas.rest()
        fakes.running[0].set()
        await fakes.until(2, 1)
        for _ in range(3):
            await wait_all_tasks_blocked()
        assert fakes.launches == 2
        assert await replicas.lease()
        await fakes.until(3, 2)
    assert fakes.running == {}
    assert "replica_lost" not in fakes.news


async def test_one_that_somebody_stops_stays_stopped_for_those_who_use_them_now() -> None:
    """The others serve; when they are used again, it is there again. What is stopped in its start stays so as well."""
    fakes = Fakes()
    fakes.is_stopped = True
    async with fakes.opened() as replicas:
        await fakes.until(2, 2)
        fakes.running[0].set()
        await fakes.until(2, 1)
        for _ in range(3):
            await wait_all_tasks_blocked()
        assert (fakes.launches, (await replicas.next_one()).number, replicas.lost) == (2, 1, None)
        replicas.rest()
        fakes.plan = [False]
        assert await replicas.lease()
        await fakes.until(3, 1)
        for _ in range(3):
            await wait_all_tasks_blocked()
        assert fakes.launches == 3
        replicas.rest()
        assert await replicas.lease()
        await fakes.until(4, 2)


@pytest.mark.parametrize("is_up", [True, False])
async def test_where_somebody_stops_all_of_them_they_are_lost(is_up: bool) -> None:
    """With the last one, which says that it was stopped; before any was ready, it is told as it is."""
    fakes = Fakes() if is_up else Fakes(False, False)
    fakes.is_stopped = True
    with pytest.raises(ServerLostError if is_up else ServerStartError) as told:
        async with fakes.opened() as replicas:
            await fakes.until(2, 2)
            for ends in fakes.running.values():
                ends.set()
            await replicas.ended()
            await sleep_forever()
    assert (told.value.stopped, fakes.launches) == (True, 2)


async def test_of_several_that_are_to_be_let_go_the_last_one_is_waited_for() -> None:
    """They are leased to nobody new as long as somebody needs the slots of one, and that has not ended."""
    said: list[str] = []
    ends = [Event(), Event()]
    listening: dict[int, LeaseListener] = {}

    class Told(Listening):
        def on_retiring(self, reason: str, /) -> None:
            said.append(reason)

        def on_resumed(self) -> None:
            said.append("resumed")

    @asynccontextmanager
    async def launch(number: int, listener: LeaseListener) -> AsyncGenerator[Any]:
        listening[number] = listener
        async with create_task_group() as group:

            async def end() -> None:
                await ends[number].wait()
                group.cancel_scope.cancel()

            group.start_soon(end)
            yield FakeLease(number)
        raise ServerLostError("m", "it died", "Pity.", stopped=True)

    async with opened(launch, 2, Told(), lambda *_: None):
        await wait_all_tasks_blocked()
        listening[0].on_retiring("stop")
        listening[1].on_retiring("needed")
        ends[0].set()
        await wait_all_tasks_blocked()
        listening[1].on_resumed()
        listening[1].on_resumed()
        assert said == ["stop", "needed", "resumed"]


async def test_a_resource_that_rests_waits_for_no_slots_and_who_uses_one_waits_for_no_other() -> None:
    """What has its slots gets ready, and rests as well; another one is waited for when the resource is used again."""
    listening: dict[int, LeaseListener] = {}
    leases = [FakeLease(number) for number in range(3)]
    opens, gets_ready, again = Event(), Event(), Event()
    launches: list[int] = []

    @asynccontextmanager
    async def launch(number: int, listener: LeaseListener) -> AsyncGenerator[Any]:
        launches.append(number)
        listening[number] = listener
        if number == 0:
            if len(launches) > 3:
                again.set()
            await sleep_forever()  # its slots are taken
        listener.on_found()
        await (opens if number == 1 else gets_ready).wait()
        yield leases[number]

    def users() -> list[int]:
        return [number for number in sorted(listening) if listening[number].users()]

    async with create_task_group() as group:

        async def look() -> None:
            await wait_all_tasks_blocked()
            assert users() == [0]
            opens.set()

        group.start_soon(look)
        async with opened(launch, 3, Listening(), lambda *_: None) as replicas:
            await wait_all_tasks_blocked()
            assert users() == [1]
            replicas.rest()
            gets_ready.set()
            await wait_all_tasks_blocked()
            assert users() == [1, 2]
            assert [lease.rests for lease in leases] == [0, 1, 1]
            assert sorted(launches) == [0, 1, 2]
            assert await replicas.lease()
            with fail_after(PATIENCE):
                await again.wait()
            assert sorted(launches) == [0, 0, 1, 2]
            assert users() == [1, 2]


async def test_one_that_has_failed_to_answer_is_asked_last() -> None:
    """It may be dying; where it is alone, it is asked."""
    fakes = Fakes()
    async with fakes.opened() as replicas:
        await fakes.until(2, 2)
        doubtful = await replicas.next_one()
        doubtful.doubt()
        other = await replicas.next_one()
        with replicas.asking(other):
            assert await replicas.next_one() is other is not doubtful
        assert await replicas.next_one([other]) is doubtful


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_one_that_refuses_draws_no_requests_to_itself(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the least busy one, as it has done its work at once; the others answer."""

    async def answer(_: Balancer, replica: Replica, *others: object) -> httpx2.Response:
        return httpx2.Response(status if replica.number == 0 else 200)

    monkeypatch.setattr(Balancer, "_asked", answer)
    fakes = Fakes()
    async with fakes.opened(3) as replicas:
        await fakes.until(3, 3)
        balancer = Balancer(replicas)
        for _ in range(9):
            assert (await balancer.handle_async_request(httpx2.Request("POST", "http://m/"))).status_code == 200
        await balancer.aclose()


@pytest.mark.parametrize(
    ("before", "status", "is_last"), [(0, 500, False), (2, 500, True), (7, 503, True), (7, 429, False), (0, 429, False)]
)
async def test_what_the_sdk_has_sent_before_counts(
    before: int, status: int, is_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it sends nothing more often either; but as often as it likes where the server only wants it to wait."""
    sent: list[int] = []

    async def answer(*_: object) -> httpx2.Response:
        sent.append(status)
        return httpx2.Response(status)

    monkeypatch.setattr(Balancer, "_asked", answer)
    request = httpx2.Request("POST", "http://m/", headers={"x-stainless-retry-count": str(before)})
    async with Fakes().opened(1) as replicas:
        balancer = Balancer(replicas)
        response = await balancer.handle_async_request(request)
        await balancer.aclose()
    assert sent == [status]
    assert (response.headers.get("x-should-retry") == "false") is is_last


async def test_a_handle_whose_replicas_are_lost_meanwhile_may_start_them_again() -> None:
    """That none gets ready any more is told by an error."""
    lost = ServerLostError("m", "it died", "Pity.")

    class Dying(FakeLease):
        async def ready(self) -> None:
            self.lost = lost
            raise lost

    model: Any = SimpleNamespace(lease=Dying(0))
    first: Any = SimpleNamespace(_get_model=lambda: model, resource_id="m", manager=None)
    for restarts in (1, 0):
        model.lease.lost = None
        handle = RestartingHandle(first, sleep_forever, restarts)
        assert await handle.may_try_again(model) is (restarts > 0)


async def test_a_request_waits_where_all_are_being_started_again() -> None:
    """It gets the first one that is ready."""
    fakes = Fakes()
    async with fakes.opened(1) as replicas, create_task_group() as group:
        await fakes.until(1, 1)
        first = await replicas.next_one()
        fakes.running[0].set()

        async def ask() -> None:
            while await replicas.next_one() is first:
                await wait_all_tasks_blocked()

        group.start_soon(ask)


# -------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "2", None])
def test_a_number_of_replicas_is_a_whole_one(launcher: LocalLauncher, value: Any) -> None:
    """At least one."""
    with pytest.raises(ValueError, match=r"^replicas must be a whole number of at least 1, not"):
        ServerProvider(light(), replicas=value, launcher=launcher)


def test_what_is_for_one_server_is_refused(launcher: LocalLauncher) -> None:
    """A port, sleep, and an adapter that is loaded into a server that runs."""
    with pytest.raises(ValueError, match=r"^port= is for one server of a model"):
        ServerProvider(light(), replicas=2, port=4711, launcher=launcher)
    with pytest.raises(ValueError, match=r"^max_sleeping= is for one server of a model"):
        VLLMProvider(replicas=2, max_sleeping=1, launcher=launcher)

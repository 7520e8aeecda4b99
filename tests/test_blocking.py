"""The blocking face: the same leases and errors for code that is not async; no thread is left behind."""

from __future__ import annotations

import copy
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import Event
from tests.llmock_server import LLMock
from tests.resources import Thing, ThingProvider

from doteval import (
    CapacityExceededError,
    ContextProvider,
    HandleInactiveError,
    ModelProvider,
    ModelProviders,
    ModelRequestError,
    ModelSetupError,
    ProviderClosedError,
)
from doteval.blocking import BlockingModel, entered
from doteval.testing import FakeModel, FakeProvider

pytestmark = pytest.mark.counts_open_files

BACKENDS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


@pytest.fixture(params=BACKENDS.values(), ids=BACKENDS)
def backend(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What `entered` is told about the event loop."""
    return request.param


@pytest.fixture
def server(mock_server: LLMock) -> LLMock:
    """A server for the tests with a real SDK."""
    mock_server.reset()
    return mock_server


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """The event loop's thread ends with the block."""
    before = set(threading.enumerate())
    yield
    # trio keeps idle worker threads for a while, to use them again; they are not ours
    left = [thread for thread in set(threading.enumerate()) - before if "Trio thread" not in thread.name]
    for thread in left:
        thread.join(60)  # anyio tells its own to end and does not wait for it
    assert not [thread for thread in left if thread.is_alive()]


def openai(server: LLMock) -> ModelProvider[Any]:
    from doteval import OpenAIProvider  # here, as importing the SDK takes longer than all tests without it

    return OpenAIProvider(api_key="sk-none", base_url=server.base_url("openai"))


def test_a_model_replies_to_code_that_is_not_async(backend: dict[str, Any], server: LLMock) -> None:
    """Setup, reply and teardown, over real HTTP with the real SDK."""
    with entered(openai(server), **backend) as provider:
        with provider.setup("gpt-4o") as handle:
            reply = handle.model.generate("Hello")
            assert reply
            assert reply.usage is not None
            assert handle.model.name == "gpt-4o"
            assert handle.resource_id == "gpt-4o"
        with pytest.raises(HandleInactiveError, match="you tore it down"):
            _ = handle.model
        handle.teardown()


def test_a_reply_is_read_while_it_is_made(backend: dict[str, Any], server: LLMock) -> None:
    """The pieces add up to the completion; a block that is left early ends the request."""
    with entered(openai(server), **backend) as provider, provider.setup("gpt-4o") as handle:
        with handle.model.stream("Tell me a story") as stream:
            pieces = list(stream)
        assert "".join(pieces) == stream.text == stream.completion
        with handle.model.stream("Tell me a story") as stream:
            next(iter(stream))
        with pytest.raises(RuntimeError, match="not read to its end"):
            _ = stream.completion
        assert handle.model.generate("Hello")


def test_it_routes_as_the_async_face_does(backend: dict[str, Any], server: LLMock) -> None:
    """`ModelProviders` is entered just as a provider is."""
    with entered(ModelProviders({"openai": openai(server)}), **backend) as providers:
        with providers.setup("openai:gpt-4o") as handle:
            assert handle.model.generate("Hello")


def test_threads_share_one_resource(backend: dict[str, Any]) -> None:
    """Ten threads ask at once: it is opened once, and each has a lease of its own."""
    things = ThingProvider()
    with entered(things, **backend) as provider:

        def use(_: int) -> None:
            with provider.setup("a") as handle:
                handle.call(Thing.use)

        with ThreadPoolExecutor(10) as threads:
            list(threads.map(use, range(10)))
        assert things.statistics().leases == 10
        assert things.opened == {"a": 1}
    things.assert_nothing_is_left()


def test_whatever_a_provider_can_do_is_there(backend: dict[str, Any]) -> None:
    """Several leases at once, loading ahead, counts, and closing all; with the counts of the async face."""
    fake = FakeProvider(capacity=3)
    with entered(fake, **backend) as provider:
        one, two = provider.setup_many("a", "b")
        assert (one.model.name, two.model.generate("hi")) == ("a", "hi")
        assert provider.preload("c")
        three = provider.setup("c")
        assert three.model.name == "c"
        assert not provider.preload("d")
        counts = provider.statistics()
        assert (counts.active_leases, counts.opens, counts.capacity) == (3, 3, 3)
        with pytest.raises(CapacityExceededError):
            provider.setup_many("e", "f", "g", "h")
        provider.resize(4)
        assert provider.statistics().free_slots == 1
        with pytest.raises(ValueError, match="slots that have names stay so"):
            provider.resize(["gpu0"])
        provider.teardown_all()
        assert not one.is_active
        assert provider.statistics().open == 0
    assert provider.statistics() == fake.statistics()
    assert (provider.statistics().opens, provider.statistics().closes) == (3, 3)
    fake.assert_all_closed()


def test_what_a_provider_cannot_do_is_said(backend: dict[str, Any]) -> None:
    """The mapping leases by name, one at a time."""
    with entered(ModelProviders({"fake": FakeProvider}, discover=False), **backend) as providers:
        assert providers.setup("fake:a").model.name == "a"
        assert providers.statistics()["fake"].opens == 1
        for call in (
            lambda: providers.setup_many("fake:a"),
            lambda: providers.preload("fake:a"),
            providers.teardown_all,
        ):
            with pytest.raises(TypeError, match="ModelProviders has no"):
                call()


def test_errors_are_those_of_the_async_face(backend: dict[str, Any]) -> None:
    """A failed opening, a closed provider, and an exception of the block."""
    things = ThingProvider()
    things.trouble["a"] = [OSError("no")]
    with pytest.raises(KeyError, match="mine"), entered(things, **backend) as provider:
        with pytest.raises(ModelSetupError, match="OSError: no"):
            provider.setup("a")
        handle = provider.setup("a")
        raise KeyError("mine")
    things.assert_nothing_is_left()
    with pytest.raises(HandleInactiveError, match="the provider was closed"):
        handle.call(Thing.use)
    handle.teardown()
    with pytest.raises(ProviderClosedError, match="ThingProvider is closed"):
        provider.setup("a")


def test_failures_while_closing_are_raised(backend: dict[str, Any]) -> None:
    """As they are at the end of ``async with``."""
    things = ThingProvider()
    things.close_trouble["a"] = OSError("a will not close")
    with pytest.raises(ExceptionGroup, match="closing ThingProvider failed"), entered(things, **backend) as provider:
        provider.setup("a")


def test_one_resource_is_torn_down_by_its_id(backend: dict[str, Any]) -> None:
    """Whoever holds it."""
    with entered(ThingProvider(), **backend) as provider:
        one, other = provider.setup("a"), provider.setup("b")
        provider.teardown(one.resource_id)
        assert (one.is_active, other.is_active) == (False, True)


def test_what_is_no_chat_model_is_used_with_call(backend: dict[str, Any]) -> None:
    """`model` says so; `call` gives an async function the model, in the provider's event loop."""

    async def spec_of(thing: Thing, suffix: str) -> str:
        await thing.use()
        return thing.spec + suffix

    with entered(ThingProvider(), **backend) as provider, provider.setup("a") as handle:
        with pytest.raises(TypeError, match=r"'a' is a Thing, not a chat model: use it with handle.call"):
            _ = handle.model
        assert handle.call(spec_of, "!") == "a!"
        assert provider.call(anyio.sleep, 0) is None
        assert repr(handle) == "<BlockingModelHandle 'a' active>"
        assert "ThingProvider open=1" in repr(provider)


class Served(FakeModel):
    """Has more than a chat model needs."""

    base_url = "http://127.0.0.1:1/v1"
    tokenizer = Thing  # something that can be called, and is no method

    @property
    def server(self) -> str:
        return f"the server of {self.name}"


def test_a_model_has_the_attributes_of_the_async_one() -> None:
    """Its methods, but for those that wait, belong to the loop; what is not there is missed as there."""

    @asynccontextmanager
    async def serve(spec: str) -> AsyncIterator[Served]:
        yield Served(spec)

    with entered(ContextProvider(serve)) as provider, provider.setup("m") as handle:
        model = handle.model
        assert (model.name, model.base_url, model.server) == ("m", Served.base_url, "the server of m")
        assert model.tokenizer is Thing
        assert model.generate("Hello")
        assert [call.prompt for call in model.calls] == ["Hello"]
        assert {"name", "generate", "server", "base_url", "calls"} <= set(dir(model))
        with pytest.raises(AttributeError, match=r"Served.close\(\) belongs to the model's event loop: .* handle.call"):
            _ = model.close
        for missing in ("sever", "_model_", "__wrapped__"):
            with pytest.raises(AttributeError, match=f"no attribute '{missing}'"):
                getattr(model, missing)
        assert copy.copy(model).server == model.server
        assert isinstance(model, BlockingModel)


def interrupt_next_wait(monkeypatch: pytest.MonkeyPatch, when: threading.Event) -> None:
    """Interrupt this thread in its next wait for a result, when the event is set.

    A signal sent by another thread may arrive just before this one begins to wait, and then it waits all the same.
    """

    result = Future.result

    def interrupted(future: Future[Any], timeout: float | None = None) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return result(future, timeout)
        monkeypatch.undo()
        when.wait()
        return signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Future, "result", interrupted)


@pytest.mark.concurrency
def test_ctrl_c_in_the_moment_of_the_grant_leaves_nothing_leased(
    backend: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease that nobody will get to see is released again."""
    leased = threading.Event()
    things = ThingProvider(on_event=lambda event: leased.set() if event.kind == "leased" else None)
    with entered(things, **backend) as provider:
        interrupt_next_wait(monkeypatch, leased)
        with pytest.raises(KeyboardInterrupt):
            provider.setup("a")
        assert things.statistics().leases == 1
        assert things.statistics().active_leases == 0
    things.assert_nothing_is_left()


@pytest.mark.concurrency
def test_ctrl_c_while_waiting_for_an_opening_calls_it_off(
    backend: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it any more, so it is cancelled; a later setup starts afresh."""
    opening = threading.Event()
    things = ThingProvider(on_event=lambda event: opening.set() if event.kind == "opening" else None)
    with entered(things, **backend) as provider:
        things.gates["a"] = provider.call(_event)
        interrupt_next_wait(monkeypatch, opening)
        with pytest.raises(KeyboardInterrupt):
            provider.setup("a")
        things.gates.clear()
        with provider.setup("a") as handle:
            handle.call(Thing.use)
        assert things.statistics().open_cancellations == 1
    things.assert_nothing_is_left()


@pytest.mark.concurrency
def test_ctrl_c_while_a_stream_is_asked_for_ends_the_request(
    backend: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's only place is free again, and the block ends although the interrupt was caught inside."""
    asked = threading.Event()

    async def reply(_: object) -> str:
        if not asked.is_set():
            asked.set()
            await anyio.sleep_forever()
        return "Hello!"

    with entered(FakeProvider(replies=reply, max_concurrency=1), **backend) as provider:
        with provider.setup("a") as handle:
            model = handle.model
            interrupt_next_wait(monkeypatch, asked)
            with pytest.raises(KeyboardInterrupt), model.stream("Hi"):
                pass
            assert model.generate("Hi") == "Hello!"


def test_a_stream_that_is_never_left_does_not_keep_the_block_from_ending(backend: dict[str, Any]) -> None:
    """The request ends with the block."""
    with entered(FakeProvider(), **backend) as provider:
        model = provider.setup("a").model
        left_open = model.stream("Hello")
        stream = left_open.__enter__()
        assert next(iter(stream)) == "Hello"
    left_open.__exit__(None, None, None)
    with pytest.raises(ProviderClosedError):
        next(iter(stream))
    with pytest.raises(ProviderClosedError):
        model.generate("Hello")


def test_a_stream_that_cannot_be_had_says_why(backend: dict[str, Any]) -> None:
    """The exception of entering comes out as it is, and one of the block too."""
    with entered(FakeProvider(replies=[OSError("no"), "Hello"]), **backend) as provider, provider.setup("a") as handle:
        with pytest.raises(ModelRequestError, match="OSError: no"), handle.model.stream("Hi"):
            pass
        with pytest.raises(KeyError, match="mine"), handle.model.stream("Hi"):
            raise KeyError("mine")


@pytest.mark.concurrency
def test_a_thread_that_waits_when_the_block_ends_is_told(backend: dict[str, Any]) -> None:
    """It does not wait for ever, and does not keep the block from ending."""
    asked = threading.Event()

    async def never(_: object) -> str:
        asked.set()
        await anyio.sleep_forever()
        return ""

    with ThreadPoolExecutor(1) as threads:
        with entered(FakeProvider(replies=never), **backend) as provider:
            reply = threads.submit(provider.setup("a").model.generate, "Hi")
            asked.wait()
        with pytest.raises(ProviderClosedError):
            reply.result()


def test_it_works_where_an_event_loop_is_running(server: LLMock) -> None:
    """As in a notebook: the calling thread's loop is blocked meanwhile, but not disturbed."""

    async def cell() -> str:
        with entered(openai(server)) as provider, provider.setup("gpt-4o") as handle:
            return handle.model.generate("Hello")

    assert anyio.run(cell, backend="asyncio")
    assert anyio.run(cell, backend="trio")


async def _event() -> Event:
    return Event()


@pytest.mark.parametrize("how", ["judged", "reported"])
def test_a_broken_resource_is_let_go_of_as_in_async_code(how: str) -> None:
    """By its exception, or by a report; the other handle is told, and the next one works."""

    class Judging(FakeProvider):
        def breaks(self, error: Exception, /) -> bool:
            return isinstance(error, ConnectionError)

    with entered(Judging()) as provider:
        other = provider.setup("a")
        with pytest.raises(ConnectionError), provider.setup("a") as handle:
            if how == "reported":
                handle.report_broken(OSError("gone"))
            raise ConnectionError
        assert not other.is_active
        with provider.setup("a") as again:
            assert again.model.generate("Hello")


def test_who_asks_when_the_program_has_ended_is_told_that_it_is_closed(backend: dict[str, Any]) -> None:
    """A thread that Python does not wait for may ask when Python gives out no more threads; it is soon closed, too."""

    async def asks(model: object = None) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    async def fails() -> None:
        raise RuntimeError("of its own")

    with entered(FakeProvider(), **backend) as provider:
        with pytest.raises(ProviderClosedError) as caught:
            provider.call(asks)
        assert isinstance(caught.value.__cause__, RuntimeError)
        with provider.setup("a") as handle, pytest.raises(ProviderClosedError):
            handle.call(asks)
        with pytest.raises(RuntimeError, match="of its own"):
            provider.call(fails)

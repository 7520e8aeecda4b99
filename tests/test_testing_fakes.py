"""The fake model and the fake provider do what their script says, and notice what no provider should do."""

from __future__ import annotations

import subprocess
import sys

import pytest
from anyio import create_task_group, current_time, fail_after
from anyio.lowlevel import checkpoint
from tests.virtual_time import virtual_time

import doteval.testing
from doteval import (
    ChatModel,
    Completion,
    HandleInactiveError,
    ModelProviders,
    ModelRequestError,
    ModelSetupError,
    PoolEvent,
    Prompt,
    ToolCall,
    Usage,
    counting_requests,
)
from doteval.testing import FakeCall, FakeModel, FakeProvider, ProviderContract

pytestmark = pytest.mark.anyio

CONVERSATION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Good morning"}]


async def read(model: FakeModel, prompt: Prompt) -> Completion:
    async with model.stream(prompt) as stream:
        async for _ in stream:
            pass
    return stream.completion


# -------------------------------------------------------------------- the model


async def test_without_a_script_it_repeats_the_prompt() -> None:
    """The text of the last message, with words counted as tokens."""
    model = FakeModel("echo")
    assert isinstance(model, ChatModel)
    reply = await model.generate(CONVERSATION, temperature=0)
    assert reply == "Good morning"
    assert reply.finish_reason == "stop"
    assert reply.usage == Usage(2, 2)
    assert model.calls == [FakeCall(CONVERSATION, {"temperature": 0})]
    assert repr(model) == "<FakeModel 'echo' calls=1 active=0>"
    assert model.client is model


@pytest.mark.parametrize(
    ("prompt", "params", "error"),
    [
        (None, {}, TypeError),
        ([], {}, ValueError),
        ([{"role": "user"}], {}, TypeError),
        ("Hello", {"model": "another"}, TypeError),
        ("Hello", {"stream": True}, TypeError),
    ],
)
async def test_it_refuses_what_every_model_refuses(
    prompt: Prompt, params: dict[str, object], error: type[Exception]
) -> None:
    """Else a test is green and the program it tests fails with the first real model; it is no request that counts."""
    model = FakeModel()
    with pytest.raises(error):
        await model.generate(prompt, **params)
    with pytest.raises(error):
        async with model.stream(prompt, **params):
            pass
    assert model.calls == []


async def test_a_stream_brings_all_that_a_completion_has() -> None:
    """So that what handles refusals and tool calls can be tested without a model."""
    ready = Completion(
        "no",
        finish_reason="refusal",
        refusal="I cannot.",
        reasoning="Hm.",
        tool_calls=[ToolCall("1", "time", "{}")],
        retries=1,
    )
    streamed = await read(FakeModel(replies=[ready]), "Hello")
    assert repr(streamed) == repr(ready)
    assert streamed.reasoning == "Hm."


async def test_it_goes_through_its_script() -> None:
    """Texts, completions and exceptions, in that order; when it is over it says so."""
    ready = Completion("ready", finish_reason="length")
    model = FakeModel(
        replies=["one", ready, TimeoutError("too slow"), ModelRequestError("fake", "it is full", "Wait.")]
    )
    assert await model.generate("?") == "one"
    assert await model.generate("?") is ready
    with pytest.raises(ModelRequestError, match="TimeoutError: too slow") as caught:
        await model.generate("?")
    assert isinstance(caught.value.__cause__, TimeoutError)
    with pytest.raises(ModelRequestError, match=r"it is full\.\nWait\."):
        await model.generate("?")
    with pytest.raises(AssertionError, match="was asked 5 times, but its script has 4 replies"):
        await model.generate("?")


@pytest.mark.parametrize("reply", ["hello", "", Completion("yes", finish_reason="length")], ids=str)
async def test_one_text_answers_every_request(reply: str) -> None:
    """It is no list of letters."""
    async with FakeProvider(replies=reply) as provider, provider.setup("m") as handle:
        for _ in range(3):
            assert await handle.model.generate("?") == reply
            assert await read(handle.model, "?") == reply
    model = FakeModel(replies=TimeoutError("too slow"))
    for _ in range(2):
        with pytest.raises(ModelRequestError, match="too slow"):
            await model.generate("?")


@pytest.mark.parametrize("replies", [1, b"hello", {"a"}, {"a": "b"}, range(2), ["a", None], [b"a"], [["a"]]], ids=str)
@pytest.mark.parametrize("kind", [FakeModel, FakeProvider])
async def test_what_answers_nothing_is_refused_at_once(kind: type, replies: object) -> None:
    with pytest.raises(TypeError, match="replies= "):
        kind(replies=replies)


async def test_a_function_answers() -> None:
    """Async or not, it gets the prompt."""

    async def later(prompt: Prompt) -> str:
        await checkpoint()
        return f"later {prompt}"

    assert await FakeModel(replies=lambda prompt: f"now {prompt}").generate("x") == "now x"
    assert await FakeModel(replies=later).generate("x") == "later x"


async def test_given_requests_fail() -> None:
    """The others go on with the script."""
    model = FakeModel(replies=["one", "two"], failures={2: OSError("down"), 3: OSError("down")})
    said: list[object] = []
    for _ in range(4):
        try:
            said.append(await model.generate("?"))
        except ModelRequestError as exc:
            said.append(exc.problem)
    assert said == ["one", "OSError: down", "OSError: down", "two"]


@pytest.mark.parametrize("text", ["Good  morning\nto you ", "one", "", "  "])
async def test_a_stream_adds_up_to_the_reply(text: str) -> None:
    """Word by word, with white space where it was."""
    model = FakeModel(replies=[text])
    async with model.stream("?") as stream:
        pieces = [piece async for piece in stream]
    assert "".join(pieces) == stream.completion == text
    assert [piece.strip() for piece in pieces if piece.strip()] == text.split()
    assert stream.completion.finish_reason == "stop"
    assert stream.completion.usage == Usage(1, len(text.split()))
    assert model.calls[0].streamed


async def test_requests_are_counted_as_those_of_other_models() -> None:
    """Whole, streamed, left and failed; those that the script does not foresee are none."""
    model = FakeModel(replies=["a b", "a b c", "a b", Completion("half a"), OSError("down")])
    with counting_requests() as requests:
        await model.generate("?")
        await read(model, "?")
        async with model.stream("?") as left:
            await anext(left)
        for ask in (read(model, "?"), model.generate("?")):
            with pytest.raises(ModelRequestError):
                await ask
        with pytest.raises(AssertionError):
            await model.generate("?")
    assert [(each.usage, each.failed, each.is_known) for each in requests] == [
        (Usage(1, 2), False, True),
        (Usage(1, 3), False, True),
        (None, False, False),
        (None, True, False),
        (None, True, False),
    ]


async def test_a_stream_breaks_off() -> None:
    """A completion without a finish reason is a reply that is not complete."""
    model = FakeModel(replies=[Completion("half a")])
    with pytest.raises(ModelRequestError, match="no finish reason came"):
        await read(model, "?")


@virtual_time
async def test_a_reply_takes_its_time() -> None:
    """Also the first piece of a stream."""
    model = FakeModel(latency=3600)
    for ask in (model.generate, lambda prompt: read(model, prompt)):
        start = current_time()
        await ask("?")
        assert current_time() - start == pytest.approx(3600, abs=1)


@virtual_time
async def test_it_takes_only_so_many_requests_at_once() -> None:
    """Ten requests, two at a time, an open stream being one of them."""
    model = FakeModel(latency=10, max_concurrency=2)
    start = current_time()
    async with create_task_group() as task_group:
        for _ in range(5):
            task_group.start_soon(model.generate, "?")
            task_group.start_soon(read, model, "?")
    assert current_time() - start == pytest.approx(50, abs=1)
    assert model.most_active == 2
    assert model.active == 0
    assert len(model.calls) == 10


async def test_use_after_close_is_noticed() -> None:
    """By whoever uses it, before a request, and while a stream is read."""
    model = FakeModel()
    async with model.stream("one two three") as stream:
        await anext(stream)
        model.close()
        with pytest.raises(AssertionError, match="used after its provider had closed it"):
            await anext(stream)
    with pytest.raises(AssertionError, match="used after its provider had closed it"):
        await model.generate("?")
    assert repr(model) == "<FakeModel 'fake' calls=1 closed>"


# -------------------------------------------------------------------- the provider


async def test_its_models_are_scripted() -> None:
    """All alike, or one by one; other configuration only makes another resource."""
    async with FakeProvider(replies=["yes"]) as provider:
        yes = await provider.setup("a")
        no = await provider.setup("a", replies=["no"], region="north")
        assert await yes.model.generate("?") == "yes"
        assert await no.model.generate("?") == "no"
        assert yes.resource_id == "a"
        assert no.resource_id.startswith("a#")
        assert provider.live == (yes.model, no.model)
    assert [model.is_closed for model in provider.models] == [True, True]
    provider.assert_all_closed()


async def test_openings_fail_as_scripted() -> None:
    """All of a spec, the next ones of a spec, or the n-th of all."""
    failures = {"bad": OSError("bad"), "shaky": [OSError("first"), OSError("second")], 5: OSError("the fifth")}
    async with FakeProvider(open_failures=failures) as provider:
        heard = []
        for spec in ("bad", "bad", "shaky", "shaky", "good", "shaky", "good"):
            try:
                heard.append((await provider.setup(spec)).model.name)
            except ModelSetupError as exc:
                heard.append(exc.reason)
        assert heard == [
            "OSError: bad", "OSError: bad", "OSError: first", "OSError: second", "OSError: the fifth", "shaky", "good",
        ]  # fmt: skip
        assert provider.openings == 7
    provider.assert_all_closed()


async def test_closings_fail_as_scripted() -> None:
    """The model counts as closed all the same."""
    provider = FakeProvider(close_failures={"a": OSError("a will not close")})
    with pytest.raises(ExceptionGroup) as caught:
        async with provider:
            await provider.setup_many("a", "b")
    assert [str(exc) for exc in caught.value.exceptions] == ["a will not close"]
    provider.assert_all_closed()


@virtual_time
async def test_opening_and_closing_take_their_time() -> None:
    """An hour each."""
    async with FakeProvider(open_latency=3600, close_latency=3600, close_timeout=7200, keep_alive=0) as provider:
        start = current_time()
        handle = await provider.setup("a")
        assert current_time() - start == pytest.approx(3600, abs=1)
        await handle.teardown()
        assert current_time() - start == pytest.approx(7200, abs=1)
        assert provider.statistics().setup_seconds == pytest.approx(3600, abs=1)


async def test_a_crash_loses_the_resource() -> None:
    """Its handles say so, others go on, and the next setup opens a new one."""
    events: list[PoolEvent] = []
    async with FakeProvider(on_event=events.append) as provider:
        lost, other = await provider.setup("a"), await provider.setup("b")
        with fail_after(60):
            await provider.crash("a", OSError("out of memory"))
        with pytest.raises(HandleInactiveError, match=r"lost \(.*OSError: out of memory"):
            _ = lost.model
        assert await other.model.generate("Hello") == "Hello"
        with pytest.raises(KeyError, match="'a' is not open; open are: b"):
            await provider.crash("a")
        again = await provider.setup("a")
        await again.teardown()
        await provider.crash("a")  # idle
        assert provider.statistics().losses == 2
        assert [event.kind for event in events if event.resource_id == "a"].count("lost") == 2
    with pytest.raises(KeyError, match="open are: none"):
        await provider.crash("b")
    provider.assert_all_closed()


async def test_a_crash_is_possible_however_the_lease_came_about() -> None:
    """With several at once, and through `ModelProviders`."""
    provider = FakeProvider()
    async with ModelProviders({"fake": provider}, discover=False) as providers:
        handle = await providers.setup("fake:a")
        await provider.setup_many("b", "c")
        for resource_id in (handle.resource_id, "b", "c"):
            await provider.crash(resource_id)
    assert provider.statistics().losses == 3


async def test_what_is_not_closed_is_noticed() -> None:
    """By name, as long as the provider is open."""
    async with FakeProvider() as provider:
        await provider.setup("a")
        with pytest.raises(AssertionError, match="still open: a"):
            provider.assert_all_closed()


async def test_two_live_models_of_one_key_are_noticed() -> None:
    """A pool never does that, so here it is done by hand."""
    async with FakeProvider() as provider:
        await provider.setup("a")
        async with provider.open("a"):
            pass
    with pytest.raises(AssertionError, match="'a' was opened while it was open"):
        provider.assert_all_closed()


# -------------------------------------------------------------------- the package


@pytest.mark.parametrize("name", doteval.testing.__all__)
def test_all_that_is_public_is_there(name: str) -> None:
    """Under the name of the package."""
    assert hasattr(doteval.testing, name)
    assert name in dir(doteval.testing)


@pytest.mark.parametrize("kind", [FakeCall, FakeModel, FakeProvider, ProviderContract])
def test_what_a_traceback_shows_can_be_imported(kind: type) -> None:
    """A public class says that it is at home in the public package."""
    assert kind.__module__ == "doteval.testing"


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As in every module."""
    with pytest.raises(AttributeError, match="no attribute 'FakeFake'"):
        _ = doteval.testing.FakeFake


@pytest.mark.process
def test_the_fakes_need_no_pytest() -> None:
    """Nor an SDK, so a program can use them, too."""
    program = (
        "import sys; from doteval.testing import FakeModel, FakeProvider; "
        "print(sorted({'pytest', '_pytest', 'openai', 'anthropic', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_stream_is_over_with_its_block() -> None:
    """A test with the fake fails where the real one would."""
    async with FakeProvider() as provider, provider.setup("a") as handle:
        async with handle.model.stream("one two three") as stream:
            assert await anext(stream) == "one"
        with pytest.raises(RuntimeError, match="its block was left before"):
            await anext(stream)
        async with handle.model.stream("one two") as stream:
            assert [text async for text in stream] == ["one", " two"]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

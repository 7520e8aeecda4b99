"""What is kept of the requests of a row, where that is asked for: all that was said, nothing that is secret."""

from __future__ import annotations

import json
import random
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from anyio import create_task_group, move_on_after
from pydantic import BaseModel
from tests.evals.requests_made import kept_as
from tests.providers.conftest import CHATS, KEY
from tests.providers.numbering import NumberingServer
from tests.providers.test_counting import Models
from tests.providers.wire import WireServer, running

from doteval import ChatModel, Completion, ModelRequest, ModelRequestError, ReplyCache, Result, Usage, foreach
from doteval.evals import Record, RecordedRequest, Store, rescore, run
from doteval.evals._results import transcript
from doteval.evals._results.transcript import RecordedRequests
from doteval.testing import FakeProvider

pytestmark = pytest.mark.anyio

USAGE = Usage(5, 3)


@pytest.fixture(scope="module")
def numbering() -> Iterator[NumberingServer]:
    with running(NumberingServer) as server:
        yield server


@pytest.fixture
def server(numbering: NumberingServer) -> NumberingServer:
    numbering.start_over()
    return numbering


@pytest.fixture(scope="module", params=["openai", "anthropic"])
async def models(anyio_backend: Any, numbering: WireServer, request: pytest.FixtureRequest) -> AsyncIterator[Models]:
    provider_class, kind, _ = CHATS[request.param]
    async with AsyncExitStack() as stack:
        made = provider_class(
            base_url=f"{numbering.url}/v1", api_key=KEY, max_retries=0, timeout=30, params={"temperature": 0.5}
        )
        provider: Any = await stack.enter_async_context(made)
        handles = [await provider.setup(spec) for spec in ("asked", "judging")]
        yield Models(kind, provider, handles[0].model, handles[1].model)


async def kept(evaluation: Any, store: Path, **arguments: Any) -> list[tuple[Record, tuple[RecordedRequest, ...]]]:
    """Each row with its requests, as the store has them; a run without a store has the same."""
    arguments = {"max_errors": 99, "transcripts": True, **arguments}
    await run(evaluation, store=store, **arguments)
    with Store(store) as opened, opened.snapshot() as results:
        (stored,) = results.evaluations()
        records = results.records(stored)
        return [(record, results.requests(stored, record.key, record.sample)) for record in records]


async def agent(question: str, model: ChatModel, judge: ChatModel) -> Result:
    messages: list[Any] = [{"role": "user", "content": f"{question}: with tools"}]
    for turn in range(3):
        reply = await model.generate(messages, max_tokens=9)
        messages[0]["content"] += "!"  # what was sent stays as it was
        messages += [{"role": "assistant", "content": str(reply)}, {"role": "user", "content": f"turn {turn}"}]
    async with judge.stream(f"{question}: good?") as stream:
        return Result([piece async for piece in stream])


def asking(*questions: str) -> Any:
    return foreach("question", questions or ["one", "two"])(agent)


async def test_all_that_a_row_asks_is_kept(server: NumberingServer, models: Models, tmp_path: Path) -> None:
    """In order, by role, with what was sent at that moment, what came back, tokens and times."""
    rows = await kept(asking(), tmp_path / "results.db", model=models.model, judge=models.judge)
    assert len(rows) == 2
    for record, requests in rows:
        question = record.inputs["question"]
        assert [(request.model, request.role, request.attempt) for request in requests] == [
            *[("asked", "model", 1)] * 3, ("judging", "judge", 1),
        ]  # fmt: skip
        assert [len(request.messages) for request in requests] == [1, 3, 5, 1]
        assert [request.messages[0]["content"] for request in requests] == [
            f"{question}: with tools{'!' * number}" for number in range(3)
        ] + [f"{question}: good?"]
        for earlier, later in pairwise(requests[:3]):
            assert later.messages[-2] == {"role": "assistant", "content": earlier.reply}
            assert earlier.begun + earlier.seconds <= later.begun
        assert requests[0].params["max_tokens"] == 9
        assert requests[0].params["temperature"] == 0.5
        assert requests[0].details is not None
        assert requests[0].details["tool_calls"][0]["name"] == "look"
        assert requests[3].reply == "".join(record.output)
        assert {request.usage for request in requests} == {USAGE}
        assert {(request.error, request.retries, request.from_cache) for request in requests} == {(None, 0, False)}
        assert all(0 <= request.begun < 60 and request.seconds > 0 for request in requests)
        assert record.transcript is None
    outcome = await run(asking(), model=models.model, judge=models.judge, transcripts=True)
    assert [len(record.transcript or ()) for record in outcome.records] == [4, 4]


async def test_it_stays_with_the_row_that_gets_other_scores(
    server: NumberingServer, models: Models, tmp_path: Path
) -> None:
    """In the copy, and in what it was copied from."""
    store = tmp_path / "results.db"
    rows = await kept(asking(), store, model=models.model, judge=models.judge)
    (copy,) = await rescore("default", lambda output: {"long": len(output)}, store=store)
    with Store(store) as opened:
        for record, requests in rows:
            assert opened.requests(copy, record.key) == requests
        (before,) = opened.evaluations("default")
        assert [opened.requests(before, record.key) for record, _ in rows] == [requests for _, requests in rows]


async def test_nobody_else_may_read_it(server: NumberingServer, models: Models, tmp_path: Path) -> None:
    """Neither the store, nor what SQLite writes beside it."""
    store = tmp_path / "results.db"
    with Store(store) as opened:
        await run(asking(), store=opened, model=models.model, judge=models.judge, transcripts=True)
        assert {stat.S_IMODE(path.stat().st_mode) for path in files_in(tmp_path)} == {0o600}


async def test_each_sample_of_a_row_has_its_own(server: NumberingServer, models: Models, tmp_path: Path) -> None:
    """Whatever is the same in them."""
    evaluation = foreach("question", ["one", "two"], epochs=3)(agent)
    rows = await kept(evaluation, tmp_path / "results.db", model=models.model, judge=models.judge)
    assert [(record.inputs["question"], record.sample) for record, _ in rows] == [
        (question, sample) for question in ("one", "two") for sample in (1, 2, 3)
    ]
    assert len({requests[0].reply for _, requests in rows}) == 6


async def test_nothing_is_kept_unless_that_is_asked_for(
    server: NumberingServer, models: Models, tmp_path: Path
) -> None:
    """And a row that is run again without has nothing of before, nor one that is gone."""
    store, arguments = tmp_path / "results.db", {"model": models.model, "judge": models.judge}
    assert [requests for _, requests in await kept(asking(), store, transcripts=False, **arguments)] == [(), ()]
    assert [len(found) for _, found in await kept(asking(), store, fresh=True, **arguments)] == [4, 4]
    assert [len(found) for _, found in await kept(asking(), store, transcripts=False, **arguments)] == [4, 4]
    assert [len(found) for _, found in await kept(asking("two"), store, transcripts=False, **arguments)] == [4]
    again = await kept(asking(), store, transcripts=False, fresh=True, **arguments)
    assert [requests for _, requests in again] == [(), ()]
    with Store(store)._database.reading() as connection:
        assert connection is not None
        assert connection.execute("SELECT count(*) FROM transcripts").fetchone() == (0,)


async def stumbles(number: int, model: ChatModel) -> Result:
    reply = await model.generate(f"first of {number}")
    if number == 0:
        if reply.endswith(" 1"):
            raise ConnectionError
        await model.generate("fail")
    if number == 1:
        async with create_task_group() as tasks:
            tasks.start_soon(model.generate, "cancelled")
            with move_on_after(0):
                await model.generate("this one, too")
            tasks.cancel_scope.cancel()
    if number == 2:
        async with model.stream("left") as stream:
            return Result(await anext(stream))
    return Result("done")


async def test_what_came_to_nothing_is_kept_as_well(server: NumberingServer, models: Models, tmp_path: Path) -> None:
    """A request that failed, in each attempt of a row that failed in the end; one that was cancelled; a stream left."""
    (_, failed), (_, cancelled), (record, left) = await kept(
        foreach("number", range(3))(stumbles), tmp_path / "results.db", model=models.model, concurrency=1
    )
    assert [(request.attempt, request.reply) for request in failed] == [(1, "reply 1"), (2, "reply 2"), (2, None)]
    error = failed[-1].error or ""
    assert "400: no" in error
    assert "\n" not in error
    assert failed[-1].usage is None
    assert {request.error for request in cancelled} <= {None, "it was cancelled before a reply came"}
    assert (left[1].reply, left[1].error, record.output) == ("reply", None, "reply")
    assert left[1].details is None or "finish_reason" not in left[1].details


def files_in(directory: Path) -> list[Path]:
    return [*directory.iterdir()]


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in files_in(directory))


async def test_no_secret_is_kept(server: NumberingServer, models: Models, tmp_path: Path) -> None:
    """Neither a key, nor a header that holds one, wherever it is sent; a field of a schema that is called so is."""

    @foreach("number", [1])
    async def eval_it(number: int, model: ChatModel) -> Result:
        schema = {"properties": {"api_key": {"type": "string"}}, "type": "object"}
        tool: Any = {"name": "look", "input_schema": schema}
        if models.kind == "openai":
            tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
        headers = {"X-Api-Key": "sk-secret-one", "Authorization": "Bearer sk-secret-two", "X-Routing": "b"}
        server_of_tools = {"servers": [{"authorization_token": "sk-secret-four", "url": "http://tools"}]}
        await model.generate(
            "Hello",
            tools=[tool],
            extra_headers=headers,
            extra_query={"key": "sk-secret-three"},
            extra_body=server_of_tools,
        )
        return Result()

    store = tmp_path / "results.db"
    ((_, (request,)),) = await kept(eval_it, store, model=models.model)
    assert request.params["extra_headers"]["X-Routing"] == "b"
    assert "api_key" in json.dumps(request.params["tools"])
    stored = everything_in(tmp_path)
    assert b"sk-secret" not in stored
    assert KEY.encode() not in stored
    assert b"http://tools" in stored


async def test_what_a_cache_answered_is_marked(server: NumberingServer, models: Models, tmp_path: Path) -> None:
    """It is what was said, and it was sent nowhere."""
    arguments = {"model": models.model, "judge": models.judge, "cache": ReplyCache(tmp_path / "replies.db")}
    before = await kept(asking(), tmp_path / "results.db", **arguments)
    after = await kept(asking(), tmp_path / "results.db", fresh=True, **arguments)
    for (_, one), (_, other) in zip(before, after, strict=True):
        assert {(request.from_cache, request.usage) for request in other} == {(True, USAGE)}
        assert [request.reply for request in other] == [request.reply for request in one]


async def test_models_of_ones_own_are_kept_as_far_as_they_tell(tmp_path: Path) -> None:
    """Without messages, where they do not say them; a row that asks nothing has none."""

    @foreach("number", range(2))
    async def eval_it(number: int) -> Result:
        if number:
            with ModelRequest("own") as request:
                request.replied(Completion("text \ud83d", usage=Usage(1, 2)))
            with pytest.raises(ModelRequestError), ModelRequest("own", [{"role": "user", "content": object()}]):
                raise ModelRequestError("own", "it broke", "Mend it.")
        return Result()

    (_, none), (_, (first, second)) = await kept(eval_it, tmp_path / "results.db")
    assert none == ()
    assert (first.model, first.messages, first.params, first.reply) == ("own", [], {}, "text \\ud83d")
    assert "it broke" in (second.error or "")
    assert second.messages[0]["content"] == "<object object>"
    async with FakeProvider() as provider, provider.setup("fake") as handle:

        @foreach("prompt", ["Hello"])
        async def eval_fake(prompt: str, model: ChatModel) -> Result:
            return Result(await model.generate(prompt, temperature=1))

        ((_, (request,)),) = await kept(eval_fake, tmp_path / "fake.db", model=handle.model)
    assert (request.messages, request.params) == ([{"role": "user", "content": "Hello"}], {"temperature": 1})


# ---------------------------------------------------------------- how it is kept


def some_request(order: random.Random) -> RecordedRequest:
    messages = [
        {"role": order.choice("ab"), "content": order.choice(["x", "y" * 50, ""])} for _ in range(order.randrange(4))
    ]
    return RecordedRequest(
        model=order.choice(["m", "\ud83d".encode("utf-8", "backslashreplace").decode()]),
        role=order.choice([None, "model"]),
        attempt=order.randrange(1, 3),
        begun=order.choice([0.0, 1.25]),
        seconds=order.choice([0.0, 2.5]),
        messages=messages,
        params=order.choice([{}, {"temperature": 0}, {"temperature": False, "stop": ["a", "b"]}]),
        reply=(reply := order.choice([None, "", "text"])),
        details=None if reply is None else order.choice([None, {"finish_reason": "stop"}]),
        error="no" if reply is None else order.choice([None, "no"]),
        retries=order.randrange(2),
        from_cache=order.choice([False, True]),
        usage=order.choice([None, Usage(1, 2, 3, 4, 5)]),
    )


def test_what_is_written_is_read_again() -> None:
    """Whatever there is of it."""
    order = random.Random(3)
    for _ in range(500):
        requests = tuple(some_request(order) for _ in range(order.randrange(5)))
        assert tuple(kept_as(requests)) == requests
        assert len(kept_as(requests)) == len(requests)


def conversations(count: int, turns: int) -> Iterator[RecordedRequest]:
    """Several that go on in turns, with tools, and now and then another way from some place on."""
    talks: list[list[dict[str, Any]]] = [[{"role": "system", "content": f"{each}"}] for each in range(count)]
    params = {"tools": [{"name": f"tool {each}", "description": "d" * 100} for each in range(30)], "temperature": 0.5}
    for turn in range(turns):
        for each in talks:
            if turn % 10 == 9:
                del each[-2:]
            each.append({"role": "user", "content": f"{turn}{'x' * 100}"})
            yield RecordedRequest("m", None, 1, 0.0, 0.0, [*each], params, f"reply {turn}")


@pytest.mark.parametrize("count", [1, 3])
def test_what_many_requests_have_is_kept_once(count: int) -> None:
    """So an agent's conversation takes no more room than it is long, and no more than that is looked at."""
    sizes: list[int] = []
    for turns in (50, 100, 200):
        requests = [*conversations(count, turns)]
        found = kept_as(requests)
        assert [*found] == requests
        sizes.append(len(found.text))
    assert sizes[2] - sizes[1] < 2.5 * (sizes[1] - sizes[0])
    assert sizes[2] < 200 * count * 250 + 5000


async def test_it_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long texts are cut, and say so; of many messages the first are kept, of many requests the first and the last."""
    monkeypatch.setattr(transcript, "MOST_REQUESTS", 8)

    @foreach("number", [1])
    async def eval_it(number: int) -> Result:
        for each in range(11):
            content = f"{each}{'x' * (10_000_000 if each == 0 else 900_000)}"
            with ModelRequest("own", [{"role": "user", "content": [content] * 9}], {"turn": each}) as request:
                request.replied(Completion("y" * 10_000_000))
        return Result()

    ((_, requests),) = await kept(eval_it, tmp_path / "results.db")
    assert [request.left_out for request in requests] == [0, 0, 0, 0, 4, 0, 0, 0]
    assert requests[4].error == "4 requests are left out"
    assert [request.params["turn"] for request in requests if not request.left_out] == [0, 1, 2, 3, 8, 9, 10]
    assert requests[0].messages[0]["content"][0].endswith("x… (9,900,001 characters more)")
    assert (requests[0].reply or "").endswith("y… (9,900,000 characters more)")
    assert requests[3].messages == [{"role": "user", "content": "<900,297 characters are left out>"}]
    assert (tmp_path / "results.db").stat().st_size < 4_000_000


class Message(BaseModel):
    """As SDKs have them."""

    role: str
    content: Any
    refusal: str | None = None


class Broken:
    def __str__(self) -> str:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


class NoSequence(list[Any]):
    def __len__(self) -> int:
        raise RuntimeError

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError


def odd_requests() -> dict[str, Callable[[], ModelRequest]]:
    """What models of one's own may say of a request."""
    loop: list[Any] = []
    loop.append(loop)
    long = "x" * 99_000

    def told(**said: Any) -> Callable[[], ModelRequest]:
        def make() -> ModelRequest:
            request = ModelRequest("m")
            for name, value in said.items():
                setattr(request, name, value)
            return request

        return make

    messages: list[Any] = [
        None, 1, "text", b"bytes", Broken(), [Broken()], [None], ["text", 1, object()], {"role": "user"}, loop,
        NoSequence(), (each for each in "ab"), [Message(role="user", content="a")] * 3, [{1: {2: {3}}}],
        [Message(role="user", content=f"{each}{long}") for each in range(50)],
        [{"role": Broken(), "content": 10**5000}],
        [{"role": "user", "content": f"{each}{long}"} for each in range(50)], ["\ud83d"], [float("nan"), -float("inf")],
    ]  # fmt: skip
    params: list[Any] = [
        None, {"a": Broken()}, {1: 2, "1": 3}, {"again": loop}, {"\ud83d": "\ud83d"}, {"n" * 3_000_000: 1}, [1], "no",
        {f"{each}": f"{each}{long}" for each in range(50)}, {"response_format": Message},
        {"a": Message(role="a", content=b"")},
    ]  # fmt: skip
    usages: list[Any] = [
        Usage(cast("Any", None), cast("Any", "x")), Usage(10**30, -(10**30)), object(),
        Usage(cast("Any", Fraction(3)), 2**62),
    ]  # fmt: skip
    others: dict[str, list[Any]] = {
        "messages": messages,
        "params": params,
        "usage": usages,
        "model": [None, Broken(), "m" * 3_000_000, "\ud83d"],
        "reply": [
            Completion("y" * 3_000_000),
            Completion("\ud83d", usage=cast("Any", "no"), retries=cast("Any", None)),
        ],
        "retries": [None, 10**30, "x"],
        "error": [
            ModelRequestError("m", "p" * 3_000_000, "a"),
            ModelRequestError("m", "https://me:pw@host \ud83d", ""),
        ],
        "seconds": [float("nan")],
    }
    return {
        f"{name} {place}": told(**{name: value}) for name, said in others.items() for place, value in enumerate(said)
    }


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nothing_that_a_request_says_is_anybody_elses_affair(tmp_path: Path) -> None:
    """The other rows are kept, and so is the row; its requests are bounded, each is told of, and none has a secret."""
    odd = odd_requests()

    @foreach("name", [*odd, "none"])
    async def eval_it(name: str) -> Result:
        if name != "none":
            for each in ("before", name, name, "after"):
                with ModelRequest(each) if each in ("before", "after") else odd[name]():
                    pass
        return Result(name)

    store = tmp_path / "results.db"
    rows = await kept(eval_it, store)
    assert [(record.output, record.error) for record, _ in rows] == [(name, None) for name in [*odd, "none"]]
    for record, requests in rows[:-1]:
        assert [request.model for request in (requests[0], requests[-1])] == ["before", "after"]
        assert len(requests) == 4
        assert all(isinstance(message, dict) for request in requests for message in request.messages)
        assert len(json.dumps([asdict(request) for request in requests])) < 6 * transcript.MOST, record.output
    with Store(store) as opened, opened._database.reading() as connection:
        assert connection is not None
        for key, text in connection.execute("SELECT key, requests FROM transcripts"):
            assert len(text) < 1.1 * transcript.MOST, key
            assert ":pw@" not in text
    by_name = {record.output: requests for record, requests in rows}
    assert by_name["messages 12"][1].messages == [{"role": "user", "content": "a"}] * 3


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("kind", [dict, Message])
async def test_a_long_row_is_bounded_as_a_whole(kind: Callable[..., Any]) -> None:
    """Messages, parameters and replies together, of as many requests as there are; and so is the work."""
    outcome = await run(foreach("number", [1])(endless), transcripts=True, kind=kind)
    (record,) = outcome.records
    assert record.error is None
    found = record.transcript
    assert isinstance(found, RecordedRequests)
    assert transcript.MOST_REQUESTS * 3 / 4 < len(found) <= transcript.MOST_REQUESTS
    assert sum(request.left_out or 1 for request in found) == transcript.MOST_REQUESTS + 5
    assert len(found.text) < 1.8 * transcript.MOST
    assert found[-1].reply is not None


async def endless(number: int, kind: Callable[..., Any]) -> Result:
    messages: list[Any] = []
    for turn in range(transcript.MOST_REQUESTS + 5):
        messages += [
            kind(role="user", content=f"{turn} {'q' * 1000}"),
            kind(role="assistant", content=f"{turn} {'a' * 1000}"),
        ]
        with ModelRequest("m", [*messages], {"tools": [{"name": f"{turn} {'t' * 900}"}]}) as request:
            request.replied(Completion(f"{turn} {'r' * 900}"))
    return Result("done")

"""What goes wrong with a request: each failure says what happened and what to do, and shows no key."""

from __future__ import annotations

import json
import socket
import traceback
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

import httpx
import httpx2
import pytest
from tests.providers.conftest import KEY, Chat

from doteval import ModelRequestError, OpenAIProvider
from doteval.evals._running.refusals import refusal_of

pytestmark = [pytest.mark.anyio]


async def failure(chat: Chat, **settings: object) -> ModelRequestError:
    """The error of one request."""
    async with chat.provider(**settings) as provider, await provider.setup(chat.spec) as handle:
        with pytest.raises(ModelRequestError) as caught:
            await handle.model.generate("Hello")
    assert caught.value.model == chat.spec
    assert caught.value.__cause__ is not None
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return caught.value


async def stream_failure(chat: Chat, **settings: object) -> ModelRequestError:
    """The error of one stream."""
    async with chat.provider(**settings) as provider, await provider.setup(chat.spec) as handle:
        with pytest.raises(ModelRequestError) as caught:
            async with handle.model.stream("Hello") as stream:
                async for _ in stream:
                    pass
        with pytest.raises(RuntimeError):
            stream.completion  # noqa: B018
        # Nothing is left that would hinder the next request, which has all the time it needs.
        assert await handle.model.generate("Hello", timeout=30)
    return caught.value


@pytest.mark.parametrize(
    ("status", "problem", "advice"),
    [
        (400, "the server refused the request (400: ", "Correct the prompt or the parameters."),
        (401, "the API key was refused (401: ", "api_key="),
        (403, "the API key does not allow this (403: ", "Check which models and regions the key is for."),
        (404, "does not know the model or the address (404: ", "Check the spelling of '{spec}'"),
        (422, "the server refused the request (422: ", "Correct the prompt or the parameters."),
        (429, "the rate limit or the quota is used up (429: ", "Wait 7 s and try again, lower max_concurrency="),
        (500, "the server failed (500: ", "Try again later, or raise max_retries=."),
        (529, "the server failed (529: ", "Try again later, or raise max_retries=."),
    ],
)
async def test_an_answer_with_an_error_status_is_explained(chat: Chat, status: int, problem: str, advice: str) -> None:
    """Status, what the server says, how long it asks to wait, and what to do are all in the error."""
    chat.server.script({"type": "fail", "status": status, "retry_after": 7, "message": "So says the server."})
    error = await failure(chat)
    assert error.status == status
    assert error.retry_after == 7
    assert f"The request to '{chat.spec}' failed: " in str(error)
    assert problem in str(error)
    assert "So says the server." in str(error)
    assert advice.format(spec=chat.spec) in str(error)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("model 'x' not found", "Run 'ollama pull {spec}' where the daemon is, or check the spelling."),
        ('model "x" not found, try pulling it first', "Run 'ollama pull {spec}' "),
        (
            {"message": "model 'x' not found", "type": "not_found_error", "param": None, "code": None},
            "Run 'ollama pull",
        ),
        ({"message": "The model `x` does not exist.", "code": "model_not_found"}, "Check the spelling of '{spec}'"),
    ],
)
async def test_a_server_says_in_the_first_words_that_it_does_not_have_a_model(
    one_sdk: Chat, error: Any, advice: str
) -> None:
    """As Ollama, vLLM and others do, in whichever envelope."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(404, json={"error": error})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http_client:
        first, second = str(await failure(one_sdk, http_client=http_client)).splitlines()
    words = error if isinstance(error, str) else error["message"].rstrip(".")
    assert first.startswith(f"The request to '{one_sdk.spec}' failed: {words} (404 at http")
    assert second.startswith(advice.format(spec=one_sdk.spec))


async def test_an_error_status_on_a_stream_is_explained_on_entering(chat: Chat) -> None:
    """There is no stream then; the block is not entered."""
    chat.server.script({"type": "fail", "status": 429, "retry_after": 2})
    async with chat.provider(max_concurrency=1) as provider, await provider.setup(chat.spec) as handle:
        with pytest.raises(ModelRequestError, match="429") as caught:
            async with handle.model.stream("Hello"):
                pytest.fail("the block was entered")
        assert caught.value.retry_after == 2
        assert await handle.model.generate("Hello")


async def test_the_sdk_tries_again_as_often_as_it_is_told(sdk: Chat) -> None:
    """A failure that passes is not seen; max_retries is the SDK's."""
    sdk.server.script({"type": "fail", "status": 503, "retry_after": 0.01, "times": 2})
    async with sdk.provider(max_retries=2) as provider, await provider.setup(sdk.spec) as handle:
        assert await handle.model.generate("Hello")
    assert [request["status"] for request in sdk.server.requests()] == [503, 503, 200]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": formatdate(0)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after-ms": "inf"}, None),
        ({"retry-after-ms": "-5"}, 0.0),
        ({}, None),
    ],
)
async def test_the_time_to_wait_is_understood_in_all_its_forms(
    one_sdk: Chat, headers: dict[str, str], seconds: float | None
) -> None:
    """Milliseconds and dates count, what makes no sense does not."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(429, headers=headers, json={"error": {"message": "Too fast."}})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http_client:
        error = await failure(one_sdk, http_client=http_client)
    assert error.retry_after == seconds


async def test_a_server_that_is_not_there_is_named(chat: Chat) -> None:
    """The address and what to check are in the error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = await failure(chat, base_url=f"http://127.0.0.1:{port}/v1")
    assert f"no connection to http://127.0.0.1:{port}/v1/" in str(error)
    assert "Start the server, or correct host and port in base_url=." in str(error)
    assert error.status is None


async def test_a_server_that_takes_too_long_is_named(chat: Chat) -> None:
    """The advice is what one can do about it."""
    chat.server.script({"type": "delay", "seconds": 60})
    error = await failure(chat, timeout=0.1)
    assert f"{chat.base_url}/ did not answer in time" in str(error)
    assert "raise timeout=." in str(error)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("disconnect", "was lost"),
        ("truncate", "the stream ended before the reply did: no finish reason came"),
        ("malformed", "the answer is not what the API describes (JSONDecodeError"),
    ],
)
async def test_a_stream_that_breaks_is_an_error(chat: Chat, fault: str, problem: str) -> None:
    """The SDKs raise what the HTTP library raises, or what json does, or nothing at all; here it is always the same."""
    chat.server.script({"type": "stream_fault", "kind": fault, "after_chunks": 4})
    assert problem in str(await stream_failure(chat))


async def test_a_stream_that_stalls_is_an_error(sdk: Chat) -> None:
    """The time limit holds for each piece."""
    sdk.server.script({"type": "stream_fault", "kind": "stall", "after_chunks": 4, "stall_seconds": 60})
    assert "did not answer in time" in str(await stream_failure(sdk, timeout=0.5))


ERROR_EVENT = {
    "openai": b'data: {"error": {"message": "Out of memory."}}\n\n',
    "anthropic": b'event: error\ndata: {"type": "error", "error": {"message": "Out of memory."}}\n\n',
}


async def test_an_error_in_the_middle_of_a_stream_is_passed_on(one_sdk: Chat) -> None:
    """The status was good when the stream began; what the server says in it counts."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=ERROR_EVENT[one_sdk.kind])

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http_client:
        async with one_sdk.provider(http_client=http_client) as provider, await provider.setup(one_sdk.spec) as handle:
            with pytest.raises(ModelRequestError, match=r"\(Out of memory\.\)"):
                async with handle.model.stream("Hello") as stream:
                    async for _ in stream:
                        pass


CAUSES = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "account_deactivated": 401,
    "billing_error": 402,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "insufficient_quota": 429,
    "billing_not_active": 429,
    "billing_hard_limit_reached": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "context_length_exceeded": 400,
    "content_policy_violation": 400,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "something_new": 400,
    "request_too_large": 413,
    "overloaded_error": 529,
    "server_error": 500,
    "api_error": 500,
    "timeout_error": 504,
}
"""What servers call errors, with the status that they have where they come with one."""
BEGUN = {
    "openai": b'data: {"choices": [{"index": 0, "delta": {"content": "So"}}]}\n\n',
    "anthropic": b'event: ping\ndata: {"type": "ping"}\n\n',
}


async def sent(body: object) -> AsyncIterator[bytes]:
    yield json.dumps(body).encode()


@pytest.mark.parametrize("cause", CAUSES)
async def test_the_same_cause_means_the_same_in_whichever_way_it_is_told(one_sdk: Chat, cause: str) -> None:
    """As a status, in a good answer, instead of a stream, and in the middle of one: what to do, whether it passes."""
    status = CAUSES[cause]
    kind = "invalid_request_error" if status == 400 else cause  # which says no more than that
    error = {"message": "So it is.", "type": kind, "code": cause}
    body = {"type": "error", "error": error}
    event = b"event: error\ndata: " + json.dumps(body).encode() + b"\n\n"
    events = {"content-type": "text/event-stream"}
    ways = {
        "status": httpx2.Response(status, json=body),
        "good answer": httpx2.Response(200, json=body),
        "no stream": httpx2.Response(200, headers={"content-type": "application/json"}, content=sent(body)),
        "stream": httpx2.Response(200, headers=events, content=event),
        "middle of a stream": httpx2.Response(200, headers=events, content=BEGUN[one_sdk.kind] + event),
    }
    told: dict[str, tuple[Any, ...]] = {}
    for way, response in ways.items():
        transport = httpx2.MockTransport(lambda _, response=response: response)
        async with (
            httpx2.AsyncClient(transport=transport) as http_client,
            one_sdk.provider(http_client=http_client, max_retries=0) as provider,
            provider.setup(one_sdk.spec) as handle,
        ):
            with pytest.raises(ModelRequestError) as caught:
                if way in ("status", "good answer"):
                    await handle.model.generate("Hello")
                async with handle.model.stream("Hello") as stream:
                    async for _ in stream:
                        pass
        failed = caught.value
        told[way] = failed.retryable, failed.advice, failed.code, refusal_of(failed), failed.status is None
    assert told == dict.fromkeys(told, told["status"])


@pytest.mark.parametrize(
    "content", [b"<html>Welcome!</html>", b"{}", b'{"choices": [], "content": null}', b'"no"', b"{"]
)
@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
async def test_an_answer_that_makes_no_sense_is_an_error(one_sdk: Chat, content: bytes, content_type: str) -> None:
    """A wrong address often answers 200 with something else; nobody is to take that for a reply."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": content_type}, content=content)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http_client:
        error = await failure(one_sdk, http_client=http_client)
    assert "the answer is not what the API describes" in str(error)
    assert "check that base_url=" in str(error)


@pytest.mark.parametrize("status", [401, 500])
async def test_a_key_that_the_server_repeats_is_not_passed_on(sdk: Chat, status: int) -> None:
    """Neither the error nor the traceback of its cause shows it."""
    sdk.server.script({"type": "fail", "status": status, "message": f"Who is {KEY}?"})
    error = await failure(sdk)
    assert "Who is ***?" in str(error)


async def test_what_the_caller_has_in_hand_stays_as_it_is(sdk: Chat) -> None:
    """Asked in an ``except`` block, the caller's exception leads to ours; it is the caller's own."""
    sdk.server.script({"type": "fail", "status": 401, "message": f"Who is {KEY}?"})
    request = httpx2.Request("GET", "http://host", headers={"authorization": "Bearer of another key"})
    mine = httpx2.ReadError("lost", request=request)
    mine.parts = parts = [{"a": 1}, (2,)]  # type: ignore[attr-defined]
    async with sdk.provider() as provider, await provider.setup(sdk.spec) as handle:
        with pytest.raises(ModelRequestError):
            try:
                raise mine
            except httpx2.ReadError:
                await handle.model.generate("Hello")
    assert (mine.args, request.headers["authorization"]) == (("lost",), "Bearer of another key")
    assert mine.parts is parts  # type: ignore[attr-defined]


async def test_the_client_of_a_closed_provider_says_so(chat: Chat) -> None:
    """A model that is kept for longer than its handle fails with the reason."""
    async with chat.provider() as provider:
        model = (await provider.setup(chat.spec)).model
    for kept in (model.generate("Hello"), model.stream("Hello").__aenter__()):
        with pytest.raises(ModelRequestError, match="its client is closed") as caught:
            await kept
        assert "somebody has closed the client itself, which is the provider's" in str(caught.value)
        assert "call setup() again" in str(caught.value)


async def test_a_name_that_begins_with_the_provider_is_told_apart_from_one_that_is_misspelt(one_sdk: Chat) -> None:
    """As in ``openai_client``, parametrised with what ``model_client`` takes."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(404, json={"error": {"message": "There is no such model.", "type": "not_found_error"}})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http_client:
        async with one_sdk.provider(http_client=http_client) as provider:
            async with provider.setup(f"{one_sdk.kind}:a:b") as handle:
                with pytest.raises(ModelRequestError, match=f"'{one_sdk.kind}:' says which .* asked for 'a:b'"):
                    await handle.model.generate("Hello")


async def test_what_goes_wrong_below_an_older_http_client_is_explained_as_well(server) -> None:
    """OpenAI's SDK also takes a client of httpx, whose exceptions are others."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http_client:
        chat = Chat(OpenAIProvider, "openai", "gpt-4o", server)
        server.script({"type": "stream_fault", "kind": "disconnect", "after_chunks": 4})
        assert "was lost" in str(await stream_failure(chat, http_client=http_client))
        server.script({"type": "fail", "status": 429, "retry_after": 7})
        assert (await failure(chat, http_client=http_client)).retry_after == 7

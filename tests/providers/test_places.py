"""Who would wait for ever for a place among the requests at once is told so, and nobody else."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from anyio import Event, create_task_group, sleep_forever
from tests.blocked import wait_all_tasks_blocked
from tests.providers.conftest import CHATS, KEY
from tests.providers.test_attempts import transport
from tests.virtual_time import virtual_time

from doteval import ModelRequestError, Result, counting_requests, foreach
from doteval.blocking import entered
from doteval.evals import run

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

LIMITS: tuple[dict[str, Any], ...] = ({"max_concurrency": 2}, {"max_concurrency_per_key": 2})


@pytest.fixture(params=LIMITS, ids=["model", "key"])
def limits(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


def provider_of(http_client: httpx2.AsyncClient, **limits: Any) -> Any:
    return CHATS["openai"][0](base_url="http://h/v1", api_key=KEY, max_retries=0, http_client=http_client, **limits)


@pytest.fixture
async def http_client(anyio_backend: Any) -> Any:
    async with httpx2.AsyncClient(transport=transport("openai", "200 " * 100)) as client:
        yield client


async def test_tasks_whose_streams_have_all_places_do_not_wait_for_each_other(
    http_client: httpx2.AsyncClient, limits: dict[str, Any]
) -> None:
    """The one that would close the circle is told; once it has left its stream, the others go on, and so does it."""
    told: list[str] = []
    replies: list[str] = []
    async with provider_of(http_client, **limits) as provider, provider.setup("m") as handle:
        model = handle.model
        entered, everybody = 0, Event()

        async def ask(number: int) -> None:
            nonlocal entered
            try:
                async with model.stream(f"{number}"):
                    entered += 1
                    if entered == 2:
                        everybody.set()
                    await everybody.wait()
                    replies.append(await model.generate("is this safe?"))
            except ModelRequestError as exc:
                told.append(str(exc))
                replies.append(await model.generate("again"))

        with counting_requests() as requests:
            async with create_task_group() as tasks:
                for number in range(2):
                    tasks.start_soon(ask, number)
        assert len(replies) == 2
        (problem,) = told
        assert "all 2 places for requests at once belong to open streams whose tasks wait for another one" in problem
        assert len(requests) == 4


async def test_a_task_does_not_wait_for_itself(http_client: httpx2.AsyncClient) -> None:
    """Nor is it told so where there is another place."""
    async with provider_of(http_client, max_concurrency=1) as provider, provider.setup("m") as handle:
        async with handle.model.stream("one"):
            with pytest.raises(ModelRequestError, match="the only place"):
                await handle.model.generate("two")
            handle.model.limiter.total_tokens = 2
            assert await handle.model.generate("two") == "yes"
        assert handle.model.limiter.borrowed_tokens == 0


def test_a_thread_does_not_wait_for_itself() -> None:
    """In the blocking face it is the thread that has the place, whichever task of the loop asks for it."""
    client = httpx2.AsyncClient(transport=transport("openai", "200 " * 100))
    with entered(provider_of(client, max_concurrency=1)) as provider, provider.setup("m") as handle:
        with handle.model.stream("one"):
            with pytest.raises(ModelRequestError, match="the only place"):
                handle.model.generate("two")
            with pytest.raises(ModelRequestError, match="the only place"), handle.model.stream("two"):
                pass
        assert handle.model.generate("two") == "yes"
        provider.call(client.aclose)


async def test_who_waits_for_somebody_that_goes_on_is_told_nothing(
    http_client: httpx2.AsyncClient, limits: dict[str, Any]
) -> None:
    """A task with a stream waits for one that holds the other place and does not wait itself."""
    async with provider_of(http_client, **limits) as provider, provider.setup("m") as handle:
        has_it, may_leave, replies = Event(), Event(), list[str]()

        async def hold() -> None:
            async with handle.model.stream("held"):
                has_it.set()
                await may_leave.wait()

        async def ask() -> None:
            async with handle.model.stream("one"):
                replies.append(await handle.model.generate("two"))

        async with create_task_group() as tasks:
            tasks.start_soon(hold)
            await has_it.wait()
            tasks.start_soon(ask)
            await wait_all_tasks_blocked()
            assert replies == []
            may_leave.set()
        assert replies == ["yes"]


@virtual_time
async def test_a_row_that_is_out_of_time_says_how_long_it_has_waited_to_ask(http_client: httpx2.AsyncClient) -> None:
    """What waits for others has not asked at all; a row that waits for nobody says nothing of it."""

    @foreach("number", range(2), row_timeout=5)
    async def eval_it(number: int, model: Any) -> Result:
        if number == 0:
            await sleep_forever()
        return Result(await model.generate("Hello"))

    async with provider_of(http_client, max_concurrency=1) as provider, provider.setup("m") as handle:
        async with handle.model.stream("held"):
            outcome = await run(eval_it, model=handle.model)
    waiting, asking = [record.error or "" for record in outcome.records]
    assert waiting.startswith("RowTimeoutError: An attempt took longer than 5 s, and was cancelled.\n")
    assert "cancelled. Its requests waited for 5 s before they were sent, for max_concurrency=.\n" in asking
    assert [record.requests for record in outcome.records] == [0, 0]

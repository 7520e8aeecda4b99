"""When a server counts as ready: each condition, how they combine, how soon it is noticed, and that nothing is left."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest
from tests.conftest import anyio_backend  # noqa: F401 - every loop
from tests.virtual_time import virtual_time

from doteval.servers._description.readiness import HTTPReady, LogLine, PortOpen, Readiness, ReadinessView, ReadyWhen
from doteval.servers._local.ports import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

HANG = "hang"
BREAK = "break"


@pytest.fixture
def view(tmp_path: Path) -> ReadinessView:
    """Of a server that does not listen yet and has printed nothing."""
    return ReadinessView(free_port(), tmp_path / "server.log", "sk-of-this-server-only", 4711)


class Server:
    """Answers each request with the next of its answers, and the last one for ever."""

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)
        self.requests: list[str] = []
        self.hanging = anyio.Event()

    async def handle(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            while True:
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    try:
                        request += await stream.receive()
                    except (anyio.EndOfStream, anyio.BrokenResourceError):
                        return
                self.requests.append(request.decode())
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer == BREAK:
                    return
                if answer == HANG:
                    self.hanging.set()
                    await anyio.sleep_forever()
                await stream.send(f"HTTP/1.1 {answer} X\r\nContent-Length: 2\r\nLocation: /ok\r\n\r\nok".encode())

    @asynccontextmanager
    async def listening(self, view: ReadinessView) -> AsyncGenerator[None]:
        listener = await anyio.create_tcp_listener(local_host=view.host, local_port=view.port)
        async with listener, anyio.create_task_group() as task_group:
            task_group.start_soon(listener.serve, self.handle)
            yield
            task_group.cancel_scope.cancel()


@asynccontextmanager
async def waiting(condition: Readiness, view: ReadinessView) -> AsyncGenerator[anyio.Event]:
    """Wait for the condition beside the block; the event is set when it is met, at the end at the latest."""
    met = anyio.Event()

    async def wait() -> None:
        await condition.wait(view)
        met.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(wait)
            yield met
            await met.wait()


async def seen(view: ReadinessView, text: str) -> None:
    """Wait until one of the conditions has seen this."""

    async def one_has(_: ReadinessView) -> bool:
        return any(text in what for what in view.seen.values())

    await ReadyWhen(one_has).wait(ReadinessView(1, Path()))


async def no(_: ReadinessView) -> bool:
    return False


async def yes(_: ReadinessView) -> bool:
    return True


# -------------------------------------------------------------------- a port and HTTP


def test_the_view_knows_the_address(view: ReadinessView) -> None:
    """Also of IPv6; and it does not show the key."""
    assert view.base_url == f"http://127.0.0.1:{view.port}"
    assert ReadinessView(80, Path(), host="::1").base_url == "http://[::1]:80"
    assert "sk-" not in repr(view)


async def test_a_port_is_open_when_it_accepts(view: ReadinessView) -> None:
    """Not before; until then it is known that nobody listens."""
    async with waiting(PortOpen(), view) as met:
        await seen(view, "refuses")
        assert not met.is_set()
        assert (
            PortOpen().awaited(view) == f"port {view.port} to accept connections; port {view.port} refuses connections"
        )
        async with Server(200).listening(view):
            await met.wait()


async def test_http_is_ready_with_the_status_that_was_asked_for(view: ReadinessView) -> None:
    """Neither a refused connection, nor a broken one, nor another status is enough; a redirection is not followed."""
    server = Server(BREAK, 503, 302, 404, 200)
    async with waiting(HTTPReady(), view) as met:
        await seen(view, "refuses")
        async with server.listening(view):
            await met.wait()
    assert len(server.requests) >= 5  # a request that breaks may be sent again at once
    assert {request.split("\r\n")[0] for request in server.requests} == {"GET /health HTTP/1.1"}


async def test_path_and_status_can_be_chosen(view: ReadinessView) -> None:
    """For servers without /health; what was seen last is told."""
    server = Server(200, 401)
    async with server.listening(view):
        await HTTPReady("/v1/models", 401).wait(view)
    assert server.requests[0].startswith("GET /v1/models ")
    assert HTTPReady("/v1/models", 401).awaited(view) == "GET /v1/models to answer 401; it answers 401"


@pytest.mark.parametrize(("with_api_key", "shown"), [(True, True), (False, False)])
async def test_the_api_key_is_shown_only_where_that_is_wanted(
    view: ReadinessView, with_api_key: bool, shown: bool
) -> None:
    """A server that knows another key then refuses, so a foreign one at the port is not taken for ours."""
    server = Server(200)
    async with server.listening(view):
        await HTTPReady(with_api_key=with_api_key).wait(view)
    assert ("Bearer sk-of-this-server-only" in server.requests[0]) is shown


async def test_a_request_that_hangs_is_given_up(view: ReadinessView) -> None:
    """The next one is answered."""
    server = Server(HANG, HANG, 200)
    async with server.listening(view):
        with anyio.fail_after(10):
            await HTTPReady(timeout=0.05).wait(view)
    assert len(server.requests) == 3


async def test_the_proxies_of_the_environment_are_not_asked(
    view: ReadinessView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is on this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with Server(200).listening(view):
        with anyio.fail_after(10):
            await HTTPReady().wait(view)


# -------------------------------------------------------------------- functions


@virtual_time
async def test_a_function_is_called_until_it_agrees(view: ReadinessView) -> None:
    """With the view; a connection that fails means not yet."""
    answers: list[object] = [False, None, ConnectionRefusedError("no"), httpx.ReadError("cut"), "yes"]

    async def look(server: ReadinessView) -> object:
        assert server is view
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    await ReadyWhen(look).wait(view)
    assert answers == []


@virtual_time
async def test_a_function_that_breaks_ends_the_wait(view: ReadinessView) -> None:
    """With its own exception, also where conditions are combined: nobody waits ten minutes for a typing error."""

    async def broken(_: ReadinessView) -> bool:
        raise AttributeError("oops")

    for condition in (ReadyWhen(broken), ReadyWhen(broken) & ReadyWhen(no), ReadyWhen(no) | ReadyWhen(broken)):
        with pytest.raises(AttributeError, match="oops"):
            await condition.wait(view)


@virtual_time
async def test_a_call_that_hangs_is_given_up(view: ReadinessView) -> None:
    """And made again."""
    calls = 0

    async def look(_: ReadinessView) -> bool:
        nonlocal calls
        calls += 1
        if calls < 3:
            await anyio.sleep_forever()
        return True

    await ReadyWhen(look, timeout=7).wait(view)
    assert calls == 3


@virtual_time
async def test_the_pauses_are_short(view: ReadinessView) -> None:
    """Readiness is noticed within 20 ms and what a look takes; the first look is at once."""
    times: list[float] = []

    async def look(_: ReadinessView) -> bool:
        times.append(anyio.current_time())
        return len(times) == 100

    start = anyio.current_time()
    await ReadyWhen(look).wait(view)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == start
    assert 0.005 < pauses[0] < 0.015
    assert max(pauses) < 0.021
    assert min(pauses[5:]) > 0.019  # and not busier than that


@virtual_time
async def test_what_is_awaited_is_told_with_what_was_seen(view: ReadinessView) -> None:
    """It is the first question of whoever reads that a server did not get ready."""

    async def refuse(_: ReadinessView) -> bool:
        raise ConnectionRefusedError("nobody there")

    with anyio.move_on_after(1):
        await ReadyWhen(refuse).wait(view)
    assert (
        ReadyWhen(refuse)
        .awaited(view)
        .endswith("refuse() to return something true; it raised ConnectionRefusedError: nobody there")
    )
    with anyio.move_on_after(1):
        await (ReadyWhen(yes) & (ReadyWhen(no) | LogLine("up"))).wait(view)
    said = (ReadyWhen(yes) & (ReadyWhen(no) | LogLine("up"))).awaited(view)
    assert said == "(no() to return something true; it returned False or a line of output that matches 'up')"


# -------------------------------------------------------------------- combinations


@virtual_time
@pytest.mark.parametrize(
    ("condition", "when"),
    [
        (lambda a, b: a & b, 2),
        (lambda a, b: a | b, 1),
        (lambda a, b: b & a, 2),
        (lambda a, b: b | a, 1),
        (lambda a, b: (a | b) & a, 1),
        (lambda a, b: (a & b) | a, 1),
        (lambda a, b: a & b & a, 2),
    ],
)
async def test_conditions_combine(
    view: ReadinessView, condition: Callable[[Readiness, Readiness], Readiness], when: float
) -> None:
    """Both are waited for with &, one of them with |, and so on at any depth."""
    start = anyio.current_time()

    def after(seconds: float) -> Callable[[ReadinessView], Awaitable[bool]]:
        async def passed(_: ReadinessView) -> bool:
            return anyio.current_time() >= start + seconds

        return passed

    await condition(ReadyWhen(after(1)), ReadyWhen(after(2))).wait(view)
    assert when <= anyio.current_time() - start < when + 0.2


@virtual_time
async def test_a_condition_that_was_met_is_not_waited_for_again(view: ReadinessView) -> None:
    """The two of & need not be met at the same moment: a line is printed once."""
    start = anyio.current_time()

    async def at_first(_: ReadinessView) -> bool:
        return anyio.current_time() < start + 1

    async def later(_: ReadinessView) -> bool:
        return anyio.current_time() > start + 2

    await (ReadyWhen(at_first) & ReadyWhen(later)).wait(view)


# -------------------------------------------------------------------- the log


@virtual_time
async def test_a_line_is_found_when_it_is_printed(view: ReadinessView) -> None:
    """In a file that comes into being only later, in pieces, in colour, and without the line's end."""
    async with waiting(LogLine(r"listening on port \d+"), view) as met:
        await anyio.sleep(1)
        with view.log_path.open("wb", buffering=0) as log:
            for piece in ("loading …\n".encode(), b"listen\nlist", b"ening on \x1b[1mpo", "…".encode()[:1]):
                log.write(piece)
                await anyio.sleep(1)
                assert not met.is_set()
            log.write(b"\rINFO listening on \x1b[1mport\x1b[0m 8")
            await anyio.sleep(1)
            assert met.is_set()


@virtual_time
async def test_a_line_that_is_there_already_counts(view: ReadinessView) -> None:
    """Also in the part of the log that was rotated away."""
    view.log_path.write_text("new\n")
    view.log_path.with_name("server.log.1").write_text("old\n")
    await LogLine("^new$").wait(view)
    await LogLine("^old$").wait(view)


@virtual_time
async def test_the_log_is_followed_over_its_rotation(view: ReadinessView) -> None:
    """A line that begins in one file and ends in the next is one line; what is written last is not missed."""
    path = view.log_path
    path.write_text("first\n")
    async with waiting(LogLine("^the line$"), view) as met:
        for number in range(5):
            await anyio.sleep(1)
            with path.open("a") as log:
                path.rename(path.with_name("server.log.1"))
                log.write(f"the last of {number}\nthe ")
            await anyio.sleep(0 if number % 2 else 1)  # is it noticed between the two, or with both?
            path.write_text("end\n")
        await anyio.sleep(1)
        assert not met.is_set()
        with path.open("a") as log:
            log.write("the ")
        path.rename(path.with_name("server.log.1"))
        path.write_text("line\n")


@virtual_time
async def test_what_is_rotated_twice_between_two_looks_is_not_missed(view: ReadinessView) -> None:
    """The file that was rotated first is still open, and the second is at the rotated place."""
    path, rotated = view.log_path, view.log_path.with_name("server.log.1")
    path.write_text("first\n")
    async with waiting(LogLine("^in the middle$"), view) as met:
        await anyio.sleep(1)
        path.rename(rotated)
        path.write_text("in the middle\n")
        path.rename(rotated)
        path.write_text("at the end\n")
        await met.wait()


@virtual_time
async def test_a_log_that_is_emptied_is_read_from_its_beginning(view: ReadinessView) -> None:
    """Some rotate by copying."""
    view.log_path.write_text("a long first line\n")
    async with waiting(LogLine("^up$"), view):
        await anyio.sleep(1)
        view.log_path.write_text("up\n")


@virtual_time
async def test_a_flood_is_read_through(view: ReadinessView) -> None:
    """Also where it is one line without end; others can run meanwhile."""
    view.log_path.write_text("x" * 1_000_000 + "\n" + "noise\n" * 100_000 + "the end\n")
    with anyio.fail_after(10):
        await LogLine("^the end$").wait(view)


def test_a_pattern_that_is_wrong_is_refused_at_once() -> None:
    """Not when a server has started."""
    with pytest.raises(re.error):
        LogLine("(")


# -------------------------------------------------------------------- nothing is left


@pytest.mark.counts_open_files
@pytest.mark.parametrize(
    "condition",
    [PortOpen(), HTTPReady(), LogLine("never"), ReadyWhen(no), HTTPReady() & LogLine("never") | ReadyWhen(no)],
    ids=["port", "http", "log", "function", "combined"],
)
async def test_a_wait_that_is_cancelled_leaves_nothing_open(view: ReadinessView, condition: Readiness) -> None:
    """Nobody listens at the port; the log is open; then nobody waits any more."""
    view.log_path.write_text("a line\n")
    for _ in range(20):
        with anyio.move_on_after(0.001):
            await condition.wait(view)
    with anyio.move_on_after(0.1) as scope:
        await condition.wait(view)
    assert scope.cancelled_caught


@pytest.mark.counts_open_files
async def test_a_request_that_is_cancelled_leaves_nothing_open(view: ReadinessView) -> None:
    """While it hangs."""
    server = Server(HANG)
    async with server.listening(view), anyio.create_task_group() as task_group:
        task_group.start_soon(HTTPReady().wait, view)
        await server.hanging.wait()
        task_group.cancel_scope.cancel()


@pytest.mark.counts_open_files
async def test_a_wait_that_succeeds_leaves_nothing_open(view: ReadinessView) -> None:
    """Neither the connections nor the log, nor what the other one of | had open."""
    view.log_path.write_text("up\n")
    async with Server(503, 200).listening(view):
        for condition in (PortOpen() & LogLine("up"), HTTPReady(), HTTPReady() | LogLine("never"), LogLine("up")):
            await condition.wait(view)


@pytest.mark.parametrize(
    "make", [lambda: LogLine("up"), lambda: ReadyWhen(yes), lambda: LogLine("up") | ReadyWhen(yes)]
)
async def test_waiting_checkpoints_even_if_there_is_nothing_to_wait_for(
    view: ReadinessView, make: Callable[[], Any]
) -> None:
    """So it can be cancelled, and others get their turn."""
    view.log_path.write_text("up\n")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await make().wait(view)
    assert scope.cancelled_caught

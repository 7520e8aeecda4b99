"""A lease that leaks is noticed: where its handle is dropped, and where it is held too long."""

# ruff: noqa: PT031 - what is dropped is told of some turns of the loop later

from __future__ import annotations

import copy
import gc
import logging
import pickle
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import Event, create_task_group, fail_after, sleep
from tests.blocked import wait_all_tasks_blocked
from tests.resources import ThingProvider
from tests.virtual_time import virtual_time

from doteval import PoolEvent
from doteval._loop import HomeLoop

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


async def drop(provider: ThingProvider, spec: str = "a") -> None:
    handle = await provider.setup(spec)  # HERE
    await handle.model.use()
    del handle
    gc.collect()


def line_of(mark: str) -> int:
    lines = Path(__file__).read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))


@pytest.mark.parametrize("options", [{}, {"capacity": 1}, {"fast_acquire": True}, {"keep_alive": 0}], ids=str)
async def test_a_dropped_handle_is_reclaimed_and_told_of(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """With what it was, who set it up, and where; once."""
    events: list[PoolEvent] = []
    async with ThingProvider(trace_leases=True, on_event=events.append, **options) as provider:
        with pytest.warns(ResourceWarning, match=r"ThingProvider: 'a' was leased and never torn down") as told:
            await drop(provider)
            await wait_all_tasks_blocked()
        assert len(told) == 1
        assert (told[0].filename, told[0].lineno) == (__file__, line_of("HERE"))
        assert f"task {anyio.get_current_task().name} set it up in {__file__}:{line_of('HERE')}" in str(told[0].message)
        assert str(told[0].message) in caplog.text
        assert provider.statistics().active_leases == 0
        assert events[-1 if "keep_alive" not in options else -3].kind == "released"
        with fail_after(5):
            async with provider.setup("b") as handle:
                await handle.model.use()
    provider.assert_nothing_is_left()


async def test_who_waits_for_the_slot_of_a_dropped_handle_gets_it() -> None:
    async with ThingProvider(capacity=1, trace_leases=True) as provider:
        handle = [await provider.setup("a")]
        got = Event()

        async def ask() -> None:
            async with provider.setup("b"):
                got.set()

        with fail_after(5):
            async with create_task_group() as task_group:
                task_group.start_soon(ask)
                await wait_all_tasks_blocked()
                assert not got.is_set()
                with pytest.warns(ResourceWarning, match="'a'"):
                    handle.clear()
                    gc.collect()
                    await got.wait()


async def test_garbage_that_another_thread_collects_is_reclaimed_in_the_loop() -> None:
    async with ThingProvider(trace_leases=True) as provider:
        ring: list[Any] = [await provider.setup("a")]
        ring.append(ring)
        gc.disable()
        try:
            del ring
            where: list[int] = []
            provider.idle = lambda model: where.append(threading.get_ident())  # type: ignore[method-assign, assignment]
            with pytest.warns(ResourceWarning, match="'a'"):
                thread = threading.Thread(target=gc.collect)
                thread.start()
                thread.join()
                await wait_all_tasks_blocked()
                with fail_after(5):
                    while provider.statistics().active_leases:
                        await anyio.lowlevel.checkpoint()
        finally:
            gc.enable()


@pytest.mark.parametrize("end", ["teardown", "teardown_all", "with", "exit", "many"])
async def test_a_handle_that_is_done_with_is_dropped_in_peace(end: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with ThingProvider(trace_leases=True, leak_after=1000) as provider:
            if end == "with":
                async with provider.setup("a"):
                    pass
            elif end == "many":
                for handle in await provider.setup_many("a", "b", "a"):
                    await handle.teardown()
            else:
                kept = await provider.setup("a")
                if end == "teardown":
                    await kept.teardown()
                elif end == "teardown_all":
                    await provider.teardown_all()
            gc.collect()
            await wait_all_tasks_blocked()
        kept = None  # type: ignore[assignment]
        gc.collect()


async def test_of_several_at_once_each_is_watched() -> None:
    async with ThingProvider(trace_leases=True) as provider:
        with pytest.warns(ResourceWarning) as told:
            one, _ = await provider.setup_many("a", "b")
            del _
            gc.collect()
            await wait_all_tasks_blocked()
        assert ["'b'" in str(each.message) for each in told] == [True]
        assert one.is_active


@pytest.mark.parametrize("options", [{"capacity": 1}, {"keep_alive": 100}, {}], ids=str)
async def test_without_tracing_a_dropped_handle_is_reclaimed_where_slots_or_time_are_short(
    options: dict[str, Any],
) -> None:
    """And told of, with how to learn more; elsewhere it takes nothing from anybody."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        async with ThingProvider(trace_leases=False, **options) as provider:
            await drop(provider)
            await wait_all_tasks_blocked()
            assert provider.statistics().active_leases == (not options)
    assert len(told) == bool(options)
    for warning in told:
        assert str(warning.message).startswith("ThingProvider: 'a' was leased and never torn down")
        assert "trace_leases=True says" in str(warning.message)
        is_known = f"task {anyio.get_current_task().name} had it" in str(warning.message)
        assert is_known is ("capacity" in options)
        assert warning.filename == "<ThingProvider>"


@pytest.mark.parametrize("is_asked", [None, False])
async def test_in_pythons_development_mode_it_is_traced_unless_that_is_refused(
    is_asked: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("doteval._runtime.sys", SimpleNamespace(flags=SimpleNamespace(dev_mode=True)))
    async with ThingProvider(trace_leases=is_asked, capacity=1) as provider:
        with pytest.warns(ResourceWarning, match="never torn down") as told:
            await drop(provider)
            await wait_all_tasks_blocked()
    assert (told[0].filename == __file__) is (is_asked is None)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
async def test_a_handle_has_no_copies(copied: Callable[[object], object]) -> None:
    """One that was dropped would end the lease of the other."""
    async with ThingProvider() as provider, provider.setup("a") as handle:
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            copied(handle)


async def test_what_is_called_in_a_loop_that_is_over_is_not() -> None:
    """As where garbage is collected late."""
    for backend in ("asyncio", "trio"):
        loops: list[HomeLoop] = []

        async def remember(loops: list[HomeLoop] = loops) -> None:
            loops.append(HomeLoop("a provider"))

        thread = threading.Thread(target=partial(anyio.run, remember, backend=backend))
        thread.start()
        thread.join()
        loops[0].call_soon(pytest.fail)


@virtual_time
async def test_what_is_held_too_long_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """And stays leased."""
    caplog.set_level(logging.WARNING)
    async with ThingProvider(leak_after=60) as provider:
        first = await provider.setup("a")
        await sleep(30)
        second = await provider.setup("a")
        short = await provider.setup("b")
        with pytest.warns(ResourceWarning, match="'a' has been leased for 60 s, and still is; task") as told:
            await sleep(31)
            await short.teardown()
            assert len(told) == 1
            await sleep(500)
        assert len(told) == 2
        assert [record.getMessage() for record in caplog.records] == [str(each.message) for each in told]
        assert first.is_active
        assert second.is_active


@virtual_time
async def test_where_warnings_are_errors_the_provider_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's task is ended by one that it has nothing to do with; it is told as what is raised in a finaliser."""
    told: list[str] = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: told.append(str(args.exc_value)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with ThingProvider(leak_after=60) as provider:
            handle = await provider.setup("a")
            await sleep(100)
            await drop(provider)
            await sleep(1)
            assert ["never torn down" in each for each in told] == [False, True]
            await handle.model.use()
            assert provider.statistics().active_leases == 1

"""What ``setup()`` returns: awaited or entered it gives a handle, and whatever runs coroutines runs it."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from anyio import create_task_group
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.conftest import BACKENDS
from tests.named_providers import Letters
from tests.resources import ThingProvider
from tests.right_providers import AsBefore
from tests.test_start import Mapping

from doteval import ModelHandle, ModelProvider, PooledProvider, Setup
from doteval.testing import FakeProvider

everywhere = pytest.mark.anyio
loops_of_asyncio = pytest.mark.parametrize("backend", [BACKENDS["asyncio"], BACKENDS["uvloop"]], ids=["asyncio", "uv"])


class Overriding(ThingProvider):
    """As authors do it who want to do something more."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Any]:  # type: ignore[override]
        return await super().setup(spec, **config)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """With what returns the coroutine, and is no coroutine function itself."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


class Decorated(Letters):
    """As by whoever counts, logs or limits calls."""

    @decorated
    async def setup(self, spec: str, /) -> ModelHandle[str]:
        return await super().setup(spec)


KINDS: dict[str, Callable[[], Any]] = {
    "pool": ThingProvider,
    "fast pool": lambda: ThingProvider(fast_acquire=True),
    "pool with its own setup": Overriding,
    "mapping": Mapping,
    "fake": FakeProvider,
    "own books": Letters,
    "decorated": Decorated,
    "of a base that is no provider": AsBefore,
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


async def awaited(setup: Setup[Any]) -> ModelHandle[Any]:
    return await setup


@everywhere
@kinds
async def test_all_three_forms_give_the_handle(kind: Callable[[], Any]) -> None:
    """Entered, it is torn down at the end of the block; an exception of the block stays what it is."""
    async with kind() as provider:
        handle = await provider.setup("a")
        assert handle.is_active
        async with provider.setup("a") as entered:
            assert entered.is_active
            assert entered.model is not None
        assert not entered.is_active
        async with await provider.setup("a") as entered:
            assert entered.is_active
        assert not entered.is_active
        async with AsyncExitStack() as stack:
            entered = await stack.enter_async_context(provider.setup("a"))
            assert entered.is_active
        assert not entered.is_active
        with pytest.raises(KeyError, match="mine"):
            async with provider.setup("a") as entered:
                raise KeyError("mine")
        assert not entered.is_active
        await handle.teardown()


@everywhere
@kinds
async def test_task_groups_run_it(kind: Callable[[], Any]) -> None:
    """The method itself, a partial of it, and one with keyword arguments."""
    async with kind() as provider:
        async with create_task_group() as task_group:
            task_group.start_soon(provider.setup, "a")
            task_group.start_soon(functools.partial(provider.setup, "b"))
        provider.setup("c").close()  # without a warning


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
@kinds
async def test_a_nursery_of_trio_runs_it(kind: Callable[[], Any]) -> None:
    """Which looks closely at what it is given."""
    import trio

    async with kind() as provider:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(provider.setup, "a")
            nursery.start_soon(functools.partial(provider.setup, "b"))


@loops_of_asyncio
@kinds
def test_asyncio_runs_it(backend: Any, kind: Callable[[], Any]) -> None:
    """As a task, within a time limit, among others."""

    async def main() -> None:
        async with kind() as provider, asyncio.TaskGroup() as task_group:
            ways: list[Awaitable[ModelHandle[Any]]] = [
                asyncio.create_task(provider.setup("a")),
                asyncio.ensure_future(provider.setup("a")),
                asyncio.wait_for(provider.setup("a"), 60),
                asyncio.shield(provider.setup("a")),
                task_group.create_task(provider.setup("a")),
            ]
            handles = [await way for way in ways]
            handles += await asyncio.gather(provider.setup("a"), provider.setup("a"))
            (done,), _ = await asyncio.wait([asyncio.ensure_future(provider.setup("a"))])
            for handle in [*handles, done.result()]:
                assert handle.is_active
                await handle.teardown()

    anyio.run(main, backend=backend[0], backend_options=backend[1])


@loops_of_asyncio
def test_a_time_limit_of_asyncio_ends_it(backend: Any) -> None:
    """The caller just leaves."""

    async def main() -> None:
        async with ThingProvider() as provider:
            provider.gates["a"] = anyio.Event()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(provider.setup("a"), 0.001)
            provider.gates["a"].set()
            async with provider.setup("a") as handle:
                await handle.model.use()
        provider.assert_nothing_is_left()

    anyio.run(main, backend=backend[0], backend_options=backend[1])


@everywhere
@kinds
@pytest.mark.filterwarnings("error")
async def test_it_is_a_coroutine_and_warns_where_it_is_forgotten(kind: Callable[[], Any]) -> None:
    """Once, naming the method; it works once, too."""
    async with kind() as provider:
        setup = provider.setup("a")
        assert isinstance(setup, Coroutine)
        assert isinstance(setup, Setup)
        assert inspect.isawaitable(setup)
        handle = await setup
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await setup
        await handle.teardown()
        with pytest.warns(RuntimeWarning, match=r"setup' was never awaited") as warned:
            provider.setup("a")
        assert len(warned) == 1


@everywhere
@kinds
@pytest.mark.filterwarnings("error")
async def test_who_forgets_the_await_or_the_async_is_told_so(kind: Callable[[], Any]) -> None:
    """What the handle has is not there before; what nobody has is Python's affair, and nothing is left behind."""
    async with kind() as provider:
        setup = provider.setup("a")
        for name in ("model", "teardown", "is_active"):
            with pytest.raises(AttributeError, match=f"no attribute '{name}': the handle has it.*'await' is missing"):
                getattr(setup, name)
        with pytest.raises(AttributeError, match=r"no attribute 'modle'$"):
            _ = setup.modle
        assert not hasattr(setup, "cr_frame")
        with pytest.raises(TypeError, match="leased with 'async with', not with 'with'"), setup:
            pytest.fail("it was entered")
        async with provider.setup("a") as handle:
            assert handle.is_active


@everywhere
async def test_it_can_be_driven_by_hand() -> None:
    """As all coroutines can: sent into, thrown into, closed."""
    async with ThingProvider() as provider:
        setup = provider.setup("a")
        setup.send(None)
        with pytest.raises(KeyError):
            setup.throw(KeyError("thrown"))
        setup.close()
    provider.assert_nothing_is_left()


@everywhere
@pytest.mark.concurrency
async def test_cancelled_anywhere_the_entered_form_leaves_no_lease() -> None:
    """At every checkpoint of entering, of the block, and of leaving."""

    async def program() -> None:
        async with provider.setup("a") as handle:
            await handle.model.use()

    async def trial(k: int) -> bool:
        reached = await cancelled_at(k, program)
        assert provider.statistics().active_leases == 0
        return reached

    async with ThingProvider() as provider:
        assert await at_every_checkpoint(trial) > 1
    provider.assert_nothing_is_left()


def test_a_setup_of_an_author_keeps_its_name_and_signature() -> None:
    """It is wrapped, and that is all; ours, which returns the right thing, is left alone."""

    class Documented(ModelProvider[str]):
        async def setup(self, spec: str, /, *, colour: str = "red") -> ModelHandle[str]:
            """Says what it does."""
            return ModelHandle(spec, colour, self)

        async def teardown(self, resource_id: str, /) -> None: ...

    assert Documented.setup.__doc__ == "Says what it does."
    assert Documented.setup.__name__ == "setup"
    assert "colour" in inspect.signature(Documented.setup).parameters
    assert not hasattr(PooledProvider.setup, "__wrapped__")
    assert not hasattr(ThingProvider.setup, "__wrapped__")

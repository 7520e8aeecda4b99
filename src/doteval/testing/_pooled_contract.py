"""``ProviderContract``: what every `PooledProvider` promises besides."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Generic, cast

import anyio
from anyio import (
    CancelScope,
    Event,
    create_task_group,
    fail_after,
    get_current_task,
    to_thread,
    wait_all_tasks_blocked,
)
from anyio.lowlevel import checkpoint
from typing_extensions import TypeVar

from .. import (
    ModelHandle,
    ModelProvider,
    ModelSetupError,
    PooledProvider,
    ProviderClosedError,
    ProviderNotEnteredError,
    WrongEventLoopError,
)
from ._basic_contract import BasicProviderContract
from ._openings import Openings
from ._steps import Steps
from ._subject import answer_of, enter, failure_of, is_a_value, model_of
from ._traces import Traces

ModelT = TypeVar("ModelT", default=Any)

CROWD = 5
MOST_CHECKPOINTS = 40
SWALLOWS = (
    "open() was cancelled and went on: let a cancellation through. 'except Exception' does; after 'except "
    "BaseException' and after 'except asyncio.CancelledError', raise"
)


class ProviderContract(BasicProviderContract[ModelT], Generic[ModelT]):
    """What every `PooledProvider` promises.

    A provider with a `setup` and a `teardown` of its own runs `BasicProviderContract` instead.
    """

    def make_provider(self) -> PooledProvider[ModelT]:
        """Make a provider of the kind to be tested, not entered; every call makes a new one."""
        raise NotImplementedError(f"{type(self).__name__} needs a method make_provider(self) that returns a provider")

    # ---------------------------------------------------------------- leases

    async def test_every_setup_is_a_lease_of_its_own(self) -> None:
        """Two handles share one model; tearing one down leaves the other and the model alone."""
        async with self.watched() as (provider, _):
            one, other = await self.lease(provider), await self.lease(provider)
            assert one is not other, (
                "setup() gave out the same handle twice: each caller needs a lease of its own; do not override setup()"
            )
            assert one.model is other.model, "two leases of the same spec and config must share one model"
            await one.teardown()
            assert other.is_active, "tearing down one handle ended another: do not close the resource there"
            await self.check_use(other)

    async def test_concurrent_setups_open_once(self) -> None:
        """A crowd asks while the resource is being opened: there is one opening and everybody gets its model."""
        async with self.watched() as (provider, openings):
            handles = await self.crowd(provider, openings)
            assert openings.begun[self.spec] == 1, (
                f"{CROWD} concurrent setups opened the resource {openings.begun[self.spec]} times: let "
                "PooledProvider.setup() call open(), and do not call it yourself"
            )
            assert len({id(handle.model) for handle in handles}) == 1, "concurrent setups got different models"

    async def test_a_caller_that_is_cancelled_just_leaves(self) -> None:
        """The first caller is cancelled while it waits for the opening; the second still gets it."""
        async with self.watched() as (provider, openings):
            openings.gate = Event()
            scopes = [CancelScope(), CancelScope()]
            handles: list[ModelHandle[ModelT]] = []
            errors: list[Exception | None] = []

            async def call() -> None:
                handles.append(await self.lease(provider))

            async def caller(scope: CancelScope) -> None:
                with scope:
                    errors.append(await failure_of(call()))

            async with create_task_group() as task_group:
                for scope in scopes:
                    task_group.start_soon(caller, scope)
                    await wait_all_tasks_blocked()
                scopes[0].cancel()
                await wait_all_tasks_blocked()
                openings.gate.set()
            assert len(handles) == 1, (
                f"of two callers one was cancelled, and they got {len(handles)} handles and heard {errors}: an opening "
                "must not belong to a caller; do not override setup()"
            )
            assert openings.begun[self.spec] == 1, "the opening was begun anew when one of two callers was cancelled"
            await self.check_use(handles[0])

    async def test_an_opening_nobody_waits_for_is_called_off(self) -> None:
        """The only caller is cancelled; the next setup starts afresh."""
        async with self.watched() as (provider, openings):
            openings.gate = Event()
            still_opening = 0
            async with create_task_group() as task_group:
                task_group.start_soon(self.lease, provider)
                await wait_all_tasks_blocked()
                task_group.cancel_scope.cancel()
                with CancelScope(shield=True):
                    await wait_all_tasks_blocked()
                still_opening = provider.statistics().opening
                openings.gate.set()
            assert not still_opening, (
                "an opening went on although nobody waited for it: setup() must not shield itself from cancellation"
            )
            await self.use_in_time(provider)

    async def test_a_failure_is_told_to_every_caller(self) -> None:
        """Each gets a `ModelSetupError` of its own with the original as its cause; the next setup tries again."""
        async with self.watched() as (provider, openings):
            original = ConnectionError("refused, as the contract asked for")
            openings.failures = [original]
            errors = await self.failing_crowd(provider, openings)
            assert len(errors) == CROWD, (
                f"of {CROWD} callers {len(errors)} heard that the opening failed: do not swallow what setup() raises"
            )
            assert all(isinstance(error, ModelSetupError) for error in errors), (
                f"a failed opening was raised as {errors[0]!r}: let ModelSetupError through as it is"
            )
            assert len({id(error) for error in errors}) == CROWD, "several callers were given the same exception object"
            assert all(error.__cause__ is original for error in errors), (
                "the ModelSetupError does not have what open() raised as its cause: do not catch and re-raise it"
            )
            assert openings.begun[self.spec] == 1, "a failed opening was tried again for every caller"
            await self.check_use(await self.lease(provider))

    # ---------------------------------------------------------------- the resource

    async def test_a_resource_lives_in_a_task_of_its_own(self) -> None:
        """It is entered and left by one and the same task, which is no caller's."""
        async with self.watched() as (provider, openings):
            callers: set[int] = set()

            async def set_up() -> None:
                callers.add(get_current_task().id)
                await self.lease(provider)

            async with create_task_group() as task_group:
                task_group.start_soon(set_up)
            entered = openings.entered_in.get(self.spec)
            assert entered is not None, "setup() did not go through open(): do not override setup()"
            assert entered not in callers, (
                "open() ran in the task that called setup(): let PooledProvider enter it, in a task of its own"
            )
            await provider.teardown_all()
            assert openings.left_in.get(self.spec) == entered, (
                "open() was not left in the task that had entered it: let PooledProvider leave it"
            )

    async def test_a_resource_that_breaks_hurts_only_its_own_handles(self) -> None:
        """They become inactive and say why; nobody is cancelled; the next setup opens a new one."""
        async with self.watched() as (provider, openings):
            openings.breakable = True
            broken, *fine = [await self.lease(provider, spec) for spec in self.at_once(provider)]
            old = broken.model
            openings.break_down(self.spec)
            with fail_after(self.patience):
                while broken.is_active or provider.statistics().closing:
                    await checkpoint()
            error = await failure_of(model_of(broken))
            assert "lost" in str(error), f"the handle of a broken resource says {error}, not that it was lost"
            self.check_closed(old, "its resource was lost")
            for handle in fine:
                await self.check_use(handle)
            again = await self.lease(provider)
            assert is_a_value(old) or again.model is not old, (
                "after a resource broke, setup() gave out its model again: open() must make a new one every time"
            )
            await self.check_use(again)

    async def test_what_is_kept_open_is_leased_again(self) -> None:
        """After the last release the resource is either kept, and given to the next caller, or closed."""
        async with self.watched() as (provider, openings):
            handle = await self.lease(provider)
            model = handle.model
            await handle.teardown()
            if provider.statistics().open:
                again = await self.lease(provider)
                assert openings.begun[self.spec] == 1, (
                    "an idle resource was opened anew instead of being leased again: healthy() must be true for it"
                )
                await self.check_use(again)
            else:
                self.check_closed(model, "the last teardown(), with keep_alive=0")

    async def test_what_was_just_opened_is_healthy(self) -> None:
        """``healthy(model)`` answers `True` and does not raise."""
        async with self.watched() as (provider, _):
            handle = await self.lease(provider)
            answers: list[object] = []

            async def ask() -> None:
                answers.append(await provider.healthy(handle.model))

            error = await failure_of(ask())
            assert error is None, (
                f"healthy() of a fresh model raised {error!r}, which counts as no: it must return True"
            )
            assert answers == [True], (
                f"healthy() of a fresh model returned {answers[0]!r}: it must return True, or no resource is used again"
            )

    async def test_healthy_tells_the_truth(self) -> None:
        """Of a model that is closed it does not say that it is healthy."""
        async with self.watched() as (provider, _):
            handle = await self.lease(provider)
            model = handle.model
            await provider.teardown(handle.resource_id)
            is_its_own = type(provider).healthy is not PooledProvider.healthy
            if is_its_own and self.is_open(model) is False:  # else nothing is claimed, or nothing known
                answer = await answer_of(provider.healthy(model), self.patience)
                assert answer is not None, (
                    "healthy() never answers for a model that is closed: bound what it waits for, as with "
                    "anyio.move_on_after(5)"
                )
                assert not answer, (
                    "healthy() said True of a model that is closed: look at the model, or leave healthy() out"
                )

    async def test_an_opening_that_is_cancelled_leaves_nothing(self) -> None:
        """At each of its checkpoints, up to some; and the cancellation comes out."""
        async with self.watched() as (provider, openings):
            await (await self.lease(provider)).teardown()
            await provider.teardown_all()
            for k in range(1, MOST_CHECKPOINTS):
                traces = Traces.of_one()
                steps = Steps(cancel_at=k)
                models = await self.open_and_close(openings, steps)
                assert not steps.is_stubborn, SWALLOWS
                if not steps.reached:
                    break
                for model in models:
                    self.check_closed(model, f"open() was cancelled at its checkpoint {k}")
                left = await traces.left()
                assert not left, (
                    f"open() was cancelled at its checkpoint {k} and has left {', '.join(sorted(set(left)))}: close in "
                    "'finally', or in 'except BaseException', what was opened before the 'yield'"
                )

    # ---------------------------------------------------------------- the end

    async def test_teardown_ends_every_lease_of_the_resource(self) -> None:
        """``provider.teardown(resource_id)`` closes it, whoever holds it, and leaves the others."""
        async with self.watched() as (provider, _):
            handles = [await self.lease(provider) for _ in range(2)]
            others = [await self.lease(provider, spec) for spec in self.at_once(provider)[1:]]
            await provider.teardown(handles[0].resource_id)
            assert not any(handle.is_active for handle in handles), (
                "teardown(resource_id) left leases of the resource active: do not override teardown()"
            )
            for other in others:
                await self.check_use(other)

    async def test_everything_is_closed_although_one_does_not_close(self) -> None:
        """The failure is raised at the end, in an ``ExceptionGroup``; the others are closed all the same."""
        provider = self.checked_provider()
        openings = Openings(provider)
        failure = ConnectionError("will not close, as the contract asked for")
        models: list[ModelT] = []

        async def block() -> None:
            async with provider:
                models.extend([(await self.lease(provider, spec)).model for spec in self.at_once(provider)])
                openings.close_failures[self.spec] = failure

        error = await failure_of(block())
        assert isinstance(error, ExceptionGroup), (
            f"a resource failed to close, and 'async with' raised {error!r}: let super().__aexit__() raise its group"
        )
        group = cast("ExceptionGroup[Exception]", error)
        assert any(failure is each for each in group.exceptions), f"the failure of a close is missing in {error!r}"
        for model in models:
            self.check_closed(model, "leaving 'async with', where another one failed to close")
        self.check_nothing_is_left(provider)

    async def test_nothing_is_left_where_the_block_is_cancelled(self) -> None:
        """With leases held and an opening under way."""
        provider = self.checked_provider()
        openings = Openings(provider)
        models: list[ModelT] = []
        with CancelScope() as scope:
            async with provider:
                *held, last = self.at_once(provider)
                models.extend([(await self.lease(provider, spec)).model for spec in held])
                openings.gate = Event()
                async with create_task_group() as task_group:
                    task_group.start_soon(self.lease, provider, last)
                    await wait_all_tasks_blocked()
                    scope.cancel()
        assert scope.cancelled_caught, "the cancellation of the 'async with' block was swallowed: re-raise it"
        for model in models:
            self.check_closed(model, "a cancelled 'async with'")
        self.check_nothing_is_left(provider)

    async def test_it_must_be_entered_once(self) -> None:
        """Before, after, and a second time are immediate errors; afterwards it may be entered again."""
        provider = self.checked_provider()
        await self.check_refused(provider, ProviderNotEnteredError, "before 'async with'")
        async with provider:
            error = await failure_of(enter(provider))
            assert isinstance(error, RuntimeError), "it could be entered twice: let super().__aenter__() refuse that"
            await self.check_use(await self.lease(provider))
        await self.check_refused(provider, ProviderClosedError, "after 'async with'")
        async with provider:
            await self.check_use(await self.lease(provider))

    async def test_it_belongs_to_one_event_loop(self) -> None:
        """Use from another one is an immediate error."""
        async with self.watched() as (provider, _):
            await self.lease(provider)
            elsewhere = partial(self.check_refused, provider, WrongEventLoopError, "in another event loop")
            await to_thread.run_sync(partial(anyio.run, elsewhere, backend="asyncio"))

    async def test_its_repr_counts(self) -> None:
        """It names the provider and says how many resources are open and leased."""
        async with self.watched() as (provider, _):
            await self.lease(provider)
            text = repr(provider)
            for part in (provider.statistics().provider, "open=1", "leases=1"):
                assert part in text, f"repr(provider) is {text}, without {part!r}: do not override __repr__"

    # ---------------------------------------------------------------- what the tests use

    def checked_provider(self) -> PooledProvider[ModelT]:
        """A new provider, which must be a pooled one."""
        provider: object = self.make_provider()
        assert isinstance(provider, PooledProvider), (
            f"{type(provider).__name__} does not inherit PooledProvider: test it with BasicProviderContract"
        )
        return provider

    def at_once(self, provider: ModelProvider[ModelT]) -> Sequence[str]:
        """As the provider's `capacity` and its `slots` say."""
        assert isinstance(provider, PooledProvider)
        specs = self.spec, self.other_spec
        capacity = provider.statistics().capacity
        has_room = capacity is None or sum(provider.slots(spec, **self.config) for spec in specs) <= capacity
        return specs if has_room else specs[:1]

    @asynccontextmanager
    async def entered(self) -> AsyncGenerator[ModelProvider[ModelT]]:
        """A new provider, inside ``async with``."""
        async with self.watched() as (provider, _):
            yield provider

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[tuple[PooledProvider[ModelT], Openings[ModelT]]]:
        """A new provider, inside ``async with``, and a hold on its openings; afterwards nothing may be left."""
        provider = self.checked_provider()
        openings = Openings(provider)
        async with provider:
            yield provider, openings
        self.check_nothing_is_left(provider)

    async def crowd(self, provider: PooledProvider[ModelT], openings: Openings[ModelT]) -> list[ModelHandle[ModelT]]:
        """Handles that several tasks asked for while the opening was held up."""
        handles: list[ModelHandle[ModelT]] = []

        async def call() -> None:
            handles.append(await self.lease(provider))

        await self._crowd(call, openings)
        return handles

    async def failing_crowd(self, provider: PooledProvider[ModelT], openings: Openings[ModelT]) -> list[Exception]:
        """What several tasks heard that asked while the opening was held up."""
        errors: list[Exception] = []

        async def call() -> None:
            try:
                await self.lease(provider)
            except Exception as exc:
                errors.append(exc)

        await self._crowd(call, openings)
        return errors

    async def _crowd(self, call: Callable[[], Coroutine[Any, Any, None]], openings: Openings[ModelT]) -> None:
        openings.gate = Event()
        async with create_task_group() as task_group:
            for _ in range(CROWD):
                task_group.start_soon(call)
            await wait_all_tasks_blocked()
            openings.gate.set()

    async def open_and_close(self, openings: Openings[ModelT], steps: Steps) -> list[ModelT]:
        """Enter and leave the provider's own ``open()``; what it has yielded, though it was cancelled."""
        models: list[ModelT] = []

        async def life() -> None:
            async with openings.own(self.spec, **openings.config.get(self.spec, self.config)) as model:
                models.append(model)
                assert not steps.was_cancelled, SWALLOWS

        await steps.run(life())
        return models

    async def longest_of_one(self) -> float:
        """How long one opening and closing have kept the event loop, in seconds."""
        async with self.watched() as (provider, openings):
            await self.lease(provider)
            await provider.teardown_all()
            steps = Steps()
            await self.open_and_close(openings, steps)
            return steps.longest

    async def check_failure(self, provider: ModelProvider[ModelT]) -> Exception:
        """Fail unless what cannot be opened raises a `ModelSetupError` with its cause; return it."""
        error = await super().check_failure(provider)
        assert isinstance(error, ModelSetupError), (
            f"what cannot be opened raised {error!r}: let open() raise it, then it becomes a ModelSetupError"
        )
        assert error.__cause__ is not None, "the ModelSetupError has no cause: raise it 'from' the original exception"
        return error

    async def check_refused(self, provider: PooledProvider[ModelT], kind: type[Exception], when: str) -> None:
        """Fail unless `setup` raises `kind`."""
        error = await failure_of(self.lease(provider))
        assert isinstance(error, kind), (
            f"setup() {when} {'succeeded' if error is None else f'raised {error!r}'}: let super().setup() answer it, "
            f"with {kind.__name__}"
        )

    def check_nothing_is_left(self, provider: PooledProvider[ModelT]) -> None:
        """Fail if the counts of a closed provider show something that is still there."""
        now = provider.statistics()
        left = {name: getattr(now, name) for name in ("opening", "open", "closing", "active_leases", "waiting")}
        left["not closed"] = now.opens - now.closes
        assert not any(left.values()), f"after 'async with' something is left: {left}; call super().__aexit__(...)"

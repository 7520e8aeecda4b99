"""``BasicProviderContract``: what every provider promises."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic

import pytest
from anyio import CancelScope, create_task_group
from typing_extensions import TypeVar

from .. import HandleInactiveError, ModelHandle
from ._subject import failure_of, is_a_value, model_of
from ._tidiness import Tidiness

ModelT = TypeVar("ModelT", default=Any)

SECRET = "sk-contract-0123456789abcdef"  # noqa: S105 - nobody's; it is looked for


class BasicProviderContract(Tidiness[ModelT], Generic[ModelT]):
    """What every provider promises, also one that keeps its own books.

    A provider that inherits `PooledProvider` promises more: test it with `ProviderContract`.
    """

    # ---------------------------------------------------------------- the checklist

    def test_it_says_what_it_is(self) -> None:
        """The class has a docstring of its own: how its resources live, and what limits them."""
        kind = type(self.make_provider())
        assert vars(kind).get("__doc__"), (
            f"{kind.__name__} has no docstring: say what it opens, how long that lives, and what limits it, "
            "for example that a server takes one model at a time"
        )

    async def test_setup_gives_a_handle(self) -> None:
        """The handle has the model, a readable resource id, and knows its provider."""
        async with self.entered() as provider:
            handle = await self.lease(provider)
            assert isinstance(handle, ModelHandle), (
                f"setup() returned a {type(handle).__name__}: return ModelHandle(resource_id=..., model=..., "
                "manager=self)"
            )
            await self.check_use(handle)
            assert handle.manager is provider, "handle.manager is somebody else: pass manager=self to ModelHandle"
            resource_id: object = handle.resource_id
            assert isinstance(resource_id, str), f"handle.resource_id is {resource_id!r}: make it a text"
            assert resource_id, (
                f"handle.resource_id is {handle.resource_id!r}: give it a text that tells people what is leased"
            )
            assert handle.resource_id in repr(handle), "repr(handle) does not name the resource: do not override it"

    async def test_a_handle_ends_with_teardown_and_with_its_block(self) -> None:
        """After it, the handle is inactive; the other way to end it is ``async with``."""
        async with self.entered() as provider:
            handle = await self.lease(provider)
            await handle.teardown()
            assert not handle.is_active, "the handle is active after teardown(): its teardown() must end the lease"
            async with await self.lease(provider) as handle:
                await self.check_use(handle)
            assert not handle.is_active, "the handle is active after its 'async with': do not override __aexit__"
            setup: Any = provider.setup(self.spec, **self.config)
            has_block = hasattr(setup, "__aenter__")
            if not has_block:
                await setup  # else Python says, too, that nobody has awaited it
            assert has_block, (
                f"setup() returned a {type(setup).__name__}, so 'async with provider.setup(...)' does not work: write "
                "it as 'async def setup(...)'"
            )
            async with setup as handle:
                await self.check_use(handle)
            assert not handle.is_active, "the handle is active after 'async with provider.setup(...)'"

    async def test_a_second_teardown_does_nothing(self) -> None:
        """Neither of the handle, nor of the provider for something that is not there."""
        async with self.entered() as provider:
            handle = await self.lease(provider)
            await handle.teardown()
            by_id = partial(provider.teardown, handle.resource_id)
            for again in (handle.teardown, by_id, by_id, partial(provider.teardown, "never-set-up")):
                error = await failure_of(again())
                assert error is None, (
                    f"a teardown of what is not open raised {error!r}: it must do nothing, as clean-up code calls it "
                    "without looking first"
                )

    async def test_the_model_of_an_ended_handle_is_refused(self) -> None:
        """The error says why the handle is inactive."""
        async with self.entered() as provider:
            handle = await self.lease(provider)
            await handle.teardown()
            error = await failure_of(model_of(handle))
            assert isinstance(error, HandleInactiveError), (
                "an ended handle still gives out its model: return a doteval.ModelHandle, which refuses to"
            )
            assert error.reason in str(error), "the error of an ended handle does not say why it ended: let it through"

    async def test_what_was_torn_down_can_be_set_up_again(self) -> None:
        """The new handle is active and its model works."""
        async with self.entered() as provider:
            await (await self.lease(provider)).teardown()
            handle = await self.lease(provider)
            assert handle.is_active, (
                "setup() after a teardown gave out a handle that had ended: forget the handle in teardown()"
            )
            await self.check_use(handle)

    async def test_two_specs_are_two_resources(self) -> None:
        """Each has its own id and model, and tearing one down leaves the other."""
        async with self.entered() as provider:
            one = await self.lease(provider)
            model = one.model
            if len(self.at_once(provider)) == 1:
                await one.teardown()
            other = await self.lease(provider, self.other_spec)
            assert one.resource_id != other.resource_id, (
                f"{self.spec!r} and {self.other_spec!r} have the same resource id: the spec must be part of it"
            )
            assert is_a_value(model) or model is not other.model, (
                f"{self.spec!r} and {self.other_spec!r} give the same model: the spec must be part of the key"
            )
            await one.teardown()
            await provider.teardown(one.resource_id)
            await self.check_use(other)

    async def test_teardown_closes_what_was_opened(self) -> None:
        """``provider.teardown(resource_id)`` closes that resource now."""
        async with self.entered() as provider:
            handle = await self.lease(provider)
            model = handle.model
            await provider.teardown(handle.resource_id)
            self.check_closed(model, "teardown(resource_id)")

    async def test_teardown_all_closes_everything(self) -> None:
        """All handles are inactive, all models closed, and the provider stays usable."""
        async with self.entered() as provider:
            handles = [await self.lease(provider, spec) for spec in self.at_once(provider)]
            models = [handle.model for handle in handles]
            await provider.teardown_all()
            for handle, model in zip(handles, models, strict=True):
                assert not handle.is_active, (
                    f"the handle on '{handle.resource_id}' is active after teardown_all(): "
                    "let super().teardown_all() end every handle"
                )
                self.check_closed(model, "teardown_all()")
            await self.check_use(await self.lease(provider))

    async def test_leaving_the_block_closes_everything(self) -> None:
        """Also where the block raises; its exception stays what it is."""
        handles: list[ModelHandle[ModelT]] = []
        models: list[ModelT] = []

        async def block() -> None:
            async with self.entered() as provider:
                for spec in self.at_once(provider):
                    handles.append(await self.lease(provider, spec))
                    models.append(handles[-1].model)
                raise _MineError

        error = await failure_of(block())
        assert isinstance(error, _MineError), (
            f"an exception of the 'async with' block came out as {error!r}: __aexit__ must return None, and raise "
            "nothing where closing went well"
        )
        for handle, model in zip(handles, models, strict=True):
            assert not handle.is_active, (
                f"the handle on '{handle.resource_id}' is active after 'async with': call super().__aexit__(...), "
                "which tears down all handles"
            )
            self.check_closed(model, "leaving 'async with'")

    async def test_start_and_aclose_do_what_async_with_does(self) -> None:
        """In a task each, as hooks, fixtures and cells of notebooks call them."""
        provider = self.make_provider()
        given: list[object] = []
        handles: list[ModelHandle[ModelT]] = []
        models: list[ModelT] = []

        async def start() -> None:
            given.append(await provider.start())

        async def use() -> None:
            for spec in self.at_once(provider):
                handles.append(await self.lease(provider, spec))
                await self.check_use(handles[-1])
                models.append(handles[-1].model)

        async def life() -> None:
            await in_a_task(start)
            try:
                await in_a_task(use)
            finally:
                await in_a_task(provider.aclose)

        error = await failure_of(life())
        assert error is None, (
            f"with 'await provider.start()' and 'await provider.aclose()' in place of 'async with', it failed with "
            f"{error!r}: let super() do both; what is yours belongs in __aenter__ and __aexit__"
        )
        assert given == [provider], f"start() returned {given[0]!r}: return what super().start() returns, the provider"
        for handle, model in zip(handles, models, strict=True):
            assert not handle.is_active, (
                f"the handle on '{handle.resource_id}' is active after aclose(): call super().aclose(), or write "
                "__aexit__ instead"
            )
            self.check_closed(model, "aclose()")

    async def test_a_failed_setup_hurts_nobody(self) -> None:
        """It raises an ordinary exception that says something, and others can be set up before and after it."""
        if self.bad_spec is None and self.bad_config is None:
            pytest.skip("set bad_spec or bad_config to something that the provider cannot open")
        async with self.entered() as provider:
            before = [await self.lease(provider) for _ in self.at_once(provider)[1:]]
            await self.check_failure(provider)
            await self.check_failure(provider)
            for handle in before:
                await self.check_use(handle)
            await self.check_use(await self.lease(provider, self.other_spec))

    async def test_tasks_may_pass_handles_on(self) -> None:
        """Set up in some tasks, used in others, torn down in yet another one, first in, first out."""
        async with self.entered() as provider:
            handles: list[ModelHandle[ModelT]] = []

            async def set_up(spec: str) -> None:
                handles.append(await self.lease(provider, spec))

            async def tear_down() -> None:
                for handle in handles:
                    await handle.teardown()
                    await provider.teardown(handle.resource_id)

            async def pass_on() -> None:
                for spec in self.at_once(provider):
                    async with create_task_group() as task_group:
                        task_group.start_soon(set_up, spec)
                async with create_task_group() as task_group:
                    for handle in handles:
                        task_group.start_soon(self.check_use, handle)
                async with create_task_group() as task_group:
                    task_group.start_soon(tear_down)

            error = await failure_of(pass_on())
            assert error is None, (
                f"a handle could not be passed on to another task: {error!r}. What holds cancel scopes or task groups "
                "must be entered and left in one task; inherit PooledProvider, which sees to that"
            )
            for handle in handles:
                assert not handle.is_active, "teardown() from another task did not end the lease"

    async def test_two_providers_are_independent(self) -> None:
        """Closing one leaves the models of the other alone."""
        async with self.entered() as one:
            handle = await self.lease(one)
            async with self.entered() as other:
                model = (await self.lease(other)).model
            self.check_closed(model, "leaving 'async with'")
            assert handle.is_active, "closing one provider ended a handle of another: keep no state on the class"
            await self.check_use(handle)

    async def test_a_cancelled_setup_leaves_the_provider_usable(self) -> None:
        """Whether setup is cancelled or completes all the same, the next one works."""
        async with self.entered() as provider:
            with CancelScope() as scope:
                scope.cancel()
                await self.lease(provider)
            error = await failure_of(self.use_in_time(provider))
            assert error is None, (
                f"after a cancelled setup() the next one failed with {error!r}: undo what was begun in 'except "
                "BaseException', or inherit PooledProvider"
            )

    async def test_no_secret_is_shown(self) -> None:
        """Neither the resource id, nor a repr, nor an error message has the value of ``api_key``."""
        async with self.entered() as provider:
            seen: dict[str, str] = {}

            async def look() -> None:
                handle = await provider.setup(self.spec, **{**self.config, "api_key": SECRET})
                seen["handle.resource_id"] = handle.resource_id
                seen["repr(handle)"] = repr(handle)
                seen["repr(handle.model)"] = repr(handle.model)

            seen["the message of setup()'s exception"] = str(await failure_of(look()))
            seen["repr(provider)"] = repr(provider)
            for what, text in seen.items():
                assert SECRET not in text, (
                    f"{what} shows the API key that setup() was given: leave it out, as it ends up in logs"
                )


async def in_a_task(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in a task that ends with it."""
    async with create_task_group() as task_group:
        task_group.start_soon(function)


class _MineError(Exception):
    """Raised by a block, to see whether it comes out."""

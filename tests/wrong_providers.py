"""For each test of the provider contract, providers that break just that promise, the way authors do.

`WRONG` has them all: the name of the test, the provider, and what the test must tell its author.
"""

# ruff: noqa: PYI036 - what these are called with does not matter

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import AsyncGenerator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial, partialmethod
from typing import Any, ClassVar

from anyio import CancelScope, Event, create_task_group, get_cancelled_exc_class, move_on_after, sleep_forever
from anyio.lowlevel import checkpoint
from sniffio import current_async_library

from doteval import ModelHandle, ModelProvider, ModelSetupError, PooledProvider
from doteval.testing import BasicProviderContract, ProviderContract

WRONG: list[tuple[str, type[ModelProvider[Any]], str]] = []


def breaks(test: str, told: str) -> Any:
    """Enter a wrong provider in `WRONG`."""

    def enter(kind: type[ModelProvider[Any]]) -> type[ModelProvider[Any]]:
        WRONG.append((test, kind, told))
        return kind

    return enter


class Client:
    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.is_open = True

    async def use(self) -> None:
        await checkpoint()
        assert self.is_open

    def close(self) -> None:
        self.is_open = False


class Looks:
    """How the contract looks at clients."""

    bad_spec = "bad"

    def is_open(self, model: Client) -> bool:
        return model.is_open

    async def use(self, model: Client) -> None:
        await model.use()


def contract_of(kind: type[ModelProvider[Any]]) -> type[BasicProviderContract[Any]]:
    """The contract as the author of that provider would run it."""
    base = ProviderContract if issubclass(kind, PooledProvider) else BasicProviderContract
    looks = {"make_provider": lambda self: kind(), "patience": getattr(kind, "patience", base.patience)}
    return type(f"Test{kind.__name__}", (Looks, base), looks)


# -------------------------------------------------------------------- with books of their own


class OwnBooks(ModelProvider[Client]):
    """Opens a client for each spec and keeps it until it is torn down. Keeps the basic contract."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self.handles: dict[str, ModelHandle[Client]] = {}

    async def setup(self, spec: str, **config: Any) -> ModelHandle[Client]:
        if spec not in self.handles:
            client = await self.connect(spec, **config)
            self.clients[spec] = client
            self.handles[spec] = ModelHandle(resource_id=spec, model=client, manager=self)
        return self.handles[spec]

    async def teardown(self, resource_id: str) -> None:
        if resource_id in self.clients:
            await checkpoint()
            del self.handles[resource_id]
            self.clients.pop(resource_id).close()

    async def connect(self, spec: str, **config: Any) -> Client:
        await checkpoint()
        if spec == "bad":
            raise OSError("no such client")
        return Client(spec)


@breaks("test_it_says_what_it_is", "has no docstring")
class SaysNothing(OwnBooks):
    pass


@breaks("test_setup_gives_a_handle", "return ModelHandle(resource_id=...")
class GivesTheClient(OwnBooks):
    """No handle at all."""

    async def setup(self, spec: str, **config: Any) -> Any:
        return (await super().setup(spec)).model


@breaks("test_setup_gives_a_handle", "tells people what is leased")
class NamesNothing(OwnBooks):
    """An empty resource id."""

    async def setup(self, spec: str, **config: Any) -> ModelHandle[Client]:
        return ModelHandle("", await self.connect(spec), self)


@breaks("test_setup_gives_a_handle", "pass manager=self")
class NamesAnother(OwnBooks):
    """The handle knows somebody else."""

    async def setup(self, spec: str, **config: Any) -> ModelHandle[Client]:
        return ModelHandle(spec, await self.connect(spec), OwnBooks())


class KeepsOn(ModelHandle[Client]):
    """Leaving its block does nothing."""

    async def __aexit__(self, *args: object) -> None:
        await checkpoint()


@breaks("test_a_handle_ends_with_teardown_and_with_its_block", "do not override __aexit__")
class BlockDoesNotEnd(OwnBooks):
    """Its handles outlive their blocks."""

    async def setup(self, spec: str, **config: Any) -> ModelHandle[Client]:
        return KeepsOn(spec, await self.connect(spec), self)


@breaks("test_a_handle_ends_with_teardown_and_with_its_block", "so 'async with provider.setup(...)' does not work")
class GivesItLater(OwnBooks):
    """What its setup() returns can be awaited only."""

    async def lease(self, spec: str, **config: Any) -> ModelHandle[Client]:
        return await OwnBooks.setup(self, spec, **config)

    setup: Any = partialmethod(lease)


@breaks("test_start_and_aclose_do_what_async_with_does", "call super().aclose(), or write __aexit__ instead")
class ClosesWhatIsIts(OwnBooks):
    """Has something of its own to close, and a method for that which is called aclose()."""

    async def aclose(self) -> None:
        await checkpoint()


@breaks("test_start_and_aclose_do_what_async_with_does", "return what super().start() returns")
class StartsWhatIsIts(OwnBooks):
    """Has something of its own to start."""

    async def start(self) -> Any:
        await super().start()


@breaks("test_a_second_teardown_does_nothing", "it must do nothing")
class SecondTeardownFails(OwnBooks):
    """Unknown ids are an error."""

    async def teardown(self, resource_id: str) -> None:
        self.clients.pop(resource_id).close()
        del self.handles[resource_id]


class KeepsModel(ModelHandle[Client]):
    """Gives out its model for ever."""

    def __init__(self, spec: str, client: Client, manager: ModelProvider[Client]) -> None:
        super().__init__(spec, client, manager)
        self.client = client

    @property
    def model(self) -> Client:
        return self.client


@breaks("test_the_model_of_an_ended_handle_is_refused", "still gives out its model")
class GivesAfterTheEnd(OwnBooks):
    """A model can be had after teardown."""

    async def setup(self, spec: str, **config: Any) -> ModelHandle[Client]:
        return KeepsModel(spec, await self.connect(spec), self)


@breaks("test_what_was_torn_down_can_be_set_up_again", "forget the handle in teardown()")
class ForgetsNothing(OwnBooks):
    """The handle stays in the books."""

    async def teardown(self, resource_id: str) -> None:
        self.clients.get(resource_id, Client("")).close()


@breaks("test_two_specs_are_two_resources", "the spec must be part of the key")
class OneForAll(OwnBooks):
    """One client, whatever is asked for."""

    async def setup(self, spec: str, **config: Any) -> ModelHandle[Client]:
        return ModelHandle(spec, (await super().setup("the only one")).model, self)


@breaks("test_two_specs_are_two_resources", "the spec must be part of it")
class OneIdForAll(OwnBooks):
    """One resource id, whatever is asked for."""

    async def setup(self, spec: str, **config: Any) -> ModelHandle[Client]:
        return ModelHandle("client", await self.connect(spec), self)


@breaks("test_two_specs_are_two_resources", "is closed: keep it open")
class ClosesAll(OwnBooks):
    """Tearing down one closes everything."""

    async def teardown(self, resource_id: str) -> None:
        for client in self.clients.values():
            client.close()


@breaks("test_teardown_closes_what_was_opened", "close there what setup() opens")
class ClosesNothing(OwnBooks):
    """It only forgets."""

    async def teardown(self, resource_id: str) -> None:
        self.handles.pop(resource_id, None)


@breaks("test_teardown_all_closes_everything", "let super().teardown_all() end every handle")
class EndsNothing(OwnBooks):
    """teardown_all() clears the books, and that is all."""

    async def teardown_all(self) -> None:
        self.handles.clear()


@breaks("test_leaving_the_block_closes_everything", "call super().__aexit__(...)")
class LeavesAll(OwnBooks):
    """Leaving the block does nothing."""

    async def __aexit__(self, *args: object) -> None:
        await checkpoint()


@breaks("test_leaving_the_block_closes_everything", "__aexit__ must return None")
class Swallows(OwnBooks):
    """Exceptions of the block vanish."""

    async def __aexit__(self, *args: Any) -> bool:
        await super().__aexit__(*args)
        return True


@breaks("test_a_failed_setup_hurts_nobody", "setup() of what cannot be opened succeeded")
class FailsSilently(OwnBooks):
    """A handle on nothing."""

    async def connect(self, spec: str, **config: Any) -> Client:
        return Client(spec)


@breaks("test_a_failed_setup_hurts_nobody", "without a message")
class FailsWithoutAWord(OwnBooks):
    """An exception that says nothing."""

    async def connect(self, spec: str, **config: Any) -> Client:
        if spec == "bad":
            raise OSError
        return Client(spec)


@breaks("test_teardown_closes_what_was_opened", "in a shield, at ")
class TearsDownForEver(OwnBooks):
    """Waits for an answer to its goodbye, whatever happens."""

    patience = 0.2

    async def teardown(self, resource_id: str) -> None:
        await super().teardown(resource_id)
        with CancelScope(shield=True):
            await sleep_forever()


@breaks("test_teardown_all_closes_everything", "what is waited for while something is opened or closed")
class TearsAllDownForEver(OwnBooks):
    """Waits for an answer to its goodbye."""

    patience = 0.2

    async def teardown_all(self) -> None:
        await Event().wait()


async def wait_on_and_on() -> None:
    """Let no cancellation keep one from it."""
    while True:
        with suppress(get_cancelled_exc_class()):
            await sleep_forever()


@breaks("test_teardown_all_closes_everything", "swallows every cancellation, at ")
class TearsDownOnAndOn(OwnBooks):
    """Waits for an answer to its goodbye, and swallows what should end that."""

    patience = close_timeout = 0.05

    async def teardown(self, resource_id: str) -> None:
        await super().teardown(resource_id)
        await wait_on_and_on()


@breaks("test_teardown_all_closes_everything", "swallows every cancellation, at ")
class TearsAllDownOnAndOn(OwnBooks):
    """The same, for all at once."""

    patience = 0.05

    async def teardown_all(self) -> None:
        await wait_on_and_on()


@breaks("test_leaving_the_block_closes_everything", "swallows every cancellation, at ")
class LeavesOnAndOn(OwnBooks):
    """The same, at the end of its block."""

    patience = 0.05

    async def __aexit__(self, *args: Any) -> None:
        await super().__aexit__(*args)
        await wait_on_and_on()


@breaks("test_setup_gives_a_handle", "swallows every cancellation, at ")
class EntersOnAndOn(OwnBooks):
    """Waits for a server, when it is entered, and swallows what should end that."""

    patience = 0.05

    async def __aenter__(self) -> Any:
        await wait_on_and_on()


@breaks("test_tasks_may_pass_handles_on", "swallows every cancellation, at ")
class ConnectsOnAndOn(OwnBooks):
    """The same, when something is set up."""

    patience = 0.05

    async def connect(self, spec: str, **config: Any) -> Client:
        await wait_on_and_on()
        return Client(spec)


@breaks("test_a_failed_setup_hurts_nobody", "is closed: keep it open")
class FailsForAll(OwnBooks):
    """One failure closes everything."""

    async def connect(self, spec: str, **config: Any) -> Client:
        if spec == "bad":
            for client in self.clients.values():
                client.close()
        return await super().connect(spec)


@breaks("test_tasks_may_pass_handles_on", "must be entered and left in one task")
class EntersInTheCaller(OwnBooks):
    """Enters what holds a cancel scope in the task of whoever calls, and leaves it in another."""

    async def connect(self, spec: str, **config: Any) -> Client:
        client = Client(spec)
        client.scope = CancelScope()  # type: ignore[attr-defined]
        client.scope.__enter__()  # type: ignore[attr-defined]
        return client

    async def teardown(self, resource_id: str) -> None:
        if resource_id in self.clients:
            self.clients[resource_id].scope.__exit__(None, None, None)  # type: ignore[attr-defined]
        await super().teardown(resource_id)


@breaks("test_two_providers_are_independent", "is closed: keep it open")
class SharesBooks(OwnBooks):
    """The books are those of the class."""

    everybodys_clients: dict[str, Client] = {}  # noqa: RUF012 - that is the mistake

    async def connect(self, spec: str, **config: Any) -> Client:
        return self.everybodys_clients.setdefault(spec, Client(spec))

    async def teardown(self, resource_id: str) -> None:
        await super().teardown(resource_id)
        self.everybodys_clients.pop(resource_id, None)


@breaks("test_a_cancelled_setup_leaves_the_provider_usable", "undo what was begun")
class StuckWhenCancelled(OwnBooks):
    """What was begun is not undone."""

    def __init__(self) -> None:
        super().__init__()
        self.connecting: set[str] = set()

    async def connect(self, spec: str, **config: Any) -> Client:
        if spec in self.connecting:
            raise RuntimeError("is being connected already")
        self.connecting.add(spec)
        client = await super().connect(spec)
        self.connecting.remove(spec)
        return client


@breaks("test_no_secret_is_shown", "handle.resource_id shows the API key")
class NamesTheKey(OwnBooks):
    """The configuration is part of the resource id."""

    async def setup(self, spec: str, **config: Any) -> ModelHandle[Client]:
        return ModelHandle(f"{spec} {config}", await self.connect(spec), self)


@breaks("test_no_secret_is_shown", "the message of setup()'s exception shows the API key")
class ComplainsOfTheKey(OwnBooks):
    """The configuration is part of an error message."""

    async def connect(self, spec: str, **config: Any) -> Client:
        if config:
            raise ValueError(f"cannot use {config}")
        return await super().connect(spec)


# -------------------------------------------------------------------- on the pool


class Pooled(PooledProvider[Client]):
    """Opens a client for each spec. Keeps the whole contract."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        await checkpoint()
        if spec == "bad":
            raise OSError("no such client")
        client = Client(spec)
        try:
            yield client
        finally:
            client.close()


@breaks("test_a_failed_setup_hurts_nobody", "raised a TimeoutError without a message")
class TimesOutWithoutAWord(Pooled):
    """An exception that says nothing, in one that says no more than its name."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        if spec == "bad":
            raise TimeoutError
        yield Client(spec)


@breaks("test_setup_gives_a_handle", "NeverYields.open ended before it yielded the model")
class NeverYields(Pooled):
    """Has a way through its function without a yield."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        if spec == "never":
            yield Client(spec)


@breaks("test_setup_gives_a_handle", "OpensNothing.open returned None, which is no async context manager")
class OpensNothing(Pooled):
    """Forgot to return what it made."""

    def open(self, spec: str, /, **config: Any) -> Any:
        super().open(spec, **config)


@breaks("test_setup_gives_a_handle", "what is waited for while something is opened or closed")
class OpensForEver(Pooled):
    """Waits for a server that is not there."""

    patience = 0.2

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        await sleep_forever()
        yield Client(spec)


@breaks("test_setup_gives_a_handle", "OpensForEverInAShield.open(): no close_timeout gets in there")
class OpensForEverInAShield(Pooled):
    """Waits for a server that is not there, and for nothing else."""

    patience = 0.2

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        with CancelScope(shield=True):
            await sleep_forever()
        yield Client(spec)


@breaks("test_an_opening_that_is_cancelled_leaves_nothing", "swallows every cancellation, at ")
class OpensOnAndOn(Pooled):
    """Waits for a server that is not there, and swallows what should end that."""

    patience = 0.1

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        await wait_on_and_on()
        yield Client(spec)


@breaks("test_leaving_the_block_closes_everything", "give the shield an end of its own")
class ClosesForEver(Pooled):
    """Waits for an answer to its goodbye, where no limit gets in."""

    patience = 0.2

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        async with super().open(spec, **config) as client:
            try:
                yield client
            finally:
                with move_on_after(5), CancelScope(shield=True):
                    await self.say_goodbye()

    async def say_goodbye(self) -> None:
        await Event().wait()


@breaks("test_what_was_just_opened_is_healthy", "what is waited for while something is opened or closed")
class IsAskedForEver(Pooled):
    """Its server answers no question."""

    patience = 0.2

    async def healthy(self, model: Client, /) -> bool:
        await sleep_forever()
        return True


@breaks("test_what_is_kept_open_is_leased_again", "swallows every cancellation, at ")
class IsAskedOnAndOn(Pooled):
    """Its server answers no question, and it swallows what should end that."""

    patience = 0.1

    def __init__(self) -> None:
        super().__init__(health_after=0, health_timeout=0.1)

    async def healthy(self, model: Client, /) -> bool:
        await wait_on_and_on()
        return True


@breaks("test_healthy_tells_the_truth", "never answers for a model that is closed")
class AsksTheDeadForEver(Pooled):
    """Waits for a server that has gone to say that it is well."""

    patience = 0.1

    async def healthy(self, model: Client, /) -> bool:
        if not model.is_open:
            await sleep_forever()
        return True


@breaks("test_setup_gives_a_handle", "YieldsTwice.open yields a second time, where it has to clean up and end")
class YieldsTwice(Pooled):
    """Goes on where it should close."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        yield Client(spec)
        yield Client(spec)


@breaks("test_every_setup_is_a_lease_of_its_own", "the same handle twice")
class GivesOneHandle(Pooled):
    """Caches handles, as the pool caches models."""

    handles: dict[str, ModelHandle[Client]]

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        handles = vars(self).setdefault("handles", {})
        if spec not in handles or not handles[spec].is_active:
            handles[spec] = await super().setup(spec, **config)
        return handles[spec]


@breaks("test_every_setup_is_a_lease_of_its_own", "must share one model")
@breaks("test_concurrent_setups_open_once", "opened the resource 5 times")
class OpensForEverybody(Pooled):
    """No two callers share."""

    asked = 0

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        self.asked += 1
        return await super().setup(spec, caller=self.asked)


@breaks("test_a_caller_that_is_cancelled_just_leaves", "an opening must not belong to a caller")
class FirstCallerOpens(Pooled):
    """A single flight of its own: the others depend on the first caller."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        flights: dict[str, Event] = vars(self).setdefault("flights", {})
        opened: set[str] = vars(self).setdefault("opened", set())
        if spec not in flights:
            flights[spec] = Event()
            try:
                handle = await super().setup(spec, **config)
                opened.add(spec)
                return handle
            finally:
                flights.pop(spec).set()
        await flights[spec].wait()
        if spec not in opened:
            raise RuntimeError("the first caller failed")
        return await super().setup(spec, **config)


@breaks("test_an_opening_nobody_waits_for_is_called_off", "must not shield itself")
class CannotBeCancelled(Pooled):
    """Opens to the end, whoever leaves."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        with CancelScope(shield=True):
            return await super().setup(spec, **config)


@breaks("test_a_failure_is_told_to_every_caller", "let ModelSetupError through as it is")
@breaks("test_a_failed_setup_hurts_nobody", "let open() raise it")
class HidesTheFailure(Pooled):
    """Raises something of its own."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        try:
            return await super().setup(spec, **config)
        except ModelSetupError:
            raise ValueError("did not work") from None


@breaks("test_a_failure_is_told_to_every_caller", "do not catch and re-raise it")
@breaks("test_a_failed_setup_hurts_nobody", "has no cause")
class HidesTheCause(Pooled):
    """Raises a `ModelSetupError` that does not lead to what happened."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        try:
            return await super().setup(spec, **config)
        except ModelSetupError as exc:
            raise ModelSetupError(exc.resource_id, exc.reason) from None


@breaks("test_a_failure_is_told_to_every_caller", "the same exception object")
class OneErrorForAll(Pooled):
    """Remembers the exception and raises it again."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        try:
            return await super().setup(spec, **config)
        except ModelSetupError as exc:
            raise vars(self).setdefault("error", exc) from exc.__cause__


@breaks("test_a_resource_lives_in_a_task_of_its_own", "ran in the task that called setup()")
class OpensInTheCaller(Pooled):
    """Enters the context manager by hand."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        stack: AsyncExitStack = vars(self).setdefault("stack", AsyncExitStack())
        model = await stack.enter_async_context(self.open(spec, **config))
        return ModelHandle(spec, model, self)

    async def __aexit__(self, *args: Any) -> bool | None:
        await vars(self)["stack"].aclose()
        return await super().__aexit__(*args)


@breaks("test_a_resource_lives_in_a_task_of_its_own", "did not go through open()")
class OpensElsewhere(Pooled):
    """Does not use the pool at all."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        return ModelHandle(spec, Client(spec), self)


@breaks("test_a_resource_that_breaks_hurts_only_its_own_handles", "open() must make a new one")
class KeepsTheModel(Pooled):
    """Hands out the model that was made first, although its connection is gone."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        models: dict[str, Client] = vars(self).setdefault("models", {})
        client = models.setdefault(spec, Client(spec))
        client.is_open = True
        async with create_task_group():
            try:
                yield client
            finally:
                client.close()


@breaks("test_a_resource_that_breaks_hurts_only_its_own_handles", "close there what setup() opens")
class LeavesTheBroken(Pooled):
    """Closes only where nothing was raised."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        client = Client(spec)
        yield client
        client.close()


@breaks("test_what_is_kept_open_is_leased_again", "opened anew instead of being leased again")
class OpensAnew(Pooled):
    """Throws away what is idle."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        if self.statistics().idle:
            await self.teardown(spec)
        return await super().setup(spec, **config)


@breaks("test_what_was_just_opened_is_healthy", "must return True")
class NeverHealthy(Pooled):
    """Forgets to return."""

    async def healthy(self, model: Client, /) -> Any:
        await model.use()


@breaks("test_what_was_just_opened_is_healthy", "which counts as no")
class HealthFails(Pooled):
    """Asks for something that is not there."""

    async def healthy(self, model: Client, /) -> bool:
        return model.spec.is_connected()  # type: ignore[attr-defined]


@breaks("test_teardown_ends_every_lease_of_the_resource", "left leases of the resource active")
class TeardownDoesNothing(Pooled):
    """Thinks that the pool will do it."""

    async def teardown(self, resource_id: str, /) -> None:
        await checkpoint()


@breaks("test_everything_is_closed_although_one_does_not_close", "let super().__aexit__() raise its group")
class HidesFailedCloses(Pooled):
    """Failures while closing are nobody's business."""

    async def __aexit__(self, *args: Any) -> bool | None:
        try:
            return await super().__aexit__(*args)
        except Exception:
            return None


@breaks("test_nothing_is_left_where_the_block_is_cancelled", "was swallowed")
class SwallowsCancellation(Pooled):
    """Leaving the block ends every exception, also that one."""

    async def __aexit__(self, *args: Any) -> bool | None:
        await super().__aexit__(*args)
        return True


@breaks("test_leaving_the_block_closes_everything", "swallows every cancellation, at ")
class ClosesOnAndOn(Pooled):
    """Waits for a server that never says goodbye, and lets nothing keep it from that."""

    patience = 0.1

    def __init__(self) -> None:
        super().__init__(close_timeout=0.1)

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        client = Client(spec)
        yield client
        await wait_on_and_on()


class ClosesOnWhateverComes(Pooled):
    """The same, whatever is raised, which leaves trio in disorder."""

    patience = 0.1

    def __init__(self) -> None:
        super().__init__(close_timeout=0.1)

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        client = Client(spec)
        yield client
        while client.is_open:
            with suppress(BaseException):
                await sleep_forever()


@breaks("test_nothing_is_left_where_the_block_is_cancelled", "the model is still open")
class ClosesUnshielded(Pooled):
    """Where the block is cancelled, only the books are closed."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        self.is_cancelled = False
        client = Client(spec)
        yield client
        if not self.is_cancelled:
            client.close()

    async def __aexit__(self, exc_type: Any, exc: Any, traceback: Any) -> bool | None:
        self.is_cancelled = exc_type is not None
        return await super().__aexit__(exc_type, exc, traceback)


@breaks("test_it_must_be_entered_once", "let super().__aenter__() refuse that")
class EnteredTwice(Pooled):
    """Counts who is inside, as a convenience."""

    inside = 0

    async def __aenter__(self) -> Any:
        self.inside += 1
        return self if self.inside > 1 else await super().__aenter__()

    async def __aexit__(self, *args: Any) -> bool | None:
        self.inside -= 1
        return None if self.inside else await super().__aexit__(*args)


@breaks("test_it_must_be_entered_once", "with ProviderNotEnteredError")
class EntersItself(Pooled):
    """Needs no ``async with``, until it is too late."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        if "not entered" in repr(self):
            return ModelHandle(spec, Client(spec), self)
        return await super().setup(spec, **config)


@breaks("test_it_belongs_to_one_event_loop", "with WrongEventLoopError")
class CrossesLoops(Pooled):
    """Answers from a cache, wherever it is asked."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle[Client]:
        cache: dict[str, ModelHandle[Client]] = vars(self).setdefault("cache", {})
        if spec not in cache:
            cache[spec] = await super().setup(spec, **config)
        return cache[spec]


@breaks("test_its_repr_counts", "do not override __repr__")
class SaysLittle(Pooled):
    """Counts nothing."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


# -------------------------------------------------------------------- what they do to others


@breaks("test_no_task_is_left", "after 'async with' tasks are left")
class LeavesATask(Pooled):
    """Begins a heartbeat and forgets it."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        beat(spec)
        async with super().open(spec, **config) as client:
            yield client


@breaks("test_no_task_is_left", "Begin them in a task group")
class LeavesATaskInItsBooks(OwnBooks):
    """The same, with books of its own."""

    async def connect(self, spec: str, **config: Any) -> Client:
        beat(spec)
        return await super().connect(spec, **config)


class Holding(Client):
    """Holds a file open."""

    files: ClassVar[set[int]] = set()

    def __init__(self, spec: str) -> None:
        super().__init__(spec)
        self.file = os.open(os.devnull, os.O_RDONLY)
        self.files.add(self.file)

    def close(self) -> None:
        super().close()
        os.close(self.file)
        self.files.discard(self.file)

    @classmethod
    def close_all(cls) -> None:
        """What the wrong ones have left."""
        while cls.files:
            os.close(cls.files.pop())


@breaks("test_no_descriptor_is_left", "after 'async with' file descriptors are left: /dev/null")
class LeavesADescriptor(Pooled):
    """Closes the client, not what the client holds."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        client = Holding(spec)
        yield client
        Client.close(client)


@breaks("test_no_descriptor_is_left", "Close what open() has opened")
class LeavesADescriptorInItsBooks(OwnBooks):
    """The same, with books of its own."""

    async def connect(self, spec: str, **config: Any) -> Client:
        client = Holding(spec)
        client.close = partial(Client.close, client)  # type: ignore[method-assign]
        return client


class Started:
    """What the wrong ones have begun and not ended."""

    over: ClassVar[threading.Event] = threading.Event()
    processes: ClassVar[list[subprocess.Popen[bytes]]] = []

    @classmethod
    def thread(cls) -> threading.Thread:
        thread = threading.Thread(target=cls.over.wait, name="a heartbeat", daemon=True)
        thread.start()
        return thread

    @classmethod
    def process(cls) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["sleep", "3600"])
        cls.processes.append(process)
        return process

    @classmethod
    def end_all(cls) -> None:
        cls.over.set()
        cls.over = threading.Event()
        while cls.processes:
            process = cls.processes.pop()
            process.kill()
            process.wait()


@breaks("test_no_thread_and_no_process_is_left", "thread a heartbeat")
class LeavesAThread(Pooled):
    """Its heartbeat is a thread."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        Started.thread()
        async with super().open(spec, **config) as client:
            yield client


@breaks("test_no_thread_and_no_process_is_left", "thread mine_0")
class LeavesAPoolOfThreads(OwnBooks):
    """Has an executor and does not shut it down."""

    async def connect(self, spec: str, **config: Any) -> Client:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="mine")
        self.executor.submit(Started.over.wait)
        return await super().connect(spec, **config)


@breaks("test_no_thread_and_no_process_is_left", "(sleep 3600)")
class LeavesAProcess(Pooled):
    """Starts a helper, and thinks that it ends with its parent."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        Started.process()
        async with super().open(spec, **config) as client:
            yield client


@breaks("test_no_thread_and_no_process_is_left", "ended, and nobody has waited for it")
class LeavesAZombie(Pooled):
    """Kills its helper, and does not wait for that."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        process = Started.process()
        async with super().open(spec, **config) as client:
            yield client
        process.kill()


@breaks("test_a_failed_setup_leaves_nothing", "that failed has left thread a heartbeat")
class LeavesAFailedThread(Pooled):
    """Begins its heartbeat before it knows that it may."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        if spec == "bad":
            Started.thread()
        async with super().open(spec, **config) as client:
            yield client


@breaks("test_an_opening_that_is_cancelled_leaves_nothing", "(sleep 3600)")
class LeavesAHalfStartedProcess(Pooled):
    """Ends its helper where all went well."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        process = Started.process()
        await checkpoint()
        async with super().open(spec, **config) as client:
            yield client
        process.kill()
        process.wait()


@breaks("test_the_event_loop_is_not_blocked", "in which nobody else could run")
class BlocksTheLoop(Pooled):
    """Connects with a library that knows of no event loop."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        time.sleep(0.11)  # noqa: ASYNC251 - that is the mistake
        async with super().open(spec, **config) as client:
            yield client


@breaks("test_the_event_loop_is_not_blocked", "anyio.to_thread.run_sync()")
class BlocksTheLoopWhileItCloses(Pooled):
    """Says goodbye with a library that knows of no event loop."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        async with super().open(spec, **config) as client:
            yield client
        time.sleep(0.11)  # noqa: ASYNC251 - that is the mistake


@breaks("test_the_event_loop_is_not_blocked", "secrets() kept the event loop for ")
class AsksForItsKey(Pooled):
    """Asks the keyring for its key, whenever somebody asks which that is."""

    def secrets(self) -> Collection[str]:
        time.sleep(0.11)
        return ("sk-my-own-0123456789",)


@breaks("test_the_event_loop_is_not_blocked", "is_broken() kept the event loop for ")
class AsksWhetherItIsBroken(Pooled):
    """Calls the server, although it has to answer at once."""

    def is_broken(self, model: Client, /) -> bool:
        time.sleep(0.11)
        return False


@breaks("test_an_opening_that_is_cancelled_leaves_nothing", "let a cancellation through")
class GoesOnWhenCancelled(Pooled):
    """Takes a cancellation for a server that does not answer."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        async with super().open(spec, **config) as client:
            with suppress(BaseException):
                await checkpoint()
            yield client


@breaks("test_an_opening_that_is_cancelled_leaves_nothing", "let a cancellation through")
class TriesForLong(Pooled):
    """Takes a cancellation for a server that does not answer yet."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        for _ in range(300):  # or for ever, but then it hangs the end of trio as well
            try:
                await checkpoint()
                break
            except BaseException:
                continue
        async with super().open(spec, **config) as client:
            yield client


@breaks("test_an_opening_that_is_cancelled_leaves_nothing", "and has left /dev/null")
class LeavesAHalfOpenedOne(Pooled):
    """Closes what was opened whole."""

    halves: ClassVar[list[Client]] = []

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        client = Holding(spec)
        self.halves.append(client)
        await checkpoint()
        await checkpoint()
        try:
            yield client
        finally:
            client.close()


@breaks("test_an_opening_that_is_cancelled_leaves_nothing", "a task for 'model-a'")
class LeavesAHalfBegunTask(Pooled):
    """Ends its heartbeat where all went well."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        scope = beat(spec)
        await checkpoint()
        async with super().open(spec, **config) as client:
            yield client
        scope.cancel()


@breaks("test_a_failed_setup_leaves_nothing", "close what was opened before the failure")
class LeavesAFailedOne(Pooled):
    """Opens first, and then looks whether it may."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        client = Holding(spec)
        await checkpoint()
        if spec == "bad":
            raise OSError("no such client")
        try:
            yield client
        finally:
            client.close()


@breaks("test_a_failed_setup_leaves_nothing", "that failed has left a task for 'bad'")
class LeavesAFailedTask(OwnBooks):
    """Begins its heartbeat before it knows that it may."""

    async def connect(self, spec: str, **config: Any) -> Client:
        if spec == "bad":
            beat(spec)
        return await super().connect(spec, **config)


@breaks("test_healthy_tells_the_truth", "healthy() said True of a model that is closed")
class AlwaysWell(Pooled):
    """Does not look."""

    async def healthy(self, model: Client, /) -> bool:
        await checkpoint()
        return True


class Keyed(Pooled):
    """Has a key of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.api_key = "sk-my-own-0123456789"

    def secrets(self) -> Collection[str]:
        return (self.api_key,)


@breaks("test_its_own_key_is_not_shown", "repr(provider) shows the provider's own")
class ShowsItsKey(Keyed):
    """Is open about itself."""

    def __repr__(self) -> str:
        return f"{super().__repr__()} with {self.api_key}"


@breaks("test_its_own_key_is_not_shown", "what is logged shows the provider's own")
class LogsItsKey(Keyed):
    """Tells what it does."""

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Client]:
        logging.getLogger(__name__).debug("connecting with %s", {"authorization": self.api_key})
        async with super().open(spec, **config) as client:
            yield client


@breaks("test_its_own_key_is_not_shown", "shows the provider's own api_key")
class ShowsAKeyItDoesNotName(OwnBooks):
    """Does not know that there is such a thing as a secret."""

    def __init__(self) -> None:
        super().__init__()
        self.api_key = "sk-my-own-0123456789"

    def __repr__(self) -> str:
        return f"ShowsAKeyItDoesNotName({vars(self)})"


@breaks("test_its_own_key_is_not_shown", "the message of setup()'s exception shows the provider's own api_key")
class ComplainsOfItsKey(OwnBooks):
    """Says which key was refused."""

    def __init__(self) -> None:
        super().__init__()
        self.api_key = "sk-my-own-0123456789"

    async def connect(self, spec: str, **config: Any) -> Client:
        if spec == "bad":
            raise PermissionError(f"not allowed for {self.api_key}")
        return await super().connect(spec, **config)


def beat(spec: str) -> CancelScope:
    """Begin a task that never ends by itself, as authors do who know one event loop."""
    scope = CancelScope()

    async def run() -> None:
        with scope:
            await sleep_forever()

    name = f"a task for {spec!r}"
    if current_async_library() == "trio":
        import trio

        trio.lowlevel.spawn_system_task(run, name=name)
    else:
        import asyncio

        _beats.add(asyncio.create_task(run(), name=name))
    return scope


_beats: set[Any] = set()

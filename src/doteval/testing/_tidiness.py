"""``Tidiness``: what a provider does to others besides giving out models: what it leaves, blocks, and shows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from time import perf_counter
from typing import Any, Generic

import pytest
from typing_extensions import TypeVar

from .. import ModelProvider
from .._secrets import is_secret_name
from ._steps import Steps
from ._subject import Subject, failure_of
from ._traces import Traces

ModelT = TypeVar("ModelT", default=Any)

ROUNDS = 3
"""How often something is done that might leave something or take long: what happens each time is no accident."""
SHORTEST_SECRET = 8


class Tidiness(Subject[ModelT], Generic[ModelT]):
    """What every provider promises to those who do not use it."""

    longest_step: float = 0.1
    """For how long, in seconds, opening and closing may keep the event loop without an await."""

    async def test_no_task_is_left(self) -> None:
        """Whatever runs in the background ends with what it was begun for."""
        await self.come_and_go()
        traces = Traces(ROUNDS)
        for _ in range(ROUNDS):
            await self.come_and_go()
        left = await traces.left("tasks")
        assert not left, (
            f"after 'async with' tasks are left: {_listed(left)}. Begin them in a task group inside of open(), and "
            "cancel that at its end"
        )

    async def test_no_descriptor_is_left(self) -> None:
        """Files, sockets and pipes are closed, not left to the garbage collector."""
        await self.come_and_go()
        traces = Traces(ROUNDS)
        models = [await self.come_and_go() for _ in range(ROUNDS)]
        left = await traces.left("descriptors")
        assert not left, (
            f"after 'async with' file descriptors are left: {_listed(left)}. Close what open() has opened, in "
            "'finally' or with 'async with'"
        )
        del models

    async def test_no_thread_and_no_process_is_left(self) -> None:
        """Whoever begins one also ends it, and waits for its end."""
        await self.come_and_go()
        traces = Traces(ROUNDS)
        for _ in range(ROUNDS):
            await self.come_and_go()
        left = await traces.left("threads", "processes")
        assert not left, (
            f"after 'async with' there are left: {_listed(left)}. End in open(), after the 'yield', what it has begun, "
            "in 'finally', and wait until it has ended: join a thread, wait for a process"
        )

    async def test_a_failed_setup_leaves_nothing(self) -> None:
        """What was opened before the failure is closed."""
        if self.bad_spec is None and self.bad_config is None:
            pytest.skip("set bad_spec or bad_config to something that the provider cannot open")
        async with self.entered() as provider:
            await self.fail(provider)
            traces = Traces(ROUNDS)
            errors = [await self.fail(provider) for _ in range(ROUNDS)]
            left = await traces.left()
            assert not left, (
                f"a setup() that failed has left {_listed(left)}: close what was opened before the failure, in 'except "
                "BaseException' or with an AsyncExitStack"
            )
            del errors

    async def test_the_event_loop_is_not_blocked(self) -> None:
        """Opening and closing let others run."""
        await self.come_and_go()
        longest = min([await self.longest_of_one() for _ in range(ROUNDS)])
        assert longest <= self.longest_step, (
            f"opening or closing kept the event loop for {longest:.2f} s, in which nobody else could run: await an "
            "async function there, or call the blocking one with anyio.to_thread.run_sync()"
        )
        async with self.entered() as provider:
            handle = await self.lease(provider)
            for name, hook in self.hooks(provider, handle.model).items():
                longest = min(duration_of(hook) for _ in range(ROUNDS))
                assert longest <= self.longest_step, (
                    f"{name}() kept the event loop for {longest:.2f} s, in which nobody else could run, and it is "
                    "asked often: find out in __init__ or in open(), and only look it up there"
                )

    async def test_its_own_key_is_not_shown(self) -> None:
        """Neither in a repr, nor in an id, nor in what is logged, nor in an error message."""
        shown: dict[str, str] = {}
        with logged(type(self.make_provider()).__module__) as lines:
            async with self.entered() as provider:
                secrets = own_secrets(provider)
                handle = await self.lease(provider)
                shown = {
                    "repr(provider)": repr(provider),
                    "str(provider)": str(provider),
                    "handle.resource_id": handle.resource_id,
                    "repr(handle)": repr(handle),
                    "repr(handle.model)": repr(handle.model),
                }
                if self.bad_spec is not None or self.bad_config is not None:
                    shown["the message of setup()'s exception"] = str(await self.fail(provider))
                await handle.teardown()
        shown["what is logged"] = "\n".join(lines)
        for name, secret in secrets.items():
            for what, text in shown.items():
                assert secret not in text, (
                    f"{what} shows the provider's own {name}: leave it out, as it ends up in logs"
                )

    # ---------------------------------------------------------------- what the tests use

    async def come_and_go(self) -> list[ModelT]:
        """One life of a provider; what it has leased, so that nothing is closed by being forgotten."""
        models: list[ModelT] = []
        async with self.entered() as provider:
            for spec in (self.spec, self.other_spec):
                handle = await self.lease(provider, spec)
                models.append(handle.model)
                await self.use(handle.model)
                await handle.teardown()
        return models

    async def fail(self, provider: ModelProvider[ModelT]) -> Exception | None:
        """Set up what cannot be opened."""
        return await failure_of(
            provider.setup(self.bad_spec or self.spec, **{**self.config, **(self.bad_config or {})})
        )

    def hooks(self, provider: ModelProvider[ModelT], model: ModelT) -> dict[str, Callable[[], object]]:
        """What is asked of the provider at any moment and has to answer at once, by name."""
        given: dict[str, tuple[tuple[object, ...], Mapping[str, Any]]] = {
            "secrets": ((), {}),
            "slots": ((self.spec,), self.config),
            "is_broken": ((model,), {}),
            "breaks": ((OSError("as the contract asks"),), {}),
            "__repr__": ((), {}),
        }
        return {
            name: partial(getattr(provider, name), *args, **config)
            for name, (args, config) in given.items()
            if hasattr(provider, name)
        }

    async def longest_of_one(self) -> float:
        """How long one setup and teardown have kept the event loop, in seconds."""

        async def life() -> None:
            handle = await self.lease(provider)
            await handle.teardown()
            await provider.teardown(handle.resource_id)

        async with self.entered() as provider:
            return (await Steps().run(life())).longest


def own_secrets(provider: ModelProvider[Any]) -> dict[str, str]:
    """What the provider itself knows and must not tell: what `secrets` returns, and attributes that are named so."""
    told: Collection[str] = getattr(provider, "secrets", tuple)()
    told = (told,) if isinstance(told, str) else told
    found = {
        name.lstrip("_"): value
        for name, value in getattr(provider, "__dict__", {}).items()
        if isinstance(value, str) and is_secret_name(name)
    }
    found |= {f"secret {number}": secret for number, secret in enumerate(told, 1) if secret not in found.values()}
    return {name: secret for name, secret in found.items() if len(secret) >= SHORTEST_SECRET}


def duration_of(hook: Callable[[], object]) -> float:
    """How long a call takes, in seconds, whatever comes of it."""
    began = perf_counter()
    with suppress(Exception):
        hook()
    return perf_counter() - began


@contextmanager
def logged(module: str) -> Generator[list[str]]:
    """What is logged: all that the provider's own package says, and of others what is more than debugging."""
    package = module.partition(".")[0]
    lines: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.INFO or record.name.partition(".")[0] == package:
                lines.append(record.getMessage())

    root, handler = logging.getLogger(), Listening()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(set(names)))

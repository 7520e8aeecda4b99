"""Every exception doteval raises. Each builds its own message from its fields: the cause in a line, then what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._printed import printable

_MOST, _LAST = 20_000, 4_000
"""How much of a message is shown, in characters, and how much of it from its end, where the advice is."""
_MORE_SLOTS = "have more slots (capacity=, or gpus= of servers on GPUs)"


class DotevalError(Exception):
    """The root of doteval's own exceptions; nothing raises it directly. All can be copied and pickled.

    What a terminal would obey is in no message, nor is more than people read, whatever a server has said.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(_for_people(each) if isinstance(each, str) else each for each in args))

    def __init_subclass__(cls) -> None:
        if cls.__module__ in (__name__, "doteval._server_errors"):
            cls.__module__ = "doteval"  # what a traceback shows is what a user can import

    def __reduce__(self) -> tuple[Any, ...]:
        """Python would call the class with the message alone."""
        return _again, (type(self), self.args), self.__dict__

    def _render_traceback_(self) -> list[str]:
        """What IPython shows, as in a notebook: no frames but the user's."""
        from ._frames import shown_in_ipython  # noqa: PLC0415  # only where there is an error

        return shown_in_ipython(self)


class SpecError(DotevalError, ValueError):
    """A spec or a configuration cannot name a resource.

    Args:
        spec: What was asked for.
        problem: What is wrong with it, as half a sentence.
    """

    def __init__(self, spec: object, problem: str) -> None:
        self.spec = spec
        self.problem = problem
        super().__init__(
            f"{spec!r} is not a model spec: {problem}.\n"
            "Write it like 'gpt-4o' or, with the provider's name in front, 'openai:gpt-4o'."
        )


class UnknownModelError(DotevalError, LookupError):
    """No single provider could be chosen for a spec.

    Args:
        spec: What was asked for.
        problem: Why no provider was chosen, as half a sentence.
        candidates: The names of the providers there are to choose from.
    """

    def __init__(self, spec: str, problem: str, candidates: Sequence[str]) -> None:
        self.spec = spec
        self.problem = problem
        self.candidates = tuple(candidates)
        if meant := _meant(spec, self.candidates):
            advice = f"Is {meant!r} meant? The providers are {', '.join(self.candidates)}"
        elif self.candidates:
            advice = "Put a provider's name in front: " + ", ".join(f"'{name}:{spec}'" for name in self.candidates)
        else:
            advice = (
                "No provider is registered: pass your own to ModelProviders({'name': provider}), "
                "or install a package that registers one"
            )
        super().__init__(f"Cannot route {spec!r}: {problem}.\n{advice}.")


class ProviderLoadError(DotevalError, ImportError):
    """A registered provider could not be imported or built; the cause is attached.

    Args:
        provider: The name it is registered under.
        entry_point: The entry point's value, such as ``"mypackage:MyProvider"``.
        distribution: The distribution that registers it, with its version.
        problem: What went wrong.
        advice: What to do about it; the default is the general one.
    """

    def __init__(
        self, provider: str, entry_point: str, distribution: str, problem: str, advice: str | None = None
    ) -> None:
        self.provider = provider
        self.entry_point = entry_point
        self.distribution = distribution
        self.problem = problem
        self.advice = advice or f"Repair or uninstall {distribution}"
        super().__init__(
            f"The provider {provider!r} cannot be loaded: {problem}.\n"
            f"{self.advice}. (It is {entry_point!r} of {distribution}; 'doteval providers' lists them all.)"
        )


class MissingCredentialsError(DotevalError, RuntimeError):
    """A provider has no API key to work with.

    Args:
        provider: The provider's class name.
        variable: The environment variable that would hold the key.
    """

    def __init__(self, provider: str, variable: str) -> None:
        self.provider = provider
        self.variable = variable
        super().__init__(
            f"{provider} has no API key.\nSet the environment variable {variable}, or pass {provider}(api_key=...)."
        )


class ModelSetupError(DotevalError, RuntimeError):
    """A resource could not be opened; the original exception is the ``__cause__``.

    Args:
        resource_id: The resource that was asked for.
        reason: Why it failed, in words that hold no secret.
        advice: What to check; the default is the general one.
    """

    def __init__(
        self,
        resource_id: str,
        reason: str,
        advice: str = "Ensure the service is running and accessible.",
    ) -> None:
        self.resource_id = resource_id
        self.reason = reason
        self.advice = advice
        super().__init__(f"Failed to setup resource '{resource_id}': {reason}\n{advice}")


class ContextManagerError(DotevalError, TypeError):
    """What opens a resource is not written as an async context manager that yields once.

    Args:
        name: The function, such as ``"MyProvider.open"``.
        problem: What is wrong with it, as the rest of a sentence.
        advice: How it is written.
    """

    def __init__(self, name: str, problem: str, advice: str) -> None:
        self.name = name
        self.problem = problem
        self.advice = advice
        super().__init__(f"{name} {problem}.\n{advice}")


class SetupTimeoutError(DotevalError, TimeoutError):
    """``setup_timeout`` passed before the resource could be leased.

    Args:
        resource_ids: What was asked for.
        seconds: The limit that passed.
        account: Who holds what, a line each.
        has_place: Whether there were slots for it, so that it was being opened, or asked for its health.
    """

    def __init__(
        self, resource_ids: Sequence[str], seconds: float, account: Sequence[str], *, has_place: bool = False
    ) -> None:
        self.resource_ids = tuple(resource_ids)
        self.seconds = seconds
        self.account = tuple(account)
        self.has_place = has_place
        way_out = "Look for what takes so long there" if has_place else f"Release a lease, {_MORE_SLOTS}"
        super().__init__(
            f"setup of {_listed(self.resource_ids)} was not granted within {seconds:g} s.\n"
            f"{_account(self.account)}{way_out}, or raise setup_timeout=."
        )


class CapacityExceededError(DotevalError, ValueError):
    """A request needs more slots than the provider has at all.

    Args:
        resource_ids: What was asked for.
        needed: The slots it needs at once.
        capacity: The slots there are.
    """

    def __init__(self, resource_ids: Sequence[str], needed: int, capacity: int) -> None:
        self.resource_ids = tuple(resource_ids)
        self.needed = needed
        self.capacity = capacity
        need = "needs" if len(self.resource_ids) == 1 else "need"
        super().__init__(
            f"{_listed(self.resource_ids)} {need} {needed} slots at once, but the provider has {capacity}.\n"
            f"Ask for less at once, or {_MORE_SLOTS}."
        )


class CapacityDeadlockError(DotevalError, RuntimeError):
    """Waiting could never end: what the request needs is held by tasks that wait themselves.

    Args:
        resource_ids: What was asked for.
        account: Who holds what and waits for what, a line each.
    """

    def __init__(self, resource_ids: Sequence[str], account: Sequence[str]) -> None:
        self.resource_ids = tuple(resource_ids)
        self.account = tuple(account)
        super().__init__(
            f"setup of {_listed(self.resource_ids)} would wait for ever: who holds its slots waits, too.\n"
            + _account(self.account)
            + "Tear down a handle before asking for the next one, "
            f"ask for all of them at once with setup_many(), or {_MORE_SLOTS}."
        )


class QueueFullError(DotevalError, RuntimeError):
    """As many requests as ``max_waiting`` allows wait for slots already.

    Args:
        resource_ids: What was asked for.
        max_waiting: How many may wait.
        account: Who holds what and who waits for what, a line each.
    """

    def __init__(self, resource_ids: Sequence[str], max_waiting: int, account: Sequence[str]) -> None:
        self.resource_ids = tuple(resource_ids)
        self.max_waiting = max_waiting
        self.account = tuple(account)
        super().__init__(
            f"setup of {_listed(self.resource_ids)} would have to wait, and as many as max_waiting={max_waiting} do.\n"
            + _account(self.account)
            + f"Try again later, release a lease, {_MORE_SLOTS}, or raise max_waiting=."
        )


class HandleInactiveError(DotevalError, RuntimeError):
    """The model of a handle was asked for after its lease had ended.

    Args:
        resource_id: The resource that was leased.
        reason: Why the handle is inactive.
    """

    def __init__(self, resource_id: str, reason: str) -> None:
        self.resource_id = resource_id
        self.reason = reason
        super().__init__(f"The handle on '{resource_id}' is inactive: {reason}.\nCall setup() again for a new one.")


class ProviderNotEnteredError(DotevalError, RuntimeError):
    """A provider was used before it was entered.

    Args:
        provider: The provider's class name.
    """

    def __init__(self, provider: str) -> None:
        self.provider = provider
        super().__init__(
            f"{provider} is not entered.\n"
            f"Use it inside 'async with {provider}(...) as provider:', or after 'await provider.start()', "
            "or hand it to ModelProviders, which enters it for you."
        )


class ProviderClosedError(DotevalError, RuntimeError):
    """A provider was used, or waited for, after its ``async with`` block had ended, or after `aclose` or `drain`.

    Args:
        provider: The provider's class name.
        is_draining: Whether it is still open, for those who have leases.
        loop_ended: Whether it was closed because its event loop ended.
    """

    def __init__(self, provider: str, *, is_draining: bool = False, loop_ended: bool = False) -> None:
        self.provider = provider
        self.is_draining = is_draining
        self.loop_ended = loop_ended
        reason = "is closed: its 'async with' block has ended, or 'aclose()' was called"
        advice = "Enter a new provider, or keep the block open for as long as you use its models."
        if is_draining:
            reason = "is draining: 'drain()' was called, and it gives out no more leases"
        elif loop_ended:
            reason = "is closed: the event loop in which it was entered has ended"
            advice = (
                "Enter it in the run of the event loop that uses it: each 'asyncio.run()' is one of its own, and so is "
                "each cell after '%autoawait trio'."
            )
        super().__init__(f"{provider} {reason}.\n{advice}")


class WrongEventLoopError(DotevalError, RuntimeError):
    """A provider was used from another run of an event loop than the one that entered it.

    Args:
        provider: The provider's class name.
    """

    def __init__(self, provider: str) -> None:
        self.provider = provider
        super().__init__(
            f"{provider} belongs to another event loop.\n"
            f"Clients and locks do not cross loops. Enter another {provider} in this run; in pytest give the "
            "provider fixture the scope of anyio_backend, or use the fixtures of doteval's plugin."
        )


class ForkedProcessError(DotevalError, RuntimeError):
    """A provider was used in a child process that was forked while it was entered.

    Args:
        provider: The provider's class name.
    """

    def __init__(self, provider: str) -> None:
        self.provider = provider
        super().__init__(
            f"{provider} was entered before this process was forked.\n"
            "Its event loop runs in the parent only, and its connections are the parent's: enter it in each process, "
            "after the fork."
        )


class CloseTimeoutError(DotevalError, TimeoutError):
    """Closing a resource took longer than ``close_timeout`` and was cancelled.

    Args:
        resource_id: The resource that was being closed.
        seconds: The limit that passed.
    """

    def __init__(self, resource_id: str, seconds: float) -> None:
        self.resource_id = resource_id
        self.seconds = seconds
        super().__init__(
            f"closing '{resource_id}' took longer than close_timeout={seconds:g} s and was cancelled.\n"
            "Look for what its clean-up waits for, or raise close_timeout=."
        )


class ModelRequestError(DotevalError, RuntimeError):
    """A request to a model failed; the SDK's own exception, where there is one, is the ``__cause__``.

    Args:
        model: The model's name.
        problem: What failed, as half a sentence.
        advice: What to do about it.
        status: The HTTP status code, where the server answered with an error; of an error that it told in an answer
            that had begun well, the one that its code stands for, where it stands for one.
        code: What the server calls the error, such as ``"rate_limit_exceeded"``, where it does.
        retryable: Whether the same request may succeed later.
        retry_after: Seconds the server asks to wait before the next try, where it said so.
        request_id: What the server calls the request, for its support.
        retries: How often the SDK has tried again already.
    """

    def __init__(
        self,
        model: str,
        problem: str,
        advice: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        request_id: str | None = None,
        retries: int = 0,
    ) -> None:
        self.model = model
        self.problem = problem
        self.advice = advice
        self.status = status
        self.code = code
        self.retryable = retryable
        self.retry_after = retry_after
        self.request_id = request_id
        self.retries = retries
        tried = f" after {retries} {'retry' if retries == 1 else 'retries'}" if retries else ""
        super().__init__(f"The request to '{model}' failed{tried}: {problem}.\n{advice}")


class ReplyCacheError(DotevalError, OSError):
    """A file cannot be a cache of replies, as it is something else, or cannot be read or written now.

    Args:
        path: The file.
        problem: What is wrong with it, as half a sentence.
        advice: What to do about it.
    """

    def __init__(self, path: str, problem: str, advice: str = "Name another file, or move it away.") -> None:
        self.path = path
        self.problem = problem
        self.advice = advice
        super().__init__(f"The file {path} {problem}.\n{advice}")


def _for_people(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _MOST else f"{text[: _MOST - _LAST]}…\n{text[-_LAST:]}"


def _meant(spec: str, providers: Sequence[str]) -> str | None:
    """The spec with the name of a provider that it nearly begins with."""
    from difflib import get_close_matches  # noqa: PLC0415 - slow to import, and only for this

    for mark in ":/":
        name, found, model = spec.partition(mark)
        near = get_close_matches(name.lower(), providers, 1, 0.75) if found and model else []
        if near:
            return f"{near[0]}:{model}"
    return None


def _listed(resource_ids: Sequence[str]) -> str:
    return ", ".join(f"'{resource_id}'" for resource_id in resource_ids)


def _account(lines: Sequence[str]) -> str:
    return "".join(f"  {line}\n" for line in lines)


def _again(cls: type[DotevalError], args: tuple[Any, ...]) -> DotevalError:
    error = cls.__new__(cls)
    error.args = args
    return error

"""Why a test cannot have a fixture that lives in another event loop, and what to do.

Such a fixture would fail somewhere else, or hang, or be used in the wrong loop without a word. Ordinary tests are
refused what cannot work. An evaluation is refused whatever is not in its own loop, as its calls cost money.
"""

from __future__ import annotations

from typing import Any

import pytest

from ._evals.items import evaluation_of
from ._fixturedefs import WIDTH, needed_definitions
from ._runners import (
    Runner,
    asyncio_mode,
    fixture_loop_scope,
    is_async,
    is_asyncios,
    is_trios,
    loop_scope,
    runner_of,
    setting,
)

_LOOPS: dict[Runner | None, str] = {
    None: "anyio's event loop",
    "asyncio": "pytest-asyncio's event loop",
    "trio": "pytest-trio's event loop",
}


def made_elsewhere(test: pytest.Item, name: str) -> str:
    """Why a test cannot have a fixture that is there already, made in the other one of two event loops."""
    here, there = ("anyio's", "pytest-asyncio's") if runner_of(test) is None else ("pytest-asyncio's", "anyio's")
    return (
        f"The {_kind(test)} runs in {here} event loop, and the fixture {name!r} was made in {there}, for a test before "
        f"it. Have both tests run by one of the two: {_marked(test, 'both')} with @pytest.mark.asyncio, or mark both "
        "with @pytest.mark.anyio. Or give the fixture function scope."
    )


def taken_twice(test: pytest.Item) -> str | None:
    """Why a test cannot be run that is marked for pytest-trio, and that pytest-asyncio has taken, and what to do."""
    is_asyncios = any(kind.__module__.partition(".")[0] == "pytest_asyncio" for kind in type(test).__mro__)
    is_trios = test.get_closest_marker("trio") is not None and setting(test.config, "trio_mode") is not None
    if not (is_asyncios and is_trios) or runner_of(test) is None:
        return None
    return (
        "The test is marked trio, and pytest-asyncio takes it as well, as every async test in the mode 'auto'. Set "
        "asyncio_mode = strict and mark what pytest-asyncio runs, or have anyio run this one: "
        '@pytest.mark.parametrize("anyio_backend", ["trio"]), and no other mark.'
    )


def advice_against(test: pytest.Item, name: str, definition: pytest.FixtureDef[Any]) -> str | None:
    """Why a test cannot have a fixture, and what to do; nothing where it can."""
    runner = runner_of(test)
    if runner is not None and evaluation_of(test) is None:
        return None  # what the neighbour does with its own tests is theirs
    kind = _kind(test)
    runs = f"The {kind} runs in {_LOOPS[runner]}, and the fixture {name!r}"
    if is_trios(definition) and runner != "trio":
        return (
            f"{runs} is for tests that pytest-trio runs. Mark the {kind} with @pytest.mark.trio, and not for "
            f"{'anyio' if runner is None else 'asyncio'}: then the fixtures of doteval come to its loop."
        )
    is_made_for_asyncio = getattr(definition.func, "_force_asyncio_fixture", False)
    match runner:
        case None if is_made_for_asyncio and (culprit := _who_asks_for_anyio(test)):
            return (
                f"{runs} lives in one of pytest-asyncio's. The {kind} is marked asyncio, but its fixture {culprit!r} "
                "asks for anyio_backend, which is for anyio's event loop only. Leave that argument away."
            )
        case None if is_made_for_asyncio:
            return (
                f"{runs} lives in one of pytest-asyncio's. {_marked(test, f'the {kind}').capitalize()} with "
                "@pytest.mark.asyncio, and not for anyio: then the fixtures of doteval come to that loop, too. Or make "
                f"the fixture with @pytest.fixture, for {kind}s in anyio's event loop only."
            )
        case "trio" if is_made_for_asyncio:
            return (
                f"{runs} lives in one of pytest-asyncio's. Mark the {kind} with @pytest.mark.asyncio, and not for "
                "trio: then the fixtures of doteval come to that loop, too. Or make the fixture with @pytest.fixture."
            )
        case "trio" if is_async(definition.func) and definition.scope != "function":
            return (
                f"{runs} has {definition.scope} scope; pytest-trio runs async fixtures for one test only. Give the "
                f"fixture function scope, or mark the {kind} for anyio, where a fixture may live longer."
            )
        case "asyncio":
            return _of_another_loop(test, runs, definition)
        case _:
            return None


def _who_asks_for_anyio(test: pytest.Item) -> str | None:
    """The fixture of the user's own for which a test that is marked for pytest-asyncio is run by anyio's plugin."""
    if test.get_closest_marker("asyncio") is None or not isinstance(test, pytest.Function):
        return None
    for name, definitions in needed_definitions(test).items():
        if "anyio_backend" in definitions[-1].argnames and not definitions[-1].func.__module__.startswith("doteval."):
            return name
    return None


def _of_another_loop(test: pytest.Item, runs: str, definition: pytest.FixtureDef[Any]) -> str | None:
    """Why an evaluation in one of pytest-asyncio's event loops cannot have a fixture."""
    config = test.config
    if not is_asyncios(definition, config):
        if not is_async(definition.func):
            return None
        return (
            f"{runs} is made with @pytest.fixture, which pytest-asyncio leaves alone in the mode "
            f"{asyncio_mode(config)!r}. Make it with @pytest_asyncio.fixture."
        )
    here, there = loop_scope(test, "asyncio"), fixture_loop_scope(definition, config)
    if WIDTH[there] < WIDTH[definition.scope]:
        return (
            f"{runs} of {definition.scope} scope would live in an event loop of {there} scope, which ends before it "
            f"does. Make the fixture with loop_scope={definition.scope!r}, or more, and mark the evaluation with "
            f"@pytest.mark.asyncio(loop_scope={definition.scope!r})."
        )
    if here == there:
        return None
    other = f", or make the fixture with loop_scope={here!r}" if WIDTH[definition.scope] <= WIDTH[here] else ""
    return (
        f"{runs} lives in another one: the evaluation's loop has {here} scope, the fixture's has {there} scope. Mark "
        f"the evaluation with @pytest.mark.asyncio(loop_scope={there!r}){other}."
    )


def wrong_backend(test: pytest.Item, backend: str) -> str | None:
    """Why an evaluation cannot be run on the event loop that the user has chosen for all, and what to do.

    Args:
        test: The evaluation, or a test.
        backend: The name of the event loop; nothing where the user has not chosen.
    """
    runner = runner_of(test)
    if not backend or runner is None or backend == runner or evaluation_of(test) is None:
        return None
    return (
        f"The evaluation runs in {_LOOPS[runner]}, as it is marked {runner!r}, and --doteval-eval-backend chooses "
        f"{backend!r}. Leave the option away for it, or mark it with @pytest.mark.anyio."
    )


def _marked(test: pytest.Item, what: str) -> str:
    """What to do so that a neighbour runs it: those run no plain ``def``."""
    if evaluation_of(test) is not None or is_async(getattr(test, "obj", None)):
        return f"mark {what}"
    return f"make the test an 'async def', and mark {'it' if what == 'the test' else what}"


def _kind(test: pytest.Item) -> str:
    return "test" if evaluation_of(test) is None else "evaluation"

"""``doteval providers``: what is registered, and whether it works."""

from __future__ import annotations

import argparse
import sys

from .._errors import ProviderLoadError
from .._printed import say
from .._registry.fixture_names import clashes, client_fixture, provider_fixture
from .._registry.registration import Registration, is_fixture, registrations
from .._tables import Table
from ._json import print_json, run_by_others


def run(options: argparse.Namespace) -> int:
    """Print every registered provider with its distribution, entry point and state."""
    known = registrations()
    shared = clashes(known)
    rows = [(registration, *_state(registration)) for registration in known.values()]
    code = int(any(state == "broken" for _, state, _ in rows))
    if options.json:
        print_json(
            {
                "name": registration.name,
                "distribution": registration.distribution,
                "entry_point": registration.value,
                "state": state,
                "problem": problem or None,
                "fixtures": [] if registration.name in shared else list(_fixtures(registration.name)),
            }
            for registration, state, problem in rows
        )
        return code
    table = Table(
        [(registration.name, registration.distribution, registration.value, state) for registration, state, _ in rows],
        long=2,
    )
    for text, (registration, _, problem) in zip(table.texts_for(sys.stdout), rows, strict=True):
        name = registration.name
        say(text)
        if problem:
            say(f"    {problem}")
        if name in shared:
            others = " and ".join(f"{each!r} of {known[each].distribution}" for each in shared[name] if each != name)
            say(f"    No fixtures in pytest: {' and '.join(_fixtures(name))} could be of {others} as well.")
        elif client_fixture(name) != f"{name}_client":
            say(f"    Its fixtures in pytest are {' and '.join(_fixtures(name))}.")
    if not rows:
        say("No provider is registered, not even doteval's own: it is not installed as a package")
    return code


def _fixtures(name: str) -> tuple[str, ...]:
    """What the fixtures of a provider are called; ``model_client`` leases a model of any provider."""
    return tuple(fixture for fixture in (provider_fixture(name), client_fixture(name)) if fixture != "model_client")


def _state(registration: Registration) -> tuple[str, str]:
    """How a provider is, in a word, and what is wrong with it, where something is."""
    try:
        with run_by_others():
            value = registration.load()
    except ProviderLoadError as exc:
        # An SDK that nobody has asked for is not a defect.
        state = "broken" if not registration.missing(exc.__cause__) else "not installed"
        return state, f"{exc.problem}. {exc.advice}."
    return ("ok (a fixture, for pytest only)" if is_fixture(value) else "ok"), ""

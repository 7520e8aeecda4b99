"""What the fixtures of providers are called in pytest; it knows nothing of pytest."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence


def fixture_word(name: str) -> str:
    """What the fixtures of the provider `name` begin with: whatever the name is, an argument may be called so.

    Python reads the names of arguments in their normal form, so that is the one that pytest looks for.
    """
    normal = unicodedata.normalize("NFKC", name)
    word = "".join(character if f"a{character}".isidentifier() else "_" for character in normal)
    return word if word.isidentifier() else f"_{word}"


def client_fixture(name: str) -> str:
    """What the fixture is called that leases a model of the provider `name`."""
    return f"{fixture_word(name)}_client"


def client_fixtures(names: Iterable[str]) -> dict[str, str]:
    """The providers by the fixtures that lease their models; ``model_client`` is nobody's, as its spec names one."""
    return {fixture: name for name in names if (fixture := client_fixture(name)) != "model_client"}


def provider_fixture(name: str) -> str:
    """What the fixture is called that gives the provider `name`."""
    return f"{fixture_word(name)}_provider"


def clashes(names: Iterable[str]) -> dict[str, Sequence[str]]:
    """Of each provider whose fixtures would be called as those of others: all that share them, itself among them."""
    sharing: dict[str, list[str]] = {}
    for name in names:
        sharing.setdefault(fixture_word(name), []).append(name)
    return {name: shared for shared in sharing.values() if len(shared) > 1 for name in shared}

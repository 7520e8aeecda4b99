"""What distributions say of their providers: the entry points, and how one of them is imported."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions, entry_points

from .._errors import ProviderLoadError
from .._printed import text_of

logger = logging.getLogger("doteval.registry")

GROUP = "doteval.model_providers"
"""The entry-point group in which distributions register providers."""

_EXTRA = re.compile(r"""^(([\w.-]+)[^;]*?)\s*;.*\bextra\s*==\s*["']([\w.-]+)["']""")


@dataclass(frozen=True, slots=True)
class Registration:
    """What distributions say of one provider, without anything of theirs being imported.

    Args:
        name: The name it is registered under.
        entry_points: Usually one; several where distributions quarrel about the name.
    """

    name: str
    entry_points: Sequence[EntryPoint]

    @property
    def value(self) -> str:
        """The entry point's value, such as ``"mypackage:MyProvider"``."""
        return " and ".join(dict.fromkeys(entry_point.value for entry_point in self.entry_points))

    @property
    def attribute(self) -> str:
        """What the value names inside its module: a class, a factory, or a pytest fixture."""
        return self.value.partition("[")[0].partition(":")[2].strip()

    @property
    def packages(self) -> frozenset[str]:
        """The top-level modules in which the distribution keeps the provider and its pytest plugins."""
        values = [self.value]
        dist = self.entry_points[0].dist
        if dist is not None:
            values += [plugin.value for plugin in dist.entry_points.select(group="pytest11")]
        return frozenset(value.partition(":")[0].partition(".")[0].strip() for value in values)

    @property
    def distribution(self) -> str:
        """The distribution, with its version."""
        return " and ".join(distribution_of(entry_point) for entry_point in self.entry_points)

    def load(self) -> object:
        """Import what the entry point's value names.

        Raises:
            ProviderLoadError: It cannot be imported, or several distributions register the name.
        """
        if len(self.entry_points) > 1:
            raise self.error(
                f"{len(self.entry_points)} registrations of one name",
                "Uninstall all but one of them, or decide with ModelProviders({'" + self.name + "': ...})",
            )
        try:
            value: object = self.entry_points[0].load()
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # what pytest raises to skip, or the panic of an extension, is no Exception
            fixture = self.find_fixture() if isinstance(exc, AttributeError) else None
            if fixture is not None:
                return fixture
            raise self.error(described(exc), self._advice(exc)) from exc
        if not callable(value) and not callable(getattr(value, "setup", None)):
            raise self.error(f"TypeError: {value!r} is not a ModelProvider and does not make one")
        return value

    def find_fixture(self) -> object | None:
        """The pytest fixture that the value names, where it lives in one of the distribution's pytest plugins."""
        dist = self.entry_points[0].dist
        for plugin in dist.entry_points.select(group="pytest11") if dist is not None else ():
            try:
                value: object = getattr(plugin.load(), self.attribute, None)
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: S112 - the caller has an error of its own, about the provider's entry point
                continue
            if is_fixture(value):
                return value
        return None

    def error(self, problem: str, advice: str | None = None) -> ProviderLoadError:
        """The error that names the entry point and its distribution."""
        if advice is None and self.value.startswith("doteval."):  # nobody is to uninstall doteval for that
            advice = "Look at the cause, which is attached"
        return ProviderLoadError(self.name, self.value, self.distribution, problem, advice)

    def missing(self, error: BaseException | None) -> list[str]:
        """What has to be installed, where `error` is about a module that an extra of the distribution brings.

        The packages themselves are named, not the extra: that is of use also where the distribution is on no index.
        """
        dist = self.entry_points[0].dist
        if not isinstance(error, ModuleNotFoundError) or error.name is None or dist is None:
            return []
        module = error.name.partition(".")[0].lower()
        extras: dict[str, dict[str, str]] = {}
        for requirement in dist.requires or ():
            match = _EXTRA.match(requirement)
            if match is not None:
                extras.setdefault(match[3], {})[match[2].replace("-", "_").lower()] = match[1]
        bringing = [packages for packages in extras.values() if module in packages]
        return [*min(bringing, key=len).values()] if bringing else []

    def _advice(self, error: BaseException) -> str | None:
        missing = self.missing(error)
        return "Install it: pip install " + " ".join(f"'{package}'" for package in missing) if missing else None


def registrations() -> dict[str, Registration]:
    """Every registered provider by name; reads metadata only. What is odd is logged, and hurts nobody else."""
    found: dict[str, list[EntryPoint]] = {}
    for entry_point in _entry_points():
        if is_name(entry_point.name):
            found.setdefault(entry_point.name, []).append(entry_point)
        else:
            logger.warning(
                "%s registers a provider as %r, which no spec can name", distribution_of(entry_point), entry_point.name
            )
    return {name: Registration(name, _different(found[name])) for name in sorted(found)}


def is_name(name: str) -> bool:
    """Whether a spec can name a provider so: it has the name before its first colon."""
    return ":" not in name and name.isprintable() and name == name.strip() and bool(name) and not name.startswith("-")


def _entry_points() -> Sequence[EntryPoint]:
    try:
        return tuple(entry_points(group=GROUP))
    except Exception:  # somebody's file cannot be read, and for Python that is the end for all
        found: list[EntryPoint] = []
        for dist in distributions():
            try:
                found += dist.entry_points.select(group=GROUP)
            except Exception as exc:
                logger.warning("the entry points of %s cannot be read: %s", dist.name, described(exc))
        return found


def _different(same_name: Sequence[EntryPoint]) -> tuple[EntryPoint, ...]:
    """Without those that are found twice, as with a distribution that lies in two directories of the path."""
    if len(same_name) == 1:  # reading whose it is takes longer than all the rest
        return tuple(same_name)
    return tuple({(one.value, distribution_of(one)): one for one in same_name}.values())


def is_fixture(value: object) -> bool:
    """Whether the value is a pytest fixture; told by its type's name, as pytest may not be installed."""
    return type(value).__name__ == "FixtureFunctionDefinition"


def distribution_of(entry_point: EntryPoint) -> str:
    """The distribution that an entry point belongs to, with its version."""
    dist = entry_point.dist
    return "an unknown distribution" if dist is None else f"{dist.name} {dist.version}"


def described(error: BaseException) -> str:
    """An exception in one line."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

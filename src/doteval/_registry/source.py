"""Where one provider comes from, and how it is made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, cast

from typing_extensions import TypeIs

from .._errors import DotevalError
from .._hooks_written import checked_identity, checked_patterns
from .._keywords import names_needed, names_taken
from .._provider import ModelProvider, chosen, note_maker
from .._secrets import masked, secrets_of
from .registration import Registration, described, is_fixture

Factory = Callable[..., ModelProvider[Any]]


class Source:
    """Where one provider comes from: given by the caller, or registered.

    Args:
        name: The provider's name.
        value: A provider, a class or a factory; or the registration that leads to one.
        settings: Keyword arguments for a class or a factory.
        offers: Keyword arguments for those that name them in their signature; each is made when it is taken.
        borrowed: Whether somebody else closes it.
    """

    def __init__(
        self,
        name: str,
        value: object,
        settings: Mapping[str, Any] | None = None,
        *,
        offers: Mapping[str, Callable[[], Any]] | None = None,
        borrowed: bool = False,
    ) -> None:
        self.name = name
        self.settings = settings or {}
        self.borrowed = borrowed
        self._offers = offers or {}
        self._value = value
        self._registration = value if isinstance(value, Registration) else None
        self._built: ModelProvider[Any] | None = None
        self._trouble: tuple[Exception, TracebackType | None] | None = None

    def patterns(self) -> tuple[str, ...]:
        """The specs it claims. Builds a provider only where a factory gives no other way to know.

        Where that fails, it fails in the same way until it has been built for somebody who asked for it by name: what
        is not installed is not looked for again at each setup.
        """
        if self._trouble is not None:
            raise self._trouble[0].with_traceback(self._trouble[1])
        try:
            return self._patterns()
        except Exception as exc:
            self._trouble = exc, exc.__traceback__
            raise

    def _patterns(self) -> tuple[str, ...]:
        value = self._load()
        patterns: object = getattr(value, "patterns", None)
        if patterns is None and not isinstance(value, type):
            value = self.build()
            patterns = getattr(value, "patterns", None)
        try:
            return checked_patterns(patterns, value)
        except TypeError as exc:
            if self._registration is None:
                raise
            raise self._registration.error(described(exc)) from exc

    def build(self) -> ModelProvider[Any]:
        """The provider, made when it is asked for the first time, not started."""
        if self._built is None:
            value = self._load()
            if is_provider(value):
                if self.settings:
                    raise ValueError(f"settings for {self.name!r} are of no use: it is built already")
                self._built = value
            else:
                self._built = self._make(cast(Factory, value))
            self._trouble = None
        return self._built

    def identity(self, model: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """All that an answer of a model depends on; of a provider that does not say that, what it was made with."""
        provider = self.build()
        kind = type(provider)
        if hasattr(kind, "identity"):  # any class with a setup is a provider
            return checked_identity(provider.identity(model, **config), provider)
        value = self._load()
        given = {} if value is provider else chosen(cast(Factory, value), (), self.settings)
        return {**given, "provider": f"{kind.__module__}.{kind.__qualname__}", "spec": model, **config}

    def put(self, provider: ModelProvider[Any] | None) -> None:
        """Use this provider from now on; `None`: make a new one when it is asked for again."""
        self._built = provider

    def _load(self) -> object:
        if self._registration is None:
            return self._value
        value = self._registration.load()
        if is_fixture(value):
            raise self._registration.error(
                "a pytest fixture where a provider is needed",
                "A fixture exists only inside a run of pytest that loads the plugin it is in. To use the provider "
                "elsewhere, let the entry point name its class or a function that makes it",
            )
        return value

    def _make(self, factory: Factory) -> ModelProvider[Any]:
        offers: dict[str, Any] = {}
        try:
            taken = names_taken(factory)
            offers = {
                name: make() for name, make in self._offers.items() if name in taken and name not in self.settings
            }
            provider = factory(**{**offers, **self.settings})
        except DotevalError:
            raise  # it says by itself what to do
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            if self._registration is None:
                raise
            given = ", ".join(self.settings)
            advice = f"Correct what it was given: {given}" if given else None
            if isinstance(exc, TypeError) and (needed := names_needed(factory) - self.settings.keys() - offers.keys()):
                advice = (
                    f"Give it {', '.join(sorted(needed))}, with ModelProviders(settings={{{self.name!r}: {{...}}}}), "
                    f"and in pytest with --model-setting {self.name}.{min(needed)}=..."
                )
            raise self._registration.error(masked(described(exc), secrets_of(self.settings)), advice) from exc
        if is_provider(provider):
            note_maker(provider, factory, self.settings)
            return provider
        error = TypeError(f"{getattr(factory, '__name__', factory)}() returned {provider!r}, not a ModelProvider")
        raise error if self._registration is None else self._registration.error(described(error))


def is_provider(value: object) -> TypeIs[ModelProvider[Any]]:
    """A provider is what has a `setup`; the base class is a convenience that old ones may do without."""
    return not isinstance(value, type) and callable(getattr(value, "setup", None))

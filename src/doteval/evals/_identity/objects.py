"""What objects are that are neither code nor containers: those of the user's, and those of installed packages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .beside import held_by_container, held_by_model
from .clients import asked_with, put_on
from .code import read
from .credentials import without_credentials
from .found import PLAIN
from .kept import TooMuchError, kept_of
from .library import is_library_class, is_library_file
from .looks import ATOMS, OF_VALUES, attribute_of, attributes_of, class_of, is_made_of_attributes, telling_of, type_name
from .members import arguments_of
from .special import parts_of, result_of
from .state import State
from .templates import without_defaults


class Known(NamedTuple):
    """What is known of an object of a package.

    Args:
        value: The object, which stays alive.
        digest: What it is made of; `None` where that is of the moment.
        others: What it holds that is known otherwise.
        is_too_much: Whether it holds more than anybody wants to look at.
    """

    value: object
    digest: str | None
    others: tuple[object, ...] = ()
    is_too_much: bool = False


class Objects(ABC):
    """Says what objects are.

    Args:
        state: What the code writes, which does not count.
        most: How many values that hold others are looked at at most.
    """

    def __init__(self, state: State, most: int) -> None:
        self.state = state
        self.left_to_see: int = most
        self.kept_known: dict[int, Known] = {}
        """What is known of objects of packages, by their ``id``."""

    def _special(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object | None:
        """What a value is of which neither its attributes nor ``pickle`` tell; `None` where it is none such."""
        parts = parts_of(value, kind)
        if parts is not None:
            return "special", *self._listed(parts, above)
        result = result_of(value, kind)
        if result is None:
            return None
        self._set_aside("its result", None, *result, value)
        return "future", type_name(kind)

    def _object_of(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> object:
        """What any other object is."""
        if isinstance(value, BaseException):
            return "error", self._of(value.args, above), *self._own(value, kind, above)
        if not is_library_class(kind):
            attributes = without_defaults(value, attributes_of(value), self.state.writes_within)
            return self._object(value, attributes, above)
        if any(attribute_of(value, name) is not None for name in ("__next__", "__anext__", "cr_code")):
            codes = [attribute_of(value, name) for name in ("gi_code", "ag_code", "cr_code")]
            own = [code for code in codes if code is not None and not is_library_file(code.co_filename)]
            return "state", type_name(kind), *(read(code).does for code in own)
        model = held_by_model(value, kind)
        if model is not None:
            made_for = self._listed(arguments_of(kind), above)
            return type_name(kind), *made_for, *self._model(value, *model, above)
        dump = attribute_of(kind, "model_dump")
        if dump is not None:
            return type_name(kind), self._of(without_credentials(dump(value)), above)
        kept = None if kind.__module__ in OF_VALUES else self._kept_by_pickle(value, kind, above)
        if kept is not None and self.state.attributes_in(value):
            return type_name(kind), self._mapping(self._kept(value, attributes_of(value)), above)
        if kept is not None:
            return type_name(kind), "kept", *kept
        text = self._text(value)
        if text is not None and is_made_of_attributes(value, text):
            return type_name(kind), self._mapping(without_credentials(vars(value)), above)
        telling = without_defaults(value, telling_of(value), self.state.writes_within)
        told = without_credentials({**put_on(value, kind), **telling, **asked_with(value, kind)})
        return type_name(kind), "opaque" if text is None else text, self._mapping(told, above)

    def _model(
        self, value: object, fields: dict[str, Any], others: dict[str, Any], above: tuple[int, ...]
    ) -> Iterator[object]:
        """What a model of pydantic is that is of a package, and may write what it does not show."""
        yield self._mapping(without_credentials(self._kept(value, fields)), above)
        for name, each in without_credentials(self._kept(value, others)).items():
            may_change = class_of(each) in ATOMS and class_of(each) is not str
            yield name, self._beside(name, each, value, above, may_change=may_change or class_of(each) in PLAIN)

    def _besides(self, value: object, kind: type[Any], above: tuple[int, ...]) -> tuple[object, ...]:
        """What a container is besides what it holds."""
        if not is_library_class(kind):
            return self._own(value, kind, above)
        return (
            *(
                (name, self._beside(name, each, value, above, may_change=may_change))
                for name, each, may_change in held_by_container(value)
            ),
        )

    def _beside(self, name: str, value: object, owner: object, above: tuple[int, ...], *, may_change: bool) -> object:
        if not may_change:
            return self._of(value, above)
        return self._may_be_written(f"attribute {name!r}", name, value, owner, above)

    def _kept_by_pickle(self, value: Any, kind: type[Any], above: tuple[int, ...]) -> tuple[object, ...] | None:
        if id(value) not in self.kept_known:
            self.left_to_see -= 1
            self.kept_known[id(value)] = self._known_of(value, kind)
        known = self.kept_known[id(value)]
        if known.is_too_much:
            self._too_much(type_name(kind))
        if not known.others:
            return None if known.digest is None else (known.digest,)
        references: list[object] = []

        def describe(each: object) -> object:
            described = self._of(each, above)
            references.extend(self._references_in(described))
            return self._as_met(described)

        found = kept_of(value, kind, describe, self.state.writes_within)
        return None if found is None else (found, *references)

    def _known_of(self, value: Any, kind: type[Any]) -> Known:
        others: list[object] = []
        try:
            found = kept_of(value, kind, others.append, self.state.writes_within)
        except TooMuchError:
            return Known(value, None, is_too_much=True)
        return Known(value, found, () if found is None else (*others,))

    def _own(self, value: object, kind: type[Any], above: tuple[int, ...]) -> tuple[object, ...]:
        """What an object of a class of the user's is besides what it holds: its class, and other attributes."""
        if is_library_class(kind):
            return ()
        return self._class(kind), self._mapping(self._kept(value, attributes_of(value)), above)

    def _object(self, value: object, attributes: Mapping[str, Any], above: tuple[int, ...]) -> tuple[object, ...]:
        return "object", self._class(class_of(value)), self._mapping(self._kept(value, attributes), above)

    def _kept(self, value: object, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Those of its attributes that nothing writes."""
        computed, written = self.state.computed_in(class_of(value)), self.state.attributes_in(value)
        for name in sorted((written - computed) & attributes.keys() if written else ()):
            self._set_aside(f"attribute {name!r}", name, attributes[name], value)
        return {name: each for name, each in attributes.items() if name not in written and name not in computed}

    @abstractmethod
    def _of(self, value: Any, above: tuple[int, ...]) -> object:
        """What a value is, as nested tuples of plain values.

        Args:
            value: The value.
            above: The values that hold it, by their ``id``.
        """

    @abstractmethod
    def _listed(self, items: Iterable[object], above: tuple[int, ...]) -> tuple[object, ...]:
        """What several values are."""

    @abstractmethod
    def _mapping(self, values: Mapping[Any, Any], above: tuple[int, ...], *, fresh: Any = None) -> tuple[object, ...]:
        """What a mapping holds.

        Args:
            values: The mapping.
            above: The values that hold it.
            fresh: What makes the values of keys that are only asked for.
        """

    def _references_in(self, described: object) -> Iterable[object]:
        """What refers there to what is said elsewhere in the same part."""
        return ()

    def _as_met(self, described: object) -> object:
        """What is said of something that becomes a part of a fingerprint at once, whatever it refers to."""
        return described

    @abstractmethod
    def _may_be_written(self, place: str, name: str, value: object, owner: object, above: tuple[int, ...]) -> object:
        """Something that a library may write, or not."""

    def _too_much(self, name: str) -> None:  # noqa: B027
        """An object of a class of this name holds more than anybody wants to look at."""

    @abstractmethod
    def _text(self, value: object) -> str | None:
        """What a value says that it is; `None` where it says nothing."""

    @abstractmethod
    def _class(self, kind: type[Any]) -> object:
        """What a class is."""

    @abstractmethod
    def _set_aside(self, place: str, name: object, value: object, owner: object) -> None:
        """Something that the code seems to write.

        Args:
            place: Where it is.
            name: What it is called there.
            value: What it is.
            owner: What it is a part of.
        """

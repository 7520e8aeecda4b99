"""Objects of Python's own that hold others where neither attributes nor ``pickle`` tell of them."""

from __future__ import annotations

import gc
import io
import sys
import types
import weakref
from contextvars import ContextVar
from typing import Any, cast

from anyio import from_thread
from anyio.lowlevel import EventLoopToken

from .library import is_library_class
from .looks import attribute_of, class_of, digest_of_bytes, type_name
from .members import field_of
from .templates import held_by_template

_VERSION = slice(92, 100)
"""Where in a database of SQLite stands which version of it has written it."""
LOOP: ContextVar[EventLoopToken | None] = ContextVar("LOOP", default=None)
"""The event loop for which a thread looks at something, where that is none of anyio's."""
_MOCKS_OWN = ("_mock", "_spec", "_is_coroutine", "method_calls", "__")


def parts_of(value: Any, kind: type[Any]) -> tuple[Any, ...] | None:
    """What such an object is made of; `None` for anything else."""
    if is_mock(kind):
        return "mock", _told_to_mock(value, ())
    field = field_of(value, kind)
    if field is not None:
        return "field", field
    template = held_by_template(value, kind)
    if template is not None:
        return template
    if kind is types.MethodWrapperType:
        return "method", value.__name__, value.__self__
    if kind is io.BytesIO or kind is io.StringIO:  # wherever it is read now
        return "file in memory", value.getvalue()
    if issubclass(kind, weakref.ReferenceType):
        return "reference", value()
    if hasattr(kind, "hexdigest") and hasattr(kind, "digest_size") and is_library_class(kind):
        return "hash", value.name, value.hexdigest() if value.digest_size else value.copy().hexdigest(32)
    match type_name(kind):
        case "numpy.ufunc":  # what is behind one may be a function of the user's
            return "ufunc", value.__name__, *(each for each in gc.get_referents(value) if callable(each))
        case "_struct.Struct":
            return "struct", value.format
        case "functools.KeyWrapper":
            return "order", *(each for each in gc.get_referents(value) if each is not kind)
        case "queue.Queue" | "queue.LifoQueue" | "queue.PriorityQueue":
            return type_name(kind), value.maxsize, [*value.queue]
        case "asyncio.queues.Queue" | "asyncio.queues.LifoQueue" | "asyncio.queues.PriorityQueue":
            return type_name(kind), value.maxsize, [*(attribute_of(value, "_queue") or ())]
        case "xml.etree.ElementTree.Element":
            return "XML", digest_of_bytes(sys.modules["xml.etree.ElementTree"].tostring(value))
        case "sqlite3.Connection":
            return "database", _content_of(value), value.row_factory, value.text_factory
        case _:
            return None


def result_of(value: Any, kind: type[Any]) -> tuple[object] | None:
    """What a future holds, which is nothing as long as it is not done; `None` where a value is no future."""
    if type_name(kind) not in ("concurrent.futures._base.Future", "_asyncio.Future", "_asyncio.Task"):
        return None
    is_done = attribute_of(value, "_state") == "FINISHED"
    result, error = attribute_of(value, "_result"), attribute_of(value, "_exception")
    return ((result, error) if is_done else None,)


def _content_of(connection: Any) -> object:
    """What is in databases in memory, and in tables for a while; nothing of what is in a file."""
    try:
        found = _content_here(connection)
    except sys.modules["sqlite3"].ProgrammingError:  # of another thread: most often that of the event loop
        found = from_thread.run_sync(_content_here, connection, token=LOOP.get())
    return [(name, _digest_of_pages(pages)) for name, pages in found]


def _content_here(connection: Any) -> list[tuple[str, bytes]]:
    cursor = connection.cursor()
    cursor.row_factory = None
    files = {name: file for _, name, file in cursor.execute("PRAGMA database_list")}
    return [(name, _pages_of(connection, cursor, name)) for name, file in sorted(files.items()) if not file]


def _pages_of(connection: Any, cursor: Any, name: str) -> bytes:
    quoted = name.replace('"', '""')
    is_empty = cursor.execute(f'PRAGMA "{quoted}".page_count').fetchone() == (0,)
    return b"" if is_empty else cast("bytes", connection.serialize(name=name))


def _digest_of_pages(pages: bytes) -> object:
    return digest_of_bytes(b"".join((pages[: _VERSION.start], pages[_VERSION.stop :]))) if pages else ()


def is_mock(kind: type[Any]) -> bool:
    """Whether a class is one of ``unittest.mock``; its objects may claim to be of any other."""
    module = sys.modules.get("unittest.mock")
    return module is not None and any(each is module.NonCallableMock for each in kind.__mro__)


def _told_to_mock(mock: Any, above: tuple[int, ...]) -> Any:
    """What a mock was told to do, and not what was done with it. It is not called, nor asked for anything."""
    if id(mock) in above:
        return "again"
    held = cast("dict[str, Any]", mock.__dict__)
    inner = (*above, id(mock))
    children: dict[str, Any] = held.get("_mock_children", {})
    found = {name: each for name, each in {**held, **children}.items() if not name.startswith(_MOCKS_OWN)}
    methods = {name: each for name, each in children.items() if name.startswith("__")}
    found |= {name: each for name, each in methods.items() if not _is_as_made(mock, name, each)}
    found["()"] = held.get("_mock_return_value")
    found["side effect"] = _of_iterator(held.get("_mock_side_effect"))
    found["wraps"] = held.get("_mock_wraps")
    found["has"] = held.get("_mock_methods")
    told: dict[str, Any] = {}
    for name, each in found.items():
        is_inner = is_mock(class_of(each))
        given = _told_to_mock(each, inner) if is_inner else each
        if given is not None and not _is_default(given) and not (is_inner and not given):
            told[name] = given
    return told


def _is_as_made(mock: Any, name: str, method: Any) -> bool:
    """Whether a method that Python calls does what it does in every mock."""
    if not is_mock(class_of(method)):
        return False
    module: Any = sys.modules["unittest.mock"]
    told = cast("dict[str, Any]", method.__dict__)
    effect, result = told.get("_mock_side_effect"), told.get("_mock_return_value")
    if effect is not None:
        return bool(attribute_of(effect, "__module__") == module.__name__)
    makes: Any = attribute_of(module, "_calculate_return_value") or {}
    found: Any = attribute_of(module, "_return_values") or {}
    made = makes[name](mock) if name in makes else found.get(name, module)
    return bool(made == result)


def _is_default(value: object) -> bool:
    """Whether a mock says thereby that it was told nothing."""
    return type_name(class_of(value)) in ("unittest.mock._SentinelObject", "unittest.mock._SpecState")


def _of_iterator(effect: Any) -> Any:
    """All that a mock returns one after the other, as far as that is left."""
    if type_name(class_of(effect)) not in ("builtins.list_iterator", "builtins.tuple_iterator"):
        return effect
    return [*effect.__reduce__()[1][0]]

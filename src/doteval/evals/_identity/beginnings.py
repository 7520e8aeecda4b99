"""How what code writes begins: what its module does to make it, as that stands in the source text.

What a run writes is state, and may be anything when the next one begins; but a prompt that is sorted in place, or
stripped, is edited where it is made.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.util import resolve_name
from pathlib import Path
from typing import Any, NamedTuple

from .credentials import is_credential
from .library import is_library, is_library_file
from .looks import digest_of, is_module

_OF_A_CLASS = "class "
_MOST = 1000
"""How many statements are looked at for one."""
_Scope = Mapping[str, Any]
_WHOLE = ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Match
"""Statements whose first line says what becomes of those in them."""
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


class _Statement(NamedTuple):
    """A statement that makes, or changes, what a name stands for.

    Args:
        does: What it does, without its place and layout.
        reads: The names that it reads, each with the attribute that is read of it, or nothing.
    """

    does: str
    reads: frozenset[tuple[str, str]]


class _Source(NamedTuple):
    """What a module does when it is loaded.

    Args:
        made: The statements that make what a name stands for.
        imported: Where the names are from that are imported: how far up, the module, and the name there.
    """

    made: Mapping[str, list[_Statement]]
    imported: Mapping[str, tuple[int, str, str]]


def beginning_of(scope: _Scope, name: str) -> str | None:
    """A fingerprint of how a variable of a module begins; `None` where no source text says that.

    Args:
        scope: The module's variables.
        name: The variable.
    """
    found: list[str] = []
    left, seen = deque([(scope, name)]), {(id(scope), name)}
    while left and len(seen) < _MOST:
        scope, name = left.popleft()
        source = _source_of(scope)
        if source is None:
            continue
        others: list[tuple[_Scope, str]] = []
        for statement in source.made.get(name, ()):
            found.append(statement.does)
            others += [_behind(scope, *read) for read in sorted(statement.reads)]
        if name in source.imported:
            others += _imported(scope, *source.imported[name])
        new = [(each, its_name) for each, its_name in others if (id(each), its_name) not in seen]
        seen |= {(id(each), its_name) for each, its_name in new}
        left += new
    return digest_of(found) if found else None


def beginning_of_class(scope: _Scope, qualified_name: str) -> str | None:
    """The same of what a class holds."""
    return beginning_of(scope, f"{_OF_A_CLASS}{qualified_name}")


def _behind(scope: _Scope, name: str, attribute: str) -> tuple[_Scope, str]:
    value = scope.get(name)
    if attribute and is_module(value) and not is_library(value):
        return vars(value), attribute
    return scope, name


def _imported(scope: _Scope, level: int, module: str, name: str) -> Iterator[tuple[_Scope, str]]:
    """What was imported under a name, if it was: nothing is imported here."""
    package = scope.get("__package__")
    with suppress(ImportError):  # it goes further up than there are packages
        owner = sys.modules.get(resolve_name("." * level + module, package if isinstance(package, str) else ""))
        if is_module(owner) and not is_library(owner):
            yield vars(owner), name


def _source_of(scope: _Scope) -> _Source | None:
    file = scope.get("__file__")
    if not isinstance(file, str) or not file.endswith(".py") or is_library_file(file):
        return None
    try:
        status = Path(file).stat()
        return _read(file, status.st_mtime_ns, status.st_size)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # it is gone, or being written
        return None


@functools.lru_cache(maxsize=1000)
def _read(file: str, _written: int, _size: int) -> _Source:
    tree = ast.parse(Path(file).read_bytes())
    made: dict[str, list[_Statement]] = {}
    known: dict[int, _Statement] = {}  # one may write to many names
    for name, node in _statements(tree.body):
        if id(node) not in known:
            known[id(node)] = _Statement(_does(node), _reads(node))
        made.setdefault(name, []).append(known[id(node)])
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    imported = {
        each.asname or each.name: (node.level, node.module or "", each.name) for node in imports for each in node.names
    }
    return _Source(made, imported)


def _statements(body: Iterable[ast.stmt], owner: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """The statements that are run when a module is loaded, by the names that they write to, or by their class."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            qualified = f"{owner.removeprefix(_OF_A_CLASS)}.{node.name}" if owner else node.name
            yield from _statements(node.body, f"{_OF_A_CLASS}{qualified}")
        elif isinstance(node, _WHOLE):
            inner = {name for each in ast.walk(node) if isinstance(each, ast.stmt) for name in _written_by(each)}
            yield from ((owner or name, node) for name in sorted(inner))
        elif not isinstance(node, _FUNCTIONS):
            for each in (node, *getattr(node, "handlers", [])):  # of an if, or a try
                for part in ("body", "orelse", "finalbody"):
                    yield from _statements(getattr(each, part, []), owner)
            yield from ((owner or name, node) for name in _written_by(node))


def _written_by(statement: ast.stmt) -> Iterator[str]:
    """The names of what a statement makes or changes."""
    match statement:
        case ast.Assign(targets=targets):
            written: list[ast.expr] = [*targets]
        case ast.AnnAssign(target=target, value=ast.expr()) | ast.AugAssign(target=target):
            written = [target]
        case ast.Expr(value=ast.Call(func=ast.Attribute() as called)):
            written = [called]
        case _:
            return
    while written:
        match written.pop():
            case ast.Name(id=name):
                yield name
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                written += parts
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Starred(value=inner):
                written.append(inner)
            case ast.Call(func=inner):
                written.append(inner)
            case _:
                pass


def _does(statement: ast.stmt) -> str:
    match statement:
        case ast.Assign(targets=targets, value=value):
            pass
        case ast.AnnAssign(target=target, value=ast.expr() as value):  # what it is annotated with says nothing
            targets = [target]
        case _:
            return ast.dump(_WithoutCredentials().visit(statement))
    shown = [ast.dump(each) for each in targets if not isinstance(each, ast.Name)]
    if len(targets) == 1 and is_credential(getattr(targets[0], "id", getattr(targets[0], "attr", "")), ""):
        return str(shown)
    return f"{shown} {ast.dump(_WithoutCredentials().visit(value))}"


def _reads(statement: ast.stmt) -> frozenset[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    parts: list[ast.AST] = [statement]
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        parts = [statement.target, statement.value]
    for node in (each for part in parts for each in ast.walk(part)):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                found.add((name, attribute))
            case ast.Name(id=name, ctx=ast.Load()):
                found.add((name, ""))
            case _:
                pass
    return frozenset(found)


class _WithoutCredentials(ast.NodeTransformer):
    """Leaves out what stands under the name of a credential."""

    def visit_keyword(self, node: ast.keyword) -> ast.keyword:
        """An argument of a call."""
        if is_credential(node.arg, ""):
            return ast.keyword(node.arg, ast.Constant(None))
        self.generic_visit(node)
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.Dict:
        """A mapping."""
        values = [
            ast.Constant(None) if isinstance(key, ast.Constant) and is_credential(key.value, "") else value
            for key, value in zip(node.keys, node.values, strict=True)
        ]
        node = ast.Dict(node.keys, values)
        self.generic_visit(node)
        return node

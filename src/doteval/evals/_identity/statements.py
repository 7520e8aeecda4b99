"""What a module does when it is loaded, as it stands in its source text: what each statement may change, and reads."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from .aliases import path_of
from .credentials import is_credential
from .looks import digest_of
from .uses import WRITING

ALL = "*"
"""All names of a module."""
_BY_TEXT = frozenset({"delattr", "eval", "exec", "globals", "locals", "setattr", "vars"})
_BY_TEXT_OF = frozenset({"__dict__", "__setattr__", "modules", "reload"})
"""By what variables are bound whose names do not stand in the code as such; and the same of attributes."""
_COMPOUND = (
    *(ast.For, ast.AsyncFor, ast.While, ast.If, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.Match),
    ast.ClassDef,
)
_IMPORTS = (ast.Import, ast.ImportFrom)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_READ_BY = frozenset(
    {
        *("abs", "all", "any", "ascii", "bin", "bool", "bytes", "callable", "chr", "divmod", "float", "format"),
        *("hasattr", "hash", "hex", "id", "int", "isinstance", "issubclass", "len", "oct", "open", "ord", "pow"),
        *("print", "range", "repr", "round", "str", "type"),
        *("deepcopy", "dumps", *(each for each in dir(str) if not each.startswith("_"))),
    }
)
"""What changes nothing that it is given, and holds nothing of it afterwards: functions, and methods of texts."""
_HELD_BY = frozenset(
    {
        *("dict", "enumerate", "frozenset", "getattr", "iter", "list", "max", "min", "reversed", "set", "sorted"),
        *("sum", "tuple", "zip"),
        *("copy", "get", "items", "keys", "values"),
    }
)
"""What changes nothing that it is given either, but may give it back, or something of it."""


class Statement(NamedTuple):
    """A statement that is run when a module is loaded.

    Args:
        text: What it does, without its place and layout: as a fingerprint, unless there is a credential in it.
        is_guarded: Whether there is.
        reads: The names that it reads, each with the attributes that are read of it.
        others: The names that it binds, under which what it reads may be changed.
    """

    text: str
    is_guarded: bool
    reads: Sequence[tuple[str, ...]]
    others: set[str]


class Import(NamedTuple):
    """What is imported.

    Args:
        level: How far up, of a relative import.
        module: The module.
        name: What of it; nothing where it is the module itself.
    """

    level: int
    module: str
    name: str


class Source(NamedTuple):
    """What a module does when it is loaded.

    Args:
        statements: All that it does.
        bound: The places of those that may bind a name.
        changed: The places of those that may change what a name stands for.
        given: The places of those that give it, or something of it, to a call that may change it.
        imported: What is imported under each name.
    """

    statements: Sequence[Statement]
    bound: Mapping[str, set[int]]
    changed: Mapping[str, set[int]]
    given: Mapping[str, set[int]]
    imported: Mapping[str, Sequence[Import]]

    def statements_of(self, name: str, *, is_changed: bool, is_given: bool) -> Sequence[Statement]:
        """The statements that say what a name stands for.

        Args:
            name: The name.
            is_changed: Whether that may be changed, and not only be another thing.
            is_given: Whether it may be changed by what it is given to, too.
        """
        if name == ALL:
            return self.statements
        bound = self.bound.get(name, set())
        places = [bound, self.bound.get(ALL, ()), self.changed.get(name, ()) if is_changed else ()]
        if is_changed and (is_given or len(bound) > 1):  # it was another thing before
            places.append(self.given.get(name, ()))
        return [self.statements[place] for place in sorted(set[int]().union(*places))]

    def imports_of(self, name: str) -> Sequence[Import]:
        """What is imported under a name, or may be."""
        if name == ALL:
            return [each for found in self.imported.values() for each in found]
        return [*self.imported.get(name, ()), *self.imported.get(ALL, ())]


def source_of(text: bytes) -> Source:
    """Read the source text of a module.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: It cannot be parsed.
    """
    statements: list[Statement] = []
    bound, changed, given = (defaultdict[str, set[int]](set) for _ in range(3))
    imported = defaultdict[str, list[Import]](list)
    shared: list[tuple[set[str], list[ast.AST]]] = []
    for node in _run_by(ast.parse(text)):
        nodes, place = [*ast.walk(node)], len(statements)
        for name, each in (found for inner in nodes for found in _imported_by(inner)):
            imported[name].append(each)
        if isinstance(node, _IMPORTS):
            continue
        binds, changes = {name for inner in nodes for name in _bound_by(inner)}, {*_changed_by(node, nodes)}
        for found, names in ((bound, binds), (changed, changes), (given, {*_given_by(node, nodes)})):
            for name in names:
                found[name].add(place)
        does, is_guarded = _does(node), any(map(_names_credential, nodes))
        reads = sorted({*_paths_in(node)})
        statements.append(Statement(does if is_guarded else digest_of(does), is_guarded, reads, set()))
        shared.append(((binds | changes) - {ALL}, [*_shared_by(nodes)]))
    for place, (names, values) in reversed([*enumerate(shared)]):  # what is bound last may be a part of what was before
        if any(len(bound[name] | changed[name] | given[name]) > 1 for name in names):
            for found, read in ((changed, _names_in), (given, _held_by)):
                for name in (each for value in values for each in read(value)):
                    found[name].add(place)
                    statements[place].others.update(names)
    return Source(statements, bound, changed, given, imported)


def _run_by(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that are run when a module is loaded."""
    yield from (found for node in tree.body if (found := _Bare().visit(node)) is not None)


def _names_credential(node: ast.AST) -> bool:
    """Whether anything is named like a credential: a variable, an attribute, an argument, a key, any text."""
    return any(is_credential(getattr(node, each, None), "") for each in ("id", "attr", "arg", "name", "rest", "value"))


def _imported_by(node: ast.AST) -> Iterator[tuple[str, Import]]:
    """What a statement imports, by the names that it gets."""
    match node:
        case ast.ImportFrom(module=module, names=names, level=level):
            yield from ((each.asname or each.name, Import(level, module or "", each.name)) for each in names)
        case ast.Import(names=names):
            for each in names:
                first = each.name.partition(".")[0]
                yield each.asname or first, Import(0, each.name if each.asname else first, "")
        case _:
            pass


def _bound_by(node: ast.AST) -> Iterator[str]:
    """The names that are bound, or deleted."""
    match node:
        case (
            ast.Name(id=name, ctx=ast.Store() | ast.Del())
            | ast.Attribute(attr=name, ctx=ast.Store() | ast.Del())  # it may be one of this module
            | ast.ClassDef(name=name)
            | ast.FunctionDef(name=name)
            | ast.ExceptHandler(name=str() as name)
            | ast.MatchAs(name=str() as name)
            | ast.MatchStar(name=str() as name)
            | ast.MatchMapping(rest=str() as name)
        ):
            yield name
        case ast.alias(name=name, asname=other):
            yield other or name.partition(".")[0]
        case ast.Name(id=name) if name in _BY_TEXT:
            yield ALL
        case ast.Attribute(attr=name) if name in _BY_TEXT_OF:
            yield ALL
        case _:
            pass


def _changed_by(statement: ast.stmt, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names of what a statement may change."""
    is_changing = isinstance(statement, ast.Expr)
    for node in nodes:
        match node:
            case ast.Attribute(value=value, ctx=ast.Store() | ast.Del()):
                yield from _names_in(value)
                is_changing |= isinstance(statement, _COMPOUND)
            case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()):
                yield from _names_in(value)
                is_changing |= isinstance(statement, _COMPOUND)
            case ast.ClassDef(keywords=given, decorator_list=decorators):
                for part in (*(each.value for each in given), *decorators):
                    yield from _names_in(ast.Expr(part))
            case ast.FunctionDef(decorator_list=decorators):
                for part in decorators:
                    yield from _names_in(ast.Expr(part))
            case ast.AugAssign() | ast.Expr():
                is_changing |= isinstance(statement, _COMPOUND)
            case ast.Call(func=ast.Attribute(attr=name)) if name in WRITING:
                is_changing = True
            case _:
                pass
    if is_changing:
        yield from _names_in(statement)


def _given_by(statement: ast.stmt, nodes: Sequence[ast.AST]) -> Iterator[str]:
    """The names of what is given to a call that may change it, whatever becomes of what that returns."""
    calls = [each for each in nodes if isinstance(each, ast.Call) and _name_of(each) not in _READ_BY | _HELD_BY]
    for call in calls:
        for part in _given_to(call):
            yield from _held_by(part)
    stored = [each.ctx for each in nodes if isinstance(each, ast.Attribute | ast.Subscript)]
    is_changing = calls or any(isinstance(each, (ast.Store, ast.Del)) for each in stored)
    if is_changing and any(isinstance(each, (*_COMPOUND, *_COMPREHENSIONS)) for each in nodes):
        yield from _held_by(statement)  # by another name within it


def _shared_by(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """What may be known by another name behind a statement, or something of it."""
    for node in nodes:
        match node:
            case (
                ast.Assign(value=value)
                | ast.AugAssign(value=value)
                | ast.NamedExpr(value=value)
                | ast.For(iter=value)
                | ast.AsyncFor(iter=value)
                | ast.withitem(context_expr=value)
                | ast.Match(subject=value)
            ):
                yield value
            case _:
                pass


def _held_by(node: ast.AST) -> Iterator[str]:
    """The names of what an expression may be or hold, or all those in a statement, given to a call or not."""
    if isinstance(node, ast.Name):
        yield node.id
    match node:
        case ast.JoinedStr() | ast.Compare():
            parts: Iterable[ast.AST] = ()
        case ast.Call():
            parts = () if _name_of(node) in _READ_BY else _given_to(node)
        case _:
            parts = ast.iter_child_nodes(node)
    for part in parts:
        yield from _held_by(part)


def _given_to(call: ast.Call) -> Iterator[ast.AST]:
    """What a call may change: but for what an object is made of, as a rule of its own."""
    if isinstance(call.func, ast.Attribute):
        yield call.func.value
    if not _name_of(call).lstrip("_")[:1].isupper():
        yield from (*call.args, *(each.value for each in call.keywords))


def _name_of(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _names_in(node: ast.AST) -> Iterator[str]:
    """The names of what a statement handles, or what an expression may be or hold: not what is given to make that."""
    if isinstance(node, ast.Name):
        yield node.id
    match node:
        case ast.Expr(value=ast.Call() as call) | ast.Expr(value=ast.Await(value=ast.Call() as call)):
            parts: Iterable[ast.AST] = (call.func, *call.args, *call.keywords)
        case ast.Call(func=ast.Attribute(value=value)):
            parts = (value,)
        case ast.Call():
            parts = ()
        case _:
            parts = ast.iter_child_nodes(node)
    for part in parts:
        yield from _names_in(part)


def _paths_in(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """The names that are read, each with the attributes that are read of it."""
    path, inner = path_of(node)
    if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
        yield path
    for each in ast.iter_child_nodes(inner):
        yield from _paths_in(each)


def _does(statement: ast.stmt) -> str:
    if not isinstance(statement, ast.Assign):
        return ast.dump(statement)
    shown = [ast.dump(each) for each in statement.targets if not isinstance(each, ast.Name)]
    return f"{shown} {ast.dump(statement.value)}"


class _Bare(ast.NodeTransformer):
    """Leaves out what is not run, such as annotations, docstrings, and what functions do."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """A text or a number, however it is written."""
        return ast.Constant(node.value)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """A docstring, or something that is done."""
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        """Nothing is done."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST | None:
        """It does what its condition does."""
        return self.visit_Expr(ast.Expr(node.test))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """A variable, with what it is annotated with."""
        return None if node.value is None else self.generic_visit(ast.Assign([node.target], node.value))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST | None:
        """Of a function, what is run when it is made."""
        places = [*node.args.posonlyargs, *node.args.args]
        by_place = zip(places[len(places) - len(node.args.defaults) :], node.args.defaults, strict=True)
        by_name = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        defaults = {each.arg: value for each, value in (*by_place, *by_name) if value is not None}
        if not defaults and not node.decorator_list:
            return None
        given = ast.Return(ast.Dict([ast.Constant(name) for name in defaults], [*defaults.values()]))
        nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        return self.generic_visit(ast.FunctionDef(node.name, nothing, [given], node.decorator_list))

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST | None:
        """The same."""
        return self.visit_FunctionDef(node)

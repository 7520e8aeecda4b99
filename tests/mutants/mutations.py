"""What mistakes there are to make in a module: an operator turned round, a condition negated, a statement left out."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
NO_BEHAVIOUR = ("__repr__", "__str__", "account_of", "_state", "labels")
"""Functions that make words for people only."""

NOT_RUN = ("annotation", "returns", "decorator_list", "args", "type_params")
"""What of a function is not done when it runs."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake.

    Args:
        path: The module, inside the package.
        place: The function in it.
        was: What stands there.
        becomes: And what with the mistake.
        number: Which one it is of several in one function that look the same.
        source: The whole module with it.
    """

    path: Path
    place: str
    was: str
    becomes: str
    number: int
    source: str

    def __str__(self) -> str:
        times = f" ({self.number})" if self.number else ""
        return f"{self.path.stem}.{self.place}: {self.was} -> {self.becomes}{times}"


def mutants_of(path: Path, package: Path) -> Iterator[Mutant]:
    """Every mistake there is to make in a module."""
    tree = ast.parse(path.read_text("utf-8"))
    seen: dict[tuple[str, str, str], int] = {}
    for place, function in _functions(tree):
        for parent, field, index, node in list(_fields(function)):
            for mistake in _mistakes(node):
                was, becomes = _shown(node), _shown(mistake)
                number = seen[place, was, becomes] = seen.get((place, was, becomes), -1) + 1
                _put(parent, field, index, mistake)
                try:
                    source = ast.unparse(ast.fix_missing_locations(tree))
                finally:
                    _put(parent, field, index, node)
                yield Mutant(path.relative_to(package), place, was, becomes, number, source)


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for outer in tree.body:
        for node in outer.body if isinstance(outer, ast.ClassDef) else [outer]:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in NO_BEHAVIOUR:
                yield f"{outer.name}.{node.name}" if isinstance(outer, ast.ClassDef) else node.name, node


def _fields(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node below, with where it hangs; neither annotations nor what decorates or asserts nor words."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "args", "type_params") and not isinstance(
            node, ast.Call
        ):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Assert | ast.JoinedStr):
                continue
            yield node, field, index, child
            yield from _fields(child)


def _mistakes(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[operator]):
            yield _changed(node, ops=[COMPARISONS[type(operator)]()])
        case ast.BoolOp(op=ast.And()):
            yield _changed(node, op=ast.Or())
        case ast.BoolOp(op=ast.Or()):
            yield _changed(node, op=ast.And())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(op=ast.Add()):
            yield _changed(node, op=ast.Sub())
        case ast.BinOp(op=ast.Sub()):
            yield _changed(node, op=ast.Add())
        case ast.AugAssign(op=ast.Add()):
            yield _changed(node, op=ast.Sub())
        case ast.AugAssign(op=ast.Sub()):
            yield _changed(node, op=ast.Add())
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)) | ast.Constant(value=float(value)):
            yield ast.Constant(value + 1)
        case ast.IfExp():
            yield _changed(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.If(test=test) if not isinstance(test, ast.Compare | ast.UnaryOp):
            yield _changed(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute()]) | ast.Delete() | ast.Continue() | ast.Break():
            yield ast.Pass()


def _changed(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _shown(node: ast.AST) -> str:
    """The first line of it."""
    return ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).partition("\n")[0]

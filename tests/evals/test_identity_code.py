"""The fingerprint of code: whatever is changed in a function, of constants, names, operators and arguments, is seen."""

from __future__ import annotations

import ast
import copy
import os
import random
import sys
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from doteval.evals._identity.code import read

CORPUS = sorted(Path(__file__).parents[2].joinpath("src", "doteval").rglob("*.py"))
MANY = 100
OTHERS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.Gt: ast.GtE,
    ast.Not: ast.UAdd,
    ast.USub: ast.UAdd,
}


def functions(paths: list[Path]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Those of some files, without what is no part of what they do: annotations, and names that nobody uses."""
    found: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.arg):
                node.annotation = None
            elif isinstance(node, ast.arguments):
                node.vararg = node.kwarg = None
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                node.decorator_list, node.returns = [], None
                found.append(node)
    return found


def change(node: ast.AST) -> bool:
    """Make it another one; `False`: there is nothing to change."""
    match node:
        case ast.Constant(value=bool() as value):
            node.value = not value
        case ast.Constant(value=str() as value):
            node.value = f"{value} and more"
        case ast.Constant(value=bytes() as value):
            node.value = value + b"more"
        case ast.Constant(value=int() | float() as value):
            node.value = value + 1
        case ast.Constant(value=None):
            node.value = 0
        case ast.keyword(arg=str() as name):
            node.arg = f"{name}_other"
        case ast.Attribute(attr=name):
            node.attr = f"{name}_other"
        case ast.arg(arg=name):
            node.arg = f"{name}_other"
        case ast.BinOp() | ast.BoolOp() | ast.UnaryOp() if type(node.op) in OTHERS:
            node.op = OTHERS[type(node.op)]()  # type: ignore[assignment]
        case ast.Compare(ops=[op]) if type(op) in OTHERS:
            node.ops = [OTHERS[type(op)]()]  # type: ignore[list-item]
        case ast.Call(args=[_, *_] as args):
            node.args = args[1:]
        case ast.IfExp(body=body, orelse=orelse) if ast.dump(body) != ast.dump(orelse):
            node.body, node.orelse = orelse, body
        case ast.Return(value=ast.expr()):
            node.value = None
        case ast.Slice(lower=ast.expr()):
            node.lower = None
        case ast.FormattedValue(conversion=conversion):
            node.conversion = ord("r") if conversion == -1 else -1
        case ast.ExceptHandler(type=ast.expr()):
            node.type = ast.Name("Exception", ast.Load())
        case _:
            return False
    return True


def compiled(function: ast.AST) -> CodeType | None:
    """Its code; `None` where it is none."""
    try:
        module = ast.fix_missing_locations(ast.Module([copy.deepcopy(function)], []))  # type: ignore[list-item]
        return next(each for each in compile(module, "it.py", "exec").co_consts if isinstance(each, CodeType))
    except (SyntaxError, ValueError):
        return None


def runs(code: CodeType) -> tuple[object, ...]:
    """All that runs, as plainly as it can be told; and nothing of docstrings."""
    told = [runs(each) if isinstance(each, CodeType) else (type(each), repr(each)) for each in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars
    return code.co_code, code.co_argcount, code.co_kwonlyargcount, code.co_exceptiontable, told, names


def is_docstring(function: ast.AST, node: ast.AST) -> bool:
    """Whether a constant is what a function says of itself, or a text that nothing uses."""
    return any(isinstance(each, ast.Expr) and each.value is node for each in ast.walk(function))


@pytest.mark.parametrize("seed", range(int(os.environ.get("DOTEVAL_CODES", "2"))))
def test_whatever_is_changed_in_a_function_is_seen(seed: int) -> None:
    """In many places of real functions; the oracle is the whole of the compiled code."""
    chance, tried = random.Random(seed), 0
    every = functions(chance.sample(CORPUS, 10))
    while tried < MANY:
        function = copy.deepcopy(chance.choice(every))
        before = compiled(function)
        node = chance.choice([*ast.walk(function)])
        if before is None or is_docstring(function, node) or not change(node):
            continue
        after = compiled(function)
        if after is None or runs(after) == runs(before):
            continue
        tried += 1
        assert read(after).does != read(before).does, ast.unparse(ast.fix_missing_locations(function))


_ON_ITS_OWN = ast.stmt, ast.ExceptHandler, ast.comprehension, ast.keyword


class Lines(ast.NodeVisitor):
    """Puts parts of a function into lines of their own, or into one."""

    def __init__(self, step: int) -> None:
        self.line, self.step = 1, step

    def generic_visit(self, node: ast.AST) -> None:
        if "lineno" in node._attributes:
            self.line += self.step if isinstance(node, _ON_ITS_OWN) else 0
            placed: Any = node
            placed.lineno = placed.end_lineno = self.line
            placed.col_offset, placed.end_col_offset = 0, 1
        super().generic_visit(node)


def test_layout_is_no_part_of_what_a_function_does() -> None:
    """All of it in one line, each statement in one of its own, and as it stands: no formatter changes anything.

    But for a few, of which Python 3.12 and 3.13 make other jumps.
    """
    others: list[str] = []
    for node in random.Random(7).sample(functions(CORPUS), MANY):
        if any(isinstance(each, ast.Nonlocal) for each in ast.walk(node)):
            continue  # of a variable of the function that it is in, perhaps
        found: set[str] = set()
        for step in (None, 0, 1):
            if step is not None:
                Lines(step).visit(node)
            module = compile(ast.Module([node], []), "<it>", "exec")
            codes = [each for each in module.co_consts if isinstance(each, CodeType)]  # a default may be one
            found.add(str([read(code).does for code in codes]))
        if len(found) > 1:
            others.append(ast.unparse(node))
    assert len(others) <= (0 if sys.version_info < (3, 12) else 3), others

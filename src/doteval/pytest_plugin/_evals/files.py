"""Which files are for evaluations, found out without importing any.

Many programs are called ``eval_model.py``, and one that reads its command line when it is imported ends the run of
pytest. So a file called ``eval_*.py`` is for evaluations only where somebody says so: it is named on pytest's command
line, or matches a pattern of the ini file, or its own text does.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

_FILES = "eval_*.py"
_IMPORT = re.compile(r"^(?:from|import)\s+doteval\b", re.MULTILINE)
_READS_COMMAND_LINE = ("parse_args", "parse_known_args")
_COLLECTED = ("eval_", "test_")


class EvalFiles:
    """Tells them from others.

    Args:
        patterns: Those of the ini file; one with a slash is about the end of the path, others about the name.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(patterns)
        self._said: dict[Path, bool] = {}

    def is_named(self, node: pytest.Collector | pytest.Item) -> bool:
        """Whether what pytest has collected stands in a file that may be one, and is named on the command line."""
        return fnmatch(node.path.name, _FILES) and node.session.isinitpath(node.path)

    def is_wanted(self, path: Path) -> bool:
        """Whether a file is for evaluations, also where nobody has named it on the command line."""
        if any(path.match(pattern) for pattern in self._patterns):
            return True
        if not fnmatch(path.name, _FILES):
            return False
        if path not in self._said:
            self._said[path] = _says_so(path)
        return self._said[path]


def _says_so(path: Path) -> bool:
    """Whether a file imports doteval, has what can be collected, and does not read the command line by itself."""
    try:
        source = path.read_bytes()
    except OSError:
        return False
    if b"doteval" not in source:
        return False
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError):  # whoever writes evaluations wants to know what is wrong with this one
        return _IMPORT.search(source.decode("utf-8", "replace")) is not None
    done = list(_done_by_import(module))
    return (
        any(map(_imports_doteval, done))
        and any(name.startswith(_COLLECTED) for node in done for name in _names(node))
        and not any(map(_reads_command_line, done))
    )


def _done_by_import(node: ast.AST) -> Iterator[ast.AST]:
    """What is executed when a module is imported: neither bodies of functions, nor what is for a main program only."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        children: Iterable[ast.AST] = node.decorator_list
    elif isinstance(node, ast.Lambda):
        children = ()
    elif isinstance(node, ast.If) and _is_main(node.test):
        children = node.orelse
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _done_by_import(child)


def _is_main(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def _imports_doteval(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return not node.level and (node.module or "").partition(".")[0] == "doteval"
    return isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == "doteval" for alias in node.names)


def _names(node: ast.AST) -> list[str]:
    """What a statement defines, of what can be collected."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    return [alias.asname or alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []


def _reads_command_line(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in _READS_COMMAND_LINE or (
            node.attr == "argv" and isinstance(node.value, ast.Name) and node.value.id == "sys"
        )
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _READS_COMMAND_LINE

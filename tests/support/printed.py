"""What the package may print: the strings of its modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def texts_of(path: Path) -> Iterator[str]:
    """What a file may print: the strings of a module, with X for what is only known later; a page as it is."""
    if path.suffix != ".py":
        yield path.read_text()
        return
    tree = ast.parse(path.read_text())
    docstrings = {id(docstring_of(node)) for node in ast.walk(tree)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts | docstrings:
            yield node.value


def docstring_of(node: ast.AST) -> ast.expr | None:
    """The docstring that a node of the syntax tree begins with, which nobody prints."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
        first = node.body[0]
        return first.value if isinstance(first, ast.Expr) else None
    return None

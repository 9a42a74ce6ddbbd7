"""The shape of the house: how large its parts may be, and what tests may reach for."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

MAX_ENTRIES, MAX_MODULES, MAX_MODULE, MAX_FUNCTION = 16, 14, 350, 45  # the last two in lines
LONGER = {"sonyc_ml/features.py"}  # it travels in pickles, and runs alone


@cache
def parsed(path: Path) -> ast.Module:
    """What a module says; several tests look at each."""
    return ast.parse(path.read_text(), str(path))


def files_of(*folders: str) -> Iterator[tuple[str, Path, ast.Module]]:
    """Each module below some folders: its name in the check-out, its path, what it says."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path, parsed(path)


def imported(tree: ast.Module) -> set[str]:
    """Everything that a module imports, with the module that it comes from."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_no_module_imports_a_test_module() -> None:
    """What tests share lies in tests/support or conftest.py, so that a test can be moved or removed on its own."""
    modules = [(name, imported(tree)) for name, _, tree in files_of("scripts", "tests")]
    assert len(modules) > 100
    assert [
        f"{name}: {wanted}"
        for name, names in modules
        for wanted in names
        if wanted.startswith("tests.") and any(part.startswith("test_") for part in wanted.split("."))
    ] == []


def test_folders_are_small() -> None:
    """The package has few entries, and no folder of package or scripts more modules than can be looked over."""
    ignored = {"__pycache__", "__init__.py", "__main__.py", "py.typed"}
    assert len([path for path in (ROOT / "sonyc_ml").iterdir() if path.name not in ignored]) <= MAX_ENTRIES
    paths = [path for folder in ("sonyc_ml", "scripts") for path in (ROOT / folder).rglob("*.py")]
    modules = Counter(path.parent for path in paths if path.name != "__init__.py")
    assert {folder.as_posix(): n for folder, n in modules.items() if n > MAX_MODULES} == {}


def test_modules_and_functions_fit_on_a_screen_or_a_few() -> None:
    """No module of package or scripts is long, and no function, of tests neither, is longer than a screen."""
    long = {}
    for name, path, tree in files_of("sonyc_ml", "scripts", "tests"):
        n_lines = len(path.read_text().splitlines())
        if n_lines > MAX_MODULE and not name.startswith("tests/") and name not in LONGER:
            long[name] = n_lines
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if n_lines > MAX_FUNCTION:
                    long[f"{name}: {node.name}"] = n_lines
    assert long == {}


def test_modules_of_scripts_have_names_of_their_own() -> None:
    """What a traceback names is one module."""
    names = Counter(path.stem for path in (ROOT / "scripts").rglob("*.py") if path.stem != "__init__")
    assert [name for name, n in names.items() if n > 1] == []


def is_of_the_package(node: ast.expr, packaged: set[str]) -> bool:
    """Whether an attribute is asked of something that was imported from the package."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return isinstance(node, ast.Name) and node.id in packaged


def private_names(tree: ast.Module) -> set[str]:
    """Names with a leading underscore that a module takes from the package, by import or by attribute."""
    packaged, found = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sonyc_ml":
            packaged |= {alias.asname or alias.name for alias in node.names}
            found |= {alias.name for alias in node.names if alias.name.startswith("_") and alias.name[1] != "_"}
        elif isinstance(node, ast.Import):
            packaged |= {alias.asname or "sonyc_ml" for alias in node.names if alias.name.startswith("sonyc_ml")}
    own = {name for node in ast.walk(tree) for name in defined(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.endswith("__"):
            continue
        if node.attr not in own or is_of_the_package(node.value, packaged):
            found.add(node.attr)
    return found - {"_replace"}  # of a named tuple, which has it so that it is no field


def defined(node: ast.AST) -> Iterator[str]:
    """Names that a node gives to something of the module's own."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            yield node.attr
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id


def test_tests_use_no_private_name_of_the_package() -> None:
    """A test needs nothing that begins with an underscore, so that what lies behind it may change."""
    found = {name: private_names(tree) for name, _, tree in files_of("tests")}
    assert {name: names for name, names in found.items() if names} == {}

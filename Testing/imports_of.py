"""Reading imports out of source files, without importing them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
MODULE = REPOSITORY / "DiffPoseRegistration"
LIBRARY = MODULE / "DiffPoseRegistrationLib"


class Import(NamedTuple):
    """One imported module by its full name; ``at_file_scope`` where merely importing the file imports it."""

    name: str
    at_file_scope: bool
    line: int


def imports_of(file: Path, root: Path = MODULE) -> list[Import]:
    """Every import of a Python file below ``root``, relative ones resolved; those for type checkers are left out.

    ``from a import b`` counts as ``a.b``, whether b is a module or a name in it.
    """
    package = list(file.relative_to(root).with_suffix("").parts)[:-1]
    found: list[Import] = []
    _visit(ast.parse(file.read_text(encoding="utf-8"), str(file)).body, package, True, found)
    return found


def _visit(nodes: list[ast.stmt], package: list[str], file_scope: bool, found: list[Import]) -> None:
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [Import(alias.name, file_scope, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            found += [Import(f"{prefix}.{alias.name}", file_scope, node.lineno) for alias in node.names]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            _visit(node.orelse, package, file_scope, found)
        else:
            inner = file_scope and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for block in ("body", "orelse", "finalbody", "handlers", "cases"):
                _visit(getattr(node, block, []), package, inner, found)


def imported_with(file: Path, root: Path = MODULE) -> dict[str, list[str]]:
    """Every module that is imported when ``file`` is run through: those it names at any level and what those import
    at file scope, also by their packages. Values are the chain of module names that leads there.
    """
    seen: dict[str, list[str]] = {}
    start = ".".join(file.relative_to(root).with_suffix("").parts)
    waiting = [(found.name, [start]) for found in imports_of(file, root)]
    while waiting:
        name, chain = waiting.pop()
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            if module in seen:
                continue
            seen[module] = [*chain, module]
            path = root.joinpath(*parts[:end])
            source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            if source.is_file():
                waiting += [(inner.name, seen[module]) for inner in imports_of(source, root) if inner.at_file_scope]
    return seen

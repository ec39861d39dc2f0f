"""What would work on PySide6 but not under Slicer's PythonQt, found in the source."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "DiffPoseRegistration"
FILES = [MODULE / "DiffPoseRegistration.py", *sorted((MODULE / "DiffPoseRegistrationLib/app").rglob("*.py"))]
# What Slicer's own process may import: standard library, Slicer's and what comes with Slicer.
ALLOWED = {"slicer", "qt", "ctk", "vtk", "numpy", "SimpleITK", "DiffPoseRegistrationLib"}
AT_POINT_OF_USE = {"PyTorchUtils", "SampleData"}  # other modules of Slicer


def problems_in(source: str) -> list[str]:
    """Sentences with line numbers."""
    found = []
    tree = ast.parse(source)
    top_level = set(
        ast.walk(ast.Module([n for n in tree.body if not isinstance(n, ast.FunctionDef | ast.ClassDef)], []))
    )
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Call) else ""
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Attribute):
            if text in ("qt.Signal", "qt.Slot", "qt.Property"):
                found.append(f"{line}: {text} does not exist under PythonQt")
            parts = text.split(".")
            if parts[0] == "qt" and len(parts) > 3:
                found.append(f"{line}: {text} is a scoped enumeration, which PythonQt does not know")
            if parts[-1] == "exec" and len(parts) > 1:
                found.append(f"{line}: PythonQt calls it exec_")
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("isinstance", "issubclass") and any("qt." in ast.unparse(a) for a in node.args[1:]):
                found.append(f"{line}: classes of PythonQt do not inherit from each other in Python")
            if name == "_" and not (len(node.args) == 1 and isinstance(node.args[0], ast.Constant)):
                found.append(f"{line}: a text to translate must be a plain string")
            if name.startswith("qt.Q") and node.keywords:
                found.append(f"{line}: PythonQt takes no keyword arguments")
            if name.endswith(".connect") and len(node.args) > 1 and "(" not in ast.unparse(node.args[0]):
                found.append(f"{line}: connect without the signal's types")
        if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            for name in (n.split(".")[0] for n in names):
                fine = name in ALLOWED or name in sys.stdlib_module_names
                if not fine and (name not in AT_POINT_OF_USE or node in top_level):
                    found.append(f"{line}: {name} is not to be imported in Slicer's process")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_source_keeps_to_pythonqt(path):
    assert problems_in(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "qt.Signal()",
        "qt.Qt.AlignmentFlag.AlignLeft",
        "dialog.exec()",
        "isinstance(w, qt.QWidget)",
        "_(f'{name} is wrong')",
        "qt.QLabel(text='x')",
        "b.connect('clicked', f)",
        "import torch",
        "def f():\n    from PIL import Image",
        "import PyTorchUtils",
    ],
)
def test_each_rule_is_noticed(line):
    assert problems_in(line)

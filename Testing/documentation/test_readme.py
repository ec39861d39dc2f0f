"""The README's own promises: labels that the panel has, code that runs, pictures that a command draws."""

import ast
import re
import xml.etree.ElementTree as ElementTree

import _overlay_run
import pages
from PIL import Image

README = (pages.REPOSITORY / "README.md").read_text(encoding="utf-8")
MODULE = pages.REPOSITORY / "DiffPoseRegistration"


def _section(heading: str) -> str:
    return re.search(rf"^## {heading}\n(.*?)(?=^## )", README, re.MULTILINE | re.DOTALL)[1]


def _texts_of_the_panel() -> set[str]:
    """Every text of the .ui file and every string in the module's own sources, without a colon at the end."""
    tree = ElementTree.parse(MODULE / "Resources" / "UI" / "DiffPoseRegistration.ui")
    texts = {element.text for element in tree.iter("string") if element.text}
    for file in [*(pages.LIBRARY / "app").rglob("*.py"), MODULE / "DiffPoseRegistration.py"]:
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        texts |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text.removesuffix(":") for text in texts}


def test_labels_in_bold_are_in_the_panel():
    named = {
        label
        for name in ("Set-up", "Tutorial", "Troubleshooting")
        for label in re.findall(r"\*\*(.+?)\*\*", _section(name))
    }
    assert len(named) > 15
    assert named <= _texts_of_the_panel(), sorted(named - _texts_of_the_panel())


def test_every_picture_is_drawn_by_a_command():
    drawn = {
        f"Resources/screenshots/{name}.png"
        for name in re.findall(r'"([a-z0-9-]+)"', (pages.REPOSITORY / "scripts/_screenshots_run.py").read_text("utf-8"))
    }
    for script, name in (("_figure_run", "how-it-works.png"), ("_overlay_run", "demo-overlay.png")):
        assert f'"{name}"' in (pages.REPOSITORY / f"scripts/{script}.py").read_text("utf-8")
        drawn.add(f"Resources/{name}")
    shown = {target for target in pages.links(README) if target.endswith(".png")}
    assert shown <= drawn and len(shown) >= 7
    for name in shown:
        with Image.open(pages.REPOSITORY / name) as picture:
            assert picture.width >= 600
    screenshots = {
        f"Resources/screenshots/{path.name}" for path in (pages.REPOSITORY / "Resources/screenshots").iterdir()
    }
    assert screenshots <= drawn, "no command draws them any more"


def test_the_console_example_calls_what_there_is():
    (block,) = re.findall(r"^```python\n(.*?)^```", _section("In Slicer's Python console"), re.MULTILINE | re.DOTALL)
    methods = {}
    for file in (pages.LIBRARY / "app").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                methods |= {item.name: item.args for item in node.body if isinstance(item, ast.FunctionDef)}
    called = 0
    for node in ast.walk(ast.parse(block)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and ast.unparse(node.func.value) == "logic"
        ):
            arguments = methods[node.func.attr]
            known = {argument.arg for argument in [*arguments.args, *arguments.kwonlyargs]}
            assert {keyword.arg for keyword in node.keywords} <= known, ast.unparse(node)
            called += 1
        if isinstance(node, ast.ImportFrom):
            assert all(pages.exists_in_library(f"{node.module}.{a.name}".partition(".")[2]) for a in node.names)
    assert called == 3


def test_the_overlay_of_a_demonstration_becomes_the_readmes(tmp_path, capsys):
    Image.new("RGB", (1600, 1160), (9, 9, 9)).save(tmp_path / "overlay.png")
    assert _overlay_run.keep(tmp_path / "overlay.png", tmp_path / "picture.png") == 0
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (1000, 725)
    assert _overlay_run.main([str(tmp_path / "nothing")]) == 2 and "scripts/demo" in capsys.readouterr().err
    assert _overlay_run.main(["--out", "x"]) == 2

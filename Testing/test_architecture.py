"""The laws that keep the rooms apart, read out of the source files.

A room is a package of DiffPoseRegistrationLib; their order from the ground up is that of the library's docstring.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import _requirements
import DiffPoseRegistrationLib
import pytest
from imports_of import LIBRARY, MODULE, Import, imported_with, imports_of

ROOMS = re.findall(r"^``(\w+)``", DiffPoseRegistrationLib.__doc__, re.MULTILINE)
SLICER_ONLY = {"slicer", "qt", "ctk", "PythonQt", "vtk", "vtkmodules"}
HEAVY = {"torch", "numba", "llvmlite", "safetensors", "cma"}
# The import name where it is not the package's own.
IMPORT_NAMES = {"Pillow": "PIL", "typing-extensions": "typing_extensions"}


def _files(room: str) -> list[Path]:
    return sorted((LIBRARY / room).rglob("*.py"))


def _place(file: Path, found: Import) -> str:
    return f"{file.relative_to(MODULE)}:{found.line} imports {found.name}"


def _top(name: str) -> str:
    return name.partition(".")[0]


def _room_of(name: str) -> str | None:
    """The room that a module belongs to; None for the library's own root (version, errors) and foreign modules."""
    parts = name.split(".")
    return parts[1] if parts[0] == LIBRARY.name and len(parts) > 1 and parts[1] in ROOMS else None


def upward_imports(file: Path, room: str, root: Path = MODULE) -> list[Import]:
    """Imports of a room above the file's own."""
    above = set(ROOMS[ROOMS.index(room) + 1 :])
    return [found for found in imports_of(file, root) if _room_of(found.name) in above]


def test_the_docstring_names_every_room():
    on_disk = {path.name for path in LIBRARY.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert on_disk <= set(ROOMS), f"not in the order of rooms in {LIBRARY.name}/__init__.py: {on_disk - set(ROOMS)}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_uses_only_rooms_below_it(room):
    wrong = [_place(file, found) for file in _files(room) for found in upward_imports(file, room)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "app"])
def test_below_the_application_nothing_knows_slicer(room):
    every = [(file, found) for file in _files(room) for found in imports_of(file)]
    wrong = [_place(file, found) for file, found in every if _top(found.name) in SLICER_ONLY]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "app"])
def test_below_the_application_only_pinned_packages_are_imported(room):
    pinned = {IMPORT_NAMES.get(package, package).lower() for package in _requirements.pins("runtime")}
    # What only a data set needs may be missing, so it is imported when the data set is opened.
    optional = set(_requirements.pins("datasets")) if room == "datasets" else set()
    wrong = []
    for file in _files(room):
        for found in imports_of(file):
            top = _top(found.name)
            is_known = top in sys.stdlib_module_names or top == LIBRARY.name or top.lower() in pinned
            if not (is_known or (top in optional and not found.at_file_scope)):
                wrong.append(_place(file, found))
    assert not wrong, "not in requirements/runtime.txt:\n" + "\n".join(wrong)


def _application_files() -> list[Path]:
    return [*_files("app"), MODULE / "DiffPoseRegistration.py"]


@pytest.mark.parametrize("file", _application_files(), ids=lambda file: file.name)
def test_nothing_heavy_is_imported_in_slicers_process(file):
    direct = [_place(file, found) for found in imports_of(file) if _top(found.name) in {*HEAVY, "pydicom"}]
    assert not direct, "\n".join(direct)
    reached = [" -> ".join(chain) for name, chain in imported_with(file).items() if name in HEAVY]
    assert not reached, "\n".join(reached)


def test_the_module_file_loads_with_what_slicer_brings():
    allowed = {"slicer", "vtk", "qt", "ctk", "numpy", "SimpleITK", LIBRARY.name, *sys.stdlib_module_names}
    file = MODULE / "DiffPoseRegistration.py"
    loaded = [found for found in imports_of(file) if found.at_file_scope]
    wrong = [_place(file, found) for found in loaded if _top(found.name) not in allowed]
    assert not wrong, "\n".join(wrong)


def test_jobs_load_with_the_standard_library_alone():
    wrong = []
    for file in _files("jobs"):
        for found in imports_of(file):
            foreign = _top(found.name) not in {*sys.stdlib_module_names, LIBRARY.name}
            if found.at_file_scope and (foreign or _room_of(found.name) not in {None, "jobs"}):
                wrong.append(_place(file, found))
    assert not wrong, "\n".join(wrong)


def test_the_checks_see_what_they_look_for(tmp_path):
    folder = tmp_path / LIBRARY.name
    for room, text in {
        "geometry": "from ..imaging import values\nfrom .. import rendering\n",
        "imaging": "if True:\n    import torch\n",
        "app": "def later():\n    from ..imaging.values import CTVolume\n",
    }.items():
        (folder / room).mkdir(parents=True)
        (folder / room / "__init__.py").write_text("", encoding="utf-8")
        (folder / room / "values.py").write_text(text, encoding="utf-8")
    upward = upward_imports(folder / "geometry/values.py", "geometry", tmp_path)
    assert [_room_of(found.name) for found in upward] == ["imaging", "rendering"]
    assert imported_with(folder / "app/values.py", tmp_path)["torch"] == [
        f"{LIBRARY.name}.app.values",
        f"{LIBRARY.name}.imaging.values",
        "torch",
    ]
    later = imports_of(folder / "app/values.py", tmp_path)
    assert [found.at_file_scope for found in later] == [False]

"""A trial of the installed extension, minutes long: a model is trained for real and finds the pose by itself."""

import pytest
from installing import cmake_program, install
from strangers_computer import session, tre_mm

pytestmark = pytest.mark.slow


def test_the_installed_extension_prepares_and_registers(tmp_path):
    for needed in ("slicer", "PySide6"):
        pytest.importorskip(needed, reason="Slicer's stand-in needs the slicer-core wheel and PySide6-Essentials")
    program = cmake_program()
    if program is None:
        pytest.skip("cmake is not here; pip install cmake, or run scripts/test")
    installation = install(program, tmp_path / "program")
    for name, variables in {
        "an empty home": {},
        "no home, and a locale without Unicode": {"HOME": str(tmp_path / "nowhere"), "LC_ALL": "C"},
        "a home set to nothing": {"HOME": ""},
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        found = session(installation, folder, steps=500, **variables)
        assert found["prepared"] == ["finished", ""]
        assert found["from model"]["verdict"] == "accept"
        assert tre_mm(found, "from model") < 2 and tre_mm(found, "from pose") < 2

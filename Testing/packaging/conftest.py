"""The extension as CMake installs it, against a stand-in of Slicer's package."""

import pytest
from installing import Installation, cmake_program, install


@pytest.fixture(scope="session")
def cmake() -> str:
    """The program; ``scripts/test`` brings it along, so that only other ways of starting pytest skip."""
    program = cmake_program()
    if program is None:
        pytest.skip("cmake is not here; pip install cmake, or run scripts/test")
    return program


@pytest.fixture(scope="session")
def installation(cmake, tmp_path_factory) -> Installation:
    """The installed tree, alone in a folder with blanks and letters beyond ASCII."""
    return install(cmake, tmp_path_factory.mktemp("Slicer für Ärzte 骨盤"))

"""CMake's configuration and installation of the extension, as Slicer's factory would run them."""

import re
import shutil
import subprocess
from pathlib import Path

import _requirements
from installing import REPOSITORY, configure
from PIL import Image

MODULE = REPOSITORY / "DiffPoseRegistration"
RAW = "https://raw.githubusercontent.com/DiffPose/SlicerDiffPose/main/"


def _tree() -> set[str]:
    """Every file of the module's folder that is not CMake's own or left behind by Python."""
    files = (path for path in MODULE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(MODULE).as_posix() for path in files} - {"CMakeLists.txt"}


def _copy_of_sources(folder: Path) -> Path:
    shutil.copytree(MODULE, folder / MODULE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("CMakeLists.txt", "LICENSE", "README.md"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


def test_exactly_the_modules_files_are_installed(installation):
    assert installation.files() == _tree()
    others = {path.name for path in installation.prefix.rglob("*") if path.is_file()}
    assert others - {Path(name).name for name in _tree()} == {"DiffPose.s4ext"}
    for name in ("DiffPoseRegistration.py", "Resources/Icons/DiffPoseRegistration.png"):
        assert (installation.modules / name).read_bytes() == (MODULE / name).read_bytes()


def test_a_listed_file_that_does_not_exist_stops_the_configuration(cmake, tmp_path):
    source = _copy_of_sources(tmp_path)
    assert configure(cmake, tmp_path / "build", source=source).returncode == 0
    (source / MODULE.name / "DiffPoseRegistrationLib/errors.py").unlink()
    done = configure(cmake, tmp_path / "build", source=source)
    assert done.returncode != 0 and 'no "DiffPoseRegistrationLib/errors.py"' in " ".join(done.stdout.split())


def test_tests_are_added_behind_build_testing(cmake, tmp_path):
    def tests(name: str, *options: str) -> list[str]:
        assert configure(cmake, tmp_path / name, *options).returncode == 0
        file = tmp_path / name / MODULE.name / "CTestTestfile.cmake"
        return re.findall(r"add_test\(\[*=*\[*\"?(\w+)", file.read_text(encoding="utf-8")) if file.exists() else []

    expected = ["py_nomainwindow_qSlicerDiffPoseRegistrationModuleGenericTest", "py_DiffPoseRegistration"]
    assert tests("with") == expected
    assert tests("without", "-DBUILD_TESTING=OFF") == []


def test_the_catalogue_knows_the_whole_of_every_value(installation):
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    # Slicer's extension index reads these with a regular expression: one line each, in double quotes.
    written = dict(re.findall(r'^set\(EXTENSION_([A-Z]+) "([^"\n]+)"\)$', text, flags=re.MULTILINE))
    assert installation.description == {key.lower(): value for key, value in written.items()}
    assert {"homepage", "contributors", "description", "iconurl", "screenshoturls", "depends", "keywords"} == set(
        installation.description
    )
    assert installation.description["depends"] == "PyTorch"


def test_pictures_named_to_the_catalogue_are_in_the_repository(installation):
    icon = installation.description["iconurl"]
    screenshots = installation.description["screenshoturls"].split()
    for url in (icon, *screenshots):
        assert url.startswith(RAW)
        with Image.open(REPOSITORY / url.removeprefix(RAW)) as picture:
            assert picture.format == "PNG"
            assert (picture.size == (128, 128)) == (url == icon)
    assert len(screenshots) == len(set(screenshots)) >= 1


def test_the_templates_order_is_kept():
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.search(r"^project\(DiffPose\)$", text, flags=re.MULTILINE)
    order = ["cmake_minimum_required(", "project(", "EXTENSION_HOMEPAGE", "find_package(Slicer", "Slicer_USE_FILE"]
    order += ["add_subdirectory(", "NEXT_MODULE", "Slicer_EXTENSION_GENERATE_CONFIG", "Slicer_EXTENSION_CPACK"]
    assert [text.index(word) for word in order] == sorted(text.index(word) for word in order)


def test_scripts_test_brings_cmake_along(cmake):
    assert "cmake" in _requirements.pins("test")
    version = subprocess.run([cmake, "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    asked = re.search(r"VERSION ([0-9.]+)\.\.\.", (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8"))[1]
    assert tuple(map(int, version.split(".")[:2])) >= tuple(map(int, asked.split(".")[:2]))

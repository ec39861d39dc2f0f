"""The version stands in one place, and the changelog begins with it."""

import re

import pages
from DiffPoseRegistrationLib import __version__


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    pyproject = (pages.REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in pyproject and not re.search(r"^version\s*=", pyproject, re.MULTILINE)
    cmake = (pages.REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    assert __version__ not in cmake
    defined = [
        file
        for file in pages.LIBRARY.rglob("*.py")
        if re.search(r"^__version__\s*=", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert defined == [pages.LIBRARY / "__init__.py"]


def test_the_changelog_begins_with_the_version():
    text = (pages.REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\d+\.\d+\.\d+) - (?:\d{4}-\d\d-\d\d|not released yet)$", text, re.MULTILINE)
    assert versions[0] == __version__ and len(versions) == len(re.findall(r"^## ", text, re.MULTILINE))

"""The entry for Slicer's index of extensions, by the rules of its published schema and of the index's own check.

The rules are those of Slicer/Slicer ``Schemas/slicer-extension-catalog-entry-schema-v1.0.1.json`` and of
Slicer/ExtensionsIndex ``scripts/check_description_files.py`` (August 2026).
"""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from installing import REPOSITORY

ENTRY = REPOSITORY / "Resources" / "DiffPose.json"
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.1.json"
)
TYPES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
REQUIRED = {"$schema", "category", "scm_url"}
MOST_MEGABYTES = 100


def problems(name: str, content: bytes) -> list[str]:
    """What the index would refuse in the entry of the extension ``name``."""
    found = []
    if b"\r" in content:
        found.append("line ends")
    try:
        entry = json.loads(content)
    except ValueError:
        return [*found, "no JSON"]
    found += [f"{key} is missing" for key in sorted(REQUIRED - set(entry))]
    found += [f"{key} is not known" for key in sorted(set(entry) - set(TYPES))]
    # A bool is an int to Python, not to JSON's schema.
    found += [key for key in set(entry) & set(TYPES) if type(entry[key]) is not TYPES[key]]
    if not all(isinstance(dependency, str) for dependency in entry.get("build_dependencies", [])):
        found.append("build_dependencies")
    if entry.get("tier", 1) not in range(1, 6):
        found.append("tier")
    if entry.get("scm_type", "git") not in ("git", "local"):
        found.append("scm_type")
    if entry.get("$schema", "").partition("#")[0] != SCHEMA:
        found.append("$schema")
    url = urlsplit(entry.get("scm_url", ""))
    if url.scheme not in ("git", "https"):
        found.append("scm_url")
    if not Path(url.path).stem.startswith("Slicer"):
        found.append("the repository's name")
    if name.lower().startswith("slicer"):
        found.append("the extension's name")
    return found


def test_the_entry_is_valid():
    assert problems(ENTRY.stem, ENTRY.read_bytes()) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"tier": 6}, "tier"),
        ({"tier": True}, "tier"),
        ({"build_dependencies": "PyTorch"}, "build_dependencies"),
        ({"build_dependencies": [1]}, "build_dependencies"),
        ({"contributors": "us"}, "contributors is not known"),
        ({"scm_url": "http://example.org/SlicerDiffPose"}, "scm_url"),
        ({"scm_url": "https://example.org/DiffPose.git"}, "the repository's name"),
        ({"category": None}, "category"),
        ({"$schema": ""}, "$schema"),
    ],
)
def test_an_entry_that_the_index_refuses_is_refused(change, problem):
    entry = {**json.loads(ENTRY.read_bytes()), **change}
    assert problem in problems("DiffPose", json.dumps(entry).encode())
    assert problems("SlicerDiffPose", ENTRY.read_bytes().replace(b"\n", b"\r\n")) == [
        "line ends",
        "the extension's name",
    ]


def test_entry_and_cmake_agree():
    entry = json.loads(ENTRY.read_bytes())
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    said = dict(re.findall(r'^set\(EXTENSION_([A-Z]+) "([^"\n]+)"\)$', text, flags=re.MULTILINE))
    assert re.search(r"^project\((\w+)", text, flags=re.MULTILINE)[1] == ENTRY.stem
    assert said["DEPENDS"].split() == entry["build_dependencies"]
    assert said["HOMEPAGE"] == entry["scm_url"].removesuffix(".git")
    assert f'translate("qSlicerAbstractCoreModule", "{entry["category"]}")' in (
        REPOSITORY / "DiffPoseRegistration/DiffPoseRegistration.py"
    ).read_text(encoding="utf-8")


def test_what_the_index_looks_for_in_the_repository():
    licence = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith("MIT License") and "MIT" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
    folders = ("DiffPoseRegistration", "Resources", "Testing", "scripts")
    size = sum(path.stat().st_size for folder in folders for path in (REPOSITORY / folder).rglob("*") if path.is_file())
    assert size < MOST_MEGABYTES * 2**20

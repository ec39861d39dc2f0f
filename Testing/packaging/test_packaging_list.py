"""The list of installed files in CMake is the tree: a forgotten file would be missing for every user."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _script(name: str):
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "scripts" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def test_every_shipped_file_is_listed_for_installation():
    script = _script("list_packaged_files")
    text = (ROOT / "DiffPoseRegistration/CMakeLists.txt").read_text(encoding="utf-8")
    assert text == script.with_lists(text, *script.packaged_files()), (
        "DiffPoseRegistration/CMakeLists.txt does not list the tree's files; run python scripts/list_packaged_files"
    )


def test_a_forgotten_file_is_noticed():
    script = _script("list_packaged_files")
    text = (ROOT / "DiffPoseRegistration/CMakeLists.txt").read_text(encoding="utf-8")
    forgotten = text.replace("  DiffPoseRegistrationLib/errors.py\n", "")
    assert forgotten != text
    assert forgotten != script.with_lists(forgotten, *script.packaged_files())


def test_requirements_have_lower_bounds_only():
    lines = (ROOT / "DiffPoseRegistration/Resources/requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert wanted
    for line in wanted:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+>=[0-9.]+", line), line
        assert not line.lower().startswith("torch")

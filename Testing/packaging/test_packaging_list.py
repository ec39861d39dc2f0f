"""The list of installed files in CMake is the tree: a forgotten file would be missing for every user."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
from pathlib import Path

import _requirements

ROOT = Path(__file__).resolve().parents[2]
BROUGHT_BY_SLICER = {"numpy", "scipy", "SimpleITK", "torch"}  # the last by the PyTorch extension
# A method for comparison; and DICOM's compressions, which Slicer itself reads before the worker sees the X-ray.
HEADLESS_ONLY = {"cma", "pylibjpeg", "pylibjpeg-openjpeg"}


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


def _lowest() -> dict[str, str]:
    """Lower bounds by package, of what the module installs into Slicer."""
    lines = (ROOT / "DiffPoseRegistration/Resources/requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+>=[0-9.]+", line) for line in wanted), wanted
    return dict(line.split(">=") for line in wanted)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_requirements_have_lower_bounds_that_the_pins_meet():
    pins = _requirements.pins("runtime")
    for package, lowest in _lowest().items():
        assert _numbers(pins[package]) >= _numbers(lowest), package


def test_every_package_that_is_pinned_is_had_in_slicer_too():
    own = _requirements.requirement_file("runtime").read_text(encoding="utf-8").partition("bring along")[0]
    named = {line.partition("==")[0] for line in own.splitlines() if "==" in line and not line.startswith("#")}
    assert named - set(_lowest()) - BROUGHT_BY_SLICER == HEADLESS_ONLY

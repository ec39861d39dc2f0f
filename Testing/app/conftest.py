"""Slicer's stand-in for the tests of the panel and the scene."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

for _needed in ("slicer", "PySide6"):
    pytest.importorskip(_needed, reason="the panel's tests need the slicer-core wheel and PySide6-Essentials")

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING), str(TESTING / "app")]
MODULE_FILE = TESTING.parent / "DiffPoseRegistration" / "DiffPoseRegistration.py"


class _Faults(logging.Handler):
    """Keeps what is logged as an error: listeners and callbacks log their faults instead of raising them."""

    def __init__(self, level):
        super().__init__(level)
        self.setFormatter(logging.Formatter())
        self.texts = []

    def emit(self, record):
        self.texts.append(self.format(record))


@pytest.fixture(scope="session")
def slicer_application(tmp_path_factory):
    """``slicer.app`` of the stand-in, installed once."""
    import doubles

    application = doubles.install(str(tmp_path_factory.mktemp("settings")))
    import slicer

    # Their nodes are known to a scene only once they have seen it; sequences are followed by theirs.
    _module_logics.extend([slicer.vtkSlicerSegmentationsModuleLogic(), slicer.vtkSlicerSequencesLogic()])
    return application


_module_logics = []


@pytest.fixture()
def slicer_app(slicer_application, tmp_path):
    """A fresh scene and no leftovers; an exception in a slot, or one that was only logged, fails the test."""
    import slicer
    from doubles import pythonqt

    pythonqt.slot_errors.clear()
    faults = _Faults(logging.ERROR)
    logging.getLogger("DiffPoseRegistrationLib").addHandler(faults)
    slicer_application.messages.clear()
    slicer_application.answers.clear()
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene = scene
    slicer_application.applicationLogic().SetMRMLScene(scene)
    slicer_application.applicationLogic().GetColorLogic().SetMRMLScene(scene)
    slicer_application.applicationLogic().GetColorLogic().AddDefaultColorNodes()
    for logic in _module_logics:
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(slicer_application.applicationLogic())
    remote = slicer.vtkMRMLRemoteIOLogic()  # MRB files are unpacked into its cache
    remote.SetMRMLScene(scene)
    remote.AddDataIOToScene()
    remote.GetCacheManager().SetRemoteCacheDirectory(str(tmp_path / "cache"))
    yield slicer_application
    slicer_application.processEvents()
    logging.getLogger("DiffPoseRegistrationLib").removeHandler(faults)
    assert not faults.texts, "a fault was logged:\n" + "\n".join(faults.texts)
    assert not pythonqt.slot_errors, "an exception in a slot:\n" + "\n".join(pythonqt.slot_errors)


@pytest.fixture()
def module(slicer_app):
    """The module's file, discovered as Slicer does at start."""
    from doubles.scripted_module import discover

    return discover(MODULE_FILE)


@pytest.fixture()
def panel(module):
    """The module's widget, shown."""
    import slicer
    from doubles.scripted_module import show_module

    widget = show_module(module)
    yield widget
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(widget.moduleName)
    widget.parent.deleteLater()
    slicer.app.processEvents()

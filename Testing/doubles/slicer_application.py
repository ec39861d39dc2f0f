"""``slicer.app``, ``slicer.modules`` and what hangs on them, without a main window."""

from __future__ import annotations

import logging
import tempfile
import types
from pathlib import Path

import qt
import slicer
import slicer.util
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from .pythonqt import cpp_class, tuples


def install():
    """Make ``slicer.app`` and the rest of the application's objects; returns the application."""
    application = ApplicationDouble()
    slicer.app = application
    slicer.modules = types.SimpleNamespace(plots=_LoadableModule(slicer.vtkSlicerPlotsLogic))
    slicer.moduleNames = types.SimpleNamespace()
    slicer.selfTests = {}
    slicer.qSlicerScriptedLoadableModule = ScriptedModuleDouble
    for name, answer in (
        ("errorDisplay", None),
        ("warningDisplay", None),
        ("infoDisplay", None),
        ("confirmOkCancelDisplay", True),
        ("confirmYesNoDisplay", True),
    ):
        setattr(slicer.util, name, _recorder(application, name, answer))
    return application


class _LoadableModule:
    """A module of Slicer of which only the real logic is used, on the scene of the moment."""

    def __init__(self, logic_class):
        self._logic = logic_class()

    def logic(self):
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        return self._logic


def _recorder(application: ApplicationDouble, kind: str, answer):
    def display(text, windowTitle=None, parent=None, standardButtons=None, **keywords):
        if not isinstance(text, str):
            raise TypeError(f"{kind} takes a text, not {text!r}")
        logging.getLogger("slicer").info("%s: %s", kind, text)
        application.__dict__["messages"].append((kind, text))
        return (
            application.__dict__["answers"].pop(0) if application.__dict__["answers"] and answer is not None else answer
        )

    return display


@cpp_class
class ModuleManagerDouble(qt.QObject):
    moduleAboutToBeUnloaded = Signal(str)
    cpp_signals = (("moduleAboutToBeUnloaded(QString)", "moduleAboutToBeUnloaded", None),)


@cpp_class
class ApplicationDouble(qt.QObject):
    """``slicer.app``. Tests read ``messages`` (kind, text) and may fill ``answers`` to questions."""

    startupCompleted = Signal()
    aboutToQuit = Signal()
    cpp_signals = (
        ("startupCompleted()", "startupCompleted", None),
        ("aboutToQuit()", "aboutToQuit", None),
    )

    def __init__(self):
        super().__init__()
        logic = slicer.vtkSlicerApplicationLogic()
        self.__dict__.update(
            messages=[],
            answers=[],
            _module_manager=ModuleManagerDouble(),
            _application_logic=logic,
            _layout_manager=None,
            _temporary=tempfile.mkdtemp(prefix="slicer-double-"),
        )

    def moduleManager(self):
        return self._module_manager

    def applicationLogic(self):
        return self._application_logic

    def layoutManager(self):
        return self._layout_manager

    def testingEnabled(self):
        return False

    def processEvents(self):
        QtWidgets.QApplication.processEvents()

    def topLevelWidgets(self):
        return tuples([w for w in QtWidgets.QApplication.topLevelWidgets() if w.objectName == "qSlicerMainWindow"])

    def settings(self):
        return qt.QSettings()

    def userSettings(self):
        return qt.QSettings()

    def setOverrideCursor(self, cursor):
        QtWidgets.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self):
        QtWidgets.QApplication.restoreOverrideCursor()

    def translate(self, context, text):
        return text

    def pauseRender(self):
        pass

    def resumeRender(self):
        pass

    temporaryPath = Property(str, lambda self: self._temporary)
    applicationName = Property(str, lambda self: "Slicer")
    applicationVersion = Property(str, lambda self: "5.13.0")
    majorVersion = Property(int, lambda self: 5)
    minorVersion = Property(int, lambda self: 13)
    slicerHome = Property(str, lambda self: self._temporary)


@cpp_class
class ScriptedModuleDouble(qt.QObject):
    """The C++ side of a scripted module: what ``self.parent`` is in the module class."""

    def __init__(self, path: Path):
        super().__init__()
        self.__dict__.update(
            path=str(path),
            title="",
            categories=[],
            dependencies=[],
            contributors=[],
            helpText="",
            acknowledgementText="",
            icon=None,
            _widget=None,
        )

    def widgetRepresentation(self):
        return self._widget

    def __setattr__(self, name, value):
        if name not in self.__dict__:
            raise AttributeError(f"'{name}' does not exist on qSlicerScriptedLoadableModule")
        self.__dict__[name] = value

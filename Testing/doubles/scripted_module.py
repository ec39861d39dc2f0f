"""``slicer.ScriptedLoadableModule``, ``slicer.i18n`` and ``slicer.packaging``: their contract, not their code."""

from __future__ import annotations

import importlib
import sys
import types
import unittest
from pathlib import Path

import qt
import slicer
import slicer.util

from .slicer_application import ScriptedModuleDouble


def install() -> None:
    """Put the modules below ``slicer`` into ``sys.modules``."""
    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for cls in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(scripted, cls.__name__, cls)
    scripted.__all__ = [n for n in vars(scripted) if n.startswith("Scripted")]
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr, i18n.translate = tr, translate
    for module in (scripted, i18n):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.split(".")[1], module)


def tr(text: str) -> str:
    """The text itself, as in an untranslated Slicer."""
    if not isinstance(text, str):
        raise TypeError(f"tr takes a text, not {text!r}")
    return text


def translate(context: str, text: str) -> str:
    """The text itself."""
    return tr(text)


class ScriptedLoadableModule:
    def __init__(self, parent):
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        icon = Path(self.resourcePath(f"Icons/{self.moduleName}.png"))
        if icon.is_file():
            parent.icon = qt.QIcon(str(icon))

    def resourcePath(self, filename):
        return str(Path(self.parent.path).parent / "Resources" / filename)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename):
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self):
        pass

    def cleanup(self):
        pass

    def _onModuleAboutToBeUnloaded(self, moduleName):
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def onReload(self):
        # In Slicer's order: the file is run anew first, the old widget is cleaned up after that.
        name, parent = self.moduleName, self.parent
        module = load_module_file(Path(slicer.util.modulePath(name)))
        for child in parent.children():
            if child.isWidgetType():
                child.hide()
        self.cleanup()
        slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)
        layout = parent.layout()
        while layout.count():
            layout.removeItem(layout.itemAt(0))
        show_module(module, parent)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        super().__init__()  # as Slicer's own: whatever comes next among a class's bases is called without arguments
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def delayDisplay(self, message, requestedDelay=None, msec=None):
        slicer.app.processEvents()

    def runTest(self):
        for name in [n for n in dir(self) if n.startswith("test")]:
            self.setUp()
            getattr(self, name)()
            self.tearDown()


def load_module_file(path: Path) -> types.ModuleType:
    """Run a scripted module's file as Slicer does at start."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return module


def discover(path: Path) -> types.ModuleType:
    """Load the scripted module at ``path`` and register it with ``slicer.modules``."""
    module = load_module_file(path)
    cpp_side = ScriptedModuleDouble(path)
    setattr(slicer.modules, path.stem.lower(), cpp_side)
    # Slicer keeps the module's Python object as long as the application lives.
    module_objects[path.stem] = getattr(module, path.stem)(cpp_side)
    return module


module_objects: dict[str, ScriptedLoadableModule] = {}


def show_module(module: types.ModuleType, parent=None):
    """Make the module's widget, as Slicer does when it is first shown; returns the Python widget."""
    name = module.__name__
    if parent is None:
        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
    widget = getattr(module, name + "Widget")(parent)
    setattr(slicer.modules, name + "Widget", widget)
    getattr(slicer.modules, name.lower())._widget = parent
    widget.setup()
    return widget

"""Slicer's own widgets that the panel uses, over a real MRML scene."""

from __future__ import annotations

import weakref

import qt
import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal
from shiboken6 import isValid

from .pythonqt import cpp_class

_SCENE_SIGNAL = (("mrmlSceneChanged(vtkMRMLScene*)", "mrmlSceneChanged", None),)


def install() -> None:
    """Add the widgets to the module ``slicer``."""
    for cls in (qMRMLWidget, qMRMLNodeComboBox):
        setattr(slicer, cls.__name__, cls)
    for name in ("qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLRangeWidget", "qSlicerSimpleMarkupsWidget"):
        setattr(slicer, name, type(name, (), {}))


@cpp_class
class qMRMLWidget(qt.QWidget):
    """A widget that hands the scene to its children, through the connections of the .ui file."""

    mrmlSceneChanged = Signal(object)
    cpp_signals = _SCENE_SIGNAL

    def __init__(self, parent=None):
        super().__init__(*([parent] if parent is not None else []))
        self.__dict__["_scene"] = None

    def setMRMLScene(self, scene):
        self.__dict__["_scene"] = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene


def _flag(default: bool) -> Property:
    name = f"_flag_{_flag.count}"
    _flag.count += 1
    return Property(
        bool,
        lambda self: self.__dict__.get(name, default),
        lambda self, value: self.__dict__.update({name: bool(value)}),
    )


_flag.count = 0


def _on_scene(combo_box) -> None:
    if combo_box is not None and isValid(combo_box) and not combo_box.mrmlScene().IsClosing():
        combo_box._refresh()


@cpp_class
class qMRMLNodeComboBox(qt.QWidget):
    """Offers the scene's nodes of some types; follows nodes that come and go, as the real one does."""

    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    nodeAdded = Signal(object)
    cpp_signals = (
        ("currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged", object),
        ("currentNodeChanged(bool)", "currentNodeChanged", bool),
        ("currentNodeIDChanged(QString)", "currentNodeIDChanged", None),
        ("nodeAddedByUser(vtkMRMLNode*)", "nodeAddedByUser", None),
        ("nodeAdded(vtkMRMLNode*)", "nodeAdded", None),
    )

    showHidden = _flag(False)
    showChildNodeTypes = _flag(True)
    addEnabled = _flag(True)
    removeEnabled = _flag(True)
    editEnabled = _flag(False)
    renameEnabled = _flag(False)
    selectNodeUponCreation = _flag(True)

    def __init__(self, parent=None):
        super().__init__(*([parent] if parent is not None else []))
        box = QtWidgets.QComboBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(box)
        self.__dict__.update(
            _box=box,
            _scene=None,
            _types=[],
            _node=None,
            _none=False,
            _none_text="None",
            _base="",
            _tags=[],
            _attributes=[],
        )
        this = weakref.ref(self)
        box.activated.connect(lambda index: this()._on_activated(index))

    # -- scene ---------------------------------------------------------------------------------------

    def setMRMLScene(self, scene):
        for caller, tag in self._tags:
            caller.RemoveObserver(tag)
        self.__dict__.update(_scene=scene, _tags=[])
        if scene is not None:
            this = weakref.ref(self)
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent):
                self._tags.append((scene, scene.AddObserver(event, lambda *_: _on_scene(this()))))
        self._refresh()

    def mrmlScene(self):
        return self._scene

    def addAttribute(self, node_type, name, value=None):
        self._attributes.append((node_type, name, value))
        self._refresh()

    def _accepts(self, node) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if self.showChildNodeTypes:
            fits = any(node.IsA(t) for t in self._types)
        else:
            fits = node.GetClassName() in self._types
        return fits and all(
            not node.IsA(t) or (node.GetAttribute(n) is not None and (v is None or node.GetAttribute(n) == v))
            for t, n, v in self._attributes
        )

    def nodes(self):
        if self._scene is None:
            return ()
        every = [self._scene.GetNthNode(n) for n in range(self._scene.GetNumberOfNodes())]
        return tuple(n for n in every if self._accepts(n))

    def _refresh(self):
        nodes = self.nodes()
        self._box.clear()
        if self._none:
            self._box.addItem(self._none_text)
        for node in nodes:
            self._box.addItem(node.GetName())
        current = self._node if self._node in nodes else None
        if current is None and not self._none and nodes:
            current = nodes[0]
        self._select(current)

    def _on_activated(self, index):
        nodes = self.nodes()
        offset = 1 if self._none else 0
        self._select(None if index < offset else nodes[index - offset])

    def _select(self, node):
        nodes = self.nodes()
        self._box.setCurrentIndex(
            (nodes.index(node) + (1 if self._none else 0)) if node is not None else (0 if self._none else -1)
        )
        if node is self._node:
            return
        self.__dict__["_node"] = node
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    # -- node ----------------------------------------------------------------------------------------

    def setCurrentNode(self, node):
        if node is not None and not isinstance(node, slicer.vtkMRMLNode):
            raise ValueError(f"setCurrentNode takes a vtkMRMLNode, not {node!r}")
        if node is not None and node not in self.nodes():
            node = None  # the real one shows nothing for a node it does not list
        self._select(node)

    def setCurrentNodeID(self, node_id):
        self.setCurrentNode(self._scene.GetNodeByID(node_id) if node_id else None)

    def currentNode(self):
        return self._node

    def addNode(self, node_type=None):
        node = self._scene.AddNewNodeByClass(node_type or self._types[0], self._base)
        if self.selectNodeUponCreation:
            self._select(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _set_types(self, value):
        self.__dict__["_types"] = list(value)
        self._refresh()

    def _set_none(self, value):
        self.__dict__["_none"] = bool(value)
        self._refresh()

    nodeTypes = Property("QStringList", lambda self: tuple(self._types), _set_types)
    noneEnabled = Property(bool, lambda self: self._none, _set_none)
    noneDisplay = Property(str, lambda self: self._none_text, lambda self, v: self.__dict__.update(_none_text=v))
    baseName = Property(str, lambda self: self._base, lambda self, v: self.__dict__.update(_base=v))
    currentNodeID = Property(str, lambda self: self._node.GetID() if self._node else "", setCurrentNodeID)

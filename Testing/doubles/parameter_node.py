"""``slicer.parameterNodeWrapper``: typed parameters in a node, connected to widgets.

The contract of Slicer's wrapper for the types the module uses, as strict: values of another type are
refused, and a widget is connected only if its type is exactly one of those that Slicer connects.
"""

from __future__ import annotations

import enum
import sys
import types
import typing

import ctk
import qt
import slicer
import slicer.util
import vtk

_NAME_PROPERTY = "SlicerParameterName"


def install() -> None:
    """Put ``slicer.parameterNodeWrapper`` into ``sys.modules``."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    module.parameterNodeWrapper = parameterNodeWrapper
    module.WithinRange = WithinRange
    sys.modules[module.__name__] = module
    slicer.parameterNodeWrapper = module


class WithinRange:
    """Annotation: a number that must lie in a closed interval."""

    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum


class _Parameter:
    def __init__(self, name: str, declared, default):
        self.name = name
        self.type, self.annotations = declared, ()
        if typing.get_origin(declared) is typing.Annotated:
            self.type, *self.annotations = typing.get_args(declared)
        if self.type not in (int, float, str, bool) and not (
            isinstance(self.type, type) and issubclass(self.type, enum.Enum | slicer.vtkMRMLNode)
        ):
            raise TypeError(f"Unable to create serializer for {name}: {declared}")
        self.is_node = issubclass(self.type, slicer.vtkMRMLNode)
        self.default = self._initial() if default is None else default
        self.check(self.default)

    def _initial(self):
        if self.is_node:
            return None
        if issubclass(self.type, enum.Enum):
            return next(iter(self.type))
        return self.type()

    def check(self, value) -> None:
        if self.is_node and value is None:
            return
        accepted = (int, float) if self.type is float else self.type
        if not isinstance(value, accepted) or (isinstance(value, bool) and self.type is not bool):
            raise TypeError(f"{self.name} takes {self.type.__name__}, not {value!r}")
        for limit in self.annotations:
            if isinstance(limit, WithinRange) and not limit.minimum <= value <= limit.maximum:
                raise ValueError(f"{self.name}: {value} is not within {limit.minimum} to {limit.maximum}")

    def is_in(self, node) -> bool:
        return node.HasNodeReferenceRole(self.name) if self.is_node else bool(node.GetParameter(self.name))

    def write(self, node, value) -> None:
        self.check(value)
        if self.is_node:
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        elif isinstance(value, enum.Enum):
            node.SetParameter(self.name, value.name)
        else:
            node.SetParameter(self.name, value if self.type is str else str(self.type(value)))

    def read(self, node):
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if issubclass(self.type, enum.Enum):
            return self.type[text]
        return text == "True" if self.type is bool else self.type(text)


def parameterNodeWrapper(cls):
    """Class decorator: the annotated names become parameters kept in a vtkMRMLScriptedModuleNode."""
    parameters = {
        name: _Parameter(name, declared, cls.__dict__.get(name))
        for name, declared in typing.get_type_hints(cls, include_extras=True).items()
    }
    for name, parameter in parameters.items():
        setattr(
            cls,
            name,
            property(
                lambda self, p=parameter: p.read(self.parameterNode),
                lambda self, value, p=parameter: p.write(self.parameterNode, value),
            ),
        )

    def init(self, parameter_node):
        vars(self).update(parameterNode=parameter_node, _guis={}, _updating=False, _next=0)
        for parameter in parameters.values():
            if not parameter.is_node and not parameter_node.GetParameter(parameter.name) and parameter.default != "":
                parameter.write(parameter_node, parameter.default)

    cls.__init__ = init
    cls.allParameters = parameters
    cls.getValue = lambda self, name: parameters[name].read(self.parameterNode)
    cls.setValue = lambda self, name, value: parameters[name].write(self.parameterNode, value)
    cls.StartModify = lambda self: self.parameterNode.StartModify()
    cls.EndModify = lambda self, was_modified: self.parameterNode.EndModify(was_modified)
    cls.AddObserver = lambda self, event, callback, priority=0.0: self.parameterNode.AddObserver(
        event, callback, priority
    )
    cls.RemoveObserver = lambda self, tag: self.parameterNode.RemoveObserver(tag)
    cls.Modified = lambda self: self.parameterNode.Modified()
    cls.connectGui = _connect_gui
    cls.connectParametersToGui = _connect_parameters
    cls.disconnectGui = _disconnect_gui
    return cls


# -- widgets ---------------------------------------------------------------------------------------


class _Connector:
    """Reads and writes one widget; which widgets, and by which signal, is Slicer's table."""

    def __init__(self, widget, parameter: _Parameter):
        self.widget, self.labels = widget, None
        kind, value = type(widget), parameter.type
        limit = next((a for a in parameter.annotations if isinstance(a, WithinRange)), None)
        if kind is qt.QCheckBox and value is bool:
            self.signal, self.attribute = "stateChanged(int)", "checked"
        elif kind is qt.QPushButton and value is bool:
            self.signal, self.attribute = "toggled(bool)", "checked"
        elif (kind in (qt.QSpinBox, qt.QSlider) and value is int) or (
            kind in (qt.QDoubleSpinBox, ctk.ctkSliderWidget) and value is float
        ):
            self.signal = "valueChanged(int)" if value is int else "valueChanged(double)"
            self.attribute = "value"
            if limit is not None:
                widget.minimum, widget.maximum = limit.minimum, limit.maximum
            elif kind in (ctk.ctkSliderWidget, qt.QSlider):
                raise RuntimeError(f"{parameter.name}: a slider cannot show an unbounded number")
            elif value is float:
                widget.minimum, widget.maximum = float("-inf"), float("inf")
            else:
                widget.minimum, widget.maximum = -(2**31), 2**31 - 1
        elif kind is qt.QComboBox and issubclass(value, enum.Enum):
            self.signal, self.attribute = "currentIndexChanged(int)", "currentIndex"
            self.labels = list(value)
            widget.clear()
            for member in value:
                widget.addItem(member.label() if hasattr(value, "label") else member.name)
        elif kind is qt.QLineEdit and value is str:
            self.signal, self.attribute = "textChanged(QString)", "text"
        elif kind is slicer.qMRMLNodeComboBox and parameter.is_node:
            self.signal, self.attribute = "currentNodeChanged(vtkMRMLNode*)", None
        else:
            raise RuntimeError(f"Unable to create GUI connector from {value} to widget type {kind}")

    def read(self):
        if self.attribute is None:
            return self.widget.currentNode()
        value = getattr(self.widget, self.attribute)
        return self.labels[value] if self.labels is not None else value

    def write(self, value) -> None:
        if self.attribute is None:
            self.widget.setCurrentNode(value)
        else:
            setattr(self.widget, self.attribute, self.labels.index(value) if self.labels is not None else value)


def _connect_parameters(self, mapping):
    tag = self._next
    self._next += 1
    entries = []
    for name, widget in mapping.items():
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        entries.append((name, _Connector(widget, self.allParameters[name])))
    callbacks = []
    for name, connector in entries:
        connector.write(self.getValue(name))

        def changed(name=name, connector=connector):
            if not self._updating:
                self.setValue(name, connector.read())

        slot = _without_arguments(changed)
        connector.widget.connect(connector.signal, slot)
        callbacks.append((connector, slot))

    def to_gui(*_):
        if self._updating or tag not in self._guis:
            return
        self._updating = True
        try:
            for name, connector in entries:
                connector.write(self.getValue(name))
        finally:
            self._updating = False

    self._guis[tag] = callbacks
    self.AddObserver(vtk.vtkCommand.ModifiedEvent, to_gui)
    return tag


def _without_arguments(function):
    def slot():
        function()

    return slot


def _connect_gui(self, gui):
    mapping = {}
    for widget in list(vars(gui).values()):
        name = widget.property(_NAME_PROPERTY) if hasattr(widget, "property") else None
        if name:
            mapping[name] = widget
    return _connect_parameters(self, mapping)


def _disconnect_gui(self, tag):
    for connector, slot in self._guis.pop(tag, []):
        connector.widget.disconnect(connector.signal, slot)

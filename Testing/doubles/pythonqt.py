"""PythonQt's semantics on PySide6: the module ``qt``.

- Qt properties are attributes; calling one fails.
- A wrapped C++ object takes no new attributes; a class derived from it in Python does.
- ``connect("signal(types)", callable)``; an unknown signal is an error; the arguments are cut to what the
  callable takes; an exception in a slot does not reach the caller and is kept in :data:`slot_errors`.
- The class hierarchy is not Python inheritance: ``isinstance(button, qt.QWidget)`` is False.
- Lists come back as tuples. There is no ``qt.Signal``. ``exec_``, not ``exec``.
"""

from __future__ import annotations

import inspect
import sys
import traceback
import types
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

_MODULES = (QtCore, QtGui, QtWidgets)
# Virtual functions that are also properties: C++ calls them, so they must stay functions.
_STAY_METHODS = {"sizeHint", "minimumSizeHint"}
_NOT_IN_PYTHONQT = {"Signal", "Slot", "Property", "SignalInstance", "ClassInfo", "QtTest", "QEnum", "QFlag"}
_LISTS = (
    "children",
    "actions",
    "selectedItems",
    "selectedIndexes",
    "selectedRanges",
    "buttons",
    "widgets",
    "topLevelWidgets",
)

slot_errors: list[str] = []
"""Tracebacks of exceptions raised in slots since it was last emptied."""

_base_of: dict[type, type] = {}  # class of the stand-in -> PySide6 class


def tuples(value: Any) -> Any:
    """``value``, with a list made a tuple."""
    return tuple(value) if isinstance(value, list) else value


# -- properties ------------------------------------------------------------------------------------


def _make_property(meta_property: QtCore.QMetaProperty, name: str) -> property:
    def get(self):
        return tuples(self.property(name))

    def set_(self, value):
        if not meta_property.isWritable():
            raise AttributeError(f"Property '{name}' of type {type(self).__name__} is not writable")
        if not self.setProperty(name, list(value) if isinstance(value, tuple) else value):
            raise AttributeError(
                f"Property '{name}' of type {type(self).__name__} does not accept {value!r} ({type(value).__name__})"
            )

    return property(get, set_)


def expose_properties(cls: type) -> None:
    """Turn the Qt properties that ``cls`` itself declares into Python properties."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        meta_property = meta.property(index)
        name = str(meta_property.name())
        if name in _STAY_METHODS or (cls is QtCore.QTimer and name == "singleShot"):
            continue
        setattr(cls, name, _make_property(meta_property, name))


def _dynamic_attribute(self, name: str):
    """What PythonQt looks for last: a dynamic property, then a child of that name."""
    if not name.startswith("_"):
        if name.encode() in [bytes(n) for n in self.dynamicPropertyNames()]:
            return tuples(self.property(name))
        for child in QtCore.QObject.children(self):
            if child.objectName == name:
                return child
    raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


# -- attributes ------------------------------------------------------------------------------------


def _strict_setattr(base: type) -> Callable:
    def set_attribute(self, name, value):
        if UiLoader.loading:
            return  # PySide6's loader sets children as attributes; PythonQt finds them by their object names
        if type(self).__dict__.get("_is_cpp", False):
            known = inspect.getattr_static(type(self), name, None)
            settable = isinstance(known, property | QtCore.Property)
            if not settable and name.encode() in [bytes(n) for n in self.dynamicPropertyNames()]:
                self.setProperty(name, value)
                return
            if not settable:
                raise AttributeError(
                    f"'{name}' does not exist on {type(self).__name__} and creating new attributes on C++ objects is "
                    "not allowed"
                )
        base.__setattr__(self, name, value)

    return set_attribute


# -- signals and slots -----------------------------------------------------------------------------


def accepted_arguments(function: Callable) -> int | None:
    """How many arguments PythonQt passes to ``function`` at most; None: all."""
    bound = 1 if inspect.ismethod(function) else 0
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - bound


def _relay(function: Callable, signal_arguments: int) -> Callable:
    accepted = accepted_arguments(function)
    count = signal_arguments if accepted is None else min(accepted, signal_arguments)

    def relay(*arguments):
        try:
            function(*arguments[:count])
        except Exception:
            slot_errors.append(traceback.format_exc())

    return relay


def _signal(self, signature: str) -> tuple[Any, int]:
    """The bound signal of ``signature`` and its number of arguments."""
    declared = {
        cpp: (name, index) for cls in type(self).__mro__ for cpp, name, index in cls.__dict__.get("cpp_signals", ())
    }
    if signature.replace(" ", "") in declared:
        name, index = declared[signature.replace(" ", "")]
        signal = getattr(self, name)
        types_ = signature[signature.index("(") + 1 : -1]
        return (signal if index is None else signal[index]), (types_.count(",") + 1 if types_ else 0)
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
    meta = self.metaObject()
    name = normalized.split("(")[0]
    native = getattr(type(self), name, None)
    if meta.indexOfSignal(normalized) < 0 or any(s.split("(")[0] == name for s in declared) or native is None:
        raise AttributeError(f"connect: signal '{signature}' does not exist on {type(self).__name__}")
    arguments = normalized[normalized.index("(") + 1 : -1]
    signal = getattr(self, name)
    count = arguments.count(",") + 1 if arguments else 0
    if arguments:
        signal = signal[tuple(arguments.split(","))] if count > 1 else signal[arguments]
    return signal, count


def _connect(self, signature, *target):
    if not isinstance(signature, str) or len(target) not in (1, 2):
        raise ValueError("connect takes ('signal(types)', callable) or ('signal(types)', object, 'slot(types)')")
    function = target[0] if len(target) == 1 else getattr(target[0], target[1].split("(")[0])
    if not callable(function):
        raise ValueError(f"connect: {function!r} is not callable")
    signal, count = _signal(self, signature)
    relay = _relay(function, count)
    signal.connect(relay)
    self.__dict__.setdefault("_relays", []).append((signature.replace(" ", ""), function, relay))
    return True


def _disconnect(self, signature, *target):
    signal, _ = _signal(self, signature)
    signature = signature.replace(" ", "")
    function = None
    if target:
        function = target[0] if len(target) == 1 else getattr(target[0], target[1].split("(")[0])
    relays = self.__dict__.setdefault("_relays", [])
    found = [r for r in relays if r[0] == signature and (function is None or r[1] == function)]
    if not found:
        raise AttributeError(f"disconnect: '{signature}' of {type(self).__name__} is not connected to {function!r}")
    for entry in found:
        signal.disconnect(entry[2])
        relays.remove(entry)
    return True


# -- classes ---------------------------------------------------------------------------------------


def _find_children(self, cls=None, name=None):
    base = _base_of.get(cls, cls) if cls is not None else QtCore.QObject
    found = [c for c in QtCore.QObject.findChildren(self, base) if name is None or c.objectName == name]
    return tuple(found)


def _find_child(self, cls, name=None):
    found = _find_children(self, cls, name)
    return found[0] if found else None


def _no_exec(self, *arguments):
    raise AttributeError(f"'{type(self).__name__}' object has no attribute 'exec'; PythonQt calls it exec_")


def _init_subclass(cls, **keywords):
    # Shiboken finds connect and disconnect in the class's own dictionary only, never in its bases'.
    for name, function in (("connect", _connect), ("disconnect", _disconnect)):
        cls.__dict__.get(name) or setattr(cls, name, function)
    cls._is_cpp = False


def _returning_tuple(method: Callable) -> Callable:
    return lambda self, *arguments: tuples(method(self, *arguments))


def wrapped_class(base: type) -> type:
    """The class that code under test sees for the PySide6 class ``base``."""

    def init(self, *arguments, **keywords):
        if keywords and type(self).__dict__.get("_is_cpp", False):
            raise TypeError(f"PythonQt takes no keyword arguments for {base.__name__}: {sorted(keywords)}")
        base.__init__(self, *arguments, **keywords)

    members = {
        "__init__": init,
        "__init_subclass__": classmethod(_init_subclass),
        "__setattr__": _strict_setattr(base),
        "connect": _connect,
        "disconnect": _disconnect,
        "findChildren": _find_children,
        "findChild": _find_child,
        "className": lambda self: type(self).__name__,
        "_is_cpp": True,
    }
    for name in _LISTS:
        if callable(getattr(base, name, None)):
            members[name] = _returning_tuple(getattr(base, name))
    if hasattr(base, "exec_") or hasattr(base, "exec"):
        run = getattr(base, "exec_", None) or base.exec
        members["exec_"] = lambda self, *a: run(self, *a)
        members["exec"] = _no_exec
    cls = type(base)(base.__name__, (base,), members)
    _base_of[cls] = base
    return cls


def cpp_class(cls: type) -> type:
    """Decorator: ``cls`` (derived from a wrapped class) stands for a C++ class and is as strict as one."""
    cls._is_cpp = True
    return cls


class QtModule(types.ModuleType):
    """The flat module ``qt``; its classes are made when first asked for."""

    def __getattr__(self, name: str):
        if name in _NOT_IN_PYTHONQT or name.startswith("__"):
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
        for module in _MODULES:
            value = getattr(module, name, None)
            if value is None:
                continue
            if isinstance(value, type) and issubclass(value, QtCore.QObject) and value not in _APPLICATIONS:
                value = wrapped_class(value)
            setattr(self, name, value)
            return value
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


_APPLICATIONS = (QtCore.QCoreApplication, QtGui.QGuiApplication, QtWidgets.QApplication)


class UiLoader(QtUiTools.QUiLoader):
    """``qt.QUiLoader``: makes the stand-in's classes, also those of ctk and Slicer."""

    loading = False

    def __init__(self, parent=None):
        super().__init__(parent)
        self._made: list[QtCore.QObject] = []

    def createWidget(self, class_name, parent=None, name=""):
        import ctk
        import qt
        import slicer

        cls = next((getattr(m, class_name) for m in (ctk, slicer, qt) if hasattr(m, class_name)), None)
        if cls is None:
            raise TypeError(f"The .ui file asks for {class_name}, which the stand-in does not know")
        widget = cls(parent) if parent is not None else cls()
        widget.setObjectName(name)
        self._made.append(widget)
        return widget

    def load(self, file, parent=None):
        root = ElementTree.fromstring(bytes(file.readAll()))
        connections = root.find("connections")
        mrml = [c for c in list(connections) if "vtkMRML" in c.findtext("signal")] if connections is not None else []
        for element in mrml:  # Qt itself cannot resolve these argument types
            connections.remove(element)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        UiLoader.loading = True
        try:
            widget = super().load(buffer, parent)
        finally:
            UiLoader.loading = False
        if widget is None:
            raise RuntimeError(self.errorString())
        # Wrappers of classes derived in Python die with their last Python reference.
        widget.__dict__["_made"] = self._made
        named = {w.objectName: w for w in [widget, *self._made]}
        for element in mrml:
            receiver = named[element.findtext("receiver")]
            named[element.findtext("sender")].connect(element.findtext("signal"), receiver, element.findtext("slot"))
        return widget


def install(settings_folder: str) -> types.ModuleType:
    """Make the module ``qt`` and the Qt application."""
    for module in _MODULES:
        for name in dir(module):
            cls = getattr(module, name)
            if isinstance(cls, type) and issubclass(cls, QtCore.QObject) and "staticMetaObject" in cls.__dict__:
                expose_properties(cls)
    QtCore.QObject.name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))
    QtCore.QObject.__getattr__ = _dynamic_attribute
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, settings_folder)
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    application.setOrganizationName("NA-MIC")
    application.setApplicationName("Slicer")
    application.setStyle("Fusion")
    qt = QtModule("qt")
    qt.QUiLoader = UiLoader
    qt._application = application

    def on_unhandled(kind, value, trace):
        slot_errors.append("".join(traceback.format_exception(kind, value, trace)))
        sys.__excepthook__(kind, value, trace)

    sys.excepthook = on_unhandled  # PySide6 reports exceptions of attribute-form slots here
    return qt

"""The widgets of CTK that the module uses, drawn plainly: the module ``ctk``."""

from __future__ import annotations

import types
import weakref

import qt
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from .pythonqt import cpp_class


def install() -> types.ModuleType:
    """Make the module ``ctk``."""
    ctk = types.ModuleType("ctk")
    for cls in (ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkSliderWidget, ctkMessageBox):
        setattr(ctk, cls.__name__, cls)
    # parameterNodeWrapper compares types with these; no panel of ours holds one.
    for name in ("ctkCheckBox", "ctkCheckablePushButton", "ctkDoubleSlider", "ctkDoubleSpinBox", "ctkComboBox"):
        setattr(ctk, name, type(name, (), {}))
    return ctk


@cpp_class
class ctkCollapsibleButton(qt.QAbstractButton):
    """A header that shows or hides its children."""

    contentsCollapsed = Signal(bool)
    cpp_signals = (("contentsCollapsed(bool)", "contentsCollapsed", None),)
    HEADER = 26

    def __init__(self, parent=None):
        super().__init__(*([parent] if parent is not None else []))
        self.__dict__.update(_collapsed=False, _forcing=False, _hidden=set())
        self.setContentsMargins(4, self.HEADER, 4, 4)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        this = weakref.ref(self)
        self.clicked.connect(lambda *_: this().setCollapsed(not this()._collapsed))

    def setCollapsed(self, value):
        value = bool(value)
        if value == self._collapsed:
            return
        self.__dict__["_collapsed"] = value
        for child in QtCore.QObject.children(self):
            if child.isWidgetType():
                self._show_or_hide(child)
        self.updateGeometry()
        self.contentsCollapsed.emit(value)

    collapsed = Property(bool, lambda self: self._collapsed, setCollapsed)
    flat = Property(bool, lambda self: False, lambda self, value: None)

    def _show_or_hide(self, child):
        """A child that was hidden on purpose stays hidden when the section opens."""
        self.__dict__["_forcing"] = True
        child.setVisible(not self._collapsed and child not in self._hidden)
        self.__dict__["_forcing"] = False

    def childEvent(self, event):
        if event.added() and event.child().isWidgetType():
            event.child().installEventFilter(self)
            if self.__dict__.get("_collapsed"):
                self._show_or_hide(event.child())

    def eventFilter(self, child, event):
        kind = event.type()
        on_purpose = kind in (QtCore.QEvent.Type.ShowToParent, QtCore.QEvent.Type.HideToParent)
        if on_purpose and not self.__dict__.get("_forcing", True):
            (self._hidden.discard if kind == QtCore.QEvent.Type.ShowToParent else self._hidden.add)(child)
            self._show_or_hide(child)
        return False

    def sizeHint(self):
        if self._collapsed or self.layout() is None:
            return QtCore.QSize(100, self.HEADER)
        return self.layout().sizeHint()

    def minimumSizeHint(self):
        return QtCore.QSize(100, self.HEADER) if self._collapsed else super().minimumSizeHint()

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        box = QtCore.QRect(0, 0, self.width, self.HEADER - 4)
        painter.fillRect(box, self.palette.color(QtGui.QPalette.ColorRole.Button).darker(108))
        arrow = "▸ " if self._collapsed else "▾ "
        painter.drawText(box.adjusted(6, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, arrow + self.text)
        painter.end()


@cpp_class
class ctkCollapsibleGroupBox(qt.QGroupBox):
    """A group box that folds; open unless ``collapsed``. Its check mark is the fold."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.__dict__["_collapsed"] = False
        self.setCheckable(True)
        this = weakref.ref(self)
        self.toggled.connect(lambda on: this().setCollapsed(not on))

    def setCollapsed(self, value):
        self.__dict__["_collapsed"] = bool(value)
        self.setChecked(not value)
        self.setFlat(bool(value))
        for child in QtCore.QObject.children(self):
            if child.isWidgetType():
                child.setVisible(not value)

    def childEvent(self, event):
        if event.added() and event.child().isWidgetType() and self.__dict__.get("_collapsed"):
            event.child().setVisible(False)

    def sizeHint(self):
        return QtCore.QSize(100, 24) if self._collapsed else super().sizeHint()

    def minimumSizeHint(self):
        return QtCore.QSize(100, 24) if self._collapsed else super().minimumSizeHint()

    collapsed = Property(bool, lambda self: self._collapsed, setCollapsed)


@cpp_class
class ctkSliderWidget(qt.QWidget):
    """A slider with a spin box; values are kept within the range, as ctk does."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    cpp_signals = (
        ("valueChanged(double)", "valueChanged", None),
        ("valueIsChanging(double)", "valueIsChanging", None),
    )

    def __init__(self, parent=None):
        super().__init__(*([parent] if parent is not None else []))
        slider, box = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal), QtWidgets.QDoubleSpinBox()
        slider.setRange(0, 1000)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(slider)
        layout.addWidget(box)
        self.__dict__.update(_slider=slider, _box=box, _page_step=10.0)
        box.setRange(0.0, 100.0)
        this = weakref.ref(self)
        box.valueChanged.connect(lambda value: this()._on_value(value))
        slider.sliderMoved.connect(lambda n: box.setValue(box.minimum + (box.maximum - box.minimum) * n / 1000))

    def _on_value(self, value):
        span = self._box.maximum - self._box.minimum
        self._slider.setValue(round(1000 * (value - self._box.minimum) / span) if span else 0)
        self.valueChanged.emit(value)

    def setValue(self, value):
        self._box.setValue(float(value))

    def setMinimum(self, value):
        self._box.setMinimum(float(value))

    def setMaximum(self, value):
        self._box.setMaximum(float(value))

    def setRange(self, low, high):
        self._box.setRange(float(low), float(high))

    value = Property(float, lambda self: self._box.value, setValue)
    minimum = Property(float, lambda self: self._box.minimum, setMinimum)
    maximum = Property(float, lambda self: self._box.maximum, setMaximum)
    singleStep = Property(float, lambda self: self._box.singleStep, lambda self, v: self._box.setSingleStep(v))
    pageStep = Property(float, lambda self: self._page_step, lambda self, v: self.__dict__.update(_page_step=v))
    decimals = Property(int, lambda self: self._box.decimals, lambda self, v: self._box.setDecimals(v))
    suffix = Property(str, lambda self: self._box.suffix, lambda self, v: self._box.setSuffix(v))
    prefix = Property(str, lambda self: self._box.prefix, lambda self, v: self._box.setPrefix(v))
    tracking = Property(bool, lambda self: True, lambda self, v: None)


@cpp_class
class ctkMessageBox(qt.QMessageBox):
    """A message box; never shown in a test."""

    def exec_(self):
        raise AssertionError(f"A message box would wait for a person: {self.text}")

"""The stand-in is as strict as PythonQt, or stricter: what Slicer would refuse must fail here."""

from __future__ import annotations

import pytest
import slicer


def test_properties_are_attributes(slicer_app):
    import qt

    edit = qt.QLineEdit()
    edit.text = "a"
    assert edit.text == "a"
    with pytest.raises(TypeError):
        edit.text()
    box = qt.QComboBox()
    box.addItem("one")
    assert box.count == 1
    with pytest.raises(TypeError):
        box.count()
    with pytest.raises(AttributeError):
        box.count = 3  # not writable
    item = qt.QTableWidgetItem("x")
    assert item.text() == "x"  # no QObject, so it stays a call


def test_new_attributes_only_on_python_classes(slicer_app):
    import qt

    button = qt.QPushButton()
    for name in ("visable", "_mine", "setText", "clicked"):
        with pytest.raises(AttributeError):
            setattr(button, name, 1)

    class Mine(qt.QPushButton):
        pass

    mine = Mine()
    mine.visable = 1
    assert mine.visable == 1
    button.setProperty("dynamic", 3)
    assert button.dynamic == 3
    with pytest.raises(AttributeError):
        _ = button.nothing


def test_connect_by_signature(slicer_app):
    import qt
    from doubles import pythonqt

    button, got = qt.QPushButton(), []
    with pytest.raises(AttributeError):
        button.connect("nosuch(bool)", got.append)
    with pytest.raises(AttributeError):
        button.connect("clicked(int)", got.append)
    button.connect("clicked(bool)", got.append)
    button.connect("clicked()", lambda: got.append("none"))
    button.connect("clicked(bool)", lambda: got.append("cut"))
    button.connect("clicked(bool)", lambda *a: got.append(a))
    button.click()
    assert got == [False, "none", "cut", (False,)]
    button.disconnect("clicked(bool)", got.append)
    got.clear()
    button.click()
    assert got == ["none", "cut", (False,)]

    # A default argument is an argument: PythonQt fills it.
    button.disconnect("clicked(bool)")
    button.connect("clicked(bool)", lambda name="mine": got.append(name))
    got.clear()
    button.click()
    assert False in got and "mine" not in got

    def fails():
        raise RuntimeError("in a slot")

    button.connect("clicked()", fails)
    button.click()
    assert "in a slot" in pythonqt.slot_errors.pop()
    button.disconnect("clicked()", fails)
    button.clicked.connect(fails)
    button.click()
    assert "in a slot" in pythonqt.slot_errors.pop()


def test_there_is_no_signal_class_and_no_keyword(slicer_app):
    import qt

    for name in ("Signal", "Slot", "Property"):
        assert not hasattr(qt, name)
    with pytest.raises(TypeError):
        qt.QLabel(text="x")
    with pytest.raises(AttributeError):
        qt.QDialog().exec()


def test_class_hierarchy_is_flat(slicer_app):
    import qt

    assert not isinstance(qt.QPushButton(), qt.QWidget)
    assert not issubclass(qt.QPushButton, qt.QAbstractButton)
    assert qt.QPushButton().inherits("QWidget")
    assert type(qt.QPushButton()) is qt.QPushButton


def test_lists_are_tuples(slicer_app):
    import qt

    combo = slicer.qMRMLNodeComboBox()
    combo.nodeTypes = ["vtkMRMLTransformNode"]
    assert combo.nodeTypes == ("vtkMRMLTransformNode",)
    assert isinstance(qt.QWidget().children(), tuple)


def test_node_selector_follows_the_scene(slicer_app):

    combo, got = slicer.qMRMLNodeComboBox(), []
    combo.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo.noneEnabled = True
    combo.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    combo.setMRMLScene(slicer.mrmlScene)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "A")
    assert combo.currentNode() is None
    combo.setCurrentNode(node)
    assert combo.currentNodeID == node.GetID()
    slicer.mrmlScene.RemoveNode(node)
    assert combo.currentNode() is None and got == [node, None]
    combo.noneEnabled = False  # then the first node is chosen by itself
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "B")
    assert combo.currentNode() is node
    with pytest.raises(AttributeError):
        combo.noneEnable = True


def test_parameter_node_refuses_other_types(slicer_app):
    import qt
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        number: float = 2.0
        volume: slicer.vtkMRMLScalarVolumeNode

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    parameters = Parameters(node)
    assert parameters.number == 2.0 and parameters.volume is None
    with pytest.raises(TypeError):
        parameters.number = "3"
    with pytest.raises(TypeError):
        parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    box = qt.QDoubleSpinBox()
    tag = parameters.connectParametersToGui({"number": box})
    box.value = 5.0
    assert parameters.number == 5.0
    parameters.number = 6.0
    assert box.value == 6.0
    parameters.disconnectGui(tag)
    box.value = 7.0
    assert parameters.number == 6.0
    with pytest.raises(RuntimeError):
        parameters.connectParametersToGui({"number": qt.QLineEdit()})


def test_module_loads_the_real_ui(panel):
    assert panel.ui.ctSelector.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    assert panel.ui.ctSelector.mrmlScene() is not None

"""What people do wrong: each gives a visible sentence and leaves panel and scene usable."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from driving import choose, place_at_view, settle, type_geometry, wait_for, wait_for_job


@pytest.fixture()
def case(slicer_app, shared):
    from cases import load_case

    return load_case(shared, "skull_phantom-00")


def sentence(panel):
    """What the panel says stands in the way of registering."""
    settle()
    assert not panel.ui.registerButton.enabled
    text = panel.ui.registerButton.toolTip
    assert text.endswith(".") and "Traceback" not in text
    assert text in panel.ui.registerLabel.text
    return text


def add(array, name, class_name="vtkMRMLScalarVolumeNode"):
    from cases import volume_node

    return volume_node(array, np.eye(4), name, class_name)


def test_no_ct(panel, case):
    panel.ui.xraySelector.setCurrentNode(case.xray)
    assert "CT" in sentence(panel)


def test_no_xray(panel, case):
    panel.ui.ctSelector.setCurrentNode(case.ct)
    assert "X-ray" in sentence(panel)


def test_ct_with_one_slice(panel, case):
    panel.ui.ctSelector.setCurrentNode(add(np.zeros((1, 64, 64), np.int16), "one slice"))
    assert "one slice" in sentence(panel)


def test_volume_as_xray(panel, case):
    panel.ui.ctSelector.setCurrentNode(case.ct)
    panel.ui.xraySelector.setCurrentNode(case.ct)
    assert "slices" in sentence(panel)


def test_empty_volume(panel, case):
    panel.ui.ctSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow"))
    assert "hollow" in sentence(panel)


def test_labelmap_is_not_offered(panel, case):
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    panel.ui.ctSelector.setCurrentNode(labels)
    assert panel.ui.ctSelector.currentNode() is None
    assert sentence(panel)


def test_colour_picture_is_not_offered(panel, case):
    picture = add(np.zeros((1, 64, 64, 3), np.uint8), "photo", "vtkMRMLVectorVolumeNode")
    panel.ui.xraySelector.setCurrentNode(picture)
    assert panel.ui.xraySelector.currentNode() is None


def test_no_geometry(panel, case):
    choose(panel, case)
    assert "source-detector distance" in sentence(panel)


def test_half_of_the_geometry(panel, case):
    choose(panel, case)
    panel.ui.sourceDetectorSpinBox.value = 1000
    assert "pixel spacing" in sentence(panel)
    assert panel.ui.sourceDetectorSpinBox.value == 1000  # and what was typed stays


def test_absurd_distance(panel, case):
    choose(panel, case)
    type_geometry(panel, case.camera)
    panel.ui.sourceDetectorSpinBox.value = 0.5
    settle()
    assert "source_to_detector_mm" in panel.ui.geometryLabel.text and not slicer.app.messages
    assert panel.ui.prepareButton.enabled  # with the geometry as it was
    panel.ui.sourceDetectorSpinBox.value = 1000
    settle()
    assert "source_to_detector_mm" not in panel.ui.geometryLabel.text


def test_no_model(panel, case):
    choose(panel, case)
    type_geometry(panel, case.camera)
    assert "model" in sentence(panel)


def test_model_that_is_gone(panel, case, tmp_path):
    choose(panel, case)
    type_geometry(panel, case.camera)
    panel.logic.getParameterNode().modelPath = str(tmp_path / "gone.safetensors")
    assert "gone.safetensors" in sentence(panel)


def test_no_pose_to_start_from(panel, case):
    choose(panel, case)
    type_geometry(panel, case.camera)
    panel.ui.startComboBox.currentIndex = 1
    assert "pose" in sentence(panel)


def test_pose_that_is_mirrored(panel, case):
    choose(panel, case)
    type_geometry(panel, case.camera)
    place_at_view(panel)
    settle()
    from DiffPoseRegistrationLib.app import xray_node

    slicer.util.updateTransformMatrixFromArray(xray_node.pose_node_of(case.xray), np.diag([1.0, 1.0, -1.0, 1.0]))
    assert "reflection" in sentence(panel)


def test_ct_that_is_not_hounsfield(panel, case):
    choose(panel, case)
    type_geometry(panel, case.camera)
    place_at_view(panel)
    picture = add(np.random.default_rng(0).integers(0, 255, (32, 32, 32)).astype(np.uint8), "picture")
    panel.ui.ctSelector.setCurrentNode(picture)
    settle()
    assert "Hounsfield" in panel.ui.verdictLabel.text
    panel.ui.startComboBox.currentIndex = 1
    settle()
    panel.ui.registerButton.click()
    wait_for_job(panel)
    assert "Hounsfield" in panel.ui.registerLabel.text
    assert not panel.logic.is_busy


def test_ct_with_holes(panel, case):
    choose(panel, case)
    panel.ui.ctSelector.setCurrentNode(add(np.full((16, 16, 16), np.nan, np.float32), "holes"))
    settle()
    panel.ui.simulateButton.click()
    wait_for_job(panel)
    assert "holes" in panel.ui.simulateLabel.text


def test_source_beyond_the_detector(panel, case):
    choose(panel, case)
    type_geometry(panel, case.camera)
    panel.ui.sourceIsocentreSpinBox.value = 4000
    place_at_view(panel)
    assert "detector" in slicer.app.messages[-1][1]


def test_empty_landmark_lists(panel, case):
    from cases import points_node

    choose(panel, case)
    type_geometry(panel, case.camera)
    place_at_view(panel)
    panel.ui.ctLandmarksSelector.setCurrentNode(points_node(np.zeros((0, 3)), "none"))
    settle()
    assert not panel.ui.landmarksButton.enabled and "landmark" in panel.ui.landmarksButton.toolTip


def test_landmarks_that_do_not_belong_together(panel, case):
    from cases import points_node

    choose(panel, case)
    type_geometry(panel, case.camera)
    place_at_view(panel)
    settle()
    a, b = points_node(np.zeros((2, 3)), "a"), points_node(np.zeros((1, 3)), "b")
    b.SetNthControlPointLabel(0, "another")
    panel.ui.ctLandmarksSelector.setCurrentNode(a)
    panel.ui.xrayLandmarksSelector.setCurrentNode(b)
    settle()
    panel.ui.landmarksButton.click()
    assert "names in common" in slicer.app.messages[-1][1]


def test_deleted_pose_node(panel, case):
    from DiffPoseRegistrationLib.app import xray_node

    choose(panel, case)
    type_geometry(panel, case.camera)
    place_at_view(panel)
    panel.ui.startComboBox.currentIndex = 1
    settle()
    slicer.mrmlScene.RemoveNode(xray_node.pose_node_of(case.xray))
    assert "pose" in sentence(panel)
    place_at_view(panel)
    settle()
    assert panel.ui.registerButton.enabled


def test_ct_deleted(panel, case):
    choose(panel, case)
    type_geometry(panel, case.camera)
    place_at_view(panel)
    settle()
    slicer.mrmlScene.RemoveNode(case.ct)
    assert "CT" in sentence(panel)


def test_second_job_while_one_runs(panel, case):
    choose(panel, case)
    panel.ui.simulateButton.click()
    with pytest.raises(InputError):
        panel.logic.simulateXRay(case.ct, wait=False)
    wait_for(lambda: not panel.ui.simulateButton.enabled)
    panel.logic.cancel()
    wait_for_job(panel)


def test_console_calls_with_wrong_things(panel, case):
    camera = Camera(1000, 64, 64, (1, 1))
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "a model")
    logic = panel.logic
    for call in (
        lambda: logic.simulateXRay(model),
        lambda: logic.simulateXRay(case.ct, view="upside down"),
        lambda: logic.simulateXRay(case.ct, camera, pose=np.zeros((4, 4))),
        lambda: logic.register(case.ct, case.xray),
        lambda: logic.prepare(case.ct, None),
        lambda: logic.drr(case.ct, case.xray),
        lambda: logic.landmarkErrors(None, case.xray),
        lambda: logic.inverseTransform(case.xray),
    ):
        with pytest.raises(InputError):
            call()
        assert not logic.is_busy


def test_drag_without_a_pose_and_with_one(panel, case):
    from DiffPoseRegistrationLib.app import xray_node

    choose(panel, case)
    type_geometry(panel, case.camera)
    assert not panel.ui.dragButton.enabled
    place_at_view(panel)
    settle()
    panel.ui.dragButton.click()
    settle()
    assert panel.ui.dragButton.checked
    assert xray_node.pose_node_of(case.xray).GetDisplayNode().GetEditorVisibility()
    panel.ui.dragButton.click()
    settle()
    assert not xray_node.pose_node_of(case.xray).GetDisplayNode().GetEditorVisibility()


def test_geometry_file_of_another_image(panel, case, tmp_path, monkeypatch):
    import json

    import qt
    from DiffPoseRegistrationLib.app import xray_node

    choose(panel, case)
    path = tmp_path / "camera.json"
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", staticmethod(lambda *a: str(path)))
    path.write_text(json.dumps(Camera(1000.0, 64, 48, (0.5, 0.5)).to_json()), encoding="utf-8")
    panel.ui.readCameraButton.click()
    assert "64 x 48" in slicer.app.messages.pop()[1]
    path.write_text("{not JSON", encoding="utf-8")
    panel.ui.readCameraButton.click()
    assert "camera.json" in slicer.app.messages.pop()[1]
    path.unlink()
    panel.ui.readCameraButton.click()
    assert "camera.json" in slicer.app.messages.pop()[1]
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", staticmethod(lambda *a: ""))  # cancelled
    panel.ui.readCameraButton.click()
    settle()
    assert not slicer.app.messages and xray_node.camera_of(case.xray) is None


def test_picture_instead_of_dicom(panel, case, tmp_path, monkeypatch):
    import qt

    choose(panel, case)
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 this is no DICOM file")
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", staticmethod(lambda *a: str(path)))
    panel.ui.readDicomButton.click()
    assert "photo.jpg" in slicer.app.messages.pop()[1]
    assert panel.ui.simulateButton.enabled


def test_pose_that_scales(panel, case):
    from DiffPoseRegistrationLib.app import xray_node

    choose(panel, case)
    type_geometry(panel, case.camera)
    place_at_view(panel)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "from another program")
    slicer.util.updateTransformMatrixFromArray(transform, np.diag([1.1, 1.1, 1.1, 1.0]))
    panel.ui.poseSelector.setCurrentNode(transform)
    settle()
    assert xray_node.pose_node_of(case.xray) is transform
    panel.ui.startComboBox.currentIndex = 1
    assert "from another program" in sentence(panel)
    assert "from another program" in panel.ui.verdictLabel.text


def test_reference_that_is_no_pose(panel, case):
    from cases import points_node

    choose(panel, case)
    type_geometry(panel, case.camera)
    place_at_view(panel)
    bent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "bent")
    slicer.util.updateTransformMatrixFromArray(bent, np.diag([2.0, 1.0, 1.0, 1.0]))
    panel.ui.ctLandmarksSelector.setCurrentNode(points_node(case.landmarks, "points"))
    panel.ui.referenceSelector.setCurrentNode(bent)
    settle()
    panel.ui.landmarksButton.click()
    assert "bent" in slicer.app.messages.pop()[1]


def test_ct_under_a_transform_that_bends(panel, case):
    import vtk

    choose(panel, case)
    type_geometry(panel, case.camera)
    bspline = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "breathing")
    bspline.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    case.ct.SetAndObserveTransformNodeID(bspline.GetID())
    assert "not linear" in sentence(panel) and not panel.ui.simulateButton.enabled
    case.ct.SetAndObserveTransformNodeID(None)
    settle()
    assert panel.ui.simulateButton.enabled and not panel.logic.is_busy


def test_segmentation_without_segments(panel, case):
    choose(panel, case)
    type_geometry(panel, case.camera)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing drawn")
    panel.ui.segmentationSelector.setCurrentNode(empty)
    assert "nothing drawn" in sentence(panel)
    assert not panel.ui.prepareButton.enabled


def test_xray_without_a_picture(panel, case):
    """All pixels alike, as after a failed export."""
    blank = add(np.full((1, 64, 64), 7, np.int16), "blank")
    panel.ui.ctSelector.setCurrentNode(case.ct)
    panel.ui.xraySelector.setCurrentNode(blank)
    settle()
    type_geometry(panel, Camera(1000.0, 64, 64, (4.0, 4.0)))
    place_at_view(panel)
    panel.ui.registerButton.click()
    wait_for_job(panel)
    assert "same value everywhere" in panel.ui.registerLabel.text
    assert panel.ui.registerButton.enabled and not panel.logic.is_busy


def test_ct_deleted_while_it_is_prepared(panel, case):
    choose(panel, case)
    type_geometry(panel, case.camera)
    panel.ui.minutesSpinBox.value = 0.1
    settle()
    panel.ui.prepareButton.click()
    settle()
    slicer.mrmlScene.RemoveNode(case.ct)
    settle()
    panel.logic.cancel()
    wait_for_job(panel)
    assert "CT" in sentence(panel) and not panel.logic.is_busy

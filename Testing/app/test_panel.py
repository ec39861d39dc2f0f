"""The panel driven as a person would, on the strict stand-in: widgets are clicked, the scene is looked at."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import slicer
import slicer.util
from driving import choose, place_at_view, settle, type_geometry, wait_for, wait_for_job


@pytest.fixture()
def case(slicer_app, shared):
    from cases import load_case

    return load_case(shared, "lumbar_pelvis-00")


def test_construction_is_light():
    """No third-party package is imported by the module's file and its panel, and none is needed."""
    script = (
        "import sys, time, tempfile; from pathlib import Path\n"
        "testing, module = sys.argv[1:]\n"
        "sys.path[:0] = [testing, module]\n"
        "import slicer, numpy, doubles\n"
        "doubles.install(tempfile.mkdtemp())\n"
        "import slicer.util; slicer.mrmlScene = slicer.vtkMRMLScene()\n"
        "from doubles.scripted_module import discover, show_module\n"
        "before, began = set(sys.modules), time.process_time()\n"
        "widget = show_module(discover(Path(module) / 'DiffPoseRegistration.py'))\n"
        "seconds = time.process_time() - began\n"
        "new = {n.split('.')[0] for n in set(sys.modules) - before}\n"
        "print(seconds, *sorted(n for n in new if n not in sys.stdlib_module_names))\n"
        "widget.cleanup()\n"
    )
    from imports_of import MODULE, REPOSITORY

    command = [sys.executable, "-c", script, str(REPOSITORY / "Testing"), str(MODULE)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, *imported = done.stdout.split()
    assert set(imported) <= {"DiffPoseRegistration", "DiffPoseRegistrationLib", "vtk", "vtkmodules"}
    print(f"module and panel: {float(seconds):.2f} s of CPU time")
    assert float(seconds) < 5.0  # 0.2 s on an ordinary machine


def test_buttons_say_why_they_are_disabled(panel, case):
    ui = panel.ui
    settle()
    for button in (ui.simulateButton, ui.prepareButton, ui.registerButton, ui.placeButton, ui.lookFromSourceButton):
        assert not button.enabled
        assert button.toolTip.endswith(".")
    assert "CT" in ui.registerButton.toolTip
    choose(panel, case)
    assert ui.simulateButton.enabled
    assert "geometry" in ui.registerButton.toolTip
    type_geometry(panel, case.camera)
    assert ui.prepareButton.enabled
    assert "model" in ui.registerButton.toolTip
    assert not ui.placeButton.enabled and "another start" in ui.placeButton.toolTip
    place_at_view(panel)
    settle()
    assert ui.registerButton.enabled, ui.registerButton.toolTip


def test_typed_geometry_places_the_image(panel, case):
    choose(panel, case)
    type_geometry(panel, case.camera)
    from DiffPoseRegistrationLib.app import xray_node

    camera = xray_node.camera_of(case.xray)
    assert camera.source_to_detector_mm == pytest.approx(case.camera.source_to_detector_mm)
    assert camera.pixel_spacing_mm == pytest.approx(case.camera.pixel_spacing_mm, abs=1e-4)
    assert camera.principal_point_px == pytest.approx(case.camera.principal_point_px)
    assert case.xray.GetSpacing()[0] == pytest.approx(case.camera.pixel_spacing_mm[1], abs=1e-4)
    panel.ui.viewedFromComboBox.currentIndex = 1
    settle()
    assert xray_node.camera_of(case.xray).viewed_from == "detector"


def test_geometry_read_from_dicom_tags(panel, case, shared, monkeypatch):
    import qt
    from DiffPoseRegistrationLib.app import xray_node

    choose(panel, case)
    path = shared / "cases/lumbar_pelvis-00/xray.dcm"
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", staticmethod(lambda *a: str(path)))
    panel.ui.readDicomButton.click()
    settle()
    camera = xray_node.camera_of(case.xray)
    assert camera.source_to_detector_mm == case.camera.source_to_detector_mm
    assert camera.pixel_spacing_mm == case.camera.pixel_spacing_mm
    assert "1110" in panel.ui.geometryLabel.text
    bare = shared / "data/dicom/CR_hip_RG2_rle.dcm"
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", staticmethod(lambda *a: str(bare)))
    panel.ui.readDicomButton.click()
    assert slicer.app.messages[-1][0] == "warningDisplay"
    assert "source-to-detector" in slicer.app.messages[-1][1]
    assert xray_node.camera_of(case.xray) == camera


def test_exact_geometry_is_not_rounded_by_the_fields(panel, case):
    from dataclasses import replace

    from DiffPoseRegistrationLib.app import xray_node

    exact = replace(case.camera, source_to_detector_mm=1019.98765, pixel_spacing_mm=(0.387654321, 0.387654321))
    choose(panel, case)
    xray_node.set_camera(case.xray, exact)
    panel.ui.ctSelector.setCurrentNode(None)
    settle()
    panel.ui.ctSelector.setCurrentNode(case.ct)
    settle()
    assert xray_node.camera_of(case.xray) == exact


def test_pose_moved_by_hand_moves_the_drr(panel, case):
    from DiffPoseRegistrationLib.app import overlay, xray_node

    choose(panel, case)
    type_geometry(panel, case.camera)
    xray_node.set_pose(case.xray, case.pose, case.ct)
    panel._panel.geometry_changed()
    settle()
    drr = case.xray.GetNodeReference(overlay.DRR_ROLE)
    before = slicer.util.arrayFromVolume(drr).copy()
    limits = drr.GetDisplayNode().GetWindowLevelMin(), drr.GetDisplayNode().GetWindowLevelMax()
    moved = case.pose.copy()
    moved[:3, 3] += (30, 0, 0)
    slicer.util.updateTransformMatrixFromArray(xray_node.pose_node_of(case.xray), moved)
    settle()
    assert np.abs(slicer.util.arrayFromVolume(drr) - before).mean() > 0
    assert (drr.GetDisplayNode().GetWindowLevelMin(), drr.GetDisplayNode().GetWindowLevelMax()) == limits


def test_choosing_another_pose_node_carries_the_xray(panel, case):
    from DiffPoseRegistrationLib.app import xray_node

    choose(panel, case)
    type_geometry(panel, case.camera)
    other = xray_node.add_pose_node("planned")
    slicer.util.updateTransformMatrixFromArray(other, case.pose)
    place_at_view(panel)
    settle()
    panel.ui.poseSelector.setCurrentNode(other)
    settle()
    assert xray_node.pose_node_of(case.xray) is other
    assert np.allclose(xray_node.pose_of(case.xray), case.pose, atol=1e-6)
    assert panel.ui.poseSelector.currentNode() is other


def test_cancel_twice_and_again(panel, case):
    ui, jobs = panel.ui, panel.logic.jobs
    ui.ctSelector.setCurrentNode(case.ct)
    settle()
    ui.simulateButton.click()
    jobs.cancel()
    jobs.cancel()
    wait_for_job(panel)
    assert jobs.state.value in ("cancelled", "finished")
    assert ui.simulateButton.enabled
    jobs.cancel()  # with nothing under way
    assert ui.simulateButton.enabled


def test_failed_job_is_said_in_words(panel, case, tmp_path):
    ui = panel.ui
    choose(panel, case)
    type_geometry(panel, case.camera)
    wrong = tmp_path / "other.safetensors"
    wrong.write_bytes(b"this is no model")
    panel.logic.getParameterNode().modelPath = str(wrong)  # a model whose file was damaged since
    settle()
    assert ui.registerButton.enabled, ui.registerButton.toolTip
    ui.registerButton.click()
    wait_for_job(panel)
    text = ui.registerLabel.text
    assert "other.safetensors" in text and "Traceback" not in text
    assert not slicer.app.messages  # no box that interrupts whoever has gone on to something else
    assert ui.registerButton.enabled


def test_xray_removed_while_registering(panel, case):
    ui = panel.ui
    choose(panel, case)
    type_geometry(panel, case.camera)
    place_at_view(panel)
    settle()
    ui.registerButton.click()
    slicer.mrmlScene.RemoveNode(case.xray)
    wait_for_job(panel)
    assert "no longer in the scene" in ui.registerLabel.text and not slicer.app.messages
    assert ui.simulateButton.enabled
    assert not ui.registerButton.enabled


def test_scene_closed_while_a_job_runs(panel, case):
    ui = panel.ui
    ui.ctSelector.setCurrentNode(case.ct)
    settle()
    ui.simulateButton.click()
    slicer.mrmlScene.Clear()
    wait_for_job(panel)
    assert ui.ctSelector.currentNode() is None
    assert panel.logic.getParameterNode().ctVolume is None
    assert not ui.simulateButton.enabled


@pytest.fixture()
def library_restored():
    """Other tests' imports stay the classes that the library raises."""
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0].startswith("DiffPose")}
    yield
    for name in [n for n in sys.modules if n.split(".")[0].startswith("DiffPose")]:
        del sys.modules[name]
    sys.modules.update(kept)


def test_reload_uses_new_code_and_leaves_no_worker(library_restored, module, panel, case):
    old_jobs = panel.logic.jobs
    panel.ui.ctSelector.setCurrentNode(case.ct)
    settle()
    panel.ui.simulateButton.click()
    panel.onReload()
    settle()
    assert not old_jobs._timer.isActive()
    new = slicer.modules.DiffPoseRegistrationWidget
    assert new is not panel and type(new.logic) is not type(panel.logic)
    assert new.ui.ctSelector.currentNode() is case.ct
    new.cleanup()
    slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", new._onModuleAboutToBeUnloaded)
    # The fixture takes down the old one, as if nothing had been reloaded.
    slicer.app.connect("aboutToQuit()", panel.onAboutToQuit)
    slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", panel._onModuleAboutToBeUnloaded)


def test_two_xrays_each_keep_their_own(panel, case, shared):
    from cases import load_case
    from DiffPoseRegistrationLib.app import xray_node

    second = load_case(shared, "lumbar_pelvis-01")
    choose(panel, case)
    type_geometry(panel, case.camera)
    xray_node.set_pose(case.xray, case.pose, case.ct)
    panel.ui.xraySelector.setCurrentNode(second.xray)
    settle()
    assert "geometry" in panel.ui.registerButton.toolTip
    xray_node.set_camera(second.xray, second.camera)
    xray_node.set_pose(second.xray, second.pose, case.ct)
    settle()
    assert panel.ui.xrayTable.rowCount == 2
    panel.ui.xrayTable.cellClicked.emit(0, 0)
    settle()
    assert panel.ui.xraySelector.currentNode() is case.xray
    assert np.allclose(xray_node.pose_of(case.xray), case.pose, atol=1e-6)
    assert np.allclose(xray_node.pose_of(second.xray), second.pose, atol=1e-6)
    assert panel.ui.poseSelector.currentNode() is xray_node.pose_node_of(case.xray)


def test_selectors_follow_the_xray_all_at_once(panel, case, shared):
    """Each X-ray keeps its pose, reference and landmarks, also where several of them change together."""
    from cases import load_case, points_node
    from DiffPoseRegistrationLib.app import xray_node

    cases = [case, load_case(shared, "lumbar_pelvis-01")]
    kept = []
    for one in cases:
        xray_node.set_camera(one.xray, one.camera)
        pose = xray_node.set_pose(one.xray, one.pose)
        reference = xray_node.set_reference(one.xray, one.pose)
        points = points_node(one.landmarks, "points")
        one.xray.SetNodeReferenceID(xray_node.LANDMARKS_ROLE, points.GetID())
        kept.append([pose, reference, points])
    ui = panel.ui
    for one, nodes in list(zip(cases, kept)) * 2:
        ui.xraySelector.setCurrentNode(one.xray)
        settle()
        for role, node in zip((xray_node.POSE_ROLE, xray_node.REFERENCE_ROLE, xray_node.LANDMARKS_ROLE), nodes):
            assert one.xray.GetNodeReference(role) is node
        assert [w.currentNode() for w in (ui.poseSelector, ui.referenceSelector, ui.xrayLandmarksSelector)] == nodes


def test_saved_scene_brings_everything_back(panel, case, tmp_path):
    from DiffPoseRegistrationLib.app import xray_facts, xray_node

    choose(panel, case)
    type_geometry(panel, case.camera)
    xray_node.set_pose(case.xray, case.pose, case.ct)
    outcome = {"verdict": "check", "verdict_reasons": ["a reason"], "camera_to_world_ras_mm": case.pose.tolist()}
    xray_facts.set_outcome(case.xray, outcome)
    panel.ui.primaryRangeSpinBox.value = 17
    settle()
    path = tmp_path / "scene.mrb"
    folder = tmp_path / "unpacked"
    folder.mkdir()
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear()
    settle()
    assert panel.ui.ctSelector.currentNode() is None
    assert slicer.mrmlScene.ReadFromMRB(str(path))
    settle()
    xray = panel.ui.xraySelector.currentNode()
    assert xray is not None and panel.ui.ctSelector.currentNode() is not None
    assert xray_node.camera_of(xray) == xray_node.camera_of(xray)
    assert xray_node.camera_of(xray).source_to_detector_mm == pytest.approx(case.camera.source_to_detector_mm)
    assert np.allclose(xray_node.pose_of(xray), case.pose, atol=1e-4)
    assert panel.ui.primaryRangeSpinBox.value == 17
    assert panel.ui.verdictLabel.text == "Check." and "bold" in panel.ui.verdictLabel.styleSheet
    assert panel.ui.reasonLabel.text.startswith("A reason. Compare X-ray and simulated X-ray")


def test_quitting_leaves_no_worker(panel, case):
    from DiffPoseRegistrationLib.jobs import events
    from DiffPoseRegistrationLib.jobs.process import is_alive

    pids = []
    panel.logic.jobs.eventHappened.connect(lambda e: pids.append(e.pid) if isinstance(e, events.Started) else None)
    choose(panel, case)
    type_geometry(panel, case.camera)
    panel.ui.minutesSpinBox.value = 5
    panel.ui.prepareButton.click()
    wait_for(lambda: pids)
    assert is_alive(pids[0])
    slicer.app.aboutToQuit.emit()
    wait_for(lambda: not is_alive(pids[0]))


def test_report_of_landmarks_and_pose(panel, case, tmp_path, monkeypatch):
    import qt
    from cases import points_node
    from DiffPoseRegistrationLib.app import xray_node

    choose(panel, case)
    type_geometry(panel, case.camera)
    assert not panel.ui.reportButton.enabled
    xray_node.set_pose(case.xray, case.pose, case.ct)
    panel._panel.geometry_changed()
    on_plane = case.camera.pixels_to_camera(case.landmarks_px) @ case.pose[:3, :3].T + case.pose[:3, 3]
    panel.ui.ctLandmarksSelector.setCurrentNode(points_node(case.landmarks, "CT points"))
    panel.ui.xrayLandmarksSelector.setCurrentNode(points_node(on_plane, "<X-ray> points"))
    settle()
    panel.ui.landmarksButton.click()
    settle()
    assert panel.ui.landmarksLabel.text.startswith("20 landmarks")
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *a: str(tmp_path)))
    panel.ui.reportButton.click()
    page = (tmp_path / "X-ray report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2 and "isocentre" in page
    data = json.loads((tmp_path / "X-ray report.json").read_text(encoding="utf-8"))
    assert np.allclose(data["camera_to_world_ras_mm"], case.pose, atol=1e-6)
    assert len(data["landmarks"]) == 1 + 20 + 3
    panel.ui.reportButton.click()  # never over another report
    assert "is there already" in slicer.app.messages[-1][1]


def test_temporary_jobs_do_not_pile_up(panel, case):
    """A job whose result is in the scene goes when the next one has begun; all go with the panel."""
    ui, folders = panel.ui, []
    panel.logic.jobs.stateChanged.connect(lambda state: folders.append(panel.logic.jobs.folder.path))
    ui.ctSelector.setCurrentNode(case.ct)
    settle()
    for _n in range(2):
        ui.simulateButton.click()
        wait_for_job(panel)
    first, second = dict.fromkeys(folders)
    assert not first.exists() and second.exists()
    panel.logic.close()
    assert not second.exists()

"""The main job from the CT to the verdict by clicking alone, and what a saved scene brings back of it."""

from __future__ import annotations

import time

import numpy as np
import pytest
import slicer
import slicer.util
from driving import settle, wait_for


@pytest.fixture()
def case(slicer_app, shared):
    from cases import load_case

    return load_case(shared, "lumbar_pelvis-00")


class Responsiveness:
    """How long the event loop was away while jobs ran: by the clock, and in computing time of its own thread, which
    a busy machine does not change."""

    def __init__(self):
        self.largest_s, self.largest_cpu_s = 0.0, 0.0

    def wait_for_job(self, jobs):
        wall, cpu = time.perf_counter(), time.thread_time()
        while jobs.state.is_busy:
            slicer.app.processEvents()
            self.largest_cpu_s = max(self.largest_cpu_s, time.thread_time() - cpu)
            self.largest_s = max(self.largest_s, time.perf_counter() - wall)
            time.sleep(0.002)
            wall, cpu = time.perf_counter(), time.thread_time()
        settle()


def slice_picture(views, path):
    settle()
    return views.slice_picture(path)[20:-20, 20:-20].astype(float).mean(axis=2)


def test_from_the_ct_to_the_verdict_and_back_from_a_file(panel, slicer_app, case, tmp_path):
    """CT -> simulate -> prepare -> register -> TRE below 1 mm; save, clear, reopen: everything is there again."""
    from cases import points_node
    from DiffPoseRegistrationLib.app import overlay, xray_node
    from doubles.views import Views

    views = Views(slicer_app.applicationLogic(), (200, 200))
    ui, jobs, loop = panel.ui, panel.logic.jobs, Responsiveness()
    ui.ctSelector.setCurrentNode(case.ct)
    # A narrow range, so that seconds of preparation serve on any machine.
    for name in ("primary", "secondary", "roll"):
        getattr(ui, f"{name}RangeSpinBox").value = 6
    for name in ("across", "along", "vertical"):
        getattr(ui, f"{name}RangeSpinBox").value = 12
    ui.minutesSpinBox.value = 0.1
    settle()

    ui.simulateButton.click()
    wait_for(lambda: not ui.registerButton.enabled and "simulation" in ui.registerButton.toolTip)
    loop.wait_for_job(jobs)
    xray = ui.xraySelector.currentNode()
    assert "Simulated" in xray.GetName() and ui.referenceSelector.currentNode() is xray_node.reference_of(xray)
    assert "pose" in ui.lookFromSourceButton.toolTip  # it is to be found

    said = []
    ui.prepareButton.click()
    wait_for(lambda: ui.prepareButton.text == "Cancel")
    jobs.eventHappened.connect(lambda event: said.append(ui.prepareLabel.text))
    loop.wait_for_job(jobs)
    assert any("simulated X-rays" in text for text in said), said
    assert ui.modelsTable.rowCount == 1 and "6 / 6 / 6 °, 12 / 12 / 12 mm" in ui.modelsTable.item(0, 1).text()

    assert ui.registerButton.enabled, ui.registerButton.toolTip
    ui.registerButton.click()
    wait_for(lambda: ui.registerButton.text == "Cancel")
    loop.wait_for_job(jobs)
    assert panel.logic.problem == "" and not slicer_app.messages
    assert ui.verdictLabel.text.startswith("Accept") and not ui.resultCollapsibleButton.collapsed

    points = points_node(case.landmarks, "Landmarks")
    points.SetDisplayVisibility(False)
    ui.ctLandmarksSelector.setCurrentNode(points)
    settle()
    ui.landmarksButton.click()
    settle()
    table = xray.GetNodeReference("DiffPose.LandmarkTable")
    tre = np.array([float(table.GetCellText(row, 1)) for row in range(len(case.landmarks))])
    assert table.GetColumnName(1) == "TRE [mm]" and tre.max() < 1.0
    # The table has rounded to thousandths already, so the label's hundredths may be off by a little over half.
    shown = float(ui.landmarksLabel.text.rpartition("maximum ")[2].removesuffix(" mm."))
    assert shown == pytest.approx(tre.max(), abs=0.0056)
    # The overlay shows it: there is next to no difference, and there would be at another pose.
    ui.comparisonComboBox.currentIndex = list(overlay.Comparison).index(overlay.Comparison.DIFFERENCE)
    shown = slice_picture(views, tmp_path / "registered.png")
    found = xray_node.pose_of(xray)
    moved = found.copy()
    moved[:3, 3] += (6, 0, 6)
    xray_node.set_pose(xray, moved)
    assert slice_picture(views, tmp_path / "moved.png").std() > 2 * shown.std()
    assert "moved since" in ui.verdictLabel.text
    xray_node.set_pose(xray, found)
    ui.comparisonComboBox.currentIndex = list(overlay.Comparison).index(overlay.Comparison.CHECKERBOARD)
    shown = slice_picture(views, tmp_path / "before.png")
    print(
        f"TRE {tre.mean():.3f} mm, at most {tre.max():.3f}; event loop away for at most {1e3 * loop.largest_s:.0f} ms, "
        f"computing for {1e3 * loop.largest_cpu_s:.0f} ms"
    )
    assert loop.largest_cpu_s < 0.5  # 0.1 s on an ordinary machine; told above

    labels = {name: getattr(ui, name).text for name in ("verdictLabel", "poseLabel", "landmarksLabel", "geometryLabel")}
    path = tmp_path / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear()
    settle()
    assert ui.ctSelector.currentNode() is None and not ui.verdictLabel.text.startswith("Accept")
    assert slicer.mrmlScene.ReadFromMRB(str(path))
    settle()
    assert ui.xraySelector.currentNode().GetName() == xray.GetName()
    assert ui.ctSelector.currentNode().GetName() == case.ct.GetName()
    assert {name: getattr(ui, name).text for name in labels} == labels
    assert ui.primaryRangeSpinBox.value == 6 and ui.registerButton.enabled
    reopened = ui.xraySelector.currentNode()
    assert np.allclose(xray_node.pose_of(reopened), found, atol=1e-4)
    assert xray_node.camera_of(reopened) == xray_node.camera_of(xray)
    assert ui.referenceSelector.currentNode() is xray_node.reference_of(reopened)
    again = reopened.GetNodeReference("DiffPose.LandmarkTable")
    assert again.GetNumberOfRows() == len(tre) + 3
    assert np.allclose([float(again.GetCellText(row, 1)) for row in range(len(tre))], tre, atol=1e-3)
    assert np.abs(slice_picture(views, tmp_path / "after.png") - shown).mean() < 1.0


@pytest.mark.slow
def test_event_loop_is_never_away_for_long(panel, slicer_app, case):
    """Whoever works in Slicer meanwhile feels nothing: no gap above 100 ms. In computing time of the thread; told by
    the clock too, which measures what else the machine does."""
    ui, jobs, loop = panel.ui, panel.logic.jobs, Responsiveness()
    ui.ctSelector.setCurrentNode(case.ct)
    ui.minutesSpinBox.value = 0.5
    settle()
    for button in (ui.simulateButton, ui.prepareButton, ui.registerButton):
        assert button.enabled, button.toolTip
        button.click()
        loop.wait_for_job(jobs)
        assert panel.logic.problem == ""
    print(
        f"event loop away for at most {1e3 * loop.largest_s:.0f} ms, {1e3 * loop.largest_cpu_s:.0f} ms of them its own"
    )
    assert loop.largest_cpu_s < 0.1

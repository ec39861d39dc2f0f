"""The patient's models in the panel: samples of the range, errors as a plot, resume, import, export, delete."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import slicer
import slicer.util
from driving import settle, wait_for, wait_for_job


@pytest.fixture()
def ready(panel):
    """A small CT and an X-ray of it in the panel."""
    from cases import picture_of, small_patient, volume_node
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.geometry.camera import Camera
    from DiffPoseRegistrationLib.geometry.pose_range import view_pose

    node, ct = small_patient()
    camera = Camera(1020.0, 192, 192, (1.9, 1.9))
    picture = picture_of(ct, camera, view_pose("AP", ct.centre_ras, 765.0))
    xray = volume_node(picture[None], np.diag([-1.0, -1.0, 1.0, 1.0]), "X-ray")
    xray_node.set_camera(xray, camera)
    panel.ui.ctSelector.setCurrentNode(node)
    panel.ui.xraySelector.setCurrentNode(xray)
    settle()
    return panel


def model_file(path, name="some CT", format_="diffpose-model"):
    """The header of a model, without weights: all that a list of models looks at."""
    description = {
        "ct": {"name": name},
        "pose_range": {"rotation_deg": [20, 15, 10], "translation_mm": [30, 60, 30]},
        "training": {"median_error_mm": 4.25, "percentile95_error_mm": 11.5},
    }
    header = json.dumps({"__metadata__": {"format": format_, "description": json.dumps(description)}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def choose_file(monkeypatch, method, path):
    import qt

    monkeypatch.setattr(qt.QFileDialog, method, staticmethod(lambda *a: str(path)))


def texts(panel, row):
    return [panel.ui.modelsTable.item(row, column).text() for column in range(panel.ui.modelsTable.columnCount)]


def test_import_choose_export_delete(ready, tmp_path, monkeypatch):
    ui, parameters = ready.ui, ready.logic.getParameterNode()
    assert ui.modelsTable.rowCount == 0
    assert not ui.exportModelButton.enabled and not ui.deleteModelButton.enabled
    choose_file(monkeypatch, "getOpenFileName", model_file(tmp_path / "one.safetensors", "first"))
    ui.importModelButton.click()
    choose_file(monkeypatch, "getOpenFileName", model_file(tmp_path / "two.safetensors", "second"))
    ui.importModelButton.click()
    settle()
    assert parameters.modelPath.endswith("two.safetensors") and ui.modelsTable.rowCount == 2
    model, range_, error = texts(ready, 1)
    assert model.startswith("20") and model.endswith("second") and range_ == "20 / 15 / 10 °, 30 / 60 / 30 mm"
    assert "4.2" in error and "11.5" in error
    ui.modelsTable.cellClicked.emit(0, 0)
    settle()
    assert parameters.modelPath.endswith("one.safetensors")

    choose_file(monkeypatch, "getSaveFileName", tmp_path / "kept.safetensors")
    ui.exportModelButton.click()
    settle()
    assert (tmp_path / "kept.safetensors").read_bytes() == (tmp_path / "one.safetensors").read_bytes()
    assert parameters.modelPath.endswith("kept.safetensors") and ui.modelsTable.rowCount == 3

    slicer.app.answers.append(False)
    ui.deleteModelButton.click()
    assert slicer.app.messages[-1][0] == "confirmYesNoDisplay" and "kept" in slicer.app.messages[-1][1]
    assert (tmp_path / "kept.safetensors").is_file()  # the person said no
    ui.deleteModelButton.click()
    settle()
    assert not (tmp_path / "kept.safetensors").exists() and ui.modelsTable.rowCount == 2


def test_files_that_are_no_models(ready, tmp_path, monkeypatch):
    ui = ready.ui
    wrong = tmp_path / "wrong.safetensors"
    for content in (b"", b"no model at all", struct.pack("<Q", 2**60) + b"x", struct.pack("<Q", 4) + b"null"):
        wrong.write_bytes(content)
        choose_file(monkeypatch, "getOpenFileName", wrong)
        ui.importModelButton.click()
        assert slicer.app.messages.pop()[1].startswith(f"{wrong} is no DiffPose model")
    choose_file(monkeypatch, "getOpenFileName", model_file(wrong, format_="another"))
    ui.importModelButton.click()
    assert "is no DiffPose model" in slicer.app.messages.pop()[1]
    choose_file(monkeypatch, "getOpenFileName", tmp_path / "gone.safetensors")
    ui.importModelButton.click()
    assert "is not there" in slicer.app.messages.pop()[1]
    choose_file(monkeypatch, "getOpenFileName", "")  # the dialog was cancelled
    ui.importModelButton.click()
    settle()
    assert ui.modelsTable.rowCount == 0 and not slicer.app.messages


def test_another_patient_has_other_models(ready, tmp_path, monkeypatch):
    from cases import small_patient

    ui, parameters = ready.ui, ready.logic.getParameterNode()
    first = ui.ctSelector.currentNode()
    choose_file(monkeypatch, "getOpenFileName", model_file(tmp_path / "one.safetensors"))
    ui.importModelButton.click()
    second, _ct = small_patient()
    ui.ctSelector.setCurrentNode(second)
    settle()
    choose_file(monkeypatch, "getOpenFileName", model_file(tmp_path / "two.safetensors"))
    ui.importModelButton.click()
    settle()
    ui.ctSelector.setCurrentNode(first)
    settle()
    assert parameters.modelPath.endswith("one.safetensors") and ui.modelsTable.rowCount == 1


def test_samples_of_the_range(ready):
    ui = ready.ui
    assert ui.samplesLabel.isHidden()
    ui.samplesButton.click()
    settle()
    assert not ui.samplesLabel.isHidden() and ui.samplesLabel.pixmap.width() == 5 * 96
    page = ready.logic.samples(ui.ctSelector.currentNode(), ui.xraySelector.currentNode())
    tiles = page.reshape(2, 96, 5, 96).swapaxes(1, 2).reshape(10, -1).astype(float)
    assert (tiles.std(axis=1) > 20).all()
    assert np.corrcoef(tiles).max(where=~np.eye(10, dtype=bool), initial=-1) < 0.999  # each at another pose
    ui.primaryRangeSpinBox.value = 5
    settle()
    assert ui.samplesLabel.isHidden()  # they showed another range


def test_cancelled_preparation_is_resumed_and_plotted(ready):
    from DiffPoseRegistrationLib.app import plots
    from DiffPoseRegistrationLib.jobs import events

    ui, logic = ready.ui, ready.logic
    layout = slicer.vtkMRMLLayoutNode()
    slicer.mrmlScene.AddNode(layout)
    assert not ui.resumeButton.enabled and not ui.trainingPlotButton.enabled
    ui.minutesSpinBox.value = 0.1
    previews, started = [], []
    logic.jobs.eventHappened.connect(lambda e: previews.append(e) if isinstance(e, events.Preview) else None)
    logic.jobs.eventHappened.connect(lambda e: started.append(e) if isinstance(e, events.Started) else None)
    ui.prepareButton.click()
    wait_for(lambda: previews)
    ui.prepareButton.click()
    wait_for_job(ready)
    if not logic.was_cancelled:
        pytest.skip("the machine was so busy that the training was over before it could be cancelled")
    ct = ui.ctSelector.currentNode()
    assert ui.prepareLabel.text == "Cancelled." and ui.modelsTable.rowCount == 0
    assert ui.resumeButton.enabled, ui.resumeButton.toolTip
    ui.resumeButton.click()
    wait_for_job(ready)
    assert logic.problem == "" and started[-1].attempt == 2 and started[-1].resumed_step is not None
    assert ui.modelsTable.rowCount == 1 and not ui.resumeButton.enabled
    assert "temporary folder" in ui.prepareLabel.text  # the scene is not saved

    chart = plots.chart_of(ct, plots.TRAINING_ROLE)
    table = chart.GetNthPlotSeriesNode(0).GetTableNode()
    assert chart.GetNumberOfPlotSeriesNodes() == 2 and table.GetNumberOfRows() >= 1
    medians = slicer.util.arrayFromTableColumn(table, "median")
    assert np.isfinite(medians).all() and (medians <= slicer.util.arrayFromTableColumn(table, "95th percentile")).all()
    ui.trainingPlotButton.click()
    shown = slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID()
    assert shown == chart.GetID()


def test_similarity_is_plotted(ready):
    from DiffPoseRegistrationLib.app import plots, xray_node

    xray = ready.ui.xraySelector.currentNode()
    for values in ([0.2, 0.5], [0.2, 0.5, 0.9]):  # as it grows while registering
        plots.show_similarity(xray, values)
    chart = plots.chart_of(xray, plots.SIMILARITY_ROLE)
    table = chart.GetNthPlotSeriesNode(0).GetTableNode()
    assert np.allclose(slicer.util.arrayFromTableColumn(table, "similarity"), [0.2, 0.5, 0.9])
    assert xray_node.camera_of(xray) is not None and chart.GetNumberOfPlotSeriesNodes() == 1

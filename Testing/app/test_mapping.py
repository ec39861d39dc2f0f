"""A volume that holds no Hounsfield units: the views, the jobs and the models read it as a person says that it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from driving import choose_start, settle, wait_for_job

OFFSET, FACTOR = 1000.0, 0.05  # such as a cone-beam machine's own scale


@pytest.fixture()
def cone_beam(slicer_app):
    """A volume node on another scale than Hounsfield units, and the CT that it shows."""
    from cases import volume_node
    from DiffPoseRegistrationLib.imaging.phantom import phantom_ct

    ct = phantom_ct(size=(80, 60, 80), spacing=4.0)
    values = ((np.maximum(ct.hounsfield, -1000) + OFFSET) * FACTOR).astype(np.float32)
    return volume_node(values, ct.ijk_to_ras, "cone beam"), ct


@pytest.fixture()
def ready(panel, cone_beam):
    """The panel with it and with an X-ray of the patient."""
    from cases import picture_of, volume_node
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.geometry.camera import Camera
    from DiffPoseRegistrationLib.geometry.pose_range import view_pose

    node, ct = cone_beam
    camera = Camera(1020.0, 128, 128, (2.8, 2.8))
    picture = picture_of(ct, camera, view_pose("AP", ct.centre_ras, 714.0))
    xray = volume_node(picture[None], np.diag([-1.0, -1.0, 1.0, 1.0]), "X-ray")
    xray_node.set_camera(xray, camera)
    panel.ui.ctSelector.setCurrentNode(node)
    panel.ui.xraySelector.setCurrentNode(xray)
    settle()
    return panel


def choose_kind(panel, kind):
    from DiffPoseRegistrationLib.imaging.volume_mapping import KINDS

    panel.ui.mappingComboBox.currentIndex = KINDS.index(kind)
    settle()


def test_what_is_read_is_what_the_job_reads(cone_beam, tmp_path):
    from cases import segmentation_node
    from DiffPoseRegistrationLib.app.ct_node import PatientCache
    from DiffPoseRegistrationLib.app.mapping import set_mapping
    from DiffPoseRegistrationLib.errors import InputError
    from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
    from DiffPoseRegistrationLib.workflow.task_settings import TaskSettings

    node, ct = cone_beam
    patients = PatientCache()
    with pytest.raises(InputError, match="not Hounsfield units"):
        patients.of(node).volume()
    set_mapping(node, "cone-beam")
    whole = patients.of(node)
    seen = whole.volume()
    # The scale is that of the histogram's peaks: soft tissue is taken to be 40 HU.
    assert np.abs(seen.hounsfield - np.maximum(ct.hounsfield, -1000)).max() < 120
    settings = TaskSettings(whole.job_settings)
    read = read_ct(whole.write(tmp_path / "whole.nrrd"), settings.mapping("mapping", "ct"))
    assert read.fingerprint == seen.fingerprint and read.mapping == seen.mapping and read.mapping.kind == "cone-beam"

    bone = (ct.hounsfield > 250).astype(np.uint8)
    segmentation = segmentation_node(bone, node, {1: "bone"})
    part = patients.of(node, segmentation)
    assert part.job_settings == whole.job_settings  # fitted to all of the volume, not to the bone
    alone = part.volume()
    assert set(alone.hounsfield[alone.hounsfield > -1000]) == set(seen.hounsfield[bone > 0])
    read = read_ct(part.write(tmp_path / "part.nrrd"), TaskSettings(part.job_settings).mapping("mapping", "ct"))
    assert read.fingerprint == alone.fingerprint and read.is_cut_out
    set_mapping(node, "ct")
    assert patients.of(node).job_settings == {}


def test_settings_that_are_no_mapping():
    from DiffPoseRegistrationLib.errors import InputError
    from DiffPoseRegistrationLib.workflow.task_settings import TaskSettings

    settings = TaskSettings({"name": "mr", "table": {"kind": "mr"}, "number": 3})
    assert settings.mapping("name", "ct") == "mr" and settings.mapping("other", "ct") == "ct"
    for name in ("table", "number"):
        with pytest.raises(InputError, match=name):
            settings.mapping(name, "ct")


def test_chosen_in_the_panel_it_is_remembered_by_the_model_and_used_by_register(ready):
    from DiffPoseRegistrationLib.app import models, overlay, xray_node
    from DiffPoseRegistrationLib.encoder.model_file import load_model

    ui, logic = ready.ui, ready.logic
    ct, xray = ui.ctSelector.currentNode(), ui.xraySelector.currentNode()
    assert ui.mappingComboBox.count == 4 and ui.mappingComboBox.currentIndex == 0
    ui.samplesButton.click()
    assert "what the volume is" in slicer.app.messages.pop()[1]
    choose_kind(ready, "cone-beam")
    ui.samplesButton.click()
    settle()
    assert not ui.samplesLabel.isHidden() and not slicer.app.messages

    path = logic.prepare(ct, xray, rotationDeg=(5, 5, 5), translationMm=(10, 10, 10), steps=30, device="cpu")
    settle()
    assert models.read_summary(path).mapping == "cone-beam"
    assert load_model(path).mapping.to_json() == logic._patients.of(ct).job_settings["mapping"]
    assert ui.registerButton.enabled, ui.registerButton.toolTip
    choose_kind(ready, "mr")
    assert ui.samplesLabel.isHidden()  # they were of the volume read otherwise
    assert not ui.registerButton.enabled and "read as Cone-beam CT" in ui.registerButton.toolTip
    choose_start(ready, "VIEW")
    assert ui.registerButton.enabled
    choose_start(ready, "NETWORK")
    choose_kind(ready, "cone-beam")

    ui.registerButton.click()
    wait_for_job(ready)
    assert logic.problem == "" and xray_node.pose_of(xray) is not None
    found = logic.outcome
    start = found.camera_to_world.copy()
    start[:3, 3] += (4, 3, -3)
    again = logic.register(ct, xray, initial=start)  # no model tells what the volume is: the node does
    assert np.linalg.norm(again.camera_to_world[:3, 3] - found.camera_to_world[:3, 3]) < 5
    assert again.similarity > 0.9
    drr = slicer.util.arrayFromVolume(xray.GetNodeReference(overlay.DRR_ROLE))[0]
    assert drr.std() > 0
    assert not slicer.app.messages


def test_a_volume_without_a_body_stays_what_it_was(ready):
    from cases import volume_node

    ui = ready.ui
    flat = volume_node(np.full((8, 8, 8), 7, np.int16), np.eye(4), "flat")
    ui.ctSelector.setCurrentNode(flat)
    settle()
    choose_kind(ready, "mr")
    assert "no body" in slicer.app.messages.pop()[1]
    assert ui.mappingComboBox.currentIndex == 0
    ui.ctSelector.setCurrentNode(None)
    settle()
    assert not ui.mappingComboBox.enabled and "CT" in ui.mappingComboBox.toolTip


def test_the_preparation_begins_with_a_pretrained_network(ready, cone_beam, tmp_path, monkeypatch):
    import qt
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.encoder.pretrained import save_pretrained
    from DiffPoseRegistrationLib.encoder.settings import TrainingSettings
    from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
    from DiffPoseRegistrationLib.jobs.description import JobDescription
    from DiffPoseRegistrationLib.workflow.pretrain import pretrain

    ui, logic = ready.ui, ready.logic
    choose_kind(ready, "cone-beam")
    _node, ct = cone_beam
    around = PoseRange(view_pose("AP", ct.centre_ras, 714.0), ct.centre_ras, (30.0,) * 3, (60.0,) * 3)
    tiny = TrainingSettings(steps=2, image_side=32, widths=(8, 16), batch_size=16, validation_images=40, looks=1)
    camera = xray_node.camera_of(ui.xraySelector.currentNode())
    network = tmp_path / "pretrained.safetensors"
    save_pretrained(pretrain([ct], camera, around, tiny), network)

    ui.pretrainedLineEdit.text = str(tmp_path / "gone.safetensors")
    settle()
    assert not ui.prepareButton.enabled and "gone.safetensors" in ui.prepareButton.toolTip
    assert ui.samplesButton.enabled
    monkeypatch.setattr(qt.QFileDialog, "getOpenFileName", staticmethod(lambda *a: str(network)))
    ui.pretrainedButton.click()
    settle()
    assert ui.pretrainedLineEdit.text == str(network) and logic.getParameterNode().pretrained == str(network)
    ui.minutesSpinBox.value = 0.1
    settle()
    ui.prepareButton.click()
    wait_for_job(ready)
    assert logic.problem == "", logic.problem
    description = JobDescription.read(logic.jobs.folder.path)
    assert Path(description.inputs["pretrained"]) == network and description.settings["mapping"]["kind"] == "cone-beam"
    assert ui.modelsTable.rowCount == 1
    from DiffPoseRegistrationLib.encoder.model_file import load_model

    assert load_model(logic.modelPath).settings.image_side == 32  # the network's own, not the preset's

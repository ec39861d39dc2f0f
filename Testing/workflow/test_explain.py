"""The geometry wizard names what happened to a picture of a generated patient, and of a bone; and what a pose that
lies on its side makes it say."""

import json
from dataclasses import replace

import numpy as np
import pytest
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.picture_change import PictureChange
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.jobs import events
from DiffPoseRegistrationLib.jobs.folder import create_job
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher, State
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.workflow.explain import explain, read_both_polarities
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray, write_ct, write_xray_dicom
from PIL import Image

CAMERA = Camera(1020.0, 120, 120, (2.5, 2.5))
ROUGHLY = np.r_[np.deg2rad([6.0, -5.0, 4.0]), 9.0, -12.0, 8.0]
ON_ITS_SIDE = rigid.se3_exp(np.array([0, 0, np.pi / 2, 0, 0, 0]))


@pytest.fixture(scope="module")
def patient():
    """CT, renderer, true pose, rough pose, picture."""
    ct = phantom_ct(2)
    pose = view_pose("AP", ct.centre_ras, 714.0)
    return ct, Renderer(ct), pose, rigid.update_pose(pose, ROUGHLY, ct.centre_ras), simulate_xray(ct, CAMERA, pose)


def _written(path, picture, change, camera=CAMERA):
    picture = change.applied(picture)
    write_xray_dicom(path, np.ascontiguousarray(65535 - picture if change.inverted else picture), camera)
    return path


def test_change_is_named(patient, tmp_path):
    _, renderer, pose, rough, picture = patient
    change = PictureChange(turned_deg=270, inverted=True)
    both = read_both_polarities(_written(tmp_path / "x.dcm", picture, change))
    shares = []
    found = explain(renderer, both, rough, progress=shares.append)
    assert found[0].change == change
    assert found[0].gap == 0 and found[1].gap > 0.1
    assert PictureChange() in [one.change for one in found]
    np.testing.assert_allclose(found[0].pose[:3, :3], pose[:3, :3], atol=0.02)
    assert shares == sorted(shares) and shares[-1] == 1
    # The control: where the rough pose lies on its side, so must the answer.
    assert explain(renderer, both, rough @ ON_ITS_SIDE)[0].change != change


def test_pixel_spacing_of_the_patient_is_named(patient, tmp_path):
    _, renderer, _, rough, picture = patient
    in_patient = replace(CAMERA, pixel_spacing_mm=(2.5 * 714 / 1020,) * 2)
    both = read_both_polarities(_written(tmp_path / "x.dcm", picture, PictureChange(), in_patient))
    best = explain(renderer, both, rough)[0]
    assert best.change == PictureChange(spacing="of the patient")
    assert best.xray.camera.pixel_spacing_mm == pytest.approx((2.5, 2.5), rel=0.03)


def test_bone_that_was_cut_out(patient, tmp_path):
    """The skeleton alone, among everything else that the X-ray shows."""
    ct, _, _, rough, picture = patient
    alone = CTVolume(np.where(ct.hounsfield > 250, ct.hounsfield, -1000), ct.ijk_to_ras, "bone")
    assert alone.is_cut_out
    change = PictureChange(mirrored=True, turned_deg=90)
    Image.fromarray((change.applied(picture) // 256).astype(np.uint8)).save(tmp_path / "x.png")
    both = read_both_polarities(tmp_path / "x.png", CAMERA, polarity="bright-is-air")
    assert both.polarity == "bright-is-bone"
    found = explain(Renderer(alone), both, rough)
    assert found[0].change == change and found[1].gap > 0.1


def test_nothing_in_the_image_and_no_range(patient, tmp_path):
    _, renderer, _, rough, picture = patient
    both = read_both_polarities(_written(tmp_path / "x.dcm", picture, PictureChange()))
    away = rough.copy()
    away[:3, 3] += 5000
    with pytest.raises(InputError, match="does not project"):
        explain(renderer, both, away)
    with pytest.raises(InputError, match="off by 0 degrees"):
        explain(renderer, both, rough, range_deg_mm=(0, 20))


def test_command_says_what_happened_and_what_to_do(patient, tmp_path, capsys):
    ct, _, _, rough, picture = patient
    write_ct(tmp_path / "ct.nrrd", ct)
    rows = ", ".join(str(row.tolist()) for row in rough)
    (tmp_path / "rough.json").write_text(f'{{"camera_to_world_ras_mm": [{rows}]}}', encoding="utf-8")
    file = _written(tmp_path / "x.dcm", picture, PictureChange(mirrored=True, inverted=True))
    before = file.read_bytes()
    options = ["--ct", str(tmp_path / "ct.nrrd"), "--initial", str(tmp_path / "rough.json")]
    assert main(["info", str(file), "--explain", *options, "--out", str(tmp_path / "sheet.png")]) == 0
    said = capsys.readouterr().out
    assert "was probably changed: mirrored left to right; grey values inverted" in said
    assert "--viewed-from detector" in said and "--polarity bright-is-bone" in said and "Nothing was changed" in said
    assert file.read_bytes() == before
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[1] > 1000 and (sheet == (255, 150, 30)).all(axis=-1).any()  # edges are drawn
    assert main(["info", str(file), "--explain"]) == 2
    assert "--initial" in capsys.readouterr().err


def test_as_a_job_it_says_how_to_read_the_picture(patient, tmp_path):
    ct, _, _, rough, picture = patient
    write_ct(tmp_path / "ct.nrrd", ct)
    file = _written(tmp_path / "x.dcm", picture, PictureChange(turned_deg=90, inverted=True))
    settings = {"initial_camera_to_world_ras_mm": rough.tolist(), "sheet_px": 500}
    job = create_job("explain", {"ct": tmp_path / "ct.nrrd", "xray": file}, settings, tmp_path)
    heard = []
    launcher = JobLauncher(on_event=heard.append)
    try:
        launcher.start(job.path)
        assert launcher.wait(120) is State.FINISHED, launcher.last_event
    finally:
        launcher.close()
    said = [event for event in heard if isinstance(event, events.Progress)]
    assert said and any("readings" in event.metrics.get("text", "") for event in said)
    found = json.loads((job.result / "result.json").read_text(encoding="utf-8"))
    assert found["is_explained"] and found["is_changed"] and found["rival_in_words"] is None
    assert PictureChange(**found["change"]) == PictureChange(turned_deg=90, inverted=True)
    assert found["polarity"] == "bright-is-bone" and Camera.from_json(found["camera"]) == CAMERA
    assert found["similarity"] > 0.4 > found["similarity_as_it_is"]
    with Image.open(job.result / "sheet.png") as sheet:
        assert 470 <= sheet.width <= 500

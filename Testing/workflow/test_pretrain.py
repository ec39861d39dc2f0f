"""Pretrained on some people, a network learns another one sooner."""

import json
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.encoder.model_file import load_model
from DiffPoseRegistrationLib.encoder.pretrained import load_pretrained, save_pretrained
from DiffPoseRegistrationLib.encoder.settings import TrainingSettings
from DiffPoseRegistrationLib.errors import Cancelled, InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from DiffPoseRegistrationLib.imaging.alignment import Alignment
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.jobs.context import JobContext, StopRequest
from DiffPoseRegistrationLib.jobs.folder import JobFolder
from DiffPoseRegistrationLib.workflow import tasks
from DiffPoseRegistrationLib.workflow.prepare import finetuning, prepare
from DiffPoseRegistrationLib.workflow.pretrain import find_volumes, pretrain, read_volumes
from DiffPoseRegistrationLib.workflow.simulate import write_ct

CAMERA = Camera(1020.0, 300, 400, (1.0, 1.0))
TINY = {"image_side": 32, "widths": [8, 16], "batch_size": 16, "validation_images": 40, "looks": 1}
RANGE = ((20.0, 20.0, 10.0), (40.0, 60.0, 40.0))
OBLIQUE = rigid.se3_exp(np.array([0.1, 0.15, -0.2, 90.0, -60.0, 200.0]))


def _ct(seed, motion=None, spacing=4.0):
    ct = phantom_ct(seed, size=(int(320 / spacing), int(240 / spacing), int(320 / spacing)), spacing=spacing)
    return ct if motion is None else CTVolume(ct.hounsfield, motion @ ct.ijk_to_ras, ct.name)


def _range(ct, view="AP"):
    return PoseRange(view_pose(view, ct.centre_ras, 720.0), ct.centre_ras, *RANGE)


@pytest.fixture(scope="module")
def pretrained():
    volumes = [_ct(1), _ct(2, OBLIQUE, spacing=5.0)]
    settings = TrainingSettings(steps=240, **TINY)
    return pretrain(volumes, CAMERA, _range(volumes[0]), settings)


@pytest.fixture(scope="module")
def patient():
    return _ct(3, rigid.se3_exp(np.array([-0.1, 0.1, 0.1, -50.0, 30.0, 40.0])))


def test_what_was_pretrained_learns_a_patient_in_fewer_steps(pretrained, patient):
    """Counted in steps: the same number of X-rays of the patient, from the same seed."""
    steps = 24
    scratch = prepare(patient, CAMERA, _range(patient), TrainingSettings(steps=steps, **TINY))
    finetuned = prepare(patient, CAMERA, _range(patient), finetuning(pretrained, steps=steps), pretrained=pretrained)
    assert finetuned.training["steps"] == scratch.training["steps"] == steps
    assert finetuned.training["median_error_mm"] < 0.8 * scratch.training["median_error_mm"]
    assert pretrained.training["volumes"] == 2


def test_the_frame_lies_in_every_patient_alike(pretrained, patient):
    model = prepare(patient, CAMERA, _range(patient), finetuning(pretrained, steps=1), pretrained=pretrained)
    # The phantoms are centred alike, so their motion says where the frame has to be.
    expected = rigid.se3_exp(np.array([-0.1, 0.1, 0.1, -50.0, 30.0, 40.0])) @ pretrained.frame.centre
    apart = rigid.inverse(model.frame.centre) @ expected
    assert np.rad2deg(np.linalg.norm(rigid.so3_log(apart[:3, :3]))) < 6
    plain = rigid.inverse(pretrained.frame.centre) @ expected  # control: where it was
    assert np.rad2deg(np.linalg.norm(rigid.so3_log(plain[:3, :3]))) > 8


def test_another_view_is_refused_and_other_shapes_too(pretrained, patient, monkeypatch):
    monkeypatch.setattr(sys.modules[prepare.__module__], "align", lambda *_: Alignment(np.eye(4), 1.0))
    with pytest.raises(InputError, match="pretrain for this view"):
        prepare(patient, CAMERA, _range(patient, "LL"), finetuning(pretrained, steps=1), pretrained=pretrained)
    wider = finetuning(pretrained, {"widths": [16, 16]}, steps=1)
    with pytest.raises(InputError, match="another shape"):
        prepare(patient, CAMERA, _range(patient), wider, pretrained=pretrained)


def test_file_round_trip(pretrained, tmp_path):
    path = tmp_path / "pretrained.safetensors"
    save_pretrained(pretrained, path)
    read = load_pretrained(path)
    for name, value in pretrained.network.state_dict().items():
        assert torch.equal(read.network.state_dict()[name], value)
    assert read.settings == pretrained.settings and read.training == pretrained.training
    assert read.camera == pretrained.camera
    np.testing.assert_array_equal(read.frame.centre, pretrained.frame.centre)
    assert np.abs(read.template.hounsfield - pretrained.template.hounsfield).max() <= 0.5
    with pytest.raises(InputError, match="pretrained network"):
        load_model(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="damaged"):
        load_pretrained(path)


def test_volumes_are_found_in_folders(tmp_path):
    for name in ("b/ct.nii.gz", "b/mask.nii.gz", "a.nrrd", "c/series/1.dcm", "c/notes.txt", "d/readme.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "e").mkdir()
    (tmp_path / "e/IM0001").write_bytes(bytes(128) + b"DICM")

    def found(*places, **more):
        return [path.relative_to(tmp_path).as_posix() for path in find_volumes(places, **more)]

    assert found(tmp_path) == ["a.nrrd", "b/ct.nii.gz", "b/mask.nii.gz", "c/series", "e"]
    assert found(tmp_path / "b", tmp_path, match="ct.*") == ["b/ct.nii.gz", "c/series", "e"]
    assert found(tmp_path / "b/mask.nii.gz") == ["b/mask.nii.gz"]
    with pytest.raises(InputError, match="does not exist"):
        found(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no volume"):
        found(tmp_path / "d")


def test_what_cannot_be_read_is_left_out_aloud(tmp_path):
    write_ct(tmp_path / "a.nrrd", _ct(1))
    write_ct(tmp_path / "b.nrrd", _ct(1))
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((20, 20, 20), np.uint8)), str(tmp_path / "labels.nrrd"))
    said = []
    paths = find_volumes([tmp_path])
    volumes = read_volumes(paths, warn=said.append, cancelled=lambda: False)
    assert [ct.name for ct in volumes] == ["a.nrrd"]
    assert len(said) == 2 and "same volume" in said[0] and "labels.nrrd" in said[1]
    with pytest.raises(InputError, match="None of the volumes"):
        read_volumes(paths[2:], warn=said.append, cancelled=lambda: False)
    with pytest.raises(Cancelled):
        read_volumes(paths, warn=said.append, cancelled=lambda: True)


def test_huge_volumes_are_made_small(tmp_path):
    fine = phantom_ct(1, size=(200, 160, 200), spacing=1.6)
    write_ct(tmp_path / "fine.nrrd", fine)
    (small,) = read_volumes([tmp_path / "fine.nrrd"], warn=print, cancelled=lambda: False)
    assert small.hounsfield.size < 5e6 < fine.hounsfield.size


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "volumes").mkdir()
    write_ct(tmp_path / "volumes/one.nrrd", _ct(1))
    write_ct(tmp_path / "volumes/two.nrrd", _ct(2))
    write_ct(tmp_path / "patient.nrrd", _ct(3))
    (tmp_path / "camera.json").write_text(json.dumps({"camera": CAMERA.to_json()}), encoding="utf-8")
    return tmp_path


def test_on_the_command_line_with_checkpoints_and_on_to_a_patient(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    tiny = json.dumps({**TINY, "validation_images": 8})
    options = ["--camera", "camera.json", "--rotation", "20", "20", "10", "--training", tiny]
    once = ["pretrain", "volumes", *options, "--steps", "3", "--out", "pre.safetensors", "--checkpoints", "state"]
    assert main(once) == 0, capsys.readouterr().err
    assert "from 2 volumes" in capsys.readouterr().out
    to_patient = ["prepare", "--ct", "patient.nrrd", "--camera", "camera.json", "--rotation", "20", "20", "10"]
    assert main([*to_patient, "--from", "pre.safetensors", "--steps", "2", "--out", "m.safetensors"]) == 0
    model = load_model("m.safetensors")
    assert model.training["steps"] == 2 and model.settings.image_side == 32
    for wrong, words in (
        (["--from", "m.safetensors"], "diffpose pretrain"),
        (["--from", "pre.safetensors", "--preset", "xvr"], "leave --preset out"),
        (["--from", "nothing.safetensors"], "does not exist"),
    ):
        assert main([*to_patient, *wrong, "--steps", "2", "--out", "n.safetensors"]) == 2
        assert words in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*once, "--job", "job"]) == 2
    assert "--checkpoints" in capsys.readouterr().err


def test_as_a_job_stopped_and_taken_up_again(folder):
    settings = {
        "camera": CAMERA.to_json(), "view": "AP", "source_to_isocentre_mm": 720.0, "steps": 6,
        "rotation_deg": list(RANGE[0]), "translation_mm": list(RANGE[1]), "checkpoint_seconds": 0.0,
        "training": {**TINY, "validation_images": 8},
    }  # fmt: skip
    inputs = {"volumes": [folder / "volumes/one.nrrd"]}

    def run(kind, name, inputs, settings, stop=None):
        job = JobFolder(folder / name)
        job.result.mkdir(parents=True, exist_ok=True)
        context = JobContext(job, name, seen.append, stop or StopRequest(), {})
        return job, tasks.run_task(kind, inputs, settings, context)

    seen = []
    job, told = run("pretrain", "job", inputs, settings)
    assert told["volumes"] == 1 and told["training"]["steps"] == 6
    made = load_pretrained(job.result / "pretrained.safetensors")
    _, again = run("pretrain", "job", inputs, settings)  # its last checkpoint is taken up
    assert again["training"]["learning_seconds"] == told["training"]["learning_seconds"]
    read = load_pretrained(job.result / "pretrained.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(read.network.state_dict().values(), made.network.state_dict().values())
    )
    patient = {
        "ct": folder / "patient.nrrd", "pretrained": job.result / "pretrained.safetensors"
    }  # fmt: skip
    centre = view_pose("AP", _ct(3).centre_ras, 720.0)
    rest = {key: settings[key] for key in ("camera", "rotation_deg", "translation_mm")}
    finetune = {**rest, "centre_camera_to_world_ras_mm": centre.tolist(), "steps": 2}
    other, _ = run("prepare", "other", patient, finetune)
    assert load_model(other.result / "model.safetensors").settings.widths == (8, 16)
    with pytest.raises(InputError, match="view"):
        run("pretrain", "third", inputs, {key: value for key, value in settings.items() if key != "view"})

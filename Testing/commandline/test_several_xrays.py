"""Several X-rays at once, as a person meets it: from files to files, against known poses, and what is refused."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import perturbed, view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.imaging.pose_file import read_pose
from DiffPoseRegistrationLib.metrics.errors import pose_error
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray, write_ct, write_xray_dicom
from scipy.spatial.transform import Rotation

SEED = 4
CAMERA = Camera(1020.0, 128, 128, (2.5, 2.5))
VIEWS = ("AP", "LL")
LAB_TO_WORLD = np.eye(4)
LAB_TO_WORLD[:3, :3] = Rotation.from_euler("xyz", [100, -35, 60], degrees=True).as_matrix()
LAB_TO_WORLD[:3, 3] = 250.0, -90.0, 1200.0


def _json(path, data):
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """A CT, two X-rays of it, their cameras in a lab whose axes are not the patient's, and rough poses."""
    folder = tmp_path_factory.mktemp("rig")
    ct = phantom_ct(SEED, size=(80, 60, 80), spacing=4.0)
    write_ct(folder / "ct.nrrd", ct)
    views = {}
    for number, name in enumerate(VIEWS):
        pose = perturbed(view_pose(name, ct.centre_ras, 720.0), ct.centre_ras, 6, 10, np.random.default_rng(number))
        write_xray_dicom(folder / f"{name}.dcm", simulate_xray(ct, CAMERA, pose, seed=number), CAMERA)
        rough = perturbed(pose, ct.centre_ras, 6, 15, np.random.default_rng(10 + number))
        _json(folder / f"rough-{name}.json", {"camera_to_world_ras_mm": rough.tolist()})
        lab_to_camera = rigid.inverse(pose) @ LAB_TO_WORLD
        views[name] = {
            "camera": CAMERA.to_json(),
            "lab_to_camera_mm": lab_to_camera.tolist(),
            "camera_to_world_ras_mm": pose.tolist(),
        }
    _json(folder / "rig.json", {"views": views, "landmarks_ras_mm": phantom_landmarks(SEED).tolist()})
    bare = {name: {key: view[key] for key in ("camera", "camera_to_world_ras_mm")} for name, view in views.items()}
    _json(folder / "bare.json", {"views": bare, "landmarks_ras_mm": phantom_landmarks(SEED).tolist()})
    return folder


def _command(rig, out, *more, cameras="rig.json", initial=("rough-AP.json",)):
    files = ["--ct", rig / "ct.nrrd", "--xray", *(rig / f"{name}.dcm" for name in VIEWS)]
    specs = ["--camera", *(f"{rig / cameras}:{name}" for name in VIEWS)]
    start = ["--initial", *(rig / name for name in initial)] if initial else []
    return [str(a) for a in ["register", *files, *specs, *start, *(["--out", out] if out else []), *more]]


def _read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def _true(rig, name):
    return np.array(_read(rig / "rig.json")["views"][name]["camera_to_world_ras_mm"])


@pytest.fixture(scope="module")
def shared_pose(rig, tmp_path_factory):
    out = tmp_path_factory.mktemp("shared pose")
    assert main(_command(rig, out, "--truth", f"{rig / 'rig.json'}:AP")) == 0
    return out


def test_calibrated_xrays_share_one_pose_that_is_the_true_one(rig, shared_pose):
    data = _read(shared_pose / "result.json")
    assert data["pose_is_shared"] is True and data["verdict"] == "accept"
    assert sorted(p.relative_to(shared_pose).as_posix() for p in shared_pose.rglob("*") if p.is_file()) == sorted(
        ["result.json", *(f"{view}/{file}" for view in VIEWS for file in ("overlay.png", "pose.h5", "result.json"))]
    )
    landmarks = phantom_landmarks(SEED)
    found = {name: np.array(data["views"][name]["camera_to_world_ras_mm"]) for name in VIEWS}
    for name in VIEWS:
        error = pose_error(found[name], _true(rig, name), landmarks, CAMERA)
        assert error.tre_mm < 0.5 and error.depth_mm < 0.4
        view = _read(shared_pose / name / "result.json")
        assert view == data["views"][name] and view["inputs"]["xray"]["file"] == f"{name}.dcm"
        assert view["tre_mm"] == pytest.approx(
            error.tre_mm, abs=1e-6
        )  # the other view's truth follows from the first's
        np.testing.assert_allclose(read_pose(shared_pose / name / "pose.h5"), found[name], atol=1e-6)
    # The frames, by hand: a point of the patient, seen in the lab, is where the landmark was simulated.
    lab_to_world = np.array(data["lab_to_world_ras_mm"])
    in_lab = np.linalg.inv(LAB_TO_WORLD) @ np.c_[landmarks, np.ones(len(landmarks))].T
    placed = (lab_to_world @ in_lab)[:3].T
    assert np.linalg.norm(placed - landmarks, axis=1).mean() < 0.5
    # Controls: the matrix the other way round, or the pose of the other view, is far off.
    wrong = (np.linalg.inv(lab_to_world) @ in_lab)[:3].T
    assert np.linalg.norm(wrong - landmarks, axis=1).mean() > 100
    assert pose_error(found["LL"], _true(rig, "AP"), landmarks, CAMERA).tre_mm > 50


def test_one_view_alone_says_that_it_sees_depth_worse(rig, shared_pose, tmp_path, capsys):
    files = ["--ct", rig / "ct.nrrd", "--xray", rig / "AP.dcm", "--initial", rig / "rough-AP.json"]
    points = [[0.0, 0.0, 400.0], *phantom_landmarks(SEED)[:3].tolist()]
    _json(tmp_path / "points.json", {"landmarks_ras_mm": points})
    options = ["--landmarks", tmp_path / "points.json", "--out", tmp_path / "out"]
    assert main([str(a) for a in ["register", *files, *options]]) == 0
    alone = _read(tmp_path / "out" / "result.json")
    along = alone["predicted_error_along_mm"]
    assert along["beam"] > 1.5 * max(along["image_columns"], along["image_rows"])
    assert alone["weak_direction"]["words"] == "along the beam"
    beam = np.array(alone["camera_to_world_ras_mm"])[:3, 2]
    assert abs(np.array(alone["weak_direction"]["direction_ras"]) @ beam) > 0.9
    assert len(alone["predicted_landmark_errors_mm"]) == 4
    # The first is far from the patient's centre, and so the error of a rotation is larger there.
    assert alone["predicted_landmark_errors_mm"][0] > max(alone["predicted_landmark_errors_mm"][1:])
    text = capsys.readouterr().out
    assert "least certain along the beam: ±" in text and "landmark 4: ±" in text
    both = _read(shared_pose / "AP" / "result.json")["predicted_error_along_mm"]
    assert both["beam"] < 0.5 * along["beam"]


def test_xrays_without_places_get_each_their_own_pose(rig, tmp_path, capsys):
    truths = ["--truth", *(f"{rig / 'bare.json'}:{name}" for name in VIEWS)]
    starts = ("rough-AP.json", "rough-LL.json")
    assert main(_command(rig, tmp_path, *truths, cameras="bare.json", initial=starts)) == 0
    data = _read(tmp_path / "result.json")
    assert data["pose_is_shared"] is False and "lab_to_world_ras_mm" not in data
    for name in VIEWS:
        assert data["views"][name]["in_plane_mm"] < 0.5 and data["views"][name]["tre_mm"] < 5
        assert (tmp_path / name / "overlay.png").exists()
    assert capsys.readouterr().out.count("Verdict: ") == 2
    covariances = [np.array(data["views"][name]["covariance_rad_mm"]) for name in VIEWS]
    assert np.abs(covariances[0] - covariances[1]).max() > 1e-9


def test_a_wrong_calibration_is_found_out(rig, shared_pose, tmp_path):
    """The misposed control: the second camera 5 degrees from where it stood."""
    data = _read(rig / "rig.json")
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec([0, 0, 5], degrees=True).as_matrix()
    ll = np.array(data["views"]["LL"]["lab_to_camera_mm"])
    centre = np.linalg.inv(LAB_TO_WORLD) @ [*phantom_ct(SEED, size=(80, 60, 80), spacing=4.0).centre_ras, 1]
    about = np.eye(4)
    about[:3, 3] = centre[:3]
    data["views"]["LL"]["lab_to_camera_mm"] = (ll @ about @ turn @ np.linalg.inv(about)).tolist()
    _json(rig / "turned.json", data)
    assert main(_command(rig, tmp_path, cameras="turned.json")) == 0
    wrong, right = _read(tmp_path / "result.json"), _read(shared_pose / "result.json")
    assert wrong["verdict"] != "accept" and any("the X-rays disagree" in r for r in wrong["verdict_reasons"])
    assert max(view["disagreement_mm"] for view in right["views"].values()) < 0.45
    found = {name: np.array(view["camera_to_world_ras_mm"]) for name, view in wrong["views"].items()}
    errors = [pose_error(found[n], _true(rig, n), phantom_landmarks(SEED), CAMERA).tre_mm for n in VIEWS]
    assert max(errors) > 2


def _refused(capsys, arguments, *words):
    assert main([str(a) for a in arguments]) == 2
    sentences = [line for line in capsys.readouterr().err.splitlines() if line.startswith("diffpose: ")]
    assert len(sentences) == 1
    for word in words:
        assert word in sentences[0], sentences[0]


def test_what_cannot_be_together_is_one_sentence(rig, tmp_path, capsys):
    out = tmp_path / "out"
    one, two = (f"{rig / 'rig.json'}:{name}" for name in VIEWS)
    files = ["register", "--ct", rig / "ct.nrrd", "--xray", rig / "AP.dcm", rig / "LL.dcm", "--out", out]
    start = ["--initial", rig / "rough-AP.json"]
    _refused(capsys, [*files, *start, "--camera", one], "2 X-rays but 1 --camera")
    _refused(capsys, [*files, *start, "--camera", one, one], "AP.dcm and LL.dcm", "very same place", "--separately")
    bare = f"{rig / 'bare.json'}:LL"
    _refused(capsys, [*files, *start, "--camera", one, bare], "camera of LL.dcm stands is not known", "--separately")
    other = _json(tmp_path / "other.json", _read(rig / "rig.json"))
    _refused(capsys, [*files, *start, "--camera", one, f"{other}:LL"], "different labs", "rig.json", "other.json")
    _refused(capsys, [*files, *start], "LL has no initial pose", "each, in order")
    _refused(capsys, [*files, *start, "--camera", one, two, "--separately"], "LL has no initial pose")
    three = ["--initial", *[rig / "rough-AP.json"] * 3, "--camera", one, two]
    _refused(capsys, [*files, *three], "2 X-rays but 3 --initial")
    _refused(capsys, [*files, *start, "--camera", one, two, "--method", "adam-xvr"], "adam-xvr", "lm")
    assert list(out.iterdir()) == []


def test_xrays_of_one_name_get_folders_of_their_own(rig, tmp_path):
    (tmp_path / "again").mkdir()
    image = sitk.ReadImage(str(rig / "AP.dcm"))
    sitk.WriteImage(image[:, :, 0], str(tmp_path / "again" / "AP.mha"))
    cameras = [f"{rig / 'bare.json'}:AP", f"{rig / 'bare.json'}:AP"]
    files = ["--ct", rig / "ct.nrrd", "--xray", rig / "AP.dcm", tmp_path / "again" / "AP.mha", "--camera", *cameras]
    start = ["--initial", rig / "rough-AP.json", rig / "rough-AP.json", "--seconds", 0]
    assert main([str(a) for a in ["register", *files, *start, "--out", tmp_path / "out"]]) == 0
    data = _read(tmp_path / "out" / "result.json")
    assert list(data["views"]) == ["AP", "AP-2"] and data["verdict"] != "accept"
    assert any("time was up" in reason for reason in data["verdict_reasons"])
    assert (tmp_path / "out" / "AP-2" / "pose.h5").exists()


def test_as_a_job_it_is_the_same(rig, shared_pose, tmp_path):
    job = ["--job", tmp_path / "job", "--truth", f"{rig / 'rig.json'}:AP"]
    assert main(_command(rig, tmp_path / "out", *map(str, job))) == 0
    by_job, direct = _read(tmp_path / "out" / "result.json"), _read(shared_pose / "result.json")
    np.testing.assert_allclose(by_job["lab_to_world_ras_mm"], direct["lab_to_world_ras_mm"], atol=1e-4)
    assert by_job["views"]["LL"]["tre_mm"] == pytest.approx(direct["views"]["LL"]["tre_mm"], abs=1e-3)
    assert (tmp_path / "out" / "LL" / "overlay.png").exists()


def test_the_wrists_lab_files_give_the_reference_pose(shared, tmp_path):
    """Two real X-rays with the calibration files as the lab saved them; the shared pose against the reference, in the
    lab's frame and in each camera's."""
    wrist = shared / "data" / "wrist"
    reference = {view: read_pose(f"{wrist / 'truth.json'}:{view}") for view in ("cam1", "cam2")}
    centre = np.array([-148.0, 6.0, 0.0])

    def register(out, *calibrations):
        files = ["--ct", wrist / "radius.nrrd", "--xray", wrist / "xray_cam1.png", wrist / "xray_cam2.png"]
        cameras = ["--camera", *(wrist / f"calibration_{view}.txt" for view in calibrations)]
        rough = perturbed(reference["cam1"], centre, 2, 3, np.random.default_rng(5))
        start = ["--initial", _json(tmp_path / "rough.json", {"camera_to_world_ras_mm": rough.tolist()})]
        assert main([str(a) for a in ["register", *files, *cameras, *start, "--out", out]]) == 0
        return _read(out / "result.json")

    data = register(tmp_path / "right", "cam1", "cam2")
    for name, view in zip(("xray_cam1", "xray_cam2"), reference):
        found = np.array(data["views"][name]["camera_to_world_ras_mm"])
        turned = Rotation.from_matrix(found[:3, :3].T @ reference[view][:3, :3]).magnitude()
        assert np.rad2deg(turned) < 0.7
    lab_to_camera = np.array(_read(wrist / "truth.json")["views"]["cam1"]["lab_to_camera_mm"])
    lab_to_world = reference["cam1"] @ lab_to_camera
    from DiffPoseRegistrationLib.imaging.ct_reader import read_ct

    bone = np.array([*read_ct(wrist / "radius.nrrd").centre_ras, 1.0])
    moved = np.array(data["lab_to_world_ras_mm"]) @ np.linalg.inv(lab_to_world) @ bone
    assert np.linalg.norm((moved - bone)[:3]) < 0.5

"""The camera against landmarks that another program projected and against OpenCV's pinhole formula."""

import json
from dataclasses import replace

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera

CAMERA = Camera(1020.0, 400, 512, (0.5, 0.6), (250.0, 210.0))
POINTS = np.random.default_rng(0).uniform((-80, -80, 400), (80, 80, 900), (50, 3))


def _cases(shared):
    for file in sorted((shared / "cases").glob("*/truth.json")):
        truth = json.loads(file.read_text(encoding="utf-8"))
        pose = np.array(truth["camera_to_world_ras_mm"])
        yield (
            Camera.from_json(truth["camera"]),
            pose,
            np.array(truth["landmarks_ras_mm"]),
            np.array(truth["landmarks_px"]),
        )


def _project(camera, pose, points):
    return camera.project(rigid.transform_points(rigid.inverse(pose), points))


def test_landmarks_fall_where_the_other_program_put_them(shared):
    count = 0
    for camera, pose, landmarks, pixels in _cases(shared):
        assert np.abs(_project(camera, pose, landmarks) - pixels).max() < 0.01
        # Misposed controls: 5 degrees, 5 mm, half a pixel, the other side, the pose read backwards.
        turned = rigid.update_pose(pose, np.array([0, 0, np.deg2rad(5), 0, 0, 0]), landmarks.mean(axis=0))
        shifted = rigid.update_pose(pose, np.array([0, 0, 0, 5.0, 0, 5.0]), landmarks.mean(axis=0))
        corner = replace(camera, principal_point_px=(camera.columns / 2, camera.rows / 2))
        for wrong in (
            _project(camera, turned, landmarks),
            _project(camera, shifted, landmarks),
            _project(corner, pose, landmarks),
            _project(replace(camera, viewed_from="detector"), pose, landmarks),
            camera.project(rigid.transform_points(pose, landmarks)),
        ):
            assert not np.abs(wrong - pixels).max() < 0.4
        count += 1
    assert count == 12


def _matrix(camera):
    (c0, r0), (row_mm, column_mm) = camera.principal_point_px, camera.pixel_spacing_mm
    distance = camera.source_to_detector_mm
    return np.array([[distance / column_mm, 0, c0], [0, distance / row_mm, r0], [0, 0, 1]])


def test_projection_is_opencvs_pinhole():
    homogeneous = POINTS @ _matrix(CAMERA).T
    np.testing.assert_allclose(CAMERA.project(POINTS), homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-9)


def test_seen_from_the_detector_is_the_mirror_image():
    other = replace(CAMERA, viewed_from="detector")
    mirrored = CAMERA.project(POINTS * (-1, 1, 1))
    np.testing.assert_allclose(other.project(POINTS), mirrored, atol=1e-9)
    assert np.abs(other.project(POINTS) - CAMERA.project(POINTS)).max() > 10


def test_real_calibration_matrix(shared):
    """The wrist's calibration in the laboratory's frame and the pose in the CT's frame are two ways to a pixel."""
    truth = json.loads((shared / "data" / "wrist" / "truth.json").read_text(encoding="utf-8"))
    views = [truth["views"][name] for name in ("cam1", "cam2")]
    cameras = [Camera.from_json({**view, "viewed_from": "source"}) for view in views]
    poses = [np.array(view["camera_to_world_ras_mm"]) for view in views]
    to_lab = [np.linalg.inv(np.array(view["lab_to_camera_mm"])) for view in views]
    bone = poses[0] @ np.array([[0, 0, 900, 1], [10, 5, 905, 1], [-20, 9, 880, 1.0]]).T
    for view, camera, pose, lab in zip(views, cameras, poses, to_lab):
        in_camera = (np.linalg.inv(pose) @ bone)[:3].T
        homogeneous = in_camera @ np.array(view["intrinsic_matrix_px"]).T
        np.testing.assert_allclose(camera.project(in_camera), homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-6)
        # Both cameras look at one bone: the rigs' motions agree about where it is in the laboratory.
        np.testing.assert_allclose(lab @ np.linalg.inv(pose), to_lab[0] @ np.linalg.inv(poses[0]), atol=1e-3)


@pytest.mark.parametrize("viewed_from", ["source", "detector"])
def test_pixels_to_camera_undoes_projection(viewed_from):
    camera = replace(CAMERA, viewed_from=viewed_from)
    pixels = np.random.default_rng(1).uniform(-50, 600, (20, 2))
    on_detector = camera.pixels_to_camera(pixels)
    np.testing.assert_array_equal(on_detector[:, 2], 1020.0)
    np.testing.assert_allclose(camera.project(on_detector * 0.7), pixels, atol=1e-9)  # anywhere along the ray
    homogeneous = np.column_stack([pixels, np.zeros(20), np.ones(20)]) @ camera.image_to_camera().T
    np.testing.assert_allclose(homogeneous[:, :3], on_detector, atol=1e-9)
    assert np.linalg.det(camera.image_to_camera()[:3, :3]) > 0  # u, v and u x v


def test_pixel_centres_are_integers():
    camera = Camera(1000.0, 4, 4, (1.0, 2.0))
    assert camera.principal_point_px == (1.5, 1.5)
    np.testing.assert_allclose(camera.pixels_to_camera(np.array([0.0, 0.0])), [-3.0, -1.5, 1000.0])


def test_points_behind_the_source_have_no_pixel():
    assert np.isnan(CAMERA.project(np.array([[0, 0, -500.0], [0, 0, 0]]))).all()


@pytest.mark.parametrize("viewed_from", ["source", "detector"])
@pytest.mark.parametrize("size", [(100, 128), (200, 171), (37, 64), (800, 1024)])
def test_resampled_covers_the_same_detector(size, viewed_from):
    camera = replace(CAMERA, viewed_from=viewed_from)
    other = camera.resampled(*size)
    assert (other.rows, other.columns) == size
    for corner in ([0, 0], [1, 0], [0, 1], [1, 1]):
        edges = [np.array(corner) * (c.columns, c.rows) - 0.5 for c in (camera, other)]
        np.testing.assert_allclose(other.pixels_to_camera(edges[1]), camera.pixels_to_camera(edges[0]), atol=1e-9)
    # A pixel of the half-sized image lies between four of the original's.
    if size == (200, 171):
        return
    factor = np.array([512 / size[1], 400 / size[0]])
    np.testing.assert_allclose(other.project(POINTS), (camera.project(POINTS) + 0.5) / factor - 0.5, atol=1e-9)
    wrong = camera.project(POINTS) / factor  # the control forgets the half pixel
    assert np.abs(wrong - other.project(POINTS)).max() > 0.1


def test_resampling_agrees_with_averaging_an_image():
    """The centroid of a blob in the image averaged 4 to 1 is where the resampled camera sees the same point."""
    column, row = 213.4, 150.7
    c, r = np.meshgrid(np.arange(512), np.arange(400))
    blob = np.exp(-((c - column) ** 2 + (r - row) ** 2) / (2 * 9.0**2))
    small = blob.reshape(100, 4, 128, 4).mean(axis=(1, 3))
    c, r = np.meshgrid(np.arange(128), np.arange(100))
    centroid = [(small * c).sum() / small.sum(), (small * r).sum() / small.sum()]
    point = CAMERA.pixels_to_camera(np.array([column, row]))
    np.testing.assert_allclose(CAMERA.resampled(100, 128).project(point), centroid, atol=1e-3)


@pytest.mark.parametrize("viewed_from", ["source", "detector"])
def test_cropped_sees_the_same_rays(viewed_from):
    camera = replace(CAMERA, viewed_from=viewed_from)
    part = camera.cropped(30, 70, 200, 100)
    assert (part.rows, part.columns) == (200, 100)
    np.testing.assert_allclose(part.project(POINTS), camera.project(POINTS) - (70, 30), atol=1e-9)
    pixels = np.random.default_rng(1).uniform(0, 100, (5, 2))
    np.testing.assert_allclose(
        part.pixels_to_camera(pixels), camera.pixels_to_camera(pixels + np.array([70, 30])), atol=1e-9
    )
    # Rows and columns the other way round must not pass.
    assert np.abs(part.project(POINTS) - (camera.project(POINTS) - (30, 70))).max() > 10


def test_json_round_trip():
    camera = replace(CAMERA, viewed_from="detector")
    assert Camera.from_json(json.loads(json.dumps(camera.to_json()))) == camera


def test_matrix_leaves_the_distance_free():
    matrix = _matrix(CAMERA) * 2.5  # a homogeneous matrix has any scale
    for distance in (None, 700.0):
        camera = Camera.from_intrinsic_matrix(matrix, 400, 512, distance)
        np.testing.assert_allclose(camera.project(POINTS), CAMERA.project(POINTS), atol=1e-9)
    assert camera.source_to_detector_mm == 700.0


GOOD = {"source_to_detector_mm": 1020.0, "rows": 400, "columns": 512, "pixel_spacing_mm": [0.5, 0.6]}
K = [[6000.0, 0, 250], [0, 6000.0, 210], [0, 0, 1]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source_to_detector_mm": None}, "source_to_detector_mm"),
        ({"source_to_detector_mm": 0}, "source_to_detector_mm"),
        ({"source_to_detector_mm": float("nan")}, "source_to_detector_mm"),
        ({"source_to_detector_mm": "far"}, "source_to_detector_mm"),
        ({"rows": None}, "rows"),
        ({"rows": 0}, "rows"),
        ({"columns": 10.5}, "columns"),
        ({"pixel_spacing_mm": None}, "pixel_spacing_mm"),
        ({"pixel_spacing_mm": 0.5}, "pixel_spacing_mm"),
        ({"pixel_spacing_mm": [0.5, 0.5, 0.5]}, "pixel_spacing_mm"),
        ({"pixel_spacing_mm": [0, 0]}, "pixel_spacing_mm"),
        ({"pixel_spacing_mm": [0.5, -0.5]}, "pixel_spacing_mm"),
        ({"principal_point_px": [float("inf"), 1]}, "principal_point_px"),
        ({"viewed_from": "above"}, "viewed_from"),
        ({"intrinsic_matrix_px": [[1, 2], [3, 4]]}, "intrinsic_matrix_px"),
        ({"intrinsic_matrix_px": np.array(K).T.tolist()}, "transpose it"),
        ({"intrinsic_matrix_px": [[6000.0, 90, 250], K[1], K[2]]}, "skew"),
        ({"intrinsic_matrix_px": [[-6000.0, 0, 250], K[1], K[2]]}, "intrinsic_matrix_px"),
    ],
)
def test_geometry_that_makes_no_sense_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        Camera.from_json({**GOOD, **change}, name="camera.json")
    assert Camera.from_json({**GOOD, "intrinsic_matrix_px": K}).source_to_detector_mm == 1020.0

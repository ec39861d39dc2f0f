"""Geometry files that RTK and plastimatch wrote: camera and pose against what those programs say of them.

``geometry_files/rtk.xml`` was written by itk-rtk 2.7 and ``geometry_files/plastimatch.txt`` by plastimatch 1.9.4, with
the numbers that stand below.
"""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.calibration import are_calibrated, read_placement
from DiffPoseRegistrationLib.imaging.camera_file import read_camera
from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
from DiffPoseRegistrationLib.imaging.mayacam import write_mayacam
from DiffPoseRegistrationLib.imaging.picture_grid import PictureGrid, picture_grid
from DiffPoseRegistrationLib.imaging.plastimatch_geometry import write_plastimatch
from DiffPoseRegistrationLib.imaging.pose_file import read_pose, read_truth
from DiffPoseRegistrationLib.imaging.rtk_geometry import write_rtk
from DiffPoseRegistrationLib.rendering.renderer import Renderer

FILES = Path(__file__).parent / "geometry_files"
RTK, PLASTIMATCH = FILES / "rtk.xml", FILES / "plastimatch.txt"
LPS = np.diag([-1.0, -1.0, 1.0])

# An image of 240 x 200 pixels whose first is at (-100.5, -90.25) mm.
GRID = PictureGrid(200, 240, np.array([[0.8, 0, -100.5], [0, 0.9, -90.25], [0, 0, 1]]))
# By itk-rtk: GetSourcePosition, and GetProjectionCoordinatesToFixedSystemMatrix at (0, 0) and at (40, -25.5) mm; LPS.
RTK_SAYS = {
    "0": [
        [312.3516760260482, -41.69645716611514, 534.5381987692862],
        [-256.5432605533, 15.2980365354, -463.8457723671],
        [-226.1449846348, -15.1305516074, -483.8531671205],
    ],
    "1": [
        [537.3687630482442, 0.0, -310.25],
        [-458.7769576548, 0.0, 264.875],
        [-478.7769576548, -25.5, 230.2339838486],
    ],
}


def _pixel_in_ras(camera, pose, pixel):
    return rigid.transform_points(pose, camera.pixels_to_camera(np.array(pixel))[None])[0]


@pytest.mark.parametrize("number", ["0", "1"])
def test_rtk_puts_source_and_pixels_where_rtk_does(number):
    camera, pose = (read(f"{RTK}:{number}", GRID) for read in (read_camera, read_pose))
    source, first, second = np.array(RTK_SAYS[number]) @ LPS
    np.testing.assert_allclose(pose[:3, 3], source, atol=1e-8)
    assert camera.source_to_detector_mm == 1150.25 and (camera.rows, camera.columns) == (200, 240)
    np.testing.assert_allclose(camera.pixel_spacing_mm, (0.9, 0.8), atol=1e-12)
    for point, (x, y) in ((first, (0.0, 0.0)), (second, (40.0, -25.5))):
        pixel = (x + 100.5) / 0.8, (y + 90.25) / 0.9
        np.testing.assert_allclose(_pixel_in_ras(camera, pose, pixel), point, atol=1e-7)
        # Controls: taken for RAS, and with the pixel a spacing aside.
        assert np.abs(_pixel_in_ras(camera, pose, pixel) - LPS @ point).max() > 20
    np.testing.assert_array_equal(read_truth(f"{RTK}:{number}", GRID).camera_to_world, pose)


def test_rtk_follows_the_images_own_direction():
    """An image stored from right to left shows the same rays in mirrored columns, seen from the other side."""
    mirrored = GRID.to_physical @ np.array([[-1.0, 0, 239], [0, 1, 0], [0, 0, 1]])
    other = PictureGrid(200, 240, mirrored)
    camera, again = (read_camera(f"{RTK}:0", grid) for grid in (GRID, other))
    assert (camera.viewed_from, again.viewed_from) == ("detector", "source")
    pose, turned = (read_pose(f"{RTK}:0", grid) for grid in (GRID, other))
    for pixel in ((0, 0), (30.5, 170)):
        same = _pixel_in_ras(again, turned, (239 - pixel[0], pixel[1]))
        np.testing.assert_allclose(same, _pixel_in_ras(camera, pose, pixel), atol=1e-7)


def test_plastimatch_puts_source_and_detector_where_it_was_told():
    """Made with --sad 700 --sid 1100.5 -n "0.3 -0.9 0.2" --vup "0 0 1" -o "1 2 3" -z "300 400" -r "150 160"
    -c "70.5 85.25": isocentre, normal and up in LPS, 2 x 2.5 mm pixels."""
    camera, pose = (read(PLASTIMATCH, PictureGrid(160, 150)) for read in (read_camera, read_pose))
    isocentre = np.array([1.0, 2.0, 3.0])
    normal = np.array([0.3, -0.9, 0.2]) / np.linalg.norm([0.3, -0.9, 0.2])
    np.testing.assert_allclose(pose[:3, 3], LPS @ (isocentre + 700 * normal), atol=1e-4)
    centre = isocentre - (1100.5 - 700) * normal
    np.testing.assert_allclose(_pixel_in_ras(camera, pose, (70.5, 85.25)), LPS @ centre, atol=1e-4)
    above = np.array([0.0, 0, 1]) - normal[2] * normal  # the image's rows run down
    above *= 10 * 2.5 / np.linalg.norm(above)
    np.testing.assert_allclose(_pixel_in_ras(camera, pose, (70.5, 75.25)), LPS @ (centre + above), atol=1e-4)
    assert camera.viewed_from == "source" and camera.pixel_spacing_mm == pytest.approx((2.5, 2.0))


@pytest.mark.skipif(shutil.which("plastimatch") is None, reason="plastimatch is not installed")
def test_plastimatchs_image_is_the_one_rendered_there(shared, tmp_path):
    ct_file = shared / "data" / "ct" / "lumbar_pelvis.nrrd"
    asked = ["-z", "300 400", "-r", "75 80", "-c", "30 44", "--sad", "700", "--sid", "1100.5", "-n", "0.3 -0.9 0.2"]
    command = ["plastimatch", "drr", "-A", "cpu", "-i", "uniform", "-t", "pfm", *asked, "-o", "0 0 0", "--vup", "0 0 1"]
    subprocess.run([*command, "-I", str(ct_file), "-O", str(tmp_path / "d")], check=True, capture_output=True)
    theirs = np.frombuffer((tmp_path / "d0000.pfm").read_bytes()[-75 * 80 * 4 :], "<f4").reshape(80, 75)
    camera, pose = (read(tmp_path / "d0000.txt", PictureGrid(80, 75)) for read in (read_camera, read_pose))
    renderer = Renderer(read_ct(ct_file), levels=1, backend="cpu")

    def likeness(at):
        return np.corrcoef(renderer.render(camera, at).ravel(), theirs.ravel())[0, 1]

    assert likeness(pose) > 0.995
    misposed = rigid.update_pose(pose, np.array([np.deg2rad(5), 0, 0, 5.0, 0, 0]), renderer.isocentre)
    assert likeness(misposed) < likeness(pose) - 0.01


# -- written back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["0", "1"])
def test_rtk_written_says_the_same_in_matrix_and_parameters(tmp_path, number):
    camera, pose = (read(f"{RTK}:{number}", GRID) for read in (read_camera, read_pose))
    path = tmp_path / "größe.xml"
    write_rtk(path, camera, pose)
    grid = PictureGrid(200, 240, np.diag([0.8, 0.9, 1.0]))  # origin 0, the camera's spacing
    np.testing.assert_allclose(read_pose(path, grid), pose, atol=1e-9)
    again = read_camera(path, grid)
    np.testing.assert_allclose(again.principal_point_px, camera.principal_point_px, atol=1e-8)
    np.testing.assert_allclose(again.pixel_spacing_mm, camera.pixel_spacing_mm, atol=1e-12)
    # The parameters are those that RTK was given; only the detector's origin is another: its first pixel.
    text, given = path.read_text(encoding="utf-8"), {"0": (30, 352.5, 4, 3, 2), "1": (120, 0, 0, 0, 0)}[number]
    names = ("GantryAngle", "InPlaneAngle", "OutOfPlaneAngle", "SourceOffsetX", "SourceOffsetY")
    for name, value in zip(names, given):
        assert _number(text, name) == pytest.approx(value, abs=1e-9)
    offset = {"0": (12.5, -20.25), "1": (0, 0)}[number]
    assert _number(text, "ProjectionOffsetX") == pytest.approx(offset[0] - 100.5)
    assert _number(text, "ProjectionOffsetY") == pytest.approx(offset[1] - 90.25)


def _number(text, name):
    return float(text.split(f"<{name}>")[1].split("<")[0])


def test_plastimatch_written_is_what_plastimatch_wrote(tmp_path):
    grid = PictureGrid(160, 150)
    camera, pose = (read(PLASTIMATCH, grid) for read in (read_camera, read_pose))
    write_plastimatch(tmp_path / "p.txt", camera, pose)
    np.testing.assert_allclose(read_pose(tmp_path / "p.txt", grid), pose, atol=1e-6)

    def numbers(path):
        words = path.read_text(encoding="utf-8").replace("Extrinsic", "").replace("Intrinsic", "").split()
        return np.array([float(word) for word in words])

    ours, theirs = numbers(tmp_path / "p.txt"), numbers(PLASTIMATCH)
    assert len(ours) == len(theirs) == 47
    ours[14] = theirs[14]  # the distance to the isocentre, which is theirs alone; ours is the world's origin
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-5)


def test_a_format_without_a_word_for_the_other_side_refuses_it(tmp_path):
    rtk, plastimatch = read_camera(f"{RTK}:0", GRID), read_camera(PLASTIMATCH, PictureGrid(160, 150))
    for write, camera in ((write_rtk, plastimatch), (write_plastimatch, rtk), (write_mayacam, rtk)):
        with pytest.raises(InputError, match="mirror the image first"):
            write(tmp_path / "x.txt", camera, np.eye(4))
    assert not list(tmp_path.iterdir())


# -- with their images, from the command line --------------------------------------------------------


def test_grids_come_from_headers(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((4, 6), np.uint16))
    image.SetSpacing((0.5, 0.7))
    image.SetOrigin((-1.0, 2.0))
    image.SetDirection((-1, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    grid = picture_grid(tmp_path / "a.mha")
    assert (grid.rows, grid.columns) == (4, 6)
    index = (3, 2)
    at = image.TransformIndexToPhysicalPoint(index)
    np.testing.assert_allclose((grid.to_physical @ [*index, 1])[:2], at)
    stack = sitk.JoinSeries([sitk.GetImageFromArray(np.zeros((4, 6), np.uint16))])
    sitk.WriteImage(stack, str(tmp_path / "b.nrrd"))
    assert (picture_grid(tmp_path / "b.nrrd").rows, picture_grid(tmp_path / "b.nrrd").columns) == (4, 6)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 6), np.uint8)), str(tmp_path / "c.png"))
    assert picture_grid(tmp_path / "c.png") == PictureGrid(4, 6)
    (tmp_path / "d.mha").write_text("ObjectType = nonsense")
    with pytest.raises(InputError, match=r"d\.mha cannot be read"):
        picture_grid(tmp_path / "d.mha")


def test_a_dicom_xray_gives_its_size(shared):
    assert picture_grid(shared / "cases" / "thorax-00" / "xray.dcm") == PictureGrid(512, 512)


def test_info_shows_and_rewrites_them(tmp_path, capsys):
    image = sitk.GetImageFromArray(np.zeros((200, 240), np.uint16))
    image.SetSpacing((0.8, 0.9))
    image.SetOrigin((-100.5, -90.25))
    sitk.WriteImage(image, str(tmp_path / "x.mha"))
    of = ["--of", str(tmp_path / "x.mha")]
    assert main(["info", f"{RTK}:1", *of, "--write-camera", str(tmp_path / "c.json")]) == 0
    text = capsys.readouterr().out
    assert "rows x columns: 200 x 240" in text and "camera to world" in text and "-537.36876" in text
    written = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert Camera.from_json(written["camera"]) == read_camera(f"{RTK}:1", GRID)
    assert main(["info", str(tmp_path / "c.json"), "--write-camera", str(tmp_path / "c.xml")]) == 0
    np.testing.assert_allclose(read_pose(tmp_path / "c.xml", GRID), written["camera_to_world_ras_mm"], atol=1e-9)
    picture = ["--of", str(tmp_path / "p.png")]
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((160, 150), np.uint8)), str(tmp_path / "p.png"))
    out = tmp_path / "again.plastimatch.txt"
    assert main(["info", str(PLASTIMATCH), *picture, "--write-camera", str(out)]) == 0
    again, first = (read_pose(path, PictureGrid(160, 150)) for path in (out, PLASTIMATCH))
    np.testing.assert_allclose(again, first, atol=1e-6)


def test_projections_of_one_file_share_a_lab():
    places = [read_placement(f"{RTK}:{n}", GRID) for n in (0, 1)]
    assert are_calibrated(["a", "b"], places)
    np.testing.assert_array_equal(places[0].camera_to_lab, read_pose(f"{RTK}:0", GRID))


# -- what is wrong with them -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "grid", "words"),
    [
        ("", GRID, "holds 2 projections; name one, from 0, as in rtk.xml:0"),
        (":2", GRID, "no projection '2'; they are numbered from 0 to 1"),
        (":-1", GRID, "no projection '-1'"),
        (":one", GRID, "no projection 'one'"),
        (":0", None, "rtk.xml:0 does not state the image's size; give it together with its X-ray"),
        (":0", PictureGrid(200, 240), "save the X-ray as .mha, .nrrd or .nii"),
    ],
)
def test_what_a_geometry_leaves_open_is_asked_for(view, grid, words):
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        read_camera(f"{RTK}{view}", grid)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("</RTKThreeD", "</", "no RTK geometry that can be read"),
        ("RTKThreeDCircularGeometry", "SomethingElse", "no RTK geometry that can be read"),
        ('<?xml version="1.0"?>', '<!DOCTYPE RTK [<!ENTITY a "b">]>', "no RTK geometry that can be read"),
        ("1150.25", "0", "parallel projection"),
        ("1150.25", "far", "'far' as SourceToDetectorDistance"),
        ("<Projection>", "<RadiusCylindricalDetector>9</RadiusCylindricalDetector><Projection>", "cylindrical"),
        ("-620.5", "", "no 'Matrix' of 3 x 4 numbers"),
        ("-620.5", "nan", "3x4 matrix of numbers"),
    ],
)
def test_a_spoilt_rtk_geometry_is_one_sentence(tmp_path, old, new, words):
    (tmp_path / "rtk.xml").write_text(RTK.read_text().replace(old, new))
    with pytest.raises(InputError, match=words):
        read_camera(f"{tmp_path / 'rtk.xml'}:0", GRID)


def test_a_spoilt_plastimatch_geometry_is_one_sentence(tmp_path):
    text = PLASTIMATCH.read_text()
    for spoilt in (text[:200], text.replace("1.10050000e+03", "x")):
        (tmp_path / "p.txt").write_text(spoilt)
        with pytest.raises(InputError, match=r"p\.txt is no projection matrix of plastimatch"):
            read_camera(tmp_path / "p.txt", PictureGrid(160, 150))
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(InputError, match="does not state the image's size"):
        read_camera(tmp_path / "p.txt")


def test_a_place_in_a_lab_is_no_pose(tmp_path):
    write_mayacam(tmp_path / "cam.txt", Camera(1000, 10, 10, (1, 1)), np.eye(4))
    with pytest.raises(InputError, match="where a camera stands in its lab, not in the CT"):
        read_pose(tmp_path / "cam.txt")

"""Tags to camera: by hand, against pydicom's reading of the same file, and against images cut out of a detector."""

import numpy as np
import pytest
from dicom_files import write_xray
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.angles import pose_at_angles, positioner_angles
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.imaging.dicom_carm import c_arm_position
from DiffPoseRegistrationLib.imaging.dicom_file import DicomFile, tag_words
from DiffPoseRegistrationLib.imaging.dicom_geometry import MissingGeometry, read_geometry
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedXAImageStorage,
    RTImageStorage,
)

ROWS, COLUMNS = 40, 60
XA = {"Modality": "XA", "DistanceSourceToDetector": "1000"}
SPACED = {**XA, "ImagerPixelSpacing": ["0.5", "0.25"]}


@pytest.fixture
def stated(tmp_path):
    """Geometry of a file with the given tags."""

    def read(frame=0, sop_class=None, shape=(ROWS, COLUMNS), **tags):
        pixels = np.arange(np.prod(shape)).reshape(shape) % 60000
        how = {} if sop_class is None else {"sop_class": sop_class}
        return read_geometry(write_xray(tmp_path / "x.dcm", pixels, **how, **tags), frame)

    return read


def _item(**tags):
    item = Dataset()
    for keyword, value in tags.items():
        setattr(item, keyword, value)
    return item


def test_tags_are_named_as_in_the_standard():
    assert tag_words("ImagerPixelSpacing") == "Imager Pixel Spacing (0018,1164)"
    assert tag_words("RTImageSID") == "RT Image SID (3002,0026)"


# -- spacing -----------------------------------------------------------------------------------------


def test_spacing_of_the_detector_wins_without_a_word(stated):
    found = stated(**SPACED, PixelSpacing=["0.3", "0.3"])
    assert found.camera.pixel_spacing_mm == (0.5, 0.25) and found.warnings == ()
    assert found.provenance["pixel_spacing_mm"] == "Imager Pixel Spacing (0018,1164)"


def test_spacing_in_the_patient_is_brought_to_the_detector_where_the_distances_are_known(stated):
    calibrated = {"PixelSpacing": ["0.3", "0.15"], "PixelSpacingCalibrationType": "GEOMETRY"}
    found = stated(**XA, **calibrated, DistanceSourceToPatient="800")
    assert found.camera.pixel_spacing_mm == pytest.approx((0.375, 0.1875)) and found.warnings == ()
    assert "1.25" in found.provenance["pixel_spacing_mm"] and "(0028,0A02)" in found.provenance["pixel_spacing_mm"]
    found = stated(**XA, **calibrated, EstimatedRadiographicMagnificationFactor="1.5")
    assert found.camera.pixel_spacing_mm == pytest.approx((0.45, 0.225))
    # Against a ball of known size, or without any distance, nobody knows where in the patient it holds.
    for tags in ({**calibrated, "PixelSpacingCalibrationType": "FIDUCIAL"}, calibrated):
        found = stated(**XA, **tags)
        assert found.camera.pixel_spacing_mm == (0.3, 0.15)
        assert "magnification" in found.warnings[0] and "magnification" in found.provenance["pixel_spacing_mm"]


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"IntensifierSize": "230"}, (230 / 40, 230 / 40)),
        ({"FieldOfViewShape": "ROUND", "FieldOfViewDimensions": "300"}, (7.5, 7.5)),
        ({"FieldOfViewShape": "RECTANGLE", "FieldOfViewDimensions": ["200", "240"]}, (5.0, 4.0)),
    ],
)
def test_spacing_of_an_image_intensifier_is_estimated_and_says_so(stated, tags, spacing):
    found = stated(**XA, **tags)
    assert found.camera.pixel_spacing_mm == pytest.approx(spacing)
    assert found.provenance["pixel_spacing_mm"].startswith("estimated from")
    assert "estimated" in found.warnings[0] and "depth" in found.warnings[0]


@pytest.mark.parametrize("spacing", [["0", "0"], ["-0.2", "0.2"], ["0.2"], [], None])
def test_a_spacing_that_is_none_counts_as_missing(stated, spacing):
    with pytest.raises(
        MissingGeometry, match=r"x.dcm lacks the pixel spacing on the detector \(0018,1164\); .*--camera"
    ):
        stated(**XA, ImagerPixelSpacing=spacing, PixelSpacing=["0.000", "0.000"])


def test_everything_that_is_missing_is_named_at_once(stated):
    with pytest.raises(MissingGeometry) as error:
        stated(Modality="CR", sop_class=ComputedRadiographyImageStorage)
    assert len(error.value.missing) == 2 and error.value.file_name == "x.dcm"


# -- principal point ---------------------------------------------------------------------------------


ELEMENT_MM = 0.2
DETECTOR = (200, 300)  # rows and columns of the physical detector
ORIGIN = (30, 40)


def _field_of_view(rotation, is_flipped, binning):
    """Which element of the detector each pixel shows, (rows, columns) of it, as a detector makes its image: the field
    cut out, binned, turned clockwise, then flipped."""
    made = []
    for index in np.mgrid[: DETECTOR[0], : DETECTOR[1]].astype(float):
        field = index[ORIGIN[0] :, ORIGIN[1] :][: 40 * binning, : 60 * binning]
        field = field.reshape(40, binning, 60, binning).mean(axis=(1, 3))
        field = np.rot90(field, -(rotation // 90))
        made.append(field[:, ::-1] if is_flipped else field)
    return made


AXIS_TAGS = {
    "isocentre": ({"PositionOfIsocenterProjection": [91.25, 133.5]}, (91.25, 133.5)),
    "detector": ({"PhysicalDetectorSize": [40.0, 60.0]}, (99.5, 149.5)),
    "active area": (
        {"DetectorActiveDimensions": ["36", "50"], "DetectorActiveOrigin": ["10", "20"]},
        (10 + 90 - 0.5, 20 + 125 - 0.5),
    ),
}


@pytest.mark.parametrize("flip", ["NO", "YES"])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize(("binning", "axis"), [(1, "isocentre"), (2, "isocentre"), (2, "detector"), (1, "active area")])
def test_axis_in_a_field_of_view_that_is_cut_out_turned_and_flipped(stated, rotation, flip, binning, axis):
    rows, columns = _field_of_view(rotation, flip == "YES", binning)
    tags, expected = AXIS_TAGS[axis]
    field = {"FieldOfViewOrigin": [str(n) for n in ORIGIN], "FieldOfViewRotation": rotation}
    found = stated(
        shape=rows.shape,
        sop_class=DigitalXRayImageStorageForPresentation,
        DistanceSourceToDetector="1000",
        ImagerPixelSpacing=[str(ELEMENT_MM * binning)] * 2,
        DetectorElementSpacing=[str(ELEMENT_MM)] * 2,
        FieldOfViewHorizontalFlip=flip,
        **field,
        **tags,
    )
    column, row = found.camera.principal_point_px
    for shown, wanted in zip((rows, columns), expected):
        at_axis = shown[0, 0] + row * (shown[1, 0] - shown[0, 0]) + column * (shown[0, 1] - shown[0, 0])
        assert at_axis == pytest.approx(wanted, abs=1e-6)
    # The control: without the cut the axis would be elsewhere.
    assert np.hypot(*np.subtract(found.camera.principal_point_px, np.subtract(rows.shape[::-1], 1) / 2)) > 1
    assert "(0018,7030)" in found.provenance["principal_point_px"]


def test_a_field_of_view_that_cannot_be_placed_leaves_the_image_centre_and_says_so(stated):
    found = stated(**SPACED, FieldOfViewOrigin=["30", "40"])
    assert found.camera.principal_point_px == ((COLUMNS - 1) / 2, (ROWS - 1) / 2)
    assert "detector's size" in found.provenance["principal_point_px"]
    with pytest.raises(InputError, match="quarter turn"):
        stated(**SPACED, FieldOfViewOrigin=["30", "40"], FieldOfViewRotation=30.0, PhysicalDetectorSize=[40.0, 60.0])


def test_rt_image(stated):
    tags = {"Modality": "RTIMAGE", "RTImageSID": "1500", "ImagePlanePixelSpacing": ["0.5", "0.25"]}
    tags |= {"sop_class": RTImageStorage, "RTImagePosition": ["-5", "7.5"]}
    found = stated(**tags)
    assert found.camera == Camera(1500, ROWS, COLUMNS, (0.5, 0.25), (5 / 0.25, 7.5 / 0.5), "source")
    # The receptor shifted by 1 mm to the right and 2 mm up: its first pixel is at (-4, 9.5) from the beam's axis.
    found = stated(**tags, XRayImageReceptorTranslation=["1", "2", "-500"])
    assert found.camera.principal_point_px == (4 / 0.25, 9.5 / 0.5)
    with pytest.raises(InputError, match="oblique"):
        stated(**tags, RTImagePlane="NON_NORMAL")
    with pytest.raises(MissingGeometry, match=r"\(3002,0026\)"):
        stated(**{**tags, "RTImageSID": "0"})


# -- functional groups -------------------------------------------------------------------------------


def test_an_enhanced_angiogram_states_all_of_it_in_its_sequences(stated):
    """The whole isocentre geometry, shared or for each frame."""
    shared = _item(
        FramePixelDataPropertiesSequence=Sequence([_item(ImagerPixelSpacing=["0.4", "0.4"])]),
        FieldOfViewSequence=Sequence(
            [_item(FieldOfViewOrigin=["30", "40"], FieldOfViewRotation=0.0, FieldOfViewHorizontalFlip="NO")]
        ),
    )
    frames = [
        _item(
            XRayGeometrySequence=Sequence(
                [_item(DistanceSourceToDetector=str(1000 + n), DistanceSourceToIsocenter=700.0 + n)]
            ),
            IsocenterReferenceSystemSequence=Sequence(
                [_item(PositionerIsocenterPrimaryAngle=10.0 * n, PositionerIsocenterSecondaryAngle=5.0)]
            ),
        )
        for n in range(3)
    ]
    tags = {
        "sop_class": EnhancedXAImageStorage,
        "shape": (3, ROWS, COLUMNS),
        "Modality": "XA",
        "DetectorElementSpacing": ["0.2", "0.2"],
        "PositionOfIsocenterProjection": [91.25, 133.5],
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(frames),
    }
    for frame in range(3):
        found = stated(frame, **tags)
        # (91.25 + 0.5 - 30) / 2 - 0.5 rows and (133.5 + 0.5 - 40) / 2 - 0.5 columns
        assert found.camera.principal_point_px == pytest.approx((46.5, 30.375)) and found.warnings == ()
        expected = Camera(1000 + frame, ROWS, COLUMNS, (0.4, 0.4), found.camera.principal_point_px, "detector")
        assert found.camera == expected
    shared.FieldOfViewSequence[0].FieldOfViewHorizontalFlip = "YES"
    assert stated(1, **tags).camera.viewed_from == "source"
    assert stated(1, **tags).camera.principal_point_px == pytest.approx((59 - 46.5, 30.375))


# -- which side, and where ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "side", "why"),
    [
        ({}, "source", "assumed"),
        ({"PositionerPrimaryAngle": "0", "PositionerSecondaryAngle": "0"}, "detector", "assumed"),
        # A chest film: the beam enters at the back; seen with the patient's left on the right, one faces the patient.
        ({"ViewPosition": "PA", "PatientOrientation": ["L", "F"]}, "detector", "Patient Orientation (0020,0020)"),
        ({"ViewPosition": "AP", "PatientOrientation": ["L", "F"]}, "source", "Patient Orientation (0020,0020)"),
        ({"ViewPosition": "AP", "PatientOrientation": ["R", "F"]}, "detector", "View Position (0018,5101) = AP"),
        ({"ViewPosition": "PA", "PatientOrientation": ["LA", "FA"]}, "detector", "Patient Orientation"),
        ({"ViewPosition": "AP", "PatientOrientation": ["P", "F"]}, "source", "assumed"),  # they contradict each other
        ({"ViewPosition": "LL", "PatientOrientation": ["P", "F"]}, "source", "assumed"),  # named in two ways
        ({"ViewPosition": "PA", "PatientOrientation": ["L"]}, "source", "assumed"),
    ],
)
def test_the_side_from_which_the_image_is_seen(stated, tags, side, why):
    found = stated(**SPACED, **tags)
    assert found.camera.viewed_from == side and why in found.provenance["viewed_from"]


@pytest.mark.parametrize("primary", [-60.0, 0.0, 45.0, 90.0])
@pytest.mark.parametrize("viewed_from", ["source", "detector"])
def test_the_side_by_angles_and_orientation_agrees_with_a_camera_at_that_pose(stated, primary, viewed_from):
    """The letters are made from the pose and the camera: which way do columns and rows run in the patient?"""
    pose = pose_at_angles(primary, 10.0, np.zeros(3), 700.0)
    camera = Camera(1000, ROWS, COLUMNS, (0.5, 0.25), viewed_from=viewed_from)
    affine = pose @ camera.image_to_camera()
    letters = []
    for axis in (0, 1):
        lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3, axis]
        main = int(np.argmax(np.abs(lps)))
        letters.append(["RL", "AP", "FH"][main][int(lps[main] > 0)])
    angles = {"PositionerPrimaryAngle": str(primary), "PositionerSecondaryAngle": "10"}
    found = stated(**SPACED, **angles, PatientOrientation=letters)
    assert found.camera.viewed_from == viewed_from, letters
    assert "C-arm's angles" in found.provenance["viewed_from"]


def test_where_a_c_arm_stood(tmp_path):
    tags = {
        **SPACED,
        "DistanceSourceToPatient": "700",
        "PositionerPrimaryAngle": "-30",
        "PositionerSecondaryAngle": "15",
    }
    path = write_xray(tmp_path / "x.dcm", np.arange(3 * 40 * 60).reshape(3, 40, 60), **tags)
    position = c_arm_position(DicomFile(path))
    assert (position.primary_deg, position.secondary_deg, position.source_to_isocentre_mm) == (-30, 15, 700)
    pose = pose_at_angles(position.primary_deg, position.secondary_deg, np.zeros(3), position.source_to_isocentre_mm)
    np.testing.assert_allclose(positioner_angles(pose), (-30, 15, 0), atol=1e-9)
    # 0/0 is the beam from the back.
    np.testing.assert_allclose(pose_at_angles(0, 0, np.zeros(3), 700), view_pose("PA", np.zeros(3), 700), atol=1e-9)
    turning = {
        "PositionerPrimaryAngleIncrement": ["0", "10", "20"],
        "PositionerSecondaryAngleIncrement": ["0", "0", "1"],
    }
    path = write_xray(path, np.arange(3 * 40 * 60).reshape(3, 40, 60), **tags, **turning)
    found = [c_arm_position(DicomFile(path), frame) for frame in range(3)]
    assert [(one.primary_deg, one.secondary_deg) for one in found] == [(-30, 15), (-20, 15), (-10, 16)]
    assert c_arm_position(DicomFile(write_xray(path, np.arange(40 * 60).reshape(40, 60), **SPACED))) is None

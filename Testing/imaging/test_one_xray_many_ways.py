"""One X-ray as DICOM, as PNG and NRRD with its geometry in JSON, and through Slicer's own reader: one and the same
camera and attenuation image, for MONOCHROME1 and 2, and whichever way its values mean radiation."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import write_xray
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.camera_file import read_camera
from DiffPoseRegistrationLib.imaging.dicom_intensity import meaning_in_slicer
from DiffPoseRegistrationLib.imaging.pixel_meaning import PixelMeaning
from DiffPoseRegistrationLib.imaging.xray_reader import read_xray

CAMERA = Camera(1020.5, 40, 60, (0.5, 0.25))
TOP = 4095


@pytest.fixture(scope="module")
def radiation():
    """Transmission [40, 60] without constant areas, whose least value is not zero."""
    row, column = np.mgrid[:40, :60]
    return (300 + 3000 * np.exp(-((row - 18) ** 2 + (column - 30) ** 2) / 500) + 7 * row + 3 * column).astype(np.uint16)


def _dicom(path, stored, photometric, sign):
    return write_xray(
        path,
        stored,
        Modality="XA",
        DistanceSourceToDetector=str(CAMERA.source_to_detector_mm),
        ImagerPixelSpacing=[str(value) for value in CAMERA.pixel_spacing_mm],
        PixelIntensityRelationship="LIN",
        PixelIntensityRelationshipSign=sign,
        PhotometricInterpretation=photometric,
        BitsStored=12,
        HighBit=11,
    )


def _through_slicer(path):
    """Pixels [row, column] and spacing (column, row) as Slicer's reader of scalar volumes delivers them."""
    slicer_core = pytest.importorskip("slicer_core", reason="Slicer's own reader is in the wheel slicer-core")
    from vtkmodules.util.numpy_support import vtk_to_numpy

    reader = slicer_core.vtkITKArchetypeImageSeriesScalarReader()
    reader.SetArchetype(str(path))
    reader.SetOutputScalarTypeToNative()
    reader.SetDesiredCoordinateOrientationToNative()
    reader.SetUseNativeOriginOn()
    reader.SetSingleFile(1)
    reader.Update()
    image = reader.GetOutput()
    columns, rows, slices = image.GetDimensions()
    assert slices == 1
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns)
    matrix = reader.GetRasToIjkMatrix()
    spacing = [abs(1 / matrix.GetElement(n, n)) for n in range(2)]
    return values, spacing


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("sign", [1, -1])
def test_same_camera_and_attenuation(tmp_path, radiation, photometric, sign):
    stored = radiation if sign == 1 else TOP - radiation
    dicom = _dicom(tmp_path / "x.dcm", stored, photometric, sign)
    of_dicom = read_xray(dicom)
    expected = -np.log(radiation / radiation.max())
    difference = of_dicom.attenuation - expected
    assert np.ptp(difference) < 1e-5  # an offset alone: which pixel counts as open

    (tmp_path / "camera.json").write_text(json.dumps({"camera": CAMERA.to_json()}), encoding="utf-8")
    camera = read_camera(tmp_path / "camera.json")
    known = PixelMeaning(relationship="LIN", sign=sign, largest_value=TOP)
    for suffix in (".png", ".nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(stored), str(tmp_path / f"x{suffix}"))
        of_picture = read_xray(tmp_path / f"x{suffix}", camera, meaning=known)
        assert of_picture.camera == of_dicom.camera
        np.testing.assert_allclose(of_picture.attenuation, of_dicom.attenuation, atol=1e-6)

    delivered, (column_mm, row_mm) = _through_slicer(dicom)
    shown = TOP - stored if photometric == "MONOCHROME1" else stored  # GDCM inverts on its way
    np.testing.assert_array_equal(delivered, shown)
    assert (row_mm, column_mm) == pytest.approx(CAMERA.pixel_spacing_mm)
    sitk.WriteImage(sitk.GetImageFromArray(delivered), str(tmp_path / "slicer.nrrd"))
    of_slicer = read_xray(tmp_path / "slicer.nrrd", camera, meaning=meaning_in_slicer(dicom))
    assert of_slicer.camera == of_dicom.camera
    np.testing.assert_allclose(of_slicer.attenuation, of_dicom.attenuation, atol=1e-6)
    np.testing.assert_array_equal(of_slicer.mask, of_dicom.mask)
    if photometric == "MONOCHROME1":  # the control: taken for what lies in the file, bone and air are exchanged
        wrong = read_xray(tmp_path / "slicer.nrrd", camera, meaning=known).attenuation
        assert np.corrcoef(wrong.ravel(), expected.ravel())[0, 1] < 0

"""X-ray files: geometry and pixels against pydicom and SimpleITK, and every kind of unfit file."""

import io
import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import image_dataset, write_xray
from DiffPoseRegistrationLib.commandline.main import main
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.camera_file import read_camera
from DiffPoseRegistrationLib.imaging.dicom_file import DicomFile
from DiffPoseRegistrationLib.imaging.dicom_pixels import stored_pixels
from DiffPoseRegistrationLib.imaging.xray_reader import read_xray
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ImplicitVRLittleEndian,
    RTImageStorage,
    SecondaryCaptureImageStorage,
)

GEOMETRY = {"Modality": "XA", "DistanceSourceToDetector": "1000", "ImagerPixelSpacing": ["0.5", "0.25"]}
LINEAR = {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1}


@pytest.fixture
def radiation() -> np.ndarray:
    """A graded transmission image [40, 60] without constant areas, uint16."""
    row, column = np.mgrid[:40, :60]
    return (2000 + 37 * row + 11 * column + 500 * np.hypot(row - 12, column - 40)).astype(np.uint16)


@pytest.fixture
def camera() -> Camera:
    return Camera(1000, 40, 60, (0.5, 0.25))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


# -- geometry ----------------------------------------------------------------------------------------


def test_geometry_of_xa(tmp_path, radiation):
    xray = read_xray(write_xray(tmp_path / "x.dcm", radiation, **GEOMETRY, **LINEAR))
    assert xray.camera == Camera(1000, 40, 60, (0.5, 0.25), viewed_from="source")
    assert "(0018,1110)" in xray.provenance["source_to_detector_mm"]
    assert "(0018,1164)" in xray.provenance["pixel_spacing_mm"]
    assert xray.warnings == ()
    assert correlation(xray.attenuation, -np.log(radiation)) > 1 - 1e-9
    assert correlation(xray.attenuation, radiation) < 0  # the control: the wrong polarity


def test_given_camera_wins(tmp_path, radiation):
    path = write_xray(tmp_path / "x.dcm", radiation, **GEOMETRY, **LINEAR)
    given = Camera(1234, 40, 60, (0.3, 0.3), (10, 20), "detector")
    xray = read_xray(path, given)
    assert xray.camera == given
    assert xray.provenance["source_to_detector_mm"] == "as given"
    with pytest.raises(InputError, match="40 x 60"):
        read_xray(path, Camera(1234, 60, 40, (0.3, 0.3)))


def test_c_arm_angles_mean_seen_from_the_detector(tmp_path, radiation):
    angles = {"PositionerPrimaryAngle": "0", "PositionerSecondaryAngle": "0"}
    xray = read_xray(write_xray(tmp_path / "x.dcm", radiation, **GEOMETRY, **LINEAR, **angles))
    assert xray.camera.viewed_from == "detector"
    assert "(0018,1510)" in xray.provenance["viewed_from"]


def test_pixel_spacing_only_with_a_warning(tmp_path, radiation):
    tags = {"Modality": "DX", "DistanceSourceToDetector": "1000", "PixelSpacing": ["0.2", "0.2"]}
    xray = read_xray(write_xray(tmp_path / "x.dcm", radiation, **tags))
    assert xray.camera.pixel_spacing_mm == (0.2, 0.2)
    assert any("magnification" in warning for warning in xray.warnings)
    # The detector's own spacing, where there is one, wins without a word.
    xray = read_xray(write_xray(tmp_path / "x.dcm", radiation, ImagerPixelSpacing=["0.3", "0.3"], **tags))
    assert xray.camera.pixel_spacing_mm == (0.3, 0.3) and xray.warnings == ()


@pytest.mark.parametrize(
    "without, said",
    [
        ("DistanceSourceToDetector", r"source-to-detector distance \(0018,1110\)"),
        ("ImagerPixelSpacing", r"pixel spacing on the detector \(0018,1164\)"),
    ],
)
def test_missing_number_is_named(tmp_path, radiation, without, said):
    tags = {**GEOMETRY, **LINEAR}
    del tags[without]
    with pytest.raises(InputError, match=said + ".*--camera"):
        read_xray(write_xray(tmp_path / "x.dcm", radiation, **tags))


def test_geometry_in_functional_groups(tmp_path, radiation):
    """Enhanced XA keeps its numbers in sequences, shared or for each frame."""
    shared_group, geometry, pixels = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    geometry.DistanceSourceToDetector = 1100.0
    shared_group.XRayGeometrySequence = [geometry]
    per_frame = []
    for spacing in (0.4, 0.6):
        pixels = pydicom.Dataset()
        pixels.ImagerPixelSpacing = [spacing, spacing]
        group = pydicom.Dataset()
        group.FramePixelDataPropertiesSequence = [pixels]
        per_frame.append(group)
    path = write_xray(
        tmp_path / "x.dcm",
        np.stack([radiation, radiation[::-1]]),
        Modality="XA",
        SharedFunctionalGroupsSequence=[shared_group],
        PerFrameFunctionalGroupsSequence=per_frame,
        **LINEAR,
    )
    xray = read_xray(path, frame=1)
    assert (xray.camera.source_to_detector_mm, xray.camera.pixel_spacing_mm) == (1100, (0.6, 0.6))
    assert correlation(xray.attenuation, -np.log(radiation[::-1])) > 1 - 1e-9


def test_rt_image(tmp_path, radiation):
    tags = {
        "Modality": "RTIMAGE",
        "RTImageSID": "1500",
        "ImagePlanePixelSpacing": ["0.5", "0.25"],
        "RTImagePosition": ["-5", "7.5"],  # of the first pixel from the beam's axis, y up
    }
    xray = read_xray(write_xray(tmp_path / "x.dcm", radiation, RTImageStorage, **tags, **LINEAR))
    assert xray.camera == Camera(1500, 40, 60, (0.5, 0.25), (5 / 0.25, 7.5 / 0.5))


# -- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix, one_slice",
    [(".png", False), *((suffix, one) for suffix in (".tif", ".nrrd", ".mha", ".nii.gz") for one in (False, True))],
)
def test_pictures(tmp_path, radiation, camera, suffix, one_slice):
    path = tmp_path / f"größe{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(radiation[None] if one_slice else radiation), str(path))
    xray = read_xray(path, camera, intensity="transmission")
    assert correlation(xray.attenuation, -np.log(radiation)) > 1 - 1e-9


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".png"])
def test_colour_becomes_grey(tmp_path, radiation, camera, suffix):
    grey = (radiation / radiation.max() * 200).astype(np.uint8)
    path = tmp_path / f"x{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([grey] * 3, -1), isVector=True), str(path))
    xray = read_xray(path, camera, intensity="logarithmic", polarity="bright-is-bone")
    assert correlation(xray.attenuation, grey) > (0.99 if suffix == ".jpg" else 1 - 1e-9)


def test_alpha_is_left_out(tmp_path, radiation, camera):
    grey = (radiation / radiation.max() * 200).astype(np.uint8)
    image = np.stack([grey, grey, grey, np.full_like(grey, 255)], -1)
    sitk.WriteImage(sitk.GetImageFromArray(image, isVector=True), str(tmp_path / "x.png"))
    xray = read_xray(tmp_path / "x.png", camera, intensity="logarithmic", polarity="bright-is-bone")
    assert correlation(xray.attenuation, grey) > 1 - 1e-9


def test_frames(tmp_path, radiation):
    frames = np.stack([radiation, radiation[:, ::-1], radiation[::-1]])
    path = write_xray(tmp_path / "x.dcm", frames, **GEOMETRY, **LINEAR)
    xray = read_xray(path)
    assert any("frame 0" in warning and "3 frames" in warning for warning in xray.warnings)
    assert correlation(xray.attenuation, -np.log(radiation)) > 1 - 1e-9
    assert correlation(read_xray(path, frame=2).attenuation, -np.log(radiation[::-1])) > 1 - 1e-9
    with pytest.raises(InputError, match="no frame 3"):
        read_xray(path, frame=3)


def test_data_set_without_file_header(tmp_path, radiation):
    dataset = image_dataset(tmp_path / "x", radiation, SecondaryCaptureImageStorage, **GEOMETRY, **LINEAR)
    del dataset.file_meta
    dataset.preamble = None
    pydicom.dcmwrite(tmp_path / "x.dcm", dataset, implicit_vr=True, little_endian=True)
    assert (tmp_path / "x.dcm").read_bytes()[128:132] != b"DICM"
    assert correlation(read_xray(tmp_path / "x.dcm").attenuation, -np.log(radiation)) > 1 - 1e-9


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("rescale", [("1", "0"), ("2", "-100")])
def test_lossless_jpeg_through_gdcm(tmp_path, radiation, photometric, rescale):
    """A compression that pydicom needs a plugin for; GDCM's inversion of MONOCHROME1 is undone."""
    plain = read_xray(
        write_xray(tmp_path / "plain.dcm", radiation, PhotometricInterpretation=photometric, **GEOMETRY, **LINEAR)
    )
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(tmp_path / "packed.dcm"))
    writer.Execute(sitk.GetImageFromArray(radiation[None]))
    packed = pydicom.dcmread(tmp_path / "packed.dcm")
    assert packed.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLosslessSV1
    for keyword, value in {**GEOMETRY, **LINEAR, "PhotometricInterpretation": photometric}.items():
        setattr(packed, keyword, value)
    packed.RescaleSlope, packed.RescaleIntercept = rescale
    packed.save_as(tmp_path / "packed.dcm")
    found = read_xray(tmp_path / "packed.dcm")
    rescaled = radiation * float(rescale[0]) + float(rescale[1])
    assert correlation(found.attenuation, -np.log(rescaled)) > 1 - 1e-9
    if rescale == ("1", "0"):
        np.testing.assert_allclose(found.attenuation, plain.attenuation, atol=1e-6)


# -- grey values -------------------------------------------------------------------------------------


def _modality_lut(first: int, values: np.ndarray) -> Sequence:
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [len(values), first, 16])
    table.add_new("LUTData", "US", [int(value) for value in values])
    table.ModalityLUTType = "US"
    return Sequence([table])


def test_modality_lut(tmp_path, radiation):
    """Against pydicom's own application of the table; a falling table turns what large values mean."""
    stored = (radiation // 64).astype(np.uint16)
    rising = np.round(50 * np.sqrt(np.arange(1, 1025))).astype(np.uint16)
    for table, sign in ((rising, 1), (rising[::-1], -1)):
        tags = {**GEOMETRY, "PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": sign}
        path = write_xray(tmp_path / "x.dcm", stored, ModalityLUTSequence=_modality_lut(3, table), **tags)
        expected = pydicom.pixels.apply_modality_lut(stored, pydicom.dcmread(path)).astype(float)
        assert np.ptp(expected) > 100
        xray = read_xray(path, intensity="transmission", polarity="bright-is-air")
        assert correlation(xray.attenuation, -np.log(expected)) > 1 - 1e-9
        found = read_xray(path)  # large stored values: more radiation by a rising table, less by a falling one
        assert "air is bright" in found.provenance["intensity"]
        np.testing.assert_array_equal(found.attenuation, xray.attenuation)
    log = {**tags, "PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": 1}
    path = write_xray(tmp_path / "x.dcm", stored, ModalityLUTSequence=_modality_lut(3, rising), **log)
    assert correlation(read_xray(path).attenuation, -stored.astype(float)) > 1 - 1e-9  # the logarithm itself is wanted
    broken = _modality_lut(3, rising)
    broken[0].LUTDescriptor = [7, 0, 16]
    with pytest.raises(InputError, match="modality LUT"):
        read_xray(write_xray(tmp_path / "x.dcm", stored, ModalityLUTSequence=broken, **GEOMETRY, **LINEAR))


def test_open_field_as_given_or_seen(tmp_path, radiation):
    path = write_xray(tmp_path / "x.dcm", radiation, **GEOMETRY, **LINEAR)
    given = read_xray(path, open_field=60000.0)
    np.testing.assert_allclose(given.attenuation, -np.log(radiation / 60000.0), atol=1e-6)
    assert "I0 = 60000, as given" in given.provenance["intensity"]
    seen = read_xray(path)
    assert np.ptp(seen.attenuation - given.attenuation) < 1e-5  # another offset, nothing else
    assert "the brightest part" in seen.provenance["intensity"]
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="open field"):
            read_xray(path, open_field=wrong)


def test_colour_of_a_compressed_file_is_its_luminance(tmp_path):
    """JPEG's own colours (YBR) are no red, green and blue: a red and a blue half differ in luminance as BT.601 says."""
    from PIL import Image

    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :30], picture[:, 30:] = (200, 30, 30), (30, 30, 200)
    picture[:10] = np.linspace(0, 255, 60, dtype=np.uint8)[None, :, None]
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "JPEG", quality=100, subsampling=0)
    dataset = image_dataset(tmp_path / "x.dcm", np.zeros((40, 60), np.uint16), SecondaryCaptureImageStorage, **GEOMETRY)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 0, "YBR_FULL"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pydicom.encaps.encapsulate([packed.getvalue()])
    dataset.save_as(tmp_path / "x.dcm")
    xray = read_xray(tmp_path / "x.dcm", intensity="logarithmic", polarity="bright-is-bone")
    expected = picture @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(xray.attenuation, expected, atol=3)
    assert abs(expected[20, 10] - expected[20, 50]) > 20


# -- shutters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "inside"),
    [
        (
            {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 11, "ShutterRightVerticalEdge": 50,
             "ShutterUpperHorizontalEdge": 6, "ShutterLowerHorizontalEdge": 30},
            lambda row, column: (column >= 10) & (column < 50) & (row >= 5) & (row < 30),
        ),
        (
            {"CollimatorShape": "CIRCULAR", "CenterOfCircularCollimator": [20, 30], "RadiusOfCircularCollimator": 15},
            lambda row, column: np.hypot(row - 19, column - 29) <= 15,
        ),
        (
            {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 1, 60, 40, 60]},
            lambda row, column: column / 59 > row / 39,
        ),
        # Edges of another unit or origin leave nothing of the image, and are not believed.
        (
            {"CollimatorShape": "RECTANGULAR", "CollimatorLeftVerticalEdge": -184, "CollimatorRightVerticalEdge": 184,
             "CollimatorUpperHorizontalEdge": 907, "CollimatorLowerHorizontalEdge": 1299},
            lambda row, column: row >= 0,
        ),
    ],
)  # fmt: skip
def test_what_the_file_calls_exposed(tmp_path, radiation, tags, inside):
    found = read_xray(write_xray(tmp_path / "x.dcm", radiation, **GEOMETRY, **LINEAR, **tags))
    expected = inside(*np.mgrid[:40, :60]) & np.ones((40, 60), bool)
    wrong = found.mask != expected
    assert wrong.sum() <= (40 if "POLYGONAL" in tags.values() else 0)  # along the slanting edge
    assert ("of the file" in found.provenance["mask"]) == (not expected.all())


# -- unfit files -------------------------------------------------------------------------------------


def _write(path, array, **how):
    sitk.WriteImage(sitk.GetImageFromArray(array, **how), str(path))
    return path


def _truncated(folder, radiation):
    path = write_xray(folder / "x.dcm", radiation, **GEOMETRY, **LINEAR)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def _header_only(folder, radiation):
    dataset = image_dataset(folder / "x.dcm", radiation, SecondaryCaptureImageStorage, **GEOMETRY)
    del dataset.PixelData
    dataset.save_as(folder / "x.dcm")
    return folder / "x.dcm"


def _undecodable(folder, radiation):
    dataset = image_dataset(folder / "x.dcm", radiation, SecondaryCaptureImageStorage, **GEOMETRY)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000
    dataset.PixelData = pydicom.encaps.encapsulate([b"no JPEG 2000 at all"])
    dataset.save_as(folder / "x.dcm")
    return folder / "x.dcm"


def _text(folder, radiation):
    (folder / "x.dcm").write_text("not an image, but long enough to hold a preamble " * 10)
    return folder / "x.dcm"


def _truncated_png(folder, radiation):
    path = _write(folder / "x.png", radiation)
    path.write_bytes(path.read_bytes()[:60])
    return path


def _nan(folder, radiation):
    values = radiation.astype(np.float32)
    values[3, 3] = np.nan
    return _write(folder / "x.nrrd", values)


BAD = {
    "missing": (lambda folder, x: folder / "absent.dcm", "does not exist"),
    "folder": (lambda folder, x: folder, "is a folder"),
    "truncated": (_truncated, "damaged or incomplete"),
    "header only": (_header_only, "no DICOM image"),
    "undecodable": (_undecodable, "cannot be decoded"),
    "text": (_text, "no DICOM image"),
    "truncated PNG": (_truncated_png, "cannot be read"),
    "volume": (lambda folder, x: _write(folder / "x.nrrd", np.stack([x, x])), "is a volume"),
    "colour volume": (lambda folder, x: _write(folder / "x.nrrd", np.stack([x] * 3)), "is a volume"),
    "CT slice": (lambda folder, x: write_xray(folder / "x.dcm", x, CTImageStorage, Modality="CT"), "is a CT image"),
    "NaN": (_nan, "NaN"),
    "constant": (lambda folder, x: _write(folder / "x.nrrd", np.full_like(x, 7)), "same value everywhere"),
}


@pytest.mark.parametrize("make, said", BAD.values(), ids=BAD.keys())
def test_bad_xray_ends_in_one_sentence(tmp_path, radiation, camera, make, said):
    path = make(tmp_path, radiation)
    with pytest.raises(InputError, match=said) as error:
        read_xray(path, camera)
    assert path.name in str(error.value) and "\n" not in str(error.value)


def test_picture_without_geometry(tmp_path, radiation):
    path = _write(tmp_path / "x.nrrd", radiation)
    with pytest.raises(InputError, match=r"source-to-detector distance and pixel spacing.*--camera"):
        read_xray(path)


# -- real files --------------------------------------------------------------------------------------


def test_twelve_cases(shared):
    """Geometry as in the JSON of the program that rendered them; attenuation exactly -log of the pixels."""
    folders = sorted((shared / "cases").iterdir())
    assert len(folders) >= 12
    for folder in folders:
        truth = json.loads((folder / "truth.json").read_text())["camera"]
        xray = read_xray(folder / "xray.dcm")
        assert xray.camera.source_to_detector_mm == truth["source_to_detector_mm"]
        assert (xray.camera.rows, xray.camera.columns) == (truth["rows"], truth["columns"])
        np.testing.assert_allclose(xray.camera.pixel_spacing_mm, truth["pixel_spacing_mm"], rtol=1e-9)
        np.testing.assert_allclose(xray.camera.principal_point_px, truth["principal_point_px"], rtol=1e-9)
        assert xray.camera.viewed_from == truth["viewed_from"]
        pixels = pydicom.dcmread(folder / "xray.dcm").pixel_array
        assert correlation(xray.attenuation, -np.log(pixels)) > 1 - 1e-9
        assert xray.mask.mean() > 0.97, folder.name
        assert xray.warnings == ()


@pytest.mark.parametrize("view", ["cam1", "cam2"])
def test_wrist_views(shared, view):
    folder = shared / "data" / "wrist"
    xray = read_xray(folder / f"xray_{view}.png", read_camera(f"{folder / 'truth.json'}:{view}"))
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"xray_{view}.png"))).astype(float)
    assert "air is bright" in xray.provenance["intensity"]
    used = xray.mask & (pixels > 0)
    assert correlation(xray.attenuation[used], -np.log(pixels[used])) > 1 - 1e-9
    # The round field: dark corners out, bones and open field in, and next to nothing dark left.
    assert not xray.mask[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert xray.mask[440:1320, 440:1320].all()
    assert 0.7 < xray.mask.mean() < 0.8
    assert (pixels[xray.mask] < 40).mean() < 0.01


# File: size (rows, columns), source-to-detector distance, spacing, viewed from (None: refused), MONOCHROME1,
# and what the refusal names. Read by hand from pydicom's print of the headers.
DICOM = {
    "XA_philips_j2k_geom.dcm": ((1024, 1024), 1194.0, 0.370908203125, "detector", False, ""),
    "XA_96frames_jpeg.dcm": ((512, 512), None, None, None, False, r"\(0018,1110\) and the .*\(0018,1164\)"),
    "CR_hip_RG2_rle.dcm": ((2140, 1760), None, 0.2, None, False, r"distance \(0018,1110\);"),
    "CR_hip_RG2_jpeglossy12.dcm": ((2140, 1760), None, 0.2, None, False, r"distance \(0018,1110\);"),
    "CR_extremity_RG3_nospacing_mono1.dcm": ((1760, 1760), None, None, None, True, r"\(0018,1110\) and the .*1164"),
    "CR_chest_RG1_zero_spacing_mono1.dcm": ((1955, 1841), 1996.0, None, None, True, r"detector \(0018,1164\);"),
    "CR_mono1_chest_nometa.dcm": ((440, 440), None, None, None, True, r"\(0018,1110\) and the .*\(0018,1164\)"),
    "DX_vet_jpeg_ybr422.dcm": ((2421, 1296), None, 0.139, None, False, r"distance \(0018,1110\);"),
}


@pytest.mark.parametrize("name", DICOM)
def test_info_says_what_is_stated_and_by_which_tag(shared, name, capsys):
    size, distance, spacing, viewed_from, _, _ = DICOM[name]
    assert main(["info", str(shared / "data" / "dicom" / name)]) == (0 if viewed_from else 2)
    said = capsys.readouterr().out
    assert f"rows x columns: {size[0]} x {size[1]}" in said
    assert ("Distance Source to Detector (0018,1110)]" in said) == (distance is not None)
    assert distance is None or f"source to detector: {distance:g} mm" in said
    assert ("pixel spacing (row, column): " in said) == (spacing is not None)
    assert spacing is None or f"{spacing:.6g} x {spacing:.6g} mm  [" in said
    assert ("cannot be used as it is" in said) == (viewed_from is None)
    assert ("96 frames" in said) == ("96frames" in name)


@pytest.mark.parametrize("name", DICOM)
def test_public_dicom_files(shared, name):
    size, distance, spacing, viewed_from, inverted, said = DICOM[name]
    path = shared / "data" / "dicom" / name
    if viewed_from is None:
        with pytest.raises(InputError, match=said) as error:
            read_xray(path)
        assert name in str(error.value)
        xray = read_xray(path, Camera(1000, *size, (0.2, 0.2)))  # with the geometry given, the pixels are read
    else:
        xray = read_xray(path)
        assert xray.camera == Camera(distance, *size, (spacing, spacing), viewed_from=viewed_from)
    if "lossy12" in name:  # the same picture in another compression
        reference = pydicom.dcmread(path.with_name("CR_hip_RG2_rle.dcm")).pixel_array
        least = 0.999
    else:
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        reference, least = dataset.pixel_array, 1 - 1e-6
    if reference.ndim == 3:
        reference = reference[0] if reference.shape[0] == 96 else reference @ [0.299, 0.587, 0.114]
    # Fluoroscopy (XA, LIN): radiation. The others show bone bright, by small values if MONOCHROME1.
    reference = reference.astype(float)
    attenuation = -np.log(np.maximum(reference, 0.5)) if name.startswith("XA") else reference
    attenuation = -attenuation if inverted else attenuation
    assert correlation(xray.attenuation[xray.mask], attenuation[xray.mask]) > least
    assert xray.mask.mean() > 0.5


@pytest.mark.parametrize("name", [name for name in DICOM if name not in ("CR_mono1_chest_nometa.dcm",)])
def test_pixels_of_public_files_against_another_decoder(shared, name):
    """GDCM, called by SimpleITK, decodes by code of its own; it shows MONOCHROME1 inverted."""
    file = DicomFile(shared / "data" / "dicom" / name)
    frame = file.frames - 1
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(file.path), imageIO="GDCMImageIO"))[frame].astype(float)
    if DICOM[name][4]:
        expected = 2**file.dataset.BitsStored - 1 - expected
    found = stored_pixels(file, frame).astype(float)
    assert found.shape == expected.shape and np.ptp(found) > 50
    lossy = file.dataset.file_meta.TransferSyntaxUID in (pydicom.uid.JPEGBaseline8Bit, pydicom.uid.JPEG2000)
    np.testing.assert_allclose(found, expected, atol=3 if lossy else 0)  # decoders of lossy images round differently
    if file.frames > 1:
        assert np.abs(found - stored_pixels(file, 0)).max() > 20  # the control: another frame is another picture

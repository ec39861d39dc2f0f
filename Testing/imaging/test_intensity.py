"""Logarithm and polarity, against DICOM's definitions and against pictures whose polarity is known."""

import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.imaging.intensity import seen_polarity, to_attenuation
from DiffPoseRegistrationLib.imaging.masks import Field, exposed_field
from DiffPoseRegistrationLib.imaging.pixel_meaning import PixelMeaning


@pytest.fixture
def line_integral() -> np.ndarray:
    """Attenuation [48, 64] between 0.2 and 4."""
    row, column = np.mgrid[:48, :64]
    return 0.2 + 3.8 * np.exp(-((row - 20) ** 2 + (column - 40) ** 2) / 300)


def everything(values: np.ndarray) -> Field:
    return Field(np.ones(values.shape, bool))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


# DICOM PS3.3: relationship of the stored value to beam intensity, and its sign (+1: less beam, lower value).
STATED = {
    "LIN +1": (lambda p: 60000 * np.exp(-p), PixelMeaning("DX", "LIN", 1)),
    "LIN -1": (lambda p: 65535 - 60000 * np.exp(-p), PixelMeaning("DX", "LIN", -1, largest_value=65535)),
    "LOG +1": (lambda p: 4000 - 900 * p, PixelMeaning("DX", "LOG", 1)),
    "LOG -1": (lambda p: 100 + 900 * p, PixelMeaning("DX", "LOG", -1)),
    "LOG -1, MONOCHROME1": (lambda p: 100 + 900 * p, PixelMeaning("DX", "LOG", -1, inverted_display=True)),
    "LIN +1, MONOCHROME1": (lambda p: 60000 * np.exp(-p), PixelMeaning("DX", "LIN", 1, inverted_display=True)),
    "XA without sign": (lambda p: 60000 * np.exp(-p), PixelMeaning("XA", "LIN")),
    "XA, DISP": (lambda p: 4000 - 900 * p, PixelMeaning("XA", "DISP")),
    "CR": (lambda p: 100 + 900 * p, PixelMeaning("CR")),
    "CR, MONOCHROME1": (lambda p: 4000 - 900 * p, PixelMeaning("CR", inverted_display=True)),
}


@pytest.mark.parametrize("store, meaning", STATED.values(), ids=STATED.keys())
def test_stated_meaning(line_integral, store, meaning):
    values = store(line_integral)
    converted = to_attenuation(values, meaning, everything(values))
    assert correlation(converted.attenuation, line_integral) > 1 - 1e-6
    assert converted.large_is_dense == (correlation(values, line_integral) > 0)


def test_a_person_overrules_the_file(line_integral):
    values = 100 + 900 * line_integral
    wrong = PixelMeaning("XA", "LIN", 1)
    assert correlation(to_attenuation(values, wrong, everything(values)).attenuation, line_integral) < 0
    mended = to_attenuation(values, wrong, everything(values), "logarithmic", "bright-is-bone")
    assert correlation(mended.attenuation, line_integral) > 1 - 1e-6
    assert "as given" in mended.words
    # "bright" is what one sees: MONOCHROME1 shows large values dark.
    shown_dark = to_attenuation(
        values, PixelMeaning("XA", "LIN", 1, True), everything(values), "logarithmic", "bright-is-air"
    )
    assert correlation(shown_dark.attenuation, line_integral) > 1 - 1e-6
    with pytest.raises(InputError, match="bright-is-air"):
        to_attenuation(values, wrong, everything(values), polarity="dark")
    with pytest.raises(InputError, match="transmission"):
        to_attenuation(values, wrong, everything(values), intensity="linear")


def test_no_radiation_stays_finite(line_integral):
    values = np.floor(200 * np.exp(-3 * line_integral))
    assert (values == 0).any()
    attenuation = to_attenuation(values, PixelMeaning("XA", "LIN", 1), everything(values)).attenuation
    assert np.isfinite(attenuation).all()
    assert attenuation[values == 0].min() > attenuation[values > 0].max()


def test_open_field_is_zero():
    values = np.full((64, 64), 50000.0)
    values[20:40, 20:40] = 500
    attenuation = to_attenuation(values, PixelMeaning("XA", "LIN", 1), everything(values)).attenuation
    assert attenuation[0, 0] == pytest.approx(0)
    assert attenuation[30, 30] == pytest.approx(np.log(100))


# -- polarity from the picture alone -----------------------------------------------------------------


def pictures(shared):
    """(name, picture as shown, whether air is bright) for 8-bit exports and 16-bit radiation."""
    for folder in sorted((shared / "cases").iterdir())[::2]:
        radiation = pydicom.dcmread(folder / "xray.dcm").pixel_array.astype(float)
        dense = -np.log(radiation)
        yield f"{folder.name} 16 bit", radiation, True
        yield f"{folder.name} log", np.round((dense - dense.min()) / np.ptp(dense) * 255), False
        yield (
            f"{folder.name} gamma",
            np.round(np.sqrt(np.minimum(radiation / np.quantile(radiation, 0.99), 1)) * 255),
            True,
        )
    for name in (
        "XA_philips_j2k_geom",
        "XA_96frames_jpeg",
        "CR_extremity_RG3_nospacing_mono1",
        "CR_mono1_chest_nometa",
    ):
        dataset = pydicom.dcmread(shared / "data" / "dicom" / f"{name}.dcm", force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        pixels = dataset.pixel_array.astype(float)
        pixels = pixels[0] if pixels.ndim == 3 else pixels
        pixels = np.round((pixels - pixels.min()) / np.ptp(pixels) * 255)
        yield name, 255 - pixels if "mono1" in name else pixels, name.startswith("XA")
    for view in ("cam1", "cam2"):
        path = shared / "data" / "wrist" / f"xray_{view}.png"
        yield f"wrist {view}", sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(float), True


def test_polarity_seen_in_real_pictures(shared):
    """Each picture, and its negative."""
    wrong = []
    for name, picture, air_is_bright in pictures(shared):
        for shown, expected in ((picture, air_is_bright), (picture.max() - picture, not air_is_bright)):
            seen = seen_polarity(shown, exposed_field(shown))
            if seen.bright_is_air is not expected:
                wrong.append(f"{name}: {seen}")
    assert not wrong, wrong


def test_picture_that_does_not_tell_is_warned_about():
    shown = np.tile(np.linspace(0, 255, 256), (256, 1))
    converted = to_attenuation(shown, PixelMeaning(), exposed_field(shown), name="plain.png")
    assert len(converted.warnings) == 1 and "plain.png" in converted.warnings[0]


def test_a_file_that_says_the_opposite_of_what_is_seen_is_doubted_aloud_and_no_other(shared):
    doubted = []
    for name, picture, air_is_bright in pictures(shared):
        field = exposed_field(picture)
        for sign in (1, -1):
            says_air = sign == 1
            converted = to_attenuation(picture, PixelMeaning("DX", "LOG", sign), field, name=name)
            assert converted.large_is_dense is not says_air  # believed all the same
            if says_air is air_is_bright:
                assert converted.warnings == (), converted.warnings
            else:
                doubted.append(len(converted.warnings))
                assert all(name in text and "--polarity" in text for text in converted.warnings)
    assert np.mean(doubted) > 0.5  # of the wrong ones most; the others do not show it clearly enough


def test_what_pixels_mean_survives_a_file_and_nonsense_is_refused():
    for known in (PixelMeaning(), PixelMeaning("XA", "LIN", -1, True, 4095)):
        assert PixelMeaning.from_json(json.loads(json.dumps(known.to_json()))) == known
    for nonsense in ("LIN", {"signs": 1}, {"sign": 2}, {"sign": True}, {"modality": 3}, {"inverted_display": "yes"}):
        with pytest.raises(InputError, match="the view's"):
            PixelMeaning.from_json(nonsense, "the view's meaning")

"""From pixel values to attenuation: the one place that decides on logarithm and polarity.

What a file states wins over what its kind of image usually is, and that over what the picture looks
like; a person's word wins over all. Definitions: DICOM PS3.3, Pixel Intensity Relationship (0028,1040)
and its Sign (0028,1041).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..errors import InputError
from .masks import Field
from .pixel_meaning import PixelMeaning

INTENSITIES = ("auto", "transmission", "logarithmic")
POLARITIES = ("auto", "bright-is-air", "bright-is-bone")

# What these machines send when they do not say: fluoroscopy is shown as exposed film is not, bone dark;
# radiography as film on a light box, bone bright, after a logarithmic or display curve.
_FLUOROSCOPY = ("XA", "XRF", "RF")
_RADIOGRAPHY = ("CR", "DX", "IO", "PX", "MG")
# log2 of how much stronger thin bright structures are than thin dark ones. Of the 22 X-rays that this was tried on (12
# rendered by another program, 10 real ones) all beyond the second are right; one at 0.16, a wrist with beads, is wrong.
_DISTINCT_DETAIL, _SURE_DETAIL = 0.03, 0.2


@dataclass(frozen=True)
class Conversion:
    """An attenuation image and how it was made.

    attenuation
        Array [row, column], float32, large = dense, up to offset and scale.
    large_is_dense
        Whether large *input* values were dense.
    words
        The choice in words.
    warnings
        Sentences for the person.
    """

    attenuation: np.ndarray
    large_is_dense: bool
    words: str
    warnings: tuple[str, ...] = ()


def to_attenuation(
    values: np.ndarray,
    meaning: PixelMeaning,
    field: Field,
    intensity: str = "auto",
    polarity: str = "auto",
    name: str = "X-ray",
    open_field: float | None = None,
) -> Conversion:
    """Attenuation of ``values`` [row, column] (finite numbers, as stored or rescaled, not yet inverted).

    Parameters
    ----------
    intensity
        "transmission": proportional to radiation, so the logarithm is taken; "logarithmic": already
        proportional to attenuation (or mapped for display), so it is not; "auto": from the file, else
        from its kind, else transmission where air is bright.
    polarity
        How the image is *shown*: "bright-is-air", "bright-is-bone", or "auto".
    open_field
        I0, what the detector records without a patient, in units of ``values`` (counted from the other end where large
        values mean little radiation); None: the brightest part of the field.

    Raises
    ------
    InputError
        If a choice is not one of the above, or the open field is not above zero.
    """
    for what, given, known in (("intensity", intensity, INTENSITIES), ("polarity", polarity, POLARITIES)):
        if given not in known:
            raise InputError(f"The {what} {given!r} is not known; choose one of {', '.join(known)}.")
    if open_field is not None and not 0 < open_field < np.inf:
        raise InputError(f"The open field is {open_field:g}; give the value of a pixel without patient, above 0.")
    values = np.asarray(values, dtype=np.float64)
    bright_is_air, polarity_words, warnings = _polarity(values, meaning, field, intensity, polarity, name)
    large_is_dense = bright_is_air == meaning.inverted_display
    is_transmission, intensity_words = _transmission(values, meaning, intensity, bright_is_air)
    if not is_transmission:
        attenuation = values if large_is_dense else -values
        words = f"logarithmic ({intensity_words}), taken as it is; {polarity_words}"
    else:
        radiation = values
        if large_is_dense:
            top = values.max() if meaning.largest_value is None else max(meaning.largest_value, values.max())
            radiation = top - values
        attenuation, used = _minus_log(radiation, field.mask, open_field)
        origin = ", the brightest part" if open_field is None else ", as given"
        words = f"transmission ({intensity_words}), -log(I/I0) with I0 = {used:.6g}{origin}; {polarity_words}"
    return Conversion(attenuation.astype(np.float32), large_is_dense, words, warnings)


def _minus_log(radiation: np.ndarray, field: np.ndarray, open_field: float | None) -> tuple[np.ndarray, float]:
    """``-log(I / I0)`` and I0, by default the brightest part of the field (an offset only, if no open field is
    seen)."""
    inside = radiation[field]
    positive = inside[inside > 0]
    if positive.size == 0:
        return np.zeros_like(radiation), open_field or 1.0
    if open_field is None:
        open_field = max(float(np.percentile(inside, 99.9)), float(positive.min()))
    # No radiation at all has no logarithm: such pixels count as half of the least that was measured.
    floor = 0.5 * float(positive.min())
    return -np.log(np.maximum(radiation, floor) / open_field), open_field


def _transmission(values: np.ndarray, meaning: PixelMeaning, given: str, bright_is_air: bool) -> tuple[bool, str]:
    if given != "auto":
        return given == "transmission", "as given"
    if meaning.relationship in ("LIN", "LOG", "DISP"):
        return meaning.relationship == "LIN", f"Pixel Intensity Relationship (0028,1040) = {meaning.relationship}"
    if meaning.modality in _FLUOROSCOPY:
        return True, f"assumed, as usual for {meaning.modality}"
    if meaning.modality in _RADIOGRAPHY:
        return False, f"assumed, as usual for {meaning.modality}"
    if values.min() < 0:
        return False, "assumed, since it has negative values"
    return bright_is_air, "assumed, since air is bright" if bright_is_air else "assumed, since bone is bright"


def _polarity(
    values: np.ndarray, meaning: PixelMeaning, field: Field, intensity: str, given: str, name: str
) -> tuple[bool, str, tuple[str, ...]]:
    """Whether air is shown bright, why, and warnings: also where the picture looks otherwise."""
    if given != "auto":
        bright_is_air = given == "bright-is-air"
        return bright_is_air, _polarity_words(bright_is_air, "as given"), ()
    seen = seen_polarity(-values if meaning.inverted_display else values, field)
    stated, why = _stated_polarity(meaning, intensity)
    if stated is not None:
        warnings: tuple[str, ...] = ()
        if seen.is_sure and seen.bright_is_air is not stated:
            warnings = (
                f"{name} looks as if {'air' if seen.bright_is_air else 'bone'} were bright ({seen.why}), although "
                f"{'air' if stated else 'bone'} is by its file ({why}); give --polarity if the file is wrong.",
            )
        return stated, _polarity_words(stated, why), warnings
    if seen.bright_is_air is not None:
        return seen.bright_is_air, _polarity_words(seen.bright_is_air, f"seen in the picture: {seen.why}"), ()
    return (
        False,
        _polarity_words(False, "assumed"),
        (f"{name} does not show whether bone is bright or dark, bright was assumed; give --polarity if it is dark.",),
    )


def _polarity_words(bright_is_air: bool, why: str) -> str:
    return f"{'air' if bright_is_air else 'bone'} is bright ({why})"


def _stated_polarity(meaning: PixelMeaning, intensity: str) -> tuple[bool | None, str]:
    """Whether air is shown bright by what a file states or by its kind, None if neither tells, and why."""
    if meaning.sign is not None:
        return (meaning.sign > 0) != meaning.inverted_display, (
            f"Pixel Intensity Relationship Sign (0028,1041) = {meaning.sign:+d}"
        )
    if intensity == "transmission" or meaning.relationship == "LIN":
        return not meaning.inverted_display, "as transmission is"
    if meaning.modality in _FLUOROSCOPY or meaning.modality in _RADIOGRAPHY:
        return meaning.modality in _FLUOROSCOPY, f"assumed, as usual for {meaning.modality}"
    return None, ""


@dataclass(frozen=True)
class SeenPolarity:
    """What a picture looks like.

    bright_is_air
        None if it cannot be told.
    is_sure
        Whether the evidence is strong enough to doubt a file.
    """

    bright_is_air: bool | None
    why: str
    is_sure: bool = False


def seen_polarity(shown: np.ndarray, field: Field) -> SeenPolarity:
    """Whether air is bright in ``shown`` [row, column] (large = bright).

    Blades around the picture are dense. A large clipped area inside the exposed field is air, if the
    other end of the scale is hardly used. Else the finest structures decide: cortices, trabeculae,
    vessels and wires are denser than what surrounds them.
    """
    if field.outside == "bright" and field.shape == "rectangular":
        return SeenPolarity(False, "its collimated border is bright", True)
    inside = shown[field.mask]
    low, high = np.percentile(inside, [0.5, 99.5])
    tenth = 0.1 * (high - low)
    for end, clipped, opposite in (
        ("bright", inside == inside.max(), inside < low + tenth),
        ("dark", inside == inside.min(), inside > high - tenth),
    ):
        if clipped.mean() > 0.3 and opposite.mean() < 0.05:
            return SeenPolarity(end == "bright", f"{clipped.mean():.0%} of the field is open and {end}", True)
    excess = _bright_detail(shown, field.mask)
    if abs(excess) > _DISTINCT_DETAIL:
        words = f"its fine structures are {'bright' if excess > 0 else 'dark'}"
        return SeenPolarity(excess < 0, words, abs(excess) > _SURE_DETAIL)
    if field.shape == "round":
        return SeenPolarity(True, "a round field, as of fluoroscopy")
    return SeenPolarity(None, "it has neither a clipped open field nor distinct fine structures")


def _bright_detail(shown: np.ndarray, mask: np.ndarray) -> float:
    """How much stronger thin bright structures are than thin dark ones: log2 of their ratio.

    White against black top-hats (Serra) of the image after histogram equalisation, which makes the
    answer independent of logarithm, gamma and window.
    """
    step = max(1, round(max(shown.shape) / 256))
    small = ndimage.uniform_filter(shown.astype(np.float64), step)[step // 2 :: step, step // 2 :: step]
    inner = ndimage.binary_erosion(mask[step // 2 :: step, step // 2 :: step], iterations=8)
    if inner.sum() < 256:
        return 0.0
    small = ndimage.gaussian_filter(small, 1.0)
    levels = np.unique(np.quantile(small[inner], np.linspace(0, 1, 257)))
    equalised = np.interp(small, levels, np.linspace(0, 1, levels.size))
    ratios = []
    for size in (5, 7):
        bright = ndimage.white_tophat(equalised, size)[inner].mean()
        dark = ndimage.black_tophat(equalised, size)[inner].mean()
        if min(bright, dark) <= 0:
            return 0.0
        ratios.append(np.log2(bright / dark))
    return float(np.mean(ratios))

"""Simulated X-rays: what a detector would record at a known pose, and the DICOM file it would write."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..geometry.camera import Camera
from ..geometry.rigid import validated_pose
from ..imaging.attenuation import AttenuationRule
from ..imaging.files import LPS_RAS, write_whole
from ..imaging.values import CTVolume
from ..rendering.renderer import Renderer
from .tube import SIMULATION_RULE, SOFT_RULE, SPECTRA, Margins, Tool, aperture, heel_profile, steel_path, transmission

# Finer than what registration renders with: an X-ray that shares its sampling pattern along the rays would
# let a registration lock on to that pattern.
_STEP_VOXELS = 0.2

_XA_STORAGE = "1.2.840.10008.5.1.4.1.1.12.1"


def simulate_xray(
    ct: CTVolume,
    camera: Camera,
    pose: np.ndarray,
    *,
    photons: float = 60000,
    seed: int = 0,
    blur_px: float = 0.6,
    scatter: float = 0.1,
    spectrum: str = "mono",
    heel: float = 0.0,
    collimator_px: Margins = (0, 0, 0, 0),
    tools: Sequence[Tool] = (),
    renderer: Renderer | None = None,
) -> np.ndarray:
    """The transmission image [rows, columns], uint16, bright = little attenuation.

    Parameters
    ----------
    pose
        ``camera_to_world`` [4, 4].
    photons
        Quanta a pixel gets without a patient; they make the noise (Poisson) and are the grey value of air.
        0: no noise, air at 60000.
    seed
        Of the noise.
    blur_px
        Standard deviation of the detector's blur, pixels.
    scatter
        Scattered over primary radiation, as a wide haze behind the patient.
    spectrum
        "mono": one energy, about 60 keV. "80kV": a tube's, whose beam hardens on its way.
    heel
        Share of the beam that is missing at the image's top, where the anode is.
    collimator_px
        Widths of straight blades at the top, bottom, left and right.
    tools
        Rods of steel: x, y, z (RAS, mm) of both ends and the radius (mm).
    renderer
        :func:`simulation_renderer` of the same CT, where several X-rays of it are simulated.

    Raises
    ------
    InputError
        If the pose shows nothing of the CT or a number makes no sense.
    """
    if not (0 <= photons <= 65000 and 0 <= blur_px <= 50 and 0 <= scatter <= 20):
        raise InputError(
            f"photons is {photons}, blur {blur_px} and scatter {scatter}; choose photons from 0 to 65000, "
            "blur from 0 to 50 pixels and scatter from 0 to 20."
        )
    pose = validated_pose(pose, "The pose to simulate")
    renderer = renderer or simulation_renderer(ct)
    if spectrum not in SPECTRA:
        raise InputError(f"There is no spectrum {spectrum!r}; choose one of {', '.join(SPECTRA)}.")
    integrals = renderer.render(camera, pose)
    if not integrals.max() > 0.05:
        raise InputError(f"At this pose the X-ray shows nothing of {ct.name}; check the pose and the camera.")
    air = float(photons) or 60000.0
    soft = simulation_renderer(ct, SOFT_RULE).render(camera, pose) if spectrum == "80kV" else None
    beam = air * heel_profile(camera.rows, heel) * aperture(camera, collimator_px)
    quanta = beam * transmission(integrals, soft, steel_path(camera, pose, tools))
    if scatter:
        # Scatter is smooth over a few centimetres and comes from where the patient is.
        haze = gaussian_blur(quanta * (integrals > 0.05), 30.0 / camera.pixel_spacing_mm[1])
        quanta = quanta + scatter * haze
    if photons:
        quanta = np.random.default_rng(seed).poisson(quanta).astype(np.float64)
    quanta = gaussian_blur(quanta, blur_px)
    return np.clip(np.rint(quanta), 0, 65535).astype(np.uint16)


def simulation_renderer(ct: CTVolume, rule: AttenuationRule = SIMULATION_RULE) -> Renderer:
    """What renders simulated X-rays; on purpose not as registration and training render."""
    return Renderer(ct, rule, levels=1, method="trilinear", step_voxels=_STEP_VOXELS)


def write_ct(path: Path | str, ct: CTVolume) -> None:
    """Write a CT (.nrrd, .nii.gz, .mha) in whole Hounsfield units, compressed."""
    import SimpleITK as sitk

    affine = LPS_RAS @ ct.ijk_to_ras
    image = sitk.GetImageFromArray(np.rint(ct.hounsfield).astype(np.int16))
    image.SetSpacing(ct.spacing_mm.tolist())
    image.SetDirection((affine[:3, :3] / ct.spacing_mm).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    write_whole(path, lambda made: sitk.WriteImage(image, str(made), useCompression=True))


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """``image`` [rows, columns] convolved with a Gaussian of ``sigma`` pixels, edges reflected."""
    if sigma < 1e-3:
        return image
    for axis in (0, 1):
        length = image.shape[axis]
        pad = min(int(np.ceil(3 * sigma)), length)
        widths = [(pad, pad) if n == axis else (0, 0) for n in (0, 1)]
        padded = np.pad(image, widths, mode="symmetric")
        frequency = np.fft.rfftfreq(padded.shape[axis])
        response = np.exp(-2 * (np.pi * frequency * sigma) ** 2)
        spectrum = np.fft.rfft(padded, axis=axis) * np.expand_dims(response, 1 - axis)
        filtered = np.fft.irfft(spectrum, n=padded.shape[axis], axis=axis)
        image = np.take(filtered, range(pad, pad + length), axis=axis)
    return image


def write_xray_dicom(
    path: Path | str,
    image: np.ndarray,
    camera: Camera,
    angles: tuple[float, float] | None = None,
    *,
    source_to_patient_mm: float | None = None,
    collimator_px: Margins = (0, 0, 0, 0),
) -> None:
    """Write an X-Ray Angiographic Image whose tags hold the whole geometry.

    Parameters
    ----------
    image
        Transmission image [rows, columns], uint16, bright = little attenuation.
    camera
        Of this very image.
    angles
        DICOM's positioner angles (primary: LAO positive; secondary: cranial positive), degrees. They make it
        a C-arm's picture, which is seen from the detector, so they belong to such a camera and no other.
    source_to_patient_mm
        Distance from the source to the isocentre, if known.
    collimator_px
        Widths of straight blades at the top, bottom, left and right.

    Raises
    ------
    InputError
        If image and camera disagree, or the principal point is not the image's centre or the side from which
        the image is seen disagrees with ``angles``, for which a plain XA image has no tags.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    image = np.asarray(image)
    if image.dtype != np.uint16 or image.shape != (camera.rows, camera.columns):
        raise InputError(
            f"The image for {path} is {image.dtype} {image.shape}; give uint16 of the camera's size "
            f"{camera.rows} x {camera.columns}."
        )
    centre = ((camera.columns - 1) / 2, (camera.rows - 1) / 2)
    if not np.allclose(camera.principal_point_px, centre, atol=1e-3):
        raise InputError(
            f"{path}: a DICOM X-ray cannot hold the principal point {camera.principal_point_px}; save it as .png and "
            "keep its geometry in a camera JSON."
        )
    if (angles is not None) != (camera.viewed_from == "detector"):
        raise InputError(
            f"{path}: a DICOM X-ray seen from the {camera.viewed_from} is written "
            f"{'with' if angles is None else 'without'} positioner angles, else it is read mirrored."
        )
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_XA_STORAGE)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    now = datetime.datetime.now()
    elements: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["DERIVED", "PRIMARY", "SINGLE PLANE"],
        "SOPClassUID": _XA_STORAGE,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyDate": now.strftime("%Y%m%d"),
        "StudyTime": now.strftime("%H%M%S"),
        "AccessionNumber": "",
        "Modality": "XA",
        "Manufacturer": "DiffPose",
        "ReferringPhysicianName": "",
        "SeriesDescription": "Simulated X-ray",
        "PatientName": "Simulated^Xray",
        "PatientID": "SIMULATED",
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "StudyID": "",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "PatientOrientation": "",
        "DistanceSourceToDetector": _decimal(camera.source_to_detector_mm),
        "ImagerPixelSpacing": [_decimal(value) for value in camera.pixel_spacing_mm],
        "RadiationSetting": "GR",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": camera.rows,
        "Columns": camera.columns,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelIntensityRelationship": "LIN",
        "PixelIntensityRelationshipSign": 1,
        "WindowCenter": _decimal((float(image.min()) + float(image.max())) / 2),
        "WindowWidth": _decimal(max(float(image.max()) - float(image.min()), 1.0)),
        "LossyImageCompression": "00",
    }
    if source_to_patient_mm is not None:
        elements["DistanceSourceToPatient"] = _decimal(source_to_patient_mm)
    if any(collimator_px):
        top, bottom, left, right = collimator_px
        edges = (left + 1, camera.columns - right, top + 1, camera.rows - bottom)  # of the exposed pixels, from 1
        elements["CollimatorShape"] = "RECTANGULAR"
        for name, edge in zip(("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal"), edges):
            elements[f"Collimator{name}Edge"] = edge
    if angles is not None:
        elements["PositionerMotion"] = "STATIC"
        elements["PositionerPrimaryAngle"], elements["PositionerSecondaryAngle"] = map(_decimal, angles)
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    data.PixelData = image.astype("<u2").tobytes()
    write_whole(path, lambda made: data.save_as(made, enforce_file_format=True))


def _decimal(value: float) -> str:
    """DICOM's Decimal String: at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))

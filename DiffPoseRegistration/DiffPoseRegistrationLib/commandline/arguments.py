"""Options that several commands share, and how they become values."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..geometry.isocentre import SOURCE_TO_ISOCENTRE_SHARE

if TYPE_CHECKING:
    from ..geometry.camera import Camera
    from ..imaging.values import CTVolume, XRay
    from ..imaging.volume_mapping import VolumeMapping

METHODS = ("lm", "adam-diffpose", "adam-xvr", "cma")
VIEWS = ("AP", "PA", "LL", "RL")
DEFAULT_CAMERA = {
    "source_to_detector_mm": 1020.0,
    "rows": 512,
    "columns": 512,
    "pixel_spacing_mm": [0.645, 0.645],
}


def add_ct(parser: argparse.ArgumentParser, *, required: bool = True, help: str | None = None) -> None:
    parser.add_argument(
        "--ct",
        required=required,
        metavar="CT",
        help=help or "CT in Hounsfield units: .nrrd, .nii, .nii.gz, .mha, .mhd, or a folder with a DICOM series",
    )


def add_xray(parser: argparse.ArgumentParser, *, required: bool = True, help: str | None = None) -> None:
    parser.add_argument(
        "--xray", required=required, metavar="XRAY", help=help or "X-ray: DICOM, .png, .tif, .nrrd, .mha"
    )


def add_xray_reading(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """How to read an X-ray whose file does not say everything, or says it wrongly."""
    group = parser.add_argument_group("reading the X-ray (each of these wins over what its file says)")
    add_camera(group, several=several)
    group.add_argument(
        "--viewed-from",
        choices=("source", "detector"),
        help="the side from which the stored image is seen (a C-arm's is usually seen from the detector)",
    )
    group.add_argument("--frame", type=int, default=0, metavar="N", help="frame of a cine run, from 0 (default 0)")
    group.add_argument(
        "--intensity",
        choices=("auto", "transmission", "logarithmic"),
        default="auto",
        help="what the grey values are: what reached the detector, or its logarithm",
    )
    group.add_argument(
        "--polarity",
        choices=("auto", "bright-is-air", "bright-is-bone"),
        default="auto",
        help="whether air or bone has the large values",
    )
    group.add_argument(
        "--open-field",
        type=float,
        metavar="VALUE",
        help="grey value where no patient is, for the logarithm (default: the brightest part of the image)",
    )


def add_camera(parser: Any, *, several: bool = False) -> None:
    more = {"nargs": "+"} if several else {}
    parser.add_argument(
        "--camera",
        metavar="FILE",
        help="X-ray geometry: a JSON file with source_to_detector_mm, rows, columns, pixel_spacing_mm [row, column], "
        "or intrinsic_matrix_px; FILE:VIEW for one view of several; or a file of MayaCam 2.0, RTK (.xml, FILE:NUMBER "
        "for one projection of several) or plastimatch (.txt)" + ("; one for each X-ray, in order" if several else ""),
        **more,
    )


def add_method(parser: Any) -> None:
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="lm",
        help="how to refine: Levenberg-Marquardt from many starts (lm, default), as DiffPose or xvr do, or a global "
        "search first (cma)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)"
    )


def add_centre_pose(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where the C-arm stands")
    choice = group.add_mutually_exclusive_group()
    choice.add_argument(
        "--view",
        choices=VIEWS,
        default="AP",
        help="by the beam: AP enters in front, PA at the back, LL / RL on the patient's left / right (default AP)",
    )
    choice.add_argument("--centre-pose", metavar="POSE", help="instead of a view: a pose JSON, .h5 or .tfm")
    group.add_argument(
        "--source-to-isocentre",
        type=float,
        metavar="MM",
        help="distance from the source to the CT's centre (default: the X-ray's Distance Source to Patient, else "
        f"{SOURCE_TO_ISOCENTRE_SHARE:g} of the source-to-detector distance)",
    )


def given_camera(args: argparse.Namespace) -> Camera | None:
    """The camera of ``--camera``, if any, with ``--viewed-from`` applied."""
    if args.camera is None:
        return None
    from ..imaging.camera_file import read_camera

    camera = read_camera(args.camera, getattr(args, "xray", None))
    viewed_from = getattr(args, "viewed_from", None)
    return replace(camera, viewed_from=viewed_from) if viewed_from else camera


def reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of ``read_xray`` besides the camera."""
    return {
        "frame": args.frame,
        "intensity": args.intensity,
        "polarity": args.polarity,
        "open_field": args.open_field,
    }


def reading_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The same options as settings of a job."""
    camera = given_camera(args)
    given = {"camera": None if camera is None else camera.to_json(), "viewed_from": args.viewed_from}
    return {**given, **reading_options(args)}


def add_mapping(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--mapping",
        metavar="KIND",
        help="what the volume of --ct is: ct, cone-beam (without Hounsfield units), vessels or vessels:THRESHOLD "
        f"(filled with contrast agent), mr, or a JSON file with [value, HU] pairs (default: {default})",
    )


def mapping_for_job(kind: str) -> str:
    """``--mapping`` as a job takes it, which may run in another folder."""
    return str(Path(kind).resolve()) if Path(kind).is_file() else kind


def load_ct(path: str | Path, mapping: VolumeMapping | str = "ct") -> CTVolume:
    """The CT in a file or folder, read by ``mapping`` as for ``read_ct``; its warnings go to the terminal."""
    from ..imaging.ct_reader import read_ct

    ct = read_ct(path, mapping)
    for warning in ct.warnings:
        print(f"Note: {warning}")
    return ct


def load_xray(args: argparse.Namespace) -> XRay:
    """The X-ray of ``--xray`` with every option applied; its warnings go to the terminal."""
    from ..imaging.xray_reader import read_xray

    xray = read_xray(args.xray, camera=given_camera(args), viewed_from=args.viewed_from, **reading_options(args))
    for warning in xray.warnings:
        print(f"Note: {warning}")
    return xray


def one_by_one(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The options of a command that takes several X-rays, for each X-ray by itself: one ``xray``, ``camera``,
    ``initial`` and ``truth`` each.

    Raises
    ------
    InputError
        If there are not as many cameras as X-rays, or more poses than X-rays.
    """
    count = len(args.xray)
    many = f"{count} X-rays" if count > 1 else "1 X-ray"
    if args.camera and len(args.camera) != count:
        raise InputError(f"There are {many} but {len(args.camera)} --camera; give each X-ray its own, in order.")
    for name in ("initial", "truth"):
        if len(getattr(args, name) or []) > count:
            raise InputError(f"There are {many} but {len(getattr(args, name))} --{name}; give one for each, in order.")

    def of(name: str, number: int) -> str | None:
        values = getattr(args, name) or []
        return values[number] if number < len(values) else None

    names = ("xray", "camera", "initial", "truth")
    return [argparse.Namespace(**{**vars(args), **{name: of(name, n) for name in names}}) for n in range(count)]


def source_to_isocentre(args: argparse.Namespace, camera: Camera, xray_path: str | None) -> tuple[float, str]:
    """The distance in mm and where it comes from."""
    if args.source_to_isocentre is not None:
        if not 1 <= args.source_to_isocentre <= 1e5:
            raise InputError(f"--source-to-isocentre is {args.source_to_isocentre:g}; give a distance in millimetres.")
        return args.source_to_isocentre, "--source-to-isocentre"
    distance = _dicom_number(xray_path, "DistanceSourceToPatient") if xray_path else None
    if distance is not None and 0 < distance < camera.source_to_detector_mm:
        return distance, "Distance Source to Patient (0018,1111)"
    share = SOURCE_TO_ISOCENTRE_SHARE
    return share * camera.source_to_detector_mm, f"{share:g} of the source-to-detector distance, assumed"


def positioner_angles_of(xray_path: str | None) -> tuple[float, float]:
    """The primary and secondary positioner angle (deg) that an X-ray's file states. Raises InputError if it states
    none."""
    angles = [
        _dicom_number(xray_path, name) if xray_path else None
        for name in ("PositionerPrimaryAngle", "PositionerSecondaryAngle")
    ]
    if angles[0] is None or angles[1] is None:
        raise InputError(
            f"{xray_path or 'The X-ray'} states no positioner angles; give --view or --centre-pose instead."
        )
    return angles[0], angles[1]


def _dicom_number(path: str, name: str) -> float | None:
    """A number that a DICOM file states under an attribute's keyword; None if it does not."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        value = pydicom.dcmread(Path(path), stop_before_pixels=True, specific_tags=[name]).get(name)
        return None if value is None else float(value)
    except (InvalidDicomError, OSError, TypeError, ValueError):
        return None  # a picture, or a tag without a number

"""``diffpose info``: what was read from a file, and from which tag."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from . import arguments, explain

if TYPE_CHECKING:
    from ..geometry.camera import Camera

_TRANSFORMS = (".h5", ".hdf5", ".tfm", ".txt", ".mat", ".xfm")
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_VOLUMES = (".nrrd", ".nhdr", ".nii", ".gz", ".mha", ".mhd")

_EPILOG = """examples:
  diffpose info xray.dcm ct.nrrd model.safetensors pose.h5 camera.json
  diffpose info --camera rig.json:cam1 cam1.png
  was the picture mirrored, turned, inverted, or its pixel spacing taken for another?
    diffpose info xray.dcm --explain --ct ct.nrrd --initial rough.h5 --out sheet.png
"""


def add_command(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "info",
        help="show what is read from files, and from where",
        description="Show what is read from CTs, X-rays, cameras, models and poses, and from which tag.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="any file that the other commands take")
    arguments.add_xray_reading(parser)
    parser.add_argument(
        "--write-camera",
        metavar="FILE",
        help="write the camera and the place of one camera's file as .json (with projection_matrix_px), .txt (MayaCam "
        "2.0), .plastimatch.txt or .xml (RTK)",
    )
    parser.add_argument(
        "--of",
        metavar="XRAY",
        help="the X-ray that belongs to a geometry of RTK or plastimatch, which leave its size to it",
    )
    explain.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Every file is shown; the exit code is 2 if one of them cannot be read."""
    from ..imaging.dicom_geometry import MissingGeometry
    from .main import INPUT_ERROR, OK

    if args.explain:
        explain.run(args)
        return OK
    if args.write_camera:
        _write_camera(args)
    code = OK
    for number, name in enumerate(args.files):
        if number:
            print()
        try:
            lines = _describe(name, args)
        except MissingGeometry as error:
            lines, code = [*error.known, f"cannot be used as it is: {error}"], INPUT_ERROR
        except InputError as error:
            lines, code = [f"cannot be used: {error}"], INPUT_ERROR
        print(f"{name}")
        for line in lines:
            print(f"  {line}")
    return code


def _describe(name: str, args: argparse.Namespace) -> list[str]:
    from ..imaging.calibration_file import is_calibration
    from ..imaging.file_views import split_view

    path, view = split_view(name)
    suffix = path.suffix.lower()
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if suffix == ".json":
        return _json(name, path, view)
    if is_calibration(name):
        return _calibration(name, args.of)
    if suffix == ".safetensors":
        return _model(path)
    if suffix in _TRANSFORMS:
        return _pose(name)
    if path.is_dir() or (suffix in _VOLUMES and _is_volume(path)):
        return _ct(path)
    return _xray(path, args)


def _write_camera(args: argparse.Namespace) -> None:
    """What camera and place a file holds, in the format of another."""
    from ..geometry import rigid
    from ..geometry.projection import projection_matrix
    from ..imaging.calibration import read_placement
    from ..imaging.camera_file import MATRIX_KEY, read_camera
    from ..imaging.mayacam import write_mayacam
    from ..imaging.plastimatch_geometry import write_plastimatch
    from ..imaging.pose_file import POSE_KEY, read_pose
    from ..imaging.rtk_geometry import write_rtk
    from ..workflow.result_file import write_json

    if len(args.files) != 1:
        raise InputError("--write-camera takes one file; give them one after the other.")
    camera, place = read_camera(args.files[0], args.of), read_placement(args.files[0], args.of)
    pose = place.camera_to_lab if place is not None else read_pose(args.files[0])
    target = Path(args.write_camera)
    if target.name.lower().endswith(".plastimatch.txt"):
        write_plastimatch(target, camera, pose)
    elif target.suffix.lower() == ".txt":
        write_mayacam(target, camera, rigid.inverse(pose))
    elif target.suffix.lower() == ".xml":
        write_rtk(target, camera, pose)
    elif target.suffix.lower() == ".json":
        matrix = projection_matrix(camera, rigid.inverse(pose))
        write_json(target, {"camera": camera.to_json(), POSE_KEY: pose, MATRIX_KEY: matrix})
    else:
        raise InputError(f"{target} must end in .json, .txt (MayaCam 2.0), .plastimatch.txt or .xml (RTK).")
    print(f"Wrote {target}.")


def _calibration(name: str, xray: str | None) -> list[str]:
    from ..imaging.calibration_file import read_calibration

    found = read_calibration(name, xray)
    frame = "world (RAS, mm)" if found.is_world else "lab (mm)"
    rows = [_row(row) for row in found.camera_to_lab]
    return ["camera", *_camera_lines(found.camera), f"place, camera to {frame}", *rows]


def _is_volume(path: Path) -> bool:
    from ..imaging.image_file import image_size

    try:
        return sum(n > 1 for n in image_size(path)) > 2
    except RuntimeError:
        return True  # the CT reader says what is wrong with it


def _ct(path: Path) -> list[str]:
    import numpy as np

    from ..imaging.ct_reader import read_ct

    ct = read_ct(path)
    spacing, direction = ct.spacing_mm, ct.ijk_to_ras[:3, :3] / ct.spacing_mm
    is_oblique = not np.allclose(np.abs(direction).max(axis=0), 1, atol=1e-3)
    return [
        f"CT {ct.name}",
        "size (i, j, k): {} x {} x {} voxels".format(*ct.size_ijk),
        f"spacing: {spacing[0]:.4g} x {spacing[1]:.4g} x {spacing[2]:.4g} mm" + (", oblique" if is_oblique else ""),
        f"Hounsfield units: {ct.hounsfield.min():.0f} to {ct.hounsfield.max():.0f}",
        "centre (RAS): {:.2f}, {:.2f}, {:.2f} mm".format(*ct.centre_ras),
        f"fingerprint: {ct.fingerprint[:16]}",
    ]


def _xray(path: Path, args: argparse.Namespace) -> list[str]:
    xray = arguments.load_xray(argparse.Namespace(**{**vars(args), "xray": str(path)}))
    lines = [f"X-ray {xray.name}", *_camera_lines(xray.camera, xray.provenance)]
    lines += [f"{key}: {words}" for key, words in xray.provenance.items() if key not in _CAMERA_KEYS]
    lines.append(f"usable pixels: {xray.mask.mean():.1%}")
    return lines


_CAMERA_KEYS = ("source_to_detector_mm", "pixel_spacing_mm", "principal_point_px", "viewed_from")


def _camera_lines(camera: Camera, provenance: dict[str, str] | None = None) -> list[str]:
    def origin(key: str) -> str:
        return f"  [{provenance[key]}]" if provenance and key in provenance else ""

    return [
        f"rows x columns: {camera.rows} x {camera.columns}",
        f"source to detector: {camera.source_to_detector_mm:.6g} mm{origin('source_to_detector_mm')}",
        "pixel spacing (row, column): {:.6g} x {:.6g} mm".format(*camera.pixel_spacing_mm) + origin("pixel_spacing_mm"),
        "principal point (column, row): {:.6g}, {:.6g} px".format(*camera.principal_point_px)
        + origin("principal_point_px"),
        f"viewed from: {camera.viewed_from}{origin('viewed_from')}",
    ]


def _place_lines(spec: str) -> list[str]:
    from ..imaging.calibration import read_placement

    place = read_placement(spec)
    if place is None:
        return []
    return ["place, camera to lab (mm)", *(_row(row) for row in place.camera_to_lab)]


def _row(values: Iterable[float]) -> str:
    return "  " + " ".join(f"{value:12.5f}" for value in values)


def _pose(name: str) -> list[str]:
    from ..geometry.angles import positioner_angles
    from ..imaging.pose_file import read_pose

    pose = read_pose(name)
    lines = ["pose, camera to world (RAS, mm)"]
    lines += [_row(row) for row in pose]
    lines.append("positioner angles primary {:.2f}, secondary {:.2f}, roll {:.2f} deg".format(*positioner_angles(pose)))
    return lines


def _json(name: str, path: Path, view: str | None) -> list[str]:
    from ..imaging.camera_file import MATRIX_KEY, read_camera, read_views
    from ..imaging.file_views import read_entry
    from ..imaging.pose_file import POSE_KEY

    views = read_views(path) if view is None and _has_views(path) else {view or "": None}
    lines = []
    for one in views:
        spec = f"{path}:{one}" if one else name
        entry, _ = read_entry(spec, "camera or pose")
        if one:
            lines.append(f"view {one}")
        if any(key in entry for key in ("camera", "source_to_detector_mm", "intrinsic_matrix_px", MATRIX_KEY)):
            lines += ["camera", *_camera_lines(read_camera(spec)), *_place_lines(spec)]
        if POSE_KEY in entry or MATRIX_KEY in entry:
            lines += _pose(spec)
        if entry.get("landmarks_ras_mm") is not None:
            lines.append(f"{len(entry['landmarks_ras_mm'])} landmarks")
    if not lines:
        raise InputError(f"{path} holds neither a camera nor a pose; see 'diffpose register --help'.")
    return lines


def _has_views(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8-sig")).get("views"), dict)
    except (ValueError, OSError, AttributeError):
        return False  # the camera reader says what is wrong with it


def _model(path: Path) -> list[str]:
    from ..encoder.model_file import load_model
    from ..geometry.angles import pose_in_words

    model = load_model(path)
    pose_range = model.pose_range
    lines = [
        f"model for {model.ct_name} (fingerprint {model.ct_fingerprint[:16]})",
        *_camera_lines(model.camera),
        f"centre: {pose_in_words(pose_range.centre, pose_range.isocentre)}",
        "rotation: +-{:g}, +-{:g}, +-{:g} deg (primary, secondary, roll)".format(*pose_range.rotation_deg),
        "translation: +-{:g}, +-{:g}, +-{:g} mm (across, along the beam, up-down)".format(*pose_range.translation_mm),
    ]
    lines += [
        f"training setting {key}: {value}" for key, value in model.settings.to_json().items() if value is not None
    ]
    lines += [f"training {key}: {value}" for key, value in model.training.items() if not isinstance(value, list | dict)]
    return lines

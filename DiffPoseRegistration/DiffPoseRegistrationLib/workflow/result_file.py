"""The files of one registration: ``overlay.png``, ``pose.h5`` and, last, ``result.json``."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import InputError
from ..imaging.files import write_whole
from ..imaging.pose_file import Truth, write_pose
from ..imaging.values import CTVolume
from ..refinement.intrinsics import PARAMETERS
from .pictures import overlay_picture, write_png
from .scoring import score

if TYPE_CHECKING:
    from .register import RegistrationResult

Inputs = Mapping[str, "Path | str | dict[str, Any] | None"]

_PACKAGES = ("numpy", "torch", "numba", "SimpleITK", "pydicom")


def write_result(
    folder: Path | str,
    result: RegistrationResult,
    ct: CTVolume,
    *,
    inputs: Inputs,
    truth: Truth | None = None,
    view: int = 0,
) -> dict[str, Any]:
    """Write the files of one of a result's views into ``folder`` (created), each whole or not at all, and return what
    ``result.json`` says; there is no ``overlay.png`` if the registration made no pictures.

    Parameters
    ----------
    inputs
        Files by role (``ct``, ``xray``, ``model``, ...); name and hash of each are kept. What
        :func:`described_input` said of a file may stand for the file.
    truth
        A known pose of this view; the result is scored against it.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    folder = writable_folder(folder)
    data = result_as_json(result, ct, inputs=inputs, truth=truth, view=view)
    shown = result.views[view]
    title = f"{shown.xray.name} on {ct.name}: {result.verdict}"
    note = f"similarity {shown.similarity:.3f}, predicted error {result.predicted_error_mm:.2f} mm"
    if truth is not None:
        note += f", TRE against the reference {data['tre_mm']:.2f} mm"
    if shown.drr_after is not None:
        picture = overlay_picture(shown.xray, shown.drr_before, shown.drr_after, title=title, note=note)
        write_png(picture, folder / "overlay.png")
    write_pose(folder / "pose.h5", shown.camera_to_world)
    write_json(folder / "result.json", data)
    return data


def result_as_json(
    result: RegistrationResult, ct: CTVolume, *, inputs: Inputs, truth: Truth | None = None, view: int = 0
) -> dict[str, Any]:
    """What ``result.json`` says of one of a result's views; matrices are nested lists, lengths mm, angles degrees,
    times seconds. Similarity, poses and camera are the view's; verdict and predicted errors are of all views together.
    Where the camera was refined, ``camera`` is the refined one, to which the pose belongs.
    """
    shown, predicted = result.views[view], result.predicted
    data: dict[str, Any] = {
        "camera_to_world_ras_mm": shown.camera_to_world,
        "initial_camera_to_world_ras_mm": shown.initial_camera_to_world,
        "method": result.method,
        "similarity": shown.similarity,
        "verdict": result.verdict,
        "verdict_reasons": list(result.verdict_reasons),
        "predicted_error_mm": result.predicted_error_mm,
        "predicted_error_along_mm": dict(zip(("image_columns", "image_rows", "beam"), shown.predicted_image_mm)),
        "weak_direction": {
            "words": predicted.weak_words,
            "direction_ras": predicted.weak_direction_ras,
            "predicted_error_mm": predicted.weak_mm,
            "predicted_error_across_mm": predicted.other_mm,
        },
        "covariance_rad_mm": result.covariance,
        "agreement": result.agreement,
        "starts": result.starts,
        "alternatives": [
            {"camera_to_world_ras_mm": result.pose_of_view(other.pose, view), "gap": other.gap}
            for other in result.alternatives
        ],
        "seconds": result.seconds,
        "renders": result.renders,
        "camera": shown.xray.camera.to_json(),
        "xray_provenance": dict(shown.xray.provenance),
        "warnings": list(shown.xray.warnings),
        "inputs": described_inputs(inputs),
        "ct_fingerprint": ct.fingerprint,
        "versions": versions(),
    }
    if shown.intrinsics is not None and shown.given_camera is not None:
        data["given_camera"] = shown.given_camera.to_json()
        data["refined_intrinsics"] = {
            name: {"change": change, "standard_deviation": deviation}
            for name, change, deviation in zip(PARAMETERS, shown.intrinsics.offsets, shown.intrinsics.deviations)
        }
    if shown.disagreement_mm is not None:
        data["disagreement_mm"] = shown.disagreement_mm
    if result.landmarks is not None:
        data["landmarks_ras_mm"] = result.landmarks
        data["predicted_landmark_errors_mm"] = predicted.points_mm
    if truth is not None:
        data["truth_camera_to_world_ras_mm"] = truth.camera_to_world
        data.update(score(shown.camera_to_world, truth, ct, shown.xray.camera))
        initial = score(shown.initial_camera_to_world, truth, ct, shown.xray.camera)
        data["initial_tre_mm"] = initial["tre_mm"]
    return plain(data)


def versions() -> dict[str, str]:
    """Of the program, Python and what computes; read without importing any of it."""
    found = {"diffpose": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package.lower()] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package.lower()] = "not installed"
    return found


def described_inputs(inputs: Inputs) -> dict[str, Any]:
    """Name and hash of the files by role, of those that there are."""
    return {
        role: given if isinstance(given, dict) else described_input(given)
        for role, given in inputs.items()
        if given is not None
    }


def described_input(path: Path | str) -> dict[str, str]:
    """Name and SHA-256 of a file; of a folder (a DICOM series), over its files in order of their names."""
    path = Path(path)
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return {"file": path.name, "sha256": digest.hexdigest()}


def write_json(path: Path | str, data: dict[str, Any]) -> None:
    """Write indented UTF-8 JSON, whole or not at all; numbers that are not finite become null."""
    text = json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda made: made.write_text(text, encoding="utf-8"))


def plain(value: Any) -> Any:
    """``value`` with arrays as lists and numbers that JSON cannot hold as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def writable_folder(folder: Path | str) -> Path:
    """``folder``, created if need be and known to take files.

    Raises
    ------
    InputError
        If it is a file, cannot be created or cannot be written to.
    """
    folder = Path(folder)
    probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"Results cannot be written into {folder} ({error.strerror or error}); choose another folder with --out."
        ) from None
    return folder

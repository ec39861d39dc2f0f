"""Cases: folders with a simulated X-ray and the truth about it, as ``evaluate`` takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import Cancelled
from ..geometry.angles import positioner_angles
from ..geometry.camera import Camera
from ..imaging.values import CTVolume
from .pictures import write_png
from .result_file import writable_folder, write_json
from .simulate import simulate_xray, simulation_renderer, write_xray_dicom
from .tube import Margins

TRUTH_NAME = "truth.json"


def simulate_cases(
    folder: Path | str,
    ct: CTVolume,
    camera: Camera,
    poses: np.ndarray,
    *,
    ct_name: str,
    source: str,
    landmarks: np.ndarray | None = None,
    seed: int = 0,
    progress: Callable[[float, str, float | None], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    **options: Any,
) -> None:
    """Simulate an X-ray at each of ``poses`` [n, 4, 4], the k-th with the noise of ``seed`` + k, as cases in folders
    ``case-0000``, ``case-0001``, ... A case that is there already is not made again.

    ``progress`` is called with the share done, a line of text and None; ``options`` are those of
    :func:`~.simulate.simulate_xray`, the rest as in :func:`write_case`.

    Raises
    ------
    InputError
        If a pose shows nothing of the CT, an option makes no sense, or the folder cannot be written.
    Cancelled
        If ``cancelled``, asked before each X-ray and several times a second within a large one, said so.
    """
    renderer = simulation_renderer(ct)

    def stop_if_cancelled() -> None:
        if cancelled is not None and cancelled():
            raise Cancelled

    for number, pose in enumerate(poses):
        stop_if_cancelled()
        if progress is not None:
            progress(number / len(poses), f"X-ray {number + 1} of {len(poses)}", None)
        case = Path(folder) / f"case-{number:04d}"
        if (case / TRUTH_NAME).is_file():
            continue
        with renderer.checking(stop_if_cancelled):
            image = simulate_xray(ct, camera, pose, seed=seed + number, renderer=renderer, **options)
        described: dict[str, Any] = {"ct_name": ct_name, "source": source, "landmarks": landmarks}
        blades = options.get("collimator_px", (0, 0, 0, 0))
        write_case(case, image, camera, pose, ct.centre_ras, **described, collimator_px=blades)
    if progress is not None:
        progress(1.0, f"{len(poses)} X-rays", None)


def write_case(
    folder: Path | str,
    image: np.ndarray,
    camera: Camera,
    pose: np.ndarray,
    isocentre: np.ndarray,
    *,
    ct_name: str,
    source: str,
    landmarks: np.ndarray | None = None,
    collimator_px: Margins = (0, 0, 0, 0),
) -> str:
    """Write the X-ray and, last, ``truth.json`` into ``folder`` (created); returns the X-ray's file name.

    The X-ray is ``xray.dcm`` where DICOM holds the geometry, else ``xray.png``.

    Parameters
    ----------
    image
        Transmission image [rows, columns], uint16, that ``camera`` records at ``pose`` (camera to world [4, 4]).
    isocentre
        Point [3] (RAS, mm) whose distance from the source the DICOM file states.
    ct_name
        File name of the CT that it was made from. source: by what.
    landmarks
        Points [n, 3] (RAS, mm) by which a registration of this case is scored.
    collimator_px
        Widths of straight blades at the top, bottom, left and right.
    """
    folder = writable_folder(folder)
    name = "xray.dcm"
    if np.allclose(camera.principal_point_px, ((camera.columns - 1) / 2, (camera.rows - 1) / 2), atol=1e-3):
        write_xray_dicom(
            folder / name,
            image,
            camera,
            positioner_angles(pose)[:2] if camera.viewed_from == "detector" else None,
            source_to_patient_mm=float(np.linalg.norm(pose[:3, 3] - isocentre)),
            collimator_px=collimator_px,
        )
    else:
        name = "xray.png"
        write_png(Image.fromarray(image), folder / name)
    truth = {
        "ct": ct_name,
        "image": name,
        "source": source,
        "camera": camera.to_json(),
        "camera_to_world_ras_mm": pose,
    }
    if landmarks is not None:
        truth["landmarks_ras_mm"] = landmarks
    write_json(folder / TRUTH_NAME, truth)
    return name

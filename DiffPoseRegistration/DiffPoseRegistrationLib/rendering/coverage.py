"""How much of each ray the CT knows about.

A CT ends somewhere. A ray that enters or leaves it through a face where the body goes on (the ends of a scan, a field
of view narrower than the patient) has an integral that is too small by an unknown amount, whatever the pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry.camera import Camera
from ..imaging.values import CTVolume

_BODY_HU = -300.0  # denser than air, lung and the table's padding: body


@dataclass(frozen=True)
class Coverage:
    """Per pixel [rows, columns].

    length_mm
        Length of the ray inside the CT, from the outermost voxels' outer faces, float32.
    share
        That length as a share of the way from source to detector.
    cut
        Whether the ray passes from the CT's body straight out of the CT, so that body outside is missing.
    """

    length_mm: np.ndarray
    share: np.ndarray
    cut: np.ndarray


def coverage(ct: CTVolume, camera: Camera, pose: np.ndarray) -> Coverage:
    """Coverage of the rays of ``camera`` at ``pose`` [4, 4] (camera to world) by ``ct``."""
    row, column = np.mgrid[: camera.rows, : camera.columns]
    in_camera = camera.pixels_to_camera(np.stack([column, row], axis=-1))
    to_ijk = np.linalg.inv(ct.ijk_to_ras) @ pose
    origin, along = to_ijk[:3, 3], in_camera @ to_ijk[:3, :3].T
    size = np.array(ct.size_ijk)
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (-0.5 - origin) / along, (size - 0.5 - origin) / along
    # Parallel to a pair of faces: always between them, or never.
    between = (origin > -0.5) & (origin < size - 0.5)
    near = np.where(along == 0, np.where(between, -np.inf, np.inf), np.minimum(a, b)).max(axis=-1)
    far = np.where(along == 0, np.where(between, np.inf, -np.inf), np.maximum(a, b)).min(axis=-1)
    enter, leave = np.maximum(near, 0), np.minimum(far, 1)
    hit = leave > enter
    share = np.where(hit, leave - enter, 0)
    cut = np.zeros(hit.shape, dtype=bool)
    # A source or detector inside the CT is no face: there the ray itself ends.
    for t, is_face in ((enter, near > 0), (leave, far < 1)):
        through = hit & is_face
        points = origin + t[through][:, None] * along[through]
        i, j, k = np.clip(np.rint(points), 0, size - 1).astype(int).T
        cut[through] |= ct.hounsfield[k, j, i] > _BODY_HU
    length = share * np.linalg.norm(in_camera, axis=-1)
    return Coverage(length.astype(np.float32), share.astype(np.float32), cut)

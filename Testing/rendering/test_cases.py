"""Against X-rays that plastimatch, a program of others, rendered from the same CTs at known poses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.attenuation import AttenuationRule
from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
from DiffPoseRegistrationLib.rendering.renderer import Renderer

# plastimatch's own conversion: linear in HU, and nothing at and below -800 HU.
PLASTIMATCH = AttenuationRule(water_per_mm=0.022, bone_per_mm=0.044, air_hu=-800)
NAMES = [f"{body}-{n:02}" for body in ("lumbar_pelvis", "skull_phantom", "thorax") for n in range(4)]


def _ncc(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _read(shared, name):
    import pydicom

    folder = shared / "cases" / name
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    image = pydicom.dcmread(folder / "xray.dcm").pixel_array.astype(np.float64)
    camera = Camera.from_json(truth["camera"])
    # Pixels averaged 4 x 4: the quantum noise is not what is compared.
    rows, columns = camera.rows // 4, camera.columns // 4
    integral = -np.log(np.maximum(image, 1) / 60000)
    small = integral[: rows * 4, : columns * 4].reshape(rows, 4, columns, 4).mean(axis=(1, 3))
    return small, camera.resampled(rows, columns), np.array(truth["camera_to_world_ras_mm"]), truth["ct"]


@pytest.mark.parametrize("method", ["joseph", "siddon"])
@pytest.mark.parametrize("name", NAMES)
def test_rendered_at_the_truth(shared, name, method):
    expected, camera, truth, ct_name = _read(shared, name)
    ct = read_ct(shared / "data" / "ct" / ct_name)
    renderer = Renderer(ct, PLASTIMATCH, levels=1, method=method, backend="cpu")
    at_truth = _ncc(renderer.render(camera, truth), expected)
    assert at_truth > 0.998
    moved = rigid.update_pose(truth, np.array([0, np.deg2rad(5), 0, 5.0, 0, 0]), renderer.isocentre)
    assert 1 - _ncc(renderer.render(camera, moved), expected) > 3 * (1 - at_truth)

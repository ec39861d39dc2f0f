"""What X-ray tube, collimator and tools do to a simulated X-ray.

Sources: H. A. Kramers, Phil. Mag. 46 (1923) 836 (the spectrum's shape); NIST XCOM (water, iron, aluminium) and ICRU 44
(cortical bone) for the attenuation at each energy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..errors import InputError
from ..geometry import rigid
from ..geometry.camera import Camera
from ..imaging.attenuation import AttenuationRule

SPECTRA = ("mono", "80kV")

# A softer beam (about 60 keV effective, NIST XCOM) than the one that training renders with: a real tube's spectrum is
# not known either, and a registration that needs to know it would fail in the clinic.
SIMULATION_RULE = AttenuationRule(water_per_mm=0.0206, bone_per_mm=0.0573, air_hu=-980.0)
# The same at 40 keV. Line integrals are linear in both coefficients, so those of any energy follow from these two.
SOFT_RULE = AttenuationRule(water_per_mm=0.0268, bone_per_mm=0.1212, air_hu=-980.0)
# Of a tube at 80 kV behind 3 mm of aluminium, seen by a detector that adds up energy: for each energy (30 to 70 keV)
# its share in the signal, and the attenuation of water, of bone as above, and of steel, 1/mm.
_ENERGIES = np.array(
    [
        (0.219, 0.0376, 0.2423, 6.40),
        (0.274, 0.0268, 0.1212, 2.86),
        (0.243, 0.0227, 0.0772, 1.54),
        (0.174, 0.0206, 0.0573, 0.948),
        (0.090, 0.0193, 0.0476, 0.655),
    ]
)
_STEEL_PER_MM = 0.948  # iron at 60 keV
_LEAK = 0.002  # of the beam, through a blade
_PENUMBRA_PX = 1.0

Tool = tuple[float, float, float, float, float, float, float]  # from (RAS, mm), to, radius (mm)
Margins = tuple[int, int, int, int]  # top, bottom, left, right, pixels


def transmission(hard: np.ndarray, soft: np.ndarray | None, steel_mm: np.ndarray) -> np.ndarray:
    """What is left of the beam behind patient and tools, as shares, [rows, columns].

    Parameters
    ----------
    hard, soft
        Line integrals by :data:`SIMULATION_RULE` and :data:`SOFT_RULE`; without ``soft`` the beam has one energy.
    steel_mm
        Way through steel.
    """
    hard, steel_mm = (np.asarray(image, dtype=np.float64) for image in (hard, steel_mm))
    if soft is None:
        return np.exp(-hard - _STEEL_PER_MM * steel_mm)
    basis = np.array([[rule.water_per_mm, rule.bone_per_mm] for rule in (SIMULATION_RULE, SOFT_RULE)])
    left = np.zeros_like(hard)
    for share, water, bone, steel in _ENERGIES:
        p, q = np.linalg.solve(basis.T, (water, bone))
        left += share * np.exp(-np.maximum(p * hard + q * soft, 0.0) - steel * steel_mm)
    return left / _ENERGIES[:, 0].sum()


def heel_profile(rows: int, heel: float) -> np.ndarray:
    """Intensity of the open beam [rows, 1]: the anode, at the image's top, takes the share ``heel`` there.

    Raises
    ------
    InputError
        If the share is none.
    """
    if not 0 <= heel < 1:
        raise InputError(f"The heel effect is {heel:g}; give the share that is lost at the top, from 0 to below 1.")
    return 1 - heel * np.linspace(1, 0, rows)[:, None]


def aperture(camera: Camera, margins_px: Margins) -> np.ndarray:
    """Share of the beam [rows, columns] that straight blades, ``margins_px`` wide, let through.

    Raises
    ------
    InputError
        If they leave nothing.
    """
    top, bottom, left, right = margins_px
    if min(margins_px) < 0 or top + bottom >= camera.rows or left + right >= camera.columns:
        raise InputError(
            f"Blades {top}, {bottom}, {left} and {right} pixels wide leave nothing of {camera.rows} x {camera.columns} "
            "pixels; give top, bottom, left and right from 0 upwards."
        )
    is_open = np.zeros((camera.rows, camera.columns))
    is_open[top : camera.rows - bottom, left : camera.columns - right] = 1.0
    return _LEAK + (1 - _LEAK) * ndimage.gaussian_filter(is_open, _PENUMBRA_PX)


def steel_path(camera: Camera, pose: np.ndarray, tools: Sequence[Tool]) -> np.ndarray:
    """Way [rows, columns], mm, of the rays through straight rods of steel, at ``pose`` [4, 4].

    Raises
    ------
    InputError
        If a rod has no length or no width.
    """
    columns, rows = np.meshgrid(np.arange(camera.columns), np.arange(camera.rows))
    rays = camera.pixels_to_camera(np.stack([columns, rows], axis=-1))
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    total = np.zeros(rays.shape[:2])
    for tool in tools:
        ends = rigid.transform_points(rigid.inverse(pose), np.reshape(tool[:6], (2, 3)).astype(float))
        radius, length = float(tool[6]), float(np.linalg.norm(ends[1] - ends[0]))
        if not (np.isfinite(tool).all() and radius > 0 and length > 0):
            raise InputError("A tool needs two different ends (RAS, mm) and a radius above 0 mm.")
        total += _way_through_cylinder(rays, ends[0], (ends[1] - ends[0]) / length, length, radius)
    return total


def _way_through_cylinder(
    rays: np.ndarray, start: np.ndarray, axis: np.ndarray, length: float, radius: float
) -> np.ndarray:
    """Of unit ``rays`` [..., 3] from the origin through a cylinder with flat ends."""
    along = rays @ axis
    across, beside = rays - along[..., None] * axis, -start + (start @ axis) * axis
    # |t across + beside| <= radius: between the roots of a quadratic; and 0 <= along t - start.axis <= length.
    a = np.maximum((across**2).sum(axis=-1), 1e-12)
    b = across @ beside
    root = np.sqrt(np.maximum(b**2 - a * (beside @ beside - radius**2), 0.0))
    enter, leave = (-b - root) / a, (-b + root) / a
    steep = np.where(np.abs(along) < 1e-9, 1e-9, along)
    first, last = start @ axis / steep, (start @ axis + length) / steep
    low, high = np.minimum(first, last), np.maximum(first, last)
    return np.maximum(np.minimum(leave, high) - np.maximum(np.maximum(enter, low), 0.0), 0.0)

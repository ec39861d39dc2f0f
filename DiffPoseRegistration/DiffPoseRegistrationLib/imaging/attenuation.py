"""Hounsfield units to linear attenuation, in physical units (1/mm).

Bilinear in HU, as usual for simulated X-rays: air to water follows the definition of the Hounsfield
unit; above water, calcium attenuates a diagnostic beam (about 70 keV effective) more than its CT number
says, which the bone slope carries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WATER_PER_MM = 0.0192  # NIST XCOM, water at 70 keV: 0.193 cm^2/g
BONE_PER_MM_AT_1000_HU = 0.0450  # between the linear rule (0.0384) and cortical bone at 60 keV (0.0573)


@dataclass(frozen=True)
class AttenuationRule:
    """How HU become attenuation.

    water_per_mm
        Attenuation of water (HU 0).
    bone_per_mm
        Attenuation at 1000 HU.
    air_hu
        At and below this value nothing attenuates.
    """

    water_per_mm: float = WATER_PER_MM
    bone_per_mm: float = BONE_PER_MM_AT_1000_HU
    air_hu: float = -950.0

    def __call__(self, hounsfield: np.ndarray) -> np.ndarray:
        """Attenuation [1/mm], float32, of an array of HU of any shape."""
        hu = np.asarray(hounsfield, dtype=np.float32)
        below = self.water_per_mm * (1 + hu / 1000)
        above = self.water_per_mm + (self.bone_per_mm - self.water_per_mm) * hu / 1000
        mu = np.where(hu < 0, below, above)
        return np.where(hu <= self.air_hu, 0.0, mu).astype(np.float32)

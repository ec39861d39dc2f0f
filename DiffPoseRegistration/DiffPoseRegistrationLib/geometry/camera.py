"""The C-arm as a pinhole camera: intrinsics, pixels, projection.

Detector pixel ``(column c, row r)`` lies in the camera frame at::

    [(c - c0) * column_spacing * ux,  (r - r0) * row_spacing,  SDD]

with ``ux = +1`` for an image seen from the source and ``ux = -1`` for one seen from the detector
(the usual display of a C-arm whose tube is under the table). Integer pixel coordinates are centres.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError

# A calibration matrix K fixes only the ratio of distance to pixel size. Where a file gives K alone,
# the detector is placed at this distance: beyond any patient, so that no ray ends inside one.
NOMINAL_DETECTOR_DISTANCE_MM = 1500.0

VIEWED_FROM = ("source", "detector")


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one X-ray.

    Parameters
    ----------
    source_to_detector_mm
        Distance of the source from the detector plane along its normal.
    rows, columns
        Size of the image in pixels.
    pixel_spacing_mm
        ``(row spacing, column spacing)``, DICOM's order, on the detector plane.
    principal_point_px
        ``(column, row)`` where the normal through the source meets the detector; None: image centre.
    viewed_from
        ``"source"`` or ``"detector"``: the side from which the stored image is seen.

    Raises
    ------
    InputError
        If a number is missing, not finite or not positive.
    """

    source_to_detector_mm: float
    rows: int
    columns: int
    pixel_spacing_mm: tuple[float, float]
    principal_point_px: tuple[float, float] = None  # type: ignore[assignment] # never None once it is made
    viewed_from: str = "source"

    def __post_init__(self) -> None:
        def number(name: str, value: Any, low: float, high: float) -> float:
            try:
                value = float(value)
            except (TypeError, ValueError):
                raise InputError(f"The X-ray geometry's {name} is {value!r}; give a number.") from None
            if not low < value < high:  # also false for NaN
                raise InputError(
                    f"The X-ray geometry's {name} is {value:g}, outside {low:g} to {high:g}; check the X-ray's "
                    "geometry or give it with --camera."
                )
            return value

        def pair(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
            if value is None or np.ndim(value) != 1 or len(value) != 2:
                raise InputError(f"The X-ray geometry's {name} must be two numbers, not {value!r}.")
            return number(name, value[0], low, high), number(name, value[1], low, high)

        set_ = object.__setattr__
        set_(self, "source_to_detector_mm", number("source_to_detector_mm", self.source_to_detector_mm, 1.0, 1e5))
        for name in ("rows", "columns"):
            value = number(name, getattr(self, name), 0, 65536)
            if value != int(value):
                raise InputError(f"The X-ray geometry's {name} is {value:g}; give a whole number of pixels.")
            set_(self, name, int(value))
        set_(self, "pixel_spacing_mm", pair("pixel_spacing_mm", self.pixel_spacing_mm, 1e-4, 1e3))
        if self.principal_point_px is None:
            set_(self, "principal_point_px", ((self.columns - 1) / 2, (self.rows - 1) / 2))
        else:
            set_(self, "principal_point_px", pair("principal_point_px", self.principal_point_px, -1e6, 1e6))
        if self.viewed_from not in VIEWED_FROM:
            raise InputError(f"The X-ray geometry's viewed_from is {self.viewed_from!r}; it is 'source' or 'detector'.")

    # -- geometry ----------------------------------------------------------------------------------

    @property
    def u_sign(self) -> float:
        """+1 if increasing columns run along the camera's +x, -1 if along -x."""
        return 1.0 if self.viewed_from == "source" else -1.0

    def pixels_to_camera(self, pixels: np.ndarray) -> np.ndarray:
        """Points [..., 3] in the camera frame (mm) of detector positions [..., 2] = (column, row)."""
        pixels = np.asarray(pixels, dtype=np.float64)
        (c0, r0), (row_mm, column_mm) = self.principal_point_px, self.pixel_spacing_mm
        x = (pixels[..., 0] - c0) * column_mm * self.u_sign
        y = (pixels[..., 1] - r0) * row_mm
        return np.stack([x, y, np.full_like(x, self.source_to_detector_mm)], axis=-1)

    def image_to_camera(self) -> np.ndarray:
        """Affine [4, 4] from (column, row, 0, 1) to the camera frame; third axis is u x v, 1 mm."""
        matrix = np.eye(4)
        matrix[0, 0] = self.pixel_spacing_mm[1] * self.u_sign
        matrix[1, 1] = self.pixel_spacing_mm[0]
        matrix[2, 2] = self.u_sign
        matrix[:3, 3] = self.pixels_to_camera(np.zeros(2))
        return matrix

    def project(self, points_camera: np.ndarray) -> np.ndarray:
        """Pixels [..., 2] = (column, row) of points [..., 3] in the camera frame; NaN behind the source."""
        points = np.asarray(points_camera, dtype=np.float64)
        (c0, r0), (row_mm, column_mm) = self.principal_point_px, self.pixel_spacing_mm
        z = np.where(points[..., 2] > 1e-9, points[..., 2], np.nan)
        scale = self.source_to_detector_mm / z
        column = c0 + self.u_sign * points[..., 0] * scale / column_mm
        row = r0 + points[..., 1] * scale / row_mm
        return np.stack([column, row], axis=-1)

    # -- other image grids on the same detector ----------------------------------------------------

    def resampled(self, rows: int, columns: int) -> Camera:
        """The same detector area seen with another number of pixels (for pyramids and networks)."""
        row_factor, column_factor = self.rows / rows, self.columns / columns
        c0, r0 = self.principal_point_px
        return replace(
            self,
            rows=rows,
            columns=columns,
            pixel_spacing_mm=(self.pixel_spacing_mm[0] * row_factor, self.pixel_spacing_mm[1] * column_factor),
            principal_point_px=((c0 + 0.5) / column_factor - 0.5, (r0 + 0.5) / row_factor - 0.5),
        )

    def zoomed(self, zoom: float) -> Camera:
        """The same pixels on a detector smaller by ``zoom``: what it shows is larger by that."""
        row_mm, column_mm = self.pixel_spacing_mm
        return replace(self, pixel_spacing_mm=(row_mm / zoom, column_mm / zoom))

    def cropped(self, top: int, left: int, rows: int, columns: int) -> Camera:
        """The camera of the sub-image that starts at pixel (row ``top``, column ``left``)."""
        c0, r0 = self.principal_point_px
        return replace(self, rows=rows, columns=columns, principal_point_px=(c0 - left, r0 - top))

    # -- JSON --------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The dictionary that :meth:`from_json` reads."""
        data = asdict(self)
        data["pixel_spacing_mm"] = list(self.pixel_spacing_mm)
        data["principal_point_px"] = list(self.principal_point_px)
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any], name: str = "camera") -> Camera:
        """From a dictionary with ``source_to_detector_mm``, ``rows``, ``columns`` and
        ``pixel_spacing_mm`` [row, column], or with a 3x3 ``intrinsic_matrix_px`` instead of the spacing.

        A matrix without a distance leaves the distance free; it is then 1500 mm by convention, which
        changes no ray.

        Raises
        ------
        InputError
            Naming what is missing.
        """
        if not isinstance(data, dict):
            raise InputError(f"{name} is no JSON object with source_to_detector_mm, rows, columns, pixel_spacing_mm.")
        for key in ("rows", "columns"):
            if data.get(key) is None:
                raise InputError(f"{name} lacks '{key}', the image size in pixels.")
        viewed_from = data.get("viewed_from", "source")
        if "intrinsic_matrix_px" in data:
            return cls.from_intrinsic_matrix(
                data["intrinsic_matrix_px"],
                data["rows"],
                data["columns"],
                data.get("source_to_detector_mm"),
                viewed_from,
                name,
            )
        for key in ("source_to_detector_mm", "pixel_spacing_mm"):
            if data.get(key) is None:
                raise InputError(f"{name} lacks '{key}'; give it in millimetres.")
        return cls(
            data["source_to_detector_mm"],
            data["rows"],
            data["columns"],
            data["pixel_spacing_mm"],
            data.get("principal_point_px"),  # type: ignore[arg-type] # None: the image's centre
            viewed_from,
        )

    @classmethod
    def from_intrinsic_matrix(
        cls,
        matrix: Any,
        rows: int,
        columns: int,
        source_to_detector_mm: float | None = None,
        viewed_from: str = "source",
        name: str = "camera",
    ) -> Camera:
        """From a calibration matrix K [3, 3] in pixels (OpenCV's convention, undistorted image)."""
        try:
            k = np.array(matrix, dtype=np.float64)
        except (TypeError, ValueError):
            k = np.empty(0)
        if k.shape != (3, 3) or not np.isfinite(k).all() or k[2, 2] == 0:
            raise InputError(f"{name}: intrinsic_matrix_px must be a 3x3 matrix of numbers.")
        k = k / k[2, 2]
        if np.abs(k[[1, 2, 2], [0, 0, 1]]).max() > 1e-9:
            raise InputError(
                f"{name}: intrinsic_matrix_px must be upper triangular, its last row 0 0 1; transpose it if it comes "
                "from MATLAB."
            )
        if k[0, 0] <= 0 or k[1, 1] <= 0 or abs(k[0, 1]) > 1e-3 * k[0, 0]:
            raise InputError(
                f"{name}: intrinsic_matrix_px must have positive focal lengths and no skew; resample the image "
                "without skew first."
            )
        distance = NOMINAL_DETECTOR_DISTANCE_MM if source_to_detector_mm is None else float(source_to_detector_mm)
        spacing = (distance / k[1, 1], distance / k[0, 0])
        return cls(distance, rows, columns, spacing, (k[0, 2], k[1, 2]), viewed_from)

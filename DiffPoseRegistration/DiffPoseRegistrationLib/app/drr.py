"""A quick DRR in Slicer's own process, by VTK alone: for dragging, overlays and pictures.

The registration itself renders in the worker process. Here the CT is resampled onto planes of constant
depth in the camera frame (a homography of the volume for each plane, done by vtkImageReslice in C++), and
the planes are added up with the length of each ray between two planes.
"""

from __future__ import annotations

import numpy as np
import vtk
from vtk.util import numpy_support

from ..geometry import rigid
from ..geometry.camera import Camera
from ..imaging.attenuation import AttenuationRule
from ..imaging.values import CTVolume


class QuickDRR:
    """Renders line integrals of a CT's attenuation.

    Parameters
    ----------
    ct
        The CT; some million voxels at most, or it is not quick.
    rule
        HU to attenuation [1/mm].
    """

    def __init__(self, ct: CTVolume, rule: AttenuationRule | None = None) -> None:
        values = (rule or AttenuationRule())(ct.hounsfield)
        # A border of air, so that rays end at the volume's face instead of repeating its outermost voxel.
        self._values = np.ascontiguousarray(np.pad(values, 1))
        self._ijk_to_world = ct.ijk_to_ras.copy()
        self._ijk_to_world[:3, 3] -= self._ijk_to_world[:3, :3].sum(axis=1)
        k, j, i = self._values.shape
        self._corners = np.array([(a, b, c, 1) for a in (0, i - 1) for b in (0, j - 1) for c in (0, k - 1)], float)
        self._image = vtk.vtkImageData()
        self._image.SetDimensions(i, j, k)
        self._image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(self._values.ravel()))
        self._voxel_mm = float(np.linalg.norm(self._ijk_to_world[:3, :3], axis=0).min())

    def render(self, camera: Camera, pose: np.ndarray, max_side: int = 0) -> np.ndarray:
        """Line integrals [rows, columns], float32, at the camera's size or, with ``max_side``, at a smaller
        one over the same detector."""
        largest = max(camera.rows, camera.columns)
        if max_side and largest > max_side:
            camera = camera.resampled(
                max(1, round(camera.rows * max_side / largest)), max(1, round(camera.columns * max_side / largest))
            )
        camera_to_ijk = np.linalg.inv(self._ijk_to_world) @ pose
        depths = (rigid.inverse(pose) @ self._ijk_to_world @ self._corners.T)[2]
        near, far = max(float(depths.min()), 1.0), min(float(depths.max()), camera.source_to_detector_mm)
        if far <= near:
            return np.zeros((camera.rows, camera.columns), np.float32)
        # No finer along the rays than across them: what a coarse picture cannot show is not worth its time.
        pixel_mm = min(camera.pixel_spacing_mm) * (near + far) / 2 / camera.source_to_detector_mm
        count = max(2, round((far - near) / (1.5 * max(self._voxel_mm, pixel_mm))))
        planes = near + (np.arange(count) + 0.5) * (far - near) / count
        total = np.zeros((camera.rows, camera.columns), np.float32)
        reslice = self._reslice(camera)
        pixel_to_ray = camera.image_to_camera()[:3][:, [0, 1, 3]] / camera.source_to_detector_mm
        matrix = np.zeros((4, 4))
        for depth in planes:
            # Output point (column, row, 0) -> camera frame at this depth -> voxel index: affine.
            to_camera = pixel_to_ray * depth
            matrix[:3, :2] = camera_to_ijk[:3, :3] @ to_camera[:, :2]
            matrix[:3, 3] = camera_to_ijk[:3, :3] @ to_camera[:, 2] + camera_to_ijk[:3, 3]
            matrix[:, 2] = (0, 0, 0, 0)
            matrix[:3, 2] = np.cross(matrix[:3, 0], matrix[:3, 1])
            matrix[3, 3] = 1.0
            axes = vtk.vtkMatrix4x4()
            axes.DeepCopy(matrix.ravel())
            reslice.SetResliceAxes(axes)
            reslice.Update()
            total += numpy_support.vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars()).reshape(total.shape)
        columns, rows = np.meshgrid(np.arange(camera.columns), np.arange(camera.rows))
        rays = camera.pixels_to_camera(np.stack([columns, rows], axis=-1)) / camera.source_to_detector_mm
        return total * (np.linalg.norm(rays, axis=-1) * (far - near) / count).astype(np.float32)

    def _reslice(self, camera: Camera) -> vtk.vtkImageReslice:
        reslice = vtk.vtkImageReslice()
        reslice.SetInputData(self._image)
        reslice.SetInterpolationModeToLinear()
        reslice.SetOutputDimensionality(2)
        reslice.SetOutputSpacing(1, 1, 1)
        reslice.SetOutputOrigin(0, 0, 0)
        reslice.SetOutputExtent(0, camera.columns - 1, 0, camera.rows - 1, 0, 0)
        reslice.SetBackgroundLevel(0.0)
        return reslice

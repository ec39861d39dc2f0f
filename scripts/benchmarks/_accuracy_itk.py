"""ITK's registration of two X-rays at once (itk-twoprojectionregistration), run as its example program does.

Normalised correlation of both images with Siddon-Jacobs ray casting, Powell's optimiser in at most 10 rounds of 4 line
steps, step 4 (mm, degrees), tolerances 0.02 and 0.001. Its X-ray machine is a gantry that turns about the z-axis of the
CT as the transform places it, so it takes pairs of X-rays between which a C-arm turned about the image's vertical. The
images are attenuation, averaged to a smaller size; the CT is attenuation over that of water. It knows no masks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.imaging.values import CTVolume, XRay
from DiffPoseRegistrationLib.refinement.pyramid import XRayLevel, reduced

NAME = "itk-twoprojectionregistration"
# ITK's camera looks along -z and has y up.
_TO_ITK_CAMERA = np.diag([1.0, -1.0, -1.0, 1.0])


class Gantry:
    """A CT in ITK's machine: the volume, and where a pose of ours puts it.

    The ray caster takes the corner of the volume for the origin of space, whatever the image says.
    """

    def __init__(self, ct: CTVolume, source_to_isocentre_mm: float) -> None:
        import itk

        values, affine = ct.hounsfield, ct.ijk_to_ras
        if np.linalg.det(affine[:3, :3]) < 0:
            mirrored = np.eye(4)
            mirrored[0, 0], mirrored[0, 3] = -1.0, values.shape[2] - 1
            values, affine = values[:, :, ::-1], affine @ mirrored
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        self._to_ras = affine @ np.diag([*(1 / spacing), 1.0])
        self._to_ras[:3, 3] = (affine @ [-0.5, -0.5, -0.5, 1.0])[:3]
        self.centre = spacing * values.shape[::-1] / 2
        self.distance_mm = source_to_isocentre_mm
        self.volume = itk.image_from_array(np.ascontiguousarray(np.maximum(values + 1000, 0) / 1000, dtype=np.float32))
        self.volume.SetSpacing(spacing.tolist())
        to_camera = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
        to_camera[:3, 3] = to_camera[:3, :3] @ (np.array([0, source_to_isocentre_mm, 0]) - self.centre)
        self._room_to_camera = _TO_ITK_CAMERA @ to_camera

    def transform(self, pose: np.ndarray) -> Any:
        """ITK's transform of the volume for the first camera's pose [4, 4]."""
        import itk

        matrix = rigid.inverse(self._room_to_camera) @ rigid.inverse(pose) @ self._to_ras
        made = itk.Euler3DTransform[itk.D].New()
        made.SetCenter(self.centre.tolist())
        made.SetMatrix(itk.matrix_from_array(np.ascontiguousarray(matrix[:3, :3])))
        made.SetTranslation((matrix[:3, 3] - self.centre + matrix[:3, :3] @ self.centre).tolist())
        return made

    def pose(self, transform: Any) -> np.ndarray:
        """The first camera's pose [4, 4] of ITK's transform."""
        import itk

        matrix = np.eye(4)
        matrix[:3, :3] = itk.array_from_matrix(transform.GetMatrix())
        matrix[:3, 3] = np.array(transform.GetOffset())
        return self._to_ras @ rigid.inverse(matrix) @ rigid.inverse(self._room_to_camera)

    def caster(self, transform: Any, angle: float) -> Any:
        """Simulates the X-ray at a gantry angle (rad), a pixel at a time."""
        import itk

        made = itk.SiddonJacobsRayCastInterpolateImageFunction[itk.Image[itk.F, 3], itk.D].New()
        made.SetFocalPointToIsocenterDistance(self.distance_mm)
        made.SetProjectionAngle(angle)
        made.SetThreshold(0.0)
        made.SetTransform(transform)
        made.SetInputImage(self.volume)
        made.Initialize()
        return made


def register(
    ct: CTVolume,
    xrays: tuple[XRay, XRay],
    angle: float,
    source_to_isocentre_mm: float,
    initial: np.ndarray,
    pixels: int,
) -> np.ndarray:
    """The first camera's pose [4, 4] that ITK reaches from ``initial``; the second camera is the first one turned by
    ``angle`` (rad) about the isocentre.

    Raises
    ------
    InputError
        If an X-ray is seen from the detector.
    """
    import itk

    for xray in xrays:
        if xray.camera.viewed_from != "source":
            raise InputError(
                f"{xray.name} is seen from the detector; {NAME} is compared on images seen from the source."
            )
    kind = itk.Image[itk.F, 3]
    gantry = Gantry(ct, source_to_isocentre_mm)
    transform = gantry.transform(initial)
    metric = itk.NormalizedCorrelationTwoImageToOneImageMetric[kind, kind].New()
    metric.ComputeGradientOff()
    metric.SetSubtractMean(True)
    optimiser = itk.PowellOptimizer.New()
    optimiser.SetMaximize(False)
    optimiser.SetMaximumIteration(10)
    optimiser.SetMaximumLineIteration(4)
    optimiser.SetStepLength(4.0)
    optimiser.SetStepTolerance(0.02)
    optimiser.SetValueTolerance(0.001)
    scales = itk.Array[itk.D](6)
    for n, scale in enumerate([np.rad2deg(1.0)] * 3 + [1.0] * 3):
        scales[n] = scale
    optimiser.SetScales(scales)
    images = [detector_image(reduced(xray, pixels)) for xray in xrays]
    method = itk.TwoProjectionImageRegistrationMethod[kind, kind].New()
    method.SetFixedImage1(images[0])
    method.SetFixedImage2(images[1])
    method.SetFixedImageRegion1(images[0].GetBufferedRegion())
    method.SetFixedImageRegion2(images[1].GetBufferedRegion())
    method.SetMovingImage(gantry.volume)
    method.SetTransform(transform)
    method.SetInterpolator1(gantry.caster(transform, 0.0))
    method.SetInterpolator2(gantry.caster(transform, angle))
    method.SetMetric(metric)
    method.SetOptimizer(optimiser)
    method.SetInitialTransformParameters(transform.GetParameters())
    method.Update()
    transform.SetParameters(method.GetLastTransformParameters())
    return rigid.validated_pose(gantry.pose(transform), f"The pose of {NAME}")


def detector_image(level: XRayLevel) -> Any:
    """An X-ray, seen from the source, as an image in the space of ITK's camera."""
    import itk

    camera = level.camera
    column, row = camera.principal_point_px
    down, across = camera.pixel_spacing_mm
    made = itk.image_from_array(np.ascontiguousarray(level.image[::-1][None], dtype=np.float32))
    made.SetSpacing([across, down, 1.0])
    made.SetOrigin([-column * across, -(camera.rows - 1 - row) * down, -camera.source_to_detector_mm])
    return made

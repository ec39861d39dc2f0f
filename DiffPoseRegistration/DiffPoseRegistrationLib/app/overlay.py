"""The DRR over the X-ray in a slice view, with several ways to compare them.

The DRR volume lies on the X-ray's own detector plane, under the same pose node. Window and level are set
once, when the DRR is first shown, so that it does not flicker while it is updated.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..geometry.camera import Camera
from .nodes import array_to_matrix, blurred_image, matrix_to_array, referenced, resampled_image, world_from_node
from .xray_facts import intensity_of, polarity_of
from .xray_node import pixels, pose_node_of, require_camera

DRR_ROLE = "DiffPose.DRR"
COMPARISON_ROLE = "DiffPose.Comparison"
STYLE_ATTRIBUTE = "DiffPose.DRRStyle"
# Of the styles below: where air is bright, and where grey values are proportional to radiation.
_BRIGHT_AIR = ("transmission", "logarithm")
_TRANSMISSION = ("transmission", "inverted transmission")


class Comparison(Enum):
    """How X-ray and DRR are shown together."""

    FADE = "fade"
    CHECKERBOARD = "checkerboard"
    EDGES = "edges"
    DIFFERENCE = "difference"

    def label(self) -> str:
        """What the panel calls it."""
        return {
            Comparison.FADE: _("Fade"),
            Comparison.CHECKERBOARD: _("Checkerboard"),
            Comparison.EDGES: _("Edges of the DRR"),
            Comparison.DIFFERENCE: _("Difference"),
        }[self]


def update_drr(xray: slicer.vtkMRMLScalarVolumeNode, integrals: np.ndarray) -> slicer.vtkMRMLScalarVolumeNode:
    """Put line integrals [rows, columns] (on any grid over the X-ray's detector) into the X-ray's DRR volume
    and return that volume.

    The DRR is given the X-ray's own grey values (polarity, logarithm, range), so that both share one window
    and level and nothing flickers while the DRR is updated.
    """
    camera = require_camera(xray).resampled(*integrals.shape)
    node = referenced(xray, DRR_ROLE, "vtkMRMLScalarVolumeNode", _("{name} DRR").format(name=xray.GetName()))
    is_new = node.GetImageData() is None
    image = resampled_image(pixels(xray), *integrals.shape)
    _put(node, _in_grey_values_of(xray, image, integrals), camera, xray)
    if is_new:
        _share_window(xray, node)
    return node


def show_comparison(
    xray: slicer.vtkMRMLScalarVolumeNode,
    mode: Comparison,
    opacity: float,
    slice_node: slicer.vtkMRMLSliceNode,
    composite: slicer.vtkMRMLSliceCompositeNode,
) -> None:
    """Show the X-ray with its DRR in one slice view; ``opacity`` (0 to 1) is the DRR's when fading."""
    drr = xray.GetNodeReference(DRR_ROLE)
    composite.SetBackgroundVolumeID(xray.GetID())
    composite.SetLabelVolumeID(None)
    if drr is None or drr.GetImageData() is None:
        composite.SetForegroundVolumeID(None)
    elif mode is Comparison.FADE:
        composite.SetForegroundVolumeID(drr.GetID())
        composite.SetForegroundOpacity(opacity)
    else:
        compared = _compared(xray, drr, mode)
        composite.SetForegroundVolumeID(compared.GetID())
        composite.SetForegroundOpacity(1.0)
    face_detector(xray, slice_node)


def face_detector(xray: slicer.vtkMRMLScalarVolumeNode, slice_node: slicer.vtkMRMLSliceNode) -> None:
    """Turn a slice view onto the X-ray's detector plane, upright as the image is stored.

    Zoom and pan stay, as long as the view shows some of the image already.
    """
    camera = require_camera(xray)
    to_world = world_from_node(xray)
    matrix = to_world @ camera.image_to_camera()
    right = matrix[:3, 0] / np.linalg.norm(matrix[:3, 0])
    up = -matrix[:3, 1] / np.linalg.norm(matrix[:3, 1])
    middle = np.array([(camera.columns - 1) / 2, (camera.rows - 1) / 2, 0, 1])
    centre = (matrix @ middle)[:3]
    slice_to_ras = np.eye(4)
    slice_to_ras[:3, 0], slice_to_ras[:3, 1], slice_to_ras[:3, 2] = right, up, np.cross(right, up)
    slice_to_ras[:3, 3] = centre
    before = matrix_to_array(slice_node.GetSliceToRAS())
    slice_node.GetSliceToRAS().DeepCopy(array_to_matrix(slice_to_ras))
    slice_node.UpdateMatrices()
    height = camera.rows * camera.pixel_spacing_mm[0]
    width = camera.columns * camera.pixel_spacing_mm[1]
    far = np.linalg.norm(before[:3, 3] - centre) > 0.5 * max(width, height)
    turned = np.abs(before[:3, :3] - slice_to_ras[:3, :3]).max() > 0.5
    if far or turned:
        x, y, _depth = slice_node.GetDimensions()
        if x > 0 and y > 0:
            scale = max(width / x, height / y) * 1.02
            slice_node.SetFieldOfView(x * scale, y * scale, slice_node.GetFieldOfView()[2])


# -- what is shown ---------------------------------------------------------------------------------


def _put(node, values: np.ndarray, camera: Camera, xray) -> None:
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(values[None]))
    node.SetIJKToRASMatrix(array_to_matrix(camera.image_to_camera()))
    transform = pose_node_of(xray)
    node.SetAndObserveTransformNodeID(transform.GetID() if transform is not None else None)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()


def _share_window(xray, node) -> None:
    if xray.GetDisplayNode() is None:
        xray.CreateDefaultDisplayNodes()
    source, display = xray.GetDisplayNode(), node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(source.GetWindowLevelMin(), source.GetWindowLevelMax())


def _in_grey_values_of(xray, image: np.ndarray, integrals: np.ndarray) -> np.ndarray:
    """``integrals`` turned into grey values like those of ``image`` (same grid).

    What a detector shows lies between the transmission exp(-integral) and its logarithm, bright or dark for
    dense anatomy. The one that correlates best is taken, or the one taken before where none does.
    """
    styles = {
        "transmission": np.exp(-integrals),
        "logarithm": -integrals,
        "inverted transmission": -np.exp(-integrals),
        "attenuation": integrals,
    }
    polarity, intensity = polarity_of(xray), intensity_of(xray)
    allowed = [
        style
        for style in styles
        if polarity in ("auto", "bright-is-air" if style in _BRIGHT_AIR else "bright-is-bone")
        and intensity in ("auto", "transmission" if style in _TRANSMISSION else "logarithmic")
    ]
    before = xray.GetAttribute(STYLE_ATTRIBUTE)
    style = before if before in allowed else allowed[0]
    if integrals.std() > 0 and image.std() > 0:
        fits = {name: float(np.corrcoef(styles[name].ravel(), image.ravel())[0, 1]) for name in allowed}
        best = max(fits, key=fits.__getitem__)
        if fits[best] > 0.3 and fits[best] > fits[style] + 0.05:
            style = best
    if style != before:
        xray.SetAttribute(STYLE_ATTRIBUTE, style)
    values = styles[style]
    (low, high), (dark, bright) = (np.percentile(v, [1, 99]) for v in (values, image))
    return ((values - low) * ((bright - dark) / max(high - low, 1e-9)) + dark).astype(np.float32)


def _compared(xray, drr, mode: Comparison):
    """The comparison volume of an X-ray and its DRR, made anew."""
    shown = slicer.util.arrayFromVolume(drr)[0]
    rows, columns = shown.shape
    image = resampled_image(pixels(xray), rows, columns)
    image, other = (_flattened(_attenuation_like(v, xray, image)) for v in (image, shown))
    node = referenced(
        xray, COMPARISON_ROLE, "vtkMRMLScalarVolumeNode", _("{name} comparison").format(name=xray.GetName())
    )
    threshold, colours, limits = None, "Grey", (-1.2, 1.2)
    if mode is Comparison.CHECKERBOARD:
        tile = max(8, max(rows, columns) // 8)
        values = np.where(np.add(*(np.indices((rows, columns)) // tile)) % 2 == 0, image, other)
    elif mode is Comparison.DIFFERENCE:
        values = image - other
    else:
        values, threshold, colours, limits = _edge_strength(other), 0.2, "Warm1", (0.0, 1.0)
    _put(node, values.astype(np.float32), require_camera(xray).resampled(rows, columns), xray)
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*limits)
    display.SetAndObserveColorNodeID(f"vtkMRMLColorTableNode{colours}")
    display.SetApplyThreshold(threshold is not None)
    if threshold is not None:
        display.SetAutoThreshold(False)
        display.SetThreshold(threshold, 1e9)
    return node


def _attenuation_like(values: np.ndarray, xray, image: np.ndarray) -> np.ndarray:
    """Grey values of ``image`` or its DRR on a scale where equal steps are equal thickness of tissue."""
    style = xray.GetAttribute(STYLE_ATTRIBUTE) or ""
    if "transmission" not in style:
        return values
    air, dense = np.percentile(image, [99.5, 0.5])[:: -1 if style.startswith("inverted") else 1]
    # Never quite zero: the detector has a floor, and its logarithm is noise.
    return np.log(np.clip((values - dense) / max(abs(float(air - dense)), 1e-9) * np.sign(air - dense), 0, 2) + 0.02)


def _flattened(image: np.ndarray) -> np.ndarray:
    """``image`` without its slow changes, which come from soft tissue and scatter, in units of its spread."""
    smooth = blurred_image(image, 0.09 * max(image.shape))
    flat = image - 0.8 * smooth
    low, middle, high = np.percentile(flat, [5, 50, 95])
    return (flat - middle) / max(float(high - low), 1e-9)


def _edge_strength(image: np.ndarray) -> np.ndarray:
    """Thin edges, 0 to 1: the gradient's size where it is largest across the edge (Canny, 1986)."""
    down, right = np.gradient(blurred_image(image, 1.2))
    size = np.hypot(down, right)
    octant = np.rint(np.arctan2(down, right) / (np.pi / 4)).astype(int) % 4
    ridge = np.zeros(size.shape, bool)
    for n, step in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead, behind = np.roll(size, (-step[0], -step[1]), (0, 1)), np.roll(size, step, (0, 1))
        ridge |= (octant == n) & (size >= ahead) & (size >= behind)
    weak, strong = np.percentile(size, [75, 98])
    return ridge * np.clip((size - weak) / max(float(strong - weak), 1e-9), 0, 1)

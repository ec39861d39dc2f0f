"""The frames of an X-ray that is a sequence: a multi-frame XA as Slicer's DICOM module loads it.

The volume that is seen is the sequence browser's *proxy*: when another frame is chosen, Slicer overwrites its pixels,
its place and its attributes with those of the frame's own *data node*. What belongs to every frame is therefore written
into all data nodes, and what belongs to one into its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from ..errors import InputError
from .nodes import add_node, array_to_matrix, world_from_node


@dataclass(frozen=True)
class Frames:
    """``xray`` is the proxy of ``sequence`` in ``browser``."""

    xray: slicer.vtkMRMLScalarVolumeNode
    browser: slicer.vtkMRMLSequenceBrowserNode
    sequence: slicer.vtkMRMLSequenceNode

    def __len__(self) -> int:
        return self.sequence.GetNumberOfDataNodes()

    @property
    def current(self) -> int:
        """The frame that is seen, from 0; -1 if the browser shows none."""
        return self.sequence.GetItemNumberFromIndexValue(self._selected_value(), True) if len(self) else -1

    def show(self, number: int) -> None:
        """Let the browser show a frame."""
        value, master = self.sequence.GetNthIndexValue(number), self.browser.GetMasterSequenceNode()
        self.browser.SetSelectedItemNumber(master.GetItemNumberFromIndexValue(value, True))

    def data_node(self, number: int) -> slicer.vtkMRMLVolumeNode:
        """The volume that holds a frame."""
        return self.sequence.GetNthDataNode(number)

    def data_nodes(self) -> Iterator[slicer.vtkMRMLVolumeNode]:
        return (self.data_node(number) for number in range(len(self)))

    def pixels(self, number: int) -> np.ndarray:
        """The image [row, column] of a frame, without a copy."""
        return slicer.util.arrayFromVolume(self.data_node(number))[0]

    def set_pose(self, number: int, camera_to_world: np.ndarray, transform: slicer.vtkMRMLTransformNode) -> None:
        """Keep the pose [4, 4] of a frame. ``transform`` shows that of the chosen frame from now on; frames that have
        none yet have the one that it shows now."""
        poses = self.browser.GetSequenceNode(transform)
        if poses is None:
            poses = self._follow_frames(transform)
        to_parent = np.linalg.inv(world_from_node(transform)) @ camera_to_world
        self._put(poses, number, transform, array_to_matrix(to_parent))

    def _follow_frames(self, transform) -> slicer.vtkMRMLSequenceNode:
        """A new sequence of which ``transform`` is the proxy, with its present matrix for every frame."""
        poses = add_node("vtkMRMLSequenceNode", _("{name} sequence").format(name=transform.GetName()))
        poses.SetIndexName(self.sequence.GetIndexName())
        poses.SetIndexUnit(self.sequence.GetIndexUnit())
        poses.SetIndexType(self.sequence.GetIndexType())
        matrix = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToParent(matrix)
        for number in range(len(self)):
            self._put(poses, number, transform, matrix)
        self.browser.AddSynchronizedSequenceNode(poses)
        self.browser.AddProxyNode(transform, poses, False)
        self.browser.SetSaveChanges(poses, True)  # a pose that is dragged stays where it was put
        return poses

    def _put(self, poses, number: int, transform, to_parent: vtk.vtkMatrix4x4) -> None:
        node = slicer.mrmlScene.CreateNodeByClass(transform.GetClassName())
        node.UnRegister(None)  # its maker's reference; Python has its own
        node.SetName(transform.GetName())
        node.SetMatrixTransformToParent(to_parent)
        poses.SetDataNodeAtValue(node, self.sequence.GetNthIndexValue(number))

    def _selected_value(self) -> str:
        master = self.browser.GetMasterSequenceNode()
        return master.GetNthIndexValue(max(self.browser.GetSelectedItemNumber(), 0)) if master is not None else ""


def frames_of(xray: slicer.vtkMRMLScalarVolumeNode) -> Frames | None:
    """The frames of an X-ray; None if it is a single image."""
    if xray is None:
        return None
    scene = slicer.mrmlScene
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(n, "vtkMRMLSequenceBrowserNode")
        sequence = browser.GetSequenceNode(xray)
        if sequence is not None:
            return Frames(xray, browser, sequence)
    return None


def require_frames(xray: slicer.vtkMRMLScalarVolumeNode) -> Frames:
    """The frames of an X-ray. Raises InputError if it is a single image."""
    frames = frames_of(xray)
    if frames is None:
        raise InputError(
            _("{name} is a single image, not a sequence; register it by itself.").format(name=xray.GetName())
        )
    return frames


def with_frames(xray: slicer.vtkMRMLScalarVolumeNode) -> list[slicer.vtkMRMLVolumeNode]:
    """The X-ray and, of a sequence, the data nodes of its frames."""
    frames = frames_of(xray)
    return [xray] if frames is None else [xray, *frames.data_nodes()]


def keep(xray: slicer.vtkMRMLScalarVolumeNode, attribute: str, value: str | None) -> None:
    """Set an attribute of the X-ray that is the same for all of its frames; None removes it."""
    for one in with_frames(xray):
        one.SetAttribute(attribute, value)

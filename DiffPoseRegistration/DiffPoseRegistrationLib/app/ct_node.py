"""A CT as a volume node, whole or cut down to structures of a segmentation.

World coordinates: a volume under (hardened or unhardened) linear parent transforms is taken where it lies in the scene.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from ..errors import InputError
from ..imaging.values import CTVolume
from ..imaging.volume_mapping import AIR_HU, VolumeMapping
from . import job_files
from .drr import QuickDRR
from .mapping import fitted, mapping_of
from .nodes import matrix_to_array, require_scalar_volume, world_from_node

_MARGIN_VOXELS = 3  # of air around a structure
_DRR_VOXELS = 8_000_000


class PatientCT:
    """What is registered: made in the main thread by :func:`patient_ct`, then usable in any.

    Parameters
    ----------
    values
        Voxels [k, j, i] as the node holds them; not copied.
    ijk_to_ras
        Affine [4, 4] of their centres to the world (RAS, mm).
    kept
        Which voxels [k, j, i] belong to the structures; None: the whole CT.
    mapping
        What makes Hounsfield units of the values.
    """

    def __init__(
        self,
        values: np.ndarray,
        ijk_to_ras: np.ndarray,
        name: str,
        kept: np.ndarray | None = None,
        mapping: VolumeMapping | None = None,
    ) -> None:
        self.name, self._mapping = name, mapping or VolumeMapping()
        self._values, self._ijk_to_ras, self._kept = values, ijk_to_ras, kept
        self._file: Path | None = None
        if kept is not None:
            part = tuple(_extent(kept, axis) for axis in range(3))
            crop_to_ijk = np.eye(4)
            crop_to_ijk[:3, 3] = [piece.start for piece in part[::-1]]
            self._values, self._kept, self._ijk_to_ras = values[part], kept[part], ijk_to_ras @ crop_to_ijk

    @property
    def centre_ras(self) -> np.ndarray:
        """Centre [3] of the volume, in RAS mm."""
        middle = (np.array(self._values.shape[::-1]) - 1) / 2
        return self._ijk_to_ras[:3, :3] @ middle + self._ijk_to_ras[:3, 3]

    def volume(self, step: int = 1) -> CTVolume:
        """The CT, with air around the structures; with ``step`` every so many voxels only.

        Raises
        ------
        InputError
            If it cannot be a CT: one slice, voxels that are not finite, values that are not Hounsfield units.
        """
        every = (slice(None, None, step),) * 3
        values = self._mapping(self._values[every])
        affine = self._ijk_to_ras @ np.diag([step, step, step, 1.0])
        ct = CTVolume(values, affine, self.name, mapping=self._mapping)
        low, high = float(values.min()), float(values.max())
        if low >= 0 and high <= 255 and not self._mapping.points:
            raise InputError(
                _(
                    "{name} has values from {low:g} to {high:g}, not Hounsfield units; choose the CT itself, or say in "
                    "Prepare patient model, Advanced, what the volume is."
                ).format(name=self.name, low=low, high=high)
            )
        if self._kept is None:
            return ct
        return replace(ct, hounsfield=np.where(self._kept[every], values, np.float32(AIR_HU)))

    @property
    def job_settings(self) -> dict[str, Any]:
        """Settings of a job that is to read what :meth:`write` writes: for a volume that is no CT what makes
        Hounsfield units of it, which a model remembers."""
        return {"mapping": self._mapping.to_json()} if self._mapping.points else {}

    @cached_property
    def drr(self) -> QuickDRR:
        """Renders it quickly."""
        step = int(np.ceil((self._values.size / _DRR_VOXELS) ** (1 / 3)))
        return QuickDRR(self.volume(max(1, min(step, min(self._values.shape) // 2))))

    def write(self, path: Path) -> Path:
        """Write it as a job's own input file. The second time it is a hard link to the first file, which neither
        takes the disk twice nor makes a warm worker read it again."""
        try:
            if self._file is None:
                raise FileNotFoundError
            os.link(self._file, path)
        except OSError:  # not written yet, the job before was removed, or the file system knows no links
            if self._mapping.points:
                self._write_values(path)
            else:
                job_files.write_ct(self.volume(), path)
        self._file = path
        return path

    def _write_values(self, path: Path) -> None:
        """Write the values as they are, those outside the structures as those of air."""
        values = self._values
        if self._kept is not None:
            air = min(self._mapping.points, key=lambda point: point[1])[0]
            values = np.where(self._kept, values, np.float32(air))
        job_files.write_volume(values, self._ijk_to_ras, self.name, path)


class PatientCache:
    """Keeps the last :class:`PatientCT` until its nodes change."""

    def __init__(self) -> None:
        self._state: Hashable = None
        self._patient: PatientCT | None = None

    def of(self, ct, segmentation=None, segments: Sequence[str] | None = None) -> PatientCT:
        """As :func:`patient_ct`."""
        require_scalar_volume(ct, _("CT"))
        state = (*_state_of_volume(ct), *_state_of_segments(segmentation, segments))
        if self._patient is None or state != self._state:
            self._patient = patient_ct(ct, segmentation, segments)
            self._state = state
        return self._patient


def patient_ct(
    ct: slicer.vtkMRMLScalarVolumeNode,
    segmentation: slicer.vtkMRMLSegmentationNode | None = None,
    segments: Sequence[str] | None = None,
) -> PatientCT:
    """The CT of a volume node, or of it only what lies in ``segments`` (IDs or names; None: all) of a segmentation.

    Raises
    ------
    InputError
        If a node does not serve, a segment is not there, the segments do not meet the CT, or it is not what it is
        said to be.
    """
    require_scalar_volume(ct, _("CT"))
    matrix = vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    values = slicer.util.arrayFromVolume(ct)
    affine = world_from_node(ct) @ matrix_to_array(matrix)
    how = fitted(mapping_of(ct), values, ct.GetName())
    if segmentation is None:
        return PatientCT(values, affine, ct.GetName(), mapping=how)
    ids = segment_ids(segmentation, segments)
    names = ", ".join(segmentation.GetSegmentation().GetSegment(one).GetName() for one in ids)
    kept = _voxels_of(segmentation, ids, ct)
    if not kept.any():
        raise InputError(
            _("No voxel of {ct} lies in {names} of {node}; choose other segments.").format(
                ct=ct.GetName(), names=names, node=segmentation.GetName()
            )
        )
    return PatientCT(values, affine, _("{ct}: {names}").format(ct=ct.GetName(), names=names), kept, how)


def segment_ids(segmentation: slicer.vtkMRMLSegmentationNode, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """IDs of the ``wanted`` segments, each given by ID or by name; of all of them for None.

    Raises
    ------
    InputError
        If the node is no segmentation, or it lacks a segment or has none.
    """
    if not segmentation.IsA("vtkMRMLSegmentationNode"):
        raise InputError(_("{name} is no segmentation; choose one.").format(name=segmentation.GetName()))
    inner = segmentation.GetSegmentation()
    every = tuple(inner.GetNthSegmentID(n) for n in range(inner.GetNumberOfSegments()))
    if wanted is None:
        found = every
    else:
        by_name = {inner.GetSegment(one).GetName(): one for one in reversed(every)}
        found = tuple(one if one in every else by_name.get(one, "") for one in wanted)
    missing = [one for one, identifier in zip(wanted or (), found) if not identifier]
    if missing:
        raise InputError(
            _("{node} has no segment {name}; choose one that it has.").format(
                node=segmentation.GetName(), name=missing[0]
            )
        )
    if not found:
        raise InputError(
            _("No segment of {node} is chosen; tick at least one, or choose no segmentation.").format(
                node=segmentation.GetName()
            )
        )
    return found


def _voxels_of(segmentation, ids: Sequence[str], ct) -> np.ndarray:
    """Which voxels [k, j, i] of the CT lie in the segments, by Slicer's own resampling."""
    scene, names = slicer.mrmlScene, vtk.vtkStringArray()
    for one in ids:
        names.InsertNextValue(one)
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "DiffPose temporary")
    try:
        done = slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(segmentation, names, labels, ct)
        kept = slicer.util.arrayFromVolume(labels) > 0 if done else np.zeros(0)
    finally:
        display = labels.GetDisplayNode()
        colours = display.GetColorNode() if display is not None else None
        for node in (colours, display, labels):
            if node is not None:
                scene.RemoveNode(node)
    if kept.shape != slicer.util.arrayFromVolume(ct).shape:
        raise InputError(
            _("{node} cannot be brought onto the voxels of {ct}; export it as a labelmap and import it again.").format(
                node=segmentation.GetName(), ct=ct.GetName()
            )
        )
    return kept


def _extent(kept: np.ndarray, axis: int) -> slice:
    """Where ``kept`` is along ``axis``, with a margin."""
    along = np.flatnonzero(kept.any(axis=tuple(a for a in range(3) if a != axis)))
    return slice(max(int(along[0]) - _MARGIN_VOXELS, 0), min(int(along[-1]) + 1 + _MARGIN_VOXELS, kept.shape[axis]))


def _state_of_volume(node) -> tuple[Hashable, ...]:
    """What changes when a volume node or its place in the world does."""
    return node.GetID(), node.GetImageData().GetMTime(), node.GetMTime(), *_state_of_place(node)


def _state_of_segments(node, segments: Sequence[str] | None) -> tuple[Hashable, ...]:
    if node is None:
        return ()
    inner = node.GetSegmentation()
    state = [node.GetID(), inner.GetMTime(), *_state_of_place(node), None if segments is None else tuple(segments)]
    for n in range(inner.GetNumberOfSegments()):
        segment = inner.GetNthSegment(n)
        source = segment.GetRepresentation(inner.GetSourceRepresentationName())
        state += [segment.GetMTime(), source.GetMTime() if source is not None else None]
    return tuple(state)


def _state_of_place(node) -> tuple[Hashable, ...]:
    """What changes when a parent transform does, or one of its parents."""
    parent = node.GetParentTransformNode()
    return () if parent is None else (parent.GetID(), parent.GetTransformToWorldMTime())

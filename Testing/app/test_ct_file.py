"""The CT among a job's inputs: written once for a CT, and anew when the CT or its place changes."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
from cases import volume_node


def test_one_file_until_the_ct_changes(module, tmp_path):
    from DiffPoseRegistrationLib.app.ct_node import PatientCache

    patients = PatientCache()
    values = np.random.default_rng(0).integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
    node = volume_node(values, np.diag([2.0, 2.0, 2.0, 1.0]), "CT")
    files = []

    def write():
        files.append(patients.of(node).write(tmp_path / f"{len(files)}.nrrd"))
        return files[-1].stat().st_ino

    first = write()
    assert write() == first
    files[-1].unlink()  # the job before was removed: its file is written again
    other = write()
    assert other != first
    slicer.util.updateVolumeFromArray(node, values + 1)
    changed = write()
    assert changed != other
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag([2.0, 2.0, 3.0, 1.0])))
    assert write() != changed
    above = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "above")
    below = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "below")
    below.SetAndObserveTransformNodeID(above.GetID())
    node.SetAndObserveTransformNodeID(below.GetID())
    last = write()
    moved = np.eye(4)
    moved[0, 3] = 7
    slicer.util.updateTransformMatrixFromArray(above, moved)
    assert write() != last

"""What the module draws of an X-ray, which goes when the X-ray goes.

That is the C-arm, the DRR, the comparison, the landmarks projected onto the picture, and the curve of its registration:
all of them are made anew from the X-ray. What stays is what somebody may need without it. The pose is the result, other
nodes may hang on it, and a person may have chosen a transform of their own; so is the reference pose. The marked points
and the table of landmark errors are a person's work.
"""

from __future__ import annotations

import slicer

from . import carm_model, overlay, plots
from .landmarks import PROJECTED_ROLE

_ROLES = (
    carm_model.BEAM_ROLE,
    carm_model.PLANE_ROLE,
    overlay.DRR_ROLE,
    overlay.COMPARISON_ROLE,
    PROJECTED_ROLE,
    plots.SIMILARITY_ROLE,
)


def drawn_of(xray: slicer.vtkMRMLNode) -> list[slicer.vtkMRMLNode]:
    """The nodes that were drawn of an X-ray in the scene and of no other; none of a node that is no X-ray."""
    if not xray.IsA("vtkMRMLScalarVolumeNode"):
        return []
    scene, found = slicer.mrmlScene, []
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    others = [scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode") for n in range(count)]
    for role in _ROLES:
        node = xray.GetNodeReference(role)
        # A copy of an X-ray refers to the same drawings until it is drawn itself.
        if node is not None and not any(one is not xray and one.GetNodeReference(role) is node for one in others):
            found.append(node)
    return found


def remove(nodes: list[slicer.vtkMRMLNode]) -> None:
    """Remove those that are still in the scene, each with what serves it alone."""
    for node in nodes:
        for one in (*_servants(node), node):
            if one.GetScene() is slicer.mrmlScene:
                slicer.mrmlScene.RemoveNode(one)


def _servants(node) -> list[slicer.vtkMRMLNode]:
    if node.IsA("vtkMRMLPlotChartNode"):
        return plots.parts_of(node)
    found = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    return [*found, *(node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes()))]

"""An X-ray that is deleted takes along what was drawn of it, and nothing else."""

from __future__ import annotations

import pytest
import slicer
import slicer.util
from driving import choose, settle, type_geometry


@pytest.fixture()
def drawn(panel, slicer_app, shared):
    """The panel with an X-ray of which everything is drawn that can be."""
    from cases import load_case, points_node
    from DiffPoseRegistrationLib.app import overlay, plots, xray_node

    case = load_case(shared, "lumbar_pelvis-00")
    choose(panel, case)
    type_geometry(panel, case.camera)
    xray_node.set_pose(case.xray, case.pose, case.ct)
    xray_node.set_reference(case.xray, case.pose)
    panel._panel.geometry_changed()
    panel.ui.ctLandmarksSelector.setCurrentNode(points_node(case.landmarks, "in CT"))
    settle()
    panel.ui.landmarksButton.click()
    plots.show_similarity(case.xray, [0.5, 0.75])
    slice_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    overlay.show_comparison(case.xray, overlay.Comparison.DIFFERENCE, 0.5, slice_node, composite)
    settle()
    return panel, case


def nodes_of_scene():
    scene = slicer.mrmlScene
    return {scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())}


def test_drawings_go_and_the_rest_stays(drawn):
    from DiffPoseRegistrationLib.app import drawings, xray_node

    _panel, case = drawn
    pose, reference = xray_node.pose_node_of(case.xray), xray_node.reference_of(case.xray)
    names = {node.GetName() for node in drawings.drawn_of(case.xray)}
    suffixes = ("beam", "detector", "DRR", "comparison", "projected landmarks", "similarity while registering")
    assert all(any(name.endswith(suffix) for name in names) for suffix in suffixes), names
    before, series = nodes_of_scene(), slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")
    gone = {case.xray, *drawings.drawn_of(case.xray), *series, series[0].GetTableNode()}
    for node in list(gone):
        if node.IsA("vtkMRMLDisplayableNode") and node is not case.xray:
            gone |= {node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())}
    slicer.mrmlScene.RemoveNode(case.xray)
    settle()
    assert before - nodes_of_scene() == gone
    kept = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert [table.GetName() for table in kept] == ["X-ray landmark errors"]
    assert {pose, reference, case.ct} <= nodes_of_scene()
    assert not slicer.app.messages


def test_another_xray_keeps_its_own(drawn):
    from DiffPoseRegistrationLib.app import carm_model, drawings, overlay

    panel, case = drawn
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "copy")
    copy.Copy(case.xray)
    assert copy.GetNodeReference(overlay.DRR_ROLE) is case.xray.GetNodeReference(overlay.DRR_ROLE)
    assert drawings.drawn_of(copy) == drawings.drawn_of(case.xray) == []
    drr = case.xray.GetNodeReference(overlay.DRR_ROLE)
    slicer.mrmlScene.RemoveNode(copy)
    settle()
    assert case.xray.GetNodeReference(overlay.DRR_ROLE) is drr and drr in nodes_of_scene()
    assert drr in drawings.drawn_of(case.xray)  # the last one takes it along
    slicer.mrmlScene.RemoveNode(case.ct)  # no X-ray: nothing else goes
    settle()
    assert case.xray.GetNodeReference(carm_model.BEAM_ROLE) is not None
    assert panel.ui.xraySelector.currentNode() is case.xray

"""The module's own file: what Slicer shows of it, its sample data and its in-Slicer test."""

from __future__ import annotations

import sys
import types
import unittest

import slicer


def test_module_says_what_it_is(module):
    cpp_side = slicer.modules.diffposeregistration
    assert cpp_side.title and cpp_side.categories == ["Registration"] and cpp_side.contributors
    assert "CVPR 2024" in cpp_side.acknowledgementText and "CLIP 2022" in cpp_side.acknowledgementText
    assert not cpp_side.icon.isNull()


def test_sample_data_are_registered_and_generated(module, monkeypatch):
    registered = {}

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(
            category, sampleName, uris, fileNames, nodeNames, sampleDescription, thumbnailFileName, customDownloader
        ):
            assert isinstance(uris, str) and isinstance(fileNames, str) and isinstance(nodeNames, str)
            registered[sampleName] = customDownloader

    fake = types.ModuleType("SampleData")
    fake.SampleDataLogic = SampleDataLogic
    monkeypatch.setitem(sys.modules, "SampleData", fake)
    slicer.app.startupCompleted.emit()
    nodes = registered["DiffPosePhantom"](object())
    assert [n.GetClassName() for n in nodes[:2]] == ["vtkMRMLScalarVolumeNode"] * 2
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.app.ct_node import patient_ct

    patient_ct(nodes[0]).volume()
    assert xray_node.camera_of(nodes[1]) is not None
    assert xray_node.pose_of(nodes[1]) is None  # to be found


def test_in_slicer_test_class_passes(module):
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.DiffPoseRegistrationTest)
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun == 3 and not result.skipped
    assert result.wasSuccessful(), result.errors + result.failures

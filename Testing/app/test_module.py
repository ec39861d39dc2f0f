"""The module's own file: what Slicer shows of it, its sample data and its in-Slicer test."""

from __future__ import annotations

import sys
import types
import unittest
import urllib.request
from pathlib import Path

import pytest
import slicer


def test_module_says_what_it_is(module):
    cpp_side = slicer.modules.diffposeregistration
    assert cpp_side.title and cpp_side.categories == ["Registration"] and cpp_side.contributors
    assert "CVPR 2024" in cpp_side.acknowledgementText and "CLIP 2022" in cpp_side.acknowledgementText
    assert not cpp_side.icon.isNull()


@pytest.fixture()
def sample_data_source(module, monkeypatch):
    """The arguments with which the module offers its sample data, once Slicer has started."""
    registered = []

    class SampleDataLogic:
        # The arguments of Slicer 5.10 to 5.13.
        @staticmethod
        def registerCustomSampleDataSource(
            category="Custom",
            sampleName=None,
            uris=None,
            fileNames=None,
            nodeNames=None,
            customDownloader=None,
            thumbnailFileName=None,
            loadFileTypes=None,
            loadFiles=None,
            loadFileProperties=None,
            checksums=None,
        ):
            registered.append(types.SimpleNamespace(**locals()))

    fake = types.ModuleType("SampleData")
    fake.SampleDataLogic = SampleDataLogic
    monkeypatch.setitem(sys.modules, "SampleData", fake)
    slicer.app.startupCompleted.emit()
    return registered[-1]  # the modules of other tests have been started too


def check_phantom(nodes):
    from DiffPoseRegistrationLib.app import xray_node
    from DiffPoseRegistrationLib.app.ct_node import patient_ct

    assert [n.GetClassName() for n in nodes[:2]] == ["vtkMRMLScalarVolumeNode"] * 2
    patient_ct(nodes[0]).volume()
    assert xray_node.camera_of(nodes[1]) is not None
    assert xray_node.pose_of(nodes[1]) is None  # to be found


def test_sample_data_by_a_click(sample_data_source):
    assert Path(sample_data_source.thumbnailFileName).is_file()
    check_phantom(sample_data_source.customDownloader(sample_data_source))


def test_sample_data_from_the_console(sample_data_source, module, tmp_path):
    """As ``SampleData.downloadSamples`` does it: the file is copied into the cache and read by its type."""
    source = sample_data_source
    cached = tmp_path / source.fileNames
    urllib.request.urlretrieve(source.uris, cached)
    cpp_side = FileReaderDouble()
    reader = module.DiffPoseRegistrationFileReader(cpp_side)
    assert reader.fileType() == source.loadFileTypes and reader.description()
    assert any(f"*{cached.suffix})" in name for name in reader.extensions())
    assert reader.load({"fileName": str(cached), "name": source.nodeNames}) is True
    check_phantom([slicer.mrmlScene.GetNodeByID(node_id) for node_id in cpp_side.loadedNodes])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seed": "x"}', None])
def test_sample_data_file_that_is_none(module, tmp_path, text):
    path = tmp_path / "other.phantom"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert module.DiffPoseRegistrationFileReader(FileReaderDouble()).load({"fileName": str(path)}) is False
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


class FileReaderDouble:
    """The C++ side of a scripted module's reader."""

    __slots__ = ("loadedNodes",)


def test_in_slicer_test_class_passes(module):
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.DiffPoseRegistrationTest)
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun == 3 and not result.skipped
    assert result.wasSuccessful(), result.errors + result.failures

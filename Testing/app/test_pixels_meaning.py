"""What a DICOM file states about its pixels goes with the X-ray into the job."""

from __future__ import annotations

import types

import pydicom
import pytest
import slicer
from cases import load_case
from DiffPoseRegistrationLib.imaging.pixel_meaning import PixelMeaning


@pytest.fixture()
def case(slicer_app, shared):
    return load_case(shared, "lumbar_pelvis-00")


def job_settings(case, tmp_path):
    from DiffPoseRegistrationLib.app import steps, xray_node
    from DiffPoseRegistrationLib.app.ct_node import patient_ct

    xray_node.set_camera(case.xray, case.camera)
    ignored = dict.fromkeys(("finish", "watch", "undo"), lambda *_: None)
    pixels = xray_node.pixels(case.xray)
    step = steps.registration(
        patient_ct(case.ct), [case.xray], [pixels], model=None, initial=case.pose, effort=steps.Effort(), **ignored
    )
    return step.make_inputs(tmp_path)[1]


def test_of_a_file_in_the_dicom_database(case, shared, tmp_path, monkeypatch):
    file = pydicom.dcmread(shared / "cases" / "lumbar_pelvis-00" / "xray.dcm")
    file.Modality, file.PhotometricInterpretation = "XA", "MONOCHROME1"
    file.PixelIntensityRelationship, file.PixelIntensityRelationshipSign = "LIN", 1
    file.save_as(tmp_path / "x.dcm")
    found = {"1.2.3": str(tmp_path / "x.dcm")}
    database = types.SimpleNamespace(isOpen=True, fileForInstance=lambda uid: found.get(uid, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    case.xray.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    known = PixelMeaning.from_json(job_settings(case, tmp_path)["meaning"])
    # Slicer's reader has turned MONOCHROME1 over: what is large now means less radiation.
    assert (known.modality, known.relationship, known.sign, known.inverted_display) == ("XA", "LIN", -1, False)


def test_without_such_a_file_nothing_is_said(case, tmp_path, monkeypatch):
    assert "meaning" not in job_settings(case, tmp_path)
    (tmp_path / "broken.dcm").write_bytes(b"no X-ray")
    database = types.SimpleNamespace(isOpen=True, fileForInstance=lambda _: str(tmp_path / "broken.dcm"))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    case.xray.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    assert "meaning" not in job_settings(case, tmp_path)

"""Simulated X-rays against hand-computed physics, and their DICOM files as pydicom and ITK read them."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.imaging.attenuation import AttenuationRule
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.imaging.xray_reader import read_xray
from DiffPoseRegistrationLib.workflow.simulate import (
    gaussian_blur,
    simulate_xray,
    simulation_renderer,
    write_xray_dicom,
)

CAMERA = Camera(1000.0, 60, 80, (4.0, 3.0))


@pytest.fixture(scope="module")
def water():
    """A box of water, 100 mm along the beam of an AP view, in a frame of air."""
    hounsfield = np.full((70, 60, 70), -1000.0, dtype=np.float32)
    hounsfield[10:60, 5:55, 10:60] = 0.0
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-69, -59, -69)
    return CTVolume(hounsfield, affine, "water")


def test_lambert_beer_without_noise(water):
    pose = view_pose("AP", water.centre_ras, 700.0)
    ideal = {"photons": 0, "scatter": 0, "blur_px": 0}
    thin, dense = (simulation_renderer(water, AttenuationRule(per_mm, 0.05)) for per_mm in (0.02, 0.04))
    image = simulate_xray(water, CAMERA, pose, renderer=thin, **ideal)
    assert image.dtype == np.uint16 and image.shape == (60, 80)
    # exp(-0.02 / mm * 100 mm) of air's 60000
    np.testing.assert_allclose(image[28:32, 38:42], 60000 * np.exp(-2.0), rtol=0.01)
    assert image[0, 0] == 60000
    # Control: twice the attenuation is another picture.
    twice = simulate_xray(water, CAMERA, pose, renderer=dense, **ideal)
    assert np.abs(twice[28:32, 38:42] / (60000 * np.exp(-2.0)) - 1).min() > 0.5


def test_noise_is_poisson_and_seeded(water):
    pose = view_pose("AP", water.centre_ras, 700.0)
    settings = {"photons": 10000, "scatter": 0, "blur_px": 0}
    first = simulate_xray(water, CAMERA, pose, seed=1, **settings)
    assert (first == simulate_xray(water, CAMERA, pose, seed=1, **settings)).all()
    assert (first != simulate_xray(water, CAMERA, pose, seed=2, **settings)).any()
    air = first[:4].astype(float)
    assert air.mean() == pytest.approx(10000, rel=0.005)
    assert air.std() == pytest.approx(100, rel=0.15)


def test_scatter_adds_haze(water):
    pose = view_pose("AP", water.centre_ras, 700.0)
    settings = {"photons": 0, "blur_px": 0}
    plain = simulate_xray(water, CAMERA, pose, scatter=0, **settings)
    hazy = simulate_xray(water, CAMERA, pose, scatter=0.5, **settings)
    assert hazy[30, 40] > 1.2 * plain[30, 40]


def test_blur_agrees_with_itk():
    image = np.zeros((41, 61))
    image[20, 30] = 1000.0
    image[5, 0] = 500.0
    expected = sitk.GetArrayFromImage(
        sitk.DiscreteGaussian(sitk.GetImageFromArray(image), variance=16.0, maximumError=1e-4, maximumKernelWidth=64)
    )
    np.testing.assert_allclose(gaussian_blur(image, 4.0)[18:, 15:], expected[18:, 15:], atol=0.2)  # of 10
    assert gaussian_blur(image, 2.0).sum() == pytest.approx(1500.0, rel=1e-3)


def test_a_pose_beside_the_patient_is_refused(water):
    pose = view_pose("AP", water.centre_ras + np.array([0, 0, 2000]), 700.0)
    with pytest.raises(InputError, match="shows nothing of water"):
        simulate_xray(water, CAMERA, pose)


def test_dicom_holds_the_geometry(tmp_path):
    image = np.random.default_rng(0).integers(0, 60000, (60, 80)).astype(np.uint16)
    path = tmp_path / "Röntgen.dcm"
    camera = Camera(1020.123456789, 60, 80, (0.64453125, 0.1 + 1 / 3), viewed_from="detector")
    write_xray_dicom(path, image, camera, (-30.25, 12.5), source_to_patient_mm=712.3)
    data = pydicom.dcmread(path)
    assert (data.pixel_array == image).all()
    assert data[0x0018, 0x1110].value == pytest.approx(1020.123456789, abs=1e-6)
    assert list(data[0x0018, 0x1164].value) == pytest.approx([0.64453125, 0.1 + 1 / 3], abs=1e-9)
    assert data[0x0028, 0x1040].value == "LIN" and data[0x0028, 0x1041].value == 1
    assert (data[0x0018, 0x1510].value, data[0x0018, 0x1511].value) == (-30.25, 12.5)
    assert data[0x0018, 0x1111].value == pytest.approx(712.3)
    itk_image = sitk.ReadImage(str(path))
    assert (sitk.GetArrayFromImage(itk_image).squeeze() == image).all()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("viewed_from", "angles"), [("source", None), ("detector", (-30.25, 12.5))])
def test_dicom_is_read_back_with_its_geometry(tmp_path, water, viewed_from, angles):
    camera = Camera(1020.3, 60, 80, (4.1, 3.3), viewed_from=viewed_from)
    image = simulate_xray(water, camera, view_pose("AP", water.centre_ras, 700.0))
    write_xray_dicom(tmp_path / "a.dcm", image, camera, angles)
    assert read_xray(tmp_path / "a.dcm").camera == camera


def test_dicom_refuses_what_it_cannot_hold(tmp_path):
    image = np.zeros((60, 80), np.uint16)
    shifted = Camera(1000.0, 60, 80, (1.0, 1.0), principal_point_px=(20.0, 29.5))
    with pytest.raises(InputError, match=r"principal point .* save it as .png"):
        write_xray_dicom(tmp_path / "a.dcm", image, shifted)
    with pytest.raises(InputError, match="give uint16"):
        write_xray_dicom(tmp_path / "a.dcm", image[:, :50], CAMERA)
    with pytest.raises(InputError, match="read mirrored"):
        write_xray_dicom(tmp_path / "a.dcm", image, CAMERA, (10.0, 0.0))
    with pytest.raises(InputError, match="cannot be written"):
        write_xray_dicom(tmp_path / "missing" / "a.dcm", image, CAMERA)
    assert list(tmp_path.iterdir()) == []

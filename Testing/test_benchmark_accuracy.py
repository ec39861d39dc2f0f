"""The accuracy benchmark: its X-rays, its table, and a short run from end to end."""

from __future__ import annotations

import argparse
import types

import numpy as np
import pytest
import torch
from benchmarks import _accuracy_itk as itk_two_views
from benchmarks import _accuracy_peers as peers
from benchmarks import _accuracy_report as report
from benchmarks import _accuracy_xrays as xrays
from benchmarks import accuracy as benchmark
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.imaging.attenuation import AttenuationRule
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
from DiffPoseRegistrationLib.metrics.errors import target_registration_errors
from DiffPoseRegistrationLib.refinement.pyramid import reduced
from DiffPoseRegistrationLib.refinement.starts import Hypotheses
from DiffPoseRegistrationLib.rendering.renderer import Renderer
from DiffPoseRegistrationLib.workflow.simulate import SIMULATION_RULE


@pytest.fixture(scope="module")
def patient():
    """A generated patient of few voxels."""
    return phantom_ct(11, size=(80, 60, 80), spacing=4.0)


def test_scipys_projections_are_the_line_integrals_that_ours_are(patient):
    pose = xrays.poses(patient).sample(np.random.default_rng(0), 1)[0]
    camera = xrays.camera(48)
    theirs = xrays._Projections(patient, "scipy").render(camera, pose)
    ours = Renderer(patient, SIMULATION_RULE, levels=1, method="trilinear", step_voxels=0.2).render(camera, pose)
    # At the volume's faces they extrapolate otherwise.
    assert np.percentile(np.abs(theirs - ours), 90) < 0.005 * ours.max()
    off = pose.copy()
    off[:3, 3] += 5.0  # control
    other = Renderer(patient, SIMULATION_RULE, levels=1).render(camera, off)
    assert np.percentile(np.abs(theirs - other), 90) > 0.05 * ours.max()


def test_xrays_are_the_same_every_time_and_worse_by_level(patient):
    def made(seed, levels=tuple(xrays.LEVELS)):
        return list(xrays.simulated(patient, phantom_landmarks(11), "scipy", levels, 1, 64, seed))

    first, again, other = made(0), made(0), made(1)
    assert [image.level for image in first] == list(xrays.LEVELS)
    for a, b, c in zip(first, again, other):
        np.testing.assert_array_equal(a.xray.attenuation, b.xray.attenuation)
        assert np.abs(a.truth.camera_to_world - c.truth.camera_to_world).max() > 1.0
    # A level's poses do not depend on which others are asked for.
    np.testing.assert_array_equal(made(0, ("occluded",))[0].truth.camera_to_world, first[3].truth.camera_to_world)
    likeness = {}
    for image in first:
        drr = Renderer(patient, AttenuationRule(), levels=1).render(image.xray.camera, image.truth.camera_to_world)
        likeness[image.level] = np.corrcoef(drr.ravel(), image.xray.attenuation.ravel())[0, 1]
    assert likeness["clean"] > 0.98 and likeness["noisy"] < likeness["clean"]
    assert max(likeness["disturbed"], likeness["occluded"]) < likeness["noisy"]


def _row(method, xray, tre, level="clean", **more):
    return {"method": method, "xray": xray, "level": level, "tre_mm": tre, "seconds": 1.0, **more}


def test_the_table_by_hand():
    rows = [
        _row("whole", "a", 0.5),
        _row("whole", "b", 1.5, "noisy"),
        {**_row("whole", "c", 0, "noisy"), "tre_mm": None},
    ]
    rows += [_row("nanodrr", "b", 30.0, "noisy")]
    lines = {(line["method"], line["X-rays"]): line for line in report.table_of(rows)}
    assert list(lines) == [
        ("whole", "all"), ("whole", "clean"), ("whole", "noisy"), ("whole", "those that the peers had"),
        ("nanodrr", "those that the peers had"),
    ]  # fmt: skip
    everything = lines["whole", "all"]
    assert everything["n"] == 3 and everything["TRE median mm"] == 1.0
    assert (everything["below 1 mm"], everything["below 2 mm"], everything["above 10 mm"]) == (1 / 3, 2 / 3, 1 / 3)
    assert lines["whole", "those that the peers had"]["TRE median mm"] == 1.5
    assert lines["nanodrr", "those that the peers had"]["above 10 mm"] == 1.0


def _arguments(out, *more):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    arguments = parser.parse_args(list(more))
    arguments.out = out
    return arguments


def test_a_short_run(patient, tmp_path, monkeypatch):
    starts = {}

    def register(name, ct, xray, initial, pixels):
        starts.setdefault(xray.name, []).append(initial)
        if name == "diffdrr":
            raise InputError("it gave up")
        return initial

    monkeypatch.setattr("DiffPoseRegistrationLib.imaging.phantom.phantom_ct", lambda seed: patient)
    monkeypatch.setattr(benchmark, "PATIENTS", (11,))
    model = types.SimpleNamespace(
        camera=xrays.camera(96),
        training={},
        require_ct=lambda ct: None,
        hypotheses=lambda xray: Hypotheses.of(xrays.model_range(patient).centre),
        predict=lambda xray: xrays.model_range(patient).centre,
    )
    monkeypatch.setattr(benchmark, "_model", lambda patient, arguments: model)
    monkeypatch.setattr(peers, "register", register)
    monkeypatch.setattr(benchmark, "_installed", lambda names: {"nanodrr": "0.1", "diffdrr": "0.6"})
    given = ("--levels", "clean", "--poses", "2", "--side", "96", "--projector", "scipy")
    found = benchmark.run(_arguments(tmp_path, *given, "--peer-trials", "1"))
    methods = [row["method"] for row in found["trials"]]
    assert sorted(methods) == ["diffdrr", "encoder only", "encoder only", "nanodrr", "refinement only",
                               "refinement only", "two views", "two views", "whole", "whole"]  # fmt: skip
    by_method = {row["method"]: row for row in reversed(found["trials"])}  # of the first X-ray
    assert by_method["refinement only"]["tre_mm"] < 2.0 and by_method["two views"]["tre_mm"] < 1.0
    assert by_method["nanodrr"]["tre_mm"] == pytest.approx(by_method["refinement only"]["initial_tre_mm"])
    assert by_method["diffdrr"]["error"] == "it gave up"
    (two,) = starts.values()
    np.testing.assert_array_equal(*two)  # both peers start where the other does
    assert found["rows"][-1]["n"] == 1 and found["peers"] == {"nanodrr": "0.1", "diffdrr": "0.6"}
    page = (tmp_path / "accuracy.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2 and "it gave up" not in page and (tmp_path / "worst" / "1.png").exists()
    assert "nanodrr, diffdrr: on 1 of the X-rays" in (tmp_path / "accuracy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["nanodrr", "diffdrr"])
def test_a_peer_sees_what_the_xray_shows(patient, name):
    """Where it is installed: its image at the true pose is the X-ray, with the pixels of a cropped detector too; its
    pose is the one it was given."""
    if name not in benchmark._installed(peers.METHODS):
        pytest.skip(f"{name} is not installed")
    (image,) = xrays.simulated(patient, phantom_landmarks(11), "scipy", ("clean",), 1, 64, 0)
    truth, part = image.truth.camera_to_world, (slice(8, 50), slice(20, 60))
    target = torch.from_numpy(image.xray.attenuation[part].copy())[None, None]
    camera = image.xray.camera.cropped(8, 20, 42, 40)

    def likeness(pose):
        moving = peers.METHODS[name](patient, camera, pose)
        np.testing.assert_allclose(moving.pose(), pose, atol=1e-3)
        return float(peers.ncc(target, moving.render().detach()))

    off = rigid.update_pose(truth, np.array([0, 0, np.radians(5), 5.0, 0, 0]), patient.centre_ras)
    assert likeness(truth) > 0.97 and likeness(off) < likeness(truth) - 0.02  # the misposed control


def test_itk_sees_what_the_two_xrays_show(patient):
    """Where it is installed: its images at the true pose are both X-rays, its pose is the one it was given, and it
    leads nearer."""
    if itk_two_views.NAME not in benchmark._installed(benchmark.PEERS):
        pytest.skip(f"{itk_two_views.NAME} is not installed")
    (image,) = xrays.simulated(patient, phantom_landmarks(11), "scipy", ("clean",), 1, 40, 0)
    gantry = itk_two_views.Gantry(patient, xrays.SOURCE_TO_ISOCENTRE_MM)

    def likeness(pose, xray, angle):
        transform = gantry.transform(pose)
        np.testing.assert_allclose(gantry.pose(transform), pose, atol=1e-9)
        caster = gantry.caster(transform, angle)
        picture = itk_two_views.detector_image(reduced(xray, 40))
        cast = [
            [caster.Evaluate(picture.TransformIndexToPhysicalPoint([column, row, 0])) for column in range(40)]
            for row in range(40)
        ]
        return np.corrcoef(np.ravel(cast[::-1]), xray.attenuation.ravel())[0, 1]

    truth = image.truth.camera_to_world
    off = rigid.update_pose(truth, np.array([*np.radians([5, 5, 5]), 5.0, 5.0, 5.0]), patient.centre_ras)
    for xray, angle in ((image.xray, 0.0), (image.second, xrays.TURN)):
        assert likeness(truth, xray, angle) > 0.97
        assert likeness(off, xray, angle) < likeness(truth, xray, angle) - 0.01  # the misposed control
    pair = (image.xray, image.second)
    found = itk_two_views.register(patient, pair, xrays.TURN, xrays.SOURCE_TO_ISOCENTRE_MM, off, 40)
    before, after = (target_registration_errors(p, truth, phantom_landmarks(11)).mean() for p in (off, found))
    assert after < 0.5 * before


def test_the_likeliest_pose_of_a_peer_counts(patient, monkeypatch):
    (image,) = xrays.simulated(patient, phantom_landmarks(11), "scipy", ("clean",), 1, 64, 0)
    target = torch.from_numpy(image.xray.attenuation)[None, None]
    passed = []

    def made(ct, camera, initial):
        wrong = torch.tensor(-3.0, requires_grad=True)  # its steps lead past the best, 0

        def pose():
            found = initial.copy()
            found[0, 3] = wrong.item()
            return found

        def render():
            passed.append(wrong.item())
            return target + wrong.square() * target.std() * torch.linspace(-1, 1, 64)

        return peers.Moving(render, pose, [{"params": [wrong], "lr": 2.5}])

    monkeypatch.setattr(peers, "METHODS", {"pretend": made})
    monkeypatch.setattr(peers, "ITERATIONS", 4)
    found = peers.register("pretend", patient, image.xray, np.eye(4), 64)
    assert len(passed) == 4 and found[0, 3] == min(passed, key=abs) and abs(passed[-1]) > abs(found[0, 3])


def test_cases_made_elsewhere(shared, tmp_path, monkeypatch):
    cases = ["--cases", str(shared / "cases" / "skull_phantom-01"), "--ct", str(shared / "data" / "ct")]
    found = benchmark.run(_arguments(tmp_path, *cases, "--minutes", "0", "--peers"))
    (row,) = found["trials"]
    assert row["method"] == "refinement only" and (tmp_path / "accuracy.html").exists()
    assert row["level"] == "as given" and row["tre_mm"] < 2.0


@pytest.mark.parametrize("wrong", [("--poses", "0"), ("--peer-trials", "0"), ("--seed", "-1"), ("--cases", "x")])
def test_arguments_that_make_no_sense(wrong, tmp_path):
    with pytest.raises(InputError):
        benchmark.run(_arguments(tmp_path, *wrong))


def test_a_projector_that_is_not_installed(monkeypatch, capsys):
    from importlib import metadata

    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    with pytest.raises(InputError, match="itk-rtk is not installed; install it with: pip install itk-rtk"):
        xrays.chosen_projector("itk-rtk")
    assert xrays.chosen_projector("auto") == "scipy" and "pip install itk-rtk" in capsys.readouterr().err

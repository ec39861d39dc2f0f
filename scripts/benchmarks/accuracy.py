"""Accuracy on simulated X-rays: ours in its parts and as a whole, beside nanodrr and DiffDRR, in one run.

X-rays of three generated patients (or of the CTs of --ct) are projected by another program than ours (itk-rtk where it
is installed, else scipy's interpolation), with another attenuation than registration assumes, at poses up to 25, 20
and 15 degrees and 30, 60 and 30 mm about AP, at four levels: clean, noisy, disturbed (a steel rod, burnt-in text) and
occluded (collimator blades, a black label). They are written as DICOM files and read like any other. With --cases,
X-rays with known poses from elsewhere are registered instead.

encoder only: the pose that a model reads, prepared for the CT in --minutes. refinement only: from the true pose
disturbed by up to 15 degrees and 30 mm in every coordinate. whole: the refinement of what the model read. nanodrr and
diffdrr, where installed: their registration with Adam as their tutorials run it (500 steps), from the same disturbed
poses, on --peer-trials of the X-rays, spread over levels and patients, on images of --peer-side pixels.
Every X-ray has a companion from a C-arm turned by 90 degrees. two views: our refinement of both together from the same
disturbed pose; itk-twoprojectionregistration, where installed, the same as its example program does it.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.pose_range import perturbed
from DiffPoseRegistrationLib.imaging.values import CTVolume

from . import _accuracy_itk as itk_two_views
from . import _accuracy_peers as peers
from . import _accuracy_xrays as xrays
from ._accuracy_report import table_of, write_report
from ._accuracy_xrays import BenchmarkXray
from ._render_peers import INSTALL

if TYPE_CHECKING:
    from DiffPoseRegistrationLib.encoder.model_file import PreparedModel

PERTURB_DEG, PERTURB_MM = 15.0, 30.0
PATIENTS = (11, 12, 13)  # seeds of the generated ones
PEERS = (*peers.METHODS, itk_two_views.NAME)


@dataclass(frozen=True)
class Patient:
    """A CT with its X-rays."""

    ct: CTVolume
    images: list[BenchmarkXray]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ct", nargs="+", type=Path, default=[], metavar="CT", help="instead of the generated patients"
    )
    parser.add_argument("--cases", nargs="+", type=Path, default=[], metavar="DIR", help="instead of simulated X-rays")
    parser.add_argument("--levels", nargs="+", choices=list(xrays.LEVELS), default=list(xrays.LEVELS), help="all")
    parser.add_argument("--poses", type=int, default=2, metavar="N", help="X-rays of a CT at each level (default 2)")
    parser.add_argument("--side", type=int, default=384, metavar="PX", help="of the X-rays (default 384)")
    parser.add_argument("--projector", choices=("auto", *xrays.PROJECTORS), default="auto", help="default: auto")
    parser.add_argument("--minutes", type=float, default=1.0, help="of preparation a CT (default 1; 0: no models)")
    parser.add_argument("--steps", type=int, help="instead of --minutes: so many steps")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), help="which (default: all installed)")
    parser.add_argument("--peer-trials", type=int, default=4, metavar="N", help="X-rays for them (default 4)")
    parser.add_argument("--peer-side", type=int, default=64, metavar="PX", help="of their images (default 64)")
    parser.add_argument("--seed", type=int, default=0)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Registers every X-ray by every method; keeps accuracy.md and accuracy.html beside the door's accuracy.json."""
    for name in ("poses", "side", "peer_trials", "peer_side"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}; give 1 or more.")
    if arguments.seed < 0:
        raise InputError("--seed is a whole number from 0 upwards.")
    projector = None if arguments.cases else xrays.chosen_projector(arguments.projector)
    there = _installed(PEERS)
    methods = _peers_to_run(arguments.peers, there)
    rows: list[dict[str, Any]] = []
    patients = []
    for patient in _patients(arguments, projector):
        patients.append(patient)
        rows += _ours(patient, arguments)
    rows += _theirs(patients, methods, arguments)
    facts = {
        "x_rays": f"{sum(len(p.images) for p in patients)} by {projector or 'the program that made the cases'}",
        "peers": {name: there[name] for name in methods},
    }
    write_report(arguments.out, rows, patients, facts, arguments)
    return {"rows": table_of(rows), "figures": {}, "trials": rows, **facts}


def _patients(arguments: argparse.Namespace, projector: str | None) -> Iterable[Patient]:
    if arguments.cases:
        yield from _patients_of_cases(arguments)
        return
    from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
    from DiffPoseRegistrationLib.imaging.phantom import phantom_ct, phantom_landmarks
    from DiffPoseRegistrationLib.workflow.scoring import bone_points

    makers: list[Callable[[], tuple[CTVolume, np.ndarray]]]
    if arguments.ct:
        makers = [lambda path=path: (lambda ct: (ct, bone_points(ct)))(read_ct(path)) for path in arguments.ct]
    else:
        makers = [lambda seed=seed: (phantom_ct(seed), phantom_landmarks(seed)) for seed in PATIENTS]
    for make in makers:
        ct, landmarks = make()
        _say(f"{ct.name}: {len(arguments.levels) * arguments.poses} X-rays by {projector}")
        made = xrays.simulated(
            ct, landmarks, projector, arguments.levels, arguments.poses, arguments.side, arguments.seed
        )
        yield Patient(ct, list(made))


def _patients_of_cases(arguments: argparse.Namespace) -> Iterable[Patient]:
    from DiffPoseRegistrationLib.datasets.case_folder import read_case_folders
    from DiffPoseRegistrationLib.imaging.pose_file import Truth
    from DiffPoseRegistrationLib.workflow.scoring import landmarks_of

    if len(arguments.ct) != 1:
        raise InputError("With --cases name one --ct: the CT, or the folder that holds those that the cases name.")
    for subject in read_case_folders(arguments.ct[0], arguments.cases, say=_say).subjects:
        ct = subject.read_ct()
        images = []
        for frame in subject.frames:
            truth = Truth(frame.truth.camera_to_world, landmarks_of(frame.truth, ct)[0])
            images.append(BenchmarkXray(frame.name, ct.name, "as given", frame.read(), truth))
        yield Patient(ct, images)


def _ours(patient: Patient, arguments: argparse.Namespace) -> Iterable[dict[str, Any]]:
    from DiffPoseRegistrationLib.refinement.views import View
    from DiffPoseRegistrationLib.rendering.warm_up import warm_up
    from DiffPoseRegistrationLib.workflow.register import register, renderer_for
    from DiffPoseRegistrationLib.workflow.trial import trial

    warm_up(_say)
    ct, renderer = patient.ct, renderer_for(patient.ct)
    began = time.perf_counter()
    model = _model(patient, arguments)
    preparation = time.perf_counter() - began
    _say(f"{ct.name}: registering")
    for image in patient.images:
        starts = {"refinement only": {"initial": _start(patient, image, arguments.seed)}}
        if model is not None:
            began = time.perf_counter()
            read = model.predict(image.xray)
            yield _row("encoder only", image, ct, read, None, time.perf_counter() - began)
            starts["whole"] = {"model": model}
        if image.second is not None:
            starts["two views"] = starts["refinement only"]
        for method, start in starts.items():
            options = {**start, "renderer": renderer, "pictures": False}
            views = [View.single(image.xray)]
            if method == "two views":
                views.append(View(image.second, xrays.second_from_first()))
            row, result = trial(register, ct, views, image.truth, options)
            found = {} if result is None else {"camera_to_world": result.camera_to_world.tolist()}
            yield {**_place(method, image), "preparation_s": preparation, **row, **found}


def _model(patient: Patient, arguments: argparse.Namespace) -> PreparedModel | None:
    """The patient's model; None where no time is given for it."""
    if not arguments.minutes and not arguments.steps:
        return None
    from DiffPoseRegistrationLib.encoder.settings import TrainingSettings
    from DiffPoseRegistrationLib.workflow.prepare import prepare

    _say(f"{patient.ct.name}: preparing")
    settings = TrainingSettings(minutes=arguments.minutes, steps=arguments.steps, seed=arguments.seed)
    return prepare(patient.ct, patient.images[0].xray.camera, xrays.model_range(patient.ct), settings)


def _theirs(
    patients: Sequence[Patient], methods: Sequence[str], arguments: argparse.Namespace
) -> Iterable[dict[str, Any]]:
    """The peers: with one X-ray at a time on some that are spread evenly over levels and patients, the same for all;
    with two at a time, which takes no longer than ours, on all."""
    everything = [(patient, image) for patient in patients for image in patient.images]
    levels = list(dict.fromkeys(image.level for _, image in everything))
    everything.sort(key=lambda pair: levels.index(pair[1].level))
    count = min(arguments.peer_trials, len(everything))
    some = [everything[n] for n in np.linspace(0, len(everything) - 1, count).round().astype(int)]
    for method in methods:
        for patient, image in everything if method == itk_two_views.NAME else some:
            if method == itk_two_views.NAME and image.second is None:
                continue
            _say(f"{image.name}: {method}")
            start = _start(patient, image, arguments.seed)
            began = time.perf_counter()
            try:
                found = _registered_by(method, patient.ct, image, start, arguments.peer_side)
            except InputError as problem:
                yield {**_place(method, image), "error": str(problem)}
                continue
            yield _row(method, image, patient.ct, found, start, time.perf_counter() - began)


def _registered_by(method: str, ct: CTVolume, image: BenchmarkXray, start: np.ndarray, side: int) -> np.ndarray:
    """The pose [4, 4] that a peer reaches."""
    if method != itk_two_views.NAME:
        return peers.register(method, ct, image.xray, start, side)
    distance = xrays.SOURCE_TO_ISOCENTRE_MM
    return itk_two_views.register(ct, (image.xray, image.second), xrays.TURN, distance, start, side)


def _start(patient: Patient, image: BenchmarkXray, seed: int) -> np.ndarray:
    """The disturbed pose from which every method without a model starts."""
    random = np.random.default_rng([seed, zlib.crc32(image.name.encode())])
    return perturbed(image.truth.camera_to_world, patient.ct.centre_ras, PERTURB_DEG, PERTURB_MM, random)


def _place(method: str, image: BenchmarkXray) -> dict[str, Any]:
    return {"method": method, "level": image.level, "ct": image.ct, "xray": image.name}


def _row(
    method: str, image: BenchmarkXray, ct: CTVolume, pose: np.ndarray, initial: np.ndarray | None, seconds: float
) -> dict[str, Any]:
    """The numbers of a pose that ``workflow.trial`` has no part in."""
    from DiffPoseRegistrationLib.workflow.scoring import score

    found = score(pose, image.truth, ct, image.xray.camera)
    del found["landmarks"]
    row = {**_place(method, image), **found, "seconds": seconds, "camera_to_world": pose.tolist()}
    if initial is not None:
        row["initial_tre_mm"] = score(initial, image.truth, ct, image.xray.camera)["tre_mm"]
    return row


def _peers_to_run(wanted: Sequence[str] | None, there: dict[str, str]) -> list[str]:
    for name in PEERS if wanted is None else wanted:
        if name not in there:
            _say(f"{name} is not installed; to compare with it: {INSTALL[name]}")
    return [name for name in PEERS if name in there and (wanted is None or name in wanted)]


def _installed(names: Iterable[str]) -> dict[str, str]:
    """Those of these packages that are there, with their versions."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

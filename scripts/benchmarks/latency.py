"""How long a person waits for a registration: from handing in an X-ray to its pose, through a job and a worker.

Warm: the worker has registered another X-ray of this patient before, as after the first click in the panel. Cold:
a worker is started for this X-ray alone (imports, CT, model; the kernels' compiled code is on the disk). The clock
starts before the X-ray is written into the job folder, and stops when the pose has been read from the result,
which is looked for every 40 ms as the panel does. Without files of your own: a generated patient, and X-rays of
512 x 512 pixels simulated at poses the registration does not know.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from DiffPoseRegistrationLib.imaging.camera_file import read_camera
from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.pose_file import read_pose
from DiffPoseRegistrationLib.jobs import events
from DiffPoseRegistrationLib.jobs.folder import create_job, make_job_folder
from DiffPoseRegistrationLib.jobs.launcher import JobLauncher, State
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray, write_ct, write_xray_dicom

from ._common import spread

_CAMERA = Camera(1020.0, 512, 512, (0.645, 0.645))
_SOURCE_TO_ISOCENTRE_MM = 714.0
_ROTATION_DEG, _TRANSLATION_MM = (30.0, 30.0, 30.0), (60.0, 120.0, 60.0)
_POLL_S = 0.04


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--rounds", type=int, default=20, help="warm registrations (default 20)")
    parser.add_argument("--cold", type=int, default=3, help="cold registrations (default 3)")
    parser.add_argument("--minutes", type=float, default=0.5, help="of preparing the model beforehand (default 0.5)")
    parser.add_argument("--cases", nargs="+", type=Path, help="folders with truth.json and xray.dcm, all of one CT")
    parser.add_argument("--ct", type=Path, help="their CT")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Wall times of registrations, warm and cold, and where a warm one's time goes."""
    if arguments.rounds < 1 or arguments.cold < 1 or (arguments.ct is None) != (arguments.cases is None):
        raise InputError("--rounds and --cold are numbers from 1 upwards, and --ct and --cases go together.")
    with tempfile.TemporaryDirectory(prefix="diffpose-latency-") as folder:
        place = Path(folder)
        patient = _Given(arguments) if arguments.ct else _Generated(place)
        model = _prepared(patient, place, arguments.minutes)
        warm = JobLauncher(warm=True)
        try:
            _Registration(patient, model, place, 0).run(warm)
            waits = [_Registration(patient, model, place, 1 + n).run(warm) for n in range(arguments.rounds)]
        finally:
            warm.close()
        cold = []
        for n in range(arguments.cold):
            launcher = JobLauncher()
            cold.append(_Registration(patient, model, place, n).run(launcher))
            launcher.close()
    total = [wait["total"] for wait in waits]
    total_cold = [wait["total"] for wait in cold]
    rows = [
        {
            "phase": phase,
            "warm_s": statistics.median(wait[phase] for wait in waits),
            "cold_s": statistics.median(wait[phase] for wait in cold),
        }
        for phase in waits[0]
    ]
    return {
        "rows": rows,
        "figures": {"warm_s": spread(total), "cold_s": spread(total_cold)},
        "ratios": {"cold_over_warm": statistics.median(total_cold) / statistics.median(total)},
    }


class _Generated:
    """A generated patient with X-rays at poses drawn from the inner half of the range."""

    def __init__(self, place: Path) -> None:
        ct = phantom_ct(0)
        self.ct_file = place / "ct.nrrd"
        write_ct(self.ct_file, ct)
        self.camera, self.centre = _CAMERA, view_pose("AP", ct.centre_ras, _SOURCE_TO_ISOCENTRE_MM)
        half = PoseRange(
            self.centre,
            ct.centre_ras,
            tuple(v / 2 for v in _ROTATION_DEG),
            tuple(v / 2 for v in _TRANSLATION_MM),
        )
        self._xrays = []
        for number, pose in enumerate(half.sample(np.random.default_rng(1), 4)):
            file = place / f"xray-{number}.dcm"
            write_xray_dicom(file, simulate_xray(ct, self.camera, pose, seed=number), self.camera)
            self._xrays.append(file)

    def xray(self, number: int) -> Path:
        """One X-ray after the other, from the first again after the last."""
        return self._xrays[number % len(self._xrays)]


class _Given(_Generated):
    """A CT and cases of it, prepared about the mean place of the X-rays' sources."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.ct_file = arguments.ct
        ct = read_ct(self.ct_file)
        self._xrays = [case / "xray.dcm" for case in arguments.cases]
        truths = [case / "truth.json" for case in arguments.cases]
        self.camera = read_camera(truths[0])
        distances = [np.linalg.norm(read_pose(truth)[:3, 3] - ct.centre_ras) for truth in truths]
        self.centre = view_pose("AP", ct.centre_ras, float(np.mean(distances)))


def _prepared(patient: _Generated, place: Path, minutes: float) -> Path:
    """The patient's model."""
    settings = {
        "camera": patient.camera.to_json(),
        "centre_camera_to_world_ras_mm": patient.centre,
        "rotation_deg": _ROTATION_DEG,
        "translation_mm": _TRANSLATION_MM,
        "minutes": minutes,
    }
    job = create_job("prepare", {"ct": patient.ct_file}, settings, place)
    launcher = JobLauncher()
    launcher.start(job.path)
    if launcher.wait() is not State.FINISHED:
        raise InputError(f"The model could not be prepared: {getattr(launcher.last_event, 'error', 'cancelled')}")
    launcher.close()
    return job.result / "model.safetensors"


class _Registration:
    """One X-ray handed in and waited for."""

    def __init__(self, patient: _Generated, model: Path, place: Path, number: int) -> None:
        self._patient, self._model, self._place = patient, model, place
        self._xray = patient.xray(number)
        self._settings = {"camera": patient.camera.to_json(), "pictures": False}

    def run(self, launcher: JobLauncher) -> dict[str, float]:
        """Seconds by phase; "total" is what the person waits."""
        began = time.time()
        job = make_job_folder("register", self._place)
        job.input.mkdir()
        xray = job.input / "xray.dcm"
        xray.write_bytes(self._xray.read_bytes())
        job.describe("register", {"ct": self._patient.ct_file, "xray": xray, "model": self._model}, self._settings)
        handed_in = time.time()
        launcher.start(job.path)
        while launcher.state.is_busy:
            launcher.drain()
            time.sleep(_POLL_S if launcher.state.is_busy else 0)
        if launcher.state is not State.FINISHED:
            raise InputError(f"The registration failed: {getattr(launcher.last_event, 'error', 'cancelled')}")
        read_pose(job.result / "pose.h5")
        ended = time.time()
        told = events.read(job.path)
        started = next(event.time for event in told if isinstance(event, events.Started))
        reading = next(event.time for event in told if isinstance(event, events.Progress))
        written = next(event.time for event in told if isinstance(event, events.Result))
        data = json.loads((job.result / "result.json").read_text(encoding="utf-8"))
        work = dict(data["seconds"])
        return {
            "hand_in": handed_in - began,
            "start": started - handed_in,
            "import": reading - started,
            **work,
            "write": written - reading - sum(work.values()),
            "answer": ended - written,
            "total": ended - began,
        }

"""What pretraining saves a patient: finetuned against from scratch, for the same few seconds.

Pretrains with `diffpose pretrain`, in one process or in several under torch's launcher, on the first CTs and generated
phantoms, then prepares the last CT from that network and from nothing, and compares the errors on unseen simulated
X-rays. Besides amortise.json: amortise.csv and amortise.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from DiffPoseRegistrationLib.encoder.presets import chosen_settings
from DiffPoseRegistrationLib.encoder.pretrained import PretrainedEncoder, load_pretrained
from DiffPoseRegistrationLib.encoder.settings import TrainingSettings
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.workflow.machine import machine
from DiffPoseRegistrationLib.workflow.prepare import finetuning, prepare
from DiffPoseRegistrationLib.workflow.simulate import write_ct

from ._common import write_csv, write_page
from .train import CAMERA, ROTATION_DEG, SOURCE_TO_ISOCENTRE_MM, TRANSLATION_MM

_LIBRARY = Path(__file__).resolve().parents[2] / "DiffPoseRegistration"
_PATIENT_SEED = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "--cts", type=Path, nargs="+", default=[], help="the last is the patient (default: all generated)"
    )
    parser.add_argument("--phantoms", type=int, default=4, help="generated volumes to pretrain on (default 4)")
    parser.add_argument("--pretrain-minutes", type=float, default=10.0, help="of pretraining (default 10)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the patient's training (default 30)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (default 3)")
    parser.add_argument("--processes", type=int, default=1, help="that pretrain together under torchrun (default 1)")
    parser.add_argument("--training", default="{}", metavar="JSON", help="other settings of all trainings")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """A row for each training of the patient."""
    if min(arguments.pretrain_minutes, arguments.seconds) <= 0 or min(arguments.seeds, arguments.processes) < 1:
        raise InputError("--pretrain-minutes and --seconds are above 0, --seeds and --processes at least 1.")
    if arguments.phantoms + max(len(arguments.cts) - 1, 0) < 1:
        raise InputError("There is nothing to pretrain on; give two --cts or more, or --phantoms.")
    training = json.loads(arguments.training)
    patient = read_ct(arguments.cts[-1]) if arguments.cts else phantom_ct(_PATIENT_SEED)
    with tempfile.TemporaryDirectory(prefix="diffpose-amortise-") as folder:
        pretrained = _pretrained(arguments, Path(folder))
    rows = []
    for seed in range(arguments.seeds):
        budget = {"minutes": arguments.seconds / 60, "seed": seed}
        rows.append(_row(patient, "from scratch", seed, chosen_settings("default", training, **budget), None))
        rows.append(_row(patient, "finetuned", seed, finetuning(pretrained, training, **budget), pretrained))
    median = {
        start: statistics.median(row["median_mm"] for row in rows if row["start"] == start)
        for start in ("from scratch", "finetuned")
    }
    ratios = {"median error from scratch / finetuned": median["from scratch"] / median["finetuned"]}
    record = pretrained.training
    figures = {
        "pretraining": {key: record[key] for key in ("volumes", "processes", "seconds", "images", "median_error_mm")}
    }
    write_csv(arguments.out / "amortise.csv", rows)
    write_page(
        arguments.out / "amortise.md",
        "Finetuned against from scratch",
        f"Patient: {patient.name}, {arguments.seconds:g} s each. Pretrained for {record['seconds']:.0f} s on "
        f"{record['volumes']} other volumes by {record['processes']} process(es), {record['images']} X-rays. AP, 30 "
        "degrees, 60 mm, 120 mm in depth; errors in mm on unseen simulated X-rays of the patient.",
        rows,
        ratios,
        machine(),
    )
    return {"rows": rows, "figures": figures, "ratios": ratios}


def _row(
    patient: CTVolume, start: str, seed: int, settings: TrainingSettings, pretrained: PretrainedEncoder | None
) -> dict[str, Any]:
    isocentre = patient.centre_ras
    centre = view_pose("AP", isocentre, SOURCE_TO_ISOCENTRE_MM)
    pose_range = PoseRange(centre, isocentre, ROTATION_DEG, TRANSLATION_MM)
    record = prepare(patient, CAMERA, pose_range, settings, pretrained=pretrained).training
    return {
        "start": start,
        "seed": seed,
        "seconds": record["seconds"],
        "images": record["images"],
        "first_median_mm": record["curve"][0]["median_mm"],
        "median_mm": record["median_error_mm"],
        "percentile95_mm": record["percentile95_error_mm"],
    }


def _pretrained(arguments: argparse.Namespace, folder: Path) -> PretrainedEncoder:
    """Made by the command, in as many processes as asked for."""
    volumes = [path.absolute() for path in arguments.cts[:-1]]
    for seed in range(arguments.phantoms):
        volumes.append(folder / f"phantom-{seed}.nrrd")
        write_ct(volumes[-1], phantom_ct(seed))
    camera, out = folder / "camera.json", folder / "pretrained.safetensors"
    camera.write_text(json.dumps({"camera": CAMERA.to_json()}), encoding="utf-8")
    command = [sys.executable, "-m"]
    if arguments.processes > 1:
        command += ["torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
        command += [f"--nproc-per-node={arguments.processes}", "-m"]
    command += ["DiffPoseRegistrationLib.commandline.main", "pretrain", *map(str, volumes), "--out", str(out)]
    command += ["--camera", str(camera), "--source-to-isocentre", str(SOURCE_TO_ISOCENTRE_MM)]
    command += ["--rotation", *map(str, ROTATION_DEG), "--translation", *map(str, TRANSLATION_MM)]
    command += ["--minutes", str(arguments.pretrain_minutes), "--training", arguments.training]
    environment = {**os.environ, "PYTHONPATH": str(_LIBRARY)}
    if arguments.processes > 1:  # the launcher would give each one thread, whatever the machine has
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // arguments.processes)))
    if subprocess.run(command, env=environment, cwd=folder).returncode:
        raise InputError("The pretraining failed; see above.")
    return load_pretrained(out)

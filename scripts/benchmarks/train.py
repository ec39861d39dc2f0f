"""How fast a patient's network learns: ours and the papers' trainings on the same CT, range of poses and machine.

For each preset: X-rays a second that are made and that are learned from (each by half of the cores, at the same time),
those that come of it, and the time to a median error of 20 and of 10 mm on unseen simulated X-rays, as the training
measures it. The papers' losses without the one that needs a segmentation. Besides train.json: train.csv and train.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from DiffPoseRegistrationLib.encoder.presets import PRESETS, chosen_settings
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import PoseRange, view_pose
from DiffPoseRegistrationLib.imaging.ct_reader import read_ct
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.workflow.machine import machine
from DiffPoseRegistrationLib.workflow.prepare import prepare

from ._common import write_csv, write_page

CAMERA = Camera(1020.0, 512, 512, (0.645, 0.645))
SOURCE_TO_ISOCENTRE_MM = 714.0
ROTATION_DEG, TRANSLATION_MM = (30.0, 30.0, 30.0), (60.0, 120.0, 60.0)
GOALS_MM = (20.0, 10.0)
# Published with xvr's finetuning: 500 steps of 116 X-rays in five minutes on an RTX 6000 Ada.
XVR_PUBLISHED_PER_SECOND = 500 * 116 / 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--ct", type=Path, nargs="+", help="CTs (default: a generated patient)")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS), help="which (default: all)")
    parser.add_argument("--minutes", type=float, default=2.0, help="of our training (default 2)")
    parser.add_argument("--peer-minutes", type=float, default=20.0, help="of each of the papers' (default 20)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where (default: auto)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """A row for each CT and preset."""
    if arguments.minutes <= 0 or arguments.peer_minutes <= 0:
        raise InputError("--minutes and --peer-minutes are numbers above 0.")
    cts = [read_ct(path) for path in arguments.ct] if arguments.ct else [phantom_ct(0)]
    rows, ratios = [], {}
    for ct in cts:
        curves = {}
        for name in arguments.presets:
            minutes = arguments.minutes if name == "default" else arguments.peer_minutes
            row, curves[name] = _measured(ct, name, minutes, arguments.device)
            rows.append(row)
        ratios.update(_sooner(ct.name, curves))
    best = max(row["images_per_s"] for row in rows)
    figures = {"images_per_s_over_xvr_published": best / XVR_PUBLISHED_PER_SECOND}
    write_csv(arguments.out / "train.csv", rows)
    write_page(
        arguments.out / "train.md",
        "Trainings side by side",
        "`made_per_s`, `learned_per_s`: X-rays a second, of half of the cores each while the other half does the "
        "other; `images_per_s` is what comes of it, measuring included. `to_20_mm_s`, `to_10_mm_s`: until the median "
        "error on unseen simulated X-rays was below; empty where it never was. AP, 30 degrees, 60 mm, 120 mm in depth.",
        rows,
        {**ratios, **figures},
        machine(),
    )
    return {"rows": rows, "figures": figures, "ratios": ratios}


def _measured(ct: CTVolume, name: str, minutes: float, device: str) -> tuple[dict[str, Any], list[dict[str, float]]]:
    print(f"{ct.name}, {name}: {minutes:g} min ...", flush=True)
    settings = chosen_settings(name, {"dice_weight": 0.0}, minutes=minutes)
    isocentre = ct.centre_ras
    centre = view_pose("AP", isocentre, SOURCE_TO_ISOCENTRE_MM)
    model = prepare(ct, CAMERA, PoseRange(centre, isocentre, ROTATION_DEG, TRANSLATION_MM), settings, device=device)
    record = model.training
    images, curve = record["images"], record["curve"]
    row = {
        "ct": ct.name,
        "preset": name,
        "device": torch.cuda.get_device_name() if record["device"] == "cuda" else "cpu",
        "side_px": settings.image_side,
        "batch": settings.batch_size,
        "seconds": record["seconds"],
        "images": images,
        "images_per_s": images / record["seconds"],
        "made_per_s": images / record["rendering_seconds"],
        "learned_per_s": images / record["learning_seconds"],
        **{f"to_{goal:g}_mm_s": seconds_to(curve, goal) for goal in GOALS_MM},
        "median_mm": record["median_error_mm"],
        "percentile95_mm": record["percentile95_error_mm"],
    }
    return row, curve


def seconds_to(curve: list[dict[str, float]], goal_mm: float) -> float | None:
    """When a training's curve was first below ``goal_mm``; None if never."""
    return next((point["seconds"] for point in curve if point["median_mm"] < goal_mm), None)


def _sooner(ct: str, curves: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """In how many times the time the papers' trainings reach the best that they reach, by ours."""
    found = {}
    for name, curve in curves.items():
        if name == "default" or "default" not in curves or not curve:
            continue
        best = min(curve, key=lambda point: point["median_mm"])
        ours = seconds_to(curves["default"], best["median_mm"])
        if ours is not None:
            found[f"{ct}: seconds of {name} to its best ({best['median_mm']:.0f} mm) / ours"] = best["seconds"] / ours
    return found

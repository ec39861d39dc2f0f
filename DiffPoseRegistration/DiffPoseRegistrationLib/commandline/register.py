"""``diffpose register``: the pose of one X-ray."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import arguments
from .job import add_job, copy_results, run_as_job
from .progress import TerminalProgress

if TYPE_CHECKING:
    import numpy as np

_EPILOG = """examples:
  with a prepared model:
    diffpose register --ct ct.nrrd --xray xray.dcm --model model.safetensors --out result
  from a rough pose that was saved from 3D Slicer:
    diffpose register --ct ct.nrrd --xray xray.dcm --initial rough.h5 --out result
  a PNG with its geometry in a JSON of several views, scored against a reference:
    diffpose register --ct ct.nrrd --xray cam1.png --camera rig.json:cam1 --initial start.json --truth rig.json:cam1

writes into --out: result.json, pose.h5 (opens in 3D Slicer) and overlay.png
"""


def add_command(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "register",
        help="find the pose of an X-ray",
        description="Find where an X-ray of a CT was taken from.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_ct(parser)
    arguments.add_xray(parser)
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--model", metavar="MODEL", help="model that 'prepare' made for this CT")
    start.add_argument("--initial", metavar="POSE", help="initial pose: JSON with camera_to_world_ras_mm, .h5 or .tfm")
    parser.add_argument("--truth", metavar="JSON", help="known pose and landmarks; used only to score the result")
    parser.add_argument("--out", metavar="DIR", help="folder for result.json, pose.h5 and overlay.png")
    arguments.add_xray_reading(parser)
    parser.add_argument(
        "--method",
        choices=("lm", "adam-diffpose", "adam-xvr", "cma"),
        default="lm",
        help="how to refine: Levenberg-Marquardt from many starts (lm, default), as DiffPose or xvr do, or a global "
        "search first (cma)",
    )
    arguments.add_device(parser)
    add_job(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from ..imaging.ct_reader import read_ct
    from ..imaging.pose_file import read_pose, read_truth
    from ..workflow.result_file import result_as_json, writable_folder, write_result

    if args.out:
        writable_folder(args.out)
    if args.job:
        _run_as_job(args)
        return
    ct = read_ct(args.ct)
    xray = arguments.load_xray(args)
    truth = read_truth(args.truth) if args.truth else None
    initial = read_pose(args.initial) if args.initial else None

    from ..workflow.register import register

    model = None
    if args.model:
        from ..encoder.model_file import load_model

        model = load_model(args.model)
    with TerminalProgress("Registering") as progress:
        options = {"method": args.method, "device": args.device}
        result = register(ct, xray, model=model, initial=initial, progress=progress, **options)
    inputs = {"ct": args.ct, "xray": args.xray, "model": args.model}
    if args.out:
        data = write_result(args.out, result, ct, xray, inputs=inputs, truth=truth)
    else:
        data = result_as_json(result, ct, xray, inputs=inputs, truth=truth)
    report(data, ct.centre_ras)
    if args.out:
        print(f"Wrote result.json, pose.h5 and overlay.png into {args.out}.")


def _run_as_job(args: argparse.Namespace) -> None:
    import json

    from ..imaging.ct_reader import read_ct
    from ..imaging.pose_file import read_pose, read_truth

    settings = {**arguments.reading_settings(args), "method": args.method, "device": args.device}
    if args.initial:
        settings["initial_camera_to_world_ras_mm"] = read_pose(args.initial)
    if args.truth:
        truth = read_truth(args.truth)
        settings["truth"] = {
            "camera_to_world_ras_mm": truth.camera_to_world,
            "landmarks_ras_mm": truth.landmarks_ras_mm,
        }
    inputs = {"ct": args.ct, "xray": args.xray, "model": args.model}
    job = run_as_job(args.job, "register", inputs, settings, "Registering")
    report(json.loads((job.result / "result.json").read_text(encoding="utf-8")), read_ct(args.ct).centre_ras)
    if args.out:
        copy_results(job, Path(args.out))
        print(f"Wrote result.json, pose.h5 and overlay.png into {args.out}.")


def report(data: dict[str, Any], isocentre: np.ndarray) -> None:
    """Print a result (what ``result.json`` says) for a person."""
    import numpy as np

    from ..geometry.angles import pose_in_words, positioner_angles

    pose = np.array(data["camera_to_world_ras_mm"])
    angles = positioner_angles(pose)
    print(f"Pose: {pose_in_words(pose, isocentre)}.")
    print("      positioner angles primary {:.2f}, secondary {:.2f}, roll {:.2f} deg".format(*angles))
    print("      camera to world (RAS, mm):")
    for row in pose:
        print("        " + " ".join(f"{value:12.5f}" for value in row))
    print(f"Similarity {data['similarity']:.4f}, {data['renders']} renders, {_times(data['seconds'])}.")
    predicted = data["predicted_error_mm"]
    print(f"Verdict: {data['verdict']}" + (f", predicted error {predicted:.2f} mm." if predicted is not None else "."))
    for reason in data["verdict_reasons"]:
        print(f"  - {reason}")
    if "tre_mm" in data:
        print(
            f"Against the reference: TRE {data['tre_mm']:.3f} mm (before: {data['initial_tre_mm']:.1f} mm), on the "
            f"detector {data['projection_error_mm']:.3f} mm, rotation {data['rotation_deg']:.3f} deg, in plane "
            f"{data['in_plane_mm']:.3f} mm, depth {data['depth_mm']:.3f} mm ({data['landmarks']})."
        )


def _times(seconds: dict[str, float]) -> str:
    return ", ".join(f"{phase} {value:.2f} s" for phase, value in seconds.items())

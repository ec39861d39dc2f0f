"""``diffpose prepare``: train the encoder for one patient's CT and a range of poses."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from . import arguments
from .job import add_job, copy_result, run_as_job
from .progress import TerminalProgress, compile_renderer, duration

DEFAULT_ROTATION_DEG = (30.0, 30.0, 30.0)
DEFAULT_TRANSLATION_MM = (60.0, 120.0, 60.0)
DEFAULT_MINUTES = 5.0

_EPILOG = """examples:
  for X-rays like this one (its file holds the geometry), taken about AP:
    diffpose prepare --ct ct.nrrd --xray xray.dcm --out model.safetensors
  lateral views, ten minutes, a narrower range:
    diffpose prepare --ct ct.nrrd --camera camera.json --view LL --rotation 20 20 10 --minutes 10 --out m.safetensors

X-rays of one machine may differ in pose, not in camera: distance, pixel size and image size belong to the model.
"""


def add_command(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "prepare",
        help="train a model for one CT (once for each patient)",
        description="Train the model that finds the first pose of X-rays of this CT, from simulated X-rays.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_ct(parser)
    parser.add_argument("--out", required=True, metavar="MODEL.safetensors", help="where to write the model")
    arguments.add_xray(parser, required=False, help="an X-ray of the machine, for its geometry")
    arguments.add_xray_reading(parser)
    arguments.add_centre_pose(parser)
    add_pose_ranges(parser)
    parser.add_argument(
        "--minutes", type=float, default=DEFAULT_MINUTES, metavar="M", help=f"time (default {DEFAULT_MINUTES:g})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the training (default 0)")
    parser.add_argument("--preview", metavar="PNG", help="also write a page of simulated X-rays from the range")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="instead of --minutes: exactly so many steps, repeatable to the bit"
    )
    arguments.add_device(parser)
    add_job(parser)
    parser.set_defaults(run=run)


def add_pose_ranges(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how far X-rays may be from there (half ranges)")
    group.add_argument(
        "--rotation",
        type=float,
        nargs=3,
        default=DEFAULT_ROTATION_DEG,
        metavar="DEG",
        help="primary angle, secondary angle, roll (default {:g} {:g} {:g})".format(*DEFAULT_ROTATION_DEG),
    )
    group.add_argument(
        "--translation",
        type=float,
        nargs=3,
        default=DEFAULT_TRANSLATION_MM,
        metavar="MM",
        help="across, along the beam, up-down (default {:g} {:g} {:g})".format(*DEFAULT_TRANSLATION_MM),
    )


def run(args: argparse.Namespace) -> None:
    from ..geometry.angles import pose_in_words
    from ..geometry.pose_range import PoseRange, view_pose
    from ..imaging.pose_file import read_pose
    from ..workflow.pictures import write_png
    from ..workflow.preview import range_picture

    out = model_target(args.out)
    if not 0 < args.minutes <= 1440:
        raise InputError(f"--minutes is {args.minutes:g}; give the training time in minutes, such as 5.")
    if args.steps is not None and args.steps < 1:
        raise InputError(f"--steps is {args.steps}; give a whole number from 1 upwards.")
    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}; give a whole number from 0 upwards.")
    ct = arguments.load_ct(args.ct)
    if args.xray is not None:
        camera = arguments.load_xray(args).camera
    elif args.camera is not None:
        camera = arguments.given_camera(args)
    else:
        raise InputError("prepare needs the X-ray machine's geometry: give --xray XRAY or --camera JSON.")
    if args.centre_pose:
        centre, origin = read_pose(args.centre_pose), args.centre_pose
    else:
        distance, origin = arguments.source_to_isocentre(args, camera, args.xray)
        centre = view_pose(args.view, ct.centre_ras, distance)
    pose_range = PoseRange(centre, ct.centre_ras, tuple(args.rotation), tuple(args.translation))
    print(f"Centre of the range: {pose_in_words(centre, ct.centre_ras)} (from {origin}).")

    if args.preview:
        compile_renderer()
        write_png(range_picture(ct, camera, pose_range, seed=args.seed), args.preview)

    options = {"minutes": args.minutes, "seed": args.seed, "device": args.device}
    if args.steps is not None:
        options["steps"] = args.steps
    if args.job:
        settings = {
            "camera": camera.to_json(),
            "centre_camera_to_world_ras_mm": centre,
            "rotation_deg": list(args.rotation),
            "translation_mm": list(args.translation),
        }
        job = run_as_job(args.job, "prepare", {"ct": args.ct}, {**settings, **options}, "Preparing")
        copy_result(job.result / "model.safetensors", out)
        print(f"Wrote {out} for {ct.name}.")
        return

    from ..encoder.model_file import save_model
    from ..workflow.prepare import prepare

    compile_renderer()
    with TerminalProgress("Preparing") as progress:
        model = prepare(ct, camera, pose_range, progress=progress, **options)
    save_model(model, out)
    length = f"{args.steps} steps" if args.steps is not None else duration(args.minutes * 60)
    print(f"Wrote {out} after {length} of training for {ct.name}.")


def model_target(path: str) -> Path:
    """``path`` for a model file, known to be writable before minutes go into training."""
    from ..workflow.result_file import writable_folder

    target = Path(path)
    if target.suffix.lower() != ".safetensors":
        raise InputError(f"{target} must end in .safetensors, the format of models.")
    if target.is_dir():
        raise InputError(f"{target} is a folder; name the model file to write with --out.")
    writable_folder(target.parent)
    return target
